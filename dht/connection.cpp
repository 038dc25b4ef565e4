#include "dht/connection.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.hpp"

namespace diot {

Connection::Connection(Tcp::socket socket, TlsIdentity& identity, Owner& owner, const Clock& clock,
                       const LinkTimes& times, Random& random, LinkId the_link, bool dialled_by_us)
    : link(the_link),
      dialled(dialled_by_us),
      machine(times, random, clock.monotonic()),
      owner_(owner),
      clock_(clock),
      times_(times),
      stream_(std::move(socket), identity.context()) {
  TlsIdentity::watch(stream_.native_handle(), peer);
}

void Connection::resolve(const std::string& host, std::uint16_t port) {
  deadline = clock_.monotonic() + times_.dial;
  resolver_.emplace(stream_.get_executor());
  resolver_->async_resolve(
      host, std::to_string(port), Tcp::resolver::numeric_service,
      [self = shared_from_this()](const asio::error_code& error, const Tcp::resolver::results_type& results) {
        if (self->phase != Phase::connecting || self->attempt_ != 0) return;
        if (error) return self->owner_.failed(*self, LinkEnd::unreachable, "the name is not known: " + error.message());
        std::vector<Tcp::endpoint> endpoints(results.begin(), results.end());
        endpoints.resize(std::min(endpoints.size(), limits::dial_endpoints_max));
        self->connect(std::move(endpoints));
      });
}

void Connection::connect(std::vector<Tcp::endpoint> endpoints) {
  endpoints_ = std::move(endpoints);
  std::ranges::reverse(endpoints_);
  connect_next(LinkEnd::unreachable, "the name has no address");
}

void Connection::give_up_endpoint(LinkEnd end, const std::string& reason) {
  if (resolver_) resolver_->cancel();
  if (rest_) rest_->cancel();
  asio::error_code ignored;
  stream_.lowest_layer().close(ignored);
  connect_next(end, reason);
}

void Connection::connect_next(LinkEnd end, const std::string& reason) {
  ++attempt_;
  if (endpoints_.empty()) return owner_.failed(*this, end, reason);
  const auto endpoint = endpoints_.back();
  endpoints_.pop_back();
  deadline = clock_.monotonic() + times_.dial;
  stream_.lowest_layer().async_connect(endpoint,
                                       [self = shared_from_this(), attempt = attempt_](const asio::error_code& error) {
                                         if (self->phase != Phase::connecting || self->attempt_ != attempt) return;
                                         if (error)
                                           return self->give_up_endpoint(LinkEnd::unreachable, error.message());
                                         self->secure();
                                       });
}

void Connection::secure() {
  phase = Phase::securing;
  deadline = clock_.monotonic() + times_.handshake;
  asio::error_code ignored;
  stream_.lowest_layer().set_option(Tcp::no_delay(true), ignored);
  stream_.async_handshake(dialled ? asio::ssl::stream_base::client : asio::ssl::stream_base::server,
                          [self = shared_from_this()](const asio::error_code& error) { self->handshake_done(error); });
}

void Connection::handshake_done(const asio::error_code& error) {
  if (phase != Phase::securing) return;
  if (peer.wrong_key)
    return owner_.failed(*this, LinkEnd::wrong_key,
                         fmt::format("another node answers at this address: {}", to_display(*peer.found)));
  if (peer.too_many_bytes) return owner_.failed(*this, LinkEnd::tls, "TLS: too many bytes before the peer is known");
  if (error) return owner_.failed(*this, LinkEnd::tls, "TLS: " + error.message());
  const auto proved = TlsIdentity::finish(stream_.native_handle(), peer);
  if (!proved) return owner_.failed(*this, LinkEnd::tls, proved.error().message);
  node = *proved;
  phase = Phase::hello;
  owner_.secured(*this);
}

void Connection::start_reading() { read(); }

void Connection::read() {
  const auto room = machine.room();
  stream_.async_read_some(
      asio::buffer(room.data(), room.size()),
      [self = shared_from_this()](const asio::error_code& error, std::size_t bytes) { self->read_done(error, bytes); });
}

void Connection::read_done(const asio::error_code& error, std::size_t bytes) {
  if (phase == Phase::closed) return;
  if (error) {
    const bool ended = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
    return owner_.failed(*this, LinkEnd::lost, ended ? "the peer closed the connection" : error.message());
  }
  if (phase != Phase::closing) {
    bytes_in += bytes;
    machine.filled(bytes, clock_.monotonic());
  }
  take();
}

void Connection::take() {
  if (phase != Phase::closing) owner_.received(*this);
  if (phase != Phase::closed && !resting_) read();
}

void Connection::rest(std::chrono::nanoseconds time) {
  resting_ = true;
  if (!rest_) rest_.emplace(stream_.get_executor());
  rest_->expires_after(time);
  rest_->async_wait([self = shared_from_this()](const asio::error_code&) {
    self->resting_ = false;
    if (self->phase == Phase::closed) return;
    self->machine.filled(0, self->clock_.monotonic());  // it is not the peer who is silent
    self->take();
  });
}

void Connection::write() {
  if (writing_ || phase == Phase::closed) return;
  const auto bytes = machine.output();
  if (bytes.empty()) {
    // The close frame is out. Closing the socket while bytes of the peer are unread would destroy it on its way.
    if (phase != Phase::closing || shut_) return;
    shut_ = true;
    asio::error_code ignored;
    stream_.lowest_layer().shutdown(Tcp::socket::shutdown_send, ignored);
    return;
  }
  writing_ = true;
  stream_.async_write_some(asio::buffer(bytes.data(), bytes.size()),
                           [self = shared_from_this()](const asio::error_code& error, std::size_t written) {
                             self->write_done(error, written);
                           });
}

void Connection::write_done(const asio::error_code& error, std::size_t bytes) {
  writing_ = false;
  if (phase == Phase::closed) return;
  if (error) return owner_.failed(*this, LinkEnd::lost, error.message());
  bytes_out += bytes;
  machine.written(bytes);
  owner_.wrote(*this);
  write();
}

void Connection::close() {
  phase = Phase::closed;
  if (resolver_) resolver_->cancel();
  if (rest_) rest_->cancel();
  asio::error_code ignored;
  stream_.lowest_layer().close(ignored);
}

}  // namespace diot
