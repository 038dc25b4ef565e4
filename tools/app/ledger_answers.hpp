#pragma once
// The answers of the `ledger` verbs (shapes: tools/app/api.hpp), from the ledger and the stored blocks: for the running
// node, and for the command line where no node runs.

#include <cstdint>
#include <string_view>

#include "core/error.hpp"
#include "core/ledger/ledger.hpp"
#include "core/store.hpp"
#include "tools/app/api.hpp"

namespace diot {

class Cosignatures;

Json handle_answer(const HandleRecord& record, bool ours);
/// {kind, handle, version, hash, inviter?, detail?}
Json entry_answer(const EntryView& entry);

/// What the answers are made from.
struct LedgerSource {
  const Ledger& ledger;
  ByteView genesis;
  Store& store;
  std::string_view own_handle;       ///< may be empty
  const KeyPair* witness = nullptr;  ///< of a node that is one
  WallMs now = 0;
  const Cosignatures* cosignatures = nullptr;  ///< of the other witnesses, where a node runs
};
/// `verb` is one of the "ledger …" verbs.
Result<Json> ledger_answer(std::string_view verb, const Json& args, const LedgerSource& from);

}  // namespace diot
