// What the rules stand on: the state brought up to a block's time, and the checks that several kinds share.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/state.hpp"

namespace diot {

using ledger_codec::time_text;

static constexpr NetworkId no_network{};

static constexpr WallMs ms_of(std::chrono::milliseconds span) { return static_cast<WallMs>(span.count()); }

LedgerState::LedgerState(Genesis from, const NetworkId& id, const Hash& genesis_hash)
    : genesis(std::move(from)),
      network(id),
      record(initial_record(genesis)),
      witnesses{{1, record.witnesses}},
      blocks{{genesis_hash, genesis.time, 0}} {}

const WitnessSet& LedgerState::witnesses_at(std::uint64_t at) const {
  return std::prev(witnesses.upper_bound(std::max<std::uint64_t>(at, 1)))->second;
}

LedgerDraft::LedgerDraft(const LedgerState& base, WallMs time, GoodStamps* good_stamps)
    : base_(base),
      time_(time),
      good_stamps_(good_stamps),
      handles_(base.handles),
      of_node_(base.of_node),
      looks_(base.looks),
      grant_uses_(base.grant_uses),
      invited_(base.invited),
      changes_(base.changes),
      cut_offs_(base.cut_offs),
      record_(base.record) {}

// A block ---------------------------------------------------------------------------------------------------------

void LedgerDraft::begin() {
  for (const auto& [when, handle] : base_.timers) {
    if (when > time_) return;
    find(handle);
  }
}

Result<void> LedgerDraft::add(const Entry& entry) {
  if (entries_ > 0 && !new_witnesses_.empty())
    return fail(Errc::invalid, "a succession stands alone in its block: hand the entry in again after it");
  if (auto recent = check_recent(entry); !recent) return recent;
  auto added = std::visit([&](const auto& body) { return add(entry, body); }, entry.body);
  if (added) ++entries_;
  return added;
}

void LedgerDraft::finish() {
  if (record_.next_set && record_.next_set->height == height() + 1) {
    record_.witnesses = std::move(record_.next_set->witnesses);
    record_.next_set.reset();
    new_witnesses_[height() + 1] = record_.witnesses;
  }
  if (record_.next_rules && record_.next_rules->height == height() + 1) {
    record_.rules_version = record_.next_rules->version;
    record_.next_rules.reset();
  }
}

WallMs timer_of(const HandleRecord& record) {
  const auto free = record.free_from();
  if (!record.recovery) return free;
  return free == 0 ? record.recovery->due : std::min(free, record.recovery->due);
}

void LedgerDraft::commit(LedgerState& state, const PastBlock& block) {
  for (const auto& [handle, record] : handles_.changes()) {
    if (const auto before = state.handles.find(handle); before != state.handles.end())
      state.timers.erase({timer_of(before->second), handle});
    if (record && timer_of(*record) != 0) state.timers.emplace(timer_of(*record), handle);
  }
  handles_.commit(state.handles);
  of_node_.commit(state.of_node);
  looks_.commit(state.looks);
  grant_uses_.commit(state.grant_uses);
  invited_.commit(state.invited);
  changes_.commit(state.changes);
  cut_offs_.commit(state.cut_offs);
  state.record = std::move(record_);
  if (replaced_) state.replaced[height()] = std::move(*replaced_);
  for (auto& [from, witnesses] : new_witnesses_) state.witnesses.insert_or_assign(from, std::move(witnesses));
  state.blocks.push_back(block);
}

// Looking things up, brought up to the block's time -----------------------------------------------------------------

const NetworkId& LedgerDraft::network() const { return founding() ? no_network : base_.network; }

WallMs LedgerDraft::lease_until() const {
  const auto days = base_.genesis.lease_days;
  return days == 0 ? 0 : time_ + ms_of(std::chrono::hours(24)) * days;
}

static bool is_free(const HandleRecord& record, WallMs time) {
  return record.free_from() != 0 && record.free_from() <= time;
}

const HandleRecord* LedgerDraft::find(const std::string& handle) {
  const auto* record = handles_.find(handle);
  if (!record) return nullptr;
  if (is_free(*record, time_)) {
    drop(HandleRecord(*record));
    return nullptr;
  }
  if (record->recovery && record->recovery->due <= time_) complete(*record);
  return handles_.find(handle);
}

std::string LedgerDraft::handle_of(const NodeId& node) {
  if (const auto* handle = of_node_.find(node)) find(std::string(*handle));
  return of_node_.get(node);
}

void LedgerDraft::set(HandleRecord record) {
  if (const auto* before = handles_.find(record.handle)) unlink(*before);
  for (const auto& [node, role] : record.nodes) of_node_.set(node, record.handle);
  looks_.set(skeleton_of(record.handle), record.handle);
  const auto handle = record.handle;
  handles_.set(handle, std::move(record));
}

void LedgerDraft::unlink(const HandleRecord& record) {
  for (const auto& [node, role] : record.nodes)
    if (of_node_.get(node) == record.handle) of_node_.erase(node);
}

void LedgerDraft::drop(const HandleRecord& record) {
  unlink(record);
  looks_.erase(skeleton_of(record.handle));
  invited_.erase(record.handle);
  changes_.erase(record.handle);
  cut_offs_.erase(record.handle);
  handles_.erase(record.handle);
}

/// A recovery that nobody cancelled. Nodes that meanwhile speak for somebody else are left out; the new owner can add
/// others. Persons go: the thief may have put in some.
void LedgerDraft::complete(HandleRecord record) {
  const auto recovery = *std::exchange(record.recovery, std::nullopt);
  record.owner = recovery.owner;
  record.next_key = recovery.next_key;
  record.persons.clear();
  record.nodes.clear();
  for (const auto& [node, role] : recovery.nodes) {
    const auto other = of_node_.get(node);
    if ((other.empty() || other == record.handle) && !record.is_revoked(node)) record.nodes.emplace_back(node, role);
  }
  ++record.version;
  set(std::move(record));
}

// What several rules ask -------------------------------------------------------------------------------------------

/// An entry names a block of this very chain, so that it counts in no other, and an old one cannot come back for ever.
/// A block's age counts from when the next one followed it: the newest block is recent however long nothing happened.
Result<void> LedgerDraft::check_recent(const Entry& entry) const {
  const auto& recent = entry.recent;
  if (founding()) {
    if (recent == Checkpoint{}) return {};
    return fail(Errc::invalid, "a founding entry names no checkpoint");
  }
  const bool of_witnesses = std::holds_alternative<WitnessChangeBody>(entry.body);
  const auto fresh =
      check_age(recent, of_witnesses ? limits::witness_checkpoint_age_max : limits::entry_checkpoint_age_max);
  if (fresh) return {};
  if (fresh.error().code == Errc::not_found)
    return fail(Errc::invalid,
                fmt::format("the entry names block {}, which is not in this ledger: it was made for another "
                            "network, or from a ledger that is ahead of this one",
                            recent.height));
  return fail(Errc::invalid, fmt::format("the entry is too old: it was made at block {}, over {} ago; make it again",
                                         recent.height, of_witnesses ? "an hour" : "14 days"));
}

Result<void> LedgerDraft::check_age(const Checkpoint& checkpoint, std::chrono::milliseconds age_max) const {
  const auto& [height, hash] = checkpoint;
  if (height >= base_.blocks.size() || base_.blocks[height].hash != hash) return fail(Errc::not_found, "no such block");
  if (height != base_.height() && base_.blocks[height + 1].time + ms_of(age_max) < time_)
    return fail(Errc::timed_out, "too old");
  return {};
}

Result<void> check_signatures(const Entry& entry, const std::set<PublicKey>& required, const NetworkId& network) {
  for (const auto& [key, signature] : entry.signatures)
    if (!required.contains(key))
      return fail(Errc::not_permitted,
                  fmt::format("the entry is signed by {}…, which has no say in it", key.hex().substr(0, 16)));
  if (entry.signatures.size() != required.size()) {
    const auto missing = std::ranges::find_if(required, [&](const auto& key) { return !entry.is_signed_by(key); });
    return fail(Errc::not_permitted, fmt::format("the signature of {}… is missing", missing->hex().substr(0, 16)));
  }
  for (const auto& [key, signature] : entry.signatures)
    if (!verify(key, signature, "entry", network, entry.signed_bytes))
      return fail(Errc::invalid, fmt::format("the signature of {}… is wrong", key.hex().substr(0, 16)));
  return {};
}

Result<void> LedgerDraft::check_signatures(const Entry& entry, const std::set<PublicKey>& required) const {
  return diot::check_signatures(entry, required, network());
}

Result<HandleRecord> LedgerDraft::existing(const HandleChange& change) {
  if (founding()) return fail(Errc::invalid, "a founding entry registers a handle");
  const auto* record = find(change.handle);
  if (!record) return fail(Errc::not_found, fmt::format("there is no handle '{}'", change.handle));
  if (record->released != 0)
    return fail(Errc::not_permitted,
                fmt::format("'{}' was given up at {}: from {} on anybody may register it anew", change.handle,
                            time_text(record->released), time_text(record->free_from())));
  if (change.version != record->version + 1)
    return fail(Errc::invalid,
                fmt::format("the entry makes version {} of '{}', which is at version {}: another change came "
                            "first, or this one is there already",
                            change.version, change.handle, record->version));
  return *record;
}

Result<void> LedgerDraft::check_next_key(const PublicKey& owner, const Hash& next_key) {
  if (next_key.is_zero() || next_key == sha256(owner))
    return fail(Errc::invalid,
                "the next-key hash is not that of another key: the handle could never be given a new one");
  return {};
}

Result<void> LedgerDraft::check_nodes(const std::string& handle, const PublicKey& owner, const NodeRoles& nodes,
                                      const HandleRecord* record) {
  for (const auto& [node, role] : nodes) {
    if (key_of(node) == owner)
      return fail(Errc::invalid, "the owner key is also a node's: whoever steals that gateway would own the handle");
    if (record && record->is_revoked(node))
      return fail(Errc::not_permitted,
                  fmt::format("node {} was revoked and never speaks for '{}' again: make a new node key",
                              to_display(node), handle));
    const auto other = handle_of(node);
    if (!other.empty() && other != handle)
      return fail(Errc::not_permitted,
                  fmt::format("node {} speaks for '{}' already, and a node has one handle: remove it "
                              "there first, or make a new node key",
                              to_display(node), other));
  }
  return {};
}

Result<void> LedgerDraft::spend(const HandleRecord& record, Change kind) {
  auto changes = changes_.get(record.handle);
  auto& times = kind == Change::daily ? changes.daily : changes.grave;
  const auto max = kind == Change::daily ? limits::changes_per_day_max : limits::recoveries_per_day_max;
  const auto window = ms_of(limits::changes_window);
  std::erase_if(times, [&](WallMs time) { return time + window <= time_; });
  if (times.size() >= max)
    return fail(Errc::limit, fmt::format("'{}' was changed {} times within a day, the most a handle may: wait until {}",
                                         record.handle, times.size(), time_text(times.front() + window)));
  times.push_back(time_);
  changes_.set(record.handle, std::move(changes));
  return {};
}

}  // namespace diot
