#include "tools/bench/tally.hpp"

#include <iterator>

namespace diot::bench {

Arrival StreamTally::out_of_order(std::uint64_t seq) {
  if (seq > next_) {
    gaps_.emplace(next_, seq);
    missing_ += seq - next_;
    next_ = seq + 1;
    return Arrival::fresh;
  }
  auto gap = gaps_.upper_bound(seq);
  if (gap == gaps_.begin() || std::prev(gap)->second <= seq) return Arrival::duplicate;
  --gap;
  const auto [first, behind] = *gap;
  if (first == seq) {
    gaps_.erase(gap);
  } else {
    gap->second = seq;
  }
  if (seq + 1 < behind) gaps_.emplace(seq + 1, behind);
  --missing_;
  return Arrival::late;
}

}  // namespace diot::bench
