#include "bridge/outbox.hpp"

#include <algorithm>

#include "bridge/properties.hpp"
#include "core/limits.hpp"

namespace diot {

namespace {

constexpr std::uint8_t row_version = 2;
constexpr std::uint8_t mark_released = 1, mark_given_up = 2;
constexpr QueueSeq packet_ids = 65'535;
/// How far a queue may go beyond its bounds before it is cut back to them: each cut moves what is in flight.
constexpr std::size_t slack_count = 64, slack_bytes = 1 << 20;

/// Reads a variable byte integer of up to 64 bits; MQTT's own stop at 28.
std::uint64_t read_varint(ByteReader& in) {
  std::uint64_t out = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    const std::uint8_t byte = in.u8();
    out |= std::uint64_t{byte & 0x7Fu} << shift;
    if (!(byte & 0x80)) break;
  }
  return out;
}

void write_varint(ByteWriter& out, std::uint64_t value) {
  for (; value >= 128; value >>= 7) out.u8(static_cast<std::uint8_t>(value | 0x80));
  out.u8(static_cast<std::uint8_t>(value));
}

}  // namespace

Outbox::Outbox(Store& store, Spool& spool, std::uint64_t session_number, bool stored)
    : store_(store), spool_(spool), session_number_(session_number), stored_(stored) {}

void Outbox::push(const MessagePtr& message, SpoolPlace place, const Delivery& delivery) {
  Entry& entry = queue_.emplace_back();
  entry.seq = next_seq_++;
  entry.place = place;
  if (!place.batch) entry.message = message;
  entry.ticket = delivery.ticket;
  entry.qos = delivery.qos;
  entry.retain = delivery.retain;
  entry.replay = delivery.replay;
  entry.shared = delivery.shared;
  entry.bytes = static_cast<std::uint32_t>(weight_of(*message));
  entry.subscription_ids.assign(delivery.subscription_ids.begin(), delivery.subscription_ids.end());
  if (entry.replay) {
    ++replays_;
  } else {
    ++waiting_;
    waiting_bytes_ += entry.bytes;
  }
  if (place.batch) {
    if (rows_.empty() || rows_.back().batch != place.batch) {
      rows_.push_back({place.batch, entry.seq, entry.seq, 0, false, false});
      spool_.add_reader(*place.batch);
    }
    rows_.back().last = entry.seq;
    ++rows_.back().left;
  }
  if (is_over(slack_count, slack_bytes)) give_up_oldest();
}

bool Outbox::is_over(std::size_t by_count, std::size_t by_bytes) const {
  return waiting_ > limits::session_queue_count_max + by_count ||
         waiting_bytes_ > limits::session_queue_bytes_max + by_bytes;
}

void Outbox::give_up_oldest() {
  const auto may_go = [&](std::size_t at) { return !queue_[at].replay && queue_[at].progress == Progress::queued; };
  for (std::size_t from = next_; is_over(0, 0) && from < queue_.size(); ++from) {
    std::size_t to = from;
    for (; is_over(0, 0) && to < queue_.size() && may_go(to); ++to) {
      Entry& entry = queue_[to];
      if (entry.place.batch && entry.qos == Qos::at_least_once) mark(entry, mark_given_up);
      finish(entry);
      ++lost_;
    }
    if (to == from) continue;
    // Taken out at once: an oldest message that is never acknowledged would keep the places of all that were given up.
    const auto place = [&](std::size_t at) { return queue_.begin() + static_cast<std::ptrdiff_t>(at); };
    std::move_backward(queue_.begin(), place(from), place(to));
    for (std::size_t gone = to - from; gone > 0; --gone) queue_.pop_front();
  }
}

Outbox::State Outbox::pump(DeliverySink& sink, std::uint16_t window) {
  const auto state = [&] {
    for (; next_ < queue_.size(); ++next_) {
      Entry& entry = queue_[next_];
      if (entry.progress == Progress::done) continue;
      if (entry.ticket > store_.durable_ticket()) return State::waits_for_disk;
      if (!sink.has_room()) return State::waits_for_room;
      if (entry.qos != Qos::at_most_once && (in_flight_ >= window || entry.seq - queue_.front().seq >= packet_ids))
        return State::waits_for_acknowledgement;
      if (entry.progress == Progress::released) {
        sink.send_pubrel(packet_id_of(entry.seq));
        ++in_flight_;
        continue;
      }
      if (entry.replay) --replays_, entry.replay = false, ++waiting_, waiting_bytes_ += entry.bytes;
      const MessagePtr message = entry.place.batch ? spool_.read(entry.place) : entry.message;
      if (!message) {
        ++lost_;
        finish(entry);
        continue;
      }
      PublishOut how;
      how.qos = entry.qos;
      how.retain = entry.retain;
      how.dup = entry.in_doubt && entry.qos != Qos::at_most_once;
      how.packet_id = packet_id_of(entry.seq);
      how.subscription_ids = entry.subscription_ids;
      if (!sink.send_publish(*message, how) || entry.qos == Qos::at_most_once) {
        finish(entry);
        continue;
      }
      entry.progress = Progress::sent;
      entry.in_doubt = true;
      last_sent_ = entry.seq;
      ++in_flight_;
    }
    return in_flight_ > 0 ? State::waits_for_acknowledgement : State::idle;
  }();
  pop_done();
  return state;
}

Outbox::Entry* Outbox::find(PacketId packet_id) {
  if (queue_.empty() || packet_id == 0) return nullptr;
  const QueueSeq base = queue_.front().seq;
  const QueueSeq ahead = (packet_id + packet_ids - packet_id_of(base)) % packet_ids;
  const QueueSeq seq = base + ahead;
  // Mostly nothing is missing in the queue, so that the place is known.
  auto at = queue_.begin() + static_cast<std::ptrdiff_t>(std::min<QueueSeq>(ahead, queue_.size() - 1));
  if (at->seq != seq)
    at = std::lower_bound(queue_.begin(), at, seq,
                          [](const Entry& entry, QueueSeq wanted) { return entry.seq < wanted; });
  if (at->seq != seq || at >= queue_.begin() + static_cast<std::ptrdiff_t>(next_)) return nullptr;
  return &*at;
}

Outbox::Answer Outbox::puback(PacketId packet_id) {
  Entry* entry = find(packet_id);
  if (!entry || entry->qos == Qos::at_most_once || entry->progress == Progress::done) return Answer::unknown;
  if (entry->qos != Qos::at_least_once || entry->progress != Progress::sent) return Answer::wrong;
  --in_flight_;
  finish(*entry);
  pop_done();
  return Answer::done;
}

Outbox::Pubrec Outbox::pubrec(PacketId packet_id, bool failure) {
  Entry* entry = find(packet_id);
  if (!entry || entry->qos == Qos::at_most_once || entry->progress == Progress::done) return Pubrec::unknown;
  if (entry->qos != Qos::exactly_once) return Pubrec::wrong;
  if (entry->progress == Progress::released) return failure ? Pubrec::unknown : Pubrec::released;
  if (failure) {
    --in_flight_;
    finish(*entry);
    pop_done();
    return Pubrec::failed;
  }
  entry->progress = Progress::released;
  entry->message.reset();
  if (entry->place.batch) {
    mark(*entry, mark_released);
    entry->ticket = store_.open_ticket();  // nor may a new connection send PUBREL before
  }
  return Pubrec::released;
}

Outbox::Answer Outbox::pubcomp(PacketId packet_id) {
  Entry* entry = find(packet_id);
  if (!entry || entry->qos == Qos::at_most_once || entry->progress == Progress::done) return Answer::unknown;
  if (entry->progress != Progress::released) return Answer::wrong;
  --in_flight_;
  finish(*entry);
  pop_done();
  return Answer::done;
}

/// The entry stays until it reaches the front of the queue, but counts no more.
void Outbox::finish(Entry& entry) {
  if (entry.replay) {
    --replays_;
  } else {
    --waiting_;
    waiting_bytes_ -= entry.bytes;
  }
  // What is on disk of a QoS 2 message must say that it is done for as long as its row is there.
  if (entry.place.batch) {
    if (entry.qos == Qos::exactly_once && entry.progress != Progress::released) mark(entry, mark_given_up);
    leave_row(*entry.place.batch);
  }
  entry.progress = Progress::done;
  entry.place = {};
  entry.message.reset();
}

void Outbox::pop_done() {
  while (next_ > 0 && queue_.front().progress == Progress::done) {
    queue_.pop_front();
    --next_;
  }
}

Fifo<Outbox::Row>::iterator Outbox::row_of(const SpoolBatch& batch) {
  const auto row = std::lower_bound(rows_.begin(), rows_.end(), batch.number,
                                    [](const Row& a, std::uint64_t number) { return a.batch->number < number; });
  expect(row != rows_.end() && row->batch == &batch, "a queued message without its row");
  return row;
}

void Outbox::leave_row(SpoolBatch& batch) {
  const auto row = row_of(batch);
  if (--row->left > 0) return;
  if (row->saved) store_.erase(Table::queue, key_of_row(batch));
  if (row->marked) store_.erase_range(Table::inflight, key_of_mark(row->first), key_of_mark(row->last + 1));
  rows_.erase(row);
  spool_.remove_reader(batch);
}

void Outbox::mark(const Entry& entry, std::uint8_t value) {
  row_of(*entry.place.batch)->marked = true;
  store_.put(Table::inflight, key_of_mark(entry.seq), Bytes{value});
}

void Outbox::disconnected() {
  for (Entry& entry : queue_)
    if (entry.qos == Qos::at_most_once && entry.progress != Progress::done) finish(entry);
  in_flight_ = 0;
  next_ = 0;
  while (!queue_.empty() && queue_.front().progress == Progress::done) queue_.pop_front();
  for (Entry& entry : queue_)
    if (entry.progress == Progress::sent) entry.progress = Progress::queued;
}

std::vector<Outbox::Taken> Outbox::take(Take which) {
  std::vector<Taken> out;
  for (Entry& entry : queue_) {
    if (entry.progress != Progress::queued || !(entry.shared || which == Take::everything)) continue;
    MessagePtr message;
    if (!entry.in_doubt || (which != Take::unsent_shared && entry.qos == Qos::at_least_once))
      message = entry.place.batch ? spool_.read(entry.place) : entry.message;
    if (!message) {
      lost_ += which == Take::everything;
      continue;
    }
    out.push_back({std::move(message), entry.ticket, entry.qos, entry.retain, entry.shared, entry.subscription_ids});
    if (entry.place.batch && entry.qos == Qos::at_least_once) mark(entry, mark_given_up);
    finish(entry);
  }
  while (!queue_.empty() && queue_.front().progress == Progress::done) queue_.pop_front();
  return out;
}

void Outbox::save() {
  auto entry = std::lower_bound(queue_.begin(), queue_.end(), unsaved_from_,
                                [](const Entry& a, QueueSeq seq) { return a.seq < seq; });
  unsaved_from_ = next_seq_;
  while (entry != queue_.end()) {
    if (!entry->place.batch) {
      ++entry;
      continue;
    }
    SpoolBatch* const batch = entry->place.batch;
    const QueueSeq first = entry->seq;
    Bytes value;
    ByteWriter out(value);
    out.u8(row_version);
    out.u64(first);
    for (; entry != queue_.end() && (!entry->place.batch || entry->place.batch == batch); ++entry) {
      if (!entry->place.batch) continue;
      write_varint(out, entry->seq - first);
      write_varint(out, entry->place.index);
      out.u8(static_cast<std::uint8_t>(static_cast<int>(entry->qos) | entry->retain << 2 | entry->shared << 3));
      write_varint(out, entry->bytes);
      write_varint(out, entry->subscription_ids.size());
      for (auto id : entry->subscription_ids) write_varint(out, id);
    }
    row_of(*batch)->saved = true;
    store_.put(Table::queue, key_of_row(*batch), std::move(value));
  }
}

void Outbox::clear() {
  for (const Row& row : rows_) spool_.remove_reader(*row.batch);
  rows_.clear();
  queue_.clear();
  next_ = in_flight_ = waiting_ = waiting_bytes_ = replays_ = 0;
  if (!stored_) return;
  Bytes prefix;
  ByteWriter(prefix).u64(session_number_);
  const Bytes end = after_prefix(prefix);
  store_.erase_range(Table::queue, prefix, end);
  store_.erase_range(Table::inflight, prefix, end);
}

bool Outbox::restore_row(std::uint64_t batch_number, ByteView value, QueueSeq in_doubt_through) {
  ByteReader in(value);
  if (in.u8() != row_version) return false;
  const QueueSeq first = in.u64();
  std::vector<Entry> entries;
  while (in.ok() && !in.rest().empty()) {
    Entry& entry = entries.emplace_back();
    entry.seq = first + read_varint(in);
    entry.place.index = static_cast<std::uint32_t>(read_varint(in));
    const std::uint8_t flags = in.u8();
    if ((flags & 3) == 0 || (flags & 3) == 3) return false;
    entry.qos = static_cast<Qos>(flags & 3);
    entry.retain = flags & 4;
    entry.shared = flags & 8;
    entry.bytes = static_cast<std::uint32_t>(read_varint(in));
    entry.in_doubt = entry.seq <= in_doubt_through;
    for (auto count = read_varint(in); count > 0 && in.ok(); --count)
      entry.subscription_ids.push_back(static_cast<std::uint32_t>(read_varint(in)));
    const QueueSeq before = entries.size() > 1 ? entries[entries.size() - 2].seq
                            : queue_.empty()   ? 0
                                               : queue_.back().seq;
    if (entry.seq <= before) return false;
  }
  if (!in.ok() || entries.empty()) return false;
  SpoolBatch& batch = spool_.restore(batch_number);
  spool_.add_reader(batch);
  rows_.push_back(
      {&batch, entries.front().seq, entries.back().seq, static_cast<std::uint32_t>(entries.size()), true, false});
  for (Entry& entry : entries) {
    entry.place.batch = &batch;
    ++waiting_;
    waiting_bytes_ += entry.bytes;
    queue_.push_back(std::move(entry));
  }
  next_seq_ = unsaved_from_ = std::max(next_seq_, queue_.back().seq + 1);
  return true;
}

void Outbox::restore_mark(ByteView seq_bytes, std::uint8_t value) {
  const QueueSeq seq = ByteReader(seq_bytes).u64();
  const auto entry = std::lower_bound(queue_.begin(), queue_.end(), seq,
                                      [](const Entry& a, QueueSeq wanted) { return a.seq < wanted; });
  if (entry == queue_.end() || entry->seq != seq || entry->progress != Progress::queued) return;
  row_of(*entry->place.batch)->marked = true;
  if (value == mark_released) entry->progress = Progress::released;
  if (value == mark_given_up) finish(*entry);
}

Bytes Outbox::key_of_row(const SpoolBatch& batch) const {
  Bytes key;
  ByteWriter out(key);
  out.u64(session_number_);
  out.u64(batch.number);
  return key;
}

Bytes Outbox::key_of_mark(QueueSeq seq) const {
  Bytes key;
  ByteWriter out(key);
  out.u64(session_number_);
  out.u8('o');
  out.u64(seq);
  return key;
}

}  // namespace diot
