#include "core/ledger/agreement.hpp"

#include <gmock/gmock.h>

#include "tests/core/agreement_world.hpp"

namespace diot {
namespace {

using namespace testing;
using namespace std::chrono_literals;
using Kind = Agreement::Send::Kind;

Bytes bob_joins(Witnesses& group) { return group.world.join(group[0].ledger, bob, 1000); }
/// Who proposes block 2 in a round.
std::size_t proposer(const Witnesses& group, std::uint32_t round) { return (2 + round) % group.members.size(); }

Vote vote_by(Witnesses& group, std::size_t witness, VoteKind kind, std::uint32_t round, const Hash& block,
             std::uint64_t height = 2) {
  Vote out{kind, height, round, block, start_ms, static_cast<std::uint32_t>(witness), {}};
  sign_vote(out, group[0].ledger.network(), group.world.witnesses[witness]);
  return out;
}
Agreement::Send message(const Vote& vote) { return {Kind::vote, encode_vote(vote)}; }
const Hash block_a = sha256(as_bytes("a")), block_b = sha256(as_bytes("b")), nil{};

// Agreeing --------------------------------------------------------------------------------------------------------

class AgreementOf : public ::testing::TestWithParam<std::size_t> {};

TEST_P(AgreementOf, WitnessesTakesOneRoundAndNoTime) {
  Witnesses group(GetParam());
  group.submit(bob_joins(group));
  group.deliver();
  for (auto& member : group.members) {
    EXPECT_EQ(member->ledger.head().height, 2u);
    EXPECT_NE(member->ledger.handle("bob"), nullptr);
    EXPECT_EQ(member->ledger.head(), group[0].ledger.head());
    EXPECT_FALSE(member->agreement->started()) << "and then there is no reason for another block";
  }
  EXPECT_EQ(decode_block(group.decided[0])->round, 0u);
}
INSTANTIATE_TEST_SUITE_P(N, AgreementOf, ::testing::Values(2, 3, 4, 5, 7, 10));

TEST(Agreement, RestsWhileNothingWaits) {
  Witnesses group(4);
  group.pass(30min);
  EXPECT_EQ(group[0].ledger.head().height, 1u);
  EXPECT_GT(group[0].agreement->wake_at(), group.clock.monotonic() + 20min);
}

TEST(Agreement, MakesACheckpointOfFreshnessEachHour) {
  Witnesses group(4);
  for (int minutes = 0; minutes < 125; ++minutes) group.pass(1min);
  EXPECT_EQ(group[0].ledger.head().height, 3u);
  EXPECT_EQ(group[0].ledger.head(), group[3].ledger.head());
  EXPECT_TRUE(decode_block(group.decided[0])->entries.empty());
}

TEST(Agreement, GoesOnWithoutAThird) {
  Witnesses group(4);
  group.stop(proposer(group, 0));  // the first proposer, of all
  group.submit(bob_joins(group));
  EXPECT_TRUE(group.reach(2));
  EXPECT_EQ(decode_block(group.decided[0])->round, 1u);
}

TEST(Agreement, HaltsWithTwoThirdsOrFewerAndGoesOnWhenTheyAreBack) {
  Witnesses group(4);
  group.stop(0);
  group.stop(1);
  group.submit(bob_joins(group));
  EXPECT_FALSE(group.reach(2));
  group.restart(1);
  group.repair();
  EXPECT_TRUE(group.reach(2));
}

TEST(Agreement, BlocksOfTheNextHeightThatComeEarlyAreKept) {
  Witnesses group(4);
  // Witness 3 hears everything, but a whole block late.
  std::vector<Witnesses::Flight> late;
  group.drop = [&](std::size_t from, std::size_t to, const Agreement::Send& message) {
    if (to == 3) late.push_back({from, to, message});
    return to == 3;
  };
  group.submit(bob_joins(group));
  group.deliver();
  ASSERT_EQ(group[0].ledger.head().height, 2u);
  group.submit(group.world.join(group[0].ledger, carol, 1001));
  group.deliver();
  group.drop = nullptr;
  if (group[0].ledger.head().height == 2) group.reach(3);
  for (auto& flight : late) group.flights.push_back(std::move(flight));
  group.deliver();
  EXPECT_EQ(group[3].ledger.head().height, 3u);
}

// Proposals -------------------------------------------------------------------------------------------------------

TEST(Agreement, DoesNotVoteForABlockThatBreaksARule) {
  Witnesses group(4);
  auto made = group[0].ledger.propose({bob_joins(group)}, start_ms).value();
  made.header.map_root = block_a;
  ProposalMessage bad;
  bad.header = made.header;
  bad.entries = made.entries;
  sign_proposal(bad, group.world.witnesses[proposer(group, 0)]);
  group.stop(proposer(group, 0));
  for (std::size_t to : {0u, 1u, 3u}) EXPECT_TRUE(group.hand(to, {Kind::proposal, encode_proposal(bad)}).value());
  group.submit(bob_joins(group));
  EXPECT_TRUE(group.reach(2));
  EXPECT_NE(decode_block(group.decided[0])->hash, bad.hash);
}

TEST(Agreement, OnlyWhoseTurnItIsProposes) {
  Witnesses group(4);
  const auto made = group[0].ledger.propose({bob_joins(group)}, start_ms).value();
  ProposalMessage stray;
  stray.header = made.header;
  stray.entries = made.entries;
  sign_proposal(stray, group.world.witnesses[proposer(group, 1)]);
  EXPECT_REFUSED(group.hand(0, {Kind::proposal, encode_proposal(stray)}), Errc::invalid, "whose turn it is");
}

TEST(Agreement, VotesForNoNewBlockWhoseTimeIsNotNow) {
  for (const WallMs time : {start_ms + 61'000, start_ms + 3'600'000}) {
    Witnesses group(4);
    const auto made = group[0].ledger.propose({bob_joins(group)}, time).value();
    ProposalMessage early;
    early.header = made.header;
    early.entries = made.entries;
    sign_proposal(early, group.world.witnesses[proposer(group, 0)]);
    group.stop(proposer(group, 0));
    for (std::size_t to : {0u, 1u, 3u}) EXPECT_TRUE(group.hand(to, {Kind::proposal, encode_proposal(early)}));
    group.submit(bob_joins(group));
    EXPECT_TRUE(group.reach(2));
    EXPECT_LT(group[0].ledger.head_time(), time);
  }
}

TEST(Agreement, AnIdleBlockBeforeItsTimeGetsNoVote) {
  Witnesses group(4);
  const auto made = group[0].ledger.propose({}, start_ms).value();
  ProposalMessage idle;
  idle.header = made.header;
  sign_proposal(idle, group.world.witnesses[proposer(group, 0)]);
  EXPECT_TRUE(group.hand(0, {Kind::proposal, encode_proposal(idle)}));
  EXPECT_FALSE(group[0].agreement->started());
}

TEST(Agreement, ClocksThatAreWrongCostRoundsNotTheLedger) {
  Witnesses group(4);
  // Everybody's last block is ten minutes ahead of the clocks: time stands still until they are there.
  group.clock.advance(10min);
  const auto entry = bob_joins(group);
  group.submit(entry);
  ASSERT_TRUE(group.reach(2));
  group.clock.set_wall(start_ms);
  group.submit(group.world.join(group[0].ledger, carol, 1001));
  ASSERT_TRUE(group.reach(3));
  EXPECT_EQ(decode_block(group.decided[1])->header.time, decode_block(group.decided[0])->header.time);
}

// Locks -----------------------------------------------------------------------------------------------------------

TEST(Agreement, WhatSomebodyMayHaveDecidedIsProposedAgain) {
  Witnesses group(4);
  group.stop(3);
  // The three prevote the block of round 0. Of their precommits each hears one other's, and a nil of the liar.
  group.drop = [](std::size_t from, std::size_t to, const Agreement::Send& message) {
    if (message.kind == Kind::proposal) return false;
    const auto vote = decode_vote(message.bytes).value();
    return vote.kind == VoteKind::precommit && vote.height == 2 && vote.round == 0 && to != (from + 1) % 3;
  };
  group.submit(bob_joins(group));
  group.deliver();
  EXPECT_EQ(group[0].ledger.head().height, 1u);
  const auto locked = decode_vote(group[0].agreement->lacking({2, 0, true, {}}).front().bytes)->block;
  ASSERT_NE(locked, nil);
  for (std::size_t to : {0u, 1u, 2u}) {
    EXPECT_TRUE(group.hand(to, message(vote_by(group, 3, VoteKind::precommit, 0, nil))).value());
    group[to].pool.entries.clear();
  }
  // The next proposer has other entries, and may not propose them.
  group.submit(group.world.join(group[0].ledger, carol, 1001));
  ASSERT_TRUE(group.reach(2));
  EXPECT_EQ(decode_block(group.decided[0])->hash, locked);
  EXPECT_GT(decode_block(group.decided[0])->round, 0u);
  ASSERT_TRUE(group.reach(3)) << "the others' turn comes";
}

TEST(Agreement, WhoVotesForAnotherBlockLaterKeepsWhyItMay) {
  Witnesses group(4);
  group.stop(1);  // the liar, for whom the test speaks
  ASSERT_EQ(proposer(group, 0), 2u);
  ASSERT_EQ(proposer(group, 1), 3u);
  // Of round 0 only witness 0 sees that the block was prevoted by three, and locks on it.
  group.drop = [](std::size_t from, std::size_t, const Agreement::Send& message) {
    return message.kind == Kind::vote && from == 0 && decode_vote(message.bytes)->kind == VoteKind::prevote &&
           decode_vote(message.bytes)->round == 0;
  };
  group.submit(bob_joins(group));
  group.deliver();
  const auto proposal_of = [&](std::size_t from, std::uint32_t round) -> std::optional<ProposalMessage> {
    for (const auto& send : group[from].agreement->lacking({2, round, false, {}}))
      if (send.kind == Kind::proposal) return decode_proposal(send.bytes).value();
    return std::nullopt;
  };
  const auto first = proposal_of(2, 0)->hash;
  const auto liar_says = [&](VoteKind kind, std::uint32_t round, const Hash& block) {
    for (std::size_t to : {0u, 2u, 3u})
      if (kind != VoteKind::prevote || to != 0 || round != 0)
        (void)group.hand(to, message(vote_by(group, 1, kind, round, block)));
    group.deliver();
  };
  liar_says(VoteKind::prevote, 0, nil);
  liar_says(VoteKind::precommit, 0, nil);
  std::optional<ProposalMessage> second;
  for (int left = 100; left > 0 && !second; --left) {
    group.pass(100ms);
    second = proposal_of(3, 1);
  }
  ASSERT_TRUE(second) << "whoever is not locked proposes anew";
  ASSERT_NE(second->hash, first);
  EXPECT_EQ(group[0].justifications.size(), 1u) << "the second round: what it is locked on";
  liar_says(VoteKind::prevote, 1, second->hash);
  liar_says(VoteKind::precommit, 1, second->hash);
  ASSERT_TRUE([&] {
    for (int left = 600; left > 0 && group.decided.empty(); --left) group.pass(100ms);
    return !group.decided.empty();
  }());
  EXPECT_EQ(decode_block(group.decided[0])->hash, second->hash);

  // It precommitted both blocks, and can show that it was right to.
  const auto& kept = group[0].justifications;
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(std::pair(kept[0].round, kept[0].block), std::pair(0u, first));
  EXPECT_EQ(std::pair(kept[1].round, kept[1].block), std::pair(1u, second->hash));
  for (const auto& each : kept) {
    EXPECT_EQ(each.height, 2u);
    EXPECT_EQ(each.prevotes.size(), 3u);
    EXPECT_TRUE(check_justification(each, group[0].ledger.network()));
    EXPECT_EQ(decode_justification(encode_justification(each)).value(), each);
    auto forged = each;
    forged.block = block_a;
    EXPECT_FALSE(check_justification(forged, group[0].ledger.network()));
    forged = each;
    forged.prevotes[1] = forged.prevotes[0];
    EXPECT_FALSE(check_justification(forged, group[0].ledger.network())) << "nobody counts twice";
  }
}

TEST(Agreement, ABlockOfOneRoundTakesNoJustification) {
  Witnesses group(4);
  group.submit(bob_joins(group));
  ASSERT_TRUE(group.reach(2));
  for (auto& member : group.members) EXPECT_TRUE(member->justifications.empty());
}

// Memory ----------------------------------------------------------------------------------------------------------

TEST(AgreementMemory, AWitnessThatRestartsVotesTheSameAgain) {
  Witnesses group(4);
  group.drop = [](auto, auto, const auto&) { return true; };  // everybody votes and nobody hears
  group.submit(bob_joins(group));
  group.deliver();
  const auto before = group[2].agreement->state();
  for (std::size_t i = 0; i < 4; ++i) group.restart(i);
  EXPECT_EQ(group[2].agreement->state().votes, before.votes);
  group.drop = nullptr;
  group.repair();
  group.deliver();
  EXPECT_TRUE(group.reach(2));
  for (auto& member : group.members) EXPECT_TRUE(member->caught.empty()) << "nobody contradicted itself";
}

TEST(AgreementMemory, ARestartWithTheLockKeepsTheBlockAndItsProof) {
  Witnesses group(4);
  group.drop = [](std::size_t, std::size_t, const Agreement::Send& message) {
    return message.kind == Kind::vote && decode_vote(message.bytes)->kind == VoteKind::precommit;
  };
  group.submit(bob_joins(group));
  group.deliver();
  for (std::size_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(group[i].value) << "prevoted by more than two thirds";
    group[i].pool.entries.clear();
    group.restart(i);
  }
  group.drop = nullptr;
  group.repair();
  EXPECT_TRUE(group.reach(2));
  EXPECT_NE(group[0].ledger.handle("bob"), nullptr);
}

TEST(AgreementMemory, AfterAPowerCutEverywhereTheRoundsMeetAgain) {
  Witnesses group(4);
  group.stop(3);
  // Nobody hears the proposal, so that all precommit nil; of the precommits only witness 0 hears, and goes ahead.
  group.drop = [](std::size_t, std::size_t to, const Agreement::Send& message) {
    if (message.kind == Kind::proposal) return true;
    const auto vote = decode_vote(message.bytes).value();
    return vote.kind == VoteKind::precommit && vote.round == 0 && to != 0;
  };
  group.submit(bob_joins(group));
  for (int left = 100; left > 0 && group[0].agreement->round() == 0; --left) group.pass(100ms);
  ASSERT_EQ(group[0].agreement->round(), 1u);
  ASSERT_EQ(group[1].agreement->round(), 0u);
  for (std::size_t i = 0; i < 3; ++i) group.restart(i);
  group.drop = nullptr;
  for (int left = 300; left > 0 && group[0].ledger.head().height == 1; --left) {
    group.repair();
    group.pass(100ms);
  }
  EXPECT_EQ(group[0].ledger.head().height, 2u);
}

TEST(AgreementMemory, TwoWithoutALinkMeetAgainOverAThirdThatWentAhead) {
  // What a simulated world came to: witness 2, which proposed, shows its votes to some. 0 and 1 see the block prevoted and
  // precommit it; only 0 hears three precommits, and goes ahead; 3 hears nobody. Then all but 2 restart, with their own
  // votes, and 1 and 3 have a way to one another only over 0.
  Witnesses group(4);
  group.drop = [](std::size_t from, std::size_t to, const Agreement::Send& message) {
    return message.kind == Kind::vote && from + to != 1;
  };
  group.submit(bob_joins(group));
  group.deliver();
  const auto block = decode_vote(group[0].agreement->lacking({2, 0, true, {}}).front().bytes)->block;
  for (const std::size_t to : {0, 1})
    ASSERT_TRUE(group.hand(to, message(vote_by(group, 2, VoteKind::prevote, 0, block))));
  group.deliver();
  ASSERT_TRUE(group.hand(0, message(vote_by(group, 2, VoteKind::precommit, 0, nil))));
  group.stop(2);
  for (int left = 60; left > 0; --left) group.pass(100ms);
  ASSERT_EQ(group[0].agreement->round(), 1u);
  ASSERT_EQ(group[1].agreement->round(), 0u);
  ASSERT_EQ(group[3].agreement->round(), 0u);
  for (const std::size_t i : {0, 1, 3}) group.restart(i);
  group.drop = [](std::size_t from, std::size_t to, const auto&) { return from != 0 && to != 0; };
  for (int left = 60; left > 0 && group[0].ledger.head().height == 1; --left) {
    group.repair();
    group.pass(1s);
  }
  EXPECT_EQ(group[0].ledger.head().height, 2u);
}

TEST(AgreementMemory, MissingOrDamagedItDoesNotVote) {
  const auto refusal = [](auto change) {
    Witnesses group(4);
    group.drop = [](std::size_t, std::size_t, const Agreement::Send& message) {
      return message.kind == Kind::vote && decode_vote(message.bytes)->kind == VoteKind::precommit;
    };
    group.submit(bob_joins(group));
    group.deliver();
    change(group[0]);
    group.restart(0);
    const auto out = group[0].agreement->refusal();
    if (!out.empty()) {
      EXPECT_FALSE(group.hand(0, message(vote_by(group, 1, VoteKind::prevote, 0, nil))).value());
      EXPECT_TRUE(group[0].agreement->lacking(group[1].agreement->state()).empty());
    }
    return out;
  };
  using Member = Witnesses::Member;
  EXPECT_EQ(refusal([](Member&) {}), "") << "as it was it goes on";
  EXPECT_THAT(refusal([](Member& it) { it.memory.reset(); }), ::testing::HasSubstr("missing"));
  EXPECT_THAT(refusal([](Member& it) { it.memory->back() ^= 1; }), ::testing::HasSubstr("damaged"));
  EXPECT_THAT(refusal([](Member& it) { it.memory->resize(9); }), ::testing::HasSubstr("damaged"));
  EXPECT_THAT(refusal([](Member& it) { it.value->at(100) ^= 1; }), ::testing::HasSubstr("damaged"));
  EXPECT_THAT(refusal([](Member& it) { it.value.reset(); }), ::testing::HasSubstr("missing"));
  EXPECT_THAT(refusal([](Member& it) { it.memory = Agreement::new_memory(test_key(99).public_key(), 2); }),
              ::testing::HasSubstr("another key"));
}

TEST(AgreementMemory, OfABackupIsFoundOutByItsOwnVotes) {
  Witnesses group(4);
  const auto backup = group[0].memory;
  group.drop = [](std::size_t, std::size_t to, const Agreement::Send&) { return to == 0; };
  group[0].pool.entries.clear();
  group.submit(bob_joins(group));
  group.clock.advance(4s);
  group[0].agreement->tick();  // it heard nothing, and votes nil
  group.collect();
  const auto vote = group[0].agreement->lacking({2, 0, true, {}}).front();
  group[0].memory = backup;
  group[0].pool.entries.clear();
  group.restart(0);
  ASSERT_EQ(group[0].agreement->refusal(), "");
  EXPECT_FALSE(group.hand(0, vote).value());
  EXPECT_THAT(group[0].agreement->refusal(), ::testing::HasSubstr("restored from a backup"));
  group.collect();
  group.restart(0);
  EXPECT_THAT(group[0].agreement->refusal(), ::testing::HasSubstr("restored from a backup"))
      << "and that is remembered";
}

TEST(AgreementMemory, TheOperatorMayLetItVoteAgain) {
  Witnesses group(4);
  group.stop(0);
  group.submit(bob_joins(group));
  ASSERT_TRUE(group.reach(2));
  group[0].memory.reset();
  group.restart(0);
  ASSERT_NE(group[0].agreement->refusal(), "");
  ASSERT_EQ(why(group[0].ledger.append(group.decided[0])), "");
  group[0].pool.entries.clear();
  group[0].agreement->on_head();
  group[0].agreement->start_anew(4);
  EXPECT_EQ(group[0].agreement->refusal(), "");
  group.submit(group.world.join(group[1].ledger, carol, 1001));
  ASSERT_TRUE([&] {
    group.stop(0);
    auto there = group.reach(3);
    group.members[0]->up = true;
    return there;
  }());
  EXPECT_EQ(group[0].ledger.head().height, 2u);
  ASSERT_EQ(why(group[0].ledger.append(group.decided[1])), "");
  group[0].pool.entries.clear();
  group[0].agreement->on_head();
  group.stop(1);
  group.submit(group.world.join(group[2].ledger, dave, 1002));
  EXPECT_TRUE(group.reach(4)) << "with its vote";
}

// Successions -----------------------------------------------------------------------------------------------------

struct AgreementSuccession : ::testing::Test {
  Witnesses group{4};
  Agreement& survivor = *group[0].agreement;
  /// What the block of a succession may be: only the header matters here.
  BlockHeader header(std::uint64_t number = 1) {
    auto out = group[0].ledger.propose({}, start_ms).value().header;
    out.log_root.bytes[0] = static_cast<std::uint8_t>(number);
    return out;
  }
  void restart() {
    group.collect();
    group.restart(0);
  }
};

TEST_F(AgreementSuccession, GetsOneVoteForEver) {
  const auto vote = survivor.precommit_succession(header(), 2);
  ASSERT_TRUE(vote) << why(vote);
  EXPECT_TRUE(check_vote({VoteKind::precommit, 2, 0, block_hash(header()), vote->time, 2, vote->signature},
                         group[0].ledger.network(), group[0].key.public_key()));
  EXPECT_EQ(vote->time, header().time);
  EXPECT_REFUSED(survivor.precommit_succession(header(2), 2), Errc::not_permitted, "another succession");
  restart();
  EXPECT_EQ(group[0].agreement->precommit_succession(header(), 2)->signature, vote->signature);
  EXPECT_REFUSED(group[0].agreement->precommit_succession(header(2), 2), Errc::not_permitted, "another succession");
  group[0].agreement->start_anew(2);
  EXPECT_REFUSED(group[0].agreement->precommit_succession(header(2), 2), Errc::not_permitted, "another succession");
}

TEST_F(AgreementSuccession, TakesTheWitnessOutOfTheOldOnesAgreement) {
  ASSERT_TRUE(survivor.precommit_succession(header(), 0));
  group.stop(1);
  group.submit(bob_joins(group));
  for (int left = 100; left > 0; --left) group.pass(100ms);
  EXPECT_EQ(group[2].ledger.head().height, 1u) << "three of four would decide, with it";
}

TEST_F(AgreementSuccession, GetsNoVoteOfWhoHasPrecommittedThere) {
  group.drop = [](std::size_t, std::size_t, const Agreement::Send& message) {
    return message.kind == Kind::vote && decode_vote(message.bytes)->kind == VoteKind::precommit;
  };
  group.submit(bob_joins(group));
  group.deliver();
  EXPECT_REFUSED(survivor.precommit_succession(header(), 0), Errc::not_permitted, "contradict itself");
  EXPECT_REFUSED(survivor.precommit_succession(
                     [&] {
                       auto later = header();
                       later.height += 5;
                       return later;
                     }(),
                     0),
                 Errc::not_permitted, "votes on block");
}

// Liars -----------------------------------------------------------------------------------------------------------

TEST(AgreementLiars, AreCaughtVotingTwice) {
  Witnesses group(4);
  EXPECT_TRUE(group.hand(0, message(vote_by(group, 3, VoteKind::prevote, 0, block_a))).value());
  EXPECT_FALSE(group.hand(0, message(vote_by(group, 3, VoteKind::prevote, 0, block_a))).value()) << "known";
  EXPECT_TRUE(group.hand(0, message(vote_by(group, 3, VoteKind::prevote, 0, nil))).value());
  EXPECT_FALSE(group.hand(0, message(vote_by(group, 3, VoteKind::prevote, 0, block_b))).value()) << "two are enough";
  group.collect();
  ASSERT_EQ(group[0].caught.size(), 1u);
  EXPECT_EQ(group[0].caught[0].witness, group.world.witnesses[3].public_key());
  EXPECT_EQ(why(check_double_vote(group[0].caught[0], group[0].ledger.network())), "");
}

TEST(AgreementLiars, CannotPutOtherEntriesBehindAProposalThatIsMadeAgain) {
  Witnesses group(4);
  group.stop(3);
  int changed = 0;
  // All prevote the block of round 0, and hear too few precommits. When it is proposed again, one gets another entry.
  group.drop = [&](std::size_t from, std::size_t to, const Agreement::Send& sent) {
    if (sent.kind == Kind::vote) {
      const auto vote = decode_vote(sent.bytes).value();
      return vote.kind == VoteKind::precommit && vote.height == 2 && vote.round == 0 && to != (from + 1) % 3;
    }
    auto proposal = decode_proposal(sent.bytes).value();
    if (proposal.round == 0 || to != 2 || changed > 0) return false;
    ++changed;
    proposal.entries.front().back() ^= 1;
    (void)group.hand(to, {Kind::proposal, encode_proposal(proposal)});
    return true;
  };
  group.submit(bob_joins(group));
  group.deliver();
  group.restart(2);  // it remembers the block, and not who proposed it
  for (std::size_t to : {0u, 1u, 2u})
    EXPECT_TRUE(group.hand(to, message(vote_by(group, 3, VoteKind::precommit, 0, nil))).value());
  EXPECT_TRUE(group.reach(2)) << "a later round decides it";
  EXPECT_EQ(changed, 1);
  EXPECT_NE(group[2].ledger.handle("bob"), nullptr);
}

TEST(AgreementLiars, CannotSpeakForOthers) {
  Witnesses group(4);
  auto forged = vote_by(group, 3, VoteKind::prevote, 0, block_a);
  forged.witness = 2;
  EXPECT_REFUSED(group.hand(0, message(forged)), Errc::invalid, "did not sign");
  forged.witness = 0;
  EXPECT_REFUSED(group.hand(0, message(forged)), Errc::invalid, "did not sign");
  EXPECT_EQ(group[0].agreement->refusal(), "") << "nor make a witness doubt itself";
  forged.witness = 4;
  EXPECT_REFUSED(group.hand(0, message(forged)), Errc::invalid, "there are 4");
}

TEST(AgreementLiars, CannotStartARoundAlone) {
  Witnesses group(4);
  EXPECT_TRUE(group.hand(0, message(vote_by(group, 3, VoteKind::prevote, 1'000'000, nil))).value());
  EXPECT_FALSE(group[0].agreement->started());
  EXPECT_TRUE(group.hand(0, message(vote_by(group, 2, VoteKind::prevote, 7, nil))).value());
  EXPECT_TRUE(group[0].agreement->started());
  EXPECT_EQ(group[0].agreement->round(), 7u) << "where one of the two is honest";
}

TEST(AgreementLiars, CannotFillTheMemory) {
  Witnesses group(4);
  for (std::uint32_t round = 5; round < 3000; ++round)
    (void)group.hand(0, message(vote_by(group, 3, VoteKind::prevote, round, block_a)));
  for (std::uint32_t round = 0; round < 5; ++round)
    (void)group.hand(0, message(vote_by(group, 3, VoteKind::precommit, round, block_a)));
  EXPECT_LE(group[0].agreement->lacking({2, 0, false, {}}).size(), 5u);
  for (std::uint64_t height : {1u, 3u, 1000u})
    EXPECT_FALSE(group.hand(0, message(vote_by(group, 3, VoteKind::prevote, 0, block_a, height))).value());
}

// Bytes -----------------------------------------------------------------------------------------------------------

TEST(AgreementBytes, OfStatesSurviveTheWire) {
  AgreementState state{7, 3, true, {std::vector<bool>{true, false, true, true}, std::vector<bool>(4)}};
  auto read = decode_agreement_state(encode_agreement_state(state)).value();
  for (auto& votes : read.votes) votes.resize(4);
  EXPECT_EQ(read, state);
  EXPECT_FALSE(decode_agreement_state(to_bytes("x")));
}

TEST(AgreementBytes, OfProposalsSurviveTheWireAndAreSigned) {
  Witnesses group(4);
  const auto made = group[0].ledger.propose({bob_joins(group)}, start_ms).value();
  ProposalMessage out;
  out.round = 5;
  out.valid_round = 3;
  out.header = made.header;
  out.entries = made.entries;
  sign_proposal(out, group.world.witnesses[3]);
  for (std::size_t i : {0u, 2u, 3u})
    out.proof.push_back(BlockView::Vote::of(vote_by(group, i, VoteKind::prevote, 3, out.hash)));
  const auto read = decode_proposal(encode_proposal(out)).value();
  EXPECT_EQ(read.hash, out.hash);
  EXPECT_EQ(read.entries, out.entries);
  EXPECT_EQ(read.valid_round, 3u);
  const auto keys = group.world.genesis.witnesses;
  EXPECT_TRUE(check_proposal_signature(read, keys[3]));
  EXPECT_FALSE(check_proposal_signature(read, keys[2]));
  EXPECT_EQ(why(check_proposal_proof(read, keys)), "");

  auto changed = read;
  changed.valid_round = 2;
  EXPECT_FALSE(check_proposal_signature(changed, keys[3]));
  EXPECT_REFUSED(check_proposal_proof(changed, keys), Errc::invalid, "not signed");
  changed = read;
  changed.proof.pop_back();
  EXPECT_REFUSED(check_proposal_proof(changed, keys), Errc::invalid, "two thirds");
  changed = read;
  changed.proof[1] = changed.proof[0];
  EXPECT_REFUSED(check_proposal_proof(changed, keys), Errc::invalid, "different witnesses");
  changed = read;
  changed.valid_round = 5;
  EXPECT_REFUSED(check_proposal_proof(changed, keys), Errc::invalid, "its own round");
  EXPECT_FALSE(decode_proposal(ByteView(encode_proposal(out)).first(100)));
}

}  // namespace
}  // namespace diot
