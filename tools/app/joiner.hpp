#pragma once
// The network part of `diot join`: a client in the foreground that spends an invite.

#include <asio/io_context.hpp>
#include <chrono>
#include <functional>

#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/ledger.hpp"
#include "core/store.hpp"
#include "tools/app/config.hpp"

namespace diot {

struct JoinRequest {
  Invite invite;
  Config config;  ///< handle, and where this node will be dialled
  KeyPair node;
  KeyPair owner;
  Hash next_key;  ///< SHA-256 of the next owner key
  std::chrono::seconds timeout{30};
  /// Runs after everything was checked here and before the entry leaves: the last moment to show the 24 words and to keep
  /// the keys. The entry stays here if it fails.
  std::function<Result<void>()> before_submit;
};

struct JoinResult {
  Bytes genesis;
  std::uint64_t height = 0;  ///< of the block that registered the handle
};

/// Dials the invite's addresses, checks the NodeId, proves the token, receives genesis, blocks and the network's DHT key,
/// submits the register entry, and returns when it is committed and verified. Puts blocks, DHT key and the inviter's
/// addresses into the store, and returns when they are durable. Runs `io`, which the store posts to. A second run with the
/// same keys after an interrupted one finds its entry in the ledger and succeeds. Errors: Errc::io names the addresses
/// that were tried, Errc::exists says that the handle is taken.
Result<JoinResult> join_network(const JoinRequest& request, asio::io_context& io, Store& store);

}  // namespace diot
