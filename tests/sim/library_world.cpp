#include "tests/sim/library_world.hpp"

#include <sys/random.h>
#include <time.h>

#include <chrono>
#include <random>
#include <utility>

namespace {

const diot::Clock* clock_read = nullptr;
diot::Random* random_drawn = nullptr;

std::chrono::nanoseconds system_time(clockid_t clock) {
  timespec out{};
  clock_gettime(clock, &out);
  return std::chrono::seconds(out.tv_sec) + std::chrono::nanoseconds(out.tv_nsec);
}

}  // namespace

// These stand before the standard library's, also for libopendht: the dynamic linker takes a program's own first.
std::chrono::steady_clock::time_point std::chrono::steady_clock::now() noexcept {
  return clock_read ? clock_read->monotonic() : time_point(system_time(CLOCK_MONOTONIC));
}

std::chrono::system_clock::time_point std::chrono::system_clock::now() noexcept {
  return clock_read ? time_point(std::chrono::milliseconds(clock_read->wall_ms()))
                    : time_point(std::chrono::duration_cast<duration>(system_time(CLOCK_REALTIME)));
}

std::random_device::result_type std::random_device::_M_getval() {
  result_type out = 0;
  const std::span<std::uint8_t> bytes(reinterpret_cast<std::uint8_t*>(&out), sizeof out);
  if (random_drawn)
    random_drawn->fill(bytes);
  else if (getentropy(bytes.data(), bytes.size()) != 0)
    std::abort();
  return out;
}

namespace diot::sim {

LibraryWorld::LibraryWorld(const Clock& clock, Random& random)
    : outer_clock_(std::exchange(clock_read, &clock)), outer_random_(std::exchange(random_drawn, &random)) {}

LibraryWorld::~LibraryWorld() {
  clock_read = outer_clock_;
  random_drawn = outer_random_;
}

}  // namespace diot::sim
