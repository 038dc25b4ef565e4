// The MQTT codec: whatever decodes is encoded to the same meaning, and encoding is a fixed point.

#include "bridge/packet.hpp"
#include "core/limits.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {
namespace {

constexpr Protocol protocols[] = {Protocol::mqtt_5, Protocol::mqtt_3_1_1, Protocol::mqtt_3_1};

/// What a decoded packet is written as; nullopt: it breaks a rule.
std::optional<Bytes> again(const RawPacket& packet, Protocol protocol) {
  Bytes out;
  switch (packet.type) {
    case PacketType::connect: {
      const auto connect = decode_connect(packet);
      if (!connect) return std::nullopt;
      encode_connect(out, *connect);
      return out;
    }
    case PacketType::connack: {
      const auto connack = decode_connack(packet, protocol);
      if (!connack) return std::nullopt;
      encode_connack(out, protocol, *connack);
      return out;
    }
    case PacketType::publish: {
      const auto publish = decode_publish(packet, protocol);
      if (!publish) return std::nullopt;
      require(publish->topic.empty() ? publish->topic_alias.has_value() : is_topic_name(publish->topic),
              "a PUBLISH has a topic name or an alias");
      require((publish->qos == Qos::at_most_once) == (publish->packet_id == 0), "QoS 1 and 2 have an identifier");
      const PublishOut to_write{publish->dup,
                                publish->qos,
                                publish->retain,
                                publish->packet_id,
                                publish->topic,
                                publish->payload,
                                &publish->properties,
                                publish->properties.expiry_seconds,
                                publish->subscription_ids,
                                publish->topic_alias.value_or(0)};
      encode_publish(out, protocol, to_write);
      require(out.size() == publish_bytes(protocol, to_write), "publish_bytes says what encode_publish writes");
      return out;
    }
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp: {
      const auto ack = decode_acknowledgement(packet, protocol);
      if (!ack) return std::nullopt;
      encode_acknowledgement(out, protocol, packet.type, ack->packet_id, ack->reason, ack->reason_string);
      return out;
    }
    case PacketType::subscribe: {
      const auto subscribe = decode_subscribe(packet, protocol);
      if (!subscribe) return std::nullopt;
      require(!subscribe->requests.empty(), "a SUBSCRIBE has a filter");
      for (const auto& request : subscribe->requests) require(is_topic_filter(request.filter), "it is a filter");
      encode_subscribe(out, protocol, *subscribe);
      return out;
    }
    case PacketType::unsubscribe: {
      const auto unsubscribe = decode_unsubscribe(packet, protocol);
      if (!unsubscribe) return std::nullopt;
      require(!unsubscribe->filters.empty(), "an UNSUBSCRIBE has a filter");
      encode_unsubscribe(out, protocol, *unsubscribe);
      return out;
    }
    case PacketType::suback:
    case PacketType::unsuback: {
      const auto answer = decode_subscribe_answer(packet, protocol);
      if (!answer) return std::nullopt;
      encode_subscribe_answer(out, protocol, packet.type, *answer);
      return out;
    }
    case PacketType::pingreq:
    case PacketType::pingresp: encode_ping(out, packet.type); return out;
    case PacketType::disconnect: {
      const auto disconnect = decode_disconnect(packet, protocol);
      if (!disconnect) return std::nullopt;
      encode_disconnect(out, protocol, *disconnect);
      return out;
    }
    case PacketType::auth: {
      const auto auth = decode_auth(packet);
      if (!auth) return std::nullopt;
      encode_auth(out, *auth);
      return out;
    }
  }
  require(false, "next_packet names the types that there are");
  return std::nullopt;
}

}  // namespace

void packet(ByteView input) {
  Input in(input);
  const Protocol protocol = protocols[in.u8() % std::size(protocols)];
  ByteView left = in.rest();
  for (;;) {
    const auto packet = next_packet(left, limits::packet_bytes_max, protocol);
    if (!packet || !*packet) return;
    require((*packet)->bytes <= left.size() && (*packet)->bytes >= 2, "a packet lies within what was received");
    left = left.subspan((*packet)->bytes);
    if ((*packet)->type == PacketType::connect) protocol_claim(**packet);
    const auto once = again(**packet, protocol);
    if (!once) continue;
    const auto read = next_packet(*once, varint_max, protocol);
    require(read && *read && (*read)->bytes == once->size() && (*read)->type == (*packet)->type,
            "what is written is one packet of the same type");
    const auto twice = again(**read, protocol);
    require(twice.has_value(), "what is written can be read");
    require(*twice == *once, "what is read is written the same");
  }
}

Seeds packet_seeds() {
  Seeds out;
  for (std::uint8_t choice = 0; choice < std::size(protocols); ++choice) {
    const auto protocol = protocols[choice];
    const bool v5 = protocol == Protocol::mqtt_5;
    Properties properties;
    properties.payload_format = 1;
    properties.expiry_seconds = 77;
    properties.content_type = "text/plain";
    properties.response_topic = "answers/here";
    properties.correlation_data = Bytes{0, 1, 255};
    properties.user = {{"b", "2"}, {"a", "1"}};
    std::vector<Bytes> packets;
    const auto add = [&](auto encode, const auto&... arguments) { encode(packets.emplace_back(), arguments...); };

    Connect connect;
    connect.protocol = protocol;
    connect.client_id = "sensor";
    add(encode_connect, connect);
    connect.user_name = "u";
    connect.password = to_bytes("p");
    connect.will = Will{"will/topic", to_bytes("gone"), Qos::exactly_once, true, v5 ? properties : Properties(), 9};
    connect.session_expiry_seconds = v5 ? 100 : 0;
    connect.receive_maximum = 10;
    connect.topic_alias_maximum = 3;
    if (v5) connect.authentication_method = "SCRAM-SHA-256", connect.authentication_data = to_bytes("n,,n=u,r=x");
    add(encode_connect, connect);
    Connack connack;
    connack.session_expiry_seconds = 7;
    connack.reason_string = "why";
    connack.user = {{"a", "b"}};
    connack.assigned_client_id = "auto-1";
    connack.server_keep_alive_seconds = 30;
    add(encode_connack, protocol, connack);
    const Bytes payload = to_bytes("21.5");
    const std::uint32_t ids[] = {1, 300};
    PublishOut publish;
    publish.topic = "room/temp";
    publish.payload = payload;
    add(encode_publish, protocol, publish);
    publish.qos = Qos::exactly_once;
    publish.packet_id = 1;
    publish.retain = true;
    publish.properties = &properties;
    publish.seconds_left = 77;
    publish.subscription_ids = ids;
    publish.topic_alias = 2;
    add(encode_publish, protocol, publish);
    for (auto type : {PacketType::puback, PacketType::pubrec, PacketType::pubrel, PacketType::pubcomp})
      add(encode_acknowledgement, protocol, type, PacketId{1}, Reason::success, std::string_view());
    add(encode_acknowledgement, protocol, PacketType::pubrec, PacketId{1}, Reason::quota_exceeded,
        std::string_view("full"));
    add(encode_subscribe, protocol,
        Subscribe{7, v5 ? 5u : 0u, {{"a/+/#", {Qos::exactly_once, v5, v5, {}}}, {"$share/g/b", {}}}});
    add(encode_unsubscribe, protocol, Unsubscribe{8, {"a/+/#", "b"}});
    add(encode_subscribe_answer, protocol, PacketType::suback, SubscribeAnswer{7, {Reason::success}});
    add(encode_subscribe_answer, protocol, PacketType::unsuback, SubscribeAnswer{8, {Reason::success}});
    add(encode_ping, PacketType::pingreq);
    add(encode_ping, PacketType::pingresp);
    add(encode_disconnect, protocol, Disconnect{Reason::success, v5 ? std::optional(5u) : std::nullopt, ""});
    if (v5) add(encode_auth, Auth{Reason::continue_authentication, "SCRAM-SHA-256", to_bytes("data")});
    Bytes all;
    for (const auto& packet : packets) {
      out.push_back(chosen(choice, packet));
      append(all, packet);
    }
    out.push_back(chosen(choice, all));
  }
  return out;
}

}  // namespace diot::fuzz
