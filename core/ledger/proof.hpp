#pragma once
// Light proofs: what the ledger says of a handle, checked with the network's id alone (docs/protocol.md, "Proof").

#include <cstdint>
#include <optional>
#include <string>
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

struct HandleProof {
  /// Where the checker's trust begins: the unsigned genesis, or a header whose hash it has pinned, with the keys that
  /// decide the block after that one.
  Bytes genesis;
  struct Pinned {
    Bytes header;
    std::vector<PublicKey> next_witnesses;
  };
  std::optional<Pinned> pinned;
  /// Each change of the witnesses from there on, up to the newest block: the last block of the old ones, who are named
  /// in it, and the new ones' keys.
  struct Change {
    DecidedHeader block;
    std::vector<PublicKey> next_witnesses;
  };
  std::vector<Change> changes;
  DecidedHeader newest;
  std::string handle;
  Bytes record;      ///< as encode_handle gives it; empty: there is none
  SparseProof path;  ///< with a record its `end` is that of the handle
};
/// Its headers are those of one chain: each names its network, and the witnesses that the one before it, or the genesis,
/// says that it has.
Bytes encode_proof(const HandleProof& proof);
/// Shape and bounds only. What all headers of that network say, and which witnesses each is decided by, is not in the bytes.
Result<HandleProof> decode_proof(ByteView bytes, const NetworkId& network);

/// What a proof shows.
struct ProvedHandle {
  NetworkId network;
  Checkpoint block;  ///< as of this one
  WallMs time = 0;   ///< the block's
  std::size_t votes = 0, witnesses = 0;
  Hash map_root;
};
/// Errc::invalid names what does not fit. `pinned`: a checkpoint that the caller trusts, for a proof that begins at one.
Result<ProvedHandle> check_proof(const HandleProof& proof, const NetworkId& network,
                                 const std::optional<Checkpoint>& pinned = std::nullopt);

}  // namespace diot
