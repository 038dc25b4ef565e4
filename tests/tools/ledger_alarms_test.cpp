// What people are told of two histories and of new rules.

#include "tools/app/ledger_alarms.hpp"

#include <gtest/gtest.h>

#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;
using ::testing::HasSubstr;
using ::testing::Not;

/// Block 1 against itself, as the texts look at rounds and witnesses only.
Fork fork_of(const World& world, std::uint32_t their_round) {
  const auto side = fork_side(decode_block(world.blocks.back()).value());
  Fork out{start_ms, alice.node.node_id(), side, side};
  out.theirs.block.round = their_round;
  return out;
}

TEST(LedgerAlarms, WhoSignedTwoBlocksOfOneRoundIsAccused) {
  World one(1), four(4);
  const auto lone = one.ledger(), several = four.ledger();
  EXPECT_THAT(fork_text(fork_of(one, 0), lone), HasSubstr("The registrar signed both"));
  EXPECT_THAT(fork_text(fork_of(four, 0), several),
              HasSubstr("in one round, or run from old backups, and are accused"));
}

TEST(LedgerAlarms, TwoRoundsNameNobody) {
  World four(4);
  const auto ledger = four.ledger();
  const auto fork = fork_of(four, 1);
  EXPECT_TRUE(double_votes_in(fork, ledger.witnesses()).empty());
  EXPECT_THAT(fork_text(fork, ledger), HasSubstr("of nobody by name"));
  EXPECT_THAT(fork_text(fork, ledger), Not(HasSubstr("accused")));
}

TEST(LedgerAlarms, APlannedUpgradeSaysWhatItDoesToAProgramThatDoesNotKnowIt) {
  EXPECT_EQ(upgrade_text({1, 1, 7}), "rules version 1 for the ledger from block 7 on");
  EXPECT_THAT(upgrade_text({1, 2, 7}), HasSubstr("it knows version 1. Install a newer one"));
}

}  // namespace
}  // namespace diot
