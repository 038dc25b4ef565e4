#pragma once
// SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, without channel binding: the three messages of one exchange. No
// password crosses the wire, and both ends prove that they know it.

#include <string>
#include <string_view>

#include "bridge/authenticator.hpp"
#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

inline constexpr std::string_view scram_method = "SCRAM-SHA-256";

/// A name or a password in the one form in which SCRAM compares it (SASLprep, RFC 4013; code points that Unicode 3.2 does
/// not know pass in what a client sends, not in what is kept). Errc::invalid: it has none (forbidden characters, no UTF-8,
/// nothing left); Errc::limit: beyond 1024 bytes of other than ASCII.
enum class SaslKind : std::uint8_t { sent, kept };
Result<std::string> saslprep(std::string_view text, SaslKind kind);

/// What a server keeps of a password, which has been prepared. Slow on purpose (PBKDF2): not on the I/O thread.
ScramCredentials make_scram_credentials(std::string_view password, ByteView salt, std::uint32_t iterations);

class ScramServer {
 public:
  /// `nonce`: printable, without a comma, never used before.
  explicit ScramServer(std::string nonce) : nonce_(std::move(nonce)) {}
  static std::string make_nonce(Random& random);

  /// Reads the client's first message and returns the user name in it, prepared. Errc::invalid: it is not one;
  /// Errc::not_available: it wants channel binding or an extension.
  Result<std::string> begin(ByteView client_first);
  /// The server's first message; after `begin`.
  Bytes challenge(const ScramCredentials& credentials);
  /// Reads the client's final message and returns the server's. Errc::not_permitted: the proof is wrong.
  Result<Bytes> finish(ByteView client_final);

 private:
  std::string nonce_;  ///< from `begin` on with the client's in front
  std::string header_, client_first_bare_, server_first_;
  ScramCredentials credentials_;
};

}  // namespace diot
