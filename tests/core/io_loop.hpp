#pragma once
// Stands in for the program's I/O loop: runs what other threads post, one turn after the other.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

namespace diot::test {

class IoLoop {
 public:
  std::function<void(std::function<void()>)> poster() {
    return [this](std::function<void()> run) {
      {
        const std::lock_guard lock(mutex_);
        posted_.push_back(std::move(run));
      }
      changed_.notify_one();
    };
  }
  /// Runs what is posted, `end_turn` after each, until `done` says so. False if that takes more than 20 s.
  template <class Done>
  bool run_until(
      Done done, const std::function<void()>& end_turn = [] {}) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      std::unique_lock lock(mutex_);
      if (!changed_.wait_until(lock, deadline, [this] { return !posted_.empty(); })) return false;
      const auto run = std::move(posted_.front());
      posted_.pop_front();
      lock.unlock();
      run();
      end_turn();
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> posted_;
};

}  // namespace diot::test
