#pragma once
// Which stored topics does a filter match? A tree of the topics' levels.

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/topic.hpp"

namespace diot {

/// One value a topic. Topics and filters must be valid (check_topic, check_filter): that bounds the recursion.
/// Pointers to values stay good until the value is erased.
template <class Value>
class TopicTrie {
 public:
  struct Entry {
    std::string topic;
    Value value;
  };

  /// The entry of a topic, made with Value{} if it is not there; and whether it was made.
  std::pair<Entry*, bool> try_emplace(std::string_view topic) {
    Node* node = &root_;
    for (Levels levels(topic); !levels.done();) {
      const auto level = levels.next();
      const auto found = node->children.find(level);
      auto& child = found != node->children.end() ? found->second : node->children[std::string(level)];
      if (!child) child = std::make_unique<Node>();
      node = child.get();
    }
    if (node->entry) return {node->entry.get(), false};
    node->entry = std::make_unique<Entry>(Entry{std::string(topic), Value{}});
    ++size_;
    return {node->entry.get(), true};
  }

  const Value* find(std::string_view topic) const {
    const Node* node = &root_;
    for (Levels levels(topic); !levels.done();) {
      const auto child = node->children.find(levels.next());
      if (child == node->children.end()) return nullptr;
      node = child->second.get();
    }
    return node->entry ? &node->entry->value : nullptr;
  }
  Value* find(std::string_view topic) { return const_cast<Value*>(std::as_const(*this).find(topic)); }

  /// Whether it was there.
  bool erase(std::string_view topic) {
    if (!erase_below(root_, Levels(topic))) return false;
    return --size_, true;
  }

  /// Calls visit(const Entry&) for every topic that the filter matches, in the order of their levels. The trie must not
  /// be changed meanwhile.
  template <class Visit>
  void match(std::string_view filter, Visit&& visit) const {
    match_below(root_, Levels(filter), true, visit);
  }

  /// Calls visit(const Entry&) for every topic.
  template <class Visit>
  void for_each(Visit&& visit) const {
    all_below(root_, visit);
  }

  std::size_t size() const { return size_; }

 private:
  struct Node {
    std::unique_ptr<Entry> entry;
    std::map<std::string, std::unique_ptr<Node>, std::less<>> children;
  };

  static bool erase_below(Node& node, Levels levels) {
    if (levels.done()) return std::exchange(node.entry, nullptr) != nullptr;
    const auto child = node.children.find(levels.next());
    if (child == node.children.end() || !erase_below(*child->second, levels)) return false;
    if (!child->second->entry && child->second->children.empty()) node.children.erase(child);
    return true;
  }

  template <class Visit>
  static void all_below(const Node& node, Visit& visit) {
    if (node.entry) visit(std::as_const(*node.entry));
    for (const auto& [level, child] : node.children) all_below(*child, visit);
  }

  template <class Visit>
  static void match_below(const Node& node, Levels levels, bool first, Visit& visit) {
    if (levels.done()) {
      if (node.entry) visit(std::as_const(*node.entry));
      return;
    }
    const auto level = levels.next();
    if (level != "+" && level != "#") {
      if (const auto child = node.children.find(level); child != node.children.end())
        match_below(*child->second, levels, false, visit);
      return;
    }
    if (level == "#" && node.entry) visit(std::as_const(*node.entry));
    for (const auto& [name, child] : node.children) {
      if (first && name.starts_with('$')) continue;
      if (level == "#")
        all_below(*child, visit);
      else
        match_below(*child, levels, false, visit);
    }
  }

  Node root_;
  std::size_t size_ = 0;
};

}  // namespace diot
