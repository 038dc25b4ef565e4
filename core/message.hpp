#pragma once
// One MQTT application message on its way through a node. Immutable once routed: every session, the channel's batch
// and the retained store share one object.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"

namespace diot {

enum class Qos : std::uint8_t { at_most_once = 0, at_least_once = 1, exactly_once = 2 };

/// The PUBLISH properties that travel with the message to its receivers (MQTT 5.0 section 3.3.2.3).
struct Properties {
  std::optional<std::uint8_t> payload_format;
  std::optional<std::uint32_t> expiry_seconds;  ///< what is left of it when the message was received here
  std::optional<std::string> content_type;
  std::optional<std::string> response_topic;
  std::optional<Bytes> correlation_data;
  std::vector<std::pair<std::string, std::string>> user;  ///< in the publisher's order

  bool operator==(const Properties&) const = default;
};

struct Message {
  /// As subscribers of this node see it: `room/temp` for topics of the own handle, `@bob/room/temp` for others'.
  std::string topic;
  Bytes payload;
  Qos qos = Qos::at_most_once;
  bool retain = false;  ///< as published
  Properties properties;
  Monotonic received{};  ///< expiry counts the time held here from this moment

  /// Seconds left before expiry, rounded up; nullopt = never expires. 0 = expired.
  std::optional<std::uint32_t> seconds_left(Monotonic now) const {
    if (!properties.expiry_seconds) return std::nullopt;
    const auto held = std::chrono::duration_cast<std::chrono::seconds>(now - received).count();
    if (held <= 0) return *properties.expiry_seconds;
    return held >= *properties.expiry_seconds ? 0 : *properties.expiry_seconds - static_cast<std::uint32_t>(held);
  }
};

using MessagePtr = std::shared_ptr<const Message>;

class PackReader;
class PackWriter;
/// The msgpack map of properties in stored messages and in records (docs/protocol.md, "Batch"); `expiry_seconds` is
/// written in place of the property's own value. `more` pairs follow, written by the caller, with keys above MQTT's.
void write_properties(PackWriter& to, const Properties& properties, std::optional<std::uint32_t> expiry_seconds,
                      std::size_t more = 0);
/// False if malformed: types, MQTT's UTF-8 rule, bounds. `other` takes the value of a key that is none of these; without
/// it such are skipped.
bool read_properties(PackReader& in, Properties& properties, const std::function<void(std::uint64_t key)>& other = {});
/// The most msgpack values that the properties of a packet can have: for PackReader's bound.
extern const std::size_t properties_values_max;

/// A message as stored in queues and in the retained table: never leaves this machine (docs/protocol.md, "Stored
/// message").
Bytes encode_stored(const Message& message, Monotonic now, HeldMs held_now);
/// nullptr if malformed. Time spent on disk counts towards expiry: what is left of it is counted from `now`.
std::shared_ptr<Message> decode_stored(ByteView bytes, Monotonic now, HeldMs held_now);

}  // namespace diot
