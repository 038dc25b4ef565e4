#include "core/message.hpp"

#include <algorithm>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

// MQTT 5.0 section 2.2.2.2.
enum Property : std::uint8_t {
  payload_format = 1,
  message_expiry = 2,
  content_type = 3,
  response_topic = 8,
  correlation_data = 9,
  user_property = 38,
};

constexpr std::size_t string_bytes_max = 65'535;  // MQTT's length is 16 bits
// Each takes at least five bytes of the packet that it came in.
constexpr std::size_t user_properties_max = limits::packet_bytes_max / 5;
constexpr std::uint64_t stored_version = 1;

std::string read_string(PackReader& in, bool& ok) {
  const auto text = in.str(string_bytes_max);
  ok = ok && is_mqtt_utf8(text);
  return std::string(text);
}

}  // namespace

const std::size_t properties_values_max = 3 * user_properties_max + 64;

void write_properties(PackWriter& to, const Properties& properties, std::optional<std::uint32_t> expiry_seconds,
                      std::size_t more) {
  to.map(more + properties.payload_format.has_value() + expiry_seconds.has_value() +
         properties.content_type.has_value() + properties.response_topic.has_value() +
         properties.correlation_data.has_value() + !properties.user.empty());
  if (properties.payload_format) to.uint(payload_format), to.uint(*properties.payload_format);
  if (expiry_seconds) to.uint(message_expiry), to.uint(*expiry_seconds);
  if (properties.content_type) to.uint(content_type), to.str(*properties.content_type);
  if (properties.response_topic) to.uint(response_topic), to.str(*properties.response_topic);
  if (properties.correlation_data) to.uint(correlation_data), to.bin(*properties.correlation_data);
  if (properties.user.empty()) return;
  to.uint(user_property);
  to.array(properties.user.size());
  for (const auto& [name, value] : properties.user) {
    to.array(2);
    to.str(name);
    to.str(value);
  }
}

bool read_properties(PackReader& in, Properties& properties, const std::function<void(std::uint64_t)>& other) {
  bool ok = true;
  for (auto left = in.map(256); left > 0 && in.ok(); --left) {
    switch (const auto key = in.uint()) {
      case payload_format: properties.payload_format = static_cast<std::uint8_t>(in.uint(1)); break;
      case message_expiry: properties.expiry_seconds = static_cast<std::uint32_t>(in.uint(0xffffffff)); break;
      case content_type: properties.content_type = read_string(in, ok); break;
      case response_topic:
        properties.response_topic = read_string(in, ok);
        // A topic name to publish to: an empty one or a wildcard would make the receiving client drop its connection.
        ok = ok && !properties.response_topic->empty() &&
             properties.response_topic->find_first_of("+#") == std::string::npos;
        break;
      case correlation_data: properties.correlation_data = to_bytes(in.bin(string_bytes_max)); break;
      case user_property: {
        auto count = in.array(user_properties_max);
        ok = ok && count > 0;  // none is written by leaving the key out
        properties.user.reserve(count);
        for (; count > 0 && in.ok(); --count) {
          in.array_of(2);
          auto name = read_string(in, ok);
          properties.user.emplace_back(std::move(name), read_string(in, ok));
        }
        break;
      }
      default:
        if (other)
          other(key);
        else
          in.skip();
    }
  }
  return ok && in.ok();
}

Bytes encode_stored(const Message& message, Monotonic now, HeldMs held_now) {
  Bytes out;
  out.reserve(message.topic.size() + message.payload.size() + 32);
  PackWriter to(out);
  to.array(6);
  to.uint(stored_version);
  to.str(message.topic);
  to.uint(static_cast<std::uint64_t>(message.qos) | (message.retain ? 4 : 0));
  to.bin(message.payload);
  write_properties(to, message.properties, message.seconds_left(now));
  to.uint(held_now);
  return out;
}

std::shared_ptr<Message> decode_stored(ByteView bytes, Monotonic now, HeldMs held_now) {
  auto out = std::make_shared<Message>();
  PackReader in(bytes, properties_values_max + 8);
  in.array_of(6);
  const bool known = in.uint() == stored_version;
  out->topic = in.str(string_bytes_max);
  const auto flags = in.uint(7);
  out->payload = to_bytes(in.bin(limits::packet_bytes_max));
  const bool good = read_properties(in, out->properties);
  const HeldMs saved = in.uint();
  if (!known || !good || !in.done() || (flags & 3) == 3 || !check_topic(out->topic)) return nullptr;
  out->qos = static_cast<Qos>(flags & 3);
  out->retain = (flags & 4) != 0;
  out->received = now;
  if (auto& left = out->properties.expiry_seconds) {
    const std::uint64_t held = held_now > saved ? (held_now - saved) / 1000 : 0;
    *left = held >= *left ? 0 : *left - static_cast<std::uint32_t>(held);
  }
  return out;
}

}  // namespace diot
