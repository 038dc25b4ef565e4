#pragma once
// Time comes in from outside: the program passes the system's clocks, tests and the simulator their own.

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace diot {

/// Monotonic, for deadlines and for time held.
using Monotonic = std::chrono::steady_clock::time_point;
/// Milliseconds since the Unix epoch, UTC.
using WallMs = std::uint64_t;
/// Milliseconds of the time that a home holds things: it goes on while the program runs, whatever the wall clock does, and
/// over a stop as far as the wall clock tells. Its differences are ages; it says nothing of the date.
using HeldMs = std::uint64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Monotonic monotonic() const = 0;
  virtual WallMs wall_ms() const = 0;
  /// Whether the wall clock is not known to be wrong.
  virtual bool sure() const { return true; }
  /// That of a clock which nobody sets is its wall clock.
  virtual HeldMs held_ms() const { return wall_ms(); }
};

class SystemClock final : public Clock {
 public:
  Monotonic monotonic() const override { return std::chrono::steady_clock::now(); }
  WallMs wall_ms() const override {
    return static_cast<WallMs>(
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count());
  }
};

/// The wall clock of a home. A gateway without a clock chip boots in 1970 and learns the time later: until the system's
/// clock has reached what is known to be past, this one runs on from there and is unsure. A system's clock that is set
/// back while the program runs is followed: what must not go back has a HybridClock.
class HomeClock final : public Clock {
 public:
  explicit HomeClock(const Clock& system) : system_(system), held_(system.wall_ms()), held_at_(system.monotonic()) {}
  /// It is later than `past`: the last time on disk, the newest block, the program's build.
  void not_before(WallMs past) {
    if (past <= floor_ms()) return;
    floor_ = past;
    floor_at_ = system_.monotonic();
  }
  bool sure() const override { return system_.wall_ms() >= floor_; }
  Monotonic monotonic() const override { return system_.monotonic(); }
  WallMs wall_ms() const override { return sure() ? system_.wall_ms() : floor_ms(); }
  HeldMs held_ms() const override { return held_ + since(held_at_); }
  /// Goes on from what held_ms was when the wall clock was at `wall`, in an earlier life of the program. How long it was
  /// stopped an unsure clock cannot say: then nothing has grown older. After not_before.
  void resume_held(HeldMs held, WallMs wall) {
    const WallMs now = wall_ms();
    held_ = held + (now > wall ? now - wall : 0);
    held_at_ = system_.monotonic();
  }

 private:
  std::uint64_t since(Monotonic then) const {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::milliseconds>(system_.monotonic() - then).count());
  }
  WallMs floor_ms() const { return floor_ == 0 ? 0 : floor_ + since(floor_at_); }

  const Clock& system_;
  WallMs floor_ = 0;
  Monotonic floor_at_{};
  HeldMs held_;
  Monotonic held_at_;
};

/// A hybrid logical time: 48 bits of wall-clock milliseconds, then a 16-bit counter. Ordered as a number.
using HybridTime = std::uint64_t;
inline WallMs wall_of(HybridTime time) { return time >> 16; }
inline HybridTime hybrid_from(WallMs wall) { return wall << 16; }

/// Gives times that rise strictly, whatever the wall clock does.
class HybridClock {
 public:
  explicit HybridClock(const Clock& clock) : clock_(clock) {}
  HybridTime next() { return last_ = std::max(last_ + 1, hybrid_from(clock_.wall_ms())); }
  HybridTime last() const { return last_; }
  /// Never gives a time at or below `seen`: own times on disk, and other nodes' times up to 60 s ahead of our clock.
  void merge(HybridTime seen) {
    constexpr WallMs merge_ahead_ms_max = 60'000;
    if (wall_of(seen) <= clock_.wall_ms() + merge_ahead_ms_max) last_ = std::max(last_, seen);
  }
  /// As merge, for a time of our own from disk, which counts however far ahead it is.
  void resume(HybridTime own) { last_ = std::max(last_, own); }

 private:
  const Clock& clock_;
  HybridTime last_ = 0;
};

}  // namespace diot
