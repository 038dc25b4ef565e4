#include "dht/links.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <deque>
#include <map>
#include <unordered_map>

#include "core/address.hpp"
#include "core/limits.hpp"
#include "dht/connection.hpp"
#include "dht/life.hpp"

namespace diot {
namespace {

using Tcp = asio::ip::tcp;
using Phase = Connection::Phase;
using ConnectionPtr = std::shared_ptr<Connection>;

constexpr std::chrono::milliseconds tick_max{1000}, tick_min{5};
constexpr auto twins_pause = std::chrono::minutes(1);  // before two processes of one node are looked at again

std::string to_text(const Tcp::endpoint& endpoint) {
  return to_string(HostPort{endpoint.address().to_string(), endpoint.port()});
}

// One household or machine counts as one source: IPv6 by its /64.
std::vector<std::uint8_t> source_of(asio::ip::address address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const auto bytes = address.to_v6().to_bytes();
  return {bytes.begin(), bytes.begin() + 8};
}

}  // namespace

std::string_view name_of(LinkEnd end) {
  switch (end) {
    case LinkEnd::closed_here: return "closed here";
    case LinkEnd::closed_by_peer: return "closed by peer";
    case LinkEnd::lost: return "lost";
    case LinkEnd::silent: return "silent";
    case LinkEnd::late: return "late";
    case LinkEnd::unreachable: return "unreachable";
    case LinkEnd::tls: return "tls";
    case LinkEnd::wrong_key: return "wrong key";
    case LinkEnd::self: return "self";
    case LinkEnd::version: return "version";
    case LinkEnd::network: return "network";
    case LinkEnd::not_admitted: return "not admitted";
    case LinkEnd::crowded: return "crowded";
    case LinkEnd::violation: return "violation";
    case LinkEnd::overflow: return "overflow";
    case LinkEnd::replaced: return "replaced";
    case LinkEnd::duplicate: return "duplicate";
    case LinkEnd::count_: break;
  }
  return "?";
}

class Links::Impl final : public std::enable_shared_from_this<Impl>, public Connection::Owner {
 public:
  Impl(asio::io_context& io, const KeyPair& node_key, LinkEvents& events, Turn& turn, const Clock& clock,
       Random& random, const LinkTimes& times)
      : io_(io),
        own_(node_key.node_id()),
        life_(node_key, random),
        identity_(node_key),
        events_(events),
        turn_(turn),
        clock_(clock),
        random_(random),
        times_(times),
        tick_period_(std::clamp(
            std::min({times.dial, times.handshake, times.ping_interval, times.silence_max, times.challenge}) / 4,
            tick_min, tick_max)),
        timer_(io) {}

  Result<std::string> listen(const std::string& address);
  void dial(const std::string& address, const std::optional<NodeId>& expected);
  void send(LinkId link, FrameType type, std::initializer_list<ByteView> parts);
  void close(LinkId link, const std::string& reason);
  void flush();
  void shut_down();
  void abandon();
  const Connection* find_up(LinkId link) const {
    const auto found = connections_.find(link);
    return found != connections_.end() && found->second->phase == Phase::up ? found->second.get() : nullptr;
  }
  LinkStats stats() const;
  Monotonic now() const { return clock_.monotonic(); }

 private:
  struct Listener {
    explicit Listener(asio::io_context& io) : acceptor(io) {}
    Tcp::acceptor acceptor;
    bool paused = false;  ///< accepting failed (no descriptors left): tried again with the next tick
  };
  /// What the overlay is still to be told.
  struct Outcome {
    std::optional<LinkId> down;  ///< link_down, else dial_failed
    NodeId node;
    std::string address;
    std::optional<NodeId> expected;
    std::string reason;
  };

  void secured(Connection& connection) override;
  void received(Connection& connection) override;
  void wrote(Connection& connection) override;
  void failed(Connection& connection, LinkEnd end, const std::string& reason) override;

  void accept(const std::shared_ptr<Listener>& listener);
  void take(Tcp::socket socket);
  void add(const ConnectionPtr& connection);
  void arm_tick();
  void tick();
  void tick(Connection& connection, Monotonic now);

  void hello_came(Connection& connection, ByteView body);
  /// nullopt: the connection becomes a link (and replaces an older one to the same node).
  std::optional<std::string> duplicate_of(const Connection& connection, const Hello& hello);
  void link_up(Connection& connection);
  /// The older link's end, unless it turns out that both live.
  void replace(Connection& older, Connection& newer);
  void on_life(Connection& connection, FrameType type, ByteView body);
  void send_hello(Connection& connection, const Hello& own);

  /// Ends a connection: with a close frame that tells the reason, or at once.
  void end(Connection& connection, LinkEnd end, const std::string& reason, bool tell);
  void leave_half_open(Connection& connection);
  void remove(Connection& connection);
  void count(LinkEnd end) { ++stats_.ended[static_cast<std::size_t>(end)]; }
  bool close_if_overfull(Connection& connection);
  void mark_dirty(Connection& connection);
  void queue(Outcome outcome);
  void deliver_outcomes();

  Connection* up_link_of(const NodeId& node) const {
    const auto found = up_.find(node);
    return found == up_.end() ? nullptr : found->second;
  }
  bool dial_awaits_hello_of(const NodeId& node, const Connection* except) const {
    return std::ranges::any_of(connections_, [&](const auto& entry) {
      const Connection& other = *entry.second;
      return &other != except && other.dialled && other.phase == Phase::hello && other.node == node;
    });
  }

  asio::io_context& io_;
  const NodeId own_;
  OwnLife life_;
  TlsIdentity identity_;
  LinkEvents& events_;
  Turn& turn_;
  const Clock& clock_;
  Random& random_;
  const LinkTimes times_;
  const std::chrono::milliseconds tick_period_;

  asio::steady_timer timer_;
  bool ticking_ = false, delivery_posted_ = false, stopped_ = false;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::unordered_map<LinkId, ConnectionPtr> connections_;
  std::unordered_map<NodeId, Connection*> up_;  ///< the one link to each node
  struct Judged {
    LifeJudge judge;
    LinkId older, newer;
  };
  std::unordered_map<NodeId, Judged> judged_;    ///< whose newer link may be another process's
  std::unordered_map<NodeId, Monotonic> twins_;  ///< who runs twice; looked at again from then on
  std::map<std::vector<std::uint8_t>, std::size_t> half_open_;
  std::size_t half_open_count_ = 0, dial_count_ = 0, enrolling_count_ = 0;
  std::uint64_t last_link_ = 0;
  std::vector<ConnectionPtr> dirty_, flushing_;
  std::deque<Outcome> outcomes_;
  LinkStats stats_;
};

// Listening and dialling ----------------------------------------------------------------------------------------

Result<std::string> Links::Impl::listen(const std::string& address) {
  const auto parsed = parse_address(address);
  if (!parsed) return tl::unexpected(parsed.error());
  asio::error_code error;
  const auto host = asio::ip::make_address(parsed->host, error);
  if (error)
    return fail(Errc::invalid, fmt::format("'{}': links listen at a numeric address, e.g. 0.0.0.0:42220", address));
  const auto listener = std::make_shared<Listener>(io_);
  const Tcp::endpoint endpoint(host, parsed->port);
  auto& acceptor = listener->acceptor;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(Tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  const auto bound = error ? Tcp::endpoint() : acceptor.local_endpoint(error);
  if (error) return fail(Errc::io, fmt::format("cannot listen for links at {}: {}", address, error.message()));
  listeners_.push_back(listener);
  accept(listener);
  return to_text(bound);
}

void Links::Impl::accept(const std::shared_ptr<Listener>& listener) {
  listener->acceptor.async_accept(
      [self = shared_from_this(), listener](const asio::error_code& error, Tcp::socket socket) {
        if (self->stopped_ || error == asio::error::operation_aborted) return;
        self->deliver_outcomes();
        if (!error) {
          self->take(std::move(socket));
        } else if (error != asio::error::connection_aborted) {
          listener->paused = true;  // at once it would fail again, and again
          self->arm_tick();
          return;
        }
        self->accept(listener);
      });
}

void Links::Impl::take(Tcp::socket socket) {
  asio::error_code error;
  const auto remote = socket.remote_endpoint(error);
  if (error) return;
  ++stats_.accepted;
  auto source = source_of(remote.address());
  const auto from_there = half_open_.find(source);
  if (half_open_count_ >= limits::half_open_links_max ||
      (from_there != half_open_.end() && from_there->second >= limits::half_open_per_address_max)) {
    count(LinkEnd::crowded);
    stats_.last_refusal = to_text(remote) + ": too many connections that are no links yet";
    return;
  }
  const auto connection = std::make_shared<Connection>(std::move(socket), identity_, *this, clock_, times_, random_,
                                                       LinkId{++last_link_}, false);
  connection->address = to_text(remote);
  connection->source = std::move(source);
  connection->half_open = true;
  ++half_open_[connection->source];
  ++half_open_count_;
  add(connection);
  connection->secure();
}

void Links::Impl::dial(const std::string& address, const std::optional<NodeId>& expected) {
  const auto refuse = [&](LinkEnd end, std::string reason) {
    count(end);
    queue({std::nullopt, {}, address, expected, std::move(reason)});
  };
  if (stopped_) return;
  const auto parsed = parse_address(address);
  if (!parsed) return refuse(LinkEnd::unreachable, parsed.error().message);
  if (expected == own_) return refuse(LinkEnd::self, "this node itself");
  if (dial_count_ >= limits::dials_max) return refuse(LinkEnd::crowded, "too many dials are under way");

  const auto connection = std::make_shared<Connection>(Tcp::socket(io_), identity_, *this, clock_, times_, random_,
                                                       LinkId{++last_link_}, true);
  connection->address = address;
  connection->peer.expected = expected;
  ++dial_count_;
  add(connection);
  asio::error_code error;
  const auto host = asio::ip::make_address(parsed->host, error);
  if (error)
    connection->resolve(parsed->host, parsed->port);
  else
    connection->connect({Tcp::endpoint(host, parsed->port)});
}

void Links::Impl::add(const ConnectionPtr& connection) {
  connections_.emplace(connection->link, connection);
  arm_tick();
}

// From TLS to a link --------------------------------------------------------------------------------------------

// The dialler says hello first, so that a stranger who only scans learns nothing but the node key, and so that the
// accepting end alone decides about the connection.
void Links::Impl::secured(Connection& connection) {
  deliver_outcomes();
  if (connection.phase != Phase::hello) return;
  if (connection.node == own_) return end(connection, LinkEnd::self, "this node itself", false);
  if (connection.dialled) {
    if (auto* existing = up_link_of(connection.node)) {
      existing->machine.challenge(clock_.monotonic());
      mark_dirty(*existing);
      return end(connection, LinkEnd::duplicate, "already linked to this node", false);
    }
    if (dial_awaits_hello_of(connection.node, &connection))
      return end(connection, LinkEnd::duplicate, "another dial to this node is under way", false);
    const auto own = events_.own_hello();
    if (connection.phase != Phase::hello) return;
    send_hello(connection, own);
  }
  connection.start_reading();
}

void Links::Impl::send_hello(Connection& connection, const Hello& own) {
  connection.machine.send(FrameType::hello, {encode_hello(own)});
  mark_dirty(connection);
}

void Links::Impl::received(Connection& connection) {
  deliver_outcomes();
  const auto began = clock_.monotonic();
  while (connection.phase == Phase::hello || connection.phase == Phase::up || connection.phase == Phase::replaced) {
    const auto now = clock_.monotonic();
    // A peer may ask for much with little: what it asks next waits, in its own buffers, while others are served.
    if (now - began >= times_.slice) {
      ++stats_.rests;
      connection.rest(now - began);
      break;
    }
    const auto frame = connection.machine.next(now);
    if (!frame) return end(connection, LinkEnd::violation, frame.error().message, true);
    if (!*frame) break;
    const auto [type, body] = **frame;
    if (type == FrameType::close) {
      const auto reason = clean_reason(as_text(body));
      return end(connection, LinkEnd::closed_by_peer, "closed by the peer: " + reason, false);
    }
    if (type == FrameType::hello) {
      hello_came(connection, body);
    } else if (type == FrameType::life_ask || type == FrameType::life || type == FrameType::life_twin) {
      on_life(connection, type, body);
    } else if (connection.phase == Phase::up) {
      ++stats_.frames_in;
      events_.link_frame(connection.link, connection.node, type, body);
    }
  }
  if (connection.machine.output().empty() || connection.phase == Phase::closed) return;
  if (!close_if_overfull(connection)) mark_dirty(connection);  // pongs
}

void Links::Impl::hello_came(Connection& connection, ByteView body) {
  const auto own = events_.own_hello();
  if (connection.phase != Phase::hello) return;
  auto hello = decode_hello(body, own);
  if (!hello) {
    const auto code = hello.error().code;
    const auto kind = code == Errc::not_available   ? LinkEnd::version
                      : code == Errc::not_permitted ? LinkEnd::network
                                                    : LinkEnd::violation;
    return end(connection, kind, hello.error().message, true);
  }
  connection.kind = events_.admit(connection.node, *hello, connection.dialled);
  if (connection.phase != Phase::hello) return;
  if (connection.kind == LinkClass::refused)
    return end(connection, LinkEnd::not_admitted, "this node is not admitted", true);
  if (const auto twin = twins_.find(connection.node);
      twin != twins_.end() && clock_.monotonic() < twin->second && up_link_of(connection.node))
    return end(connection, LinkEnd::duplicate, "another process with this node's key is linked here; stop one of them",
               true);
  if (const auto reason = duplicate_of(connection, *hello)) return end(connection, LinkEnd::duplicate, *reason, true);
  if (up_.size() >= limits::links_max && !up_link_of(connection.node))
    return end(connection, LinkEnd::crowded, "this node has as many links as it can", true);
  if (connection.kind == LinkClass::enrolling && enrolling_count_ >= limits::enrolling_links_max)
    return end(connection, LinkEnd::crowded, "too many strangers are enrolling; try again in some minutes", true);
  connection.hello = std::move(*hello);
  if (!connection.dialled) send_hello(connection, own);
  link_up(connection);
}

// Both ends judge alike, whatever came first. Of two links dialled by different ends (both dialled at once) the one
// that the smaller NodeId dialled stays; of two dialled by one end the newer one, as nobody dials whom it has a link
// to. A link kept against a newer one may be dead without knowing it, so it is challenged.
std::optional<std::string> Links::Impl::duplicate_of(const Connection& connection, const Hello& hello) {
  const bool dialled_by_smaller = connection.dialled == (own_ < connection.node);
  auto* existing = up_link_of(connection.node);
  if (existing && existing->hello.instance == hello.instance && existing->dialled != connection.dialled &&
      !dialled_by_smaller) {
    existing->machine.challenge(clock_.monotonic());
    mark_dirty(*existing);
    return "already linked to this node";
  }
  // Our own dial wins as soon as its hello is answered: not to take this one spares both overlays a change of links.
  if (!existing && !connection.dialled && !dialled_by_smaller && dial_awaits_hello_of(connection.node, &connection))
    return "both dialled at once, the other link stays";
  return std::nullopt;
}

void Links::Impl::link_up(Connection& connection) {
  const auto link = connection.link;
  if (auto* existing = up_link_of(connection.node)) {
    replace(*existing, connection);
    deliver_outcomes();  // the old link is down before the new one is up
    if (connection.phase != Phase::hello) return;
  }
  leave_half_open(connection);
  if (connection.dialled) --dial_count_;
  const bool enrolling = connection.kind == LinkClass::enrolling;
  if (enrolling) {
    ++enrolling_count_;
    connection.deadline = clock_.monotonic() + times_.enrolling_age_max;
  }
  connection.phase = Phase::up;
  connection.machine.admit(enrolling ? limits::enrolling_frame_bytes_max : limits::frame_bytes_max);
  up_.emplace(connection.node, &connection);
  ++stats_.established;
  events_.link_up(link, connection.node, connection.hello, connection.kind, connection.dialled);
}

// One life ------------------------------------------------------------------------------------------------------

void Links::Impl::replace(Connection& older, Connection& newer) {
  // Both dialled at once: one process, whose other end drops the same one of the two.
  const bool at_once = older.hello.instance == newer.hello.instance && older.dialled != newer.dialled;
  if (at_once || older.kind != LinkClass::member || newer.kind != LinkClass::member)
    return end(older, LinkEnd::replaced, "replaced by a newer link", true);
  if (const auto before = judged_.find(older.node); before != judged_.end())
    if (const auto third = connections_.find(before->second.older); third != connections_.end())
      end(*ConnectionPtr(third->second), LinkEnd::replaced, "replaced by a newer link", true);
  count(LinkEnd::replaced);
  up_.erase(older.node);
  queue({older.link, older.node, {}, {}, "replaced by a newer link"});
  older.phase = Phase::replaced;
  older.deadline = clock_.monotonic() + times_.challenge;
  Judged judged{LifeJudge(older.node, newer.hello.network), older.link, newer.link};
  const auto first = judged.judge.begin(random_);
  judged_.insert_or_assign(older.node, std::move(judged));
  older.machine.send(first.type, {first.body});
  mark_dirty(older);
}

void Links::Impl::on_life(Connection& connection, FrameType type, ByteView body) {
  const auto kept = connection.shared_from_this();
  if (type == FrameType::life_twin) {
    auto proof = life_.proof_in(body, connection.hello.network);
    if (!proof) return;
    proof->told_by = connection.node;
    return events_.runs_twice(*proof);
  }
  if (type == FrameType::life_ask) {
    const auto challenge = LifeNonce::from(body);
    if (!challenge) return end(connection, LinkEnd::violation, "a malformed question", true);
    const auto own = events_.own_hello();
    const auto answer = life_.answer(*challenge, own.instance, connection.hello.network, clock_.monotonic());
    if (!answer || connection.phase == Phase::closed) return;
    connection.machine.send(FrameType::life, {encode_life(*answer)});
    return mark_dirty(connection);
  }
  const auto statement = decode_life(body);
  if (!statement) return end(connection, LinkEnd::violation, "a malformed statement of life", true);
  const auto found = judged_.find(connection.node);
  if (found == judged_.end()) return;
  Judged& judged = found->second;
  const auto older = connections_.find(judged.older), newer = connections_.find(judged.newer);
  if (older == connections_.end() || newer == connections_.end()) return;
  const bool is_older = connection.link == judged.older;
  if (!is_older && connection.link != judged.newer) return;
  for (const auto& send : judged.judge.answered(is_older ? LifeJudge::Which::older : LifeJudge::Which::newer,
                                                *statement, connection.address)) {
    Connection& to = *(send.to == LifeJudge::Which::older ? older : newer)->second;
    to.machine.send(send.type, {send.body});
    mark_dirty(to);
  }
  if (!judged.judge.proved()) return;
  std::erase_if(twins_, [now = clock_.monotonic()](const auto& twin) { return twin.second <= now; });
  twins_[connection.node] = clock_.monotonic() + twins_pause;
  const ConnectionPtr ended = older->second;
  judged_.erase(found);
  end(*ended, LinkEnd::replaced, "another process with this node's key is linked here; stop one of them", true);
  RunsTwice what;
  what.node = connection.node;
  what.told_by = own_;
  what.address = connection.address;
  events_.runs_twice(what);
}

// The end of a connection ---------------------------------------------------------------------------------------

void Links::Impl::end(Connection& connection, LinkEnd why, const std::string& reason, bool tell) {
  if (connection.phase == Phase::closed) return;
  if (connection.phase == Phase::closing) return remove(connection);  // whatever happened, nobody waits for it
  if (connection.phase != Phase::replaced) count(why);
  if (connection.phase == Phase::replaced) {
    if (const auto judged = judged_.find(connection.node);
        judged != judged_.end() && judged->second.older == connection.link)
      judged_.erase(judged);
  } else if (connection.phase == Phase::up) {
    up_.erase(connection.node);
    if (connection.kind == LinkClass::enrolling) --enrolling_count_;
    queue({connection.link, connection.node, {}, {}, reason});
  } else if (connection.dialled) {
    --dial_count_;
    queue({std::nullopt, {}, connection.address, connection.peer.expected, reason});
  } else {
    stats_.last_refusal = connection.address + ": " + reason;
  }
  if (!tell) return remove(connection);
  connection.phase = Phase::closing;
  connection.deadline = clock_.monotonic() + times_.closing;
  connection.machine.send(FrameType::close, {as_bytes(clean_reason(reason))});
  mark_dirty(connection);
}

void Links::Impl::remove(Connection& connection) {
  leave_half_open(connection);
  stats_.bytes_in += connection.bytes_in;
  stats_.bytes_out += connection.bytes_out;
  connection.close();
  connections_.erase(connection.link);  // its handlers still hold it
  if (stopped_ && connections_.empty()) timer_.cancel();
}

void Links::Impl::leave_half_open(Connection& connection) {
  if (!std::exchange(connection.half_open, false)) return;
  --half_open_count_;
  if (const auto found = half_open_.find(connection.source); --found->second == 0) half_open_.erase(found);
}

void Links::Impl::failed(Connection& connection, LinkEnd why, const std::string& reason) {
  deliver_outcomes();
  end(connection, why, reason, false);
}

void Links::Impl::queue(Outcome outcome) {
  outcomes_.push_back(std::move(outcome));
  if (std::exchange(delivery_posted_, true)) return;
  asio::post(io_, [self = shared_from_this()] {
    self->delivery_posted_ = false;
    self->deliver_outcomes();
  });
}

void Links::Impl::deliver_outcomes() {
  while (!outcomes_.empty()) {
    const auto outcome = std::move(outcomes_.front());
    outcomes_.pop_front();
    if (outcome.down)
      events_.link_down(*outcome.down, outcome.node, outcome.reason);
    else
      events_.dial_failed(outcome.address, outcome.expected, outcome.reason);
  }
}

void Links::Impl::close(LinkId link, const std::string& reason) {
  const auto found = connections_.find(link);
  if (found == connections_.end() || found->second->phase != Phase::up) return;
  const auto connection = found->second;
  end(*connection, LinkEnd::closed_here, reason, true);
}

void Links::Impl::shut_down() {
  if (std::exchange(stopped_, true)) return;
  for (const auto& listener : listeners_) {
    asio::error_code ignored;
    listener->acceptor.close(ignored);
  }
  listeners_.clear();
  std::vector<ConnectionPtr> all;
  for (const auto& [link, connection] : connections_) all.push_back(connection);
  for (const auto& connection : all)
    if (connection->phase != Phase::closing)
      end(*connection, LinkEnd::closed_here, "this node stops", connection->phase == Phase::up);
}

void Links::Impl::abandon() {
  stopped_ = true;
  outcomes_.clear();
  for (const auto& listener : listeners_) {
    asio::error_code ignored;
    listener->acceptor.close(ignored);
  }
  for (const auto& [link, connection] : connections_) connection->close();
  connections_.clear();
  up_.clear();
  dirty_.clear();
  listeners_.clear();
  timer_.cancel();
}

// Frames out ----------------------------------------------------------------------------------------------------

void Links::Impl::send(LinkId link, FrameType type, std::initializer_list<ByteView> parts) {
  const auto found = connections_.find(link);
  if (found == connections_.end() || found->second->phase != Phase::up) return;
  Connection& connection = *found->second;
  connection.machine.send(type, parts);
  ++stats_.frames_out;
  if (close_if_overfull(connection)) return;
  if (connection.machine.unsent_bytes() >= limits::link_bulk_bytes_max) connection.was_bulky = true;
  mark_dirty(connection);
}

bool Links::Impl::close_if_overfull(Connection& connection) {
  const auto unsent = connection.machine.unsent_bytes();
  if (connection.phase != Phase::up || unsent <= limits::link_output_bytes_max) return false;
  const auto kept = connection.shared_from_this();
  end(connection, LinkEnd::overflow, fmt::format("the peer left {} bytes unread", unsent), false);
  return true;
}

void Links::Impl::mark_dirty(Connection& connection) {
  if (std::exchange(connection.dirty, true)) return;
  dirty_.push_back(connection.shared_from_this());
  turn_.touch();
}

void Links::Impl::flush() {
  flushing_.swap(dirty_);
  for (const auto& connection : flushing_) {
    connection->dirty = false;
    connection->write();
  }
  flushing_.clear();
}

void Links::Impl::wrote(Connection& connection) {
  deliver_outcomes();
  if (connection.phase != Phase::up || !connection.was_bulky ||
      connection.machine.unsent_bytes() >= limits::link_bulk_bytes_max)
    return;
  connection.was_bulky = false;
  events_.link_writable(connection.link);
}

// Time ----------------------------------------------------------------------------------------------------------

void Links::Impl::arm_tick() {
  if (std::exchange(ticking_, true)) return;
  timer_.expires_after(tick_period_);
  timer_.async_wait([self = shared_from_this()](const asio::error_code& error) {
    self->ticking_ = false;
    if (error) return;
    self->tick();
  });
}

void Links::Impl::tick() {
  deliver_outcomes();
  for (const auto& listener : std::vector(listeners_))
    if (std::exchange(listener->paused, false)) accept(listener);
  std::vector<ConnectionPtr> all;
  all.reserve(connections_.size());
  for (const auto& [link, connection] : connections_) all.push_back(connection);
  const auto now = clock_.monotonic();
  for (const auto& connection : all) tick(*connection, now);
  deliver_outcomes();
  if (!connections_.empty()) arm_tick();
}

void Links::Impl::tick(Connection& connection, Monotonic now) {
  const bool late = now >= connection.deadline;
  switch (connection.phase) {
    case Phase::connecting:
      if (late) connection.give_up_endpoint(LinkEnd::late, "no answer");
      break;
    case Phase::securing:
    case Phase::hello:
      if (late) end(connection, LinkEnd::late, fmt::format("no hello within {} ms", times_.handshake.count()), false);
      break;
    case Phase::up: {
      if (connection.kind == LinkClass::enrolling && late)
        return end(connection, LinkEnd::crowded, "enrolling took too long", true);
      const auto alive = connection.machine.tick(now);
      if (!alive) return end(connection, LinkEnd::silent, alive.error().message, false);
      if (!connection.machine.output().empty()) mark_dirty(connection);
      break;
    }
    case Phase::replaced:
      if (late) end(connection, LinkEnd::replaced, "replaced by a newer link", true);
      break;
    case Phase::closing:
      if (late) remove(connection);
      break;
    case Phase::closed: break;
  }
}

LinkStats Links::Impl::stats() const {
  auto out = stats_;
  out.links = up_.size();
  out.half_open = half_open_count_;
  out.dials = dial_count_;
  for (const auto& [link, connection] : connections_) {
    out.bytes_in += connection->bytes_in;
    out.bytes_out += connection->bytes_out;
  }
  return out;
}

// The outside ---------------------------------------------------------------------------------------------------

Links::Links(asio::io_context& io, const KeyPair& node_key, LinkEvents& events, Turn& turn, const Clock& clock,
             Random& random, const LinkTimes& times)
    : impl_(std::make_shared<Impl>(io, node_key, events, turn, clock, random, times)) {}
Links::~Links() { impl_->abandon(); }

Result<std::string> Links::listen(const std::string& address) { return impl_->listen(address); }
void Links::flush() { impl_->flush(); }
void Links::shut_down() { impl_->shut_down(); }
void Links::dial(const std::string& address, const std::optional<NodeId>& expected) { impl_->dial(address, expected); }
void Links::send(LinkId link, FrameType type, std::initializer_list<ByteView> parts) { impl_->send(link, type, parts); }
void Links::close(LinkId link, const std::string& reason) { impl_->close(link, reason); }
std::size_t Links::unsent_bytes(LinkId link) const {
  const auto* connection = impl_->find_up(link);
  return connection ? connection->machine.unsent_bytes() : 0;
}
std::chrono::milliseconds Links::silent_for(LinkId link) const {
  const auto* connection = impl_->find_up(link);
  if (!connection) return std::chrono::milliseconds::max();
  return std::chrono::duration_cast<std::chrono::milliseconds>(impl_->now() - connection->machine.heard());
}
std::optional<std::chrono::microseconds> Links::round_trip(LinkId link) const {
  const auto* connection = impl_->find_up(link);
  return connection ? connection->machine.round_trip() : std::nullopt;
}
LinkStats Links::stats() const { return impl_->stats(); }

}  // namespace diot
