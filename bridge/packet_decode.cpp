#include "bridge/packet.hpp"

#include "bridge/shared_filter.hpp"

namespace diot {

namespace {

tl::unexpected<Violation> violates(Reason reason, const char* what) {
  return tl::unexpected<Violation>(Violation{reason, what});
}

/// The value if the reader got through to the packet's end.
template <class T>
Parsed<T> finished(PacketReader& in, T value) {
  in.finish();
  if (!in.ok()) return tl::unexpected<Violation>(in.violation());
  return value;
}

void skip_properties(PacketReader& in, PropertyPlace place) {
  in.properties(place, [](const PropertyValue&) {});
}

/// `if_zero`: the standard names no code, and mosquitto has one for SUBSCRIBE and UNSUBSCRIBE and another for the rest.
PacketId read_packet_id(PacketReader& in, Reason if_zero = Reason::protocol_error) {
  const PacketId id = in.u16();
  if (id == 0) in.fail(if_zero, "a packet identifier of 0");
  return id;
}

/// A response topic is a topic name (section 3.3.2.3.5).
void check_response_topic(PacketReader& in, const Properties& properties) {
  if (properties.response_topic && !is_topic_name(*properties.response_topic))
    in.fail(Reason::protocol_error, "a response topic that is empty or holds a wildcard");
}

Will read_will(PacketReader& in, Protocol protocol, std::uint8_t flags) {
  Will will;
  will.qos = static_cast<Qos>(flags >> 3 & 3);
  will.retain = flags & 0x20;
  if (protocol == Protocol::mqtt_5) {
    in.properties(PropertyPlace::will, [&](const PropertyValue& value) {
      if (value.id == Property::will_delay) will.delay_seconds = value.number;
      read_message_property(value, will.properties);
    });
    check_response_topic(in, will.properties);
  }
  will.topic = in.name();
  will.payload = to_bytes(in.binary());
  if (will.topic.empty()) in.fail(Reason::protocol_error, "an empty will topic");
  if (!is_topic_name(will.topic)) in.fail(Reason::malformed_packet, "a will topic with a wildcard");
  return will;
}

void take_connect_property(const PropertyValue& value, Connect& connect) {
  switch (value.id) {
    case Property::session_expiry: connect.session_expiry_seconds = value.number; break;
    case Property::receive_maximum: connect.receive_maximum = static_cast<std::uint16_t>(value.number); break;
    case Property::maximum_packet_size: connect.maximum_packet_bytes = value.number; break;
    case Property::topic_alias_maximum: connect.topic_alias_maximum = static_cast<std::uint16_t>(value.number); break;
    case Property::request_response_information: connect.request_response_information = value.number; break;
    case Property::request_problem_information: connect.request_problem_information = value.number; break;
    case Property::authentication_method: connect.authentication_method.emplace(value.text); break;
    case Property::authentication_data: connect.authentication_data = to_bytes(value.text); break;
    default: break;
  }
}

void take_connack_property(const PropertyValue& value, Connack& connack) {
  switch (value.id) {
    case Property::session_expiry: connack.session_expiry_seconds = value.number; break;
    case Property::receive_maximum: connack.receive_maximum = static_cast<std::uint16_t>(value.number); break;
    case Property::maximum_qos: connack.maximum_qos = static_cast<Qos>(value.number); break;
    case Property::retain_available: connack.retain_available = value.number; break;
    case Property::maximum_packet_size: connack.maximum_packet_bytes = value.number; break;
    case Property::assigned_client_identifier: connack.assigned_client_id = value.text; break;
    case Property::topic_alias_maximum: connack.topic_alias_maximum = static_cast<std::uint16_t>(value.number); break;
    case Property::reason_string: connack.reason_string = value.text; break;
    case Property::user_property: connack.user.emplace_back(value.text, value.second); break;
    case Property::wildcard_subscription_available: connack.wildcard_subscriptions = value.number; break;
    case Property::subscription_identifiers_available: connack.subscription_identifiers = value.number; break;
    case Property::shared_subscription_available: connack.shared_subscriptions = value.number; break;
    case Property::server_keep_alive:
      connack.server_keep_alive_seconds = static_cast<std::uint16_t>(value.number);
      break;
    case Property::response_information: connack.response_information = value.text; break;
    case Property::server_reference: connack.server_reference = value.text; break;
    case Property::authentication_method: connack.authentication_method = value.text; break;
    case Property::authentication_data: connack.authentication_data = to_bytes(value.text); break;
    default: break;
  }
}

/// The return codes of a 3.1.1 CONNACK (section 3.2.2.3 there), as the codes of 5.0.
constexpr std::array<Reason, 6> return_codes{Reason::success,
                                             Reason::unsupported_protocol_version,
                                             Reason::client_identifier_not_valid,
                                             Reason::server_unavailable,
                                             Reason::bad_user_name_or_password,
                                             Reason::not_authorized};

}  // namespace

bool is_topic_name(std::string_view topic) {
  return !topic.empty() && topic.find_first_of("+#") == std::string_view::npos;
}

bool is_topic_filter(std::string_view filter) {
  for (std::size_t at = 0; at < filter.size(); ++at) {
    if (filter[at] != '+' && filter[at] != '#') continue;
    const bool starts = at == 0 || filter[at - 1] == '/';
    const bool last = at + 1 == filter.size();
    if (!starts || !(last || (filter[at] == '+' && filter[at + 1] == '/'))) return false;
  }
  return !filter.empty();
}

Parsed<std::optional<RawPacket>> next_packet(ByteView input, std::size_t packet_bytes_max, Protocol protocol) {
  if (input.empty()) return std::nullopt;
  RawPacket packet;
  packet.type = static_cast<PacketType>(input[0] >> 4);
  packet.flags = input[0] & 0x0F;
  if (input[0] < 0x10) return violates(Reason::protocol_error, "packet type 0");
  switch (packet.type) {
    case PacketType::publish:
    case PacketType::connect: break;  // decode_connect knows the version
    case PacketType::pubrel:
    case PacketType::subscribe:
    case PacketType::unsubscribe: {
      const int dup = protocol == Protocol::mqtt_3_1 ? 8 : 0;
      if ((packet.flags & ~dup) != 2) return violates(Reason::malformed_packet, "reserved flags in the first byte");
      break;
    }
    default:  // in 3.1 they are not used, and nothing is said of them (its section 2.1)
      if (packet.flags != 0 && protocol != Protocol::mqtt_3_1)
        return violates(Reason::malformed_packet, "reserved flags in the first byte");
  }
  std::size_t length = 0;
  std::size_t at = 1;
  for (;; ++at) {
    if (at > 4) return violates(Reason::malformed_packet, "a remaining length of more than four bytes");
    if (at >= input.size()) return std::nullopt;
    length |= static_cast<std::size_t>(input[at] & 0x7F) << 7 * (at - 1);
    if (!(input[at] & 0x80)) break;
  }
  packet.padded_length = at > 1 && input[at] == 0;
  if (packet.padded_length && protocol == Protocol::mqtt_5)
    return violates(Reason::malformed_packet, "a remaining length with needless bytes");
  ++at;
  if (at + length > packet_bytes_max)
    return violates(Reason::packet_too_large, "the packet is larger than the maximum");
  if (input.size() - at < length) return std::nullopt;
  packet.body = input.subspan(at, length);
  packet.bytes = at + length;
  return packet;
}

ProtocolClaim protocol_claim(const RawPacket& connect) {
  PacketReader in(connect.body);
  const std::string_view name = in.text();
  const std::uint8_t level = in.u8();
  return in.ok() ? ProtocolClaim{name, level} : ProtocolClaim{};
}

std::optional<Protocol> ProtocolClaim::protocol() const {
  if (name == "MQTT" && level == 5) return Protocol::mqtt_5;
  if (name == "MQTT" && (level & ~bridge_bit) == 4) return Protocol::mqtt_3_1_1;
  if (name == "MQIsdp" && (level & ~bridge_bit) == 3) return Protocol::mqtt_3_1;
  return std::nullopt;
}

Parsed<Connect> decode_connect(const RawPacket& packet) {
  PacketReader in(packet.body);
  Connect connect;
  const std::string_view name = in.text();
  const ProtocolClaim claim{name, in.u8()};
  const auto protocol = claim.protocol();
  if (in.ok() && !protocol)
    return violates(Reason::unsupported_protocol_version, "not a protocol version that this broker speaks");
  connect.protocol = protocol.value_or(Protocol::mqtt_5);
  connect.bridge = claim.level & bridge_bit;
  const bool v5 = connect.protocol == Protocol::mqtt_5;
  const bool oldest = connect.protocol == Protocol::mqtt_3_1;  // has bits that are not used, and may be anything
  if (packet.flags != 0 && !oldest) in.fail(Reason::malformed_packet, "reserved flags in the first byte");
  if (v5 && packet.padded_length) in.fail(Reason::malformed_packet, "a remaining length with needless bytes");
  const std::uint8_t flags = in.u8();
  if ((flags & 1) && !oldest) in.fail(Reason::malformed_packet, "the reserved connect flag is set");
  connect.clean_start = flags & 0x02;
  const bool has_will = flags & 0x04;
  if (!has_will && (flags & 0x38)) in.fail(Reason::malformed_packet, "will QoS or will retain without a will");
  if ((flags & 0x18) == 0x18) in.fail(Reason::malformed_packet, "a will QoS of 3");
  const bool has_password = flags & 0x40;
  const bool has_user_name = flags & 0x80;
  if (!v5 && has_password && !has_user_name) in.fail(Reason::malformed_packet, "a password without a user name");
  connect.keep_alive_seconds = in.u16();
  if (v5) {
    in.properties(PropertyPlace::connect, [&](const PropertyValue& value) { take_connect_property(value, connect); });
    if (connect.authentication_data && !connect.authentication_method)
      in.fail(Reason::protocol_error, "authentication data without a method");
  }
  // Before 5.0 such a one is not answered, as everything else that is malformed.
  connect.client_id = in.name(v5 ? Reason::client_identifier_not_valid : Reason::malformed_packet);
  if (has_will && in.ok()) connect.will = read_will(in, connect.protocol, flags);
  if (has_user_name) connect.user_name.emplace(in.name());
  if (has_password) connect.password = to_bytes(in.binary());
  return finished(in, std::move(connect));
}

Parsed<Connack> decode_connack(const RawPacket& packet, Protocol protocol) {
  PacketReader in(packet.body);
  Connack connack;
  const std::uint8_t flags = in.u8();
  if (flags > 1) in.fail(Reason::malformed_packet, "reserved acknowledge flags");
  connack.session_present = flags & 1;
  const std::uint8_t code = in.u8();
  if (protocol == Protocol::mqtt_5) {
    connack.reason = static_cast<Reason>(code);
    in.properties(place_of(packet.type), [&](const PropertyValue& value) { take_connack_property(value, connack); });
  } else if (code < return_codes.size()) {
    connack.reason = return_codes[code];
  } else {
    in.fail(Reason::malformed_packet, "an unknown return code");
  }
  return finished(in, std::move(connack));
}

Parsed<Publish> decode_publish(const RawPacket& packet, Protocol protocol) {
  PacketReader in(packet.body);
  Parsed<Publish> out(tl::in_place);  // filled where the caller has it: it is large, and there are many of it
  Publish& publish = *out;
  publish.dup = packet.flags & 8;
  publish.retain = packet.flags & 1;
  const int qos = packet.flags >> 1 & 3;
  if (qos == 3) in.fail(Reason::malformed_packet, "a QoS of 3");
  publish.qos = static_cast<Qos>(qos);
  if (qos == 0 && publish.dup) in.fail(Reason::malformed_packet, "DUP set in a PUBLISH of QoS 0");
  publish.topic = in.topic();
  if (qos > 0) publish.packet_id = read_packet_id(in);
  if (protocol == Protocol::mqtt_5) {
    in.properties(PropertyPlace{3}, [&](const PropertyValue& value) {
      if (value.id == Property::topic_alias)
        publish.topic_alias = static_cast<std::uint16_t>(value.number);
      else if (value.id == Property::subscription_identifier)
        publish.subscription_ids.push_back(value.number);
      else
        read_message_property(value, publish.properties);
    });
    check_response_topic(in, publish.properties);
    if (publish.topic.empty() && !publish.topic_alias)
      in.fail(Reason::protocol_error, "neither a topic name nor a topic alias");
  } else if (publish.topic.empty()) {
    in.fail(Reason::malformed_packet, "an empty topic name");
  }
  publish.payload = in.take_rest();
  if (!in.ok()) out = tl::unexpected<Violation>(in.violation());
  return out;
}

Parsed<Acknowledgement> decode_acknowledgement(const RawPacket& packet, Protocol protocol) {
  PacketReader in(packet.body);
  Acknowledgement acknowledgement;
  acknowledgement.packet_id = read_packet_id(in);
  if (protocol == Protocol::mqtt_5 && !in.empty()) {
    const std::uint8_t code = in.u8();
    acknowledgement.reason = static_cast<Reason>(code);
    const bool release = packet.type == PacketType::pubrel || packet.type == PacketType::pubcomp;
    const bool known = release ? code == 0 || code == 0x92
                               : code == 0 || code == 0x10 || code == 0x80 || code == 0x83 || code == 0x87 ||
                                     code == 0x90 || code == 0x91 || code == 0x97 || code == 0x99;
    if (!known) in.fail(Reason::protocol_error, "a reason code that this packet cannot have");
    if (!in.empty())
      in.properties(place_of(packet.type), [&](const PropertyValue& value) {
        if (value.id == Property::reason_string) acknowledgement.reason_string = value.text;
      });
  }
  return finished(in, acknowledgement);
}

std::uint8_t SubscribeOptions::byte() const {
  return static_cast<std::uint8_t>(static_cast<int>(qos) | no_local << 2 | retain_as_published << 3 |
                                   static_cast<int>(retain_handling) << 4);
}

std::optional<SubscribeOptions> SubscribeOptions::from(std::uint8_t byte) {
  if (byte & 0xC0 || (byte & 0x03) == 3 || (byte & 0x30) == 0x30) return std::nullopt;
  return SubscribeOptions{static_cast<Qos>(byte & 3), (byte & 4) != 0, (byte & 8) != 0,
                          static_cast<RetainHandling>(byte >> 4)};
}

Parsed<Subscribe> decode_subscribe(const RawPacket& packet, Protocol protocol) {
  PacketReader in(packet.body);
  Subscribe subscribe;
  subscribe.packet_id = read_packet_id(in, Reason::malformed_packet);
  if (protocol == Protocol::mqtt_5)
    in.properties(place_of(packet.type), [&](const PropertyValue& value) {
      if (value.id == Property::subscription_identifier) subscribe.subscription_id = value.number;
    });
  if (in.ok() && in.empty()) in.fail(Reason::protocol_error, "SUBSCRIBE without a topic filter");
  while (in.ok() && !in.empty()) {
    const std::string_view filter = in.name();
    std::uint8_t byte = in.u8();
    if (protocol == Protocol::mqtt_3_1) byte &= 3;  // the other bits mean nothing there (its section 3.8)
    const auto options = SubscribeOptions::from(byte);
    if (in.ok() && !is_topic_filter(filter)) in.fail(Reason::malformed_packet, "an ill-formed topic filter");
    if (protocol == Protocol::mqtt_3_1_1 && byte > 2) in.fail(Reason::malformed_packet, "reserved bits beside the QoS");
    if (byte & 0xC0) in.fail(Reason::malformed_packet, "reserved bits in the subscription options");
    if (!options) in.fail(Reason::protocol_error, "a subscription option out of its range");
    if (!in.ok()) break;
    // Before 5.0 this is a filter as any other, for the standard; the broker refuses the ill-formed ones of it.
    if (protocol == Protocol::mqtt_5 && filter.starts_with("$share/")) {
      if (options->no_local) in.fail(Reason::protocol_error, "No Local on a shared subscription");
      if (!split_shared_filter(filter)) in.fail(Reason::protocol_error, "an ill-formed shared subscription");
    }
    subscribe.requests.push_back({filter, *options});
  }
  return finished(in, std::move(subscribe));
}

Parsed<Unsubscribe> decode_unsubscribe(const RawPacket& packet, Protocol protocol) {
  PacketReader in(packet.body);
  Unsubscribe unsubscribe;
  unsubscribe.packet_id = read_packet_id(in, Reason::malformed_packet);
  if (protocol == Protocol::mqtt_5) skip_properties(in, place_of(packet.type));
  if (in.ok() && in.empty()) in.fail(Reason::protocol_error, "UNSUBSCRIBE without a topic filter");
  while (in.ok() && !in.empty()) {
    const std::string_view filter = in.name();
    if (in.ok() && !is_topic_filter(filter)) in.fail(Reason::malformed_packet, "an ill-formed topic filter");
    unsubscribe.filters.push_back(filter);
  }
  return finished(in, std::move(unsubscribe));
}

Parsed<SubscribeAnswer> decode_subscribe_answer(const RawPacket& packet, Protocol protocol) {
  PacketReader in(packet.body);
  SubscribeAnswer answer;
  answer.packet_id = read_packet_id(in);
  if (protocol == Protocol::mqtt_5) skip_properties(in, place_of(packet.type));
  for (auto code : in.take_rest()) answer.reasons.push_back(static_cast<Reason>(code));
  return finished(in, std::move(answer));
}

Parsed<Disconnect> decode_disconnect(const RawPacket& packet, Protocol protocol) {
  PacketReader in(packet.body);
  Disconnect disconnect;
  if (protocol == Protocol::mqtt_5 && !in.empty()) {
    disconnect.reason = static_cast<Reason>(in.u8());
    if (!in.empty())
      in.properties(place_of(packet.type), [&](const PropertyValue& value) {
        if (value.id == Property::session_expiry) disconnect.session_expiry_seconds = value.number;
        if (value.id == Property::reason_string) disconnect.reason_string = value.text;
      });
  }
  return finished(in, std::move(disconnect));
}

Parsed<Auth> decode_auth(const RawPacket& packet) {
  PacketReader in(packet.body);
  Auth auth;
  if (!in.empty()) {
    auth.reason = static_cast<Reason>(in.u8());
    if (auth.reason != Reason::success && auth.reason != Reason::continue_authentication &&
        auth.reason != Reason::reauthenticate)
      in.fail(Reason::malformed_packet, "a reason code that AUTH cannot have");
    in.properties(PropertyPlace::auth, [&](const PropertyValue& value) {
      if (value.id == Property::authentication_method) auth.method = value.text;
      if (value.id == Property::authentication_data) auth.data = to_bytes(value.text);
    });
  }
  return finished(in, std::move(auth));
}

}  // namespace diot
