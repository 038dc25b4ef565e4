#pragma once
// Whose home a witness runs at: a key says nothing to people.

#include <string>

#include "core/ledger/ledger.hpp"
#include "core/ledger/witness.hpp"

namespace diot {

/// The node that it runs on, as far as the ledger tells.
NodeId node_of(const Witness& witness, const Ledger& ledger);
/// nullptr: that node speaks for no handle.
const HandleRecord* home_of(const Witness& witness, const Ledger& ledger);
/// "@alice", or the beginning of its key.
std::string name_of(const Witness& witness, const Ledger& ledger);
/// "@alice, @bob"
std::string names_of(const WitnessSet& set, const Ledger& ledger);
/// For `diot status`: "@alice (trusted)" where one witness decides alone, else "".
std::string registrar_text(const Ledger& ledger);

}  // namespace diot
