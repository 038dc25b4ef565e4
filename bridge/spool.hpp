#pragma once
// The messages that wait for persistent sessions. Those of one turn form a batch, one row of Table::spool, whatever the
// number of sessions that want them; each session's own rows (bridge/outbox.hpp) point into it. A batch goes when no
// session points into it any more. Messages are kept in memory up to limits::spool_memory_bytes_max, beyond that they
// are read again from their row when a session comes to them.

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "core/clock.hpp"
#include "core/message.hpp"
#include "core/store.hpp"

namespace diot {

/// Row: key = number (8, big-endian); value = for each message u32 length ‖ stored message (core/message.hpp).
struct SpoolBatch {
  std::uint64_t number = 0;
  std::uint32_t count = 0;
  std::uint32_t readers = 0;         ///< sessions that have messages of it to deliver
  Ticket ticket = 0;                 ///< of its row
  bool saved = false;                ///< the row has been put
  std::size_t bytes = 0;             ///< nearly what the messages take in memory
  std::vector<MessagePtr> messages;  ///< empty: on disk only
};

/// One message of a batch.
struct SpoolPlace {
  SpoolBatch* batch = nullptr;
  std::uint32_t index = 0;
};

class Spool {
 public:
  Spool(Store& store, const Clock& clock) : store_(store), clock_(clock) {}
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  /// Adds to the batch of this turn. Unless a session is registered with it (`add_reader`) before `save`, it is
  /// dropped.
  SpoolPlace add(const MessagePtr& message);
  /// The end of the turn: puts the rows.
  void save();

  void add_reader(SpoolBatch& batch) { ++batch.readers; }
  /// The last one erases the batch.
  void remove_reader(SpoolBatch& batch);

  /// nullptr: the row is missing or corrupt.
  MessagePtr read(SpoolPlace place);

  /// At start-up: a batch that a session's row points to.
  SpoolBatch& restore(std::uint64_t number);

  bool holds(std::uint64_t number) const { return batches_.contains(number); }
  std::size_t batches() const { return batches_.size(); }
  std::size_t resident_bytes() const { return resident_bytes_; }

  static Bytes key_of(std::uint64_t number);

 private:
  void load(SpoolBatch& batch);
  void become_resident(SpoolBatch& batch);
  /// Drops the oldest from memory down to the limit, but not `wanted`.
  void trim(const SpoolBatch& wanted);
  void drop(SpoolBatch& batch);

  Store& store_;
  const Clock& clock_;
  std::map<std::uint64_t, SpoolBatch> batches_;
  std::vector<SpoolBatch*> unsaved_;  ///< of this turn; the last one takes more
  std::set<std::uint64_t> resident_;  ///< saved batches whose messages are in memory
  std::size_t resident_bytes_ = 0;
  std::uint64_t next_number_ = 1;
};

}  // namespace diot
