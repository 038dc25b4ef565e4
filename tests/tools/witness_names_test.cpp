// Whom people are told that a witness is.

#include "tools/app/witness_names.hpp"

#include <gtest/gtest.h>

#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

class WitnessNames : public ::testing::Test {
 protected:
  WitnessNames() {
    EXPECT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000), world.join(ledger, carol, 1001)})), "");
  }
  /// The sole witness is another one from now on, on the node of `home`.
  void hand_over(const KeyPair& key, const Home& home) {
    WitnessSet set{{{key.public_key(), home.node.node_id()}}, true};
    const auto epoch = ledger.network_record().epoch + 1;
    ASSERT_EQ(
        why(world.commit(ledger, {world.entry(ledger, WitnessChangeBody{epoch, set}, {world.witnesses[0], key})})), "");
    ASSERT_EQ(why(world.pass(ledger)), "");
    world.witnesses = {key};
  }
  World world;
  Ledger ledger = world.ledger();
  const KeyPair other = test_key(30);
};

TEST_F(WitnessNames, WhoFoundedAloneIsTheRegistrarThoughTheGenesisNamesAKeyOnly) {
  EXPECT_EQ(registrar_text(ledger), "@alice (trusted)");
  ASSERT_EQ(why(world.commit(
                ledger, {world.entry(ledger, ReleaseBody{World::next(ledger, "alice")}, {alice.owner, alice.next})})),
            "");
  EXPECT_EQ(registrar_text(ledger), world.witnesses[0].public_key().hex().substr(0, 16) + "… (trusted)")
      << "the node speaks for nobody any more";
}

TEST_F(WitnessNames, AnotherRegistrarIsNamedByTheHandleOfItsNode) {
  hand_over(other, bob);
  EXPECT_EQ(registrar_text(ledger), "@bob (trusted)");
  ASSERT_EQ(
      why(world.commit(ledger, {world.entry(ledger, ReleaseBody{World::next(ledger, "bob")}, {bob.owner, bob.next})})),
      "");
  EXPECT_EQ(registrar_text(ledger), other.public_key().hex().substr(0, 16) + "… (trusted)");
}

TEST_F(WitnessNames, SeveralHaveNoRegistrar) {
  World four(4);
  EXPECT_EQ(registrar_text(four.ledger()), "");
}

}  // namespace
}  // namespace diot
