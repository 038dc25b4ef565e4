#pragma once
// What `diot handle update` makes of a handle's record.

#include "core/error.hpp"
#include "core/ledger/handle.hpp"
#include "tools/app/api.hpp"

namespace diot {

/// The record with the nodes, roles and persons that the arguments ask for (tools/app/api.hpp, "handle update"): those to
/// be removed go first. Errc::not_found: who is to be changed or removed is not there; Errc::invalid: nothing would
/// change, or what is asked for has not the right form. The rest the rules of the ledger say.
Result<HandleRecord> update_record(const HandleRecord& record, const Json& args);

}  // namespace diot
