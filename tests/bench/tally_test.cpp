#include "tools/bench/tally.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

#include "tools/bench/histogram.hpp"

namespace diot::bench {
namespace {

TEST(StreamTally, KnowsWhatIsFreshLateAndDuplicate) {
  StreamTally tally;
  EXPECT_EQ(tally.arrived(0), Arrival::fresh);
  EXPECT_EQ(tally.arrived(0), Arrival::duplicate);
  EXPECT_EQ(tally.arrived(4), Arrival::fresh);  // 1, 2 and 3 are missing
  EXPECT_EQ(tally.missing(), 3u);
  EXPECT_EQ(tally.arrived(2), Arrival::late);
  EXPECT_EQ(tally.arrived(2), Arrival::duplicate);
  EXPECT_EQ(tally.arrived(1), Arrival::late);
  EXPECT_EQ(tally.arrived(3), Arrival::late);
  EXPECT_EQ(tally.missing(), 0u);
  EXPECT_EQ(tally.received(), 5u);
}

TEST(StreamTally, AgreesWithASetOfAllThatArrived) {
  rc::check([](const std::vector<std::uint8_t>& sequence) {
    StreamTally tally;
    std::set<std::uint64_t> seen;
    for (const std::uint64_t seq : sequence) {
      const auto highest = seen.empty() ? -1 : static_cast<int>(*seen.rbegin());
      const auto expected = seen.contains(seq)                ? Arrival::duplicate
                            : static_cast<int>(seq) > highest ? Arrival::fresh
                                                              : Arrival::late;
      RC_ASSERT(tally.arrived(seq) == expected);
      seen.insert(seq);
      RC_ASSERT(tally.received() == seen.size());
      RC_ASSERT(tally.next() == *seen.rbegin() + 1);
    }
  });
}

TEST(Histogram, FindsQuantilesToWithinOnePercent) {
  rc::check([](std::vector<std::uint32_t> values) {
    if (values.empty()) return;
    Histogram histogram;
    for (const auto value : values) histogram.add(value);
    std::ranges::sort(values);
    for (const double share : {0.01, 0.5, 0.99, 1.0}) {
      const auto rank = std::max<std::size_t>(1, static_cast<std::size_t>(share * static_cast<double>(values.size())));
      const double exact = values[rank - 1];
      const auto found = static_cast<double>(histogram.quantile(share));
      RC_ASSERT(found >= exact);
      RC_ASSERT(found <= exact * 1.01 + 1);
    }
    RC_ASSERT(histogram.max() == values.back());
  });
}

TEST(Histogram, HoldsTheLargestValue) {
  Histogram histogram;
  histogram.add(UINT64_MAX);
  EXPECT_EQ(histogram.quantile(0.5), UINT64_MAX);
}

}  // namespace
}  // namespace diot::bench
