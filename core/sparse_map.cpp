#include "core/sparse_map.hpp"

#include <bit>
#include <utility>

#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/merkle.hpp"

namespace diot {

static constexpr std::array<std::uint8_t, 1> leaf_prefix{0};
static constexpr std::size_t depth_max = 256;

static bool bit(const Hash& key, std::size_t depth) { return (key.bytes[depth / 8] >> (7 - depth % 8)) & 1; }
static Hash leaf(const Hash& key, const Hash& value) { return sha256({leaf_prefix, key, value}); }

// Places ---------------------------------------------------------------------------------------------------------

bool SparsePlace::holds(const Hash& key) const {
  const std::size_t whole = depth / 8;
  if (!std::equal(key.bytes.begin(), key.bytes.begin() + whole, prefix.bytes.begin())) return false;
  return depth % 8 == 0 || (key.bytes[whole] ^ prefix.bytes[whole]) >> (8 - depth % 8) == 0;
}

SparsePlace SparsePlace::child(std::uint32_t levels, std::uint32_t index) const {
  expect(depth + levels <= depth_max && index >> levels == 0, "a place below the last bit of a key");
  SparsePlace out{prefix, depth + levels};
  for (std::uint32_t at = 0; at < levels; ++at)
    if (index >> (levels - 1 - at) & 1)
      out.prefix.bytes[(depth + at) / 8] |= static_cast<std::uint8_t>(0x80 >> (depth + at) % 8);
  return out;
}

static SparseSubtree join(const SparseSubtree& left, const SparseSubtree& right) {
  using Kind = SparseSubtree::Kind;
  // An entry that is alone stands at the top of its subtree.
  if (left.kind == Kind::empty && right.kind != Kind::branch) return right;
  if (right.kind == Kind::empty && left.kind != Kind::branch) return left;
  return {Kind::branch, merkle_node(left.hash, right.hash)};
}

SparseSubtree sparse_join(std::vector<SparseSubtree> parts) {
  expect(std::has_single_bit(parts.size()), "a subtree of parts that are not a power of two");
  for (; parts.size() > 1; parts.resize(parts.size() / 2))
    for (std::size_t at = 0; at < parts.size() / 2; ++at) parts[at] = join(parts[2 * at], parts[2 * at + 1]);
  return parts.front();
}

// The map --------------------------------------------------------------------------------------------------------

/// A subtree that is not empty: one entry, or a branch over at least two.
struct SparseMap::Node {
  explicit Node(bool is_branch) : branch(is_branch) {}
  const bool branch;
  mutable bool hashed = false;  ///< a branch's `known` is its hash
};
struct SparseMap::Entry : Node {
  Entry(const Hash& at, const Hash& of, std::string named) : Node(false), key(at), value(of), name(std::move(named)) {}
  Hash key, value;
  std::string name;
};
struct SparseMap::Branch : Node {
  Branch() : Node(true) {}
  Place child[2];
  mutable Hash known;  ///< once it was needed

  static Hash hash_of(const Place& place) { return place ? hash_of(*place) : Hash{}; }
  static Hash hash_of(const Node& node) {
    if (!node.branch) return leaf(static_cast<const Entry&>(node).key, static_cast<const Entry&>(node).value);
    const auto& branch = static_cast<const Branch&>(node);
    if (!branch.hashed) branch.known = merkle_node(hash_of(branch.child[0]), hash_of(branch.child[1]));
    branch.hashed = true;
    return branch.known;
  }
  static const Hash& key_of(const Place& entry) { return static_cast<const Entry&>(*entry).key; }

  /// The recursion ends where two keys differ: at depth 255 at the latest.
  static void set(Place& place, Place entry, std::size_t depth) {
    if (!place || (!place->branch && key_of(place) == key_of(entry))) {
      place = std::move(entry);
      return;
    }
    if (!place->branch) {
      Place branch(new Branch);
      auto& below = static_cast<Branch&>(*branch).child[bit(key_of(place), depth)];
      below = std::move(place);
      place = std::move(branch);
    }
    place->hashed = false;
    auto& below = static_cast<Branch&>(*place).child[bit(key_of(entry), depth)];
    set(below, std::move(entry), depth + 1);
  }

  static bool erase(Place& place, const Hash& key, std::size_t depth) {
    if (!place) return false;
    if (!place->branch) {
      if (key_of(place) != key) return false;
      place.reset();
      return true;
    }
    auto& [left, right] = static_cast<Branch&>(*place).child;
    if (!erase(bit(key, depth) ? right : left, key, depth + 1)) return false;
    place->hashed = false;
    // What is left of a branch over two entries is one entry, and moves up as far as it is alone.
    if (auto& only = left ? left : right; (!left || !right) && !only->branch) {
      auto entry = std::move(only);
      place = std::move(entry);
    }
    return true;
  }

  static bool each(const Node& node, const std::function<bool(const Hash&, const std::string&)>& visit) {
    if (!node.branch) {
      const auto& entry = static_cast<const Entry&>(node);
      return visit(entry.key, entry.name);
    }
    for (const auto& below : static_cast<const Branch&>(node).child)
      if (below && !each(*below, visit)) return false;
    return true;
  }
};

void SparseMap::Free::operator()(Node* node) const {
  if (node->branch)
    delete static_cast<Branch*>(node);
  else
    delete static_cast<Entry*>(node);
}

SparseMap::SparseMap() = default;
SparseMap::~SparseMap() = default;
SparseMap::SparseMap(SparseMap&&) noexcept = default;
SparseMap& SparseMap::operator=(SparseMap&&) noexcept = default;

void SparseMap::set(const Hash& key, const Hash& value, std::string name) {
  Branch::set(root_, Place(new Entry(key, value, std::move(name))), 0);
}
void SparseMap::erase(const Hash& key) { Branch::erase(root_, key, 0); }
Hash SparseMap::root() const { return Branch::hash_of(root_); }

SparseProof SparseMap::prove(const Hash& key) const {
  SparseProof out;
  const Node* at = root_.get();
  for (std::size_t depth = 0; at && at->branch; ++depth) {
    const auto& child = static_cast<const Branch*>(at)->child;
    const bool right = bit(key, depth);
    out.siblings.push_back(Branch::hash_of(child[!right]));
    at = child[right].get();
  }
  if (at) out.end = {static_cast<const Entry*>(at)->key, static_cast<const Entry*>(at)->value};
  return out;
}

/// The node that is everything at the place, or nullptr.
const SparseMap::Node* SparseMap::find(const SparsePlace& place) const {
  const Node* at = root_.get();
  for (std::size_t depth = 0; at && at->branch && depth < place.depth; ++depth)
    at = static_cast<const Branch*>(at)->child[bit(place.prefix, depth)].get();
  if (at && !at->branch && !place.holds(static_cast<const Entry*>(at)->key)) return nullptr;
  return at;
}

SparseSubtree SparseMap::subtree(const SparsePlace& place) const {
  const Node* at = find(place);
  if (!at) return {};
  return {at->branch ? SparseSubtree::Kind::branch : SparseSubtree::Kind::entry, Branch::hash_of(*at)};
}

void SparseMap::each(const SparsePlace& place,
                     const std::function<bool(const Hash& key, const std::string& name)>& visit) const {
  if (const Node* at = find(place)) Branch::each(*at, visit);
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
