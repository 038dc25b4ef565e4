// Witnesses and followers of one ledger under faults, some of the witnesses lying (tests/sim/ledger_world.hpp).

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/sim/ledger_world.hpp"

namespace diot::sim {
namespace {

std::string text_of(const LedgerReport& report) {
  std::string out = "again: tools/sim --ledger --seed " + std::to_string(report.seed) + " --verbose\n";
  for (const auto& violation : report.violations)
    out += std::to_string(violation.when.count() / 1000) + " ms  " + std::string(name_of(violation.invariant)) + ": " +
           violation.what + "\n";
  return out;
}

bool has(const LedgerReport& report, LedgerInvariant invariant) {
  return std::ranges::any_of(report.violations, [&](const auto& it) { return it.invariant == invariant; });
}

/// Split, so that ctest runs them side by side.
class LedgerSeeds : public testing::TestWithParam<std::uint64_t> {};

TEST_P(LedgerSeeds, KeepOneHistory) {
  std::uint64_t blocks = 0, crashes = 0, rounds = 0, snapshots = 0, changes = 0, caught = 0, accused = 0, updates = 0;
  for (std::uint64_t seed = GetParam(); seed < GetParam() + 40; ++seed) {
    LedgerOptions options;
    options.seed = seed;
    const auto report = LedgerWorld(options).run();
    EXPECT_TRUE(report.violations.empty()) << text_of(report);
    blocks += report.blocks;
    crashes += report.crashes;
    rounds += report.rounds;
    snapshots += report.snapshots;
    changes += report.changes;
    updates += report.updates;
    caught += report.caught;
    accused += report.accused;
  }
  EXPECT_GT(blocks, 40u * 2) << "blocks are made";
  EXPECT_GT(crashes, 40u) << "processes die";
  EXPECT_GT(updates, 20u) << "records change";
  EXPECT_GT(snapshots, 0u) << "nodes go on with snapshots";
  EXPECT_GT(changes, 0u) << "witnesses change";
  EXPECT_GT(caught, 0u) << "double votes are seen";
  EXPECT_GT(accused, 0u) << "and who cast them is named in the ledger";
  EXPECT_GT(rounds, 0u) << "and not every block is decided in its first round";
}
INSTANTIATE_TEST_SUITE_P(LedgerSimulation, LedgerSeeds, testing::Range<std::uint64_t>(1, 201, 40));

TEST(LedgerSimulation, NodesShareTheOldBlocksAndLoseNone) {
  std::uint64_t dropped = 0, snapshots = 0;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    LedgerOptions options;
    options.seed = seed;
    options.witnesses = 4;
    options.followers = 4;
    options.long_past = true;
    const auto report = LedgerWorld(options).run();
    ASSERT_TRUE(report.violations.empty()) << text_of(report);
    dropped += report.dropped;
    snapshots += report.snapshots;
  }
  EXPECT_GT(dropped, 0u);
  EXPECT_GT(snapshots, 0u);
}

TEST(LedgerSimulation, EachLieOfAThirdIsBorne) {
  for (std::uint8_t lie = 0; lie < static_cast<std::uint8_t>(Lie::count_); ++lie) {
    LedgerOptions options;
    options.seed = 500 + lie;
    options.witnesses = 7;
    options.liars = 2;
    options.lie = static_cast<Lie>(lie);
    const auto report = LedgerWorld(options).run();
    EXPECT_TRUE(report.violations.empty()) << "lie " << int{lie} << ": " << text_of(report);
  }
}

TEST(LedgerSimulation, MoreLiarsThanAThirdForkItAndTheCheckerSees) {
  bool forked = false;
  for (std::uint64_t seed = 1; seed <= 60 && !forked; ++seed) {
    LedgerOptions options;
    options.seed = seed;
    options.witnesses = 4;
    options.liars = 2;
    options.lie = Lie::collude;
    forked = has(LedgerWorld(options).run(), LedgerInvariant::one_block);
  }
  EXPECT_TRUE(forked);
}

TEST(LedgerSimulation, ALedgerWithTooFewWitnessesHaltsAndTheCheckerSees) {
  LedgerOptions options;
  options.seed = 3;
  options.witnesses = 4;
  options.liars = 2;
  options.lie = Lie::silent;
  const auto report = LedgerWorld(options).run();
  EXPECT_TRUE(has(report, LedgerInvariant::progress)) << text_of(report);
  EXPECT_FALSE(has(report, LedgerInvariant::one_block));
}

struct BrokenLedger {
  LedgerSabotage sabotage;
  LedgerInvariant caught_as;
};
class LedgerCheckers : public testing::TestWithParam<BrokenLedger> {};

TEST_P(LedgerCheckers, SeeABrokenRule) {
  // In a world that is whole otherwise.
  LedgerOptions options;
  options.witnesses = 4;
  options.followers = 2;
  options.liars = 0;
  options.faults = false;
  const auto whole = LedgerWorld(options).run();
  EXPECT_TRUE(whole.violations.empty()) << text_of(whole);
  options.sabotage = GetParam().sabotage;
  const auto report = LedgerWorld(options).run();
  EXPECT_TRUE(has(report, GetParam().caught_as)) << text_of(report);
}
INSTANTIATE_TEST_SUITE_P(LedgerSimulation, LedgerCheckers,
                         testing::Values(BrokenLedger{LedgerSabotage::turn_back, LedgerInvariant::time},
                                         BrokenLedger{LedgerSabotage::other_state, LedgerInvariant::state},
                                         BrokenLedger{LedgerSabotage::other_states, LedgerInvariant::state},
                                         BrokenLedger{LedgerSabotage::stranger_acts, LedgerInvariant::rules},
                                         BrokenLedger{LedgerSabotage::second_owner, LedgerInvariant::owners},
                                         BrokenLedger{LedgerSabotage::misquote, LedgerInvariant::told},
                                         BrokenLedger{LedgerSabotage::halt, LedgerInvariant::progress},
                                         BrokenLedger{LedgerSabotage::lose_block, LedgerInvariant::kept},
                                         BrokenLedger{LedgerSabotage::lose_blocks, LedgerInvariant::kept}),
                         [](const auto& test) { return std::string(name_of(test.param.sabotage)); });

TEST(LedgerSimulation, RepeatsItself) {
  LedgerOptions options;
  options.seed = 11;
  const auto first = LedgerWorld(options).run(), second = LedgerWorld(options).run();
  EXPECT_EQ(first.hash, second.hash);
  EXPECT_EQ(first.steps, second.steps);
  options.seed = 12;
  EXPECT_NE(LedgerWorld(options).run().hash, first.hash);
}

TEST(LedgerSimulation, AnIdleLedgerMakesACheckpointEachHour) {
  for (const std::size_t witnesses : {1u, 4u}) {
    LedgerOptions options;
    options.witnesses = witnesses;
    options.followers = 1;
    options.liars = 0;
    options.faults = false;
    const auto report = LedgerWorld(options).rest(2h + 10min);
    EXPECT_TRUE(report.violations.empty()) << text_of(report);
    EXPECT_EQ(report.blocks, 3u) << "with " << witnesses;
    EXPECT_EQ(report.rounds, 0u);
  }
}

}  // namespace
}  // namespace diot::sim
