// Shared subscriptions (MQTT 5.0 section 4.8.2): each message goes to one of those who share.

#include "core/limits.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

struct SharedTest : testing::Test {
  SharedTest() { pub.connect("pub"); }
  void join(TestClient& client, const std::string& id, bool persistent = false, int qos = 2) {
    client.connect(id, persistent);
    client.subscribe("$share/g/t/#", qos);
    client.take();
  }
  World world;
  TestClient pub{world}, a{world}, b{world}, c{world, v3};
};

TEST_F(SharedTest, MessagesGoRoundAmongTheMembers) {
  join(a, "a");
  join(b, "b");
  join(c, "c");
  for (int at = 0; at < 6; ++at) pub.publish("t/x", std::to_string(at));
  EXPECT_THAT(a.take(), ElementsAre("PUBLISH t/x=0", "PUBLISH t/x=3"));
  EXPECT_THAT(b.take(), ElementsAre("PUBLISH t/x=1", "PUBLISH t/x=4"));
  EXPECT_THAT(c.take(), ElementsAre("PUBLISH t/x=2", "PUBLISH t/x=5"));
  b.unsubscribe("$share/g/t/#");
  EXPECT_THAT(b.take(), ElementsAre("UNSUBACK 00"));
  for (int at = 0; at < 4; ++at) pub.publish("t/x", "n");
  EXPECT_EQ(a.take().size(), 2u);
  EXPECT_EQ(c.take().size(), 2u);
}

TEST_F(SharedTest, EachNameAndEachFilterIsAGroupOfItsOwn) {
  join(a, "a");
  b.connect("b");
  b.subscribe("$share/other/t/#");
  b.subscribe("$share/g/t/+");
  b.subscribe("t/x");
  b.take();
  pub.publish("t/x", "1");
  EXPECT_THAT(a.take(), ElementsAre("PUBLISH t/x=1"));
  EXPECT_THAT(b.take(), ElementsAre("PUBLISH t/x=1", "PUBLISH t/x=1", "PUBLISH t/x=1"));
  const auto counts = world.broker->counts();
  EXPECT_EQ(counts.subscriptions, 4u);
  EXPECT_EQ(counts.shared_subscriptions, 3u);
}

TEST_F(SharedTest, EachMembersQosAndIdentifierCount) {
  a.connect("a");
  b.connect("b");
  a.subscribe("$share/g/t/#", 0, {}, 7);
  b.subscribe("$share/g/t/#", 1, {{}, false, true, {}}, 8);
  a.take();
  b.take();
  pub.publish("t/x", "1", 2, 1);
  pub.publish("t/x", "2", 2, 2, true);
  EXPECT_THAT(a.take(), ElementsAre("PUBLISH t/x=1 id:7"));
  EXPECT_THAT(b.take(), ElementsAre("PUBLISH t/x=2 q1 #1 retain id:8"));
}

TEST_F(SharedTest, RetainedMessagesAreNotSent) {
  pub.publish("t/x", "kept", 1, 1, true);
  join(a, "a");
  EXPECT_THAT(a.take(), IsEmpty());
  world.broker->deliver_retained(world.message("t/x", "from a far home", Qos::at_least_once, true));
  world.turn.touch();
  EXPECT_THAT(a.take(), IsEmpty());
}

TEST_F(SharedTest, IllFormedOnesAreRefused) {
  a.connect("a");
  a.take();
  for (const auto filter : {"$share", "$share/g/$share/h/t"}) {  // of DIoT's making, and not the standard's
    a.subscribe(filter);
    EXPECT_THAT(a.take(), ElementsAre("SUBACK 8f")) << filter;
  }
  TestClient old(world, v3);
  old.connect("old");
  old.take();
  for (const auto filter : {"$share/", "$share/g", "$share/g/", "$share//t", "$share/+/t"}) {
    a.subscribe(filter);
    EXPECT_THAT(a.take(), ElementsAre("DISCONNECT 0x82", "closed")) << filter;
    a.connect("a");
    a.take();
    old.subscribe(filter);
    EXPECT_THAT(old.take(), ElementsAre("SUBACK 80")) << filter;
  }
  a.subscribe("$share/g/t", 0, {{}, true, false, {}});  // No Local
  EXPECT_THAT(a.take(), ElementsAre("DISCONNECT 0x82", "closed"));
}

TEST_F(SharedTest, WhoIsAwayGetsNothingWhileOthersAreThere) {
  join(a, "a", true);
  join(b, "b", true);
  a.disconnect();
  for (PacketId id = 1; id <= 3; ++id) pub.publish("t/x", std::to_string(id), 1, id);
  EXPECT_EQ(b.take().size(), 3u);
  b.disconnect();
  for (PacketId id = 4; id <= 7; ++id) pub.publish("t/x", std::to_string(id), 1, id);  // both keep a queue
  pub.publish("t/x", "zero");
  a.connect("a", true);
  EXPECT_EQ(a.messages().size(), 2u);
  b.connect("b", true);
  EXPECT_EQ(b.messages().size(), 3u + 2u);
}

TEST_F(SharedTest, WhoIsBusyIsPassedOver) {
  a.connect("a", false, [](Connect& connect) { connect.receive_maximum = 1; });
  a.subscribe("$share/g/t/#", 1);
  a.take();
  join(b, "b");
  for (PacketId id = 1; id <= 5; ++id) pub.publish("t/x", std::to_string(id), 1, id);
  EXPECT_THAT(a.take(), ElementsAre("PUBLISH t/x=1 q1 #1"));
  EXPECT_EQ(b.take().size(), 4u);
}

TEST_F(SharedTest, WhatADyingMemberDidNotAcknowledgeGoesToAnother) {
  join(a, "a");
  pub.publish("t/x", "1", 1, 1);
  pub.publish("t/x", "2", 1, 2);
  pub.publish("t/x", "3", 2, 3);
  EXPECT_EQ(a.take().size(), 3u);
  a.puback(1);
  join(b, "b");
  a.lose();
  // Of QoS 2 what was sent may have arrived, and must not go to another [MQTT-4.8.2-5].
  EXPECT_THAT(b.take(), ElementsAre("PUBLISH t/x=2 q1 #1"));
}

TEST_F(SharedTest, WhatWasNotSentYetGoesToAnotherAtOnce) {
  a.connect("a", true, [](Connect& connect) { connect.receive_maximum = 1; });
  a.subscribe("$share/g/t/#", 2);
  a.take();
  for (PacketId id = 1; id <= 3; ++id) pub.publish("t/x", std::to_string(id), 2, id);
  EXPECT_THAT(a.take(), ElementsAre("PUBLISH t/x=1 q2 #1"));
  join(b, "b", true);
  a.lose();
  EXPECT_THAT(b.take(), ElementsAre("PUBLISH t/x=2 q2 #1", "PUBLISH t/x=3 q2 #2"));
  a.connect("a", true);
  EXPECT_THAT(a.take(), ElementsAre("CONNACK present", "PUBLISH t/x=1 q2 #1 dup"));
}

TEST_F(SharedTest, WithNobodyElseTheQueueStays) {
  join(a, "a", true);
  a.lose();
  pub.publish("t/x", "1", 1, 1);
  a.connect("a", true);
  EXPECT_THAT(a.take(), ElementsAre("CONNACK present", "PUBLISH t/x=1 q1 #1"));
}

TEST_F(SharedTest, OutlivesTheNode) {
  join(a, "a", true);
  join(b, "b", true);
  a.lose();
  b.lose();
  for (PacketId id = 1; id <= 4; ++id) pub.publish("t/x", std::to_string(id), 1, id);
  world.run();
  world.crash();
  a.connect("a", true);
  EXPECT_EQ(a.messages().size(), 2u);
  // The end of b's session is the end of its claim: what it never got goes on.
  b.connect("b", false);
  EXPECT_EQ(a.messages().size(), 2u);
  EXPECT_THAT(b.messages(), IsEmpty());
  for (PacketId id = 1; id <= 4; ++id) a.puback(id);
  world.run();
  EXPECT_EQ(world.rows(Table::queue), 0u);
  EXPECT_EQ(world.rows(Table::spool), 0u);
}

TEST_F(SharedTest, OfAnotherHomeMakesItsDemand) {
  a.connect("a");
  a.subscribe("$share/g/@bob/x/#");
  EXPECT_EQ(world.overlay->demand, (std::map<std::string, int>{{"@bob/x/#", 1}}));
  b.connect("b");
  b.subscribe("$share/g/@bob/x/#");
  b.take();
  a.take();
  world.deliver("@bob/x/1", "1", Qos::at_most_once);
  world.deliver("@bob/x/1", "2", Qos::at_most_once);
  EXPECT_THAT(a.take(), ElementsAre("PUBLISH @bob/x/1=1"));
  EXPECT_THAT(b.take(), ElementsAre("PUBLISH @bob/x/1=2"));
  a.lose();
  b.lose();
  EXPECT_TRUE(world.overlay->demand.empty());
}

TEST_F(SharedTest, OfTheOwnHandleIsUnderTheLocalName) {
  a.connect("a");
  b.connect("b");
  a.subscribe("$share/g/@alice/room/+");
  b.subscribe("$share/g/room/+");
  a.take();
  b.take();
  pub.publish("room/x", "1");
  pub.publish("@alice/room/x", "2");
  EXPECT_THAT(a.take(), ElementsAre("PUBLISH room/x=1"));
  EXPECT_THAT(b.take(), ElementsAre("PUBLISH room/x=2"));
}

TEST_F(SharedTest, WhatAMemberRefusesGoesToNobody) {
  join(a, "a");
  pub.publish("t/x", "1", 1, 1);
  pub.publish("t/x", "2", 2, 2);
  EXPECT_EQ(a.take().size(), 2u);
  join(b, "b");
  a.acknowledge(PacketType::puback, 1, Reason::unspecified_error);
  a.acknowledge(PacketType::pubrec, 2, Reason::unspecified_error);
  a.lose();
  EXPECT_THAT(b.take(), IsEmpty());
}

}  // namespace
}  // namespace diot
