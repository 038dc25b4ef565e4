// The `diot` program: node and command line in one.

#include <malloc.h>

#include "core/crypto.hpp"
#include "tools/app/cli.hpp"
#include "tools/app/joiner.hpp"
#include "tools/app/log.hpp"
#include "tools/app/node.hpp"

namespace {

diot::Result<void> run_node(const diot::Home& home, const diot::Config& config) {
  // The buffers of large messages stay in the heap: mapped anew for each of them, they cost more page faults than copies.
  mallopt(M_MMAP_THRESHOLD, 8 << 20);
  mallopt(M_TRIM_THRESHOLD, 16 << 20);
  diot::set_up_log(config.log_level, config.log_format);
  diot::Node node(home, config);
  if (auto started = node.start(); !started) return started;
  return node.run();
}

}  // namespace

int main(int argc, char** argv) {
  diot::crypto_init();
  return diot::run_command_line(argc, argv, {run_node, diot::join_network});
}
