#pragma once
// `diot join` at a home that is in a network already: it moves to the other one. Node key, owner key and so the 24 words,
// configuration, users, sessions with what they wait for, retained values and shares go with it; the handle is registered
// anew; what was read of other homes, and what others had still to read here, stays behind with the old ledger.

#include <chrono>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/error.hpp"
#include "core/ledger/invite.hpp"
#include "tools/app/config.hpp"
#include "tools/app/home.hpp"
#include "tools/app/setup.hpp"

namespace diot {

/// `config`: the home's, with the handle that it is to have. Result: that of join_home and {old_network, old_folder, shares,
/// damaged_rows}. Without `yes` Errc::not_permitted says what would happen. Until the last moment nothing at the home
/// changes, and an interrupted run can be made again. Errc::exists: the node runs, is in that network, or the handle is
/// taken there.
Result<Json> move_home(const Home& home, const Config& config, const Invite& invite, std::chrono::seconds timeout,
                       bool yes, const ShowWork& show_work, const JoinNetwork& join_network);

}  // namespace diot
