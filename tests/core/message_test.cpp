#include "core/message.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "core/msgpack.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;

const Monotonic then{1000s};
constexpr WallMs wall_then = 1'800'000'000'000;

Message full_message() {
  Message out;
  out.topic = "@bob/room/temp";
  out.payload = to_bytes(std::string_view("\0\xff payload", 10));
  out.qos = Qos::exactly_once;
  out.retain = true;
  out.properties.payload_format = 1;
  out.properties.expiry_seconds = 60;
  out.properties.content_type = "text/plain";
  out.properties.response_topic = "answers/here";
  out.properties.correlation_data = Bytes{0, 1, 2};
  out.properties.user = {{"b", "1"}, {"a", "2"}, {"b", "1"}};
  out.received = then;
  return out;
}

TEST(StoredMessage, comes_back_as_it_was) {
  for (const auto& message : {full_message(), Message{"t", {}, Qos::at_most_once, false, {}, then}}) {
    const auto back = decode_stored(encode_stored(message, then, wall_then), then, wall_then);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->topic, message.topic);
    EXPECT_EQ(back->payload, message.payload);
    EXPECT_EQ(back->qos, message.qos);
    EXPECT_EQ(back->retain, message.retain);
    EXPECT_EQ(back->properties, message.properties);
  }
}

TEST(StoredMessage, time_held_before_and_after_saving_counts_towards_expiry) {
  const auto bytes = encode_stored(full_message(), then + 10s, wall_then);  // 50 s left
  const Monotonic after_restart{5s};
  EXPECT_EQ(decode_stored(bytes, after_restart, wall_then + 20'000)->seconds_left(after_restart), 30u);
  EXPECT_EQ(decode_stored(bytes, after_restart, wall_then + 20'000)->seconds_left(after_restart + 10s), 20u);
  EXPECT_EQ(decode_stored(bytes, after_restart, wall_then + 50'000)->seconds_left(after_restart), 0u);
  EXPECT_EQ(decode_stored(bytes, after_restart, wall_then + 1'000'000'000)->seconds_left(after_restart), 0u);
}

TEST(StoredMessage, a_wall_clock_that_was_set_back_takes_nothing_off) {
  const auto bytes = encode_stored(full_message(), then, wall_then);
  EXPECT_EQ(decode_stored(bytes, then, 0)->seconds_left(then), 60u);
}

TEST(StoredMessage, refuses_what_is_damaged) {
  const auto bytes = encode_stored(full_message(), then, wall_then);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_stored(ByteView(bytes).first(size), then, wall_then)) << size;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    auto damaged = bytes;
    damaged[at] ^= 0x80;
    static_cast<void>(decode_stored(damaged, then, wall_then));  // no crash
  }
}

bool reads(const std::function<void(PackWriter&)>& write) {
  Bytes bytes;
  PackWriter to(bytes);
  write(to);
  PackReader in(bytes);
  Properties properties;
  return read_properties(in, properties) && in.done();
}

TEST(Properties, skip_unknown_keys) {
  EXPECT_TRUE(reads([](PackWriter& to) {
    to.map(3);
    to.uint(1), to.uint(1);
    to.uint(77), to.array(2), to.nil(), to.str("what comes later");
    to.uint(1000), to.bin({});
  }));
}

TEST(Properties, obey_mqtt) {
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(1), to.uint(2); }));              // payload format
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(2), to.uint(0x1'0000'0000); }));  // expiry
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(3), to.bin(as_bytes("a")); }));   // content type
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(3), to.str("\xff"); }));          // … in UTF-8
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(3), to.str(std::string(65'536, 'a')); }));
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(8), to.str("a/#"); }));  // response topic
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(8), to.str(""); }));
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(38), to.array(0); }));  // user properties
  EXPECT_FALSE(reads([](PackWriter& to) { to.map(1), to.uint(38), to.array(1), to.array(1), to.str("a"); }));
  EXPECT_FALSE(reads([](PackWriter& to) { to.array(0); }));
}

}  // namespace
}  // namespace diot
