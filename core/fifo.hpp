#pragma once
// A queue for the many that are mostly empty.

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace diot {

/// First in, first out, in one block of memory. An empty one owns next to nothing, where libstdc++'s deque takes 576
/// bytes before its first item. Pushing and popping cost amortised constant time, and like every change but pop_front()
/// they invalidate iterators.
template <class T>
class Fifo {
 public:
  using iterator = typename std::vector<T>::iterator;

  bool empty() const { return front_ == items_.size(); }
  std::size_t size() const { return items_.size() - front_; }
  iterator begin() { return items_.begin() + static_cast<std::ptrdiff_t>(front_); }
  iterator end() { return items_.end(); }
  T& operator[](std::size_t at) { return items_[front_ + at]; }
  T& front() { return items_[front_]; }
  T& back() { return items_.back(); }

  template <class... Values>
  T& emplace_back(Values&&... values) {
    make_room();
    return items_.emplace_back(std::forward<Values>(values)...);
  }
  void push_back(T item) { emplace_back(std::move(item)); }
  void insert(iterator at, T item) { items_.insert(at, std::move(item)); }

  void pop_front() {
    items_[front_++] = T();  // whatever it owns goes now, and not when its place is needed
    if (empty()) clear();
  }
  /// Moves the shorter side up.
  void erase(iterator at) {
    if (at - begin() < end() - at) {
      std::move_backward(begin(), at, at + 1);
      return pop_front();
    }
    items_.erase(at);
    if (empty()) clear();
  }
  void clear() {
    items_.clear();
    front_ = 0;
    if (items_.capacity() * sizeof(T) > kept_bytes) std::vector<T>().swap(items_);
  }

 private:
  /// Of an empty one: so much that a trickle costs no allocations.
  static constexpr std::size_t kept_bytes = 1024;

  /// The places of what was popped are used again before there are more of them.
  void make_room() {
    if (items_.size() < items_.capacity() || front_ < items_.size() / 2 || front_ == 0) return;
    items_.erase(items_.begin(), begin());
    front_ = 0;
  }

  std::vector<T> items_;
  std::size_t front_ = 0;  ///< index of the first item; those before it were popped
};

}  // namespace diot
