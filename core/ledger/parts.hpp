#pragma once
// Questions that a node asks when it does not replay the whole ledger, and the answers (docs/protocol.md, "Parts of the
// ledger"). Encoding and shape only; a decoder gives nullopt on anything it would not have encoded itself.

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "core/bytes.hpp"
#include "core/ledger/snapshot.hpp"
#include "core/sparse_map.hpp"

namespace diot {

namespace limits {
inline constexpr std::size_t links_per_part_max = 1024;
inline constexpr std::size_t part_bytes_max = 512 << 10;  ///< after which an answer takes up no further link or block …
inline constexpr std::size_t records_bytes_max = 256 << 10;  ///< … or record
inline constexpr std::size_t records_per_place_max = 512;
inline constexpr std::size_t places_per_ask_max = 16;
inline constexpr std::size_t hashes_per_part_max = 8192;
inline constexpr std::size_t ranges_per_part_max = 256;
}  // namespace limits
/// The levels by which an answer goes down a map that is too large for it.
inline constexpr std::uint32_t part_levels = 4;

/// The chain of headers from a height on.
struct HeadersAsk {
  std::uint64_t from = 0;
};
/// What is at places of the map where these subtrees are.
struct StateAsk {
  struct At {
    SparsePlace place;
    Hash hash;
  };
  std::vector<At> places;
};
/// Of the log with so many entries, which end a block: the roots of its full tiles and then the leaf hashes of the rest,
/// from the one with that number on.
struct LogAsk {
  std::uint64_t entries = 0, from = 0;
};
struct BlocksAsk {
  std::uint64_t from = 0;
};
/// Which blocks the other one has on its disk.
struct HoldingsAsk {};
using LedgerAsk = std::variant<HeadersAsk, StateAsk, LogAsk, BlocksAsk, HoldingsAsk>;

/// Heights of blocks, both included.
struct BlockRange {
  std::uint64_t from = 0, to = 0;
  bool operator==(const BlockRange&) const = default;
};

struct HeadersPart {
  bool more = false;  ///< there are further ones
  std::vector<ChainLink> links;
};
struct StatePart {
  struct Gone {};  ///< something else is there (by now)
  using Below = std::vector<SparseSubtree>;
  using Records = std::vector<NamedRecord>;
  std::vector<std::variant<Gone, Below, Records>> places;  ///< in the order of the question; at least one, maybe fewer
};
struct LogPart {
  std::vector<Hash> hashes;
};
struct BlocksPart {
  std::vector<Bytes> blocks;
};
struct HoldingsPart {
  std::vector<BlockRange> blocks;  ///< ascending, with gaps between them; the newest ones if there are too many
};
using LedgerPart = std::variant<HeadersPart, StatePart, LogPart, BlocksPart, HoldingsPart>;

Bytes encode_ask(const LedgerAsk& ask);
std::optional<LedgerAsk> decode_ask(ByteView bytes);
Bytes encode_part(const LedgerPart& part);
std::optional<LedgerPart> decode_part(ByteView bytes);

}  // namespace diot
