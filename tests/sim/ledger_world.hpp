#pragma once
// A world of witnesses and followers of one ledger: the real agreement, ledger and sync, over simulated disks, links and
// clocks, with liars among the witnesses.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/retained.hpp"
#include "dht/ledger_sync.hpp"
#include "tests/sim/disk.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/schedule.hpp"

namespace diot::sim {

enum class Lie : std::uint8_t {
  silent,    ///< says nothing
  waver,     ///< votes differently to everybody, and proposes two blocks
  withhold,  ///< tells its votes to some only
  stale,     ///< votes on old and far rounds and heights
  garbage,   ///< sends back what it heard with a bit turned
  collude,   ///< all such liars lead half of the others to one block and half to another
  count_
};

/// What has to hold in every such world; each has a sabotage that must be caught as it (ledger_test.cpp).
enum class LedgerInvariant : std::uint8_t {
  one_block,  ///< never two blocks at one height
  time,       ///< block time never falls
  state,      ///< every node has the same state at a height, and it is that of a replay
  rules,      ///< a replay takes every block
  owners,     ///< no name has two owners
  told,       ///< what was told to be in a block is in it
  progress,   ///< after the heal everything is committed within the bound
  kept,       ///< a block is on a node's disk, or the node knows that it is not; somebody has it
};
std::string_view name_of(LedgerInvariant invariant);

/// One deliberately broken rule for each invariant. Too many liars break one_block and progress.
enum class LedgerSabotage : std::uint8_t {
  none,
  turn_back,      ///< a node follows a chain whose newest block is older than the others' one before it
  other_state,    ///< a node has another state than the others
  other_states,   ///< all have another one than a replay
  stranger_acts,  ///< all witnesses decide an entry that its owner did not sign
  second_owner,   ///< all witnesses decide a second registration of a name
  misquote,       ///< who hands an entry in is told another block
  halt,           ///< witnesses hear no votes
  lose_block,     ///< a block vanishes from a node's disk
  lose_blocks,    ///< a block vanishes from all disks, and the nodes know that they have not got it
};
std::string_view name_of(LedgerSabotage sabotage);

class LedgerWorld;
class LedgerNode;

/// A witness that does what it likes with its key. It follows the ledger like anybody else.
class Liar {
 public:
  Liar(LedgerNode& node, Lie lie) : node_(node), lie_(lie) {}
  void on_frame(FrameType type, ByteView body);
  void tick();

 private:
  /// Its place among the witnesses that decide next.
  std::optional<std::uint32_t> index_of() const;
  void vote(VoteKind kind, std::uint64_t height, std::uint32_t round, const Hash& block, LinkId to);
  void react(std::uint64_t height, std::uint32_t round, const Hash& block, WallMs time);
  void propose();

  LedgerNode& node_;
  const Lie lie_;
  std::vector<Bytes> entries_;
  std::map<std::uint64_t, std::vector<Hash>> blocks_;  ///< that were proposed, by height
  std::uint64_t height_ = 0;                           ///< of what it saw last
  std::uint32_t round_ = 0;
  bool may_react_ = true;
  std::set<std::pair<std::uint64_t, std::uint32_t>> proposed_;
};

/// What survives the process, and the process.
class LedgerNode final : public LinkEvents {
 public:
  LedgerNode(LedgerWorld& world, HomeIndex at, std::uint64_t seed);

  bool running() const { return process_ != nullptr; }
  void start();
  void crash(bool power_cut);
  void touch() { process_->turn.touch(); }
  LedgerSync& sync() { return *process_->sync; }
  Ledger& ledger() { return process_->ledger; }
  Disk& disk() { return process_->disk; }
  Port& port() { return *process_->port; }
  /// Delivers a frame once more, or later.
  void hear(HomeIndex from, FrameType type, ByteView body);

  LedgerWorld& world;
  const HomeIndex index;
  const std::string handle, address;
  HomeClock clock;
  Chance chance;
  KeyPair key, owner, witness_key;
  bool witness = false;  ///< since the genesis, or since it agreed to become one
  std::optional<Lie> lie;
  Disk::Image image;
  Disk::Speed disk_speed;
  bool damaged = false;      ///< its disk was
  CatchUpBounds catch_up;    ///< when it takes the ledger over instead of replaying it
  bool archive = false;      ///< it fetches what snapshots stood for
  HistoryBounds history;     ///< when it drops old blocks
  std::uint64_t newest = 0;  ///< that it has had
  std::map<LinkId, HomeIndex> links;
  /// Old blocks that it dropped in this life.
  std::uint64_t dropped() const {
    const auto found = process_->context.counters.find("old blocks dropped");
    return found == process_->context.counters.end() ? 0 : found->second;
  }

  // LinkEvents
  Hello own_hello() override;
  LinkClass admit(const NodeId&, const Hello&, bool) override { return LinkClass::member; }
  void link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass kind, bool dialled_by_us) override;
  void link_down(LinkId link, const NodeId& peer, const std::string& reason) override;
  void link_frame(LinkId link, const NodeId& peer, FrameType type, ByteView body) override;
  void link_writable(LinkId) override {}
  void runs_twice(const RunsTwice&) override {}
  void dial_failed(const std::string& to, const std::optional<NodeId>&, const std::string&) override {
    dialling_.erase(to);
  }

 private:
  struct Process {
    explicit Process(LedgerNode& node);
    struct NodeTurn final : Turn {
      explicit NodeTurn(LedgerNode& of) : node(of) {}
      void touch() override;
      LedgerNode& node;
      bool pending = false;
    } turn;
    Disk disk;
    Ledger ledger;
    Retained retained;
    WillTable wills;
    OverlayContext context;
    std::unique_ptr<LedgerSync> sync;
    std::unique_ptr<Liar> liar;
    std::unique_ptr<Port> port;
  };
  void in_this_life(Time delay, void (LedgerNode::*what)());
  void load();
  void end_turn();
  void tick();

  std::unique_ptr<Process> process_;
  std::uint64_t life_ = 0;
  Time next_dial_{};
  std::set<std::string> dialling_;
};

struct LedgerOptions {
  std::uint64_t seed = 1;
  std::size_t witnesses = 0;             ///< 0: as the seed says
  std::optional<std::size_t> followers;  ///< so with these
  std::optional<std::size_t> liars;      ///< more than a third: the ledger may fork, and the checker must see it
  std::optional<Lie> lie;
  LedgerSabotage sabotage = LedgerSabotage::none;
  bool faults = true;
  bool long_past = false;  ///< so long that nodes share the old blocks
  bool verbose = false;
};

struct LedgerReport {
  struct Violation {
    LedgerInvariant invariant;
    Time when;
    std::string what;
  };
  std::uint64_t seed = 0;
  std::vector<Violation> violations;
  std::uint64_t hash = 0, steps = 0, blocks = 0, entries = 0, rounds = 0, crashes = 0, damages = 0, caught = 0;
  std::uint64_t acknowledged = 0, frames = 0;
  std::uint64_t updates = 0;    ///< of records, in the ledger
  std::uint64_t snapshots = 0;  ///< that nodes went on with
  std::uint64_t changes = 0;    ///< of the witnesses
  std::uint64_t accused = 0;    ///< liars whose double votes stand in the ledger
  std::uint64_t dropped = 0;    ///< old blocks, by nodes of which others should keep them
  std::size_t witnesses = 0, followers = 0, liars = 0;
  Time lasted{}, commit{};  ///< from the heal to the last commit
};

class LedgerWorld {
 public:
  explicit LedgerWorld(LedgerOptions with);
  LedgerReport run();
  /// Only lets time pass over whole nodes, for `time`.
  LedgerReport rest(Time time);

  // For the nodes.
  void adopted(LedgerNode& node);
  void fail(LedgerInvariant invariant, const std::string& what);
  void tell(const std::string& what);
  std::uint64_t next_life() { return ++lives_; }
  bool may_dial(HomeIndex from, HomeIndex to) const;
  bool dies_now() { return faulty_ && chance.below(400) == 0; }
  void died(LedgerNode& node);
  LedgerNode* node_of(const NodeId& id) const;

  const LedgerOptions options;
  Schedule schedule;
  Chance chance;
  Trace trace;
  Network network;
  std::vector<std::unique_ptr<LedgerNode>> nodes;
  Bytes genesis;
  NetworkId id;

 private:
  /// Homes that take no part: each may let 5 in, and the last one does so at the end only.
  struct Founder {
    std::string handle;
    KeyPair owner, key;
  };
  static constexpr std::size_t founders_count = 8;
  static constexpr Time bound = 120s;  ///< from the heal to the commit of what is handed in then
  void found();
  void make_past(bool long_one);
  /// Signed by all witnesses of the genesis, whatever the rules say.
  Bytes decide(const BlockHeader& header, const std::vector<Bytes>& entries) const;
  void fault();
  void faults_go_on();
  /// Block time goes on by a month at once, so that what was before is no more in the window of a snapshot.
  void skip_a_month();
  /// All of the present witnesses and of the new ones sign that others take over.
  void change_witnesses();
  void submissions_go_on();
  void submit(LedgerNode& from);
  Bytes make_entry(LedgerNode& from);
  /// Registers a new home by an invite of a founder's.
  Bytes make_registration(LedgerNode& from, const std::string& name, std::size_t founder);
  void heal();
  bool all_have(const std::string& handle) const;
  /// Whether so many of these at most are faulty, liars or with a damaged disk, as may be.
  bool bears(const std::vector<PublicKey>& keys, const LedgerNode* one_more = nullptr) const;
  bool archives_are_whole() const;
  void check_disks();
  void sabotage_one();
  LedgerReport report();

  LedgerReport report_;
  Genesis genesis_;
  std::vector<KeyPair> keys_;  ///< of the genesis' witnesses
  std::vector<Founder> founders_;
  std::vector<Bytes> past_;          ///< the blocks that were there before
  std::optional<Ledger> reference_;  ///< replays each height's first block
  struct Height {
    Hash hash, map_root, log_root;
    WallMs time = 0;
  };
  void check_head(const LedgerNode& node, std::uint64_t height, const Height& here);
  std::map<std::uint64_t, Height> heights_;
  std::map<Hash, std::uint64_t> committed_;  ///< entry → height
  /// Who decides next, and who is to after them, by the newest block that anybody has; and who may be asked to.
  std::vector<std::vector<PublicKey>> deciders_;
  std::vector<std::pair<std::uint64_t, std::vector<PublicKey>>> candidates_;  ///< by epoch
  std::uint64_t top_ = 0, epoch_ = 0;
  std::set<std::string> registered_;
  std::set<std::pair<HomeIndex, HomeIndex>> no_way_;
  bool faulty_ = false, busy_ = false;
  std::uint64_t lives_ = 0, next_name_ = 0;
};

}  // namespace diot::sim
