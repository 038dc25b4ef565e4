#include "core/ledger/note.hpp"

#include <gtest/gtest.h>

#include "tests/core/keys.hpp"

namespace diot {
namespace {

using testing::test_key;

// The example of c2sp.org/tlog-checkpoint and c2sp.org/tlog-cosignature.
const std::string published_text =
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

TEST(Note, ReadsAndWritesThePublishedCheckpoint) {
  const auto checkpoint = parse_checkpoint_text(published_text);
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->origin, "example.com/behind-the-sofa");
  EXPECT_EQ(checkpoint->size, 20852163u);
  EXPECT_EQ(checkpoint->root.hex(), "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62");
  EXPECT_EQ(checkpoint_text(*checkpoint), published_text);
  EXPECT_EQ(parse_checkpoint_text(published_text + "an extension line\n").value(), *checkpoint);
}

TEST(Note, RefusesWhatIsNoCheckpoint) {
  for (const std::string text :
       {"", "origin\n", "origin\n1\n", "\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "origin\n01\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "origin\n-1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
        "origin\n1x\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", "origin\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h\n",
        "origin\n99999999999999999999\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"})
    EXPECT_FALSE(parse_checkpoint_text(text)) << text;
}

// The signer key, verifier key and note of the documentation of golang.org/x/mod/sumdb/note.
TEST(Note, IsThatOfOtherProgramsToTheByte) {
  const auto signer = KeyPair::from_seed(
      Seed::from(from_hex("810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173").value()).value());
  const std::string text =
      "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
  const std::string published =
      "\u2014 PeterNeumann "
      "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
  const NoteKey key{"PeterNeumann", signer.public_key()};
  EXPECT_EQ(key.text(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  EXPECT_EQ(sign_note(text, key, signer), published);
  const auto opened = open_note(make_note(text, {published}), {key});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->text, text);
}

TEST(Note, IsOpenedByWhomeverKnowsOneOfItsKeys) {
  const auto log = test_key(1), witness = test_key(2), stranger = test_key(3);
  const NoteKey log_key{"example.com/log", log.public_key()};
  const NoteKey witness_key{"example.com/w1", witness.public_key(), NoteKeyType::cosignature};
  const auto note = make_note(published_text, {sign_note(published_text, log_key, log),
                                               sign_note(published_text, witness_key, witness, 1'790'000'000'999)});
  const auto opened = open_note(note, {witness_key});
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->text, published_text);
  ASSERT_EQ(opened->by.size(), 1u);
  EXPECT_EQ(opened->by[0].when, 1'790'000'000'000u);
  EXPECT_EQ(open_note(note, {witness_key, log_key})->by.size(), 2u);
  EXPECT_FALSE(open_note(note, {}));
  EXPECT_FALSE(open_note(note, {{"example.com/log", stranger.public_key()}}));
  EXPECT_FALSE(open_note(note, {{"example.com/w1", witness.public_key()}})) << "a cosignature is no log's signature";
}

TEST(Note, IsRefusedIfAnythingInItWasChanged) {
  const auto log = test_key(1), witness = test_key(2);
  const std::vector<NoteKey> keys{{"log", log.public_key()}, {"w", witness.public_key(), NoteKeyType::cosignature}};
  const auto note = make_note(published_text, {sign_note(published_text, keys[0], log),
                                               sign_note(published_text, keys[1], witness, 1'790'000'000'000)});
  ASSERT_TRUE(open_note(note, keys));
  for (std::size_t at = 0; at < note.size(); ++at) {
    auto bent = note;
    bent[at] = static_cast<char>(bent[at] ^ 1);
    const auto opened = open_note(bent, keys);
    // A signature line of a name or key that nobody knows is passed over; the other one still has to hold.
    EXPECT_FALSE(opened && opened->by.size() == 2) << at;
    if (opened) {
      EXPECT_EQ(opened->text, published_text) << at;
    }
  }
  for (std::size_t size = 0; size < note.size(); ++size) {
    const auto opened = open_note(note.substr(0, size), keys);
    EXPECT_FALSE(opened && opened->by.size() == 2) << size;
  }
}

}  // namespace
}  // namespace diot
