#pragma once
// Reading and writing the fields of MQTT packets: numbers, strings, variable byte integers and the property lists of
// MQTT 5.0 (sections 1.5 and 2.2.2).

#include <cstdint>
#include <string_view>

#include "bridge/reason.hpp"
#include "core/bytes.hpp"
#include "core/message.hpp"

namespace diot {

enum class PacketType : std::uint8_t {
  connect = 1,
  connack = 2,
  publish = 3,
  puback = 4,
  pubrec = 5,
  pubrel = 6,
  pubcomp = 7,
  subscribe = 8,
  suback = 9,
  unsubscribe = 10,
  unsuback = 11,
  pingreq = 12,
  pingresp = 13,
  disconnect = 14,
  auth = 15,
};

enum class Property : std::uint8_t {
  payload_format = 1,
  message_expiry = 2,
  content_type = 3,
  response_topic = 8,
  correlation_data = 9,
  subscription_identifier = 11,
  session_expiry = 17,
  assigned_client_identifier = 18,
  server_keep_alive = 19,
  authentication_method = 21,
  authentication_data = 22,
  request_problem_information = 23,
  will_delay = 24,
  request_response_information = 25,
  response_information = 26,
  server_reference = 28,
  reason_string = 31,
  receive_maximum = 33,
  topic_alias_maximum = 34,
  topic_alias = 35,
  maximum_qos = 36,
  retain_available = 37,
  user_property = 38,
  maximum_packet_size = 39,
  wildcard_subscription_available = 40,
  subscription_identifiers_available = 41,
  shared_subscription_available = 42,
};

/// Where a property list stands: a packet type, or the will inside CONNECT.
enum class PropertyPlace : std::uint8_t { will = 0, connect = 1, auth = 15 };
inline PropertyPlace place_of(PacketType type) { return static_cast<PropertyPlace>(type); }

struct PropertyValue {
  Property id{};
  std::uint32_t number = 0;
  std::string_view text;    ///< string and binary values; the name of a user property
  std::string_view second;  ///< the value of a user property
};

/// Reads one packet's body. The first rule that it breaks is kept; from then on everything reads as zero or empty, so
/// that a decoder checks once, at its end (and in its loops).
class PacketReader {
 public:
  explicit PacketReader(ByteView body) : in_(body) {}

  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return number(4); }
  /// At most 268,435,455, in as few bytes as possible.
  std::uint32_t varint();
  /// A length of two bytes and well-formed UTF-8 without U+0000.
  std::string_view text();
  /// The same without control characters and noncharacters, which section 1.5.4 lets a receiver take for malformed
  /// (`if_there`): of what names something. Other strings may hold line breaks.
  std::string_view name(Reason if_there = Reason::malformed_packet) { return name_of(false, if_there); }
  /// A topic name: neither has it a wildcard. It may be empty.
  std::string_view topic() { return name_of(true, Reason::malformed_packet); }
  /// A length of two bytes and any bytes.
  ByteView binary();
  ByteView raw(std::size_t size);
  ByteView take_rest() { return raw(in_.size()); }

  /// Calls `take(const PropertyValue&)` for each property of the list that starts here, checked for its place, its
  /// type, its range and for standing there only once.
  template <class Take>
  void properties(PropertyPlace place, Take take) {
    PacketReader list(raw(varint()));
    std::uint64_t seen = 0;
    PropertyValue value;
    while (ok() && list.next_property(place, seen, value)) take(value);
    if (ok() && !list.ok()) violation_ = list.violation_;
  }

  void fail(Reason reason, const char* what) {
    if (ok()) violation_ = {reason, what};
    in_ = {};
  }
  /// Everything must have been read; in MQTT no packet has bytes left over.
  void finish() {
    if (!in_.empty()) fail(Reason::malformed_packet, "bytes left over at the end of the packet");
  }
  bool ok() const { return violation_.reason == Reason::success; }
  bool empty() const { return in_.empty(); }
  const Violation& violation() const { return violation_; }

 private:
  std::uint32_t number(std::size_t size) {
    std::uint32_t out = 0;
    for (auto byte : raw(size)) out = out << 8 | byte;
    return out;
  }
  std::string_view name_of(bool is_topic, Reason if_control);
  bool next_property(PropertyPlace place, std::uint64_t& seen, PropertyValue& value);

  ByteView in_;
  Violation violation_{Reason::success, ""};
};

/// Appends fields to a packet.
class PacketWriter : public ByteWriter {
 public:
  explicit PacketWriter(Bytes& out) : ByteWriter(out) {}
  void varint(std::uint32_t value);
  /// At most 65,535 bytes; the caller made sure.
  void text(std::string_view value) {
    u16(static_cast<std::uint16_t>(value.size()));
    raw(as_bytes(value));
  }
  void binary(ByteView value) { text(as_text(value)); }

  void property(Property id, std::uint32_t value);
  void property(Property id, std::string_view value);
  void property(std::string_view name, std::string_view value);  ///< a user property
  /// A property list: its length, then its bytes.
  void properties(const Bytes& list) {
    varint(static_cast<std::uint32_t>(list.size()));
    raw(list);
  }
};

inline std::size_t varint_bytes(std::size_t value) {
  return value < 128 ? 1 : value < 16'384 ? 2 : value < 2'097'152 ? 3 : 4;
}
inline constexpr std::size_t varint_max = 268'435'455;

/// The properties that travel with a message, without the list's length. `seconds_left` replaces the expiry.
std::size_t message_properties_bytes(const Properties& properties);
/// What a message counts where messages that wait are bounded.
inline std::size_t weight_of(const Message& message) {
  return message.topic.size() + message.payload.size() + message_properties_bytes(message.properties);
}
void write_message_properties(PacketWriter& out, const Properties& properties,
                              std::optional<std::uint32_t> seconds_left);
/// Stores one that belongs to a message; false if it is another one.
bool read_message_property(const PropertyValue& value, Properties& into);

}  // namespace diot
