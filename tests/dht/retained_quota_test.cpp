// How much of another home's retained values a home keeps (docs/operations.md, "What a home keeps").

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using namespace std::chrono_literals;

/// bob reads what alice and carol share.
struct RetainedQuota : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  Home& carol = world.join("carol", alice);
  static constexpr std::size_t bytes_max = limits::retained_bytes_max / 10;
  static constexpr const char* refused = "retained values beyond their handle's quota";

  void SetUp() override {
    for (Home* home : {&alice, &carol}) {
      ASSERT_TRUE(home->overlay->own().add("cams/#", Preset::public_));
      home->turn.touch();
    }
    for (const char* filter : {"@alice/cams/#", "@carol/cams/#"}) world.subscribe_durably(bob, filter);
    world.pass(20s);
  }
  /// More than any other home may have at bob; each counts twice there, as its message and its proof.
  void alice_retains_too_much() {
    for (std::size_t sent = 0; sent < bytes_max; sent += 1 << 19) {
      alice.publish("cams/" + std::to_string(sent), std::string(1 << 19, 'x'), Qos::at_least_once, true);
      world.run();
    }
  }
  bool holds(const std::string& topic) { return bob.retained->find(topic) != nullptr; }
};

TEST_F(RetainedQuota, KeepsNoMoreOfAnotherHome) {
  alice_retains_too_much();
  EXPECT_LE(bob.retained->use().bytes, bytes_max);
  EXPECT_GT(bob.retained->use().bytes, bytes_max / 2);
  EXPECT_GT(bob.overlay->counters().at(refused), 0u);
  carol.publish("cams/door", "x", Qos::at_least_once, true);
  world.run();
  EXPECT_TRUE(holds("@carol/cams/door"));
}

TEST_F(RetainedQuota, CountsWhatIsAheadOfItsTime) {
  for (Home* home : {&alice, &carol}) home->clock->ahead_ms = 3'600'000;
  alice_retains_too_much();
  carol.publish("cams/door", "x", Qos::at_least_once, true);
  world.run();
  EXPECT_EQ(bob.retained->size(), 0u);
  EXPECT_LE(bob.retained->use().bytes, bytes_max);
  EXPECT_GT(bob.retained->use().bytes, bytes_max / 2);
  EXPECT_GT(bob.overlay->counters().at(refused), 0u);
  world.clock.now_ms += 3'600'000;
  world.pass(2s);
  EXPECT_TRUE(holds("@carol/cams/door"));
  EXPECT_LE(bob.retained->use().bytes, bytes_max);
  EXPECT_GT(bob.retained->size(), 10u);
}

}  // namespace
}  // namespace diot::test
