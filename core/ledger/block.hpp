#pragma once
// Blocks: entries in their order, both roots, and the votes that decided them (docs/protocol.md, "Block").

#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/vote.hpp"
#include "core/msgpack.hpp"

namespace diot {

struct BlockHeader {
  std::uint32_t rules_version = 1;
  NetworkId network;
  std::uint64_t height = 0;
  WallMs time = 0;
  Hash previous;              ///< hash of the header before; block 1: SHA-256 of the genesis' bytes
  std::uint64_t entries = 0;  ///< in the log, this block's included
  Hash log_root;              ///< RFC 6962 over all entries
  Hash map_root;              ///< sparse map SHA-256(handle) → SHA-256(record)
  Hash witnesses;             ///< SHA-256 over the witness keys that decide this block …
  Hash next_witnesses;        ///< … and the next one: a light proof follows changes of the set by headers alone
};

/// What every node remembers of each block.
struct PastBlock {
  Hash hash;
  WallMs time = 0;
  std::uint64_t entries = 0;  ///< in the log, this block's included

  static PastBlock of(const BlockHeader& header, const Hash& hash) { return {hash, header.time, header.entries}; }
};

struct BlockView {
  BlockHeader header;
  Hash hash;  ///< SHA-256 of the header's bytes
  std::vector<Bytes> entries;
  std::uint32_t round = 0;
  struct Vote {
    std::uint32_t witness = 0;  ///< index into the witness set
    WallMs time = 0;
    Signature signature;

    static Vote of(const diot::Vote& precommit) { return {precommit.witness, precommit.time, precommit.signature}; }
    /// The other way round: what it says of block `hash` of that height, decided in that round.
    diot::Vote precommit(std::uint64_t height, std::uint32_t in_round, const Hash& hash) const {
      return {VoteKind::precommit, height, in_round, hash, time, witness, signature};
    }
  };
  std::vector<Vote> votes;  ///< the quorum certificate
};

Bytes encode_block_header(const BlockHeader& header);
/// Shape only. Errc::not_available for another version or suite.
Result<BlockHeader> decode_block_header(ByteView bytes);
Hash block_hash(const BlockHeader& header);
/// More than two thirds of `witnesses`.
constexpr bool is_quorum(std::size_t votes, std::size_t witnesses) { return 3 * votes > 2 * witnesses; }
/// The fewest votes that are one.
constexpr std::size_t quorum_size(std::size_t witnesses) { return 2 * witnesses / 3 + 1; }
/// A precommit for `header` in `round` by the witness number `index`, whose key is `witness`.
BlockView::Vote make_vote(const BlockHeader& header, std::uint32_t round, std::uint32_t index, WallMs time,
                          const KeyPair& witness);
Bytes encode_block(const BlockHeader& header, const std::vector<Bytes>& entries, std::uint32_t round,
                   const std::vector<BlockView::Vote>& votes);
/// Shape and bounds only.
Result<BlockView> decode_block(ByteView bytes);

/// Entries and votes as blocks and proposals hold them; a failure sticks to `in`.
void write_block_entries(PackWriter& out, const std::vector<Bytes>& entries);
std::vector<Bytes> read_block_entries(PackReader& in);
void write_block_votes(PackWriter& out, const std::vector<BlockView::Vote>& votes);
std::vector<BlockView::Vote> read_block_votes(PackReader& in);

/// What such a thing takes at most: the msgpack values of a block, and the bytes of a header.
inline constexpr std::size_t block_values_max = 16 + limits::block_entries_max + 4 * limits::witnesses_max;
inline constexpr std::size_t block_header_bytes_max = 512;

/// SHA-256 over the keys, one after the other.
Hash witness_set_hash(const std::vector<PublicKey>& witnesses);
/// Votes of more than two thirds of the witnesses, ascending by index, each signature checked.
Result<void> check_votes(const BlockView& block, const std::vector<PublicKey>& witnesses);

}  // namespace diot
