#pragma once
// The far end of an MQTT connection, as fuzz targets have it: keeps what comes, and requires that it is MQTT.

#include "bridge/packet.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

/// Takes every whole packet off the front and requires that it is well-formed in `protocol`.
inline void require_packets(Bytes& bytes, Protocol protocol, const std::function<void(const RawPacket&)>& each = {}) {
  std::size_t at = 0;
  for (;;) {
    const auto packet = next_packet(ByteView(bytes).subspan(at), varint_max, protocol);
    require(packet.has_value(), "what is sent is framed as MQTT");
    if (!*packet) break;
    at += (*packet)->bytes;
    const auto ok = [&] {
      switch ((*packet)->type) {
        case PacketType::connect: return decode_connect(**packet).has_value();
        case PacketType::connack: return decode_connack(**packet, protocol).has_value();
        case PacketType::publish: return decode_publish(**packet, protocol).has_value();
        case PacketType::puback:
        case PacketType::pubrec:
        case PacketType::pubrel:
        case PacketType::pubcomp: return decode_acknowledgement(**packet, protocol).has_value();
        case PacketType::subscribe: return decode_subscribe(**packet, protocol).has_value();
        case PacketType::unsubscribe: return decode_unsubscribe(**packet, protocol).has_value();
        case PacketType::suback:
        case PacketType::unsuback: return decode_subscribe_answer(**packet, protocol).has_value();
        case PacketType::disconnect: return decode_disconnect(**packet, protocol).has_value();
        case PacketType::auth: return protocol == Protocol::mqtt_5 && decode_auth(**packet).has_value();
        default: return true;
      }
    };
    require(ok(), "what is sent is a well-formed packet of the connection's version");
    if (each) each(**packet);
  }
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace diot::fuzz
