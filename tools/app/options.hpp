#pragma once
// The verbs of `diot` with their options: one table, from which the parser, --help, the checks of the control API, and
// (later) man pages and completion come.

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.hpp"
#include "tools/app/api.hpp"

namespace diot {

enum class OptionKind {
  flag,        ///< --yes
  text,        ///< --handle NAME
  number,      ///< --uses N: unsigned
  list,        ///< --mqtt ADDRESS, any number of times, or separated by commas
  positional,  ///< FILTER
};

struct OptionSpec {
  std::string_view name;  ///< as in the arguments' JSON: "expiry-days"; positional: "filter"
  OptionKind kind = OptionKind::text;
  std::string_view value;  ///< what stands in --help: "N"
  std::string_view help;
  bool required = false;
  std::uint64_t min = 0, max = 0;  ///< of a number
  std::vector<std::string_view> choices = {};
};

/// Who does the work.
enum class VerbPlace {
  local,   ///< the command line itself
  node,    ///< the running node, through the control API
  either,  ///< the running node, or the command line from the files when it is not there
  later,   ///< known, but not available yet
};

struct Verb {
  std::string_view name;  ///< "share add"
  VerbPlace place = VerbPlace::later;
  bool reads_only = false;  ///< HTTP GET may call it
  std::string_view help;
  std::vector<OptionSpec> options = {};

  const OptionSpec* option(std::string_view option_name) const;
};

std::span<const Verb> all_verbs();
/// nullptr if there is none of that name.
const Verb* find_verb(std::string_view name);

/// Checks arguments against the verb's options and brings them into the form that tools/app/api.hpp promises: numbers
/// may come as digits and flags as "true" (the command line and HTTP queries know only text). Errc::invalid names the
/// argument and what would be right.
Result<Json> check_args(const Verb& verb, const Json& args);

/// A command line that was understood.
struct Invocation {
  const Verb* verb = nullptr;
  Json args;
  bool json = false;  ///< --json: print the result as one JSON object
};
/// A command line that asks for nothing but text.
struct Answer {
  std::string text;
  bool usage_error = false;  ///< goes to standard error, exit code 2
};
std::variant<Invocation, Answer> parse_command_line(int argc, const char* const* argv);

}  // namespace diot
