#include "dht/sealed_socket.hpp"

#include <fmt/format.h>
#include <sodium.h>

#include <asio/ip/v6_only.hpp>

#include <charconv>

#include "core/limits.hpp"

namespace diot {

using asio::ip::udp;

static constexpr std::size_t nonce_bytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
static constexpr std::size_t tag_bytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
static_assert(sealed::overhead_bytes == sealed::head_bytes + nonce_bytes + tag_bytes);
static constexpr std::size_t udp_payload_bytes_max = 65'507;

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

Result<void> SealedSocket::bind(Family& family, const Endpoint& endpoint) {
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

Result<void> SealedSocket::listen(const std::string& address) {
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

void SealedSocket::start(Receive receive) {
  receive_ = std::move(receive);
  incoming_.resize(1 << 16);
  for (auto* family : {&v4_, &v6_})
    if (family->socket) wait(*family);
}

void SealedSocket::close() {
  for (auto* family : {&v4_, &v6_}) family->socket.reset();
}

int SealedSocket::send_to(const Endpoint& to, ByteView plain) {
  auto& family = to.address().is_v4() ? v4_ : v6_;
  if (!family.socket) return EAFNOSUPPORT;
  if (plain.size() > udp_payload_bytes_max - sealed::overhead_bytes) return EMSGSIZE;
  seal_datagram(key_, random_, plain, outgoing_);
  std::error_code error;
  family.socket->send_to(asio::buffer(outgoing_), to, 0, error);
  return error.value();
}

void SealedSocket::wait(Family& family) {
  family.socket->async_wait(udp::socket::wait_read, [weak = weak_from_this(), &family](const std::error_code& error) {
    const auto self = weak.lock();
    if (!error && self && family.socket) self->read(family);
  });
}

void SealedSocket::read(Family& family) {
  for (std::size_t left = limits::dht_datagrams_per_turn; left > 0 && family.socket; --left) {
    Endpoint from;
    std::error_code error;
    const auto size = family.socket->receive_from(asio::buffer(incoming_), from, 0, error);
    if (error == asio::error::would_block) break;
    if (error) continue;  // what an earlier datagram of ours met, e.g. an unreachable port
    if (open_datagram(key_, ByteView(incoming_).first(size), opened_))
      receive_(opened_, from);
    else
      ++refused_;
  }
  if (family.socket) wait(family);
}

}  // namespace diot
