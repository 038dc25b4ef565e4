#include "tests/sim/network.hpp"

#include <algorithm>

#include "core/limits.hpp"

namespace diot::sim {

namespace {
constexpr std::size_t frame_head_bytes = 5;
}

// Who is there -----------------------------------------------------------------------------------------------

void Network::attach(Port& port) { ports_[port.life] = &port; }

void Network::detach(Port& port, bool power_cut) {
  ports_.erase(port.life);
  const std::map<LinkId, LinkPtr> all = links_;
  for (const auto& [id, link] : all)
    for (int side : {0, 1}) {
      if (link->ports[side] != &port) continue;
      link->ports[side] = nullptr;
      link->up[side] = false;
      link->queued[side].clear();
      if (power_cut) link->broken = true;
      // The kernel of a process that died closes its sockets behind what it had written; that of a dead machine does not.
      const Time known = power_cut ? chance_.between(Time(0), Time(limits::link_silence_max))
                                   : std::max(link->last_arrival[1 - side], schedule_.now()) - schedule_.now() +
                                         delay(link->homes[0], link->homes[1]);
      end_after(link, 1 - side, "peer died", known);
    }
}

bool Network::lives(const Port* port, std::uint64_t life) const {
  const auto found = ports_.find(life);
  return found != ports_.end() && found->second == port;
}

Port* Network::port_at(const std::string& address) const {
  for (const auto& [life, port] : ports_)
    if (port->address == address) return port;
  return nullptr;
}

Network::LinkPtr Network::between(HomeIndex a, HomeIndex b) const {
  for (const auto& [id, link] : links_)
    if (!link->broken && !link->ending[0] && !link->ending[1] &&
        ((link->homes[0] == a && link->homes[1] == b) || (link->homes[0] == b && link->homes[1] == a)))
      return link;
  return nullptr;
}

bool Network::whole(HomeIndex a, HomeIndex b) const {
  const LinkPtr link = between(a, b);
  return link && link->up[0] && link->up[1] && !cut(a, b);
}

bool Network::linked(HomeIndex a, HomeIndex b) const {
  return std::ranges::any_of(links_, [&](const auto& entry) {
    const auto& [id, link] = entry;
    return link->up[0] && link->up[1] && (link->homes == std::array{a, b} || link->homes == std::array{b, a});
  });
}

std::size_t Network::links_of(HomeIndex home) const {
  std::size_t count = 0;
  for (const auto& [id, link] : links_)
    for (int side : {0, 1}) count += link->homes[side] == home && link->up[side];
  return count;
}

bool Network::settled() const {
  return std::ranges::all_of(links_, [](const auto& entry) {
    const Link& link = *entry.second;
    return !link.broken && link.up[0] && link.up[1] && !link.ending[0] && !link.ending[1] && link.unsent[0] == 0 &&
           link.unsent[1] == 0;
  });
}

// Faults -----------------------------------------------------------------------------------------------------

Time Network::passable_at(HomeIndex a, HomeIndex b) const {
  Time when = schedule_.now();
  for (const auto& partition : partitions_)
    if (partition.side.contains(a) != partition.side.contains(b)) when = std::max(when, partition.until);
  return when;
}

bool Network::cut(HomeIndex a, HomeIndex b) const { return passable_at(a, b) > schedule_.now(); }

Time Network::delay(HomeIndex a, HomeIndex b) {
  const auto pair = std::minmax(a, b);
  const auto found = delays_.find(pair);
  const Time base = found != delays_.end()
                        ? found->second
                        : delays_.emplace(pair, chance_.between(rules_.delay_min, rules_.delay_max)).first->second;
  return base + chance_.between(Time(0), rules_.jitter);
}

void Network::partition(std::set<HomeIndex> side, Time until) {
  partitions_.push_back({std::move(side), until});
  const std::map<LinkId, LinkPtr> all = links_;
  for (const auto& [id, link] : all) {
    if (link->broken || !cut(link->homes[0], link->homes[1])) continue;
    // TCP outlives a short one and sends again what was lost; a long one is noticed by the silence.
    if (until - schedule_.now() < Time(limits::link_silence_max) / 2 && chance_.percent(60)) continue;
    silence(link, "silent");
  }
}

void Network::silence(const LinkPtr& link, const std::string& reason) {
  link->broken = true;
  ++stats_.breaks;
  for (int side : {0, 1}) end_after(link, side, reason, chance_.between(Time(0), Time(limits::link_silence_max)));
}

void Network::break_one() {
  std::vector<LinkPtr> whole;
  for (const auto& [id, link] : links_)
    if (!link->broken) whole.push_back(link);
  if (whole.empty()) return;
  const LinkPtr link = chance_.one_of(whole);
  if (chance_.percent(30)) return silence(link, "silent");
  link->broken = true;
  ++stats_.breaks;
  for (int side : {0, 1}) end_after(link, side, "connection reset", chance_.between(Time(0), Time(200ms)));
}

// Dialling ---------------------------------------------------------------------------------------------------

void Network::fail_dial(Port* from, std::uint64_t life, const std::string& address,
                        const std::optional<NodeId>& expected, std::string reason, Time delay) {
  schedule_.after(delay, [this, from, life, address, expected, reason = std::move(reason)] {
    if (lives(from, life)) from->events.dial_failed(address, expected, reason);
  });
}

void Network::dial(Port& from, const std::string& address, const std::optional<NodeId>& expected) {
  ++stats_.dials;
  const Port* to = port_at(address);
  const auto refuse = [&](const char* why, Time after) { fail_dial(&from, from.life, address, expected, why, after); };
  if (chance_.percent(rules_.dials_failing_percent)) return refuse("the network ate it", limits::dial_deadline);
  if (!to) return refuse("refused", chance_.percent(50) ? Time(20ms) : Time(limits::dial_deadline));
  if (!can_dial(from.home, to->home) || cut(from.home, to->home)) return refuse("no answer", limits::dial_deadline);
  // TCP and TLS to there and back; then the dialler says hello first.
  schedule_.after(2 * delay(from.home, to->home), [this, from = &from, life = from.life, address, expected] {
    if (!lives(from, life)) return;
    const Hello hello = from->events.own_hello();
    const Port* target = port_at(address);
    if (!target || cut(from->home, target->home))
      return fail_dial(from, life, address, expected, "no answer", limits::handshake_deadline);
    schedule_.after(delay(from->home, target->home), [=, this] { accept(from, life, hello, address, expected); });
  });
}

void Network::accept(Port* from, std::uint64_t from_life, const Hello& hello, const std::string& address,
                     const std::optional<NodeId>& expected) {
  if (!lives(from, from_life)) return;
  Port* const to = port_at(address);
  const auto refuse = [&](const char* why) {
    fail_dial(from, from_life, address, expected, why, delay(from->home, to ? to->home : from->home));
  };
  if (!to) return refuse("connection reset");
  if (to == from) return refuse("this node itself");
  if (expected && to->node != *expected) return refuse("another node answered");
  if (between(from->home, to->home)) return refuse("there is a link to that node already");
  const LinkClass kind = to->events.admit(from->node, hello, false);
  if (kind == LinkClass::refused) return refuse("not admitted");

  const auto link = std::make_shared<Link>();
  link->id = LinkId{next_link_++};
  link->ports = {from, to};
  link->homes = {from->home, to->home};
  link->nodes = {from->node, to->node};
  const Hello answer = to->events.own_hello();
  // A link that is over but not known to be gives way to the new one.
  const std::map<LinkId, LinkPtr> all = links_;
  for (const auto& [id, old] : all)
    for (int side : {0, 1})
      if (old->ports[side] == to && old->homes[1 - side] == from->home && old->up[side]) end(old, side, "replaced");
  links_[link->id] = link;
  link->up[1] = true;
  trace_.add(static_cast<std::uint64_t>(link->id));
  to->events.link_up(link->id, from->node, hello, kind, false);
  link->last_arrival[1] = schedule_.now() + delay(from->home, to->home);  // frames come behind the hello
  schedule_.at(link->last_arrival[1], [=, this] {
    if (lives(from, from_life)) confirm(link, answer, address, expected);
  });
}

void Network::confirm(const LinkPtr& link, const Hello& hello, const std::string& address,
                      const std::optional<NodeId>& expected) {
  Port* const from = link->ports[0];
  if (!from) return;
  if (link->broken || link->ending[0] || !link->ports[1] || link->ending[1]) {
    end_after(link, 1, "peer gave up", delay(link->homes[0], link->homes[1]));
    link->broken = true;
    return from->events.dial_failed(address, expected, "connection reset");
  }
  const NodeId peer = link->ports[1]->node;
  const LinkClass kind = from->events.admit(peer, hello, true);
  if (kind == LinkClass::refused) {
    link->broken = true;
    end_after(link, 1, "not admitted", delay(link->homes[0], link->homes[1]));
    return from->events.dial_failed(address, expected, "not admitted");
  }
  const std::map<LinkId, LinkPtr> all = links_;
  for (const auto& [id, old] : all)
    for (int side : {0, 1})
      if (old != link && old->ports[side] == from && old->homes[1 - side] == link->homes[1] && old->up[side])
        end(old, side, "replaced");
  link->up[0] = true;
  ++stats_.links;
  from->events.link_up(link->id, peer, hello, kind, true);
}

// Ends -------------------------------------------------------------------------------------------------------

/// Tells one side, once. When nobody is left the link is forgotten.
void Network::end(const LinkPtr& link, int side, const std::string& reason) {
  link->ending[side] = true;
  if (std::exchange(link->up[side], false) && link->ports[side]) {
    trace_.add(static_cast<std::uint64_t>(link->id) << 1 | static_cast<unsigned>(side));
    Port* const port = link->ports[side];
    port->events.link_down(link->id, link->nodes[1 - side], reason);
  }
  if (!link->up[0] && !link->up[1]) links_.erase(link->id);
}

void Network::end_after(const LinkPtr& link, int side, const std::string& reason, Time delay) {
  schedule_.after(delay, [this, link, side, reason] { end(link, side, reason); });
}

void Network::close(Port& port, LinkId id, const std::string& reason) {
  const auto found = links_.find(id);
  if (found == links_.end()) return;
  const LinkPtr link = found->second;
  const int side = link->ports[0] == &port ? 0 : 1;
  if (link->ending[side] || !link->up[side]) return;
  transmit(link, side);
  link->ending[side] = true;
  end_after(link, side, reason, 0us);
  const Time behind = std::max(link->last_arrival[side], schedule_.now() + delay(link->homes[0], link->homes[1]));
  end_after(link, 1 - side, reason, behind - schedule_.now());
}

// Frames -----------------------------------------------------------------------------------------------------

void Port::send(LinkId id, FrameType type, std::initializer_list<ByteView> parts) {
  const auto found = network_.links_.find(id);
  if (found == network_.links_.end()) return;
  Network::Link& link = *found->second;
  const int side = link.ports[0] == this ? 0 : 1;
  if (link.ending[side] || !link.up[side]) return;
  Network::Frame frame{type, {}};
  for (const ByteView part : parts) append(frame.body, part);
  link.unsent[side] += frame.body.size() + frame_head_bytes;
  if (network_.on_leave) network_.on_leave(home, link.homes[1 - side], type, frame.body);
  link.queued[side].push_back(std::move(frame));
  dirty_.insert(id);
  turn_.touch();
  if (link.unsent[side] > limits::link_output_bytes_max && network_.obey_output_bound)
    return close(id, "the peer reads too slowly");
  network_.unsent_max_seen_ = std::max(network_.unsent_max_seen_, link.unsent[side]);
}

std::size_t Port::unsent_bytes(LinkId id) const {
  const auto found = network_.links_.find(id);
  if (found == network_.links_.end()) return 0;
  return found->second->unsent[found->second->ports[0] == this ? 0 : 1];
}

/// Pings go on unseen while nothing is in their way.
std::chrono::milliseconds Port::silent_for(LinkId id) const {
  const auto found = network_.links_.find(id);
  if (found == network_.links_.end()) return std::chrono::milliseconds::max();
  Network::Link& link = *found->second;
  const Time now = network_.schedule_.now();
  if (!link.broken && link.up[0] && link.up[1] && !network_.cut(link.homes[0], link.homes[1])) link.seen_whole = now;
  return std::chrono::duration_cast<std::chrono::milliseconds>(now - link.seen_whole);
}

void Network::flush(Port& port) {
  for (const LinkId id : std::exchange(port.dirty_, {})) {
    const auto found = links_.find(id);
    if (found != links_.end()) transmit(LinkPtr(found->second), found->second->ports[0] == &port ? 0 : 1);
  }
}

void Network::transmit(const LinkPtr& link, int side) {
  if (link->queued[side].empty()) return;
  auto frames = std::exchange(link->queued[side], {});
  std::size_t bytes = 0;
  for (const auto& frame : frames) bytes += frame.body.size() + frame_head_bytes;
  stats_.frames += frames.size();
  stats_.bytes += bytes;
  Time& line_free = link->line_free[side];
  line_free = std::max(line_free, schedule_.now());
  if (rules_.bytes_per_second > 0) line_free += Time(bytes * 1'000'000 / rules_.bytes_per_second);
  // While nothing passes, nothing is acknowledged either: it stays unsent.
  line_free = std::max(line_free, passable_at(link->homes[0], link->homes[1]));
  schedule_.at(line_free, [this, link, side, bytes] {
    const bool full = link->unsent[side] >= limits::link_bulk_bytes_max;
    link->unsent[side] -= bytes;
    if (full && link->unsent[side] < limits::link_bulk_bytes_max && link->up[side] && !link->ending[side] &&
        link->ports[side])
      link->ports[side]->events.link_writable(link->id);
  });
  Time& arrival = link->last_arrival[side];
  arrival = std::max(arrival, line_free + delay(link->homes[0], link->homes[1]));
  schedule_.at(arrival, [this, link, side, frames = std::move(frames)]() mutable {
    deliver(link, 1 - side, std::move(frames));
  });
}

void Network::deliver(const LinkPtr& link, int receiver, std::vector<Frame> frames) {
  for (const Frame& frame : frames) {
    if (link->broken || !link->up[receiver] || link->ending[receiver] || !link->ports[receiver]) return;
    trace_.add(static_cast<std::uint64_t>(frame.type) << 32 | link->homes[receiver]);
    trace_.add(frame.body);
    if (on_arrive && !on_arrive(link->homes[1 - receiver], link->homes[receiver], frame.type, frame.body)) continue;
    Port* const port = link->ports[receiver];
    if (!port) return;
    port->events.link_frame(link->id, link->nodes[1 - receiver], frame.type, frame.body);
  }
}

}  // namespace diot::sim
