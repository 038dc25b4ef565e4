#pragma once
// Cutting lines and words out of small text files, and bytes as lines that people carry.

#include <optional>
#include <string>
#include <string_view>

#include "core/bytes.hpp"

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

/// "diot-…:" and the bytes in base64url, one line.
inline std::string encode_line(std::string_view scheme, ByteView bytes) {
  return std::string(scheme) + to_base64url(bytes);
}
/// The bytes; nullopt if it begins otherwise, is damaged, or longer than `size_max`.
inline std::optional<Bytes> decode_line(std::string_view scheme, std::string_view text,
                                        std::size_t size_max = std::string_view::npos) {
  if (!text.starts_with(scheme) || text.size() > size_max) return std::nullopt;
  return from_base64url(text.substr(scheme.size()));
}

}  // namespace diot
