// What may become of a network: other witnesses, successors, new rules, and witnesses that lied.

#include <gtest/gtest.h>

#include "core/ledger/limits.hpp"
#include "core/ledger/work_stamp.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

constexpr WallMs hour_ms = day_ms / 24;

class LedgerNetwork : public ::testing::Test {
 protected:
  explicit LedgerNetwork(std::size_t witnesses = 1) : world(witnesses) {
    EXPECT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000), world.join(ledger, carol, 1001),
                                        world.join(ledger, dave, 1002)})),
              "");
  }
  World world;
  Ledger ledger = world.ledger();
  const std::vector<KeyPair> four{test_key(30), test_key(31), test_key(32), test_key(33)};

  Result<void> check(EntryBody body, std::vector<KeyPair> signers) const {
    return ledger.check_entry(world.entry(ledger, std::move(body), std::move(signers)), world.now);
  }
  Result<void> take(EntryBody body, std::vector<KeyPair> signers) {
    return world.commit(ledger, {world.entry(ledger, std::move(body), std::move(signers))});
  }
  std::uint64_t next_epoch() const { return ledger.network_record().epoch + 1; }
  /// The first `count` of `four`, each on the node of one home.
  WitnessSet set_of(std::size_t count) const {
    const Home* homes[] = {&alice, &bob, &carol, &dave};
    WitnessSet out;
    for (std::size_t i = 0; i < count; ++i) out.members.push_back({four[i].public_key(), homes[i]->node.node_id()});
    out.fragile = count < 4;
    return out;
  }
  static std::vector<KeyPair> both(std::vector<KeyPair> some, const std::vector<KeyPair>& more) {
    some.insert(some.end(), more.begin(), more.end());
    return some;
  }
};

// Changing the witnesses ---------------------------------------------------------------------------------------------

TEST_F(LedgerNetwork, NewWitnessesDecideTheSecondBlockAfter) {
  ASSERT_EQ(why(take(WitnessChangeBody{1, set_of(4)}, both(world.witnesses, four))), "");  // block 3
  EXPECT_EQ(ledger.witnesses().size(), 1u);
  ASSERT_TRUE(ledger.network_record().next_set);
  EXPECT_EQ(ledger.network_record().next_set->height, 5u);
  ASSERT_EQ(why(world.pass(ledger)), "");  // block 4, still by the old one
  EXPECT_EQ(ledger.witnesses(), set_of(4).keys());
  EXPECT_EQ(ledger.witnesses_at(5), set_of(4));
  EXPECT_EQ(ledger.witnesses_at(4).keys(), world.genesis.witnesses);
  EXPECT_EQ(ledger.witnesses_at(1).keys(), world.genesis.witnesses);
  EXPECT_FALSE(ledger.network_record().next_set);
  EXPECT_EQ(ledger.network_record().epoch, 1u);

  EXPECT_REFUSED(world.pass(ledger), Errc::invalid, "1 of 4 witnesses");  // by the old one
  world.blocks.pop_back();
  world.witnesses = four;
  EXPECT_EQ(why(world.pass(ledger)), "");
  EXPECT_EQ(world.ledger().map_root(), ledger.map_root());
}

TEST_F(LedgerNetwork, HeadersNameTheWitnessesOfTheNextBlock) {
  ASSERT_EQ(why(take(WitnessChangeBody{1, set_of(4)}, both(world.witnesses, four))), "");
  const auto old_set = witness_set_hash(world.genesis.witnesses), new_set = witness_set_hash(set_of(4).keys());
  EXPECT_EQ(decode_block(world.blocks.back())->header.next_witnesses, old_set);
  ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_EQ(decode_block(world.blocks.back())->header.witnesses, old_set);
  EXPECT_EQ(decode_block(world.blocks.back())->header.next_witnesses, new_set);
}

TEST_F(LedgerNetwork, EveryNewWitnessAndAQuorumOfTheOldSign) {
  EXPECT_REFUSED(check(WitnessChangeBody{1, set_of(4)}, four), Errc::not_permitted, "0 of 1 witnesses");
  EXPECT_REFUSED(check(WitnessChangeBody{1, set_of(4)}, both(world.witnesses, {four[0], four[1], four[2]})),
                 Errc::not_permitted, "missing");
  EXPECT_REFUSED(check(WitnessChangeBody{1, set_of(4)}, both(both(world.witnesses, four), {alice.owner})),
                 Errc::not_permitted, "no say");
}

TEST_F(LedgerNetwork, FewWitnessesAreAcceptedAsFragile) {
  for (std::size_t count : {1, 2, 3}) {
    auto set = set_of(count);
    const std::vector<KeyPair> fresh(four.begin(), four.begin() + static_cast<std::ptrdiff_t>(count));
    EXPECT_EQ(why(check(WitnessChangeBody{1, set}, both(world.witnesses, fresh))), "");
    set.fragile = false;
    EXPECT_REFUSED(check(WitnessChangeBody{1, set}, both(world.witnesses, fresh)), Errc::invalid, "fragile");
  }
  auto set = set_of(4);
  set.fragile = true;
  EXPECT_REFUSED(check(WitnessChangeBody{1, set}, both(world.witnesses, four)), Errc::invalid, "not fragile");
  EXPECT_REFUSED(check(WitnessChangeBody{1, {}}, world.witnesses), Errc::invalid, "no witness");
}

TEST_F(LedgerNetwork, WitnessesRunOnDifferentNodesOfTheNetwork) {
  auto set = set_of(4);
  set.members[3].node = test_key(99).node_id();
  EXPECT_REFUSED(check(WitnessChangeBody{1, set}, both(world.witnesses, four)), Errc::not_permitted,
                 "speaks for no handle");
  set.members[3].node = set.members[2].node;
  EXPECT_REFUSED(check(WitnessChangeBody{1, set}, both(world.witnesses, four)), Errc::invalid, "twice");
  set = set_of(4);
  set.members[3].key = set.members[2].key;
  EXPECT_REFUSED(check(WitnessChangeBody{1, set}, both(world.witnesses, four)), Errc::invalid, "twice");
}

TEST_F(LedgerNetwork, OneChangeFollowsTheOther) {
  ASSERT_EQ(why(take(WitnessChangeBody{1, set_of(4)}, both(world.witnesses, four))), "");
  EXPECT_REFUSED(check(WitnessChangeBody{1, set_of(4)}, both(world.witnesses, four)), Errc::invalid, "epoch 1");
  EXPECT_REFUSED(check(WitnessChangeBody{2, set_of(4)}, both(world.witnesses, four)), Errc::exists, "block 5");
}

TEST_F(LedgerNetwork, AChangeOfTheWitnessesIsSignedWithinAnHour) {
  const auto entry = world.entry(ledger, WitnessChangeBody{1, set_of(4)}, both(world.witnesses, four));
  world.now += 5 * hour_ms;  // nothing happened since: the block is the newest one
  EXPECT_EQ(why(ledger.check_entry(entry, world.now)), "");
  ASSERT_EQ(why(world.pass(ledger)), "");
  world.now += hour_ms;
  EXPECT_EQ(why(ledger.check_entry(entry, world.now)), "");
  world.now += 1;
  EXPECT_REFUSED(ledger.check_entry(entry, world.now), Errc::invalid, "over an hour ago");
}

TEST_F(LedgerNetwork, AHundredWitnessesFitAnEntry) {
  // Every node of the set speaks for a handle: alice takes the rest in.
  auto record = *ledger.handle("alice");
  std::vector<KeyPair> nodes, keys;
  for (const auto* home : {&alice, &bob}) {
    auto changed = *ledger.handle(home->handle);
    std::vector<KeyPair> fresh;
    while (changed.nodes.size() < limits::nodes_per_handle_max) {
      fresh.push_back(test_key(40'000 + nodes.size()));
      nodes.push_back(fresh.back());
      changed.nodes.emplace_back(fresh.back().node_id(), Role::member);
    }
    ASSERT_EQ(why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), home->owner, fresh)})),
              "");
  }
  WitnessSet set;
  for (std::size_t i = 0; i < limits::witnesses_max; ++i) {
    keys.push_back(test_key(50'000 + i));
    set.members.push_back({keys.back().public_key(), nodes[i].node_id()});
  }
  ASSERT_EQ(why(take(WitnessChangeBody{1, set}, both(world.witnesses, keys))), "");
  ASSERT_EQ(why(world.pass(ledger)), "");
  world.witnesses = keys;
  std::ranges::reverse(set.members);
  std::ranges::reverse(keys);
  // All old and all new ones sign.
  EXPECT_EQ(why(take(WitnessChangeBody{2, set}, world.witnesses)), "");
  EXPECT_LE(world.blocks.back().size(), limits::block_bytes_max);
}

// Succession ---------------------------------------------------------------------------------------------------------

class LedgerSuccession : public LedgerNetwork {
 protected:
  const KeyPair successor = test_key(9);
  Bytes entry() const { return world.entry(ledger, SuccessionBody{next_epoch(), set_of(4)}, both({successor}, four)); }
  /// The block of the new witnesses.
  Result<Bytes> block(const Bytes& entry) const {
    return ledger.propose_succession(entry).map([&](const Ledger::Proposal& proposal) {
      World deciders = world;
      deciders.witnesses = four;
      return deciders.decide(proposal);
    });
  }
};

TEST_F(LedgerSuccession, ReplacesWitnessesThatWereSilentForThreeDays) {
  const auto succession = entry();
  World deciders = world;
  deciders.witnesses = four;
  auto early = ledger.propose_succession(succession).value();
  EXPECT_EQ(early.header.time, ledger.head_time() + 72 * hour_ms) << "the same for everybody, whatever the clock";
  early.header.time -= 1;
  EXPECT_REFUSED(ledger.append(deciders.decide(early)), Errc::not_permitted, "silent for 72 hours");
  const auto decided = block(succession);
  ASSERT_TRUE(decided) << why(decided);
  world.now += 72 * hour_ms;
  ASSERT_EQ(why(ledger.append(*decided)), "");
  world.blocks.push_back(*decided);
  EXPECT_EQ(ledger.witnesses(), set_of(4).keys());
  EXPECT_EQ(ledger.witnesses_at(ledger.head().height), set_of(4));
  world.witnesses = four;
  EXPECT_EQ(why(world.pass(ledger)), "");
  EXPECT_EQ(world.ledger().map_root(), ledger.map_root());
}

TEST_F(LedgerSuccession, IsVoidIfTheOldWitnessesMakeABlockMeanwhile) {
  const auto succession = entry();
  world.now += 72 * hour_ms;
  const auto decided = block(succession);
  ASSERT_TRUE(decided);
  ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_FALSE(ledger.append(*decided));
  world.now += 72 * hour_ms;
  EXPECT_REFUSED(block(succession), Errc::not_permitted, "is void");
}

TEST_F(LedgerSuccession, TakesTheSuccessionKeyAndEveryNewWitness) {
  world.now += 72 * hour_ms;
  EXPECT_REFUSED(block(world.entry(ledger, SuccessionBody{1, set_of(4)}, four)), Errc::not_permitted,
                 "succession key is missing");
  EXPECT_REFUSED(block(world.entry(ledger, SuccessionBody{1, set_of(4)}, both(four, {test_key(8)}))),
                 Errc::not_permitted, "succession key is missing");
  EXPECT_REFUSED(block(world.entry(ledger, SuccessionBody{1, set_of(4)}, {successor, four[0]})), Errc::not_permitted,
                 "missing");
}

TEST_F(LedgerSuccession, IsNotDecidedByTheOldWitnesses) {
  world.now += 72 * hour_ms;
  EXPECT_REFUSED(world.commit(ledger, {entry()}), Errc::not_permitted, "by the new witnesses");
  const auto proposal = ledger.propose_succession(entry()).value();
  EXPECT_REFUSED(ledger.append(world.decide(proposal)), Errc::invalid, "1 of 4 witnesses");
  EXPECT_FALSE(ledger.check_proposal(proposal.header, proposal.entries));
}

TEST_F(LedgerSuccession, StandsAloneInItsBlock) {
  world.now += 72 * hour_ms;
  auto proposal = ledger.propose_succession(entry()).value();
  proposal.entries.push_back(make_update(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.owner, {}));
  proposal.header.entries += 1;
  World deciders = world;
  deciders.witnesses = four;
  EXPECT_FALSE(ledger.append(deciders.decide(proposal)));
}

// Rules --------------------------------------------------------------------------------------------------------------

TEST_F(LedgerNetwork, NewRulesBeginAtAHeightAndStopAProgramThatDoesNotKnowThem) {
  ASSERT_EQ(why(take(UpgradeBody{1, 2, 5}, world.witnesses)), "");  // block 3
  EXPECT_EQ(why(ledger.can_go_on()), "");
  ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_REFUSED(ledger.can_go_on(), Errc::not_available, "from block 5 on this network goes by rules version 2");
  EXPECT_REFUSED(world.pass(ledger), Errc::not_available, "install a newer one");
  EXPECT_REFUSED(ledger.check_entry(world.join(ledger, Home("erin", 5), 1004), world.now), Errc::not_available,
                 "everything else goes on");
  // Also a block from a node that knows them.
  BlockHeader header;
  header.rules_version = 2;
  header.network = ledger.network();
  header.height = 5;
  const auto vote = make_vote(header, 0, 0, 0, world.witnesses[0]);
  EXPECT_REFUSED(ledger.append(encode_block(header, {}, 0, {vote})), Errc::not_available, "rules version 2");
  EXPECT_EQ(ledger.head().height, 4u);
  EXPECT_TRUE(ledger.handle("bob"));
}

TEST_F(LedgerNetwork, APlannedUpgradeIsTakenBackByTheRulesInForce) {
  ASSERT_EQ(why(take(UpgradeBody{1, 2, 100}, world.witnesses)), "");
  EXPECT_EQ(ledger.network_record().next_rules->version, 2u);
  ASSERT_EQ(why(take(UpgradeBody{2, 1, 100}, world.witnesses)), "");
  EXPECT_FALSE(ledger.network_record().next_rules);
  EXPECT_EQ(why(ledger.can_go_on()), "");
}

TEST_F(LedgerNetwork, AnUpgradeIsTheWitnessesAndComesInTime) {
  EXPECT_REFUSED(check(UpgradeBody{1, 2, 100}, {alice.owner}), Errc::not_permitted, "0 of 1 witnesses");
  EXPECT_REFUSED(check(UpgradeBody{1, 2, 4}, world.witnesses), Errc::invalid, "block 5 at the earliest");
  EXPECT_REFUSED(check(UpgradeBody{1, 0, 100}, world.witnesses), Errc::invalid, "older");
  EXPECT_REFUSED(check(UpgradeBody{1, 2 | test_rules, 100}, world.witnesses), Errc::not_permitted, "for tests");
  EXPECT_REFUSED(check(UpgradeBody{2, 2, 100}, world.witnesses), Errc::invalid, "epoch 2");
}

// Evidence -----------------------------------------------------------------------------------------------------------

class LedgerEvidence : public LedgerNetwork {
 protected:
  LedgerEvidence() : LedgerNetwork(4) {}
  DoubleVote proof(const KeyPair& liar, std::uint64_t height = 2) const {
    Vote one{VoteKind::prevote, height, 0, sha256(as_bytes("one")), world.now, 0, {}}, other = one;
    other.block = sha256(as_bytes("other"));
    sign_vote(one, ledger.network(), liar);
    sign_vote(other, ledger.network(), liar);
    return make_double_vote(liar.public_key(), one, other);
  }
};

TEST_F(LedgerEvidence, NamesAWitnessThatVotedTwice) {
  const auto& liar = world.witnesses[2];
  ASSERT_EQ(why(take(EvidenceBody{proof(liar)}, {bob.node})), "");
  EXPECT_TRUE(ledger.network_record().liars.contains(liar.public_key()));
  EXPECT_REFUSED(check(EvidenceBody{proof(liar, 1)}, {carol.node}), Errc::exists, "known already");
  EXPECT_EQ(ledger.witnesses().size(), 4u);  // dropping it is the operators'
  EXPECT_EQ(world.ledger().network_record(), ledger.network_record());
}

TEST_F(LedgerEvidence, IsOfAWitnessOfThatTime) {
  EXPECT_REFUSED(check(EvidenceBody{proof(test_key(66))}, {bob.node}), Errc::invalid, "no witness");
  EXPECT_REFUSED(check(EvidenceBody{proof(world.witnesses[0], 4)}, {bob.node}), Errc::invalid, "nobody votes");
  EXPECT_EQ(why(check(EvidenceBody{proof(world.witnesses[0], 3)}, {bob.node})), "");
}

TEST_F(LedgerEvidence, IsSignedByANodeAndTrue) {
  EXPECT_REFUSED(check(EvidenceBody{proof(world.witnesses[0])}, {test_key(66)}), Errc::not_permitted, "one node");
  EXPECT_REFUSED(check(EvidenceBody{proof(world.witnesses[0])}, {bob.node, carol.node}), Errc::not_permitted,
                 "one node");
  auto forged = proof(world.witnesses[0]);
  forged.first.signature.bytes[3] ^= 1;
  EXPECT_REFUSED(check(EvidenceBody{forged}, {bob.node}), Errc::invalid, "sign");
}

// Open networks ------------------------------------------------------------------------------------------------------

class LedgerOpen : public ::testing::Test {
 protected:
  LedgerOpen() {
    world.genesis.admission = Admission::open;
    world.genesis.rules_version = 1 | test_rules;
    world.refound();
    ledger.emplace(world.ledger());
  }
  World world{4, 90};
  std::optional<Ledger> ledger;

  Bytes stamped(const Home& who, std::optional<std::uint64_t> stamp = {}) const {
    RegisterBody body{who.registration(), {}, {}, stamp};
    if (!stamp)
      body.stamp = make_stamp(body.what, ledger->network(), ledger->head(), work_rules(1 | test_rules), 0, [] {
                     return true;
                   }).value();
    return world.entry(*ledger, body, {who.owner, who.node});
  }
  Result<void> check(const Bytes& entry) const { return ledger->check_entry(entry, world.now); }
};

TEST_F(LedgerOpen, WorkLetsAHomeIn) {
  ASSERT_EQ(why(world.commit(*ledger, {stamped(bob)})), "");
  EXPECT_TRUE(ledger->handle("bob"));
  EXPECT_EQ(world.ledger().map_root(), ledger->map_root());
}

TEST_F(LedgerOpen, AnInviteDoesToo) { EXPECT_EQ(why(check(world.join(*ledger, bob, 1000))), ""); }

TEST_F(LedgerOpen, AnInviteForEverybodyPaysForNobody) {
  auto grant = world.grant(*ledger, alice, 1000);
  grant.uses = 0;
  EXPECT_REFUSED(check(world.join(*ledger, bob, world.invite(grant, alice, 1000))), Errc::not_permitted, "work stamp");
}

TEST_F(LedgerOpen, WithoutEitherNobodyGetsIn) {
  EXPECT_REFUSED(check(world.entry(*ledger, RegisterBody{bob.registration(), {}, {}, {}}, {bob.owner, bob.node})),
                 Errc::not_permitted, "work stamp");
}

TEST_F(LedgerOpen, AStampIsForOneRegistrationAtOneBlock) {
  const auto entry = decode_entry(stamped(bob)).value();
  const auto stamp = *std::get<RegisterBody>(entry.body).stamp;
  const auto rules = work_rules(1 | test_rules);
  int good = 0;
  for (std::uint64_t i = 0; i < 64; ++i) {
    auto other = bob.registration();
    other.handle = "b" + std::string(i + 3, 'x');
    good += check_stamp(stamp, other, ledger->network(), ledger->head(), rules).value();
    good += check_stamp(stamp, bob.registration(), ledger->network(), {i + 2, ledger->head().block}, rules).value();
  }
  EXPECT_LT(good, 32);  // one of 16 by chance
  EXPECT_TRUE(check_stamp(stamp, bob.registration(), ledger->network(), ledger->head(), rules).value());
  std::uint64_t bad = 0;
  while (check_stamp(bad, bob.registration(), ledger->network(), ledger->head(), rules).value()) ++bad;
  EXPECT_REFUSED(check(stamped(bob, bad)), Errc::not_permitted, "work stamp is not one");
}

TEST_F(LedgerOpen, ASignatureIsCheckedBeforeTheWork) {
  const auto body = RegisterBody{bob.registration(), {}, {}, 0};
  EXPECT_REFUSED(check(world.entry(*ledger, body, {bob.owner})), Errc::not_permitted, "missing");
}

TEST_F(LedgerOpen, ABlockTakesFewStampedOnesAndInvitedOnesFirst) {
  std::vector<Bytes> entries;
  for (std::uint64_t i = 0; i <= limits::stamped_per_block_max; ++i)
    entries.push_back(
        stamped(Home({'h', 'o', 'm', 'e', static_cast<char>('a' + i / 8), static_cast<char>('a' + i % 8)}, 300 + i)));
  entries.push_back(world.join(*ledger, carol, 1000));
  const auto refused = [](const Bytes&, const Error& error) { ADD_FAILURE() << error.message; };
  const auto block = ledger->propose(entries, world.now, refused);
  ASSERT_TRUE(block) << why(block);
  EXPECT_EQ(block->entries.front(), entries.back());
  EXPECT_EQ(block->entries.size(), limits::stamped_per_block_max + 1);
  // What is one too many waits for the next one.
  world.blocks.push_back(world.decide(*block));
  ASSERT_EQ(why(ledger->append(world.blocks.back())), "");
  const auto next = ledger->propose({entries[limits::stamped_per_block_max]}, world.now, refused);
  ASSERT_TRUE(next) << why(next);
  EXPECT_EQ(next->entries.size(), 1u);
}

TEST_F(LedgerOpen, WhatComesBeforeTheWorkCanBeAskedForAlone) {
  std::uint64_t bad = 0;
  const auto rules = work_rules(1 | test_rules);
  while (check_stamp(bad, bob.registration(), ledger->network(), ledger->head(), rules).value()) ++bad;
  EXPECT_EQ(why(ledger->check_entry(stamped(bob, bad), world.now, StampCheck::none)), "");
  EXPECT_REFUSED(ledger->check_entry(stamped(alice, bad), world.now, StampCheck::none), Errc::exists, "taken");
}

TEST_F(LedgerOpen, FourWitnessesAreTheLeast) {
  ASSERT_EQ(why(world.commit(*ledger, {stamped(bob)})), "");
  const WitnessSet few{{{test_key(30).public_key(), alice.node.node_id()}}, true};
  auto signers = world.witnesses;
  signers.push_back(test_key(30));
  EXPECT_REFUSED(check(world.entry(*ledger, WitnessChangeBody{1, few}, signers)), Errc::not_permitted, "4 or more");
}

TEST(WorkStamps, OfProductionCostWhatIsSaid) {
  const auto rules = work_rules(1);
  EXPECT_EQ(rules.memory_bytes, 32u << 20);
  EXPECT_EQ(rules.difficulty, 8192u);
  // One trial, and the order to stop after it.
  int trials = 0;
  EXPECT_REFUSED(make_stamp(bob.registration(), {}, {}, rules, 0, [&] { return trials++ == 0; }), Errc::timed_out,
                 "in time");
}

}  // namespace
}  // namespace diot
