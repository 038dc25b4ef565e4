#pragma once
// Merkle trees of RFC 6962 section 2.1 (SHA-256), and the sparse map handle → record of the ledger.

#include <cstdint>
#include <memory>
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

 private:
  std::vector<std::vector<Hash>> levels_;  ///< from the leaves up
};
/// The root that `leaf` at `index` of `size` leaves leads to; nullopt if the path's length does not fit.
std::optional<Hash> merkle_root_from_path(const Hash& leaf, std::uint64_t index, std::uint64_t size,
                                          const std::vector<Hash>& path);

/// An append-only tree of which only the frontier is kept: O(log n) memory.
class MerkleFrontier {
 public:
  void append(const Hash& leaf);
  std::uint64_t size() const { return size_; }
  Hash root() const;

 private:
  std::uint64_t size_ = 0;
  std::vector<Hash> roots_;  ///< of the complete subtrees, largest first
};

/// A compressed sparse Merkle map over 256-bit keys (docs/protocol.md, "Map root"): an empty subtree is 32 zero bytes,
/// a subtree with one entry is that entry's leaf SHA-256(0x00 ‖ key ‖ value), any other SHA-256(0x01 ‖ left ‖ right),
/// the key's bits from the most significant one down deciding left (0) or right (1).
class SparseMap {
 public:
  SparseMap();
  ~SparseMap();
  SparseMap(SparseMap&&) noexcept;
  SparseMap& operator=(SparseMap&&) noexcept;
  void set(const Hash& key, const Hash& value);
  void erase(const Hash& key);
  Hash root() const;

 private:
  struct Node;
  std::unique_ptr<Node> root_;
};

}  // namespace diot
