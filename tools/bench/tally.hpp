#pragma once
// Whether what was sent arrived: once, and in order.

#include <cstdint>
#include <map>

namespace diot::bench {

enum class Arrival {
  fresh,      ///< the next one, or one beyond a gap
  late,       ///< fills a gap: it came after one that was sent later
  duplicate,  ///< was here before
};

/// One stream (the messages of one publisher on one topic) as one subscriber sees it. Costs an addition and a
/// comparison a message while everything is in order; a gap costs a map entry until it is filled.
class StreamTally {
 public:
  /// `seq` counts from 0.
  Arrival arrived(std::uint64_t seq) {
    if (seq == next_) return ++next_, Arrival::fresh;
    return out_of_order(seq);
  }
  /// Highest seq that arrived + 1.
  std::uint64_t next() const { return next_; }
  /// How many below next() have not arrived.
  std::uint64_t missing() const { return missing_; }
  std::uint64_t received() const { return next_ - missing_; }

 private:
  Arrival out_of_order(std::uint64_t seq);

  std::uint64_t next_ = 0;
  std::uint64_t missing_ = 0;
  std::map<std::uint64_t, std::uint64_t> gaps_;  ///< first missing → first behind the gap; they never touch
};

}  // namespace diot::bench
