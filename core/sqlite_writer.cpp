#include "core/sqlite_writer.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sodium.h>

#include <array>
#include <cstring>

#include "core/limits.hpp"

namespace diot {

using namespace std::chrono_literals;

// A short WAL has little to lose when the disk damages it, a long one saves writing pages twice. At the bound the
// checkpoint is done between two transactions, before it when nothing happens.
static constexpr std::size_t wal_bytes_max = 8 << 20, wal_bytes_idle = 1 << 20;
static constexpr auto idle_when_long = 1s, idle_when_short = 60s;

std::int64_t row_checksum(Table table, ByteView key, ByteView value) {
  // SipHash of the value, keyed with the table and the SipHash of the key: neither has to be copied next to the other.
  static_assert(crypto_shorthash_KEYBYTES == 16 && crypto_shorthash_BYTES == 8);
  std::array<std::uint8_t, 16> sip_key{'d', 'i', 'o', 't', ' ', 'r', 'o', 'w', static_cast<std::uint8_t>(table)};
  std::array<std::uint8_t, 8> out;
  crypto_shorthash(out.data(), key.data(), key.size(), sip_key.data());
  std::copy(out.begin(), out.end(), sip_key.begin());
  crypto_shorthash(out.data(), value.data(), value.size(), sip_key.data());
  std::int64_t sum;
  ByteReader in(out);
  const std::uint64_t number = in.u64();
  std::memcpy(&sum, &number, sizeof sum);
  return sum;
}

SqliteWriter::SqliteWriter(SqliteConnection connection, std::filesystem::path wal, WalMark mark, Reserve reserve,
                           std::function<void()> committed)
    : connection_(std::move(connection)),
      wal_(std::move(wal)),
      mark_(std::move(mark)),
      reserve_(std::move(reserve)),
      committed_(std::move(committed)),
      statements_(static_cast<std::size_t>(Table::count_)) {
  page_bytes_ = static_cast<std::size_t>(connection_.number("PRAGMA page_size").value_or(0));
  sqlite3_wal_hook(
      connection_.get(),
      [](void* self, sqlite3*, const char*, int frames) {
        static_cast<SqliteWriter*>(self)->extent_.frames = static_cast<std::uint32_t>(frames);
        return SQLITE_OK;
      },
      this);
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "diot-store");
}

SqliteWriter::~SqliteWriter() { static_cast<void>(close()); }

void SqliteWriter::hand_over(StoreChanges changes) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(changes));
  }
  changed_.notify_one();
}

std::optional<Error> SqliteWriter::trouble() const {
  const std::lock_guard lock(mutex_);
  return trouble_;
}

Result<void> SqliteWriter::close() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
  if (trouble_) return tl::unexpected(*trouble_);
  return {};
}

void SqliteWriter::run() {
  std::unique_lock lock(mutex_);
  const auto something_to_do = [this] { return !queue_.empty() || stopping_; };
  while (true) {
    if (full_) {
      if (!changed_.wait_for(lock, limits::store_retry, something_to_do)) {
        trouble_ = trouble_after({});
        continue;
      }
    } else if (extent_.frames == 0) {
      changed_.wait(lock, something_to_do);
    } else if (!changed_.wait_for(lock, wal_bytes() < wal_bytes_idle ? idle_when_short : idle_when_long,
                                  something_to_do)) {
      lock.unlock();
      checkpoint(true);
      lock.lock();
      continue;
    }
    if (queue_.empty()) break;  // stopping
    const StoreChanges changes = std::move(queue_.front());
    queue_.pop_front();
    while (true) {
      lock.unlock();
      auto done = commit(changes);
      if (!done && reserve_.held() && no_room_) {
        reserve_.give_up();
        full_ = true;
        done = commit(changes);
      }
      lock.lock();
      trouble_ = trouble_after(done);
      if (done) break;
      if (stopping_) return;
      changed_.wait_for(lock, limits::store_retry, [this] { return stopping_; });
    }
    lock.unlock();
    committed_();
    if (wal_bytes() >= wal_bytes_max) checkpoint(false);
    lock.lock();
  }
  lock.unlock();
  checkpoint(true);
}

std::optional<Error> SqliteWriter::trouble_after(const Result<void>& done) {
  if (!done) return done.error();
  if (full_) reserve_.take();
  full_ = full_ && !reserve_.held();
  if (!full_) return std::nullopt;
  return Error{Errc::io,
               fmt::format("{}: the disk is full: what is under way is finished with the {} MiB that were kept "
                           "for this; free some space",
                           wal_.parent_path().string(), limits::reserve_bytes >> 20)};
}

Result<void> SqliteWriter::step(SqliteStatement& statement) {
  const bool done = statement.step() == SQLITE_DONE;
  auto error = done ? Error{} : connection_.error("cannot write to the database");
  no_room_ = !done && (sqlite3_errcode(connection_.get()) & 0xff) == SQLITE_FULL;
  statement.reset();
  if (done) return {};
  return tl::unexpected(std::move(error));
}

Result<void> SqliteWriter::commit(const StoreChanges& changes) {
  auto done = apply(changes);
  if (done) {
    note_commit();
    return done;
  }
  // A full disk may have ended the transaction by itself, in the middle or at COMMIT.
  if (sqlite3_get_autocommit(connection_.get()) == 0) static_cast<void>(connection_.run("ROLLBACK"));
  return done;
}

Result<void> SqliteWriter::apply(const StoreChanges& changes) {
  for (auto [statement, sql] : {std::pair{&begin_, "BEGIN IMMEDIATE"}, std::pair{&commit_, "COMMIT"}}) {
    if (*statement) continue;
    auto prepared = connection_.prepare(sql);
    if (!prepared) return tl::unexpected(prepared.error());
    *statement = std::move(*prepared);
  }
  if (auto ok = step(begin_); !ok) return ok;
  for (std::size_t at = 0; at < changes.size(); ++at) {
    const auto change = changes.at(at);
    const auto statements = statements_of(change.table);
    if (!statements) return tl::unexpected(statements.error());
    auto& [put, erase, erase_range, erase_from] = **statements;
    auto& statement = change.kind == StoreChanges::Kind::put     ? put
                      : change.kind == StoreChanges::Kind::erase ? erase
                      : change.last.empty()                      ? erase_from
                                                                 : erase_range;
    statement.bind(1, change.key);
    if (change.kind == StoreChanges::Kind::put) {
      statement.bind(2, change.value);
      statement.bind(3, row_checksum(change.table, change.key, change.value));
    } else if (&statement == &erase_range) {
      statement.bind(2, change.last);
    }
    if (auto ok = step(statement); !ok) return ok;
  }
  return step(commit_);
}

Result<SqliteWriter::Statements*> SqliteWriter::statements_of(Table table) {
  Statements& out = statements_[static_cast<std::size_t>(table)];
  if (out.put) return &out;
  const auto name = name_of(table);
  const auto prepared = [&](SqliteStatement& statement, const std::string& sql) {
    auto made = connection_.prepare(sql);
    if (made) statement = std::move(*made);
    return made ? Result<void>{} : tl::unexpected(made.error());
  };
  auto ok = prepared(out.erase, fmt::format("DELETE FROM {} WHERE key = ?1", name))
                .and_then([&] {
                  return prepared(out.erase_range, fmt::format("DELETE FROM {} WHERE key >= ?1 AND key < ?2", name));
                })
                .and_then([&] { return prepared(out.erase_from, fmt::format("DELETE FROM {} WHERE key >= ?1", name)); })
                .and_then([&] {
                  return prepared(out.put, fmt::format("INSERT INTO {}(key, value, checksum) VALUES(?1, ?2, ?3) "
                                                       "ON CONFLICT(key) DO UPDATE SET value = ?2, checksum = ?3",
                                                       name));
                });
  if (!ok) return tl::unexpected(ok.error());
  return &out;
}

void SqliteWriter::note_commit() {
  if (!salt_known_) {
    const auto salt = wal_salt(wal_);
    if (!salt) return;
    if (*salt != extent_.salt) extent_.commits = 0;
    extent_.salt = *salt;
    salt_known_ = true;
  }
  ++extent_.commits;
  mark_.write(extent_);
}

void SqliteWriter::checkpoint(bool truncate) {
  if (extent_.frames == 0 || !mark_.clear()) return;
  int frames = -1, moved = -1;
  sqlite3_wal_checkpoint_v2(connection_.get(), nullptr,
                            truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
  // A failure (a read in progress, a full disk) leaves the WAL as it is; the next commit claims it again.
  salt_known_ = false;
  if (frames == moved && frames >= 0) extent_.frames = 0;
}

}  // namespace diot
