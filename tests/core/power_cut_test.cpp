// A power cut at any moment: what the store has called durable is there afterwards, in whole transactions, and the
// database opens. Many cuts a run (tests/power_cut.hpp); DIOT_POWER_CUT_SEEDS for more runs.

#include "tests/power_cut.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "core/sqlite_store.hpp"
#include "tests/core/io_loop.hpp"
#include "tests/temporary_folder.hpp"

namespace diot {
namespace {

Bytes number_key(std::uint64_t number) {
  Bytes out;
  ByteWriter(out).u64(number);
  return out;
}

/// Two rows a transaction, which must be there together; their size is by chance, and their content their number's.
Bytes value_of(std::uint64_t number) {
  std::mt19937 random(static_cast<std::uint32_t>(number));
  return Bytes(random() % 4 ? 100 + random() % 400 : random() % 300'000, static_cast<std::uint8_t>(number));
}

struct Cut {
  std::unique_ptr<TemporaryFolder> folder;
  std::uint64_t acknowledged = 0;  ///< transactions, when the power failed
};

/// What is found after a cut.
struct Found {
  bool opened = false;
  std::uint64_t transactions = 0;  ///< whole ones without a gap, from the first
  std::uint64_t told_lost = 0;     ///< by the mark beside the WAL
};

class PowerCut {
 public:
  explicit PowerCut(std::uint32_t seed, bool syncs) : disks_(seed) { disks_.syncs = syncs; }

  /// Commits `transactions`, in two lives of the program, and cuts the power `cuts` times or so meanwhile.
  void run(std::uint64_t transactions, std::uint32_t cuts) {
    disks_.at_change = [this, odds = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(transactions) * 6 / cuts)] {
      if (disks_.chance(odds)) cut();
    };
    for (const std::uint64_t end : {transactions / 3, transactions}) live_until(end);
    disks_.at_change = {};
    cut();
    EXPECT_EQ(cuts_.back().acknowledged, transactions);
  }

  const std::vector<Cut>& cuts() const { return cuts_; }

  Found find(const Cut& cut) {
    Found out;
    auto store = SqliteStore::open(cut.folder->path() + "/db", loop_.poster());
    if (!store) {
      ADD_FAILURE() << store.error().message;
      return out;
    }
    out.opened = true;
    out.told_lost = (*store)->lost_transactions();
    const auto there = [&](Table table, std::uint64_t number) {
      const auto row = (*store)->get(table, number_key(number));
      EXPECT_TRUE(row) << row.error().message;
      if (!row || !*row) return false;
      EXPECT_EQ(**row, value_of(number));
      return true;
    };
    while (there(Table::log, out.transactions + 1)) ++out.transactions;
    for (std::uint64_t number = 1; number <= out.transactions; ++number)
      EXPECT_TRUE(there(Table::queue, number)) << "half of transaction " << number;
    for (std::uint64_t ahead = 1; ahead < 10; ++ahead)
      EXPECT_FALSE(there(Table::queue, out.transactions + ahead)) << "a transaction behind a gap";
    // It goes on from there.
    (*store)->put(Table::log, number_key(out.transactions + 1), value_of(out.transactions + 1));
    EXPECT_TRUE((*store)->close());
    return out;
  }

 private:
  void live_until(std::uint64_t end) {
    auto store = SqliteStore::open(file_, loop_.poster()).value();
    while (next_ <= end) {
      store->put(Table::log, number_key(next_), value_of(next_));
      store->put(Table::queue, number_key(next_), value_of(next_));
      store->when_durable([this, number = next_] { acknowledged_ = number; });
      store->seal();
      ASSERT_TRUE(loop_.run_until([&] { return acknowledged_ + 1 >= next_; }, [&] { store->seal(); }));
      ++next_;
    }
    ASSERT_TRUE(loop_.run_until([&] { return acknowledged_ == end; }, [&] { store->seal(); }));
  }

  void cut() {
    Cut cut{std::make_unique<TemporaryFolder>(), acknowledged_};
    disks_.take(folder_.path(), cut.folder->path());
    // The mark is written without a sync of its own, so that it is found as it is now or as it was last cleared.
    if (disks_.chance(2)) {
      std::error_code none;
      std::filesystem::copy_file(file_.string() + ".mark", cut.folder->path() + "/db.mark", none);
    }
    cuts_.push_back(std::move(cut));
  }

  TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.path() + "/db";
  PowerCuts disks_;
  test::IoLoop loop_;
  std::uint64_t next_ = 1;
  std::atomic<std::uint64_t> acknowledged_ = 0;
  std::vector<Cut> cuts_;
};

TEST(PowerCutTest, LosesNothingThatWasAcknowledged) {
  const char* const more = std::getenv("DIOT_POWER_CUT_SEEDS");
  const auto seeds = more ? static_cast<std::uint32_t>(std::stoul(more)) : 2;
  std::size_t cuts = 0, torn_off = 0;
  for (std::uint32_t seed = 1; seed <= seeds; ++seed) {
    PowerCut world(seed, true);
    world.run(120, 8);  // beyond the WAL's bound, so that checkpoints are cut too
    for (const Cut& cut : world.cuts()) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", cut behind transaction " << cut.acknowledged);
      const Found found = world.find(cut);
      ASSERT_TRUE(found.opened);
      EXPECT_GE(found.transactions, cut.acknowledged);
      EXPECT_LE(found.transactions, cut.acknowledged + 2);
      EXPECT_EQ(found.told_lost, 0u);
      ++cuts;
      torn_off += found.transactions == cut.acknowledged;
    }
  }
  std::printf("%zu cuts; in %zu what was under way is not there\n", cuts, torn_off);
  EXPECT_GT(cuts, 5u * seeds);
  EXPECT_GT(torn_off, 0u);
}

/// What the test above is worth: a disk that does not sync loses, and the mark beside the WAL says so where it survived.
TEST(PowerCutTest, ADiskThatLiesAboutSyncsIsFoundOut) {
  std::size_t lost = 0, told = 0;
  for (std::uint32_t seed = 1; seed <= 2; ++seed) {
    PowerCut world(seed, false);
    world.run(30, 12);
    for (const Cut& cut : world.cuts()) {
      auto store = SqliteStore::open(cut.folder->path() + "/db", [](const auto&) {});
      if (!store) {
        ++lost;  // the database itself is damaged
        continue;
      }
      const auto last = (*store)->get(Table::log, number_key(cut.acknowledged));
      lost += cut.acknowledged > 0 && (!last || !*last);
      told += (*store)->lost_transactions() > 0;
    }
  }
  EXPECT_GT(lost, 5u);
  EXPECT_GT(told, 0u);
}

}  // namespace
}  // namespace diot
