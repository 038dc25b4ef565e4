#pragma once
// What processes of this machine use, from /proc.

#include <sys/types.h>

#include <cstdint>
#include <span>

#include "core/error.hpp"

namespace diot::bench {

struct Usage {
  std::uint64_t cpu_ns = 0;     ///< of all threads that live now, since their start
  std::uint64_t rss_bytes = 0;  ///< resident memory
};

/// The sum over the processes. Errc::not_running names the one that is not there.
Result<Usage> usage_of(std::span<const pid_t> pids);

}  // namespace diot::bench
