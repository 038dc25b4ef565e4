#pragma once
// A clock that a test moves.

#include <chrono>

#include "core/clock.hpp"

namespace diot::testing {

class ManualClock final : public Clock {
 public:
  Monotonic monotonic() const override { return monotonic_; }
  WallMs wall_ms() const override { return wall_; }
  HeldMs held_ms() const override { return held_; }
  void advance(std::chrono::milliseconds by) {
    monotonic_ += by;
    wall_ += static_cast<WallMs>(by.count());
    held_ += static_cast<HeldMs>(by.count());
  }
  void set_wall(WallMs wall) { wall_ = wall; }

 private:
  Monotonic monotonic_{std::chrono::hours(1)};
  WallMs wall_ = 1'800'000'000'000;
  HeldMs held_ = wall_;
};

}  // namespace diot::testing
