#pragma once
// What of the ledger a person must hear of, in words: for `diot status`, `diot ledger verify` and `stats`.

#include <string>

#include "core/ledger/entry.hpp"
#include "core/ledger/fork.hpp"
#include "core/ledger/ledger.hpp"
#include "core/store.hpp"
#include "dht/succession_sync.hpp"
#include "tools/app/api.hpp"

namespace diot {

/// The forks that are kept in the store, for verbs that work without a node; unreadable ones are an error.
Result<std::vector<Fork>> stored_forks(Store& store);
/// [{height, here, there, seen_ms, shown_by: handle or null, evidence: base64url}, …]
Json fork_rows(const std::vector<Fork>& forks, const Ledger& ledger);
std::string fork_text(const Fork& fork, const Ledger& ledger);

/// [{height, possible_from_ms, votes, needed, witnesses: [handle, …], refusal?}, …]
Json succession_rows(const std::map<Hash, SuccessionSync::Pending>& pending, const Ledger& ledger);
std::string succession_text(const SuccessionSync::Pending& pending, const Ledger& ledger);

/// What it plans, and what comes of it where this program does not know those rules.
std::string upgrade_text(const UpgradeBody& upgrade);

}  // namespace diot
