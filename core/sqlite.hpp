#pragma once
// A thin layer over SQLite's C interface: resources that free themselves, and errors as values. A connection and its
// statements belong to one thread at a time.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

class SqliteStatement {
 public:
  SqliteStatement() = default;
  explicit SqliteStatement(sqlite3_stmt* statement) : statement_(statement) {}
  explicit operator bool() const { return statement_ != nullptr; }

  /// Parameters count from 1. The bytes must stay until the statement is reset.
  void bind(int parameter, ByteView bytes);
  void bind(int parameter, std::int64_t number) { sqlite3_bind_int64(statement_.get(), parameter, number); }
  /// SQLITE_ROW, SQLITE_DONE or an error code.
  int step() { return sqlite3_step(statement_.get()); }
  void reset() { sqlite3_reset(statement_.get()); }
  /// Has been stepped and neither finished nor been reset.
  bool busy() const { return sqlite3_stmt_busy(statement_.get()) != 0; }
  /// Columns count from 0. Valid until the next step.
  ByteView bytes(int column) const;
  std::int64_t number(int column) const { return sqlite3_column_int64(statement_.get(), column); }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class SqliteConnection {
 public:
  /// Makes the file if it is not there.
  static Result<SqliteConnection> open(const std::string& file);

  /// One or several statements whose rows are of no interest.
  Result<void> run(const std::string& sql);
  Result<SqliteStatement> prepare(std::string_view sql);
  /// The one number that a statement like "PRAGMA user_version" answers with.
  Result<std::int64_t> number(std::string_view sql);
  /// The last failure, as an Error: "<file>: <doing>: <why>". Errc::corrupt for a damaged file, else Errc::io.
  Error error(std::string_view doing) const;
  sqlite3* get() const { return connection_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* connection) const { sqlite3_close_v2(connection); }
  };
  std::unique_ptr<sqlite3, Close> connection_;
};

}  // namespace diot
