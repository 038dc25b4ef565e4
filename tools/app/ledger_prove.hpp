#pragma once
// Proofs from the ledger that need no network: made by a node or from a home's files, and checked by anybody.

#include "core/error.hpp"
#include "tools/app/api.hpp"
#include "tools/app/ledger_answers.hpp"

namespace diot {

/// The answer to `ledger prove` (tools/app/api.hpp).
Result<Json> prove_answer(const Json& args, const LedgerSource& from);

/// Args {file, genesis: hex, pin?: "HEIGHT:HASH", anchor?, tree?}. Result: what the proof says: {proves: "handle", "entry"
/// or "consistency", as_of_height, as_of_block, as_of_ms, network, witnesses, votes, bytes}, and
/// - of a handle {handle, registered}, and what `ledger show` says if it is registered,
/// - of an entry {hash, kind, handle, version, detail?, inviter?, index, log_entries},
/// - of the log having grown only {from_height, from_block, from_ms, from_entries, log_entries},
/// and {tree: text} if asked for.
Result<Json> check_proof_file(const Json& args);

}  // namespace diot
