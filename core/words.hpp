#pragma once
// The 24 words from which the owner keys and the succession key come (BIP-39, English list, 256 bits).

#include <string>
#include <string_view>

#include "core/crypto.hpp"

namespace diot {

/// 24 words separated by single blanks.
std::string make_words(Random& random);
/// Any case and spacing; Errc::invalid names the first unknown word, or says that the checksum does not fit.
Result<std::string> check_words(std::string_view words);

/// Owner key `index` (0 = the first one). `words` must have been checked.
KeyPair owner_key(std::string_view words, std::uint32_t index);
KeyPair succession_key(std::string_view words);

}  // namespace diot
