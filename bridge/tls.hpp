#pragma once
// TLS 1.2 and 1.3 for MQTT clients and upstreams, as a layer without a socket (OpenSSL on our own buffers). Certificates
// or pre-shared keys (RFC 4279, RFC 8446 section 4.2.11).

#include <openssl/types.h>

#include <map>
#include <memory>
#include <string>

#include "bridge/layer.hpp"

namespace diot {

/// Keys by identity. A line each: "identity:hex", as mosquitto's psk_file. Empty lines and "#…" are skipped.
using PskTable = std::map<std::string, Bytes, std::less<>>;
/// Errc::invalid names the line.
Result<PskTable> parse_psk_file(std::string_view text);
/// The same of a file; errors name it.
Result<PskTable> load_psk_file(const std::string& file);

/// Files are PEM.
struct TlsServerConfig {
  std::string certificate;  ///< chain, the server's own first; empty: only keys below
  std::string key;
  std::string client_ca;             ///< who signs clients' certificates; empty: none are asked for
  bool require_certificate = false;  ///< refuse clients without one
  PskTable psk;
  bool identity_as_user = false;  ///< the certificate's common name, or the PSK identity, is the user
};

struct TlsClientConfig {
  std::string ca;           ///< file; empty: the system's
  std::string certificate;  ///< to show; may be empty
  std::string key;
  bool any_certificate = false;  ///< trusts whoever answers
  std::string psk_identity;      ///< with psk: no certificates at all
  Bytes psk;
};

/// What connections share. Unchanging: new certificates are a new context.
class TlsContext {
 public:
  /// Errc::invalid names the file and what is wrong with it.
  static Result<std::shared_ptr<const TlsContext>> server(TlsServerConfig config);
  static Result<std::shared_ptr<const TlsContext>> client(TlsClientConfig config);
  ~TlsContext();
  /// A client that used this identity's key there may use it here.
  bool keeps_key_of(std::string_view identity, const TlsContext& there) const;
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class Tls;
  TlsContext() = default;

  SSL_CTX* context_ = nullptr;
  TlsServerConfig server_;
  TlsClientConfig client_;
};

/// One connection.
class Tls final : public Layer {
 public:
  /// A server's side.
  explicit Tls(std::shared_ptr<const TlsContext> context);
  /// A client's side, which asks for `host` and takes no certificate of another one.
  Tls(std::shared_ptr<const TlsContext> context, const std::string& host);
  ~Tls() override;
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;

  Result<void> start(Bytes& down) override;
  Result<void> receive(ByteView in, Bytes& up, Bytes& down) override;
  Result<void> send(ByteView in, Bytes& down) override;
  void close(Bytes& down) override;
  bool established() const override { return established_; }
  std::string user() const override { return user_; }
  std::string key_identity() const override;

  // OpenSSL's side.
  int read_for(char* out, int size);
  int write_for(const char* data, int size);
  void asked_for_key_of(const std::string& identity) { psk_identity_ = identity; }

 private:
  void make();
  /// As far as what came goes; `established_` says whether that was far enough.
  Result<void> handshake();
  Result<void> find_user();

  std::shared_ptr<const TlsContext> context_;
  SSL* ssl_ = nullptr;
  ByteView in_;            ///< of the call that is running
  Bytes* down_ = nullptr;  ///< likewise
  bool established_ = false, failed_ = false;
  std::string psk_identity_;  ///< whose key OpenSSL asked for last
  std::string user_;
};

}  // namespace diot
