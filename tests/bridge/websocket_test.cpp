// RFC 6455 from the server's side, as far as MQTT uses it.

#include "bridge/websocket.hpp"

#include <gmock/gmock.h>
#include <rapidcheck.h>

#include "core/limits.hpp"

namespace diot {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string request_line = "GET /mqtt HTTP/1.1\r\n";
/// The request of RFC 6455 section 1.3, for MQTT.
const std::string headers =
    "Host: broker.example:8080\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
const std::string protocol = "Sec-WebSocket-Protocol: mqtt\r\n";
const std::string good_request = request_line + headers + protocol + "\r\n";

/// One server's side, fed by a test.
struct Server {
  explicit Server(std::vector<std::string> origins = {}) : socket(WebSocketRules{std::move(origins)}) {}
  static Server open() {
    Server server;
    server.give(as_bytes(good_request));
    server.down.clear();
    return server;
  }
  /// Returns whether the connection goes on.
  bool give(ByteView bytes) {
    const auto taken = socket.receive(bytes, up, down);
    error = taken ? "" : taken.error().message;
    return taken.has_value();
  }
  bool give(const char* hex) { return give(*from_hex(hex)); }
  std::string answer() const { return std::string(as_text(down)); }
  /// The close code that was sent; 0: none.
  int close_code() const { return down.size() >= 4 && down[0] == 0x88 && down[1] == 2 ? down[2] << 8 | down[3] : 0; }

  WebSocket socket;
  Bytes up, down;
  std::string error;
};

Bytes frame(int first_byte, ByteView payload, std::uint32_t mask = 0x12345678) {
  Bytes out;
  ByteWriter writer(out);
  writer.u8(static_cast<std::uint8_t>(first_byte));
  if (payload.size() < 126) {
    writer.u8(static_cast<std::uint8_t>(0x80 | payload.size()));
  } else if (payload.size() <= 0xFFFF) {
    writer.u8(0xFE);
    writer.u16(static_cast<std::uint16_t>(payload.size()));
  } else {
    writer.u8(0xFF);
    writer.u64(payload.size());
  }
  writer.u32(mask);
  for (std::size_t at = 0; at < payload.size(); ++at)
    out.push_back(static_cast<std::uint8_t>(payload[at] ^ (mask >> (8 * (3 - at % 4)))));
  return out;
}
Bytes text_frame(int first_byte, std::string_view payload) { return frame(first_byte, as_bytes(payload)); }

// Handshake --------------------------------------------------------------------------------------------------

TEST(WebSocketHandshake, IsAnsweredAsTheRfcSays) {
  Server server;
  EXPECT_FALSE(server.socket.established());
  EXPECT_TRUE(server.give(as_bytes(good_request)));
  EXPECT_TRUE(server.socket.established());
  EXPECT_EQ(server.answer(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n");
}

TEST(WebSocketHandshake, MayComeByteByByteAndTheFirstFrameWithIt) {
  Server server;
  Bytes all = to_bytes(good_request);
  append(all, text_frame(0x82, "abc"));
  for (const auto byte : all) ASSERT_TRUE(server.give(ByteView(&byte, 1)));
  EXPECT_EQ(as_text(server.up), "abc");
  Server at_once;
  ASSERT_TRUE(at_once.give(all));
  EXPECT_EQ(as_text(at_once.up), "abc");
}

TEST(WebSocketHandshake, TheSubprotocolIsChosen) {
  Server server;
  server.give(as_bytes(request_line + headers + "Sec-WebSocket-Protocol: other, mqttv3.1\r\n" + protocol + "\r\n"));
  EXPECT_THAT(server.answer(), HasSubstr("Sec-WebSocket-Protocol: mqtt\r\n"));
  Server old;
  old.give(as_bytes(request_line + headers + "sec-websocket-protocol: mqttv3.1\r\n\r\n"));
  EXPECT_THAT(old.answer(), HasSubstr("Sec-WebSocket-Protocol: mqttv3.1\r\n"));
}

TEST(WebSocketHandshake, WhatIsWrongIsSaidInHttp) {
  const auto answer_to = [](const std::string& request) {
    Server server;
    EXPECT_FALSE(server.give(as_bytes(request))) << request;
    EXPECT_FALSE(server.socket.established());
    return server.answer();
  };
  EXPECT_THAT(answer_to("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), StartsWith("HTTP/1.1 426 "));
  EXPECT_THAT(answer_to("POST / HTTP/1.1\r\n" + headers + protocol + "\r\n"), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(answer_to("GET / HTTP/1.0\r\n" + headers + protocol + "\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(answer_to(request_line + headers + "\r\n"), HasSubstr("subprotocol"));
  EXPECT_THAT(answer_to(request_line + headers + "Host: twice\r\n" + protocol + "\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(answer_to(request_line + headers + " folded: x\r\n" + protocol + "\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(answer_to(std::string("\x10\x16\x00\x04MQTT\r\n\r\n", 12)), StartsWith("HTTP/1.1 400 "));
  const auto replaced = [&](std::string_view from, std::string_view to) {
    std::string request = good_request;
    return request.replace(request.find(from), from.size(), to);
  };
  EXPECT_THAT(answer_to(replaced("Version: 13", "Version: 8")), HasSubstr("Sec-WebSocket-Version: 13\r\n"));
  EXPECT_THAT(answer_to(replaced("dGhlIHNhbXBsZSBub25jZQ==", "short")), StartsWith("HTTP/1.1 400 "));
}

TEST(WebSocketHandshake, IsBounded) {
  Server server;
  const std::string long_header = request_line + "X: " + std::string(limits::http_head_bytes_max, 'x');
  EXPECT_FALSE(server.give(as_bytes(long_header)));
  EXPECT_THAT(server.answer(), StartsWith("HTTP/1.1 431 "));
  Server just_fits;
  std::string request = good_request;
  request.insert(request.size() - 2,
                 "X: " + std::string(limits::http_head_bytes_max - request.size() - 5, 'x') + "\r\n");
  ASSERT_EQ(request.size(), limits::http_head_bytes_max);
  EXPECT_TRUE(just_fits.give(as_bytes(request)));
}

TEST(WebSocketHandshake, PagesOfOtherHostsMayNotConnect) {
  const auto accepted = [](const std::string& origin, std::vector<std::string> origins = {}) {
    Server server(std::move(origins));
    return server.give(as_bytes(request_line + headers + protocol + "Origin: " + origin + "\r\n\r\n"));
  };
  EXPECT_TRUE(accepted("http://broker.example"));
  EXPECT_TRUE(accepted("https://broker.example:8480"));
  EXPECT_FALSE(accepted("https://evil.example"));
  EXPECT_FALSE(accepted("https://broker.example.evil.example"));
  EXPECT_FALSE(accepted("null"));
  EXPECT_TRUE(accepted("https://panel.example", {"https://panel.example"}));
  EXPECT_FALSE(accepted("https://other.example", {"https://panel.example"}));
  EXPECT_TRUE(accepted("https://anything.example", {"*"}));
}

// Frames -----------------------------------------------------------------------------------------------------

TEST(WebSocketFrames, CarryBytesInBothDirections) {
  Server server = Server::open();
  EXPECT_TRUE(server.give(text_frame(0x82, "hello")));
  EXPECT_EQ(as_text(server.up), "hello");
  ASSERT_TRUE(server.socket.send(as_bytes("world"), server.down));
  EXPECT_EQ(to_hex(server.down), "8205" + to_hex(as_bytes("world")));
  server.down.clear();
  ASSERT_TRUE(server.socket.send(Bytes(126), server.down));
  EXPECT_EQ(to_hex(ByteView(server.down).first(4)), "827e007e");
  server.down.clear();
  ASSERT_TRUE(server.socket.send(Bytes(65'536), server.down));
  EXPECT_EQ(to_hex(ByteView(server.down).first(10)), "827f0000000000010000");
}

TEST(WebSocketFrames, FragmentsAreOneStreamAndControlFramesMayStandBetween) {
  Server server = Server::open();
  EXPECT_TRUE(server.give(text_frame(0x02, "a")));
  EXPECT_TRUE(server.give(text_frame(0x89, "ping")));
  EXPECT_TRUE(server.give(text_frame(0x00, "b")));
  EXPECT_TRUE(server.give(text_frame(0x8A, "a pong that nobody asked for")));
  EXPECT_TRUE(server.give(text_frame(0x80, "c")));
  EXPECT_TRUE(server.give(text_frame(0x82, "d")));
  EXPECT_EQ(as_text(server.up), "abcd");
  EXPECT_EQ(to_hex(server.down), "8a04" + to_hex(as_bytes("ping")));
}

TEST(WebSocketFrames, AGoodbyeIsAnswered) {
  Server with_code = Server::open();
  EXPECT_FALSE(with_code.give(frame(0x88, *from_hex("03e9"))));
  EXPECT_EQ(with_code.close_code(), 1001);
  Server without = Server::open();
  EXPECT_FALSE(without.give(frame(0x88, {})));
  EXPECT_EQ(to_hex(without.down), "8800");
  // What follows it means nothing, and nothing is sent any more.
  without.down.clear();
  EXPECT_TRUE(without.give(text_frame(0x82, "late")));
  ASSERT_TRUE(without.socket.send(as_bytes("late"), without.down));
  without.socket.close(without.down);
  EXPECT_TRUE(without.up.empty());
  EXPECT_TRUE(without.down.empty());
}

TEST(WebSocketFrames, OurGoodbyeIsNormal) {
  Server server = Server::open();
  server.socket.close(server.down);
  EXPECT_EQ(server.close_code(), 1000);
}

struct Wrong {
  const char* what;
  std::vector<Bytes> frames;
  int code;
};
struct WebSocketViolation : testing::TestWithParam<Wrong> {};
TEST_P(WebSocketViolation, EndsWithItsCloseCode) {
  Server server = Server::open();
  bool goes_on = true;
  for (const auto& bytes : GetParam().frames) {
    ASSERT_TRUE(goes_on);
    goes_on = server.give(bytes);
  }
  EXPECT_FALSE(goes_on);
  EXPECT_EQ(server.close_code(), GetParam().code) << server.error;
}
INSTANTIATE_TEST_SUITE_P(
    All, WebSocketViolation,
    testing::Values(Wrong{"not masked", {*from_hex("820161")}, 1002}, Wrong{"RSV1", {text_frame(0xC2, "x")}, 1002},
                    Wrong{"RSV2", {text_frame(0xA2, "x")}, 1002}, Wrong{"RSV3", {text_frame(0x92, "x")}, 1002},
                    Wrong{"opcode 3", {text_frame(0x83, "x")}, 1002}, Wrong{"opcode 11", {text_frame(0x8B, "x")}, 1002},
                    Wrong{"text", {text_frame(0x81, "x")}, 1003},
                    Wrong{"continuation of nothing", {text_frame(0x80, "x")}, 1002},
                    Wrong{"continuation after the last", {text_frame(0x82, "x"), text_frame(0x80, "x")}, 1002},
                    Wrong{"two messages at once", {text_frame(0x02, "x"), text_frame(0x82, "x")}, 1002},
                    Wrong{"fragmented ping", {text_frame(0x09, "x")}, 1002},
                    Wrong{"long ping", {frame(0x89, Bytes(126))}, 1002},
                    Wrong{"close of one byte", {frame(0x88, Bytes{3})}, 1002},
                    Wrong{"close code 1005", {frame(0x88, *from_hex("03ed"))}, 1002},
                    Wrong{"close code 999", {frame(0x88, *from_hex("03e7"))}, 1002},
                    Wrong{"close code 2999", {frame(0x88, *from_hex("0bb7"))}, 1002},
                    Wrong{"reason not UTF-8", {frame(0x88, *from_hex("03e8ff"))}, 1007},
                    Wrong{"length of two bytes that fits one", {*from_hex("82fe007d00000000")}, 1002},
                    Wrong{"length of eight bytes that fits two", {*from_hex("82ff000000000000ffff00000000")}, 1002},
                    Wrong{"length with its highest bit", {*from_hex("82ff800000000000000000000000")}, 1002}),
    [](const auto& wrong) {
      std::string name = wrong.param.what;
      std::ranges::replace_if(
          name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
      return name;
    });

TEST(WebSocketFrames, AnyStreamArrivesHoweverItIsCut) {
  EXPECT_TRUE(rc::check([] {
    Server server = Server::open();
    Bytes wire, sent;
    bool open_message = false;
    for (int count = *rc::gen::inRange(1, 8); count > 0; --count) {
      const auto size = *rc::gen::element<std::size_t>(0, 1, 7, 125, 126, 1000, 65'535, 65'536, 70'001);
      Bytes payload(size);
      for (std::size_t at = 0; at < size; ++at) payload[at] = static_cast<std::uint8_t>(at * 31 + sent.size());
      const bool last = *rc::gen::arbitrary<bool>();
      append(wire, frame((last ? 0x80 : 0) | (open_message ? 0 : 2), payload, *rc::gen::arbitrary<std::uint32_t>()));
      open_message = !last;
      append(sent, payload);
      if (*rc::gen::arbitrary<bool>()) append(wire, text_frame(0x89, "p"));
    }
    for (ByteView rest = wire; !rest.empty();) {
      const auto size = *rc::gen::inRange<std::size_t>(1, std::min<std::size_t>(rest.size(), 20'000) + 1);
      RC_ASSERT(server.give(rest.first(size)));
      rest = rest.subspan(size);
    }
    RC_ASSERT(server.up == sent);
  }));
}

TEST(WebSocketFrames, NoMutationGetsPastIt) {
  EXPECT_TRUE(rc::check([] {
    Bytes wire = to_bytes(good_request);
    for (const auto& each : {text_frame(0x02, "abc"), text_frame(0x89, "ping"), frame(0x80, Bytes(300, 7)),
                             frame(0x88, *from_hex("03e8"))})
      append(wire, each);
    for (int change = *rc::gen::inRange(1, 4); change > 0; --change)
      wire[*rc::gen::inRange<std::size_t>(0, wire.size())] = *rc::gen::arbitrary<std::uint8_t>();
    Server server;
    const bool goes_on = server.give(wire);
    // No more comes out than went in, and an end is always explained to the client.
    RC_ASSERT(server.up.size() <= wire.size());
    RC_ASSERT(goes_on || !server.down.empty());
  }));
}

}  // namespace
}  // namespace diot
