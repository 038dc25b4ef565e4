// What comes over a joined channel: places, batches, gaps, forks, records and retained values.

#include "core/limits.hpp"
#include "core/topic.hpp"
#include "dht/records.hpp"
#include "dht/remote_channels.hpp"

namespace diot {

namespace {

constexpr std::string_view fork_prefix = "fork/";
constexpr WallMs retained_ahead_ms_max = 5 * 60 * 1000;
// So that no other home fills it alone.
constexpr Retained::Use retained_per_handle_max = {limits::retained_count_max / 10, limits::retained_bytes_max / 10};
constexpr auto missing_retry = std::chrono::seconds(20);

Bytes fork_key(const ChannelId& channel, const NodeId& writer) {
  Bytes key = to_bytes(fork_prefix);
  append(key, channel);
  append(key, writer);
  return key;
}

/// Whether a handle with that `use` may have `more` here; counted if not.
bool within_quota(OverlayContext& context, const Retained::Use& use, const Retained::Use& more) {
  if (use.count + more.count <= retained_per_handle_max.count &&
      use.bytes + more.bytes <= retained_per_handle_max.bytes)
    return true;
  context.count("retained values beyond their handle's quota");
  return false;
}

}  // namespace

RemoteChannels::Channel* RemoteChannels::joined(LinkId link, const ChannelId& id) {
  const auto found = channels_.find(id);
  if (found == channels_.end()) return nullptr;
  const auto join = found->second.joins.find(link);
  const bool joined = join != found->second.joins.end() && (join->second.joined || join->second.before);
  return joined ? &found->second : nullptr;
}

void RemoteChannels::on_heads(LinkId link, const NodeId& peer, const wire::ChannelHeads& heads) {
  const auto found = channels_.find(heads.channel);
  if (found == channels_.end()) return;
  Channel& channel = found->second;
  const auto join = channel.joins.find(link);
  if (join == channel.joins.end()) return;
  // What answers a join that a later one has replaced tells places that are good all the same; whether what was asked for
  // later comes, too, the next answer says.
  const bool latest = heads.number == join->second.number;
  if (!heads.error.empty()) {
    if (!latest) return;
    join->second.joined = join->second.before = join->second.waits =
        false;  // the catalogue that tells why may be on its way, else it is asked again
    expect_nothing(channel, link);
    context_.count("joins refused");
    return;
  }
  join->second.joined |= latest;
  join->second.before = !join->second.joined && (join->second.before || heads.number != 0);
  join->second.waits &= !latest;
  for (auto position : heads.positions) {
    const auto right = context_.handles.right_to_write(*channel.handles.begin(), position.writer, heads.channel);
    if (right.extent == WriterRight::Extent::nothing) continue;
    const bool cut = right.extent == WriterRight::Extent::up_to && is_behind(right.last, position.cursor);
    if (cut) position.cursor = right.last;  // a revoked node's log ends there, whatever lies behind
    join->second.ends[position.writer] = position.cursor;
    if (channel.followed.contains(position.writer)) {
      // Another member told us where to begin while this one was asked: it goes on from its own end, perhaps behind a gap.
      const LogEnd* end = logs_.end(heads.channel, position.writer);
      if (!join->second.told.contains(position.writer) && end && is_behind(end->cursor, position.cursor))
        on_missing(link, heads.channel, channel, position.writer);
      continue;
    }
    if (cut) continue;  // nothing more will come of it
    auto told = believed(heads.channel, position, peer);
    if (!told) {
      context_.count("places in logs not believed");
      continue;
    }
    const LogEnd* end = logs_.end(heads.channel, position.writer);
    if (!end || is_behind(end->cursor, told->cursor)) {
      // The values from before that place come with a snapshot only.
      if (told->cursor != Cursor{} && !channel.snapshot_from) logs_.set_copies_incomplete(heads.channel);
      logs_.jump(heads.channel, position.writer, std::move(*told));
    }
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
  const auto right = context_.handles.right_to_write(*channel->handles.begin(), header.writer, header.channel);
  if (right.extent == WriterRight::Extent::nothing) return context_.count("batches of strangers");
  if (right.extent == WriterRight::Extent::up_to &&
      (header.stream == Stream::live || !right.allows(header.incarnation, header.last_seq(), batch.header_hash)))
    return context_.count("batches of revoked nodes");
  if (batch.body.empty()) {
    const Join& join = channel->joins.at(link);
    const auto peer = links_.find(link);
    if (!join.skips || peer == links_.end() || peer->second != header.writer)
      return context_.count("batches without a body");
  }

  if (header.stream == Stream::live) {
    LivePlace& place = channel->live[header.writer];
    if (header.incarnation < place.incarnation ||
        (header.incarnation == place.incarnation && header.first_seq <= place.seq))
      return context_.count("live batches seen before");
    if (!batch.verify(context_.network())) return context_.count("batches with a wrong signature");
    if (is_of_copied_life(header.channel, header.writer, header.incarnation))
      return context_.count("batches of a copied node");
    if (header.incarnation == place.incarnation) channel->live_lost += header.first_seq - place.seq - 1;
    place = {header.incarnation, header.last_seq()};
    brought_something(*channel, link);
    context_.wills.heard(header.writer, context_.clock.monotonic());
    if (context_.retained.has_veils()) {
      context_.wills.lives_on(header.channel, header.writer, header.incarnation);
      lift_veils();
    }
    channel->live_records += header.count;
    if (batch.body.empty()) return context_.count("bodies not wanted");
    logs_.pass_live(header.channel, header.count, held.age_seconds, held.batch, link);
    return take_in(*channel, batch, held.age_seconds);
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
      return context_.count("batches seen before");
    }
    const auto mending = channel->mending.find(header.writer);
    if (mending == channel->mending.end() || mending->second.over) return context_.count("batches seen before");
    if (same) {
      if (mending->second.filled || mending->second.lacking) stop_mending(*channel, header.writer);
      return context_.count("batches seen before");
    }
    if (batch.body.empty() || context_.store.pending_bytes() > limits::store_pending_bytes_max ||
        !batch.verify(context_.network()) || is_of_copied_life(header.channel, header.writer, header.incarnation))
      return context_.count("batches seen before");
    mending->second.filled = true;
    mending->second.since = context_.clock.monotonic();
    context_.count("batches fetched for readers");
    return logs_.restore(header.channel, batch, to_bytes(held.batch), held.age_seconds);
  }
  if (!batch.verify(context_.network())) return context_.count("batches with a wrong signature");
  if (is_of_copied_life(header.channel, header.writer, header.incarnation))
    return context_.count("batches of a copied node");
  // The next life is a new start: what it says of the one before does not count.
  if (is_of_copied_life(header.channel, header.writer, end->cursor.incarnation) && header.first_seq == 1) {
    step = Step::next;
    logs_.set_copies_incomplete(header.channel);
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
  // A new life may begin behind the time of one that it knows nothing of: a lost disk and a clock that is set back.
  if (header.first_seq > 1 && header.time < end->time) return context_.count("batches whose time goes back");
  context_.hybrid.merge(header.time);  // what is written here now comes after it
  brought_something(*channel, link);
  channel->missing.erase(header.writer);
  if (batch.body.empty()) {
    // The place moves on as if we had it; who gets the log from here is told of the gap.
    logs_.jump(header.channel, header.writer,
               {advanced(header, batch.header_hash), to_bytes(batch.header_bytes), header.time});
    return context_.count("bodies not wanted");
  }
  channel->durable_records += header.count;
  // In one transaction with what the broker queues for its sessions: both are of this turn.
  logs_.append(header.channel, batch, to_bytes(held.batch), held.age_seconds, link);
  take_in(*channel, batch, held.age_seconds);
  context_.wills.heard(header.writer, context_.clock.monotonic());
  lift_veils();
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
  ask_from(link, channel, writer, end->cursor);
}

void RemoteChannels::on_gap(LinkId link, const NodeId& peer, const wire::ChannelGap& gap) {
  Channel* channel = joined(link, gap.channel);
  const NodeId& writer = gap.position.writer;
  if (!channel || !channel->followed.contains(writer)) return context_.count("gaps of strangers");
  std::optional<LogEnd> to = believed(gap.channel, gap.position, peer);
  if (!gap.next_header.empty()) {
    const auto next = signed_header(gap.next_header, gap.channel, writer, context_.network());
    to = next ? std::optional(LogEnd{before(next->header), {}, 0}) : std::nullopt;
  }
  if (!to) return context_.count("gaps not believed");
  const Cursor& place = logs_.end(gap.channel, writer)->cursor;
  if (!is_behind(place, to->cursor)) {
    if (const auto mending = channel->mending.find(writer); mending != channel->mending.end())
      mending->second.lacking = true;
    return context_.count("gaps that lead back");
  }
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
  if (const LogEnd* end = logs_.end(id, writer); end->cursor.incarnation == to.cursor.incarnation)
    to.time = std::max(to.time, end->time);
  logs_.jump(id, writer, std::move(to));
  channel.missing.erase(writer);
  // From the new place, and all values: how much lies between two lives of a writer nobody can tell.
  logs_.set_copies_incomplete(id);
  channel.snapshot_from.reset();
  join(id, channel, link);
}

void RemoteChannels::on_lack(const ChannelId& id, const NodeId& writer, const Cursor& before) {
  const auto found = channels_.find(id);
  if (found == channels_.end()) return;
  const auto [at, fresh] = found->second.mending.try_emplace(writer);
  Mending& mending = at->second;
  if (!fresh && (mending.over || !is_behind(before, mending.before))) return;
  mending = {before, context_.clock.monotonic()};
  mend(found->second, writer, mending);
}

std::vector<LinkId> RemoteChannels::menders(const Channel& channel, const NodeId& writer) const {
  std::vector<LinkId> out;
  for (const auto& [link, join] : channel.joins) {
    if (!join.joined) continue;
    if (const auto peer = links_.find(link); peer != links_.end() && peer->second == writer) return {link};
    out.push_back(link);
  }
  return out;
}

void RemoteChannels::mend(Channel& channel, const NodeId& writer, Mending& mending) {
  if (!channel.followed.contains(writer)) return;  // our own log's end first: what comes behind it is no part of this
  for (const LinkId link : menders(channel, writer)) {
    mending.asked = true;
    ask_from(link, channel, writer, mending.before);
  }
}

void RemoteChannels::stop_mending(Channel& channel, const NodeId& writer) {
  for (const LinkId link : menders(channel, writer))
    ask_from(link, channel, writer, logs_.end(channel.share.channel, writer)->cursor);
  Mending& mending = channel.mending.at(writer);
  mending.over = !mending.filled;
  mending.since = context_.clock.monotonic();
  if (mending.filled) channel.mending.erase(writer);
}

void RemoteChannels::ask_from(LinkId link, const Channel& channel, const NodeId& writer, const Cursor& place) {
  const ChannelId& id = channel.share.channel;
  const LogEnd* end = logs_.end(id, writer);
  const Bytes header = end && end->cursor == place ? end->header : Bytes{};
  context_.links->send(link, FrameType::range_get, {wire::encode_channel_position({id, {writer, place, header}})});
}

// Forks ------------------------------------------------------------------------------------------------------

Result<void> RemoteChannels::load_forks() {
  const Bytes forks = to_bytes(fork_prefix);
  return context_.store.scan(Table::meta, forks, after_prefix(forks), [&](ByteView key, ByteView value) {
    const auto batch = BatchView::parse(value.first(std::min(value.size(), BatchHeader::wire_bytes)));
    if (!batch || key.size() != forks.size() + 64) return true;
    const BatchHeader& header = batch->header;
    std::string handle(as_text(value.subspan(std::min(value.size(), 2 * BatchHeader::wire_bytes))));
    if (!check_handle(handle)) {  // of a version that did not note it
      const HandleRecord* record = context_.handles.of(header.writer);
      handle = record ? record->handle : "";
    }
    forks_[{header.channel, header.writer}] = {std::move(handle), header.channel, header.writer, header.incarnation};
    return true;
  });
}

/// Two headers of one log that cannot both be true, signed by its writer: kept as the proof.
void RemoteChannels::on_fork(const ChannelId& id, const Channel& channel, const BatchView& batch,
                             ByteView other_header) {
  const auto other = BatchView::parse(other_header);
  if (!other || other->header.incarnation != batch.header.incarnation || !batch.verify(context_.network())) return;
  const NodeId& writer = batch.header.writer;
  Fork& fork = forks_[{id, writer}];
  if (fork.incarnation == batch.header.incarnation) return;  // known
  fork = {*channel.handles.begin(), id, writer, batch.header.incarnation};
  Bytes proof = to_bytes(batch.header_bytes);
  append(proof, other_header);
  append(proof, as_bytes(fork.handle));
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
  }
  return out;
}

bool RemoteChannels::is_of_copied_life(const ChannelId& id, const NodeId& writer,
                                       const Incarnation& incarnation) const {
  const auto fork = forks_.find({id, writer});
  return fork != forks_.end() && incarnation <= fork->second.incarnation;
}

bool RemoteChannels::stands_by(LinkId link, const BatchHeader& header) const {
  if (!is_of_copied_life(header.channel, header.writer, header.incarnation)) return true;
  const auto peer = links_.find(link);
  const LogEnd* end = logs_.end(header.channel, header.writer);
  return peer != links_.end() && peer->second == header.writer && end &&
         !is_of_copied_life(header.channel, header.writer, end->cursor.incarnation);
}

// Records ----------------------------------------------------------------------------------------------------

/// Of all channels of the handle that this one belongs to.
Retained::Use RemoteChannels::retained_of(const ChannelId& id) const {
  const auto channel = channels_.find(id);
  const auto owners = channel == channels_.end() ? std::vector<const Owner*>() : readers(channel->second);
  if (owners.empty()) return context_.retained.use(id);
  Retained::Use out;
  for (const auto& [each, share] : owners.front()->shares) {
    const auto use = context_.retained.use(each);
    out.count += use.count;
    out.bytes += use.bytes;
  }
  return out;
}

bool RemoteChannels::set_retained(const std::string& topic, RetainedValue value) {
  const RetainedValue* old = context_.retained.find(topic);
  const std::size_t bytes = bytes_of(value), freed = old ? bytes_of(*old) : 0;
  if (!old || bytes > freed) {
    const Retained::Use more{old ? 0u : 1u, bytes - std::min(freed, bytes)};
    if (!within_quota(context_, retained_of(value.channel), more)) return false;
    if (!context_.retained.has_room(topic, bytes)) {
      context_.count("retained refused");
      return false;
    }
  }
  return context_.retained.set(topic, std::move(value));
}

void RemoteChannels::retain(const std::string& topic, RetainedValue value, std::optional<LinkId> from) {
  // Else a writer whose clock is ahead, or who lies, could not be overwritten by anybody until then.
  // A clock that is known to be behind has no say.
  const WallMs at = wall_of(value.stamp.time);
  if (context_.clock.sure() && at > context_.clock.wall_ms() + retained_ahead_ms_max) {
    context_.count("retained values ahead of their time");
    if (within_quota(context_, retained_of(value.channel), {1, bytes_of(value)}) &&
        !context_.retained.set_at(at, topic, std::move(value)))
      context_.count("retained refused");
    context_.turn.touch();
    return;
  }
  const MessagePtr message = value.message;
  const ChannelId id = value.channel;
  if (!set_retained(topic, std::move(value)) || !from || !message) return;
  context_.broker->deliver_retained(message);
  logs_.pass_retained(id, topic, *from);
}

std::vector<MessagePtr> RemoteChannels::messages_of(const Channel& channel, const Record& record,
                                                    std::uint32_t age_seconds) {
  std::vector<MessagePtr> out;
  if (!is_of_share(channel, record)) return out;
  for (const auto& handle : channel.handles)
    if (auto message = message_from(record, owned_topic(handle, record.topic), context_.clock.monotonic(), age_seconds))
      out.push_back(std::move(message));
  if (out.empty()) context_.count("records expired on their way");
  return out;
}

bool RemoteChannels::keeps(const Channel& channel, std::string_view topic) const {
  if (std::ranges::all_of(channel.joins, [](const auto& join) { return join.second.filters.empty(); })) return true;
  return std::ranges::any_of(readers(channel), [&](const Owner* owner) {
    return std::ranges::any_of(owner->filters, [&](const auto& demand) { return matches(demand.first, topic); });
  });
}

bool RemoteChannels::is_known(const Channel& channel, const ProvenRecord& value) const {
  const ChannelId& id = channel.share.channel;
  const LogEnd* end = logs_.end(id, value.header.writer);
  return end && channel.followed.contains(value.header.writer) && logs_.copies_complete(id, {value.record.topic}) &&
         !is_behind(end->cursor, {value.header.incarnation, value.stamp().seq, {}});
}

void RemoteChannels::take_in(Channel& channel, const BatchView& batch, std::uint32_t age_seconds) {
  const auto records = batch.records();
  if (!records) return context_.count("sealed or malformed bodies");
  const BatchHeader& header = batch.header;
  for (std::uint32_t index = 0; index < records->size(); ++index) {
    if (const auto signal = signal_of((*records)[index])) {
      if (header.stream == Stream::live)
        --channel.live_records;  // it is no message
      else if (signal == Signal::wills_end)
        context_.wills.end_lives_before(header.channel, header.writer, header.incarnation);
      continue;
    }
    auto record = decode_record((*records)[index]);
    if (!record) {
      context_.count("records skipped");
      continue;
    }
    if (record->kind == RecordKind::will_set || record->kind == RecordKind::will_clear) {
      take_will(channel, batch, index, std::move(*record));
      continue;
    }
    if (record->retain && !header.has_root) {  // nobody could prove it to a later reader
      context_.count("retained records without a root");
      continue;
    }
    for (const MessagePtr& message : messages_of(channel, *record, age_seconds)) {
      if (record->retain && keeps(channel, record->topic)) {
        if (channel.snapshot_from) channel.fresh.insert(message->topic);
        retain(message->topic, retained_from(batch, index, record->kind == RecordKind::message ? message : nullptr),
               {});
      }
      context_.broker->deliver(message, header.stream == Stream::live ? Origin::live : Origin::log);
    }
  }
}

void RemoteChannels::on_retained(LinkId link, const wire::RetainedValues& values) {
  Channel* channel = joined(link, values.channel);
  if (!channel) return context_.count("retained values of channels not joined");
  const bool of_snapshot = channel->snapshot_from == link && channel->joins.at(link).number == values.number;
  if (of_snapshot) channel->snapshot_since = context_.clock.monotonic();
  for (const auto& value : values.values) {
    auto proven = verify_proof(value.proof, context_.network(), &channel->proven_header);
    const bool is_will = proven && proven->record.kind == RecordKind::will_set;
    if (!proven || proven->header.channel != values.channel ||
        (!is_will && (!proven->record.retain || proven->record.kind != RecordKind::message)) ||
        !keeps(*channel, proven->record.topic) ||
        !context_.handles.right_to_write(*channel->handles.begin(), proven->header.writer, values.channel)
             .allows(proven->header.incarnation, proven->header.last_seq(), proven->header_hash)) {
      context_.count("retained values refused");
      continue;
    }
    channel->proven_header = proven->header_hash;
    const bool good = stands_by(link, proven->header);
    if (!good) context_.count("retained values of a copied node");
    if (is_will) {
      if (of_snapshot && good) offer_will(*channel, *proven, value.proof);
      continue;
    }
    for (const MessagePtr& message : messages_of(*channel, proven->record, value.age_seconds)) {
      if (of_snapshot) channel->fresh.insert(message->topic);  // what we hold of the topic stays in any case
      if (!good || is_known(*channel, *proven)) continue;
      retain(message->topic, {message, proven->stamp(), values.channel, to_bytes(value.proof), 0}, link);
    }
  }
  const bool all = values.last && of_snapshot;
  const auto has_room = [&](const WillKey& key, const HeldWill& will) { return has_room_for(*channel, key, will); };
  if (all && !(knows_enough(*channel, link) &&
               context_.wills.end_snapshot(values.channel, context_.clock.monotonic(), has_room))) {
    // It lags behind our places, or too much changed meanwhile: the next tick asks again, somebody else if there is one.
    channel->snapshot_from.reset();
  } else if (all) {
    context_.retained.erase_channel(values.channel, [&](const std::string& topic) {
      return channel->fresh.contains(topic) || !context_.retained.find(topic)->message;
    });
    channel->snapshot_from.reset();
    brought_something(*channel, link);  // only who held the channel without a break has all of them
    channel->fresh.clear();
    // Where a link leaves bodies out, what it does not tell is not kept up.
    auto filters = channel->snapshot_filters;
    for (const auto& [each, join] : channel->joins)
      if (filters.empty()) filters = join.filters;
    logs_.set_copies_complete(values.channel, filters);
  }
  lift_veils();
  context_.turn.touch();
}

}  // namespace diot
