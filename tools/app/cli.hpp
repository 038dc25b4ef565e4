#pragma once
// The command line: what `main` does, but for the two things that it is given.

#include <functional>

#include "tools/app/config.hpp"
#include "tools/app/home.hpp"
#include "tools/app/setup.hpp"

namespace diot {

struct Program {
  /// Runs the node in the foreground until SIGINT or SIGTERM. Errors are those of the start.
  std::function<Result<void>(const Home&, const Config&)> run_node;
  JoinNetwork join_network;
};

enum class ExitCode : int { done = 0, failed = 1, usage = 2, not_running = 3, not_permitted = 4, timed_out = 5 };
ExitCode exit_code_of(Errc code);

/// Results go to standard output, everything else to standard error. Returns the exit code.
int run_command_line(int argc, const char* const* argv, const Program& program);

}  // namespace diot
