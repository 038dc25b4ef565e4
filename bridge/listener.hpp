#pragma once
// MQTT clients' connections: TCP and unix sockets, each with TLS and WebSocket or without. The thin shell between
// sockets and the broker.

#include <asio/io_context.hpp>
#include <memory>
#include <string>

#include "bridge/authenticator.hpp"
#include "bridge/broker.hpp"
#include "bridge/listener_config.hpp"
#include "core/error.hpp"

namespace diot {

/// Accepts clients on one address and carries their bytes. One read buffer for all connections, and at most one
/// gathered write per connection and turn. On the thread of `io`; the broker must outlive it.
class Listener {
 public:
  /// Errc::io if the address cannot be bound, Errc::invalid for files that cannot be used: the message says which and
  /// what to do.
  static Result<std::unique_ptr<Listener>> open(asio::io_context& io, Broker& broker, ListenerConfig config);
  /// Closes everything at once.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Where it listens, with the real port.
  const std::string& address() const;
  const ListenerConfig& config() const;
  /// Reads certificates and keys again, for connections from now on. On an error the old ones stay.
  Result<void> reload();
  /// Accepts no more. Connections go on until the broker closes them.
  void stop();
  /// Connections that are open or not yet closed to their end.
  std::size_t connections() const;

 private:
  struct Shared;
  class Client;
  explicit Listener(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  static void accept(const std::shared_ptr<Shared>& shared);

  std::shared_ptr<Shared> shared_;
};

}  // namespace diot
