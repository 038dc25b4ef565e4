// A block of one network, on its way into the ledger of another.

#include "core/ledger/anchor.hpp"

#include <gtest/gtest.h>

#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

TEST(Anchors, NameOneBlockAndComeBackAsTheyWere) {
  World world;
  const Ledger ledger = world.ledger();
  const Anchor anchor{ledger.network(), ledger.head(), ledger.head_time()};
  const auto text = encode_anchor(anchor);
  EXPECT_EQ(decode_anchor(text).value(), anchor);
  for (std::size_t cut = 0; cut < text.size(); ++cut) EXPECT_FALSE(decode_anchor(text.substr(0, cut))) << cut;
  EXPECT_REFUSED(decode_anchor("diot-entry:AAAA"), Errc::invalid, "diot ledger anchor");

  auto other = anchor;
  other.block.height += 1;
  EXPECT_NE(anchor_hash(other), anchor_hash(anchor));
  other = anchor;
  other.block.block.bytes[5] ^= 1;
  EXPECT_NE(anchor_hash(other), anchor_hash(anchor));
  other = anchor;
  other.network.bytes[5] ^= 1;
  EXPECT_NE(anchor_hash(other), anchor_hash(anchor));
}

TEST(Anchors, StandInARecordAndSoInItsProof) {
  World world, elsewhere(1, 90);
  Ledger ledger = world.ledger();
  const Ledger other = elsewhere.ledger();
  const Anchor anchor{other.network(), other.head(), other.head_time()};
  auto changed = *ledger.handle("alice");
  changed.profile = anchor_hash(anchor);
  ASSERT_EQ(why(world.commit(ledger, {make_update(changed, ledger.network(), ledger.head(), alice.owner, {})})), "");
  const auto proof = world.prove(ledger, "alice");
  ASSERT_TRUE(check_proof(proof, ledger.network()));
  EXPECT_EQ(decode_handle(proof.record)->profile, anchor_hash(anchor));
}

}  // namespace
}  // namespace diot
