#include "core/ledger/tiles.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "core/merkle.hpp"

namespace diot {
namespace {

Bytes entry(std::size_t number) { return to_bytes("entry " + std::to_string(number)); }

std::map<std::string, Bytes> tiles_of(std::size_t size) {
  std::map<std::string, Bytes> out;
  TileWriter writer([&](const std::string& path, const Bytes& bytes) {
    EXPECT_TRUE(out.emplace(path, bytes).second) << path << " is written twice";
  });
  for (std::size_t i = 0; i < size; ++i) writer.add(entry(i));
  writer.finish();
  EXPECT_EQ(writer.size(), size);
  return out;
}

TEST(Tiles, HaveThePathsOfTheSpecification) {
  EXPECT_EQ(tile_path("0", 1234067), "tile/0/x001/x234/067");
  EXPECT_EQ(tile_path("0", 0), "tile/0/000");
  EXPECT_EQ(tile_path("63", 999, 255), "tile/63/999.p/255");
  EXPECT_EQ(tile_path("entries", 1000, 1), "tile/entries/x001/000.p/1");
}

TEST(Tiles, OfATreeOf70000AreThoseOfTheSpecificationsExample) {
  const auto tiles = tiles_of(70'000);
  std::size_t full = 0;
  for (const auto& [path, bytes] : tiles)
    if (path.starts_with("tile/0/") && path.find(".p/") == path.npos) {
      ++full;
      EXPECT_EQ(bytes.size(), 8192u) << path;
    }
  EXPECT_EQ(full, 273u);
  EXPECT_EQ(tiles.at("tile/0/273.p/112").size(), 112 * 32u);
  EXPECT_EQ(tiles.at("tile/1/000").size(), 8192u);
  EXPECT_EQ(tiles.at("tile/1/001.p/17").size(), 17 * 32u);
  EXPECT_EQ(tiles.at("tile/2/000.p/1").size(), 32u);
  EXPECT_EQ(tiles.size(), 2 * 274u + 3);
}

TEST(Tiles, OfATreeOf256AreAFullOneAndOneHashAboveIt) {
  const auto tiles = tiles_of(256);
  EXPECT_EQ(tiles.size(), 3u);
  EXPECT_TRUE(tiles.contains("tile/entries/000"));
  EXPECT_TRUE(tiles.contains("tile/0/000"));
  EXPECT_TRUE(tiles.contains("tile/1/000.p/1"));
}

TEST(Tiles, HoldTheTreeAndItsEntries) {
  for (const std::size_t size : {0, 1, 255, 256, 257, 600}) {
    const auto tiles = tiles_of(size);
    MerkleFrontier tree;
    std::size_t number = 0;
    for (const auto& [path, bytes] : tiles) {
      if (!path.starts_with("tile/entries/")) continue;
      ByteReader in(bytes);
      while (!in.done() && in.ok()) {
        const auto one = to_bytes(in.raw(in.u16()));
        EXPECT_EQ(one, entry(number++));
        tree.append(merkle_leaf(one));
      }
    }
    EXPECT_EQ(number, size);
    MerkleFrontier hashes;
    for (const auto& [path, bytes] : tiles)
      if (path.starts_with("tile/0/"))
        for (std::size_t at = 0; at < bytes.size(); at += 32)
          hashes.append(*Hash::from(ByteView(bytes).subspan(at, 32)));
    EXPECT_EQ(hashes.size(), size);
    EXPECT_EQ(hashes.root(), tree.root());
  }
}

TEST(Tiles, AndTheirLeavesGiveEveryProof) {
  std::vector<Hash> leaves, full;
  for (std::size_t i = 0; i < 4 * tile_width + 3; ++i) leaves.push_back(merkle_leaf(entry(i)));
  for (std::size_t tile = 0; tile < 4; ++tile)
    full.push_back(merkle_root({leaves.begin() + static_cast<std::ptrdiff_t>(tile * tile_width),
                                leaves.begin() + static_cast<std::ptrdiff_t>((tile + 1) * tile_width)}));
  std::size_t asked = 0;
  const auto leaves_of = [&](std::uint64_t tile, std::size_t width) -> Result<std::vector<Hash>> {
    ++asked;
    const auto begin = leaves.begin() + static_cast<std::ptrdiff_t>(tile * tile_width);
    return std::vector<Hash>(begin, begin + static_cast<std::ptrdiff_t>(width));
  };
  for (const std::size_t size : {1, 2, 3, 255, 256, 257, 300, 511, 512, 513, 768, 1000, 1024, 1027}) {
    const MerkleTree tree({leaves.begin(), leaves.begin() + static_cast<std::ptrdiff_t>(size)});
    const LogProver log{size, full, leaves_of};
    for (std::size_t at = 0; at <= size; at += at % 64 < 2 || at % 64 > 61 || size < 300 ? 1 : 7) {
      asked = 0;
      if (at < size) {
        ASSERT_EQ(log.path(at).value(), tree.path(at)) << at << " of " << size;
      }
      ASSERT_EQ(log.consistency(at).value(), tree.consistency(at)) << at << " of " << size;
      ASSERT_LE(asked, 4u);
    }
  }
}

TEST(Tiles, GiveNoProofWhereLeavesAreMissing) {
  const std::vector<Hash> full(2);
  const LogProver log{600, full, [](std::uint64_t tile, std::size_t) -> Result<std::vector<Hash>> {
                        if (tile == 2) return std::vector<Hash>(88);
                        return fail(Errc::not_available, "not here");
                      }};
  EXPECT_EQ(log.path(255).error().code, Errc::not_available);
  EXPECT_TRUE(log.path(512));
  EXPECT_EQ(log.consistency(300).error().code, Errc::not_available);
  EXPECT_TRUE(log.consistency(256)) << "at a tile's end its root is enough";
}

}  // namespace
}  // namespace diot
