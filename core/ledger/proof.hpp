#pragma once
// Light proofs: what the ledger says of a handle, that an entry stands in it, that it only grew; checked with the network's id alone (docs/protocol.md, "Proof").

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"
#include "core/share.hpp"
#include "core/sparse_map.hpp"

namespace diot {

/// A block without its entries: what decided it, and what it stands for.
struct DecidedHeader {
  Bytes header;  ///< as encode_block_header gives it
  std::uint32_t round = 0;
  std::vector<BlockView::Vote> votes;
};
DecidedHeader decided_header(const BlockView& block);
/// header (bin), round, votes: three values of whatever holds it; a failure sticks to `in`.
void write_decided(PackWriter& out, const DecidedHeader& block);
DecidedHeader read_decided(PackReader& in);

/// Where the checker's trust begins, and the way from there to the block as of which something is proven.
struct ProofChain {
  /// The unsigned genesis, or a header whose hash the checker has pinned, with the keys that decide the block after that
  /// one.
  Bytes genesis;
  struct Pinned {
    Bytes header;
    std::vector<PublicKey> next_witnesses;
  };
  std::optional<Pinned> pinned;
  /// Each change of the witnesses from there on, up to that block: the last block of the old ones, who are named in it,
  /// and the new ones' keys.
  struct Change {
    DecidedHeader block;
    std::vector<PublicKey> next_witnesses;
  };
  std::vector<Change> changes;
  DecidedHeader block;
};
/// What the ledger says of a handle, by the block's map root.
struct HandleProof : ProofChain {
  std::string handle;
  Bytes record;      ///< as encode_handle gives it; empty: there is none
  SparseProof path;  ///< with a record its `end` is that of the handle
};
/// That an entry stands in the log, by the block's log root: RFC 9162 section 2.1.3.
struct EntryProof : ProofChain {
  Bytes entry;
  std::uint64_t index = 0;  ///< in the log, from 0
  std::vector<Hash> path;   ///< leaf to root
};
/// That the log as of the block begins with all that it had at an older one, which was decided as well: RFC 9162 section
/// 2.1.4.
struct ExtensionProof : ProofChain {
  DecidedHeader old;
  std::vector<Hash> path;
};
using LedgerProof = std::variant<HandleProof, EntryProof, ExtensionProof>;
const ProofChain& chain_of(const LedgerProof& proof);

/// Its headers are those of one chain: each names its network, and the witnesses that the one before it, or the genesis,
/// says that it has.
Bytes encode_proof(const LedgerProof& proof);
/// Shape and bounds only. What all headers of that network say, and which witnesses each is decided by, is not in the bytes.
Result<LedgerProof> decode_proof(ByteView bytes, const NetworkId& network);

/// As of which block something is proven.
struct ProvedBlock {
  NetworkId network;
  Checkpoint block;
  WallMs time = 0;
  std::size_t votes = 0, witnesses = 0;
  Hash map_root, log_root;
  std::uint64_t entries = 0;  ///< in the log
};
/// Errc::invalid names what does not fit. `pinned`: a checkpoint that the caller trusts, for a proof that begins at one.
Result<ProvedBlock> check_proof(const LedgerProof& proof, const NetworkId& network,
                                const std::optional<Checkpoint>& pinned = std::nullopt);

}  // namespace diot
