#pragma once
// The ledger as every node keeps it: genesis and blocks, and the state that follows from them. No I/O: the caller
// stores and sends the bytes. Formats and rules: docs/protocol.md, "Genesis", "Entry", "Block", "Invite".

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/genesis.hpp"
#include "core/ledger/handle.hpp"
#include "core/ledger/invite.hpp"
#include "core/ledger/verify.hpp"
#include "core/share.hpp"
#include "core/sparse_map.hpp"

namespace diot {

using Handles = std::map<std::string, HandleRecord, std::less<>>;

/// Genesis and blocks replayed. Every rule is checked, whoever signed. Used from one thread at a time.
class Ledger {
 public:
  /// Starts from the genesis alone (height 0). Keeps the bytes' hash only. Errc::not_available for rules that this
  /// program does not know, and for open admission.
  static Result<Ledger> from_genesis(ByteView genesis);
  Ledger(Ledger&&) noexcept;
  Ledger& operator=(Ledger&&) noexcept;
  ~Ledger();

  const NetworkId& network() const;
  const Genesis& genesis() const;
  /// The newest block: {0, hash of the genesis} before block 1.
  Checkpoint head() const;
  WallMs head_time() const;
  std::uint64_t entry_count() const;
  const Hash& log_root() const;
  const Hash& map_root() const;

  /// Who decides the next block, in the order of their indices.
  const std::vector<PublicKey>& witnesses() const;

  /// Judges the block against the rules and the state; on success it is the new head. On failure nothing changes, and
  /// the error names the block, and the entry if it is one's fault. That the block's time is not ahead of the clock is
  /// the caller's to check.
  Result<void> append(ByteView block);
  /// Everything that append checks but the votes; changes nothing. What a witness asks before it votes.
  Result<void> check_proposal(const BlockHeader& header, const std::vector<Bytes>& entries) const;
  /// Would this entry be accepted in the next block at block time `now`? Errc::exists = handle taken or invite used up.
  Result<void> check_entry(ByteView entry, WallMs now) const;

  struct Proposal {
    BlockHeader header;
    std::vector<Bytes> entries;
  };
  /// The next block, to be voted upon: the entries that pass, in order, at time `now` or that of the head if later.
  /// Those that do not pass are told to `refused`; those that do not fit any more to nobody, they are for a later block.
  /// One that is handed in twice is judged once. Errc::not_found if none passes; if none is handed in the block is empty,
  /// a checkpoint of freshness.
  Result<Proposal> propose(const std::vector<Bytes>& entries, WallMs now,
                           const std::function<void(const Bytes& entry, const Error& why)>& refused = {}) const;
  /// n = 1: proposes and decides alone. Does not append the block. Errc::not_permitted if `witness` is not the sole
  /// one, Errc::not_available if there are several.
  Result<Bytes> make_block(const std::vector<Bytes>& entries, WallMs now, const KeyPair& witness,
                           const std::function<void(const Bytes& entry, const Error& why)>& refused = {}) const;
  /// Block 1, from the founding entries.
  Result<Bytes> make_first_block(WallMs now, const KeyPair& witness) const;

  const HandleRecord* handle(std::string_view name) const;
  /// That the newest block's map root covers this record of the handle, or none.
  SparseProof prove(std::string_view handle) const;
  /// The handle that a node speaks for, or nullptr.
  const HandleRecord* handle_of(const NodeId& node) const;
  const Handles& handles() const;
  /// How often an invite's token has been used.
  std::uint32_t uses_of(const PublicKey& token) const;
  /// Block hash at a height up to the head's (0: the genesis), or nullopt.
  std::optional<Hash> block_at(std::uint64_t height) const;

 private:
  struct Impl;
  explicit Ledger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace diot
