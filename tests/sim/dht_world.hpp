#pragma once
// A world of homes that know one contact each, and find one another through the real OpenDHT in the real
// DirectoryMachine, over simulated datagrams and in virtual time. docs/simulation.md.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/datagrams.hpp"
#include "tests/sim/schedule.hpp"

namespace diot::sim {

/// What has to hold in every such world; each has a sabotage that must be caught as it (dht_test.cpp).
enum class DhtInvariant {
  found,     ///< after the heal every home finds every other's newest address
  renewed,   ///< in peace, new addresses of all are found
  joined,    ///< a newcomer finds all, and all it
  true_,     ///< what is found is what its owner published
  done,      ///< a look-up ends in time
  sealed,    ///< every datagram of a home
  stranger,  ///< it finds nothing and is nobody's node
};
std::string_view name_of(DhtInvariant invariant);

/// One deliberately broken rule for each invariant, which the checker must catch.
enum class DhtSabotage {
  none,
  other_key,    ///< a home seals with a key of its own
  leak_key,     ///< the stranger has the network's key
  deafen,       ///< a home hears nothing
  trust_clock,  ///< a home dates its records by a clock that says 1970
  misquote,     ///< a home announces another address than its own
  forget_find,  ///< a look-up is never done
  ask_nobody,   ///< a newcomer was told no address of the home that let it in
};
std::string_view name_of(DhtSabotage sabotage);

struct DhtOptions {
  std::uint64_t seed = 1;
  std::size_t homes = 0;  ///< 0: 2 to 12, as the seed says
  DhtSabotage sabotage = DhtSabotage::none;
  bool faults = true;
  bool verbose = false;
};

struct DhtReport {
  std::uint64_t seed = 0, hash = 0, steps = 0;
  struct Violation {
    DhtInvariant invariant;
    Time when;
    std::string what;
  };
  std::vector<Violation> violations;
  std::size_t homes = 0;
  std::uint64_t datagrams = 0, crashes = 0, finds = 0, rebuilds = 0;
  Time lasted{};
  Time healed{};   ///< from the heal until every home had found every other's newest address
  Time renewed{};  ///< from new addresses of all, in peace, until all had found them
  Time joined{};   ///< from a newcomer's start until it had found all, and all it
};

class DhtWorld {
 public:
  explicit DhtWorld(const DhtOptions& with);
  ~DhtWorld();
  DhtReport run();

  /// How long the finding may take, at most. The halves of a network that was split ask each other every minute
  /// (DhtTiming::contact_refresh).
  static constexpr Time healed_max = 240s, renewed_max = 60s, joined_max = 60s;

 private:
  struct Home;
  struct Climate {
    Time trouble{}, every{};
    bool crashes = true, partitions = true, losses = true, moves = true, freezes = true, old_clocks = true,
         one_way = true, nat = false, replays = true;
  };
  void draw_climate();
  std::unique_ptr<Home> make_home(std::size_t index);
  void start(Home& home);
  void crash(Home& home, Time away);
  void move(Home& home);
  void announce(Home& home);
  void go_on_looking(Home& home);
  void look(Home& home, Home& owner);
  void fault();
  void heal();
  bool passes(const Datagrams::Endpoint& from, const Datagrams::Endpoint& to);
  void check_leaving(const Datagrams::Endpoint& from, const Datagrams::Endpoint& to, ByteView datagram);
  bool may_sign(const Home* asked, DirectoryKind kind, ByteView subject, const NodeId& signer) const;
  bool all_found() const;
  /// Lets time pass until all have found all, and says how long that took; a violation after `most`.
  Time until_found(DhtInvariant invariant, Time most, const char* what);
  void start_stranger();
  void stranger_looks();
  void sabotage_one();
  void run_until(Time end);
  void fail(DhtInvariant invariant, const std::string& what);
  template <class... Args>
  void tell(const char* format, const Args&... args);

  const DhtOptions options_;
  Schedule schedule_;
  Chance chance_;
  Trace trace_;
  Datagrams datagrams_;
  Climate climate_;
  NetworkId network_;
  DhtKey key_;
  bool trouble_ = true;  ///< faults may happen
  std::vector<std::unique_ptr<Home>> homes_;
  std::unique_ptr<Home> stranger_;
  std::size_t stranger_found_ = 0;
  std::map<Datagrams::Endpoint, std::size_t> at_;  ///< whose address it is, or was
  std::uint32_t next_address_ = 0x0a000001;
  struct Cut {
    std::set<std::size_t> side;
    Time until{};
    bool one_way = false;  ///< only from the side to the others
  };
  std::vector<Cut> cuts_;
  std::map<std::pair<Datagrams::Endpoint, Datagrams::Endpoint>, Time> spoken_;  ///< who lately sent to whom
  std::vector<std::pair<Datagrams::Endpoint, Bytes>> overheard_;
  DhtReport report_;
};

}  // namespace diot::sim
