#include "core/words.hpp"

#include <gmock/gmock.h>

#include "tests/core/keys.hpp"

// The words are those of the BIP-39 test vectors (256 bits); the keys were computed by python3-mnemonic (seed without a
// passphrase) and Python's hashlib.

namespace diot {
namespace {

using diot::testing::ConstantRandom;
using diot::testing::SeededRandom;
using ::testing::HasSubstr;

std::string repeat(std::string_view word, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += std::string(word) + ' ';
  return out;
}
const std::string all_zero = repeat("abandon", 23) + "art";
const std::string all_ones = repeat("zoo", 23) + "vote";

TEST(Words, AreThoseOfBip39) {
  ConstantRandom zero(0), ones(0xff), winner(0x7f);
  EXPECT_EQ(make_words(zero), all_zero);
  EXPECT_EQ(make_words(ones), all_ones);
  EXPECT_EQ(make_words(winner),
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal "
            "winner thank year wave sausage worth title");
}

TEST(Words, GiveTheKeysThatAnIndependentImplementationGives) {
  EXPECT_EQ(owner_key(all_zero, 0).seed().hex(), "d9d19477be06948fce88b4046903fd448a7712c11d7ea4515485b06befc63b59");
  EXPECT_EQ(owner_key(all_zero, 0).public_key().hex(),
            "655246c4d7119ca6d3e33f837acd20468a2948115c9131d0f7e26c40909c1862");
  EXPECT_EQ(owner_key(all_zero, 1).seed().hex(), "4fd912570e50d889a9cb5840b67038c582dc4b32a5c7a273bedcdb99fc29045d");
  EXPECT_EQ(owner_key(all_zero, 0xffffffff).seed().hex(),
            "904bd412ed61dfdd8c45ef26da944e49b0ee3cb761ba71e17ada926ca3d9ddbb");
  EXPECT_EQ(succession_key(all_zero).seed().hex(), "9590684c8529008c05c01276b7981de2836e4416555559f3836d1f195baf18d2");
  EXPECT_EQ(owner_key(all_ones, 0).seed().hex(), "2d6ee377518b17a55060d04a8804e1713a366bf7287d74b64fb6916f2a5bd2f9");
  EXPECT_EQ(succession_key(all_ones).public_key().hex(),
            "8f24f71c8361a8af5f626f6f88262a9a3890f87ac66b3de1cdb6bb7f81a11f06");
  const std::string mixed =
      "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple "
      "dilemma loan word shrug inflict delay length";
  EXPECT_EQ(check_words(mixed), mixed);
  EXPECT_EQ(owner_key(mixed, 1).seed().hex(), "20306b33611d9cc03d3f706d7c755e1c1a1cc9a8e25dd2b55a8b0bfcf93fb272");
}

TEST(Words, ThatWereMadePassTheCheck) {
  SeededRandom random(1);
  for (int i = 0; i < 200; ++i) {
    const auto words = make_words(random);
    EXPECT_EQ(check_words(words), words);
  }
}

TEST(Words, MayBeTypedInAnyCaseAndSpacing) {
  EXPECT_EQ(check_words("  Zoo\tZOO\r\n" + repeat(" zoo ", 21) + "vOTe\n"), all_ones);
}

TEST(Words, NameTheFirstUnknownOne) {
  const auto result = check_words(repeat("zoo", 5) + "zzo " + repeat("nope", 18));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::invalid);
  EXPECT_THAT(result.error().message, HasSubstr("word 6, 'zzo'"));
}

TEST(Words, ThatAreTooFewOrTooManyAreCounted) {
  EXPECT_THAT(check_words(repeat("zoo", 23)).error().message, HasSubstr("23"));
  EXPECT_THAT(check_words(repeat("zoo", 25)).error().message, HasSubstr("25"));
  EXPECT_THAT(check_words("").error().message, HasSubstr("0"));
  EXPECT_FALSE(check_words(std::string(100'000, 'a')));
}

TEST(Words, OfAnotherChecksumAreRefused) {
  EXPECT_THAT(check_words(repeat("zoo", 24)).error().message, HasSubstr("checksum"));
  EXPECT_THAT(check_words(repeat("abandon", 22) + "art abandon").error().message, HasSubstr("checksum"));
}

TEST(Words, NeverPutControlCharactersIntoAnError) {
  EXPECT_THAT(check_words("\x1b[31mred").error().message, HasSubstr("'?[31mred'"));
}

}  // namespace
}  // namespace diot
