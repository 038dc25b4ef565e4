#pragma once
// The sparse Merkle map of the ledger: what a handle's record is, and that there is none (docs/protocol.md, "Map root").

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
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

/// All keys that begin with the first `depth` bits of `prefix`; the bits behind them are zero.
struct SparsePlace {
  Hash prefix;
  std::uint32_t depth = 0;  ///< 0 to 256

  bool holds(const Hash& key) const;
  /// The part below it whose next `levels` bits are `index`.
  SparsePlace child(std::uint32_t levels, std::uint32_t index) const;
  bool operator==(const SparsePlace&) const = default;
};
/// What stands at a place, without what is in it.
struct SparseSubtree {
  enum class Kind : std::uint8_t { empty, entry, branch };
  Kind kind = Kind::empty;
  Hash hash;  ///< zero if it is empty
  bool operator==(const SparseSubtree&) const = default;
};
/// The subtree over these, which are all those so many levels below it, from the left; their number is a power of two.
SparseSubtree sparse_join(std::vector<SparseSubtree> parts);

/// A compressed sparse Merkle map over 256-bit keys: an empty subtree is 32 zero bytes, a subtree with one entry is that
/// entry's leaf SHA-256(0x00 ‖ key ‖ value), any other SHA-256(0x01 ‖ left ‖ right), the key's bits from the most
/// significant one down deciding left (0) or right (1).
class SparseMap {
 public:
  SparseMap();
  ~SparseMap();
  SparseMap(SparseMap&&) noexcept;
  SparseMap& operator=(SparseMap&&) noexcept;
  /// `name`: what the key is the hash of, for `each`; no part of the map's root.
  void set(const Hash& key, const Hash& value, std::string name = {});
  void erase(const Hash& key);
  Hash root() const;
  SparseProof prove(const Hash& key) const;

  SparseSubtree subtree(const SparsePlace& place) const;
  /// The entries at a place in the order of their keys, until `visit` returns false.
  void each(const SparsePlace& place, const std::function<bool(const Hash& key, const std::string& name)>& visit) const;

 private:
  struct Node;
  struct Entry;
  struct Branch;
  struct Free {
    void operator()(Node* node) const;
  };
  using Place = std::unique_ptr<Node, Free>;
  const Node* find(const SparsePlace& place) const;

  Place root_;
};

}  // namespace diot
