// Old blocks that come and go in any order: a disk always knows what it has, starts from it, and can give it on.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/ledger/history_fetch.hpp"
#include "core/ledger/placement.hpp"
#include "core/ledger/storage.hpp"
#include "core/memory_store.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

class LedgerHistoryWalk : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  /// Blocks of 0 to 150 entries, so that a tile is parts of many blocks or a block ends two tiles; then 40 days.
  void SetUp() override {
    for (std::uint64_t i = 0; i < 150; ++i) {
      const auto& home = homes.emplace_back(fmt::format("home-{}", i), 100 + i);
      world.genesis.founding.push_back(make_register(home.registration(), {}, {}, home.owner, {home.node}, nullptr));
    }
    world.refound();
    ledger.emplace(world.ledger());
    while (ledger->tiles().size() < 8) pass(random.u64() % 4 == 0 ? random.u64() % 3 : random.u64() % 150);
    world.now += 40 * day_ms;
    pass(1);
    for (std::size_t at = 0; at < world.blocks.size(); ++at)
      whole.put(Table::block, block_key(at + 1), world.blocks[at]);
    whole.seal();
    for (const auto& [key, block] : whole.rows(Table::block)) disk.put(Table::block, key, block);
    disk.seal();
    for (const auto& unit : history_units(*ledger)) units.push_back(unit.blocks);
  }
  /// A day later, a block with so many entries.
  void pass(std::uint64_t entries) {
    world.now += day_ms;
    std::vector<Bytes> updates;
    for (std::uint64_t i = 0; i < entries; ++i)
      updates.push_back(
          make_update(*ledger->handle(homes[i].handle), ledger->network(), ledger->head(), homes[i].owner, {}));
    ASSERT_EQ(why(world.commit(*ledger, updates)), "");
  }
  bool here(std::uint64_t height) const { return !gone.contains(height); }
  bool here(const BlockRange& range) const {
    const auto first_gone = gone.lower_bound(range.from);
    return first_gone == gone.end() || *first_gone > range.to;
  }

  void drop() {
    std::vector<BlockRange> ranges;
    for (const auto& unit : units)
      if (here(unit) && random.u64() % 3 == 0) ranges.push_back(unit);
    auto missing = stored_missing(disk).value();
    ASSERT_EQ(why(store_state(*ledger, ranges, missing, disk)), "");
    EXPECT_EQ((disk.seal(), stored_missing(disk).value()), missing);
    for (const auto& [from, to] : ranges)
      for (auto height = from; height <= to; ++height) gone.insert(height);
  }

  /// None of them is needed where all blocks are.
  void damage_a_record() {
    auto& rows = disk.rows(Table::meta);
    const auto record = rows.lower_bound(record_key(""));
    if (gone.empty() && record != rows.end()) disk.damage(Table::meta, record->first);
  }

  /// Some of what is missing, not always in whole units, from whoever has everything; the process may die meanwhile.
  void fetch() {
    HistoryFetch fetch(*ledger, disk, stored_missing(disk).value());
    std::vector<BlockRange> goal;
    for (auto [from, to] : fetch.missing()) {
      if (random.u64() % 2 == 0) continue;
      if (random.u64() % 2 == 0) from += random.u64() % (to - from + 1);
      if (random.u64() % 2 == 0) to -= random.u64() % (to - from + 1);
      goal.push_back({from, to});
    }
    fetch.aim(goal);
    for (auto left = random.u64() % 200; !fetch.done() && left > 0;) {
      const auto ask = decode_ask(fetch.ask());
      ASSERT_TRUE(ask);
      ASSERT_EQ(why(fetch.take(answer_ask(*ask, *ledger, whole), 0)), "");
      for (; fetch.has_waiting() && left > 0; --left) {
        const auto height = fetch.next();
        ASSERT_EQ(why(fetch.judge_next()), "");
        gone.erase(height);
      }
    }
    disk.seal();
  }

  void check() {
    std::set<std::uint64_t> missing;
    const auto ranges = stored_missing(disk).value();
    for (const auto& [from, to] : ranges)
      for (auto height = from; height <= to; ++height) missing.insert(height);
    EXPECT_EQ(missing, gone);
    for (std::uint64_t height = 1; height <= ledger->head().height; ++height)
      EXPECT_EQ(disk.rows(Table::block).contains(block_key(height)), here(height)) << height;
    const auto loaded = load_ledger(world.genesis_bytes, disk);
    ASSERT_TRUE(loaded) << why(loaded);
    EXPECT_EQ(loaded->head(), ledger->head());
    EXPECT_EQ(loaded->handles(), ledger->handles());
    EXPECT_EQ(loaded->log_root(), ledger->log_root());
    // Whoever gets a unit from this disk alone can judge it.
    for (const auto& unit : units) {
      if (!here(unit)) continue;
      MemoryStore other;
      HistoryFetch all(*ledger, other, {{1, units.back().to}});
      all.aim({unit});
      while (!all.done()) {
        ASSERT_EQ(why(all.take(answer_ask(decode_ask(all.ask()).value(), *loaded, disk), 0)), "")
            << fmt::format("blocks {} to {}", unit.from, unit.to);
        while (all.has_waiting()) ASSERT_EQ(why(all.judge_next()), "");
      }
    }
  }

  SeededRandom random{GetParam()};
  World world;
  std::vector<Home> homes;
  std::optional<Ledger> ledger;
  MemoryStore whole, disk;
  std::vector<BlockRange> units;
  std::set<std::uint64_t> gone;  ///< what must be missing on `disk`
};

TEST_P(LedgerHistoryWalk, KeepsADiskThatKnowsWhatItHas) {
  ASSERT_GE(units.size(), 5u);
  for (int step = 0; step < 30; ++step) {
    switch (random.u64() % 5) {
      case 0: damage_a_record(); break;
      case 1:
      case 2: drop(); break;
      default: fetch();
    }
    check();
    if (HasFailure()) FAIL() << "at step " << step;
  }
}
INSTANTIATE_TEST_SUITE_P(Seeds, LedgerHistoryWalk, ::testing::Range<std::uint64_t>(1, 5));

}  // namespace
}  // namespace diot
