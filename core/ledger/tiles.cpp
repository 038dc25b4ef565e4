#include "core/ledger/tiles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/error.hpp"
#include "core/merkle.hpp"

namespace diot {

void LogTiles::append(const Hash& leaf) {
  rest.push_back(leaf);
  if (rest.size() < tile_width) return;
  full.push_back(merkle_root(rest));
  rest.clear();
}

MerkleFrontier LogTiles::frontier() const {
  MerkleFrontier out;
  for (const auto& root : full) out.append(root, tile_width);
  for (const auto& leaf : rest) out.append(leaf);
  return out;
}

std::size_t LogProver::width_of(std::uint64_t tile) const {
  return static_cast<std::size_t>(std::min<std::uint64_t>(tile_width, size - tile * tile_width));
}

Result<MerkleTree> LogProver::tiles() const {
  // A tile is a node of the tree, also one that is not full: the last one.
  const auto count = size / tile_width;
  expect(count <= full.size(), "a log with fewer tiles than it has");
  std::vector<Hash> roots(full.begin(), full.begin() + static_cast<std::ptrdiff_t>(count));
  if (const auto rest = static_cast<std::size_t>(size % tile_width); rest > 0) {
    const auto last = leaves(count, rest);
    if (!last) return tl::unexpected(last.error());
    roots.push_back(merkle_root(*last));
  }
  return MerkleTree(std::move(roots));
}

Result<std::vector<Hash>> LogProver::path(std::uint64_t index) const {
  const auto tile = index / tile_width;
  auto within = leaves(tile, width_of(tile));
  if (!within) return within;
  const auto above = tiles();
  if (!above) return tl::unexpected(above.error());
  auto out = MerkleTree(std::move(*within)).path(static_cast<std::size_t>(index % tile_width));
  const auto rest = above->path(static_cast<std::size_t>(tile));
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

Result<std::vector<Hash>> LogProver::consistency(std::uint64_t old_size) const {
  const auto tile = old_size / tile_width;
  const auto old_width = static_cast<std::size_t>(old_size % tile_width);
  if (old_size == 0 || old_size == size) return std::vector<Hash>();
  const auto above = tiles();
  if (!above) return tl::unexpected(above.error());
  if (old_width == 0) return above->consistency(static_cast<std::size_t>(tile));
  auto within = leaves(tile, width_of(tile));
  if (!within) return within;
  // Within the tile, and then its siblings. A complete old part is left out only where it is the whole old log.
  const auto old_root = merkle_root({within->begin(), within->begin() + static_cast<std::ptrdiff_t>(old_width)});
  auto out = MerkleTree(std::move(*within)).consistency(old_width);
  if (tile > 0 && std::has_single_bit(old_width)) out.insert(out.begin(), old_root);
  const auto rest = above->path(static_cast<std::size_t>(tile));
  out.insert(out.end(), rest.begin(), rest.end());
  return out;
}

std::string tile_path(std::string_view level, std::uint64_t index, std::size_t width) {
  std::string number = fmt::format("{:03}", index % 1000);
  for (index /= 1000; index > 0; index /= 1000) number = fmt::format("x{:03}/{}", index % 1000, number);
  auto out = fmt::format("tile/{}/{}", level, number);
  if (width < tile_width) out += fmt::format(".p/{}", width);
  return out;
}

void TileWriter::add(ByteView entry) {
  expect(entry.size() <= 0xffff, "an entry that no bundle holds");
  ByteWriter out(bundle_);
  out.u16(static_cast<std::uint16_t>(entry.size()));
  append(bundle_, entry);
  ++size_;
  if (size_ % tile_width == 0) write_bundle();
  push(0, merkle_leaf(entry));
}

void TileWriter::push(std::size_t level, const Hash& hash) {
  if (level == levels_.size()) levels_.emplace_back();
  levels_[level].hashes.push_back(hash);
  if (levels_[level].hashes.size() < tile_width) return;
  write(level);
  const auto root = merkle_root(levels_[level].hashes);
  levels_[level].hashes.clear();
  ++levels_[level].index;
  push(level + 1, root);
}

void TileWriter::write(std::size_t level) {
  const auto& [index, hashes] = levels_[level];
  Bytes bytes;
  for (const auto& hash : hashes) append(bytes, hash);
  sink_(tile_path(std::to_string(level), index, hashes.size()), bytes);
}

void TileWriter::write_bundle() {
  const auto width = size_ % tile_width == 0 ? tile_width : size_ % tile_width;
  sink_(tile_path("entries", (size_ - 1) / tile_width, width), bundle_);
  bundle_.clear();
}

void TileWriter::finish() {
  if (!bundle_.empty()) write_bundle();
  for (std::size_t level = 0; level < levels_.size(); ++level)
    if (!levels_[level].hashes.empty()) write(level);
}

}  // namespace diot
