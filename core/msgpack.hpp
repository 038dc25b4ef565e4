#pragma once
// Canonical msgpack (docs/protocol.md, "Conventions"): unsigned integers, str, bin, arrays, maps with ascending
// unsigned keys, nil; the shortest form of everything. What else msgpack knows is refused.

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"

namespace diot {

/// Appends msgpack to `out`. The caller announces the elements of arrays and maps and writes exactly those, map keys
/// (uint) ascending. Strings and containers have less than 2^32 bytes or elements.
class PackWriter {
 public:
  explicit PackWriter(Bytes& out) : out_(out) {}
  void array(std::size_t count);
  void map(std::size_t count);
  void uint(std::uint64_t value);
  void str(std::string_view text);
  void bin(ByteView bytes);
  void nil();

 private:
  Bytes& out_;
};

/// Reads hostile bytes value by value in the order they were written. Never throws. As with ByteReader a failure sticks
/// and yields zeros and empty views, so that a parser checks once, at its end:
///   PackReader in(bytes);
///   in.array_of(3);
///   auto version = in.uint(1);
///   auto key = in.id<PublicKey>();
///   for (auto left = in.array(limits::x_max); left > 0; --left) names.push_back(in.str(32));
///   if (!in.done()) return fail(…);
/// Views point into `bytes`. Strings are not checked for UTF-8.
class PackReader {
 public:
  /// `bytes` must be exactly one canonical value of at most `values_max` values, nested ones included, else ok() is
  /// false from the start. Takes 16 bytes of memory a value.
  explicit PackReader(ByteView bytes, std::size_t values_max = 1 << 16);

  /// The number of elements; they follow. Fails above `count_max`.
  std::size_t array(std::size_t count_max);
  /// An array of exactly `count` elements.
  void array_of(std::size_t count);
  /// The number of pairs; each key (uint) and its value follow.
  std::size_t map(std::size_t count_max);
  std::uint64_t uint(std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
  std::string_view str(std::size_t size_max);
  ByteView bin(std::size_t size_max);
  /// A bin of exactly that size.
  template <class Id>
  Id id() {
    const auto out = Id::from(bin(Id::size));
    if (!out) ok_ = false;
    return out.value_or(Id{});
  }
  /// Takes a nil if that is what comes next; else leaves it and says false.
  bool nil();
  /// Takes any one value, with what is in it.
  void skip();

  bool ok() const { return ok_; }
  /// Everything was as asked for, and nothing is left over.
  bool done() const { return ok_ && next_ == values_.size(); }

  static constexpr std::size_t depth_max = 8;

 private:
  friend struct PackVisitor;
  enum class Type : std::uint8_t { nil, uint, str, bin, array, map };
  struct Value {
    std::uint64_t number = 0;  ///< uint: the value; str, bin: the offset in bytes_
    std::uint32_t size = 0;    ///< str, bin: bytes; array: elements; map: pairs
    Type type = Type::nil;
  };
  /// The next value if it is of that type and not larger than `size_max`, else nullptr for good.
  const Value* take(Type type, std::size_t size_max);

  ByteView bytes_;
  std::vector<Value> values_;
  std::size_t next_ = 0;
  bool ok_ = false;
};

}  // namespace diot
