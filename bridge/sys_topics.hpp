#pragma once
// The broker about itself, under the $SYS names that users of mosquitto graph.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.hpp"
#include "core/message.hpp"

namespace diot {

/// What the broker counts. The first group is of this process's life, the second of now.
struct BrokerCounts {
  std::uint64_t messages_received = 0, messages_sent = 0;  ///< packets of any type
  std::uint64_t bytes_received = 0, bytes_sent = 0;
  std::uint64_t publish_received = 0, publish_sent = 0;              ///< PUBLISH packets …
  std::uint64_t publish_bytes_received = 0, publish_bytes_sent = 0;  ///< … and their payloads
  std::uint64_t publish_dropped = 0;        ///< not given to a client: it reads too slowly, or takes no such packet
  std::uint64_t publish_not_permitted = 0;  ///< topics that the client, or this node, may not write
  std::uint64_t queue_lost = 0;             ///< given up at a session's bound, or unreadable on disk
  std::uint64_t retained_refused = 0;       ///< not kept: at limits::retained_count_max, or the disk is full
  std::uint64_t expired = 0;                ///< messages whose expiry came first
  std::uint64_t sessions_expired = 0;
  std::uint64_t violations = 0;    ///< connections closed for breaking a rule
  std::uint64_t sockets = 0;       ///< connections opened
  std::uint64_t connects = 0;      ///< CONNECT packets received
  std::uint64_t corrupt_rows = 0;  ///< found by load()

  std::size_t clients_connected = 0, clients_maximum = 0, sessions = 0, subscriptions = 0, shared_subscriptions = 0,
              retained = 0;
  std::size_t queued = 0, queued_bytes = 0;
  bool disk_refuses = false;
  std::chrono::seconds uptime{};
};

class SysTopics {
 public:
  /// Works the values out, and calls `publish` for each one that changed. About every `interval`.
  void update(const BrokerCounts& counts, Monotonic now,
              const std::function<void(const std::string& topic, const std::string& value)>& publish);
  /// A value that somebody else works out; whether it changed.
  bool set(const std::string& topic, const std::string& value);
  /// Visits the values whose topic matches the filter.
  void match(std::string_view filter,
             const std::function<void(const std::string& topic, const std::string& value)>& visit) const;

 private:
  /// A rate per minute, averaged over the last 1, 5 and 15 minutes.
  struct Load {
    std::uint64_t last = 0;
    double average[3] = {0, 0, 0};
  };

  std::map<std::string, std::string> values_;
  std::map<std::string, Load> loads_;
  std::uint64_t heap_maximum_ = 0;  ///< bytes, as seen at the updates
  Monotonic last_update_{};
};

}  // namespace diot
