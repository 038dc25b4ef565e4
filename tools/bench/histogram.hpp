#pragma once
// Latencies in buckets of constant relative width.

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace diot::bench {

/// Counts values to within 1 %: 128 buckets for each power of two. Fixed size, no allocation when adding.
class Histogram {
 public:
  void add(std::uint64_t value) {
    ++buckets_[index_of(value)];
    ++count_;
    max_ = std::max(max_, value);
  }
  std::uint64_t count() const { return count_; }
  std::uint64_t max() const { return max_; }
  /// The least bucket bound with at least `share` (0 to 1) of the values at or below it; 0 if there are none.
  std::uint64_t quantile(double share) const {
    const auto wanted = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(share * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t index = 0; index < buckets_.size(); ++index) {
      seen += buckets_[index];
      if (seen >= wanted) return std::min(upper_bound(index), max_);
    }
    return max_;
  }
  void clear() { *this = {}; }

 private:
  static constexpr int fine_bits = 7;
  static std::size_t index_of(std::uint64_t value) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - fine_bits - 1);
    return (static_cast<std::size_t>(shift) << fine_bits) + static_cast<std::size_t>(value >> shift);
  }
  static std::uint64_t upper_bound(std::size_t index) {
    const std::size_t row = index >> fine_bits;
    if (row < 2) return index;  // below 256 every value has a bucket of its own
    const auto shift = row - 1;
    return ((index - (shift << fine_bits) + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (64 << fine_bits)> buckets_{};
  std::uint64_t count_ = 0, max_ = 0;
};

}  // namespace diot::bench
