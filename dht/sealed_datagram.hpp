#pragma once
// Every datagram of the DHT is sealed with the network's key, so that on a private network a stranger's bytes never reach
// the DHT's parser. Layout: docs/protocol.md, "DHT datagrams".
//
// There is no time window: a replayed datagram changes no record, because that takes a higher seq (docs/security.md).

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "dht/dht_key.hpp"

namespace diot {

namespace sealed {
inline constexpr std::uint8_t version = 1;
inline constexpr std::size_t head_bytes = 1 + 4;  ///< version, epoch: authenticated, not encrypted
inline constexpr std::size_t overhead_bytes = head_bytes + 24 + 16;
inline constexpr std::size_t plain_bytes_max = 65'507 - overhead_bytes;  ///< what a UDP datagram can carry
}  // namespace sealed

/// Replaces `out` by version ‖ epoch ‖ nonce ‖ XChaCha20-Poly1305 of `plain`.
void seal_datagram(const DhtKey& key, Random& random, ByteView plain, Bytes& out);
/// Replaces `out` by what was sealed. False on anything that was not sealed with this key.
bool open_datagram(const DhtKey& key, ByteView datagram, Bytes& out);

}  // namespace diot
