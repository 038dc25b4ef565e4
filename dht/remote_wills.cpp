// Wills of other homes' clients: taken from logs and snapshots, and delivered to the subscribers here when their whole
// gateway is gone (docs/protocol.md, "Wills").

#include "core/limits.hpp"
#include "core/topic.hpp"
#include "dht/remote_channels.hpp"

namespace diot {

bool RemoteChannels::is_of_share(const Channel& channel, const Record& record) {
  if (check_topic(record.topic) && parts_of(record.topic).kind == TopicKind::local &&
      matches(channel.share.policy.filter, record.topic))
    return true;
  context_.count("records outside their share");
  return false;
}

/// Of all channels of that one's handle, by `of` each.
WillTable::Use RemoteChannels::wills_of_handle(const Channel& channel,
                                               WillTable::Use (WillTable::*of)(const ChannelId&) const) const {
  WillTable::Use out;
  const auto owners = readers(channel);
  if (owners.empty()) return out;
  for (const auto& [id, share] : owners.front()->shares) {
    const auto use = (context_.wills.*of)(id);
    out.count += use.count;
    out.bytes += use.bytes;
  }
  return out;
}

bool RemoteChannels::has_room_for(const Channel& channel, const WillKey& key, const HeldWill& will) const {
  const HeldWill* old = context_.wills.find(key);
  const std::size_t freed = old ? old->bytes() : 0;
  const auto use = wills_of_handle(channel, &WillTable::use);
  return (old || use.count < limits::wills_per_handle_max) &&
         use.bytes - std::min(freed, use.bytes) + will.bytes() <= limits::wills_bytes_per_handle_max &&
         context_.wills.total().bytes - freed + will.bytes() <= limits::wills_bytes_max;
}

void RemoteChannels::take_will(Channel& channel, const BatchView& batch, std::uint32_t index, Record record) {
  const BatchHeader& header = batch.header;
  const bool sets = record.kind == RecordKind::will_set;
  if (header.stream != Stream::durable || !record.will_number || (sets && !header.has_root))
    return context_.count("wills refused");
  if (!is_of_share(channel, record)) return;
  const WillKey key{header.channel, header.writer, *record.will_number};
  const LogPlace place{header.incarnation, header.first_seq + index};
  if (!sets) return context_.wills.clear(key, place);
  if (!keeps(channel, record.topic)) return;
  auto proof = batch.proof_of(index);
  if (!proof) return context_.count("wills refused");
  HeldWill will{std::move(record), place, batch.header_hash, std::move(*proof)};
  if (!has_room_for(channel, key, will)) {
    // What it replaces stands no more.
    context_.wills.clear(key, place);
    return context_.count("wills beyond their handle's quota");
  }
  (void)context_.wills.set(key, std::move(will), context_.clock.monotonic());
}

void RemoteChannels::offer_will(const Channel& channel, const ProvenRecord& proven, ByteView proof) {
  auto found = will_of(proven, proof);
  if (!found) return context_.count("wills refused");
  if (!is_of_share(channel, proven.record)) return;
  const auto offered = wills_of_handle(channel, &WillTable::offered);
  if (offered.count >= limits::wills_per_handle_max ||
      offered.bytes + found->second.bytes() > limits::wills_bytes_per_handle_max)
    return context_.count("wills beyond their handle's quota");
  context_.wills.offer(found->first, std::move(found->second));
}

void RemoteChannels::derive_wills() {
  const auto due = context_.wills.due(context_.clock.monotonic());
  // What goes out waits for the disk: a full one must not gather it in memory.
  if (due.empty() || context_.store.trouble() || context_.store.pending_bytes() > limits::store_pending_bytes_max)
    return;
  for (const WillKey& key : due) {
    const auto channel = channels_.find(key.channel);
    if (channel == channels_.end()) continue;
    const HeldWill& will = *context_.wills.find(key);
    const auto right = context_.handles.right_to_write(*channel->second.handles.begin(), key.writer, key.channel);
    if (!right.allows(will.place.incarnation, will.place.seq, will.header_hash)) {
      context_.count("wills of revoked nodes");
      context_.wills.clear(key, {will.place.incarnation, will.place.seq + 1});
      continue;
    }
    context_.wills.set_derived(key);
    for (const auto& handle : channel->second.handles) {
      auto message = std::make_shared<Message>();
      message->topic = owned_topic(handle, will.record.topic);
      message->payload = will.record.payload;
      message->qos = will.record.qos;
      message->retain = will.record.retain;
      message->properties = will.record.properties;
      message->properties.user.emplace_back("diot-derived", "will");
      message->received = context_.clock.monotonic();
      if (message->retain) context_.retained.veil(message, key.channel);
      context_.broker->deliver(message, Origin::log);
    }
    context_.count("wills derived");
    context_.turn.touch();
  }
}

void RemoteChannels::lift_veils() {
  for (const auto& topic : std::exchange(veils_over_, {})) {
    if (!context_.retained.unveil(topic)) continue;  // a later value has come
    const RetainedValue* value = context_.retained.find(topic);
    if (value && value->message) context_.broker->deliver_retained(value->message);
    context_.turn.touch();
  }
}

}  // namespace diot
