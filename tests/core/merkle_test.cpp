#include "core/merkle.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <span>
#include <vector>

#include "core/crypto.hpp"

namespace diot {
namespace {

Hash hash_from(std::string_view hex) { return Hash::from(from_hex(hex).value()).value(); }

// The eight leaves of Certificate Transparency's reference tests, and their published roots.
std::vector<Hash> reference_leaves(std::size_t count) {
  std::vector<Hash> out;
  for (const auto* data :
       {"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"})
    out.push_back(merkle_leaf(from_hex(data).value()));
  out.resize(count);
  return out;
}
std::vector<Hash> numbered_leaves(std::size_t count) {
  std::vector<Hash> out;
  for (std::size_t at = 0; at < count; ++at) out.push_back(merkle_leaf(as_bytes(std::to_string(at))));
  return out;
}

TEST(Merkle, published_roots) {
  EXPECT_EQ(MerkleTree({}).root(), merkle_root({}));
  EXPECT_EQ(merkle_root({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const char* const roots[] = {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                               "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                               "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                               "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                               "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                               "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                               "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                               "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
  for (std::size_t size = 1; size <= 8; ++size) EXPECT_EQ(merkle_root(reference_leaves(size)).hex(), roots[size - 1]);
}

TEST(Merkle, a_frontier_has_the_root_of_the_full_tree_at_every_size) {
  const auto leaves = numbered_leaves(70);
  MerkleFrontier frontier;
  for (std::size_t size = 0; size <= leaves.size(); ++size) {
    ASSERT_EQ(frontier.size(), size);
    // The definition of RFC 6962 section 2.1, word by word.
    const auto tree_head = [](const auto& self, std::span<const Hash> part) -> Hash {
      if (part.empty()) return sha256({});
      if (part.size() == 1) return part[0];
      const auto split = std::bit_floor(part.size() - 1);
      return merkle_node(self(self, part.first(split)), self(self, part.subspan(split)));
    };
    ASSERT_EQ(frontier.root(), tree_head(tree_head, std::span(leaves).first(size)));
    if (size < leaves.size()) frontier.append(leaves[size]);
  }
}

TEST(Merkle, every_path_leads_to_the_root_and_to_no_other_place) {
  for (std::size_t size = 1; size <= 33; ++size) {
    const auto leaves = numbered_leaves(size);
    const auto root = merkle_root(leaves);
    const MerkleTree tree(leaves);
    ASSERT_EQ(tree.root(), root);
    for (std::size_t index = 0; index < size; ++index) {
      const auto path = tree.path(index);
      ASSERT_EQ(merkle_root_from_path(leaves[index], index, size, path), root);
      for (std::size_t other = 0; other < size; ++other) {
        if (other != index) {
          ASSERT_NE(merkle_root_from_path(leaves[index], other, size, path), root);
        }
      }
    }
  }
}

TEST(Merkle, a_path_of_the_wrong_length_leads_nowhere) {
  const auto leaves = numbered_leaves(7);
  auto path = MerkleTree(leaves).path(6);
  EXPECT_EQ(path.size(), 2u);
  path.push_back(leaves[0]);
  EXPECT_EQ(merkle_root_from_path(leaves[6], 6, 7, path), std::nullopt);
  path.resize(1);
  EXPECT_EQ(merkle_root_from_path(leaves[6], 6, 7, path), std::nullopt);
  EXPECT_EQ(merkle_root_from_path(leaves[6], 7, 7, MerkleTree(leaves).path(6)), std::nullopt);
  EXPECT_EQ(merkle_root_from_path(leaves[0], 0, 0, {}), std::nullopt);
  EXPECT_EQ(merkle_root_from_path(leaves[0], 0, ~0ull, std::vector<Hash>(300)), std::nullopt);
  EXPECT_EQ(merkle_root_from_path(leaves[0], ~0ull - 1, ~0ull, {}), std::nullopt);
}

// The definition in docs/protocol.md ("Map root"), word by word.
Hash map_root(std::span<const std::pair<Hash, Hash>> sorted, unsigned depth = 0) {
  if (sorted.empty()) return {};
  if (sorted.size() == 1) {
    Bytes leaf{0};
    append(leaf, sorted[0].first);
    append(leaf, sorted[0].second);
    return sha256(leaf);
  }
  const auto split = std::ranges::find_if(
      sorted, [&](const auto& entry) { return (entry.first.bytes[depth / 8] >> (7 - depth % 8)) & 1; });
  const auto left = static_cast<std::size_t>(split - sorted.begin());
  return merkle_node(map_root(sorted.first(left), depth + 1), map_root(sorted.subspan(left), depth + 1));
}

TEST(SparseMap, small_maps_by_hand) {
  SparseMap map;
  EXPECT_TRUE(map.root().is_zero());
  Hash low, high, next_to_low;
  high.bytes[0] = 0x80;
  next_to_low.bytes[31] = 1;  // shares 255 bits with low
  map.set(low, hash_from("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"));
  const auto one = map.root();
  map.set(high, low);
  Bytes leaf{0};
  append(leaf, high);
  append(leaf, low);
  EXPECT_EQ(map.root(), merkle_node(one, sha256(leaf)));
  map.erase(high);
  EXPECT_EQ(map.root(), one);
  map.set(next_to_low, low);
  EXPECT_NE(map.root(), one);
  map.erase(next_to_low);
  EXPECT_EQ(map.root(), one);
  map.erase(low);
  EXPECT_TRUE(map.root().is_zero());
}

RC_GTEST_PROP(SparseMap, the_root_depends_on_what_is_in_it_alone, ()) {
  SparseMap map;
  std::map<Hash, Hash> model;
  // Keys that share long prefixes, and keys that differ at once.
  const auto any_key = rc::gen::map(
      rc::gen::pair(rc::gen::element<std::size_t>(0, 1, 15, 31), rc::gen::arbitrary<std::uint8_t>()), [](auto parts) {
        Hash key;
        key.bytes[parts.first] = parts.second;
        return key;
      });
  const auto steps = *rc::gen::inRange(0, 60);
  for (int step = 0; step < steps; ++step) {
    const Hash key = *any_key;
    if (*rc::gen::inRange(0, 3) == 0) {
      map.erase(key);
      model.erase(key);
    } else {
      Hash value;
      value.bytes[0] = *rc::gen::arbitrary<std::uint8_t>();
      map.set(key, value);
      model[key] = value;
    }
    if (*rc::gen::arbitrary<bool>()) static_cast<void>(map.root());  // what is cached must not show
  }
  const std::vector<std::pair<Hash, Hash>> sorted(model.begin(), model.end());
  RC_ASSERT(map.root() == map_root(sorted));
}

}  // namespace
}  // namespace diot
