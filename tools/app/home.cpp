#include "tools/app/home.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

namespace diot {
namespace {

constexpr std::size_t key_file_bytes_max = 256;
constexpr std::size_t genesis_bytes_max = 1 << 20;  // 100 witnesses and their founding entries fit many times
constexpr std::string_view key_file_kind = "diot-key-1";
constexpr std::string_view database_name = "diot.db";
/// In the folder of a home that is to take another one's place: the name of the folder for what stays behind.
constexpr std::string_view old_folder_file = "old-folder";

std::string moving_folder(const std::string& path) { return path + "/moving"; }

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

tl::unexpected<Error> system_failure(std::string_view what, const std::string& path) {
  const int number = errno;
  const Errc code = number == ENOENT                      ? Errc::not_found
                    : number == EACCES || number == EPERM ? Errc::not_permitted
                                                          : Errc::io;
  return fail(code, fmt::format("cannot {} {}: {}", what, path, std::strerror(number)));
}

std::string text_of(const Bytes& bytes) {
  std::string out(as_text(bytes));
  while (!out.empty() && (out.back() == '\n' || out.back() == '\r')) out.pop_back();
  return out;
}

/// Secrets must be for their owner only; ssh is as strict.
Result<Bytes> read_secret(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return system_failure("read", path);
  if ((status.st_mode & 077) != 0)
    return fail(Errc::not_permitted,
                fmt::format("{} can be read by others: `chmod 600 {}`, and think about who may have "
                            "read it",
                            path, path));
  return read_file(path, key_file_bytes_max);
}

Result<void> sync_folder(const std::string& folder) {
  const FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened || ::fsync(opened.get()) != 0) return system_failure("sync", folder);
  return {};
}

/// On disk when it returns. Nothing to do where `from` is not there: an earlier run has done it.
Result<void> rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    if (errno == ENOENT && ::access(from.c_str(), F_OK) != 0) return {};
    return system_failure("rename", from);
  }
  for (const auto& file : {to, from})
    if (auto synced = sync_folder(std::filesystem::path(file).parent_path().string()); !synced) return synced;
  return {};
}

bool is_there(const std::string& file) { return ::access(file.c_str(), F_OK) == 0; }

/// The home in `moving` takes the place of the one around it. Every step may be the last before a power cut: then the next
/// run goes on where this one ended. The old genesis goes last, the new one completes the home.
Result<void> end_move(const std::string& path) {
  const std::string moving = moving_folder(path);
  if (!is_there(moving + "/genesis")) return {};
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder || ::flock(folder.get(), LOCK_EX) != 0) return system_failure("lock", path);
  if (!is_there(moving + "/genesis")) return {};  // another process has done it meanwhile
  const auto name = read_file(fmt::format("{}/{}", moving, old_folder_file), key_file_bytes_max);
  if (!name) return tl::unexpected(name.error());
  const std::string old = fmt::format("{}/{}", path, text_of(*name));
  const auto keep_old = [&](const std::string& file) { return rename_file(path + "/" + file, old + "/" + file); };
  const auto take_new = [&](const std::string& file) { return rename_file(moving + "/" + file, path + "/" + file); };

  std::vector<std::string> files{"witness.key"};
  std::error_code error;
  for (const auto& each : std::filesystem::directory_iterator(path, error))
    if (const auto file = each.path().filename().string(); file.starts_with(fmt::format("{}-", database_name)))
      files.push_back(file);  // SQLite's own, where the node did not end well
  files.insert(files.end(), {fmt::format("{}.mark", database_name), std::string(database_name)});
  // Beside a new database nothing of the old one is left.
  if (is_there(fmt::format("{}/{}", moving, database_name)))
    for (const auto& file : files)
      if (auto kept = keep_old(file); !kept) return kept;
  if (auto taken = take_new(std::string(database_name)); !taken) return taken;
  if (is_there(moving + "/diot.toml"))
    if (auto kept = keep_old("diot.toml"); !kept) return kept;
  if (auto taken = take_new("diot.toml"); !taken) return taken;
  if (auto kept = keep_old("genesis"); !kept) return kept;
  if (auto taken = take_new("genesis"); !taken) return taken;
  std::filesystem::remove_all(moving, error);
  return {};
}

}  // namespace

Result<void> write_file(const std::string& path, ByteView content) {
  std::string temporary = path + ".XXXXXX";
  {
    const FileDescriptor file(::mkostemp(temporary.data(), O_CLOEXEC));  // mode 0600
    if (!file) return system_failure("create", temporary);
    const auto give_up = [&](std::string_view what) {
      auto failure = system_failure(what, temporary);
      ::unlink(temporary.c_str());
      return failure;
    };
    while (!content.empty()) {
      const auto written = ::write(file.get(), content.data(), content.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return give_up("write");
      content = content.subspan(static_cast<std::size_t>(written));
    }
    if (::fsync(file.get()) != 0) return give_up("sync");
    if (::rename(temporary.c_str(), path.c_str()) != 0) return give_up("rename");
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return sync_folder(folder.empty() ? "." : folder);
}

Result<Bytes> read_file(const std::string& path, std::size_t bytes_max) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return system_failure("read", path);
  Bytes out;
  for (;;) {
    const std::size_t had = out.size();
    out.resize(had + 16384);
    const auto got = ::read(file.get(), out.data() + had, out.size() - had);
    if (got < 0 && errno == EINTR) {
      out.resize(had);
      continue;
    }
    if (got < 0) return system_failure("read", path);
    out.resize(had + static_cast<std::size_t>(got));
    if (out.size() > bytes_max) return fail(Errc::limit, fmt::format("{} is larger than {} bytes", path, bytes_max));
    if (got == 0) return out;
  }
}

std::string Home::default_path() {
  const auto variable = [](const char* name) -> std::string {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  if (auto home = variable("DIOT_HOME"); !home.empty()) return home;
  if (auto data = variable("XDG_DATA_HOME"); !data.empty() && data.front() == '/') return data + "/diot";
  std::string user = variable("HOME");
  if (user.empty()) {
    const passwd* entry = ::getpwuid(::getuid());
    user = entry != nullptr ? entry->pw_dir : "/";
  }
  return user + "/.local/share/diot";
}

Result<Home> Home::open(const std::string& path) {
  const Home home(path);
  if (auto moved = end_move(path); !moved) return tl::unexpected(moved.error());
  if (is_there(path + "/genesis")) return home;
  if (errno == EACCES)
    return fail(Errc::not_permitted, fmt::format("{} belongs to another user: run diot as that user", path));
  return fail(Errc::not_found, fmt::format("{} has no network yet: `diot init --handle NAME` founds one, `diot join "
                                           "INVITE --handle NAME` joins one (DIOT_HOME chooses another folder)",
                                           path));
}

Result<Home> Home::create(const std::string& path) {
  namespace fs = std::filesystem;
  if (auto moved = end_move(path); !moved) return tl::unexpected(moved.error());
  if (is_there(path + "/genesis"))
    return fail(Errc::exists,
                fmt::format("{} is in a network already: `diot run` starts it; another home needs another "
                            "DIOT_HOME; `diot join INVITE --handle NAME` moves this one to another network",
                            path));
  std::error_code error;
  const bool existed = fs::exists(path, error);
  if (!existed) {
    const fs::path parent = fs::path(path).parent_path();
    if (!parent.empty()) fs::create_directories(parent, error);
    if (error) return fail(Errc::io, fmt::format("cannot make {}: {}", parent.string(), error.message()));
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return system_failure("make", path);
    return Home(path);
  }
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return system_failure("look at", path);
  if (!S_ISDIR(status.st_mode))
    return fail(Errc::exists, fmt::format("{} is no folder: choose another DIOT_HOME", path));
  if ((status.st_mode & 077) != 0) {
    // Somebody's own folder, chosen by mistake, must not change its mode.
    if (!fs::is_empty(path, error) || error)
      return fail(Errc::not_permitted,
                  fmt::format("{} is not empty and open to others: `chmod 700 {}`, or choose another "
                              "DIOT_HOME",
                              path, path));
    if (::chmod(path.c_str(), 0700) != 0) return system_failure("protect", path);
  }
  return Home(path);
}

Result<Home::Move> Home::begin_move(std::string_view old_network) const {
  const std::string moving = moving_folder(path_);
  std::error_code error;
  std::filesystem::remove_all(moving, error);
  auto home = create(moving);
  if (!home) return tl::unexpected(home.error());
  const std::string wanted = fmt::format("old-{}", old_network.substr(0, 16));
  std::string name = wanted, old;
  for (int number = 2;; ++number) {
    old = fmt::format("{}/{}", path_, name);
    if (::mkdir(old.c_str(), 0700) == 0) break;
    if (errno != EEXIST) return system_failure("make", old);
    if (!is_there(old + "/genesis")) break;  // of a move that did not come to its end
    name = fmt::format("{}-{}", wanted, number);
  }
  // With the keys the old folder is a home that can be looked into, and gone back to.
  for (const auto* file : {"node.key", "owner.key", "next.hash"}) {
    const auto content = read_file(fmt::format("{}/{}", path_, file), key_file_bytes_max);
    if (!content) return tl::unexpected(content.error());
    for (const auto& folder : {old, moving})
      if (auto written = write_file(fmt::format("{}/{}", folder, file), *content); !written)
        return tl::unexpected(written.error());
  }
  if (auto written = write_file(fmt::format("{}/{}", moving, old_folder_file), as_bytes(name)); !written)
    return tl::unexpected(written.error());
  return Move{std::move(*home), std::move(old)};
}

Result<KeyPair> Home::read_key(std::string_view role) const {
  const std::string path = fmt::format("{}/{}.key", path_, role);
  const auto bytes = read_secret(path);
  if (!bytes) return tl::unexpected(bytes.error());
  const std::string prefix = fmt::format("{} {} ", key_file_kind, role);
  const std::string text = text_of(*bytes);
  const auto seed = text.starts_with(prefix) ? from_hex(std::string_view(text).substr(prefix.size())) : std::nullopt;
  const auto exact = seed ? Seed::from(*seed) : std::nullopt;
  if (!exact)
    return fail(Errc::corrupt, fmt::format("{} is not a {} key of diot: restore it from a backup", path, role));
  return KeyPair::from_seed(*exact);
}

Result<Hash> Home::next_key_hash() const {
  const std::string path = path_ + "/next.hash";
  const auto bytes = read_file(path, key_file_bytes_max);
  if (!bytes) return tl::unexpected(bytes.error());
  const auto raw = from_hex(text_of(*bytes));
  const auto hash = raw ? Hash::from(*raw) : std::nullopt;
  if (!hash) return fail(Errc::corrupt, fmt::format("{} does not hold a hash: restore it from a backup", path));
  return *hash;
}

Result<Bytes> Home::genesis() const { return read_file(path_ + "/genesis", genesis_bytes_max); }

Result<std::string> Home::api_token(Random& random) const {
  if (const auto bytes = read_secret(token_path())) {
    if (auto token = text_of(*bytes); token.size() >= 32) return token;
  } else if (bytes.error().code != Errc::not_found) {
    return tl::unexpected(bytes.error());
  }
  Seed secret = random.id<Seed>();
  const std::string token = to_base64url(secret);
  if (auto written = write_file(token_path(), as_bytes(token + "\n")); !written) return tl::unexpected(written.error());
  return token;
}

Result<void> Home::write_key(std::string_view role, const KeyPair& key) const {
  return write_file(fmt::format("{}/{}.key", path_, role),
                    as_bytes(fmt::format("{} {} {}\n", key_file_kind, role, key.seed().hex())));
}
Result<void> Home::write_next_key_hash(const Hash& hash) const {
  return write_file(path_ + "/next.hash", as_bytes(hash.hex() + "\n"));
}
Result<void> Home::remove_next_key_hash() const {
  const std::string path = path_ + "/next.hash";
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return system_failure("remove", path);
  return {};
}
Result<void> Home::write_config(std::string_view text) const { return write_file(config_path(), as_bytes(text)); }
Result<void> Home::write_genesis(ByteView bytes) const { return write_file(path_ + "/genesis", bytes); }

}  // namespace diot
