#include "core/fifo.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace diot {
namespace {

TEST(Fifo, is_what_its_items_are_in_their_order) {
  Fifo<int> fifo;
  EXPECT_TRUE(fifo.empty());
  for (int item : {1, 2, 3}) fifo.push_back(item);
  fifo.pop_front();
  EXPECT_EQ(fifo.size(), 2u);
  EXPECT_EQ(fifo.front(), 2);
  EXPECT_EQ(fifo.back(), 3);
  EXPECT_EQ(fifo[1], 3);
}

TEST(Fifo, lets_go_of_what_was_popped_at_once) {
  Fifo<std::shared_ptr<int>> fifo;
  const auto item = std::make_shared<int>(1);
  fifo.push_back(item);
  fifo.push_back(std::make_shared<int>(2));
  fifo.pop_front();
  EXPECT_EQ(item.use_count(), 1);
}

TEST(Fifo, does_not_grow_while_as_much_goes_as_comes) {
  Fifo<int> fifo;
  const auto span = [&] { return &fifo.back() - &fifo.front(); };
  for (int i = 0; i < 100; ++i) fifo.push_back(i);
  const int* low = &fifo.front();
  const int* high = low;
  for (int i = 0; i < 100'000; ++i) {
    fifo.push_back(i);
    fifo.pop_front();
    if (i < 1000) low = high = &fifo.front();  // it may move while it finds its size
    low = std::min<const int*>(low, &fifo.front());
    high = std::max<const int*>(high, &fifo.back());
    ASSERT_EQ(span(), 99);
  }
  EXPECT_LT(high - low, 1000);
}

RC_GTEST_PROP(Fifo, agrees_with_deque, ()) {
  Fifo<std::string> fifo;
  std::deque<std::string> expected;
  const auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
      300, rc::gen::pair(rc::gen::inRange(0, 8), rc::gen::inRange(0, 1000)));
  for (const auto& [what, number] : steps) {
    const auto at =
        static_cast<std::ptrdiff_t>(expected.empty() ? 0u : static_cast<std::size_t>(number) % expected.size());
    if (what < 4) {
      fifo.push_back(std::to_string(number));
      expected.push_back(std::to_string(number));
    } else if (what == 4) {
      fifo.insert(fifo.begin() + at, std::to_string(number));
      expected.insert(expected.begin() + at, std::to_string(number));
    } else if (what == 5 && number == 0) {
      fifo.clear();
      expected.clear();
    } else if (!expected.empty()) {
      if (what == 6) {
        fifo.erase(fifo.begin() + at);
        expected.erase(expected.begin() + at);
      } else {
        fifo.pop_front();
        expected.pop_front();
      }
    }
    RC_ASSERT(fifo.size() == expected.size());
    RC_ASSERT(std::equal(fifo.begin(), fifo.end(), expected.begin(), expected.end()));
  }
}

}  // namespace
}  // namespace diot
