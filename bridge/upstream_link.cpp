#include "bridge/upstream_link.hpp"

#include <fmt/format.h>

#include <array>
#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>

#include "bridge/text_file.hpp"
#include "core/address.hpp"
#include "core/limits.hpp"

namespace diot {

namespace {
using asio::ip::tcp;
constexpr auto redial_first = std::chrono::milliseconds(500);
constexpr auto redial_last = std::chrono::milliseconds(60'000);
constexpr auto tick_interval = std::chrono::seconds(1);
constexpr std::size_t read_bytes = 64 << 10;
constexpr std::size_t password_bytes_max = 64 << 10;
}  // namespace

/// One attempt. Handlers keep it; `link` is null once the link has done with it.
struct UpstreamLink::Connection : std::enable_shared_from_this<UpstreamLink::Connection> {
  explicit Connection(UpstreamLink& owner)
      : link(&owner), resolver(owner.io_), socket(owner.io_), deadline(owner.io_) {}

  UpstreamLink* link;
  tcp::resolver resolver;
  tcp::socket socket;
  asio::steady_timer deadline;
  LayerStack layers;
  std::array<std::uint8_t, read_bytes> buffer;
  Bytes unsent, up;
  std::size_t unsent_at = 0;
  bool established = false, reading = true, waits_to_read = false;

  /// Whether the attempt goes on; a failure ends it.
  bool goes_on(const std::error_code& error) {
    if (link && error) end(error.message());
    return link != nullptr;
  }

  void end(std::string_view why) {
    UpstreamLink* const owner = std::exchange(link, nullptr);
    shut();
    if (owner) owner->ended(why);
  }
  void shut() {
    std::error_code ignored;
    resolver.cancel();
    deadline.cancel(ignored);
    socket.close(ignored);
  }

  void start(const std::string& host, const std::string& port) {
    if (link->tls_) layers.push(std::make_unique<Tls>(link->tls_, host));
    deadline.expires_after(limits::upstream_connect_deadline);
    deadline.async_wait([self = shared_from_this()](std::error_code error) {
      if (!error && self->link && !self->established) self->end("no connection within the time allowed");
    });
    resolver.async_resolve(host, port, [self = shared_from_this()](std::error_code error, const auto& results) {
      if (!self->goes_on(error)) return;
      asio::async_connect(self->socket, results, [self](std::error_code refused, const tcp::endpoint&) {
        if (self->goes_on(refused)) self->on_tcp();
      });
    });
  }

  void on_tcp() {
    std::error_code error;
    socket.non_blocking(true, error);
    if (!error) socket.set_option(tcp::no_delay(true), error);
    if (error) return end(error.message());
    Bytes down;
    if (auto begun = layers.start(down); !begun) return end(begun.error().message);
    write(down);
    check_established();
    wait_to_read();
  }

  void check_established() {
    if (established || !layers.established()) return;
    established = true;
    std::error_code ignored;
    deadline.cancel(ignored);
    link->upstream_->connected();
  }

  void wait_to_read() {
    if (waits_to_read || !socket.is_open() || !reading) return;
    waits_to_read = true;
    socket.async_wait(tcp::socket::wait_read, [self = shared_from_this()](std::error_code error) {
      self->waits_to_read = false;
      if (!error && self->link) self->read();
    });
  }

  void read() {
    std::error_code error;
    const std::size_t size = socket.read_some(asio::buffer(buffer), error);
    if (error == asio::error::would_block || error == asio::error::try_again) return wait_to_read();
    if (error) return end(error == asio::error::eof ? "it has closed the connection" : error.message());
    Bytes down;
    up.clear();
    const auto taken = layers.receive(ByteView(buffer).first(size), up, down);
    write(down);
    if (link) check_established();
    if (link && established && !up.empty()) link->upstream_->received(up);
    if (!link) return;
    if (!taken) return end(taken.error().message);
    wait_to_read();
  }

  void write(Bytes& bytes) {
    if (bytes.empty()) return;
    const bool waiting = unsent_at < unsent.size();
    append(unsent, bytes);
    bytes.clear();
    if (!waiting) write_now();
  }

  void write_now() {
    std::error_code error;
    while (unsent_at < unsent.size()) {
      unsent_at += socket.write_some(asio::buffer(unsent.data() + unsent_at, unsent.size() - unsent_at), error);
      if (error == asio::error::would_block || error == asio::error::try_again) {
        socket.async_wait(tcp::socket::wait_write, [self = shared_from_this()](std::error_code failed) {
          if (!self->goes_on(failed)) return;
          self->write_now();
          if (self->link && self->unsent.empty()) self->link->upstream_->writable();
        });
        return;
      }
      if (error) return fail_soon(error.message());
    }
    unsent.clear();
    unsent_at = 0;
  }

  /// Whoever is calling must not hear of it before it returns.
  void fail_soon(std::string why) {
    asio::post(socket.get_executor(), [self = shared_from_this(), why = std::move(why)] { self->end(why); });
  }
};

UpstreamLink::UpstreamLink(asio::io_context& io, Random& random)
    : io_(io), random_(random), redial_timer_(io), tick_timer_(io) {}

Result<std::unique_ptr<UpstreamLink>> UpstreamLink::open(asio::io_context& io, Broker& broker, UpstreamConfig config,
                                                         std::string origin, const Clock& clock, Random& random) {
  const auto failed = [&](const Error& error) {
    return fail(error.code, fmt::format("upstream {}: {}", config.name, error.message));
  };
  std::unique_ptr<UpstreamLink> out(new UpstreamLink(io, random));
  const auto address = parse_address(config.address);
  if (!address) return failed(address.error());
  out->host_ = address->host;
  out->port_ = fmt::format("{}", address->port);
  std::vector<UpstreamTopic> topics;
  for (const auto& text : config.topics) {
    auto topic = parse_upstream_topic(text);
    if (!topic) return failed(topic.error());
    topics.push_back(std::move(*topic));
  }
  Bytes password;
  if (!config.password_file.empty()) {
    const auto text = read_text_file(config.password_file, password_bytes_max);
    if (!text) return failed(text.error());
    password = to_bytes(std::string_view(*text).substr(0, text->find_first_of("\r\n")));
  }
  if (config.tls) {
    TlsClientConfig tls{config.ca, config.certificate, config.key, config.insecure, config.psk_identity, {}};
    if (!config.psk_file.empty()) {
      const auto keys = load_psk_file(config.psk_file);
      if (!keys) return failed(keys.error());
      const auto key = keys->find(config.psk_identity);
      if (key == keys->end())
        return failed({Errc::invalid, fmt::format("{} has no key of '{}'", config.psk_file, config.psk_identity)});
      tls.psk = key->second;
    }
    auto context = TlsContext::client(std::move(tls));
    if (!context) return failed(context.error());
    out->tls_ = std::move(*context);
  }
  UpstreamWire& wire = *out;
  out->upstream_ = std::make_unique<Upstream>(std::move(config), std::move(topics), std::move(password),
                                              std::move(origin), broker, wire, clock);
  out->upstream_->prepare();
  out->wait_ = redial_first;
  out->dial();
  out->tick();
  return out;
}

UpstreamLink::~UpstreamLink() {
  if (connection_) {
    connection_->link = nullptr;
    connection_->shut();
  }
}

void UpstreamLink::dial() {
  connection_ = std::make_shared<Connection>(*this);
  connection_->start(host_, port_);
}

void UpstreamLink::ended(std::string_view why) {
  if (upstream_->status().connected) wait_ = redial_first;
  connection_.reset();
  upstream_->lost(why);
  redial();
}

/// Waits twice as long each time, and up to a quarter less, so that many homes do not come back together.
void UpstreamLink::redial() {
  const auto shorter = std::chrono::milliseconds(random_.u64() % (static_cast<std::uint64_t>(wait_.count()) / 4 + 1));
  redial_timer_.expires_after(wait_ - shorter);
  redial_timer_.async_wait([this](std::error_code error) {
    if (!error) dial();
  });
  wait_ = std::min(wait_ * 2, redial_last);
}

void UpstreamLink::tick() {
  tick_timer_.expires_after(tick_interval);
  tick_timer_.async_wait([this](std::error_code error) {
    if (error) return;
    upstream_->tick();
    tick();
  });
}

void UpstreamLink::send(Bytes& output) {
  if (!connection_) return output.clear();
  Bytes down;
  if (auto sent = connection_->layers.send(output, down); !sent) connection_->fail_soon(sent.error().message);
  output.clear();
  connection_->write(down);
}

std::size_t UpstreamLink::unsent_bytes() const {
  return connection_ ? connection_->unsent.size() - connection_->unsent_at : 0;
}

void UpstreamLink::set_reading(bool on) {
  if (!connection_) return;
  connection_->reading = on;
  if (on) connection_->wait_to_read();
}

void UpstreamLink::close() {
  if (connection_) connection_->fail_soon("closed here");
}

}  // namespace diot
