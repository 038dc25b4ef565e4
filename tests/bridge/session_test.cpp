// What a session keeps, and for how long (MQTT 5.0 sections 3.1.2.11.2, 4.1).

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

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

}  // namespace
}  // namespace diot
