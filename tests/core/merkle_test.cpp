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

// The consistency proofs of Certificate Transparency's reference tests.
TEST(Merkle, published_consistency_proofs) {
  const MerkleTree tree(reference_leaves(8));
  const auto proof = [](std::size_t size, std::size_t old_size) {
    std::vector<std::string> out;
    for (const auto& hash : MerkleTree(reference_leaves(size)).consistency(old_size)) out.push_back(hash.hex());
    return out;
  };
  EXPECT_EQ(proof(1, 1), std::vector<std::string>{});
  EXPECT_EQ(proof(8, 1),
            (std::vector<std::string>{"96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                                      "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                                      "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"}));
  EXPECT_EQ(proof(8, 6),
            (std::vector<std::string>{"0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                                      "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                                      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"}));
  EXPECT_EQ(proof(5, 2),
            (std::vector<std::string>{"5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                                      "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"}));
}

TEST(Merkle, a_tree_is_shown_to_begin_with_every_older_one_and_with_no_other) {
  for (std::size_t size = 0; size <= 40; ++size) {
    const auto leaves = numbered_leaves(size);
    const MerkleTree tree(leaves);
    for (std::size_t old_size = 0; old_size <= size; ++old_size) {
      auto proof = tree.consistency(old_size);
      auto old_leaves = leaves;
      old_leaves.resize(old_size);
      const auto old_root = merkle_root(old_leaves);
      ASSERT_TRUE(merkle_consistent(old_size, old_root, size, tree.root(), proof)) << old_size << " of " << size;
      for (std::size_t other = 0; other <= size; ++other) {
        if (other != old_size) {
          ASSERT_FALSE(merkle_consistent(other, old_root, size, tree.root(), proof)) << other << ", " << old_size;
        }
      }
      ASSERT_FALSE(merkle_consistent(old_size, merkle_leaf({}), size, tree.root(), proof) && old_size != 0);
      ASSERT_FALSE(merkle_consistent(old_size, old_root, size, merkle_leaf(as_bytes("x")), proof) && old_size != 0);
      proof.push_back(merkle_leaf({}));
      ASSERT_FALSE(merkle_consistent(old_size, old_root, size, tree.root(), proof)) << "too long";
      if (proof.size() >= 2) {
        proof.resize(proof.size() - 2);
        ASSERT_FALSE(merkle_consistent(old_size, old_root, size, tree.root(), proof)) << "too short";
      }
    }
  }
}

}  // namespace
}  // namespace diot
