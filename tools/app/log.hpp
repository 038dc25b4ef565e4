#pragma once
// What the node tells on standard error.

#include <string>

namespace diot {

/// `level` and `format` as in the configuration: log.level, log.format ("text" or "json").
void set_up_log(const std::string& level, const std::string& format);

}  // namespace diot
