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
#include "core/cursor.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/genesis.hpp"
#include "core/ledger/handle.hpp"
#include "core/ledger/invite.hpp"
#include "core/ledger/verify.hpp"
#include "core/ledger/witness.hpp"
#include "core/share.hpp"
#include "core/sparse_map.hpp"

namespace diot {

using Handles = std::map<std::string, HandleRecord, std::less<>>;

/// What of a node's log in a channel of a handle counts.
struct WriterRight {
  enum class Extent : std::uint8_t {
    nothing,  ///< it does not speak for the handle
    up_to,    ///< it was revoked: up to `last`, whose header has that hash
    all,
  };
  Extent extent = Extent::nothing;
  Cursor last;

  /// Whether a batch that ends with `seq` counts; `header` is the hash of its header.
  bool allows(const Incarnation& incarnation, std::uint64_t seq, const Hash& header) const {
    if (extent != Extent::up_to) return extent == Extent::all;
    if (incarnation == last.incarnation && seq == last.seq) return header == last.header;
    return is_behind(Cursor{incarnation, seq, {}}, last);
  }
};

struct LedgerSnapshot;

/// Whether the work of stamps is checked once more in blocks that were judged before.
enum class StampCheck : std::uint8_t { all, none };

/// Genesis and blocks replayed. Every rule is checked, whoever signed. Used from one thread at a time.
class Ledger {
 public:
  /// Starts from the genesis alone (height 0). Keeps the bytes' hash only. Errc::not_available for rules that this
  /// program does not know.
  static Result<Ledger> from_genesis(ByteView genesis);
  /// Starts from the state at a block, of which the header is believed and everything else is checked against it.
  /// Errc::invalid names what does not fit.
  /// `of`: any ledger of the network.
  static Result<Ledger> from_snapshot(const Ledger& of, const LedgerSnapshot& snapshot);
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
  /// Those of a block up to the next one, with the nodes that they run on.
  const WitnessSet& witnesses_at(std::uint64_t height) const;
  /// What has become of the genesis' witnesses and rules.
  const NetworkRecord& network_record() const;
  /// Errc::not_available if the next block goes by rules that this program does not know: it takes no more blocks and
  /// entries, and everything else goes on.
  Result<void> can_go_on() const;

  /// Judges the block against the rules and the state; on success it is the new head. On failure nothing changes, and
  /// the error names the block, and the entry if it is one's fault. That the block's time is not ahead of the clock is
  /// the caller's to check.
  Result<void> append(ByteView block, StampCheck stamps = StampCheck::all);
  /// Everything that append checks but the votes; changes nothing. What a witness asks before it votes.
  Result<void> check_proposal(const BlockHeader& header, const std::vector<Bytes>& entries) const;
  /// Whether another block than ours at its height, which follows the same block as ours does, was decided by those who
  /// had the say: then there are two histories. Its other entries are not judged. Errc::invalid says why not.
  Result<void> check_rival(const BlockView& rival) const;
  /// Would this entry be accepted in the next block at block time `now`? Errc::exists = handle taken or invite used up.
  /// The work of a stamp comes last, as it costs the most; StampCheck::none leaves it out.
  Result<void> check_entry(ByteView entry, WallMs now, StampCheck stamps = StampCheck::all) const;

  struct Proposal {
    BlockHeader header;
    std::vector<Bytes> entries;
  };
  /// The next block, to be voted upon: the entries that pass, in order, at time `now` or that of the head if later.
  /// Those that do not pass are told to `refused`; those that do not fit any more, or have one work stamp too many for a
  /// block, to nobody: they are for a later one.
  /// One that is handed in twice is judged once. Errc::not_found if none passes; if none is handed in the block is empty,
  /// a checkpoint of freshness.
  Result<Proposal> propose(const std::vector<Bytes>& entries, WallMs now,
                           const std::function<void(const Bytes& entry, const Error& why)>& refused = {}) const;
  /// The block that replaces witnesses who are gone, decided by precommits of round 0 of more than two thirds of the new
  /// ones. It follows from the entry and the chain alone, its time is the earliest that the rules allow: so all of them
  /// vote for the same without a proposer. Before that time nobody may; the clock is the caller's to ask.
  Result<Proposal> propose_succession(ByteView entry) const;
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
  /// What `writer` may say in `channel`, which is one of `handle`'s.
  WriterRight right_to_write(std::string_view handle, const NodeId& writer, const ChannelId& channel) const;
  /// Where the node's log in each channel ends that was revoked in `handle`, or nullptr.
  const CutOffs* cut_offs(std::string_view handle, const NodeId& node) const;
  /// How often an invite has been used, by its grant's id. Of one that is too old to be used any more it may say 0.
  std::uint32_t uses_of(const Hash& grant) const;
  /// Block hash at a height up to the head's (0: the genesis), or nullopt.
  std::optional<Hash> block_at(std::uint64_t height) const;
  /// All blocks by height; 0 stands for the genesis.
  const std::vector<PastBlock>& blocks() const;
  /// First block that they decide → witnesses. Before a snapshot that the ledger began with their nodes are not known.
  const std::map<std::uint64_t, WitnessSet>& witness_history() const;
  /// Height of a succession → who would have decided that block without it; their nodes as above.
  const std::map<std::uint64_t, WitnessSet>& replaced_witnesses() const;
  /// Handle → record, as the map root covers them, by their keys.
  const SparseMap& map() const;
  /// The roots of the log's full tiles (core/ledger/tiles.hpp), in its order.
  const std::vector<Hash>& tiles() const;

 private:
  struct Impl;
  explicit Ledger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace diot
