#pragma once
// What libraries read by themselves, made part of the simulated world: std::chrono's clocks and std::random_device. The
// program that links library_world.cpp defines them for itself and for the shared libraries that it loads; while no
// LibraryWorld lives they are the system's.

#include "core/clock.hpp"
#include "core/crypto.hpp"

namespace diot::sim {

/// From here to the end of the scope libraries read `clock` and draw from `random`. May be nested; on one thread only.
class LibraryWorld {
 public:
  LibraryWorld(const Clock& clock, Random& random);
  ~LibraryWorld();
  LibraryWorld(const LibraryWorld&) = delete;
  LibraryWorld& operator=(const LibraryWorld&) = delete;

 private:
  const Clock* const outer_clock_;
  Random* const outer_random_;
};

}  // namespace diot::sim
