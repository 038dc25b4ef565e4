#include "bridge/notices.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace diot {

void Notices::say(const std::string& line) {
  const Monotonic now = clock_.monotonic();
  const std::chrono::duration<double> seconds = now - std::exchange(last_, now);
  left_ = std::min<double>(at_once, left_ + seconds.count());
  if (left_ < 1) {
    ++unsaid_;
    return;
  }
  left_ -= 1;
  if (const auto unsaid = std::exchange(unsaid_, 0)) spdlog::info("{} lines about clients were left out", unsaid);
  spdlog::info("{}", line);
}

}  // namespace diot
