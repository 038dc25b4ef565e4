#pragma once
// What survives the process: tables of key → value rows, written in transactions. One transaction collects everything
// that one turn of the I/O loop changed, so that (for instance) a QoS 2 packet id, the queue rows and the channel log's
// batch that belong together are on disk together or not at all.
//
// Group commit: while one transaction is being written the next one grows, so its size follows the disk's speed.
// All calls come from the I/O thread.

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

/// Never renumber: the numbers are in the database file's table names' migrations.
enum class Table : std::uint8_t {
  meta,      ///< single values: incarnation high-water mark, key material of the network, …
  block,     ///< height (8) → ledger block
  share,     ///< share id (16) → share record
  peer,      ///< NodeId (32) → last known addresses
  log,       ///< channel (32) ‖ writer (32) ‖ incarnation (16) ‖ first seq (8) → batch as on the wire
  cursor,    ///< channel (32) ‖ writer (32) → {incarnation, seq, header hash}
  retained,  ///< topic → value
  session,   ///< client id → session state
  queue,     ///< session number (8) ‖ batch (8) → which messages of the spool batch are for it
  spool,     ///< batch (8) → messages that some session's queue refers to
  inflight,  ///< session number (8) ‖ … → QoS 2 state
  count_     ///< how many tables there are
};

/// Numbers the transactions; 0 = was never in doubt (nothing to wait for).
using Ticket = std::uint64_t;

class Store {
 public:
  virtual ~Store() = default;

  /// Adds to the open transaction. Later changes of a key in the same transaction win.
  virtual void put(Table table, ByteView key, Bytes value) = 0;
  virtual void erase(Table table, ByteView key) = 0;
  /// Erases all keys with first ≤ key < last (empty `last` = to the end).
  virtual void erase_range(Table table, ByteView first, ByteView last) = 0;

  /// The number of the open transaction, which what is put now belongs to.
  virtual Ticket open_ticket() const = 0;
  /// Every transaction up to this number is on disk.
  virtual Ticket durable_ticket() const = 0;
  /// Runs `done` on the I/O thread once everything put so far is on disk; in the order of the calls; never from inside
  /// this call. A transaction that the disk refuses (full, failing) is kept and tried again, and nothing that waits for
  /// it is acknowledged.
  virtual void when_durable(std::function<void()> done) = 0;

  /// Closes the open transaction and hands it to the writer, unless one is still being written (then it goes on growing
  /// and is closed by a later call). Called at the end of each turn. An empty one counts as on disk with this call, so
  /// that whoever waits for its number never waits in vain.
  virtual void seal() = 0;
  /// A transaction is being written: what comes in now goes out together when it is done.
  virtual bool busy() const = 0;
  /// Bytes that wait for the disk; above limits::store_pending_bytes_max readers of clients pause.
  virtual std::size_t pending_bytes() const = 0;
  /// The last refusal of the disk, until a commit succeeds.
  virtual std::optional<Error> trouble() const = 0;

  /// Reads see what is on disk only. Errc::corrupt names table and key of a row whose checksum is wrong.
  virtual Result<std::optional<Bytes>> get(Table table, ByteView key) = 0;
  /// Rows with first ≤ key < last (empty `last` = to the end) in key order until `row` returns false. Rows whose
  /// checksum is wrong are reported to `corrupt` and skipped.
  virtual Result<void> scan(Table table, ByteView first, ByteView last,
                            const std::function<bool(ByteView key, ByteView value)>& row,
                            const std::function<void(ByteView key)>& corrupt = {}) = 0;
};

std::string_view name_of(Table table);

/// The smallest key that is greater than every key starting with `prefix`; empty if there is none.
Bytes after_prefix(ByteView prefix);

}  // namespace diot
