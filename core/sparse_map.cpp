#include "core/sparse_map.hpp"

#include <utility>

#include "core/crypto.hpp"
#include "core/merkle.hpp"

namespace diot {

static constexpr std::array<std::uint8_t, 1> leaf_prefix{0};
static constexpr std::size_t depth_max = 256;

static bool bit(const Hash& key, std::size_t depth) { return (key.bytes[depth / 8] >> (7 - depth % 8)) & 1; }
static Hash leaf(const Hash& key, const Hash& value) { return sha256({leaf_prefix, key, value}); }

/// A subtree that is not empty: one entry, or a branch over at least two.
struct SparseMap::Node {
  bool branch = false;
  mutable bool hashed = false;  ///< a branch
  Hash key;                     ///< of an entry
  mutable Hash value;           ///< of an entry; of a branch its hash, once that was needed
  std::unique_ptr<Node> child[2];

  static Hash hash_of(const std::unique_ptr<Node>& place) { return place ? place->hash() : Hash{}; }
  Hash hash() const {
    if (!branch) return leaf(key, value);
    if (!hashed) value = merkle_node(hash_of(child[0]), hash_of(child[1]));
    hashed = true;
    return value;
  }

  /// The recursion ends where two keys differ: at depth 255 at the latest.
  static void set(std::unique_ptr<Node>& place, std::unique_ptr<Node> entry, std::size_t depth) {
    if (!place || (!place->branch && place->key == entry->key)) {
      place = std::move(entry);
      return;
    }
    if (!place->branch) {
      auto branch = std::make_unique<Node>();
      branch->branch = true;
      auto& below = branch->child[bit(place->key, depth)];
      below = std::move(place);
      place = std::move(branch);
    }
    place->hashed = false;
    auto& below = place->child[bit(entry->key, depth)];
    set(below, std::move(entry), depth + 1);
  }

  static bool erase(std::unique_ptr<Node>& place, const Hash& key, std::size_t depth) {
    if (!place) return false;
    if (!place->branch) {
      if (place->key != key) return false;
      place.reset();
      return true;
    }
    if (!erase(place->child[bit(key, depth)], key, depth + 1)) return false;
    place->hashed = false;
    auto& [left, right] = place->child;
    // What is left of a branch over two entries is one entry, and moves up as far as it is alone.
    if (auto& only = left ? left : right; (!left || !right) && !only->branch) {
      auto entry = std::move(only);
      place = std::move(entry);
    }
    return true;
  }
};

SparseMap::SparseMap() = default;
SparseMap::~SparseMap() = default;
SparseMap::SparseMap(SparseMap&&) noexcept = default;
SparseMap& SparseMap::operator=(SparseMap&&) noexcept = default;

void SparseMap::set(const Hash& key, const Hash& value) {
  auto entry = std::make_unique<Node>();
  entry->key = key;
  entry->value = value;
  Node::set(root_, std::move(entry), 0);
}
void SparseMap::erase(const Hash& key) { Node::erase(root_, key, 0); }
Hash SparseMap::root() const { return Node::hash_of(root_); }

SparseProof SparseMap::prove(const Hash& key) const {
  SparseProof out;
  const Node* at = root_.get();
  for (std::size_t depth = 0; at && at->branch; ++depth) {
    const bool right = bit(key, depth);
    out.siblings.push_back(Node::hash_of(at->child[!right]));
    at = at->child[right].get();
  }
  if (at) out.end = {at->key, at->value};
  return out;
}

std::optional<Hash> sparse_root(const Hash& key, const SparseProof& proof) {
  if (proof.siblings.size() > depth_max) return std::nullopt;
  Hash root;
  if (proof.end) {
    for (std::size_t depth = 0; depth < proof.siblings.size(); ++depth)
      if (bit(proof.end->key, depth) != bit(key, depth)) return std::nullopt;
    root = leaf(proof.end->key, proof.end->value);
  }
  for (auto depth = proof.siblings.size(); depth-- > 0;)
    root = bit(key, depth) ? merkle_node(proof.siblings[depth], root) : merkle_node(root, proof.siblings[depth]);
  return root;
}

}  // namespace diot
