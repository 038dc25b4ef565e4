#include "dht/remote_channels.hpp"

#include <fmt/format.h>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::string_view catalogue_prefix = "catalogue/";
constexpr std::string_view fork_prefix = "fork/";
constexpr WallMs retained_ahead_ms_max = 5 * 60 * 1000;
constexpr auto helper_patience = std::chrono::seconds(2);  // an owner's node that restarts is back by then
constexpr std::size_t helpers_max = 3;                     // a handle
constexpr auto missing_retry = std::chrono::seconds(20);
constexpr auto join_retry = std::chrono::seconds(2);

Bytes catalogue_key(std::string_view handle) { return to_bytes(fmt::format("{}{}", catalogue_prefix, handle)); }

Bytes fork_key(const ChannelId& channel, const NodeId& writer) {
  Bytes key = to_bytes(fork_prefix);
  append(key, channel);
  append(key, writer);
  return key;
}

}  // namespace

Result<void> RemoteChannels::load() {
  const Bytes forks = to_bytes(fork_prefix);
  auto read = context_.store.scan(Table::meta, forks, after_prefix(forks), [&](ByteView key, ByteView value) {
    const auto batch = BatchView::parse(value.first(std::min(value.size(), BatchHeader::wire_bytes)));
    if (!batch || key.size() != forks.size() + 64) return true;
    const BatchHeader& header = batch->header;
    forks_[{header.channel, header.writer}] = {{}, header.channel, header.writer, header.incarnation};
    return true;
  });
  if (!read) return read;
  const Bytes prefix = to_bytes(catalogue_prefix);
  return context_.store.scan(Table::meta, prefix, after_prefix(prefix), [&](ByteView key, ByteView value) {
    const auto record = decode_directory_record(value, context_.network());
    const std::string handle(as_text(key).substr(catalogue_prefix.size()));
    if (!record || as_text(record->subject) != handle) return true;
    take_catalogue(handle, owners_[handle], *record, value);
    owners_[handle].stored_seq = record->seq;
    return true;
  });
}

void RemoteChannels::settle(const std::function<bool(const ChannelId&)>& own) {
  for (auto& [handle, owner] : owners_) recompute(handle, owner);
  for (auto& [id, channel] : channels_)
    if (wants_durably(channel))
      for (const auto& writer : logs_.writers(id)) channel.followed.insert(writer);
  for (const ChannelId& id : logs_.held()) {
    const auto channel = channels_.find(id);
    if (own(id) || (channel != channels_.end() && wants_durably(channel->second))) continue;
    // A later reader begins at the log's end then, so that copies miss what changed meanwhile.
    logs_.set_copies_complete(id, false);
    if (channel == channels_.end()) lingering_[id] = context_.clock.monotonic() + limits::carry_time;
  }
  std::set<ChannelId> stale;
  context_.retained.match("#", [&](const std::string& topic, const RetainedValue& value) {
    if (parts_of(topic).kind == TopicKind::owned && !logs_.holds(value.channel)) stale.insert(value.channel);
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
  ask_owners(owner, handle);
  for (const auto& [link, answered] : owner.helpers) ask(owner, handle, links_.at(link), link);
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
  if (owner->second.filters.empty()) dismiss_helpers(owner->second, owner->first);
  recompute(owner->first, owner->second);
}

bool RemoteChannels::wants(const Owner& owner, std::string_view filter) {
  return std::ranges::any_of(owner.filters, [&](const auto& demand) { return overlaps(filter, demand.first); }) ||
         std::ranges::any_of(owner.for_members, [&](const auto& asked) {
           return std::ranges::any_of(asked.second, [&](const auto& each) { return overlaps(filter, each); });
         });
}

bool RemoteChannels::wants_durably(const Channel& channel) const {
  const auto owner = owners_.find(channel.handle);
  return owner != owners_.end() && std::ranges::any_of(owner->second.filters, [&](const auto& demand) {
           return demand.second.durable > 0 && overlaps(channel.share.policy.filter, demand.first);
         });
}

std::set<NodeId> RemoteChannels::wanted() const {
  std::set<NodeId> out;
  for (const auto& [handle, owner] : owners_) {
    const bool idle = owner.filters.empty() && owner.for_members.empty();
    const HandleRecord* record = idle ? nullptr : context_.ledger.handle(handle);
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
  const bool helped = std::ranges::any_of(owner->second.helpers, [](const auto& helper) { return helper.second; });
  for (const auto& [node, role] : record->nodes) {
    const auto link = owner->second.links.find(node);
    if (link == owner->second.links.end() && !helped)
      return fmt::format("no link to @{}'s node {}", parts.handle, to_display(node));
    if (link != owner->second.links.end() && !owner->second.answered.contains(node))
      return fmt::format("the catalogue of @{}", parts.handle);
    for (const auto& [id, share] : owner->second.shares) {
      if (!overlaps(share.policy.filter, parts.rest)) continue;
      const auto channel = channels_.find(id);
      // At the node itself, or through a member that knows its log's end.
      const bool through =
          channel != channels_.end() && std::ranges::any_of(channel->second.joins, [&](auto& join) {
            return join.second.joined && (link != owner->second.links.end() ? join.first == link->second
                                                                            : channel->second.followed.contains(node));
          });
      if (!through) return fmt::format("joining the share '{}' of @{}", share.policy.filter, parts.handle);
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
  wire::CatalogueGet get{handle, {}};
  if (context_.speaks_for(peer, handle)) {
    owner.links[peer] = link;
    owner.answered.erase(peer);
    owner.helpers.erase(link);
  } else {
    owner.helpers.try_emplace(link, false);
    for (const auto& [filter, demand] : owner.filters)
      if (get.filters.size() < limits::filters_for_others_max) get.filters.push_back(filter);
    if (owner.filters.size() > get.filters.size()) get.filters = {"#"};
  }
  context_.links->send(link, FrameType::catalogue_get, {wire::encode_catalogue_get(get)});
}

/// Links to its nodes may be up for another reason.
void RemoteChannels::ask_owners(Owner& owner, const std::string& handle) {
  for (const auto& [link, peer] : links_)
    if (!owner.links.contains(peer) && context_.speaks_for(peer, handle)) ask(owner, handle, peer, link);
}

bool RemoteChannels::out_of_reach(const Owner& owner, const std::string& handle) const {
  const HandleRecord* record = context_.ledger.handle(handle);
  return record && std::ranges::any_of(record->nodes, [&](const auto& node) {
           return node.first != context_.self() && !owner.answered.contains(node.first);
         });
}

/// Only for demand of our own clients: what we carry for a member we get from the owner. So no two nodes carry a channel
/// for each other only.
void RemoteChannels::seek_helpers(Owner& owner, const std::string& handle) {
  const Monotonic now = context_.clock.monotonic();
  if (owner.filters.empty() || !out_of_reach(owner, handle)) {
    owner.out_of_reach_since = {};
    return dismiss_helpers(owner, handle);
  }
  if (owner.out_of_reach_since == Monotonic{}) owner.out_of_reach_since = now;
  if (now - owner.out_of_reach_since < helper_patience) return;
  for (const auto& [link, peer] : links_) {
    if (owner.helpers.size() >= helpers_max) break;
    if (!owner.helpers.contains(link) && !context_.speaks_for(peer, handle)) ask(owner, handle, peer, link);
  }
}

void RemoteChannels::dismiss_helpers(Owner& owner, const std::string& handle) {
  if (owner.helpers.empty()) return;
  for (const auto& [link, answered] : std::exchange(owner.helpers, {})) {
    context_.links->send(link, FrameType::catalogue_get, {wire::encode_catalogue_get({handle, {}})});
    for (auto& [id, channel] : channels_) {
      if (channel.handle != handle || channel.joins.erase(link) == 0) continue;
      if (channel.snapshot_from == link) channel.snapshot_from.reset();
      context_.links->send(link, FrameType::channel_leave, {wire::encode_channel_leave(id)});
    }
  }
}

void RemoteChannels::link_up(LinkId link, const NodeId& peer) {
  links_[link] = peer;
  for (auto& [handle, owner] : owners_)
    if ((!owner.filters.empty() || !owner.for_members.empty()) && context_.speaks_for(peer, handle))
      ask(owner, handle, peer, link);
}

void RemoteChannels::link_down(LinkId link, const NodeId& peer) {
  links_.erase(link);
  for (auto& [handle, owner] : owners_) {
    owner.helpers.erase(link);
    if (owner.for_members.erase(link) > 0) recompute(handle, owner);
    const auto found = owner.links.find(peer);
    if (found == owner.links.end() || found->second != link) continue;
    owner.links.erase(found);
    owner.answered.erase(peer);
  }
  for (auto& [id, channel] : channels_) {
    channel.joins.erase(link);
    channel.let_go.erase(link);
    if (channel.snapshot_from == link) channel.snapshot_from.reset();
    for (auto& [writer, missing] : channel.missing) {
      missing.lacking.erase(link);
      if (missing.asked == link) missing.asked.reset();
    }
  }
}

void RemoteChannels::ledger_changed() {
  for (auto& [handle, owner] : owners_)
    if (!owner.filters.empty() || !owner.for_members.empty()) ask_owners(owner, handle);
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

void RemoteChannels::take_catalogue(const std::string& handle, Owner& owner, const DirectoryRecord& record,
                                    ByteView bytes) {
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
  const bool pass_on = !bytes.empty() && (owner.catalogue.empty() || record.seq > owner.catalogue_seq);
  owner.catalogue_seq = record.seq;
  if (!bytes.empty()) owner.catalogue = to_bytes(bytes);
  owner.shares = std::move(*shares);
  owner.known = true;
  if (!pass_on) return;
  for (const auto& [link, filters] : owner.for_members)
    context_.links->send(link, FrameType::catalogue, {owner.catalogue});
}

void RemoteChannels::on_directory_record(const DirectoryRecord& record) {
  const std::string handle(as_text(record.subject));
  const auto found = owners_.find(handle);
  if (found == owners_.end() || record.seq <= found->second.catalogue_seq) return;
  take_catalogue(handle, found->second, record, {});
  if (found->second.catalogue_seq == record.seq) recompute(handle, found->second);
}

void RemoteChannels::on_catalogue_get(LinkId link, const wire::CatalogueGet& get) {
  if (!context_.ledger.handle(get.handle)) return context_.count("catalogues asked for that nobody has");
  Owner& owner = owners_[get.handle];  // bounded by the ledger's handles
  if (get.filters.empty()) {
    if (owner.for_members.erase(link) > 0) recompute(get.handle, owner);
    return;
  }
  owner.for_members[link] = get.filters;
  ask_owners(owner, get.handle);
  if (!owner.catalogue.empty()) context_.links->send(link, FrameType::catalogue, {owner.catalogue});
  recompute(get.handle, owner);
}

void RemoteChannels::on_catalogue(LinkId link, const NodeId& peer, ByteView bytes) {
  const auto record = decode_directory_record(bytes, context_.network());
  if (!record) return context_.count("catalogues refused");
  const std::string handle(as_text(record->subject));
  const auto found = owners_.find(handle);
  if (found == owners_.end()) return;
  Owner& owner = found->second;
  const auto helper = owner.helpers.find(link);
  // An owner's node speaks for itself; anybody else passes on what one of them signed.
  if (helper == owner.helpers.end() && record->signer != peer) return context_.count("catalogues refused");
  take_catalogue(handle, owner, *record, bytes);
  if (helper == owner.helpers.end())
    owner.answered.insert(peer);
  else
    helper->second = owner.known;
  // An older one than the DHT has shown (which gives no bytes to keep) still leads a restarted reader to its places.
  if (record->seq > owner.stored_seq && context_.speaks_for(record->signer, handle)) {
    context_.store.put(Table::meta, catalogue_key(handle), to_bytes(bytes));
    owner.stored_seq = record->seq;
  }
  context_.turn.touch();
  recompute(handle, owner);
}

void RemoteChannels::recompute(const std::string& handle, Owner& owner) {
  for (const auto& [id, share] : owner.shares) {
    if (!wants(owner, share.policy.filter)) continue;
    Channel& channel = channels_[id];
    channel.handle = handle;
    channel.share = share;
    logs_.open(id);
    lingering_.erase(id);
    for (const auto& peer : owner.answered)
      if (const auto link = owner.links.find(peer); link != owner.links.end() && !channel.joins.contains(link->second))
        join(id, channel, link->second);
    for (const auto& [link, answered] : owner.helpers)
      if (!channel.joins.contains(link)) join(id, channel, link);
  }
  std::vector<std::pair<ChannelId, bool>> unneeded;
  for (const auto& [id, channel] : channels_)
    if (channel.handle == handle) {
      const bool ended = !owner.shares.contains(id);
      if (ended || !wants(owner, channel.share.policy.filter)) unneeded.emplace_back(id, ended);
    }
  for (const auto& [id, ended] : unneeded) leave(id, ended);
}

// Channels ---------------------------------------------------------------------------------------------------

void RemoteChannels::join(const ChannelId& id, Channel& channel, LinkId link) {
  Join& asked = channel.joins[link] = {false, context_.clock.monotonic(), {}, {}};
  // Who comes back finds changed values in the logs; who is new, or has lost a part of a log, gets them all.
  const bool snapshot_elsewhere = channel.snapshot_from && *channel.snapshot_from != link;
  wire::ChannelJoin join{id, !logs_.copies_complete(id) && !snapshot_elsewhere, {}};
  if (join.snapshot) {
    channel.snapshot_from = link;
    channel.fresh.clear();
    channel.since.clear();
  }
  for (const auto& writer : channel.followed)
    if (const LogEnd* end = logs_.end(id, writer)) {
      join.positions.push_back({writer, end->cursor, end->header});
      asked.told.insert(writer);
      if (join.snapshot) channel.since[writer] = end->cursor;
    }
  context_.links->send(link, FrameType::channel_join, {wire::encode_channel_join(join)});
}

bool RemoteChannels::knows_enough(const Channel& channel, LinkId link) const {
  const auto join = channel.joins.find(link);
  if (join == channel.joins.end()) return false;
  for (const auto& [writer, begun] : channel.since) {
    const auto held = join->second.ends.find(writer);
    if (held == join->second.ends.end() || is_behind(held->second, begun)) return false;
  }
  return true;
}

void RemoteChannels::leave(const ChannelId& id, bool share_ended) {
  const auto found = channels_.find(id);
  for (const auto& [link, join] : found->second.joins)
    context_.links->send(link, FrameType::channel_leave, {wire::encode_channel_leave(id)});
  channels_.erase(found);
  // A later reader here starts anew. Until then what is held may be all that other members can reach.
  logs_.set_copies_complete(id, false);
  lingering_[id] = context_.clock.monotonic() + limits::carry_time;
  if (share_ended) forget(id);
}

void RemoteChannels::forget(const ChannelId& id) {
  lingering_.erase(id);
  logs_.close(id);
  context_.retained.erase_channel(id);
  context_.turn.touch();
}

RemoteChannels::Channel* RemoteChannels::joined(LinkId link, const ChannelId& id) {
  const auto found = channels_.find(id);
  if (found == channels_.end()) return nullptr;
  const auto join = found->second.joins.find(link);
  return join != found->second.joins.end() && join->second.joined ? &found->second : nullptr;
}

void RemoteChannels::on_heads(LinkId link, const NodeId& peer, const wire::ChannelHeads& heads) {
  const auto found = channels_.find(heads.channel);
  if (found == channels_.end()) return;
  Channel& channel = found->second;
  const auto join = channel.joins.find(link);
  if (join == channel.joins.end()) return;
  if (!heads.error.empty()) {
    join->second.joined = false;  // the catalogue that tells why may be on its way, else it is asked again
    if (channel.snapshot_from == link) channel.snapshot_from.reset();
    context_.count("joins refused");
    return;
  }
  join->second.joined = true;
  for (const auto& position : heads.positions) {
    if (!context_.speaks_for(position.writer, channel.handle)) continue;
    join->second.ends[position.writer] = position.cursor;
    if (channel.followed.contains(position.writer)) {
      // Another member told us where to begin while this one was asked: it goes on from its own end, perhaps behind a gap.
      const LogEnd* end = logs_.end(heads.channel, position.writer);
      if (!join->second.told.contains(position.writer) && end && is_behind(end->cursor, position.cursor))
        on_missing(link, heads.channel, channel, position.writer);
      continue;
    }
    auto told = believed(heads.channel, position, peer);
    if (!told) {
      context_.count("places in logs not believed");
      continue;
    }
    const LogEnd* end = logs_.end(heads.channel, position.writer);
    if (!end || is_behind(end->cursor, told->cursor)) logs_.jump(heads.channel, position.writer, std::move(*told));
    channel.followed.insert(position.writer);
    channel.since[position.writer] = logs_.end(heads.channel, position.writer)->cursor;
  }
}

std::optional<LogEnd> RemoteChannels::believed(const ChannelId& id, const wire::Position& position,
                                               const NodeId& peer) const {
  if (const auto header = proven_header(position, id, context_.network()))
    return LogEnd{position.cursor, position.header, header->time};
  // A writer may tell its own log's end, and nobody gains by saying that a log has not begun.
  if (position.header.empty() && (peer == position.writer || position.cursor == Cursor{}))
    return LogEnd{position.cursor, {}, 0};
  return std::nullopt;
}

void RemoteChannels::on_batch(LinkId link, const BatchView& batch, const wire::HeldBatch& held) {
  const BatchHeader& header = batch.header;
  Channel* channel = joined(link, header.channel);
  if (!channel) return context_.count("batches of channels not joined");
  if (!context_.speaks_for(header.writer, channel->handle)) return context_.count("batches of strangers");
  if (batch.body.empty()) return context_.count("batches without a body");

  if (header.stream == Stream::live) {
    LivePlace& place = channel->live[header.writer];
    if (header.incarnation < place.incarnation ||
        (header.incarnation == place.incarnation && header.first_seq <= place.seq))
      return context_.count("live batches seen before");
    if (!batch.verify(context_.network())) return context_.count("batches with a wrong signature");
    if (const auto fork = forks_.find({header.channel, header.writer});
        fork != forks_.end() && fork->second.incarnation == header.incarnation)
      return context_.count("batches of a copied node");
    if (header.incarnation == place.incarnation) channel->live_lost += header.first_seq - place.seq - 1;
    place = {header.incarnation, header.last_seq()};
    channel->live_records += header.count;
    logs_.pass_live(header.channel, header.count, held.age_seconds, held.batch, link);
    return take_in(header.channel, *channel, batch, held.age_seconds);
  }

  const LogEnd* end = logs_.end(header.channel, header.writer);
  if (!end || !channel->followed.contains(header.writer)) return context_.count("batches of logs without a place");
  Step step = judge(end->cursor, header);
  if (step == Step::seen) {
    // The same once more, or something else under the same numbers?
    const auto known = logs_.find(header.channel, header.writer, header.incarnation, header.first_seq);
    const auto same = known ? BatchView::parse(*known) : tl::unexpected(Error{});
    if (same && same->header_hash != batch.header_hash) {
      on_fork(header.channel, *channel, batch, same->header_bytes);
    } else if (!same && channel->mending.contains(header.writer) && batch.verify(context_.network())) {
      logs_.restore(header.channel, batch, to_bytes(held.batch));
      context_.count("damaged batches fetched again");
    }
    return context_.count("batches seen before");
  }
  if (!batch.verify(context_.network())) return context_.count("batches with a wrong signature");
  if (const auto fork = forks_.find({header.channel, header.writer}); fork != forks_.end()) {
    if (header.incarnation <= fork->second.incarnation) return context_.count("batches of a copied node");
    // The next life is a new start: what it says of the one before does not count.
    if (end->cursor.incarnation <= fork->second.incarnation && header.first_seq == 1) {
      step = Step::next;
      logs_.set_copies_complete(header.channel, false);
    }
  }
  if (step == Step::fork) {
    if (!end->header.empty()) on_fork(header.channel, *channel, batch, end->header);
    return context_.count("batches that contradict their log");
  }
  if (context_.store.pending_bytes() > limits::store_pending_bytes_max) {
    // The sender has it on disk: it is asked for again when ours has caught up.
    channel->let_go.insert(link);
    return context_.count("batches let go while the disk was behind");
  }
  if (step == Step::gap) return on_missing(link, header.channel, *channel, header.writer);
  if (header.time < end->time) return context_.count("batches whose time goes back");
  context_.hybrid.merge(header.time);  // what is written here now comes after it
  channel->missing.erase(header.writer);
  channel->durable_records += header.count;
  // In one transaction with what the broker queues for its sessions: both are of this turn.
  logs_.append(header.channel, batch, to_bytes(held.batch), link);
  take_in(header.channel, *channel, batch, held.age_seconds);
}

// Gaps -------------------------------------------------------------------------------------------------------

void RemoteChannels::on_missing(LinkId link, const ChannelId& id, Channel& channel, const NodeId& writer) {
  Missing& missing = channel.missing[writer];
  const Cursor& place = logs_.end(id, writer)->cursor;
  if (missing.place != place) missing = {place, {}, {}, context_.clock.monotonic(), {}};
  // Once for each place: what was under way behind the gap shows it again.
  if (!missing.asked && !missing.lacking.contains(link)) ask_range(link, channel, writer);
}

void RemoteChannels::ask_range(LinkId link, Channel& channel, const NodeId& writer) {
  const LogEnd* end = logs_.end(channel.share.channel, writer);
  Missing& missing = channel.missing[writer];
  missing.place = end->cursor;
  missing.asked = link;
  context_.count("ranges asked for");
  context_.links->send(link, FrameType::range_get,
                       {wire::encode_channel_position({channel.share.channel, {writer, end->cursor, end->header}})});
}

void RemoteChannels::on_gap(LinkId link, const NodeId& peer, const wire::ChannelGap& gap) {
  Channel* channel = joined(link, gap.channel);
  const NodeId& writer = gap.position.writer;
  if (!channel || !channel->followed.contains(writer)) return context_.count("gaps of strangers");
  std::optional<LogEnd> to = believed(gap.channel, gap.position, peer);
  if (!gap.next_header.empty()) {
    const auto next = BatchView::parse(gap.next_header);
    if (next && next->body.empty() && next->header.stream == Stream::durable && next->header.channel == gap.channel &&
        next->header.writer == writer && next->verify(context_.network()))
      to = LogEnd{before(next->header), {}, 0};
    else
      to.reset();
  }
  if (!to) return context_.count("gaps not believed");
  const Cursor& place = logs_.end(gap.channel, writer)->cursor;
  const bool ahead = place.incarnation < to->cursor.incarnation ||
                     (place.incarnation == to->cursor.incarnation && place.seq <= to->cursor.seq);
  if (!ahead) return context_.count("gaps that lead back");
  Missing& missing = channel->missing[writer];
  if (missing.place != place) missing = {place, {}, {}, context_.clock.monotonic(), {}};
  missing.lacking.insert_or_assign(link, std::move(*to));
  missing.asked.reset();
  give_up(*channel, writer);
}

/// Asks the next one who may have what is missing; where nobody has, goes on behind it, unless a node of the owner that is
/// out of reach may still have it and somebody here counts on every record.
void RemoteChannels::give_up(Channel& channel, const NodeId& writer) {
  Missing& missing = channel.missing.at(writer);
  const ChannelId id = channel.share.channel;
  bool writer_lacks = false;
  for (const auto& [link, join] : channel.joins) {
    if (!join.joined) continue;
    if (!missing.lacking.contains(link)) return ask_range(link, channel, writer);
    const auto node = links_.find(link);
    writer_lacks |= node != links_.end() && node->second == writer;
  }
  if (missing.lacking.empty()) return;
  const Monotonic now = context_.clock.monotonic();
  if (!writer_lacks && now - missing.since <= limits::log_age_max && wants_durably(channel)) {
    if (missing.next_try == Monotonic{} || missing.next_try <= now) {
      // Somebody may get it, too, before its writer is in reach.
      if (missing.next_try != Monotonic{}) missing.lacking.clear();
      missing.next_try = now + missing_retry;
    }
    return;
  }
  const auto nearest = std::ranges::min_element(
      missing.lacking, [](const auto& a, const auto& b) { return is_behind(a.second.cursor, b.second.cursor); });
  const LinkId link = nearest->first;
  LogEnd to = nearest->second;
  const Cursor place = missing.place;
  const std::uint64_t lost = place.incarnation == to.cursor.incarnation ? to.cursor.seq - place.seq : to.cursor.seq;
  channel.durable_lost += lost;
  if (lost > 0) context_.count("records lost to retention (at least)", lost);
  to.time = std::max(to.time, logs_.end(id, writer)->time);
  logs_.jump(id, writer, std::move(to));
  channel.missing.erase(writer);
  // From the new place, and all values: how much lies between two lives of a writer nobody can tell.
  logs_.set_copies_complete(id, false);
  channel.snapshot_from.reset();
  join(id, channel, link);
}

void RemoteChannels::tick() {
  const Monotonic now = context_.clock.monotonic();
  for (auto& [handle, owner] : owners_) seek_helpers(owner, handle);
  while (!early_.empty() && early_.begin()->first <= context_.clock.wall_ms()) {
    auto [topic, value] = std::move(early_.extract(early_.begin()).mapped());
    if (channels_.contains(value.channel)) set_retained(topic, std::move(value));
  }
  std::vector<ChannelId> over;
  for (const auto& [id, until] : lingering_)
    if (until <= now) over.push_back(id);
  for (const auto& id : over) forget(id);
  const bool disk_keeps_up = context_.store.pending_bytes() <= limits::store_pending_bytes_max / 2;
  for (auto& [id, channel] : channels_) {
    std::optional<LinkId> other_snapshot;
    for (auto& [link, at] : channel.joins) {
      if (!at.joined && now - at.asked > join_retry) join(id, channel, link);
      if (at.joined && !channel.snapshot_from && !logs_.copies_complete(id) &&
          (!other_snapshot || knows_enough(channel, link)))
        other_snapshot = link;
    }
    if (other_snapshot) join(id, channel, *other_snapshot);
    channel.mending.clear();
    if (disk_keeps_up)
      for (const LinkId link : std::exchange(channel.let_go, {}))
        for (const auto& writer : channel.followed)
          if (links_.contains(link)) ask_range(link, channel, writer);
    std::vector<NodeId> stuck;
    for (const auto& [writer, missing] : channel.missing)
      if (!missing.asked) stuck.push_back(writer);
    for (const auto& writer : stuck) give_up(channel, writer);
  }
}

void RemoteChannels::on_damage(const ChannelId& id, const NodeId& writer, const Cursor& before) {
  const auto found = channels_.find(id);
  if (found == channels_.end() || !found->second.mending.insert(writer).second) return;
  for (const auto& [link, join] : found->second.joins)
    if (join.joined)
      context_.links->send(link, FrameType::range_get, {wire::encode_channel_position({id, {writer, before, {}}})});
}

// Forks ------------------------------------------------------------------------------------------------------

/// Two headers of one log that cannot both be true, signed by its writer: kept as the proof.
void RemoteChannels::on_fork(const ChannelId& id, const Channel& channel, const BatchView& batch,
                             ByteView other_header) {
  const auto other = BatchView::parse(other_header);
  if (!other || other->header.incarnation != batch.header.incarnation || !batch.verify(context_.network())) return;
  const NodeId& writer = batch.header.writer;
  if (!forks_.insert_or_assign({id, writer}, Fork{channel.handle, id, writer, batch.header.incarnation}).second) return;
  Bytes proof = to_bytes(batch.header_bytes);
  append(proof, other_header);
  context_.store.put(Table::meta, fork_key(id, writer), std::move(proof));
  context_.turn.touch();
  context_.count("copied nodes (forked logs)");
}

std::vector<RemoteChannels::Fork> RemoteChannels::forks() const {
  std::vector<Fork> out;
  for (const auto& [key, fork] : forks_) {
    const LogEnd* end = logs_.end(fork.channel, fork.writer);
    if (end && end->cursor.incarnation > fork.incarnation) continue;  // over
    out.push_back(fork);
    if (const auto channel = channels_.find(key.first); channel != channels_.end())
      out.back().handle = channel->second.handle;
  }
  return out;
}

// Records ----------------------------------------------------------------------------------------------------

bool RemoteChannels::set_retained(const std::string& topic, RetainedValue value) {
  const auto newer = context_.retained.set(topic, std::move(value));
  if (!newer) context_.count("retained refused");
  return newer && *newer;
}

void RemoteChannels::retain(const std::string& topic, RetainedValue value, std::optional<LinkId> from) {
  // Else a writer whose clock is ahead, or who lies, could not be overwritten by anybody until then.
  if (const WallMs at = wall_of(value.stamp.time); at > context_.clock.wall_ms() + retained_ahead_ms_max) {
    context_.count("retained values ahead of their time");
    if (early_.size() < limits::early_values_max) early_.emplace(at, std::pair(topic, std::move(value)));
    return;
  }
  const MessagePtr message = value.message;
  const ChannelId id = value.channel;
  if (!set_retained(topic, std::move(value)) || !from || !message) return;
  context_.broker->deliver_retained(message);
  logs_.pass_retained(id, topic, *from);
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
    if (record->retain) {
      RetainedValue value;
      value.stamp = {header.time, header.writer, header.incarnation, header.first_seq + index};
      value.channel = id;
      if (auto proof = batch.proof_of(index)) value.proof = std::move(*proof);
      if (record->kind == RecordKind::message) value.message = message;
      if (channel.snapshot_from) channel.fresh.insert(message->topic);
      retain(message->topic, std::move(value), {});
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
    if (!message) continue;
    if (channel->snapshot_from == link) channel->fresh.insert(message->topic);
    retain(message->topic, {message, proven->stamp(), values.channel, to_bytes(value.proof), 0}, link);
  }
  if (values.last && channel->snapshot_from == link && !knows_enough(*channel, link)) {
    channel->snapshot_from
        .reset();  // it lags behind our places: the next tick asks again, somebody else if there is one
  } else if (values.last && channel->snapshot_from == link) {
    context_.retained.erase_channel(values.channel, [&](const std::string& topic) {
      return channel->fresh.contains(topic) || !context_.retained.find(topic)->message;
    });
    channel->snapshot_from.reset();
    channel->fresh.clear();
    logs_.set_copies_complete(values.channel, true);
  }
  context_.turn.touch();
}

// Status -----------------------------------------------------------------------------------------------------

std::vector<RemoteChannels::ChannelStatus> RemoteChannels::status() const {
  std::vector<ChannelStatus> out;
  for (const auto& [id, channel] : channels_) {
    ChannelStatus each;
    each.handle = channel.handle;
    each.filter = channel.share.policy.filter;
    each.id = id;
    each.durable_records = channel.durable_records;
    each.live_records = channel.live_records;
    each.live_lost = channel.live_lost;
    each.durable_lost = channel.durable_lost;
    each.joined = static_cast<std::size_t>(
        std::ranges::count_if(channel.joins, [](const auto& join) { return join.second.joined; }));
    each.members = logs_.members(id);
    each.log_bytes = logs_.log_bytes(id);
    for (const auto& [writer, missing] : channel.missing)
      if (!missing.lacking.empty()) each.withheld.push_back(writer);
    out.push_back(std::move(each));
  }
  return out;
}

std::vector<std::string> RemoteChannels::handles() const {
  std::vector<std::string> out;
  for (const auto& [handle, owner] : owners_)
    if (!owner.filters.empty()) out.push_back(handle);
  return out;
}

}  // namespace diot
