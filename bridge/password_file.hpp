#pragma once
// Users and their passwords, in mosquitto's format: "name:$7$iterations$salt$hash" (PBKDF2-HMAC-SHA-512, RFC 8018) or
// the older "name:$6$salt$hash" (SHA-512 of password ‖ salt); salt and hash in base64. A third field of ours, which
// mosquitto skips, holds what SCRAM-SHA-256 needs (RFC 5802, in PostgreSQL's form):
// "SCRAM-SHA-256$iterations:salt$stored key:server key".

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/authenticator.hpp"
#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

struct PasswordRecord {
  int kind = 7;  ///< 7 or 6
  std::uint32_t iterations = 0;
  Bytes salt, hash;
  std::optional<ScramCredentials> scram;
  bool operator==(const PasswordRecord& other) const {
    return kind == other.kind && iterations == other.iterations && salt == other.salt && hash == other.hash;
  }
};

/// Slow by purpose (tens of milliseconds for kind 7). Any thread.
bool is_password_of(const PasswordRecord& record, ByteView password);
/// Equally slow.
PasswordRecord make_password_record(ByteView password, Random& random);

/// 1 to 65,535 bytes of UTF-8 as MQTT has it, no ':' nor control character, not beginning with '#'.
Result<void> check_user_name(std::string_view name);

/// The file's content. What is not understood is an error, but comments stay where they are.
class PasswordFile {
 public:
  /// Errc::invalid names the line. Empty lines and "#…" are skipped.
  static Result<PasswordFile> parse(std::string_view text);
  std::string text() const;

  const std::map<std::string, PasswordRecord, std::less<>>& users() const { return users_; }
  void set(const std::string& name, PasswordRecord record) { users_[name] = std::move(record); }
  bool erase(std::string_view name);

 private:
  std::string comments_;  ///< they move to the top
  std::map<std::string, PasswordRecord, std::less<>> users_;
};

}  // namespace diot
