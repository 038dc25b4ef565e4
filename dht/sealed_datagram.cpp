#include "dht/sealed_datagram.hpp"

#include <sodium.h>

namespace diot {

static constexpr std::size_t nonce_bytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
static constexpr std::size_t tag_bytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
static_assert(sealed::overhead_bytes == sealed::head_bytes + nonce_bytes + tag_bytes);

void seal_datagram(const DhtKey& key, Random& random, ByteView plain, Bytes& out) {
  out.clear();
  ByteWriter writer(out);
  writer.u8(sealed::version);
  writer.u32(key.epoch);
  out.resize(plain.size() + sealed::overhead_bytes);
  auto* const nonce = out.data() + sealed::head_bytes;
  random.fill({nonce, nonce_bytes});
  crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + nonce_bytes, nullptr, plain.data(), plain.size(), out.data(),
                                             sealed::head_bytes, nullptr, nonce, key.key.bytes.data());
}

bool open_datagram(const DhtKey& key, ByteView datagram, Bytes& out) {
  if (datagram.size() < sealed::overhead_bytes) return false;
  ByteReader reader(datagram);
  if (reader.u8() != sealed::version || reader.u32() != key.epoch) return false;
  const auto nonce = reader.raw(nonce_bytes);
  const auto sealed_bytes = reader.rest();
  out.resize(sealed_bytes.size() - tag_bytes);
  return crypto_aead_xchacha20poly1305_ietf_decrypt(out.data(), nullptr, nullptr, sealed_bytes.data(),
                                                    sealed_bytes.size(), datagram.data(), sealed::head_bytes,
                                                    nonce.data(), key.key.bytes.data()) == 0;
}

}  // namespace diot
