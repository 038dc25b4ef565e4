#include "core/sparse_map.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "core/crypto.hpp"
#include "core/merkle.hpp"

namespace diot {
namespace {

Hash hash_from(std::string_view hex) { return Hash::from(from_hex(hex).value()).value(); }

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

  // Proofs: of what is in it, of what is not, and of nothing else.
  const Hash key = *any_key;
  const auto proof = map.prove(key);
  RC_ASSERT(sparse_root(key, proof) == map.root());
  const auto at = model.find(key);
  RC_ASSERT((proof.end && proof.end->key == key) == (at != model.end()));
  if (at != model.end()) RC_ASSERT(proof.end->value == at->second);
  auto other = proof;
  if (other.end)
    other.end->value.bytes[7] ^= 1;
  else
    other.end = SparseProof::Entry{key, {}};
  RC_ASSERT(sparse_root(key, other) != map.root());
  if (proof.end && proof.end->key == key) {
    other = proof;
    other.end.reset();
    RC_ASSERT(sparse_root(key, other) != map.root());
  }
}

RC_GTEST_PROP(SparseMap, a_subtree_is_what_stands_at_its_place, ()) {
  SparseMap map;
  const auto count = *rc::gen::inRange(0, 40);
  std::set<Hash> keys;
  for (int i = 0; i < count; ++i) {
    Hash key;
    key.bytes[0] = *rc::gen::element<std::uint8_t>(0, 1, 0x80, 0xff);
    key.bytes[1] = *rc::gen::arbitrary<std::uint8_t>();
    keys.insert(key);
    map.set(key, key, key.hex());
  }
  const auto any = *rc::gen::arbitrary<std::uint32_t>();
  const auto place = SparsePlace{}.child(8, any & 0xff).child(*rc::gen::inRange(0u, 4u), 0);
  std::set<Hash> there;
  map.each(place, [&](const Hash& key, const std::string& name) {
    RC_ASSERT(place.holds(key));
    RC_ASSERT(name == key.hex());
    RC_ASSERT((there.empty() || *there.rbegin() < key));
    return there.insert(key).second;
  });
  for (const auto& key : keys) RC_ASSERT(there.contains(key) == place.holds(key));

  // It is that of a map with these entries alone, and what stands below it makes it up.
  const auto subtree = map.subtree(place);
  SparseMap alone;
  for (const auto& key : there) alone.set(key, key);
  RC_ASSERT(alone.subtree(place) == subtree);
  RC_ASSERT((subtree.kind == SparseSubtree::Kind::empty) == there.empty());
  RC_ASSERT((subtree.kind == SparseSubtree::Kind::entry) == (there.size() == 1));
  std::vector<SparseSubtree> below;
  for (std::uint32_t i = 0; i < 16; ++i) below.push_back(map.subtree(place.child(4, i)));
  RC_ASSERT(sparse_join(below) == subtree);
  RC_ASSERT(map.subtree({}).hash == map.root());
  // Where nothing is beside a part its kind decides whether it moves up; elsewhere its hash says all.
  const auto alone_at = [&](std::size_t at) {
    return below[at].kind != SparseSubtree::Kind::empty && below[at ^ 1].kind == SparseSubtree::Kind::empty;
  };
  std::size_t at = 0;
  while (at < below.size() && !alone_at(at)) ++at;
  if (at == below.size()) return;
  auto& kind = below[at].kind;
  kind = kind == SparseSubtree::Kind::entry ? SparseSubtree::Kind::branch : SparseSubtree::Kind::entry;
  RC_ASSERT(sparse_join(below) != subtree);
}

TEST(SparseMap, an_entry_that_cannot_stand_on_the_way_proves_nothing) {
  SparseMap map;
  Hash low, high, third;
  high.bytes[0] = 0x80;
  third.bytes[0] = 0xc0;
  map.set(low, low);
  map.set(high, low);
  map.set(third, low);
  auto proof = map.prove(low);
  ASSERT_EQ(proof.siblings.size(), 1u);
  Hash absent;
  absent.bytes[5] = 1;
  EXPECT_EQ(sparse_root(absent, map.prove(absent)), map.root()) << "another entry stands alone on its way";
  EXPECT_EQ(sparse_root(high, proof), std::nullopt) << "that one is on another way";
  proof.siblings.resize(257);
  EXPECT_EQ(sparse_root(low, proof), std::nullopt);
}

TEST(SparseMap, keys_that_differ_in_the_last_bit_have_256_siblings) {
  SparseMap map;
  Hash low, next_to_low;
  next_to_low.bytes[31] = 1;
  map.set(low, low);
  map.set(next_to_low, low);
  const auto proof = map.prove(next_to_low);
  EXPECT_EQ(proof.siblings.size(), 256u);
  EXPECT_EQ(sparse_root(next_to_low, proof), map.root());
}

}  // namespace
}  // namespace diot
