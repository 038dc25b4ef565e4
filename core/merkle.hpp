#pragma once
// Merkle trees of RFC 6962 section 2.1 and RFC 9162 section 2.1 (SHA-256).

#include <cstdint>
#include <optional>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

/// SHA-256(0x00 ‖ data).
Hash merkle_leaf(ByteView data);
/// SHA-256(0x01 ‖ left ‖ right).
Hash merkle_node(const Hash& left, const Hash& right);
/// Root over leaf hashes; of no leaves SHA-256 of nothing.
Hash merkle_root(const std::vector<Hash>& leaves);

/// A whole tree, for several paths.
class MerkleTree {
 public:
  explicit MerkleTree(std::vector<Hash> leaves);
  Hash root() const;
  /// Audit path of RFC 6962 section 2.1.1, leaf to root. `index` is that of a leaf.
  std::vector<Hash> path(std::size_t index) const;
  /// That this tree begins with the first `old_size` leaves, of which it has as many at least: RFC 9162 section 2.1.4.1.
  /// Nothing for 0 and for all.
  std::vector<Hash> consistency(std::size_t old_size) const;

 private:
  Hash range_root(std::size_t from, std::size_t to) const;

  std::vector<std::vector<Hash>> levels_;  ///< from the leaves up
};
/// The root that `leaf` at `index` of `size` leaves leads to; nullopt if the path's length does not fit.
std::optional<Hash> merkle_root_from_path(const Hash& leaf, std::uint64_t index, std::uint64_t size,
                                          const std::vector<Hash>& path);
/// Whether the proof shows that the tree of `size` leaves begins with the one of `old_size`.
bool merkle_consistent(std::uint64_t old_size, const Hash& old_root, std::uint64_t size, const Hash& root,
                       const std::vector<Hash>& proof);

/// An append-only tree of which only the frontier is kept: O(log n) memory.
class MerkleFrontier {
 public:
  void append(const Hash& leaf) { append(leaf, 1); }
  /// The root of a complete subtree over so many leaves, a power of two that divides size().
  void append(const Hash& root, std::uint64_t leaves);
  std::uint64_t size() const { return size_; }
  Hash root() const;

 private:
  std::uint64_t size_ = 0;
  std::vector<Hash> roots_;  ///< of the complete subtrees, largest first
};

}  // namespace diot
