#pragma once
// A report for people and for programs.

#include <nlohmann/json.hpp>
#include <string>

#include "tools/bench/load.hpp"

namespace diot::bench {

/// Times in seconds, milliseconds (_ms) or microseconds (_us), as the names say; what was not measured is absent.
nlohmann::ordered_json to_json(const Options& options, const Report& report);
/// Lines of "name value".
std::string to_text(const Options& options, const Report& report);

}  // namespace diot::bench
