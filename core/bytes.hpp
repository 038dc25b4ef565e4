#pragma once
// Byte strings, fixed-size ids, hex and base64url, and big-endian reading and writing.

#include <algorithm>
#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace diot {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline Bytes to_bytes(ByteView view) { return {view.begin(), view.end()}; }
inline Bytes to_bytes(std::string_view text) { return to_bytes(as_bytes(text)); }
inline bool equal(ByteView a, ByteView b) { return std::ranges::equal(a, b); }
inline void append(Bytes& to, ByteView more) { to.insert(to.end(), more.begin(), more.end()); }

/// Lower-case hex.
std::string to_hex(ByteView bytes);
/// Accepts upper and lower case; nullopt on an odd length or another character.
std::optional<Bytes> from_hex(std::string_view text);
/// RFC 4648 section 4, with padding.
std::string to_base64(ByteView bytes);
/// nullopt on missing padding, on a character outside the alphabet and on set bits behind the last byte.
std::optional<Bytes> from_base64(std::string_view text);
/// RFC 4648 section 5, no padding.
std::string to_base64url(ByteView bytes);
/// nullopt on padding, on a character outside the alphabet and on set bits behind the last byte.
std::optional<Bytes> from_base64url(std::string_view text);

/// N bytes that name or prove something. `Tag` keeps ids that must not be confused apart.
template <class Tag, std::size_t N>
struct FixedBytes {
  static constexpr std::size_t size = N;
  std::array<std::uint8_t, N> bytes{};

  FixedBytes() = default;
  explicit FixedBytes(const std::array<std::uint8_t, N>& from) : bytes(from) {}
  /// nullopt unless `from` holds exactly N bytes.
  static std::optional<FixedBytes> from(ByteView from) {
    if (from.size() != N) return std::nullopt;
    FixedBytes out;
    std::copy(from.begin(), from.end(), out.bytes.begin());
    return out;
  }

  auto operator<=>(const FixedBytes&) const = default;
  ByteView view() const { return bytes; }
  operator ByteView() const { return bytes; }  // NOLINT: an id is its bytes
  bool is_zero() const {
    return std::ranges::all_of(bytes, [](auto byte) { return byte == 0; });
  }
  std::string hex() const { return to_hex(bytes); }
};

/// Hash-table hash of an id whose bytes are already uniform (keys, digests, random numbers).
struct IdHash {
  template <class Tag, std::size_t N>
  std::size_t operator()(const FixedBytes<Tag, N>& id) const {
    static_assert(N >= sizeof(std::size_t));
    std::size_t out;
    std::memcpy(&out, id.bytes.data(), sizeof out);
    return out;
  }
};

using Hash = FixedBytes<struct HashTag, 32>;
using PublicKey = FixedBytes<struct PublicKeyTag, 32>;  ///< Ed25519
using Signature = FixedBytes<struct SignatureTag, 64>;  ///< Ed25519
using NodeId = FixedBytes<struct NodeIdTag, 32>;        ///< a node's Ed25519 public key
using NetworkId = FixedBytes<struct NetworkIdTag, 32>;  ///< SHA-256 of the unsigned genesis
using ChannelId = FixedBytes<struct ChannelIdTag, 32>;
using ShareId = FixedBytes<struct ShareIdTag, 16>;
using InstanceId = FixedBytes<struct InstanceIdTag, 16>;  ///< of one process; told in the hello of every link

/// Appends big-endian numbers and byte strings.
class ByteWriter {
 public:
  explicit ByteWriter(Bytes& out) : out_(out) {}
  void u8(std::uint8_t value) { out_.push_back(value); }
  void u16(std::uint16_t value) { number(value, 2); }
  void u32(std::uint32_t value) { number(value, 4); }
  void u64(std::uint64_t value) { number(value, 8); }
  void raw(ByteView bytes) { append(out_, bytes); }

 private:
  void number(std::uint64_t value, int size) {
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8) out_.push_back(static_cast<std::uint8_t>(value >> shift));
  }
  Bytes& out_;
};

/// Reads what ByteWriter wrote. Reading past the end yields zeros and makes `ok()` false for good, so that a parser
/// checks once, at its end.
class ByteReader {
 public:
  explicit ByteReader(ByteView in) : in_(in) {}
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  /// An empty view if fewer than `size` bytes are left.
  ByteView raw(std::size_t size) {
    if (!ok_ || in_.size() < size) return ok_ = false, ByteView{};
    ByteView out = in_.first(size);
    in_ = in_.subspan(size);
    return out;
  }
  template <class Id>
  Id id() {
    return Id::from(raw(Id::size)).value_or(Id{});
  }
  ByteView rest() const { return in_; }
  bool ok() const { return ok_; }
  /// Everything was there and nothing is left over.
  bool done() const { return ok_ && in_.empty(); }

 private:
  std::uint64_t number(std::size_t size) {
    std::uint64_t out = 0;
    for (auto byte : raw(size)) out = out << 8 | byte;
    return out;
  }
  ByteView in_;
  bool ok_ = true;
};

}  // namespace diot

template <class Tag, std::size_t N>
struct std::hash<diot::FixedBytes<Tag, N>> : diot::IdHash {};
