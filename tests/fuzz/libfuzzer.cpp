// One target as a libFuzzer program. With DIOT_FUZZ_SEEDS=FOLDER it writes the target's seeds there instead.

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>

#include "core/crypto.hpp"
#include "tests/fuzz/targets.hpp"

#define DIOT_FUZZ_JOIN(a, b) a##b
#define DIOT_FUZZ_SEEDS_OF(name) DIOT_FUZZ_JOIN(name, _seeds)

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  diot::crypto_init();
  spdlog::set_level(spdlog::level::off);
  GTEST_FLAG_SET(throw_on_failure, true);  // the worlds of tests/ check by ASSERT
  if (const char* folder = std::getenv("DIOT_FUZZ_SEEDS")) {
    std::filesystem::create_directories(folder);
    int number = 0;
    for (const auto& seed : diot::fuzz::DIOT_FUZZ_SEEDS_OF(DIOT_FUZZ_TARGET)()) {
      std::ofstream file(std::string(folder) + "/seed-" + std::to_string(number++), std::ios::binary);
      file << diot::as_text(seed);
    }
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  diot::fuzz::DIOT_FUZZ_TARGET({data, size});
  return 0;
}
