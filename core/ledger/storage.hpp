#pragma once
// How a node keeps its ledger on disk, and what it answers to others from it. A home that replayed everything has every
// block in Table::block. One that began with a snapshot has, from the genesis to there, the headers and the records as
// rows of Table::meta, and whole blocks from the snapshot's window on.

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/parts.hpp"
#include "core/ledger/snapshot.hpp"
#include "core/store.hpp"

namespace diot {

/// Key of Table::block.
inline Bytes block_key(std::uint64_t height) {
  Bytes key;
  ByteWriter(key).u64(height);
  return key;
}
/// Keys of Table::meta: of a link of the chain of headers, of a record of the snapshot by its name, of where that is, and of
/// the blocks that are not here.
Bytes header_key(std::uint64_t height);
Bytes record_key(std::string_view name);
Bytes base_key();
Bytes missing_key();

/// The block of the snapshot that the stored ledger begins with, or 0: it begins with the genesis.
Result<std::uint64_t> stored_base(Store& store);
/// A whole block, or its header, which is here of every one, with what decided it, unless only later blocks vouch for it
/// here. Errc::not_available: it is not on this disk, and how it gets there.
Result<BlockView> stored_block(Store& store, std::uint64_t height);
Result<DecidedHeader> stored_decision(Store& store, std::uint64_t height);
/// What to say of blocks that are not here.
Error not_on_disk(const BlockRange& blocks);

/// The blocks that are not on this disk, as a snapshot stands for them: it never had them, or dropped them; ascending.
Result<std::vector<BlockRange>> stored_missing(Store& store);
void store_missing(const std::vector<BlockRange>& missing, Store& store);
/// Those of so many that are here.
std::vector<BlockRange> without(const std::vector<BlockRange>& missing, std::uint64_t height);
/// Of each range what is in `within`, too.
std::vector<BlockRange> clipped(const std::vector<BlockRange>& ranges, const BlockRange& within);
std::uint64_t count_of(const std::vector<BlockRange>& ranges);
/// Makes the snapshot what the stored ledger begins with, in the transaction that is open. `from`: the ledger that is
/// stored, whose blocks stay.
Result<void> store_snapshot(const LedgerSnapshot& snapshot, const Ledger& from, Store& store);

/// Makes the state of `ledger`, which is on this disk, what the stored ledger begins with, in the open transaction; `drop`
/// are blocks before the window, which it stands for from now on: they go, and join what is `missing`. On failure nothing
/// changes.
Result<void> store_state(const Ledger& ledger, const std::vector<BlockRange>& drop, std::vector<BlockRange>& missing,
                         Store& store);

/// The stored ledger: the genesis or a snapshot, and every block behind it replayed. A snapshot that cannot be read is
/// passed over where all blocks are here. What was judged before it came to
/// this disk is judged again, but for votes before the snapshot and the work of stamps. Errc::corrupt names the first
/// thing that is missing or wrong.
Result<Ledger> load_ledger(ByteView genesis, Store& store);

struct StoredReport {
  std::uint64_t base = 0;            ///< the snapshot's block; 0: everything was replayed from the genesis
  std::uint64_t first_replayed = 1;  ///< the first block whose entries were judged
  std::size_t base_votes = 0, base_witnesses = 0;  ///< that vouch for the snapshot
  std::uint64_t headers_checked = 0;               ///< with their votes
};
/// The same with every check that this disk allows: all votes, all stamps.
Result<Ledger> verify_stored(ByteView genesis, Store& store, StoredReport& report);

/// Of the log with so many entries the leaf hashes behind its last full tile; fewer where their blocks are not here.
std::vector<Hash> rest_of_log(std::uint64_t entries, const Ledger& ledger, Store& store);
/// Keeps them where their blocks are not.
void store_rest(std::uint64_t entries, const std::vector<Hash>& rest, Store& store);
/// The first `width` leaf hashes of a tile of the log. Errc::not_available names the blocks that are not here, Errc::corrupt
/// the one that is not readable.
Result<std::vector<Hash>> tile_leaves(std::uint64_t tile, std::size_t width, const Ledger& ledger, Store& store);

/// What is known and stored here of what somebody asks; less than asked for where it is not here.
LedgerPart answer_ask(const LedgerAsk& ask, const Ledger& ledger, Store& store);

}  // namespace diot
