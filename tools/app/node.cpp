#include "tools/app/node.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <asio/post.hpp>
#include <csignal>

#include "core/address.hpp"
#include "core/limits.hpp"
#include "tools/app/ledger_answers.hpp"

namespace diot {

namespace {

constexpr auto tick_interval = std::chrono::milliseconds(100);
constexpr auto stop_grace = std::chrono::milliseconds(300);

Bytes meta_dht_contacts() { return to_bytes("dht-contacts"); }

bool is_any(const std::string& host) { return host == "0.0.0.0" || host == "::"; }

/// Where others can dial a socket that is bound to every interface: one "host:port" an interface address; loopback only
/// if there is nothing else.
std::vector<std::string> interface_addresses(std::uint16_t port, bool ipv6) {
  std::vector<std::string> out, loopback;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return out;
  for (const ifaddrs* at = all; at; at = at->ifa_next) {
    if (!at->ifa_addr || !(at->ifa_flags & IFF_UP)) continue;
    char text[INET6_ADDRSTRLEN] = {};
    if (at->ifa_addr->sa_family == AF_INET)
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr, text, sizeof text);
    else if (ipv6 && at->ifa_addr->sa_family == AF_INET6) {
      const auto* address = reinterpret_cast<const sockaddr_in6*>(at->ifa_addr);
      if (IN6_IS_ADDR_LINKLOCAL(&address->sin6_addr)) continue;
      inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text);
    } else {
      continue;
    }
    (at->ifa_flags & IFF_LOOPBACK ? loopback : out).push_back(to_string(HostPort{text, port}));
  }
  freeifaddrs(all);
  return out.empty() ? loopback : out;
}

}  // namespace

Node::Node(const Home& home, const Config& config) : home_(home), config_(config) {}

Node::~Node() = default;

Result<void> Node::start() {
  // A file-size limit is to be an error of the write that meets it, not the end of the process.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  started_ = clock_.monotonic();
  auto key = home_.node_key();
  if (!key) return tl::unexpected(key.error());
  node_key_.emplace(*key);
  for (const auto step : {&Node::open_store, &Node::open_overlay, &Node::open_listeners})
    if (auto done = (this->*step)(); !done) return done;
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  signals_.async_wait([this](std::error_code error, int) {
    if (!error) io_.stop();
  });
  tick();
  announce();
  return {};
}

Result<void> Node::open_store() {
  auto store = SqliteStore::open(home_.database_path(), [this](std::function<void()> call) {
    asio::post(io_, [this, call = std::move(call)] {
      call();
      touch();
    });
  });
  if (!store) return tl::unexpected(store.error());
  store_ = std::move(*store);
  auto genesis = home_.genesis();
  if (!genesis) return tl::unexpected(genesis.error());
  genesis_ = std::move(*genesis);
  auto ledger = replay_ledger(genesis_, *store_);
  if (!ledger) return tl::unexpected(ledger.error());
  ledger_.emplace(std::move(*ledger));
  retained_ = std::make_unique<Retained>(*store_, clock_);
  return retained_->load();
}

/// The network's; its founder makes it at the first start.
Result<DhtKey> Node::dht_key() {
  auto stored = store_->get(Table::meta, meta_dht_key());
  if (!stored) return tl::unexpected(stored.error());
  if (*stored) {
    if (const auto key = decode_dht_key(**stored)) return *key;
    return fail(Errc::corrupt, "the network's DHT key in diot.db is malformed; join again with a new invite");
  }
  if (!home_.witness_key())
    return fail(Errc::corrupt, "diot.db holds no DHT key of the network; join again with a new invite");
  const DhtKey made{1, random_.id<Seed>()};
  store_->put(Table::meta, meta_dht_key(), encode_dht_key(made));
  return made;
}

Result<void> Node::open_overlay() {
  OverlayConfig overlay;
  overlay.handle = config_.handle;
  overlay.genesis = genesis_;
  auto key = dht_key();
  if (!key) return tl::unexpected(key.error());
  overlay.dht_key = *key;
  if (auto witness = home_.witness_key()) overlay.witness = *witness;
  overlay_ =
      std::make_unique<Overlay>(std::move(overlay), *node_key_, *ledger_, *store_, *retained_, *this, clock_, random_);
  links_ = std::make_unique<Links>(io_, *node_key_, *overlay_, *this, clock_, random_);
  directory_ = std::make_unique<DhtDirectory>(
      io_, node_key_->node_id(), ledger_->network(), *key,
      [this](DirectoryKind kind, ByteView subject, const NodeId& signer) {
        if (kind == DirectoryKind::node) return ledger_->handle_of(signer) != nullptr;
        const HandleRecord* handle = ledger_->handle(as_text(subject));
        return handle && handle->role_of(signer).has_value();
      },
      clock_, random_);

  BrokerConfig broker;
  broker.own_handle = config_.handle;
  broker_ = std::make_unique<Broker>(broker, *store_, *retained_, *overlay_, *this, clock_, random_);
  overlay_->connect(*broker_, *links_, directory_.get());

  // The overlay's sockets first: what is loaded below may already look for peers.
  for (const auto& address : config_.overlay_listen) {
    auto bound = links_->listen(address);
    if (!bound) return tl::unexpected(bound.error());
    overlay_addresses_.push_back(*bound);
    if (auto udp = directory_->listen(*bound); !udp) return udp;
  }
  if (auto contacts = store_->get(Table::meta, meta_dht_contacts()); contacts && *contacts)
    if (auto imported = directory_->import_contacts(**contacts); !imported)
      spdlog::warn("dht: stored contacts are unreadable: {}", imported.error().message);
  if (auto loaded = overlay_->load(); !loaded) return loaded;
  if (auto loaded = broker_->load(); !loaded) return loaded;
  overlay_->settle();

  std::vector<std::string> reachable = config_.overlay_addresses;
  if (reachable.empty())
    for (const auto& address : overlay_addresses_) {
      const auto parsed = parse_address(address);
      if (!parsed) continue;
      if (!is_any(parsed->host))
        reachable.push_back(address);
      else
        for (auto& each : interface_addresses(parsed->port, parsed->host == "::")) reachable.push_back(std::move(each));
    }
  overlay_->set_addresses(std::move(reachable));
  return {};
}

Result<void> Node::open_listeners() {
  for (const auto& address : config_.mqtt_listen) {
    const auto parsed = parse_address(address);
    if (!parsed) return tl::unexpected(parsed.error());
    auto listener = Listener::open(io_, *broker_, *parsed);
    if (!listener) return tl::unexpected(listener.error());
    mqtt_addresses_.push_back(to_string((*listener)->address()));
    listeners_.push_back(std::move(*listener));
  }
  if (!config_.api_listen.empty()) {
    auto token = home_.api_token(random_);
    if (!token) return tl::unexpected(token.error());
    for (const auto& address : config_.api_listen) {
      auto server = HttpServer::start(io_, *this, address, *token);
      if (!server) return tl::unexpected(server.error());
      http_.push_back(std::move(*server));
    }
  }
  control_ = std::make_unique<ControlServer>(io_, *this);
  return control_->listen(home_.socket_path());
}

void Node::announce() const {
  spdlog::info("diot {} is @{} ({})", DIOT_VERSION, config_.handle, to_display(node_key_->node_id()));
  spdlog::info("MQTT on {}; other nodes on {}", fmt::join(mqtt_addresses_, ", "), fmt::join(overlay_addresses_, ", "));
  for (const auto& server : http_) spdlog::info("HTTP API on http://{}/api/v1/", server->address());
  spdlog::info("ledger at block {} with {} handles", ledger_->head().height, ledger_->handles().size());
  if (overlay_->own().shares().all().empty())
    spdlog::info("nothing is shared yet; try: diot share add 'sensors/#' --preset public");
  else
    spdlog::info("try: diot status");
}

// The turn ---------------------------------------------------------------------------------------------------

void Node::touch() {
  if (std::exchange(turn_pending_, true)) return;
  asio::post(io_, [this] { end_turn(); });
}

void Node::end_turn() {
  turn_pending_ = false;
  // What the turn changed goes into one transaction, then everything that waits to be sent leaves at once.
  overlay_->end_turn();
  broker_->end_turn();
  store_->seal();
  links_->flush();
}

void Node::tick() {
  broker_->tick();
  overlay_->tick();
  retained_->tick();
  touch();
  tick_timer_.expires_after(tick_interval);
  tick_timer_.async_wait([this](std::error_code error) {
    if (!error) tick();
  });
}

Result<void> Node::run() {
  io_.run();
  spdlog::info("stopping");
  if (control_) control_->shut_down();
  http_.clear();
  for (const auto& listener : listeners_) listener->stop();
  broker_->stop();
  store_->put(Table::meta, meta_dht_contacts(), directory_->export_contacts());
  directory_->shut_down();
  links_->shut_down();
  // What is under way gets a moment to reach the disk, the clients and the peers.
  touch();
  io_.restart();
  io_.run_for(stop_grace);
  return store_->close();
}

}  // namespace diot
