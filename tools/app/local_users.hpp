#pragma once
// The files of users and rules: read for the node, changed for `diot user`.

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "bridge/acl_file.hpp"
#include "bridge/password_file.hpp"
#include "tools/app/api.hpp"
#include "tools/app/config.hpp"

namespace diot {

/// As the configuration means it: relative to the home's folder.
std::string path_in_home(const std::string& home, const std::string& file);

/// Errors name the file and the line. A file with its default name may be missing: then it is as if empty.
Result<PasswordFile> load_passwords(const std::string& home, const Config& config);
/// nullopt: there are no rules.
Result<std::optional<AclFile>> load_acl(const std::string& home, const Config& config);

/// `user add`, `user remove`, `user passwd` and `user list` with the arguments of the option table and, where one is to
/// be set, the password. Writes the file whole or not at all; two at once do not lose each other's change. Errc::exists,
/// Errc::not_found. Results: tools/app/api.hpp.
Result<Json> change_users(const std::string& home, const Config& config, std::string_view verb, const Json& args,
                          std::string_view password, Random& random);

/// 20 characters that can be typed: 100 bits.
std::string make_password(Random& random);

}  // namespace diot
