// What becomes of a node that its owner revokes, and of a lease that nobody thinks of.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr WallMs day_ms = 24ull * 60 * 60 * 1000;

/// adam is the registrar; alice's gateway is stolen, carol and adam read her.
struct Revocations : testing::Test {
  World world;
  Home& adam = world.found("adam");
  Home& alice = world.join("alice", adam);
  Home& carol = world.join("carol", adam);

  void SetUp() override {
    ASSERT_TRUE(alice.overlay->own().add("sensors/#", Preset::public_));
    for (Home* reader : {&adam, &carol}) world.subscribe_durably(*reader, "@alice/sensors/#");
    settle();
    publish("1");
    ASSERT_THAT(carol.broker->texts(), ElementsAre("@alice/sensors/a 1"));
  }
  void settle() { world.pass(std::chrono::seconds(8)); }
  void publish(const std::string& payload, bool retain = false) {
    alice.publish("sensors/a", payload, Qos::at_least_once, retain);
    world.run();
  }
  ChannelId channel() const { return alice.overlay->own().status().at(0).id; }
  /// Alice's node goes, and `cut_offs` stay.
  void revoke(CutOffs cut_offs) {
    const RevokeNodeBody body{
        {"alice", adam.ledger->handle("alice")->version + 1}, alice.key.node_id(), std::move(cut_offs)};
    std::optional<Result<std::uint64_t>> committed;
    adam.overlay->ledger_sync().submit(make_entry(body, adam.ledger->network(), adam.ledger->head(), {alice.owner}),
                                       [&](auto height) { committed = height; });
    world.run();
    ASSERT_TRUE(committed && *committed) << (committed ? committed->error().message : "not answered");
  }
  /// Who starts anew begins with what adam has.
  void keep_blocks() {
    world.blocks.clear();
    ASSERT_TRUE(adam.store->scan(Table::block, {}, {},
                                 [&](ByteView, ByteView block) {
                                   world.blocks.push_back(to_bytes(block));
                                   return true;
                                 },
                                 {}));
  }
};

TEST_F(Revocations, CloseTheLinksOfTheNodeAtOnce) {
  ASSERT_FALSE(world.links_between(alice, adam).empty());
  ASSERT_FALSE(world.links_between(alice, carol).empty());
  revoke({});
  EXPECT_THAT(world.links_between(alice, adam), IsEmpty());
  EXPECT_THAT(world.links_between(alice, carol), IsEmpty());
  publish("2");
  settle();
  EXPECT_THAT(carol.broker->texts(), ElementsAre("@alice/sensors/a 1"));
  EXPECT_THAT(adam.broker->texts(), ElementsAre("@alice/sensors/a 1"));
  world.pass(std::chrono::minutes(5));
  EXPECT_LT(carol.overlay->counters().at("frames of strangers"), 30u) << "it dials less and less often";
}

TEST_F(Revocations, LeaveWhatCountsToWhoWasAway) {
  world.kill(carol);
  publish("2");
  const auto ends = adam.overlay->ends_of(alice.key.node_id());
  ASSERT_EQ(ends.size(), 1u);
  publish("stolen");
  revoke(ends);
  keep_blocks();
  world.start(carol);  // knows of the revocation before it hears of the log
  settle();
  EXPECT_THAT(carol.broker->texts(), ElementsAre("@alice/sensors/a 2"));
  EXPECT_EQ(carol.overlay->ends_of(alice.key.node_id()), ends);
  world.pass(std::chrono::seconds(60));  // and does not ask for ever
  EXPECT_THAT(carol.broker->texts(), ElementsAre("@alice/sensors/a 2"));
}

TEST_F(Revocations, RefuseRetainedValuesFromBehindTheCutOff) {
  publish("good", true);
  const auto ends = adam.overlay->ends_of(alice.key.node_id());
  publish("stolen", true);
  world.kill(carol);
  carol.store = std::make_unique<MemoryStore>();
  revoke(ends);
  keep_blocks();
  world.start(carol);
  settle();
  for (const auto& message : carol.broker->retained) EXPECT_NE(as_text(message->payload), "stolen");
}

TEST_F(Revocations, LeaveTheWillsThatCountToReadersAndNoOthers) {
  const auto leave = [&](std::uint64_t number, const std::string& payload) {
    auto will = std::make_shared<Message>();
    will->topic = "sensors/a";
    will->payload = to_bytes(payload);
    will->qos = Qos::at_least_once;
    alice.overlay->set_will(number, will, 0);
    world.pass(std::chrono::seconds(2));
  };
  leave(1, "good");
  const auto ends = adam.overlay->ends_of(alice.key.node_id());
  leave(2, "stolen");
  revoke(ends);
  world.pass(std::chrono::minutes(5));
  EXPECT_THAT(carol.broker->texts(), ElementsAre("@alice/sensors/a 1", "@alice/sensors/a good"));
  EXPECT_EQ(carol.overlay->counters().at("wills of revoked nodes"), 1u);
}

TEST(Leases, AreRenewedByTheNodeInTheirLastThird) {
  World world;
  world.lease_days = 90;
  Home& adam = world.found("adam");
  Home& alice = world.join("alice", adam);
  const auto until = [&](const Home& home) { return adam.ledger->handle(home.handle)->lease_until; };
  const auto founded = until(adam), joined = until(alice);
  world.clock.now_ms += 59 * day_ms;
  world.pass(std::chrono::seconds(8));
  EXPECT_EQ(until(alice), joined);
  world.clock.now_ms += day_ms;
  world.pass(std::chrono::seconds(8));
  EXPECT_GE(until(alice), joined + 60 * day_ms);
  EXPECT_GE(until(adam), founded + 60 * day_ms);
  EXPECT_EQ(adam.ledger->handle("alice")->version, 2u);  // once
}

}  // namespace
}  // namespace diot::test
