#include "core/bytes.hpp"

#include <sodium.h>

namespace diot {

std::string to_hex(ByteView bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (auto byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

// libsodium takes no null pointers, not even for nothing.
std::optional<Bytes> from_hex(std::string_view text) {
  if (text.empty()) return Bytes{};
  Bytes out(text.size() / 2);
  std::size_t written = 0;
  if (text.size() % 2 != 0 ||
      sodium_hex2bin(out.data(), out.size(), text.data(), text.size(), nullptr, &written, nullptr) != 0 ||
      written != out.size())
    return std::nullopt;
  return out;
}

static std::string to_base64(ByteView bytes, int variant) {
  if (bytes.empty()) return {};
  std::string out(sodium_base64_encoded_len(bytes.size(), variant), '\0');
  sodium_bin2base64(out.data(), out.size(), bytes.data(), bytes.size(), variant);
  out.pop_back();  // libsodium's terminating zero
  return out;
}

std::string to_base64(ByteView bytes) { return to_base64(bytes, sodium_base64_VARIANT_ORIGINAL); }
std::string to_base64url(ByteView bytes) { return to_base64(bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING); }

static std::optional<Bytes> from_base64(std::string_view text, int variant) {
  if (text.empty()) return Bytes{};
  Bytes out(text.size() * 3 / 4 + 1);  // one to spare: never null
  std::size_t written = 0;
  const char* end = nullptr;
  if (sodium_base642bin(out.data(), out.size(), text.data(), text.size(), nullptr, &written, &end, variant) != 0 ||
      end != text.data() + text.size())
    return std::nullopt;
  out.resize(written);
  return out;
}

std::optional<Bytes> from_base64(std::string_view text) { return from_base64(text, sodium_base64_VARIANT_ORIGINAL); }
std::optional<Bytes> from_base64url(std::string_view text) {
  return from_base64(text, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

}  // namespace diot
