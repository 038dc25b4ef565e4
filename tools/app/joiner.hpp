#pragma once
// The network part of `diot join`: a client in the foreground that spends an invite.

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/ledger.hpp"
#include "core/store.hpp"

namespace diot {

struct JoinRequest {
  Invite invite;
  std::string handle;
  KeyPair node;
  KeyPair owner;
  Hash next_key;                       ///< SHA-256 of the next owner key
  std::vector<std::string> addresses;  ///< where this node will be dialled
  std::chrono::seconds timeout{30};
  /// Called now and then while work is done for the registration, where the invite pays for none: how many trials were
  /// made, and how many it takes on average. May be empty.
  std::function<void(std::uint64_t done, std::uint64_t expected)> working;
  /// Runs after everything was checked here and before the entry leaves: the last moment to show the 24 words and to
  /// keep the keys. The entry stays here if it fails.
  std::function<Result<void>()> before_submit;
};

struct JoinResult {
  Bytes genesis;
  std::uint64_t height = 0;      ///< of the block that registered the handle; 0: the ledger is out of reach …
  std::string provisional = {};  ///< … and this is the home's name until it is registered,
  std::string why = {};          ///< for this reason
};

/// Dials the invite's addresses, checks the NodeId, proves the token, receives genesis, blocks and the network's DHT
/// key, submits the register entry, and returns when it is committed and verified. Puts blocks, DHT key and the
/// inviter's addresses into the store; the caller seals. A second run with the same keys after an interrupted one finds its
/// entry in the ledger and succeeds. With an invite that pays for no registration (Grant::uses 0) it leaves the node once
/// it knows the ledger, works for minutes, and comes back to register. Where the inviter is in reach and the ledger is not, the
/// entry is good as far as is known here, and goes into the store for the node to hand it in (dht/own_registration.hpp).
/// Errors: Errc::io names the addresses that were tried, Errc::exists that the handle
/// is taken.
Result<JoinResult> join_network(const JoinRequest& request, Store& store);

}  // namespace diot
