#pragma once
// Keys, signatures and hashes, and the source of randomness. Suite 1: Ed25519, SHA-256, BLAKE2b-256.

#include <initializer_list>
#include <string_view>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

/// The algorithm byte of everything signed here (docs/protocol.md, "Suites").
inline constexpr std::uint8_t suite_1 = 1;

/// Randomness comes in from outside, so that a simulation with one seed repeats itself.
class Random {
 public:
  virtual ~Random() = default;
  virtual void fill(std::span<std::uint8_t> out) = 0;

  template <class Id>
  Id id() {
    Id out;
    fill(out.bytes);
    return out;
  }
  std::uint64_t u64() {
    std::uint64_t out = 0;
    fill({reinterpret_cast<std::uint8_t*>(&out), sizeof out});
    return out;
  }
};

/// libsodium's generator.
class SystemRandom final : public Random {
 public:
  void fill(std::span<std::uint8_t> out) override;
};

/// Must run before anything below; aborts if libsodium cannot start. Any number of times, from any thread.
void crypto_init();

Hash sha256(ByteView bytes);
Hash sha256(std::initializer_list<ByteView> parts);
Hash blake2b(ByteView bytes);
Hash blake2b(std::initializer_list<ByteView> parts);
/// Keyed BLAKE2b; `key` has 16 to 64 bytes, `out` 16 to 64.
void blake2b_keyed(std::span<std::uint8_t> out, ByteView key, std::initializer_list<ByteView> parts);

using Seed = FixedBytes<struct SeedTag, 32>;

/// An Ed25519 key pair. The secret half is wiped when it goes.
class KeyPair {
 public:
  static KeyPair from_seed(const Seed& seed);
  static KeyPair generate(Random& random) { return from_seed(random.id<Seed>()); }
  ~KeyPair();
  KeyPair(const KeyPair&) = default;
  KeyPair& operator=(const KeyPair&) = default;

  const PublicKey& public_key() const { return public_; }
  NodeId node_id() const { return NodeId(public_.bytes); }
  const Seed& seed() const { return seed_; }

  /// Signs "diot/<kind>/v1" ‖ network ‖ the parts, e.g. kind = "batch".
  Signature sign(std::string_view kind, const NetworkId& network, ByteView bytes) const;

 private:
  KeyPair() = default;
  Seed seed_;
  PublicKey public_;
  std::array<std::uint8_t, 64> secret_{};
};

/// The counterpart of KeyPair::sign. False on any malformed key or signature too.
bool verify(const PublicKey& key, const Signature& signature, std::string_view kind, const NetworkId& network,
            ByteView bytes);
inline PublicKey key_of(const NodeId& node) { return PublicKey(node.bytes); }

/// The node id as people read and type it: base32 in groups of seven, a Luhn mod 32 check character every 13
/// characters, e.g. "ABCDEFG-…". 63 characters.
std::string to_display(const NodeId& node);
/// Ignores case, hyphens and blanks. Errc::invalid names the group whose check character is wrong.
Result<NodeId> node_id_from_display(std::string_view text);

}  // namespace diot
