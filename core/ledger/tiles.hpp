#pragma once
// The log as files that public tools read: c2sp.org/tlog-tiles.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/merkle.hpp"

namespace diot {

inline constexpr std::size_t tile_width = 256;

/// The roots of a log's full tiles, and the leaf hashes of what is behind them.
struct LogTiles {
  std::vector<Hash> full, rest;

  std::uint64_t size() const { return full.size() * tile_width + rest.size(); }
  void append(const Hash& leaf);
  MerkleFrontier frontier() const;
};

/// RFC 9162 proofs in a log of which only the roots of the full tiles are known, and the leaves of the tile or two that a
/// proof goes into.
struct LogProver {
  std::uint64_t size = 0;         ///< of the log that is proven in
  const std::vector<Hash>& full;  ///< the roots of its full tiles; there may be more, of a log that goes on
  /// The first `width` leaf hashes of a tile.
  std::function<Result<std::vector<Hash>>(std::uint64_t tile, std::size_t width)> leaves;

  /// As MerkleTree::path. `index` is that of a leaf.
  Result<std::vector<Hash>> path(std::uint64_t index) const;
  /// As MerkleTree::consistency. `old_size` is at most `size`.
  Result<std::vector<Hash>> consistency(std::uint64_t old_size) const;

 private:
  std::size_t width_of(std::uint64_t tile) const;
  /// The tree above the tiles.
  Result<MerkleTree> tiles() const;
};

/// "tile/0/x001/234" or, `width` < 256, "tile/0/x001/234.p/7". `level`: "0" to "63", or "entries".
std::string tile_path(std::string_view level, std::uint64_t index, std::size_t width = tile_width);

/// Cuts a log into tiles of hashes and bundles of entries, in its order and with little memory.
class TileWriter {
 public:
  /// Called with each file's path and bytes; full ones as soon as they are, partial ones by `finish`.
  using Sink = std::function<void(const std::string& path, const Bytes& bytes)>;
  explicit TileWriter(Sink sink) : sink_(std::move(sink)) {}

  /// At most 65,535 bytes.
  void add(ByteView entry);
  /// Writes what is not full. Nothing may be added after that.
  void finish();
  std::uint64_t size() const { return size_; }

 private:
  struct Level {
    std::uint64_t index = 0;  ///< of the tile that is being filled
    std::vector<Hash> hashes;
  };
  void push(std::size_t level, const Hash& hash);
  void write(std::size_t level);
  void write_bundle();

  Sink sink_;
  std::uint64_t size_ = 0;
  std::vector<Level> levels_;
  Bytes bundle_;
};

}  // namespace diot
