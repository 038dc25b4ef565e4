#pragma once
// The UDP of the DHT: every datagram is sealed with the network's key, so that on a private network a stranger's bytes
// never reach the DHT's parser. Layout: docs/protocol.md, "DHT datagrams".
//
// There is no time window: a replayed datagram changes no record, because that takes a higher seq (docs/security.md).

#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "dht/dht_key.hpp"

namespace diot {

namespace sealed {
inline constexpr std::uint8_t version = 1;
inline constexpr std::size_t head_bytes = 1 + 4;  ///< version, epoch: authenticated, not encrypted
inline constexpr std::size_t overhead_bytes = head_bytes + 24 + 16;
}  // namespace sealed

/// Replaces `out` by version ‖ epoch ‖ nonce ‖ XChaCha20-Poly1305 of `plain`.
void seal_datagram(const DhtKey& key, Random& random, ByteView plain, Bytes& out);
/// Replaces `out` by what was sealed. False on anything that was not sealed with this key.
bool open_datagram(const DhtKey& key, ByteView datagram, Bytes& out);

/// One IPv4 and one IPv6 socket. Lives on the I/O thread; hold it by a shared pointer.
class SealedSocket : public std::enable_shared_from_this<SealedSocket> {
 public:
  using Endpoint = asio::ip::udp::endpoint;
  /// `plain` is valid during the call only. May close the socket.
  using Receive = std::function<void(ByteView plain, const Endpoint& from)>;

  SealedSocket(asio::io_context& io, const DhtKey& key, Random& random) : io_(io), key_(key), random_(random) {}

  /// "host:port" or "[ipv6]:port"; "[::]" takes IPv4 as well. A host name is looked up here, so call it at start-up.
  /// May be called once per address family; port 0 takes any free one. Errc::invalid, Errc::exists or Errc::io.
  Result<void> listen(const std::string& address);
  /// From now on datagrams are read.
  void start(Receive receive);
  void close();

  /// 0, or the errno: EAFNOSUPPORT without a socket of that family.
  int send_to(const Endpoint& to, ByteView plain);

  /// Unspecified with port 0 where there is no socket of that family.
  Endpoint local_v4() const { return v4_.endpoint; }
  Endpoint local_v6() const { return v6_.endpoint; }
  bool is_open() const { return v4_.socket || v6_.socket; }
  /// Datagrams that were not sealed with our key.
  std::uint64_t refused() const { return refused_; }

 private:
  struct Family {
    std::optional<asio::ip::udp::socket> socket;
    Endpoint endpoint;
  };
  Result<void> bind(Family& family, const Endpoint& endpoint);
  void wait(Family& family);
  void read(Family& family);

  asio::io_context& io_;
  DhtKey key_;
  Random& random_;
  Family v4_, v6_;
  Receive receive_;
  Bytes incoming_, opened_, outgoing_;
  std::uint64_t refused_ = 0;
};

/// Splits "host:port" or "[ipv6]:port"; nullopt if it is neither, or the port is not a number up to 65,535.
std::optional<std::pair<std::string, std::string>> split_address(const std::string& address);

}  // namespace diot
