#pragma once
// The bodies of entries as msgpack. For this folder only.

#include <string>

#include "core/ledger/entry.hpp"
#include "core/msgpack.hpp"

namespace diot::ledger_codec {

/// The arrays that docs/protocol.md, "Entry", lists. What is a list in order there must be in order.
void write_body(PackWriter& out, const EntryBody& body);
/// Puts the lists in order.
void sort_body(EntryBody& body);
/// `kind` is 1 to kinds_of_entries. `error` says what is wrong, and stays empty if all is well or if the reader failed.
EntryBody read_body(std::uint64_t kind, PackReader& in, std::string& error);

inline constexpr std::uint64_t kinds_of_entries = std::variant_size_v<EntryBody>;

}  // namespace diot::ledger_codec
