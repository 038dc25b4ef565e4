// verify_chain recomputes a stored chain from its genesis, and finds every changed bit.

#include <gtest/gtest.h>

#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

BlockSource source_of(const std::vector<Bytes>& blocks) {
  return [&blocks, next = std::size_t{0}]() mutable -> Result<std::optional<Bytes>> {
    if (next == blocks.size()) return std::nullopt;
    return blocks[next++];
  };
}

class LedgerVerify : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000), world.join(ledger, carol, 1001)})), "");
    world.now += day_ms;
    auto record = *ledger.handle("bob");
    record.nodes.emplace_back(bob.second.node_id(), Role::member);
    record.persons = {{"mum", test_key(61).public_key()}};
    ASSERT_EQ(
        why(world.commit(ledger, {make_update(record, ledger.network(), ledger.head(), bob.owner, {bob.second})})), "");
    ASSERT_EQ(
        why(world.commit(ledger, {make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.node)})),
        "");
  }
  Result<VerifyReport> verify(const std::optional<Checkpoint>& pinned = std::nullopt) const {
    return verify_chain(world.genesis_bytes, source_of(world.blocks), pinned);
  }

  World world{1, 90};
  Ledger ledger = world.ledger();
};

TEST_F(LedgerVerify, AWholeChainIsReported) {
  const auto report = verify(ledger.head());
  ASSERT_TRUE(report) << why(report);
  EXPECT_EQ(report->network, ledger.network());
  EXPECT_EQ(report->head, ledger.head());
  EXPECT_EQ(report->head_time, world.now);
  EXPECT_EQ(report->blocks, 4u);
  EXPECT_EQ(report->entries, 5u);
  EXPECT_EQ(report->handles, 3u);
  EXPECT_EQ(report->log_root, ledger.log_root());
  EXPECT_EQ(report->map_root, ledger.map_root());
}

TEST_F(LedgerVerify, AFlippedBitInAnyByteIsFoundInItsBlock) {
  SeededRandom random(1);
  auto before = Ledger::from_genesis(world.genesis_bytes).value();
  for (std::size_t height = 1; height <= world.blocks.size(); ++height) {
    const auto& block = world.blocks[height - 1];
    for (std::size_t at = 0; at < block.size(); ++at) {
      auto flipped = block;
      flipped[at] ^= static_cast<std::uint8_t>(1 << random.u64() % 8);
      const auto appended = before.append(flipped);
      ASSERT_FALSE(appended) << "block " << height << ", byte " << at;
      ASSERT_THAT(appended.error().message, ::testing::StartsWith("block " + std::to_string(height) + ": "));
    }
    ASSERT_EQ(why(before.append(block)), "");  // none of the attempts left a trace
    auto chain = world.blocks;
    chain[height - 1][block.size() / 2] ^= 1;
    const auto report = verify_chain(world.genesis_bytes, source_of(chain));
    EXPECT_THAT(why(report), ::testing::HasSubstr("block " + std::to_string(height) + ":"));
  }
}

TEST_F(LedgerVerify, EveryFlippedBitOfABlockIsFound) {
  auto before = Ledger::from_genesis(world.genesis_bytes).value();
  for (std::size_t i = 0; i < 3; ++i) ASSERT_EQ(why(before.append(world.blocks[i])), "");
  for (std::size_t bit = 0; bit < world.blocks[3].size() * 8; ++bit) {
    auto flipped = world.blocks[3];
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    ASSERT_FALSE(before.append(flipped)) << "bit " << bit;
  }
}

TEST_F(LedgerVerify, EveryFlippedBitOfTheGenesisIsFound) {
  for (std::size_t bit = 0; bit < world.genesis_bytes.size() * 8; ++bit) {
    auto flipped = world.genesis_bytes;
    flipped[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    ASSERT_FALSE(verify_chain(flipped, source_of(world.blocks))) << "bit " << bit;
  }
}

TEST_F(LedgerVerify, AMissingSwappedOrRepeatedBlockIsFound) {
  const auto whole = world.blocks;
  world.blocks = {whole[0], whole[2], whole[3]};
  EXPECT_REFUSED(verify(), Errc::invalid, "block 2: it says that it is block 3");
  world.blocks = {whole[0], whole[2], whole[1], whole[3]};
  EXPECT_REFUSED(verify(), Errc::invalid, "block 2: it says that it is block 3");
  world.blocks = {whole[0], whole[1], whole[1]};
  EXPECT_REFUSED(verify(), Errc::invalid, "block 3: it says that it is block 2");
}

TEST_F(LedgerVerify, ACutChainIsFoundByWhatIsPinned) {
  const auto head = ledger.head();
  world.blocks.pop_back();
  EXPECT_EQ(why(verify()), "");
  EXPECT_REFUSED(verify(head), Errc::corrupt, "ends at block 3, and block 4 is known");
  EXPECT_REFUSED(verify(Checkpoint{3, head.block}), Errc::corrupt, "block 3 is another");
}

TEST_F(LedgerVerify, AnUnreadableBlockIsNamed) {
  auto blocks = source_of(world.blocks);
  int read = 0;
  const BlockSource failing = [&]() -> Result<std::optional<Bytes>> {
    if (++read == 3) return fail(Errc::corrupt, "row checksum");
    return blocks();
  };
  EXPECT_REFUSED(verify_chain(world.genesis_bytes, failing), Errc::corrupt, "block 3 cannot be read: row checksum");
}

}  // namespace
}  // namespace diot
