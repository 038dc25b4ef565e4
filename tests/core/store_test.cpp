// What every Store promises, checked on both.

#include "core/store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/memory_store.hpp"
#include "core/sqlite_store.hpp"
#include "tests/core/io_loop.hpp"
#include "tests/temporary_folder.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct MemoryBackend {
  MemoryStore store;
  void settle() { store.seal(); }
};

struct SqliteBackend {
  TemporaryFolder folder;
  test::IoLoop loop;
  std::unique_ptr<SqliteStore> opened = SqliteStore::open(folder.path() + "/db", loop.poster()).value();
  SqliteStore& store = *opened;
  /// Ends the turn, and those that follow until everything is on disk and called back.
  void settle() {
    store.seal();
    bool done = false;
    store.when_durable([&] { done = true; });
    ASSERT_TRUE(loop.run_until([&] { return done && !store.busy(); }, [&] { store.seal(); }));
  }
};

template <class Backend>
class StoreContract : public testing::Test {
 protected:
  Backend backend;
  Store& store = backend.store;
  void settle() { backend.settle(); }

  void put(Table table, std::string_view key, std::string_view value) {
    store.put(table, as_bytes(key), to_bytes(value));
  }
  std::optional<std::string> get(Table table, std::string_view key) {
    const auto value = store.get(table, as_bytes(key)).value();
    return value ? std::optional(std::string(as_text(*value))) : std::nullopt;
  }
  std::vector<std::string> keys(Table table, std::string_view first = "", std::string_view last = "") {
    std::vector<std::string> out;
    EXPECT_TRUE(store.scan(table, as_bytes(first), as_bytes(last),
                           [&](ByteView key, ByteView) {
                             out.emplace_back(as_text(key));
                             return true;
                           },
                           {}));
    return out;
  }
};
using Backends = testing::Types<MemoryBackend, SqliteBackend>;
TYPED_TEST_SUITE(StoreContract, Backends);

TYPED_TEST(StoreContract, reads_see_what_is_on_disk) {
  this->put(Table::meta, "k", "v");
  EXPECT_EQ(this->get(Table::meta, "k"), std::nullopt);
  this->settle();
  EXPECT_EQ(this->get(Table::meta, "k"), "v");
  EXPECT_EQ(this->get(Table::block, "k"), std::nullopt);
}

TYPED_TEST(StoreContract, later_changes_of_a_transaction_win) {
  this->put(Table::meta, "a", "1");
  this->put(Table::meta, "a", "2");
  this->put(Table::meta, "b", "1");
  this->store.erase(Table::meta, as_bytes("b"));
  this->store.erase_range(Table::meta, as_bytes("c"), as_bytes("d"));
  this->put(Table::meta, "c", "after the erasure");
  this->settle();
  EXPECT_THAT(this->keys(Table::meta), ElementsAre("a", "c"));
  EXPECT_EQ(this->get(Table::meta, "a"), "2");
}

TYPED_TEST(StoreContract, empty_keys_and_values_and_zero_bytes_are_kept) {
  this->put(Table::meta, "", "");
  this->put(Table::meta, std::string_view("a\0b", 3), std::string_view("\0", 1));
  this->settle();
  EXPECT_EQ(this->get(Table::meta, ""), "");
  EXPECT_EQ(this->get(Table::meta, std::string_view("a\0b", 3)), std::string_view("\0", 1));
  EXPECT_EQ(this->get(Table::meta, "a"), std::nullopt);
}

TYPED_TEST(StoreContract, scans_in_key_order_from_first_to_before_last) {
  for (const auto* key : {"b", "a", "\xff", "c", "ab"}) this->put(Table::queue, key, "x");
  this->settle();
  EXPECT_THAT(this->keys(Table::queue), ElementsAre("a", "ab", "b", "c", "\xff"));
  EXPECT_THAT(this->keys(Table::queue, "ab", "c"), ElementsAre("ab", "b"));
  EXPECT_THAT(this->keys(Table::queue, "b", "b"), IsEmpty());
  EXPECT_THAT(this->keys(Table::queue, "c", "b"), IsEmpty());
  int seen = 0;
  ASSERT_TRUE(this->store.scan(Table::queue, {}, {}, [&](ByteView, ByteView) { return ++seen < 2; }, {}));
  EXPECT_EQ(seen, 2);
}

TYPED_TEST(StoreContract, a_scan_may_read_and_scan_the_same_table) {
  for (const auto* key : {"a", "b"}) this->put(Table::queue, key, key);
  this->settle();
  std::string seen;
  const auto outer = [&](ByteView key, ByteView) {
    seen += as_text(*this->store.get(Table::queue, key).value());
    return this->store
        .scan(Table::queue, {}, {},
              [&](ByteView inner, ByteView) {
                seen += as_text(inner);
                this->put(Table::queue, "c", "put meanwhile");
                return true;
              },
              {})
        .has_value();
  };
  ASSERT_TRUE(this->store.scan(Table::queue, {}, {}, outer, {}));
  EXPECT_EQ(seen, "aabbab");
}

TYPED_TEST(StoreContract, erases_ranges) {
  for (const auto* key : {"a", "b", "c", "d"}) this->put(Table::log, key, "x");
  this->settle();
  this->store.erase_range(Table::log, as_bytes("b"), as_bytes("d"));
  this->settle();
  EXPECT_THAT(this->keys(Table::log), ElementsAre("a", "d"));
  this->store.erase_range(Table::log, as_bytes("d"), as_bytes("b"));
  this->settle();
  EXPECT_THAT(this->keys(Table::log), ElementsAre("a", "d"));
  this->store.erase_range(Table::log, as_bytes("b"), {});
  this->settle();
  EXPECT_THAT(this->keys(Table::log), ElementsAre("a"));
}

TYPED_TEST(StoreContract, tickets_rise_and_become_durable) {
  const Ticket first = this->store.open_ticket();
  EXPECT_GT(first, this->store.durable_ticket());
  this->put(Table::meta, "a", "1");
  EXPECT_EQ(this->store.open_ticket(), first);
  EXPECT_GT(this->store.pending_bytes(), 0u);
  this->settle();
  EXPECT_GT(this->store.open_ticket(), first);
  EXPECT_GE(this->store.durable_ticket(), first);
  EXPECT_LT(this->store.durable_ticket(), this->store.open_ticket());
  EXPECT_EQ(this->store.pending_bytes(), 0u);
  EXPECT_FALSE(this->store.busy());
}

TYPED_TEST(StoreContract, the_number_of_a_transaction_without_changes_becomes_durable_too) {
  const Ticket nothing = this->store.open_ticket();
  this->settle();
  EXPECT_GE(this->store.durable_ticket(), nothing);
}

TYPED_TEST(StoreContract, callbacks_run_in_order_and_never_from_inside_when_durable) {
  std::vector<int> order;
  bool inside = true;
  const auto note = [&](int number) {
    return [&, number] {
      EXPECT_FALSE(inside);
      order.push_back(number);
    };
  };
  this->store.when_durable(note(1));  // nothing to wait for
  this->put(Table::meta, "a", "1");
  this->store.when_durable(note(2));
  this->store.when_durable([&] {
    note(3)();
    EXPECT_EQ(this->get(Table::meta, "a"), "1");
    inside = true;
    this->store.when_durable(note(4));
    inside = false;
  });
  inside = false;
  this->settle();
  this->settle();
  EXPECT_THAT(order, ElementsAre(1, 2, 3, 4));
}

TEST(AfterPrefix, is_the_first_key_that_does_not_start_with_it) {
  EXPECT_EQ(after_prefix(as_bytes("ab")), to_bytes("ac"));
  EXPECT_EQ(after_prefix(as_bytes("a\xff\xff")), to_bytes("b"));
  EXPECT_EQ(after_prefix(as_bytes("\xff")), Bytes{});
  EXPECT_EQ(after_prefix({}), Bytes{});
}

RC_GTEST_PROP(SqliteStore, holds_what_the_memory_store_holds, ()) {
  MemoryBackend memory;
  static SqliteBackend sqlite;  // opening one takes longer than the rest
  for (auto table : {Table::meta, Table::log}) sqlite.store.erase_range(table, {}, {});
  const auto key = rc::gen::resize(3, rc::gen::container<Bytes>(rc::gen::element<std::uint8_t>(0, 1, 255)));
  const auto steps = *rc::gen::inRange(1, 40);
  for (int step = 0; step < steps; ++step) {
    const auto table = *rc::gen::element(Table::meta, Table::log);
    const Bytes a = *key, b = *key;
    switch (*rc::gen::inRange(0, 6)) {
      case 0:
        for (Store* store : {static_cast<Store*>(&memory.store), static_cast<Store*>(&sqlite.store)})
          store->erase_range(table, a, b);
        break;
      case 1:
        memory.store.erase(table, a);
        sqlite.store.erase(table, a);
        break;
      case 2:
        memory.settle();
        sqlite.settle();
        break;
      default: memory.store.put(table, a, b); sqlite.store.put(table, a, b);
    }
  }
  memory.settle();
  sqlite.settle();
  const Bytes first = *key, last = *key;
  for (auto table : {Table::meta, Table::log}) {
    std::map<Bytes, Bytes> rows[2];
    int which = 0;
    for (Store* store : {static_cast<Store*>(&memory.store), static_cast<Store*>(&sqlite.store)}) {
      RC_ASSERT(store
                    ->scan(table, first, last,
                           [&](ByteView k, ByteView v) {
                             rows[which][to_bytes(k)] = to_bytes(v);
                             return true;
                           },
                           {})
                    .has_value());
      ++which;
    }
    RC_ASSERT(rows[0] == rows[1]);
  }
}

// The memory store's own: what the disk does and when is said by the test.

TEST(MemoryStore, a_held_transaction_is_not_on_disk_and_lost_in_a_crash) {
  MemoryStore store;
  store.hold();
  store.put(Table::meta, as_bytes("a"), to_bytes("1"));
  bool done = false;
  store.when_durable([&] { done = true; });
  store.seal();
  EXPECT_TRUE(store.busy());
  EXPECT_FALSE(done);
  store.put(Table::meta, as_bytes("b"), to_bytes("2"));
  store.seal();  // one transaction at a time
  MemoryStore crashed(store.image());
  EXPECT_EQ(crashed.get(Table::meta, as_bytes("a")).value(), std::nullopt);
  store.release();
  EXPECT_TRUE(done);
  EXPECT_TRUE(MemoryStore(store.image()).get(Table::meta, as_bytes("a")).value());
  EXPECT_FALSE(MemoryStore(store.image()).get(Table::meta, as_bytes("b")).value());
  store.seal();
  EXPECT_TRUE(MemoryStore(store.image()).get(Table::meta, as_bytes("b")).value());
}

TEST(MemoryStore, a_refused_transaction_is_kept_and_nothing_is_acknowledged) {
  MemoryStore store;
  store.refuse(Error{Errc::io, "disk full"});
  store.put(Table::meta, as_bytes("a"), to_bytes("1"));
  bool done = false;
  store.when_durable([&] { done = true; });
  store.seal();
  EXPECT_EQ(store.trouble()->message, "disk full");
  EXPECT_FALSE(done);
  store.refuse(std::nullopt);
  EXPECT_TRUE(done);
  EXPECT_FALSE(store.trouble());
}

TEST(MemoryStore, can_crash_between_commit_and_acknowledgement) {
  MemoryStore store;
  store.defer_callbacks();
  store.put(Table::meta, as_bytes("a"), to_bytes("1"));
  bool done = false;
  store.when_durable([&] { done = true; });
  store.seal();
  EXPECT_FALSE(done);
  EXPECT_TRUE(MemoryStore(store.image()).get(Table::meta, as_bytes("a")).value());
  store.run_callbacks();
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace diot
