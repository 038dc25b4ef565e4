#pragma once
// Shared subscriptions (MQTT 5.0 section 4.8.2): those who subscribed to one filter under one name. Each message goes to
// one of them.

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/session.hpp"
#include "bridge/shared_filter.hpp"
#include "core/topic.hpp"

namespace diot {

/// One that a SUBSCRIBE may hold, or a row of a session.
inline bool is_usable_filter(std::string_view given) {
  if (is_shared_filter(given)) {
    const auto shared = split_shared_filter(given);
    return shared && is_usable_filter(shared->filter) && !is_shared_filter(shared->filter);
  }
  // "@bob" alone names a home, not a topic.
  return check_filter(given) && !(parts_of(given).kind == TopicKind::owned && parts_of(given).rest.empty());
}

class SubscriberGroup {
 public:
  SubscriberGroup(std::string key, const Subscription& first) : key_(std::move(key)) {
    entry_.filter = std::string_view(key_).substr(key_.size() - first.filter.size());
    entry_.own_only = first.own_only;
    entry_.group = this;
  }
  SubscriberGroup(const SubscriberGroup&) = delete;
  SubscriberGroup& operator=(const SubscriberGroup&) = delete;

  /// How well a member can take a message. The first of the best is chosen, going round.
  enum class Rank : std::uint8_t {
    no,    ///< it cannot, or may not
    kept,  ///< it is away, and its session keeps a queue
    slow,  ///< it is connected and has enough to do
    ready
  };
  /// `rank(const Subscription&)` judges. nullptr: nobody can take it.
  template <class Judge>
  Subscription* choose(Judge rank) {
    std::size_t best_at = 0;
    Rank best = Rank::no;
    for (std::size_t step = 0; step < members_.size() && best != Rank::ready; ++step) {
      const std::size_t at = (next_ + step) % members_.size();
      if (const Rank found = rank(*members_[at]); found > best) best = found, best_at = at;
    }
    if (best == Rank::no) return nullptr;
    next_ = best_at + 1;
    return members_[best_at];
  }

  void add(Subscription& member) {
    member.group = this;
    members_.push_back(&member);
  }
  void remove(Subscription& member) {
    member.group = nullptr;
    std::erase(members_, &member);
  }
  const std::vector<Subscription*>& members() const { return members_; }
  const std::string& key() const { return key_; }
  /// What stands in the subscription trie for all of them.
  Subscription* entry() { return &entry_; }

 private:
  const std::string key_;
  Subscription entry_;
  std::vector<Subscription*> members_;
  std::size_t next_ = 0;
};

}  // namespace diot
