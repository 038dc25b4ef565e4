// How connections begin and end (MQTT 5.0 sections 3.1, 3.2, 3.14).

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

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

TEST(Connecting, Mqtt31IsSpokenToo) {
  World world;
  TestClient client(world, Protocol::mqtt_3_1), other(world);
  client.connect("a", true);
  client.subscribe("t", 1);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "SUBACK 01"));
  // DUP may stand in SUBSCRIBE, UNSUBSCRIBE and PUBREL there, and the upper bits beside the QoS mean nothing.
  client.send_hex("8a 06 0007 000175 fd");
  client.send_hex("aa 05 0008 000175");
  client.send_hex("6a 02 0009");
  EXPECT_THAT(client.take(), ElementsAre("SUBACK 01", "UNSUBACK", "PUBCOMP #9"));
  other.connect("b");
  other.publish("t", "x", 2, 1);
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH t=x q1 #1"));
  client.disconnect();
  client.connect("a", true);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "PUBLISH t=x q1 #1 dup"));  // it knows no Session Present
  client.connect("");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x85", "closed"));
}

TEST(Connecting, OtherVersionsAreToldSo) {
  World world;
  TestClient old(world, v3), next(world);
  for (const auto claim : {"0004 4d515454 03", "0006 4d5149736470 04", "0004 4d515454 00"}) {
    old.open();
    const Bytes body = hex(std::string(claim) + "02 003c 0001 61");
    Bytes packet{0x10, static_cast<std::uint8_t>(body.size())};
    append(packet, body);
    old.send_raw(packet);
    EXPECT_THAT(old.take(), ElementsAre("CONNACK 0x84", "closed")) << claim;
  }
  next.open();
  next.send_hex("10 0e 0004 4d515454 06 02 003c 00 0001 61");
  EXPECT_THAT(next.take(), ElementsAre("CONNACK 0x84", "closed"));
  next.open();
  next.send_hex("10 0e 0004 4d515455 05 02 003c 00 0001 61");  // "MQTU"
  EXPECT_THAT(next.take(), ElementsAre("closed"));
}

TEST(Connecting, ALongKeepAliveIsShortenedWhereTheClientCanBeTold) {
  World world;
  world.config.keep_alive_seconds_max = 60;
  world.crash();
  const auto asks = [](std::uint16_t seconds) {
    return [=](Connect& connect) { connect.keep_alive_seconds = seconds; };
  };
  TestClient client(world), old(world, v3);
  client.connect("a", false, asks(60));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
  client.disconnect();
  client.connect("a", false, asks(61));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK keep-alive:60"));
  client.disconnect();
  client.connect("a", false, asks(0));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK keep-alive:60"));
  old.connect("b", false, asks(0));
  old.take();
  world.pass(std::chrono::milliseconds(90'000));
  EXPECT_FALSE(client.is_closed());
  world.pass(std::chrono::milliseconds(600));
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x8d", "closed"));
  EXPECT_FALSE(old.is_closed());
}

TEST(Connecting, ClientsAreSentToAnotherServer) {
  World world;
  world.config.server_reference = "other.example:1883";
  world.crash();
  TestClient client(world), old(world, v3);
  client.connect("a");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x9c reference:other.example:1883", "closed"));
  old.connect("a");
  EXPECT_THAT(old.take(), ElementsAre("CONNACK 0x88", "closed"));
  world.config.server_moved = true;
  world.crash();
  client.connect("a");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x9d reference:other.example:1883", "closed"));
}

TEST(Connecting, ABridgeDoesNotHearItselfAndSeesRetain) {
  World world;
  TestClient bridge(world, v3), other(world);
  bridge.connect("bridge", false, [](Connect& connect) { connect.bridge = true; });
  other.connect("other");
  bridge.subscribe("#");
  bridge.publish("own", "x");
  other.publish("t", "y", 0, 0, true);
  EXPECT_THAT(bridge.take(), ElementsAre("CONNACK", "SUBACK 00", "PUBLISH t=y retain"));
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

TEST(Connecting, AGoodbyeIsNotAnswered) {
  World world;
  TestClient client(world);
  for (const auto goodbye :
       {"e0 00", "e0 01 04", "e0 01 82", "e0 01 8e", "e0 01 05"}) {  // the last two are not a client's
    client.connect("a");
    client.take();
    client.send_hex(goodbye);
    EXPECT_THAT(client.take(), ElementsAre("closed")) << goodbye;
  }
  client.connect("a");
  client.take();
  client.send_hex("e0 07 00 05 11 00000001");  // an error of its own: the session cannot be kept as it asks
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));
}

TEST(Connecting, AnswersFitTheClientsPacketSize) {
  World world;
  TestClient client(world);
  const auto tiny = [](std::uint32_t bytes) {
    return [bytes](Connect& connect) {
      connect.maximum_packet_bytes = bytes;
      connect.request_response_information = true;
    };
  };
  client.connect("a", false, tiny(30));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK response:response/a"));
  client.lose();
  client.connect("a", false, tiny(20));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK"));  // without what it can do without
  client.send_hex("10 00");
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));  // without its text
  client.connect("a", false, tiny(4));
  EXPECT_THAT(client.take(), ElementsAre("closed"));
}

TEST(Connecting, ResponseInformationNamesAPlaceForAnswersWhereItIsAskedFor) {
  World world;
  TestClient client(world), sub(world);
  client.connect("lamp/+", false, [](Connect& connect) { connect.request_response_information = true; });
  EXPECT_THAT(client.take(), ElementsAre("CONNACK"));  // that would be no topic
  client.connect("lamp");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
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

TEST(Connecting, ReasonTextsGoOnlyWhereTheyAreWanted) {
  World world;
  TestClient client(world);
  const auto refused = [&](const TestClient::Change& change) {
    client.lose();
    client.connect("a", false, change);
    client.publish("$SYS/x", "", 1, 1);
    EXPECT_THAT(client.take(), ElementsAre("CONNACK", "PUBACK #1 0x87"));
    return client.reason_string();
  };
  const auto wanted = [](bool asked, std::uint32_t packet_bytes_max = UINT32_MAX) {
    return [=](Connect& connect) {
      connect.request_problem_information = asked;
      connect.maximum_packet_bytes = packet_bytes_max;
    };
  };
  EXPECT_EQ(refused(wanted(true)), "$SYS is the broker's own");
  EXPECT_EQ(refused(wanted(true, 20)), "");  // it would not fit
  EXPECT_EQ(refused(wanted(false)), "");
  EXPECT_EQ(refused({}), "");  // who has not asked may have no room for it
  const auto last_words = [&](const TestClient::Change& change) {
    client.lose();
    client.connect("a", false, change);
    client.send_hex("c1 00");
    EXPECT_THAT(client.take(), ElementsAre("CONNACK", "DISCONNECT 0x81", "closed"));
    return client.reason_string();
  };
  EXPECT_EQ(last_words(wanted(true)), "reserved flags in the first byte");
  EXPECT_EQ(last_words(wanted(false)), "");
  EXPECT_EQ(last_words({}), "");

  const auto not_admitted = [&](const TestClient::Change& change) {
    client.connect(std::string(limits::client_id_bytes_max + 1, 'a'), false, change);
    EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x85", "closed"));
    return client.reason_string();
  };
  EXPECT_EQ(not_admitted(wanted(true)), "the client identifier is too long");
  EXPECT_EQ(not_admitted({}), "");
}

}  // namespace
}  // namespace diot
