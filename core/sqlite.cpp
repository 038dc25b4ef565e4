#include "core/sqlite.hpp"

#include <fmt/format.h>

namespace diot {

void SqliteStatement::bind(int parameter, ByteView bytes) {
  // A null pointer would bind NULL, which is not the same as no bytes.
  const void* data = bytes.empty() ? static_cast<const void*>("") : bytes.data();
  sqlite3_bind_blob64(statement_.get(), parameter, data, bytes.size(), SQLITE_STATIC);
}

ByteView SqliteStatement::bytes(int column) const {
  const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_.get(), column));
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return data ? ByteView(data, static_cast<std::size_t>(size)) : ByteView{};
}

Result<SqliteConnection> SqliteConnection::open(const std::string& file) {
  SqliteConnection out;
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(
      file.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
      nullptr);
  out.connection_.reset(raw);
  if (code != SQLITE_OK) {
    if (!raw) return fail(Errc::io, fmt::format("cannot open the database {}: out of memory", file));
    return tl::unexpected(out.error("cannot open the database"));
  }
  // The writer and the reader get into each other's way only for moments, while the log is set back.
  sqlite3_busy_timeout(raw, 5000);
  return out;
}

Result<void> SqliteConnection::run(const std::string& sql) {
  if (sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return tl::unexpected(error(sql));
}

Result<SqliteStatement> SqliteConnection::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(connection_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &raw,
                         nullptr) == SQLITE_OK)
    return SqliteStatement(raw);
  return tl::unexpected(error(sql));
}

Result<std::int64_t> SqliteConnection::number(std::string_view sql) {
  auto statement = prepare(sql);
  if (!statement) return tl::unexpected(statement.error());
  if (statement->step() != SQLITE_ROW) return tl::unexpected(error(sql));
  return statement->number(0);
}

Error SqliteConnection::error(std::string_view doing) const {
  const int code = sqlite3_extended_errcode(connection_.get()), kind = code & 0xff;
  const char* const file = sqlite3_db_filename(connection_.get(), "main");
  const char* const advice = kind == SQLITE_FULL ? "; free some space on this disk" : "";
  return {kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB ? Errc::corrupt : Errc::io,
          fmt::format("{}: {}: {} (SQLite {}){}", file ? file : "memory", doing, sqlite3_errmsg(connection_.get()),
                      code, advice)};
}

}  // namespace diot
