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

TEST_F(WillTest, OfAKeptSessionIsSpentOnDiskBeforeAnybodyGetsIt) {
  const auto will = [](Connect& connect) {
    connect.will = Will{"w", to_bytes("died"), Qos::at_most_once, false, {}, 0};
    connect.session_expiry_seconds = 100;
  };
  client.connect("c", true, will);
  world.run();
  world.store->hold();
  client.lose();
  EXPECT_THAT(watcher.take(), IsEmpty()) << "a crash now would bring it again";
  world.store->release();
  world.turn.touch();
  EXPECT_THAT(watcher.take(), ElementsAre("PUBLISH w=died"));
}

// What other homes are to know of them ---------------------------------------------------------------------------

using testing::SizeIs;

struct SharedWills : WillTest {
  std::vector<std::string> told() const {
    std::vector<std::string> out;
    for (const auto& [number, will] : world.overlay->wills) out.push_back(will);
    return out;
  }
  std::uint64_t number() const { return world.overlay->wills.begin()->first; }
};

TEST_F(SharedWills, AreToldWhileTheyStand) {
  client.connect("c", false, with_will());
  EXPECT_THAT(told(), ElementsAre("w=died q1 retain +0"));
  client.disconnect();
  EXPECT_THAT(told(), IsEmpty());
  client.connect("c", false, with_will());
  client.lose();
  EXPECT_THAT(told(), IsEmpty()) << "it was published here";
  client.connect("c", false);
  EXPECT_THAT(told(), IsEmpty()) << "it has none";
}

TEST_F(SharedWills, OfEachConnectionAreNew) {
  client.connect("c", true, with_will(10, 100));
  const auto first = number();
  client.lose();
  EXPECT_THAT(told(), ElementsAre("w=died q1 retain +10")) << "it waits for its delay";
  client.connect("c", true, with_will(5, 100));
  EXPECT_THAT(told(), ElementsAre("w=died q1 retain +5"));
  EXPECT_NE(number(), first);
  const auto second = number();
  TestClient other(world);
  other.connect("c", true, with_will(7, 100));
  EXPECT_THAT(told(), ElementsAre("w=died q1 retain +7"));
  EXPECT_NE(number(), second);
  other.lose();
  world.pass(8s);
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(SharedWills, WaitNoLongerThanTheirSession) {
  client.connect("c", true, with_will(100, 10));
  EXPECT_THAT(told(), ElementsAre("w=died q1 retain +10"));
  client.lose();
  world.pass(11s);
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(SharedWills, AreTheSameAfterARestart) {
  client.connect("c", true, with_will(60, 100));
  world.run();
  const auto before = world.overlay->wills;
  world.crash();
  EXPECT_EQ(world.overlay->wills, before);
}

TEST_F(SharedWills, ThatMayNotBePublishedAreNotTold) {
  world.authenticator.rule = [](const Principal&, Access access, std::string_view topic) {
    return access != Access::publish || topic != "w";
  };
  client.connect("c", false, with_will());
  EXPECT_THAT(told(), IsEmpty());
  world.authenticator.rule = nullptr;
  client.connect("c", false, with_will());
  EXPECT_THAT(told(), SizeIs(1));
  world.authenticator.rule = [](const Principal&, Access, std::string_view) { return false; };
  world.broker->permissions_changed();
  EXPECT_THAT(told(), IsEmpty());
}

TEST_F(SharedWills, OnTopicsOfOthersAndOfTheBrokerAreNotTold) {
  for (const char* topic : {"@bob/x", "$SYS/x", "$own"}) {
    client.connect("c", false, [&](Connect& connect) {
      connect.will = Will{topic, to_bytes("x"), Qos::at_least_once, false, {}, 0};
    });
    EXPECT_THAT(told(), IsEmpty()) << topic;
  }
}

}  // namespace
}  // namespace diot
