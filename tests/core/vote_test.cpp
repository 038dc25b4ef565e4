#include "core/ledger/vote.hpp"

#include <gmock/gmock.h>

#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace testing;

const NetworkId network = NetworkId::from(sha256(as_bytes("a network"))).value();
const KeyPair witness = test_key(10), stranger = test_key(11);
const Hash block_a = sha256(as_bytes("a")), block_b = sha256(as_bytes("b")), nil{};

Vote vote(VoteKind kind, std::uint64_t height, std::uint32_t round, const Hash& block, WallMs time = start_ms) {
  Vote out{kind, height, round, block, time, 0, {}};
  sign_vote(out, network, witness);
  return out;
}

TEST(Vote, SurvivesTheWire) {
  auto out = vote(VoteKind::prevote, 7, 3, block_a);
  out.witness = 99;
  EXPECT_EQ(decode_vote(encode_vote(out)).value(), out);
  EXPECT_TRUE(check_vote(out, network, witness.public_key()));
}

TEST(Vote, IsOfOneKeyAndNetworkAndEveryFieldCounts) {
  const auto good = vote(VoteKind::precommit, 7, 3, block_a);
  EXPECT_FALSE(check_vote(good, network, stranger.public_key()));
  EXPECT_FALSE(check_vote(good, NetworkId{}, witness.public_key()));
  auto changed = [&](auto change) {
    auto out = good;
    change(out);
    return check_vote(out, network, witness.public_key());
  };
  EXPECT_FALSE(changed([](Vote& it) { it.kind = VoteKind::prevote; }));
  EXPECT_FALSE(changed([](Vote& it) { ++it.height; }));
  EXPECT_FALSE(changed([](Vote& it) { ++it.round; }));
  EXPECT_FALSE(changed([](Vote& it) { it.block = nil; }));
  EXPECT_FALSE(changed([](Vote& it) { ++it.time; }));
  EXPECT_TRUE(changed([](Vote& it) { ++it.witness; })) << "the key says whose it is";
}

TEST(Vote, OfAnotherFormIsRefused) {
  const auto bytes = encode_vote(vote(VoteKind::prevote, 7, 3, block_a));
  EXPECT_FALSE(decode_vote(ByteView(bytes).first(bytes.size() - 1)));
  auto kind = bytes;
  kind[1] = 0;
  EXPECT_REFUSED(decode_vote(kind), Errc::invalid, "malformed vote");
  kind[1] = 3;
  EXPECT_FALSE(decode_vote(kind));
  auto longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(decode_vote(longer));
}

TEST(DoubleVote, ProvesThatOneKeySignedTwoBlocks) {
  for (const auto kind : {VoteKind::prevote, VoteKind::precommit})
    for (const auto& other : {block_b, nil}) {
      const auto evidence =
          make_double_vote(witness.public_key(), vote(kind, 7, 3, block_a), vote(kind, 7, 3, other, start_ms + 5));
      const auto read = decode_double_vote(encode_double_vote(evidence));
      ASSERT_TRUE(read) << why(read);
      EXPECT_EQ(why(check_double_vote(*read, network)), "");
      EXPECT_EQ(read->witness, witness.public_key());
      EXPECT_EQ(read->first, evidence.first);
      EXPECT_EQ(read->second, evidence.second);
    }
}

TEST(DoubleVote, IsTheSameWhicheverVoteWasSeenFirst) {
  const auto one = vote(VoteKind::prevote, 7, 3, block_a), other = vote(VoteKind::prevote, 7, 3, block_b);
  EXPECT_EQ(encode_double_vote(make_double_vote(witness.public_key(), one, other)),
            encode_double_vote(make_double_vote(witness.public_key(), other, one)));
}

TEST(DoubleVote, OfOneBlockProvesNothing) {
  const auto twice = make_double_vote(witness.public_key(), vote(VoteKind::prevote, 7, 3, block_a),
                                      vote(VoteKind::prevote, 7, 3, block_a, start_ms + 5));
  EXPECT_REFUSED(decode_double_vote(encode_double_vote(twice)), Errc::invalid, "proves nothing");
}

TEST(DoubleVote, OfDifferentRoundsCannotBeWritten) {
  // The second vote is read with the round of the first, and then its signature is wrong.
  const auto apart = make_double_vote(witness.public_key(), vote(VoteKind::prevote, 7, 3, block_a),
                                      vote(VoteKind::prevote, 7, 4, block_b));
  const auto read = decode_double_vote(encode_double_vote(apart));
  ASSERT_TRUE(read);
  EXPECT_REFUSED(check_double_vote(*read, network), Errc::invalid, "not signed by");
}

TEST(DoubleVote, AccusesNobodyElse) {
  auto evidence = make_double_vote(witness.public_key(), vote(VoteKind::prevote, 7, 3, block_a),
                                   vote(VoteKind::prevote, 7, 3, block_b));
  evidence.witness = stranger.public_key();
  EXPECT_REFUSED(check_double_vote(evidence, network), Errc::invalid, "not signed by");
}

TEST(LedgerProposal, IsJudgedWithoutVotesAndChangesNothing) {
  World world(4);
  auto ledger = world.ledger();
  const auto good = ledger.propose({world.join(ledger, bob, 1000)}, world.now).value();
  const auto before = ledger.map_root();
  EXPECT_EQ(why(ledger.check_proposal(good.header, good.entries)), "");
  EXPECT_EQ(why(ledger.check_proposal(good.header, good.entries)), "") << "the first time changed nothing";
  EXPECT_EQ(ledger.head().height, 1u);
  EXPECT_EQ(ledger.map_root(), before);
  EXPECT_EQ(ledger.handle("bob"), nullptr);
  EXPECT_EQ(ledger.witnesses(), world.genesis.witnesses);

  auto bad = good;
  bad.header.map_root.bytes[0] ^= 1;
  EXPECT_REFUSED(ledger.check_proposal(bad.header, bad.entries), Errc::invalid, "map root");
  bad = good;
  bad.entries.clear();
  EXPECT_REFUSED(ledger.check_proposal(bad.header, bad.entries), Errc::invalid, "counts");
  bad = good;
  bad.header.time = start_ms - 1;
  EXPECT_REFUSED(ledger.check_proposal(bad.header, bad.entries), Errc::invalid, "time");
  EXPECT_EQ(why(ledger.append(world.decide(good))), "") << "refused ones left no trace";
}

}  // namespace
}  // namespace diot
