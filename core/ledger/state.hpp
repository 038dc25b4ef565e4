#pragma once
// What follows from the blocks so far, and the rules by which an entry changes it. For this folder only.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/genesis.hpp"
#include "core/ledger/handle.hpp"
#include "core/ledger/tiles.hpp"
#include "core/ledger/witness.hpp"

namespace diot {

struct LedgerSnapshot;

/// Block times of the newest changes of a handle, oldest first, as many as the rules look at.
struct ChangeTimes {
  std::vector<WallMs> daily;  ///< by the current key or a node
  std::vector<WallMs> grave;  ///< by the next key or guardians
};

/// Every part follows from the entries. What a light client needs is in the records, which the map root covers; the
/// rest follows from the records and the entries of the last 30 days (core/ledger/snapshot.hpp): a new rule must not look
/// further back, or what it looks at has to be in a record.
struct LedgerState {
  LedgerState(Genesis from, const NetworkId& id, const Hash& genesis_hash);

  Genesis genesis;
  NetworkId network;
  std::map<std::string, HandleRecord, std::less<>> handles;
  std::unordered_map<NodeId, std::string> of_node;
  std::unordered_map<std::string, std::string> looks;  ///< skeleton → handle
  std::unordered_map<Hash, std::uint32_t> grant_uses;
  /// Inviter → block times of the newest registrations by its grants, oldest first, as many as the rule looks at.
  std::map<std::string, std::vector<WallMs>> invited;
  std::map<std::string, ChangeTimes> changes;
  std::map<std::string, std::map<NodeId, CutOffs>> cut_offs;
  /// When time alone changes a handle: it gets free, or its recovery is due.
  std::set<std::pair<WallMs, std::string>> timers;
  NetworkRecord record;  ///< for the next block
  /// First block that they decide → witnesses.
  std::map<std::uint64_t, WitnessSet> witnesses;
  /// Height of a succession → who would have decided that block without it.
  std::map<std::uint64_t, WitnessSet> replaced;
  std::vector<PastBlock> blocks;  ///< by height; 0 stands for the genesis

  const PastBlock& head() const { return blocks.back(); }
  std::uint64_t height() const { return blocks.size() - 1; }
  /// Of a block up to the next one.
  const WitnessSet& witnesses_at(std::uint64_t at) const;
};

/// Exactly these keys have signed the entry.
Result<void> check_signatures(const Entry& entry, const std::set<PublicKey>& required, const NetworkId& network);

/// Of a block with a succession that is not on top of `state` but beside a block of it: whether that replaces witnesses.
Result<void> check_rival_succession(const BlockView& rival, const Entry& entry, const SuccessionBody& body,
                                    const LedgerState& state);

/// When time alone changes the handle next; 0 = never.
WallMs timer_of(const HandleRecord& record);

/// What a snapshot makes (core/ledger/snapshot.hpp). The roots are those that the state and the log must have.
struct Restored {
  LedgerState state;
  LogTiles log;
  Hash map_root, log_root;
};
/// `genesis`: the state that follows from that alone.
Result<Restored> restore(LedgerState genesis, const LedgerSnapshot& snapshot);

/// Entries whose stamps were found good, as each is judged when it is handed in, when it is proposed and when its block
/// comes.
class GoodStamps {
 public:
  bool contains(const Hash& entry) const { return entries_.contains(entry); }
  void add(const Hash& entry) {
    if (entries_.size() == 10'000) entries_.clear();
    entries_.insert(entry);
  }

 private:
  std::set<Hash> entries_;
};

/// A map with changes on top that can be dropped.
template <class Map>
class Overlay {
 public:
  using Key = typename Map::key_type;
  using Value = typename Map::mapped_type;
  using Changes = std::map<Key, std::optional<Value>>;

  explicit Overlay(const Map& base) : base_(base) {}
  const Value* find(const Key& key) const {
    if (const auto at = changes_.find(key); at != changes_.end()) return at->second ? &*at->second : nullptr;
    const auto at = base_.find(key);
    return at == base_.end() ? nullptr : &at->second;
  }
  /// A copy, or what a new one holds.
  Value get(const Key& key) const {
    const auto* found = find(key);
    return found ? *found : Value{};
  }
  void set(const Key& key, Value value) { changes_.insert_or_assign(key, std::move(value)); }
  void erase(const Key& key) { changes_.insert_or_assign(key, std::nullopt); }
  const Changes& changes() const { return changes_; }
  /// Moves the changes into the base.
  void commit(Map& base) {
    for (auto& [key, value] : changes_) {
      if (value)
        base.insert_or_assign(key, std::move(*value));
      else
        base.erase(key);
    }
  }

 private:
  const Map& base_;
  Changes changes_;
};

/// The entries of one block on top of a state that stays as it is until `commit`, so that a block is taken whole or not
/// at all. Block 1 holds the founding entries, which are signed for no network and need neither checkpoint nor invite.
/// In a block: begin, add …, finish, commit.
class LedgerDraft {
 public:
  /// `time` is the block's. Without `good_stamps` the work of stamps is believed.
  LedgerDraft(const LedgerState& base, WallMs time, GoodStamps* good_stamps);

  /// What time alone has changed.
  void begin();
  /// Judges the entry by every rule; if it passes, what it changes is part of the draft, else nothing is.
  Result<void> add(const Entry& entry);
  /// What holds from the next block on.
  void finish();
  /// New, changed and removed records.
  const Overlay<decltype(LedgerState::handles)>::Changes& changed() const { return handles_.changes(); }
  const NetworkRecord& record() const { return record_; }
  /// Moves the changes into `state`, which is the base, and adds the block. The draft must not be used after that.
  void commit(LedgerState& state, const PastBlock& block);

 private:
  std::uint64_t height() const { return base_.height() + 1; }
  bool founding() const { return base_.height() == 0; }
  const NetworkId& network() const;
  WallMs lease_until() const;

  // Looking things up, brought up to the block's time (draft.cpp)
  const HandleRecord* find(const std::string& handle);
  /// Empty: the node speaks for no handle.
  std::string handle_of(const NodeId& node);
  void set(HandleRecord record);
  void drop(const HandleRecord& record);
  void unlink(const HandleRecord& record);
  void complete(HandleRecord record);

  // What several rules ask (draft.cpp)
  Result<void> check_recent(const Entry& entry) const;
  /// A block of this chain that is the newest one, or was until so long ago. Errc::not_found, Errc::timed_out.
  Result<void> check_age(const Checkpoint& checkpoint, std::chrono::milliseconds age_max) const;
  /// Exactly these keys have signed.
  Result<void> check_signatures(const Entry& entry, const std::set<PublicKey>& required) const;
  Result<HandleRecord> existing(const HandleChange& change);
  static Result<void> check_next_key(const PublicKey& owner, const Hash& next_key);
  Result<void> check_nodes(const std::string& handle, const PublicKey& owner, const NodeRoles& nodes,
                           const HandleRecord* record);
  enum class Change { daily, grave };
  /// Counts the change, if it is not one too many within a day.
  Result<void> spend(const HandleRecord& record, Change kind);

  // rules_register.cpp
  Result<void> add(const Entry& entry, const RegisterBody& body);
  Result<Grant> check_grant(const RegisterBody& body);
  Result<void> check_work(const Entry& entry, const RegisterBody& body);
  // rules_handle.cpp
  Result<void> add(const Entry& entry, const UpdateBody& body);
  Result<void> add(const Entry& entry, const RotateBody& body);
  Result<void> add(const Entry& entry, const RenewBody& body);
  Result<void> add(const Entry& entry, const TransferBody& body);
  Result<void> add(const Entry& entry, const RevokeNodeBody& body);
  Result<void> add(const Entry& entry, const SetGuardiansBody& body);
  Result<void> add(const Entry& entry, const RecoverBody& body);
  Result<void> add(const Entry& entry, const CancelRecoveryBody& body);
  Result<void> add(const Entry& entry, const ReleaseBody& body);
  // rules_network.cpp
  Result<void> add(const Entry& entry, const WitnessChangeBody& body);
  Result<void> add(const Entry& entry, const UpgradeBody& body);
  Result<void> add(const Entry& entry, const EvidenceBody& body);
  Result<void> add(const Entry& entry, const SuccessionBody& body);
  Result<void> check_epoch(std::uint64_t epoch) const;
  Result<void> check_members(const WitnessSet& witnesses);
  Result<std::set<PublicKey>> quorum_of(const Entry& entry) const;

  const LedgerState& base_;
  WallMs time_;
  GoodStamps* good_stamps_;
  Overlay<decltype(LedgerState::handles)> handles_;
  Overlay<decltype(LedgerState::of_node)> of_node_;
  Overlay<decltype(LedgerState::looks)> looks_;
  Overlay<decltype(LedgerState::grant_uses)> grant_uses_;
  Overlay<decltype(LedgerState::invited)> invited_;
  Overlay<decltype(LedgerState::changes)> changes_;
  Overlay<decltype(LedgerState::cut_offs)> cut_offs_;
  NetworkRecord record_;
  std::map<std::uint64_t, WitnessSet> new_witnesses_;
  std::optional<WitnessSet> replaced_;  ///< by a succession
  std::size_t entries_ = 0, stamped_ = 0, stamp_checks_ = 0;
};

}  // namespace diot
