#pragma once
// Who keeps which part of the ledger's old history. It follows from the state, so every node comes to the same, and asks
// nobody.

#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/parts.hpp"

namespace diot {

/// Blocks that a node keeps or drops together: those of which the last entry is in one tile of the log, and the empty ones
/// behind them.
struct HistoryUnit {
  BlockRange blocks;
  std::uint64_t entries = 0;  ///< in them
  Hash tile;                  ///< its root
  bool operator==(const HistoryUnit&) const = default;
};
/// Of all blocks before the window of a snapshot, which everybody keeps, as far as the last unit is complete; ascending.
std::vector<HistoryUnit> history_units(const Ledger& ledger);

class Placement {
 public:
  explicit Placement(const Ledger& ledger);
  /// There are no more nodes than copies are wanted.
  bool everywhere() const { return nodes_.size() <= copies_; }
  /// The nodes nearest to it (XOR), as many as copies are wanted.
  std::vector<NodeId> holders(const Hash& tile) const;

 private:
  std::vector<NodeId> nodes_;  ///< of all handles, ascending
  std::size_t copies_;
};

}  // namespace diot
