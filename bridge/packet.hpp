#pragma once
// The packets of MQTT 3.1, 3.1.1 and 5.0: bytes to values and back, with no socket and no state. Both directions, so that
// the broker, upstreams, the load generator and the tests share one codec. A peer's violation is a value with the
// reason code that MQTT 5.0 gives it; of an older peer the connection is just closed.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/properties.hpp"
#include "bridge/reason.hpp"
#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/message.hpp"

namespace diot {

/// The protocol level byte of CONNECT.
enum class Protocol : std::uint8_t { mqtt_3_1 = 3, mqtt_3_1_1 = 4, mqtt_5 = 5 };
/// Set in the protocol level by bridges of mosquitto and the like: what they publish does not come back to them, and
/// they see RETAIN as it was published.
inline constexpr std::uint8_t bridge_bit = 0x80;

using PacketId = std::uint16_t;

template <class T>
using Parsed = tl::expected<T, Violation>;

/// One whole packet at the front of what was received. A view into it.
struct RawPacket {
  PacketType type{};
  std::uint8_t flags = 0;      ///< the low half of the first byte
  ByteView body;               ///< what follows the remaining length
  std::size_t bytes = 0;       ///< of the whole packet
  bool padded_length = false;  ///< the remaining length has needless bytes
};

/// nullopt: more bytes are needed. Checks the type, the length and, but for PUBLISH, the flags (section 2.1): MQTT 3.1
/// lets DUP stand in PUBREL, SUBSCRIBE and UNSUBSCRIBE, and only 5.0 forbids needless bytes in the length (there 1.5.5).
/// Before CONNECT is read take mqtt_3_1_1; decode_connect checks what 5.0 adds.
Parsed<std::optional<RawPacket>> next_packet(ByteView input, std::size_t packet_bytes_max,
                                             Protocol protocol = Protocol::mqtt_5);

// CONNECT, CONNACK ---------------------------------------------------------------------------------------------
struct Will {
  std::string topic;
  Bytes payload;
  Qos qos = Qos::at_most_once;
  bool retain = false;
  Properties properties;
  std::uint32_t delay_seconds = 0;
  bool operator==(const Will&) const = default;
};

struct Connect {
  Protocol protocol = Protocol::mqtt_5;
  bool bridge = false;  ///< bridge_bit; not in 5.0
  bool clean_start = true;
  std::uint16_t keep_alive_seconds = 0;  ///< 0: none
  std::string client_id;
  std::optional<Will> will;
  std::optional<std::string> user_name;
  std::optional<Bytes> password;
  // MQTT 5.0 only; the defaults are what absence means.
  std::uint32_t session_expiry_seconds = 0;
  std::uint16_t receive_maximum = 65'535;
  std::uint32_t maximum_packet_bytes = UINT32_MAX;
  std::uint16_t topic_alias_maximum = 0;
  bool request_response_information = false;
  /// Whether texts for a person are wanted beside reason codes; absent: they may come.
  std::optional<bool> request_problem_information;
  std::optional<std::string> authentication_method;
  std::optional<Bytes> authentication_data;
  bool operator==(const Connect&) const = default;
};

/// What a CONNECT says of its protocol, whatever follows: so that a broken one is answered in its own version.
struct ProtocolClaim {
  std::string_view name;
  std::uint8_t level = 0;  ///< with bridge_bit, if it is there

  /// nullopt: a protocol or a version that is not spoken here.
  std::optional<Protocol> protocol() const;
};
ProtocolClaim protocol_claim(const RawPacket& connect);

Parsed<Connect> decode_connect(const RawPacket& packet);
void encode_connect(Bytes& out, const Connect& connect);

struct Connack {
  bool session_present = false;
  Reason reason = Reason::success;
  // MQTT 5.0 only; the defaults are what absence means, and are not sent.
  std::optional<std::uint32_t> session_expiry_seconds;
  std::uint16_t receive_maximum = 65'535;
  Qos maximum_qos = Qos::exactly_once;
  bool retain_available = true;
  std::uint32_t maximum_packet_bytes = UINT32_MAX;
  std::string assigned_client_id;
  std::uint16_t topic_alias_maximum = 0;
  std::string reason_string;
  std::vector<std::pair<std::string, std::string>> user;
  bool wildcard_subscriptions = true;
  bool subscription_identifiers = true;
  bool shared_subscriptions = true;
  std::optional<std::uint16_t> server_keep_alive_seconds;
  std::string response_information;
  std::string server_reference;
  std::string authentication_method;
  Bytes authentication_data;
  bool operator==(const Connack&) const = default;
};
Parsed<Connack> decode_connack(const RawPacket& packet, Protocol protocol);
void encode_connack(Bytes& out, Protocol protocol, const Connack& connack);

// PUBLISH ------------------------------------------------------------------------------------------------------
/// A PUBLISH as received; views into the packet.
struct Publish {
  bool dup = false;
  Qos qos = Qos::at_most_once;
  bool retain = false;
  std::string_view topic;  ///< empty only with an alias; holds no wildcard
  PacketId packet_id = 0;  ///< QoS 1 and 2 only
  Properties properties;
  std::optional<std::uint16_t> topic_alias;
  std::vector<std::uint32_t> subscription_ids;
  ByteView payload;
};
Parsed<Publish> decode_publish(const RawPacket& packet, Protocol protocol);

/// A PUBLISH to write.
struct PublishOut {
  bool dup = false;
  Qos qos = Qos::at_most_once;
  bool retain = false;
  PacketId packet_id = 0;
  std::string_view topic;
  ByteView payload;
  const Properties* properties = nullptr;  ///< may be null; its expiry is replaced by the next field
  std::optional<std::uint32_t> seconds_left;
  std::span<const std::uint32_t> subscription_ids;
  std::uint16_t topic_alias = 0;  ///< 0: none; MQTT 5.0 only
};
/// Bytes of the whole packet.
std::size_t publish_bytes(Protocol protocol, const PublishOut& publish);
/// Appends, and returns the offset of the packet identifier (QoS 1 and 2) within what was appended. The topic has at
/// most 65,535 bytes, the packet at most varint_max.
std::size_t encode_publish(Bytes& out, Protocol protocol, const PublishOut& publish);

// PUBACK, PUBREC, PUBREL, PUBCOMP ------------------------------------------------------------------------------
struct Acknowledgement {
  PacketId packet_id = 0;
  Reason reason = Reason::success;
  std::string_view reason_string{};  ///< a view into the packet
};
Parsed<Acknowledgement> decode_acknowledgement(const RawPacket& packet, Protocol protocol);
/// The reason (and its text) is sent in MQTT 5.0 only.
void encode_acknowledgement(Bytes& out, Protocol protocol, PacketType type, PacketId packet_id,
                            Reason reason = Reason::success, std::string_view reason_string = {});

// SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK ---------------------------------------------------------------------
enum class RetainHandling : std::uint8_t { send = 0, send_if_new = 1, never = 2 };

struct SubscribeOptions {
  Qos qos = Qos::at_most_once;
  bool no_local = false;
  bool retain_as_published = false;
  RetainHandling retain_handling = RetainHandling::send;
  bool operator==(const SubscribeOptions&) const = default;

  std::uint8_t byte() const;
  /// nullopt if a reserved bit is set or a value is out of range.
  static std::optional<SubscribeOptions> from(std::uint8_t byte);
};
struct SubscribeRequest {
  std::string_view filter;  ///< well-formed as MQTT goes (section 4.7.1)
  SubscribeOptions options;
};
struct Subscribe {
  PacketId packet_id = 0;
  std::uint32_t subscription_id = 0;  ///< 0: none
  std::vector<SubscribeRequest> requests;
};
Parsed<Subscribe> decode_subscribe(const RawPacket& packet, Protocol protocol);
void encode_subscribe(Bytes& out, Protocol protocol, const Subscribe& subscribe);

struct Unsubscribe {
  PacketId packet_id = 0;
  std::vector<std::string_view> filters;
};
Parsed<Unsubscribe> decode_unsubscribe(const RawPacket& packet, Protocol protocol);
void encode_unsubscribe(Bytes& out, Protocol protocol, const Unsubscribe& unsubscribe);

/// SUBACK or UNSUBACK: one reason a filter (none in an UNSUBACK of 3.1.1).
struct SubscribeAnswer {
  PacketId packet_id = 0;
  std::vector<Reason> reasons;
};
Parsed<SubscribeAnswer> decode_subscribe_answer(const RawPacket& packet, Protocol protocol);
void encode_subscribe_answer(Bytes& out, Protocol protocol, PacketType type, const SubscribeAnswer& answer);

// PINGREQ, PINGRESP, DISCONNECT, AUTH --------------------------------------------------------------------------
void encode_ping(Bytes& out, PacketType type);

struct Disconnect {
  Reason reason = Reason::success;
  std::optional<std::uint32_t> session_expiry_seconds;
  std::string reason_string;
};
Parsed<Disconnect> decode_disconnect(const RawPacket& packet, Protocol protocol);
void encode_disconnect(Bytes& out, Protocol protocol, const Disconnect& disconnect);

struct Auth {
  Reason reason = Reason::success;
  std::string method;         ///< empty: none
  std::optional<Bytes> data;  ///< may be there and empty
};
Parsed<Auth> decode_auth(const RawPacket& packet);
void encode_auth(Bytes& out, const Auth& auth);

// Topics as MQTT alone sees them; core/topic.hpp adds DIoT's rules -----------------------------------------------
/// Not empty, no wildcard.
bool is_topic_name(std::string_view topic);
/// Not empty, `#` only as the last level, `+` only as a whole level.
bool is_topic_filter(std::string_view filter);

}  // namespace diot
