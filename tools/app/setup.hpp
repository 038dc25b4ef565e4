#pragma once
// How a home comes to be: `diot init` founds a network, `diot join` joins one.

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/sqlite_store.hpp"
#include "tools/app/api.hpp"
#include "tools/app/config.hpp"
#include "tools/app/home.hpp"
#include "tools/app/joiner.hpp"

namespace diot {

/// The store of a home whose node is not running, for a command in the foreground.
class OfflineStore {
 public:
  /// Errc::exists if a process has it open.
  static Result<std::unique_ptr<OfflineStore>> open(const Home& home);
  Store& store() { return *store_; }
  /// Returns when everything put is on disk. A refusal of the disk is not tried again.
  Result<void> commit();

 private:
  OfflineStore() : work_(asio::make_work_guard(io_)) {}
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::unique_ptr<SqliteStore> store_;
};

// What every way to a complete home does ---------------------------------------------------------------------------
/// The first step that fails ends it.
Result<void> first_error(std::initializer_list<std::function<Result<void>()>> steps);
/// What of the keys others may see: the next owner key stands in the ledger as its hash.
Hash next_key_hash_of(std::string_view words);
/// Where others can dial this node, as far as it is known before it runs.
std::vector<std::string> told_addresses(const Config& config);
/// An interrupted `init` or `join`, perhaps of another network, may have left rows. A home that is not complete has
/// nothing that anybody would miss.
void erase_everything(Store& store);

/// Gets the 24 words, once; they are kept nowhere.
using ShowWords = std::function<void(const std::string& words)>;

/// JoinRequest::working.
using ShowWork = std::function<void(std::uint64_t done, std::uint64_t expected)>;

/// Makes keys, genesis and block 1, all offline. Result: {handle, node, network, home}. Errc::exists if the home is
/// complete. An interrupted run leaves a home that is not complete; the next one starts over.
Result<Json> init_home(const std::string& path, const Config& config, Random& random, const Clock& clock,
                       const ShowWords& show_words);

using JoinNetwork = std::function<Result<JoinResult>(const JoinRequest&, Store&)>;

/// The part of a result that says whether the handle is registered: {height}, or {height: null, provisional, waiting_for}.
void tell_height(const JoinResult& joined, Json& out);

/// Result: {handle, node, network, height, home}. While the ledger is out of reach, height is null, and two more say under
/// which name the home goes until it is registered, and why: {provisional, waiting_for}. A run that was interrupted after it had shown the words goes on with
/// the keys of that time, and shows no words.
Result<Json> join_home(const std::string& path, const Config& config, const Invite& invite,
                       std::chrono::seconds timeout, Random& random, const ShowWords& show_words,
                       const ShowWork& show_work, const JoinNetwork& join_network);

}  // namespace diot
