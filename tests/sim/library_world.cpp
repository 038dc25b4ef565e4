#include "tests/sim/library_world.hpp"

#include <dlfcn.h>
#include <sodium.h>
#include <sys/random.h>
#include <time.h>

#include <chrono>
#include <map>
#include <random>
#include <utility>

#include "core/crypto.hpp"

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

// All homes of a world check the same signatures, and that is nine tenths of its time: each is checked once.
extern "C" int crypto_sign_verify_detached(const unsigned char* signature, const unsigned char* message,
                                           unsigned long long size, const unsigned char* key) {
  constexpr std::size_t checked_max = 100'000;
  static thread_local std::map<diot::Hash, int> checked;
  using Verify = decltype(&crypto_sign_verify_detached);
  static const auto library = reinterpret_cast<Verify>(dlsym(RTLD_NEXT, "crypto_sign_verify_detached"));
  diot::Hash all;
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, diot::Hash::size);
  crypto_generichash_update(&state, signature, crypto_sign_BYTES);
  crypto_generichash_update(&state, key, crypto_sign_PUBLICKEYBYTES);
  crypto_generichash_update(&state, message, size);
  crypto_generichash_final(&state, all.bytes.data(), diot::Hash::size);
  if (const auto known = checked.find(all); known != checked.end()) return known->second;
  if (checked.size() >= checked_max) checked.clear();
  return checked[all] = library(signature, message, size, key);
}

namespace diot::sim {

LibraryWorld::LibraryWorld(const Clock& clock, Random& random)
    : outer_clock_(std::exchange(clock_read, &clock)), outer_random_(std::exchange(random_drawn, &random)) {}

LibraryWorld::~LibraryWorld() {
  clock_read = outer_clock_;
  random_drawn = outer_random_;
}

}  // namespace diot::sim
