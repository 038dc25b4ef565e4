#pragma once
// Cutting lines and words out of small text files.

#include <string_view>

namespace diot {

/// Takes what stands before `mark` off the front, and the mark with it; everything if there is none.
inline std::string_view take_until(std::string_view& rest, char mark) {
  const auto at = rest.find(mark);
  const auto part = rest.substr(0, at);
  rest.remove_prefix(at == rest.npos ? rest.size() : at + 1);
  return part;
}

/// Without blanks, tabs and carriage returns at either end.
inline std::string_view trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r");
  return from == text.npos ? std::string_view{} : text.substr(from, text.find_last_not_of(" \t\r") - from + 1);
}

}  // namespace diot
