#pragma once
// A store without a disk, for tests and the simulator: durable is what its image holds, and what the disk does, and
// when, is said by the test.

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "core/store.hpp"
#include "core/store_changes.hpp"

namespace diot {

/// Deterministic: nothing happens outside the calls. As it comes, seal() commits at once and runs the callbacks that
/// became due before it returns (a callback may put, seal and ask again; what it asks for runs after it has returned).
class MemoryStore final : public Store {
 public:
  using Rows = std::map<Bytes, Bytes>;
  using Image = std::array<Rows, static_cast<std::size_t>(Table::count_)>;

  MemoryStore() = default;
  /// The start after a crash: MemoryStore after(before.image()).
  explicit MemoryStore(Image image) : image_(std::move(image)) {}
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  /// What would be there after a crash now.
  const Image& image() const { return image_; }
  Rows& rows(Table table) { return image_[static_cast<std::size_t>(table)]; }

  /// From now on a sealed transaction stays in the writer's hands, not on disk, until release().
  void hold() { held_ = true; }
  /// Commits what is held, runs the callbacks, and holds no more. What was put meanwhile waits for the next seal().
  void release();
  /// From now on the disk refuses commits: they stay with the writer. nullopt: it takes them again, the one that was
  /// refused at once.
  void refuse(std::optional<Error> error);
  /// From now on due callbacks run only by run_callbacks(): the crash between the commit and its acknowledgement.
  void defer_callbacks() { deferred_ = true; }
  /// Runs the due callbacks, in the order in which they were given.
  void run_callbacks();

  /// From now on the row's checksum is wrong, until it is put again.
  void damage(Table table, const Bytes& key) { damaged_.insert({table, key}); }

  void put(Table table, ByteView key, Bytes value) override {
    damaged_.erase({table, to_bytes(key)});
    open_.put(table, key, std::move(value));
  }
  void erase(Table table, ByteView key) override { open_.erase(table, key); }
  void erase_range(Table table, ByteView first, ByteView last) override { open_.erase_range(table, first, last); }
  Ticket open_ticket() const override { return open_ticket_; }
  Ticket durable_ticket() const override { return durable_ticket_; }
  void when_durable(std::function<void()> done) override;
  void seal() override;
  bool busy() const override { return writing_.has_value(); }
  std::size_t pending_bytes() const override { return open_.bytes() + (writing_ ? writing_->bytes() : 0); }
  std::optional<Error> trouble() const override { return writing_ ? refusal_ : std::nullopt; }
  Result<std::optional<Bytes>> get(Table table, ByteView key) override;
  Result<void> scan(Table table, ByteView first, ByteView last,
                    const std::function<bool(ByteView key, ByteView value)>& row,
                    const std::function<void(ByteView key)>& corrupt) override;

 private:
  void commit();
  void after_commit();

  Image image_;
  StoreChanges open_;
  std::optional<StoreChanges> writing_;
  Ticket open_ticket_ = 1, durable_ticket_ = 0;
  std::deque<std::pair<Ticket, std::function<void()>>> waiting_;
  std::optional<Error> refusal_;
  std::set<std::pair<Table, Bytes>> damaged_;
  bool held_ = false, deferred_ = false, running_ = false;
};

}  // namespace diot
