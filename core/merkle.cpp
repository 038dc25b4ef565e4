#include "core/merkle.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "core/crypto.hpp"

namespace diot {

static constexpr std::array<std::uint8_t, 1> leaf_prefix{0}, node_prefix{1};

Hash merkle_leaf(ByteView data) { return sha256({leaf_prefix, data}); }
Hash merkle_node(const Hash& left, const Hash& right) { return sha256({node_prefix, left, right}); }

void MerkleFrontier::append(const Hash& subtree, std::uint64_t leaves) {
  expect(std::has_single_bit(leaves) && size_ % leaves == 0, "a subtree that does not fit behind the leaves");
  Hash root = subtree;
  // As in adding one to a binary number: each one bit at the low end is a complete subtree that this one doubles.
  for (auto bits = size_ / leaves; bits & 1; bits >>= 1) {
    root = merkle_node(roots_.back(), root);
    roots_.pop_back();
  }
  roots_.push_back(root);
  size_ += leaves;
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

Hash MerkleTree::range_root(std::size_t from, std::size_t to) const {
  // A range that the tree's recursion comes to is one node, on the level that is high enough for it.
  std::size_t level = 0;
  while (std::size_t{1} << level < to - from) ++level;
  return levels_[level][from >> level];
}

std::vector<Hash> MerkleTree::consistency(std::size_t old_size) const {
  std::size_t size = levels_.front().size(), from = 0;
  expect(old_size <= size, "a consistency proof with a tree that is not there yet");
  std::vector<Hash> out;
  if (old_size == 0) return out;
  // RFC 9162 section 2.1.4.1, SUBPROOF, without its recursion: [from, size) is the subtree that the old size ends in.
  while (old_size != size) {
    const auto half = from + std::bit_floor(size - from - 1);
    if (old_size <= half) {
      out.push_back(range_root(half, size));
      size = half;
    } else {
      out.push_back(range_root(from, half));
      from = half;
    }
  }
  if (from != 0) out.push_back(range_root(from, size));  // else it is the old tree's own root, which is known
  std::ranges::reverse(out);
  return out;
}

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

bool merkle_consistent(std::uint64_t old_size, const Hash& old_root, std::uint64_t size, const Hash& root,
                       const std::vector<Hash>& proof) {
  if (old_size > size) return false;
  if (old_size == size) return proof.empty() && old_root == root;
  if (old_size == 0) return proof.empty() && old_root == sha256({});
  // RFC 9162 section 2.1.4.2. A complete old tree is a node of the new one, so its root is not sent.
  auto next = proof.begin();
  const bool complete = std::has_single_bit(old_size);
  if (!complete && next == proof.end()) return false;
  Hash old_side = complete ? old_root : *next++;
  Hash new_side = old_side;
  auto at = old_size - 1, last = size - 1;
  while (at & 1) at >>= 1, last >>= 1;
  for (; next != proof.end(); ++next) {
    if (last == 0) return false;
    if (at & 1 || at == last) {
      old_side = merkle_node(*next, old_side);
      new_side = merkle_node(*next, new_side);
      while (!(at & 1) && at != 0) at >>= 1, last >>= 1;
    } else {
      new_side = merkle_node(new_side, *next);
    }
    at >>= 1;
    last >>= 1;
  }
  return last == 0 && old_side == old_root && new_side == root;
}

}  // namespace diot
