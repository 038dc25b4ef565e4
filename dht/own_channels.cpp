#include "dht/own_channels.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"
#include "dht/records.hpp"

namespace diot {

namespace {

constexpr std::size_t record_frame_bytes = 4;  // u32 length before each record in a body
constexpr std::size_t body_prefix_bytes = 17;  // kind byte and seed

Bytes meta_catalogue_seq() { return to_bytes("catalogue-seq"); }

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
    const auto had_wills = context_.store.get(Table::meta, meta_wills(record.channel));
    if (!had_wills) return tl::unexpected(had_wills.error());
    channels_.at(record.channel).had_wills = had_wills->has_value();
    if (const LogEnd* end = logs_.end(record.channel, context_.self())) {
      channels_.at(record.channel).known = end->cursor;
      context_.hybrid.resume(end->time);
    }
  }
  tell_catalogue(make_catalogue());
  return {};
}

Result<const HandleRecord*> OwnChannels::may_change() const {
  const HandleRecord* own = context_.handles.find(context_.own.shown);
  if (!own)
    return fail(Errc::not_permitted,
                fmt::format("@{} is not registered here: shares need a handle; see `diot status`", context_.own.shown));
  if (own->role_of(context_.self()) != Role::admin)
    return fail(Errc::not_permitted, fmt::format("this node may speak for @{} but not change its shares: that takes a "
                                                 "node with the role admin; see `diot handle show`",
                                                 context_.own.shown));
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
  if (const ShareRecord* record = shares_.by_filter(local_name(filter, context_.own))) return *record;
  return fail(Errc::not_found, fmt::format("no share has the filter '{}'; see `diot share list`", filter));
}

void OwnChannels::insert(const HandleRecord& own, const std::string& filter, Preset preset, ShareRecord& record) {
  record.id = context_.random.id<ShareId>();
  record.read = preset == Preset::public_ ? ReadClass::everyone : ReadClass::nobody;
  record.policy.filter = filter;
  record = rehomed(std::move(record), context_.network(), own.register_entry, context_.self(), context_.ledger.head());
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
  const std::string filter(local_name(given, context_.own));
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
                                         context_.own.shown, shares_.all().size()));
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
  wills_changed_ = true;
  rehome_retained();
  announce_catalogue();
}

/// Nobody hears of a share that a crash could take back: readers would count on its channel.
void OwnChannels::announce_catalogue() {
  auto made = make_catalogue();
  context_.store.when_durable([this, made = std::move(made)]() mutable { tell_catalogue(std::move(made)); });
  context_.turn.touch();
}

void OwnChannels::tell_catalogue(Bytes made) {
  catalogue_ = std::move(made);
  // Nobody keeps it whose ledger does not know the handle.
  if (context_.directory && !context_.own.is_provisional())
    context_.directory->publish(DirectoryKind::catalogue, as_bytes(context_.own.shown), catalogue_);
  for (LinkId link : followers_) context_.links->send(link, FrameType::catalogue, {catalogue_});
}

void OwnChannels::open_channel(const ShareRecord& share) {
  channels_[share.channel].share = share.id;
  logs_.open_own(share.channel);
}

void OwnChannels::close_channel(const ChannelId& id) {
  channels_.erase(id);
  std::erase(dirty_, id);
  logs_.close(id);
  context_.wills.erase_channel(id);
  context_.store.erase(Table::meta, meta_wills(id));
  for (auto& [number, will] : wills_)
    if (will.channel == id) will.channel = {};
}

void OwnChannels::begin_incarnation() {
  for (auto& [id, channel] : channels_) {
    channel.durable.reset();
    channel.live.reset();
    if (channel.had_wills) say_wills_again(id, channel);
  }
}

void OwnChannels::hold_back() {
  end_turn();
  for (const ChannelId& id : std::exchange(dirty_, {})) form_durable(id, channels_.at(id));
  held_back_ = true;
  logs_.hold_back();
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
      context_.retained.set(move.topic, {move.message, stamp, {}, {}, 0});
    }
  }
}

Bytes OwnChannels::make_catalogue() {
  DirectoryRecord record;
  record.kind = DirectoryKind::catalogue;
  record.subject = to_bytes(context_.own.shown);
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
  return encode_directory_record(record, context_.node, context_.network());
}

// Messages ---------------------------------------------------------------------------------------------------

Route OwnChannels::route_of(std::string_view topic) const {
  const std::string_view name = local_name(topic, context_.own);
  const TopicKind kind = parts_of(name).kind;
  if (kind == TopicKind::owned || kind == TopicKind::commons) return Route::not_permitted;
  if (kind == TopicKind::system) return Route::home;
  const ShareRecord* share = shares_.of_topic(name);
  return share && share->is_public() ? Route::shared : Route::home;
}

Route OwnChannels::publish(const MessagePtr& message) {
  return publish(message, message->qos != Qos::at_most_once || message->retain);
}

Route OwnChannels::publish(const MessagePtr& message, bool durable) {
  const Route route = route_of(message->topic);
  if (route != Route::shared) return route;
  const std::string topic(local_name(message->topic, context_.own));
  const ChannelId id = shares_.of_topic(topic)->channel;
  Channel& channel = channels_.at(id);
  if (!durable && !logs_.has_members(id)) return route;  // nobody is there to hear it, and nothing keeps it
  if (!durable && held_back_) return context_.count("live records held back from other homes"), route;

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
  take(id, channel, stream, std::move(open));
}

void OwnChannels::take(const ChannelId& id, Channel& channel, Stream stream, OpenRecord open) {
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
  if (!writer) {
    const LogEnd* end = durable ? logs_.end(id, context_.self()) : nullptr;
    writer.emplace(stream, id, context_.incarnation, end ? end->cursor.header : Hash{});
  }
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
  for (std::uint32_t index = 0; index < records.size(); ++index) {
    const OpenRecord& record = records[index];
    if (record.clears_will) {
      const LogPlace place{header.incarnation, header.first_seq + index};
      context_.wills.clear({id, header.writer, *record.clears_will}, place);
    }
    if (record.sets_will) {
      const auto proof = batch->proof_of(index);
      auto will = proof ? read_proof(*proof).map([&](const auto& proven) { return will_of(proven, *proof); })
                        : tl::unexpected(proof.error());
      expect(will && *will, "a will of our own has no proof");
      (void)context_.wills.set((*will)->first, std::move((*will)->second), context_.clock.monotonic());
    }
    if (!record.is_value) continue;
    RetainedValue value = retained_from(*batch, index, record.message);
    expect(!value.proof.empty(), "a record of our own has no proof");
    context_.retained.set(record.topic, std::move(value));
  }
  channel.durable_records += header.count;
  ++channel.durable_batches;
  logs_.append(id, *batch, std::move(wire), 0);  // a view stays good: the bytes keep their place
}

void OwnChannels::form_live(const ChannelId& id, Channel& channel) {
  const auto records = std::exchange(channel.open_live, {});
  channel.open_live_bytes = 0;
  channel.live_records += static_cast<std::uint64_t>(
      std::ranges::count_if(records, [](const OpenRecord& record) { return !signal_of(record.bytes); }));
  channel.said_live = context_.clock.monotonic();
  const Bytes wire = seal(id, channel, Stream::live, records);
  logs_.pass_live(id, static_cast<std::uint32_t>(records.size()), 0, wire);
}

// Readers ----------------------------------------------------------------------------------------------------

void OwnChannels::follow_catalogue(LinkId link) {
  if (std::ranges::find(followers_, link) == followers_.end()) followers_.push_back(link);
  context_.links->send(link, FrameType::catalogue, {catalogue_});
}

void OwnChannels::on_own_catalogue(const DirectoryRecord& record) {
  if (record.kind != DirectoryKind::catalogue || record.signer != context_.self() || record.seq <= catalogue_seq_)
    return;
  catalogue_seq_ = record.seq;
  context_.count("own catalogues of an earlier life seen");
  announce_catalogue();
}

void OwnChannels::link_down(LinkId link) {
  std::erase(followers_, link);
  for (auto& [id, channel] : channels_) channel.fetches.erase(link);
}

// Lost and found -----------------------------------------------------------------------------------------------

bool OwnChannels::on_own_position(LinkId link, const ChannelId& id, const wire::Position& position) {
  const auto found = channels_.find(id);
  const auto header = found == channels_.end() ? std::nullopt : proven_header(position, id, context_.network());
  if (!header) return false;
  const LogEnd* end = logs_.end(id, context_.self());
  const Cursor own = end ? end->cursor : Cursor{};
  const Cursor& theirs = position.cursor;
  if (theirs.incarnation == context_.incarnation && (own.incarnation != theirs.incarnation || own.seq < theirs.seq ||
                                                     (own.seq == theirs.seq && own.header != theirs.header))) {
    context_.count("lives of this node that were copied");
    return true;
  }
  if (theirs.incarnation.number > context_.incarnation.number) {
    context_.count("lives of this node that others had seen later ones of");
    return true;
  }
  Channel& channel = found->second;
  if (theirs.incarnation >= context_.incarnation || !is_behind(channel.known, theirs) || channel.fetches.contains(link))
    return false;
  channel.fetches[link] = theirs;
  context_.hybrid.resume(header->time);
  context_.count("own logs fetched back");
  const wire::ChannelJoin join{id, false, {{context_.self(), channel.known, {}}}};
  context_.links->send(link, FrameType::channel_join, {wire::encode_channel_join(join)});
  return false;
}

void OwnChannels::on_own_batch(LinkId link, const BatchView& batch, const wire::HeldBatch& held) {
  const BatchHeader& header = batch.header;
  const auto found = channels_.find(header.channel);
  const auto fetch =
      found == channels_.end() ? decltype(found->second.fetches.begin()){} : found->second.fetches.find(link);
  if (found == channels_.end() || fetch == found->second.fetches.end())
    return context_.count("own batches that nobody asked for");
  if (header.stream != Stream::durable || header.incarnation >= context_.incarnation || batch.body.empty() ||
      !batch.verify(context_.network()))
    return context_.count("own batches refused");
  Channel& channel = found->second;
  if (judge(channel.known, header) != Step::seen) {
    const LogEnd* end = logs_.end(header.channel, header.writer);
    if (!end || end->cursor == channel.known)
      logs_.append(header.channel, batch, to_bytes(held.batch), held.age_seconds, link);
    else
      logs_.restore(header.channel, batch, to_bytes(held.batch), held.age_seconds);
    channel.known = advanced(header, batch.header_hash);
    context_.hybrid.resume(header.time);
    context_.count("own records fetched back", header.count);
    take_back_retained(header.channel, batch, held.age_seconds);
  }
  if (is_behind(channel.known, fetch->second)) return;
  if (std::exchange(channel.lost_wills, false)) say_wills_again(header.channel, channel);
  channel.fetches.erase(fetch);
  context_.links->send(link, FrameType::channel_leave, {wire::encode_channel_leave(header.channel)});
}

/// The retained values among records of an earlier life, where they are the latest, and whether it had wills.
void OwnChannels::take_back_retained(const ChannelId& id, const BatchView& batch, std::uint32_t age_seconds) {
  const auto records = batch.records();
  if (!records || !batch.header.has_root) return;
  for (std::uint32_t index = 0; index < records->size(); ++index) {
    const auto record = decode_record((*records)[index]);
    if (record && record->kind == RecordKind::will_set) channels_.at(id).lost_wills = true;
    const bool is_value = record && (record->kind == RecordKind::message || record->kind == RecordKind::tombstone);
    if (!is_value || !record->retain || !check_topic(record->topic)) continue;
    const ShareRecord* share = shares_.of_topic(record->topic);
    if (!share || share->channel != id) continue;
    MessagePtr message;
    if (record->kind == RecordKind::message) {
      message = message_from(*record, record->topic, context_.clock.monotonic(), age_seconds);
      if (!message) continue;
    }
    const bool newer = context_.retained.set(record->topic, retained_from(batch, index, message));
    if (newer && message) context_.broker->deliver_retained(message);
  }
}

std::vector<OwnChannels::ChannelStatus> OwnChannels::status() const {
  std::vector<ChannelStatus> out;
  for (const auto& [id, channel] : channels_)
    out.push_back({shares_.all().at(channel.share).policy.filter, id, channel.durable_records, channel.live_records,
                   channel.durable_batches, logs_.log_bytes(id), logs_.members(id)});
  return out;
}

}  // namespace diot
