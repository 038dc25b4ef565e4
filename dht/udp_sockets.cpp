#include "dht/udp_sockets.hpp"

#include <fmt/format.h>

#include <asio/ip/v6_only.hpp>

#include <charconv>

#include "core/limits.hpp"

namespace diot {

using asio::ip::udp;

std::optional<std::pair<std::string, std::string>> split_address(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  auto host = address.substr(0, colon);
  auto port = address.substr(colon + 1);
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (port.empty() || error != std::errc() || end != port.data() + port.size()) return std::nullopt;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.empty() || host.find_first_of(":[]") != std::string::npos)
    return std::nullopt;
  return std::pair(std::move(host), std::move(port));
}

Result<void> UdpSockets::bind(Family& family, const Endpoint& endpoint) {
  if (family.socket)
    return fail(Errc::exists, fmt::format("the DHT listens on UDP port {} already; it takes one address per family",
                                          family.endpoint.port()));
  udp::socket socket(io_);
  std::error_code error;
  socket.open(endpoint.protocol(), error);
  // Apart from the IPv4 socket, so that each family sees its own addresses unmapped.
  if (!error && endpoint.address().is_v6()) socket.set_option(asio::ip::v6_only(true), error);
  if (!error) socket.non_blocking(true, error);
  if (!error) socket.bind(endpoint, error);
  auto local = error ? Endpoint() : socket.local_endpoint(error);
  if (error)
    return fail(Errc::io, fmt::format("cannot listen on UDP {}:{}: {}", endpoint.address().to_string(), endpoint.port(),
                                      error.message()));
  // A large value comes as some fifty datagrams in one burst from each of several nodes. The kernel's own limit holds.
  std::error_code ignored;
  socket.set_option(asio::socket_base::receive_buffer_size(limits::dht_receive_buffer_bytes), ignored);
  family.socket.emplace(std::move(socket));
  family.endpoint = local;
  if (receive_) wait(family);
  return {};
}

Result<void> UdpSockets::listen(const std::string& address) {
  const auto parts = split_address(address);
  if (!parts) return fail(Errc::invalid, fmt::format("\"{}\" is not host:port", address));
  std::error_code error;
  udp::resolver resolver(io_);
  const auto found = resolver.resolve(parts->first, parts->second, udp::resolver::passive, error);
  if (error) return fail(Errc::io, fmt::format("cannot look up \"{}\": {}", parts->first, error.message()));

  std::optional<Endpoint> v4, v6;
  for (const auto& entry : found) {
    auto& first = entry.endpoint().address().is_v4() ? v4 : v6;
    if (!first) first = entry.endpoint();
  }
  if (v6 && !v4 && v6->address().is_unspecified() && !v4_.socket) v4 = Endpoint(udp::v4(), v6->port());
  if (v4)
    if (auto bound = bind(v4_, *v4); !bound) return bound;
  if (v6) {
    if (v4 && v6->port() == 0) v6->port(v4_.endpoint.port());
    auto bound = bind(v6_, *v6);
    // A name or "[::]" is served as well as this machine can: without IPv6 that is IPv4 alone.
    if (!bound && !v4) return bound;
  }
  return {};
}

void UdpSockets::start(Receive receive) {
  receive_ = std::move(receive);
  incoming_.resize(1 << 16);
  for (auto* family : {&v4_, &v6_})
    if (family->socket) wait(*family);
}

void UdpSockets::close() {
  for (auto* family : {&v4_, &v6_}) family->socket.reset();
}

int UdpSockets::send_to(const Endpoint& to, ByteView datagram) {
  auto& family = to.address().is_v4() ? v4_ : v6_;
  if (!family.socket) return EAFNOSUPPORT;
  std::error_code error;
  family.socket->send_to(asio::buffer(datagram.data(), datagram.size()), to, 0, error);
  return error.value();
}

void UdpSockets::wait(Family& family) {
  family.socket->async_wait(udp::socket::wait_read, [weak = weak_from_this(), &family](const std::error_code& error) {
    const auto self = weak.lock();
    if (!error && self && family.socket) self->read(family);
  });
}

void UdpSockets::read(Family& family) {
  for (std::size_t left = limits::dht_datagrams_per_turn; left > 0 && family.socket; --left) {
    Endpoint from;
    std::error_code error;
    const auto size = family.socket->receive_from(asio::buffer(incoming_), from, 0, error);
    if (error == asio::error::would_block) break;
    if (error) continue;  // what an earlier datagram of ours met, e.g. an unreachable port
    receive_(ByteView(incoming_).first(size), from);
  }
  if (family.socket) wait(family);
}

}  // namespace diot
