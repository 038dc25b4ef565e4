#pragma once
// What the command line does with the ledger outside a node: exports, and comparisons with them.

#include <functional>
#include <string>
#include <string_view>

#include "core/error.hpp"
#include "tools/app/api.hpp"

namespace diot {

/// Asks a running node, or reads the home's files.
using AskLedger = std::function<Result<Json>(const std::string& verb, const Json& args)>;

/// Args {from?, to?, handle?, kind?, since?, until?}: writes the ledger to `out` as JSON lines, one a block: {height,
/// time_ms, hash, entries: [{kind, handle, version, hash}, …], block: base64url}. A query for entries leaves out blocks
/// without any, and shows those that match.
Result<void> export_lines(const AskLedger& ask, const Json& args, const std::function<void(std::string_view)>& out);
/// Args {tiles: folder}: the whole log in the layout of c2sp.org/tlog-tiles, with the checkpoint if this home is a
/// witness. Result: {folder, entries, files, checkpoint: bool}.
Result<Json> export_tiles(const AskLedger& ask, const Json& args);
/// Args {file}: an export of another node, compared with this one's ledger. Result: {network, agree: both are one
/// history, same_to: height, here: height, there: height}, and {first_difference: {height, here, there}} if not.
Result<Json> diff_ledger(const AskLedger& ask, const Json& args);

}  // namespace diot
