#pragma once
// Two histories of one network: two blocks at one height, each decided by votes that count. Kept as evidence, as no honest
// set of witnesses gives both (docs/protocol.md, "Fork").

#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/ledger/proof.hpp"

namespace diot {

inline constexpr std::size_t forks_max = 8;  ///< that are kept: one says it all, and each takes up to 80 KiB

struct Fork {
  struct Side {
    DecidedHeader block;
    Bytes succession;  ///< the entry, if the block replaced the witnesses: it gave them the say
  };
  WallMs seen = 0;  ///< when this node was shown the other side first, by its clock …
  NodeId shown_by;  ///< … and by whom, who need not be to blame
  Side ours, theirs;

  std::uint64_t height() const;
  Hash our_block() const { return sha256(ours.block.header); }
  Hash their_block() const { return sha256(theirs.block.header); }
};
Fork::Side fork_side(const BlockView& block);

/// As the store keeps them.
Bytes encode_forks(const std::vector<Fork>& forks);
/// Shape and bounds; that both headers are headers.
Result<std::vector<Fork>> decode_forks(ByteView bytes);
/// One of them as evidence for others.
Bytes encode_fork(const Fork& fork);

/// Of a fork in which somebody precommitted both blocks in one round, the proofs: `witnesses` decided both.
std::vector<DoubleVote> double_votes_in(const Fork& fork, const std::vector<PublicKey>& witnesses);

}  // namespace diot
