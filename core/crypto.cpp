#include "core/crypto.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <sodium.h>

#include <memory>

namespace diot {

void crypto_init() { expect(sodium_init() >= 0, "libsodium cannot start"); }

void SystemRandom::fill(std::span<std::uint8_t> out) { randombytes_buf(out.data(), out.size()); }

// OpenSSL's SHA-256 is six times as fast as libsodium's where the processor has SHA instructions (docs/performance.md).
Hash sha256(std::initializer_list<ByteView> parts) {
  static thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                                            &EVP_MD_CTX_free);
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  Hash out;
  bool ok = EVP_DigestInit_ex2(context.get(), algorithm, nullptr) == 1;
  for (auto part : parts) ok = ok && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  expect(ok && EVP_DigestFinal_ex(context.get(), out.bytes.data(), nullptr) == 1, "SHA-256 failed");
  return out;
}
Hash sha256(ByteView bytes) { return sha256({bytes}); }

static void blake2b_parts(std::span<std::uint8_t> out, ByteView key, std::initializer_list<ByteView> parts) {
  crypto_generichash_state state;
  crypto_generichash_init(&state, key.data(), key.size(), out.size());
  for (auto part : parts) crypto_generichash_update(&state, part.data(), part.size());
  crypto_generichash_final(&state, out.data(), out.size());
}
Hash blake2b(std::initializer_list<ByteView> parts) {
  Hash out;
  blake2b_parts(out.bytes, {}, parts);
  return out;
}
Hash blake2b(ByteView bytes) { return blake2b({bytes}); }
void blake2b_keyed(std::span<std::uint8_t> out, ByteView key, std::initializer_list<ByteView> parts) {
  expect(key.size() >= 16 && key.size() <= 64 && out.size() >= 16 && out.size() <= 64, "BLAKE2b key or output size");
  blake2b_parts(out, key, parts);
}

KeyPair KeyPair::from_seed(const Seed& seed) {
  KeyPair out;
  out.seed_ = seed;
  crypto_sign_seed_keypair(out.public_.bytes.data(), out.secret_.data(), seed.bytes.data());
  return out;
}

KeyPair::~KeyPair() {
  sodium_memzero(secret_.data(), secret_.size());
  sodium_memzero(seed_.bytes.data(), seed_.bytes.size());
}

static Bytes signed_form(std::string_view kind, const NetworkId& network, ByteView bytes) {
  Bytes out;
  out.reserve(kind.size() + 8 + network.size + bytes.size());
  append(out, as_bytes("diot/"));
  append(out, as_bytes(kind));
  append(out, as_bytes("/v1"));
  append(out, network);
  append(out, bytes);
  return out;
}

Signature KeyPair::sign(std::string_view kind, const NetworkId& network, ByteView bytes) const {
  const Bytes message = signed_form(kind, network, bytes);
  Signature out;
  crypto_sign_detached(out.bytes.data(), nullptr, message.data(), message.size(), secret_.data());
  return out;
}

bool verify(const PublicKey& key, const Signature& signature, std::string_view kind, const NetworkId& network,
            ByteView bytes) {
  const Bytes message = signed_form(kind, network, bytes);
  return crypto_sign_verify_detached(signature.bytes.data(), message.data(), message.size(), key.bytes.data()) == 0;
}

// RFC 4648 base32 alphabet.
static constexpr std::string_view base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Luhn mod N check character over base32 digits: catches every single wrong digit and nearly every swap of two.
static char luhn_check(std::string_view digits) {
  unsigned sum = 0, factor = 2;
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit) {
    const unsigned addend = factor * static_cast<unsigned>(base32.find(*digit));
    sum += addend / 32 + addend % 32;
    factor = 3 - factor;
  }
  return base32[(32 - sum % 32) % 32];
}

std::string to_display(const NodeId& node) {
  std::string digits;
  unsigned buffer = 0, bits = 0;
  for (auto byte : node.bytes) {
    buffer = buffer << 8 | byte;
    for (bits += 8; bits >= 5; bits -= 5) digits += base32[buffer >> (bits - 5) & 31];
  }
  digits += base32[buffer << (5 - bits) & 31];  // 256 bits: 51 digits and one bit
  std::string checked;
  for (std::size_t part = 0; part < 4; ++part) {
    const std::string chunk = digits.substr(part * 13, 13);
    checked += chunk + luhn_check(chunk);
  }
  std::string out;
  for (std::size_t at = 0; at < checked.size(); at += 7) out += (at ? "-" : "") + checked.substr(at, 7);
  return out;
}

Result<NodeId> node_id_from_display(std::string_view text) {
  std::string checked;
  for (char c : text) {
    if (c == '-' || c == ' ') continue;
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (base32.find(c) == base32.npos)
      return fail(Errc::invalid, fmt::format("'{}' cannot be in a node id; copy it again from `diot status`", c));
    checked += c;
  }
  if (checked.size() != 56)
    return fail(Errc::invalid, fmt::format("a node id has 56 letters and digits, this one {}", checked.size()));
  NodeId out;
  unsigned buffer = 0, bits = 0;
  std::size_t written = 0;
  for (std::size_t part = 0; part < 4; ++part) {
    const auto chunk = std::string_view(checked).substr(part * 14, 13);
    if (luhn_check(chunk) != checked[part * 14 + 13])
      return fail(Errc::invalid,
                  fmt::format("node id: a typing error in groups {} and {}", part * 2 + 1, part * 2 + 2));
    for (char c : chunk) {
      buffer = buffer << 5 | static_cast<unsigned>(base32.find(c));
      if ((bits += 5) < 8) continue;
      bits -= 8;
      if (written < out.bytes.size()) out.bytes[written++] = static_cast<std::uint8_t>(buffer >> bits);
    }
  }
  if ((buffer & ((1u << bits) - 1)) != 0) return fail(Errc::invalid, "node id: the last group is not canonical");
  return out;
}

}  // namespace diot
