#include "dht/remote_channels.hpp"

#include <fmt/format.h>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::string_view catalogue_prefix = "catalogue/";
constexpr WallMs retained_ahead_ms_max = 5 * 60 * 1000;

Bytes catalogue_key(std::string_view handle) { return to_bytes(fmt::format("{}{}", catalogue_prefix, handle)); }

}  // namespace

Result<void> RemoteChannels::load() {
  auto cursors = context_.store.scan(Table::cursor, {}, {}, [&](ByteView key, ByteView value) {
    const auto cursor = decode_cursor(value);  // rows of our own logs are longer
    if (key.size() != 64 || !cursor) return true;
    stored_[*ChannelId::from(key.first(32))][*NodeId::from(key.subspan(32))] = *cursor;
    return true;
  });
  if (!cursors) return cursors;
  const Bytes prefix = to_bytes(catalogue_prefix);
  return context_.store.scan(Table::meta, prefix, after_prefix(prefix), [&](ByteView key, ByteView value) {
    const auto record = decode_directory_record(value, context_.network());
    const std::string handle(as_text(key).substr(catalogue_prefix.size()));
    if (record && as_text(record->subject) == handle) take_catalogue(handle, owners_[handle], *record);
    return true;
  });
}

void RemoteChannels::settle() {
  for (auto& [handle, owner] : owners_) recompute(handle, owner);
  for (const auto& [id, cursors] : std::exchange(stored_, {}))
    if (!channels_.contains(id)) {
      const Bytes prefix = to_bytes(id.view());
      for (const auto& [writer, cursor] : cursors) context_.store.erase(Table::cursor, log_prefix(id, writer));
    }
  std::set<ChannelId> stale;
  context_.retained.match("#", [&](const std::string& topic, const RetainedValue& value) {
    if (parts_of(topic).kind == TopicKind::owned && !channels_.contains(value.channel)) stale.insert(value.channel);
  });
  for (const auto& id : stale) context_.retained.erase_channel(id);
}

// Demand -----------------------------------------------------------------------------------------------------

void RemoteChannels::add_demand(std::string_view filter, bool durable) {
  const auto parts = parts_of(filter);
  if (parts.kind != TopicKind::owned || parts.handle == context_.handle || parts.rest.empty()) return;
  const std::string handle(parts.handle);
  Owner& owner = owners_[handle];
  Demand& demand = owner.filters[std::string(parts.rest)];
  const bool first = demand.clean + demand.durable == 0;
  ++(durable ? demand.durable : demand.clean);
  if (!first) return;
  // Links to its nodes may be up for another reason.
  for (const auto& [link, peer] : links_)
    if (!owner.links.contains(peer) && context_.speaks_for(peer, handle)) ask(owner, handle, peer, link);
  recompute(handle, owner);
}

void RemoteChannels::remove_demand(std::string_view filter, bool durable) {
  const auto parts = parts_of(filter);
  const auto owner = owners_.find(parts.handle);
  if (parts.kind != TopicKind::owned || owner == owners_.end()) return;
  const auto demand = owner->second.filters.find(parts.rest);
  if (demand == owner->second.filters.end()) return;
  auto& count = durable ? demand->second.durable : demand->second.clean;
  expect(count > 0, "demand removed that was never added");
  --count;
  if (demand->second.clean + demand->second.durable > 0) return;
  owner->second.filters.erase(demand);
  recompute(owner->first, owner->second);
}

std::set<NodeId> RemoteChannels::wanted() const {
  std::set<NodeId> out;
  for (const auto& [handle, owner] : owners_) {
    const HandleRecord* record = owner.filters.empty() ? nullptr : context_.ledger.handle(handle);
    if (!record) continue;
    for (const auto& [node, role] : record->nodes) out.insert(node);
  }
  return out;
}

std::string RemoteChannels::waiting_for(std::string_view filter) const {
  const auto parts = parts_of(filter);
  if (parts.kind != TopicKind::owned || parts.handle == context_.handle) return {};
  const HandleRecord* record = context_.ledger.handle(parts.handle);
  if (!record) return fmt::format("@{} is not in the ledger (as far as this node has it)", parts.handle);
  const auto owner = owners_.find(parts.handle);
  if (owner == owners_.end()) return fmt::format("nobody here has subscribed to '{}'", filter);
  for (const auto& [node, role] : record->nodes) {
    const auto link = owner->second.links.find(node);
    if (link == owner->second.links.end())
      return fmt::format("no link to @{}'s node {}", parts.handle, to_display(node));
    if (!owner->second.answered.contains(node)) return fmt::format("the catalogue of @{}", parts.handle);
    for (const auto& [id, share] : owner->second.shares) {
      if (!overlaps(share.policy.filter, parts.rest)) continue;
      const auto channel = channels_.find(id);
      const auto join = channel == channels_.end() ? decltype(channel->second.joins.end()){}
                                                   : channel->second.joins.find(link->second);
      if (channel == channels_.end() || join == channel->second.joins.end() || !join->second)
        return fmt::format("joining the share '{}' of @{}", share.policy.filter, parts.handle);
    }
  }
  return {};
}

bool RemoteChannels::acknowledged(std::string_view filter) const { return waiting_for(filter).empty(); }

const std::map<ChannelId, ShareRecord>* RemoteChannels::catalogue_of(std::string_view handle) const {
  const auto owner = owners_.find(handle);
  return owner == owners_.end() || !owner->second.known ? nullptr : &owner->second.shares;
}

// Links ------------------------------------------------------------------------------------------------------

void RemoteChannels::ask(Owner& owner, const std::string& handle, const NodeId& peer, LinkId link) {
  owner.links[peer] = link;
  owner.answered.erase(peer);
  context_.links->send(link, FrameType::catalogue_get, {wire::encode_catalogue_get(handle)});
}

void RemoteChannels::link_up(LinkId link, const NodeId& peer) {
  links_[link] = peer;
  for (auto& [handle, owner] : owners_)
    if (!owner.filters.empty() && context_.speaks_for(peer, handle)) ask(owner, handle, peer, link);
}

void RemoteChannels::link_down(LinkId link, const NodeId& peer) {
  links_.erase(link);
  for (auto& [handle, owner] : owners_) {
    const auto found = owner.links.find(peer);
    if (found == owner.links.end() || found->second != link) continue;
    owner.links.erase(found);
    owner.answered.erase(peer);
  }
  for (auto& [id, channel] : channels_) {
    channel.joins.erase(link);
    channel.asked.erase(peer);
  }
}

void RemoteChannels::ledger_changed() {
  for (auto& [handle, owner] : owners_) {
    if (owner.filters.empty()) continue;
    for (const auto& [link, peer] : links_)
      if (!owner.links.contains(peer) && context_.speaks_for(peer, handle)) ask(owner, handle, peer, link);
  }
}

// Catalogues -------------------------------------------------------------------------------------------------

Result<std::map<ChannelId, ShareRecord>> RemoteChannels::shares_in(const std::string& handle,
                                                                   const DirectoryRecord& record) const {
  const HandleRecord* owner = context_.ledger.handle(handle);
  std::map<ChannelId, ShareRecord> out;
  PackReader in(record.body);
  for (auto left = in.array(limits::shares_per_handle_max); left > 0; --left) {
    auto share = decode_share(in.bin(limits::packet_bytes_max), context_.network());
    if (!share) return tl::unexpected(share.error());
    if (!share->is_public() || share->channel != channel_id(context_.network(), owner->register_entry, share->id) ||
        owner->role_of(share->signer) != Role::admin)
      return fail(Errc::invalid, "a share that is not the handle's own");
    out.emplace(share->channel, std::move(*share));
  }
  if (!in.done()) return fail(Errc::invalid, "a malformed catalogue");
  return out;
}

void RemoteChannels::take_catalogue(const std::string& handle, Owner& owner, const DirectoryRecord& record) {
  if (record.kind != DirectoryKind::catalogue || !context_.speaks_for(record.signer, handle)) {
    context_.count("catalogues refused");
    return;
  }
  if (record.seq < owner.catalogue_seq) return;
  auto shares = shares_in(handle, record);
  if (!shares) {
    context_.count("catalogues refused");
    return;
  }
  owner.catalogue_seq = record.seq;
  owner.shares = std::move(*shares);
  owner.known = true;
}

void RemoteChannels::on_directory_record(const DirectoryRecord& record) {
  const std::string handle(as_text(record.subject));
  const auto found = owners_.find(handle);
  if (found == owners_.end() || record.seq <= found->second.catalogue_seq) return;
  take_catalogue(handle, found->second, record);
  if (found->second.catalogue_seq == record.seq) recompute(handle, found->second);
}

void RemoteChannels::on_catalogue(const NodeId& peer, ByteView bytes) {
  const auto record = decode_directory_record(bytes, context_.network());
  if (!record || record->signer != peer) {
    context_.count("catalogues refused");
    return;
  }
  const std::string handle(as_text(record->subject));
  const auto found = owners_.find(handle);
  if (found == owners_.end()) return;
  Owner& owner = found->second;
  take_catalogue(handle, owner, *record);
  owner.answered.insert(peer);
  if (owner.catalogue_seq == record->seq && owner.stored_seq != record->seq) {
    context_.store.put(Table::meta, catalogue_key(handle), to_bytes(bytes));
    owner.stored_seq = record->seq;
  }
  context_.turn.touch();
  recompute(handle, owner);
}

void RemoteChannels::recompute(const std::string& handle, Owner& owner) {
  for (const auto& [id, share] : owner.shares) {
    const bool needed = std::ranges::any_of(
        owner.filters, [&](const auto& demand) { return overlaps(share.policy.filter, demand.first); });
    if (!needed) continue;
    auto [at, fresh] = channels_.try_emplace(id);
    Channel& channel = at->second;
    channel.handle = handle;
    channel.share = share;
    if (fresh)
      if (auto stored = stored_.extract(id)) channel.cursors = std::move(stored.mapped());
    for (const auto& peer : owner.answered)
      if (const LinkId link = owner.links.at(peer); !channel.joins.contains(link)) join(id, channel, peer, link);
  }
  std::vector<ChannelId> unneeded;
  for (const auto& [id, channel] : channels_)
    if (channel.handle == handle && std::ranges::none_of(owner.filters, [&](const auto& demand) {
          return owner.shares.contains(id) && overlaps(channel.share.policy.filter, demand.first);
        }))
      unneeded.push_back(id);
  for (const auto& id : unneeded) leave(id);
}

// Channels ---------------------------------------------------------------------------------------------------

void RemoteChannels::join(const ChannelId& id, Channel& channel, const NodeId& peer, LinkId link) {
  channel.joins[link] = false;
  // Who comes back finds changed values in the log; who is new, or has lost a part of the log, gets them all.
  const auto cursor = channel.cursors.find(peer);
  wire::ChannelJoin join{id, cursor == channel.cursors.end() || channel.torn, {}};
  if (cursor != channel.cursors.end()) join.positions.push_back({peer, cursor->second});
  if (std::exchange(channel.torn, false)) context_.retained.erase_channel(id);
  context_.links->send(link, FrameType::channel_join, {wire::encode_channel_join(join)});
}

void RemoteChannels::leave(const ChannelId& id) {
  const auto found = channels_.find(id);
  for (const auto& [link, joined] : found->second.joins)
    context_.links->send(link, FrameType::channel_leave, {wire::encode_channel_leave(id)});
  for (const auto& [writer, cursor] : found->second.cursors)
    context_.store.erase(Table::cursor, log_prefix(id, writer));
  channels_.erase(found);
  context_.retained.erase_channel(id);
  context_.turn.touch();
}

void RemoteChannels::put_cursor(const ChannelId& id, const NodeId& writer, const Cursor& cursor) {
  context_.store.put(Table::cursor, log_prefix(id, writer), encode_cursor(cursor));
  context_.turn.touch();
}

RemoteChannels::Channel* RemoteChannels::joined(LinkId link, const ChannelId& id) {
  const auto found = channels_.find(id);
  if (found == channels_.end()) return nullptr;
  const auto join = found->second.joins.find(link);
  return join != found->second.joins.end() && join->second ? &found->second : nullptr;
}

void RemoteChannels::on_heads(LinkId link, const NodeId& peer, const wire::ChannelHeads& heads) {
  const auto found = channels_.find(heads.channel);
  if (found == channels_.end()) return;
  Channel& channel = found->second;
  const auto join = channel.joins.find(link);
  if (join == channel.joins.end()) return;
  if (!heads.error.empty()) {
    channel.joins.erase(join);  // the catalogue that tells why is on its way
    context_.count("joins refused");
    return;
  }
  join->second = true;
  for (const auto& position : heads.positions) {
    if (position.writer != peer || channel.cursors.contains(peer)) continue;
    channel.cursors[peer] = position.cursor;
    put_cursor(heads.channel, peer, position.cursor);
  }
}

void RemoteChannels::on_batch(LinkId link, const wire::HeldBatch& held) {
  const auto batch = BatchView::parse(held.batch);
  if (!batch) return context_.count("malformed batches");
  const BatchHeader& header = batch->header;
  Channel* channel = joined(link, header.channel);
  if (!channel) return context_.count("batches of channels not joined");
  if (!context_.speaks_for(header.writer, channel->handle)) return context_.count("batches of strangers");
  if (!batch->verify(context_.network())) return context_.count("batches with a wrong signature");

  if (header.stream == Stream::live) {
    LivePlace& place = channel->live[header.writer];
    if (header.incarnation < place.incarnation ||
        (header.incarnation == place.incarnation && header.first_seq <= place.seq))
      return context_.count("live batches seen before");
    if (header.incarnation == place.incarnation) channel->live_lost += header.first_seq - place.seq - 1;
    place = {header.incarnation, header.last_seq()};
    channel->live_records += header.count;
    return take_in(header.channel, *channel, *batch, held.age_seconds);
  }

  if (context_.store.pending_bytes() > limits::store_pending_bytes_max) {
    // The writer has it on disk: it is asked for again when ours has caught up.
    channel->let_go.insert(link);
    return context_.count("batches let go while the disk was behind");
  }
  const auto known = channel->cursors.find(header.writer);
  if (known == channel->cursors.end()) return context_.count("batches of logs without a place");
  Cursor& cursor = known->second;
  switch (judge(cursor, header)) {
    case Step::seen: return context_.count("batches seen before");
    case Step::fork: return context_.count("batches that contradict their log");
    case Step::gap: {
      // Once for each place: what was under way behind the gap shows it again.
      const auto asked = channel->asked.find(header.writer);
      if (asked != channel->asked.end() && asked->second == cursor) return;
      return ask_range(link, *channel, header.writer, cursor);
    }
    case Step::next: break;
  }
  cursor = advanced(header, batch->header_hash);
  channel->asked.erase(header.writer);
  channel->durable_records += header.count;
  // In one transaction with what the broker queues for its sessions: both are of this turn.
  put_cursor(header.channel, header.writer, cursor);
  take_in(header.channel, *channel, *batch, held.age_seconds);
}

void RemoteChannels::ask_range(LinkId link, Channel& channel, const NodeId& writer, const Cursor& from) {
  channel.asked[writer] = from;
  context_.count("ranges asked for");
  context_.links->send(link, FrameType::range_get,
                       {wire::encode_channel_position({channel.share.channel, {writer, from}})});
}

void RemoteChannels::tick() {
  if (context_.store.pending_bytes() > limits::store_pending_bytes_max / 2) return;
  for (auto& [id, channel] : channels_)
    for (const LinkId link : std::exchange(channel.let_go, {}))
      if (const auto peer = links_.find(link); peer != links_.end() && channel.cursors.contains(peer->second))
        ask_range(link, channel, peer->second, channel.cursors.at(peer->second));
}

void RemoteChannels::on_gap(LinkId link, const NodeId& peer, const wire::ChannelPosition& to) {
  Channel* channel = joined(link, to.channel);
  if (!channel || to.position.writer != peer) return context_.count("gaps of strangers");
  const auto known = channel->cursors.find(peer);
  if (known == channel->cursors.end()) return;
  Cursor& cursor = known->second;
  const Cursor& target = to.position.cursor;
  const bool ahead =
      cursor.incarnation < target.incarnation || (cursor.incarnation == target.incarnation && cursor.seq <= target.seq);
  if (!ahead) return context_.count("gaps that lead back");
  const std::uint64_t lost = cursor.incarnation == target.incarnation ? target.seq - cursor.seq : target.seq;
  channel->durable_lost += lost;
  context_.count("records lost to retention at their writer (at least)", lost);
  cursor = target;
  channel->asked.erase(peer);
  put_cursor(to.channel, peer, cursor);
  channel->torn = lost > 0;
  if (channel->torn) join(to.channel, *channel, peer, link);
}

bool RemoteChannels::from_the_future(HybridTime time) {
  if (wall_of(time) <= context_.clock.wall_ms() + retained_ahead_ms_max) return false;
  context_.count("retained values not kept: their writer's clock is ahead");
  return true;
}

std::shared_ptr<Message> RemoteChannels::message_of(const Channel& channel, const Record& record,
                                                    std::uint32_t age_seconds) {
  if (record.kind != RecordKind::message && record.kind != RecordKind::tombstone) return nullptr;
  if (!check_topic(record.topic) || parts_of(record.topic).kind != TopicKind::local ||
      !matches(channel.share.policy.filter, record.topic)) {
    context_.count("records outside their share");
    return nullptr;
  }
  auto message = std::make_shared<Message>();
  message->topic = owned_topic(channel.handle, record.topic);
  message->payload = record.payload;
  message->qos = record.qos;
  message->retain = record.retain;
  message->properties = record.properties;
  message->received = context_.clock.monotonic();
  if (auto& expiry = message->properties.expiry_seconds) {
    if (*expiry <= age_seconds) {
      context_.count("records expired on their way");
      return nullptr;
    }
    *expiry -= age_seconds;
  }
  return message;
}

void RemoteChannels::take_in(const ChannelId& id, Channel& channel, const BatchView& batch, std::uint32_t age_seconds) {
  const auto records = batch.records();
  if (!records) return context_.count("sealed or malformed bodies");
  const BatchHeader& header = batch.header;
  for (std::uint32_t index = 0; index < records->size(); ++index) {
    const auto record = decode_record((*records)[index]);
    if (!record) {
      context_.count("records skipped");
      continue;
    }
    if (record->retain && !header.has_root) {  // nobody could prove it to a later reader
      context_.count("retained records without a root");
      continue;
    }
    const MessagePtr message = message_of(channel, *record, age_seconds);
    if (!message) continue;
    if (record->retain && !from_the_future(header.time)) {
      RetainedValue value;
      value.stamp = {header.time, header.writer, header.incarnation, header.first_seq + index};
      value.channel = id;
      if (auto proof = batch.proof_of(index)) value.proof = std::move(*proof);
      if (record->kind == RecordKind::message) value.message = message;
      if (!context_.retained.set(message->topic, std::move(value))) context_.count("retained refused");
    }
    context_.broker->deliver(message);
  }
}

void RemoteChannels::on_retained(LinkId link, const wire::RetainedValues& values) {
  Channel* channel = joined(link, values.channel);
  if (!channel) return context_.count("retained values of channels not joined");
  for (const auto& value : values.values) {
    auto proven = verify_proof(value.proof, context_.network(), &channel->proven_header);
    if (!proven || proven->header.channel != values.channel || !proven->record.retain ||
        proven->record.kind != RecordKind::message || !context_.speaks_for(proven->header.writer, channel->handle)) {
      context_.count("retained values refused");
      continue;
    }
    channel->proven_header = proven->header_hash;
    const MessagePtr message = message_of(*channel, proven->record, value.age_seconds);
    if (!message || from_the_future(proven->header.time)) continue;
    const auto newer =
        context_.retained.set(message->topic, {message, proven->stamp(), values.channel, to_bytes(value.proof), 0});
    if (!newer)
      context_.count("retained refused");
    else if (*newer)
      context_.broker->deliver_retained(message);
  }
  context_.turn.touch();
}

// Status -----------------------------------------------------------------------------------------------------

std::vector<RemoteChannels::ChannelStatus> RemoteChannels::status() const {
  std::vector<ChannelStatus> out;
  for (const auto& [id, channel] : channels_)
    out.push_back(
        {channel.handle, channel.share.policy.filter, id, channel.durable_records, channel.live_records,
         channel.live_lost, channel.durable_lost,
         static_cast<std::size_t>(std::ranges::count_if(channel.joins, [](auto& join) { return join.second; }))});
  return out;
}

std::vector<std::string> RemoteChannels::handles() const {
  std::vector<std::string> out;
  for (const auto& [handle, owner] : owners_)
    if (!owner.filters.empty()) out.push_back(handle);
  return out;
}

}  // namespace diot
