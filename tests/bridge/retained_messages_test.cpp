// Retained messages as clients see them (MQTT 5.0 sections 3.3.1.3, 3.8.3.1).

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(RetainedMessages, GoToLaterSubscribers) {
  for (const Protocol protocol : {Protocol::mqtt_5, v3}) {
    World world;
    TestClient pub(world, protocol), sub(world, protocol);
    pub.connect("pub");
    pub.publish("a/1", "old", 1, 1, true);
    pub.publish("a/1", "new", 1, 2, true);
    pub.publish("a/2", "zero", 0, 0, true);
    pub.publish("a/3", "gone", 0, 0, true);
    pub.publish("a/3", "", 0, 0, true);
    pub.publish("a/4", "not kept");
    sub.connect("sub");
    sub.subscribe("a/+", 2);
    EXPECT_THAT(sub.take(),
                ElementsAre("CONNACK", "SUBACK 02", "PUBLISH a/1=new q1 #1 retain", "PUBLISH a/2=zero retain"));
    world.crash();
    TestClient later(world, protocol);
    later.connect("later");
    later.subscribe("#", 0);
    EXPECT_THAT(later.messages(), ElementsAre("PUBLISH a/1=new retain", "PUBLISH a/2=zero retain"));
  }
}

TEST(RetainedMessages, ObeyRetainHandling) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.publish("t", "x", 0, 0, true);
  client.take();
  const auto with = [](RetainHandling handling) { return SubscribeOptions{{}, false, false, handling}; };
  client.subscribe("t", 0, with(RetainHandling::never));
  EXPECT_THAT(client.messages(), IsEmpty());
  client.subscribe("t", 0, with(RetainHandling::send_if_new));
  EXPECT_THAT(client.messages(), IsEmpty());
  client.subscribe("t", 0, with(RetainHandling::send));
  EXPECT_THAT(client.messages(), ElementsAre("PUBLISH t=x retain"));
  client.subscribe("+", 0, with(RetainHandling::send_if_new));
  EXPECT_THAT(client.messages(), ElementsAre("PUBLISH t=x retain"));
}

TEST(RetainedMessages, AreNotReplacedByAnEarlierOneWhenTheClockGoesBack) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.publish("t", "1", 0, 0, true);
  world.run();
  world.clock.wall = 1000;
  client.publish("t", "2", 0, 0, true);
  world.run();
  client.subscribe("t");
  EXPECT_THAT(client.messages(), ElementsAre("PUBLISH t=2 retain"));
}

TEST(RetainedMessages, AreNotOvertakenByNewerOnesOnTheirWayToASlowClient) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  const std::string large(200'000, 'x');
  for (int at = 0; at < 5; ++at) pub.publish("r/" + std::to_string(at), large, 0, 0, true);
  sub.connect("sub");
  sub.take();
  sub.stuck = true;
  sub.subscribe("r/+");
  sub.take();
  pub.publish("r/4", "newer");
  world.run();
  Lines seen;
  for (Lines lines = sub.take(); !sub.is_closed(); lines = sub.take()) {
    for (auto& line : lines) seen.push_back(line.substr(0, 12));
    if (!sub.stuck && lines.empty()) break;
    sub.unstick();
  }
  ASSERT_GE(seen.size(), 2u);
  EXPECT_EQ(seen.back(), "PUBLISH r/4=");
  EXPECT_EQ(std::count(seen.begin(), seen.end(), "PUBLISH r/4="), 2);
}

TEST(RetainedMessages, OfAShareAreSeenBeforeTheirBatchIsFormed) {
  World world;
  world.overlay->shared = {"s/#"};
  TestClient client(world);
  client.connect("a");
  client.publish("s/1", "first", 1, 1, true);
  client.take();
  world.store->hold();
  client.publish("s/1", "second", 1, 2, true);
  client.publish("s/2", "other", 0, 0, true);
  client.subscribe("s/#");
  EXPECT_THAT(client.messages(), IsEmpty());  // QoS 1 waits for the disk, and what follows for it
  world.store->release();
  EXPECT_THAT(client.messages(), ElementsAre("PUBLISH s/1=second retain", "PUBLISH s/2=other retain"));
}

TEST(RetainedMessages, FromTheOverlayReachThoseWhoWaitForThem) {
  World world;
  TestClient wants(world), does_not(world);
  wants.connect("a");
  does_not.connect("b");
  wants.subscribe("@bob/#", 1, {}, 5);
  does_not.subscribe("@bob/#", 1, {{}, false, false, RetainHandling::never});
  wants.take();
  does_not.take();
  world.broker->deliver_retained(world.message("@bob/x", "v", Qos::at_least_once, true));
  world.turn.touch();
  EXPECT_THAT(wants.take(), ElementsAre("PUBLISH @bob/x=v q1 #1 retain id:5"));
  EXPECT_THAT(does_not.take(), IsEmpty());
}

}  // namespace
}  // namespace diot
