#include "dht/sealed_datagram.hpp"

#include <gtest/gtest.h>

#include "tests/core/keys.hpp"

namespace diot {
namespace {

using testing::ConstantRandom;
using testing::SeededRandom;

DhtKey key(std::uint8_t byte = 1, std::uint32_t epoch = 3) {
  DhtKey out{epoch, {}};
  out.key.bytes.fill(byte);
  return out;
}

Bytes sealed_with(const DhtKey& with, std::string_view plain) {
  SeededRandom random(5);
  Bytes out;
  seal_datagram(with, random, as_bytes(plain), out);
  return out;
}

TEST(SealedDatagram, OpensWithTheSameKeyOnly) {
  const auto datagram = sealed_with(key(), "hello");
  EXPECT_EQ(datagram.size(), 5 + sealed::overhead_bytes);
  Bytes plain;
  ASSERT_TRUE(open_datagram(key(), datagram, plain));
  EXPECT_EQ(as_text(plain), "hello");
  EXPECT_FALSE(open_datagram(key(2), datagram, plain));
  EXPECT_FALSE(open_datagram(key(1, 4), datagram, plain));
}

TEST(SealedDatagram, MayBeEmpty) {
  Bytes plain{1, 2, 3};
  ASSERT_TRUE(open_datagram(key(), sealed_with(key(), ""), plain));
  EXPECT_TRUE(plain.empty());
}

TEST(SealedDatagram, IsRefusedChangedOrCutOff) {
  const auto datagram = sealed_with(key(), "hello");
  Bytes plain;
  for (std::size_t i = 0; i < datagram.size(); ++i) {
    auto changed = datagram;
    changed[i] ^= 1;
    EXPECT_FALSE(open_datagram(key(), changed, plain)) << i;
    EXPECT_FALSE(open_datagram(key(), ByteView(datagram).first(i), plain)) << i;
  }
}

TEST(SealedDatagram, HasTheDocumentedBytes) {
  ConstantRandom random(0x22);
  Bytes datagram;
  seal_datagram(key(0x11, 0x01020304), random, as_bytes("diot"), datagram);
  EXPECT_EQ(to_hex(datagram),
            "0101020304222222222222222222222222222222222222222222222222e70e88789b58711ca428af5043f78bac3efd14d0");
}

}  // namespace
}  // namespace diot
