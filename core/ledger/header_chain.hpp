#pragma once
// The chain of block headers without the entries: who decided what, from the genesis to the newest block
// (docs/protocol.md, "Chain of headers").

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/genesis.hpp"
#include "core/ledger/proof.hpp"
#include "core/ledger/witness.hpp"
#include "core/share.hpp"

namespace diot {

class Ledger;

/// One block of it.
struct ChainLink {
  DecidedHeader block;                    ///< the votes may be left out where nothing else hangs on them
  std::vector<PublicKey> next_witnesses;  ///< where it names others than those that decided it
  Bytes succession;                       ///< its only entry, if that is one
};
/// It names other witnesses than those before it, so its votes have to be there.
bool changes_witnesses(const ChainLink& link);
/// Of a block that the ledger has taken. With its votes.
ChainLink link_of(const BlockView& block, const Ledger& ledger);
Bytes encode_link(const ChainLink& link);
/// Shape and bounds only.
Result<ChainLink> decode_link(ByteView bytes);
inline constexpr std::size_t link_bytes_max = 64 << 10;

/// Of a block with a succession, which stands alone, the new witnesses; of any other none.
std::optional<std::vector<PublicKey>> successors(const std::vector<Bytes>& entries);

/// Follows the chain. The votes for a header certify every one before it, so those of the last one of a page are checked,
/// and those wherever the witnesses change, as the old ones have to name the new ones. That the entries keep the rules is
/// for others to check.
class HeaderChain {
 public:
  /// Goes on behind the newest block of `from`. With `pinned` the chain must have that block.
  explicit HeaderChain(const Ledger& from, std::optional<Checkpoint> pinned = std::nullopt);

  /// Whether the votes are checked, or were before they came to this disk.
  enum class Votes : std::uint8_t { check, trust };
  /// The next blocks: all or none. Errc::invalid names what is wrong with which one, Errc::not_available that it goes by
  /// rules that this program does not know.
  Result<void> add(const std::vector<ChainLink>& page, Votes votes = Votes::check);

  /// By height, 0 for the genesis.
  const std::vector<PastBlock>& blocks() const { return blocks_; }
  std::uint64_t height() const { return blocks_.size() - 1; }
  /// The newest block's; nullopt if the chain did not move.
  const std::optional<BlockHeader>& newest() const { return newest_; }
  /// First block that they decide → witnesses.
  const std::map<std::uint64_t, WitnessSet>& witnesses() const { return witnesses_; }
  /// Height of a succession → who would have decided that block without it.
  const std::map<std::uint64_t, WitnessSet>& replaced() const { return replaced_; }

 private:
  Result<void> add(const ChainLink& link, bool last, Votes votes);
  /// Who takes over in this block.
  Result<std::vector<PublicKey>> check_succession(const ChainLink& link, const BlockHeader& header) const;

  NetworkId network_;
  Hash succession_;
  std::optional<Checkpoint> pinned_;
  std::vector<PastBlock> blocks_;
  std::vector<PublicKey> deciders_;  ///< of the next block
  std::map<std::uint64_t, WitnessSet> witnesses_, replaced_;
  std::optional<BlockHeader> newest_;
};

}  // namespace diot
