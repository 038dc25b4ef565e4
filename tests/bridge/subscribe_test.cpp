// Which messages a subscription brings (MQTT 5.0 sections 3.8 to 3.11, 4.7), and topics of homes.

#include "core/limits.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Subscribing, WildcardsMatchAsTheStandardSays) {
  World world;
  TestClient sub(world), pub(world, v3);
  pub.connect("pub");
  sub.connect("sub");
  for (const auto& filter : {"sport/+/score", "sport/#", "/+", "$x/#"}) sub.subscribe(filter);
  sub.take();
  pub.publish("sport/tennis/score", "1");
  pub.publish("sport", "2");
  pub.publish("sport/a/b/c", "3");
  pub.publish("/finance", "4");
  pub.publish("finance", "5");
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH sport/tennis/score=1", "PUBLISH sport=2", "PUBLISH sport/a/b/c=3",
                                      "PUBLISH /finance=4"));
}

TEST(Subscribing, OverlappingFiltersAreOneCopyWithTheHighestQosAndAllIdentifiers) {
  World world;
  TestClient sub(world), pub(world);
  pub.connect("pub");
  sub.connect("sub");
  sub.subscribe("a/#", 0, {}, 7);
  sub.subscribe("a/b", 2, {}, 8);
  sub.subscribe("+/b", 1);
  sub.take();
  pub.publish("a/b", "x", 2, 1);
  const Lines lines = sub.take();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0], testing::AnyOf("PUBLISH a/b=x q2 #1 id:7 id:8", "PUBLISH a/b=x q2 #1 id:8 id:7"));
}

TEST(Subscribing, AgainReplacesTheOptions) {
  World world;
  TestClient sub(world), pub(world);
  pub.connect("pub");
  sub.connect("sub");
  sub.subscribe("a", 2, {}, 3);
  sub.subscribe("a", 0);
  sub.take();
  pub.publish("a", "x", 1, 1);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH a=x"));
  EXPECT_EQ(world.broker->counts().subscriptions, 1u);
}

TEST(Subscribing, NoLocalAndRetainAsPublished) {
  World world;
  TestClient client(world), other(world);
  client.connect("a");
  other.connect("b");
  client.subscribe("t", 0, {{}, true, true, RetainHandling::never});
  other.subscribe("t", 0);
  client.publish("t", "own", 0, 0, true);
  EXPECT_THAT(client.messages(), IsEmpty());
  EXPECT_THAT(other.messages(), ElementsAre("PUBLISH t=own"));
  other.publish("t", "other", 0, 0, true);
  EXPECT_THAT(client.messages(), ElementsAre("PUBLISH t=other retain"));
  EXPECT_THAT(other.messages(), ElementsAre("PUBLISH t=other"));
}

TEST(Subscribing, UnsubscribeEndsIt) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("t");
  client.unsubscribe("t");
  client.unsubscribe("t");
  client.publish("t", "x");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "SUBACK 00", "UNSUBACK 00", "UNSUBACK 11"));
}

TEST(Subscribing, WhatCannotBeIsRefused) {
  World world;
  TestClient client(world), old(world, v3);
  client.connect("a");
  old.connect("b");
  client.take();
  std::string deep;
  for (std::size_t level = 0; level <= limits::topic_levels_max; ++level) deep += "l/";
  for (const auto& filter : {"@Not A Handle/x", "@bob", deep.c_str()}) {
    client.subscribe(filter);
    EXPECT_THAT(client.take(), ElementsAre("SUBACK 8f")) << filter;
  }
  client.subscribe(deep.substr(2));
  client.subscribe("@/lyon/noise/#");
  EXPECT_THAT(client.take(), ElementsAre("SUBACK 00", "SUBACK 87"));
  old.subscribe("@bob");
  EXPECT_THAT(old.take(), ElementsAre("CONNACK", "SUBACK 80"));
}

TEST(Subscribing, TopicsThatBeginWithADollarAreOrdinaryButForTheBrokersOwn) {
  World world;
  TestClient client(world);
  client.connect("a");
  for (const auto& filter : {"#", "+/x", "$aws/#"}) client.subscribe(filter);
  client.take();
  client.publish("$aws/x", "1", 1, 1);
  EXPECT_THAT(client.take(), testing::UnorderedElementsAre("PUBLISH $aws/x=1", "PUBACK #1"));
  client.publish("$SYS/x", "2", 1, 2);
  client.publish("$share/g/x", "3", 1, 3);  // to which nobody can subscribe
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #2 0x87", "PUBACK #3 0x87"));
}

TEST(Subscribing, HasABoundPerSession) {
  World world;
  TestClient client(world);
  client.connect("a");
  for (std::size_t at = 0; at < limits::subscriptions_per_session_max; ++at) client.subscribe(std::to_string(at));
  client.take();
  client.subscribe("one more");
  client.subscribe("7");  // replaces
  EXPECT_THAT(client.take(), ElementsAre("SUBACK 97", "SUBACK 00"));
}

TEST(OwnHandle, IsTheLocalNameInBothDirections) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("@alice/room/+");
  client.publish("room/temp", "1");
  client.publish("@alice/room/temp", "2");
  EXPECT_THAT(client.messages(), ElementsAre("PUBLISH room/temp=1", "PUBLISH room/temp=2"));
  EXPECT_TRUE(world.overlay->demand.empty());
}

TEST(OwnHandle, WithAWildcardSeesNothingOfOthers) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("@alice/#");
  client.take();
  world.deliver("@bob/x", "other", Qos::at_most_once);
  client.publish("x", "own");
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH x=own"));
}

TEST(OtherHandles, MakeDemandWhileSomebodySubscribes) {
  World world;
  TestClient clean(world), kept(world);
  clean.connect("a");
  kept.connect("b", true);
  clean.subscribe("@bob/x/#");
  clean.subscribe("@bob/x/#");
  kept.subscribe("@bob/x/#", 1);
  EXPECT_EQ(world.overlay->demand, (std::map<std::string, int>{{"@bob/x/#", 1}, {"@bob/x/#!", 1}}));
  kept.disconnect();
  clean.unsubscribe("@bob/x/#");
  world.run();
  EXPECT_EQ(world.overlay->demand, (std::map<std::string, int>{{"@bob/x/#!", 1}}));
  world.crash();
  EXPECT_EQ(world.overlay->demand, (std::map<std::string, int>{{"@bob/x/#!", 1}}));
}

TEST(OtherHandles, MayNotBeWritten) {
  World world;
  TestClient client(world), old(world, v3), sub(world);
  client.connect("a");
  old.connect("b");
  sub.connect("c");
  sub.subscribe("#");
  sub.take();
  client.publish("@bob/x", "1", 1, 5);
  client.publish("@bob/x", "2", 2, 6);
  client.publish("@bob/x", "3");
  client.publish("$SYS/x", "4", 1, 7);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "PUBACK #5 0x87", "PUBREC #6 0x87", "PUBACK #7 0x87"));
  old.publish("@bob/x", "1", 1, 5);
  old.publish("@bob/x", "2", 2, 6);
  old.pubrel(6);
  EXPECT_THAT(old.take(), ElementsAre("CONNACK", "PUBACK #5", "PUBREC #6", "PUBCOMP #6"));
  EXPECT_THAT(sub.take(), IsEmpty());
  EXPECT_EQ(world.broker->counts().publish_not_permitted, 6u);
}

TEST(Subscribing, WhatWasBegunIsFinishedAfterUnsubscribe) {
  World world;
  TestClient sub(world), pub(world);
  pub.connect("pub");
  sub.connect("sub", true);
  sub.subscribe("t", 2);
  sub.take();
  pub.publish("t", "1", 2, 1);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=1 q2 #1"));
  sub.unsubscribe("t");
  pub.publish("t", "2", 2, 2);
  sub.pubrec(1);
  EXPECT_THAT(sub.take(), ElementsAre("UNSUBACK 00", "PUBREL #1"));
  sub.lose();
  sub.connect("sub", true);
  EXPECT_THAT(sub.take(), ElementsAre("CONNACK present", "PUBREL #1"));
}

TEST(Subscribing, NamesAreComparedByteByByte) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("A");
  client.subscribe("\xc3\xa9");  // é in one piece
  client.subscribe("/b");
  client.take();
  for (const auto topic : {"a", "e\xcc\x81", "b", "/b/", "A "}) client.publish(topic, "");
  EXPECT_THAT(client.take(), IsEmpty());
  client.unsubscribe("a");
  EXPECT_THAT(client.take(), ElementsAre("UNSUBACK 11"));
}

}  // namespace
}  // namespace diot
