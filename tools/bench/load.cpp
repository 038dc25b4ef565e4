#include "tools/bench/load.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <deque>
#include <random>

#include "tools/bench/network.hpp"
#include "tools/bench/tally.hpp"
#include "tools/bench/usage.hpp"

namespace diot::bench {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t turn_ns_max = 100'000'000;
constexpr std::uint64_t stall_ns = second_ns;
constexpr std::uint64_t probe_every_ns = 50'000'000;
constexpr std::uint64_t probe_ns_max = 30 * second_ns;
constexpr std::uint64_t connect_ns_max = 30 * second_ns;
constexpr std::size_t connecting_max = 64;            // below every server's listen backlog
constexpr std::size_t filters_per_connection = 5000;  // servers bound what one session may ask for
constexpr std::size_t unsent_bytes_max = 256 << 10;   // of one publisher
constexpr std::uint32_t probe_stream = UINT32_MAX;

/// The head of every payload; only this process reads it.
struct Stamp {
  std::uint32_t run;     ///< random
  std::uint32_t stream;  ///< publisher × topics + topic
  std::uint64_t seq;
  std::uint64_t sent_ns;
};
static_assert(sizeof(Stamp) == payload_bytes_min);

ByteView bytes_of(const Stamp& stamp) { return {reinterpret_cast<const std::uint8_t*>(&stamp), sizeof stamp}; }

std::uint64_t own_cpu_ns() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return static_cast<std::uint64_t>(used.tv_sec) * second_ns + static_cast<std::uint64_t>(used.tv_nsec);
}

std::uint64_t to_ns(double seconds) { return static_cast<std::uint64_t>(seconds * 1e9); }

enum class Role { publisher, subscriber, bystander, slow };

/// A client with its socket and what it is for.
struct Peer {
  Peer(Client::Config config, ClientOwner& owner, Role for_role)
      : role(for_role), client(std::move(config), owner), link(client) {}

  Role role;
  Client client;
  Link link;

  // Publisher.
  std::vector<PublishTemplate> packets;  ///< one a topic
  std::size_t next_topic = 0;
  std::uint32_t first_stream = 0;  ///< also of a subscriber: the first that it is to get
  std::uint64_t sent = 0;
  std::uint64_t readers = 0;   ///< subscribers that are to get its messages now
  std::int64_t under_way = 0;  ///< deliveries to come
  bool may_send = false;       ///< in Load::senders_

  // Subscriber.
  std::vector<StreamTally> tallies;  ///< of each stream from first_stream
  bool probed = false;
};

class Load final : public ClientOwner {
 public:
  explicit Load(const Options& options);
  Result<Report> run();

 private:
  struct Mark {
    std::uint64_t at = 0, published = 0, acknowledged = 0, delivered = 0, server_cpu_ns = 0, generator_cpu_ns = 0;
  };

  void ready(Client& client) override;
  void message(Client& client, ByteView payload) override;
  void acknowledged(Client& client, bool accepted) override;

  void make_peers();
  std::string topic_of(std::size_t stream) const;
  Result<void> run_live();
  Result<void> run_late();
  Result<void> open_all(Role role);
  Result<void> storm();
  Result<void> leave_all(Role role);
  // A server is left as it was found.
  Result<void> forget_sessions(Role role);
  Result<void> forget_retained();
  Result<void> probe();
  Result<void> send_until(std::uint64_t warm_at, std::uint64_t end_at);
  Result<void> settle();
  Result<void> turn(std::uint64_t until);
  void fill(std::uint64_t now);
  void fill(Peer& peer, std::uint64_t now);
  void send_due(std::uint64_t now);
  void send_one(Peer& peer, std::uint64_t stamp_ns);
  void may_send(Peer& peer);
  std::uint64_t allowance(const Peer& peer) const;
  void break_stall(std::uint64_t now);
  void ping_where_needed(std::uint64_t now);
  bool everything_arrived() const;
  Result<Mark> mark() const;
  Stretch between(const Mark& from, const Mark& to) const;
  Result<std::uint64_t> rss() const;
  void count_losses();

  Options options_;
  std::uint32_t run_id_ = std::random_device{}();
  std::string prefix_;  ///< of all topics; one a run, so that nothing of another run is met
  Endpoint publish_at_, subscribe_at_;
  Network network_;
  std::deque<Peer> peers_;  ///< a Peer must not move; Client::Config::tag is its index
  std::vector<Peer*> publishers_, subscribers_;
  std::vector<Peer*> senders_;  ///< publishers that may have something to send
  Bytes filler_;                ///< of the payloads, behind the stamp
  std::vector<std::uint64_t> stream_sent_;
  std::size_t ready_count_ = 0;

  bool sending_ = false;
  std::uint64_t count_max_ = UINT64_MAX;  ///< of each publisher
  std::uint64_t started_at_ = 0, last_arrival_at_ = 0, last_ping_at_ = 0;
  std::uint64_t due_count_ = 0;  ///< with a rate: messages sent
  bool held_back_ = false;       ///< with a rate: the last turn could not send what was due
  std::uint64_t published_ = 0, acknowledged_ = 0, delivered_ = 0;
  std::uint64_t missing_ = 0;  ///< overtaken by later ones
  bool measuring_ = false;
  Report report_;
};

Load::Load(const Options& options)
    : options_(options),
      network_(options.payload_bytes + options.topic.size() + options.subscribe_prefix.size() + 4096) {
  if (options_.delivery == Delivery::retained) options_.count = options_.topics;
  if (options_.count > 0) count_max_ = options_.count;
  prefix_ = fmt::format("{}/{:08x}", options_.topic, run_id_);
  filler_.resize(options_.payload_bytes - sizeof(Stamp));
  for (std::size_t i = 0; i < filler_.size(); ++i) filler_[i] = static_cast<std::uint8_t>(i * 7 + run_id_);
  stream_sent_.resize(options_.publishers * options_.topics);
}

std::string Load::topic_of(std::size_t stream) const {
  return fmt::format("{}/{}/{}", prefix_, stream / options_.topics, stream % options_.topics);
}

void Load::make_peers() {
  const auto add = [this](Role role, std::string name, std::vector<std::string> filters) -> Peer& {
    const bool clean = !(role == Role::subscriber && options_.delivery == Delivery::offline) &&
                       !(role == Role::bystander && options_.storm);
    return peers_.emplace_back(Client::Config{.id = fmt::format("bench-{:08x}-{}", run_id_, name),
                                              .version = options_.version,
                                              .qos = options_.qos,
                                              .clean = clean,
                                              .filters = std::move(filters),
                                              .tag = peers_.size()},
                               *this, role);
  };
  const auto reads = options_.subscribe_prefix + prefix_;
  for (std::size_t i = 0; i < options_.publishers; ++i) {
    auto& peer = add(Role::publisher, fmt::format("pub{}", i), {});
    peer.first_stream = static_cast<std::uint32_t>(i * options_.topics);
    for (std::size_t topic = 0; topic < options_.topics; ++topic) {
      peer.packets.emplace_back(options_.version, topic_of(peer.first_stream + topic), options_.qos,
                                options_.delivery == Delivery::retained, options_.payload_bytes);
    }
    publishers_.push_back(&peer);
  }
  for (std::size_t i = 0; i < options_.subscribers; ++i) {
    const auto of = i % options_.publishers;
    auto& peer = add(Role::subscriber, fmt::format("sub{}", i),
                     {options_.pairs ? fmt::format("{}/{}/#", reads, of) : reads + "/#"});
    peer.first_stream = options_.pairs ? static_cast<std::uint32_t>(of * options_.topics) : 0;
    peer.tallies.resize(options_.pairs ? options_.topics : options_.topics * options_.publishers);
    subscribers_.push_back(&peer);
  }
  for (std::size_t i = 0; i < options_.idle; ++i) {
    add(Role::bystander, fmt::format("idle{}", i), {fmt::format("{}-idle/{}", reads, i)});
  }
  for (std::size_t i = 0; i < options_.slow; ++i) add(Role::slow, fmt::format("slow{}", i), {reads + "/#"});
  for (std::size_t first = 0; first < options_.unrelated; first += filters_per_connection) {
    std::vector<std::string> filters;
    for (auto i = first; i < std::min(first + filters_per_connection, options_.unrelated); ++i) {
      filters.push_back(fmt::format("{}/+/other-{}/#", reads, i));
    }
    add(Role::bystander, fmt::format("wild{}", first), std::move(filters));
  }
}

// What the clients tell ------------------------------------------------------------------------------------------

void Load::ready(Client&) { ++ready_count_; }

void Load::acknowledged(Client& client, bool accepted) {
  ++acknowledged_;
  if (!accepted) ++report_.refused;
  last_arrival_at_ = network_.read_at();
  may_send(peers_[client.config().tag]);
}

void Load::message(Client& client, ByteView payload) {
  auto& peer = peers_[client.config().tag];
  Stamp stamp;
  if (payload.size() != options_.payload_bytes) return void(++report_.foreign);
  std::memcpy(&stamp, payload.data(), sizeof stamp);
  if (stamp.run != run_id_ || !equal(payload.subspan(sizeof stamp), filler_)) return void(++report_.foreign);
  if (stamp.stream == probe_stream) return void(peer.probed = true);
  const auto index = std::size_t{stamp.stream} - peer.first_stream;
  if (index >= peer.tallies.size() || stamp.seq >= stream_sent_[stamp.stream]) return void(++report_.foreign);

  const auto now = network_.read_at();
  auto& tally = peer.tallies[index];
  const auto next_before = tally.next();
  switch (tally.arrived(stamp.seq)) {
    case Arrival::duplicate: ++report_.duplicates; return;
    case Arrival::late:
      ++report_.reordered;
      --missing_;
      break;
    case Arrival::fresh: {
      // What was skipped is not waited for either: the window is about what is under way.
      auto& publisher = *publishers_[stamp.stream / options_.topics];
      publisher.under_way -= static_cast<std::int64_t>(tally.next() - next_before);
      missing_ += tally.next() - next_before - 1;
      may_send(publisher);
      break;
    }
  }
  ++delivered_;
  last_arrival_at_ = now;
  if (measuring_) report_.latency_ns.add(now - std::min(now, stamp.sent_ns));
}

// Sending ----------------------------------------------------------------------------------------------------------

void Load::may_send(Peer& peer) {
  if (peer.may_send) return;
  peer.may_send = true;
  senders_.push_back(&peer);
}

std::uint64_t Load::allowance(const Peer& peer) const {
  const auto rest = count_max_ - peer.sent;
  if (options_.qos == 0 && peer.readers == 0) return rest;
  const auto limit = std::min(options_.window, peer.client.room() + peer.client.in_flight());
  auto under_way = peer.client.in_flight();
  if (peer.under_way > 0)
    under_way = std::max(under_way, (static_cast<std::uint64_t>(peer.under_way) - 1) / peer.readers + 1);
  const std::uint64_t open = limit - std::min(limit, under_way);
  // A quarter of the window at a time, so that neither side makes a system call for every message.
  const auto enough = std::max<std::uint64_t>(1, limit / 4);
  return open >= std::min(enough, rest) ? std::min(open, rest) : 0;
}

void Load::send_one(Peer& peer, std::uint64_t stamp_ns) {
  const auto topic = peer.next_topic;
  peer.next_topic = topic + 1 == options_.topics ? 0 : topic + 1;
  const auto stream = peer.first_stream + static_cast<std::uint32_t>(topic);
  const Stamp stamp{.run = run_id_, .stream = stream, .seq = stream_sent_[stream]++, .sent_ns = stamp_ns};
  peer.client.publish(peer.packets[topic], bytes_of(stamp), filler_);
  peer.under_way += static_cast<std::int64_t>(peer.readers);
  ++peer.sent;
  ++published_;
  if (options_.qos == 0 && peer.readers == 0) last_arrival_at_ = stamp_ns;  // nothing will ever come back
}

void Load::fill(Peer& peer, std::uint64_t now) {
  auto left = allowance(peer);
  for (; left > 0 && peer.client.out.size() < unsent_bytes_max; --left) send_one(peer, now);
  if (!peer.client.out.empty()) network_.mark(peer.link);
  if (left > 0) may_send(peer);
}

void Load::fill(std::uint64_t now) {
  if (!sending_) return;
  if (options_.rate > 0) return send_due(now);
  std::vector<Peer*> senders;
  senders.swap(senders_);
  for (auto* peer : senders) {
    peer->may_send = false;
    fill(*peer, now);
  }
}

void Load::send_due(std::uint64_t now) {
  for (;;) {
    const auto due = started_at_ + static_cast<std::uint64_t>(static_cast<double>(due_count_) * 1e9 / options_.rate);
    auto& peer = *publishers_[due_count_ % publishers_.size()];
    if (due > now || peer.sent == count_max_) return void(held_back_ = false);
    if (peer.client.room() == 0 || peer.client.out.size() >= unsent_bytes_max) return void(held_back_ = true);
    // A message that the server held up counts from when it was due; for the generator's own lateness the server is
    // not to blame.
    send_one(peer, held_back_ ? due : now);
    if (measuring_) report_.lateness_ns.add(now - due);
    network_.mark(peer.link);
    ++due_count_;
  }
}

// At QoS 0 the last messages of a window may be lost without a trace.
void Load::break_stall(std::uint64_t now) {
  if (!sending_ || options_.qos > 0 || options_.rate > 0 || now - last_arrival_at_ < stall_ns) return;
  ++report_.stalls;
  last_arrival_at_ = now;
  for (auto* peer : publishers_) {
    peer->under_way = 0;
    may_send(*peer);
  }
}

void Load::ping_where_needed(std::uint64_t now) {
  if (now - last_ping_at_ < second_ns) return;
  last_ping_at_ = now;
  for (auto& peer : peers_) {
    if (peer.link.fd < 0 || peer.client.keep_alive_s() == 0 || !peer.client.is_ready()) continue;
    peer.client.ping();
    network_.mark(peer.link);
  }
}

Result<void> Load::turn(std::uint64_t until) {
  auto now = now_ns();
  fill(now);
  if (auto done = network_.flush(); !done) return done;
  now = now_ns();
  break_stall(now);
  ping_where_needed(now);
  std::uint64_t timeout = std::min(turn_ns_max, until > now ? until - now : 0);
  if (!sending_) {
    // Nothing but arrivals to wait for.
  } else if (options_.rate > 0) {
    if (held_back_) return network_.turn(timeout);
    const auto due = started_at_ + static_cast<std::uint64_t>(static_cast<double>(due_count_) * 1e9 / options_.rate);
    timeout = std::min(timeout, due > now ? due - now : 0);
  } else if (std::ranges::any_of(senders_, [](const Peer* peer) { return peer->client.out.empty(); })) {
    timeout = 0;
  }
  return network_.turn(timeout);
}

// The stages of a run ------------------------------------------------------------------------------------------------

Result<void> Load::open_all(Role role) {
  const auto& to = role == Role::publisher ? publish_at_ : subscribe_at_;
  const auto ready_before = ready_count_;
  std::size_t opened = 0;
  auto deadline = now_ns() + connect_ns_max;
  for (auto& peer : peers_) {
    if (peer.role != role) continue;
    if (auto done = network_.open(peer.link, to); !done) return done;
    ++opened;
    auto seen = ready_count_;
    while (opened - (ready_count_ - ready_before) >= connecting_max) {
      if (auto done = turn(deadline); !done) return done;
      if (ready_count_ != seen) deadline = now_ns() + connect_ns_max;
      if (now_ns() >= deadline) return fail(Errc::timed_out, "the server does not answer CONNECT");
      seen = ready_count_;
    }
  }
  while (ready_count_ - ready_before < opened) {
    if (now_ns() >= deadline) return fail(Errc::timed_out, "the server does not answer CONNECT or SUBSCRIBE");
    if (auto done = turn(deadline); !done) return done;
  }
  return {};
}

/// All at once, without a goodbye; back as fast as the server takes them.
Result<void> Load::storm() {
  const auto from = mark();
  if (!from) return tl::unexpected(from.error());
  for (auto& peer : peers_) {
    if (peer.role != Role::bystander) continue;
    network_.close(peer.link);
    peer.client.set_session(false, {});
  }
  if (auto done = open_all(Role::bystander); !done) return done;
  const auto to = mark();
  if (!to) return tl::unexpected(to.error());
  report_.storm = between(*from, *to);
  return {};
}

Result<void> Load::leave_all(Role role) {
  std::vector<Peer*> leaving;
  for (auto& peer : peers_) {
    if (peer.role != role) continue;
    peer.client.disconnect();
    network_.finish(peer.link);
    leaving.push_back(&peer);
  }
  const auto deadline = now_ns() + connect_ns_max;
  while (std::ranges::any_of(leaving, [](const Peer* peer) { return peer->link.fd >= 0; })) {
    if (now_ns() >= deadline) return fail(Errc::timed_out, "the server does not close after DISCONNECT");
    if (auto done = turn(deadline); !done) return done;
  }
  return {};
}

// Subscriptions take their time through bridges and overlays: what is published before is lost to no fault of theirs.
Result<void> Load::probe() {
  const auto begin = now_ns();
  auto next = begin;
  const auto through = [](const Peer* peer) { return peer->probed; };
  const auto answered = [](const Peer* peer) { return peer->client.in_flight() == 0; };
  while (!std::ranges::all_of(subscribers_, through) || !std::ranges::all_of(publishers_, answered)) {
    const auto now = now_ns();
    if (now - begin >= probe_ns_max) {
      return fail(Errc::timed_out, fmt::format("{} of {} subscribers got nothing within {} s",
                                               subscribers_.size() - std::ranges::count_if(subscribers_, through),
                                               subscribers_.size(), probe_ns_max / second_ns));
    }
    if (now >= next && !std::ranges::all_of(subscribers_, through)) {
      next = now + probe_every_ns;
      const Stamp stamp{.run = run_id_, .stream = probe_stream, .seq = 0, .sent_ns = now};
      for (auto* peer : publishers_) {
        if (peer->client.room() == 0) continue;
        peer->client.publish(peer->packets[0], bytes_of(stamp), filler_);
        network_.mark(peer->link);
      }
    }
    if (auto done = turn(next); !done) return done;
  }
  report_.first_delivery_ms = static_cast<double>(now_ns() - begin) / 1e6;
  acknowledged_ = 0;
  return {};
}

bool Load::everything_arrived() const {
  return missing_ == 0 && std::ranges::all_of(publishers_, [](const Peer* peer) {
           return peer->client.in_flight() == 0 && (peer->readers == 0 || peer->under_way <= 0);
         });
}

Result<void> Load::settle() {
  last_arrival_at_ = std::max(last_arrival_at_, now_ns());
  while (!everything_arrived()) {
    const auto give_up_at = last_arrival_at_ + to_ns(options_.settle_s);
    if (now_ns() >= give_up_at) break;
    if (auto done = turn(give_up_at); !done) return done;
  }
  return {};
}

Result<void> Load::send_until(std::uint64_t warm_at, std::uint64_t end_at) {
  sending_ = true;
  started_at_ = last_arrival_at_ = now_ns();
  for (auto* peer : publishers_) may_send(*peer);
  auto from = mark();
  if (!from) return tl::unexpected(from.error());
  measuring_ = warm_at == 0;
  for (;;) {
    const auto now = now_ns();
    if (now >= end_at) break;
    if (!measuring_ && now >= warm_at) {
      if (from = mark(); !from) return tl::unexpected(from.error());
      measuring_ = true;
    }
    if (std::ranges::all_of(publishers_, [this](const Peer* peer) { return peer->sent == count_max_; })) break;
    if (now - last_arrival_at_ > to_ns(options_.settle_s) && options_.rate == 0) break;
    if (auto done = turn(measuring_ ? end_at : warm_at); !done) return done;
  }
  sending_ = false;
  if (options_.count > 0) {
    if (auto done = settle(); !done) return done;
  }
  auto to = mark();
  if (!to) return tl::unexpected(to.error());
  if (options_.count > 0) to->at = std::max(from->at, last_arrival_at_);
  measuring_ = false;
  (options_.delivery == Delivery::live ? report_.delivering : report_.publishing) = between(*from, *to);
  return {};
}

Result<void> Load::run_live() {
  for (const auto role : {Role::bystander, Role::subscriber, Role::publisher}) {
    if (auto done = open_all(role); !done) return done;
  }
  const auto connected = rss();
  if (!connected) return tl::unexpected(connected.error());
  report_.rss_connected = *connected;
  if (options_.storm) {
    if (auto done = storm(); !done) return done;
  }
  if (auto done = open_all(Role::slow); !done) return done;
  for (auto& peer : peers_)
    if (peer.role == Role::slow) network_.ignore(peer.link);
  for (std::size_t i = 0; i < publishers_.size(); ++i) {
    publishers_[i]->readers = 0;
    for (std::size_t j = 0; j < subscribers_.size(); ++j) {
      publishers_[i]->readers += !options_.pairs || j % publishers_.size() == i;
    }
  }
  if (auto done = probe(); !done) return done;
  const auto now = now_ns();
  const bool counted = options_.count > 0;
  const auto warm_at = counted ? 0 : now + to_ns(options_.warmup_s);
  if (auto done = send_until(warm_at, counted ? UINT64_MAX : warm_at + to_ns(options_.duration_s)); !done) return done;
  if (!counted) {  // a count includes it
    if (auto done = settle(); !done) return done;
  }
  return options_.storm ? forget_sessions(Role::bystander) : Result<void>{};
}

Result<void> Load::run_late() {
  if (auto done = open_all(Role::bystander); !done) return done;
  const bool offline = options_.delivery == Delivery::offline;
  if (offline) {
    if (auto done = open_all(Role::subscriber); !done) return done;
    if (auto done = leave_all(Role::subscriber); !done) return done;
  }
  if (auto done = open_all(Role::publisher); !done) return done;
  const auto connected = rss();
  if (!connected) return tl::unexpected(connected.error());
  report_.rss_connected = *connected;
  if (auto done = send_until(0, UINT64_MAX); !done) return done;

  for (std::size_t i = 0; i < subscribers_.size(); ++i) {
    for (std::size_t j = 0; j < publishers_.size(); ++j) {
      if (options_.pairs && i % publishers_.size() != j) continue;
      ++publishers_[j]->readers;
      publishers_[j]->under_way += static_cast<std::int64_t>(publishers_[j]->sent);
    }
    if (offline) subscribers_[i]->client.set_session(false, {});
  }
  auto from = mark();
  if (!from) return tl::unexpected(from.error());
  if (auto done = open_all(Role::subscriber); !done) return done;
  if (auto done = settle(); !done) return done;
  auto to = mark();
  if (!to) return tl::unexpected(to.error());
  to->at = std::max(from->at, last_arrival_at_);
  report_.delivering = between(*from, *to);
  return offline ? forget_sessions(Role::subscriber) : forget_retained();
}

Result<void> Load::forget_sessions(Role role) {
  if (auto done = leave_all(role); !done) return done;
  for (auto& peer : peers_)
    if (peer.role == role) peer.client.set_session(true, {});
  if (auto done = open_all(role); !done) return done;
  return leave_all(role);
}

Result<void> Load::forget_retained() {
  if (auto done = leave_all(Role::subscriber); !done) return done;
  last_arrival_at_ = now_ns();
  for (auto* peer : publishers_) {
    for (std::size_t topic = 0; topic < options_.topics; ++topic) {
      while (peer->client.in_flight() == std::min(options_.window, peer->client.in_flight() + peer->client.room())) {
        const auto give_up_at = last_arrival_at_ + to_ns(options_.settle_s);
        if (now_ns() >= give_up_at) return fail(Errc::timed_out, "the server does not acknowledge any more");
        if (auto done = turn(give_up_at); !done) return done;
      }
      peer->client.publish(
          PublishTemplate(options_.version, topic_of(peer->first_stream + topic), options_.qos, true, 0), {}, {});
      network_.mark(peer->link);
    }
  }
  for (auto* peer : publishers_) peer->under_way = 0;
  return settle();
}

Result<Load::Mark> Load::mark() const {
  const auto server = usage_of(options_.pids);
  if (!server) return tl::unexpected(server.error());
  return Mark{.at = now_ns(),
              .published = published_,
              .acknowledged = acknowledged_,
              .delivered = delivered_,
              .server_cpu_ns = server->cpu_ns,
              .generator_cpu_ns = own_cpu_ns()};
}

Stretch Load::between(const Mark& from, const Mark& to) const {
  return {.seconds = static_cast<double>(to.at - from.at) / 1e9,
          .published = to.published - from.published,
          .acknowledged = to.acknowledged - from.acknowledged,
          .delivered = to.delivered - from.delivered,
          .server_cpu_ns = to.server_cpu_ns - from.server_cpu_ns,
          .generator_cpu_ns = to.generator_cpu_ns - from.generator_cpu_ns};
}

Result<std::uint64_t> Load::rss() const {
  return usage_of(options_.pids).map([](const Usage& usage) { return usage.rss_bytes; });
}

void Load::count_losses() {
  for (const auto* peer : subscribers_) {
    for (std::size_t i = 0; i < peer->tallies.size(); ++i) {
      const auto sent = stream_sent_[peer->first_stream + i];
      report_.expected += sent;
      report_.lost += sent - peer->tallies[i].received();
    }
  }
  for (const auto* peer : publishers_) report_.unacknowledged += peer->client.in_flight();
  report_.published = published_;
}

Result<Report> Load::run() {
  const auto publish_at = resolve(options_.host, options_.publish_port);
  if (!publish_at) return tl::unexpected(publish_at.error());
  publish_at_ = *publish_at;
  const auto subscribe_at = resolve(options_.host, options_.subscribe_port);
  if (!subscribe_at) return tl::unexpected(subscribe_at.error());
  subscribe_at_ = *subscribe_at;
  const auto before = rss();
  if (!before) return tl::unexpected(before.error());
  report_.rss_before = *before;
  make_peers();
  auto done = options_.delivery == Delivery::live ? run_live() : run_late();
  if (done) {
    const auto after = rss();
    if (!after) return tl::unexpected(after.error());
    report_.rss_after = *after;
    count_losses();
  }
  for (auto& peer : peers_) network_.close(peer.link);
  if (!done) return tl::unexpected(done.error());
  return std::move(report_);
}

}  // namespace

std::vector<std::string> Report::failures(const Options& options) const {
  std::vector<std::string> out;
  const auto check = [&](std::uint64_t count, std::string_view what) {
    if (count > 0) out.push_back(fmt::format("{} {}", count, what));
  };
  if (options.qos > 0) check(lost, "messages lost");
  if (options.qos != 1) check(duplicates, "messages delivered twice");
  check(reordered, "messages out of order");
  check(foreign, "messages damaged, or delivered to the wrong subscriber");
  check(unacknowledged, "publishes not acknowledged");
  check(refused, "publishes refused");
  return out;
}

Result<Report> run_load(const Options& options) {
  const auto invalid = [](std::string message) { return fail(Errc::invalid, std::move(message)); };
  if (options.publishers == 0 || options.topics == 0 || options.window == 0) {
    return invalid("publishers, topics and window are at least 1");
  }
  if (options.qos > 2) return invalid("QoS is 0, 1 or 2");
  if (options.payload_bytes < payload_bytes_min) {
    return invalid(fmt::format("a payload has at least {} bytes", payload_bytes_min));
  }
  if (options.publishers * options.topics >= probe_stream) return invalid("too many publishers and topics");
  if (options.delivery != Delivery::live) {
    if (options.qos == 0) return invalid("late subscribers need QoS 1 or 2: it tells when the server has the messages");
    if (options.rate > 0) return invalid("late subscribers and a rate do not go together");
  }
  if (options.delivery == Delivery::offline && options.count == 0) return invalid("offline delivery needs a count");
  if (options.delivery != Delivery::live && (options.storm || options.slow > 0)) {
    return invalid("a storm and slow subscribers need subscribers that are there all the time");
  }
  if (options.pairs && options.subscribers % options.publishers != 0) {
    return invalid("with pairs, the subscribers are a multiple of the publishers");
  }
  return Load(options).run();
}

}  // namespace diot::bench
