#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "tests/sim/dht_world.hpp"
#include "tests/sim/library_world.hpp"

namespace diot::sim {
namespace {

DhtReport run(std::uint64_t seed, DhtSabotage sabotage = DhtSabotage::none, std::size_t homes = 0) {
  DhtOptions options;
  options.seed = seed;
  options.homes = homes;
  options.sabotage = sabotage;
  return DhtWorld(options).run();
}

std::string text_of(const DhtReport& report) {
  std::string out = "again: tools/sim --dht --seed " + std::to_string(report.seed) + " --verbose\n";
  for (const auto& violation : report.violations)
    out += std::to_string(violation.when.count() / 1000) + " ms  " + std::string(name_of(violation.invariant)) + ": " +
           violation.what + "\n";
  return out;
}

class DhtSeeds : public testing::TestWithParam<std::uint64_t> {};

TEST_P(DhtSeeds, EveryHomeFindsEveryOtherAfterTheHeal) {
  std::uint64_t finds = 0;
  for (std::uint64_t seed = GetParam(); seed < GetParam() + 3; ++seed) {
    const DhtReport report = run(seed);
    EXPECT_TRUE(report.violations.empty()) << text_of(report);
    finds += report.finds;
  }
  EXPECT_GT(finds, 50u);
}
INSTANTIATE_TEST_SUITE_P(Simulation, DhtSeeds, testing::Range<std::uint64_t>(1, 10, 3));

TEST(DhtWorld, RepeatsItself) {
  const DhtReport first = run(7), second = run(7);
  EXPECT_EQ(first.hash, second.hash);
  EXPECT_EQ(first.steps, second.steps);
  EXPECT_NE(first.hash, run(8).hash);
}

struct BrokenDht {
  DhtSabotage sabotage;
  DhtInvariant caught_as;
};
class DhtCheckers : public testing::TestWithParam<BrokenDht> {};

TEST_P(DhtCheckers, SeeABrokenRule) {
  const DhtReport report = run(1, GetParam().sabotage, 3);
  EXPECT_TRUE(std::ranges::any_of(report.violations, [](const auto& violation) {
    return violation.invariant == GetParam().caught_as;
  })) << text_of(report);
}
INSTANTIATE_TEST_SUITE_P(Simulation, DhtCheckers,
                         testing::Values(BrokenDht{DhtSabotage::other_key, DhtInvariant::sealed},
                                         BrokenDht{DhtSabotage::leak_key, DhtInvariant::stranger},
                                         BrokenDht{DhtSabotage::deafen, DhtInvariant::found},
                                         BrokenDht{DhtSabotage::trust_clock, DhtInvariant::renewed},
                                         BrokenDht{DhtSabotage::misquote, DhtInvariant::true_},
                                         BrokenDht{DhtSabotage::forget_find, DhtInvariant::done},
                                         BrokenDht{DhtSabotage::ask_nobody, DhtInvariant::joined}),
                         [](const auto& test) { return std::string(name_of(test.param.sabotage)); });

TEST(DhtWorld, IsContentWithoutFaults) {
  DhtOptions options;
  options.homes = 3;
  options.faults = false;
  const DhtReport report = DhtWorld(options).run();
  EXPECT_TRUE(report.violations.empty()) << text_of(report);
}

TEST(LibraryWorld, IsWhatLibrariesReadWhileItLives) {
  struct Stopped final : Clock {
    Monotonic monotonic() const override { return Monotonic(std::chrono::seconds(5)); }
    WallMs wall_ms() const override { return 7'000; }
  } clock;
  Chance chance(1), same(1);
  const auto before = std::chrono::system_clock::now();
  {
    const LibraryWorld world(clock, chance);
    EXPECT_EQ(std::chrono::steady_clock::now(), clock.monotonic());
    EXPECT_EQ(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now()), 7);
    EXPECT_EQ(std::random_device()(), static_cast<unsigned>(same.next()));
  }
  EXPECT_GE(std::chrono::system_clock::now(), before);
  EXPECT_NE(std::chrono::steady_clock::now(), clock.monotonic());
  EXPECT_NE(std::random_device()(), std::random_device()());
}

}  // namespace
}  // namespace diot::sim
