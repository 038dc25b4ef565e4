#include "bridge/listener.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <asio/basic_socket_acceptor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/buffer.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/wait_traits.hpp>
#include <chrono>
#include <memory>
#include <unordered_map>
#include <vector>

#include "bridge/proxy_protocol.hpp"
#include "bridge/tls.hpp"
#include "bridge/websocket.hpp"
#include "core/address.hpp"

namespace diot {

namespace {

using Stream = asio::generic::stream_protocol;
// Of an io_context and nothing else: an executor that could be any costs a connection 100 bytes, and time.
using Executor = asio::io_context::executor_type;
using Socket = asio::basic_stream_socket<Stream, Executor>;
using Acceptor = asio::basic_socket_acceptor<Stream, Executor>;
using Timer =
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, Executor>;

constexpr std::size_t read_buffer_bytes = 64 << 10;
/// Reads in a row from one connection before the others have their turn.
constexpr int reads_in_a_row = 4;
/// How long a connection that we close may take to fetch our last words.
constexpr auto linger = std::chrono::seconds(2);
/// After a failing accept (mostly: no file descriptors left).
constexpr auto accept_pause = std::chrono::milliseconds(200);
/// What a connection's layers write to; one that grew beyond this is not kept.
constexpr std::size_t kept_buffer_bytes = 4 << 10;

/// "host:port"; of a unix socket "unix".
std::string to_text(const Stream::endpoint& endpoint) {
  char text[INET6_ADDRSTRLEN] = {};
  if (endpoint.data()->sa_family == AF_INET) {
    const auto* address = reinterpret_cast<const sockaddr_in*>(endpoint.data());
    inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    return to_string(HostPort{text, ntohs(address->sin_port)});
  }
  if (endpoint.data()->sa_family != AF_INET6) return "unix";
  const auto* address = reinterpret_cast<const sockaddr_in6*>(endpoint.data());
  inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text);
  return to_string(HostPort{text, ntohs(address->sin6_port)});
}

std::string host_of(const std::string& address) {
  const auto parsed = parse_address(address);
  return parsed ? parsed->host : address;
}

/// A socket that a process left behind when it died is in nobody's way; one that is served is.
Result<void> remove_stale_socket(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return {};
  if (!S_ISSOCK(status.st_mode))
    return fail(Errc::exists, fmt::format("{} is there and no socket: remove it, or choose another path", path));
  asio::io_context io;
  asio::local::stream_protocol::socket probe(io);
  std::error_code error;
  probe.connect(asio::local::stream_protocol::endpoint(path), error);
  if (!error)
    return fail(Errc::exists, fmt::format("another process serves {}: stop it, or choose another path", path));
  ::unlink(path.c_str());
  return {};
}

Result<std::shared_ptr<const TlsContext>> make_tls(const ListenerConfig& config) {
  if (!config.has_tls()) return std::shared_ptr<const TlsContext>();
  TlsServerConfig tls{config.certificate,         config.key, config.client_ca,
                      config.require_certificate, {},         config.identity_as_user};
  if (!config.psk_file.empty()) {
    auto keys = load_psk_file(config.psk_file);
    if (!keys) return tl::unexpected(keys.error());
    if (keys->empty())
      return fail(Errc::invalid, fmt::format("{} has no key: write identity:hex lines", config.psk_file));
    tls.psk = std::move(*keys);
  }
  return TlsContext::server(std::move(tls));
}

}  // namespace

struct Listener::Shared {
  Shared(asio::io_context& context, Broker& the_broker, ListenerConfig the_config)
      : io(context), broker(&the_broker), config(std::move(the_config)), acceptor(context), pause(context) {}

  bool wraps() const { return tls || config.proxy_protocol || config.protocol == "websocket"; }
  std::unique_ptr<LayerStack> layers() const {
    auto out = std::make_unique<LayerStack>();
    if (config.proxy_protocol) out->push(std::make_unique<ProxyHeader>());
    if (tls) out->push(std::make_unique<Tls>(tls));
    if (config.protocol == "websocket") out->push(std::make_unique<WebSocket>(WebSocketRules{config.origins}));
    return out;
  }

  asio::io_context& io;
  Broker* broker;  ///< nullptr: the listener is gone
  const ListenerConfig config;
  std::shared_ptr<const TlsContext> tls;  ///< null: none
  Acceptor acceptor;
  Timer pause;
  bool failing = false;  ///< the last accept did, and it was said
  std::string address;
  std::vector<std::shared_ptr<Client>> clients;            ///< each knows its place
  std::unordered_map<std::string, std::size_t> half_open;  ///< in their handshakes, by host
  std::size_t half_open_count = 0;
  std::array<std::uint8_t, read_buffer_bytes> buffer;  ///< what one read brought; used up before the next one
  Bytes unwrapped;                                     ///< likewise
};

/// One connection. Kept by Shared::clients until its socket is closed.
class Listener::Client final : public ClientTransport, public std::enable_shared_from_this<Client> {
 public:
  Client(std::shared_ptr<Shared> shared, Socket socket)
      : shared_(std::move(shared)), socket_(std::move(socket)), place_(shared_->clients.size()) {}

  void start(const std::string& peer) {
    if (!shared_->wraps()) {
      open(Peer{peer, {}, shared_->config.anonymous_allowed()});
      return wait_to_read();
    }
    wrap_ = std::make_unique<Wrap>(Wrap{shared_->layers(), peer, {}, true});
    ++shared_->half_open[host_of(peer)];
    ++shared_->half_open_count;
    close_after(limits::client_handshake_deadline);
    wait_to_read();
  }

  void send(Bytes& output) override {
    if (!wrap_) return send_to_socket(output);
    if (!wrap_->layers->send(output, wrap_->down)) fail_soon();
    output.clear();
    send_down();
  }

  std::size_t unsent_bytes() const override { return unsent_.size() - unsent_at_; }

  void set_reading(bool on) override {
    reading_ = on;
    if (on) wait_to_read();
  }

  void close() override {
    opened_ = false;
    if (std::exchange(closing_, true)) return;
    if (wrap_) {
      wrap_->layers->close(wrap_->down);
      send_down();
    }
    close_after(linger);
    if (unsent_bytes() == 0 || broken_) finish_writing();
  }

  void end_unless_key_stays(const TlsContext& before, const TlsContext& now) {
    const std::string identity = opened_ && wrap_ ? wrap_->layers->key_identity() : std::string();
    if (identity.empty() || now.keeps_key_of(identity, before)) return;
    shared_->broker->expel(id_, "the key of its TLS identity is gone, or another one now");
  }

  /// The end, also of this object's place among the clients.
  void shut() {
    std::error_code ignored;
    socket_.close(ignored);
    timer_.reset();
    leave_half_open();
    const auto self = shared_from_this();
    auto& clients = shared_->clients;
    if (place_ >= clients.size() || clients[place_] != self) return;  // it has gone before
    clients.back()->place_ = place_;
    clients[place_] = std::move(clients.back());
    clients.pop_back();
  }

 private:
  /// What a connection has that is more than TCP.
  struct Wrap {
    std::unique_ptr<LayerStack> layers;
    std::string peer;  ///< as the socket says
    Bytes down;
    bool half_open;
  };

  void open(Peer peer) {
    id_ = shared_->broker->open(*this, std::move(peer));
    opened_ = true;
  }

  void leave_half_open() {
    if (!wrap_ || !std::exchange(wrap_->half_open, false)) return;
    --shared_->half_open_count;
    const auto found = shared_->half_open.find(host_of(wrap_->peer));
    if (--found->second == 0) shared_->half_open.erase(found);
  }

  void close_after(std::chrono::milliseconds time) {
    timer_ = std::make_unique<Timer>(shared_->io, time);
    timer_->async_wait([self = shared_from_this()](std::error_code error) {
      if (!error) self->shut();
    });
  }

  void wait_to_read() {
    if (waits_to_read_ || !socket_.is_open()) return;
    waits_to_read_ = true;
    socket_.async_wait(Socket::wait_read, [self = shared_from_this()](std::error_code error) {
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
      if (!closing_) received(ByteView(shared_->buffer).first(size));
      if (size < shared_->buffer.size()) break;
    }
    if (reading_ || closing_) wait_to_read();
  }

  void received(ByteView bytes) {
    if (!shared_->broker) return;
    if (!wrap_) return shared_->broker->received(id_, bytes);
    Bytes& up = shared_->unwrapped;
    up.clear();
    const auto taken = wrap_->layers->receive(bytes, up, wrap_->down);
    // Before the broker's own output, which goes through the layers on top of this.
    send_down();
    if (wrap_->half_open && wrap_->layers->established()) {
      leave_half_open();
      timer_.reset();
      const std::string real = wrap_->layers->address();
      if (shared_->broker->full()) return close();
      open(Peer{real.empty() ? wrap_->peer : real, wrap_->layers->user(), shared_->config.anonymous_allowed()});
    }
    if (opened_ && !up.empty()) shared_->broker->received(id_, up);
    if (up.capacity() > 4 * read_buffer_bytes) Bytes().swap(up);
    if (taken && unsent_bytes() <= limits::client_output_bytes_max) return;
    // A violation, a goodbye, or somebody who lets our answers to his pings pile up.
    if (!taken) spdlog::debug("mqtt: {} on {}: {}", wrap_->peer, shared_->address, taken.error().message);
    end();
  }

  /// The connection is to end, and the broker has not heard of it.
  void end() {
    if (std::exchange(opened_, false) && shared_->broker) shared_->broker->closed(id_);
    close();
  }

  /// The other end has closed, or the connection is broken.
  void lost() {
    if (std::exchange(opened_, false) && shared_->broker) shared_->broker->closed(id_);
    shut();
  }

  /// Likewise, found out while the broker is calling: it hears of it later.
  void fail_soon() {
    if (std::exchange(broken_, true)) return;
    asio::post(shared_->io, [self = shared_from_this()] {
      if (self->socket_.is_open()) self->lost();
    });
  }

  /// What the layers made of the output.
  void send_down() {
    send_to_socket(wrap_->down);
    if (wrap_->down.capacity() > kept_buffer_bytes) Bytes().swap(wrap_->down);
  }

  void send_to_socket(Bytes& output) {
    if (broken_ || output.empty()) return output.clear();
    if (unsent_at_ < unsent_.size()) {
      append(unsent_, output);
      return output.clear();
    }
    const std::size_t written = write(output);
    if (written == output.size() || broken_) {
      return output.clear();
    }
    unsent_.clear();
    unsent_.swap(output);
    unsent_at_ = written;
    wait_to_write();
  }

  std::size_t write(ByteView bytes) {
    std::size_t written = 0;
    while (written < bytes.size()) {
      std::error_code error;
      written += socket_.write_some(asio::buffer(bytes.data() + written, bytes.size() - written), error);
      if (error == asio::error::would_block || error == asio::error::try_again) break;
      if (!error) continue;
      fail_soon();
      break;
    }
    return written;
  }

  void wait_to_write() {
    socket_.async_wait(Socket::wait_write, [self = shared_from_this()](std::error_code error) {
      if (!error && self->socket_.is_open()) self->write_rest();
    });
  }

  void write_rest() {
    unsent_at_ += write(ByteView(unsent_).subspan(unsent_at_));
    if (broken_) return;
    if (unsent_bytes() > 0) return wait_to_write();
    Bytes().swap(unsent_);
    unsent_at_ = 0;
    if (closing_) return finish_writing();
    if (opened_ && shared_->broker) shared_->broker->writable(id_);
  }

  void finish_writing() {
    std::error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    wait_to_read();  // until the other end closes too
  }

  std::shared_ptr<Shared> shared_;
  Socket socket_;
  std::size_t place_;  ///< in Shared::clients
  ConnectionId id_{};
  std::unique_ptr<Wrap> wrap_;  ///< null: plain TCP or a plain unix socket
  Bytes unsent_;
  std::size_t unsent_at_ = 0;
  std::unique_ptr<Timer> timer_;  ///< null: no deadline
  bool opened_ = false;           ///< the broker has it
  bool reading_ = true, waits_to_read_ = false, closing_ = false, broken_ = false;
};

Result<std::unique_ptr<Listener>> Listener::open(asio::io_context& io, Broker& broker, ListenerConfig config) {
  const std::string where = config.listen;
  const auto failed = [&](const std::error_code& error, std::string_view hint) {
    return fail(Errc::io, fmt::format("cannot listen for MQTT on {}: {}{}", where, error.message(), hint));
  };
  auto shared = std::make_shared<Shared>(io, broker, std::move(config));
  auto tls = make_tls(shared->config);
  if (!tls) return fail(tls.error().code, fmt::format("listener {}: {}", where, tls.error().message));
  shared->tls = std::move(*tls);

  std::error_code error;
  Stream::endpoint endpoint;
  std::string host;
  if (shared->config.is_unix()) {
    if (where.size() >= sizeof(sockaddr_un::sun_path))
      return fail(Errc::limit, fmt::format("the path {} is too long for a unix socket", where));
    if (auto free = remove_stale_socket(where); !free) return tl::unexpected(free.error());
    endpoint = asio::local::stream_protocol::endpoint(where);
  } else {
    const auto address = parse_address(where);
    if (!address) return tl::unexpected(address.error());
    host = address->host;
    const auto ip = asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
    if (error) return failed(error, "; write the address of an interface, 0.0.0.0 or [::]");
    endpoint = asio::ip::tcp::endpoint(ip, address->port);
  }
  auto& acceptor = shared->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error && !host.empty()) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error && host.empty() &&
      ::chmod(where.c_str(), static_cast<mode_t>(std::stoul(shared->config.mode, nullptr, 8))) != 0)
    error = std::error_code(errno, std::system_category());
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (!error) acceptor.non_blocking(true, error);
  if (error)
    return failed(error, error == asio::error::address_in_use ? "; stop the broker that is there, or choose another "
                                                                "port (mqtt.listen or [[listener]] in diot.toml)"
                                                              : "");
  shared->address = where;
  if (!host.empty()) {
    const auto bound = parse_address(to_text(acceptor.local_endpoint(error)));
    shared->address = to_string(HostPort{host, bound ? bound->port : std::uint16_t{0}});
  }
  accept(shared);
  return std::unique_ptr<Listener>(new Listener(std::move(shared)));
}

void Listener::accept(const std::shared_ptr<Shared>& shared) {
  shared->acceptor.async_accept([shared](std::error_code error, Socket socket) {
    if (!shared->broker || !shared->acceptor.is_open()) return;
    if (error) {
      if (!std::exchange(shared->failing, true))
        spdlog::warn("mqtt: connections are not accepted on {}: {}", shared->address, error.message());
      shared->pause.expires_after(accept_pause);
      shared->pause.async_wait([shared](std::error_code stopped) {
        if (!stopped && shared->acceptor.is_open()) accept(shared);
      });
      return;
    }
    shared->failing = false;
    std::error_code unusable;
    const std::string peer = to_text(socket.remote_endpoint(unusable));
    if (!unusable) socket.non_blocking(true, unusable);
    if (!unusable && !shared->config.is_unix()) {
      socket.set_option(asio::ip::tcp::no_delay(true), unusable);
      if (!unusable)
        socket.set_option(asio::socket_base::keep_alive(true), unusable);  // for clients without a keep-alive
    }
    const auto half_open = shared->half_open.find(host_of(peer));
    const bool crowded = shared->half_open_count >= limits::half_open_clients_max ||
                         (half_open != shared->half_open.end() && !shared->config.proxy_protocol &&
                          half_open->second >= limits::half_open_clients_per_address);
    if (!unusable && !crowded && !shared->broker->full() && shared->clients.size() < shared->config.max_connections) {
      auto client = std::make_shared<Client>(shared, std::move(socket));
      shared->clients.push_back(client);
      client->start(peer);
    }
    accept(shared);
  });
}

Listener::~Listener() {
  shared_->broker = nullptr;
  stop();
  for (const auto& client : std::vector(shared_->clients)) client->shut();
}

const std::string& Listener::address() const { return shared_->address; }

const ListenerConfig& Listener::config() const { return shared_->config; }

Result<void> Listener::reload() {
  auto tls = make_tls(shared_->config);
  if (!tls) return fail(tls.error().code, fmt::format("listener {}: {}", shared_->address, tls.error().message));
  const auto before = std::exchange(shared_->tls, std::move(*tls));
  if (!before) return {};
  // A certificate is judged when it is shown; a key that is taken out of its file is meant to end what it opened.
  for (const auto& client : std::vector(shared_->clients)) client->end_unless_key_stays(*before, *shared_->tls);
  return {};
}

std::size_t Listener::connections() const { return shared_->clients.size(); }

void Listener::stop() {
  std::error_code ignored;
  const bool was_open = shared_->acceptor.is_open();
  shared_->acceptor.close(ignored);
  shared_->pause.cancel(ignored);
  if (was_open && shared_->config.is_unix()) ::unlink(shared_->address.c_str());
}

}  // namespace diot
