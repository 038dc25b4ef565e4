// Homes that joined while the ledger was out of reach: known by provisional names until their entry is in a block.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/ledger/provisional.hpp"
#include "core/limits.hpp"
#include "dht/handles.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;
using State = OwnRegistration::State;

/// alice is the registrar, and away. bob has let carol in.
struct Provisional : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  Home& carol = join_without_alice();
  const std::string name = carol.overlay->names().shown;

  Home& join_without_alice() {
    settle();
    world.kill(alice);
    world.run();
    Home& home = world.join_provisionally("carol", bob);
    settle();
    return home;
  }
  void settle() { world.pass(8s); }
  void share() {
    const auto made = carol.overlay->own().add("sensors/#", Preset::public_);
    ASSERT_TRUE(made) << made.error().message;
    carol.turn.touch();
    world.run();
  }
  void publish(const std::string& payload, bool retain = false) {
    carol.publish("sensors/a", payload, Qos::at_least_once, retain);
    world.run();
  }
  void registrar_comes_back() {
    world.remember_blocks_of(alice);
    world.start(alice);
    world.pass(1min);
  }
  /// What others are told that carol's node has.
  Bytes entry() const { return carol.overlay->own_hello().registration; }
};

TEST_F(Provisional, TheNameIsMadeOfTheEntry) {
  const auto made = decode_entry(entry()).value();
  EXPECT_EQ(name, provisional_name(carol.ledger->network(), "carol", made.hash));
  EXPECT_TRUE(check_owner(name)) << name;
  EXPECT_TRUE(name.starts_with("carol~")) << name;
  EXPECT_EQ(carol.overlay->registration().state(), State::waits);
  EXPECT_NE(carol.overlay->registration().reason(), "");
  const auto* record = bob.overlay->handles().find(name);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->register_entry, made.hash);
  EXPECT_EQ(bob.overlay->handles().of(carol.key.node_id()), record) << "and that is how bob shows its node";
  EXPECT_EQ(bob.overlay->handles().find("carol"), nullptr);
  EXPECT_EQ(bob.ledger->handle(name), nullptr) << "the ledger's rules know nothing of it";
}

TEST_F(Provisional, ItIsReadUnderThatNameAndGoesOnUnderBoth) {
  share();
  world.subscribe_durably(bob, "@" + name + "/sensors/#");
  settle();
  EXPECT_TRUE(bob.overlay->remote().acknowledged("@" + name + "/sensors/#"))
      << bob.overlay->remote().waiting_for("@" + name + "/sensors/#");
  publish("1", true);
  carol.publish("@" + name + "/sensors/b", "1", Qos::at_least_once);
  world.run();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@" + name + "/sensors/a 1", "@" + name + "/sensors/b 1"));
  EXPECT_NE(bob.retained->find("@" + name + "/sensors/a"), nullptr);
  bob.broker->live.clear();

  registrar_comes_back();
  EXPECT_EQ(carol.overlay->names().shown, "carol");
  EXPECT_EQ(carol.overlay->names().provisional, name);
  EXPECT_EQ(carol.overlay->registration().state(), State::none);
  ASSERT_NE(bob.ledger->handle("carol"), nullptr);
  EXPECT_EQ(bob.overlay->handles().provisional(), 0u);
  EXPECT_EQ(bob.overlay->handles().find(name), bob.ledger->handle("carol"));
  publish("2", true);
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@" + name + "/sensors/a 2"));
  bob.broker->live.clear();

  world.subscribe_durably(bob, "@carol/sensors/#");
  settle();
  EXPECT_TRUE(bob.overlay->remote().acknowledged("@carol/sensors/#"))
      << bob.overlay->remote().waiting_for("@carol/sensors/#");
  EXPECT_THAT(bob.broker->texts(), IsEmpty()) << "nothing comes twice";
  ASSERT_NE(bob.retained->find("@carol/sensors/a"), nullptr);
  EXPECT_EQ(as_text(bob.retained->find("@carol/sensors/a")->message->payload), "2");
  publish("3", true);
  carol.publish("@" + name + "/sensors/b", "3", Qos::at_least_once);
  carol.publish("@carol/sensors/c", "3", Qos::at_least_once);
  world.run();
  EXPECT_THAT(bob.broker->texts(), testing::UnorderedElementsAre("@carol/sensors/a 3", "@" + name + "/sensors/a 3",
                                                                 "@carol/sensors/b 3", "@" + name + "/sensors/b 3",
                                                                 "@carol/sensors/c 3", "@" + name + "/sensors/c 3"));
  EXPECT_EQ(as_text(bob.retained->find("@carol/sensors/a")->message->payload), "3");
  EXPECT_EQ(as_text(bob.retained->find("@" + name + "/sensors/a")->message->payload), "3");

  bob.overlay->remove_demand("@" + name + "/sensors/#", true);
  bob.broker->live.clear();
  publish("4", true);
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@carol/sensors/a 4"));
  EXPECT_EQ(bob.retained->find("@" + name + "/sensors/a"), nullptr) << "nobody keeps that one right any more";
}

TEST_F(Provisional, ItReadsOthers) {
  ASSERT_TRUE(bob.overlay->own().add("news/#", Preset::public_));
  carol.overlay->add_demand("@bob/news/#", false);
  settle();
  bob.publish("news/a", "1");
  world.run();
  EXPECT_THAT(carol.broker->texts(), ElementsAre("@bob/news/a 1"));
}

TEST_F(Provisional, NothingIsLostOrRepeatedOverRestarts) {
  share();
  world.subscribe_durably(bob, "@" + name + "/sensors/#");
  settle();
  publish("1");
  world.kill(carol);
  world.remember_blocks_of(bob);
  world.start(carol);
  EXPECT_EQ(carol.overlay->names().shown, name);
  settle();
  publish("2");
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@" + name + "/sensors/a 1", "@" + name + "/sensors/a 2"));
  // bob's restart: he knows carol again when they are linked, and goes on where he was.
  world.kill(bob);
  publish("3");
  world.remember_blocks_of(carol);
  world.start(bob);
  settle();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@" + name + "/sensors/a 3"));
  bob.broker->live.clear();
  registrar_comes_back();
  world.kill(carol);
  world.remember_blocks_of(bob);
  world.start(carol);
  settle();
  EXPECT_EQ(carol.overlay->names().shown, "carol");
  publish("4");
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@" + name + "/sensors/a 4"));
}

TEST_F(Provisional, TheNameMayBeLostWhileTheHomeIsOff) {
  world.kill(carol);
  world.remember_blocks_of(alice);
  world.start(alice);
  settle();
  const auto owner = KeyPair::generate(world.random), node = KeyPair::generate(world.random);
  const Invite invite = alice.overlay->make_invite(1, 3'600'000).value();
  const Registration what{"carol", owner.public_key(), sha256(node.public_key()), {{node.node_id(), Role::admin}}};
  std::optional<Result<std::uint64_t>> committed;
  alice.overlay->ledger_sync().submit(
      make_register(what, alice.ledger->network(), alice.ledger->head(), owner, {node}, &invite),
      [&](auto height) { committed = height; });
  world.run();
  ASSERT_TRUE(committed && *committed) << committed->error().message;
  world.start(carol);  // which does not know yet
  EXPECT_EQ(carol.overlay->registration().state(), State::waits);
  settle();
  EXPECT_EQ(bob.overlay->handles().find(name), nullptr);
  EXPECT_EQ(carol.overlay->registration().state(), State::refused);
  EXPECT_THAT(carol.overlay->registration().reason(), testing::HasSubstr("is taken"));
  world.pass(30s);
  EXPECT_EQ(bob.overlay->handles().of(carol.key.node_id()), nullptr);
  EXPECT_GT(bob.overlay->counters().at("links closed to nodes that speak for no handle any more"), 0u)
      << "it was told, and is a stranger now";
}

TEST_F(Provisional, AHomeWhoseNameWasTakenSaysSoAndLosesItsPlace) {
  share();
  world.subscribe_durably(bob, "@" + name + "/sensors/#");
  settle();
  const auto owner = KeyPair::generate(world.random), node = KeyPair::generate(world.random);
  // The block is bob's first; carol's entry is kept from it.
  world.on_wire = [](const Home&, const Home&, FrameType type, Bytes&) { return type != FrameType::submit; };
  world.remember_blocks_of(alice);
  world.start(alice);
  const Invite invite = alice.overlay->make_invite(1, 3'600'000).value();
  const Registration what{"carol", owner.public_key(), sha256(node.public_key()), {{node.node_id(), Role::admin}}};
  alice.overlay->ledger_sync().submit(
      make_register(what, alice.ledger->network(), alice.ledger->head(), owner, {node}, &invite), [](auto) {});
  world.run();
  world.on_wire = {};
  world.pass(30s);
  ASSERT_NE(carol.ledger->handle("carol"), nullptr);
  EXPECT_EQ(carol.overlay->registration().state(), State::refused);
  EXPECT_THAT(carol.overlay->registration().reason(), testing::HasSubstr("is taken"));
  EXPECT_EQ(carol.overlay->names().shown, name) << "its own topics stay what they were";
  EXPECT_EQ(entry(), Bytes());
  EXPECT_EQ(bob.overlay->handles().find(name), nullptr);
  EXPECT_EQ(bob.overlay->counters().at("links closed to nodes that speak for no handle any more"), 1u);
  publish("1");
  EXPECT_THAT(bob.broker->texts(), IsEmpty());
  ASSERT_NE(bob.ledger->handle("carol"), nullptr);
  EXPECT_NE(bob.ledger->handle("carol")->owner, carol.owner.public_key());
}

TEST_F(Provisional, MayNotInvite) {
  const auto invite = carol.overlay->make_invite(1, 3'600'000);
  ASSERT_FALSE(invite);
  EXPECT_EQ(invite.error().code, Errc::not_permitted);
  EXPECT_THAT(invite.error().message, testing::HasSubstr("not registered yet"));
}

TEST_F(Provisional, IsForgottenWhenItsLinkIsGone) {
  world.kill(carol);
  world.pass(30s);
  EXPECT_NE(bob.overlay->handles().find(name), nullptr);
  world.pass(40s);
  EXPECT_EQ(bob.overlay->handles().find(name), nullptr);
}

/// One node's view of those that come.
struct Known : testing::Test {
  World world;
  Home& alice = world.found("alice");
  KnownHandles handles{*alice.ledger};
  Monotonic now = world.clock.monotonic();

  void SetUp() override { world.pass(1s); }
  struct Comer {
    KeyPair node, owner;
    Bytes entry;
  };
  Comer comer(const std::string& handle, const Invite& invite) {
    Comer out{KeyPair::generate(world.random), KeyPair::generate(world.random), {}};
    out.entry = make_register(
        {handle, out.owner.public_key(), sha256(out.node.public_key()), {{out.node.node_id(), Role::admin}}},
        alice.ledger->network(), alice.ledger->head(), out.owner, {out.node}, &invite);
    return out;
  }
  Comer comer(const std::string& handle) { return comer(handle, alice.overlay->make_invite(1, 3'600'000).value()); }
  Result<void> take(const Comer& of) { return handles.take(of.entry, of.node.node_id(), world.clock.wall_ms(), now); }
};

TEST_F(Known, AnEntryIsJudgedByEveryRule) {
  const auto dave = comer("dave");
  ASSERT_TRUE(take(dave));
  EXPECT_TRUE(take(dave)) << "it comes with each connection";
  EXPECT_EQ(handles.provisional(), 1u);
  for (std::size_t at = 0; at < dave.entry.size(); at += 5) {
    auto bent = comer("erin");
    bent.entry[at] ^= 1;
    EXPECT_FALSE(take(bent)) << "byte " << at;
  }
  auto stolen = comer("erin");
  stolen.node = KeyPair::generate(world.random);
  EXPECT_FALSE(take(stolen)) << "whoever hears an entry is not its node";
  EXPECT_EQ(take(comer("alice")).error().code, Errc::exists) << "the name is taken";
  const Invite invite = alice.overlay->make_invite(1, 3'600'000).value();
  alice.overlay->ledger_sync().submit(comer("frank", invite).entry, [](auto) {});
  alice.turn.touch();
  world.run();
  ASSERT_NE(alice.ledger->handle("frank"), nullptr);
  EXPECT_EQ(take(comer("grace", invite)).error().code, Errc::exists) << "the invite is used up";
  const auto late = comer("heidi");
  world.clock.now_ms += 2 * 3'600'000;
  EXPECT_FALSE(take(late)) << "the invite has expired";
  EXPECT_EQ(handles.provisional(), 1u);
}

TEST_F(Known, ANodeHasOneName) {
  auto dave = comer("dave");
  ASSERT_TRUE(take(dave));
  const Invite invite = alice.overlay->make_invite(1, 3'600'000).value();
  dave.entry = make_register(
      {"erin", dave.owner.public_key(), sha256(dave.node.public_key()), {{dave.node.node_id(), Role::admin}}},
      alice.ledger->network(), alice.ledger->head(), dave.owner, {dave.node}, &invite);
  ASSERT_TRUE(take(dave));
  EXPECT_EQ(handles.provisional(), 1u);
  EXPECT_TRUE(handles.of(dave.node.node_id())->handle.starts_with("erin~"));
}

TEST_F(Known, OfOneInviterOnlySoManyCome) {
  for (std::size_t at = 0; at < limits::provisional_homes_per_inviter_max; ++at)
    EXPECT_TRUE(take(comer("home-" + std::to_string(at))));
  EXPECT_EQ(take(comer("one-more")).error().code, Errc::limit);
  handles.tick(now + 2min, [](const NodeId&) { return false; });
  EXPECT_EQ(handles.provisional(), 0u);
  EXPECT_TRUE(take(comer("one-more")));
}

TEST_F(Known, AnInviteOfOneUseLetsOneIn) {
  const Invite invite = alice.overlay->make_invite(1, 3'600'000).value();
  EXPECT_TRUE(take(comer("dave", invite)));
  const auto erin = comer("erin", invite);
  EXPECT_EQ(take(erin).error().code, Errc::exists);
  EXPECT_TRUE(handles.holds_invite(erin.entry, erin.node.node_id(), world.clock.wall_ms()));
  EXPECT_FALSE(handles.holds_invite(erin.entry, alice.key.node_id(), world.clock.wall_ms()));
  EXPECT_FALSE(handles.holds_invite(erin.entry, erin.node.node_id(), world.clock.wall_ms() + 2 * 3'600'000));
}

}  // namespace
}  // namespace diot::test
