#include "tools/app/local_users.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/limits.hpp"
#include "tools/app/home.hpp"

namespace diot {

namespace {

constexpr std::size_t password_bytes_max = 1024;

/// The file's text; empty if it has its default name and is not there.
Result<std::optional<Bytes>> read_optional(const std::string& home, const std::string& file, const char* default_name) {
  auto bytes = read_file(path_in_home(home, file), limits::users_file_bytes_max);
  if (bytes) return std::optional(std::move(*bytes));
  if (bytes.error().code == Errc::not_found && file == default_name) return std::optional<Bytes>();
  return tl::unexpected(bytes.error());
}

template <class T>
Result<T> with_file_name(Result<T> parsed, const std::string& path) {
  if (!parsed) return fail(parsed.error().code, fmt::format("{}, {}", path, parsed.error().message));
  return parsed;
}

/// Held while the file is read, changed and written. The folder is locked, because the file is replaced.
class FolderLock {
 public:
  explicit FolderLock(const std::string& file)
      : fd_(::open(std::filesystem::path(file).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

}  // namespace

std::string path_in_home(const std::string& home, const std::string& file) {
  return file.empty() || file.front() == '/' ? file : fmt::format("{}/{}", home, file);
}

Result<PasswordFile> load_passwords(const std::string& home, const Config& config) {
  const auto bytes = read_optional(home, config.users_passwords, Config::default_passwords);
  if (!bytes) return tl::unexpected(bytes.error());
  if (!*bytes) return PasswordFile();
  return with_file_name(PasswordFile::parse(as_text(**bytes)), path_in_home(home, config.users_passwords));
}

Result<std::optional<AclFile>> load_acl(const std::string& home, const Config& config) {
  const auto bytes = read_optional(home, config.users_acl, Config::default_acl);
  if (!bytes) return tl::unexpected(bytes.error());
  if (!*bytes) return std::optional<AclFile>();
  auto parsed = with_file_name(AclFile::parse(as_text(**bytes)), path_in_home(home, config.users_acl));
  if (!parsed) return tl::unexpected(parsed.error());
  return std::optional(std::move(*parsed));
}

Result<Json> change_users(const std::string& home, const Config& config, std::string_view verb, const Json& args,
                          std::string_view password, Random& random) {
  const std::string path = path_in_home(home, config.users_passwords);
  const FolderLock lock(path);
  auto file = load_passwords(home, config);
  // A named file is made by the first user.
  if (!file && file.error().code == Errc::not_found && verb == "user add") file = PasswordFile();
  if (!file) return tl::unexpected(file.error());
  if (verb == "user list") {
    Json users = Json::array();
    for (const auto& [name, record] : file->users())
      users.push_back(
          {{"user", name}, {"hash", record.kind == 7 ? "PBKDF2" : "SHA-512"}, {"scram", record.scram.has_value()}});
    return Json{{"users", std::move(users)}};
  }
  const auto name = args.at("name").get<std::string>();
  const bool there = file->users().contains(name);
  if (verb == "user remove") {
    if (!file->erase(name))
      return fail(Errc::not_found, fmt::format("there is no user '{}'; see `diot user list`", name));
  } else {
    if (auto valid = check_user_name(name); !valid) return tl::unexpected(valid.error());
    if (verb == "user add" && there)
      return fail(Errc::exists,
                  fmt::format("'{0}' is a user already: `diot user passwd {0}` changes the password", name));
    if (verb == "user passwd" && !there)
      return fail(Errc::not_found, fmt::format("there is no user '{0}': `diot user add {0}` adds one", name));
    if (password.empty() || password.size() > password_bytes_max)
      return fail(Errc::invalid, fmt::format("a password has 1 to {} bytes", password_bytes_max));
    if (!there && file->users().size() >= limits::users_max)
      return fail(Errc::limit, fmt::format("there are {} users already", limits::users_max));
    file->set(name, make_password_record(as_bytes(password), random));
  }
  if (auto written = write_file(path, as_bytes(file->text())); !written) return tl::unexpected(written.error());
  return Json{{"user", name}};
}

std::string make_password(Random& random) {
  // No 0, 1, i, l, o or u; 32 characters, so that each byte's low bits choose one evenly.
  static constexpr std::string_view characters = "abcdefghjkmnpqrstvwxyz23456789-+";
  static_assert(characters.size() == 32);
  std::array<std::uint8_t, 20> bytes;
  random.fill(bytes);
  std::string out;
  for (const auto byte : bytes) out += characters[byte & 31];
  return out;
}

}  // namespace diot
