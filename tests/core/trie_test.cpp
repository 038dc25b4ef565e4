#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/filter_trie.hpp"
#include "core/topic_trie.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

std::vector<int> matching(const FilterTrie<int>& trie, std::string_view topic) {
  std::vector<int> out;
  trie.match(topic, [&](int value) { out.push_back(value); });
  return out;
}

TEST(FilterTrie, visits_each_filter_that_matches) {
  FilterTrie<int> trie;
  int number = 0;
  for (const auto* filter : {"a/b", "a/+", "a/#", "#", "+/b", "b/#", "a/b/#", "a/b/c"}) trie.insert(filter, ++number);
  EXPECT_THAT(matching(trie, "a/b"), UnorderedElementsAre(1, 2, 3, 4, 5, 7));
  EXPECT_THAT(matching(trie, "b"), UnorderedElementsAre(4, 6));
  EXPECT_THAT(matching(trie, "c/d/e"), UnorderedElementsAre(4));
}

TEST(FilterTrie, wildcards_do_not_match_the_dollar_level) {
  FilterTrie<int> trie;
  trie.insert("#", 1);
  trie.insert("+/x", 2);
  trie.insert("$SYS/#", 3);
  trie.insert("$SYS/+", 4);
  EXPECT_THAT(matching(trie, "$SYS/x"), UnorderedElementsAre(3, 4));
}

TEST(FilterTrie, an_equal_value_is_replaced) {
  FilterTrie<int> trie;
  EXPECT_TRUE(trie.insert("a/#", 1));
  EXPECT_FALSE(trie.insert("a/#", 1));
  EXPECT_TRUE(trie.insert("a/#", 2));
  EXPECT_TRUE(trie.insert("a/+", 1));
  EXPECT_EQ(trie.size(), 3u);
  EXPECT_THAT(matching(trie, "a/b"), UnorderedElementsAre(1, 2, 1));
}

TEST(FilterTrie, erases_what_was_inserted_and_nothing_else) {
  FilterTrie<int> trie;
  trie.insert("a/+/c", 1);
  trie.insert("a/+", 2);
  EXPECT_FALSE(trie.erase("a", 1));
  EXPECT_FALSE(trie.erase("a/+/c", 2));
  EXPECT_FALSE(trie.erase("a/#", 1));
  EXPECT_FALSE(trie.erase("x/y", 1));
  EXPECT_TRUE(trie.erase("a/+/c", 1));
  EXPECT_FALSE(trie.erase("a/+/c", 1));
  EXPECT_THAT(matching(trie, "a/b"), ElementsAre(2));
  EXPECT_TRUE(trie.erase("a/+", 2));
  EXPECT_EQ(trie.size(), 0u);
}

rc::Gen<std::string> levels_of(const std::vector<std::string>& alphabet) {
  return rc::gen::map(rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(alphabet))),
                      [](const std::vector<std::string>& levels) {
                        std::string out = levels[0];
                        for (std::size_t at = 1; at < std::min<std::size_t>(levels.size(), 5); ++at)
                          out += "/" + levels[at];
                        return out;
                      });
}
rc::Gen<std::string> any_topic() { return levels_of({"a", "b", "", "$s", "long-level-name"}); }
rc::Gen<std::string> any_filter() {
  return rc::gen::map(rc::gen::pair(levels_of({"a", "b", "", "$s", "+", "long-level-name"}), rc::gen::inRange(0, 3)),
                      [](const auto& parts) { return parts.second == 0 ? parts.first + "/#" : parts.first; });
}

RC_GTEST_PROP(FilterTrie, agrees_with_matches, ()) {
  FilterTrie<int> trie;
  std::set<std::pair<std::string, int>> model;
  for (const auto& filter : *rc::gen::container<std::vector<std::string>>(any_filter())) {
    const int value = *rc::gen::inRange(0, 3);
    if (*rc::gen::inRange(0, 3) == 0)
      RC_ASSERT(trie.erase(filter, value) == (model.erase({filter, value}) == 1));
    else
      RC_ASSERT(trie.insert(filter, value) == model.insert({filter, value}).second);
  }
  RC_ASSERT(trie.size() == model.size());
  const auto topic = *any_topic();
  std::vector<int> expected;
  for (const auto& [filter, value] : model)
    if (matches(filter, topic)) expected.push_back(value);
  auto actual = matching(trie, topic);
  std::sort(actual.begin(), actual.end());
  std::sort(expected.begin(), expected.end());
  RC_ASSERT(actual == expected);
}

RC_GTEST_PROP(TopicTrie, agrees_with_matches, ()) {
  TopicTrie<int> trie;
  std::map<std::string, int> model;
  for (const auto& topic : *rc::gen::container<std::vector<std::string>>(any_topic())) {
    if (*rc::gen::inRange(0, 3) == 0) {
      RC_ASSERT(trie.erase(topic) == (model.erase(topic) == 1));
      continue;
    }
    const auto [entry, made] = trie.try_emplace(topic);
    RC_ASSERT(made == !model.contains(topic));
    RC_ASSERT(entry->topic == topic);
    entry->value = model[topic] = *rc::gen::arbitrary<int>();
  }
  RC_ASSERT(trie.size() == model.size());
  const auto filter = *any_filter();
  std::map<std::string, int> expected, actual;
  for (const auto& [topic, value] : model)
    if (matches(filter, topic)) expected[topic] = value;
  trie.match(filter, [&](const auto& entry) { RC_ASSERT(actual.emplace(entry.topic, entry.value).second); });
  RC_ASSERT(actual == expected);
  std::map<std::string, int> all;
  trie.for_each([&](const auto& entry) { all[entry.topic] = entry.value; });
  RC_ASSERT(all == model);
  const auto probe = *any_topic();
  const int* found = trie.find(probe);
  RC_ASSERT((found != nullptr) == model.contains(probe));
}

}  // namespace
}  // namespace diot
