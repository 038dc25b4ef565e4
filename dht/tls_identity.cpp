#include "dht/tls_identity.hpp"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <stdexcept>

#include "core/limits.hpp"

namespace diot {
namespace {

constexpr std::string_view protocol = "diot/1";
constexpr unsigned char protocol_list[] = {6, 'd', 'i', 'o', 't', '/', '1'};
static_assert(sizeof protocol_list == protocol.size() + 1);
constexpr long certificate_chain_bytes_max = 4096;

struct Free {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { X509_free(certificate); }
};

void require(bool done, const char* what) {
  if (done) return;
  char reason[160] = "";
  ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
  throw std::runtime_error(std::string("TLS: ") + what + ": " + reason);
}

// Index 0 belongs to asio.
int peer_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// Replaces OpenSSL's chain verification. The handshake's own signature proves afterwards that the peer holds this key.
int judge_certificate(X509_STORE_CTX* store, void*) {
  const auto refuse = [&] {
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED);
    return 0;
  };
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* peer = ssl ? static_cast<TlsPeer*>(SSL_get_ex_data(ssl, peer_index())) : nullptr;
  X509* certificate = X509_STORE_CTX_get0_cert(store);
  EVP_PKEY* key = certificate ? X509_get0_pubkey(certificate) : nullptr;
  if (!peer || !key || EVP_PKEY_get_id(key) != EVP_PKEY_ED25519) return refuse();
  NodeId found;
  std::size_t size = NodeId::size;
  if (EVP_PKEY_get_raw_public_key(key, found.bytes.data(), &size) != 1 || size != NodeId::size) return refuse();
  peer->found = found;
  peer->wrong_key = peer->expected && *peer->expected != found;
  if (peer->wrong_key) return refuse();
  X509_STORE_CTX_set_error(store, X509_V_OK);
  return 1;
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size,
                    void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, protocol_list, sizeof protocol_list, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

// A message of the handshake may declare 131,000 bytes, and OpenSSL would gather them: bytes are counted as it takes
// them.
long count_bytes(BIO* bio, int operation, const char*, std::size_t, int, long, int result, std::size_t* processed) {
  if (operation != (BIO_CB_READ | BIO_CB_RETURN) || result <= 0) return result;
  auto& peer = *reinterpret_cast<TlsPeer*>(BIO_get_callback_arg(bio));
  peer.bytes_read += *processed;
  if (peer.bytes_read <= limits::handshake_bytes_max) return result;
  peer.too_many_bytes = true;
  *processed = 0;
  return -1;
}

}  // namespace

TlsIdentity::TlsIdentity(const KeyPair& node_key) {
  require(peer_index() > 0, "no index for the peer");
  const std::unique_ptr<EVP_PKEY, Free> key(EVP_PKEY_new_raw_private_key(
      EVP_PKEY_ED25519, nullptr, node_key.seed().bytes.data(), node_key.seed().bytes.size()));
  require(key != nullptr, "the node key is no Ed25519 key");

  // Nobody reads name and dates (clocks may be in 1970); a certificate merely has to have them.
  const std::unique_ptr<X509, Free> certificate(X509_new());
  X509* x509 = certificate.get();
  require(x509 && X509_set_version(x509, X509_VERSION_3) && ASN1_INTEGER_set(X509_get_serialNumber(x509), 1) &&
              ASN1_TIME_set_string(X509_getm_notBefore(x509), "19700101000000Z") &&
              ASN1_TIME_set_string(X509_getm_notAfter(x509), "99991231235959Z"),
          "the certificate");
  X509_NAME* name = X509_get_subject_name(x509);
  require(
      X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("diot"), -1, -1, 0) &&
          X509_set_issuer_name(x509, name) && X509_set_pubkey(x509, key.get()) && X509_sign(x509, key.get(), nullptr),
      "the certificate's signature");

  SSL_CTX* context = context_.native_handle();
  require(SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) && SSL_CTX_use_certificate(context, x509) &&
              SSL_CTX_use_PrivateKey(context, key.get()) && SSL_CTX_set1_sigalgs_list(context, "ed25519"),
          "its settings");
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(context, judge_certificate, nullptr);
  // A resumed connection would pass the judge by.
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_max_cert_list(context, certificate_chain_bytes_max);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
  require(SSL_CTX_set_alpn_protos(context, protocol_list, sizeof protocol_list) == 0, "its protocol");
}

void TlsIdentity::watch(SSL* ssl, TlsPeer& peer) {
  expect(SSL_set_ex_data(ssl, peer_index(), &peer) == 1, "no memory for TLS");
  BIO* bio = SSL_get_rbio(ssl);
  BIO_set_callback_arg(bio, reinterpret_cast<char*>(&peer));
  BIO_set_callback_ex(bio, count_bytes);
}

Result<NodeId> TlsIdentity::finish(SSL* ssl, const TlsPeer& peer) {
  BIO_set_callback_ex(SSL_get_rbio(ssl), nullptr);
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &chosen, &size);
  // A peer that offers nothing passes the negotiation.
  if (std::string_view(reinterpret_cast<const char*>(chosen), size) != protocol)
    return fail(Errc::invalid, "the peer does not speak diot/1");
  if (!peer.found) return fail(Errc::not_permitted, "the peer showed no key");
  return *peer.found;
}

}  // namespace diot
