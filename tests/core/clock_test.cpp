#include "core/clock.hpp"

#include <gtest/gtest.h>

namespace diot {
namespace {

struct FakeClock final : Clock {
  Monotonic monotonic() const override { return Monotonic{} + std::chrono::milliseconds(up_ms); }
  WallMs wall_ms() const override { return now_ms; }
  void pass(WallMs ms) {
    up_ms += ms;
    now_ms += ms;
  }
  WallMs up_ms = 5'000;
  WallMs now_ms = 0;
};

constexpr WallMs year_2026 = 1'767'225'600'000;

TEST(HomeClock, IsTheSystemsWhileNothingSpeaksAgainstIt) {
  FakeClock system;
  system.now_ms = year_2026;
  HomeClock clock(system);
  clock.not_before(year_2026 - 1);
  EXPECT_TRUE(clock.sure());
  EXPECT_EQ(clock.wall_ms(), year_2026);
}

TEST(HomeClock, RunsOnFromWhatIsKnownWhenTheGatewayBootsIn1970) {
  FakeClock system;
  HomeClock clock(system);
  clock.not_before(year_2026);
  EXPECT_FALSE(clock.sure());
  EXPECT_EQ(clock.wall_ms(), year_2026);
  system.pass(90'000);
  EXPECT_EQ(clock.wall_ms(), year_2026 + 90'000);
  clock.not_before(year_2026 + 50'000);
  EXPECT_EQ(clock.wall_ms(), year_2026 + 90'000) << "older knowledge changes nothing";
  system.now_ms = year_2026 + 3'600'000;  // the time server was reached
  EXPECT_TRUE(clock.sure());
  EXPECT_EQ(clock.wall_ms(), year_2026 + 3'600'000);
}

TEST(HomeClock, FollowsASystemThatIsSetBackToTheRightTime) {
  FakeClock system;
  system.now_ms = year_2026 + 7'200'000;
  HomeClock clock(system);
  clock.not_before(year_2026);
  system.now_ms = year_2026 + 3'600'000;
  EXPECT_TRUE(clock.sure());
  EXPECT_EQ(clock.wall_ms(), year_2026 + 3'600'000);
}

TEST(HomeClock, HoldsThingsAsLongWhateverIsDoneToTheWallClock) {
  FakeClock system;
  system.now_ms = year_2026;
  HomeClock clock(system);
  const auto before = clock.held_ms();
  system.pass(10'000);
  system.now_ms += 20ull * 24 * 3'600'000;
  EXPECT_EQ(clock.held_ms(), before + 10'000);
  system.now_ms -= 30ull * 24 * 3'600'000;
  system.pass(5'000);
  EXPECT_EQ(clock.held_ms(), before + 15'000);
}

TEST(HomeClock, HoldsThingsAlsoWhileTheProgramIsStopped) {
  FakeClock system;
  system.now_ms = year_2026;
  const auto held_after_a_stop = [&](WallMs stopped_at) {
    HomeClock clock(system);
    clock.not_before(stopped_at);
    clock.resume_held(1'000'000, stopped_at);
    system.pass(500);
    return clock.held_ms();
  };
  EXPECT_EQ(held_after_a_stop(year_2026 - 7'000), 1'007'500u);
  system.now_ms = year_2026;
  EXPECT_EQ(held_after_a_stop(year_2026 + 3'600'000), 1'000'500u) << "a clock that is behind cannot say how long";
}

TEST(HybridClock, RisesWhateverTheWallClockDoes) {
  FakeClock system;
  system.now_ms = year_2026;
  HybridClock clock(system);
  const auto first = clock.next();
  system.now_ms = year_2026 - 3'600'000;
  const auto second = clock.next();
  EXPECT_GT(second, first);
  EXPECT_EQ(wall_of(second), year_2026);
  clock.merge(hybrid_from(system.now_ms + 61'000));
  EXPECT_EQ(clock.last(), second) << "nobody drags it more than a minute ahead";
}

}  // namespace
}  // namespace diot
