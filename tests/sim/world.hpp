#pragma once
// The simulated world: homes with real node logic, clients with real packets, and everything around them made of one
// seed: time, clocks, network, disks, crashes. docs/simulation.md.

#include <fmt/format.h>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/address_book.hpp"
#include "tests/sim/checker.hpp"
#include "tests/sim/client.hpp"
#include "tests/sim/home.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/schedule.hpp"

namespace diot::sim {

/// One deliberately broken rule for each invariant, which the checker must catch.
enum class Sabotage {
  none,
  lose_queued_row,  ///< a queue row vanishes from a disk that acknowledged it
  deliver_twice,    ///< a batch reaches the broker once more, past the reader's place in the log
  swap_records,     ///< a batch's records reach the broker in the wrong order
  leak_topic,       ///< a frame with a topic that no share covers
  stale_retained,   ///< a reader's retained value is replaced by one that was never published last
  fork_ledger,      ///< one home takes another block than the others
  ignore_bounds,    ///< a link's unsent bytes grow beyond their limit
  change_payload,   ///< a byte of a delivered payload differs
  forget_session,   ///< a session's row vanishes from a disk that acknowledged it
  swallow_pubacks,  ///< a client's publishes are never acknowledged
  corrupt_start,    ///< a disk that was never faulty is corrupt
  forget_wills,     ///< the wills that a reader knew vanish from its disk
  deaf_forwarder,   ///< what a home that cannot reach the writer should get through another never comes
};

struct Options {
  std::uint64_t seed = 1;
  std::size_t homes = 0;  ///< 0: 2 to 12, as the seed says
  Sabotage sabotage = Sabotage::none;
  std::size_t hours = 0;  ///< of trouble, instead of up to a minute; what goes wrong is spread over them
  bool verbose = false;   ///< tells on stderr what the world does
};

struct Report {
  bool apart = false;  ///< some homes never reached each other
  std::uint64_t seed = 0, hash = 0, steps = 0, messages = 0, acknowledged = 0, deliveries = 0, crashes = 0;
  std::size_t homes = 0;
  Time lasted{};
  Network::Stats network;
  std::vector<Checker::Violation> violations;
  std::vector<std::string> state;  ///< of homes and clients, if something was violated
};

class World {
 public:
  explicit World(const Options& options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// The whole story of a seed: faults for a while, then peace, then every promise is checked.
  Report run();

  // For homes and clients.
  std::uint64_t next_life() { return ++lives_; }
  void after_turn(Home& home);
  void after_tick(Home& home);
  void home_died(Home& home);
  bool dies_before_flush(Home& home);
  /// A durable subscription to this filter ended.
  void withdrawn(Home& home, const std::string& filter);

  /// With --verbose, on stderr.
  template <class... Args>
  void tell(const char* format, const Args&... args) {
    if (!options.verbose) return;
    fmt::print(stderr, "{:>9.3f} s  {}\n", static_cast<double>(schedule.now().count()) / 1e6,
               fmt::vformat(format, fmt::make_format_args(args...)));
  }

  const Options options;
  Schedule schedule;
  Chance chance;
  Trace trace;
  Checker checker;
  Network network;
  AddressBook book;
  Bytes genesis;
  std::vector<std::unique_ptr<Home>> homes;
  std::vector<std::unique_ptr<Client>> clients;

 private:
  /// What this seed's world is like.
  struct Climate {
    Time trouble = 30s;  ///< how long faults go on
    Time every = 400ms;  ///< one a …
    bool crashes = true, power_cuts = true, partitions = true, link_breaks = true, full_disks = false,
         slow_disks = false, bit_flips = false, backups = false, skewed_clocks = false, nats = false;
    bool wills = false;  ///< publishers leave them
    bool apart = false;  ///< some homes never reach each other
    std::size_t publishes = 200, large_percent = 0;
  };
  struct Topic {
    std::string name;
    Client* publisher;
  };

  void draw_climate();
  /// Some pairs, of whom each reaches the founder; or some homes that reach one other home alone.
  void keep_apart();
  bool apart(HomeIndex a, HomeIndex b) const { return apart_.contains(std::minmax(a, b)); }
  bool may_invite(HomeIndex inviter, HomeIndex home) const;
  void found_network();
  /// Registers a home over one that runs, and starts it when that is in the ledger there.
  void join(Home& home, Home& inviter);
  void settle_in(Home& home);
  void add_clients(Home& home);
  void publish_one();
  void fault_one();
  void start_again(Home& home, Time after);
  void heal();
  bool calm();
  bool reachable(HomeIndex reader, HomeIndex owner) const;
  /// The home that a reader which never reaches the owner itself can count on, until one of the two it links is damaged.
  std::optional<HomeIndex> forwarder_of(HomeIndex reader, HomeIndex owner) const;
  bool joined_by_forwarder(HomeIndex reader, HomeIndex owner) const;
  void check_retained();
  /// Whether somebody at this home reads that topic of the owner, and would hear of everything on it.
  bool hears(Home& reader, const Home& owner, const std::string& topic) const;
  void watch_wills(Home& home);
  void check_wills();
  /// A whole gateway goes at last: its clients' wills reach who reads them.
  void end_a_gateway();
  void check_bounds(Home& home);
  void sabotage_one();
  std::set<SubscriberIndex> subscribers_in_force(const Checker::Published& message) const;
  bool arrive(HomeIndex from, HomeIndex to, FrameType type, ByteView body);
  void run_until(Time end);
  void tell_frame(HomeIndex from, HomeIndex to, FrameType type, ByteView body);
  Home* running_home();
  Report report();

  Climate climate_;
  std::uint64_t lives_ = 0, crashes_ = 0;
  bool trouble_ = true;  ///< faults may happen
  std::vector<Topic> topics_;
  /// Demand of persistent sessions that every node of its owner has taken up and that is on disk here.
  struct Force {
    bool in_force = false;
    std::uint64_t life = 0;  ///< of the reader, when it saw it acknowledged …
    Ticket ticket = 0;       ///< … in this transaction …
    ChannelId channel;       ///< … of this share
  };
  std::map<std::pair<HomeIndex, std::string>, Force> forces_;
  std::map<HomeIndex, std::uint64_t> heights_seen_;
  std::set<std::pair<HomeIndex, HomeIndex>> undiallable_;
  std::set<std::pair<HomeIndex, HomeIndex>> apart_;        ///< the smaller one first
  HomeIndex hub_ = 0;                                      ///< the one home that …
  std::set<HomeIndex> behind_;                             ///< … these reach
  std::map<std::pair<HomeIndex, HomeIndex>, Time> heard_;  ///< when a reader could last hear an owner over its own link
  std::set<std::pair<HomeIndex, WillKey>> derived_;        ///< that a reader says it has
};

/// In every second world from this seed on some homes never reach each other: those before stay what they were.
inline constexpr std::uint64_t first_seed_apart = 100'001;

std::string_view name_of(Sabotage sabotage);
/// Every simulated home shares "pub/#", but not "pub/private/#".
bool covered_by_share(std::string_view topic);

}  // namespace diot::sim
