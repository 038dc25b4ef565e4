// The bounds of core/limits.hpp that concern MQTT, each at its edge and one past it. Others stand where their topic is:
// subscriptions (subscribe_test), queues (durability_test, outbox_test), answers and output (flow_control_test).

#include "core/limits.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Limits, OfAPacket) {
  for (const Protocol protocol : {Protocol::mqtt_5, v3}) {
    World world;
    TestClient client(world, protocol);
    client.connect("a");
    client.take();
    PublishOut out;
    out.topic = "t";
    Bytes payload(limits::packet_bytes_max);
    out.payload = payload;
    const std::size_t around = publish_bytes(protocol, out) - payload.size();
    payload.resize(limits::packet_bytes_max - around);
    out.payload = payload;
    Bytes packet;
    encode_publish(packet, protocol, out);
    ASSERT_EQ(packet.size(), limits::packet_bytes_max);
    client.send_raw(packet);
    EXPECT_THAT(client.take(), IsEmpty());
    EXPECT_EQ(world.broker->counts().publish_received, 1u);
    payload.push_back(0);
    out.payload = payload;
    packet.clear();
    encode_publish(packet, protocol, out);
    packet.resize(5);  // refused before it is there
    client.send_raw(packet);
    if (protocol == v3)
      EXPECT_THAT(client.take(), ElementsAre("closed"));
    else
      EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x95", "closed"));
  }
}

TEST(Limits, OfAClientId) {
  for (const Protocol protocol : {Protocol::mqtt_5, v3}) {
    World world;
    TestClient client(world, protocol);
    client.connect(std::string(limits::client_id_bytes_max, 'x'));
    EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
    client.connect(std::string(limits::client_id_bytes_max + 1, 'x'));
    EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x85", "closed"));
  }
}

TEST(Limits, OfATopicsLevels) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("#");
  client.take();
  const std::string deepest(limits::topic_levels_max, '/');
  client.publish(deepest, "x");
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH " + deepest + "=x"));
  client.publish(deepest + "/", "x", 1, 1);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #1 0x90"));
}

TEST(Limits, OfATopicsBytes) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("#");
  client.take();
  const std::string longest(65'535, 't');
  client.publish(longest, "x");
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH " + longest + "=x"));
}

TEST(Limits, OfSessions) {
  World world;
  TestClient client(world), other(world, v3);
  for (std::size_t at = 0; at < limits::sessions_max; ++at) {
    client.connect(std::to_string(at), true);
    client.disconnect();
    if (at % 1000 == 0) world.run();
  }
  client.connect("one more");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x97", "closed"));
  other.connect("another one");
  EXPECT_THAT(other.take(), ElementsAre("CONNACK 0x88", "closed"));
  client.connect("7", true);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK present"));
}

TEST(Limits, OfConnections) {
  World world;
  std::vector<std::unique_ptr<TestClient>> clients;
  for (std::size_t at = 0; at < limits::clients_max; ++at) {
    EXPECT_FALSE(world.broker->full());
    clients.push_back(std::make_unique<TestClient>(world));
    clients.back()->open();
  }
  EXPECT_TRUE(world.broker->full());          // the listener refuses the next
  world.pass(limits::connect_deadline + 1s);  // they never said CONNECT
  EXPECT_FALSE(world.broker->full());
}

TEST(Limits, OfWhatIsInFlight) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub");  // takes 65,535
  sub.subscribe("t", 1);
  sub.take();
  for (std::size_t at = 1; at <= limits::in_flight_max + 1u; ++at) pub.publish("t", "x", 1, static_cast<PacketId>(at));
  EXPECT_EQ(sub.take().size(), limits::in_flight_max);
  sub.puback(1);
  EXPECT_EQ(sub.take().size(), 1u);
}

TEST(Limits, OfTopicAliasesOfAClient) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.subscribe("t");
  client.take();
  const auto publish = [&](std::uint16_t alias) {
    PublishOut out;
    out.topic = "t";
    out.topic_alias = alias;
    Bytes packet;
    encode_publish(packet, Protocol::mqtt_5, out);
    client.send_raw(packet);
  };
  publish(limits::topic_alias_maximum);
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH t="));
  publish(limits::topic_alias_maximum + 1);
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x94", "closed"));
}

TEST(Limits, OfPatienceWithAFullDisk) {
  World world;
  TestClient sub(world), old(world, v3);
  sub.connect("sub", true);
  sub.subscribe("t", 1);
  old.connect("old");
  old.take();
  sub.take();
  world.store->refuse(Error{Errc::io, "disk full"});
  sub.publish("t", "1", 1, 1);
  world.pass(1s);
  old.publish("t", "2", 1, 2);
  old.take();
  world.pass(limits::full_disk_patience - 1ms);
  EXPECT_FALSE(old.is_closed());
  world.pass(501ms);  // looked at twice a second
  EXPECT_TRUE(old.is_closed());
}

TEST(Limits, OfRetainedMessages) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.take();
  RetainedValue value;
  value.message = world.message("t", "x", Qos::at_most_once, true);
  for (std::size_t at = 0; at + 1 < limits::retained_count_max; ++at) {
    value.stamp.time = at + 1;
    ASSERT_TRUE(world.retained->set(std::to_string(at), value));
    if (at % 10'000 == 0) world.store->seal();
  }
  client.publish("last", "x", 1, 1, true);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #1 0x10"));
  client.publish("one more", "x", 1, 2, true);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #2 0x97"));
  client.publish("last", "y", 1, 3, true);  // a new value needs no room
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #3 0x10"));
  client.publish("7", "", 1, 4, true);
  client.publish("one more", "x", 1, 5, true);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #4 0x10", "PUBACK #5 0x10"));
}

TEST(Limits, OfTheBytesOfRetainedMessages) {
  World world;
  TestClient client(world);
  client.connect("a");
  client.take();
  TestClient old(world, Protocol::mqtt_3_1_1);
  old.connect("b");
  old.subscribe("small", 0);
  old.take();
  RetainedValue value;
  auto large = std::make_shared<Message>(*world.message("large", "", Qos::at_most_once, true));
  large->payload.resize(limits::retained_bytes_max - large->topic.size());
  value.message = large;
  value.stamp.time = 1;
  ASSERT_TRUE(world.retained->set("large", value));

  client.publish("small", "x", 1, 1, true);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #1 0x97"));
  old.publish("small", "x", 1, 1, true);
  EXPECT_THAT(old.take(), testing::UnorderedElementsAre("PUBACK #1", "PUBLISH small=x")) << "MQTT 3 cannot be told";
  EXPECT_EQ(world.retained->find("small"), nullptr);
  EXPECT_EQ(world.broker->counts().retained_refused, 2u);
  client.publish("large", "smaller", 1, 2, true);
  client.publish("small", "x", 1, 3, true);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #2 0x10", "PUBACK #3"));
}

TEST(Limits, OfTopicAliasesToAClient) {
  World world;
  TestClient pub(world), sub(world);
  pub.connect("pub");
  sub.connect("sub", false, [](Connect& connect) { connect.topic_alias_maximum = 65'535; });
  sub.subscribe("#");
  sub.take();
  for (std::size_t at = 0; at < 20u * limits::topic_aliases_to_client_max; ++at) pub.publish(std::to_string(at), "");
  for (const auto& line : sub.take()) {
    const auto alias = line.find(" alias:");
    ASSERT_NE(alias, line.npos) << line;
    EXPECT_LE(std::stoul(line.substr(alias + 7)), limits::topic_aliases_to_client_max);
  }
}

/// Whatever a client sends before and after CONNECT, the broker stays up, and others are served.
TEST(Limits, OfPatienceWithGarbage) {
  World world;
  TestClient witness(world), evil(world), evil_old(world, v3);
  witness.connect("witness");
  witness.subscribe("alive");
  witness.take();
  std::mt19937 random(20261122);
  Bytes start;
  for (int round = 0; round < 20'000; ++round) {
    TestClient& one = round % 2 ? evil : evil_old;
    if (one.is_closed()) {
      one.connect("evil", round % 3 == 0);
      if (round % 7 == 0) one.lose(), one.open();
    }
    Bytes bytes(1 + random() % 40);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    // A right first byte and length get further.
    constexpr std::uint8_t first[] = {0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xc0, 0xe0, 0xf0, 0x10};
    bytes[0] = first[random() % std::size(first)];
    if (bytes.size() > 1) bytes[1] = static_cast<std::uint8_t>(bytes.size() - 2);
    one.send_raw(bytes);
    if (round % 100 == 0) world.pass(1ms);
  }
  evil.lose();
  evil_old.lose();
  evil.connect("good");
  evil.publish("alive", "yes", 1, 1);
  EXPECT_THAT(witness.messages(), testing::Contains("PUBLISH alive=yes"));
}

}  // namespace
}  // namespace diot
