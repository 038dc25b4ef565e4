#pragma once
// Where the ledger's history is: `diot ledger storage`, and what the other verbs say of blocks that are not here.

#include <string>
#include <vector>

#include "core/error.hpp"
#include "dht/ledger_history.hpp"
#include "tools/app/ledger_answers.hpp"

namespace diot {

/// [{from, to}, …]
Json ranges_json(const std::vector<BlockRange>& ranges);

/// What of the history is on this disk.
Result<Json> storage_here(const LedgerSource& from);
/// What a running node does about that.
void tell_keeping(const LedgerHistory::Status& status, Json& out);
/// And at which of the linked nodes, `asked` in number, that answered.
void tell_holders(const std::vector<LedgerHistory::Holder>& holders, std::size_t asked, const Ledger& ledger,
                  Json& out);

}  // namespace diot
