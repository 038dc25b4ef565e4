#pragma once
// MQTT over TCP: the thin shell between sockets and the broker.

#include <asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "bridge/broker.hpp"
#include "core/address.hpp"
#include "core/error.hpp"

namespace diot {

/// Accepts clients on one address and carries their bytes. One read buffer for all connections, and at most one
/// gathered write per connection and turn. On the thread of `io`; the broker must outlive it.
class Listener {
 public:
  /// Port 0: a free one. Errc::not_available for an address that is not a loopback one; Errc::io if it cannot be bound.
  static Result<std::unique_ptr<Listener>> open(asio::io_context& io, Broker& broker, const HostPort& address);
  /// Closes everything at once.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  /// Where it listens, with the real port.
  const HostPort& address() const;
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
