#include "tests/sim/disk.hpp"

#include <memory>
#include <vector>

#include "core/sqlite_writer.hpp"

namespace diot::sim {

namespace {

constexpr std::size_t checksum_bytes = 8;

Bytes with_checksum(Table table, ByteView key, ByteView value) {
  Bytes row;
  row.reserve(checksum_bytes + value.size());
  ByteWriter out(row);
  out.u64(static_cast<std::uint64_t>(row_checksum(table, key, value)));
  out.raw(value);
  return row;
}

std::optional<Bytes> checked(Table table, ByteView key, ByteView row) {
  ByteReader in(row);
  const auto checksum = static_cast<std::int64_t>(in.u64());
  if (!in.ok() || checksum != row_checksum(table, key, in.rest())) return std::nullopt;
  return to_bytes(in.rest());
}

}  // namespace

Disk::Disk(Image image, Schedule& schedule, Chance& chance, Speed speed, std::function<void()> woken)
    : inner_(std::move(image)), schedule_(schedule), chance_(chance), speed_(speed), woken_(std::move(woken)) {
  inner_.hold();
  inner_.defer_callbacks();
}

Disk::Image Disk::crash() {
  *alive_ = false;
  if (inner_.busy() && !inner_.trouble() && chance_.percent(50)) inner_.release();  // callbacks are deferred for ever
  return inner_.image();
}

void Disk::put(Table table, ByteView key, Bytes value) { inner_.put(table, key, with_checksum(table, key, value)); }

void Disk::put_row(Image& image, Table table, ByteView key, ByteView value) {
  image[static_cast<std::size_t>(table)][to_bytes(key)] = with_checksum(table, key, value);
}

void Disk::when_durable(std::function<void()> done) {
  ++waiting_;
  asked_ = true;
  inner_.when_durable([this, done = std::move(done)] {
    --waiting_;
    done();
  });
}

void Disk::seal() {
  inner_.seal();
  if (inner_.busy() && !writing_) {
    writing_ = true;
    schedule_.after(chance_.between(speed_.sync_min, speed_.sync_max), [this, alive = alive_] {
      if (*alive) written();
    });
  }
  // Who waits for nothing, or for an empty transaction, is told in an event of its own, as by the real store.
  if (waiting_ > 0 && !inner_.busy() && std::exchange(asked_, false))
    schedule_.after(0us, [this, alive = alive_] {
      if (*alive) run_callbacks();
    });
}

void Disk::written() {
  writing_ = false;
  inner_.release();
  inner_.hold();
  if (!inner_.busy()) run_callbacks();  // else the disk refused, and set_full(false) goes on
}

void Disk::run_callbacks() {
  const std::size_t before = waiting_;
  inner_.run_callbacks();
  if (waiting_ < before) woken_();
}

void Disk::set_full(bool full) {
  if (full) return inner_.refuse(Error{Errc::io, "no space left on the simulated disk"});
  inner_.refuse(std::nullopt);
  if (inner_.busy() && !writing_) {
    writing_ = true;
    schedule_.after(speed_.sync_max, [this, alive = alive_] {
      if (*alive) written();
    });
  }
}

bool Disk::flip_bit(std::initializer_list<Table> tables) {
  std::size_t count = 0;
  for (const Table table : tables) count += inner_.rows(table).size();
  if (count == 0) return false;
  std::size_t index = chance_.below(count);
  for (const Table table : tables) {
    auto& all = inner_.rows(table);
    if (index >= all.size()) {
      index -= all.size();
      continue;
    }
    Bytes& row = std::next(all.begin(), static_cast<std::ptrdiff_t>(index))->second;
    row[chance_.below(row.size())] ^= static_cast<std::uint8_t>(1u << chance_.below(8));
    return true;
  }
  return false;
}

Result<std::optional<Bytes>> Disk::get(Table table, ByteView key) {
  const auto row = inner_.get(table, key);
  if (!row || !*row) return row;
  auto value = checked(table, key, **row);
  if (!value) return fail(Errc::corrupt, std::string(name_of(table)) + " " + to_hex(key) + ": checksum");
  return value;
}

Result<void> Disk::scan(Table table, ByteView first, ByteView last,
                        const std::function<bool(ByteView key, ByteView value)>& row,
                        const std::function<void(ByteView key)>& corrupt) {
  return inner_.scan(table, first, last,
                     [&](ByteView key, ByteView stored) {
                       if (const auto value = checked(table, key, stored)) return row(key, *value);
                       if (corrupt) corrupt(key);
                       return true;
                     },
                     {});
}

}  // namespace diot::sim
