// Two histories of one network: what proves them, and what does not.

#include <gtest/gtest.h>

#include "core/ledger/fork.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

struct LedgerForks : ::testing::Test {
  explicit LedgerForks(std::size_t witnesses = 1) : world(witnesses) {
    EXPECT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000)})), "");
  }
  World world;
  Ledger ledger = world.ledger();

  /// Another block on top of the blocks so far, and what it decodes to; `time` makes it another one.
  BlockView rival(std::vector<KeyPair> deciders, WallMs later = 1) {
    World other = world;
    other.witnesses = std::move(deciders);
    return decode_block(other.decide(world.ledger().propose({}, world.now + later).value())).value();
  }
};
struct LedgerForksOfFour : LedgerForks {
  LedgerForksOfFour() : LedgerForks(4) {}
};

TEST_F(LedgerForks, ARegistrarThatSignsTwoBlocksOfOneHeightIsSeen) {
  const auto other = rival(world.witnesses);
  ASSERT_EQ(why(world.pass(ledger)), "");  // block 3, and one behind it
  ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_EQ(why(ledger.check_rival(other)), "");
  EXPECT_EQ(ledger.head().height, 4u) << "and nothing changes";
}

TEST_F(LedgerForks, WhatNobodyDecidedIsNone) {
  const auto forged = rival({test_key(99)});
  auto unsigned_one = rival(world.witnesses);
  unsigned_one.votes.clear();
  const auto elsewhere = [&] {
    auto out = rival(world.witnesses);
    out.header.previous.bytes[0] ^= 1;
    return decode_block(world.decide({out.header, out.entries})).value();
  }();
  const auto ahead = rival(world.witnesses);
  EXPECT_REFUSED(ledger.check_rival(ahead), Errc::invalid, "no other block here");
  ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_REFUSED(ledger.check_rival(forged), Errc::invalid, "not signed");
  EXPECT_REFUSED(ledger.check_rival(unsigned_one), Errc::invalid, "0 of 1");
  EXPECT_REFUSED(ledger.check_rival(elsewhere), Errc::invalid, "does not follow block 2");
  EXPECT_REFUSED(ledger.check_rival(decode_block(world.blocks[2]).value()), Errc::invalid, "no other block here");
}

TEST_F(LedgerForksOfFour, MoreThanTwoThirdsOfTheWitnessesMakeOne) {
  auto other = rival(world.witnesses);
  ASSERT_EQ(why(world.pass(ledger)), "");
  other.votes.pop_back();
  EXPECT_EQ(why(ledger.check_rival(other)), "");
  other.votes.pop_back();
  EXPECT_REFUSED(ledger.check_rival(other), Errc::invalid, "2 of 4");
}

TEST_F(LedgerForks, ASuccessionAndABlockOfTheOldWitnessesContradictEachOther) {
  const auto heir = test_key(30), succession_key = test_key(9);
  const WitnessSet set{{{heir.public_key(), bob.node.node_id()}}, true};
  const auto block_of = [&](const Bytes& entry) {
    World heirs = world;
    heirs.witnesses = {heir};
    return heirs.decide(ledger.propose_succession(entry).value());
  };
  const auto taken = block_of(world.entry(ledger, SuccessionBody{1, set}, {succession_key, heir}));
  const auto regular = rival(world.witnesses);
  {
    Ledger succeeded = world.ledger();
    ASSERT_EQ(why(succeeded.append(taken)), "");
    EXPECT_EQ(why(succeeded.check_rival(regular)), "") << "seen by who follows the heirs";
  }
  ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_EQ(why(ledger.check_rival(decode_block(taken).value())), "") << "and by who follows the old one";

  auto early = decode_block(taken).value();
  early.header.time -= 1;
  World heirs = world;
  heirs.witnesses = {heir};
  EXPECT_REFUSED(ledger.check_rival(decode_block(heirs.decide({early.header, early.entries})).value()), Errc::invalid,
                 "72 hours");
  auto stolen = decode_block(taken).value();
  stolen.entries = {make_entry(SuccessionBody{1, set}, ledger.network(), {2, *ledger.block_at(2)}, {heir})};
  EXPECT_REFUSED(ledger.check_rival(stolen), Errc::not_permitted, "succession key");
}

TEST_F(LedgerForksOfFour, AreKeptAsTheyWereSeenAndNameWhoSignedBoth) {
  const auto other = rival(world.witnesses);
  ASSERT_EQ(why(world.pass(ledger)), "");
  const Fork fork{world.now, bob.node.node_id(), fork_side(decode_block(world.blocks[2]).value()), fork_side(other)};
  const auto bytes = encode_forks({fork, fork});
  const auto read = decode_forks(bytes);
  ASSERT_TRUE(read) << why(read);
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[1].height(), 3u);
  EXPECT_EQ((*read)[1].their_block(), other.hash);
  EXPECT_EQ((*read)[1].our_block(), *ledger.block_at(3));
  EXPECT_EQ(encode_forks(*read), bytes);
  for (std::size_t cut = 0; cut < bytes.size(); cut += 7) EXPECT_FALSE(decode_forks(ByteView(bytes).first(cut))) << cut;

  const auto lies = double_votes_in((*read)[0], ledger.witnesses_at(3).keys());
  ASSERT_EQ(lies.size(), 4u);
  for (const auto& lie : lies) EXPECT_EQ(why(check_double_vote(lie, ledger.network())), "");
}

}  // namespace
}  // namespace diot
