#pragma once
// What lies between the homes: links as the overlay sees them, over a network with delays, NATs, partitions and peers
// that fall silent. A link is a reliable ordered stream until it breaks; its ends learn of that at different times.

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/ports.hpp"
#include "dht/transport.hpp"
#include "tests/sim/schedule.hpp"

namespace diot::sim {

using HomeIndex = std::size_t;

class Port;

class Network {
 public:
  struct Rules {
    Time delay_min = 200us, delay_max = 40ms;  ///< one way; each pair of homes draws its own …
    Time jitter = 2ms;                         ///< … and each flight its own more
    std::uint64_t bytes_per_second = 0;        ///< of each link and direction; 0 = as many as come
    std::uint64_t dials_failing_percent = 2;
  };

  Network(Schedule& schedule, Chance chance, Trace& trace, Rules rules)
      : schedule_(schedule), chance_(chance), trace_(trace), rules_(rules) {}
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// A home starts listening, dies (`power_cut`: without a word to anybody), …
  void attach(Port& port);
  void detach(Port& port, bool power_cut);

  // Faults.
  /// Whether `from` can open a connection to `to` at all.
  std::function<bool(HomeIndex from, HomeIndex to)> can_dial = [](HomeIndex, HomeIndex) { return true; };
  /// Nothing passes between these homes and the others until `until`. What is under way waits for that, or is lost.
  void partition(std::set<HomeIndex> side, Time until);
  /// One random link breaks.
  void break_one();
  void heal() { partitions_.clear(); }
  /// No end takes a link for whole that is not, and none has anything left to send.
  bool settled() const;

  bool obey_output_bound = true;  ///< false: for a checker that must notice

  /// Sees every frame when it leaves a home.
  std::function<void(HomeIndex from, HomeIndex to, FrameType type, ByteView body)> on_leave;
  /// Sees every frame before its receiver does; false swallows it (for sabotage).
  std::function<bool(HomeIndex from, HomeIndex to, FrameType type, ByteView body)> on_arrive;

  std::size_t links_of(HomeIndex home) const;
  /// Both know it.
  bool linked(HomeIndex a, HomeIndex b) const;
  /// They can hear each other now.
  bool whole(HomeIndex a, HomeIndex b) const;
  std::size_t unsent_max_seen() const { return unsent_max_seen_; }
  struct Stats {
    std::uint64_t dials = 0, links = 0, frames = 0, bytes = 0, breaks = 0;
  };
  const Stats& stats() const { return stats_; }

 private:
  friend class Port;
  struct Frame {
    FrameType type;
    Bytes body;
  };
  /// Side 0 dialled.
  struct Link {
    LinkId id{};
    std::array<Port*, 2> ports{};  ///< nullptr: its process is gone
    std::array<HomeIndex, 2> homes{};
    std::array<NodeId, 2> nodes{};
    std::array<bool, 2> up{};                  ///< told link_up and not link_down
    std::array<bool, 2> ending{};              ///< will be told link_down
    bool broken = false;                       ///< nothing arrives any more
    std::array<std::vector<Frame>, 2> queued;  ///< by the sender's side
    std::array<std::size_t, 2> unsent{};
    std::array<Time, 2> line_free{}, last_arrival{};
    Time seen_whole{};  ///< when last somebody asked and it was
  };
  using LinkPtr = std::shared_ptr<Link>;

  void dial(Port& from, const std::string& address, const std::optional<NodeId>& expected);
  void accept(Port* from, std::uint64_t from_life, const Hello& hello, const std::string& address,
              const std::optional<NodeId>& expected);
  void confirm(const LinkPtr& link, const Hello& hello, const std::string& address,
               const std::optional<NodeId>& expected);
  void fail_dial(Port* from, std::uint64_t life, const std::string& address, const std::optional<NodeId>& expected,
                 std::string reason, Time delay);
  void flush(Port& port);
  void transmit(const LinkPtr& link, int side);
  void deliver(const LinkPtr& link, int receiver, std::vector<Frame> frames);
  void close(Port& port, LinkId id, const std::string& reason);
  void end(const LinkPtr& link, int side, const std::string& reason);
  void end_after(const LinkPtr& link, int side, const std::string& reason, Time delay);
  void silence(const LinkPtr& link, const std::string& reason);
  bool cut(HomeIndex a, HomeIndex b) const;
  /// When a cut between the two ends; now if there is none.
  Time passable_at(HomeIndex a, HomeIndex b) const;
  Time delay(HomeIndex a, HomeIndex b);
  Port* port_at(const std::string& address) const;
  bool lives(const Port* port, std::uint64_t life) const;
  LinkPtr between(HomeIndex a, HomeIndex b) const;

  struct Partition {
    std::set<HomeIndex> side;
    Time until{};
  };

  Schedule& schedule_;
  Chance chance_;
  Trace& trace_;
  Rules rules_;
  std::map<std::uint64_t, Port*> ports_;  ///< by life
  std::map<LinkId, LinkPtr> links_;
  std::vector<Partition> partitions_;
  std::map<std::pair<HomeIndex, HomeIndex>, Time> delays_;
  std::uint64_t next_link_ = 1;
  std::size_t unsent_max_seen_ = 0;
  Stats stats_;
};

/// The links of one process life of one home.
class Port final : public LinkTransport {
 public:
  Port(Network& network, HomeIndex at_home, std::uint64_t of_life, NodeId node_id, std::string listens_at,
       LinkEvents& link_events, Turn& turn)
      : home(at_home),
        life(of_life),
        node(node_id),
        address(std::move(listens_at)),
        events(link_events),
        network_(network),
        turn_(turn) {}

  void dial(const std::string& to, const std::optional<NodeId>& expected) override {
    network_.dial(*this, to, expected);
  }
  void send(LinkId link, FrameType type, std::initializer_list<ByteView> parts) override;
  std::size_t unsent_bytes(LinkId link) const override;
  std::chrono::milliseconds silent_for(LinkId link) const override;
  void close(LinkId link, const std::string& reason) override { network_.close(*this, link, reason); }
  /// The end of the turn.
  void flush() { network_.flush(*this); }

  const HomeIndex home;
  const std::uint64_t life;  ///< of this process, unique in the world
  const NodeId node;
  const std::string address;
  LinkEvents& events;

 private:
  friend class Network;
  Network& network_;
  Turn& turn_;
  std::set<LinkId> dirty_;  ///< with frames that wait for the turn's end
};

}  // namespace diot::sim
