#include "bridge/properties.hpp"

#include <cstring>

#include "core/topic.hpp"

namespace diot {

namespace {

enum class Kind : std::uint8_t { none, byte, two, four, varint, text, binary, pair };

struct PropertyRule {
  Kind kind = Kind::none;
  std::uint16_t places = 0;  ///< bit = PropertyPlace
};

constexpr std::uint16_t at(std::initializer_list<int> places) {
  std::uint16_t bits = 0;
  for (int place : places) bits |= static_cast<std::uint16_t>(1 << place);
  return bits;
}

/// MQTT 5.0, table 2-4.
constexpr std::array<PropertyRule, 43> make_rules() {
  constexpr int will = 0, connect = 1, connack = 2, publish = 3, subscribe = 8, disconnect = 14, auth = 15;
  constexpr auto message = at({publish, will});
  constexpr auto answers = at({connack, 4, 5, 6, 7, 9, 11, disconnect, auth});
  std::array<PropertyRule, 43> rules{};
  rules[1] = {Kind::byte, message};
  rules[2] = {Kind::four, message};
  rules[3] = {Kind::text, message};
  rules[8] = {Kind::text, message};
  rules[9] = {Kind::binary, message};
  rules[11] = {Kind::varint, at({publish, subscribe})};
  rules[17] = {Kind::four, at({connect, connack, disconnect})};
  rules[18] = {Kind::text, at({connack})};
  rules[19] = {Kind::two, at({connack})};
  rules[21] = {Kind::text, at({connect, connack, auth})};
  rules[22] = {Kind::binary, at({connect, connack, auth})};
  rules[23] = {Kind::byte, at({connect})};
  rules[24] = {Kind::four, at({will})};
  rules[25] = {Kind::byte, at({connect})};
  rules[26] = {Kind::text, at({connack})};
  rules[28] = {Kind::text, at({connack, disconnect})};
  rules[31] = {Kind::text, answers};
  rules[33] = {Kind::two, at({connect, connack})};
  rules[34] = {Kind::two, at({connect, connack})};
  rules[35] = {Kind::two, at({publish})};
  rules[36] = {Kind::byte, at({connack})};
  rules[37] = {Kind::byte, at({connack})};
  rules[38] = {Kind::pair, 0xFFFF};
  rules[39] = {Kind::four, at({connect, connack})};
  rules[40] = {Kind::byte, at({connack})};
  rules[41] = {Kind::byte, at({connack})};
  rules[42] = {Kind::byte, at({connack})};
  return rules;
}
constexpr auto rules = make_rules();

/// A value outside its range is a Protocol Error (sections 3.1.2.11, 3.2.2.3, 3.3.2.3, 3.8.2.1).
const char* out_of_range(Property id, std::uint32_t number) {
  switch (id) {
    case Property::payload_format:
    case Property::request_problem_information:
    case Property::request_response_information:
    case Property::maximum_qos:
    case Property::retain_available:
    case Property::wildcard_subscription_available:
    case Property::subscription_identifiers_available:
    case Property::shared_subscription_available:
      return number > 1 ? "a property that is 0 or 1 has another value" : nullptr;
    case Property::receive_maximum: return number == 0 ? "a Receive Maximum of 0" : nullptr;
    case Property::maximum_packet_size: return number == 0 ? "a Maximum Packet Size of 0" : nullptr;
    case Property::subscription_identifier: return number == 0 ? "a Subscription Identifier of 0" : nullptr;
    default: return nullptr;
  }
}

}  // namespace

ByteView PacketReader::raw(std::size_t size) {
  if (in_.size() < size) {
    fail(Reason::malformed_packet, "the packet ends within a field");
    return {};
  }
  const ByteView out = in_.first(size);
  in_ = in_.subspan(size);
  return out;
}

std::uint32_t PacketReader::varint() {
  std::uint32_t out = 0;
  for (int shift = 0; shift <= 21; shift += 7) {
    const std::uint8_t byte = u8();
    out |= static_cast<std::uint32_t>(byte & 0x7F) << shift;
    if (byte & 0x80) continue;
    if (byte == 0 && shift > 0) fail(Reason::malformed_packet, "a variable byte integer with needless bytes");
    return out;
  }
  fail(Reason::malformed_packet, "a variable byte integer of more than four bytes");
  return 0;
}

std::string_view PacketReader::text() {
  const std::string_view out = as_text(raw(u16()));
  if (is_mqtt_utf8(out)) return out;
  fail(Reason::malformed_packet, "a string that is not well-formed UTF-8 without U+0000");
  return {};
}

namespace {

/// Of well-formed UTF-8.
bool holds_control_or_noncharacter(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (byte(at) < 0x20 || byte(at) == 0x7F) return true;
    if (byte(at) < 0xC2) continue;
    if (byte(at) == 0xC2 && byte(at + 1) < 0xA0) return true;  // U+0080 to U+009F
    // U+FDD0 to U+FDEF, and the last two of each plane.
    if (byte(at) == 0xEF && byte(at + 1) == 0xB7 && byte(at + 2) >= 0x90 && byte(at + 2) <= 0xAF) return true;
    if (byte(at) == 0xEF && byte(at + 1) == 0xBF && byte(at + 2) >= 0xBE) return true;
    if (byte(at) >= 0xF0 && (byte(at + 1) & 0x0F) == 0x0F && byte(at + 2) == 0xBF && byte(at + 3) >= 0xBE) return true;
  }
  return false;
}

/// ASCII without control characters, of a topic without wildcards too. Eight bytes at a time: topics are looked at more often
/// than anything else.
bool is_plain(std::string_view text, bool is_topic) {
  constexpr std::uint64_t each = 0x0101'0101'0101'0101;
  // Not 0 if one of the bytes is 0.
  const auto zeros = [](std::uint64_t eight) { return (eight - each) & ~eight; };
  std::uint64_t odd = 0;
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, text.data() + at, sizeof eight);
    // With the high bits clear, adding 1 sets that of 0x7F, and subtracting 0x20 that of what is below it (a borrow can
    // only come from such a byte).
    odd |= eight | (eight + each) | (eight - each * 0x20);
    if (is_topic) odd |= zeros(eight ^ each * '+') | zeros(eight ^ each * '#');
  }
  odd &= each * 0x80;
  for (; at < text.size(); ++at) {
    const auto one = static_cast<std::uint8_t>(text[at]);
    odd |= one < 0x20 || one >= 0x7F || (is_topic && (one == '+' || one == '#'));
  }
  return odd == 0;
}

}  // namespace

std::string_view PacketReader::name_of(bool is_topic, Reason if_control) {
  const std::string_view out = as_text(raw(u16()));
  if (is_plain(out, is_topic)) return out;
  if (!is_mqtt_utf8(out))
    fail(Reason::malformed_packet, "a string that is not well-formed UTF-8 without U+0000");
  else if (holds_control_or_noncharacter(out))
    fail(if_control, "a name with a control character");
  else if (is_topic && holds_wildcard(out))
    fail(Reason::malformed_packet, "a topic name with a wildcard");
  else
    return out;
  return {};
}

ByteView PacketReader::binary() { return raw(u16()); }

bool PacketReader::next_property(PropertyPlace place, std::uint64_t& seen, PropertyValue& value) {
  if (in_.empty()) return false;
  const std::uint32_t id = varint();
  if (!ok()) return false;
  const PropertyRule rule = id < rules.size() ? rules[id] : PropertyRule{};
  if (!(rule.places & 1 << static_cast<int>(place))) {
    fail(Reason::malformed_packet, "a property that this packet cannot have");
    return false;
  }
  value = {};
  value.id = static_cast<Property>(id);
  // Of all properties only these two may stand in a list more than once (the second one in PUBLISH only).
  const bool repeatable = value.id == Property::user_property ||
                          (value.id == Property::subscription_identifier && place == place_of(PacketType::publish));
  if (!repeatable && (seen & std::uint64_t{1} << id)) {
    fail(Reason::protocol_error, "a property stands twice");
    return false;
  }
  seen |= std::uint64_t{1} << id;
  switch (rule.kind) {
    case Kind::none: break;
    case Kind::byte: value.number = u8(); break;
    case Kind::two: value.number = u16(); break;
    case Kind::four: value.number = u32(); break;
    case Kind::varint: value.number = varint(); break;
    case Kind::text: value.text = text(); break;
    case Kind::binary: value.text = as_text(binary()); break;
    case Kind::pair:
      value.text = text();
      value.second = text();
      break;
  }
  if (const char* what = out_of_range(value.id, value.number); ok() && what) fail(Reason::protocol_error, what);
  return ok();
}

void PacketWriter::varint(std::uint32_t value) {
  while (value >= 128) {
    u8(static_cast<std::uint8_t>(value | 0x80));
    value >>= 7;
  }
  u8(static_cast<std::uint8_t>(value));
}

void PacketWriter::property(Property id, std::uint32_t value) {
  u8(static_cast<std::uint8_t>(id));
  switch (rules[static_cast<std::size_t>(id)].kind) {
    case Kind::byte: u8(static_cast<std::uint8_t>(value)); break;
    case Kind::two: u16(static_cast<std::uint16_t>(value)); break;
    case Kind::four: u32(value); break;
    case Kind::varint: varint(value); break;
    default: expect(false, "a property written with another type");
  }
}

void PacketWriter::property(Property id, std::string_view value) {
  u8(static_cast<std::uint8_t>(id));
  text(value);
}

void PacketWriter::property(std::string_view name, std::string_view value) {
  u8(static_cast<std::uint8_t>(Property::user_property));
  text(name);
  text(value);
}

std::size_t message_properties_bytes(const Properties& properties) {
  std::size_t bytes = 0;
  if (properties.payload_format) bytes += 2;
  if (properties.expiry_seconds) bytes += 5;
  if (properties.content_type) bytes += 3 + properties.content_type->size();
  if (properties.response_topic) bytes += 3 + properties.response_topic->size();
  if (properties.correlation_data) bytes += 3 + properties.correlation_data->size();
  for (const auto& [name, value] : properties.user) bytes += 5 + name.size() + value.size();
  return bytes;
}

void write_message_properties(PacketWriter& out, const Properties& properties,
                              std::optional<std::uint32_t> seconds_left) {
  if (properties.payload_format) out.property(Property::payload_format, std::uint32_t{*properties.payload_format});
  if (seconds_left) out.property(Property::message_expiry, *seconds_left);
  if (properties.content_type) out.property(Property::content_type, *properties.content_type);
  if (properties.response_topic) out.property(Property::response_topic, *properties.response_topic);
  if (properties.correlation_data) out.property(Property::correlation_data, as_text(*properties.correlation_data));
  for (const auto& [name, value] : properties.user) out.property(name, value);
}

bool read_message_property(const PropertyValue& value, Properties& into) {
  switch (value.id) {
    case Property::payload_format: into.payload_format = static_cast<std::uint8_t>(value.number); return true;
    case Property::message_expiry: into.expiry_seconds = value.number; return true;
    case Property::content_type: into.content_type.emplace(value.text); return true;
    case Property::response_topic: into.response_topic.emplace(value.text); return true;
    case Property::correlation_data: into.correlation_data = to_bytes(value.text); return true;
    case Property::user_property: into.user.emplace_back(value.text, value.second); return true;
    default: return false;
  }
}

}  // namespace diot
