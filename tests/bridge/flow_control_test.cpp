// Slow clients, and clients that take little (MQTT 5.0 sections 3.3.4, 4.9).

#include "core/limits.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

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

TEST(FlowControl, MoreThanOurReceiveMaximumEndsTheConnection) {
  World world;
  TestClient client(world), old(world, v3);
  client.connect("a", true);
  client.take();
  const PacketId most = ClientConnection::receive_maximum;
  for (PacketId id = 1; id <= most; ++id) client.publish("t", "", 2, id);
  client.pubrel(most);  // makes room for one
  client.publish("t", "", 2, most + 1);
  client.publish("t", "", 2, 1, false, nullptr, true);  // was counted
  client.publish("t", "", 1, most + 2);
  EXPECT_EQ(client.take().back(), "PUBACK #" + std::to_string(most + 2) + " 0x10");
  client.publish("t", "", 2, most + 3);
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x93", "closed"));
  // A new connection counts anew (section 4.9).
  client.connect("a", true);
  client.publish("t", "", 2, most + 3);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK present", "PUBREC #" + std::to_string(most + 3)));
  // 3.1.1 has no such limit, and identifiers end.
  old.connect("b");
  for (PacketId id = 1; id <= most + 1; ++id) old.publish("t", "", 2, id);
  EXPECT_EQ(old.take().back(), "PUBREC #" + std::to_string(most + 1));
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

}  // namespace
}  // namespace diot
