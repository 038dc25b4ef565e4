// RFC 6455 from the server's side. The first byte says whether the handshake is part of the input.

#include "bridge/websocket.hpp"
#include "tests/fuzz/layer_twin.hpp"

namespace diot::fuzz {
namespace {

const std::string good_request =
    "GET /mqtt HTTP/1.1\r\nHost: broker.example:8080\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
constexpr std::size_t answer_bytes_max = 1024;  ///< of a handshake, and of a close frame

Bytes frame(int first_byte, ByteView payload) {
  Bytes out;
  ByteWriter writer(out);
  writer.u8(static_cast<std::uint8_t>(first_byte));
  if (payload.size() < 126) {
    writer.u8(static_cast<std::uint8_t>(0x80 | payload.size()));
  } else {
    writer.u8(0xFE);
    writer.u16(static_cast<std::uint16_t>(payload.size()));
  }
  writer.u32(0);
  writer.raw(payload);
  return out;
}

}  // namespace

void websocket(ByteView input) {
  Input in(input);
  const bool greeted = in.u8() & 1;
  const WebSocketRules rules{{"https://panel.example"}};
  WebSocket whole(rules), pieces(rules);
  if (greeted)
    for (auto* layer : {&whole, &pieces}) {
      Bytes up, down;
      require(layer->receive(as_bytes(good_request), up, down).has_value() && layer->established(), "a good request");
    }
  feed_twins(whole, pieces, in.rest(), answer_bytes_max);
}

Seeds websocket_seeds() {
  Seeds out;
  Bytes frames;
  for (const auto& one :
       {frame(0x82, as_bytes("packet")), frame(0x02, as_bytes("pac")), frame(0x89, as_bytes("ping")),
        frame(0x80, as_bytes("ket")), frame(0x8A, {}), frame(0x82, Bytes(300, 'x')), frame(0x88, Bytes{3, 0xe8})})
    append(frames, one);
  for (std::uint8_t piece : {0, 3, 255}) {
    out.push_back(chosen(1, chosen(piece, frames)));
    Bytes all = to_bytes(good_request);
    append(all, frames);
    out.push_back(chosen(0, chosen(piece, all)));
  }
  auto with_origin = good_request;
  with_origin.insert(20, "Origin: https://panel.example\r\n");
  out.push_back(chosen(0, chosen(9, as_bytes(with_origin))));
  out.push_back(chosen(1, chosen(9, frame(0x81, as_bytes("text is not MQTT")))));
  return out;
}

}  // namespace diot::fuzz
