#pragma once
// Provisional names: what a home is called between its registration and the block that holds it (docs/protocol.md,
// "Provisional names"). No rule of the ledger knows them.

#include <string>
#include <string_view>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/handle.hpp"

namespace diot {

/// "alice~fingerprint": the first 60 bits of BLAKE2b-256("diot/provisional/v1" ‖ network ‖ register entry's hash). The
/// entry names the handle and its keys, and channels are named by its hash: so whoever has the entry has the name, and the
/// name means the same home and the same channels when the ledger has the entry too.
std::string provisional_name(const NetworkId& network, std::string_view handle, const Hash& register_entry);

/// The record that a register entry would make, under its provisional name and with height 0. Errc::invalid if it is
/// another entry. Nothing is judged: that is Ledger::check_entry's.
Result<HandleRecord> provisional_record(const Entry& entry, const NetworkId& network);
/// Of the entry's bytes, which may be malformed, too.
Result<HandleRecord> provisional_record(ByteView entry, const NetworkId& network);

}  // namespace diot
