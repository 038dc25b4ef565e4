// Several people agree on a genesis, by lines of text.

#include "tools/app/founding.hpp"

#include <gtest/gtest.h>

#include "core/ledger/entry.hpp"
#include "core/ledger/ledger.hpp"
#include "tests/core/keys.hpp"

namespace diot {
namespace {

using testing::test_key;

struct Foundings : ::testing::Test {
  SystemRandom random;
  std::vector<KeyPair> nodes;
  std::vector<FounderOffer> offers;
  Foundings() {
    crypto_init();
    for (std::uint64_t i = 0; i < 4; ++i) {
      const auto owner = test_key(100 + i), next = test_key(200 + i);
      nodes.push_back(test_key(300 + i));
      const Registration what{"founder-" + std::to_string(i),
                              owner.public_key(),
                              sha256(next.public_key()),
                              {{nodes.back().node_id(), Role::admin}}};
      offers.push_back({make_register(what, NetworkId{}, Checkpoint{}, owner, {nodes.back()}, nullptr),
                        sha256(test_key(400 + i).public_key()),
                        {"192.0.2.1:42220"}});
    }
  }
  Founding draft(const FoundingTerms& terms = {}) {
    return draft_founding(offers, terms, 1'790'000'000'000, random).value();
  }
  /// From hand to hand.
  static Founding handed(const Founding& founding) { return decode_founding(encode_founding(founding)).value(); }
};

TEST_F(Foundings, AreCompleteWhenAllHaveSignedAndEnoughHaveVoted) {
  auto founding = draft({Admission::open, 90});
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_FALSE(founding.is_signed());
    ASSERT_TRUE(sign_founding(founding, nodes[i]));
    founding = handed(founding);
  }
  EXPECT_TRUE(founding.is_signed());
  EXPECT_EQ(founding.votes.size(), 1u) << "the last one votes with its signature";
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_FALSE(founding.is_complete());
    ASSERT_TRUE(sign_founding(founding, nodes[i]));
    founding = handed(founding);
  }
  EXPECT_TRUE(founding.is_complete());
  EXPECT_EQ(sign_founding(founding, nodes[0]).error().code, Errc::exists);
  EXPECT_EQ(sign_founding(founding, test_key(1)).error().code, Errc::not_permitted);

  std::vector<Signature> signatures;
  for (const auto& each : founding.signed_by) signatures.push_back(*each);
  auto ledger = Ledger::from_genesis(signed_genesis(founding.genesis, signatures));
  ASSERT_TRUE(ledger) << ledger.error().message;
  EXPECT_EQ(ledger->genesis().admission, Admission::open);
  EXPECT_EQ(ledger->genesis().succession, offers[0].succession);
  const auto block = ledger->propose(ledger->genesis().founding, ledger->genesis().time).value();
  ASSERT_TRUE(ledger->append(encode_block(block.header, block.entries, 0, founding.votes)));
  EXPECT_EQ(ledger->handles().size(), 4u);
}

TEST_F(Foundings, AreRefusedWhenTheyWereChangedOnTheirWay) {
  auto founding = draft();
  ASSERT_TRUE(sign_founding(founding, nodes[0]));
  EXPECT_EQ(sign_founding(founding, nodes[0]).error().code, Errc::exists);
  auto forged = founding;
  forged.signed_by[1] = founding.signed_by[0];
  EXPECT_FALSE(decode_founding(encode_founding(forged)));
  forged = founding;
  forged.votes.push_back({0, 1, {}});
  EXPECT_FALSE(decode_founding(encode_founding(forged))) << "before all have signed";
  for (std::size_t i = 1; i < 4; ++i) ASSERT_TRUE(sign_founding(founding, nodes[i]));
  forged = founding;
  forged.votes[0].witness = 1;
  EXPECT_FALSE(decode_founding(encode_founding(forged)));
  forged = founding;
  forged.votes.push_back(forged.votes[0]);
  EXPECT_FALSE(decode_founding(encode_founding(forged)));
  const auto text = encode_founding(founding);
  for (std::size_t cut = 0; cut < text.size(); cut += 13) EXPECT_FALSE(decode_founding(text.substr(0, cut))) << cut;
}

TEST_F(Foundings, KeepTheRulesOfAnOpenNetwork) {
  EXPECT_FALSE(draft_founding(offers, {Admission::open, 0}, 0, random)) << "leases";
  offers.pop_back();
  EXPECT_FALSE(draft_founding(offers, {Admission::open, 90}, 0, random)) << "four";
  EXPECT_TRUE(draft_founding(offers, {Admission::invite, 0}, 0, random));
  offers.push_back(offers[0]);
  EXPECT_FALSE(draft_founding(offers, {Admission::invite, 0}, 0, random)) << "twice the same";
}

TEST_F(Foundings, TakeOffersThatRegisterOneHandleWithOneNode) {
  EXPECT_EQ(decode_offer(encode_offer(offers[2]))->entry, offers[2].entry);
  EXPECT_FALSE(decode_offer("diot-founder:"));
  EXPECT_FALSE(decode_offer("diot-genesis:AAAA"));
  auto bad = offers[0];
  bad.entry = to_bytes("no entry");
  EXPECT_FALSE(decode_offer(encode_offer(bad)));
}

}  // namespace
}  // namespace diot
