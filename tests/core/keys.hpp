#pragma once
// Keys and randomness that are the same in every run.

#include <cstdint>

#include "core/crypto.hpp"

namespace diot::testing {

/// A repeatable stream of bytes per seed.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
  void fill(std::span<std::uint8_t> out) override {
    for (auto& byte : out) {  // SplitMix64
      std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
      z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
      z = (z ^ z >> 27) * 0x94d049bb133111eb;
      byte = static_cast<std::uint8_t>(z ^ z >> 31);
    }
  }

 private:
  std::uint64_t state_;
};

/// The same byte for ever.
class ConstantRandom final : public Random {
 public:
  explicit ConstantRandom(std::uint8_t byte) : byte_(byte) {}
  void fill(std::span<std::uint8_t> out) override { std::ranges::fill(out, byte_); }

 private:
  std::uint8_t byte_;
};

/// Key pair number `n`: its seed is `n`, big-endian, behind zeros.
inline KeyPair test_key(std::uint64_t n) {
  Seed seed;
  for (std::size_t i = 0; i < 8; ++i) seed.bytes[31 - i] = static_cast<std::uint8_t>(n >> 8 * i);
  return KeyPair::from_seed(seed);
}

}  // namespace diot::testing
