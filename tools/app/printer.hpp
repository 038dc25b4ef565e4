#pragma once
// How results look on a terminal. The only table printer of the program.

#include <cstdio>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "tools/app/api.hpp"

namespace diot {

struct PrintStyle {
  bool colours = false;
  /// Colours if `file` is a terminal and NO_COLOR is not set.
  static PrintStyle of(std::FILE* file);
};

/// The result of a verb for people: members as "name  value" lines, arrays of objects as tables, times as local times.
/// Control characters in values are made visible: topics and names may come from strangers.
std::string format_result(const Json& result, PrintStyle style);
/// "diot: message", in red where colours are.
std::string format_error(std::string_view message, PrintStyle style);
/// With every control character as \xNN.
std::string printable(std::string_view text);

}  // namespace diot
