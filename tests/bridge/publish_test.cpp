// Messages from client to client (MQTT 5.0 sections 3.3 to 3.7, 4.3).

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Publishing, QosIsTheLowerOfBoth) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub");
  for (int qos = 0; qos < 3; ++qos) sub.subscribe("t/" + std::to_string(qos), qos);
  sub.take();
  PacketId id = 0;
  Lines got;
  for (int granted = 0; granted < 3; ++granted)
    for (int qos = 0; qos < 3; ++qos)
      pub.publish("t/" + std::to_string(granted), std::to_string(qos), qos, qos ? ++id : 0);
  EXPECT_THAT(sub.take(),
              ElementsAre("PUBLISH t/0=0", "PUBLISH t/0=1", "PUBLISH t/0=2", "PUBLISH t/1=0", "PUBLISH t/1=1 q1 #1",
                          "PUBLISH t/1=2 q1 #2", "PUBLISH t/2=0", "PUBLISH t/2=1 q1 #3", "PUBLISH t/2=2 q2 #4"));
}

TEST(Publishing, Qos2IsDeliveredOnceWhateverIsSentAgain) {
  for (const Protocol protocol : {Protocol::mqtt_5, v3}) {
    World world;
    TestClient pub(world, protocol), sub(world, protocol);
    pub.connect("pub");
    sub.connect("sub");
    sub.subscribe("t", 2);
    sub.take();
    pub.publish("t", "x", 2, 9);
    pub.publish("t", "x", 2, 9, false, nullptr, true);
    EXPECT_THAT(pub.take(), ElementsAre("CONNACK", "PUBREC #9", "PUBREC #9"));
    EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=x q2 #1"));
    pub.pubrel(9);
    pub.publish("t", "y", 2, 9);
    EXPECT_THAT(pub.take(), ElementsAre("PUBCOMP #9", "PUBREC #9"));
    sub.pubrec(1);
    EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=y q2 #2", "PUBREL #1"));
    sub.pubcomp(1);
    EXPECT_THAT(sub.take(), IsEmpty());
    EXPECT_EQ(world.broker->counts().queued, 1u);
  }
}

TEST(Publishing, IdentifiersOfQos2AreKnownInAnyOrder) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub");
  sub.subscribe("t", 0);
  sub.take();
  const PacketId ids[] = {65'534, 65'535, 1, 300, 2};
  for (const PacketId id : ids) pub.publish("t", "x", 2, id);
  EXPECT_EQ(sub.take().size(), 5u);
  pub.pubrel(1);
  pub.take();
  for (const PacketId id : ids) pub.publish("t", "again", 2, id, false, nullptr, true);
  EXPECT_THAT(pub.take(), ElementsAre("PUBREC #65534", "PUBREC #65535", "PUBREC #1", "PUBREC #300", "PUBREC #2"));
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=again"));
  for (const PacketId id : {PacketId{2}, PacketId{65'535}, PacketId{300}, PacketId{65'534}, PacketId{1}})
    pub.pubrel(id);
  pub.pubrel(300);
  EXPECT_THAT(pub.take(), ElementsAre("PUBCOMP #2", "PUBCOMP #65535", "PUBCOMP #300", "PUBCOMP #65534", "PUBCOMP #1",
                                      "PUBCOMP #300"));
}

TEST(Publishing, UnknownIdentifiersAreAnsweredNotPunished) {
  World world;
  TestClient client(world), old(world, v3);
  client.connect("a");
  old.connect("b");
  client.take();
  old.take();
  client.puback(3);
  client.pubrec(3);
  client.pubcomp(3);
  client.pubrel(3);
  EXPECT_THAT(client.take(), ElementsAre("PUBREL #3", "PUBCOMP #3"));
  old.pubrec(3);
  old.pubrel(3);
  EXPECT_THAT(old.take(), ElementsAre("PUBREL #3", "PUBCOMP #3"));
}

TEST(Publishing, SaysWhenNobodyListens) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.publish("t", "x", 1, 1);
  client.publish("t", "x", 2, 2);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "PUBACK #1 0x10", "PUBREC #2"));
}

TEST(Publishing, PropertiesTravelInOrder) {
  World world;
  TestClient pub(world), sub(world), old(world, v3);
  pub.connect("pub");
  sub.connect("sub");
  old.connect("old");
  sub.subscribe("t");
  old.subscribe("t");
  Properties properties;
  properties.user = {{"z", "1"}, {"a", "2"}, {"z", "3"}};
  pub.publish("t", "x", 0, 0, false, &properties);
  EXPECT_THAT(sub.messages(), ElementsAre("PUBLISH t=x z=1 a=2 z=3"));
  EXPECT_THAT(old.messages(), ElementsAre("PUBLISH t=x"));
}

TEST(Publishing, TopicAliasesStandForTopics) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("#");
  client.take();
  client.send_raw(
      hex("30070001610323"
          "0010"));  // a = alias 16
  client.send_raw(
      hex("30060000"
          "03230010"));
  client.send_raw(
      hex("30070001620323"
          "0010"));  // b = alias 16
  client.send_raw(
      hex("30060000"
          "03230010"));
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH a=", "PUBLISH a=", "PUBLISH b=", "PUBLISH b="));
  client.send_raw(
      hex("30060000"
          "03230002"));
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));
  for (const char* number : {"0000", "0011"}) {
    client.connect("a");
    client.take();
    client.send_raw(hex(std::string("30070001610323") + number));
    EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x94", "closed"));
  }
}

TEST(Publishing, TopicAliasesGoToClientsThatTakeThem) {
  World world;
  TestClient pub(world), sub(world), plain(world);
  pub.connect("pub");
  sub.connect("sub", true, [](Connect& connect) { connect.topic_alias_maximum = 1; });
  plain.connect("plain");
  sub.subscribe("#", 1, {}, 3);
  plain.subscribe("#");
  sub.take();
  plain.take();
  for (const char* topic : {"a", "a", "b", "b"}) pub.publish(topic, "x");
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH a=x alias:1 id:3", "PUBLISH =x alias:1 id:3", "PUBLISH b=x alias:1 id:3",
                                      "PUBLISH =x alias:1 id:3"));
  pub.publish("b", "2", 1, 1);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH =2 alias:1 q1 #1 id:3"));
  EXPECT_EQ(plain.take().size(), 5u);
  // An alias lives as long as its connection [MQTT-3.3.2-7].
  sub.connect("sub", true, [](Connect& connect) { connect.topic_alias_maximum = 65'535; });
  EXPECT_THAT(sub.messages(), ElementsAre(testing::ContainsRegex("^PUBLISH b=2 alias:[0-9]+ q1 #1 dup id:3$")));
}

TEST(Publishing, AnIdentifierInUseIsNamed) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.publish("t", "x", 2, 7);
  client.publish("t", "y", 1, 7);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "PUBREC #7", "PUBACK #7 0x91"));
}

TEST(Publishing, APayloadIsTheUtf8ItClaimsToBe) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.take();
  Properties properties;
  properties.payload_format = 1;
  client.publish("t", "\xff", 1, 1, false, &properties);
  client.publish("t", "\xc3\xa9", 1, 2, false, &properties);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #1 0x99", "PUBACK #2 0x10"));
}

TEST(Publishing, ExpiryCountsTheTimeHeld) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub", true);
  sub.subscribe("t", 1);
  sub.disconnect();
  Properties soon, later;
  soon.expiry_seconds = 5;
  later.expiry_seconds = 60;
  pub.publish("t", "soon", 1, 1, false, &soon);
  pub.publish("t", "later", 1, 2, false, &later);
  world.pass(10s);
  sub.connect("sub", true);
  EXPECT_THAT(sub.messages(), ElementsAre("PUBLISH t=later q1 #2 expiry:50"));
}

TEST(Publishing, ALostPubcompIsSentAgainWithoutComplaint) {
  World world;
  TestClient client(world);
  client.connect("a", true);
  client.publish("t", "x", 2, 9);
  client.pubrel(9);
  world.run();
  client.lose();
  client.connect("a", true);
  client.pubrel(9);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK present", "PUBCOMP #9"));
}

TEST(Publishing, TextPassesUnchanged) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub");
  sub.subscribe("#");
  sub.take();
  Properties properties;
  properties.payload_format = 1;
  properties.content_type = "text/\xef\xbb\xbfplain";  // U+FEFF is a character like others
  properties.response_topic = "answers/here";
  properties.correlation_data = Bytes{0, 255};
  pub.publish("\xef\xbb\xbftopic", "\xef\xbb\xbf", 0, 0, false, &properties);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH \xef\xbb\xbftopic=\xef\xbb\xbf format:1 content:text/\xef\xbb\xbfplain "
                                      "response:answers/here correlation:00ff"));
}

TEST(Publishing, AnAcknowledgedIdentifierMayComeAgain) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub");
  sub.subscribe("#");
  sub.take();
  pub.publish("t", "1", 1, 5);
  pub.publish("t", "2", 1, 5, false, nullptr, true);  // whatever its DUP says [MQTT-4.3.2-5]
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=1", "PUBLISH t=2"));
}

TEST(Publishing, ARefusedIdentifierMayComeAgain) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub");
  sub.subscribe("#");
  sub.take();
  pub.publish("@bob/x", "1", 2, 5);
  pub.publish("t", "2", 2, 5);
  EXPECT_THAT(pub.take(), ElementsAre("CONNACK", "PUBREC #5 0x87", "PUBREC #5"));
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=2"));
}

TEST(Publishing, WhatWasSentDoesNotExpire) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub", true);
  sub.subscribe("t", 2);
  sub.take();
  Properties soon;
  soon.expiry_seconds = 5;
  pub.publish("t", "1", 2, 1, false, &soon);
  pub.publish("t", "2", 2, 2, false, &soon);
  EXPECT_EQ(sub.take().size(), 2u);
  sub.pubrec(2);
  EXPECT_THAT(sub.take(), ElementsAre("PUBREL #2"));
  sub.lose();
  world.pass(10s);
  sub.connect("sub", true);
  EXPECT_THAT(sub.take(), ElementsAre("CONNACK present", "PUBLISH t=1 q2 #1 dup expiry:0", "PUBREL #2"));
  sub.pubrec(1);
  sub.pubcomp(2);
  EXPECT_THAT(sub.take(), ElementsAre("PUBREL #1"));
}

TEST(Publishing, AFailingAcknowledgementEndsTheDelivery) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub", true);
  sub.subscribe("t", 2);
  sub.take();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  EXPECT_EQ(sub.take().size(), 2u);
  sub.acknowledge(PacketType::puback, 1, Reason::unspecified_error);
  sub.acknowledge(PacketType::pubrec, 2, Reason::quota_exceeded);
  EXPECT_THAT(sub.take(), IsEmpty());
  sub.connect("sub", true);
  EXPECT_THAT(sub.messages(), IsEmpty());
  EXPECT_EQ(world.broker->counts().queued, 0u);
}

}  // namespace
}  // namespace diot
