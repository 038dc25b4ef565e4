#include "core/sqlite_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "core/limits.hpp"
#include "core/sqlite_writer.hpp"
#include "core/wal_mark.hpp"

namespace diot {

namespace {

constexpr std::size_t table_count = static_cast<std::size_t>(Table::count_);
constexpr std::int64_t application_id = 0x44494f54;  // "DIOT"

/// migration(n) brings a database of schema n to n + 1. Steps that have been released are never changed.
constexpr int schema_version = 1;
std::string migration(int from) {
  std::string sql;
  if (from == 0)
    for (const auto* table :
         {"meta", "block", "share", "peer", "log", "cursor", "retained", "session", "queue", "spool", "inflight"})
      sql += fmt::format(
          "CREATE TABLE {}(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, "
          "checksum INTEGER NOT NULL);",
          table);
  return sql;
}

std::filesystem::path beside(const std::filesystem::path& file, std::string_view suffix) {
  return file.string() + std::string(suffix);
}

/// Held as long as the descriptor is open.
class FileLock {
 public:
  static Result<FileLock> take(const std::filesystem::path& file, const std::filesystem::path& guarded) {
    FileLock out;
    out.descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (out.descriptor_ < 0)
      return fail(Errc::io, fmt::format("cannot open {}: {}", file.string(), std::system_category().message(errno)));
    if (::flock(out.descriptor_, LOCK_EX | LOCK_NB) == 0) return out;
    if (errno != EWOULDBLOCK)
      return fail(Errc::io, fmt::format("cannot lock {}: {}", file.string(), std::system_category().message(errno)));
    return fail(Errc::exists, fmt::format("{} is in use by another diot process: stop it, or choose another home with "
                                          "DIOT_HOME",
                                          guarded.string()));
  }
  FileLock(FileLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

 private:
  FileLock() = default;
  int descriptor_ = -1;
};

/// A key for a message to a person.
std::string shown(ByteView key) { return to_hex(key.first(std::min<std::size_t>(key.size(), 64))); }

Result<void> bring_up_to_date(SqliteConnection& connection, const std::string& file) {
  const auto version = connection.number("PRAGMA user_version");
  if (!version) return tl::unexpected(version.error());
  const auto application = connection.number("PRAGMA application_id");
  const auto objects = connection.number("SELECT count(*) FROM sqlite_schema");
  if (!application || !objects) return tl::unexpected((application ? objects : application).error());
  if (*objects > 0 && *application != application_id)
    return fail(Errc::invalid, fmt::format("{} is a database of another program: move it away", file));
  if (*version > schema_version)
    return fail(Errc::not_available,
                fmt::format("{} was written by a newer diot (schema {}, this one knows {}): install that version again",
                            file, *version, schema_version));
  for (int from = static_cast<int>(*version); from < schema_version; ++from) {
    auto done = connection.run(fmt::format("BEGIN;{}PRAGMA application_id = {};PRAGMA user_version = {};COMMIT;",
                                           migration(from), application_id, from + 1));
    if (!done) return done;
    // The writer counts the transactions in the WAL from none.
    sqlite3_wal_checkpoint_v2(connection.get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  }
  return {};
}

/// Lets SQLite recover the WAL, empties it, and says how many transactions are missing from it.
std::uint64_t recover_wal(SqliteConnection& connection, const std::filesystem::path& wal, WalMark& mark) {
  const auto expected = mark.read();
  const auto salt = wal_salt(wal);
  int frames = 0, moved = 0;
  sqlite3_wal_checkpoint_v2(connection.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
  std::uint64_t lost = 0;
  if (expected && frames >= 0) {
    const auto there = salt == expected->salt ? wal_commits(wal, static_cast<std::uint32_t>(frames)) : 0;
    if (there < expected->commits) lost = expected->commits - there;
  }
  if (mark.clear()) sqlite3_wal_checkpoint_v2(connection.get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  return lost;
}

}  // namespace

struct SqliteStore::Reader {
  FileLock lock;  ///< outlives both connections
  std::string file;
  SqliteConnection connection;
  struct Statements {
    SqliteStatement get, scan, scan_from;
  };
  std::array<Statements, table_count> statements;

  /// The table's prepared statement; one of its own if that is in use (a scan within a scan).
  Result<SqliteStatement*> ready(SqliteStatement& shared, SqliteStatement& own, const std::string& sql) {
    auto& statement = shared && shared.busy() ? own : shared;
    if (statement) return &statement;
    auto made = connection.prepare(sql);
    if (!made) return tl::unexpected(made.error());
    statement = std::move(*made);
    return &statement;
  }
};

SqliteStore::SqliteStore(Post post, std::unique_ptr<Reader> reader)
    : post_(std::move(post)), reader_(std::move(reader)) {}

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::filesystem::path& file, Post post) {
  auto lock = FileLock::take(beside(file, ".lock"), file);
  if (!lock) return tl::unexpected(lock.error());
  // SQLite gives its -wal and -shm the permissions of the database file, so that one is made first, for us alone.
  if (const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); descriptor >= 0)
    ::close(descriptor);
  else
    return fail(Errc::io, fmt::format("cannot open {}: {}", file.string(), std::system_category().message(errno)));
  auto mark = WalMark::open(beside(file, ".mark"));
  if (!mark) return tl::unexpected(mark.error());
  const auto wal = beside(file, "-wal");

  auto connection = SqliteConnection::open(file);
  if (!connection) return tl::unexpected(connection.error());
  for (const auto* setting :
       {"PRAGMA page_size = 16384", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL",
        "PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -8192", "PRAGMA busy_timeout = 100"})
    if (auto ok = connection->run(setting); !ok) return tl::unexpected(ok.error());
  if (auto mode = connection->prepare("PRAGMA journal_mode");
      !mode || mode->step() != SQLITE_ROW || as_text(mode->bytes(0)) != "wal")
    return fail(Errc::io, fmt::format("{}: this file system cannot hold a database in WAL mode (a network share?); "
                                      "choose another home with DIOT_HOME",
                                      file.string()));
  const auto lost = recover_wal(*connection, wal, *mark);
  if (auto ok = bring_up_to_date(*connection, file); !ok) return tl::unexpected(ok.error());

  auto reading = SqliteConnection::open(file);
  if (!reading) return tl::unexpected(reading.error());
  if (auto ok = reading->run("PRAGMA query_only = ON"); !ok) return tl::unexpected(ok.error());

  auto reader = std::unique_ptr<Reader>(new Reader{std::move(*lock), file.string(), std::move(*reading), {}});
  auto store = std::unique_ptr<SqliteStore>(new SqliteStore(std::move(post), std::move(reader)));
  store->lost_transactions_ = lost;
  const auto committed = [to = store->post_, alive = std::weak_ptr(store->alive_)] {
    to([alive] {
      if (const auto self = alive.lock()) (*self)->committed();
    });
  };
  store->writer_ = std::make_unique<SqliteWriter>(std::move(*connection), wal, std::move(*mark),
                                                  Reserve(beside(file, ".reserve"), limits::reserve_bytes), committed);
  return store;
}

SqliteStore::~SqliteStore() { static_cast<void>(close()); }

Result<void> SqliteStore::close() {
  if (!writer_) return {};
  if (!open_.empty()) writer_->hand_over(std::exchange(open_, {}));
  alive_.reset();
  reader_->statements = {};
  auto done = writer_->close();
  writer_.reset();
  reader_.reset();
  return done;
}

void SqliteStore::when_durable(std::function<void()> done) {
  const Ticket ticket = open_.empty() ? open_ticket_ - 1 : open_ticket_;
  waiting_.emplace_back(ticket, std::move(done));
  if (ticket > durable_ticket_) return;
  post_([alive = std::weak_ptr(alive_)] {
    if (const auto self = alive.lock()) (*self)->run_due();
  });
}

void SqliteStore::seal() {
  if (busy()) return;
  if (open_.empty()) {
    durable_ticket_ = open_ticket_++;
    return;
  }
  writing_bytes_ = open_.bytes();
  ++open_ticket_;
  writer_->hand_over(std::exchange(open_, {}));
}

void SqliteStore::committed() {
  writing_bytes_ = 0;
  durable_ticket_ = open_ticket_ - 1;
  run_due();
}

void SqliteStore::run_due() {
  // Bounded by what waits now: a callback may ask again.
  for (auto left = waiting_.size(); left > 0 && waiting_.front().first <= durable_ticket_; --left) {
    const auto done = std::move(waiting_.front().second);
    waiting_.pop_front();
    done();
  }
}

std::optional<Error> SqliteStore::trouble() const { return writer_->trouble(); }

Result<std::optional<Bytes>> SqliteStore::get(Table table, ByteView key) {
  SqliteStatement own;
  auto& shared = reader_->statements[static_cast<std::size_t>(table)].get;
  const auto ready =
      reader_->ready(shared, own, fmt::format("SELECT value, checksum FROM {} WHERE key = ?1", name_of(table)));
  if (!ready) return tl::unexpected(ready.error());
  SqliteStatement& statement = **ready;
  statement.bind(1, key);
  Result<std::optional<Bytes>> out;
  switch (statement.step()) {
    case SQLITE_DONE: break;
    case SQLITE_ROW:
      if (const auto value = statement.bytes(0); statement.number(1) == row_checksum(table, key, value))
        out = to_bytes(value);
      else
        out = fail(Errc::corrupt,
                   fmt::format("{}: the row {} of table {} is damaged", reader_->file, shown(key), name_of(table)));
      break;
    default: out = tl::unexpected(reader_->connection.error("cannot read"));
  }
  statement.reset();
  return out;
}

Result<void> SqliteStore::scan(Table table, ByteView first, ByteView last,
                               const std::function<bool(ByteView key, ByteView value)>& row,
                               const std::function<void(ByteView key)>& corrupt) {
  SqliteStatement own;
  auto& statements = reader_->statements[static_cast<std::size_t>(table)];
  const auto ready = reader_->ready(last.empty() ? statements.scan_from : statements.scan, own,
                                    fmt::format("SELECT key, value, checksum FROM {} WHERE key >= ?1{} ORDER BY key",
                                                name_of(table), last.empty() ? "" : " AND key < ?2"));
  if (!ready) return tl::unexpected(ready.error());
  SqliteStatement& statement = **ready;
  statement.bind(1, first);
  if (!last.empty()) statement.bind(2, last);
  Result<void> out;
  while (true) {
    const int code = statement.step();
    if (code == SQLITE_DONE) break;
    if (code != SQLITE_ROW) {
      out = tl::unexpected(reader_->connection.error("cannot read"));
      break;
    }
    const auto key = statement.bytes(0), value = statement.bytes(1);
    if (statement.number(2) != row_checksum(table, key, value)) {
      if (corrupt) corrupt(key);
      continue;
    }
    if (!row(key, value)) break;
  }
  statement.reset();
  return out;
}

}  // namespace diot
