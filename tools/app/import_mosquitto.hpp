#pragma once
// `diot import`: a configuration of mosquitto, translated.

#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"
#include "tools/app/config.hpp"

namespace diot {

struct ImportedConfig {
  Config config;
  /// What could not be translated, or has to be done by hand: one sentence each, with its line.
  std::vector<std::string> notes;
};

/// `base` is the configuration that stays for what mosquitto knows nothing of. Relative files are taken to be relative
/// to `folder`. Errc::invalid names the line that mosquitto would not understand either.
Result<ImportedConfig> import_mosquitto(std::string_view text, const std::string& folder, const Config& base);

}  // namespace diot
