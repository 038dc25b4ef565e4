#include "tools/bench/usage.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace diot::bench {

Result<Usage> usage_of(std::span<const pid_t> pids) {
  static const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  Usage total;
  for (const pid_t pid : pids) {
    const auto folder = fmt::format("/proc/{}", pid);
    std::uint64_t pages_all = 0, pages_resident = 0;
    if (!(std::ifstream(folder + "/statm") >> pages_all >> pages_resident)) {
      return fail(Errc::not_running, fmt::format("no process {} (--pid)", pid));
    }
    total.rss_bytes += pages_resident * page_bytes;
    std::error_code ended;  // a thread may go while we look
    for (std::filesystem::directory_iterator task(folder + "/task", ended), end; !ended && task != end;
         task.increment(ended)) {
      std::uint64_t cpu_ns = 0;
      if (std::ifstream(task->path() / "schedstat") >> cpu_ns) total.cpu_ns += cpu_ns;
    }
  }
  return total;
}

}  // namespace diot::bench
