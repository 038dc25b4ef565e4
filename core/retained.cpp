#include "core/retained.hpp"

#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"
#include "core/topic_trie.hpp"

namespace diot {

namespace {

constexpr std::uint64_t row_version = 1;
constexpr std::size_t dropped_per_tick_max = 1000;
constexpr std::size_t early_per_topic_max = 2;
constexpr auto tombstone_age_ms_max = static_cast<WallMs>(std::chrono::milliseconds(limits::tombstone_age_max).count());

// Table::retained: topic → value; 0x00 ‖ u64 time from which it counts (ms) ‖ topic → value; 0x01 …: core/will_table;
// 0x02 ‖ topic → veil: channel (32) ‖ stored message. No topic begins so.
constexpr std::uint8_t early_prefix = 0, will_prefix = 1, veil_prefix = 2;

Bytes veil_key(std::string_view topic) {
  Bytes key{veil_prefix};
  append(key, as_bytes(topic));
  return key;
}

Bytes early_key(WallMs at, std::string_view topic) {
  Bytes key;
  ByteWriter out(key);
  out.u8(early_prefix);
  out.u64(at);
  out.raw(as_bytes(topic));
  return key;
}

/// msgpack [1, stored message (bin) or nil, time, writer, incarnation number, its random half, seq, channel, proof].
Bytes encode_row(const RetainedValue& value, Monotonic now, HeldMs held_now) {
  Bytes out;
  PackWriter to(out);
  to.array(9);
  to.uint(row_version);
  if (value.message)
    to.bin(encode_stored(*value.message, now, held_now));
  else
    to.nil();
  to.uint(value.stamp.time);
  to.bin(value.stamp.writer);
  to.uint(value.stamp.incarnation.number);
  to.uint(value.stamp.incarnation.random);
  to.uint(value.stamp.seq);
  to.bin(value.channel);
  to.bin(value.proof);
  return out;
}

std::optional<RetainedValue> decode_row(ByteView bytes, std::string_view topic, Monotonic now, HeldMs held_now) {
  constexpr std::size_t bytes_max = 2 * limits::batch_body_bytes_max;
  RetainedValue out;
  PackReader in(bytes);
  in.array_of(9);
  const bool known = in.uint() == row_version;
  if (!in.nil()) {
    out.message = decode_stored(in.bin(bytes_max), now, held_now);
    if (!out.message || out.message->topic != topic) return std::nullopt;
  }
  out.stamp.time = in.uint();
  out.stamp.writer = in.id<NodeId>();
  out.stamp.incarnation.number = in.uint();
  out.stamp.incarnation.random = in.uint();
  out.stamp.seq = in.uint();
  out.channel = in.id<ChannelId>();
  out.proof = to_bytes(in.bin(bytes_max));
  if (!known || !in.done() || !check_topic(topic)) return std::nullopt;
  return out;
}

}  // namespace

std::size_t message_bytes(const Message& message) {
  const Properties& properties = message.properties;
  std::size_t out = message.topic.size() + message.payload.size();
  for (const auto& [name, text] : properties.user) out += 2 * sizeof(std::string) + name.size() + text.size();
  if (properties.content_type) out += properties.content_type->size();
  if (properties.response_topic) out += properties.response_topic->size();
  if (properties.correlation_data) out += properties.correlation_data->size();
  return out;
}

struct Retained::Impl {
  using Trie = TopicTrie<RetainedValue>;
  using Entry = Trie::Entry;
  struct ByTopic {
    bool operator()(const Entry* a, const Entry* b) const { return a->topic < b->topic; }
  };

  Store& store;
  const Clock& clock;
  Trie values;  ///< tombstones too
  struct InChannel {
    std::set<const Entry*, ByTopic> entries;
    std::size_t early = 0;
    std::size_t bytes = 0;  ///< of both
  };
  std::unordered_map<ChannelId, InChannel> channels;
  std::set<std::pair<Monotonic, const Entry*>> expiries;  ///< of messages
  std::set<std::pair<WallMs, const Entry*>> tombstones;   ///< when they are given up
  std::map<std::pair<WallMs, std::string>, RetainedValue> early;
  /// Of these, by topic. Not the newest alone, which would never be due while its writer goes on.
  std::map<std::string, std::set<WallMs>, std::less<>> early_times;
  std::map<std::string, RetainedValue, std::less<>> veils;  ///< bounded by the wills that may be set
  std::size_t bytes = 0;                                    ///< of all values, early ones too
  std::size_t damaged_rows = 0;

  static std::optional<Monotonic> expiry_of(const RetainedValue& value) {
    if (!value.message || !value.message->properties.expiry_seconds) return std::nullopt;
    return value.message->received + std::chrono::seconds(*value.message->properties.expiry_seconds);
  }
  static WallMs end_of_tombstone(const RetainedValue& value) {
    return wall_of(value.stamp.time) + tombstone_age_ms_max;
  }

  /// Counts a value; one without an entry waits for its time.
  void charge(const RetainedValue& value, const Entry* entry) {
    const std::size_t size = bytes_of(value);
    bytes += size;
    if (value.channel.is_zero()) return;
    InChannel& channel = channels[value.channel];
    channel.bytes += size;
    if (entry)
      channel.entries.insert(entry);
    else
      ++channel.early;
  }
  void discharge(const RetainedValue& value, const Entry* entry) {
    const std::size_t size = bytes_of(value);
    bytes -= size;
    const auto channel = channels.find(value.channel);
    if (channel == channels.end()) return;
    channel->second.bytes -= size;
    if (entry)
      channel->second.entries.erase(entry);
    else
      --channel->second.early;
    if (channel->second.entries.empty() && channel->second.early == 0) channels.erase(channel);
  }

  void index(const Entry& entry) {
    charge(entry.value, &entry);
    if (!entry.value.message) tombstones.emplace(end_of_tombstone(entry.value), &entry);
    if (const auto expiry = expiry_of(entry.value)) expiries.emplace(*expiry, &entry);
  }
  void unindex(const Entry& entry) {
    discharge(entry.value, &entry);
    if (!entry.value.message) tombstones.erase({end_of_tombstone(entry.value), &entry});
    if (const auto expiry = expiry_of(entry.value)) expiries.erase({*expiry, &entry});
  }
  void write_row(Entry& entry) {
    store.put(Table::retained, as_bytes(entry.topic), encode_row(entry.value, clock.monotonic(), clock.held_ms()));
    entry.value.ticket = store.open_ticket();
  }
  void erase(const Entry& entry) {
    unindex(entry);
    store.erase(Table::retained, as_bytes(entry.topic));
    values.erase(std::string(entry.topic));  // a copy: the entry goes on the way
  }
  using Early = decltype(early)::iterator;
  /// The last one that waits for its time on the topic.
  Early newest_early(std::string_view topic) {
    const auto times = early_times.find(topic);
    return times == early_times.end() ? early.end() : early.find({*times->second.rbegin(), std::string(topic)});
  }
  /// Whether a later one takes its place.
  bool gives_way(Early newest, WallMs to) const {
    return newest != early.end() &&
           (newest->first.first == to || early_times.at(newest->first.second).size() >= early_per_topic_max);
  }
  void add_early(WallMs at, std::string_view topic, RetainedValue value) {
    if (const auto newest = newest_early(topic); gives_way(newest, at)) (void)drop_early(newest);
    charge(value, nullptr);
    early_times[std::string(topic)].insert(at);
    early.insert_or_assign(std::pair(at, std::string(topic)), std::move(value));
  }
  Early drop_early(Early which) {
    const auto& [at, topic] = which->first;
    discharge(which->second, nullptr);
    store.erase(Table::retained, early_key(at, topic));
    const auto times = early_times.find(topic);
    times->second.erase(at);
    if (times->second.empty()) early_times.erase(times);
    return early.erase(which);
  }

  /// A value of a channel that expired leaves its stamp, so that no older one comes back from a node that missed it.
  void expire(const Entry& expired) {
    if (expired.value.channel.is_zero()) return erase(expired);
    Entry& entry = *values.try_emplace(expired.topic).first;
    unindex(entry);
    entry.value.message = nullptr;
    index(entry);
    write_row(entry);
  }
};

Retained::Retained(Store& store, const Clock& clock) : impl_(new Impl{store, clock, {}, {}, {}, {}, {}, {}, {}}) {}
Retained::~Retained() = default;

Result<void> Retained::load() {
  const auto now = impl_->clock.monotonic();
  const auto held_now = impl_->clock.held_ms();
  const auto damaged = [this](ByteView key) {
    ++impl_->damaged_rows;
    impl_->store.erase(Table::retained, key);
  };
  return impl_->store.scan(
      Table::retained, {}, {},
      [&](ByteView key, ByteView bytes) {
        const bool is_early = !key.empty() && key.front() == early_prefix;
        if (!key.empty() && key.front() == will_prefix) return true;
        if (!key.empty() && key.front() == veil_prefix) {
          const auto channel = ChannelId::from(bytes.first(std::min(bytes.size(), ChannelId::size)));
          const auto message = channel ? decode_stored(bytes.subspan(ChannelId::size), now, held_now) : nullptr;
          if (!message || message->topic != as_text(key.subspan(1))) return damaged(key), true;
          impl_->veils[message->topic] = {message, {}, *channel, {}, 0};
          return true;
        }
        ByteReader in(key.subspan(is_early ? 1 : 0));
        const WallMs at = is_early ? in.u64() : 0;
        auto value = decode_row(bytes, as_text(in.rest()), now, held_now);
        if (!value) return damaged(key), true;
        if (is_early) {
          impl_->add_early(at, as_text(in.rest()), std::move(*value));  // an older version kept more of a topic
          return true;
        }
        Impl::Entry& entry = *impl_->values.try_emplace(as_text(key)).first;
        entry.value = std::move(*value);
        impl_->index(entry);
        return true;
      },
      damaged);
}

bool Retained::has_room(std::string_view topic, std::size_t bytes) const {
  const auto* known = impl_->values.find(topic);
  if (!known && impl_->values.size() + impl_->early.size() >= limits::retained_count_max) return false;
  const std::size_t freed = known ? bytes_of(*known) : 0;
  return bytes <= freed || impl_->bytes - freed + bytes <= limits::retained_bytes_max;
}

bool Retained::set(std::string_view topic, RetainedValue value) {
  const auto* known = impl_->values.find(topic);
  if (known && value.stamp <= known->stamp) return false;
  (void)unveil(topic);
  if (!value.message && value.channel.is_zero()) {
    if (known) impl_->erase(*impl_->values.try_emplace(topic).first);
    return true;
  }
  Impl::Entry& entry = *impl_->values.try_emplace(topic).first;
  if (known) impl_->unindex(entry);
  entry.value = std::move(value);
  impl_->index(entry);
  impl_->write_row(entry);
  return true;
}

bool Retained::set_at(WallMs at, std::string_view topic, RetainedValue value) {
  const auto newest = impl_->newest_early(topic);
  if (newest != impl_->early.end() && std::tie(at, value.stamp) <= std::tie(newest->first.first, newest->second.stamp))
    return true;
  const bool replaces = impl_->gives_way(newest, at);
  const std::size_t freed = replaces ? bytes_of(newest->second) : 0;
  if (use().count - (replaces ? 1 : 0) >= limits::retained_count_max ||
      impl_->bytes - freed + bytes_of(value) > limits::retained_bytes_max)
    return false;
  Bytes row = encode_row(value, impl_->clock.monotonic(), impl_->clock.held_ms());
  impl_->add_early(at, topic, std::move(value));
  impl_->store.put(Table::retained, early_key(at, topic), std::move(row));
  return true;
}

void Retained::veil(const MessagePtr& message, const ChannelId& channel) {
  Bytes row = to_bytes(channel.view());
  append(row, encode_stored(*message, impl_->clock.monotonic(), impl_->clock.held_ms()));
  impl_->store.put(Table::retained, veil_key(message->topic), std::move(row));
  impl_->veils.insert_or_assign(message->topic, RetainedValue{message, {}, channel, {}, impl_->store.open_ticket()});
}

bool Retained::unveil(std::string_view topic) {
  const auto found = impl_->veils.find(topic);
  if (found == impl_->veils.end()) return false;
  impl_->store.erase(Table::retained, veil_key(topic));
  impl_->veils.erase(found);
  return true;
}

bool Retained::has_veils() const { return !impl_->veils.empty(); }

const RetainedValue* Retained::find(std::string_view topic) const { return impl_->values.find(topic); }

void Retained::match(std::string_view filter,
                     const std::function<void(const std::string& topic, const RetainedValue&)>& visit) const {
  const auto now = impl_->clock.monotonic();
  impl_->values.match(filter, [&](const Impl::Entry& entry) {
    if (!impl_->veils.empty() && impl_->veils.contains(entry.topic)) return;
    if (entry.value.message && entry.value.message->seconds_left(now) != 0u) visit(entry.topic, entry.value);
  });
  for (const auto& [topic, veil] : impl_->veils)
    if (!veil.message->payload.empty() && veil.message->seconds_left(now) != 0u && matches(filter, topic))
      visit(topic, veil);
}

void Retained::of_channel(const ChannelId& channel,
                          const std::function<void(const std::string& topic, const RetainedValue&)>& visit) const {
  const auto found = impl_->channels.find(channel);
  if (found == impl_->channels.end()) return;
  for (const auto* entry : found->second.entries) visit(entry->topic, entry->value);
}

Retained::Use Retained::use(const ChannelId& channel) const {
  const auto found = impl_->channels.find(channel);
  return found == impl_->channels.end() ? Use{}
                                        : Use{found->second.entries.size() + found->second.early, found->second.bytes};
}

Retained::Use Retained::use() const { return {impl_->values.size() + impl_->early.size(), impl_->bytes}; }

void Retained::erase_channel(const ChannelId& channel, const std::function<bool(const std::string& topic)>& keep) {
  if (!keep) {
    for (auto each = impl_->early.begin(); each != impl_->early.end();)
      each = each->second.channel == channel ? impl_->drop_early(each) : std::next(each);
    std::erase_if(impl_->veils, [&](const auto& each) {
      const bool gone = each.second.channel == channel;
      if (gone) impl_->store.erase(Table::retained, veil_key(each.first));
      return gone;
    });
  }
  const auto found = impl_->channels.find(channel);
  if (found == impl_->channels.end()) return;
  const std::vector<const Impl::Entry*> entries(found->second.entries.begin(), found->second.entries.end());
  for (const auto* entry : entries)
    if (!keep || !keep(entry->topic)) impl_->erase(*entry);
}

void Retained::tick() {
  const auto now = impl_->clock.monotonic();
  const auto wall_now = impl_->clock.wall_ms();
  for (auto left = dropped_per_tick_max; left > 0; --left) {
    if (auto& early = impl_->early; !early.empty() && early.begin()->first.first <= wall_now) {
      // It fits: it was counted while it waited.
      const std::string topic = early.begin()->first.second;
      RetainedValue due = early.begin()->second;
      (void)impl_->drop_early(early.begin());
      (void)set(topic, std::move(due));
    } else if (!impl_->expiries.empty() && impl_->expiries.begin()->first <= now)
      impl_->expire(*impl_->expiries.begin()->second);
    else if (!impl_->tombstones.empty() && impl_->tombstones.begin()->first <= wall_now)
      impl_->erase(*impl_->tombstones.begin()->second);
    else
      break;
  }
}

std::size_t Retained::size() const { return impl_->values.size() - impl_->tombstones.size(); }
std::size_t Retained::damaged_rows() const { return impl_->damaged_rows; }

}  // namespace diot
