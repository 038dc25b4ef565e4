#pragma once
// What follows from the blocks so far, and the rules by which an entry changes it. For this folder only.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/genesis.hpp"
#include "core/ledger/handle.hpp"

namespace diot {

struct LedgerState {
  LedgerState(Genesis from, const NetworkId& id, const Hash& genesis_hash);

  Genesis genesis;
  NetworkId network;
  std::map<std::string, HandleRecord, std::less<>> handles;
  std::unordered_map<NodeId, const HandleRecord*> of_node;
  std::unordered_map<PublicKey, std::uint32_t> token_uses;
  /// Inviter → block times of the newest registrations by its grants, oldest first, as many as the rule looks at.
  std::map<std::string, std::vector<WallMs>, std::less<>> invited;
  struct Block {
    Hash hash;
    WallMs time;
  };
  std::vector<Block> blocks;  ///< by height; 0 stands for the genesis

  const Block& head() const { return blocks.back(); }
  std::uint64_t height() const { return blocks.size() - 1; }
};

/// The entries of one block on top of a state that stays as it is until `commit`, so that a block is taken whole or not
/// at all. Block 1 holds the founding entries, which are signed for no network and need neither checkpoint nor invite.
class LedgerDraft {
 public:
  /// `time` is the block's.
  LedgerDraft(const LedgerState& base, WallMs time) : base_(base), time_(time) {}

  /// Judges the entry by every rule; if it passes, what it changes is part of the draft, else nothing is.
  Result<void> add(const Entry& entry);
  /// New or changed records.
  const std::map<std::string, HandleRecord, std::less<>>& changed() const { return handles_; }
  /// Moves the changes into `state`, which is the base. The draft must not be used after that.
  void commit(LedgerState& state);

 private:
  bool founding() const { return base_.height() == 0; }
  const NetworkId& network() const;
  const HandleRecord* find(std::string_view handle) const;
  /// Empty: the node speaks for no handle.
  std::string_view handle_of(const NodeId& node) const;
  WallMs lease_until() const;

  Result<void> add(const Entry& entry, const RegisterBody& body);
  Result<void> add(const Entry& entry, const UpdateBody& body);
  Result<void> add(const Entry& entry, const RenewBody& body);
  Result<void> check_recent(const Checkpoint& recent) const;
  Result<const HandleRecord*> existing(const std::string& handle, std::uint64_t version) const;
  Result<void> check_nodes(const std::string& handle, const PublicKey& owner, const NodeRoles& nodes) const;
  Result<Grant> check_grant(const RegisterBody& body) const;
  /// Exactly these keys have signed.
  Result<void> check_signatures(const Entry& entry, const std::set<PublicKey>& required) const;

  std::uint32_t uses_of(const PublicKey& token) const;
  const std::vector<WallMs>& invited_by(const std::string& inviter) const;
  void set(HandleRecord record);

  const LedgerState& base_;
  WallMs time_;
  std::map<std::string, HandleRecord, std::less<>> handles_;
  std::map<NodeId, std::string> of_node_;  ///< empty: speaks for no handle any more
  std::map<PublicKey, std::uint32_t> token_uses_;
  std::map<std::string, std::vector<WallMs>, std::less<>> invited_;
};

}  // namespace diot
