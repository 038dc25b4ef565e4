#include "core/merkle.hpp"

#include <array>
#include <utility>

#include "core/crypto.hpp"

namespace diot {

static constexpr std::array<std::uint8_t, 1> leaf_prefix{0}, node_prefix{1};

Hash merkle_leaf(ByteView data) { return sha256({leaf_prefix, data}); }
Hash merkle_node(const Hash& left, const Hash& right) { return sha256({node_prefix, left, right}); }

void MerkleFrontier::append(const Hash& leaf) {
  Hash root = leaf;
  // As in adding one to a binary number: each one bit at the low end is a complete subtree that this leaf doubles.
  for (auto bits = size_; bits & 1; bits >>= 1) {
    root = merkle_node(roots_.back(), root);
    roots_.pop_back();
  }
  roots_.push_back(root);
  ++size_;
}

Hash MerkleFrontier::root() const {
  if (roots_.empty()) return sha256({});
  Hash root = roots_.back();
  for (auto at = roots_.rbegin() + 1; at != roots_.rend(); ++at) root = merkle_node(*at, root);
  return root;
}

Hash merkle_root(const std::vector<Hash>& leaves) {
  MerkleFrontier frontier;
  for (const auto& leaf : leaves) frontier.append(leaf);
  return frontier.root();
}

MerkleTree::MerkleTree(std::vector<Hash> leaves) {
  levels_.push_back(std::move(leaves));
  while (levels_.back().size() > 1) {
    const auto& below = levels_.back();
    std::vector<Hash> level;
    level.reserve((below.size() + 1) / 2);
    for (std::size_t at = 0; at + 1 < below.size(); at += 2) level.push_back(merkle_node(below[at], below[at + 1]));
    if (below.size() % 2 == 1) level.push_back(below.back());  // the last node of an odd level moves up as it is
    levels_.push_back(std::move(level));
  }
}

Hash MerkleTree::root() const { return levels_.back().empty() ? sha256({}) : levels_.back().front(); }

std::vector<Hash> MerkleTree::path(std::size_t index) const {
  expect(index < levels_.front().size(), "a Merkle path of a leaf that is not there");
  std::vector<Hash> out;
  for (const auto& level : levels_) {
    if (const auto sibling = index ^ 1; sibling < level.size()) out.push_back(level[sibling]);
    index /= 2;
  }
  return out;
}

std::optional<Hash> merkle_root_from_path(const Hash& leaf, std::uint64_t index, std::uint64_t size,
                                          const std::vector<Hash>& path) {
  if (index >= size) return std::nullopt;
  Hash root = leaf;
  auto last = size - 1;  // of the current level, as index
  for (const auto& sibling : path) {
    // A last node without a sibling moves up as it is.
    while (last != 0 && index == last && index % 2 == 0) index /= 2, last /= 2;
    if (last == 0) return std::nullopt;
    root = index % 2 == 1 ? merkle_node(sibling, root) : merkle_node(root, sibling);
    index /= 2;
    last /= 2;
  }
  while (last != 0 && index == last && index % 2 == 0) index /= 2, last /= 2;
  if (last != 0) return std::nullopt;
  return root;
}

/// A subtree that is not empty: one entry, or a branch over at least two.
struct SparseMap::Node {
  Hash key;  ///< of an entry
  mutable Hash hash;
  mutable bool hashed = false;
  bool branch = false;
  std::unique_ptr<Node> child[2];

  static bool bit(const Hash& key, unsigned depth) { return (key.bytes[depth / 8] >> (7 - depth % 8)) & 1; }

  const Hash& hash_of() const {
    static const Hash empty;
    if (hashed) return hash;
    hash = merkle_node(child[0] ? child[0]->hash_of() : empty, child[1] ? child[1]->hash_of() : empty);
    hashed = true;
    return hash;
  }

  /// The recursion ends where two keys differ: at depth 255 at the latest.
  static void set(std::unique_ptr<Node>& place, std::unique_ptr<Node> entry, unsigned depth) {
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

  static bool erase(std::unique_ptr<Node>& place, const Hash& key, unsigned depth) {
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
  entry->hash = sha256({leaf_prefix, key, value});
  entry->hashed = true;
  Node::set(root_, std::move(entry), 0);
}
void SparseMap::erase(const Hash& key) { Node::erase(root_, key, 0); }
Hash SparseMap::root() const { return root_ ? root_->hash_of() : Hash{}; }

}  // namespace diot
