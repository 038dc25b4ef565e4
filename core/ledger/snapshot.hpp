#pragma once
// The ledger at one block without what came before: the records, which that block's map root covers, and what else the
// rules look at, which follows from the entries of the last 30 days (docs/protocol.md, "Snapshot").

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/header_chain.hpp"
#include "core/ledger/tiles.hpp"
#include "core/msgpack.hpp"

namespace diot {

/// What the ledger says under one name of its map: a handle's record, or the network's.
struct NamedRecord {
  std::string name;
  Bytes record;
  std::vector<Bytes> cut_offs;  ///< of a handle's revoked nodes, in their order; the record has their hashes
};
NamedRecord record_of(const Ledger& ledger, const std::string& name);
/// That the record is one of that name, and the cut-offs are its.
Result<void> check_record(const NamedRecord& record);
void write_record(PackWriter& out, const NamedRecord& record);
/// A failure sticks to `in`.
NamedRecord read_record(PackReader& in);

/// The first block whose entries a snapshot at the last of these blocks needs: the rules look no further back. At least 1.
std::uint64_t window_start(const std::vector<PastBlock>& blocks);

struct LedgerSnapshot {
  HeaderChain chain;  ///< its newest block is the snapshot's
  std::vector<NamedRecord> records;
  LogTiles log;               ///< before the window
  std::vector<Bytes> window;  ///< the blocks from window_start on
};

}  // namespace diot
