#include "bridge/packet.hpp"

namespace diot {

namespace {

constexpr std::size_t large_payload_bytes = 4 << 10;

/// Appends a packet whose body is known.
void write_packet(Bytes& out, PacketType type, std::uint8_t flags, const Bytes& body) {
  PacketWriter writer(out);
  writer.u8(static_cast<std::uint8_t>(static_cast<int>(type) << 4 | flags));
  writer.varint(static_cast<std::uint32_t>(body.size()));
  writer.raw(body);
}

void write_property_if(PacketWriter& list, bool wanted, Property id, std::uint32_t value) {
  if (wanted) list.property(id, value);
}
void write_property_if(PacketWriter& list, Property id, std::string_view value) {
  if (!value.empty()) list.property(id, value);
}

/// The code of a CONNACK of 3.1 and 3.1.1.
std::uint8_t return_code(Reason reason) {
  switch (reason) {
    case Reason::success: return 0;
    case Reason::unsupported_protocol_version: return 1;
    case Reason::client_identifier_not_valid: return 2;
    case Reason::bad_user_name_or_password: return 4;
    case Reason::not_authorized:
    case Reason::banned: return 5;
    default: return 3;
  }
}

/// A fixed-size window of a buffer that was grown to the packet's size at once.
class RawWriter {
 public:
  explicit RawWriter(std::uint8_t* at) : at_(at) {}
  void u8(std::uint8_t value) { *at_++ = value; }
  void u16(std::uint16_t value) {
    u8(static_cast<std::uint8_t>(value >> 8));
    u8(static_cast<std::uint8_t>(value));
  }
  void varint(std::size_t value) {
    for (; value >= 128; value >>= 7) u8(static_cast<std::uint8_t>(value | 0x80));
    u8(static_cast<std::uint8_t>(value));
  }
  void raw(const void* from, std::size_t size) {
    if (size > 0) std::memcpy(at_, from, size);
    at_ += size;
  }
  std::uint8_t* at() const { return at_; }

 private:
  std::uint8_t* at_;
};

struct PublishSizes {
  std::size_t properties = 0;  ///< of the list, without its length
  std::size_t remaining = 0;
};

PublishSizes sizes_of(Protocol protocol, const PublishOut& publish) {
  PublishSizes sizes;
  sizes.remaining = 2 + publish.topic.size() + (publish.qos == Qos::at_most_once ? 0 : 2) + publish.payload.size();
  if (protocol == Protocol::mqtt_5) {
    if (publish.properties) sizes.properties = message_properties_bytes(*publish.properties);
    for (auto id : publish.subscription_ids) sizes.properties += 1 + varint_bytes(id);
    if (publish.topic_alias > 0) sizes.properties += 3;
    sizes.remaining += varint_bytes(sizes.properties) + sizes.properties;
  }
  return sizes;
}

}  // namespace

void encode_connect(Bytes& out, const Connect& connect) {
  const bool v5 = connect.protocol == Protocol::mqtt_5;
  Bytes body, list;
  PacketWriter writer(body), properties(list);
  writer.text(connect.protocol == Protocol::mqtt_3_1 ? "MQIsdp" : "MQTT");
  writer.u8(static_cast<std::uint8_t>(static_cast<int>(connect.protocol) | (connect.bridge ? bridge_bit : 0)));
  int flags = connect.clean_start << 1 | connect.password.has_value() << 6 | connect.user_name.has_value() << 7;
  if (connect.will) flags |= 4 | static_cast<int>(connect.will->qos) << 3 | connect.will->retain << 5;
  writer.u8(static_cast<std::uint8_t>(flags));
  writer.u16(connect.keep_alive_seconds);
  if (v5) {
    const Connect absent;
    write_property_if(properties, connect.session_expiry_seconds > 0, Property::session_expiry,
                      connect.session_expiry_seconds);
    write_property_if(properties, connect.receive_maximum != absent.receive_maximum, Property::receive_maximum,
                      connect.receive_maximum);
    write_property_if(properties, connect.maximum_packet_bytes != absent.maximum_packet_bytes,
                      Property::maximum_packet_size, connect.maximum_packet_bytes);
    write_property_if(properties, connect.topic_alias_maximum > 0, Property::topic_alias_maximum,
                      connect.topic_alias_maximum);
    write_property_if(properties, connect.request_response_information, Property::request_response_information, 1);
    if (connect.request_problem_information)
      properties.property(Property::request_problem_information, std::uint32_t{*connect.request_problem_information});
    if (connect.authentication_method)
      properties.property(Property::authentication_method, *connect.authentication_method);
    if (connect.authentication_data)
      properties.property(Property::authentication_data, as_text(*connect.authentication_data));
    writer.properties(list);
  }
  writer.text(connect.client_id);
  if (connect.will) {
    if (v5) {
      list.clear();
      write_property_if(properties, connect.will->delay_seconds > 0, Property::will_delay, connect.will->delay_seconds);
      write_message_properties(properties, connect.will->properties, connect.will->properties.expiry_seconds);
      writer.properties(list);
    }
    writer.text(connect.will->topic);
    writer.binary(connect.will->payload);
  }
  if (connect.user_name) writer.text(*connect.user_name);
  if (connect.password) writer.binary(*connect.password);
  write_packet(out, PacketType::connect, 0, body);
}

void encode_connack(Bytes& out, Protocol protocol, const Connack& connack) {
  Bytes body, list;
  PacketWriter writer(body), properties(list);
  writer.u8(connack.session_present && connack.reason == Reason::success && protocol != Protocol::mqtt_3_1);
  if (protocol != Protocol::mqtt_5) {
    writer.u8(return_code(connack.reason));
    return write_packet(out, PacketType::connack, 0, body);
  }
  const Connack absent;
  writer.u8(static_cast<std::uint8_t>(connack.reason));
  if (connack.session_expiry_seconds) properties.property(Property::session_expiry, *connack.session_expiry_seconds);
  write_property_if(properties, connack.receive_maximum != absent.receive_maximum, Property::receive_maximum,
                    connack.receive_maximum);
  write_property_if(properties, connack.maximum_qos != absent.maximum_qos, Property::maximum_qos,
                    static_cast<std::uint32_t>(connack.maximum_qos));
  write_property_if(properties, !connack.retain_available, Property::retain_available, 0);
  write_property_if(properties, connack.maximum_packet_bytes != absent.maximum_packet_bytes,
                    Property::maximum_packet_size, connack.maximum_packet_bytes);
  write_property_if(properties, Property::assigned_client_identifier, connack.assigned_client_id);
  write_property_if(properties, connack.topic_alias_maximum > 0, Property::topic_alias_maximum,
                    connack.topic_alias_maximum);
  write_property_if(properties, Property::reason_string, connack.reason_string);
  for (const auto& [name, value] : connack.user) properties.property(name, value);
  write_property_if(properties, !connack.wildcard_subscriptions, Property::wildcard_subscription_available, 0);
  write_property_if(properties, !connack.subscription_identifiers, Property::subscription_identifiers_available, 0);
  write_property_if(properties, !connack.shared_subscriptions, Property::shared_subscription_available, 0);
  if (connack.server_keep_alive_seconds)
    properties.property(Property::server_keep_alive, std::uint32_t{*connack.server_keep_alive_seconds});
  write_property_if(properties, Property::response_information, connack.response_information);
  write_property_if(properties, Property::server_reference, connack.server_reference);
  write_property_if(properties, Property::authentication_method, connack.authentication_method);
  write_property_if(properties, Property::authentication_data, as_text(connack.authentication_data));
  writer.properties(list);
  write_packet(out, PacketType::connack, 0, body);
}

std::size_t publish_bytes(Protocol protocol, const PublishOut& publish) {
  const std::size_t remaining = sizes_of(protocol, publish).remaining;
  return 1 + varint_bytes(remaining) + remaining;
}

std::size_t encode_publish(Bytes& out, Protocol protocol, const PublishOut& publish) {
  const PublishSizes sizes = sizes_of(protocol, publish);
  const std::size_t start = out.size();
  const std::size_t end = start + 1 + varint_bytes(sizes.remaining) + sizes.remaining;
  // A small payload is written into room that was made for all; a large one is appended, for making room writes zeros.
  const bool large = publish.payload.size() > large_payload_bytes;
  if (large && end > out.capacity()) out.reserve(std::max(end, 2 * out.capacity()));
  out.resize(end - (large ? publish.payload.size() : 0));
  RawWriter writer(out.data() + start);
  writer.u8(static_cast<std::uint8_t>(0x30 | publish.dup << 3 | static_cast<int>(publish.qos) << 1 | publish.retain));
  writer.varint(sizes.remaining);
  writer.u16(static_cast<std::uint16_t>(publish.topic.size()));
  writer.raw(publish.topic.data(), publish.topic.size());
  const auto id_offset = static_cast<std::size_t>(writer.at() - out.data()) - start;
  if (publish.qos != Qos::at_most_once) writer.u16(publish.packet_id);
  if (protocol == Protocol::mqtt_5) {
    writer.varint(sizes.properties);
    if (sizes.properties > 0) {
      Bytes list;
      PacketWriter properties(list);
      if (publish.properties) write_message_properties(properties, *publish.properties, publish.seconds_left);
      for (auto id : publish.subscription_ids) properties.property(Property::subscription_identifier, id);
      if (publish.topic_alias > 0) properties.property(Property::topic_alias, std::uint32_t{publish.topic_alias});
      expect(list.size() == sizes.properties, "a property list has another size than was counted");
      writer.raw(list.data(), list.size());
    }
  }
  if (large)
    append(out, publish.payload);
  else
    writer.raw(publish.payload.data(), publish.payload.size());
  return id_offset;
}

void encode_acknowledgement(Bytes& out, Protocol protocol, PacketType type, PacketId packet_id, Reason reason,
                            std::string_view reason_string) {
  const std::uint8_t flags = type == PacketType::pubrel ? 2 : 0;
  if (protocol != Protocol::mqtt_5 || reason == Reason::success) {
    PacketWriter writer(out);
    writer.u8(static_cast<std::uint8_t>(static_cast<int>(type) << 4 | flags));
    writer.u8(2);
    writer.u16(packet_id);
    return;
  }
  Bytes body, list;
  PacketWriter writer(body), properties(list);
  writer.u16(packet_id);
  writer.u8(static_cast<std::uint8_t>(reason));
  write_property_if(properties, Property::reason_string, reason_string);
  if (!list.empty()) writer.properties(list);
  write_packet(out, type, flags, body);
}

void encode_subscribe(Bytes& out, Protocol protocol, const Subscribe& subscribe) {
  Bytes body, list;
  PacketWriter writer(body), properties(list);
  writer.u16(subscribe.packet_id);
  if (protocol == Protocol::mqtt_5) {
    write_property_if(properties, subscribe.subscription_id > 0, Property::subscription_identifier,
                      subscribe.subscription_id);
    writer.properties(list);
  }
  for (const auto& request : subscribe.requests) {
    writer.text(request.filter);
    writer.u8(protocol == Protocol::mqtt_5 ? request.options.byte() : static_cast<std::uint8_t>(request.options.qos));
  }
  write_packet(out, PacketType::subscribe, 2, body);
}

void encode_unsubscribe(Bytes& out, Protocol protocol, const Unsubscribe& unsubscribe) {
  Bytes body;
  PacketWriter writer(body);
  writer.u16(unsubscribe.packet_id);
  if (protocol == Protocol::mqtt_5) writer.varint(0);
  for (auto filter : unsubscribe.filters) writer.text(filter);
  write_packet(out, PacketType::unsubscribe, 2, body);
}

void encode_subscribe_answer(Bytes& out, Protocol protocol, PacketType type, const SubscribeAnswer& answer) {
  Bytes body;
  PacketWriter writer(body);
  writer.u16(answer.packet_id);
  if (protocol == Protocol::mqtt_5) {
    writer.varint(0);
    for (auto reason : answer.reasons) writer.u8(static_cast<std::uint8_t>(reason));
  } else if (type == PacketType::suback) {
    for (auto reason : answer.reasons) writer.u8(is_failure(reason) ? 0x80 : static_cast<std::uint8_t>(reason));
  }
  write_packet(out, type, 0, body);
}

void encode_ping(Bytes& out, PacketType type) { write_packet(out, type, 0, {}); }

void encode_disconnect(Bytes& out, Protocol protocol, const Disconnect& disconnect) {
  Bytes body, list;
  PacketWriter writer(body), properties(list);
  if (protocol == Protocol::mqtt_5) {
    if (disconnect.session_expiry_seconds)
      properties.property(Property::session_expiry, *disconnect.session_expiry_seconds);
    write_property_if(properties, Property::reason_string, disconnect.reason_string);
    if (disconnect.reason != Reason::success || !list.empty()) writer.u8(static_cast<std::uint8_t>(disconnect.reason));
    if (!list.empty()) writer.properties(list);
  }
  write_packet(out, PacketType::disconnect, 0, body);
}

void encode_auth(Bytes& out, const Auth& auth) {
  Bytes body, list;
  PacketWriter writer(body), properties(list);
  write_property_if(properties, Property::authentication_method, auth.method);
  if (auth.data && !auth.data->empty()) properties.property(Property::authentication_data, as_text(*auth.data));
  writer.u8(static_cast<std::uint8_t>(auth.reason));  // may be left out, but there are readers who miss it then
  writer.properties(list);
  write_packet(out, PacketType::auth, 0, body);
}

}  // namespace diot
