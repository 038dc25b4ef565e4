#include "bridge/password_file.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <charconv>

#include "bridge/scram.hpp"
#include "core/limits.hpp"
#include "core/text.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

/// About 30 ms here, 150 ms on a small gateway, once per user and start: what was verified is remembered. mosquitto's
/// own files have 101.
constexpr std::uint32_t new_iterations = 50'000;
constexpr std::uint32_t scram_iterations = 8192;  // RFC 7677 asks for 4096 at least; the client pays each time
constexpr std::size_t new_salt_bytes = 12;        // mosquitto 2.0 takes no other
constexpr std::size_t scram_salt_bytes = 16;
constexpr std::size_t sha512_bytes = 64;
constexpr std::size_t sha256_bytes = 32;
constexpr std::size_t salt_bytes_max = 1024;

/// RFC 4648 section 4, with its padding.
std::optional<Bytes> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0 || text.size() > 4 * salt_bytes_max) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  if (text.substr(0, text.size() - padding).find('=') != text.npos) return std::nullopt;
  if (text.find_first_of(" \t\r\n-") != text.npos) return std::nullopt;  // which OpenSSL would skip
  Bytes out(text.size() / 4 * 3);
  const int size = EVP_DecodeBlock(out.data(), as_bytes(text).data(), static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  out.resize(out.size() - padding);
  return out;
}

Bytes hash_of(int kind, std::uint32_t iterations, ByteView salt, ByteView password) {
  Bytes out(sha512_bytes);
  if (kind == 7) {
    PKCS5_PBKDF2_HMAC(reinterpret_cast<const char*>(password.data()), static_cast<int>(password.size()), salt.data(),
                      static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha512(), sha512_bytes,
                      out.data());
    return out;
  }
  Bytes input = to_bytes(password);
  append(input, salt);
  unsigned size = 0;
  EVP_Digest(input.data(), input.size(), out.data(), &size, EVP_sha512(), nullptr);
  OPENSSL_cleanse(input.data(), input.size());
  return out;
}

Bytes random_salt(std::size_t bytes, Random& random) {
  Bytes out(bytes);
  random.fill(out);
  return out;
}

std::optional<std::uint32_t> iterations_from(std::string_view digits) {
  std::uint32_t out = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
  if (error != std::errc() || end != digits.data() + digits.size() || out == 0 || out > limits::password_iterations_max)
    return std::nullopt;
  return out;
}

std::optional<PasswordRecord> record_from(std::string_view text) {
  if (!text.starts_with("$6$") && !text.starts_with("$7$")) return std::nullopt;
  PasswordRecord out;
  out.kind = text[1] - '0';
  text.remove_prefix(3);
  if (out.kind == 7) {
    const auto iterations = iterations_from(take_until(text, '$'));
    if (!iterations) return std::nullopt;
    out.iterations = *iterations;
  }
  const auto salt = from_base64(take_until(text, '$')), hash = from_base64(text);
  if (!salt || !hash || salt->size() > salt_bytes_max || hash->size() != sha512_bytes) return std::nullopt;
  out.salt = *salt;
  out.hash = *hash;
  return out;
}

std::optional<ScramCredentials> scram_from(std::string_view text) {
  if (take_until(text, '$') != "SCRAM-SHA-256") return std::nullopt;
  ScramCredentials out;
  const auto iterations = iterations_from(take_until(text, ':'));
  const auto salt = from_base64(take_until(text, '$')), stored = from_base64(take_until(text, ':')),
             server = from_base64(text);
  if (!iterations || !salt || !stored || !server || stored->size() != sha256_bytes || server->size() != sha256_bytes)
    return std::nullopt;
  out.iterations = *iterations;
  out.salt = *salt;
  std::ranges::copy(*stored, out.stored_key.begin());
  std::ranges::copy(*server, out.server_key.begin());
  return out;
}

}  // namespace

bool is_password_of(const PasswordRecord& record, ByteView password) {
  const Bytes hash = hash_of(record.kind, record.iterations, record.salt, password);
  return hash.size() == record.hash.size() && CRYPTO_memcmp(hash.data(), record.hash.data(), hash.size()) == 0;
}

PasswordRecord make_password_record(ByteView password, Random& random) {
  PasswordRecord out;
  out.kind = 7;
  out.iterations = new_iterations;
  out.salt = random_salt(new_salt_bytes, random);
  out.hash = hash_of(out.kind, out.iterations, out.salt, password);
  // A password that is no text (RFC 4013) cannot be used with SCRAM.
  if (const auto prepared = saslprep(as_text(password), SaslKind::kept))
    out.scram = make_scram_credentials(*prepared, random_salt(scram_salt_bytes, random), scram_iterations);
  return out;
}

Result<void> check_user_name(std::string_view name) {
  if (name.empty() || name.size() > 65'535) return fail(Errc::invalid, "a user's name has 1 to 65,535 bytes");
  if (!is_mqtt_utf8(name)) return fail(Errc::invalid, "a user's name must be UTF-8");
  if (name.front() == '#' || name.front() == '$' || name.find(':') != name.npos)
    return fail(Errc::invalid, fmt::format("the name '{}' has a ':', or begins with '#' or '$'", name));
  if (std::ranges::any_of(name, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }))
    return fail(Errc::invalid, "a user's name has no control characters");
  return {};
}

Result<PasswordFile> PasswordFile::parse(std::string_view text) {
  PasswordFile out;
  for (int number = 1; !text.empty(); ++number) {
    auto line = take_until(text, '\n');
    while (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    if (line.front() == '#') {
      out.comments_ += fmt::format("{}\n", line);
      continue;
    }
    const auto wrong = [&](std::string_view what) {
      return fail(Errc::invalid, fmt::format("line {}: {}", number, what));
    };
    const auto name = take_until(line, ':'), password = take_until(line, ':');
    if (auto valid = check_user_name(name); !valid) return wrong(valid.error().message);
    auto record = record_from(password);
    if (!record)
      return wrong(fmt::format("'{}' has no password hash of the kinds $7$ and $6$; `diot user passwd {}` writes one",
                               name, name));
    record->scram = scram_from(line);
    if (out.users_.size() >= limits::users_max)
      return wrong(fmt::format("there are more than {} users", limits::users_max));
    if (!out.users_.emplace(name, std::move(*record)).second) return wrong(fmt::format("'{}' is there twice", name));
  }
  return out;
}

std::string PasswordFile::text() const {
  std::string out = comments_;
  for (const auto& [name, record] : users_) {
    out += fmt::format("{}:${}$", name, record.kind);
    if (record.kind == 7) out += fmt::format("{}$", record.iterations);
    out += fmt::format("{}${}", to_base64(record.salt), to_base64(record.hash));
    if (record.scram)
      out += fmt::format(":SCRAM-SHA-256${}:{}${}:{}", record.scram->iterations, to_base64(record.scram->salt),
                         to_base64(record.scram->stored_key), to_base64(record.scram->server_key));
    out += '\n';
  }
  return out;
}

bool PasswordFile::erase(std::string_view name) {
  const auto found = users_.find(name);
  if (found == users_.end()) return false;
  users_.erase(found);
  return true;
}

}  // namespace diot
