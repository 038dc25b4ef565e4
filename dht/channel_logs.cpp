#include "dht/channel_logs.hpp"

#include <algorithm>

#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::size_t disk_read_bytes = 256 << 10;
constexpr std::size_t snapshot_frame_bytes = 256 << 10;
constexpr auto prune_interval = std::chrono::minutes(1);
constexpr std::size_t prune_rows_max = 1000;  // at once

/// A batch that says nothing but that its writer lives: small, and who misses three takes the writer for gone.
bool says_presence(ByteView wire) {
  const auto batch = BatchView::parse(wire);
  const auto records = batch && batch->header.count == 1 ? batch->records() : tl::unexpected(Error{});
  return records && signal_of(records->front()) == Signal::presence;
}

// Table::log: u64 when it was signed, in the time that this home holds things ‖ batch. (The batch alone, which begins with
// its version, 1: by a program that took its header's time for that.)
Bytes log_row(HeldMs since, ByteView wire) {
  Bytes row;
  ByteWriter out(row);
  out.u64(since);
  out.raw(wire);
  return row;
}
struct LogRow {
  HeldMs since = 0;
  ByteView wire;
  Result<BatchView> batch;
};
LogRow read_log_row(ByteView row) {
  ByteReader in(row);
  const bool dated = !row.empty() && row.front() == 0;
  const HeldMs since = dated ? in.u64() : 0;
  LogRow out{since, in.rest(), BatchView::parse(in.rest())};
  if (!dated && out.batch) out.since = wall_of(out.batch->header.time);
  return out;
}

/// What has passed of the time that the value may be shown: the rest is what it has here. Of others nobody asks it.
std::uint32_t age_of(const RetainedValue& value, Monotonic now) {
  const auto left = value.message->seconds_left(now);
  const auto proven = left ? read_proof(value.proof) : tl::unexpected(Error{});
  const auto all = proven ? proven->record.properties.expiry_seconds : std::nullopt;
  return all && *all > *left ? *all - *left : 0;
}

/// A topic in its owner's names.
std::string_view local_part(std::string_view topic) {
  const auto parts = parts_of(topic);
  return parts.kind == TopicKind::owned ? parts.rest : topic;
}

}  // namespace

std::optional<BatchView> signed_header(ByteView bytes, const ChannelId& channel, const NodeId& writer,
                                       const NetworkId& network) {
  auto batch = BatchView::parse(bytes);
  if (!batch || !batch->body.empty() || batch->header.stream != Stream::durable || batch->header.channel != channel ||
      batch->header.writer != writer || !batch->verify(network))
    return std::nullopt;
  return std::move(*batch);
}

std::optional<BatchHeader> proven_header(const wire::Position& position, const ChannelId& channel,
                                         const NetworkId& network) {
  const auto batch = signed_header(position.header, channel, position.writer, network);
  if (!batch || advanced(batch->header, batch->header_hash) != position.cursor) return std::nullopt;
  return batch->header;
}

// Table::cursor: channel (32) ‖ writer (32) → cursor (56) ‖ u64 bytes of the log ‖ u64 time ‖ signed header (276, or
// none); channel ‖ 0x01 → filters, u16 length and bytes each: its copies of retained values and wills are complete for
// them, for all without. (The channel alone: by a program that knew no wills, so that they are not.)
Bytes copies_key(const ChannelId& id) {
  Bytes key = to_bytes(id.view());
  key.push_back(1);
  return key;
}

Result<void> ChannelLogs::load() {
  return context_.store.scan(Table::cursor, {}, {}, [&](ByteView key, ByteView value) {
    if (key.size() == 32) return true;
    if (key.size() == 33) {
      auto& copies = channels_[*ChannelId::from(key.first(32))].copies.emplace();
      for (ByteReader in(value); in.ok() && !in.rest().empty();) copies.emplace_back(as_text(in.raw(in.u16())));
      return true;
    }
    ByteReader in(value);
    const auto cursor = decode_cursor(in.raw(56));
    if (key.size() != 64 || !cursor) {
      context_.count("unreadable ends of logs");
      return true;
    }
    Log& log = channels_[*ChannelId::from(key.first(32))].logs[*NodeId::from(key.subspan(32))];
    log.end.cursor = log.on_disk = *cursor;
    log.bytes = in.u64();
    log.end.time = in.u64();
    log.end.header = to_bytes(in.rest());
    return true;
  });
}

void ChannelLogs::close(const ChannelId& id) {
  if (channels_.erase(id) == 0) return;
  context_.store.erase_range(Table::log, id.view(), after_prefix(id.view()));
  context_.store.erase_range(Table::cursor, id.view(), after_prefix(id.view()));
  context_.turn.touch();
}

std::vector<ChannelId> ChannelLogs::held() const {
  std::vector<ChannelId> out;
  for (const auto& [id, channel] : channels_) out.push_back(id);
  return out;
}

CutOffs ChannelLogs::ends_of(const NodeId& writer) const {
  CutOffs out;
  for (const auto& [id, channel] : channels_)
    if (const auto log = channel.logs.find(writer); log != channel.logs.end() && log->second.end.cursor != Cursor{})
      out.push_back({id, log->second.end.cursor});
  return out;
}

// Logs -------------------------------------------------------------------------------------------------------

const LogEnd* ChannelLogs::end(const ChannelId& id, const NodeId& writer) const {
  const auto channel = channels_.find(id);
  if (channel == channels_.end()) return nullptr;
  const auto log = channel->second.logs.find(writer);
  return log == channel->second.logs.end() ? nullptr : &log->second.end;
}

std::vector<NodeId> ChannelLogs::writers(const ChannelId& id) const {
  std::vector<NodeId> out;
  if (const auto channel = channels_.find(id); channel != channels_.end())
    for (const auto& [writer, log] : channel->second.logs) out.push_back(writer);
  return out;
}

ChannelLogs::Log& ChannelLogs::log(const ChannelId& id, const NodeId& writer) { return channels_.at(id).logs[writer]; }

void ChannelLogs::save_end(const ChannelId& id, const NodeId& writer, const Log& log) {
  Bytes row = encode_cursor(log.end.cursor);
  ByteWriter out(row);
  out.u64(log.bytes);
  out.u64(log.end.time);
  out.raw(log.end.header);
  context_.store.put(Table::cursor, log_prefix(id, writer), std::move(row));
  context_.turn.touch();
}

void ChannelLogs::wait_for_disk(const ChannelId& id, const NodeId& writer, const Cursor& end) {
  context_.store.when_durable([this, id, writer, end] {
    const auto channel = channels_.find(id);
    if (channel == channels_.end()) return;  // closed meanwhile
    const auto log = channel->second.logs.find(writer);
    if (log == channel->second.logs.end()) return;
    log->second.on_disk = end;
    for (auto& [link, member] : channel->second.members) pump(id, channel->second, link, member);
  });
}

void ChannelLogs::append(const ChannelId& id, const BatchView& batch, Bytes wire, std::uint32_t age_seconds,
                         std::optional<LinkId> from) {
  const BatchHeader& header = batch.header;
  Channel& channel = channels_.at(id);
  Log& log = channel.logs[header.writer];
  const HeldMs since = context_.since(age_seconds);
  context_.store.put(Table::log, log_key(id, header.writer, header.incarnation, header.first_seq),
                     log_row(since, wire));
  const Cursor end = advanced(header, batch.header_hash);
  if (from)
    if (const auto member = channel.members.find(*from); member != channel.members.end()) {
      Cursor& position = member->second.positions[header.writer];
      if (judge(position, header) == Step::next) position = end;
    }
  log.end = {end, to_bytes(batch.header_bytes), header.time};
  log.bytes += wire.size();
  log.recent_bytes += wire.size();
  log.recent.push_back({header, batch.header_hash, std::move(wire), since});
  while (log.recent_bytes > limits::channel_cache_bytes_max && log.recent.size() > 1) {
    log.recent_bytes -= log.recent.front().wire.size();
    log.recent.pop_front();
  }
  save_end(id, header.writer, log);
  wait_for_disk(id, header.writer, end);
  if (header.writer != context_.self())
    for (auto& [link, member] : channel.members) pump(id, channel, link, member);
}

void ChannelLogs::restore(const ChannelId& id, const BatchView& batch, Bytes wire, std::uint32_t age_seconds) {
  const BatchHeader& header = batch.header;
  Log& held = log(id, header.writer);
  held.bytes += wire.size();
  context_.store.put(Table::log, log_key(id, header.writer, header.incarnation, header.first_seq),
                     log_row(context_.since(age_seconds), wire));
  save_end(id, header.writer, held);
  // Who was told that it is not held here stands before it still, and gets it once it can be read back.
  context_.store.when_durable([this, id, header] {
    const auto channel = channels_.find(id);
    if (channel == channels_.end()) return;
    for (auto& [link, member] : channel->second.members) {
      const auto place = member.lacks.find(header.writer);
      if (place == member.lacks.end() || judge(place->second, header) != Step::next) continue;
      member.positions[header.writer] = place->second;
      member.lacks.erase(place);
      pump(id, channel->second, link, member);
    }
  });
}

void ChannelLogs::jump(const ChannelId& id, const NodeId& writer, LogEnd end) {
  Channel& channel = channels_.at(id);
  const auto [at, fresh] = channel.logs.try_emplace(writer);
  Log& log = at->second;
  log.end = std::move(end);
  log.recent.clear();
  log.recent_bytes = 0;
  save_end(id, writer, log);
  wait_for_disk(id, writer, log.end.cursor);
  if (!fresh) return;
  // Members that joined before this log was known begin where it begins.
  const wire::ChannelHeads heads{id, {}, {{writer, log.end.cursor, log.end.header}}};
  for (auto& [link, member] : channel.members) {
    member.positions.try_emplace(writer, log.end.cursor);
    context_.links->send(link, FrameType::channel_heads, {wire::encode_channel_heads(heads)});
  }
}

std::optional<Bytes> ChannelLogs::find(const ChannelId& id, const NodeId& writer, const Incarnation& incarnation,
                                       std::uint64_t first_seq) {
  const auto channel = channels_.find(id);
  if (channel == channels_.end()) return std::nullopt;
  if (const auto log = channel->second.logs.find(writer); log != channel->second.logs.end()) {
    const auto& recent = log->second.recent;
    const auto at = std::ranges::lower_bound(recent, std::pair(incarnation, first_seq), {}, [](const SentBatch& batch) {
      return std::pair(batch.header.incarnation, batch.header.first_seq);
    });
    if (at != recent.end() && at->header.incarnation == incarnation && at->header.first_seq == first_seq)
      return at->wire;
  }
  auto row = context_.store.get(Table::log, log_key(id, writer, incarnation, first_seq));
  if (!row || !*row) return std::nullopt;
  return to_bytes(read_log_row(**row).wire);
}

bool ChannelLogs::copies_complete(const ChannelId& id, const std::vector<std::string>& filters) const {
  const auto found = channels_.find(id);
  if (found == channels_.end() || !found->second.copies) return false;
  const auto& copies = *found->second.copies;
  const auto has = [&](const std::string& filter) {
    return std::ranges::any_of(copies, [&](const std::string& held) { return covers(held, filter); });
  };
  return copies.empty() || (!filters.empty() && std::ranges::all_of(filters, has));
}

void ChannelLogs::set_copies_incomplete(const ChannelId& id) {
  if (!std::exchange(channels_.at(id).copies, std::nullopt)) return;
  context_.store.erase(Table::cursor, copies_key(id));
  context_.turn.touch();
}

void ChannelLogs::set_copies_complete(const ChannelId& id, const std::vector<std::string>& filters) {
  Channel& channel = channels_.at(id);
  if (channel.copies == filters) return;
  channel.copies = filters;
  Bytes row;
  ByteWriter out(row);
  for (const auto& filter : filters) {
    out.u16(static_cast<std::uint16_t>(filter.size()));
    out.raw(as_bytes(filter));
  }
  context_.store.put(Table::cursor, copies_key(id), std::move(row));
  context_.turn.touch();
  if (!channel.all_copies()) return;
  for (auto& [link, member] : channel.members)
    if (member.snapshot_due) {
      open_snapshot(id, member);
      send_snapshot(id, link, member);
    }
}

void ChannelLogs::pass_live(const ChannelId& id, std::uint32_t records, std::uint32_t age_seconds, ByteView wire,
                            std::optional<LinkId> from) {
  const auto channel = channels_.find(id);
  if (channel == channels_.end()) return;
  const Bytes prefix = wire::encode_batch_prefix(age_seconds);
  std::optional<Topics> topics;
  for (auto& [link, member] : channel->second.members) {
    if (link == from) continue;
    if (!member.filters.empty() && !topics) {
      const auto batch = BatchView::parse(wire);
      topics = batch ? topics_of(*batch) : Topics{};
    }
    // The header alone, too, says how far the stream is: what is missing in it is counted.
    const bool whole = member.filters.empty() || topics->concern(member.filters);
    const std::size_t unsent = context_.links->unsent_bytes(link);
    if (unsent < limits::link_bulk_bytes_max || (unsent < 2 * limits::link_bulk_bytes_max && says_presence(wire)))
      context_.links->send(link, FrameType::batch, {prefix, whole ? wire : wire.first(BatchHeader::wire_bytes)});
    else
      context_.count("live records dropped for slow links", records);
  }
}

void ChannelLogs::pass_retained(const ChannelId& id, const std::string& topic, LinkId from) {
  Channel& channel = channels_.at(id);
  for (auto& [link, member] : channel.members) {
    if (link == from || !member.wants(local_part(topic))) continue;
    member.snapshot.push_back(topic);
    member.snapshot_open = true;
    send_snapshot(id, link, member);
  }
}

// Members ----------------------------------------------------------------------------------------------------

bool ChannelLogs::has_members(const ChannelId& id) const { return members(id) > 0; }

std::size_t ChannelLogs::members(const ChannelId& id) const {
  const auto channel = channels_.find(id);
  return channel == channels_.end() ? 0 : channel->second.members.size();
}

void ChannelLogs::join(LinkId link, const NodeId& peer, const wire::ChannelJoin& join) {
  wire::ChannelHeads answer{join.channel, {}, {}, join.number};
  const auto found = channels_.find(join.channel);
  if (found == channels_.end()) {
    answer.error = "no such public channel here";
    context_.links->send(link, FrameType::channel_heads, {wire::encode_channel_heads(answer)});
    return;
  }
  Channel& channel = found->second;
  Member member;
  member.node = peer;
  member.number = join.number;
  member.snapshot_due = join.snapshot;
  member.filters = join.filters;
  // Also of logs that have not come here yet.
  for (const auto& told : join.positions) member.positions[told.writer] = told.cursor;
  for (const auto& [writer, log] : channel.logs) {
    const Cursor& head = servable(writer, log);
    member.positions.try_emplace(writer, head);
    answer.positions.push_back({writer, head, head == log.end.cursor ? log.end.header : Bytes{}});
  }
  if (join.snapshot) open_snapshot(join.channel, member);
  context_.links->send(link, FrameType::channel_heads, {wire::encode_channel_heads(answer)});
  Member& kept = channel.members[link] = std::move(member);
  pump(join.channel, channel, link, kept);
}

void ChannelLogs::leave(LinkId link, const ChannelId& id) {
  if (const auto found = channels_.find(id); found != channels_.end()) found->second.members.erase(link);
}

void ChannelLogs::resend(LinkId link, const wire::ChannelPosition& from) {
  const auto found = channels_.find(from.channel);
  if (found == channels_.end() || !found->second.logs.contains(from.position.writer)) return;
  const auto member = found->second.members.find(link);
  if (member == found->second.members.end()) return;
  member->second.positions[from.position.writer] = from.position.cursor;
  member->second.lacks.erase(from.position.writer);
  pump(from.channel, found->second, link, member->second);
}

void ChannelLogs::writable(LinkId link) {
  for (auto& [id, channel] : channels_)
    if (const auto member = channel.members.find(link); member != channel.members.end())
      pump(id, channel, link, member->second);
}

void ChannelLogs::link_down(LinkId link) {
  for (auto& [id, channel] : channels_) channel.members.erase(link);
}

/// Up to where a log may leave: nothing of our own that is not on disk.
const Cursor& ChannelLogs::servable(const NodeId& writer, const Log& log) const {
  if (writer != context_.self()) return log.end.cursor;
  return held_back_ ? log.held_at : log.on_disk;
}

void ChannelLogs::hold_back() {
  if (held_back_) return;
  held_back_ = context_.incarnation;
  for (auto& [id, channel] : channels_)
    if (const auto own = channel.logs.find(context_.self()); own != channel.logs.end())
      own->second.held_at = own->second.on_disk;
}

void ChannelLogs::pump(const ChannelId& id, Channel& channel, LinkId link, Member& member) {
  if (member.snapshot_open) send_snapshot(id, link, member);
  if (member.snapshot_open) return;  // the link is full
  for (auto& [writer, log] : channel.logs)
    if (writer != member.node || !log.recent.empty() || log.bytes > 0) pump_log(id, writer, log, link, member);
}

void ChannelLogs::pump_log(const ChannelId& id, const NodeId& writer, Log& log, LinkId link, Member& member) {
  const Cursor& position = member.positions[writer];
  while (is_behind(position, servable(writer, log)) && context_.links->unsent_bytes(link) < limits::link_bulk_bytes_max)
    if (!send_from_memory(writer, log, link, member) && !send_from_disk(id, writer, log, link, member)) return;
}

bool ChannelLogs::Topics::concern(const std::vector<std::string>& filters) const {
  return !known || std::ranges::any_of(names, [&](const std::string& name) {
    return std::ranges::any_of(filters, [&](const std::string& filter) { return matches(filter, name); });
  });
}

bool ChannelLogs::Member::wants(std::string_view topic) const {
  return filters.empty() ||
         std::ranges::any_of(filters, [&](const std::string& filter) { return matches(filter, topic); });
}

ChannelLogs::Topics ChannelLogs::topics_of(const BatchView& batch) {
  Topics out;
  const auto records = batch.records();
  if (!records) return out;
  for (const ByteView bytes : *records) {
    auto record = decode_record(bytes);
    if (!record) return out;
    if (std::ranges::find(out.names, record->topic) == out.names.end()) out.names.push_back(std::move(record->topic));
  }
  out.known = true;
  return out;
}

void ChannelLogs::send_batch(LinkId link, HeldMs since, ByteView wire, bool whole) {
  context_.links->send(
      link, FrameType::batch,
      {wire::encode_batch_prefix(context_.age_seconds(since)), whole ? wire : wire.first(BatchHeader::wire_bytes)});
}

void ChannelLogs::send_gap(LinkId link, const ChannelId& id, const NodeId& writer, Member& member, const LogEnd& to,
                           ByteView next_header) {
  context_.count("gaps told to readers");
  member.lacks.try_emplace(writer, member.positions[writer]);
  context_.links->send(link, FrameType::range_gap,
                       {wire::encode_channel_gap({id, {writer, to.cursor, to.header}, next_header})});
}

bool ChannelLogs::send_from_memory(const NodeId& writer, Log& log, LinkId link, Member& member) {
  Cursor& position = member.positions[writer];
  auto& recent = log.recent;
  const Cursor& head = servable(writer, log);
  if (recent.empty() || head.incarnation != recent.front().header.incarnation) return false;
  auto at = recent.begin();
  if (position.incarnation == at->header.incarnation)
    at = std::ranges::lower_bound(recent, position.seq + 1, {},
                                  [](const SentBatch& batch) { return batch.header.first_seq; });
  if (at == recent.end() || judge(position, at->header) != Step::next || at->header.last_seq() > head.seq) return false;
  if (!member.filters.empty() && !at->topics) {
    const auto batch = BatchView::parse(at->wire);
    at->topics = batch ? topics_of(*batch) : Topics{};
  }
  send_batch(link, at->since, at->wire, member.filters.empty() || at->topics->concern(member.filters));
  position = advanced(at->header, at->hash);
  return true;
}

/// False: what comes next is not on disk yet.
bool ChannelLogs::send_from_disk(const ChannelId& id, const NodeId& writer, const Log& log, LinkId link,
                                 Member& member) {
  Cursor& position = member.positions[writer];
  const Cursor head = writer == context_.self() ? servable(writer, log) : log.on_disk;
  if (!is_behind(position, head)) return false;
  std::size_t sent = 0;
  const Cursor begin = position;
  bool damaged = false, lacks = false;
  auto scanned = context_.store.scan(
      Table::log, log_key(id, writer, position.incarnation, position.seq + 1), after_prefix(log_prefix(id, writer)),
      [&](ByteView, ByteView row) {
        const auto [since, wire, batch] = read_log_row(row);
        if (!batch) return true;  // reported by the checksum already; the next row shows the gap
        if (judge(position, batch->header) != Step::next) {
          lacks = true;
          send_gap(link, id, writer, member, {before(batch->header), {}, 0}, batch->header_bytes);
        }
        send_batch(link, since, wire, member.filters.empty() || topics_of(*batch).concern(member.filters));
        position = advanced(batch->header, batch->header_hash);
        sent += wire.size();
        return sent < disk_read_bytes && is_behind(position, head);
      },
      [&](ByteView) { damaged = true; });
  if (!scanned) context_.count("log reads that failed");
  if (damaged) context_.count("damaged batches on disk");
  if (on_lack && (damaged || lacks)) on_lack(id, writer, damaged ? begin : member.lacks.at(writer));
  if (sent > 0) return true;
  // Nothing is held between the reader's place and the end on disk (retention, a jump, or a disk that failed).
  const bool at_end = head == log.end.cursor;
  if (!at_end) return false;  // the end's header is that of a batch which is still under way to the disk
  send_gap(link, id, writer, member, log.end, {});
  position = log.end.cursor;
  if (on_lack) on_lack(id, writer, member.lacks.at(writer));
  return true;
}

void ChannelLogs::open_snapshot(const ChannelId& id, Member& member) {
  member.snapshot.clear();
  member.unsaved.clear();
  context_.retained.of_channel(id, [&](const std::string& topic, const RetainedValue& value) {
    if ((value.message || !is_saved(value.stamp.writer, value.ticket)) && member.wants(local_part(topic)))
      member.snapshot.push_back(topic);
  });
  member.wills.clear();
  context_.wills.of_channel(id, [&](const WillKey& key, const HeldWill& will) {
    if (member.wants(will.record.topic)) member.wills.push_back(key);
  });
  member.snapshot_open = true;
}

bool ChannelLogs::is_saved(const NodeId& writer, Ticket ticket) const {
  return writer != context_.self() || ticket <= context_.store.durable_ticket();
}

/// What is not on disk yet comes as a batch: it lies behind the position that the reader was told.
bool ChannelLogs::may_leave(const NodeId& writer, Ticket ticket, const Incarnation& incarnation) const {
  const bool kept_back = writer == context_.self() && held_back_ && !(incarnation <= *held_back_);
  return is_saved(writer, ticket) && !kept_back;
}

/// Behind a value that is not on disk yet there is another one on it, which a crash brings back, and which may lie before
/// the position that the reader was told. So it has all values only when no crash can bring one back that it has not got.
/// Once what was met is on disk a newer one does not matter: the log has it.
bool ChannelLogs::wait_for_disk(const ChannelId& id, LinkId link, Member& member) {
  if (member.unsaved.empty()) return false;
  if (member.saved_by <= context_.store.durable_ticket()) {
    for (auto& topic : std::exchange(member.unsaved, {})) {
      const RetainedValue* value = context_.retained.find(topic);
      if (value && is_saved(value->stamp.writer, value->ticket)) member.snapshot.push_back(std::move(topic));
    }
    return false;
  }
  if (std::exchange(member.waits_for_disk, true)) return true;
  context_.store.when_durable([this, id, link, number = member.number] {
    const auto channel = channels_.find(id);
    if (channel == channels_.end()) return;
    const auto again = channel->second.members.find(link);
    if (again == channel->second.members.end() || again->second.number != number) return;
    again->second.waits_for_disk = false;
    pump(id, channel->second, link, again->second);
  });
  return true;
}

void ChannelLogs::send_snapshot(const ChannelId& id, LinkId link, Member& member) {
  const Channel& channel = channels_.at(id);
  const bool all_here = channel.all_copies() || channel.logs.contains(context_.self());
  while (context_.links->unsent_bytes(link) < limits::link_bulk_bytes_max) {
    // Who has not got all of them yet must not say that these are, nor that none of them will be gone then.
    wire::RetainedValues values{id, false, {}, member.snapshot_due && all_here ? member.number : 0};
    std::size_t bytes = 0;
    for (; !member.snapshot.empty() && bytes < snapshot_frame_bytes; member.snapshot.pop_back()) {
      const RetainedValue* value = context_.retained.find(member.snapshot.back());
      if (!value || value->channel != id) continue;
      if (!is_saved(value->stamp.writer, value->ticket)) {
        member.unsaved.push_back(member.snapshot.back());
        member.saved_by = std::max(member.saved_by, value->ticket);
        continue;
      }
      if (!value->message || !may_leave(value->stamp.writer, value->ticket, value->stamp.incarnation)) continue;
      values.values.push_back({age_of(*value, context_.clock.monotonic()), value->proof});
      bytes += value->proof.size();
    }
    for (; !member.wills.empty() && bytes < snapshot_frame_bytes; member.wills.pop_back()) {
      const WillKey& key = member.wills.back();
      const HeldWill* will = context_.wills.find(key);
      if (!will || !may_leave(key.writer, will->ticket, will->place.incarnation)) continue;
      values.values.push_back({0, will->proof});
      bytes += will->proof.size();
    }
    const bool sent = member.snapshot.empty() && member.wills.empty();
    const bool waits = sent && wait_for_disk(id, link, member);
    const bool done = sent && !waits && member.snapshot.empty();
    values.last = done && member.snapshot_due && all_here;
    if (done || !values.values.empty())
      context_.links->send(link, FrameType::retained, {wire::encode_retained_values(values)});
    if (waits) return;
    if (!done) continue;
    member.snapshot_open = false;
    member.snapshot_due &= !all_here;
    return;
  }
}

// Retention --------------------------------------------------------------------------------------------------

void ChannelLogs::tick() {
  if (context_.store.trouble()) return;  // erased rows would be counted again
  const Monotonic now = context_.clock.monotonic();
  const bool by_age = now >= next_prune_;
  if (by_age) next_prune_ = now + prune_interval;
  for (auto& [id, channel] : channels_)
    for (auto& [writer, log] : channel.logs)
      if (log.bytes > 0 && (by_age || log.bytes > retention_.log_bytes_max))
        prune(id, writer, log, retention_.log_bytes_max);
  keep_within_bounds();
}

/// Each other handle within its quota, and all logs together: what others wrote goes before our own, of the handle that has
/// the most here, and of that its largest log.
void ChannelLogs::keep_within_bounds() {
  struct Holding {
    std::uint64_t bytes = 0;
    ChannelId id;
    NodeId writer;
    Log* largest = nullptr;
  };
  std::map<std::string_view, Holding> others;
  Holding own;
  std::uint64_t total = 0;
  for (auto& [id, channel] : channels_)
    for (auto& [writer, log] : channel.logs) {
      if (log.bytes == 0) continue;
      Holding& of = writer == context_.self() ? own : others[channel.handle];
      total += log.bytes;
      of.bytes += log.bytes;
      if (!of.largest || of.largest->bytes < log.bytes) of.id = id, of.writer = writer, of.largest = &log;
    }
  const auto shorten = [&](const Holding& of, std::uint64_t excess) {
    prune(of.id, of.writer, *of.largest, of.largest->bytes - std::min(of.largest->bytes, excess));
  };
  Holding* most = own.largest ? &own : nullptr;
  if (const auto found = std::ranges::max_element(others, {}, [](const auto& each) { return each.second.bytes; });
      found != others.end())
    most = &found->second;
  for (const auto& [handle, of] : others)
    if (of.bytes > retention_.handle_bytes_max) {
      shorten(of, of.bytes - retention_.handle_bytes_max);
      context_.count("times a handle's quota of the store was full");
    }
  if (total <= retention_.bytes_max) return;
  shorten(*most, total - retention_.bytes_max);
  context_.count("times the store was full");
}

void ChannelLogs::prune(const ChannelId& id, const NodeId& writer, Log& log, std::uint64_t bytes_max) {
  const auto age_max = retention_.age_max.count();
  std::vector<Bytes> old;
  std::uint64_t freed = 0;
  const Bytes prefix = log_prefix(id, writer);
  auto scanned = context_.store.scan(Table::log, prefix, after_prefix(prefix), [&](ByteView key, ByteView row) {
    const auto [since, wire, batch] = read_log_row(row);
    const bool too_old = batch && context_.age_seconds(since) > age_max;
    if (!too_old && log.bytes - std::min(freed, log.bytes) <= bytes_max) return false;
    old.push_back(to_bytes(key));
    freed += wire.size();
    return old.size() < prune_rows_max;
  });
  if (!scanned || old.empty()) return;
  for (const auto& key : old) context_.store.erase(Table::log, key);
  log.bytes -= std::min(freed, log.bytes);
  save_end(id, writer, log);
  context_.count("batches beyond retention", old.size());
}

std::uint64_t ChannelLogs::log_bytes(const ChannelId& id) const {
  std::uint64_t out = 0;
  if (const auto channel = channels_.find(id); channel != channels_.end())
    for (const auto& [writer, log] : channel->second.logs) out += log.bytes;
  return out;
}

}  // namespace diot
