#include "bridge/tls.hpp"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "bridge/text_file.hpp"
#include "core/limits.hpp"
#include "core/text.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::size_t record_bytes = 16 << 10;  // the most that one record holds

/// What OpenSSL has to say, its oldest error first; empties its queue.
std::string openssl_reason() {
  std::string out;
  while (const unsigned long code = ERR_get_error()) {
    const char* reason = ERR_reason_error_string(code);
    if (out.empty()) out = reason ? reason : fmt::format("error {:#x}", code);
  }
  return out.empty() ? "unknown error" : out;
}

tl::unexpected<Error> file_failure(std::string_view what, const std::string& file) {
  return fail(Errc::invalid, fmt::format("cannot use {} as {}: {}", file, what, openssl_reason()));
}

// OpenSSL reads and writes through this: straight from and to the buffers of the call that is running.
Tls& layer_of(BIO* bio) { return *static_cast<Tls*>(BIO_get_data(bio)); }

const BIO_METHOD* bio_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "diot buffers");
    BIO_meth_set_write(made, [](BIO* bio, const char* data, int size) { return layer_of(bio).write_for(data, size); });
    BIO_meth_set_read(made, [](BIO* bio, char* out, int size) {
      BIO_clear_retry_flags(bio);
      const int got = layer_of(bio).read_for(out, size);
      if (got < 0) BIO_set_retry_read(bio);
      return got;
    });
    BIO_meth_set_ctrl(made, [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH ? 1 : 0; });
    return made;
  }();
  return method;
}

Result<void> use_certificate(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  if (certificate.empty()) return {};
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    return file_failure("the certificate", certificate);
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1)
    return file_failure("the certificate's key", key);
  return {};
}

SSL_CTX* make_context(const SSL_METHOD* method) {
  SSL_CTX* context = SSL_CTX_new(method);
  expect(context != nullptr, "out of memory for a TLS context");
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // Nothing is resumed, so that every connection passes the same checks.
  SSL_CTX_set_options(
      context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_max_cert_list(context, limits::tls_certificate_bytes_max);
  return context;
}

}  // namespace

Result<PskTable> parse_psk_file(std::string_view text) {
  PskTable out;
  for (int number = 1; !text.empty(); ++number) {
    auto line = take_until(text, '\n');
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    const auto wrong = [&](std::string_view what) {
      return fail(Errc::invalid, fmt::format("line {}: {}", number, what));
    };
    const auto colon = line.find(':');
    if (colon == line.npos || colon == 0) return wrong("write identity:key, the key in hex");
    const auto key = from_hex(line.substr(colon + 1));
    if (!key || key->empty() || key->size() > PSK_MAX_PSK_LEN)
      return wrong(fmt::format("the key must have 2 to {} hex digits", 2 * PSK_MAX_PSK_LEN));
    const auto identity = line.substr(0, colon);
    if (identity.front() == '$') return wrong("the identity begins with '$', which is reserved");
    if (identity.size() > PSK_MAX_IDENTITY_LEN || !is_mqtt_utf8(identity))
      return wrong(fmt::format("the identity must be UTF-8 of at most {} bytes", PSK_MAX_IDENTITY_LEN));
    if (out.size() >= limits::users_max) return wrong(fmt::format("there are more than {} keys", limits::users_max));
    if (!out.emplace(identity, *key).second) return wrong(fmt::format("'{}' has a key already", identity));
  }
  return out;
}

Result<PskTable> load_psk_file(const std::string& file) {
  const auto text = read_text_file(file, limits::users_file_bytes_max);
  if (!text) return tl::unexpected(text.error());
  auto keys = parse_psk_file(*text);
  if (!keys) return fail(keys.error().code, fmt::format("{}, {}", file, keys.error().message));
  return keys;
}

// TlsContext -------------------------------------------------------------------------------------------------

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

Result<std::shared_ptr<const TlsContext>> TlsContext::server(TlsServerConfig config) {
  ERR_clear_error();
  std::shared_ptr<TlsContext> out(new TlsContext);
  out->server_ = std::move(config);
  const TlsServerConfig& rules = out->server_;
  SSL_CTX* context = out->context_ = make_context(TLS_server_method());
  if (auto used = use_certificate(context, rules.certificate, rules.key); !used) return tl::unexpected(used.error());
  static constexpr unsigned char session_context[] = "diot";
  SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1);
  if (!rules.client_ca.empty()) {
    if (SSL_CTX_load_verify_file(context, rules.client_ca.c_str()) != 1)
      return file_failure("the authority of clients' certificates", rules.client_ca);
    STACK_OF(X509_NAME)* names = SSL_load_client_CA_file(rules.client_ca.c_str());
    if (!names) return file_failure("the authority of clients' certificates", rules.client_ca);
    SSL_CTX_set_client_CA_list(context, names);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (rules.require_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       nullptr);
  }
  if (!rules.psk.empty()) {
    SSL_CTX_set_app_data(context, out.get());
    SSL_CTX_set_psk_server_callback(
        context, [](SSL* ssl, const char* identity, unsigned char* key, unsigned room) -> unsigned {
          const auto* self = static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
          const auto found = self->server_.psk.find(std::string_view(identity));
          if (found == self->server_.psk.end() || found->second.size() > room) return 0;
          std::ranges::copy(found->second, key);
          static_cast<Tls*>(SSL_get_app_data(ssl))->asked_for_key_of(found->first);
          return static_cast<unsigned>(found->second.size());
        });
  }
  return out;
}

Result<std::shared_ptr<const TlsContext>> TlsContext::client(TlsClientConfig config) {
  ERR_clear_error();
  std::shared_ptr<TlsContext> out(new TlsContext);
  out->client_ = std::move(config);
  const TlsClientConfig& rules = out->client_;
  SSL_CTX* context = out->context_ = make_context(TLS_client_method());
  if (auto used = use_certificate(context, rules.certificate, rules.key); !used) return tl::unexpected(used.error());
  if (!rules.psk.empty()) {
    SSL_CTX_set_app_data(context, out.get());
    SSL_CTX_set_cipher_list(context, "PSK");
    SSL_CTX_set_psk_client_callback(context,
                                    [](SSL* ssl, const char*, char* identity, unsigned identity_room,
                                       unsigned char* key, unsigned room) -> unsigned {
                                      const auto* self =
                                          static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
                                      const TlsClientConfig& mine = self->client_;
                                      if (mine.psk.size() > room || mine.psk_identity.size() >= identity_room) return 0;
                                      std::ranges::copy(mine.psk_identity, identity);
                                      identity[mine.psk_identity.size()] = '\0';
                                      std::ranges::copy(mine.psk, key);
                                      return static_cast<unsigned>(mine.psk.size());
                                    });
  } else if (!rules.any_certificate) {
    const int loaded = rules.ca.empty() ? SSL_CTX_set_default_verify_paths(context)
                                        : SSL_CTX_load_verify_file(context, rules.ca.c_str());
    if (loaded != 1) return file_failure("the authority of the server's certificate", rules.ca);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  }
  return out;
}

// Tls --------------------------------------------------------------------------------------------------------

Tls::Tls(std::shared_ptr<const TlsContext> context) : context_(std::move(context)) {
  make();
  SSL_set_accept_state(ssl_);
}

Tls::Tls(std::shared_ptr<const TlsContext> context, const std::string& host) : context_(std::move(context)) {
  make();
  SSL_set_connect_state(ssl_);
  // A numeric host has no place in SNI, and stands in another part of the certificate.
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl_), host.c_str()) == 1) return;
  ERR_clear_error();
  // SSL_set_tlsext_host_name, whose macro has a cast that we do not allow.
  SSL_ctrl(ssl_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, const_cast<char*>(host.c_str()));
  SSL_set1_host(ssl_, host.c_str());
}

void Tls::make() {
  ssl_ = SSL_new(context_->context_);
  BIO* bio = BIO_new(bio_method());
  expect(ssl_ != nullptr && bio != nullptr, "out of memory for a TLS connection");
  BIO_set_data(bio, this);
  SSL_set_app_data(ssl_, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
}

Tls::~Tls() { SSL_free(ssl_); }

int Tls::read_for(char* out, int size) {
  const std::size_t now = std::min(in_.size(), static_cast<std::size_t>(size));
  if (now == 0) return -1;
  std::memcpy(out, in_.data(), now);
  in_ = in_.subspan(now);
  return static_cast<int>(now);
}

int Tls::write_for(const char* data, int size) {
  append(*down_, as_bytes({data, static_cast<std::size_t>(size)}));
  return size;
}

Result<void> Tls::start(Bytes& down) {
  if (SSL_is_server(ssl_)) return {};
  in_ = {};
  down_ = &down;
  return handshake();
}

Result<void> Tls::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) {
    established_ = true;
    return SSL_is_server(ssl_) ? find_user() : Result<void>{};
  }
  if (SSL_get_error(ssl_, result) == SSL_ERROR_WANT_READ) return {};
  failed_ = true;
  const long verified = SSL_get_verify_result(ssl_);
  const std::string why = openssl_reason();
  return fail(Errc::invalid, verified == X509_V_OK
                                 ? fmt::format("TLS handshake: {}", why)
                                 : fmt::format("TLS handshake: {} ({})", why, X509_verify_cert_error_string(verified)));
}

std::string Tls::key_identity() const {
  if (!established_ || SSL_get0_peer_certificate(ssl_)) return {};
  // Its key was asked for, and the handshake succeeded without the certificate of ours that would do without a key.
  const bool used =
      SSL_get_certificate(ssl_) == nullptr || SSL_session_reused(ssl_) || SSL_get_psk_identity(ssl_) != nullptr;
  return used ? psk_identity_ : std::string();
}

bool TlsContext::keeps_key_of(std::string_view identity, const TlsContext& there) const {
  const auto mine = server_.psk.find(identity), before = there.server_.psk.find(identity);
  return mine != server_.psk.end() && before != there.server_.psk.end() && mine->second == before->second;
}

Result<void> Tls::find_user() {
  const TlsServerConfig& rules = context_->server_;
  if (!rules.identity_as_user) return {};
  X509* certificate = SSL_get0_peer_certificate(ssl_);
  if (!certificate) {
    user_ = key_identity();
    return {};  // nobody yet, if it is empty: then it needs a password
  }
  const X509_NAME* name = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  const auto refuse = [&](const char* why) {
    failed_ = true;
    return fail(Errc::invalid, fmt::format("the client's certificate {}", why));
  };
  if (at < 0) return refuse("has no common name, which would be its user");
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return refuse("has an unreadable common name");
  user_.assign(reinterpret_cast<const char*>(utf8), static_cast<std::size_t>(size));
  OPENSSL_free(utf8);
  if (user_.empty() || user_.front() == '$' || !is_mqtt_utf8(user_))
    return refuse("has a common name that no user can have");
  return {};
}

Result<void> Tls::receive(ByteView in, Bytes& up, Bytes& down) {
  if (failed_) return {};
  in_ = in;
  down_ = &down;
  if (!established_) {
    if (auto done = handshake(); !done) return done;
    if (!established_) return {};
  }
  for (;;) {
    const std::size_t had = up.size();
    // Records come one by one; the rest of a large read says how much may still be there.
    up.resize(had + std::min(record_bytes, in_.size() + record_bytes / 16));
    ERR_clear_error();
    const int got = SSL_read(ssl_, up.data() + had, static_cast<int>(up.size() - had));
    up.resize(had + static_cast<std::size_t>(std::max(got, 0)));
    if (got > 0) continue;
    switch (SSL_get_error(ssl_, got)) {
      case SSL_ERROR_WANT_READ: return {};
      case SSL_ERROR_ZERO_RETURN: failed_ = true; return fail(Errc::io, "the client has closed");
      default: failed_ = true; return fail(Errc::invalid, fmt::format("TLS: {}", openssl_reason()));
    }
  }
}

Result<void> Tls::send(ByteView in, Bytes& down) {
  if (in.empty() || failed_) return {};
  in_ = {};
  down_ = &down;
  ERR_clear_error();
  std::size_t written = 0;
  if (SSL_write_ex(ssl_, in.data(), in.size(), &written) == 1 && written == in.size()) return {};
  failed_ = true;
  return fail(Errc::io, fmt::format("TLS: {}", openssl_reason()));
}

void Tls::close(Bytes& down) {
  if (!established_ || failed_) return;
  in_ = {};
  down_ = &down;
  ERR_clear_error();
  SSL_shutdown(ssl_);
}

}  // namespace diot
