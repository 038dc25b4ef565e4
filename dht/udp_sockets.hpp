#pragma once
// The UDP of the DHT: datagrams in and out, whatever is in them.

#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

/// One IPv4 and one IPv6 socket. Lives on the I/O thread; hold it by a shared pointer.
class UdpSockets : public std::enable_shared_from_this<UdpSockets> {
 public:
  using Endpoint = asio::ip::udp::endpoint;
  /// `datagram` is valid during the call only. May close the sockets.
  using Receive = std::function<void(ByteView datagram, const Endpoint& from)>;

  explicit UdpSockets(asio::io_context& io) : io_(io) {}

  /// "host:port" or "[ipv6]:port"; "[::]" takes IPv4 as well. A host name is looked up here, so call it at start-up.
  /// May be called once per address family; port 0 takes any free one. Errc::invalid, Errc::exists or Errc::io.
  Result<void> listen(const std::string& address);
  /// From now on datagrams are read.
  void start(Receive receive);
  void close();

  /// 0, or the errno: EAFNOSUPPORT without a socket of that family.
  int send_to(const Endpoint& to, ByteView datagram);

  /// Unspecified with port 0 where there is no socket of that family.
  Endpoint local_v4() const { return v4_.endpoint; }
  Endpoint local_v6() const { return v6_.endpoint; }

 private:
  struct Family {
    std::optional<asio::ip::udp::socket> socket;
    Endpoint endpoint;
  };
  Result<void> bind(Family& family, const Endpoint& endpoint);
  void wait(Family& family);
  void read(Family& family);

  asio::io_context& io_;
  Family v4_, v6_;
  Receive receive_;
  Bytes incoming_;
};

/// Splits "host:port" or "[ipv6]:port"; nullopt if it is neither, or the port is not a number up to 65,535.
std::optional<std::pair<std::string, std::string>> split_address(const std::string& address);

}  // namespace diot
