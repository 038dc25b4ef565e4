// Decodes packets and encodes them again, for packets.js: lines "LEVEL HEX" in, "HEX" or "error CODE TEXT" out.

#include <fmt/format.h>

#include <iostream>

#include "bridge/packet.hpp"

using namespace diot;

namespace {

template <class T, class Encode>
std::string echo_of(const Parsed<T>& parsed, Encode encode) {
  if (!parsed) return fmt::format("error {:02x} {}", static_cast<int>(parsed.error().reason), parsed.error().what);
  Bytes out;
  encode(out, *parsed);
  return to_hex(out);
}

std::string echo(Protocol protocol, const Bytes& bytes) {
  const auto packet = next_packet(bytes, varint_max, protocol);
  if (!packet) return fmt::format("error {:02x} {}", static_cast<int>(packet.error().reason), packet.error().what);
  if (!*packet || (*packet)->bytes != bytes.size()) return "error 00 not one packet";
  const RawPacket& raw = **packet;
  const auto encoded_for = [&](auto encode) {
    return [=](Bytes& out, const auto& value) { encode(out, protocol, value); };
  };
  switch (raw.type) {
    case PacketType::connect: return echo_of(decode_connect(raw), encode_connect);
    case PacketType::connack: return echo_of(decode_connack(raw, protocol), encoded_for(encode_connack));
    case PacketType::publish:
      return echo_of(decode_publish(raw, protocol), [&](Bytes& out, const Publish& in) {
        PublishOut again{in.dup, in.qos, in.retain, in.packet_id, in.topic, in.payload, &in.properties, {}, {}, 0};
        again.seconds_left = in.properties.expiry_seconds;
        again.subscription_ids = in.subscription_ids;
        again.topic_alias = in.topic_alias.value_or(0);
        encode_publish(out, protocol, again);
      });
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp:
      return echo_of(decode_acknowledgement(raw, protocol), [&](Bytes& out, const Acknowledgement& in) {
        encode_acknowledgement(out, protocol, raw.type, in.packet_id, in.reason, in.reason_string);
      });
    case PacketType::subscribe: return echo_of(decode_subscribe(raw, protocol), encoded_for(encode_subscribe));
    case PacketType::unsubscribe: return echo_of(decode_unsubscribe(raw, protocol), encoded_for(encode_unsubscribe));
    case PacketType::suback:
    case PacketType::unsuback:
      return echo_of(decode_subscribe_answer(raw, protocol), [&](Bytes& out, const SubscribeAnswer& in) {
        encode_subscribe_answer(out, protocol, raw.type, in);
      });
    case PacketType::pingreq:
    case PacketType::pingresp: {
      Bytes out;
      encode_ping(out, raw.type);
      return to_hex(out);
    }
    case PacketType::disconnect: return echo_of(decode_disconnect(raw, protocol), encoded_for(encode_disconnect));
    case PacketType::auth: return echo_of(decode_auth(raw), encode_auth);
  }
  return "error 00 unknown type";
}

}  // namespace

int main() {
  int level = 0;
  std::string digits;
  while (std::cin >> level >> digits) {
    const auto bytes = from_hex(digits);
    std::cout << (bytes ? echo(static_cast<Protocol>(level), *bytes) : "error 00 not hexadecimal") << std::endl;
  }
}
