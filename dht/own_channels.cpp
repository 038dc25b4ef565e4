#include "dht/own_channels.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::size_t record_frame_bytes = 4;  // u32 length before each record in a body
constexpr std::size_t body_prefix_bytes = 17;  // kind byte and seed
constexpr std::size_t disk_read_bytes = 256 << 10;
constexpr std::size_t snapshot_frame_bytes = 256 << 10;
constexpr auto prune_interval = std::chrono::minutes(1);

Bytes meta_catalogue_seq() { return to_bytes("catalogue-seq"); }

bool at_or_behind(const Cursor& position, const Cursor& head) {
  return position.incarnation < head.incarnation ||
         (position.incarnation == head.incarnation && position.seq < head.seq);
}

}  // namespace

// Shares -----------------------------------------------------------------------------------------------------

Result<void> OwnChannels::load() {
  if (auto seq = context_.store.get(Table::meta, meta_catalogue_seq()); !seq)
    return tl::unexpected(seq.error());
  else if (*seq)
    catalogue_seq_ = ByteReader(**seq).u64();

  std::vector<ShareRecord> found;
  auto scanned = context_.store.scan(Table::share, {}, {}, [&](ByteView, ByteView value) {
    auto record = decode_share(value, context_.network());
    if (!record) {
      context_.count("share records unreadable");
      return true;
    }
    records_[record->id] = to_bytes(value);
    found.push_back(std::move(*record));
    return true;
  });
  if (!scanned) return scanned;
  for (auto& record : found) {
    shares_.set(record);
    if (!record.is_public()) continue;
    open_channel(record);
    auto& channel = channels_[record.channel];
    auto end = context_.store.get(Table::cursor, log_prefix(record.channel, context_.self()));
    if (!end) return tl::unexpected(end.error());
    if (!*end) continue;
    ByteReader in(**end);
    const auto cursor = decode_cursor(in.raw(56));
    channel.log_bytes = in.u64();
    const HybridTime time = in.u64();
    if (!cursor || !in.done())
      return fail(Errc::corrupt, fmt::format("the end of the log of share '{}' is unreadable", record.policy.filter));
    channel.written = channel.head = *cursor;
    context_.hybrid.resume(time);
  }
  make_catalogue();
  return {};
}

Result<const HandleRecord*> OwnChannels::may_change() const {
  const HandleRecord* own = context_.ledger.handle(context_.handle);
  if (!own)
    return fail(Errc::not_permitted,
                fmt::format("@{} is not registered here: shares need a handle; see `diot status`", context_.handle));
  if (own->role_of(context_.self()) != Role::admin)
    return fail(Errc::not_permitted, fmt::format("this node may speak for @{} but not change its shares: that takes a "
                                                 "node with the role admin; see `diot handle show`",
                                                 context_.handle));
  return own;
}

Result<void> OwnChannels::check_preset(Preset preset) const {
  if (preset == Preset::public_ || preset == Preset::local) return {};
  return fail(Errc::not_available,
              fmt::format("preset '{}' is not available yet: end-to-end encryption of channels is not built; use "
                          "--preset public or local",
                          name_of(preset)));
}

Result<ShareRecord> OwnChannels::find(const std::string& filter) const {
  if (const ShareRecord* record = shares_.by_filter(local_name(filter, context_.handle))) return *record;
  return fail(Errc::not_found, fmt::format("no share has the filter '{}'; see `diot share list`", filter));
}

void OwnChannels::insert(const HandleRecord& own, const std::string& filter, Preset preset, ShareRecord& record) {
  record.id = context_.random.id<ShareId>();
  record.read = preset == Preset::public_ ? ReadClass::everyone : ReadClass::nobody;
  record.channel = channel_id(context_.network(), own.register_entry, record.id);
  record.signer = context_.self();
  record.checkpoint = context_.ledger.head();
  record.policy.filter = filter;
  Bytes wire = encode_share(record, context_.node, context_.network());
  context_.store.put(Table::share, record.id, wire);
  records_[record.id] = std::move(wire);
  shares_.set(record);
  if (record.is_public()) open_channel(record);
}

void OwnChannels::erase(const ShareRecord& record) {
  ShareRecord gone = record;
  gone.removed = true;
  ++gone.seq;
  shares_.set(gone);
  records_.erase(gone.id);
  context_.store.erase(Table::share, gone.id);
}

Result<ShareRecord> OwnChannels::add(const std::string& given, Preset preset) {
  const std::string filter(local_name(given, context_.handle));
  if (auto valid = check_filter(filter); !valid) return tl::unexpected(valid.error());
  if (parts_of(filter).kind != TopicKind::local)
    return fail(Errc::invalid, fmt::format("'{}' is not a topic of this home: shares take local names such as "
                                           "'sensors/#'",
                                           given));
  if (auto built = check_preset(preset); !built) return tl::unexpected(built.error());
  const auto own = may_change();
  if (!own) return tl::unexpected(own.error());
  if (auto free = shares_.check_addition(filter); !free) return tl::unexpected(free.error());
  if (shares_.all().size() >= limits::shares_per_handle_max)
    return fail(Errc::limit, fmt::format("@{} has {} shares already, the most that a catalogue holds; remove one first",
                                         context_.handle, shares_.all().size()));
  ShareRecord record;
  insert(**own, filter, preset, record);
  changed();
  return record;
}

Result<ShareRecord> OwnChannels::change(const std::string& filter, Preset preset) {
  if (auto built = check_preset(preset); !built) return tl::unexpected(built.error());
  auto old = find(filter);
  if (!old) return old;
  const auto own = may_change();
  if (!own) return tl::unexpected(own.error());
  if (preset_of(*old) == preset) return old;
  // Another read class is another share with a channel of its own: readers of the old one keep no claim to the new.
  erase(*old);
  ShareRecord record;
  insert(**own, old->policy.filter, preset, record);
  changed();
  if (old->is_public()) close_channel(old->channel);
  return record;
}

Result<ShareRecord> OwnChannels::remove(const std::string& filter) {
  auto old = find(filter);
  if (!old) return old;
  if (const auto own = may_change(); !own) return tl::unexpected(own.error());
  erase(*old);
  changed();
  if (old->is_public()) close_channel(old->channel);
  return old;
}

void OwnChannels::changed() {
  rehome_retained();
  make_catalogue();
  for (LinkId link : followers_) context_.links->send(link, FrameType::catalogue, {catalogue_});
  context_.turn.touch();
}

void OwnChannels::open_channel(const ShareRecord& share) { channels_[share.channel].share = share.id; }

void OwnChannels::close_channel(const ChannelId& id) {
  channels_.erase(id);
  std::erase(dirty_, id);
  const Bytes prefix = log_prefix(id, context_.self());
  context_.store.erase_range(Table::log, prefix, after_prefix(prefix));
  context_.store.erase(Table::cursor, prefix);
}

void OwnChannels::rehome_retained() {
  struct Move {
    std::string topic;
    MessagePtr message;
    ChannelId from, to;
  };
  std::vector<Move> moves;
  context_.retained.match("#", [&](const std::string& topic, const RetainedValue& value) {
    if (parts_of(topic).kind != TopicKind::local) return;
    const ShareRecord* share = shares_.of_topic(topic);
    const ChannelId to = share && share->is_public() ? share->channel : ChannelId{};
    if (to != value.channel) moves.push_back({topic, value.message, value.channel, to});
  });
  for (auto& move : moves) {
    Record record{RecordKind::tombstone, move.topic, Qos::at_least_once, true, {}, {}};
    if (auto from = channels_.find(move.from); from != channels_.end())
      take(move.from, from->second, Stream::durable, record, {{}, true, false, move.topic, nullptr});
    if (auto to = channels_.find(move.to); to != channels_.end()) {
      record.kind = RecordKind::message;
      record.qos = move.message->qos;
      record.payload = move.message->payload;
      record.properties = move.message->properties;
      record.properties.expiry_seconds = move.message->seconds_left(context_.clock.monotonic());
      take(move.to, to->second, Stream::durable, record, {{}, true, true, move.topic, move.message});
    } else {
      if (const RetainedValue* old = context_.retained.find(move.topic)) context_.hybrid.resume(old->stamp.time);
      const Stamp stamp{context_.hybrid.next(), context_.self(), context_.incarnation, 0};
      if (!context_.retained.set(move.topic, {move.message, stamp, {}, {}, 0})) context_.count("retained refused");
    }
  }
}

void OwnChannels::make_catalogue() {
  DirectoryRecord record;
  record.kind = DirectoryKind::catalogue;
  record.subject = to_bytes(context_.handle);
  record.signer = context_.self();
  record.seq = catalogue_seq_ = std::max(context_.clock.wall_ms(), catalogue_seq_ + 1);
  Bytes seq;
  ByteWriter(seq).u64(catalogue_seq_);
  context_.store.put(Table::meta, meta_catalogue_seq(), seq);
  std::vector<const Bytes*> listed;
  for (const auto& [id, share] : shares_.all())
    if (share.is_public()) listed.push_back(&records_[id]);
  PackWriter out(record.body);
  out.array(listed.size());
  for (const Bytes* bytes : listed) out.bin(*bytes);
  catalogue_ = encode_directory_record(record, context_.node, context_.network());
  if (context_.directory) context_.directory->publish(DirectoryKind::catalogue, record.subject, catalogue_);
}

// Messages ---------------------------------------------------------------------------------------------------

Route OwnChannels::route_of(std::string_view topic) const {
  const std::string_view name = local_name(topic, context_.handle);
  const TopicKind kind = parts_of(name).kind;
  if (kind == TopicKind::owned || kind == TopicKind::commons) return Route::not_permitted;
  if (kind == TopicKind::system) return Route::home;
  const ShareRecord* share = shares_.of_topic(name);
  return share && share->is_public() ? Route::shared : Route::home;
}

Route OwnChannels::publish(const MessagePtr& message) {
  const Route route = route_of(message->topic);
  if (route != Route::shared) return route;
  const std::string topic(local_name(message->topic, context_.handle));
  const ChannelId id = shares_.of_topic(topic)->channel;
  Channel& channel = channels_.at(id);
  const bool durable = message->qos != Qos::at_most_once || message->retain;
  if (!durable && channel.members.empty()) return route;  // nobody is there to hear it, and nothing keeps it

  Record record{RecordKind::message, topic, message->qos, message->retain, message->payload, message->properties};
  record.properties.expiry_seconds = message->seconds_left(context_.clock.monotonic());
  if (message->retain && message->payload.empty()) record.kind = RecordKind::tombstone;
  OpenRecord open{
      {}, message->retain, message->retain, topic, record.kind == RecordKind::tombstone ? nullptr : message};
  take(id, channel, durable ? Stream::durable : Stream::live, record, std::move(open));
  return route;
}

void OwnChannels::take(const ChannelId& id, Channel& channel, Stream stream, const Record& record, OpenRecord open) {
  open.bytes = encode_record(record);
  auto& records = stream == Stream::durable ? channel.open_durable : channel.open_live;
  auto& bytes = stream == Stream::durable ? channel.open_durable_bytes : channel.open_live_bytes;
  const std::size_t more = open.bytes.size() + record_frame_bytes;
  if (!records.empty() &&
      (records.size() == limits::batch_count_max || body_prefix_bytes + bytes + more > limits::batch_body_bytes_max)) {
    if (stream == Stream::durable)
      form_durable(id, channel);
    else
      form_live(id, channel);
  }
  if (channel.open_durable.empty() && channel.open_live.empty()) dirty_.push_back(id);
  records.push_back(std::move(open));
  bytes += more;
  context_.turn.touch();
}

void OwnChannels::end_turn() {
  // While the disk is busy durable records gather: the next batch is what came in during one sync.
  const bool hold = context_.store.busy();
  std::vector<ChannelId> still_dirty;
  for (const ChannelId& id : std::exchange(dirty_, {})) {
    Channel& channel = channels_.at(id);
    if (!channel.open_live.empty()) form_live(id, channel);
    if (channel.open_durable.empty()) continue;
    if (hold)
      still_dirty.push_back(id);
    else
      form_durable(id, channel);
  }
  dirty_.insert(dirty_.end(), still_dirty.begin(), still_dirty.end());
}

Bytes OwnChannels::seal(const ChannelId& id, Channel& channel, Stream stream, const std::vector<OpenRecord>& records) {
  const bool durable = stream == Stream::durable;
  auto& writer = durable ? channel.durable : channel.live;
  if (!writer) writer.emplace(stream, id, context_.incarnation, durable ? channel.written.header : Hash{});
  std::vector<Bytes> bytes;
  bytes.reserve(records.size());
  bool has_root = false;
  for (const auto& record : records) {
    bytes.push_back(record.bytes);
    has_root |= record.retained;
    // The batch's time has to be above that of every value that it replaces.
    if (record.is_value)
      if (const RetainedValue* old = context_.retained.find(record.topic)) context_.hybrid.resume(old->stamp.time);
  }
  const std::uint64_t policy = shares_.all().contains(channel.share) ? shares_.all().at(channel.share).seq : 0;
  return writer->seal(bytes, has_root, context_.hybrid.next(), policy, context_.node, context_.network(),
                      context_.random);
}

void OwnChannels::form_durable(const ChannelId& id, Channel& channel) {
  const auto records = std::exchange(channel.open_durable, {});
  channel.open_durable_bytes = 0;
  Bytes wire = seal(id, channel, Stream::durable, records);
  const auto batch = BatchView::parse(wire);
  expect(batch.has_value(), "a batch of our own does not parse");
  const BatchHeader& header = batch->header;
  context_.store.put(Table::log, log_key(id, header.writer, header.incarnation, header.first_seq), wire);
  for (std::uint32_t index = 0; index < records.size(); ++index) {
    const OpenRecord& record = records[index];
    if (!record.is_value) continue;
    auto proof = batch->proof_of(index);
    expect(proof.has_value(), "a record of our own has no proof");
    const Stamp stamp{header.time, header.writer, header.incarnation, header.first_seq + index};
    if (!context_.retained.set(record.topic, {record.message, stamp, id, std::move(*proof), 0}))
      context_.count("retained refused");
  }
  channel.written = advanced(header, batch->header_hash);
  channel.log_bytes += wire.size();
  channel.durable_records += header.count;
  ++channel.durable_batches;
  save_end(id, channel);
  context_.store.when_durable([this, id, end = channel.written] { on_disk(id, end); });

  channel.recent_bytes += wire.size();
  channel.recent.push_back({header, batch->header_hash, std::move(wire)});
  while (channel.recent_bytes > limits::channel_cache_bytes_max && channel.recent.size() > 1) {
    channel.recent_bytes -= channel.recent.front().wire.size();
    channel.recent.pop_front();
  }
}

void OwnChannels::save_end(const ChannelId& id, const Channel& channel) {
  Bytes end = encode_cursor(channel.written);
  ByteWriter out(end);
  out.u64(channel.log_bytes);
  out.u64(context_.hybrid.last());
  context_.store.put(Table::cursor, log_prefix(id, context_.self()), std::move(end));
}

void OwnChannels::on_disk(const ChannelId& id, const Cursor& end) {
  const auto found = channels_.find(id);
  if (found == channels_.end()) return;  // its share was removed meanwhile
  found->second.head = end;
  for (auto& [link, member] : found->second.members) pump(id, found->second, link, member);
}

void OwnChannels::form_live(const ChannelId& id, Channel& channel) {
  const auto records = std::exchange(channel.open_live, {});
  channel.open_live_bytes = 0;
  channel.live_records += records.size();
  const Bytes wire = seal(id, channel, Stream::live, records);
  const Bytes prefix = wire::encode_batch_prefix(0);
  for (auto& [link, member] : channel.members) {
    if (context_.links->unsent_bytes(link) < limits::link_bulk_bytes_max)
      context_.links->send(link, FrameType::batch, {prefix, wire});
    else
      context_.count("live records dropped for slow links", records.size());
  }
}

// Members ----------------------------------------------------------------------------------------------------

void OwnChannels::follow_catalogue(LinkId link) {
  if (std::ranges::find(followers_, link) == followers_.end()) followers_.push_back(link);
  context_.links->send(link, FrameType::catalogue, {catalogue_});
}

void OwnChannels::join(LinkId link, const wire::ChannelJoin& join) {
  wire::ChannelHeads answer{join.channel, {}, {}};
  const auto found = channels_.find(join.channel);
  if (found == channels_.end()) {
    answer.error = "no such public channel here";
    context_.links->send(link, FrameType::channel_heads, {wire::encode_channel_heads(answer)});
    return;
  }
  Channel& channel = found->second;
  Member member;
  member.position = channel.head;
  for (const auto& position : join.positions)
    if (position.writer == context_.self()) member.position = position.cursor;
  answer.positions.push_back({context_.self(), member.position});
  if (join.snapshot) {
    context_.retained.of_channel(join.channel, [&](const std::string& topic, const RetainedValue& value) {
      if (value.message) member.snapshot.push_back(topic);
    });
    member.snapshot_open = true;
  }
  context_.links->send(link, FrameType::channel_heads, {wire::encode_channel_heads(answer)});
  Member& kept = channel.members[link] = std::move(member);
  pump(join.channel, channel, link, kept);
}

void OwnChannels::leave(LinkId link, const ChannelId& id) {
  if (const auto found = channels_.find(id); found != channels_.end()) found->second.members.erase(link);
}

void OwnChannels::resend(LinkId link, const wire::ChannelPosition& from) {
  const auto found = channels_.find(from.channel);
  if (found == channels_.end() || from.position.writer != context_.self()) return;
  const auto member = found->second.members.find(link);
  if (member == found->second.members.end()) return;
  member->second.position = from.position.cursor;
  pump(from.channel, found->second, link, member->second);
}

void OwnChannels::writable(LinkId link) {
  for (auto& [id, channel] : channels_)
    if (const auto member = channel.members.find(link); member != channel.members.end())
      pump(id, channel, link, member->second);
}

void OwnChannels::link_down(LinkId link) {
  std::erase(followers_, link);
  for (auto& [id, channel] : channels_) channel.members.erase(link);
}

void OwnChannels::pump(const ChannelId& id, Channel& channel, LinkId link, Member& member) {
  if (member.snapshot_open) send_snapshot(id, link, member);
  if (member.snapshot_open) return;  // the link is full
  while (at_or_behind(member.position, channel.head) &&
         context_.links->unsent_bytes(link) < limits::link_bulk_bytes_max)
    if (!send_from_memory(channel, link, member)) send_from_disk(id, channel, link, member);
}

void OwnChannels::send_batch(LinkId link, const BatchHeader& header, ByteView wire) {
  context_.links->send(link, FrameType::batch, {wire::encode_batch_prefix(context_.age_seconds(header.time)), wire});
}

void OwnChannels::send_gap(LinkId link, const ChannelId& id, const Cursor& to) {
  context_.count("gaps told to readers");
  context_.links->send(link, FrameType::range_gap, {wire::encode_channel_position({id, {context_.self(), to}})});
}

bool OwnChannels::send_from_memory(Channel& channel, LinkId link, Member& member) {
  const auto& recent = channel.recent;
  if (recent.empty() || channel.head.incarnation != recent.front().header.incarnation) return false;
  auto at = recent.begin();
  if (member.position.incarnation == at->header.incarnation)
    at = std::ranges::lower_bound(recent, member.position.seq + 1, {},
                                  [](const SentBatch& batch) { return batch.header.first_seq; });
  if (at == recent.end() || judge(member.position, at->header) != Step::next ||
      at->header.last_seq() > channel.head.seq)
    return false;
  send_batch(link, at->header, at->wire);
  member.position = advanced(at->header, at->hash);
  return true;
}

void OwnChannels::send_from_disk(const ChannelId& id, Channel& channel, LinkId link, Member& member) {
  const Cursor& from = member.position;
  std::size_t sent = 0;
  auto scanned = context_.store.scan(
      Table::log, log_key(id, context_.self(), from.incarnation, from.seq + 1),
      after_prefix(log_prefix(id, context_.self())),
      [&](ByteView, ByteView wire) {
        const auto batch = BatchView::parse(wire);
        if (!batch) return true;  // reported by the checksum already; the next row shows the gap
        if (judge(member.position, batch->header) != Step::next) send_gap(link, id, before(batch->header));
        send_batch(link, batch->header, wire);
        member.position = advanced(batch->header, batch->header_hash);
        sent += wire.size();
        return sent < disk_read_bytes && at_or_behind(member.position, channel.head);
      },
      [&](ByteView) { context_.count("corrupt rows in the log"); });
  if (!scanned) context_.count("log reads that failed");
  if (sent > 0) return;
  // Nothing is held between the reader's place and the end (retention, or a disk that failed).
  send_gap(link, id, channel.head);
  member.position = channel.head;
}

void OwnChannels::send_snapshot(const ChannelId& id, LinkId link, Member& member) {
  while (context_.links->unsent_bytes(link) < limits::link_bulk_bytes_max) {
    wire::RetainedValues values{id, false, {}};
    std::size_t bytes = 0;
    for (; !member.snapshot.empty() && bytes < snapshot_frame_bytes; member.snapshot.pop_back()) {
      const RetainedValue* value = context_.retained.find(member.snapshot.back());
      if (!value || !value->message || value->channel != id) continue;
      // What is not on disk yet comes as a batch: it lies behind the position that the reader was told.
      if (value->ticket > context_.store.durable_ticket()) continue;
      values.values.push_back({context_.age_seconds(value->stamp.time), value->proof});
      bytes += value->proof.size();
    }
    values.last = member.snapshot.empty();
    context_.links->send(link, FrameType::retained, {wire::encode_retained_values(values)});
    if (values.last) {
      member.snapshot_open = false;
      return;
    }
  }
}

// Retention --------------------------------------------------------------------------------------------------

void OwnChannels::tick() {
  if (context_.store.trouble()) return;  // erased rows would be counted again
  const Monotonic now = context_.clock.monotonic();
  const bool by_age = now >= next_prune_;
  if (by_age) next_prune_ = now + prune_interval;
  for (auto& [id, channel] : channels_)
    if (by_age || channel.log_bytes > limits::log_bytes_max) prune(id, channel);
}

void OwnChannels::prune(const ChannelId& id, Channel& channel) {
  const auto age_max = std::chrono::duration_cast<std::chrono::seconds>(limits::log_age_max).count();
  std::vector<Bytes> old;
  std::uint64_t freed = 0;
  const Bytes prefix = log_prefix(id, context_.self());
  auto scanned = context_.store.scan(Table::log, prefix, after_prefix(prefix), [&](ByteView key, ByteView wire) {
    const auto batch = BatchView::parse(wire);
    const bool too_old = batch && context_.age_seconds(batch->header.time) > age_max;
    if (!too_old && channel.log_bytes - std::min(freed, channel.log_bytes) <= limits::log_bytes_max) return false;
    old.push_back(to_bytes(key));
    freed += wire.size();
    return old.size() < 1000;
  });
  if (!scanned || old.empty()) return;
  for (const auto& key : old) context_.store.erase(Table::log, key);
  channel.log_bytes -= std::min(freed, channel.log_bytes);
  save_end(id, channel);
  context_.count("batches beyond retention", old.size());
  context_.turn.touch();
}

std::vector<OwnChannels::ChannelStatus> OwnChannels::status() const {
  std::vector<ChannelStatus> out;
  for (const auto& [id, channel] : channels_)
    out.push_back({shares_.all().at(channel.share).policy.filter, id, channel.durable_records, channel.live_records,
                   channel.durable_batches, channel.log_bytes, channel.members.size()});
  return out;
}

}  // namespace diot
