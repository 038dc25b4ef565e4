#pragma once
// How many entries a node may hand in: what it passes on for others counts too, so each looks at what it passes on.

#include <algorithm>
#include <chrono>
#include <map>

#include "core/bytes.hpp"
#include "core/clock.hpp"

namespace diot {

/// Buckets of tokens by node. Strangers share one: they are named by the zero NodeId.
class SubmitRate {
 public:
  static constexpr double entry_cost = 1, stamp_cost = 10;  ///< in tokens; checking a stamp takes 35 ms
  struct Bucket {
    double capacity, per_second;
  };
  static constexpr Bucket of_nodes{100, 4};
  /// A witness hands on what came to it from everybody.
  static constexpr Bucket of_witnesses{1000, 20};

  /// Whether it may hand in so much now; if so it is counted.
  bool spend(const NodeId& node, const Bucket& bucket, double cost, Monotonic now) {
    if (used_.size() >= nodes_max && !used_.contains(node))
      std::erase_if(used_, [&](const auto& each) { return each.second.full_at <= now; });
    auto& used = used_[node];
    const std::chrono::duration<double> owed(std::max(0.0, std::chrono::duration<double>(used.full_at - now).count()));
    const std::chrono::duration<double> more(cost / bucket.per_second);
    if ((owed + more).count() * bucket.per_second > bucket.capacity) return false;
    used.full_at = now + std::chrono::duration_cast<Monotonic::duration>(owed + more);
    return true;
  }

 private:
  static constexpr std::size_t nodes_max = 4096;  ///< above it those that rest are forgotten; links are fewer
  struct Used {
    Monotonic full_at{};  ///< when its bucket is full again
  };
  std::map<NodeId, Used> used_;
};

}  // namespace diot
