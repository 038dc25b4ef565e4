#include "bridge/listener.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <asio/buffer.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <optional>
#include <unordered_set>

namespace diot {

namespace {

using asio::ip::tcp;

constexpr std::size_t read_buffer_bytes = 64 << 10;
/// Reads in a row from one connection before the others have their turn.
constexpr int reads_in_a_row = 4;
/// How long a connection that we close may take to fetch our last words.
constexpr auto linger = std::chrono::seconds(2);
/// After a failing accept (mostly: no file descriptors left).
constexpr auto accept_pause = std::chrono::milliseconds(200);
/// A write buffer that grew beyond this is not kept.
constexpr std::size_t kept_buffer_bytes = 64 << 10;

std::string to_text(const tcp::endpoint& endpoint) {
  return to_string(HostPort{endpoint.address().to_string(), endpoint.port()});
}

}  // namespace

struct Listener::Shared {
  Shared(asio::io_context& context, Broker& the_broker)
      : io(context), broker(&the_broker), acceptor(context), pause(context) {}

  asio::io_context& io;
  Broker* broker;  ///< nullptr: the listener is gone
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  bool failing = false;  ///< the last accept did, and it was said
  HostPort address;
  std::unordered_set<std::shared_ptr<Client>> clients;
  std::array<std::uint8_t, read_buffer_bytes> buffer;  ///< what one read brought; used up before the next one
};

/// One connection. Kept by Shared::clients until its socket is closed.
class Listener::Client final : public ClientTransport, public std::enable_shared_from_this<Client> {
 public:
  Client(std::shared_ptr<Shared> shared, tcp::socket socket) : shared_(std::move(shared)), socket_(std::move(socket)) {}

  void start(const std::string& peer) {
    id_ = shared_->broker->open(*this, Peer{peer});
    wait_to_read();
  }

  void send(Bytes& output) override {
    if (broken_) return output.clear();
    if (unsent_at_ < unsent_.size()) {
      append(unsent_, output);
      return output.clear();
    }
    const std::size_t written = write(output);
    if (written == output.size() || broken_) {
      output.clear();
      if (output.capacity() > kept_buffer_bytes) Bytes().swap(output);
      return;
    }
    unsent_.clear();
    unsent_.swap(output);
    unsent_at_ = written;
    wait_to_write();
  }

  std::size_t unsent_bytes() const override { return unsent_.size() - unsent_at_; }

  void set_reading(bool on) override {
    reading_ = on;
    if (on) wait_to_read();
  }

  void close() override {
    closing_ = true;
    timer_.emplace(shared_->io);
    timer_->expires_after(linger);
    timer_->async_wait([self = shared_from_this()](std::error_code error) {
      if (!error) self->shut();
    });
    if (unsent_bytes() == 0 || broken_) finish_writing();
  }

  /// The end, also of this object's place among the clients.
  void shut() {
    std::error_code ignored;
    socket_.close(ignored);
    timer_.reset();
    shared_->clients.erase(shared_from_this());
  }

 private:
  void wait_to_read() {
    if (waits_to_read_ || !socket_.is_open()) return;
    waits_to_read_ = true;
    socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](std::error_code error) {
      self->waits_to_read_ = false;
      if (!error) self->read();
    });
  }

  void read() {
    for (int times = 0; times < reads_in_a_row; ++times) {
      if (!socket_.is_open() || (!reading_ && !closing_)) return;
      std::error_code error;
      const std::size_t size = socket_.read_some(asio::buffer(shared_->buffer), error);
      if (error == asio::error::would_block || error == asio::error::try_again) break;
      if (error) return lost();
      // After close() what comes in is thrown away: unread bytes would turn our close into a reset, and the reset would
      // take our last words from the client.
      if (!closing_) shared_->broker->received(id_, ByteView(shared_->buffer).first(size));
      if (size < shared_->buffer.size()) break;
    }
    if (reading_ || closing_) wait_to_read();
  }

  /// The other end has closed, or the connection is broken.
  void lost() {
    if (!closing_ && shared_->broker) shared_->broker->closed(id_);
    shut();
  }

  std::size_t write(ByteView bytes) {
    std::size_t written = 0;
    while (written < bytes.size()) {
      std::error_code error;
      written += socket_.write_some(asio::buffer(bytes.data() + written, bytes.size() - written), error);
      if (error == asio::error::would_block || error == asio::error::try_again) break;
      if (!error) continue;
      broken_ = true;
      // The broker is calling: it hears of it later.
      asio::post(shared_->io, [self = shared_from_this()] {
        if (self->socket_.is_open()) self->lost();
      });
      break;
    }
    return written;
  }

  void wait_to_write() {
    socket_.async_wait(tcp::socket::wait_write, [self = shared_from_this()](std::error_code error) {
      if (!error && self->socket_.is_open()) self->write_rest();
    });
  }

  void write_rest() {
    unsent_at_ += write(ByteView(unsent_).subspan(unsent_at_));
    if (broken_) return;
    if (unsent_bytes() > 0) return wait_to_write();
    unsent_.clear();
    unsent_at_ = 0;
    if (unsent_.capacity() > kept_buffer_bytes) Bytes().swap(unsent_);
    if (closing_) return finish_writing();
    if (shared_->broker) shared_->broker->writable(id_);
  }

  void finish_writing() {
    std::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    wait_to_read();  // until the other end closes too
  }

  std::shared_ptr<Shared> shared_;
  tcp::socket socket_;
  ConnectionId id_{};
  Bytes unsent_;
  std::size_t unsent_at_ = 0;
  std::optional<asio::steady_timer> timer_;
  bool reading_ = true, waits_to_read_ = false, closing_ = false, broken_ = false;
};

Result<std::unique_ptr<Listener>> Listener::open(asio::io_context& io, Broker& broker, const HostPort& address) {
  const auto failed = [&](const std::error_code& error, std::string_view hint) {
    return fail(Errc::io, fmt::format("cannot listen for MQTT on {}: {}{}", to_string(address), error.message(), hint));
  };
  if (!is_loopback(address))
    return fail(Errc::not_available,
                fmt::format("users and passwords are not built yet, so MQTT listens on loopback addresses only, not on "
                            "{}: use 127.0.0.1:{}",
                            to_string(address), address.port));
  std::error_code error;
  const auto ip = asio::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, error);
  if (error) return failed(error, "");
  const tcp::endpoint endpoint(ip, address.port);
  auto shared = std::make_shared<Shared>(io, broker);
  auto& acceptor = shared->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) acceptor.non_blocking(true, error);
  if (error)
    return failed(error, error == asio::error::address_in_use ? "; stop the broker that is there, or choose another "
                                                                "port (mqtt.listen in diot.toml)"
                                                              : "");
  shared->address = {address.host, acceptor.local_endpoint(error).port()};
  accept(shared);
  return std::unique_ptr<Listener>(new Listener(std::move(shared)));
}

void Listener::accept(const std::shared_ptr<Shared>& shared) {
  shared->acceptor.async_accept([shared](std::error_code error, tcp::socket socket) {
    if (!shared->broker || !shared->acceptor.is_open()) return;
    if (error) {
      if (!std::exchange(shared->failing, true))
        spdlog::warn("mqtt: connections are not accepted: {}", error.message());
      shared->pause.expires_after(accept_pause);
      shared->pause.async_wait([shared](std::error_code stopped) {
        if (!stopped && shared->acceptor.is_open()) accept(shared);
      });
      return;
    }
    shared->failing = false;
    std::error_code unusable;
    const tcp::endpoint peer = socket.remote_endpoint(unusable);
    if (!unusable) socket.non_blocking(true, unusable);
    if (!unusable) socket.set_option(tcp::no_delay(true), unusable);
    if (!unusable)
      socket.set_option(asio::socket_base::keep_alive(true), unusable);  // for clients without a keep-alive
    if (!unusable && !shared->broker->full()) {
      auto client = std::make_shared<Client>(shared, std::move(socket));
      shared->clients.insert(client);
      client->start(to_text(peer));
    }
    accept(shared);
  });
}

Listener::~Listener() {
  shared_->broker = nullptr;
  stop();
  for (const auto& client : std::unordered_set(shared_->clients)) client->shut();
}

const HostPort& Listener::address() const { return shared_->address; }

std::size_t Listener::connections() const { return shared_->clients.size(); }

void Listener::stop() {
  std::error_code ignored;
  shared_->acceptor.close(ignored);
  shared_->pause.cancel(ignored);
}

}  // namespace diot
