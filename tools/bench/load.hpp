#pragma once
// One run of load on one or two MQTT servers, and what it found.

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"
#include "tools/bench/client.hpp"
#include "tools/bench/histogram.hpp"

namespace diot::bench {

/// When the subscribers are there.
enum class Delivery {
  live,      ///< all the time
  retained,  ///< they come after the publishing; every topic holds one retained message
  offline,   ///< their sessions are kept by the server while they are away, and they come back after the publishing
};

struct Options {
  std::string host = "127.0.0.1";
  std::uint16_t publish_port = 1883, subscribe_port = 1883;
  Version version = Version::v311;
  Delivery delivery = Delivery::live;
  std::size_t publishers = 1, subscribers = 1;
  bool pairs = false;         ///< subscriber i reads publisher i modulo publishers, not everybody
  std::size_t topics = 1;     ///< of each publisher, taken in turn
  std::size_t idle = 0;       ///< connections with a subscription that nothing matches
  bool storm = false;         ///< all of them are cut once, and come back to their kept sessions at once
  std::size_t slow = 0;       ///< subscribers of everything that never read
  std::size_t unrelated = 0;  ///< wildcard subscriptions that nothing matches, on a few more connections
  std::uint8_t qos = 0;
  std::size_t payload_bytes = 64;
  std::size_t window = 1000;  ///< messages of a publisher on their way: not acknowledged, or not delivered yet
  double rate = 0;  ///< messages/s of all publishers together, whatever comes back; 0 = as fast as the window lets
  std::uint64_t count = 0;  ///< messages of each publisher; 0 = as many as fit into the duration
  double duration_s = 5, warmup_s = 0.5;
  double settle_s = 5;  ///< nothing is expected any more after this long without an arrival
  std::string topic = "bench";
  std::string subscribe_prefix;  ///< in front of the subscribers' filters, e.g. "@alice/"
  std::vector<pid_t> pids;       ///< the servers' processes, to be measured
};

/// Smallest payload: what the receiver needs to recognise a message.
inline constexpr std::size_t payload_bytes_min = 24;

/// One measured stretch of a run.
struct Stretch {
  double seconds = 0;
  std::uint64_t published = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t delivered = 0;         ///< to all subscribers together, each message once
  std::uint64_t server_cpu_ns = 0;     ///< of Options::pids
  std::uint64_t generator_cpu_ns = 0;  ///< near to `seconds`: then this tool is what limits
};

struct Report {
  Stretch publishing;           ///< of Delivery::retained and offline; else empty
  Stretch delivering;           ///< the measured stretch: all of a count, else the duration after the warm-up
  std::uint64_t published = 0;  ///< the whole run, warm-up included, as are the next ones
  std::uint64_t expected = 0;   ///< deliveries that the published messages call for
  std::uint64_t lost = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t reordered = 0;       ///< came after a later one of the same publisher and topic
  std::uint64_t foreign = 0;         ///< not ours, damaged, or to the wrong subscriber
  std::uint64_t unacknowledged = 0;  ///< when the run gave up waiting
  std::uint64_t refused = 0;         ///< acknowledged with an error code
  std::uint64_t stalls = 0;          ///< times when nothing came for a second, so that the window was opened by force
  Histogram latency_ns;              ///< publish to arrival, one a delivery, within the measured stretch
  Histogram lateness_ns;             ///< how late the generator itself was, with a rate
  Stretch storm;                     ///< from the cut to the last CONNACK; else empty
  double first_delivery_ms = 0;      ///< from the first publish to its arrival at every subscriber
  std::uint64_t rss_before = 0, rss_connected = 0, rss_after = 0;  ///< of Options::pids

  /// What broke the promises of the QoS, in words; empty if nothing did.
  std::vector<std::string> failures(const Options& options) const;
};

/// Errc::invalid for options that contradict each other, Errc::io, timed_out or not_permitted when a connection fails
/// or the first message does not come through.
Result<Report> run_load(const Options& options);

}  // namespace diot::bench
