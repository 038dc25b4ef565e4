#pragma once
// The disk of one process life: a store whose commits take time, may be refused, and whose rows may rot.

#include <functional>
#include <memory>
#include <optional>

#include "core/memory_store.hpp"
#include "tests/sim/schedule.hpp"

namespace diot::sim {

/// Rows carry the checksum that the real store gives them, so that a flipped bit is noticed in the same way.
class Disk final : public Store {
 public:
  using Image = MemoryStore::Image;
  struct Speed {
    Time sync_min = 100us, sync_max = 2ms;
  };

  /// `woken` runs after callbacks of the store have run. Events that are scheduled for this object end with it.
  Disk(Image image, Schedule& schedule, Chance& chance, Speed speed, std::function<void()> woken);
  ~Disk() override { *alive_ = false; }

  /// The process dies: what a transaction that was being written has become, chance decides; the rest is the image.
  Image crash();
  /// What would be there after a crash before the write that is under way.
  const Image& image() const { return inner_.image(); }
  bool holds(Table table, ByteView key) { return inner_.rows(table).contains(to_bytes(key)); }

  /// Writes into a disk that nobody uses.
  static void put_row(Image& image, Table table, ByteView key, ByteView value);

  void set_speed(Speed speed) { speed_ = speed; }
  /// A full disk refuses commits, which stay and are tried again once there is room.
  void set_full(bool full);
  /// Turns a bit of one stored row. False if there is none in these tables.
  bool flip_bit(std::initializer_list<Table> tables);

  void put(Table table, ByteView key, Bytes value) override;
  void erase(Table table, ByteView key) override { inner_.erase(table, key); }
  void erase_range(Table table, ByteView first, ByteView last) override { inner_.erase_range(table, first, last); }
  Ticket open_ticket() const override { return inner_.open_ticket(); }
  Ticket durable_ticket() const override { return inner_.durable_ticket(); }
  void when_durable(std::function<void()> done) override;
  void seal() override;
  bool busy() const override { return inner_.busy(); }
  std::size_t pending_bytes() const override { return inner_.pending_bytes(); }
  std::optional<Error> trouble() const override { return inner_.trouble(); }
  Result<std::optional<Bytes>> get(Table table, ByteView key) override;
  Result<void> scan(Table table, ByteView first, ByteView last,
                    const std::function<bool(ByteView key, ByteView value)>& row,
                    const std::function<void(ByteView key)>& corrupt) override;

 private:
  void written();
  void run_callbacks();

  MemoryStore inner_;
  Schedule& schedule_;
  Chance& chance_;
  Speed speed_;
  std::function<void()> woken_;
  bool writing_ = false;     ///< a sync is under way
  bool asked_ = false;       ///< somebody waits since the last seal
  std::size_t waiting_ = 0;  ///< callbacks that have not run
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace diot::sim
