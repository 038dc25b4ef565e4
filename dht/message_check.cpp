#include "dht/message_check.hpp"

#include <array>
#include <limits>
#include <optional>
#include <string_view>

namespace diot {
namespace {

// Generous against what the library sends: fewer than 50 values and at most 56 KiB of them a message, 1280 bytes a
// part.
constexpr std::size_t values_max = 64;
constexpr std::size_t value_bytes_max = 65'536 + 32;
constexpr std::size_t values_bytes_max = 2 * value_bytes_max;
constexpr std::size_t parts_max = 4;
constexpr std::size_t part_bytes_max = 2048;
constexpr std::size_t token_bytes_max = 64;
constexpr std::size_t nodes_max = 64;
constexpr std::size_t index_entries_max = 4096;
constexpr std::size_t id_bytes = 20;
constexpr std::uint64_t seconds_max = std::uint64_t{1} << 33;  // the library counts them in nanoseconds, signed

/// Reads msgpack. As with ByteReader a failure sticks.
class Scanner {
 public:
  explicit Scanner(ByteView bytes) : in_(bytes) {}

  std::uint64_t uint(std::uint64_t max) {
    const auto first = in_.u8();
    std::uint64_t out = first;
    if (first == 0xcc)
      out = in_.u8();
    else if (first == 0xcd)
      out = in_.u16();
    else if (first == 0xce)
      out = in_.u32();
    else if (first == 0xcf)
      out = in_.u64();
    else
      need(first < 0x80);
    need(out <= max);
    return out;
  }
  std::string_view str() {
    const auto first = in_.u8();
    std::size_t size = first & 0x1f;
    if (first == 0xd9)
      size = in_.u8();
    else
      need((first & 0xe0) == 0xa0);
    return as_text(in_.raw(ok() ? size : 0));
  }
  std::size_t bin(std::size_t max) {
    const auto first = in_.u8();
    std::size_t size = 0;
    if (first == 0xc4)
      size = in_.u8();
    else if (first == 0xc5)
      size = in_.u16();
    else if (first == 0xc6)
      size = in_.u32();
    else
      need(false);
    need(size <= max);
    in_.raw(ok() ? size : 0);
    return size;
  }
  void bin_of(std::size_t size) { need(bin(size) == size); }
  std::size_t array(std::size_t max) { return container(max, 0x90, 0xdc); }
  std::size_t map(std::size_t max) { return container(max, 0x80, 0xde); }

  /// A map whose keys are all in `names`, none twice, and calls `field(index)` to read each value.
  /// Returns the set of the keys seen, one bit each.
  template <std::size_t N, class Field>
  unsigned object(const std::array<std::string_view, N>& names, Field field) {
    unsigned seen = 0;
    for (auto left = map(N); left > 0 && ok(); --left) {
      const auto key = str();
      std::size_t index = 0;
      while (index < N && names[index] != key) ++index;
      need(index < N && (seen & 1u << index) == 0);
      if (!ok()) break;
      seen |= 1u << index;
      field(index);
    }
    return seen;
  }

  std::optional<std::uint8_t> peek() const {
    return in_.rest().empty() ? std::nullopt : std::optional(in_.rest().front());
  }
  void need(bool condition) { failed_ |= !condition; }
  bool ok() const { return in_.ok() && !failed_; }
  bool done() const { return in_.done() && !failed_; }

 private:
  std::size_t container(std::size_t max, std::uint8_t fix, std::uint8_t wide) {
    const auto first = in_.u8();
    std::size_t count = first & 0x0f;
    if (first == wide)
      count = in_.u16();
    else
      need((first & 0xf0) == fix);
    need(count <= max);
    return ok() ? count : 0;
  }
  ByteReader in_;
  bool failed_ = false;
};

template <class... Bits>
constexpr unsigned bits(Bits... index) {
  return ((1u << index) | ... | 0u);
}

// The fields of a value that may be asked for or told: id, type, sequence number.
bool is_field(std::uint64_t field) { return field == 1 || field == 2 || field == 4; }

void query(Scanner& in) {
  const auto seen = in.object(std::array<std::string_view, 2>{"s", "w"}, [&](std::size_t key) {
    for (auto left = in.array(4); left > 0 && in.ok(); --left) {
      if (key == 0) {
        in.need(is_field(in.uint(4)));
      } else {
        const auto both = in.object(std::array<std::string_view, 2>{"f", "v"}, [&](std::size_t part) {
          part == 0 ? in.uint(2) : in.uint(std::numeric_limits<std::uint64_t>::max());
        });
        in.need(both == bits(0, 1));
      }
    }
  });
  in.need(seen == bits(0, 1));
}

// {id, dat: {body: {type, data}}}: a plain value, with no owner, signature or encryption of the library's.
void value(Scanner& in) {
  const auto seen = in.object(std::array<std::string_view, 2>{"id", "dat"}, [&](std::size_t key) {
    if (key == 0) {
      in.uint(std::numeric_limits<std::uint64_t>::max());
      return;
    }
    const auto dat = in.object(std::array<std::string_view, 1>{"body"}, [&](std::size_t) {
      const auto body = in.object(std::array<std::string_view, 2>{"type", "data"}, [&](std::size_t part) {
        if (part == 0)
          in.uint(0xffff);
        else
          in.bin(value_bytes_max);
      });
      in.need(body == bits(0, 1));
    });
    in.need(dat == bits(0));
  });
  in.need(seen == bits(0, 1));
}

// Small values, or the sizes of large ones that follow in parts.
void values(Scanner& in) {
  std::size_t bytes = 0;
  for (auto left = in.array(values_max); left > 0 && in.ok(); --left) {
    if (const auto first = in.peek(); first && ((*first & 0xf0) == 0x80 || *first == 0xde)) {
      value(in);
    } else {
      const auto size = in.uint(value_bytes_max);
      in.need(size > 0);
      bytes += size;
      in.need(bytes <= values_bytes_max);
    }
  }
}

// {f: [field, …], v: [number, …]}: the fields, value after value. The library divides by the number of fields.
void index(Scanner& in) {
  std::size_t fields = 0, numbers = 0;
  const auto seen = in.object(std::array<std::string_view, 2>{"f", "v"}, [&](std::size_t key) {
    if (key == 0) {
      fields = in.array(3);
      std::uint64_t before = 0;
      for (auto left = fields; left > 0 && in.ok(); --left) {
        const auto field = in.uint(4);
        in.need(is_field(field) && field > before);
        before = field;
      }
    } else {
      numbers = in.array(index_entries_max);
      for (auto left = numbers; left > 0 && in.ok(); --left) in.uint(std::numeric_limits<std::uint64_t>::max());
    }
  });
  in.need(seen == bits(0, 1) && fields > 0);
  in.need(in.ok() && numbers % fields == 0);
}

enum Field : std::size_t { id, h, target, q, token, vid, n4, n6, sa, c, values_, index_, w, field_count };
constexpr std::array<std::string_view, field_count> field_names{"id", "h",  "target", "q",      "token",  "vid", "n4",
                                                                "n6", "sa", "c",      "values", "fileds", "w"};

// What stands under "a" or "r".
unsigned fields(Scanner& in) {
  return in.object(field_names, [&](std::size_t key) {
    switch (key) {
      case id:
      case h:
      case target: return in.bin_of(id_bytes);
      case q: return query(in);
      case token: return void(in.bin(token_bytes_max));
      case vid: return void(in.uint(std::numeric_limits<std::uint64_t>::max()));
      case n4: return in.need(in.bin(nodes_max * 26) % 26 == 0);
      case n6: return in.need(in.bin(nodes_max * 38) % 38 == 0);
      case sa: {
        const auto size = in.bin(16);
        return in.need(size == 4 || size == 16);
      }
      case c: return void(in.uint(seconds_max));
      case values_: return values(in);
      case index_: return index(in);
      case w:
        for (auto left = in.array(2); left > 0 && in.ok(); --left) in.uint(0xff);
        return;
      default: return in.need(false);
    }
  });
}

void part(Scanner& in) {
  const auto count = in.map(parts_max);
  in.need(count > 0);
  for (auto left = count; left > 0 && in.ok(); --left) {
    in.uint(values_max - 1);
    const auto seen = in.object(std::array<std::string_view, 2>{"o", "d"}, [&](std::size_t key) {
      if (key == 0)
        in.uint(value_bytes_max);
      else
        in.bin(part_bytes_max);
    });
    in.need(seen == bits(0, 1));
  }
}

}  // namespace

bool is_dht_message(ByteView bytes) {
  enum Top : std::size_t { a, r, e, p, question, t, y, v, top_count };
  constexpr std::array<std::string_view, top_count> names{"a", "r", "e", "p", "q", "t", "y", "v"};
  Scanner in(bytes);
  unsigned asked = 0, replied = 0;
  std::string_view verb, kind;
  const auto seen = in.object(names, [&](std::size_t key) {
    switch (key) {
      case a: asked = fields(in); break;
      case r: replied = fields(in); break;
      case e:
        in.need(in.array(2) == 2);
        in.uint(0xffff);
        in.str();
        break;
      case p: part(in); break;
      case question: verb = in.str(); break;
      case t: in.uint(0xffff'ffff); break;
      case y: kind = in.str(); break;
      case v: in.str(); break;
      default: in.need(false);
    }
  });
  if (!in.done()) return false;

  const auto is = [](unsigned given, unsigned needed, unsigned optional = 0) {
    return (given & needed) == needed && (given & ~(needed | optional)) == 0;
  };
  if (kind == "q") {
    if (!is(seen, bits(a, question, t, y), bits(v))) return false;
    if (verb == "ping") return is(asked, bits(id));
    if (verb == "find") return is(asked, bits(id, target), bits(w));
    if (verb == "get") return is(asked, bits(id, h), bits(q, w));
    if (verb == "put") return is(asked, bits(id, h, values_, token), bits(c));
    return false;
  }
  if (kind == "r")
    return is(seen, bits(r, t, y), bits(v)) && is(replied, bits(id), bits(vid, sa, n4, n6, token, values_, index_));
  if (kind == "e") return is(seen, bits(e, r, t, y), bits(v)) && is(replied, bits(id));
  if (kind == "p") return is(seen, bits(p, t, y), bits(v));
  return false;
}

}  // namespace diot
