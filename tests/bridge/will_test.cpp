// Wills (MQTT 5.0 sections 3.1.2.5, 3.1.3.2).

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

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

TEST_F(WillTest, IsRetainedOnlyIfItAsksForIt) {
  client.connect("c", false,
                 [](Connect& connect) { connect.will = Will{"w", to_bytes("died"), Qos::at_most_once, false, {}, 0}; });
  client.lose();
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died"));
  watcher.subscribe("w");
  EXPECT_THAT(watcher.messages(), IsEmpty());
}

}  // namespace
}  // namespace diot
