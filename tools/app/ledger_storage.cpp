#include "tools/app/ledger_storage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/ledger/storage.hpp"
#include "core/ledger/tiles.hpp"
#include "core/topic.hpp"

namespace diot {

Json ranges_json(const std::vector<BlockRange>& ranges) {
  Json out = Json::array();
  for (const auto& [from, to] : ranges) out.push_back({{"from", from}, {"to", to}});
  return out;
}

namespace {

/// Full tiles of 256 entries of which every block is here.
std::uint64_t whole_tiles(const Ledger& ledger, const std::vector<BlockRange>& missing) {
  const auto& blocks = ledger.blocks();
  const auto full = ledger.tiles().size();
  std::uint64_t broken = 0, next = 0;  // tiles before `next` are judged
  for (const auto& [from, to] : missing) {
    if (from == 0 || to >= blocks.size() || blocks[to].entries == blocks[from - 1].entries) continue;
    const auto first = std::max(next, blocks[from - 1].entries / tile_width);
    const auto end = std::min<std::uint64_t>(full, (blocks[to].entries - 1) / tile_width + 1);
    if (end <= first) continue;
    broken += end - first;
    next = end;
  }
  return full - broken;
}

/// The blocks up to a height that fewer than so many of these have.
std::vector<BlockRange> held_by_fewer(const std::vector<std::vector<BlockRange>>& holdings, std::uint64_t height,
                                      std::uint64_t wanted) {
  std::map<std::uint64_t, std::int64_t> changes{{1, 0}};  // first block → that many more have it, and those behind it
  for (const auto& ranges : holdings)
    for (const auto& [from, to] : clipped(ranges, {1, height})) {
      ++changes[from];
      --changes[to + 1];
    }
  std::vector<BlockRange> out;
  std::int64_t count = 0;
  for (auto at = changes.begin(); at != changes.end() && at->first <= height; ++at) {
    count += at->second;
    if (count >= static_cast<std::int64_t>(wanted)) continue;
    const auto next = std::next(at);
    const auto last = next == changes.end() ? height : std::min(height, next->first - 1);
    if (!out.empty() && out.back().to + 1 == at->first)
      out.back().to = last;
    else
      out.push_back({at->first, last});
  }
  return out;
}

std::uint64_t nodes_of(const Ledger& ledger) {
  std::uint64_t out = 0;
  for (const auto& [name, record] : ledger.handles()) out += record.nodes.size();
  return out;
}

}  // namespace

Result<Json> storage_here(const LedgerSource& from) {
  const auto base = stored_base(from.store);
  if (!base) return tl::unexpected(base.error());
  const auto missing = stored_missing(from.store);
  if (!missing) return tl::unexpected(missing.error());
  const auto height = from.ledger.head().height;
  return Json{{"network", from.ledger.network().hex()},
              {"height", height},
              {"snapshot", *base == 0 ? Json(nullptr) : Json(*base)},
              {"blocks_here", height - count_of(*missing)},
              {"tiles", from.ledger.tiles().size()},
              {"tiles_here", whole_tiles(from.ledger, *missing)},
              {"missing", ranges_json(*missing)}};
}

void tell_keeping(const LedgerHistory::Status& status, Json& out) {
  out["keeps"] = status.everything ? "everything" : "its share";
  out["old_units"] = status.units;
  out["old_units_placed_here"] = status.own_units;
  out["old_units_not_safe_elsewhere"] = status.waiting_units;
  out["fetching"] = !status.fetching ? Json(nullptr) : Json(status.trouble.empty() ? "under way" : status.trouble);
}

void tell_holders(const std::vector<LedgerHistory::Holder>& holders, std::size_t asked, const Ledger& ledger,
                  Json& out) {
  const auto height = ledger.head().height;
  std::vector<BlockRange> missing;
  for (const auto& range : out["missing"])
    missing.push_back({range["from"].get<std::uint64_t>(), range["to"].get<std::uint64_t>()});
  std::vector<std::vector<BlockRange>> holdings{without(missing, height)};
  Json rows = Json::array();
  for (const auto& [node, blocks] : holders) {
    holdings.push_back(blocks);
    const auto* handle = ledger.handle_of(node);
    const auto here = clipped(blocks, {1, height});
    rows.push_back({{"handle", handle ? Json(handle->handle) : Json(nullptr)},
                    {"node", to_display(node)},
                    {"blocks", count_of(here)},
                    {"first", here.empty() ? Json(nullptr) : Json(here.front().from)}});
  }
  const auto wanted = std::min<std::uint64_t>(ledger.genesis().replication, nodes_of(ledger));
  out["copies_wanted"] = wanted;
  out["linked"] = asked;
  out["holders"] = std::move(rows);
  out["in_fewer_copies"] = ranges_json(held_by_fewer(holdings, height, wanted));
}

}  // namespace diot
