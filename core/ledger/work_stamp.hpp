#pragma once
// Work in place of an invite, where a network is open to everybody (docs/protocol.md, "Work stamp").

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "core/bytes.hpp"
#include "core/ledger/entry.hpp"
#include "core/share.hpp"

namespace diot {

/// What a stamp costs: one trial is Argon2id over `memory_bytes`, and one of `difficulty` trials succeeds.
struct WorkRules {
  std::size_t memory_bytes = 0;
  std::uint64_t passes = 1;
  std::uint64_t difficulty = 1;
};

/// Bit of a rules version: as the version without it, but stamps cost nothing worth mentioning. It stands in genesis and
/// blocks, so a network is either for tests or not, for ever and for everybody to see.
inline constexpr std::uint32_t test_rules = 0x80000000;
/// The newest rules that this program knows.
inline constexpr std::uint32_t known_rules_version = 1;
/// Whether this program can judge by those rules.
constexpr bool knows_rules(std::uint32_t version) {
  return (version & ~test_rules) >= 1 && (version & ~test_rules) <= known_rules_version;
}
/// Of a known version.
WorkRules work_rules(std::uint32_t rules_version);

/// One trial: takes 35 ms and 32 MiB by rules version 1. Errc::limit if the memory cannot be had.
Result<bool> check_stamp(std::uint64_t stamp, const Registration& what, const NetworkId& network,
                         const Checkpoint& recent, const WorkRules& rules);
/// Tries `start`, `start` + 1 … : about 5 minutes of a processor by rules version 1. `go_on` is asked before each
/// trial; Errc::timed_out once it says no.
Result<std::uint64_t> make_stamp(const Registration& what, const NetworkId& network, const Checkpoint& recent,
                                 const WorkRules& rules, std::uint64_t start, const std::function<bool()>& go_on);

}  // namespace diot
