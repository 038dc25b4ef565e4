#include "core/ledger/tiles.hpp"

#include <fmt/format.h>

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
