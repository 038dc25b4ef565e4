#pragma once
// `diot witness succeed`: takes the founder's words, so it runs in the command line, like some verbs of `handle`.

#include "tools/app/handle_verbs.hpp"

namespace diot {

/// Shape: tools/app/api.hpp.
Result<Json> witness_succeed(const Json& args, const HandleTools& tools);

}  // namespace diot
