#include "bridge/scram.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stringprep.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace diot {

namespace {

using Digest = std::array<std::uint8_t, 32>;

Digest hmac(ByteView key, ByteView bytes) {
  Digest out;
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, key.data(), key.size());
  crypto_auth_hmacsha256_update(&state, bytes.data(), bytes.size());
  crypto_auth_hmacsha256_final(&state, out.data());
  return out;
}

/// Cuts "x=value" off the front, with the comma behind it; nullopt if it has another name.
std::optional<std::string_view> take_attribute(std::string_view& text, char name) {
  if (text.size() < 2 || text[0] != name || text[1] != '=') return std::nullopt;
  const auto comma = text.find(',');
  const auto value = text.substr(2, comma == text.npos ? text.npos : comma - 2);
  text = comma == text.npos ? std::string_view() : text.substr(comma + 1);
  return value;
}

/// "=2C" is a comma and "=3D" an equals sign in a name (RFC 5802 section 5.1); any other '=' is an error.
std::optional<std::string> unescape_name(std::string_view name) {
  std::string out;
  for (std::size_t at = 0; at < name.size(); ++at) {
    if (name[at] != '=') {
      out += name[at];
      continue;
    }
    const auto code = name.substr(at + 1, 2);
    if (code != "2C" && code != "3D") return std::nullopt;
    out += code == "2C" ? ',' : '=';
    at += 2;
  }
  if (out.empty()) return std::nullopt;
  return out;
}

tl::unexpected<Error> malformed(const char* what) { return fail(Errc::invalid, fmt::format("SCRAM: {}", what)); }

}  // namespace

Result<std::string> saslprep(std::string_view text, SaslKind kind) {
  const auto is_plain = [](char c) { return c >= 0x20 && c < 0x7F; };
  if (!text.empty() && std::ranges::all_of(text, is_plain)) return std::string(text);
  // The library grows its buffer by little steps: what expands must be short.
  constexpr std::size_t bytes_max = 1024;
  if (text.size() > bytes_max) return fail(Errc::limit, fmt::format("SCRAM: a text of more than {} bytes", bytes_max));
  if (text.find('\0') != text.npos) return malformed("U+0000 in a text");
  char* prepared = nullptr;
  const int code = stringprep_profile(std::string(text).c_str(), &prepared, "SASLprep",
                                      kind == SaslKind::kept ? STRINGPREP_NO_UNASSIGNED : Stringprep_profile_flags{});
  const std::unique_ptr<char, decltype(&std::free)> owner(prepared, &std::free);
  if (code != STRINGPREP_OK) return malformed(stringprep_strerror(static_cast<Stringprep_rc>(code)));
  if (!prepared || *prepared == '\0') return malformed("nothing is left of a text");
  return std::string(prepared);
}

ScramCredentials make_scram_credentials(std::string_view password, ByteView salt, std::uint32_t iterations) {
  ScramCredentials out;
  out.salt = to_bytes(salt);
  out.iterations = iterations;
  Digest salted;
  const int done =
      PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), salt.data(), static_cast<int>(salt.size()),
                        static_cast<int>(iterations), EVP_sha256(), static_cast<int>(salted.size()), salted.data());
  expect(done == 1, "PBKDF2 failed");
  out.stored_key = sha256(hmac(salted, as_bytes("Client Key"))).bytes;
  out.server_key = hmac(salted, as_bytes("Server Key"));
  sodium_memzero(salted.data(), salted.size());
  return out;
}

std::string ScramServer::make_nonce(Random& random) {
  std::array<std::uint8_t, 18> bytes;  // a multiple of three: no padding in base64
  random.fill(bytes);
  return to_base64(bytes);
}

Result<std::string> ScramServer::begin(ByteView client_first) {
  const std::string_view whole = as_text(client_first);
  std::string_view rest = whole;
  if (rest.starts_with("p=")) return fail(Errc::not_available, "SCRAM: channel binding is not offered here");
  if (!rest.starts_with("n,") && !rest.starts_with("y,")) return malformed("the first message has no header");
  rest.remove_prefix(2);
  const auto header_end = rest.find(',');
  if (header_end == rest.npos) return malformed("the first message ends within its header");
  std::string_view acts_as = rest.substr(0, header_end);
  rest.remove_prefix(header_end + 1);
  header_ = whole.substr(0, whole.size() - rest.size());
  client_first_bare_ = rest;
  if (rest.starts_with("m=")) return fail(Errc::not_available, "SCRAM: an extension that is not known here");
  const auto name = take_attribute(rest, 'n');
  const auto user = name ? unescape_name(*name) : std::nullopt;
  const auto nonce = take_attribute(rest, 'r');
  if (!user || !nonce || nonce->empty()) return malformed("the first message lacks a user name or a nonce");
  if (!acts_as.empty() && (!acts_as.starts_with("a=") || unescape_name(acts_as.substr(2)) != user))
    return fail(Errc::not_permitted, "SCRAM: nobody may act as another user here");
  auto prepared = saslprep(*user, SaslKind::sent);
  if (prepared) nonce_.insert(0, *nonce);
  return prepared;
}

Bytes ScramServer::challenge(const ScramCredentials& credentials) {
  credentials_ = credentials;
  server_first_ = fmt::format("r={},s={},i={}", nonce_, to_base64(credentials.salt), credentials.iterations);
  return to_bytes(server_first_);
}

Result<Bytes> ScramServer::finish(ByteView client_final) {
  std::string_view rest = as_text(client_final);
  const auto proof_at = rest.rfind(",p=");
  if (proof_at == rest.npos) return malformed("the final message has no proof");
  const auto proof = from_base64(rest.substr(proof_at + 3));
  const std::string without_proof(rest.substr(0, proof_at));
  const auto binding = take_attribute(rest, 'c');
  const auto nonce = take_attribute(rest, 'r');
  if (!proof || proof->size() != Digest().size() || !binding || !nonce)
    return malformed("the final message is malformed");
  if (*binding != to_base64(as_bytes(header_)) || *nonce != nonce_)
    return fail(Errc::not_permitted, "SCRAM: the final message belongs to another exchange");
  const std::string all = client_first_bare_ + "," + server_first_ + "," + without_proof;
  Digest client_key = hmac(credentials_.stored_key, as_bytes(all));
  for (std::size_t at = 0; at < client_key.size(); ++at) client_key[at] ^= (*proof)[at];
  const Digest stored_key = sha256(client_key).bytes;
  if (sodium_memcmp(stored_key.data(), credentials_.stored_key.data(), stored_key.size()) != 0)
    return fail(Errc::not_permitted, "SCRAM: the password is wrong");
  return to_bytes("v=" + to_base64(hmac(credentials_.server_key, as_bytes(all))));
}

}  // namespace diot
