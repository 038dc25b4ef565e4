// Who may do what: asked at PUBLISH, at SUBSCRIBE, for each delivery and for wills.

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

struct PermissionTest : testing::Test {
  /// Nobody but the client "admin" may have to do with "secret/…"; "w/…" may be written and not read, "r/…" read and
  /// not written.
  PermissionTest() {
    world.authenticator.rule = [](const Principal& who, Access access, std::string_view topic) {
      if (topic.starts_with("secret/")) return who.client_id == "admin";
      if (topic.starts_with("w/")) return access == Access::publish || who.client_id == "admin";
      if (topic.starts_with("r/")) return access != Access::publish || who.client_id == "admin";
      return true;
    };
    admin.connect("admin");
    client.connect("client");
    old.connect("old");
    admin.subscribe("#");
    for (auto* one : {&admin, &client, &old}) one->take();
  }
  World world;
  TestClient admin{world}, client{world}, old{world, v3};
};

TEST_F(PermissionTest, PublishIsRefusedWithItsReason) {
  client.publish("r/x", "1", 1, 1);
  client.publish("r/x", "2", 2, 2);
  client.publish("r/x", "3");
  client.publish("w/x", "4", 1, 3);
  EXPECT_THAT(client.take(), ElementsAre("PUBACK #1 0x87", "PUBREC #2 0x87", "PUBACK #3"));
  EXPECT_THAT(admin.take(), ElementsAre("PUBLISH w/x=4"));
  EXPECT_EQ(world.broker->counts().publish_not_permitted, 3u);
}

TEST_F(PermissionTest, OlderClientsAreAnsweredAndTheMessageIsDropped) {
  old.publish("r/x", "1", 1, 1);
  old.publish("r/x", "2", 2, 2);
  old.pubrel(2);
  EXPECT_THAT(old.take(), ElementsAre("PUBACK #1", "PUBREC #2", "PUBCOMP #2"));
  EXPECT_THAT(admin.take(), IsEmpty());
  EXPECT_EQ(world.broker->counts().publish_not_permitted, 2u);
}

TEST_F(PermissionTest, SubscribeIsRefused) {
  client.subscribe("secret/x");
  client.subscribe("$share/g/secret/x");
  client.subscribe("@alice/secret/x");  // the own topic, by its long name
  EXPECT_THAT(client.take(), ElementsAre("SUBACK 87", "SUBACK 87", "SUBACK 87"));
  old.subscribe("secret/x");
  EXPECT_THAT(old.take(), ElementsAre("SUBACK 80"));
}

TEST_F(PermissionTest, AWildcardShowsOnlyWhatMayBeRead) {
  client.subscribe("#", 1);
  client.subscribe("+/x");
  client.take();
  admin.publish("secret/x", "1", 1, 1);
  admin.publish("w/x", "2", 0, 0, true);
  admin.publish("r/x", "3");
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH r/x=3"));
  client.subscribe("#");
  EXPECT_THAT(client.take(), ElementsAre("SUBACK 00"));  // nor the retained one
}

TEST_F(PermissionTest, ASharedMessageGoesToOneWhoMayReadIt) {
  client.subscribe("$share/g/+/x");
  admin.subscribe("$share/g/+/x");
  client.take();
  admin.take();
  for (int at = 0; at < 2; ++at) admin.publish("secret/x", "1");
  EXPECT_EQ(admin.take().size(), 4u);  // each also by "#"
  EXPECT_THAT(client.take(), IsEmpty());
}

TEST_F(PermissionTest, AKeptSessionIsJudgedToo) {
  client.connect("client", true);
  client.subscribe("#", 1);
  client.disconnect();
  world.run();
  world.crash();
  admin.connect("admin");
  admin.publish("secret/x", "1", 1, 1);
  admin.publish("r/x", "2", 1, 2);
  client.connect("client", true);
  EXPECT_THAT(client.messages(), ElementsAre("PUBLISH r/x=2 q1 #1"));
}

TEST_F(PermissionTest, WillsToo) {
  for (const char* topic : {"r/x", "w/x"}) {
    client.lose();
    client.connect("client", false, [&](Connect& connect) {
      connect.will = Will{topic, to_bytes("died"), Qos::at_least_once, false, {}, 0};
    });
    world.run();
    client.lose();
  }
  EXPECT_THAT(admin.take(), ElementsAre("PUBLISH w/x=died"));
}

TEST_F(PermissionTest, NewRulesHoldAtOnce) {
  client.subscribe("#");
  client.take();
  world.authenticator.rule = nullptr;
  world.broker->permissions_changed();
  const int asked = world.authenticator.asked;
  admin.publish("secret/x", "1");
  EXPECT_THAT(client.take(), ElementsAre("PUBLISH secret/x=1"));
  EXPECT_EQ(world.authenticator.asked, asked);  // where everything is permitted nobody is asked
  world.authenticator.rule = [](const Principal& who, Access, std::string_view) { return who.client_id == "admin"; };
  world.broker->permissions_changed();
  admin.publish("t", "2");
  EXPECT_THAT(client.take(), IsEmpty());
}

}  // namespace
}  // namespace diot
