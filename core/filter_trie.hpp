#pragma once
// Which subscriptions does a topic match? A tree of the filters' levels.

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/topic.hpp"

namespace diot {

/// Values under MQTT topic filters. Filters and topics must be valid (check_filter, check_topic): that bounds the
/// recursion. Values are compared with ==.
template <class Value>
class FilterTrie {
 public:
  /// An equal value that is there already under the same filter is replaced; says whether it was new.
  bool insert(std::string_view filter, Value value) {
    Node* node = &root_;
    for (Levels levels(filter); !levels.done();) node = &child_of(*node, levels.next());
    const auto same = std::find(node->values.begin(), node->values.end(), value);
    if (same != node->values.end()) return *same = std::move(value), false;
    node->values.push_back(std::move(value));
    return ++size_, true;
  }

  /// Whether it was there.
  bool erase(std::string_view filter, const Value& value) {
    if (!erase_below(root_, Levels(filter), value)) return false;
    return --size_, true;
  }

  /// Calls visit(const Value&) for every value of every filter that matches the topic: once per filter, in no special
  /// order. Does not allocate. The trie must not be changed meanwhile.
  template <class Visit>
  void match(std::string_view topic, Visit&& visit) const {
    match_below(root_, Levels(topic), topic.starts_with('$'), visit);
  }

  /// Of all filters together.
  std::size_t size() const { return size_; }

 private:
  struct LevelHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view level) const { return std::hash<std::string_view>{}(level); }
  };
  struct Below;
  /// Most nodes are a filter's last level, with nothing below them: that is made when it is used.
  struct Node {
    std::vector<Value> values;
    std::unique_ptr<Below> below;  ///< null: nothing
    bool empty() const { return values.empty() && !below; }
  };
  struct Below {
    std::unique_ptr<Node> any, rest;  ///< "+", "#"
    std::unordered_map<std::string, Node, LevelHash, std::equal_to<>> literal;
    bool empty() const { return !any && !rest && literal.empty(); }
  };

  static Node& child_of(Node& node, std::string_view level) {
    if (!node.below) node.below = std::make_unique<Below>();
    Below& below = *node.below;
    if (level == "+" || level == "#") {
      auto& child = level == "+" ? below.any : below.rest;
      if (!child) child = std::make_unique<Node>();
      return *child;
    }
    const auto found = below.literal.find(level);
    return found != below.literal.end() ? found->second : below.literal[std::string(level)];
  }

  /// Removes branches that became empty on the way back.
  static bool erase_below(Node& node, Levels levels, const Value& value) {
    if (levels.done()) {
      const auto found = std::find(node.values.begin(), node.values.end(), value);
      if (found == node.values.end()) return false;
      node.values.erase(found);
      return true;
    }
    if (!node.below) return false;
    Below& below = *node.below;
    const auto level = levels.next();
    if (level == "+" || level == "#") {
      auto& child = level == "+" ? below.any : below.rest;
      if (!child || !erase_below(*child, levels, value)) return false;
      if (child->empty()) child.reset();
    } else {
      const auto child = below.literal.find(level);
      if (child == below.literal.end() || !erase_below(child->second, levels, value)) return false;
      if (child->second.empty()) below.literal.erase(child);
    }
    if (below.empty()) node.below.reset();
    return true;
  }

  /// `system`: the next level is the first one and starts with "$", which no wildcard matches.
  template <class Visit>
  static void match_below(const Node& node, Levels levels, bool system, Visit& visit) {
    const Below* const below = node.below.get();
    if (below && below->rest && !system)
      for (const Value& value : below->rest->values) visit(value);
    if (levels.done()) {
      for (const Value& value : node.values) visit(value);
      return;
    }
    if (!below) return;
    const auto level = levels.next();
    if (below->any && !system) match_below(*below->any, levels, false, visit);
    if (below->literal.empty()) return;
    if (const auto child = below->literal.find(level); child != below->literal.end())
      match_below(child->second, levels, false, visit);
  }

  Node root_;
  std::size_t size_ = 0;
};

}  // namespace diot
