#pragma once
// The HTTP form of the control API, on this machine only:
//   POST /api/v1/share/add   {"filter": "sensors/#"}
//   GET  /api/v1/ledger/show?handle=alice             for verbs that only read
// with "Authorization: Bearer <the line in $DIOT_HOME/api.token>". The answers are those of tools/app/control.hpp, with
// a status code that fits. A Host header that is not this machine's is refused, so that no web page can reach the API
// through a name of its own (DNS rebinding).

#include <asio/io_context.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace diot {

class Api;

class HttpServer {
 public:
  /// All on the I/O thread. `address` is "host:port", host numeric or localhost. Errc::io if it cannot be bound.
  static Result<std::unique_ptr<HttpServer>> start(asio::io_context& io, Api& api, const std::string& address,
                                                   std::string token);
  virtual ~HttpServer() = default;
  /// Where it listens, with the real port.
  virtual const std::string& address() const = 0;
};

}  // namespace diot
