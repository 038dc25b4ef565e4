#include "tools/bench/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace diot::bench {
namespace {

// First bytes of the packets that we send or get.
constexpr std::uint8_t connect_type = 0x10, connack_type = 0x20, publish_type = 0x30, puback_type = 0x40,
                       pubrec_type = 0x50, pubrel_type = 0x62, pubcomp_type = 0x70, subscribe_type = 0x82,
                       suback_type = 0x90, pingreq_type = 0xc0, pingresp_type = 0xd0, disconnect_type = 0xe0;

constexpr std::size_t filters_per_packet = 200;  // well below every server's packet limit
constexpr std::uint32_t session_expiry_s = 3600;

void append_varint(Bytes& out, std::size_t value) {
  do {
    const auto low = static_cast<std::uint8_t>(value & 0x7f);
    value >>= 7;
    out.push_back(value ? low | 0x80 : low);
  } while (value);
}

void append_string(Bytes& out, std::string_view text) {
  ByteWriter writer(out);
  writer.u16(static_cast<std::uint16_t>(text.size()));
  writer.raw(as_bytes(text));
}

void append_packet(Bytes& out, std::uint8_t first, ByteView body) {
  out.push_back(first);
  append_varint(out, body.size());
  append(out, body);
}

/// Reads a variable byte integer; nullopt if it is not complete. More than four bytes make `bad` true.
std::optional<std::size_t> read_varint(ByteView bytes, std::size_t& position, bool& bad) {
  std::size_t value = 0;
  for (int shift = 0; shift < 28; shift += 7) {
    if (position == bytes.size()) return std::nullopt;
    const auto byte = bytes[position++];
    value |= static_cast<std::size_t>(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return value;
  }
  bad = true;
  return std::nullopt;
}

auto malformed(const char* packet) {
  return fail(Errc::invalid, fmt::format("the server sent a malformed {}", packet));
}

/// Cuts an MQTT 5 property section off the front of `body`.
std::optional<ByteView> take_properties(ByteView& body) {
  std::size_t position = 0;
  bool bad = false;
  const auto size = read_varint(body, position, bad);
  if (!size || *size > body.size() - position) return std::nullopt;
  const auto properties = body.subspan(position, *size);
  body = body.subspan(position + *size);
  return properties;
}

}  // namespace

PublishTemplate::PublishTemplate(Version version, std::string_view topic, std::uint8_t qos, bool retain,
                                 std::size_t payload_bytes)
    : v5_(version == Version::v5), has_id_(qos > 0) {
  head_.push_back(static_cast<std::uint8_t>(publish_type | qos << 1 | (retain ? 1 : 0)));
  append_varint(head_, 2 + topic.size() + (has_id_ ? 2 : 0) + (v5_ ? 1 : 0) + payload_bytes);
  append_string(head_, topic);
}

void PublishTemplate::append_to(Bytes& out, std::uint16_t packet_id, ByteView payload_head,
                                ByteView payload_rest) const {
  append(out, head_);
  if (has_id_) ByteWriter(out).u16(packet_id);
  if (v5_) out.push_back(0);  // no properties
  append(out, payload_head);
  append(out, payload_rest);
}

void Client::start() {
  connected_ = ready_ = false;
  filters_asked_ = in_flight_ = 0;
  in_flight_max_ = 65535;
  next_id_ = 1;
  ids_.clear();
  out.clear();
  Bytes body;
  append_string(body, "MQTT");
  ByteWriter writer(body);
  writer.u8(static_cast<std::uint8_t>(config_.version));
  writer.u8(config_.clean ? 0x02 : 0x00);
  writer.u16(0);  // no keep-alive: nothing but the load is to be seen on the wire
  if (config_.version == Version::v5) {
    if (config_.clean) {
      writer.u8(0);
    } else {
      writer.u8(5);
      writer.u8(17);  // Session Expiry Interval
      writer.u32(session_expiry_s);
    }
  }
  append_string(body, config_.id);
  append_packet(out, connect_type, body);
}

Result<std::size_t> Client::received(ByteView bytes) {
  std::size_t done = 0;
  while (bytes.size() - done >= 2) {
    std::size_t position = done + 1;
    bool bad = false;
    const auto size = read_varint(bytes, position, bad);
    if (bad) return malformed("packet length");
    if (!size || *size > bytes.size() - position) break;
    if (auto taken = packet(bytes[done], bytes.subspan(position, *size)); !taken) {
      return tl::unexpected(std::move(taken.error()));
    }
    done = position + *size;
  }
  return done;
}

Result<void> Client::packet(std::uint8_t first, ByteView body) {
  switch (first & 0xf0) {
    case publish_type: return publish_in(first & 0x0f, body);
    case puback_type:
    case pubrec_type:
    case pubrel_type & 0xf0:
    case pubcomp_type: return answer(first & 0xf0, body);
    case connack_type: return connack(body);
    case suback_type: return suback(body);
    case pingresp_type: return {};
    case disconnect_type:
      return fail(Errc::io, fmt::format("the server disconnected {} with reason {:#04x}", config_.id,
                                        body.empty() ? 0 : body[0]));
    default: return fail(Errc::invalid, fmt::format("the server sent a packet of type {:#04x}", first));
  }
}

Result<void> Client::connack(ByteView body) {
  if (connected_ || body.size() < 2) return malformed("CONNACK");
  if (body[1] != 0) {
    return fail(Errc::not_permitted, fmt::format("the server refused {} with code {:#04x}", config_.id, body[1]));
  }
  connected_ = true;
  if (config_.version == Version::v5) {
    body = body.subspan(2);
    const auto properties = take_properties(body);
    if (!properties) return malformed("CONNACK");
    if (auto taken = connack_properties(*properties); !taken) return taken;
  }
  subscribe_next();
  return {};
}

Result<void> Client::connack_properties(ByteView properties) {
  ByteReader reader(properties);
  while (reader.ok() && !reader.rest().empty()) {
    switch (reader.u8()) {
      case 17:                       // Session Expiry Interval
      case 39: reader.u32(); break;  // Maximum Packet Size
      case 34: reader.u16(); break;  // Topic Alias Maximum: we send none
      case 19: keep_alive_s_ = reader.u16(); break;
      case 33: in_flight_max_ = reader.u16(); break;  // Receive Maximum
      case 36:                                        // Maximum QoS
        if (reader.u8() < config_.qos) {
          return fail(Errc::not_available, fmt::format("the server does not know QoS {}", config_.qos));
        }
        break;
      case 37:
      case 40:
      case 41:
      case 42: reader.u8(); break;  // what is available: an error will tell
      case 18:
      case 21:
      case 22:
      case 26:
      case 28:
      case 31: reader.raw(reader.u16()); break;
      case 38:  // User Property
        reader.raw(reader.u16());
        reader.raw(reader.u16());
        break;
      default: return malformed("CONNACK");
    }
  }
  if (!reader.ok() || in_flight_max_ == 0) return malformed("CONNACK");
  return {};
}

void Client::subscribe_next() {
  if (filters_asked_ == config_.filters.size()) {
    ready_ = true;
    owner_->ready(*this);
    return;
  }
  const bool v5 = config_.version == Version::v5;
  Bytes body;
  ByteWriter(body).u16(1);  // only one SUBSCRIBE is under way, and publishers have no filters
  if (v5) body.push_back(0);
  const auto end = std::min(filters_asked_ + filters_per_packet, config_.filters.size());
  for (; filters_asked_ < end; ++filters_asked_) {
    append_string(body, config_.filters[filters_asked_]);
    body.push_back(config_.qos);
  }
  append_packet(out, subscribe_type, body);
}

Result<void> Client::suback(ByteView body) {
  ByteReader reader(body);
  if (reader.u16() != 1 || !reader.ok() || ready_) return malformed("SUBACK");
  body = reader.rest();
  if (config_.version == Version::v5 && !take_properties(body)) return malformed("SUBACK");
  const auto refused = std::ranges::find_if(body, [&](auto code) { return code != config_.qos; });
  if (refused != body.end()) {
    return fail(Errc::not_permitted, fmt::format("the server granted {:#04x}, not QoS {}, to a filter like '{}'",
                                                 *refused, config_.qos, config_.filters[filters_asked_ - 1]));
  }
  subscribe_next();
  return {};
}

Result<void> Client::publish_in(std::uint8_t flags, ByteView body) {
  ByteReader reader(body);
  reader.raw(reader.u16());
  const int qos = flags >> 1 & 3;
  const std::uint16_t packet_id = qos > 0 ? reader.u16() : 0;
  ByteView payload = reader.rest();
  if (!reader.ok() || (config_.version == Version::v5 && !take_properties(payload))) return malformed("PUBLISH");
  owner_->message(*this, payload);
  if (qos == 1) send_ack(puback_type, packet_id);
  if (qos == 2) send_ack(pubrec_type, packet_id);
  return {};
}

Result<void> Client::answer(std::uint8_t type, ByteView body) {
  ByteReader reader(body);
  const auto packet_id = reader.u16();
  if (!reader.ok()) return malformed("acknowledgement");
  const bool accepted = reader.rest().empty() || reader.rest()[0] < 0x80;
  if (type == (pubrel_type & 0xf0)) {
    send_ack(pubcomp_type, packet_id);
    return {};
  }
  const auto awaited = type == pubcomp_type ? IdState::release_sent : IdState::publish_sent;
  if (packet_id >= ids_.size() || ids_[packet_id] != awaited || (config_.qos == 2) != (type != puback_type)) {
    return fail(Errc::invalid,
                fmt::format("the server acknowledged packet id {}, which {} does not await", packet_id, config_.id));
  }
  if (type == pubrec_type && accepted) {
    ids_[packet_id] = IdState::release_sent;
    send_ack(pubrel_type, packet_id);
    return {};
  }
  ids_[packet_id] = IdState::unused;
  --in_flight_;
  owner_->acknowledged(*this, accepted);
  return {};
}

void Client::publish(const PublishTemplate& packet, ByteView payload_head, ByteView payload_rest) {
  std::uint16_t packet_id = 0;
  if (config_.qos > 0) {
    expect(in_flight_ < in_flight_max_, "a publish without room");
    ids_.resize(65536);
    while (ids_[next_id_] != IdState::unused) next_id_ = next_id_ == 65535 ? 1 : next_id_ + 1;
    packet_id = next_id_;
    next_id_ = next_id_ == 65535 ? 1 : next_id_ + 1;
    ids_[packet_id] = IdState::publish_sent;
    ++in_flight_;
  }
  packet.append_to(out, packet_id, payload_head, payload_rest);
}

void Client::send_ack(std::uint8_t first, std::uint16_t packet_id) {
  out.insert(out.end(), {first, 2, static_cast<std::uint8_t>(packet_id >> 8), static_cast<std::uint8_t>(packet_id)});
}

void Client::ping() { out.insert(out.end(), {pingreq_type, 0}); }
void Client::disconnect() { out.insert(out.end(), {disconnect_type, 0}); }

}  // namespace diot::bench
