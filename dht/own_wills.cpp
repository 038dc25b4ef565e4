// What this node says of its clients' wills, and that it lives (docs/protocol.md, "Wills").

#include "core/limits.hpp"
#include "core/topic.hpp"
#include "dht/own_channels.hpp"

namespace diot {

namespace {

/// As HeldWill::bytes, before there is a proof.
std::size_t cost_of(const Message& will) { return 2 * (message_bytes(will) + limits::will_proof_bytes); }

}  // namespace

Bytes OwnChannels::meta_wills(const ChannelId& channel) {
  Bytes key;
  append(key, as_bytes("wills/"));
  append(key, channel);
  return key;
}

void OwnChannels::set_will(std::uint64_t number, const MessagePtr& will, std::uint32_t delay_seconds) {
  clear_will(number);
  const std::string_view topic = local_name(will->topic, context_.own);
  if (parts_of(topic).kind != TopicKind::local) return;  // nobody else hears of it
  const std::size_t bytes = cost_of(*will);
  if (bytes > 2 * limits::will_bytes_max || wills_.size() >= limits::wills_per_handle_max ||
      will_bytes_ + bytes > limits::wills_bytes_per_handle_max)
    return context_.count("wills that stay in this home: too large, or too many");
  wills_[number] = {will, delay_seconds, {}};
  will_bytes_ += bytes;
  wills_changed_ = true;
}

void OwnChannels::clear_will(std::uint64_t number) {
  const auto found = wills_.find(number);
  if (found == wills_.end()) return;
  say_cleared(number, found->second);
  will_bytes_ -= cost_of(*found->second.message);
  wills_.erase(found);
}

/// First that it stands no more: should the link break in between, it comes late and not twice. QoS 0 goes through the log
/// too, as the live stream could be ahead of what says so.
Route OwnChannels::publish_will(std::uint64_t number, const MessagePtr& message) {
  const auto found = wills_.find(number);
  const bool known_elsewhere = found != wills_.end() && !found->second.channel.is_zero();
  clear_will(number);
  return publish(message, known_elsewhere || message->qos != Qos::at_most_once || message->retain);
}

void OwnChannels::say_cleared(std::uint64_t number, OwnWill& will) {
  const ChannelId id = std::exchange(will.channel, {});
  const auto channel = channels_.find(id);
  if (channel == channels_.end()) return;
  const std::string topic(local_name(will.message->topic, context_.own));
  Record record{RecordKind::will_clear, topic, Qos::at_least_once, false, {}, {}, number};
  OpenRecord open{{}, false, false, topic, nullptr};
  open.clears_will = number;
  take(id, channel->second, Stream::durable, record, std::move(open));
}

void OwnChannels::place_will(std::uint64_t number, OwnWill& will) {
  const std::string topic(local_name(will.message->topic, context_.own));
  const ShareRecord* share = shares_.of_topic(topic);
  const ChannelId to = share && share->is_public() ? share->channel : ChannelId{};
  if (to == will.channel) return;
  say_cleared(number, will);
  const auto found = channels_.find(to);
  if (found == channels_.end()) return;
  Channel& channel = found->second;
  will.channel = to;
  if (!std::exchange(channel.had_wills, true)) context_.store.put(Table::meta, meta_wills(to), {});
  const Message& message = *will.message;
  Record record{RecordKind::will_set, topic,  message.qos,       message.retain, message.payload,
                message.properties,   number, will.delay_seconds};
  OpenRecord open{{}, true, false, topic, nullptr};  // with a root: it travels alone too
  open.sets_will = number;
  take(to, channel, Stream::durable, record, std::move(open));
}

void OwnChannels::place_wills() {
  // A full disk must not gather them in memory.
  if (!wills_changed_ || context_.store.trouble()) return;
  wills_changed_ = false;
  for (auto& [number, will] : wills_) place_will(number, will);
}

void OwnChannels::say_wills_again(const ChannelId& id, Channel& channel) {
  for (auto& [number, will] : wills_)
    if (will.channel == id) will.channel = {}, place_will(number, will);
  take(id, channel, Stream::durable, {encode_signal(Signal::wills_end), false, false, {}, nullptr});
}

void OwnChannels::settle() {
  rehome_retained();  // of a home that has moved to this network
  place_wills();
  for (auto& [id, channel] : channels_)
    if (channel.had_wills) take(id, channel, Stream::durable, {encode_signal(Signal::wills_end), false, false, {}, {}});
}

void OwnChannels::tick() {
  place_wills();
  const Monotonic now = context_.clock.monotonic();
  for (auto& [id, channel] : channels_)
    if (!held_back_ && now >= channel.said_live + limits::presence_interval && logs_.has_members(id) &&
        context_.wills.has_any(id, context_.self()))
      take(id, channel, Stream::live, {encode_signal(Signal::presence), false, false, {}, nullptr});
}

}  // namespace diot
