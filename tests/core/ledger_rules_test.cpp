// The rules by which the ledger takes an entry, one by one (docs/protocol.md, "Entry").

#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "core/merkle.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

class LedgerRules : public ::testing::Test {
 protected:
  World world;
  Ledger ledger = world.ledger();

  Result<void> check(const Bytes& entry) const { return ledger.check_entry(entry, world.now); }
  Bytes register_as(const Registration& what, const Home& who, const std::vector<KeyPair>& nodes) const {
    const auto invite = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
    return make_register(what, ledger.network(), ledger.head(), who.owner, nodes, &invite);
  }
};

// Register ----------------------------------------------------------------------------------------------------

TEST_F(LedgerRules, FoundersAreThereAfterBlock1) {
  const auto* record = ledger.handle("alice");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->owner, alice.owner.public_key());
  EXPECT_EQ(record->next_key, sha256(alice.next.public_key()));
  EXPECT_EQ(record->role_of(alice.node.node_id()), Role::admin);
  EXPECT_EQ(record->role_of(bob.node.node_id()), std::nullopt);
  EXPECT_EQ(record->register_entry, merkle_leaf(world.genesis.founding[0]));
  EXPECT_EQ(record->version, 1u);
  EXPECT_EQ(record->height, 1u);
  EXPECT_EQ(record->registered, start_ms);
  EXPECT_EQ(record->lease_until, 0u);
  EXPECT_EQ(ledger.handle_of(alice.node.node_id()), record);
  EXPECT_EQ(ledger.head().height, 1u);
  EXPECT_EQ(ledger.entry_count(), 1u);
}

TEST_F(LedgerRules, AnInviteLetsAHomeIn) {
  const auto invite = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, invite)})), "");
  ASSERT_TRUE(ledger.handle("bob"));
  EXPECT_EQ(ledger.handle("bob")->height, 2u);
  EXPECT_EQ(ledger.handle_of(bob.node.node_id()), ledger.handle("bob"));
  EXPECT_EQ(ledger.uses_of(decode_grant(invite.grant)->id), 1u);
}

TEST_F(LedgerRules, ATakenHandleIsRefused) {
  auto what = bob.registration();
  what.handle = "alice";
  EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::exists, "'alice' is taken (registered in block 1)");
}

TEST_F(LedgerRules, OfTwoThatWantAHandleInOneBlockTheFirstGetsIt) {
  auto rival = carol.registration();
  rival.handle = "bob";
  const auto invite = world.invite(world.grant(ledger, alice, 1001), alice, 1001);
  const auto second = make_register(rival, ledger.network(), ledger.head(), carol.owner, {carol.node}, &invite);
  std::vector<Error> refused;
  const auto block = ledger.make_block({world.join(ledger, bob, 1000), second}, world.now, world.witnesses[0],
                                       [&](const Bytes& entry, const Error& error) {
                                         EXPECT_EQ(entry, second);
                                         refused.push_back(error);
                                       });
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0].code, Errc::exists);
  ASSERT_EQ(why(ledger.append(*block)), "");
  EXPECT_EQ(ledger.handle("bob")->owner, bob.owner.public_key());
}

TEST_F(LedgerRules, MalformedHandlesAreRefused) {
  for (const auto* handle :
       {"", "ab", "Bob", "bob_", "-bob", "bob-", "bo--b", "bob~a1b2",
        "b\xc3\xb6"
        "b",
        "bob/x", "a23456789012345678901234567890123", "a2345678901234567890123456789012345678901234567890"}) {
    auto what = bob.registration();
    what.handle = handle;
    EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::invalid, "");
  }
}

TEST_F(LedgerRules, ReservedHandlesAreRefused) {
  for (const auto* handle : {"admin", "everyone", "local", "diot", "totp", "none"}) {
    auto what = bob.registration();
    what.handle = handle;
    EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::invalid, "reserved");
  }
}

TEST_F(LedgerRules, ANodeSpeaksForOneHandle) {
  auto what = bob.registration();
  what.nodes = {{alice.node.node_id(), Role::admin}};
  EXPECT_REFUSED(check(register_as(what, bob, {alice.node})), Errc::not_permitted, "speaks for 'alice' already");
}

TEST_F(LedgerRules, ANodeSpeaksForOneHandleWithinABlockToo) {
  auto second = carol.registration();
  second.nodes = {{bob.node.node_id(), Role::admin}};
  const auto invite = world.invite(world.grant(ledger, alice, 1001), alice, 1001);
  const auto entry = make_register(second, ledger.network(), ledger.head(), carol.owner, {bob.node}, &invite);
  EXPECT_REFUSED(world.commit(ledger, {world.join(ledger, bob, 1000), entry}), Errc::not_permitted, "speaks for 'bob'");
}

TEST_F(LedgerRules, AHandleHasAnAdminAndItsNodesOnce) {
  auto what = bob.registration();
  what.nodes = {{bob.node.node_id(), Role::member}};
  EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::invalid, "admin");
  what.nodes = {};
  EXPECT_REFUSED(check(register_as(what, bob, {})), Errc::invalid, "admin");
  what.nodes = {{bob.node.node_id(), Role::admin}, {bob.node.node_id(), Role::member}};
  EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::invalid, "ascending");
}

TEST_F(LedgerRules, ARegistrationHasAtMost64Nodes) {
  auto what = bob.registration();
  std::vector<KeyPair> keys{bob.node};
  for (std::uint64_t i = 0; keys.size() < 64; ++i) keys.push_back(test_key(5000 + i));
  what.nodes.clear();
  for (const auto& key : keys) what.nodes.emplace_back(key.node_id(), Role::admin);
  EXPECT_EQ(why(check(register_as(what, bob, keys))), "");
  keys.push_back(test_key(4999));
  what.nodes.emplace_back(keys.back().node_id(), Role::member);
  EXPECT_REFUSED(check(register_as(what, bob, keys)), Errc::invalid, "malformed");
}

TEST_F(LedgerRules, OwnerAndEveryNodeSignARegistration) {
  auto what = bob.registration();
  what.nodes.emplace_back(bob.second.node_id(), Role::member);
  EXPECT_EQ(why(check(register_as(what, bob, {bob.node, bob.second}))), "");
  EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::not_permitted, "missing");
  EXPECT_REFUSED(check(register_as(what, carol, {bob.node, bob.second})), Errc::not_permitted, "no say");
  EXPECT_REFUSED(check(register_as(what, bob, {bob.node, bob.second, carol.node})), Errc::not_permitted, "no say");
}

TEST_F(LedgerRules, TheOwnerKeyIsNoNodeKeyAndTheNextKeyAnother) {
  auto what = bob.registration();
  what.nodes = {{bob.owner.node_id(), Role::admin}};
  EXPECT_REFUSED(check(register_as(what, bob, {})), Errc::invalid, "owner key");
  what = bob.registration();
  what.next_key = sha256(bob.owner.public_key());
  EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::invalid, "next-key");
  what.next_key = {};
  EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::invalid, "next-key");
}

// Checkpoints --------------------------------------------------------------------------------------------------

TEST_F(LedgerRules, AnEntryNamesABlockOfThisLedger) {
  const auto with = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  const auto entry_at = [&](const Checkpoint& recent) {
    return make_register(bob.registration(), ledger.network(), recent, bob.owner, {bob.node}, &with);
  };
  EXPECT_EQ(why(check(entry_at({0, *ledger.block_at(0)}))), "");
  EXPECT_REFUSED(check(entry_at({1, *ledger.block_at(0)})), Errc::invalid, "not in this ledger");
  EXPECT_REFUSED(check(entry_at({2, ledger.head().block})), Errc::invalid, "not in this ledger");
  EXPECT_REFUSED(check(entry_at({UINT64_MAX, ledger.head().block})), Errc::invalid, "not in this ledger");
  EXPECT_REFUSED(check(entry_at({})), Errc::invalid, "not in this ledger");
}

TEST_F(LedgerRules, ABlockStaysRecentFor14DaysAfterItsSuccessor) {
  const auto at_block_1 = ledger.head();
  world.now += 100 * day_ms;  // nothing happened meanwhile: block 1 is the newest, and so recent
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000)})), "");
  const auto entry_at = [&](const Checkpoint& recent) {
    const auto with = world.invite(world.grant(ledger, alice, 1001), alice, 1001);
    return make_register(carol.registration(), ledger.network(), recent, carol.owner, {carol.node}, &with);
  };
  world.now += 14 * day_ms;
  EXPECT_EQ(why(check(entry_at(at_block_1))), "");
  world.now += 1;
  EXPECT_REFUSED(check(entry_at(at_block_1)), Errc::invalid, "too old");
  EXPECT_EQ(why(check(entry_at(ledger.head()))), "");
}

TEST_F(LedgerRules, NothingButTheFoundersComesBeforeBlock1) {
  const auto fresh = Ledger::from_genesis(world.genesis_bytes).value();
  EXPECT_REFUSED(fresh.check_entry(world.genesis.founding[0], world.now), Errc::not_permitted, "block 1");
  EXPECT_REFUSED(fresh.make_block({world.join(ledger, bob, 1000)}, world.now, world.witnesses[0]), Errc::invalid,
                 "founding");
}

TEST_F(LedgerRules, AFoundingEntryCountsInTheGenesisOnly) {
  const auto founding = make_register(bob.registration(), {}, {}, bob.owner, {bob.node}, nullptr);
  EXPECT_REFUSED(check(founding), Errc::invalid, "not in this ledger");
  const auto for_no_network = make_register(bob.registration(), {}, ledger.head(), bob.owner, {bob.node}, nullptr);
  EXPECT_REFUSED(check(for_no_network), Errc::not_permitted, "by invitation");
}

// Invites -----------------------------------------------------------------------------------------------------

TEST_F(LedgerRules, NobodyGetsInWithoutAnInvite) {
  EXPECT_REFUSED(
      check(make_register(bob.registration(), ledger.network(), ledger.head(), bob.owner, {bob.node}, nullptr)),
      Errc::not_permitted, "diot invite");
}

TEST_F(LedgerRules, AnInviteIsGoodForItsNumberOfUses) {
  const auto once = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, once)})), "");
  EXPECT_REFUSED(check(world.join(ledger, carol, once)), Errc::exists, "used up (1 of 1)");

  auto grant = world.grant(ledger, alice, 1001);
  grant.uses = 2;
  const auto twice = world.invite(grant, alice, 1001);
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, carol, twice)})), "");
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, dave, twice)})), "");
  EXPECT_EQ(ledger.uses_of(decode_grant(twice.grant)->id), 2u);
  EXPECT_REFUSED(check(world.join(ledger, Home("erin", 5), twice)), Errc::exists, "used up (2 of 2)");
}

TEST_F(LedgerRules, AnInviteIsGoodForItsNumberOfUsesWithinABlockToo) {
  const auto once = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  EXPECT_REFUSED(world.commit(ledger, {world.join(ledger, bob, once), world.join(ledger, carol, once)}), Errc::exists,
                 "used up");
}

TEST_F(LedgerRules, AnInviteIsGoodFor30DaysFromItsBlockOnHoweverLongItSays) {
  auto grant = world.grant(ledger, alice, 1000);
  grant.expiry = world.now + 1000 * day_ms;
  const auto invite = world.invite(grant, alice, 1000);
  const auto pass = [&](WallMs time) { return why(world.pass(ledger, time)); };
  world.now += 40 * day_ms;  // the block that it names is still the newest one
  EXPECT_EQ(why(check(world.join(ledger, bob, invite))), "");
  ASSERT_EQ(pass(0), "");
  EXPECT_EQ(why(check(world.join(ledger, bob, invite))), "");
  ASSERT_EQ(pass(30 * day_ms), "");
  EXPECT_EQ(why(check(world.join(ledger, bob, invite))), "");
  ASSERT_EQ(pass(1), "");
  EXPECT_REFUSED(check(world.join(ledger, bob, invite)), Errc::not_permitted, "over 30 days ago");
}

TEST_F(LedgerRules, AnInviteExpiresInBlockTime) {
  const auto invite = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  const auto entry = world.join(ledger, bob, invite);
  world.now += 7 * day_ms;
  EXPECT_EQ(why(check(entry)), "");
  world.now += 1;
  EXPECT_REFUSED(check(entry), Errc::not_permitted, "expired at 2026-09-28");
}

TEST_F(LedgerRules, AnInviteOfAnotherNetworkIsRefused) {
  auto grant = world.grant(ledger, alice, 1000);
  grant.network.bytes[0] ^= 1;
  EXPECT_REFUSED(check(world.join(ledger, bob, world.invite(grant, alice, 1000))), Errc::not_permitted,
                 "another network");
}

TEST_F(LedgerRules, AnInviteOfAnotherChainIsRefused) {
  auto grant = world.grant(ledger, alice, 1000);
  grant.pinned.block.bytes[0] ^= 1;
  EXPECT_REFUSED(check(world.join(ledger, bob, world.invite(grant, alice, 1000))), Errc::invalid, "not in this ledger");
  grant.pinned.height = 99;
  EXPECT_REFUSED(check(world.join(ledger, bob, world.invite(grant, alice, 1000))), Errc::invalid, "not in this ledger");
}

TEST_F(LedgerRules, AnInviteByAnybodyButAnAdminOfTheInviterIsForged) {
  auto grant = world.grant(ledger, alice, 1000);
  grant.signer = carol.node.node_id();
  EXPECT_REFUSED(check(world.join(ledger, bob, world.invite(grant, carol, 1000))), Errc::not_permitted, "no admin");
  grant = world.grant(ledger, carol, 1000);
  EXPECT_REFUSED(check(world.join(ledger, bob, world.invite(grant, carol, 1000))), Errc::not_permitted, "nobody knows");

  // carol is in, but invites in alice's name
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, carol, 1001)})), "");
  grant = world.grant(ledger, alice, 1000);
  grant.signer = carol.node.node_id();
  EXPECT_REFUSED(check(world.join(ledger, bob, world.invite(grant, carol, 1000))), Errc::not_permitted, "no admin");
}

TEST_F(LedgerRules, AMemberNodeInvitesNobody) {
  auto changed = *ledger.handle("alice");
  changed.nodes.emplace_back(alice.second.node_id(), Role::member);
  ASSERT_EQ(
      why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), alice.owner, {alice.second})})),
      "");
  auto grant = world.grant(ledger, alice, 1000);
  grant.signer = alice.second.node_id();
  Invite invite{encode_grant(grant, alice.second), test_key(1000).seed(), alice.second.node_id(), {}};
  EXPECT_REFUSED(check(world.join(ledger, bob, invite)), Errc::not_permitted, "no admin");
}

TEST_F(LedgerRules, ARemovedNodesInvitesAreWorthless) {
  const auto invite = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  auto changed = *ledger.handle("alice");
  changed.nodes = {{alice.second.node_id(), Role::admin}};
  ASSERT_EQ(
      why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), alice.owner, {alice.second})})),
      "");
  EXPECT_REFUSED(check(world.join(ledger, bob, invite)), Errc::not_permitted, "(any more)");
}

TEST_F(LedgerRules, AGrantWithoutItsTokenIsWorthNothing) {
  auto invite = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  invite.token_seed = test_key(1001).seed();  // a thief who read the grant in the ledger
  EXPECT_REFUSED(check(world.join(ledger, bob, invite)), Errc::not_permitted, "token");
}

TEST_F(LedgerRules, AHandleLetsInFiveHomesIn30Days) {
  for (std::uint64_t i = 0; i < 5; ++i) {
    ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, Home("home-" + std::to_string(i), 20 + i), 1000 + i)})), "");
    world.now += day_ms;
  }
  EXPECT_REFUSED(check(world.join(ledger, bob, 1005)), Errc::limit, "5 homes within 30 days");
  // others may still
  const Home inviter("home-0", 20);
  const auto invite = world.invite(world.grant(ledger, inviter, 1006), inviter, 1006);
  EXPECT_EQ(why(check(world.join(ledger, bob, invite))), "");
  world.now = start_ms + 30 * day_ms - 1;
  EXPECT_REFUSED(check(world.join(ledger, bob, 1005)), Errc::limit, "30 days");
  world.now = start_ms + 30 * day_ms;  // the first of the five has left the window
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1005)})), "");
  EXPECT_REFUSED(check(world.join(ledger, carol, 1007)), Errc::limit, "30 days");
}

TEST_F(LedgerRules, FiveHomesIn30DaysHoldsWithinABlockToo) {
  std::vector<Bytes> entries;
  for (std::uint64_t i = 0; i < 6; ++i)
    entries.push_back(world.join(ledger, Home("home-" + std::to_string(i), 20 + i), 1000 + i));
  EXPECT_REFUSED(world.commit(ledger, entries), Errc::limit, "30 days");
  entries.pop_back();
  EXPECT_EQ(why(world.commit(ledger, entries)), "");
}

// Update and renew ---------------------------------------------------------------------------------------------

TEST_F(LedgerRules, AnUpdateReplacesNodesPersonsAndProfile) {
  auto changed = *ledger.handle("alice");
  changed.nodes = {{alice.second.node_id(), Role::admin}};
  changed.persons = {{"mum", test_key(61).public_key()}, {"dad", test_key(62).public_key()}};
  changed.profile = sha256(as_bytes("profile"));
  ASSERT_EQ(
      why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), alice.owner, {alice.second})})),
      "");
  const auto* record = ledger.handle("alice");
  EXPECT_EQ(record->version, 2u);
  EXPECT_EQ(record->nodes, changed.nodes);
  EXPECT_EQ(record->persons[0].first, "dad");
  EXPECT_EQ(record->profile, changed.profile);
  EXPECT_EQ(record->height, 1u);
  EXPECT_EQ(ledger.handle_of(alice.node.node_id()), nullptr);
  EXPECT_EQ(ledger.handle_of(alice.second.node_id()), record);
}

TEST_F(LedgerRules, ANodeMayMoveToAnotherHandleOnceItIsFree) {
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000)})), "");
  auto left = *ledger.handle("alice");
  left.nodes = {{alice.second.node_id(), Role::admin}};
  auto joined = *ledger.handle("bob");
  joined.nodes.emplace_back(alice.node.node_id(), Role::member);
  const auto leave = make_update(left, ledger.network(), ledger.head(), alice.owner, {alice.second});
  const auto enter = make_update(joined, ledger.network(), ledger.head(), bob.owner, {alice.node});
  EXPECT_REFUSED(world.commit(ledger, {enter, leave}), Errc::not_permitted, "speaks for 'alice'");
  ASSERT_EQ(why(world.commit(ledger, {leave, enter})), "");
  EXPECT_EQ(ledger.handle_of(alice.node.node_id()), ledger.handle("bob"));
}

TEST_F(LedgerRules, AnUpdateIsSignedByTheOwnerAndByEveryNewNode) {
  auto changed = *ledger.handle("alice");
  changed.nodes.emplace_back(alice.second.node_id(), Role::member);
  const auto with = [&](const KeyPair& owner, const std::vector<KeyPair>& nodes) {
    return check(make_update(changed, ledger.network(), ledger.head(), owner, nodes));
  };
  EXPECT_EQ(why(with(alice.owner, {alice.second})), "");
  EXPECT_REFUSED(with(alice.owner, {}), Errc::not_permitted, "missing");
  EXPECT_REFUSED(with(bob.owner, {alice.second}), Errc::not_permitted, "no say");
  EXPECT_REFUSED(with(alice.node, {alice.second}), Errc::not_permitted, "no say");
  EXPECT_REFUSED(with(alice.owner, {alice.node, alice.second}), Errc::not_permitted, "no say");
}

TEST_F(LedgerRules, AnUpdateCountsOnceAndInOrder) {
  auto changed = *ledger.handle("alice");
  const auto update = make_update(changed, ledger.network(), ledger.head(), alice.owner, {});
  ASSERT_EQ(why(world.commit(ledger, {update})), "");
  EXPECT_REFUSED(check(update), Errc::invalid, "version 2");
  changed.version = 2;
  EXPECT_EQ(why(check(make_update(changed, ledger.network(), ledger.head(), alice.owner, {}))), "");
  changed.version = 3;
  EXPECT_REFUSED(check(make_update(changed, ledger.network(), ledger.head(), alice.owner, {})), Errc::invalid,
                 "version 4");
  changed.version = UINT64_MAX;
  EXPECT_REFUSED(check(make_update(changed, ledger.network(), ledger.head(), alice.owner, {})), Errc::invalid,
                 "version 0");
}

TEST_F(LedgerRules, PersonsHaveNamesAndKeysOfTheirOwn) {
  const auto with = [&](const Persons& persons) {
    auto changed = *ledger.handle("alice");
    changed.persons = persons;
    return check(make_update(changed, ledger.network(), ledger.head(), alice.owner, {}));
  };
  const auto key = test_key(61).public_key(), other = test_key(62).public_key();
  EXPECT_EQ(why(with({{"al", key}, {"mum", other}})), "");
  EXPECT_REFUSED(with({{"", key}}), Errc::invalid, "person");
  EXPECT_REFUSED(with({{"Mum", key}}), Errc::invalid, "person");
  EXPECT_REFUSED(with({{"mum", key}, {"mum", other}}), Errc::invalid, "ascending");
  EXPECT_REFUSED(with({{"dad", key}, {"mum", key}}), Errc::invalid, "same key");
}

TEST_F(LedgerRules, ChangesOfAnUnknownHandleAreRefused) {
  HandleRecord unknown;
  unknown.handle = "nemo";
  unknown.nodes = {{bob.node.node_id(), Role::admin}};
  EXPECT_REFUSED(check(make_update(unknown, ledger.network(), ledger.head(), bob.owner, {bob.node})), Errc::not_found,
                 "'nemo'");
  EXPECT_REFUSED(check(make_renew(unknown, ledger.network(), ledger.head(), bob.node)), Errc::not_found, "'nemo'");
}

TEST_F(LedgerRules, WithoutLeasesThereIsNothingToRenew) {
  EXPECT_REFUSED(check(make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.node)), Errc::invalid,
                 "nothing to renew");
}

TEST(LedgerLeases, AreRenewedByAnyNodeOfTheHandle) {
  World world(1, 90);
  auto ledger = world.ledger();
  EXPECT_EQ(ledger.handle("alice")->lease_until, start_ms + 90 * day_ms);
  world.now += 60 * day_ms;
  const auto renew = make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.node);
  EXPECT_REFUSED(
      ledger.check_entry(make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), bob.node), world.now),
      Errc::not_permitted, "one node of 'alice'");
  EXPECT_EQ(why(ledger.check_entry(make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.owner),
                                   world.now)),
            "");
  ASSERT_EQ(why(world.commit(ledger, {renew})), "");
  EXPECT_EQ(ledger.handle("alice")->lease_until, start_ms + 150 * day_ms);
  EXPECT_EQ(ledger.handle("alice")->version, 2u);
  EXPECT_REFUSED(ledger.check_entry(renew, world.now), Errc::invalid, "version 2");
}

/// bob's registration, by carol's keys.
Bytes rival_of_bob(const World& world, const Ledger& ledger) {
  auto rival = carol.registration();
  rival.handle = "bob";
  const auto invite = world.invite(world.grant(ledger, alice, 1001), alice, 1001);
  return make_register(rival, ledger.network(), ledger.head(), carol.owner, {carol.node}, &invite);
}

TEST(LedgerLeases, ThatRanOutKeepTheNameForAMonth) {
  World world(1, 90);
  auto ledger = world.ledger();
  world.now += day_ms;
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000)})), "");
  world.now = start_ms + 119 * day_ms;
  ASSERT_EQ(
      why(world.commit(ledger, {make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.node)})),
      "");
  world.now = start_ms + 121 * day_ms - 1;  // 90 + 30 days after bob came, all but a millisecond
  const auto renew = make_renew(*ledger.handle("bob"), ledger.network(), ledger.head(), bob.node);
  EXPECT_REFUSED(ledger.check_entry(rival_of_bob(world, ledger), world.now), Errc::exists, "taken");
  EXPECT_EQ(why(ledger.check_entry(renew, world.now)), "");
  world.now += 1;
  EXPECT_REFUSED(ledger.check_entry(renew, world.now), Errc::not_found, "no handle 'bob'");
  ASSERT_EQ(why(world.commit(ledger, {rival_of_bob(world, ledger)})), "");
  EXPECT_EQ(ledger.handle("bob")->owner, carol.owner.public_key());
  EXPECT_EQ(ledger.handle("bob")->version, 1u);
  EXPECT_EQ(ledger.handle_of(bob.node.node_id()), nullptr);
}

TEST(LedgerLeases, ThatEndTakeTheHandleOutOfTheLedgerInTheNextBlock) {
  World world(1, 90);
  auto ledger = world.ledger();
  const auto with_alice_alone = ledger.map_root();
  world.now += day_ms;
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000)})), "");
  world.now = start_ms + 119 * day_ms;
  ASSERT_EQ(
      why(world.commit(ledger, {make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.node)})),
      "");
  ASSERT_TRUE(ledger.handle("bob"));
  world.now += 2 * day_ms;
  ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_EQ(ledger.handle("bob"), nullptr);
  EXPECT_EQ(ledger.handle_of(bob.node.node_id()), nullptr);
  EXPECT_NE(ledger.map_root(), with_alice_alone);
  EXPECT_EQ(world.ledger().map_root(), ledger.map_root());
  // The node is free as well.
  auto what = dave.registration();
  what.nodes = {{bob.node.node_id(), Role::admin}};
  const auto invite = world.invite(world.grant(ledger, alice, 1001), alice, 1001);
  EXPECT_EQ(why(world.commit(ledger,
                             {make_register(what, ledger.network(), ledger.head(), dave.owner, {bob.node}, &invite)})),
            "");
}

// Names that look alike --------------------------------------------------------------------------------------------

TEST(Skeletons, AreOneForNamesThatLookAlike) {
  for (const auto& [one, other] : std::vector<std::pair<const char*, const char*>>{{"bob", "b0b"},
                                                                                   {"bill", "b1ll"},
                                                                                   {"bill", "blll"},
                                                                                   {"mum", "rnum"},
                                                                                   {"wim", "vvim"},
                                                                                   {"my-home", "myhome"},
                                                                                   {"ba-r-n", "bam"}})
    EXPECT_EQ(skeleton_of(one), skeleton_of(other)) << one << " " << other;
  for (const auto& [one, other] : std::vector<std::pair<const char*, const char*>>{
           {"bob", "bab"}, {"home1", "home2"}, {"dave", "clave"}, {"sun", "5un"}, {"nun", "mun"}})
    EXPECT_NE(skeleton_of(one), skeleton_of(other)) << one << " " << other;
}

TEST_F(LedgerRules, ANameThatLooksLikeATakenOneIsRefused) {
  for (const auto* handle : {"a1ice", "allce", "al-ice", "a-l-i-c-e"}) {
    auto what = bob.registration();
    what.handle = handle;
    EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::exists, "looks too much like 'alice'");
  }
  for (const auto* handle : {"d10t", "r00t", "adm1n", "sy-stem"}) {
    auto what = bob.registration();
    what.handle = handle;
    EXPECT_REFUSED(check(register_as(what, bob, {bob.node})), Errc::invalid, "reserved");
  }
}

}  // namespace
}  // namespace diot
