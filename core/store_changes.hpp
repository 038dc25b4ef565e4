#pragma once
// One transaction of a store while it is being collected and written: the changes in their order.

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/store.hpp"

namespace diot {

class StoreChanges {
 public:
  enum class Kind : std::uint8_t { put, erase, erase_range };
  struct Change {
    Kind kind = Kind::put;
    Table table = Table::meta;
    ByteView key;   ///< erase_range: the first key
    ByteView last;  ///< erase_range: behind the last key; empty = to the end
    ByteView value;
  };

  void put(Table table, ByteView key, Bytes value) {
    bytes_ += value.size();
    add(Kind::put, table, key, {}, std::move(value));
  }
  void erase(Table table, ByteView key) { add(Kind::erase, table, key, {}, {}); }
  void erase_range(Table table, ByteView first, ByteView last) { add(Kind::erase_range, table, first, last, {}); }

  bool empty() const { return rows_.empty(); }
  std::size_t size() const { return rows_.size(); }
  /// Memory that the changes take, nearly.
  std::size_t bytes() const { return bytes_ + keys_.size() + rows_.size() * sizeof(Row); }
  Change at(std::size_t index) const {
    const Row& row = rows_[index];
    const auto keys = ByteView(keys_).subspan(row.key_offset);
    return {row.kind, row.table, keys.first(row.key_size), keys.subspan(row.key_size, row.last_size), row.value};
  }

 private:
  struct Row {
    Kind kind;
    Table table;
    std::uint32_t key_size, last_size;
    std::size_t key_offset;
    Bytes value;
  };
  void add(Kind kind, Table table, ByteView key, ByteView last, Bytes value) {
    constexpr auto size_max = std::numeric_limits<std::uint32_t>::max();
    expect(table < Table::count_ && key.size() <= size_max && last.size() <= size_max, "a store key or table");
    rows_.push_back({kind, table, static_cast<std::uint32_t>(key.size()), static_cast<std::uint32_t>(last.size()),
                     keys_.size(), std::move(value)});
    append(keys_, key);
    append(keys_, last);
  }

  std::vector<Row> rows_;
  Bytes keys_;  ///< one after the other: most are small, so that an allocation each would cost more than the key
  std::size_t bytes_ = 0;
};

}  // namespace diot
