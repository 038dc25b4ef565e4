#include "dht/directory.hpp"

#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "tests/core/keys.hpp"

namespace diot {
namespace {

using testing::SeededRandom;
using testing::test_key;

NetworkId network() { return SeededRandom(7).id<NetworkId>(); }

DirectoryRecord node_record(const KeyPair& key, std::uint64_t seq = 1) {
  DirectoryRecord out;
  out.subject = to_bytes(key.node_id());
  out.seq = seq;
  out.body = to_bytes("addresses");
  return out;
}

DirectoryRecord catalogue_record(std::string_view handle, std::size_t body_bytes = 10) {
  DirectoryRecord out;
  out.kind = DirectoryKind::catalogue;
  out.subject = to_bytes(handle);
  out.seq = 1'700'000'000'000;
  out.body.assign(body_bytes, 0x5a);
  return out;
}

TEST(DirectoryRecord, ComesBackAsItWasWritten) {
  const auto key = test_key(1);
  const auto decoded =
      decode_directory_record(encode_directory_record(catalogue_record("alice"), key, network()), network());
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(decoded->kind, DirectoryKind::catalogue);
  EXPECT_EQ(as_text(decoded->subject), "alice");
  EXPECT_EQ(decoded->signer, key.node_id());
  EXPECT_EQ(decoded->seq, 1'700'000'000'000);
  EXPECT_EQ(decoded->body, catalogue_record("alice").body);
}

TEST(DirectoryRecord, HasTheDocumentedBytes) {
  const auto key = test_key(1);
  const auto bytes = encode_directory_record(node_record(key, 258), key, NetworkId());
  const auto id = to_hex(key.node_id());
  EXPECT_EQ(to_hex(ByteView(bytes).first(bytes.size() - 64)),
            "970101"
            "01"
            "c420" +
                id + "c420" + id +
                "cd0102"
                "c409" +
                to_hex(as_bytes("addresses")));
}

TEST(DirectoryRecord, IsRefusedWithAnyBitChanged) {
  const auto bytes = encode_directory_record(catalogue_record("alice"), test_key(1), network());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto changed = bytes;
      changed[i] ^= static_cast<std::uint8_t>(1 << bit);
      EXPECT_FALSE(decode_directory_record(changed, network())) << "byte " << i << " bit " << bit;
    }
  }
}

TEST(DirectoryRecord, IsRefusedCutOffOrWithMoreBehindIt) {
  auto bytes = encode_directory_record(catalogue_record("alice"), test_key(1), network());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_directory_record(ByteView(bytes).first(size), network())) << size;
  bytes.push_back(0);
  EXPECT_FALSE(decode_directory_record(bytes, network()));
}

TEST(DirectoryRecord, CountsInItsNetworkOnly) {
  const auto bytes = encode_directory_record(catalogue_record("alice"), test_key(1), network());
  EXPECT_FALSE(decode_directory_record(bytes, NetworkId()));
}

TEST(DirectoryRecord, OfANodeIsSignedByThatNode) {
  const auto bytes = encode_directory_record(node_record(test_key(1)), test_key(2), network());
  const auto decoded = decode_directory_record(bytes, network());
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, Errc::invalid);
}

TEST(DirectoryRecord, OfAnUnknownVersionOrKindIsNotAvailable) {
  const auto key = test_key(1);
  auto record = catalogue_record("alice");
  record.kind = static_cast<DirectoryKind>(9);
  auto decoded = decode_directory_record(encode_directory_record(record, key, network()), network());
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, Errc::not_available);

  auto bytes = encode_directory_record(catalogue_record("alice"), key, network());
  bytes[1] = 2;
  decoded = decode_directory_record(bytes, network());
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, Errc::not_available);
}

TEST(DirectoryRecord, HasALimit) {
  const auto key = test_key(1);
  const auto overhead = encode_directory_record(catalogue_record("alice", 0x200), key, network()).size() - 0x200;
  const auto fits = limits::directory_record_bytes_max - overhead;
  EXPECT_TRUE(
      decode_directory_record(encode_directory_record(catalogue_record("alice", fits), key, network()), network()));
  const auto decoded =
      decode_directory_record(encode_directory_record(catalogue_record("alice", fits + 1), key, network()), network());
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, Errc::limit);
}

}  // namespace
}  // namespace diot
