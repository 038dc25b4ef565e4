// What clients of one node see: connections, subscriptions, messages, retained values, wills. With MQTT 3.1.1 and 5.0.

#include "tests/bridge/world.hpp"

#include "core/limits.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr auto v3 = Protocol::mqtt_3_1_1;

Bytes hex(std::string_view text) { return from_hex(text).value(); }

// Connecting --------------------------------------------------------------------------------------------------

TEST(Connecting, IsAnsweredWithWhatTheBrokerOffers) {
  World world;
  TestClient client(world);
  client.connect("a");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
  TestClient old(world, v3);
  old.connect("b");
  EXPECT_THAT(old.take(), ElementsAre("CONNACK"));
  EXPECT_EQ(world.broker->counts().clients_connected, 2u);
}

TEST(Connecting, AnEmptyClientIdGetsOne) {
  World world;
  TestClient a(world), b(world);
  a.connect("");
  b.connect("");
  EXPECT_THAT(a.take(), ElementsAre("CONNACK"));
  EXPECT_THAT(b.take(), ElementsAre("CONNACK"));
  EXPECT_EQ(world.broker->sessions().size(), 2u);
  TestClient old(world, v3);
  old.connect("", true);  // 3.1.1: only with a clean session
  EXPECT_THAT(old.take(), ElementsAre("CONNACK 0x85", "closed"));
}

TEST(Connecting, OtherVersionsAreToldSo) {
  World world;
  TestClient client(world, v3);
  client.open();
  client.send_raw(
      hex("100e00064d514973647003"
          "02003c000161"));  // 3.1
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x84", "closed"));
  client.open();
  client.send_raw(
      hex("100d00044d51545406"
          "02003c00000161"));
  EXPECT_TRUE(client.is_closed());
  client.open();
  client.send_raw(
      hex("100d00044d51545505"
          "02003c00000161"));  // "MQTU"
  EXPECT_THAT(client.take(), ElementsAre("closed"));
}

TEST(Connecting, ABrokenConnectIsAnsweredInItsVersion) {
  World world;
  TestClient client(world);
  client.open();
  client.send_raw(
      hex("100d00044d51545405"
          "03003c00000161"));  // the reserved flag
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x81", "closed"));
  TestClient old(world, v3);
  old.open();
  old.send_raw(
      hex("100c00044d51545404"
          "03003c000161"));
  EXPECT_THAT(old.take(), ElementsAre("closed"));
}

TEST(Connecting, NothingElseMayComeFirstOrConnectTwice) {
  World world;
  TestClient client(world);
  client.open();
  client.send_raw(hex("c000"));
  EXPECT_THAT(client.take(), ElementsAre("closed"));
  client.connect("a");
  client.take();
  Bytes again;
  encode_connect(again, Connect{});
  client.send_raw(again);
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));
}

TEST(Connecting, EnhancedAuthenticationIsNotThereYet) {
  World world;
  TestClient client(world);
  client.connect("a", false, [](Connect& connect) { connect.authentication_method = "SCRAM-SHA-256"; });
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x8c", "closed"));
  client.connect("a");
  client.take();
  client.send_raw(hex("f000"));
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));
}

TEST(Connecting, MustHappenInTime) {
  World world;
  TestClient client(world);
  client.open();
  world.pass(9s);
  EXPECT_FALSE(client.is_closed());
  world.pass(2s);
  EXPECT_TRUE(client.is_closed());
}

TEST(Connecting, SilenceOfOneAndAHalfKeepAlivesEndsIt) {
  World world;
  TestClient client(world);
  client.connect("a", false, [](Connect& connect) { connect.keep_alive_seconds = 10; });
  client.take();
  world.pass(14s);
  client.send_raw(hex("c000"));
  EXPECT_THAT(client.take(), ElementsAre("PINGRESP"));
  world.pass(14s);
  EXPECT_THAT(client.take(), IsEmpty());
  world.pass(2s);
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x8d", "closed"));
}

TEST(Connecting, PacketsMayComeInAnyPieces) {
  World world;
  TestClient client(world);
  Bytes all;
  Connect connect;
  connect.client_id = "a";
  encode_connect(all, connect);
  encode_subscribe(all, Protocol::mqtt_5, {1, 0, {{"t", {}}}});
  PublishOut out;
  out.topic = "t";
  const Bytes payload(1000, 'x');
  out.payload = payload;
  encode_publish(all, Protocol::mqtt_5, out);
  encode_ping(all, PacketType::pingreq);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, all.size()}) {
    client.lose();
    client.open();
    for (std::size_t at = 0; at < all.size(); at += piece)
      client.send_raw(to_bytes(ByteView(all).subspan(at, std::min(piece, all.size() - at))));
    EXPECT_THAT(client.take(), ElementsAre("CONNACK", "SUBACK 00", "PUBLISH t=" + std::string(1000, 'x'), "PINGRESP"));
  }
}

TEST(Connecting, ATooLargePacketIsNamed) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.take();
  client.send_raw(hex("30ffffff7f"));
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x95", "closed"));
}

// Sessions ----------------------------------------------------------------------------------------------------

TEST(Sessions, AreKeptIfAskedFor) {
  for (const Protocol protocol : {Protocol::mqtt_5, v3}) {
    World world;
    TestClient client(world, protocol);
    client.connect("a", true);
    EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
    client.subscribe("t", 1);
    EXPECT_THAT(client.take(), ElementsAre("SUBACK 01"));
    client.disconnect();
    client.connect("a", true);
    EXPECT_THAT(client.take(), ElementsAre("CONNACK present"));
    client.disconnect();
    client.connect("a", false);
    EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
    client.disconnect();
    client.connect("a", true);
    EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
  }
}

TEST(Sessions, GoToTheNewestConnection) {
  World world;
  TestClient first(world), second(world), old(world, v3);
  first.connect("a", true);
  first.subscribe("t", 1);
  first.take();
  second.connect("a", true);
  EXPECT_THAT(first.take(), ElementsAre("DISCONNECT 0x8e", "closed"));
  EXPECT_THAT(second.take(), ElementsAre("CONNACK present"));
  old.connect("a", true);
  EXPECT_THAT(second.take(), ElementsAre("DISCONNECT 0x8e", "closed"));
  EXPECT_THAT(old.take(), ElementsAre("CONNACK present"));
}

TEST(Sessions, ThatEndWithTheirConnectionAreNotTakenOver) {
  World world;
  TestClient first(world), second(world);
  first.connect("a");
  first.subscribe("t", 1);
  first.take();
  second.connect("a", true);
  EXPECT_THAT(second.take(), ElementsAre("CONNACK"));
  EXPECT_EQ(world.broker->counts().subscriptions, 0u);
}

TEST(Sessions, EndAtTheirExpiry) {
  World world;
  TestClient client(world);
  const auto ten = [](Connect& connect) { connect.session_expiry_seconds = 10; };
  client.connect("a", true, ten);
  client.subscribe("t", 1);
  world.pass(60s);  // not while it is connected
  client.disconnect();
  world.pass(9s);
  client.connect("a", true, ten);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK present"));
  client.lose();
  world.pass(9s);
  EXPECT_EQ(world.broker->counts().subscriptions, 1u);
  world.pass(2s);
  EXPECT_EQ(world.broker->counts().subscriptions, 0u);
  EXPECT_EQ(world.rows(Table::session), 0u);
}

TEST(Sessions, DisconnectMayChangeTheExpiryButNotFromZero) {
  World world;
  TestClient client(world);
  client.connect("a", true);
  client.disconnect({Reason::success, 0, ""});
  client.connect("a", true);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
  client.disconnect();
  client.connect("b");
  client.take();
  client.disconnect({Reason::success, 10, ""});
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));
}

// Subscribing -------------------------------------------------------------------------------------------------

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

TEST(Subscribing, WhatIsNotThereIsRefused) {
  World world;
  TestClient client(world), old(world, v3);
  client.connect("a");
  old.connect("b");
  client.subscribe("$share/g/t");
  client.subscribe("@Not A Handle/x");
  client.subscribe("@/lyon/noise/#");
  std::string deep;
  for (int level = 0; level < 64; ++level) deep += "l/";
  client.subscribe(deep);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "SUBACK 9e", "SUBACK 8f", "SUBACK 87", "SUBACK 8f"));
  old.subscribe("$share/g/t");
  EXPECT_THAT(old.take(), ElementsAre("CONNACK", "SUBACK 80"));
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

// Publishing --------------------------------------------------------------------------------------------------

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
  EXPECT_THAT(client.take(), ElementsAre("PUBREL #3 0x92", "PUBCOMP #3 0x92"));
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
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "PUBACK #1 0x10", "PUBREC #2 0x10"));
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

// Flow control ------------------------------------------------------------------------------------------------

TEST(FlowControl, NoMoreIsInFlightThanTheClientTakes) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub", false, [](Connect& connect) { connect.receive_maximum = 2; });
  sub.subscribe("t", 2);
  sub.take();
  for (PacketId id = 1; id <= 4; ++id) pub.publish("t", std::to_string(id), id % 2 ? 1 : 2, id);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=1 q1 #1", "PUBLISH t=2 q2 #2"));
  sub.pubrec(2);
  EXPECT_THAT(sub.take(), ElementsAre("PUBREL #2"));  // still counts
  sub.puback(1);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=3 q1 #3"));
  sub.pubcomp(2);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=4 q2 #4"));
}

TEST(FlowControl, QosZeroIsNotHeldUpByIt) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub", false, [](Connect& connect) { connect.receive_maximum = 1; });
  sub.subscribe("t", 2);
  sub.take();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 1, 2);
  pub.publish("t", "3");
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=1 q1 #1", "PUBLISH t=3"));
}

TEST(FlowControl, AClientWithManyAnswersPendingIsNotRead) {
  World world;
  TestClient client(world, v3);
  client.connect("a", true);
  client.take();
  world.store->hold();
  PacketId id = 0;
  while (client.is_reading()) client.publish("t", "", 2, ++id);
  EXPECT_EQ(id, limits::pending_answers_max);
  client.publish("t", "", 2, ++id);  // was on its way
  EXPECT_THAT(client.take(), IsEmpty());
  world.store->release();
  EXPECT_EQ(client.take().size(), id);
  EXPECT_TRUE(client.is_reading());
}

TEST(FlowControl, AClientThatReadsNoAnswersIsNotRead) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.take();
  client.stuck = true;
  const Bytes ping = hex("c000");
  std::size_t sent = 0;
  for (; client.is_reading() && sent < 2 * limits::client_output_bytes_max; ++sent) {
    client.send_raw(ping);
    if (sent % 1000 == 0) world.run();
  }
  EXPECT_FALSE(client.is_reading());
  EXPECT_LE(client.unsent_bytes(), limits::client_output_bytes_max + 10'000);
  world.run();
  client.unstick();
  EXPECT_TRUE(client.is_reading());
  client.take();
  client.send_raw(ping);
  EXPECT_THAT(client.take(), ElementsAre("PINGRESP"));
}

TEST(FlowControl, APacketLargerThanTheClientTakesIsNotSent) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub", false, [](Connect& connect) { connect.maximum_packet_bytes = 100; });
  sub.subscribe("t", 2);
  sub.take();
  for (int qos = 0; qos < 3; ++qos) {
    pub.publish("t", std::string(100, 'x'), qos, qos ? 1 : 0);
    pub.pubrel(1);
  }
  pub.publish("t", "small", 1, 2);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=small q1 #3"));
  EXPECT_EQ(world.broker->counts().publish_dropped, 3u);
  sub.puback(3);
  EXPECT_EQ(world.broker->counts().queued, 0u);
}

TEST(FlowControl, AClientThatDoesNotReadLosesQosZeroOnly) {
  World world;
  TestClient pub(world), slow(world), fast(world);
  pub.connect("pub");
  slow.connect("slow");
  fast.connect("fast");
  slow.subscribe("#", 1);
  fast.subscribe("#", 1);
  slow.take();
  fast.take();
  slow.stuck = true;
  const std::string payload(10'000, 'x');
  const int count = 1000;
  std::size_t fast_got = 0;
  for (int at = 0; at < count; ++at) {
    pub.publish("zero", payload);
    pub.publish("one", payload, 1, static_cast<PacketId>(at + 1));
    for (const auto& line : fast.take())
      if (line.starts_with("PUBLISH")) {
        ++fast_got;
        if (line.find(" q1 #") != line.npos)
          fast.puback(static_cast<PacketId>(std::stoi(line.substr(line.find('#') + 1))));
      }
  }
  EXPECT_EQ(fast_got, 2u * count);
  EXPECT_LT(slow.unsent_bytes(), limits::client_output_bytes_max + limits::output_high_water_bytes + 100'000);
  EXPECT_GT(world.broker->counts().publish_dropped, 0u);
  slow.stuck = false;
  std::size_t ones = 0;
  for (Lines lines = slow.take(); !lines.empty(); lines = slow.take())
    for (const auto& line : lines) {
      slow.unstick();
      if (!line.starts_with("PUBLISH one")) continue;
      ++ones;
      slow.puback(static_cast<PacketId>(std::stoi(line.substr(line.find('#') + 1))));
    }
  EXPECT_EQ(ones, static_cast<std::size_t>(count));
}

// Retained ----------------------------------------------------------------------------------------------------

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

// Wills -------------------------------------------------------------------------------------------------------

struct WillTest : testing::Test {
  WillTest() {
    watcher.connect("watcher");
    watcher.subscribe("w", 2);
    watcher.take();
  }
  static TestClient::Change with_will(std::uint32_t delay = 0, std::uint32_t expiry = 0) {
    return [=](Connect& connect) {
      connect.will = Will{"w", to_bytes("died"), Qos::at_least_once, true, {}, delay};
      connect.session_expiry_seconds = expiry;
      connect.keep_alive_seconds = 10;
    };
  }
  World world;
  TestClient watcher{world}, client{world};
};

TEST_F(WillTest, IsPublishedWhenTheConnectionBreaks) {
  client.connect("c", false, with_will());
  world.run();
  client.lose();
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died q1 #1"));
  TestClient later(world);
  later.connect("later");
  later.subscribe("w");
  EXPECT_THAT(later.messages(), ElementsAre("PUBLISH w=died retain"));
}

TEST_F(WillTest, IsPublishedForSilenceViolationsAndTakeover) {
  client.connect("c", false, with_will());
  world.pass(20s);
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died q1 #1"));
  client.connect("c", false, with_will());
  client.send_raw(hex("0000"));
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died q1 #2"));
  client.connect("c", false, with_will());
  TestClient other(world);
  other.connect("c");
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died q1 #3"));
}

TEST_F(WillTest, IsForgottenAtAGoodbyeUnlessItAsksForIt) {
  client.connect("c", false, with_will());
  client.disconnect();
  EXPECT_THAT(watcher.take(), IsEmpty());
  client.connect("c", false, with_will());
  client.disconnect({Reason::disconnect_with_will, {}, ""});
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died q1 #1"));
}

TEST_F(WillTest, WaitsForItsDelayOrTheEndOfTheSession) {
  client.connect("c", true, with_will(10, 100));
  client.lose();
  world.pass(9s);
  EXPECT_THAT(watcher.take(), IsEmpty());
  world.pass(2s);
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died q1 #1"));

  client.connect("c", true, with_will(100, 10));
  client.lose();
  world.pass(11s);
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died q1 #2"));

  client.connect("c", true, with_will(10, 100));
  client.lose();
  world.pass(5s);
  client.connect("c", true);  // back in time
  world.pass(10s);
  EXPECT_THAT(watcher.take(), IsEmpty());
}

TEST_F(WillTest, SurvivesTheNode) {
  client.connect("c", true, with_will(0, 100));
  watcher.disconnect();
  world.run();
  world.crash();
  TestClient again(world);
  again.connect("again");
  again.subscribe("w");
  again.take();
  world.pass(1s);
  EXPECT_THAT(again.messages(), ElementsAre("PUBLISH w=died"));
  world.crash();
  TestClient third(world);
  third.connect("third");
  third.subscribe("w", 0, {{}, false, false, RetainHandling::never});
  world.pass(1s);
  EXPECT_THAT(third.messages(), IsEmpty());
}

TEST(Stopping, TellsTheClients) {
  World world;
  TestClient client(world), old(world, v3);
  client.connect("a");
  old.connect("b");
  client.take();
  old.take();
  world.broker->stop();
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x8b", "closed"));
  EXPECT_THAT(old.take(), ElementsAre("closed"));
}

}  // namespace
}  // namespace diot
