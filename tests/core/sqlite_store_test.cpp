#include "core/sqlite_store.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/core/io_loop.hpp"
#include "tests/temporary_folder.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Bytes number_key(std::uint64_t number) {
  Bytes out;
  ByteWriter(out).u64(number);
  return out;
}

std::string contents(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void flip_byte(const std::filesystem::path& file, std::size_t offset) {
  std::fstream io(file, std::ios::binary | std::ios::in | std::ios::out);
  io.seekg(static_cast<std::streamoff>(offset));
  const char byte = static_cast<char>(io.get() ^ 0x10);
  io.seekp(static_cast<std::streamoff>(offset));
  io.put(byte);
  ASSERT_TRUE(io.flush());
}

class SqliteFile : public testing::Test {
 protected:
  TemporaryFolder folder;
  const std::filesystem::path file = folder.path() + "/db";
  test::IoLoop loop;

  Result<std::unique_ptr<SqliteStore>> open() { return SqliteStore::open(file, loop.poster()); }
  void commit(SqliteStore& store) {
    bool done = false;
    store.when_durable([&] { done = true; });
    store.seal();
    ASSERT_TRUE(loop.run_until([&] { return done; }, [&] { store.seal(); }));
  }
  void run_sql(const std::string& sql) {
    sqlite3* raw = nullptr;
    ASSERT_EQ(sqlite3_open(file.c_str(), &raw), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(raw, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
    sqlite3_close(raw);
  }

  /// A child process that commits one row after the other, says each acknowledged number through a pipe, and is killed
  /// after `count`. Returns the last acknowledged number.
  std::uint64_t write_and_kill(std::uint64_t first, std::uint64_t count) {
    int pipe_ends[2];
    EXPECT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      test::IoLoop child_loop;
      auto store = SqliteStore::open(file, child_loop.poster());
      if (!store) ::_exit(1);
      std::uint64_t committed = first - 1;
      for (auto number = first;; ++number) {
        (*store)->put(Table::log, number_key(number), to_bytes("value " + std::to_string(number)));
        (*store)->when_durable([&, number] {
          committed = number;
          if (::write(pipe_ends[1], &number, sizeof number) != sizeof number) ::_exit(1);
        });
        (*store)->seal();
        // Two in the air: one being written, one growing.
        child_loop.run_until([&] { return committed + 2 > number; }, [&] { (*store)->seal(); });
      }
    }
    ::close(pipe_ends[1]);
    std::uint64_t acknowledged = 0, number = 0;
    while (::read(pipe_ends[0], &number, sizeof number) == sizeof number) {
      EXPECT_TRUE(acknowledged == 0 || number == acknowledged + 1);
      acknowledged = number;
      if (number == first + count - 1) ::kill(child, SIGKILL);
    }
    ::close(pipe_ends[0]);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
    return acknowledged;
  }
};

TEST_F(SqliteFile, keeps_what_was_put_when_it_is_closed) {
  {
    auto store = open().value();
    store->put(Table::meta, as_bytes("a"), to_bytes("1"));
    store->seal();
    store->put(Table::meta, as_bytes("b"), to_bytes("2"));  // in no sealed transaction
    EXPECT_TRUE(store->close());
  }
  auto store = open().value();
  EXPECT_EQ(store->get(Table::meta, as_bytes("a")).value(), to_bytes("1"));
  EXPECT_EQ(store->get(Table::meta, as_bytes("b")).value(), to_bytes("2"));
  EXPECT_EQ(store->lost_transactions(), 0u);
}

TEST_F(SqliteFile, is_for_its_user_alone) {
  auto store = open().value();
  store->put(Table::meta, as_bytes("a"), to_bytes("1"));
  commit(*store);
  for (const auto* suffix : {"", "-wal", "-shm", ".lock", ".mark"})
    EXPECT_EQ(std::filesystem::status(file.string() + suffix).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write)
        << suffix;
}

TEST_F(SqliteFile, gathers_what_comes_in_while_it_writes) {
  auto store = open().value();
  int acknowledged = 0;
  store->put(Table::log, number_key(0), to_bytes("x"));
  store->seal();
  EXPECT_TRUE(store->busy());
  const auto second = store->open_ticket();
  for (std::uint64_t number = 1; number < 100; ++number) {
    store->put(Table::log, number_key(number), to_bytes("x"));
    store->when_durable([&] {
      ++acknowledged;
      EXPECT_EQ(store->durable_ticket(), second);
    });
    store->seal();
  }
  EXPECT_EQ(store->open_ticket(), second);
  ASSERT_TRUE(loop.run_until([&] { return acknowledged == 99; }, [&] { store->seal(); }));
}

TEST_F(SqliteFile, a_store_that_is_gone_is_not_called_back) {
  auto store = open().value();
  bool ran = false, other_ran = false;
  store->put(Table::log, number_key(0), to_bytes("x"));
  store->when_durable([&] { ran = true; });
  store->seal();
  ASSERT_TRUE(store->close());
  store.reset();
  loop.poster()([&] { other_ran = true; });
  ASSERT_TRUE(loop.run_until([&] { return other_ran; }));
  EXPECT_FALSE(ran);
}

TEST_F(SqliteFile, two_processes_never_have_it_open) {
  auto store = open().value();
  const auto second = open();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::exists);
  EXPECT_THAT(second.error().message, HasSubstr("in use by another diot process"));
  store.reset();
  EXPECT_TRUE(open());
}

TEST_F(SqliteFile, a_newer_schema_is_refused_and_left_alone) {
  open().value().reset();
  run_sql("PRAGMA user_version = 2");
  const auto refused = open();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::not_available);
  EXPECT_THAT(refused.error().message, HasSubstr("schema 2, this one knows 1"));
  run_sql("PRAGMA user_version = 1");
  EXPECT_TRUE(open());
}

TEST_F(SqliteFile, other_peoples_files_are_refused) {
  run_sql("CREATE TABLE theirs(x)");
  EXPECT_EQ(open().error().code, Errc::invalid);
  std::ofstream(file, std::ios::trunc) << std::string(40'000, 'x');
  EXPECT_EQ(open().error().code, Errc::corrupt);
  EXPECT_EQ(SqliteStore::open(folder.path() + "/no/db", loop.poster()).error().code, Errc::io);
}

TEST_F(SqliteFile, a_flipped_byte_of_a_value_or_key_is_found) {
  {
    auto store = open().value();
    store->put(Table::log, as_bytes("key-1"), to_bytes("a value that can be found"));
    store->put(Table::log, as_bytes("key-2"), to_bytes("untouched"));
    store->put(Table::log, as_bytes("key-3"), to_bytes("untouched, but its key is changed in the index"));
  }
  const auto bytes = contents(file);
  flip_byte(file, bytes.find("a value that can be found"));
  for (auto at = bytes.find("key-3"); at != bytes.npos; at = bytes.find("key-3", at + 1))
    if (bytes.compare(at + 5, 9, "untouched") != 0) flip_byte(file, at);
  auto store = open().value();
  const auto damaged = store->get(Table::log, as_bytes("key-1"));
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, Errc::corrupt);
  EXPECT_THAT(damaged.error().message, HasSubstr("6b65792d31 of table log"));
  std::vector<std::string> good, corrupt;
  ASSERT_TRUE(store->scan(
      Table::log, {}, {},
      [&](ByteView key, ByteView) {
        good.emplace_back(as_text(key));
        return true;
      },
      [&](ByteView key) { corrupt.emplace_back(as_text(key)); }));
  EXPECT_THAT(good, ElementsAre("key-2"));
  EXPECT_EQ(corrupt.size(), 2u);
}

TEST_F(SqliteFile, kill_9_loses_nothing_that_was_acknowledged) {
  std::uint64_t next = 1;
  for (const std::uint64_t count : {1, 7, 40, 100, 3}) {
    const auto acknowledged = write_and_kill(next, count);
    ASSERT_GE(acknowledged, next + count - 1);
    auto store = open().value();
    EXPECT_EQ(store->lost_transactions(), 0u);
    for (std::uint64_t number = 1; number <= acknowledged; ++number)
      ASSERT_EQ(store->get(Table::log, number_key(number)).value(), to_bytes("value " + std::to_string(number)));
    next = acknowledged + 1;
  }
}

TEST_F(SqliteFile, transactions_lost_from_a_damaged_wal_are_counted) {
  const auto acknowledged = write_and_kill(1, 30);
  const auto wal = file.string() + "-wal";
  flip_byte(wal, std::filesystem::file_size(wal) / 2);
  auto store = open().value();
  std::uint64_t there = 0;
  while (store->get(Table::log, number_key(there + 1)).value()) ++there;
  EXPECT_LT(there, acknowledged);
  EXPECT_GE(store->lost_transactions(), acknowledged - there);
  EXPECT_LE(store->lost_transactions(), acknowledged - there + 1);  // one may have been written, not acknowledged
  store.reset();
  EXPECT_EQ(open().value()->lost_transactions(), 0u);  // told once
}

TEST_F(SqliteFile, a_wal_that_is_gone_or_has_a_damaged_header_is_noticed) {
  const auto wal = file.string() + "-wal";
  auto acknowledged = write_and_kill(1, 5);
  std::filesystem::remove(wal);
  EXPECT_GE(open().value()->lost_transactions(), acknowledged);
  acknowledged = write_and_kill(100, 5) - 99;
  flip_byte(wal, 17);  // in the salt
  EXPECT_GE(open().value()->lost_transactions(), acknowledged);
}

TEST_F(SqliteFile, a_refused_commit_is_tried_again_until_it_succeeds) {
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGXFSZ, &ignore, &before);
  auto store = open().value();
  store->put(Table::log, number_key(1), Bytes(1000, 1));
  commit(*store);
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit small{std::filesystem::file_size(file.string() + "-wal"), limit.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  bool done = false;
  store->put(Table::log, number_key(2), Bytes(100'000, 2));
  store->erase(Table::log, number_key(1));
  store->when_durable([&] { done = true; });
  store->seal();
  while (!store->trouble()) std::this_thread::yield();
  EXPECT_EQ(store->trouble()->code, Errc::io);
  EXPECT_TRUE(store->busy());
  EXPECT_FALSE(done);
  EXPECT_EQ(store->get(Table::log, number_key(1)).value(), Bytes(1000, 1));  // reading goes on
  ::setrlimit(RLIMIT_FSIZE, &limit);
  ASSERT_TRUE(loop.run_until([&] { return done; }));
  EXPECT_FALSE(store->trouble());
  EXPECT_EQ(store->get(Table::log, number_key(1)).value(), std::nullopt);
  EXPECT_EQ(store->get(Table::log, number_key(2)).value(), Bytes(100'000, 2));
  ::sigaction(SIGXFSZ, &before, nullptr);
}

TEST_F(SqliteFile, closing_while_the_disk_refuses_ends_with_an_error) {
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGXFSZ, &ignore, &before);
  auto store = open().value();
  rlimit limit{};
  ::getrlimit(RLIMIT_FSIZE, &limit);
  const rlimit none{0, limit.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &none);
  store->put(Table::log, number_key(2), Bytes(100'000, 2));
  const auto closed = store->close();
  ::setrlimit(RLIMIT_FSIZE, &limit);
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, Errc::io);
  ::sigaction(SIGXFSZ, &before, nullptr);
}

TEST_F(SqliteFile, the_wal_stays_short_under_load) {
  auto store = open().value();
  for (std::uint64_t number = 0; number < 60; ++number) {
    store->put(Table::log, number_key(number), Bytes(1 << 20, 7));
    commit(*store);
  }
  EXPECT_LT(std::filesystem::file_size(file.string() + "-wal"), 16u << 20);
  ASSERT_TRUE(store->close());
  store.reset();
  EXPECT_EQ(open().value()->lost_transactions(), 0u);
}

}  // namespace
}  // namespace diot
