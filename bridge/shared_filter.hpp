#pragma once
// How a shared subscription is written (MQTT 5.0 section 4.8.2).

#include <optional>
#include <string_view>

namespace diot {

/// "$share/NAME/FILTER" in its parts.
struct SharedFilter {
  std::string_view name, filter;
};
inline bool is_shared_filter(std::string_view given) { return given == "$share" || given.starts_with("$share/"); }
/// nullopt: the name is empty or holds a wildcard, or no filter follows it.
inline std::optional<SharedFilter> split_shared_filter(std::string_view given) {
  if (!given.starts_with("$share/")) return std::nullopt;
  given.remove_prefix(7);
  const auto slash = given.find('/');
  if (slash == 0 || slash == given.npos || slash + 1 == given.size()) return std::nullopt;
  const SharedFilter out{given.substr(0, slash), given.substr(slash + 1)};
  if (out.name.find_first_of("+#") != out.name.npos) return std::nullopt;
  return out;
}

}  // namespace diot
