// What may become of a handle: new keys, new owners, revoked nodes, guardians, and its end.

#include <gtest/gtest.h>

#include "core/ledger/limits.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

constexpr WallMs hour_ms = day_ms / 24;

class LedgerHandles : public ::testing::Test {
 protected:
  LedgerHandles() {
    EXPECT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000), world.join(ledger, carol, 1001),
                                        world.join(ledger, dave, 1002)})),
              "");
  }
  World world;
  Ledger ledger = world.ledger();

  Result<void> check(const Bytes& entry) const { return ledger.check_entry(entry, world.now); }
  Result<void> check(EntryBody body, std::vector<KeyPair> signers) const {
    return check(world.entry(ledger, std::move(body), std::move(signers)));
  }
  Result<void> take(EntryBody body, std::vector<KeyPair> signers) {
    return world.commit(ledger, {world.entry(ledger, std::move(body), std::move(signers))});
  }
  HandleChange next(const Home& home) const { return World::next(ledger, home.handle); }
  const HandleRecord& record(const Home& home) const { return *ledger.handle(home.handle); }

  const KeyPair after_next = test_key(777);
  const Hash after_next_hash = sha256(after_next.public_key());
};

// Rotate ---------------------------------------------------------------------------------------------------------

TEST_F(LedgerHandles, TheNextKeyTakesOver) {
  ASSERT_EQ(why(take(RotateBody{next(bob), bob.next.public_key(), after_next_hash}, {bob.next})), "");
  EXPECT_EQ(record(bob).owner, bob.next.public_key());
  EXPECT_EQ(record(bob).next_key, after_next_hash);
  EXPECT_EQ(record(bob).version, 2u);
  EXPECT_EQ(record(bob).role_of(bob.node.node_id()), Role::admin);
  // The old key has no say any more, the new one has.
  EXPECT_REFUSED(check(make_update(record(bob), ledger.network(), ledger.head(), bob.owner, {})), Errc::not_permitted,
                 "no say");
  EXPECT_EQ(why(check(make_update(record(bob), ledger.network(), ledger.head(), bob.next, {}))), "");
  // And so on.
  EXPECT_EQ(why(take(RotateBody{next(bob), after_next.public_key(), sha256(test_key(778).public_key())}, {after_next})),
            "");
}

TEST_F(LedgerHandles, AThiefOfTheCurrentKeyCannotRotate) {
  const auto thief = test_key(900);
  EXPECT_REFUSED(check(RotateBody{next(bob), thief.public_key(), after_next_hash}, {bob.owner, thief}),
                 Errc::not_permitted, "not the next key");
  EXPECT_REFUSED(check(RotateBody{next(bob), bob.next.public_key(), after_next_hash}, {bob.owner}), Errc::not_permitted,
                 "no say");
  EXPECT_REFUSED(check(RotateBody{next(bob), bob.next.public_key(), after_next_hash}, {}), Errc::not_permitted,
                 "missing");
}

TEST_F(LedgerHandles, ARotationCommitsToAnotherKey) {
  EXPECT_REFUSED(check(RotateBody{next(bob), bob.next.public_key(), sha256(bob.next.public_key())}, {bob.next}),
                 Errc::invalid, "next-key");
  EXPECT_REFUSED(check(RotateBody{next(bob), bob.next.public_key(), {}}, {bob.next}), Errc::invalid, "next-key");
}

// Transfer -------------------------------------------------------------------------------------------------------

class LedgerTransfers : public LedgerHandles {
 protected:
  const KeyPair buyer = test_key(901), buyer_node = test_key(902);
  TransferBody body() const {
    return {next(bob), buyer.public_key(), after_next_hash, {{buyer_node.node_id(), Role::admin}}};
  }
};

TEST_F(LedgerTransfers, GiveTheHandleToAnotherOwnerWithOtherNodes) {
  auto changed = record(bob);
  changed.persons = {{"kid", test_key(50).public_key()}};
  changed.profile = sha256(as_bytes("p"));
  ASSERT_EQ(why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), bob.owner, {})})), "");
  const auto channel_root = record(bob).register_entry;
  ASSERT_EQ(why(take(body(), {bob.owner, bob.next, buyer, buyer_node})), "");
  EXPECT_EQ(record(bob).owner, buyer.public_key());
  EXPECT_EQ(record(bob).next_key, after_next_hash);
  EXPECT_EQ(record(bob).nodes, (NodeRoles{{buyer_node.node_id(), Role::admin}}));
  EXPECT_TRUE(record(bob).persons.empty());
  EXPECT_TRUE(record(bob).profile.is_zero());
  EXPECT_EQ(record(bob).register_entry, channel_root);  // its channels go on
  EXPECT_EQ(ledger.handle_of(bob.node.node_id()), nullptr);
  EXPECT_EQ(ledger.handle_of(buyer_node.node_id()), &record(bob));
}

TEST_F(LedgerTransfers, AreSignedByEverybodyConcerned) {
  EXPECT_REFUSED(check(body(), {bob.owner, buyer, buyer_node}), Errc::not_permitted, "next key");
  EXPECT_REFUSED(check(body(), {bob.next, buyer, buyer_node}), Errc::not_permitted, "missing");
  EXPECT_REFUSED(check(body(), {bob.owner, bob.next, buyer_node}), Errc::not_permitted, "missing");
  EXPECT_REFUSED(check(body(), {bob.owner, bob.next, buyer}), Errc::not_permitted, "missing");
  EXPECT_REFUSED(check(body(), {bob.owner, bob.next, buyer, buyer_node, carol.owner}), Errc::not_permitted, "no say");
}

TEST_F(LedgerTransfers, AreNotToOneself) {
  auto what = body();
  what.owner = bob.next.public_key();
  EXPECT_REFUSED(check(what, {bob.owner, bob.next, buyer_node}), Errc::invalid, "rotate");
}

TEST_F(LedgerTransfers, DoNotTakeNodesOfOthers) {
  auto what = body();
  what.nodes = {{carol.node.node_id(), Role::admin}};
  EXPECT_REFUSED(check(what, {bob.owner, bob.next, buyer, carol.node}), Errc::not_permitted, "speaks for 'carol'");
  what.nodes = {{buyer.node_id(), Role::admin}};
  EXPECT_REFUSED(check(what, {bob.owner, bob.next, buyer}), Errc::invalid, "owner key");
}

// Release --------------------------------------------------------------------------------------------------------

TEST_F(LedgerHandles, AReleasedNameIsFreeAfterAMonth) {
  EXPECT_REFUSED(check(ReleaseBody{next(bob)}, {bob.owner}), Errc::not_permitted, "next key");
  EXPECT_REFUSED(check(ReleaseBody{next(bob)}, {bob.next}), Errc::not_permitted, "missing");
  const auto before = record(bob).register_entry;
  ASSERT_EQ(why(take(ReleaseBody{next(bob)}, {bob.owner, bob.next})), "");
  EXPECT_EQ(record(bob).released, world.now);
  EXPECT_TRUE(record(bob).nodes.empty());
  EXPECT_EQ(ledger.handle_of(bob.node.node_id()), nullptr);
  EXPECT_REFUSED(check(ReleaseBody{next(bob)}, {bob.owner, bob.next}), Errc::not_permitted, "given up");
  EXPECT_REFUSED(check(world.join(ledger, bob, 1003)), Errc::exists, "given up");
  world.now += 30 * day_ms;
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1003)})), "");
  EXPECT_EQ(record(bob).released, 0u);
  EXPECT_EQ(record(bob).version, 1u);
  EXPECT_NE(record(bob).register_entry, before);  // it inherits no channel
}

// Revoking nodes -------------------------------------------------------------------------------------------------

class LedgerRevocations : public LedgerHandles {
 protected:
  LedgerRevocations() {
    auto changed = record(bob);
    changed.nodes.emplace_back(bob.second.node_id(), Role::member);
    EXPECT_EQ(
        why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), bob.owner, {bob.second})})),
        "");
  }
  static ChannelId channel(std::uint8_t number) {
    ChannelId out;
    out.bytes.fill(number);
    return out;
  }
  const Hash last_header = sha256(as_bytes("last"));
  const NodeId stolen = bob.second.node_id();
  RevokeNodeBody body() const {
    return {next(bob), stolen, {{channel(2), {{5, 50}, 100, last_header}}, {channel(1), {{5, 50}, 7, last_header}}}};
  }
};

TEST_F(LedgerRevocations, TakeTheNodeOutForGood) {
  ASSERT_EQ(why(take(body(), {bob.owner})), "");
  EXPECT_EQ(record(bob).role_of(stolen), std::nullopt);
  EXPECT_EQ(ledger.handle_of(stolen), nullptr);
  ASSERT_EQ(record(bob).revoked.size(), 1u);
  EXPECT_EQ(record(bob).revoked[0].node, stolen);
  EXPECT_EQ(record(bob).revoked[0].height, ledger.head().height);
  auto changed = record(bob);
  changed.nodes.emplace_back(stolen, Role::member);
  EXPECT_REFUSED(check(make_update(changed, ledger.network(), ledger.head(), bob.owner, {bob.second})),
                 Errc::not_permitted, "was revoked");
  EXPECT_EQ(world.ledger().map_root(), ledger.map_root());
}

TEST_F(LedgerRevocations, SayHowMuchOfItsLogsCounts) {
  const Hash header = sha256(as_bytes("some"));
  EXPECT_TRUE(ledger.right_to_write("bob", stolen, channel(9)).allows({9, 9}, 1'000'000, header));
  ASSERT_EQ(why(take(body(), {bob.owner})), "");
  const auto two = ledger.right_to_write("bob", stolen, channel(2));
  EXPECT_TRUE(two.allows({4, 99}, 1'000'000, header));  // an incarnation before
  EXPECT_TRUE(two.allows({5, 50}, 99, header));
  EXPECT_TRUE(two.allows({5, 50}, 100, last_header));
  EXPECT_FALSE(two.allows({5, 50}, 100, header));  // signed anew by the thief
  EXPECT_FALSE(two.allows({5, 50}, 101, header));
  EXPECT_FALSE(two.allows({5, 51}, 1, header));
  EXPECT_FALSE(two.allows({6, 1}, 1, header));
  EXPECT_FALSE(ledger.right_to_write("bob", stolen, channel(1)).allows({5, 50}, 8, header));
  EXPECT_FALSE(ledger.right_to_write("bob", stolen, channel(3)).allows({1, 1}, 1, header));  // not named: nothing
  EXPECT_TRUE(ledger.right_to_write("bob", bob.node.node_id(), channel(3)).allows({1, 1}, 1, header));
  EXPECT_FALSE(ledger.right_to_write("carol", stolen, channel(2)).allows({1, 1}, 1, header));
  EXPECT_FALSE(ledger.right_to_write("nobody", stolen, channel(2)).allows({1, 1}, 1, header));
}

TEST_F(LedgerRevocations, AreTheOwners) {
  EXPECT_REFUSED(check(body(), {bob.node}), Errc::not_permitted, "no say");
  auto what = body();
  what.node = alice.node.node_id();
  EXPECT_REFUSED(check(what, {bob.owner}), Errc::not_found, "does not speak for 'bob'");
}

TEST_F(LedgerRevocations, MayTakeTheLastNode) {
  auto what = body();
  what.node = bob.node.node_id();
  ASSERT_EQ(why(take(what, {bob.owner})), "");
  what = body();
  ASSERT_EQ(why(take(what, {bob.owner})), "");
  EXPECT_TRUE(record(bob).nodes.empty());
  auto changed = record(bob);
  const auto fresh = test_key(910);
  changed.nodes = {{fresh.node_id(), Role::admin}};
  EXPECT_EQ(why(check(make_update(changed, ledger.network(), ledger.head(), bob.owner, {fresh}))), "");
}

TEST_F(LedgerRevocations, OfLongAgoAreForgottenAndThenNothingCounts) {
  ASSERT_EQ(why(take(body(), {bob.owner})), "");
  for (std::size_t i = 0; i < limits::revocations_per_handle_max; ++i) {
    if (i % 15 == 0) world.now += day_ms;
    const auto node = test_key(20'000 + i);
    auto changed = record(bob);
    changed.nodes.emplace_back(node.node_id(), Role::member);
    ASSERT_EQ(why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), bob.owner, {node})})),
              "");
    ASSERT_EQ(why(take(RevokeNodeBody{next(bob), node.node_id(), {}}, {bob.owner})), "");
  }
  EXPECT_EQ(record(bob).revoked.size(), limits::revocations_per_handle_max);
  EXPECT_FALSE(record(bob).is_revoked(stolen));
  EXPECT_FALSE(ledger.right_to_write("bob", stolen, channel(2)).allows({5, 50}, 1, {}));
}

// Guardians ------------------------------------------------------------------------------------------------------

class LedgerRecoveries : public LedgerHandles {
 protected:
  LedgerRecoveries() { EXPECT_EQ(why(take(guard(2, {"dave", "bob", "carol"}), {alice.owner, alice.next})), ""); }
  SetGuardiansBody guard(std::uint32_t threshold, std::vector<std::string> guardians) const {
    return {next(alice), threshold, std::move(guardians)};
  }
  const KeyPair fresh = test_key(920), fresh_node = test_key(921);
  RecoverBody body() const {
    return {next(alice), fresh.public_key(), after_next_hash, {{fresh_node.node_id(), Role::admin}}};
  }
  /// Blocks go on without alice.
  Result<void> pass(WallMs time) {
    world.now += time;
    return world.commit(ledger, {make_update(record(bob), ledger.network(), ledger.head(), bob.owner, {})});
  }
};

TEST_F(LedgerRecoveries, GuardiansAreSetByCurrentAndNextKey) {
  EXPECT_EQ(record(alice).guardians.threshold, 2u);
  ASSERT_EQ(record(alice).guardians.who.size(), 3u);
  EXPECT_EQ(record(alice).guardians.who[0].handle, "bob");
  EXPECT_EQ(record(alice).guardians.who[0].register_entry, record(bob).register_entry);
  EXPECT_REFUSED(check(guard(1, {"bob"}), {alice.owner}), Errc::not_permitted, "next key");
  EXPECT_REFUSED(check(guard(1, {"bob"}), {alice.next}), Errc::not_permitted, "missing");
  EXPECT_REFUSED(check(guard(1, {"alice"}), {alice.owner, alice.next}), Errc::invalid, "itself");
  EXPECT_REFUSED(check(guard(1, {"nemo"}), {alice.owner, alice.next}), Errc::not_found, "'nemo'");
  EXPECT_REFUSED(check(guard(2, {"bob"}), {alice.owner, alice.next}), Errc::invalid, "2 of 1");
  EXPECT_REFUSED(check(guard(0, {"bob"}), {alice.owner, alice.next}), Errc::invalid, "0 of 1");
  EXPECT_REFUSED(check(guard(1, {"bob", "bob"}), {alice.owner, alice.next}), Errc::invalid, "ascending");
  EXPECT_EQ(why(take(guard(0, {}), {alice.owner, alice.next})), "");
  EXPECT_REFUSED(check(body(), {fresh, fresh_node, bob.owner, carol.owner}), Errc::not_permitted, "no guardians");
}

TEST_F(LedgerRecoveries, EnoughGuardiansWinTheHandleBackAfterThreeDays) {
  EXPECT_REFUSED(check(body(), {fresh, fresh_node, bob.owner}), Errc::not_permitted, "1 of the guardians");
  EXPECT_REFUSED(check(body(), {fresh, fresh_node, bob.owner, bob.node}), Errc::not_permitted, "1 of the guardians");
  EXPECT_REFUSED(check(body(), {fresh_node, bob.owner, carol.owner}), Errc::not_permitted, "missing");
  EXPECT_REFUSED(check(body(), {fresh, bob.owner, carol.owner}), Errc::not_permitted, "missing");
  ASSERT_EQ(why(take(body(), {fresh, fresh_node, bob.owner, carol.owner})), "");
  ASSERT_TRUE(record(alice).recovery);
  EXPECT_EQ(record(alice).recovery->due, world.now + 72 * hour_ms);
  EXPECT_TRUE(record(alice).recovery->cancellable);
  EXPECT_EQ(record(alice).owner, alice.owner.public_key());  // nothing has happened yet
  const auto version = record(alice).version;
  ASSERT_EQ(why(pass(72 * hour_ms - 1)), "");
  EXPECT_EQ(record(alice).owner, alice.owner.public_key());
  ASSERT_EQ(why(pass(1)), "");
  EXPECT_EQ(record(alice).owner, fresh.public_key());
  EXPECT_EQ(record(alice).next_key, after_next_hash);
  EXPECT_EQ(record(alice).nodes, (NodeRoles{{fresh_node.node_id(), Role::admin}}));
  EXPECT_EQ(record(alice).version, version + 1);
  EXPECT_EQ(record(alice).guardians.threshold, 2u);
  EXPECT_FALSE(record(alice).recovery);
  EXPECT_EQ(ledger.handle_of(alice.node.node_id()), nullptr);
  EXPECT_EQ(world.ledger().map_root(), ledger.map_root());
}

TEST_F(LedgerRecoveries, TheOwnerCancelsOneThatIsNotMeant) {
  EXPECT_REFUSED(check(CancelRecoveryBody{next(alice)}, {alice.owner}), Errc::not_found, "no recovery");
  ASSERT_EQ(why(take(body(), {fresh, fresh_node, bob.owner, carol.owner})), "");
  EXPECT_REFUSED(check(body(), {fresh, fresh_node, bob.owner, carol.owner}), Errc::exists, "under way");
  EXPECT_REFUSED(check(CancelRecoveryBody{next(alice)}, {bob.owner}), Errc::not_permitted, "no say");
  ASSERT_EQ(why(take(CancelRecoveryBody{next(alice)}, {alice.owner})), "");
  EXPECT_FALSE(record(alice).recovery);
  ASSERT_EQ(why(pass(80 * hour_ms)), "");
  EXPECT_EQ(record(alice).owner, alice.owner.public_key());
}

TEST_F(LedgerRecoveries, NobodyCancelsWhatMoreGuardiansThanNeededHaveSigned) {
  ASSERT_EQ(why(take(body(), {fresh, fresh_node, bob.owner, carol.owner})), "");
  ASSERT_EQ(why(take(body(), {fresh, fresh_node, bob.owner, carol.owner, dave.owner})), "");  // replaces the weaker one
  EXPECT_FALSE(record(alice).recovery->cancellable);
  EXPECT_REFUSED(check(CancelRecoveryBody{next(alice)}, {alice.owner}), Errc::not_permitted, "cannot be cancelled");
  EXPECT_REFUSED(check(RotateBody{next(alice), alice.next.public_key(), after_next_hash}, {alice.next}),
                 Errc::not_permitted, "cannot be cancelled");
  EXPECT_REFUSED(check(ReleaseBody{next(alice)}, {alice.owner, alice.next}), Errc::not_permitted,
                 "cannot be cancelled");
  EXPECT_REFUSED(check(guard(0, {}), {alice.owner, alice.next}), Errc::not_permitted, "cannot be cancelled");
  EXPECT_REFUSED(check(body(), {fresh, fresh_node, bob.owner, carol.owner, dave.owner}), Errc::exists, "under way");
  ASSERT_EQ(why(pass(72 * hour_ms)), "");
  EXPECT_EQ(record(alice).owner, fresh.public_key());
}

TEST_F(LedgerRecoveries, AllGuardiansNeedNoOneMore) {
  ASSERT_EQ(why(take(guard(2, {"bob", "carol"}), {alice.owner, alice.next})), "");
  ASSERT_EQ(why(take(body(), {fresh, fresh_node, bob.owner, carol.owner})), "");
  EXPECT_FALSE(record(alice).recovery->cancellable);
}

TEST_F(LedgerRecoveries, TheNextKeyEndsOneThatCanBeCancelled) {
  ASSERT_EQ(why(take(body(), {fresh, fresh_node, bob.owner, carol.owner})), "");
  ASSERT_EQ(why(take(RotateBody{next(alice), alice.next.public_key(), after_next_hash}, {alice.next})), "");
  EXPECT_FALSE(record(alice).recovery);
}

TEST_F(LedgerRecoveries, WhoRegistersAGuardiansNameAnewIsNoGuardian) {
  ASSERT_EQ(why(take(ReleaseBody{next(bob)}, {bob.owner, bob.next})), "");
  EXPECT_REFUSED(check(body(), {fresh, fresh_node, bob.owner, carol.owner}), Errc::not_permitted, "1 of the guardians");
  world.now += 31 * day_ms;
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1004)})), "");
  EXPECT_REFUSED(check(body(), {fresh, fresh_node, bob.owner, carol.owner}), Errc::not_permitted, "1 of the guardians");
  EXPECT_EQ(why(check(body(), {fresh, fresh_node, dave.owner, carol.owner})), "");
}

TEST_F(LedgerRecoveries, LeaveOutNodesThatMeanwhileSpeakForAnother) {
  ASSERT_EQ(why(take(body(), {fresh, fresh_node, bob.owner, carol.owner})), "");
  auto changed = record(dave);
  changed.nodes.emplace_back(fresh_node.node_id(), Role::member);
  ASSERT_EQ(
      why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), dave.owner, {fresh_node})})), "");
  ASSERT_EQ(why(pass(72 * hour_ms)), "");
  EXPECT_EQ(record(alice).owner, fresh.public_key());
  EXPECT_TRUE(record(alice).nodes.empty());
  EXPECT_EQ(ledger.handle_of(fresh_node.node_id()), &record(dave));
}

TEST_F(LedgerRecoveries, OfADayAreFew) {
  for (std::size_t i = 1; i < limits::recoveries_per_day_max; ++i)  // the guardians were set today
    ASSERT_EQ(why(take(guard(1, {"bob"}), {alice.owner, alice.next})), "");
  EXPECT_REFUSED(check(guard(1, {"bob"}), {alice.owner, alice.next}), Errc::limit, "8 times within a day");
  world.now += day_ms;
  EXPECT_EQ(why(check(guard(1, {"bob"}), {alice.owner, alice.next})), "");
}

TEST_F(LedgerHandles, ChangesOfADayAreBounded) {
  for (std::size_t i = 0; i < limits::changes_per_day_max; ++i) ASSERT_EQ(why(world.pass(ledger)), "");
  EXPECT_REFUSED(check(make_update(record(alice), ledger.network(), ledger.head(), alice.owner, {})), Errc::limit,
                 "32 times within a day");
  // A thief of the current key so cannot keep the owner from changing it.
  EXPECT_EQ(why(check(RotateBody{next(alice), alice.next.public_key(), after_next_hash}, {alice.next})), "");
  EXPECT_EQ(why(world.pass(ledger, day_ms)), "");
}

TEST_F(LedgerHandles, SignaturesAreGatheredOneByOne) {
  const auto buyer = test_key(901);
  const TransferBody body{next(bob), buyer.public_key(), after_next_hash, {{bob.node.node_id(), Role::admin}}};
  auto entry = world.entry(ledger, body, {bob.owner});
  entry = add_signature(entry, ledger.network(), buyer).value();
  EXPECT_REFUSED(add_signature(entry, ledger.network(), buyer), Errc::exists, "already");
  EXPECT_REFUSED(check(entry), Errc::not_permitted, "next key");
  entry = add_signature(entry, ledger.network(), bob.next).value();
  EXPECT_EQ(entry, world.entry(ledger, body, {bob.next, bob.owner, buyer}));
  EXPECT_EQ(why(world.commit(ledger, {entry})), "");
}

}  // namespace
}  // namespace diot
