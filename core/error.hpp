#pragma once
// Expected failures. A bug is an assertion (`expect`), a peer's violation is an Error with Errc::invalid, and only
// start-up throws.

#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace diot {

enum class Errc {
  invalid,  ///< malformed or rule-breaking input
  not_found,
  exists,  ///< the name or thing is taken already
  not_permitted,
  not_available,  ///< known, but not built yet; the message says so
  limit,          ///< a bound of core/limits.hpp
  corrupt,        ///< our own stored bytes do not match their checksum or chain
  io,             ///< disk or network
  timed_out,
  not_running,  ///< the node's process is not there
};

struct Error {
  Errc code = Errc::invalid;
  std::string message;  ///< for a person: what, where, and what to do next
};

template <class T>
using Result = tl::expected<T, Error>;

/// return fail(Errc::invalid, "…");
inline tl::unexpected<Error> fail(Errc code, std::string message) {
  return tl::unexpected<Error>(Error{code, std::move(message)});
}

std::string_view name_of(Errc code);

/// An always-on assertion: a violation is a bug of ours and never reachable from input.
inline void expect(bool condition, const char* what, std::source_location at = std::source_location::current()) {
  if (condition) return;
  std::fprintf(stderr, "diot: bug: %s (%s:%u)\n", what, at.file_name(), static_cast<unsigned>(at.line()));
  std::abort();
}

}  // namespace diot
