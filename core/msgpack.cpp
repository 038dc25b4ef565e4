#include "core/msgpack.hpp"

#include <array>
#include <exception>
#include <msgpack/null_visitor.hpp>
#include <msgpack/pack.hpp>
#include <msgpack/unpack.hpp>

#include "core/error.hpp"

namespace diot {

namespace {

struct Sink {
  Bytes& out;
  void write(const char* data, std::size_t size) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(data);
    out.insert(out.end(), bytes, bytes + size);
  }
};

template <class Write>
void pack(Bytes& out, Write write) {
  Sink sink{out};
  msgpack::packer<Sink> packer(sink);
  write(packer);
}

std::uint32_t checked_size(std::size_t size) {
  expect(size <= std::numeric_limits<std::uint32_t>::max(), "msgpack value of 2^32 bytes or elements");
  return static_cast<std::uint32_t>(size);
}

}  // namespace

void PackWriter::array(std::size_t count) {
  pack(out_, [&](auto& to) { to.pack_array(checked_size(count)); });
}
void PackWriter::map(std::size_t count) {
  pack(out_, [&](auto& to) { to.pack_map(checked_size(count)); });
}
void PackWriter::uint(std::uint64_t value) {
  pack(out_, [&](auto& to) { to.pack_uint64(value); });
}
void PackWriter::str(std::string_view text) {
  pack(out_, [&](auto& to) { to.pack_str(checked_size(text.size())); });
  append(out_, as_bytes(text));
}
void PackWriter::bin(ByteView bytes) {
  pack(out_, [&](auto& to) { to.pack_bin(checked_size(bytes.size())); });
  append(out_, bytes);
}
void PackWriter::nil() {
  pack(out_, [&](auto& to) { to.pack_nil(); });
}

/// Collects the values, and the bytes that they would have taken in their shortest form. No value has two encodings of
/// the same length among those accepted here (a non-negative number in a signed format counts as negative and is
/// refused), so the input is canonical exactly if its length is that sum.
struct PackVisitor : msgpack::null_visitor {
  PackReader& reader;
  std::size_t values_max;
  std::size_t canonical_bytes = 0;
  /// Of the maps around the current value: the smallest key that may come next. 64 bits and one for "none may".
  struct Level {
    std::uint64_t key_min = 0;
    bool keys_exhausted = false;
  };
  std::array<Level, PackReader::depth_max> levels{};
  std::size_t depth = 0;
  bool at_key = false;

  PackVisitor(PackReader& to, std::size_t max) : reader(to), values_max(max) {}

  bool add(PackReader::Type type, std::uint64_t number, std::uint32_t size, std::size_t bytes) {
    if (at_key && type != PackReader::Type::uint) return false;
    if (reader.values_.size() == values_max) return false;
    canonical_bytes += bytes;
    reader.values_.push_back({number, size, type});
    return true;
  }
  std::uint64_t offset_of(const char* data, std::uint32_t size) const {
    return size == 0 ? 0 : static_cast<std::uint64_t>(data - as_text(reader.bytes_).data());
  }
  static std::size_t length_bytes(std::uint32_t size, std::uint32_t fix_max) {
    return size <= fix_max ? 1 : size < 0x100 ? 2 : size < 0x10000 ? 3 : 5;
  }

  bool visit_nil() { return add(PackReader::Type::nil, 0, 0, 1); }
  bool visit_boolean(bool) { return false; }
  bool visit_positive_integer(std::uint64_t value) {
    if (at_key) {
      Level& level = levels[depth - 1];
      if (level.keys_exhausted || value < level.key_min) return false;
      level.key_min = value + 1;
      level.keys_exhausted = level.key_min == 0;
    }
    const std::size_t bytes = value < 0x80 ? 1 : value < 0x100 ? 2 : value < 0x10000 ? 3 : value <= 0xffffffff ? 5 : 9;
    return add(PackReader::Type::uint, value, 0, bytes);
  }
  bool visit_negative_integer(std::int64_t) { return false; }
  bool visit_float32(float) { return false; }
  bool visit_float64(double) { return false; }
  bool visit_ext(const char*, std::uint32_t) { return false; }
  bool visit_str(const char* data, std::uint32_t size) {
    return add(PackReader::Type::str, offset_of(data, size), size, length_bytes(size, 31) + size);
  }
  bool visit_bin(const char* data, std::uint32_t size) {
    return add(PackReader::Type::bin, offset_of(data, size), size, (size < 0x100 ? 2 : length_bytes(size, 0)) + size);
  }
  bool start(PackReader::Type type, std::uint32_t count) {
    if (depth == PackReader::depth_max) return false;
    levels[depth++] = {};
    return add(type, 0, count, count < 16 ? 1 : count < 0x10000 ? 3 : 5);
  }
  bool start_array(std::uint32_t count) { return start(PackReader::Type::array, count); }
  bool end_array() { return --depth, true; }
  bool start_map(std::uint32_t count) { return start(PackReader::Type::map, count); }
  bool end_map() { return --depth, true; }
  bool start_map_key() { return at_key = true; }
  bool end_map_key() { return at_key = false, true; }
};

PackReader::PackReader(ByteView bytes, std::size_t values_max) : bytes_(bytes) {
  values_.reserve(std::min<std::size_t>(bytes.size(), 16));
  PackVisitor visitor(*this, values_max);
  std::size_t parsed = 0;
  try {
    const auto text = as_text(bytes);
    ok_ = !bytes.empty() && msgpack::parse(text.data(), text.size(), parsed, visitor) && parsed == bytes.size() &&
          visitor.canonical_bytes == bytes.size();
  } catch (const std::exception&) {
    ok_ = false;  // the library's own limits, e.g. an ext of 2^32 - 1 bytes
  }
}

const PackReader::Value* PackReader::take(Type type, std::size_t size_max) {
  ok_ = ok_ && next_ < values_.size() && values_[next_].type == type && values_[next_].size <= size_max;
  return ok_ ? &values_[next_++] : nullptr;
}
std::size_t PackReader::array(std::size_t count_max) {
  const auto* value = take(Type::array, count_max);
  return value ? value->size : 0;
}
void PackReader::array_of(std::size_t count) {
  const auto* value = take(Type::array, count);
  ok_ = value && value->size == count;
}
std::size_t PackReader::map(std::size_t count_max) {
  const auto* value = take(Type::map, count_max);
  return value ? value->size : 0;
}
std::uint64_t PackReader::uint(std::uint64_t max) {
  const auto* value = take(Type::uint, 0);
  if (value && value->number > max) ok_ = false;
  return ok_ ? value->number : 0;
}
std::string_view PackReader::str(std::size_t size_max) {
  const auto* value = take(Type::str, size_max);
  return value ? as_text(bytes_.subspan(value->number, value->size)) : std::string_view{};
}
ByteView PackReader::bin(std::size_t size_max) {
  const auto* value = take(Type::bin, size_max);
  return value ? bytes_.subspan(value->number, value->size) : ByteView{};
}
bool PackReader::nil() {
  if (!ok_ || next_ == values_.size() || values_[next_].type != Type::nil) return false;
  ++next_;
  return true;
}
void PackReader::skip() {
  ok_ = ok_ && next_ < values_.size();
  for (std::uint64_t left = 1; ok_ && left > 0; --left) {
    const Value& value = values_[next_++];
    if (value.type == Type::array) left += value.size;
    if (value.type == Type::map) left += 2 * std::uint64_t{value.size};
  }
}

}  // namespace diot
