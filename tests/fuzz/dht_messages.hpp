#pragma once
// The DHT's messages, as OpenDHT 2.4.12 writes them (docs/protocol.md, "DHT datagrams").

#include <functional>

#include "core/msgpack.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

using Field = std::pair<std::string_view, std::function<void(PackWriter&)>>;

inline auto map_of(std::vector<Field> fields) {
  return [fields = std::move(fields)](PackWriter& out) {
    out.map(fields.size());
    for (const auto& [key, value] : fields) {
      out.str(key);
      value(out);
    }
  };
}
inline auto number(std::uint64_t value) {
  return [=](PackWriter& out) { out.uint(value); };
}
inline auto text(std::string_view value) {
  return [=](PackWriter& out) { out.str(value); };
}
inline auto blob(std::size_t size, std::uint8_t fill = 7) {
  return [=](PackWriter& out) { out.bin(Bytes(size, fill)); };
}
inline auto numbers(std::vector<std::uint64_t> values) {
  return [=](PackWriter& out) {
    out.array(values.size());
    for (auto value : values) out.uint(value);
  };
}
inline auto array_of(std::vector<std::function<void(PackWriter&)>> items) {
  return [=](PackWriter& out) {
    out.array(items.size());
    for (const auto& item : items) item(out);
  };
}

inline Bytes packed(const std::function<void(PackWriter&)>& write) {
  Bytes out;
  PackWriter to(out);
  write(to);
  return out;
}
/// `request`: what `t` says. Of 0x10000 and more, so that it takes four bytes.
inline Bytes question(std::string_view verb, std::vector<Field> arguments, std::uint64_t request = 0x10000) {
  return packed(map_of({{"a", map_of(std::move(arguments))},
                        {"q", text(verb)},
                        {"t", number(request)},
                        {"y", text("q")},
                        {"v", text("RNG1")}}));
}
inline Bytes reply(std::vector<Field> fields, std::uint64_t request) {
  return packed(map_of({{"r", map_of(std::move(fields))}, {"t", number(request)}, {"y", text("r")}}));
}

/// One of each kind and more.
inline Seeds dht_messages() {
  const Field id{"id", blob(20, 1)}, h{"h", blob(20, 2)}, token{"token", blob(32)};
  const auto value =
      map_of({{"id", number(1)}, {"dat", map_of({{"body", map_of({{"type", number(0x1001)}, {"data", blob(40)}})}})}});
  const auto query = map_of({{"s", numbers({1, 4})}, {"w", array_of({map_of({{"f", number(1)}, {"v", number(9)}})})}});
  const auto part = [](std::uint64_t offset, std::size_t size) {
    return packed([=](PackWriter& out) {
      out.map(3);
      out.str("y");
      out.str("p");
      out.str("t");
      out.uint(0x10000);
      out.str("p");
      out.map(1);
      out.uint(0);
      map_of({{"o", number(offset)}, {"d", blob(size)}})(out);
    });
  };
  Seeds out{
      question("ping", {id}),
      question("find", {id, {"target", blob(20, 3)}}),
      question("find", {id, {"target", blob(20, 3)}, {"w", numbers({2, 10})}}),
      question("get", {id, h, {"q", query}}),
      question("put", {id, h, {"values", array_of({value})}, {"c", number(1u << 31)}, token}),
      question("put", {id, h, {"values", array_of({number(3000)})}, token}),
      part(0, 1280),
      part(1280, 1720),
      packed(map_of(
          {{"e", array_of({number(401), text("no")})}, {"r", map_of({id})}, {"t", number(0x10000)}, {"y", text("e")}})),
  };
  for (std::uint64_t request = 0x10000; request < 0x10004; ++request) {
    out.push_back(reply({id, {"sa", blob(4)}}, request));
    out.push_back(reply({id, {"vid", number(9)}, {"sa", blob(16)}}, request));
    out.push_back(reply({id, {"n4", blob(52)}, {"n6", blob(38)}, token}, request));
    out.push_back(reply({id, {"values", array_of({value, value})}, token}, request));
    out.push_back(reply({id, {"values", array_of({number(3000)})}, token}, request));
    out.push_back(reply({id, {"fileds", map_of({{"f", numbers({1, 4})}, {"v", numbers({5, 0})}})}, token}, request));
  }
  return out;
}

}  // namespace diot::fuzz
