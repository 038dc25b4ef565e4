#include "core/will_table.hpp"

#include <algorithm>
#include <chrono>

#include "core/limits.hpp"

namespace diot {

namespace {

// Table::retained: 0x01 ‖ channel (32) ‖ writer (32) ‖ number (8) → u8 version ‖ u8 flags (1 derived) ‖ proof.
constexpr std::uint8_t key_prefix = 1, row_version = 1, flag_derived = 1;

Bytes row_key(const ChannelId& channel) {
  Bytes key{key_prefix};
  append(key, channel);
  return key;
}

Bytes row_key(const WillKey& will) {
  Bytes key = row_key(will.channel);
  ByteWriter out(key);
  out.raw(will.writer);
  out.u64(will.number);
  return key;
}

}  // namespace

std::optional<std::pair<WillKey, HeldWill>> will_of(const ProvenRecord& proven, ByteView proof) {
  if (proven.record.kind != RecordKind::will_set || !proven.record.will_number) return std::nullopt;
  const BatchHeader& header = proven.header;
  HeldWill will;
  will.record = proven.record;
  will.place = {header.incarnation, header.first_seq + proven.index};
  will.header_hash = proven.header_hash;
  will.proof = to_bytes(proof);
  return std::pair(WillKey{header.channel, header.writer, *proven.record.will_number}, std::move(will));
}

Result<void> WillTable::load() {
  std::vector<Bytes> damaged;
  const Bytes first{key_prefix};
  auto scanned = store_.scan(
      Table::retained, first, after_prefix(first),
      [&](ByteView key, ByteView row) {
        ByteReader in(row);
        const bool known = in.u8() == row_version;
        const bool derived = in.u8() & flag_derived;
        const auto proven = read_proof(in.rest());
        auto found = known && proven ? will_of(*proven, in.rest()) : std::nullopt;
        if (!found || !equal(row_key(found->first), key)) return damaged.push_back(to_bytes(key)), true;
        auto& [name, will] = *found;
        will.derived = derived;
        Channel& channel = channels_[name.channel];
        count(channel, will, true);
        channel.logs[name.writer].wills.emplace(name.number, std::move(will));
        heard_.try_emplace(name.writer);
        return true;
      },
      [&](ByteView key) { damaged.push_back(to_bytes(key)); });
  for (const auto& key : damaged) store_.erase(Table::retained, key);
  return scanned;
}

void WillTable::count(Channel& channel, const HeldWill& will, bool more) {
  for (Use* use : {&channel.use, &use_}) {
    use->count = more ? use->count + 1 : use->count - 1;
    use->bytes = more ? use->bytes + will.bytes() : use->bytes - will.bytes();
  }
}

void WillTable::save(const WillKey& key, const HeldWill& will) {
  if (key.writer == self_) return;
  Bytes row;
  ByteWriter out(row);
  out.u8(row_version);
  out.u8(will.derived ? flag_derived : 0);
  out.raw(will.proof);
  store_.put(Table::retained, row_key(key), std::move(row));
}

void WillTable::touch(Channel& channel, const WillKey& key) {
  if (!channel.snapshot) return;
  channel.snapshot->touched.insert(key);
  if (channel.snapshot->touched.size() <= limits::wills_per_handle_max) return;
  channel.snapshot->spoilt = true;
  channel.snapshot->touched.clear();
}

WillTable::Wills::iterator WillTable::erase(Channel& channel, const WillKey& key, Log& log, Wills::iterator at) {
  auto gone = log.wills.extract(at++);
  const HeldWill& will = gone.mapped();
  count(channel, will, false);
  if (key.writer != self_) store_.erase(Table::retained, row_key(key));
  if (will.derived && on_over) on_over(key, will);
  return at;
}

// What logs say ------------------------------------------------------------------------------------------------

bool WillTable::set(const WillKey& key, HeldWill will, Monotonic now) {
  Channel& channel = channels_[key.channel];
  Log& log = channel.logs[key.writer];
  if (will.place.incarnation < log.begins) return false;
  const auto [at, fresh] = log.wills.try_emplace(key.number);
  HeldWill& held = at->second;
  if (!fresh && will.place <= held.place) return false;
  if (!fresh) count(channel, held, false);
  will.derived = held.derived;
  will.since = fresh ? now : held.since;
  will.ticket = store_.open_ticket();
  held = std::move(will);
  count(channel, held, true);
  heard_.try_emplace(key.writer);
  touch(channel, key);
  save(key, held);
  return true;
}

void WillTable::clear(const WillKey& key, const LogPlace& by) {
  const auto channel = channels_.find(key.channel);
  if (channel == channels_.end()) return;
  touch(channel->second, key);
  const auto log = channel->second.logs.find(key.writer);
  if (log == channel->second.logs.end()) return;
  const auto will = log->second.wills.find(key.number);
  if (will != log->second.wills.end() && will->second.place < by) erase(channel->second, key, log->second, will);
}

void WillTable::end_lives_before(const ChannelId& id, const NodeId& writer, const Incarnation& incarnation) {
  Channel& channel = channels_[id];
  Log& log = channel.logs[writer];
  log.begins = std::max(log.begins, incarnation);
  for (auto will = log.wills.begin(); will != log.wills.end();)
    will = will->second.place.incarnation < incarnation ? erase(channel, {id, writer, will->first}, log, will)
                                                        : std::next(will);
}

void WillTable::erase_channel(const ChannelId& id, const std::function<bool(const std::string&)>& keep) {
  const auto channel = channels_.find(id);
  if (channel == channels_.end()) return;
  if (!keep) {
    use_.count -= channel->second.use.count;
    use_.bytes -= channel->second.use.bytes;
    channels_.erase(channel);
    const Bytes prefix = row_key(id);
    return store_.erase_range(Table::retained, prefix, after_prefix(prefix));
  }
  for (auto& [writer, log] : channel->second.logs)
    for (auto will = log.wills.begin(); will != log.wills.end();)
      will = keep(will->second.record.topic) ? std::next(will)
                                             : erase(channel->second, {id, writer, will->first}, log, will);
}

const HeldWill* WillTable::find(const WillKey& key) const {
  const auto channel = channels_.find(key.channel);
  if (channel == channels_.end()) return nullptr;
  const auto log = channel->second.logs.find(key.writer);
  if (log == channel->second.logs.end()) return nullptr;
  const auto will = log->second.wills.find(key.number);
  return will == log->second.wills.end() ? nullptr : &will->second;
}

void WillTable::of_channel(const ChannelId& id,
                           const std::function<void(const WillKey&, const HeldWill&)>& visit) const {
  const auto channel = channels_.find(id);
  if (channel == channels_.end()) return;
  for (const auto& [writer, log] : channel->second.logs)
    for (const auto& [number, will] : log.wills) visit({id, writer, number}, will);
}

bool WillTable::has_any(const ChannelId& id, const NodeId& writer) const {
  const auto channel = channels_.find(id);
  if (channel == channels_.end()) return false;
  const auto log = channel->second.logs.find(writer);
  return log != channel->second.logs.end() && !log->second.wills.empty();
}

WillTable::Use WillTable::use(const ChannelId& id) const {
  const auto channel = channels_.find(id);
  return channel == channels_.end() ? Use{} : channel->second.use;
}

// Snapshots ----------------------------------------------------------------------------------------------------

void WillTable::begin_snapshot(const ChannelId& channel) { channels_[channel].snapshot = Snapshot{}; }

void WillTable::offer(const WillKey& key, HeldWill will) {
  const auto channel = channels_.find(key.channel);
  if (channel == channels_.end() || !channel->second.snapshot || key.writer == self_) return;
  Snapshot& snapshot = *channel->second.snapshot;
  const auto [at, fresh] = snapshot.offered.try_emplace(key);
  if (!fresh) snapshot.bytes -= at->second.bytes();
  at->second = std::move(will);
  snapshot.bytes += at->second.bytes();
}

WillTable::Use WillTable::offered(const ChannelId& id) const {
  const auto channel = channels_.find(id);
  if (channel == channels_.end() || !channel->second.snapshot) return {};
  return {channel->second.snapshot->offered.size(), channel->second.snapshot->bytes};
}

bool WillTable::end_snapshot(const ChannelId& id, Monotonic now,
                             const std::function<bool(const WillKey&, const HeldWill&)>& has_room) {
  Channel& channel = channels_[id];
  auto snapshot = std::exchange(channel.snapshot, std::nullopt);
  if (!snapshot || snapshot->spoilt) return false;
  for (auto& [writer, log] : channel.logs) {
    if (writer == self_) continue;
    for (auto will = log.wills.begin(); will != log.wills.end();) {
      const WillKey key{id, writer, will->first};
      const bool stands = snapshot->offered.contains(key) || snapshot->touched.contains(key);
      will = stands ? std::next(will) : erase(channel, key, log, will);
    }
  }
  for (auto& [key, will] : snapshot->offered)
    if (!snapshot->touched.contains(key) && has_room(key, will)) (void)set(key, std::move(will), now);
  return true;
}

void WillTable::drop_snapshot(const ChannelId& channel) {
  if (const auto found = channels_.find(channel); found != channels_.end()) found->second.snapshot.reset();
}

// Presence and time --------------------------------------------------------------------------------------------

void WillTable::listen(const ChannelId& channel, Monotonic now) { channels_[channel].listening = now; }

void WillTable::stop_listening(const ChannelId& channel) {
  if (const auto found = channels_.find(channel); found != channels_.end()) found->second.listening.reset();
}

void WillTable::heard(const NodeId& writer, Monotonic when) {
  if (const auto found = heard_.find(writer); found != heard_.end()) found->second = std::max(found->second, when);
}

std::vector<WillKey> WillTable::due(Monotonic now) {
  if (asked_ == Monotonic{} || now - asked_ > limits::presence_pause_max) awake_since_ = now;
  asked_ = now;
  std::vector<WillKey> out;
  for (const auto& [id, channel] : channels_) {
    if (!channel.listening) continue;
    for (const auto& [writer, log] : channel.logs) {
      if (writer == self_ || log.wills.empty()) continue;
      const Monotonic heard = std::max({*channel.listening, awake_since_, heard_.at(writer)});
      if (now < heard + limits::presence_lease) continue;
      for (const auto& [number, will] : log.wills) {
        const auto delay = limits::presence_lease + std::chrono::seconds(will.record.will_delay_seconds);
        if (will.derived || now < std::max(heard, will.since) + delay) continue;
        out.push_back({id, writer, number});
        if (out.size() == limits::wills_derived_per_second_max) return out;
      }
    }
  }
  return out;
}

void WillTable::set_derived(const WillKey& key) {
  HeldWill& will = channels_.at(key.channel).logs.at(key.writer).wills.at(key.number);
  will.derived = true;
  save(key, will);
}

void WillTable::lives_on(const ChannelId& id, const NodeId& writer, const Incarnation& incarnation) {
  const auto channel = channels_.find(id);
  if (channel == channels_.end() || !on_over) return;
  const auto log = channel->second.logs.find(writer);
  if (log == channel->second.logs.end()) return;
  for (const auto& [number, will] : log->second.wills)
    if (will.derived && will.place.incarnation == incarnation) on_over({id, writer, number}, will);
}

}  // namespace diot
