#pragma once
// Which blocks and entries somebody wants to see.

#include <cstdint>
#include <limits>
#include <string>

#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/entry.hpp"
#include "tools/app/api.hpp"

namespace diot {

struct LedgerQuery {
  std::string handle, kind;                                                ///< empty: any
  std::uint64_t from = 1, to = std::numeric_limits<std::uint64_t>::max();  ///< heights, both included
  WallMs since = 0, until = std::numeric_limits<WallMs>::max();            ///< block times, both included

  bool takes(const BlockHeader& block) const;
  bool takes(const EntryView& entry) const;
  /// It asks for some entries only, so blocks without any of them do not matter.
  bool asks_for_entries() const { return !handle.empty() || !kind.empty(); }
};

/// From the options handle, kind, from, to, since and until. `now` is what "7d" is counted back from.
Result<LedgerQuery> ledger_query(const Json& args, WallMs now);
/// "2026-11-22", "2026-11-22T08:30", "2026-11-22T08:30:15", all UTC, or so long before `now`: "15m", "24h", "7d".
Result<WallMs> parse_time(std::string_view text, WallMs now);

}  // namespace diot
