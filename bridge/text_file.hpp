#pragma once
// Small files that the configuration names.

#include <string>

#include "core/error.hpp"

namespace diot {

/// Errc::io if it cannot be read, Errc::limit if it is larger than `bytes_max`. The message names it.
Result<std::string> read_text_file(const std::string& file, std::size_t bytes_max);

}  // namespace diot
