#pragma once
// Log lines that clients can cause: some at once and one a second, the rest counted, so that nobody fills a gateway's
// log.

#include <cstdint>
#include <string>

#include "core/clock.hpp"

namespace diot {

class Notices {
 public:
  static constexpr unsigned at_once = 50;

  explicit Notices(const Clock& clock) : clock_(clock), last_(clock.monotonic()) {}
  /// At level info.
  void say(const std::string& line);

 private:
  const Clock& clock_;
  Monotonic last_;
  double left_ = at_once;
  std::uint64_t unsaid_ = 0;
};

}  // namespace diot
