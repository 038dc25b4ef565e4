#pragma once
// Where the folders meet: bridge/ and dht/ know each other only through these classes. All calls on the I/O thread.

#include <optional>
#include <string>
#include <string_view>

#include "core/message.hpp"
#include "core/store.hpp"

namespace diot {

/// The end of the I/O loop's current turn, when what the turn gathered goes out together: the overlay forms its
/// batches, the store's transaction is sealed, sockets are written. Owned by the program.
class Turn {
 public:
  virtual ~Turn() = default;
  /// Something waits for the end of the turn. Cheap; any number of times.
  virtual void touch() = 0;
};

/// What happens to a message beyond this node.
enum class Route {
  home,           ///< no public share covers it: it stays here
  shared,         ///< taken into the channel's open batch, which joins the store's open transaction at the turn's end
  not_permitted,  ///< a topic of another handle, or of the commons, that this node may not write
};

/// The overlay as the bridge sees it.
class OverlayPort {
 public:
  virtual ~OverlayPort() = default;

  /// Decides without side effects what `publish` would do with the topic.
  virtual Route route_of(std::string_view topic) const = 0;
  /// Takes an accepted message. With route `shared` and QoS ≥ 1 or retain, the acknowledgement and every delivery
  /// (except the local ones of QoS 0) wait for the transaction that is open now.
  virtual Route publish(const MessagePtr& message) = 0;

  /// A client's will stands from now on: homes that read its topic deliver it themselves when this whole node has been gone
  /// for the presence lease and the delay. `number` names it for ever, also after a restart, when the broker sets again
  /// what it kept (before it has loaded everything). Where no public share covers the topic nothing of it leaves the home.
  virtual void set_will(std::uint64_t number, const MessagePtr& will, std::uint32_t delay_seconds) = 0;
  /// It stands no more; also if it never did.
  virtual void clear_will(std::uint64_t number) = 0;
  /// As publish, for a will that is due here: other homes get it, and that it stands no more, together or not at all.
  virtual Route publish_will(std::uint64_t number, const MessagePtr& message) = 0;

  /// Somebody here wants `filter`, which begins with "@": counted, until `remove_demand`. Durable demand (a persistent
  /// session's) keeps the node's place in the channels' logs across restarts.
  virtual void add_demand(std::string_view filter, bool durable) = 0;
  virtual void remove_demand(std::string_view filter, bool durable) = 0;
};

/// What a message from another home came out of.
enum class Origin {
  live,  ///< the live stream, which keeps no place
  log,   ///< something that is on disk when the open transaction is, and brings it once only
};

/// The broker as the overlay sees it.
class BrokerPort {
 public:
  virtual ~BrokerPort() = default;
  /// Routes a message from another home to the subscribers here. Out of a log: queue rows join the open transaction, and
  /// clients get it when that is on disk, also those of QoS 0.
  virtual void deliver(const MessagePtr& message, Origin origin) = 0;
  /// A retained value that reached this node after the subscriptions that want it: goes to the matching ones as a
  /// retained message (RETAIN set), unless their retain handling says 2.
  virtual void deliver_retained(const MessagePtr& message) = 0;
};

}  // namespace diot
