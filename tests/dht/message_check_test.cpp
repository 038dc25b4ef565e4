#include "dht/message_check.hpp"

#include <gtest/gtest.h>

#include "tests/core/keys.hpp"

namespace diot {
namespace {

// msgpack, spelled.
Bytes cat(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const auto& part : parts) append(out, part);
  return out;
}
Bytes str(std::string_view text) { return cat({{static_cast<std::uint8_t>(0xa0 + text.size())}, to_bytes(text)}); }
Bytes bin(std::size_t size, std::uint8_t fill = 7) {
  Bytes out{0xc5, static_cast<std::uint8_t>(size >> 8), static_cast<std::uint8_t>(size)};
  out.resize(3 + size, fill);
  return out;
}
Bytes num(std::uint8_t value) { return {value}; }
Bytes large(std::uint32_t value) {
  Bytes out{0xce};
  ByteWriter(out).u32(value);
  return out;
}
Bytes array(std::initializer_list<Bytes> items) {
  return cat({{static_cast<std::uint8_t>(0x90 + items.size())}, cat(items)});
}
using Pairs = std::initializer_list<std::pair<std::string_view, Bytes>>;
Bytes map(Pairs pairs) {
  Bytes out{static_cast<std::uint8_t>(0x80 + pairs.size())};
  for (const auto& [key, value] : pairs) append(out, cat({str(key), value}));
  return out;
}
Bytes question(std::string_view verb, const Bytes& arguments) {
  return map({{"a", arguments}, {"q", str(verb)}, {"t", num(1)}, {"y", str("q")}, {"v", str("RNG1")}});
}
Bytes reply(const Bytes& fields) { return map({{"r", fields}, {"t", num(1)}, {"y", str("r")}, {"v", str("RNG1")}}); }
Bytes part(const Bytes& index, const Bytes& offset, const Bytes& data) {
  const auto one = cat({{0x81}, index, map({{"o", offset}, {"d", data}})});
  return map({{"y", str("p")}, {"t", num(1)}, {"p", one}});
}
const Bytes id = bin(20);
const Bytes no_values = array({});
const Bytes value = map({{"id", num(1)}, {"dat", map({{"body", map({{"type", num(3)}, {"data", bin(9)}})}})}});

// As captured from the library, version 2.4.12.
std::vector<Bytes> good_messages() {
  const auto asked = map({{"s", array({num(1), num(4)})}, {"w", array({map({{"f", num(1)}, {"v", large(9)}})})}});
  const auto told = map({{"f", array({num(1), num(4)})}, {"v", array({num(5), num(0)})}});
  return {
      question("ping", map({{"id", id}})),
      question("find", map({{"id", id}, {"target", id}})),
      question("find", map({{"id", id}, {"target", id}, {"w", array({num(2), num(10)})}})),
      question("get", map({{"id", id}, {"h", id}, {"q", asked}})),
      question("put",
               map({{"id", id}, {"h", id}, {"values", array({value})}, {"c", large(1u << 31)}, {"token", bin(32)}})),
      question("put", map({{"id", id}, {"h", id}, {"values", array({large(5000)})}, {"token", bin(32)}})),
      reply(map({{"id", id}, {"sa", bin(4)}})),
      reply(map({{"id", id}, {"vid", large(9)}, {"sa", bin(16)}})),
      reply(map({{"id", id}, {"n4", bin(52)}, {"n6", bin(38)}, {"token", bin(32)}})),
      reply(map({{"id", id}, {"values", array({value, value})}})),
      reply(map({{"id", id}, {"fileds", told}})),
      map({{"e", array({large(401), str("no")})}, {"r", map({{"id", id}})}, {"t", num(1)}, {"y", str("e")}}),
      part(num(0), large(60'000), bin(1280)),
  };
}

TEST(MessageCheck, TakesWhatTheLibrarySays) {
  for (const auto& message : good_messages()) EXPECT_TRUE(is_dht_message(message)) << to_hex(message);
}

TEST(MessageCheck, TakesTheKeysInAnyOrder) {
  EXPECT_TRUE(is_dht_message(map({{"y", str("q")}, {"t", num(1)}, {"q", str("ping")}, {"a", map({{"id", id}})}})));
}

TEST(MessageCheck, RefusesWhatTheParserWouldTakeForSomethingElse) {
  for (const auto& bad :
       {Bytes(),
        Bytes{0xc0},
        str("a"),
        map({}),
        array({}),
        bin(40),
        question("ping", num(1)),     // a number for a map
        question("ping", str("id")),  // a string for a map
        question("ping", map({})),    // nobody
        question("ping", map({{"id", bin(19)}})),
        question("ping", map({{"id", id}, {"id", id}})),     // twice
        question("ping", map({{"id", id}, {"x", num(1)}})),  // unknown
        question("get", map({{"id", id}})),                  // what?
        question("get", map({{"id", id}, {"h", id}, {"q", num(1)}})),
        question("get", map({{"id", id}, {"h", id}, {"q", map({{"s", array({})}})}})),
        question("put", map({{"id", id}, {"h", id}, {"values", no_values}})),  // no token
        question("put", map({{"id", id}, {"h", id}, {"values", value}, {"token", bin(32)}})),
        question("put", map({{"id", id}, {"h", id}, {"values", array({num(0)})}, {"token", bin(1)}})),
        reply(map({{"id", id}, {"n4", bin(27)}})),
        reply(map({{"id", id}, {"n6", bin(39)}})),
        reply(map({{"id", id}, {"sa", bin(5)}})),
        reply(map({{"id", id}, {"fileds", map({{"f", array({})}, {"v", array({num(1)})}})}})),
        reply(map({{"id", id}, {"fileds", map({{"f", array({num(1), num(1)})}, {"v", array({})}})}})),
        reply(map({{"id", id}, {"fileds", map({{"f", array({num(1), num(4)})}, {"v", array({num(1)})}})}})),
        reply(map({{"id", id}, {"fileds", map({{"f", array({num(5)})}, {"v", array({num(1)})}})}})),
        map({{"r", map({{"id", id}})}, {"y", str("r")}}),  // answers nothing
        map({{"r", map({{"id", id}})}, {"t", bin(4)}, {"y", str("r")}}),
        map({{"e", array({})}, {"r", map({{"id", id}})}, {"t", num(1)}, {"y", str("e")}}),
        map({{"e", array({num(1), str("")})}, {"t", num(1)}, {"y", str("e")}}),
        map({{"y", str("p")}, {"t", num(1)}, {"p", Bytes{0x80}}}),
        part(num(200), num(0), bin(10)),
        part(num(0), num(0), bin(4000)),
        part(num(0), num(0), str("x"))})
    EXPECT_FALSE(is_dht_message(bad)) << to_hex(bad);
}

TEST(MessageCheck, RefusesWhatNothingHereUses) {
  EXPECT_FALSE(is_dht_message(question("listen", map({{"id", id}, {"h", id}, {"token", bin(32)}, {"sid", num(1)}}))));
  EXPECT_FALSE(is_dht_message(question("refresh", map({{"id", id}, {"h", id}, {"token", bin(32)}, {"vid", num(1)}}))));
  EXPECT_FALSE(is_dht_message(map({{"u", map({{"id", id}})}, {"t", num(1)}, {"y", str("q")}})));
  const auto owned =
      map({{"id", num(1)}, {"dat", map({{"body", map({{"owner", bin(99)}, {"type", num(3)}, {"data", bin(9)}})}})}});
  EXPECT_FALSE(is_dht_message(reply(map({{"id", id}, {"values", array({owned})}}))));
  const auto encrypted = map({{"id", num(1)}, {"dat", bin(9)}});
  EXPECT_FALSE(is_dht_message(reply(map({{"id", id}, {"values", array({encrypted})}}))));
}

TEST(MessageCheck, RefusesWhatIsCutOffOrHasMoreBehindIt) {
  for (auto message : good_messages()) {
    for (std::size_t size = 0; size < message.size(); ++size)
      EXPECT_FALSE(is_dht_message(ByteView(message).first(size))) << to_hex(message) << " at " << size;
    message.push_back(0xc0);
    EXPECT_FALSE(is_dht_message(message));
  }
}

TEST(MessageCheck, BoundsWhatIsSetAsideForValuesInParts) {
  Bytes many{0xdc, 0, 65};
  for (int i = 0; i < 65; ++i) append(many, large(700));
  EXPECT_FALSE(is_dht_message(reply(map({{"id", id}, {"values", many}}))));
  EXPECT_FALSE(is_dht_message(reply(map({{"id", id}, {"values", array({large(70'000)})}}))));
  EXPECT_FALSE(
      is_dht_message(reply(map({{"id", id}, {"values", array({large(60'000), large(60'000), large(60'000)})}}))));
  EXPECT_TRUE(is_dht_message(reply(map({{"id", id}, {"values", array({large(60'000), large(60'000)})}}))));
}

TEST(MessageCheck, SurvivesAnyBytes) {
  testing::SeededRandom random(11);
  const auto good = good_messages();
  for (int i = 0; i < 200'000; ++i) {
    auto bytes = good[random.u64() % good.size()];
    for (auto changes = random.u64() % 4 + 1; changes > 0; --changes)
      bytes[random.u64() % bytes.size()] = static_cast<std::uint8_t>(random.u64());
    bytes.resize(random.u64() % 3 == 0 ? random.u64() % bytes.size() : bytes.size());
    is_dht_message(bytes);
  }
}

}  // namespace
}  // namespace diot
