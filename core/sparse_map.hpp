#pragma once
// The sparse Merkle map of the ledger: what a handle's record is, and that there is none (docs/protocol.md, "Map root").

#include <memory>
#include <optional>
#include <vector>

#include "core/bytes.hpp"

namespace diot {

/// That a key has this value in a map, or that it has none.
struct SparseProof {
  std::vector<Hash> siblings;  ///< from the root down; zero: an empty subtree
  struct Entry {
    Hash key, value;
    bool operator==(const Entry&) const = default;
  };
  std::optional<Entry> end;  ///< what stands alone where the way ends: the key's own entry, another one's, or nothing
};
/// The root of a map in which the way to `key` ends so; nullopt if `end` cannot stand on that way.
std::optional<Hash> sparse_root(const Hash& key, const SparseProof& proof);

/// A compressed sparse Merkle map over 256-bit keys: an empty subtree is 32 zero bytes, a subtree with one entry is that
/// entry's leaf SHA-256(0x00 ‖ key ‖ value), any other SHA-256(0x01 ‖ left ‖ right), the key's bits from the most
/// significant one down deciding left (0) or right (1).
class SparseMap {
 public:
  SparseMap();
  ~SparseMap();
  SparseMap(SparseMap&&) noexcept;
  SparseMap& operator=(SparseMap&&) noexcept;
  void set(const Hash& key, const Hash& value);
  void erase(const Hash& key);
  Hash root() const;
  SparseProof prove(const Hash& key) const;

 private:
  struct Node;
  std::unique_ptr<Node> root_;
};

}  // namespace diot
