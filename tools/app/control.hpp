#pragma once
// The control socket of a running node, $DIOT_HOME/api.sock. One JSON object a line:
//   {"verb": "share add", "args": {"filter": "sensors/#"}}
//   → {"ok": true, "result": {…}}
//   → {"ok": false, "code": "not permitted", "message": "…"}
// The requests of one connection are answered in order. Who may connect is decided by the folder's mode (0700).

#include <asio/io_context.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "tools/app/api.hpp"

namespace diot {

/// Looks the verb up, checks the arguments against its options and calls the API. Verbs that run outside the node are
/// Errc::invalid, those to come Errc::not_available.
void dispatch(Api& api, std::string_view verb, const Json& args, std::function<void(Result<Json>)> done);

/// The answer's JSON form, and back (Errc::io if it is none).
Json answer_to_json(const Result<Json>& answer);
Result<Json> answer_from_json(const Json& line);
/// Parses one line; Errc::invalid if it is no JSON.
Result<Json> parse_json(std::string_view text);

/// A path for a unix socket address, which holds 107 bytes only: a longer one is reached through the open folder.
class SocketPath {
 public:
  explicit SocketPath(const std::string& path);
  ~SocketPath();
  SocketPath(const SocketPath&) = delete;
  SocketPath& operator=(const SocketPath&) = delete;
  const std::string& usable() const { return usable_; }

 private:
  int folder_ = -1;
  std::string usable_;
};

class ControlServer {
 public:
  /// All on the I/O thread. `api` must outlive this object; its answers may come later than that.
  ControlServer(asio::io_context& io, Api& api);
  ~ControlServer();
  /// Replaces a socket that a dead process left: only the holder of the store's lock may call this.
  Result<void> listen(const std::string& socket_path);
  /// Closes every connection and removes the socket.
  void shut_down();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

/// The command line's side: one request, one answer. Errc::not_running if nobody listens, Errc::timed_out.
Result<Json> ask_node(const std::string& socket_path, std::string_view verb, const Json& args, int timeout_ms);

}  // namespace diot
