#pragma once
// What has to hold in every world, checked while it runs and once more when it has come to rest.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/message.hpp"
#include "core/share.hpp"
#include "tests/sim/network.hpp"

namespace diot::sim {

using MessageIndex = std::size_t;
using SubscriberIndex = std::size_t;

/// Names of the invariants; each has a sabotage that must be caught as it (sim_test.cpp).
enum class Invariant {
  lost,       ///< what was acknowledged reaches every persistent subscriber whose subscription was in force
  twice,      ///< QoS 0 and 2 are delivered at most once
  order,      ///< per publisher, topic, QoS and retain flag
  leak,       ///< nothing that no share covers is in any frame or directory record
  retained,   ///< every reader's retained value becomes the owner's, which is the latest published
  ledger,     ///< all homes have the same block at each height
  bounds,     ///< of core/limits.hpp
  integrity,  ///< what is delivered is what was published
  session,    ///< a session that was acknowledged is there again
  liveness,   ///< when all faults have ended everything comes to rest
  start,      ///< a node with an undamaged disk starts
  will,       ///< readers know the wills that stand, and derive them once, when their writer is gone, and only then
};
std::string_view name_of(Invariant invariant);

/// What no frame may hold.
inline constexpr std::string_view secret = "SECRET";

class Checker {
 public:
  explicit Checker(const Schedule& schedule) : schedule_(schedule) {}

  struct Violation {
    Invariant invariant;
    Time when;
    std::string what;
  };
  const std::vector<Violation>& violations() const { return violations_; }
  void fail(Invariant invariant, std::string what);

  // Messages. A payload says which message it is, so that every delivery is recognised.
  struct Published {
    HomeIndex home = 0;
    std::string topic;  ///< local name
    Qos qos{};
    bool retain = false, removes = false;
    bool will = false;
    std::uint64_t number = 0;  ///< within publisher, topic, QoS and retain flag
    std::uint64_t stream = 0;  ///< numbers that combination
    bool sent = false, sent_again = false, acknowledged = false;
    Time sent_at{}, sent_last{};
    std::set<SubscriberIndex> due;  ///< who must get it, once it is acknowledged
  };
  MessageIndex publish(HomeIndex home, const std::string& publisher, const std::string& topic, Qos qos, bool retain,
                       bool removes);
  /// A client's will, new with each of its connections.
  MessageIndex leave_will(HomeIndex home, const std::string& publisher, const std::string& topic, Qos qos);
  Bytes payload_of(MessageIndex message, std::size_t bytes) const;
  /// It leaves the client. The first time, subscriptions in force count.
  void sent(MessageIndex message);
  void acknowledged(MessageIndex message) { messages_[message].acknowledged = true; }
  const Published& message(MessageIndex index) const { return messages_[index]; }
  std::size_t count() const { return messages_.size(); }
  std::uint64_t deliveries() const { return deliveries_; }

  // Subscribers.
  struct Subscriber {
    HomeIndex home = 0;
    std::string name;
    struct Times {
      unsigned live = 0, replayed = 0;  ///< replayed: with the RETAIN flag, at a subscription or a join
      unsigned derived = 0;             ///< as a will whose gateway was gone
    };
    std::map<MessageIndex, Times> got;
    std::map<std::uint64_t, std::uint64_t> newest;  ///< by stream
    Time since{};                                   ///< the newest of its subscriptions
    std::map<HomeIndex, Time> heard;                ///< the first that came of it since then from each home
  };
  SubscriberIndex add_subscriber(HomeIndex home, std::string name);
  /// `topic` as the client sees it, in local names of its home's handle.
  /// `derived`: whether it says so itself; nullopt: its protocol has no words for it.
  void delivered(SubscriberIndex subscriber, std::string_view topic, ByteView payload, Qos qos, bool retained,
                 std::optional<bool> derived = false);
  unsigned times_derived(SubscriberIndex subscriber, MessageIndex message) const;
  /// SUBACK came.
  void subscribed(SubscriberIndex subscriber) {
    subscribers_[subscriber].since = schedule_.now();
    subscribers_[subscriber].heard.clear();
  }
  /// It unsubscribed: what it has not got yet it need not get.
  void excuse(SubscriberIndex subscriber);

  void frame(HomeIndex from, ByteView body);
  void block(HomeIndex home, std::uint64_t height, const Hash& hash);

  /// Messages that are acknowledged, due and not there.
  std::size_t missing() const;
  void check_missing();

  /// Set by the world.
  std::function<std::set<SubscriberIndex>(const Published&)> in_force;
  std::function<bool(HomeIndex)> damaged;
  /// Its disk was full: then RETAIN is taken off QoS 0, which so changes from the log to the live stream.
  std::function<bool(HomeIndex)> retain_may_go;
  std::function<const std::string&(HomeIndex)> handle;

 private:
  const Schedule& schedule_;
  std::vector<Violation> violations_;
  std::vector<Published> messages_;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> streams_;  ///< number, messages in it
  std::vector<Subscriber> subscribers_;
  std::map<std::uint64_t, Hash> blocks_;
  std::uint64_t deliveries_ = 0;
  bool excused(const Published& message, const Subscriber& subscriber) const {
    return damaged(message.home) || damaged(subscriber.home);
  }
};

}  // namespace diot::sim
