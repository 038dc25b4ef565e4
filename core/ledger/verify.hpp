#pragma once
// Recomputing a whole chain, without trust in anything that is stored beside it.

#include <cstdint>
#include <functional>
#include <optional>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/share.hpp"

namespace diot {

struct VerifyReport {
  NetworkId network;
  Checkpoint head;
  WallMs head_time = 0;
  std::uint64_t blocks = 0, entries = 0, handles = 0;
  Hash log_root, map_root;
};

/// The bytes of block 1, 2, 3 …; nullopt behind the last one; an error ends the verification.
using BlockSource = std::function<Result<std::optional<Bytes>>()>;

/// Recomputes everything from the genesis: shapes, signatures, votes, rules, both roots. The error names the first bad
/// block and what is wrong with it. A chain that is cut off at its end is whole in itself: pass a `pinned` checkpoint
/// that it must contain to find that.
Result<VerifyReport> verify_chain(ByteView genesis, const BlockSource& next,
                                  const std::optional<Checkpoint>& pinned = std::nullopt);

}  // namespace diot
