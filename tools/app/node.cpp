#include "tools/app/node.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <asio/post.hpp>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/address.hpp"
#include "core/limits.hpp"
#include "tools/app/local_users.hpp"

namespace diot {

namespace {

constexpr WallMs built = 1'795'305'600'000;  // 2026-11-22; goes with every release
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
  for (const auto step :
       {&Node::open_users, &Node::open_store, &Node::open_overlay, &Node::open_upstreams, &Node::open_listeners})
    if (auto done = (this->*step)(); !done) return done;
  signals_.add(SIGINT);
  signals_.add(SIGTERM);
  signals_.async_wait([this](std::error_code error, int) {
    if (!error) io_.stop();
  });
  hangup_.add(SIGHUP);
  wait_for_hangup();
  tick();
  announce();
  return {};
}

Result<void> Node::open_users() {
  // Hashing a password takes long enough for other clients to notice.
  users_ = std::make_unique<Users>(
      [this](std::function<void()> work, std::function<void()> then) {
        if (!hashing_) hashing_.emplace(1);
        asio::post(*hashing_, [this, work = std::move(work), then = std::move(then)]() mutable {
          work();
          asio::post(io_, std::move(then));
        });
      },
      clock_, random_);
  return load_users();
}

Result<void> Node::load_users() {
  auto passwords = load_passwords(home_.path(), config_);
  if (!passwords) return tl::unexpected(passwords.error());
  auto acl = load_acl(home_.path(), config_);
  if (!acl) return tl::unexpected(acl.error());
  users_->set_passwords(std::move(*passwords));
  users_->set_acl(std::move(*acl));
  return {};
}

/// Users, rules, certificates and keys are read again. What cannot be read stays as it was.
Result<Json> Node::reload() {
  std::string failures;
  const auto note = [&](const Result<void>& done) {
    if (done) return;
    spdlog::error("reload: {}", done.error().message);
    failures += fmt::format("{}{}", failures.empty() ? "" : "; ", done.error().message);
  };
  note(load_users());
  for (const auto& listener : listeners_) note(listener->reload());
  core_->broker().permissions_changed();
  if (!failures.empty()) return fail(Errc::invalid, failures + " (what could not be read stays as it was)");
  spdlog::info("users, rules and certificates were read again: {} users, {} rules", users_->count(), users_->rules());
  return Json{{"users", users_->count()}, {"rules", users_->rules()}, {"listeners", listeners_.size()}};
}

void Node::wait_for_hangup() {
  hangup_.async_wait([this](std::error_code error, int) {
    if (error) return;
    (void)reload();  // it has said what went wrong
    wait_for_hangup();
  });
}

Result<void> Node::open_store() {
  auto opened = open_database();
  if (!opened && opened.error().code == Errc::corrupt)
    opened.error().message += fmt::format(
        ". Restore {} from a backup; or take what others hold: move genesis and diot.db* out of that folder, then "
        "`diot "
        "join INVITE --handle {}` with an invite of another home (the keys stay; shares and sessions are made anew)",
        home_.path(), config_.handle);
  return opened;
}

Result<void> Node::open_database() {
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
  NodeCoreConfig core;
  core.handle = config_.handle;
  core.genesis = genesis_;
  core.authenticator = users_.get();
  if (auto witness = home_.witness_key()) witness_key_ = *witness;
  core.witness = witness_key();
  core.archive = config_.ledger_archive;
  core.built = built;
  core.broker.keep_alive_seconds_max = static_cast<std::uint16_t>(config_.mqtt_keep_alive_max);
  core.broker.server_reference = config_.mqtt_server_reference;
  core.broker.server_moved = config_.mqtt_server_moved;
  core_ = std::make_unique<NodeCore>(std::move(core), *node_key_, *store_, *this, clock_, random_);
  return core_->open();
}

Result<void> Node::open_overlay() {
  Retention retention;
  std::error_code unknown;
  if (const auto disk = std::filesystem::space(std::filesystem::path(home_.database_path()).parent_path(), unknown);
      !unknown)
    retention.bytes_max = std::min<std::uint64_t>(limits::store_bytes_max, disk.capacity / 10);
  // The configuration has been checked; an empty size is the default.
  retention.bytes_max = parse_bytes(config_.store_max).value_or(retention.bytes_max);
  retention.handle_bytes_max = parse_bytes(config_.store_handle_max).value_or(retention.bytes_max / 4);
  retention.log_bytes_max = parse_bytes(config_.store_log_max).value_or(retention.log_bytes_max);
  retention.age_max = std::chrono::hours(24 * config_.store_days);
  core_->overlay().set_retention(retention);
  links_ = std::make_unique<Links>(io_, *node_key_, core_->overlay(), *this, clock_, random_);
  directory_ = std::make_unique<DhtDirectory>(
      io_, node_key_->node_id(), core_->ledger().network(), core_->dht_key(),
      [this](DirectoryKind kind, ByteView subject, const NodeId& signer) {
        return core_->may_sign(kind, subject, signer);
      },
      clock_, random_);

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
  if (auto started = core_->start(*links_, directory_.get()); !started) return started;

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
  core_->overlay().set_addresses(std::move(reachable));
  return {};
}

Result<void> Node::open_upstreams() {
  std::vector<std::string> names;
  for (UpstreamConfig upstream : config_.upstreams) {
    names.push_back(upstream.name);
    for (auto file : {&UpstreamConfig::password_file, &UpstreamConfig::ca, &UpstreamConfig::certificate,
                      &UpstreamConfig::key, &UpstreamConfig::psk_file})
      upstream.*file = path_in_home(home_.path(), upstream.*file);
    auto opened =
        UpstreamLink::open(io_, core_->broker(), std::move(upstream), node_key_->node_id().hex(), clock_, random_);
    if (!opened) return tl::unexpected(opened.error());
    upstreams_.push_back(std::move(*opened));
  }
  forget_other_upstreams(core_->broker(), names);
  return {};
}

Result<void> Node::open_listeners() {
  for (ListenerConfig listener : config_.all_listeners()) {
    if (auto safe = check_access(listener, users_->any()); !safe) return safe;
    for (auto file :
         {&ListenerConfig::certificate, &ListenerConfig::key, &ListenerConfig::client_ca, &ListenerConfig::psk_file})
      listener.*file = path_in_home(home_.path(), listener.*file);
    auto opened = Listener::open(io_, core_->broker(), std::move(listener));
    if (!opened) return tl::unexpected(opened.error());
    const auto scheme = (*opened)->config().scheme();
    mqtt_addresses_.push_back(scheme == "mqtt" ? (*opened)->address()
                                               : fmt::format("{}://{}", scheme, (*opened)->address()));
    listeners_.push_back(std::move(*opened));
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
  spdlog::info("diot {} is @{} ({})", DIOT_VERSION, own_name(), to_display(node_key_->node_id()));
  spdlog::info("MQTT on {}; other nodes on {}", fmt::join(mqtt_addresses_, ", "), fmt::join(overlay_addresses_, ", "));
  for (const auto& server : http_) spdlog::info("HTTP API on http://{}/api/v1/", server->address());
  spdlog::info("ledger at block {} with {} handles", core_->ledger().head().height, core_->ledger().handles().size());
  if (core_->overlay().own().shares().all().empty())
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
  core_->end_turn();
  links_->flush();
}

void Node::tick() {
  core_->tick();
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
  upstreams_.clear();
  for (const auto& listener : listeners_) listener->stop();
  if (hashing_) hashing_->join();
  core_->broker().stop();
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
