#include "core/crypto.hpp"

#include <gmock/gmock.h>

#include "tests/core/keys.hpp"

namespace diot {
namespace {

using diot::testing::SeededRandom;
using diot::testing::test_key;
using ::testing::HasSubstr;

Bytes hex(std::string_view text) { return from_hex(text).value(); }
NetworkId network_of(std::uint8_t byte) {
  NetworkId out;
  out.bytes.fill(byte);
  return out;
}

// NIST's SHA-256 examples.
TEST(Hashes, Sha256) {
  EXPECT_EQ(sha256(ByteView{}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256(as_bytes("abc")).hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256({as_bytes("a"), ByteView{}, as_bytes("bc")}), sha256(as_bytes("abc")));
}

// The unkeyed value is `b2sum -l 256` of "abc", the keyed one Python's hashlib.blake2b(key=b"k"*32, digest_size=16).
TEST(Hashes, Blake2b) {
  EXPECT_EQ(blake2b(as_bytes("abc")).hex(), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
  EXPECT_EQ(blake2b({as_bytes("ab"), as_bytes("c")}), blake2b(as_bytes("abc")));
  std::array<std::uint8_t, 16> out{};
  blake2b_keyed(out, as_bytes(std::string(32, 'k')), {as_bytes("a"), as_bytes("bc")});
  EXPECT_EQ(to_hex(out), "c741392fb3956d217ba181c601bfd493");
}

// RFC 8032 section 7.1, TEST 1.
TEST(Keys, ComeFromTheirSeedAsInRfc8032) {
  const auto seed = Seed::from(hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")).value();
  EXPECT_EQ(KeyPair::from_seed(seed).public_key().hex(),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
}

TEST(Signatures, CoverKindNetworkAndBytes) {
  const auto key = test_key(1);
  const auto signature = key.sign("entry", network_of(1), as_bytes("hello"));
  EXPECT_TRUE(verify(key.public_key(), signature, "entry", network_of(1), as_bytes("hello")));
  EXPECT_FALSE(verify(key.public_key(), signature, "grant", network_of(1), as_bytes("hello")));
  EXPECT_FALSE(verify(key.public_key(), signature, "entry", network_of(2), as_bytes("hello")));
  EXPECT_FALSE(verify(key.public_key(), signature, "entry", network_of(1), as_bytes("hellp")));
  EXPECT_FALSE(verify(test_key(2).public_key(), signature, "entry", network_of(1), as_bytes("hello")));
}

TEST(Signatures, OfWhichOneBitIsFlippedAreRefused) {
  const auto key = test_key(1);
  const auto signature = key.sign("vote", network_of(1), as_bytes("hello"));
  for (std::size_t bit = 0; bit < signature.size * 8; ++bit) {
    auto flipped = signature;
    flipped.bytes[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    EXPECT_FALSE(verify(key.public_key(), flipped, "vote", network_of(1), as_bytes("hello"))) << "bit " << bit;
  }
}

// A key of small order "signs" anything; libsodium refuses it.
TEST(Signatures, OfAKeyOfSmallOrderAreRefused) {
  PublicKey one;
  one.bytes[0] = 1;
  Signature trivial;
  trivial.bytes[0] = 1;
  EXPECT_FALSE(verify(one, trivial, "entry", network_of(1), as_bytes("hello")));
  EXPECT_FALSE(verify(PublicKey{}, Signature{}, "entry", network_of(1), as_bytes("hello")));
}

TEST(NodeIdDisplay, IsReadBackInAnyCaseAndGrouping) {
  SeededRandom random(7);
  for (int i = 0; i < 100; ++i) {
    const auto node = random.id<NodeId>();
    auto text = to_display(node);
    EXPECT_EQ(text.size(), 63u);
    EXPECT_EQ(node_id_from_display(text), node);
    std::string loose;
    for (char c : text)
      if (c != '-') loose += static_cast<char>(std::tolower(c)), loose += ' ';
    EXPECT_EQ(node_id_from_display(loose), node);
  }
}

TEST(NodeIdDisplay, FindsEveryWrongCharacter) {
  const auto text = to_display(test_key(3).node_id());
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '-') continue;
    auto wrong = text;
    wrong[at] = text[at] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(node_id_from_display(wrong)) << "position " << at;
  }
}

TEST(NodeIdDisplay, SaysWhatIsWrong) {
  const auto text = to_display(test_key(3).node_id());
  EXPECT_THAT(node_id_from_display(text.substr(1)).error().message, HasSubstr("55"));
  EXPECT_THAT(node_id_from_display("").error().message, HasSubstr("0"));
  EXPECT_THAT(node_id_from_display("1" + text.substr(1)).error().message, HasSubstr("'1'"));
  auto wrong = text;
  wrong[0] = text[0] == 'A' ? 'B' : 'A';
  EXPECT_THAT(node_id_from_display(wrong).error().message, HasSubstr("groups 1 and 2"));
}

TEST(Encodings, HexAndBase64urlAreStrict) {
  EXPECT_EQ(to_hex(hex("00FFa5")), "00ffa5");
  EXPECT_FALSE(from_hex("0"));
  EXPECT_FALSE(from_hex("0g"));
  EXPECT_EQ(to_base64url(hex("fbff")), "-_8");
  EXPECT_EQ(from_base64url("-_8"), hex("fbff"));
  EXPECT_FALSE(from_base64url("-_8="));
  EXPECT_FALSE(from_base64url("-_9"));  // set bits behind the last byte
  EXPECT_FALSE(from_base64url("+/8"));
  EXPECT_EQ(from_base64url(""), Bytes{});
}

}  // namespace
}  // namespace diot
