#pragma once
// The thread that commits the transactions of a SqliteStore and keeps its WAL short.

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/reserve.hpp"
#include "core/sqlite.hpp"
#include "core/store_changes.hpp"
#include "core/wal_mark.hpp"

namespace diot {

/// Kept with each row, because SQLite returns a flipped bit silently. A keyed hash of 64 bits; the key is no secret.
std::int64_t row_checksum(Table table, ByteView key, ByteView value);

class SqliteWriter {
 public:
  /// `committed` runs on the writer's thread after each transaction.
  SqliteWriter(SqliteConnection connection, std::filesystem::path wal, WalMark mark, Reserve reserve,
               std::function<void()> committed);
  ~SqliteWriter();

  void hand_over(StoreChanges changes);
  std::optional<Error> trouble() const;
  /// Commits what was handed over, unless the disk refuses it once more, and ends the thread.
  Result<void> close();

 private:
  struct Statements {
    SqliteStatement put, erase, erase_range, erase_from;
  };
  void run();
  Result<void> commit(const StoreChanges& changes);
  /// The trouble after a commit: a disk is full, too, while the reserve is given up.
  std::optional<Error> trouble_after(const Result<void>& done);
  Result<void> apply(const StoreChanges& changes);
  Result<void> step(SqliteStatement& statement);
  Result<Statements*> statements_of(Table table);
  /// After a commit: the mark follows the WAL.
  void note_commit();
  /// Moves the WAL's pages into the database, so that the WAL begins anew (`truncate`: so that it is empty).
  void checkpoint(bool truncate);
  std::size_t wal_bytes() const { return extent_.frames * page_bytes_; }

  SqliteConnection connection_;
  std::filesystem::path wal_;
  WalMark mark_;
  Reserve reserve_;
  bool no_room_ = false;  ///< the last statement that failed did so because the disk is full
  bool full_ = false;     ///< the reserve was given up
  std::function<void()> committed_;
  std::vector<Statements> statements_;
  SqliteStatement begin_, commit_;
  std::size_t page_bytes_ = 0;
  WalExtent extent_;         ///< of the WAL as it is now
  bool salt_known_ = false;  ///< the WAL cannot have begun anew since extent_.salt was read

  mutable std::mutex mutex_;  ///< guards what follows
  std::condition_variable changed_;
  std::deque<StoreChanges> queue_;
  std::optional<Error> trouble_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace diot
