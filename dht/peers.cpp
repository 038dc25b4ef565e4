#include "dht/peers.hpp"

#include <algorithm>

#include "core/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {

namespace {

constexpr std::size_t background_links = 4;
constexpr std::size_t address_bytes_max = 300;
constexpr auto background_redial_max = std::chrono::seconds(30);
constexpr auto lookup_interval = std::chrono::seconds(3);

}  // namespace

Bytes encode_addresses(const std::vector<std::string>& addresses) {
  Bytes out;
  PackWriter pack(out);
  pack.array(addresses.size());
  for (const auto& address : addresses) pack.str(address);
  return out;
}

std::optional<std::vector<std::string>> decode_addresses(ByteView bytes) {
  PackReader in(bytes);
  std::vector<std::string> out;
  for (auto left = in.array(limits::addresses_per_node_max); left > 0; --left)
    out.emplace_back(in.str(address_bytes_max));
  if (!in.done()) return std::nullopt;
  return out;
}

Result<void> Peers::load() {
  return context_.store.scan(Table::peer, {}, {}, [&](ByteView key, ByteView value) {
    const auto node = NodeId::from(key);
    auto addresses = decode_addresses(value);
    if (!node || !addresses) return true;
    if (context_.directory)
      for (const auto& address : *addresses) context_.directory->add_contact(address);
    peers_[*node].addresses = std::move(*addresses);
    return true;
  });
}

void Peers::learned(const NodeId& node, const std::vector<std::string>& addresses) {
  if (node == context_.self() || !context_.handles.of(node)) return;  // bounded by the ledger's nodes
  Peer& peer = peers_[node];
  std::vector<std::string> merged;
  auto add = [&](const std::string& address) {
    if (merged.size() < limits::addresses_per_node_max && !address.empty() && address.size() <= address_bytes_max &&
        std::ranges::find(merged, address) == merged.end())
      merged.push_back(address);
  };
  for (const auto& address : addresses) add(address);
  for (const auto& address : peer.addresses) add(address);
  if (context_.directory)
    for (const auto& address : addresses) context_.directory->add_contact(address);
  if (merged == peer.addresses) return;
  peer.addresses = std::move(merged);
  peer.next_dial = {};
  if (context_.ledger.handle_of(node)) save(node, peer);
}

void Peers::save(const NodeId& node, const Peer& peer) {
  context_.store.put(Table::peer, node, encode_addresses(peer.addresses));
  context_.turn.touch();
}

void Peers::link_up(LinkId link, const NodeId& node, const Hello& hello, bool dialled_by_us) {
  Peer& peer = peers_[node];
  peer.link = link;
  peer.since = context_.clock.monotonic();
  peer.dialled_by_us = dialled_by_us;
  peer.dialling = false;
  peer.last_failure.clear();
  learned(node, hello.addresses);
}

void Peers::link_down(LinkId link, const NodeId& node) {
  const auto found = peers_.find(node);
  if (found == peers_.end() || found->second.link != link) return;
  if (!context_.ledger.handle_of(node)) {  // who is not registered yet dials us
    peers_.erase(found);
    return;
  }
  Peer& peer = found->second;
  const bool stood = context_.clock.monotonic() - peer.since >= limits::redial_max;
  peer.link.reset();
  peer.since = context_.clock.monotonic();
  // Who hangs up at once, as one does that does not know us, is not dialled at once for ever.
  if (!stood) return;
  peer.pause = {};
  peer.next_dial = {};
}

void Peers::dial_failed(const std::string& address, const std::optional<NodeId>& expected, const std::string& reason) {
  if (!expected) return;
  const auto found = peers_.find(*expected);
  if (found == peers_.end()) return;
  Peer& peer = found->second;
  peer.dialling = false;
  peer.last_failure = reason;
  // The next one gets its turn.
  if (const auto at = std::ranges::find(peer.addresses, address); at != peer.addresses.end())
    std::rotate(at, at + 1, peer.addresses.end());
}

std::set<NodeId> Peers::background() const {
  std::set<NodeId> out;
  // The founder's nodes lead to the registrar; then whose address is known; then, from the DHT, those of the handles that
  // follow our own in the ledger, so that homes spread over one another.
  if (const HandleRecord* founder = context_.ledger.handle(context_.founder))
    for (const auto& [node, role] : founder->nodes) out.insert(node);
  // Who has few links tries everybody: those it would choose may be the ones that it can never reach.
  const auto up = std::ranges::count_if(peers_, [](const auto& each) { return each.second.link.has_value(); });
  const bool alone = static_cast<std::size_t>(up) < background_links;
  for (const auto& [node, peer] : peers_)
    if ((alone || out.size() < background_links) && !peer.addresses.empty()) out.insert(node);
  const auto& handles = context_.ledger.handles();
  auto at = handles.upper_bound(context_.own.shown);
  for (auto left = std::min(handles.size(), background_links); left > 0 && out.size() < background_links; --left) {
    if (at == handles.end()) at = handles.begin();
    for (const auto& [node, role] : at->second.nodes) out.insert(node);
    ++at;
  }
  out.erase(context_.self());
  return out;
}

void Peers::tick(const std::set<NodeId>& wanted) {
  const Monotonic now = context_.clock.monotonic();
  std::size_t up = 0;
  for (const auto& [node, peer] : peers_) up += peer.link.has_value();
  auto consider = [&](const NodeId& node, bool is_wanted) {
    if (node == context_.self()) return;
    Peer& peer = peers_[node];
    if (is_wanted) peer.pause = std::min<std::chrono::milliseconds>(peer.pause, limits::redial_max);
    if (is_wanted && peer.next_dial > now + limits::redial_max) peer.next_dial = now;
    if (peer.link || peer.dialling || peer.next_dial > now) return;
    dial(node, peer, is_wanted);
  };
  for (const auto& node : wanted) consider(node, true);
  for (const auto& node : background())
    if (!wanted.contains(node) && up < limits::links_max / 2) consider(node, false);
}

void Peers::dial(const NodeId& node, Peer& peer, bool wanted) {
  const Monotonic now = context_.clock.monotonic();
  const std::chrono::milliseconds most =
      wanted ? std::chrono::milliseconds(limits::redial_max) : std::chrono::milliseconds(background_redial_max);
  peer.pause = std::clamp<std::chrono::milliseconds>(peer.pause * 2, limits::redial_min, most);
  // Up to a quarter more or less, so that nodes which lost each other do not dial in step.
  const auto jitter =
      static_cast<std::int64_t>(context_.random.u64() % static_cast<std::uint64_t>(peer.pause.count() / 2 + 1));
  peer.next_dial = now + peer.pause * 3 / 4 + std::chrono::milliseconds(jitter);
  if (peer.next_lookup <= now && (peer.addresses.empty() || !peer.last_failure.empty())) look_up(node, peer);
  if (peer.addresses.empty()) return;
  peer.dialling = true;
  context_.links->dial(peer.addresses.front(), node);
}

void Peers::look_up(const NodeId& node, Peer& peer) {
  peer.next_lookup = context_.clock.monotonic() + lookup_interval;
  if (!context_.directory) return;
  context_.directory->find(
      DirectoryKind::node, node,
      [this, node](const DirectoryRecord& record) {
        Peer& found = peers_[node];
        if (record.seq <= found.record_seq) return;
        const auto addresses = decode_addresses(record.body);
        if (!addresses) return context_.count("node records refused");
        found.record_seq = record.seq;
        learned(node, *addresses);
      },
      [] {});
}

std::optional<LinkId> Peers::link_to(const NodeId& node) const {
  const auto found = peers_.find(node);
  return found == peers_.end() ? std::nullopt : found->second.link;
}

std::vector<Peers::Status> Peers::status() const {
  std::vector<Status> out;
  for (const auto& [node, peer] : peers_) {
    Status status;
    status.node = node;
    if (!peer.addresses.empty()) status.address = peer.addresses.front();
    status.state = peer.link ? Status::State::up : peer.dialling ? Status::State::dialling : Status::State::down;
    status.since = peer.since;
    status.dialled_by_us = peer.dialled_by_us;
    status.link = peer.link;
    status.last_failure = peer.last_failure;
    out.push_back(std::move(status));
  }
  return out;
}

}  // namespace diot
