#pragma once
// The store on disk: one SQLite file in WAL mode. A writer thread commits, with fsync, what the I/O thread collects;
// reads are done on the I/O thread, on a connection of their own.

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "core/store.hpp"
#include "core/store_changes.hpp"

namespace diot {

class SqliteWriter;

/// A transaction that the disk refuses is tried again, unchanged, each limits::store_retry.
///
/// Beside `<file>` (with SQLite's -wal and -shm) lie `<file>.lock`, which keeps a second process out, and
/// `<file>.mark`, which says up to where the WAL must reach: SQLite takes a damaged WAL for one that simply ends there,
/// and drops committed transactions without a word; and `<file>.reserve`, limits::reserve_bytes of disk that are given up
/// when it is full. Then commits go on, and trouble() says so until the room is there again.
class SqliteStore final : public Store {
 public:
  /// Runs a function on the I/O thread, soon, in order; called from any thread. The end of the turn in which it runs
  /// must seal(): what came in while a transaction was being written waits for that.
  using Post = std::function<void(std::function<void()>)>;

  /// Makes the file, in a folder that is there, or brings an older one up to date. Errc::exists: another process has it
  /// open. Errc::not_available: a newer diot made it.
  static Result<std::unique_ptr<SqliteStore>> open(const std::filesystem::path& file, Post post);
  /// close(), whatever comes of it.
  ~SqliteStore() override;

  /// Writes everything put so far, tells the writer to end and waits for it. An error: the disk refused; what was not
  /// acknowledged is lost. Callbacks that still wait do not run any more. Nothing may be called afterwards.
  Result<void> close();

  /// Transactions that were on disk when the file was last used, and that are missing since: the disk, or somebody,
  /// damaged the end of the WAL. Acknowledged messages may be among them.
  std::uint64_t lost_transactions() const { return lost_transactions_; }

  void put(Table table, ByteView key, Bytes value) override { open_.put(table, key, std::move(value)); }
  void erase(Table table, ByteView key) override { open_.erase(table, key); }
  void erase_range(Table table, ByteView first, ByteView last) override { open_.erase_range(table, first, last); }
  Ticket open_ticket() const override { return open_ticket_; }
  Ticket durable_ticket() const override { return durable_ticket_; }
  void when_durable(std::function<void()> done) override;
  void seal() override;
  bool busy() const override { return writing_bytes_ > 0; }
  std::size_t pending_bytes() const override { return open_.bytes() + writing_bytes_; }
  std::optional<Error> trouble() const override;
  Result<std::optional<Bytes>> get(Table table, ByteView key) override;
  Result<void> scan(Table table, ByteView first, ByteView last,
                    const std::function<bool(ByteView key, ByteView value)>& row,
                    const std::function<void(ByteView key)>& corrupt) override;

 private:
  struct Reader;
  SqliteStore(Post post, std::unique_ptr<Reader> reader);
  void committed();
  void run_due();

  Post post_;
  std::uint64_t lost_transactions_ = 0;
  StoreChanges open_;
  std::size_t writing_bytes_ = 0;  ///< of the transaction that the writer has; 0 = it has none
  Ticket open_ticket_ = 1, durable_ticket_ = 0;
  std::deque<std::pair<Ticket, std::function<void()>>> waiting_;
  std::unique_ptr<Reader> reader_;
  std::unique_ptr<SqliteWriter> writer_;
  /// Posted functions hold it weakly: they may run after the store is gone.
  std::shared_ptr<SqliteStore*> alive_ = std::make_shared<SqliteStore*>(this);
};

}  // namespace diot
