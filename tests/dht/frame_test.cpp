#include "dht/frame.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <random>

#include "core/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {
namespace {

using Parsed = std::vector<std::pair<FrameType, Bytes>>;

Bytes wire_of(const Parsed& frames) {
  Bytes out;
  for (const auto& [type, body] : frames) {
    ByteWriter wire(out);
    wire.u32(static_cast<std::uint32_t>(body.size() + 1));
    wire.u8(static_cast<std::uint8_t>(type));
    wire.raw(body);
  }
  return out;
}

/// Feeds `wire` in pieces, taking frames after each; stops at an error, which goes to `error`.
Parsed parse(FrameParser& parser, ByteView wire, const std::function<std::size_t()>& piece_size,
             bool* error = nullptr) {
  Parsed out;
  while (!wire.empty()) {
    const auto room = parser.room();
    const auto size = std::min({std::max<std::size_t>(piece_size(), 1), wire.size(), room.size()});
    std::copy_n(wire.begin(), size, room.begin());
    parser.filled(size);
    wire = wire.subspan(size);
    while (true) {
      const auto frame = parser.next();
      if (!frame) {
        if (error) *error = true;
        return out;
      }
      if (!*frame) break;
      out.emplace_back((*frame)->type, to_bytes((*frame)->body));
    }
  }
  return out;
}

Parsed arbitrary_frames() {
  return *rc::gen::container<Parsed>(rc::gen::pair(
      rc::gen::map(rc::gen::arbitrary<std::uint8_t>(), [](auto n) { return static_cast<FrameType>(n); }),
      rc::gen::mapcat(rc::gen::element<std::size_t>(0, 1, 50, 5000, 60'000), [](std::size_t size_max) {
        return rc::gen::map(rc::gen::inRange<std::size_t>(0, size_max + 1),
                            [](std::size_t size) { return Bytes(size, static_cast<std::uint8_t>(size)); });
      })));
}

TEST(FrameParser, AnySplitOfTheBytesGivesTheSameFrames) {
  EXPECT_TRUE(rc::check([] {
    const auto frames = arbitrary_frames();
    FrameParser parser(limits::frame_bytes_max);
    const auto size_max = *rc::gen::element<std::size_t>(2, 7, 1500, 20'000, 1'000'000);
    std::minstd_rand sizes(*rc::gen::arbitrary<std::uint32_t>());
    RC_ASSERT(parse(parser, wire_of(frames), [&] { return 1 + sizes() % size_max; }) == frames);
  }));
}

TEST(FrameParser, AFrameMayBeAsLargeAsTheBoundAndNoLarger) {
  for (const std::size_t bound : {std::size_t{100}, limits::frame_bytes_max}) {
    const auto wire = wire_of({{FrameType::batch, Bytes(bound - 1, 7)}});
    FrameParser parser(bound);
    EXPECT_EQ(parse(parser, wire, [] { return 16'000; }).size(), 1u);
    bool error = false;
    FrameParser smaller(bound - 1);
    EXPECT_TRUE(parse(
                    smaller, wire, [] { return 16'000; }, &error)
                    .empty());
    EXPECT_TRUE(error);
  }
}

TEST(FrameParser, HostileLengthsAreRefusedForGoodAndTakeNoMemory) {
  for (const Bytes& wire : {Bytes{0, 0, 0, 0}, Bytes{0xff, 0xff, 0xff, 0xff, 1}, Bytes{0, 0, 16, 1, 1}}) {
    FrameParser parser(4096);
    bool error = false;
    parse(
        parser, wire, [] { return 1; }, &error);
    EXPECT_TRUE(error);
    EXPECT_FALSE(parser.next());
    parser.room();
    EXPECT_FALSE(parser.next());
    EXPECT_LE(parser.capacity(), 4 * FrameParser::read_bytes);
  }
}

TEST(FrameParser, MemoryFollowsTheFramesUpAndDown) {
  FrameParser parser(limits::frame_bytes_max);
  parse(parser, wire_of({{FrameType::batch, Bytes(limits::frame_bytes_max - 1, 7)}}), [] { return 16'000; });
  EXPECT_LE(parser.capacity(), limits::frame_bytes_max + 2 * FrameParser::read_bytes);
  parse(parser, wire_of({{FrameType::ping, Bytes(8)}}), [] { return 13; });
  parser.room();
  EXPECT_LE(parser.capacity(), 4 * FrameParser::read_bytes);
}

TEST(FrameParser, TheBytesOfALargeFrameStayWhereTheyWereRead) {
  // However small the pieces: moving a large frame with each of them would cost a hostile peer nothing and us much.
  FrameParser parser(limits::frame_bytes_max);
  const auto wire = wire_of({{FrameType::batch, Bytes(300'000, 7)}});
  std::size_t moves = 0;
  const std::uint8_t* next = nullptr;
  for (std::size_t at = 0; at < wire.size(); ++at) {
    const auto room = parser.room();
    ASSERT_GE(room.size(), FrameParser::read_bytes);
    moves += room.data() != next;
    room[0] = wire[at];
    parser.filled(1);
    next = room.data() + 1;
    ASSERT_EQ(parser.next()->has_value(), at + 1 == wire.size());
  }
  EXPECT_LE(moves, 2u);
}

TEST(FrameParser, AnyBytesAreSurvived) {
  EXPECT_TRUE(rc::check([](const std::vector<std::uint8_t>& garbage) {
    FrameParser parser(4096);
    bool error = false;
    for (const auto& [type, body] : parse(
             parser, garbage, [] { return *rc::gen::inRange<std::size_t>(1, 50); }, &error))
      RC_ASSERT(body.size() < 4096u);
    RC_ASSERT(parser.capacity() <= 4 * FrameParser::read_bytes);
  }));
}

TEST(FrameQueue, WhatWasPushedComesOutInOrderInWritesOfAnySize) {
  EXPECT_TRUE(rc::check([] {
    const auto frames = arbitrary_frames();
    FrameQueue queue;
    Bytes out;
    const auto pop = [&](std::size_t size_max) {
      const auto front = queue.front();
      const auto size = std::min(front.size(), *rc::gen::inRange<std::size_t>(0, size_max));
      if (front.empty()) return;
      append(out, front.first(size));
      queue.pop(size);
    };
    for (const auto& [type, body] : frames) {
      const auto front = queue.front();
      queue.push(type, {ByteView(body).first(body.size() / 2), ByteView(body).subspan(body.size() / 2)});
      if (!front.empty()) RC_ASSERT(queue.front().data() == front.data());  // it may be in the middle of being written
      pop(20'000);
    }
    while (!queue.front().empty()) pop(100'000);
    RC_ASSERT(queue.bytes() == 0u);
    RC_ASSERT(out == wire_of(frames));
  }));
}

// Hello -----------------------------------------------------------------------------------------------------------

Hello full_hello() {
  Hello hello;
  hello.version_min = 1, hello.version_max = 3;
  hello.features = 1ull << 63;
  hello.network.bytes.fill(1);
  hello.instance.bytes.fill(2);
  hello.checkpoint.height = 300;
  hello.checkpoint.block.bytes.fill(3);
  hello.addresses = {"192.0.2.1:42220", "gateway.example.org:1"};
  hello.agent = "diot/0.1.0";
  return hello;
}

TEST(Hello, TheLargestOneFitsAndComesBack) {
  auto hello = full_hello();
  hello.addresses.assign(limits::addresses_per_node_max, std::string(262, 'a'));
  hello.agent.assign(limits::agent_bytes_max, 'b');
  hello.registration.assign(limits::hello_registration_bytes_max, 0xee);
  const auto wire = encode_hello(hello);
  EXPECT_LT(wire.size() + frame_head_bytes, limits::hello_bytes_max);
  const auto decoded = decode_hello(wire, full_hello());
  ASSERT_TRUE(decoded);
  EXPECT_EQ(encode_hello(*decoded), wire);
}

TEST(Hello, TooManyAddressesAreCutOffBeforeSending) {
  auto hello = full_hello();
  hello.addresses.assign(limits::addresses_per_node_max + 5, "a:1");
  const auto decoded = decode_hello(encode_hello(hello), full_hello());
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->addresses.size(), limits::addresses_per_node_max);
}

TEST(Hello, ANewerNodeMaySayMore) {
  auto wire = encode_hello(full_hello());
  ASSERT_EQ(wire[0], 0x99);
  wire[0] = 0x9c;
  PackWriter more(wire);
  more.bin(as_bytes("a register entry"));
  more.array(1);
  more.str("news");
  more.uint(5);
  const auto decoded = decode_hello(wire, full_hello());
  ASSERT_TRUE(decoded);
  EXPECT_EQ(as_text(decoded->registration), "a register entry");
}

TEST(Hello, ARegisterEntryIsBounded) {
  auto hello = full_hello();
  hello.registration.assign(limits::hello_registration_bytes_max + 1, 0xee);
  EXPECT_FALSE(decode_hello(encode_hello(hello), full_hello()));
}

TEST(Hello, OfAnUnknownVersionOnlyTheVersionsCount) {
  Bytes wire;
  PackWriter pack(wire);
  pack.array(9);
  pack.uint(4);
  pack.uint(5);
  for (int i = 0; i < 7; ++i) pack.str("who knows");
  const auto decoded = decode_hello(wire, full_hello());
  ASSERT_FALSE(decoded);
  EXPECT_EQ(decoded.error().code, Errc::not_available);
}

TEST(Hello, AnotherNetworkIsToldFromGarbage) {
  auto hello = full_hello();
  hello.network.bytes.fill(9);
  EXPECT_EQ(decode_hello(encode_hello(hello), full_hello()).error().code, Errc::not_permitted);
  EXPECT_EQ(decode_hello(as_bytes("GET / HTTP/1.1"), full_hello()).error().code, Errc::invalid);
}

TEST(Hello, WhatDoesNotBelongInALogIsRefused) {
  for (const auto& bad : {"a b:1", "a\n:1", "\x1b[31m:1", "\xff:1"}) {
    auto hello = full_hello();
    hello.addresses = {bad};
    EXPECT_FALSE(decode_hello(encode_hello(hello), full_hello())) << bad;
    hello = full_hello();
    hello.agent = bad;
    EXPECT_FALSE(decode_hello(encode_hello(hello), full_hello())) << bad;
  }
  auto hello = full_hello();
  hello.addresses = {std::string(263, 'a')};
  EXPECT_FALSE(decode_hello(encode_hello(hello), full_hello()));
  hello = full_hello();
  hello.version_min = 3, hello.version_max = 1;
  EXPECT_FALSE(decode_hello(encode_hello(hello), full_hello()));
  EXPECT_EQ(clean_reason("bell\a and \xff"), "bell? and ?");
  EXPECT_EQ(clean_reason(std::string(1000, 'x')).size(), limits::close_reason_bytes_max);
}

TEST(Hello, CutOrChangedOnesNeverDoHarm) {
  const auto wire = encode_hello(full_hello());
  for (std::size_t size = 0; size < wire.size(); ++size)
    EXPECT_FALSE(decode_hello(ByteView(wire).first(size), full_hello()));
  EXPECT_TRUE(rc::check([&] {
    auto changed = wire;
    for (int i = *rc::gen::inRange(1, 4); i > 0; --i)
      changed[*rc::gen::inRange<std::size_t>(0, changed.size())] = *rc::gen::arbitrary<std::uint8_t>();
    if (const auto decoded = decode_hello(changed, full_hello()))
      RC_ASSERT(decode_hello(encode_hello(*decoded), full_hello()).has_value());
  }));
}

}  // namespace
}  // namespace diot
