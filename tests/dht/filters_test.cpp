// Filters that members push down to the writer: headers without bodies for what they do not read.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;

/// alice shares the sensors of two rooms in one channel.
struct Filters : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  std::size_t headers = 0, bodies = 0, bytes = 0;  ///< batch frames that bob got

  void SetUp() override {
    ASSERT_TRUE(alice.overlay->own().add("sensors/#", Preset::public_));
    alice.turn.touch();
    world.pass(8s);
    world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes& body) {
      if (&to != &bob || type != FrameType::batch) return true;
      bytes += body.size();
      const bool whole = BatchView::parse(wire::decode_batch(body)->batch)->body.size() > 0;
      ++(whole ? bodies : headers);
      return true;
    };
  }
  void publish(const std::string& topic, const std::string& payload, bool retain = false,
               Qos qos = Qos::at_least_once) {
    alice.publish(topic, payload, qos, retain);
    world.run();
  }
  void want(const std::string& filter) {
    bob.overlay->add_demand(filter, true);
    world.pass(4s);
    ASSERT_TRUE(bob.overlay->remote().acknowledged(filter)) << bob.overlay->remote().waiting_for(filter);
  }
  std::string value(Home& home, const std::string& topic) {
    const RetainedValue* found = home.retained->find(topic);
    return found && found->message ? std::string(as_text(found->message->payload)) : "";
  }
  static std::vector<std::string> take(Home& home) {
    auto out = home.broker->texts();
    home.broker->live.clear();
    return out;
  }
};

TEST_F(Filters, GetHeadersAloneOfWhatTheyDoNotMatch) {
  want("@alice/sensors/kitchen/#");
  for (int i = 0; i < 3; ++i) {
    publish("sensors/bath/t", "b");
    publish("sensors/kitchen/t", "k" + std::to_string(i));
  }
  publish("sensors/bath/t", "live", false, Qos::at_most_once);
  publish("sensors/kitchen/t", "live", false, Qos::at_most_once);
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/kitchen/t k0", "@alice/sensors/kitchen/t k1",
                                     "@alice/sensors/kitchen/t k2", "@alice/sensors/kitchen/t live"));
  EXPECT_EQ(headers, 4u);
  EXPECT_EQ(bodies, 4u);
  const auto status = bob.overlay->remote().status().at(0);
  EXPECT_EQ(status.durable_lost, 0u) << "the chain has no hole";
  EXPECT_EQ(status.live_lost, 0u);
  EXPECT_FALSE(bob.overlay->counters().contains("ranges asked for"));
}

TEST_F(Filters, KeepTheirPlaceAcrossRestartsAndFromDisk) {
  world.subscribe_durably(bob, "@alice/sensors/kitchen/#");
  world.pass(4s);
  publish("sensors/kitchen/t", "1");
  world.kill(bob);
  const std::string large(limits::channel_cache_bytes_max / 2, 'x');
  for (int i = 0; i < 6; ++i) publish("sensors/bath/t", large);
  publish("sensors/kitchen/t", "2");
  for (int i = 0; i < 6; ++i) publish("sensors/bath/t", large);
  world.start(bob);
  bytes = 0;
  world.pass(8s);
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/kitchen/t 2"));
  EXPECT_LT(bytes, 10'000u) << "6 MiB of the bath stayed where they were";
  world.kill(bob);
  world.start(bob);
  world.pass(8s);
  EXPECT_THAT(take(bob), IsEmpty()) << "nor does it come once more";
}

TEST_F(Filters, ThatGetWiderAskForTheValuesThatTheyHaveNotSeen) {
  want("@alice/sensors/kitchen/#");
  publish("sensors/bath/t", "b1", true);
  publish("sensors/kitchen/t", "k1", true);
  EXPECT_EQ(value(bob, "@alice/sensors/kitchen/t"), "k1");
  EXPECT_EQ(value(bob, "@alice/sensors/bath/t"), "") << "nobody here wants it";
  want("@alice/sensors/bath/t");
  EXPECT_EQ(value(bob, "@alice/sensors/bath/t"), "b1");
  publish("sensors/bath/t", "b2", true);
  EXPECT_EQ(value(bob, "@alice/sensors/bath/t"), "b2");
}

TEST_F(Filters, AreInForceWhenTheirOwnAnswerComesAndNotThatOfNarrowerOnes) {
  want("@alice/sensors/hall/t");
  const auto counts = world.on_wire;
  const LinkId link = world.links_between(alice, bob).at(0);
  std::vector<std::pair<FrameType, Bytes>> held;  // what alice answers
  world.on_wire = [&](const Home& from, const Home&, FrameType type, Bytes& body) {
    if (&from != &alice || (type != FrameType::channel_heads && type != FrameType::retained)) return true;
    held.emplace_back(type, body);
    return false;
  };
  bob.overlay->add_demand("@alice/sensors/kitchen/#", false);
  world.run();
  world.on_wire = [&](const Home& from, const Home&, FrameType type, Bytes&) {
    return &from != &bob || type != FrameType::channel_join;  // the next question is late
  };
  bob.overlay->add_demand("@alice/sensors/bath/#", false);
  for (const auto& [type, body] : held) bob.overlay->link_frame(link, alice.key.node_id(), type, body);
  bob.turn.touch();
  world.run();
  EXPECT_FALSE(bob.overlay->remote().acknowledged("@alice/sensors/bath/#"));
  publish("sensors/hall/t", "1");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/hall/t 1")) << "what was asked for before goes on";
  world.on_wire = counts;
  world.pass(4s);
  EXPECT_TRUE(bob.overlay->remote().acknowledged("@alice/sensors/bath/#"));
  publish("sensors/bath/t", "2");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/bath/t 2"));
}

TEST_F(Filters, ThatGetNarrowerKeepNoValuesThatGrowOld) {
  want("@alice/sensors/kitchen/#");
  want("@alice/sensors/bath/#");
  publish("sensors/bath/t", "b1", true);
  EXPECT_EQ(value(bob, "@alice/sensors/bath/t"), "b1");
  bob.overlay->remove_demand("@alice/sensors/bath/#", true);
  world.pass(4s);
  publish("sensors/bath/t", "b2", true);
  EXPECT_EQ(value(bob, "@alice/sensors/bath/t"), "");
  want("@alice/sensors/bath/#");
  EXPECT_EQ(value(bob, "@alice/sensors/bath/t"), "b2") << "not the one from before";
}

TEST_F(Filters, ThatWereGivenUpForAMomentAskForWhatWasLetGo) {
  want("@alice/sensors/kitchen/#");
  want("@alice/sensors/bath/#");
  publish("sensors/bath/t", "b1", true);
  // The hall's values do not come while it is wanted.
  world.on_wire = [](const Home&, const Home&, FrameType type, Bytes&) { return type != FrameType::retained; };
  bob.overlay->add_demand("@alice/sensors/hall/#", false);
  bob.overlay->remove_demand("@alice/sensors/bath/#", true);
  world.run();
  ASSERT_EQ(value(bob, "@alice/sensors/bath/t"), "");
  bob.overlay->add_demand("@alice/sensors/bath/#", true);
  world.run();
  world.on_wire = nullptr;
  bob.overlay->remove_demand("@alice/sensors/hall/#", false);
  world.pass(8s);
  EXPECT_EQ(value(bob, "@alice/sensors/bath/t"), "b1");
}

TEST_F(Filters, LoseNothingOfTheStreamsThatGoOnWhileTheyChange) {
  want("@alice/sensors/kitchen/#");
  // The answer to the second join takes a while; the live stream goes on meanwhile.
  bool hold = true;
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes&) {
    return !(hold && &to == &bob && type == FrameType::channel_heads);
  };
  bob.overlay->add_demand("@alice/sensors/bath/#", false);
  world.run();
  publish("sensors/kitchen/t", "live", false, Qos::at_most_once);
  publish("sensors/kitchen/t", "durable");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/kitchen/t live", "@alice/sensors/kitchen/t durable"));
  hold = false;
  world.pass(8s);
  EXPECT_TRUE(bob.overlay->remote().acknowledged("@alice/sensors/bath/#"));
}

TEST_F(Filters, AreNotForWhoCarriesTheChannelForOthers) {
  Home& carol = world.join("carol", alice);
  world.keep_apart(alice, carol);
  want("@alice/sensors/kitchen/#");
  publish("sensors/bath/t", "before", true);
  carol.overlay->add_demand("@alice/sensors/bath/#", false);
  world.pass(60s);
  EXPECT_EQ(value(carol, "@alice/sensors/bath/t"), "before");
  publish("sensors/bath/t", "after", true);
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/bath/t after"));
  EXPECT_EQ(value(carol, "@alice/sensors/bath/t"), "after");
}

/// A house of 20 sensors, one of which is read elsewhere: what goes over the link.
TEST_F(Filters, SaveWhatTheBodiesWouldTake) {
  const auto day = [&] {
    bytes = 0;
    for (int i = 0; i < 100; ++i) publish("sensors/room" + std::to_string(i % 20) + "/t", std::string(200, 'x'));
    return bytes;
  };
  want("@alice/sensors/room7/#");
  const std::size_t filtered = day();
  want("@alice/sensors/#");
  const std::size_t all = day();
  std::printf(
      "100 batches of one record of 200 B from 20 topics, one read: %zu B of batch frames, without filters %zu B\n",
      filtered, all);
  EXPECT_LT(filtered, all * 6 / 10);
  bytes = 0;
  // Records that come in at once travel in one batch: its header is small against the body.
  for (int i = 0; i < 100; ++i) alice.publish("sensors/room1/t", std::string(200, 'x'));
  world.run();
  const std::size_t burst = bytes;
  bob.overlay->remove_demand("@alice/sensors/#", true);
  world.pass(4s);
  bytes = 0;
  for (int i = 0; i < 100; ++i) alice.publish("sensors/room1/t", std::string(200, 'x'));
  world.run();
  std::printf("a burst of 100 records that nobody reads: %zu B, without filters %zu B\n", bytes, burst);
  EXPECT_LT(bytes, burst / 50);
}

}  // namespace
}  // namespace diot::test
