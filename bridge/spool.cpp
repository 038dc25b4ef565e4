#include "bridge/spool.hpp"

#include "bridge/properties.hpp"
#include "core/limits.hpp"

namespace diot {

namespace {
constexpr std::size_t message_overhead_bytes = sizeof(Message) + 64;
}

Bytes Spool::key_of(std::uint64_t number) {
  Bytes key;
  ByteWriter(key).u64(number);
  return key;
}

SpoolPlace Spool::add(const MessagePtr& message) {
  const bool full = !unsaved_.empty() && (unsaved_.back()->bytes >= limits::spool_batch_bytes_max ||
                                          unsaved_.back()->count >= limits::batch_count_max);
  if (unsaved_.empty() || full) {
    SpoolBatch& batch = batches_[next_number_];
    batch.number = next_number_++;
    unsaved_.push_back(&batch);
  }
  SpoolBatch& batch = *unsaved_.back();
  batch.messages.push_back(message);
  batch.bytes += weight_of(*message) + message_overhead_bytes;
  return {&batch, batch.count++};
}

void Spool::save() {
  for (SpoolBatch* batch : unsaved_) {
    if (batch->readers == 0) {
      batches_.erase(batch->number);
      continue;
    }
    Bytes row;
    row.reserve(batch->bytes);
    for (const auto& message : batch->messages) {
      const Bytes stored = encode_stored(*message, clock_.monotonic(), clock_.held_ms());
      ByteWriter writer(row);
      writer.u32(static_cast<std::uint32_t>(stored.size()));
      writer.raw(stored);
    }
    batch->ticket = store_.open_ticket();
    batch->saved = true;
    store_.put(Table::spool, key_of(batch->number), std::move(row));
    become_resident(*batch);
    trim(*batch);
  }
  unsaved_.clear();
}

void Spool::remove_reader(SpoolBatch& batch) {
  expect(batch.readers > 0, "a spool batch without readers loses one");
  if (--batch.readers > 0 || !batch.saved) return;  // an unsaved one may still get a reader in this turn
  store_.erase(Table::spool, key_of(batch.number));
  if (!batch.messages.empty()) drop(batch);
  batches_.erase(batch.number);
}

MessagePtr Spool::read(SpoolPlace place) {
  SpoolBatch& batch = *place.batch;
  if (batch.messages.empty()) load(batch);
  return place.index < batch.messages.size() ? batch.messages[place.index] : nullptr;
}

SpoolBatch& Spool::restore(std::uint64_t number) {
  SpoolBatch& batch = batches_[number];
  batch.number = number;
  batch.saved = true;
  next_number_ = std::max(next_number_, number + 1);
  return batch;
}

void Spool::load(SpoolBatch& batch) {
  const auto row = store_.get(Table::spool, key_of(batch.number));
  if (!row || !*row) return;
  ByteReader reader(**row);
  while (reader.ok() && !reader.rest().empty()) {
    const ByteView stored = reader.raw(reader.u32());
    // A broken message leaves its place empty, so that the others keep theirs.
    batch.messages.push_back(decode_stored(stored, clock_.monotonic(), clock_.held_ms()));
    if (batch.messages.back()) batch.bytes += weight_of(*batch.messages.back()) + message_overhead_bytes;
  }
  batch.count = static_cast<std::uint32_t>(batch.messages.size());
  if (batch.messages.empty()) return;
  become_resident(batch);
  trim(batch);
}

void Spool::become_resident(SpoolBatch& batch) {
  resident_.insert(batch.number);
  resident_bytes_ += batch.bytes;
}

void Spool::trim(const SpoolBatch& wanted) {
  for (auto at = resident_.begin(); at != resident_.end() && resident_bytes_ > limits::spool_memory_bytes_max;) {
    SpoolBatch& batch = batches_.at(*at++);
    if (batch.ticket > store_.durable_ticket()) return;  // reads see only what is on disk; those behind it are younger
    if (&batch != &wanted) drop(batch);
  }
}

void Spool::drop(SpoolBatch& batch) {
  resident_.erase(batch.number);
  resident_bytes_ -= batch.bytes;
  batch.bytes = 0;
  batch.messages.clear();
  batch.messages.shrink_to_fit();
}

}  // namespace diot
