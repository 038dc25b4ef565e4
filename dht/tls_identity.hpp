#pragma once
// A node's TLS 1.3: its self-signed Ed25519 certificate, and trust in keys alone. No names, no dates, no authorities.

#include <asio/ssl/context.hpp>
#include <optional>
#include <string>

#include "core/crypto.hpp"

namespace diot {

/// The other end of one connection, while and after TLS shakes hands. Must outlive the connection's SSL object.
struct TlsPeer {
  std::optional<NodeId> expected;  ///< another key is refused
  std::optional<NodeId> found;     ///< the key that the peer's certificate holds
  bool wrong_key = false;          ///< found, but not the expected one
  std::size_t bytes_read = 0;      ///< of the handshake
  bool too_many_bytes = false;     ///< more than limits::handshake_bytes_max
};

class TlsIdentity {
 public:
  /// Throws std::runtime_error if OpenSSL cannot do it (start-up).
  explicit TlsIdentity(const KeyPair& node_key);

  /// For both roles.
  asio::ssl::context& context() { return context_; }
  /// Lets `ssl` judge its peer's key by `peer`, and bounds the handshake's bytes. Before the handshake.
  static void watch(SSL* ssl, TlsPeer& peer);
  /// The handshake is over: ends the bound on bytes. The proven peer, or why the connection must end.
  static Result<NodeId> finish(SSL* ssl, const TlsPeer& peer);

 private:
  asio::ssl::context context_{asio::ssl::context::tls};
};

}  // namespace diot
