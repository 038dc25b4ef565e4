#pragma once
// The fuzz targets. Each takes hostile bytes and aborts if what it fuzzes breaks a promise; a crash, a leak, a sanitizer's
// report or an exception that gets out counts as well. A target keeps nothing between two inputs: the same bytes do the
// same in every run. docs/fuzzing.md.

#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.hpp"

namespace diot::fuzz {

/// Inputs to begin with, made by our own encoders.
using Seeds = std::vector<Bytes>;

/// What must hold whatever the input is.
inline void require(bool condition, const char* what, std::source_location at = std::source_location::current()) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken: %s (%s:%u)\n", what, at.file_name(), static_cast<unsigned>(at.line()));
  std::abort();
}

/// Cuts an input into the numbers and parts that a target wants; zeros and nothing once it is used up.
class Input {
 public:
  explicit Input(ByteView bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }
  std::uint8_t u8() {
    const auto one = take(1);
    return one.empty() ? 0 : one[0];
  }
  std::uint16_t u16() {
    const auto high = u8();
    return static_cast<std::uint16_t>(high << 8 | u8());
  }
  ByteView take(std::size_t bytes) {
    const auto out = left_.first(std::min(bytes, left_.size()));
    left_ = left_.subspan(out.size());
    return out;
  }
  ByteView rest() { return take(left_.size()); }

 private:
  ByteView left_;
};

/// `first` and what follows, as seeds of targets that choose by their first byte.
inline Bytes chosen(std::uint8_t first, ByteView rest) {
  Bytes out{first};
  append(out, rest);
  return out;
}

#define DIOT_FUZZ_TARGETS(X) \
  X(packet)                  \
  X(broker)                  \
  X(upstream)                \
  X(websocket)               \
  X(proxy)                   \
  X(passwords)               \
  X(acl)                     \
  X(psk)                     \
  X(scram)                   \
  X(frame)                   \
  X(wire)                    \
  X(batch)                   \
  X(proof)                   \
  X(share)                   \
  X(ledger)                  \
  X(handle_proof)            \
  X(directory)               \
  X(dht_message)             \
  X(dht)                     \
  X(config)                  \
  X(mosquitto)

#define DIOT_FUZZ_DECLARE(name) \
  void name(ByteView input);    \
  Seeds name##_seeds();
DIOT_FUZZ_TARGETS(DIOT_FUZZ_DECLARE)
#undef DIOT_FUZZ_DECLARE

}  // namespace diot::fuzz
