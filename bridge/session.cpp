#include "bridge/session.hpp"

#include <algorithm>

namespace diot {

namespace {
constexpr std::uint8_t session_version = 4, session_version_without_number = 3, subscription_version = 1;
constexpr std::uint8_t flag_connected = 1, flag_will = 2, flag_incomplete = 4;
}  // namespace

bool Session::has_received(PacketId id) { return std::ranges::binary_search(received, id); }

// Clients count their identifiers up and release them in order: mostly this is the end, and below the front.
void Session::keep_received(PacketId id) {
  const auto at = std::ranges::lower_bound(received, id);
  if (at == received.end() || *at != id) received.insert(at, id);
}

bool Session::release_received(PacketId id) {
  const auto at = std::ranges::lower_bound(received, id);
  if (at == received.end() || *at != id) return false;
  received.erase(at);
  return true;
}

Bytes encode_session_row(const SessionRow& row, Monotonic now, HeldMs held_now) {
  Bytes value;
  ByteWriter out(value);
  out.u8(session_version);
  out.u64(row.number);
  out.u32(row.expiry_seconds);
  out.u8(static_cast<std::uint8_t>((row.connected ? flag_connected : 0) | (row.will ? flag_will : 0) |
                                   (row.incomplete ? flag_incomplete : 0)));
  out.u64(row.disconnected_at);
  out.u64(row.next_seq);
  out.u64(row.last_sent);
  out.u64(row.lost);
  out.u32(row.subscriptions);
  out.u16(static_cast<std::uint16_t>(row.user.size()));
  out.raw(as_bytes(row.user));
  if (row.will) {
    out.u64(row.will_number);
    out.u32(row.will->delay_seconds);
    const Message message{row.will->topic,  row.will->payload,    row.will->qos,
                          row.will->retain, row.will->properties, now};
    out.raw(encode_stored(message, now, held_now));
  }
  return value;
}

std::optional<SessionRow> decode_session_row(ByteView value, Monotonic now) {
  ByteReader in(value);
  SessionRow row;
  const std::uint8_t version = in.u8();
  if (version != session_version && version != session_version_without_number) return std::nullopt;
  row.number = in.u64();
  row.expiry_seconds = in.u32();
  const std::uint8_t flags = in.u8();
  row.connected = flags & flag_connected;
  row.incomplete = flags & flag_incomplete;
  row.disconnected_at = in.u64();
  row.next_seq = in.u64();
  row.last_sent = in.u64();
  row.lost = in.u64();
  row.subscriptions = in.u32();
  row.user = as_text(in.raw(in.u16()));
  if (flags & flag_will) {
    if (version == session_version) row.will_number = in.u64();
    const std::uint32_t delay = in.u32();
    // A will's expiry counts from its publication (section 3.1.3.2.4), so the time on disk does not count.
    const auto message = decode_stored(in.rest(), now, 0);
    if (message)  // else a topic that nobody may publish to: the session is worth more than its will
      row.will = Will{message->topic, message->payload, message->qos, message->retain, message->properties, delay};
  } else if (!in.done()) {
    return std::nullopt;
  }
  if (!in.ok()) return std::nullopt;
  return row;
}

Bytes encode_subscription_row(const Subscription& subscription) {
  Bytes value;
  ByteWriter out(value);
  out.u8(subscription_version);
  out.u8(subscription.options.byte());
  out.u32(subscription.id);
  return value;
}

bool decode_subscription_row(ByteView value, Subscription& into) {
  ByteReader in(value);
  const bool known = in.u8() == subscription_version;
  const auto options = SubscribeOptions::from(in.u8());
  into.id = in.u32();
  if (!known || !options || !in.done()) return false;
  into.options = *options;
  return true;
}

Bytes session_key(std::string_view client_id, std::string_view filter) {
  Bytes key = to_bytes(client_id);
  key.push_back(0);  // no MQTT string holds U+0000, so the parts cannot run into each other
  append(key, as_bytes(filter));
  return key;
}

Bytes received_key(std::uint64_t session_number, PacketId packet_id) {
  Bytes key;
  ByteWriter out(key);
  out.u64(session_number);
  out.u8('i');
  out.u16(packet_id);
  return key;
}

}  // namespace diot
