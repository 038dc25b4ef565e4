#pragma once
// Signs what a fuzzer made, so that what lies behind the check of a signature is reached too.

#include "core/crypto.hpp"
#include "tests/core/keys.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

inline const KeyPair& signer() {
  static const KeyPair key = testing::test_key(1);
  return key;
}
inline NetworkId network() { return NetworkId(Hash::from(Bytes(32, 9))->bytes); }

inline void overwrite(Bytes& bytes, std::size_t at, ByteView with) {
  std::ranges::copy(with, bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace diot::fuzz
