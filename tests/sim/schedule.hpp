#pragma once
// Virtual time and the one source of chance of a simulated world.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string_view>
#include <utility>

#include "core/clock.hpp"
#include "core/crypto.hpp"

namespace diot::sim {

using namespace std::chrono_literals;

/// Since the world began.
using Time = std::chrono::microseconds;

/// SplitMix64. Every home and client has one of its own, so that what one of them draws does not change the others'.
class Chance final : public Random {
 public:
  explicit Chance(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  void fill(std::span<std::uint8_t> out) override {
    for (std::size_t at = 0; at < out.size(); at += 8) {
      std::uint64_t word = next();
      for (std::size_t i = at; i < std::min(at + 8, out.size()); ++i, word >>= 8)
        out[i] = static_cast<std::uint8_t>(word);
    }
  }
  /// 0 ≤ … < bound; 0 if the bound is.
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
  /// Both ends included.
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(below(static_cast<std::uint64_t>(high - low + 1)));
  }
  Time between(Time low, Time high) { return Time(between(low.count(), high.count())); }
  bool percent(std::uint64_t percent) { return below(100) < percent; }
  template <class Range>
  auto& one_of(Range& range) {
    return range[below(range.size())];
  }

 private:
  std::uint64_t state_;
};

/// What happens next. Events of one instant run in the order in which they were scheduled.
class Schedule {
 public:
  Time now() const { return now_; }
  void at(Time when, std::function<void()> event) {
    events_.emplace(std::pair(std::max(when, now_), serial_++), std::move(event));
  }
  void after(Time delay, std::function<void()> event) { at(now_ + delay, std::move(event)); }
  /// Runs the next event. False: there is none before `end`, and it is `end` now.
  bool step(Time end) {
    if (events_.empty() || events_.begin()->first.first > end) return now_ = std::max(now_, end), false;
    auto event = events_.extract(events_.begin());
    now_ = event.key().first;
    ++steps_;
    event.mapped()();
    return true;
  }
  std::uint64_t steps() const { return steps_; }

 private:
  Time now_{};
  std::uint64_t serial_ = 0, steps_ = 0;
  std::map<std::pair<Time, std::uint64_t>, std::function<void()>> events_;
};

/// A running hash of everything that happens: two runs of one seed must agree.
class Trace {
 public:
  void add(std::uint64_t word) { hash_ = (hash_ ^ word) * 0x9fb21c651e98df25, hash_ ^= hash_ >> 29; }
  void add(ByteView bytes) {
    add(bytes.size());
    std::uint64_t word = 0;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      word = word << 8 | bytes[at];
      if (at % 8 == 7) add(std::exchange(word, 0));
    }
    add(word);
  }
  std::uint64_t hash() const { return hash_; }

 private:
  std::uint64_t hash_ = 0x2545f4914f6cdd1d;
};

/// A home's clock: the world's time plus what this home's clock is wrong by.
class HomeClock final : public Clock {
 public:
  static constexpr WallMs wall_begin_ms = 1'800'000'000'000;
  explicit HomeClock(const Schedule& schedule) : schedule_(schedule) {}
  Monotonic monotonic() const override { return Monotonic(1h) + schedule_.now(); }
  WallMs wall_ms() const override {
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(schedule_.now()) + wrong_by + skipped;
    return static_cast<WallMs>(static_cast<std::int64_t>(wall_begin_ms) + passed.count());
  }
  std::chrono::milliseconds wrong_by{0};
  std::chrono::milliseconds skipped{0};  ///< in which nothing happened anywhere

 private:
  const Schedule& schedule_;
};

}  // namespace diot::sim
