// The fuzz targets without a fuzzer: the seeds, what was found once (findings/<target>/), and a few thousand changes of the
// seeds that are the same in every run. So the targets never rot, and what was mended stays so.

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "core/crypto.hpp"
#include "tests/core/keys.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {
namespace {

struct Target {
  const char* name;
  void (*run)(ByteView input);
  Seeds (*seeds)();
};
constexpr Target targets[] = {
#define DIOT_FUZZ_ROW(name) {#name, name, name##_seeds},
    DIOT_FUZZ_TARGETS(DIOT_FUZZ_ROW)
#undef DIOT_FUZZ_ROW
};
void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

class Fuzz : public ::testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    crypto_init();
    spdlog::set_level(spdlog::level::off);
  }
};

TEST_P(Fuzz, TakesItsSeeds) {
  const auto seeds = GetParam().seeds();
  ASSERT_FALSE(seeds.empty());
  for (const auto& seed : seeds) GetParam().run(seed);
  GetParam().run({});
}

TEST_P(Fuzz, TakesWhatWasFoundOnce) {
  const std::filesystem::path folder = std::string(DIOT_SOURCE_DIR "/tests/fuzz/findings/") + GetParam().name;
  if (!std::filesystem::exists(folder)) return;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    const Bytes input{std::istreambuf_iterator<char>(file), {}};
    ASSERT_FALSE(input.empty()) << entry.path();
    GetParam().run(input);
  }
}

TEST_P(Fuzz, TakesSeedsThatWereBent) {
  testing::SeededRandom random(5);
  const auto seeds = GetParam().seeds();
  for (int round = 0; round < 300; ++round) {
    Bytes bent = seeds[random.u64() % seeds.size()];
    for (auto changes = 1 + random.u64() % 3; changes > 0 && !bent.empty(); --changes)
      bent[random.u64() % bent.size()] = static_cast<std::uint8_t>(random.u64());
    if (random.u64() % 4 == 0) bent.resize(random.u64() % (bent.size() + 1));
    if (random.u64() % 8 == 0) append(bent, seeds[random.u64() % seeds.size()]);
    GetParam().run(bent);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, ::testing::ValuesIn(targets),
                         [](const auto& target) { return std::string(target.param.name); });

/// What a target requires is checked: the test must be able to fail.
TEST(FuzzDeathTest, ABrokenPromiseAborts) { EXPECT_DEATH(require(false, "a promise"), "fuzz: broken: a promise"); }

}  // namespace
}  // namespace diot::fuzz
