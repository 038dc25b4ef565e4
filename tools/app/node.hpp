#pragma once
// One running node: everything wired together, on one I/O thread.

#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bridge/listener.hpp"
#include "bridge/upstream_link.hpp"
#include "bridge/users.hpp"
#include "core/clock.hpp"
#include "core/sqlite_store.hpp"
#include "dht/dht_directory.hpp"
#include "dht/links.hpp"
#include "tools/app/api.hpp"
#include "tools/app/config.hpp"
#include "tools/app/control.hpp"
#include "tools/app/home.hpp"
#include "tools/app/http.hpp"
#include "tools/app/ledger_answers.hpp"
#include "tools/app/node_core.hpp"

namespace diot {

class Node final : public Api, public Turn {
 public:
  Node(const Home& home, const Config& config);
  ~Node() override;

  /// Opens the store, replays the ledger, opens every listener. The control socket comes last: who can ask is served.
  Result<void> start();
  /// Until SIGINT or SIGTERM; then closes clients, links and store in order.
  Result<void> run();

  void call(const std::string& verb, const Json& args, std::function<void(Result<Json>)> done) override;

 private:
  // Turn
  void touch() override;
  void end_turn();

  Result<void> open_users();
  Result<void> load_users();
  void wait_for_hangup();
  Result<void> open_store();
  Result<void> open_database();
  Result<void> open_overlay();
  Result<void> open_upstreams();
  Result<void> open_listeners();
  void tick();
  void announce() const;

  // Verbs (node_api.cpp)
  Result<Json> status() const;
  Result<Json> peers() const;
  Result<Json> wait(const Json& args) const;
  Result<Json> invite(const Json& args);
  Result<Json> reload();
  Result<Json> share_list(const Json& args) const;
  Result<Json> share_test(const Json& args) const;
  Result<Json> handle_show(const Json& args) const;
  void share_change(const std::string& verb, const Json& args, std::function<void(Result<Json>)> done);
  /// Errc::not_found: this home's handle is not in the ledger (any more).
  Result<const HandleRecord*> own_record() const;
  void handle_renew(std::function<void(Result<Json>)> done);
  void handle_update(const Json& args, std::function<void(Result<Json>)> done);
  void handle_revoke_node(const Json& args, std::function<void(Result<Json>)> done);
  void handle_cancel_recovery(std::function<void(Result<Json>)> done);
  void handle_submit(const Json& args, std::function<void(Result<Json>)> done);
  void submit_entry(Bytes entry, std::function<void(Result<Json>)> done);
  void ledger_anchor(const Json& args, std::function<void(Result<Json>)> done);
  void ledger_storage(std::function<void(Result<Json>)> done);
  /// Whether blocks from before a snapshot are still missing; if so they are fetched.
  bool fetches_history();
  Json history_progress() const;
  /// As it is shown: the provisional name until it is registered.
  const std::string& own_name() const;
  std::string handle_state() const;
  LedgerSource ledger_source() const;

  // Verbs about witnesses (node_witness.cpp)
  /// The founder's witness has a key of its own; everybody else's is the node key.
  const KeyPair& witness_key() const;
  Json witness_rows(const WitnessSet& set) const;
  Result<Json> witness_list() const;
  Result<Json> witness_status() const;
  Result<Json> witness_invite(const Json& args) const;
  void witness_accept(const Json& args, std::function<void(Result<Json>)> done);
  void witness_upgrade(const Json& args, std::function<void(Result<Json>)> done);
  void witness_change(const Json& args, std::function<void(Result<Json>)> done);
  Result<Json> witness_justify(const Json& args) const;
  void witness_resume(const Json& args, std::function<void(Result<Json>)> done);
  std::vector<std::string> warnings() const;

  Home home_;
  Config config_;
  SystemClock clock_;
  SystemRandom random_;
  asio::io_context io_{1};
  Bytes genesis_;
  std::optional<KeyPair> node_key_, witness_key_;
  std::unique_ptr<Users> users_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<NodeCore> core_;
  std::unique_ptr<Links> links_;
  std::unique_ptr<DhtDirectory> directory_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<UpstreamLink>> upstreams_;
  std::unique_ptr<ControlServer> control_;
  std::vector<std::unique_ptr<HttpServer>> http_;
  std::vector<std::string> mqtt_addresses_, overlay_addresses_;
  asio::steady_timer tick_timer_{io_};
  asio::signal_set signals_{io_}, hangup_{io_};
  Monotonic started_{};
  bool turn_pending_ = false;
  std::optional<asio::thread_pool> hashing_;  ///< one thread, from the first password on; its end comes first
};

}  // namespace diot
