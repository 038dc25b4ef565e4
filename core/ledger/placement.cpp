#include "core/ledger/placement.hpp"

#include <algorithm>
#include <span>

#include "core/ledger/snapshot.hpp"
#include "core/ledger/tiles.hpp"

namespace diot {

std::vector<HistoryUnit> history_units(const Ledger& ledger) {
  const auto& blocks = ledger.blocks();
  const auto end = window_start(blocks);
  std::vector<HistoryUnit> out;
  std::uint64_t last_tile = 0;
  for (std::uint64_t height = 1; height < end; ++height) {
    const auto entries = blocks[height].entries;
    const auto tile = entries == 0 ? 0 : (entries - 1) / tile_width;
    if (tile >= ledger.tiles().size()) break;
    if (out.empty() || tile != last_tile) out.push_back({{height, height}, 0, ledger.tiles()[tile]});
    last_tile = tile;
    out.back().blocks.to = height;
    out.back().entries += entries - blocks[height - 1].entries;
  }
  // Further blocks of the last one may come, or stand in the window.
  if (!out.empty() && out.back().blocks.to + 1 == end) out.pop_back();
  return out;
}

Placement::Placement(const Ledger& ledger) : copies_(ledger.genesis().replication) {
  for (const auto& [name, record] : ledger.handles())
    for (const auto& [node, role] : record.nodes) nodes_.push_back(node);
  std::ranges::sort(nodes_);
}

static bool bit(ByteView id, std::size_t depth) { return (id[depth / 8] >> (7 - depth % 8)) & 1; }

/// The first so many of `nodes`, which are alike in the bits before `depth`, by their distance.
static void nearest(std::span<const NodeId> nodes, std::size_t depth, const Hash& to, std::size_t count,
                    std::vector<NodeId>& out) {
  if (nodes.empty() || out.size() == count) return;
  if (nodes.size() == 1 || depth == NodeId::size * 8) return out.push_back(nodes.front());
  const auto middle = std::ranges::partition_point(nodes, [&](const NodeId& node) { return !bit(node, depth); });
  const auto zeros = static_cast<std::size_t>(middle - nodes.begin());
  const bool one = bit(to, depth);
  nearest(one ? nodes.subspan(zeros) : nodes.first(zeros), depth + 1, to, count, out);
  nearest(one ? nodes.first(zeros) : nodes.subspan(zeros), depth + 1, to, count, out);
}

std::vector<NodeId> Placement::holders(const Hash& tile) const {
  std::vector<NodeId> out;
  nearest(nodes_, 0, tile, copies_, out);
  return out;
}

}  // namespace diot
