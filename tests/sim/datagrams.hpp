#pragma once
// Simulated UDP, and the real DirectoryMachine over it: OpenDHT itself, in virtual time.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "dht/directory_machine.hpp"
#include "tests/sim/schedule.hpp"

namespace diot::sim {

/// Datagrams arrive late, out of order, twice, or not at all.
class Datagrams {
 public:
  using Endpoint = DirectoryMachine::Endpoint;
  using Receive = std::function<void(ByteView datagram, const Endpoint& from)>;
  struct Rules {
    Time delay_min = 200us, delay_max = 60ms;  ///< one way; each pair draws its own …
    Time jitter = 3ms;                         ///< … and each datagram its own more
    std::uint64_t lost_permille = 0;           ///< of packets on the wire: a large datagram is several
    std::uint64_t doubled_permille = 0;
  };

  Datagrams(Schedule& schedule, Chance chance, Trace& trace) : schedule_(schedule), chance_(chance), trace_(trace) {}
  Datagrams(const Datagrams&) = delete;
  Datagrams& operator=(const Datagrams&) = delete;

  void attach(const Endpoint& at, Receive receive) { sockets_[at] = std::move(receive); }
  void detach(const Endpoint& at) { sockets_.erase(at); }
  void send(const Endpoint& from, const Endpoint& to, ByteView datagram);

  /// "host:port" as one dials it, for who listens there.
  std::map<std::string, Endpoint> names;
  Rules rules;
  /// Whether the way is open: partitions, NAT.
  std::function<bool(const Endpoint& from, const Endpoint& to)> passes = [](const Endpoint&, const Endpoint&) {
    return true;
  };
  /// Sees every datagram when it leaves its sender.
  std::function<void(const Endpoint& from, const Endpoint& to, ByteView datagram)> on_leave;

  struct Stats {
    std::uint64_t sent = 0, bytes = 0, lost = 0;
  };
  const Stats& stats() const { return stats_; }

 private:
  Schedule& schedule_;
  Chance chance_;
  Trace& trace_;
  std::map<Endpoint, Receive> sockets_;
  std::map<std::pair<Endpoint, Endpoint>, Time> delays_;
  Stats stats_;
};

/// One process's directory: what dht/dht_directory is over UDP.
class DatagramDirectory final : public Directory, public DirectoryMachine::Outside {
 public:
  using Endpoint = Datagrams::Endpoint;

  DatagramDirectory(Datagrams& datagrams, Schedule& schedule, const Endpoint& at, const NodeId& node,
                    const NetworkId& network, const DhtKey& key, DirectoryMachine::MaySign may_sign, const Clock& clock,
                    Random& random);
  ~DatagramDirectory() override;
  DatagramDirectory(const DatagramDirectory&) = delete;
  DatagramDirectory& operator=(const DatagramDirectory&) = delete;

  void publish(DirectoryKind kind, ByteView subject, Bytes record) override;
  void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
            std::function<void()> done) override;
  void add_contact(const std::string& address) override;
  Status status() const override { return machine_->status(); }
  std::vector<Endpoint> known_nodes() const { return machine_->known_nodes(); }

  int send(const Endpoint& to, ByteView datagram) override;
  void wake_at(Monotonic when) override;
  void look_up(const std::string& address) override;
  void post(std::function<void()> callback) override;

  /// The process gets no time until then: what arrives meanwhile waits for it.
  void freeze(Time until) { frozen_until_ = until; }

 private:
  /// Runs `what` after `delay`, with this home's clock for the library, unless this life has ended by then.
  void later(Time delay, std::function<void()> what);
  template <class What>
  void as_home(What&& what);

  Datagrams& datagrams_;
  Schedule& schedule_;
  const Endpoint at_;
  const Clock& clock_;
  Random& random_;
  std::unique_ptr<DirectoryMachine> machine_;
  std::uint64_t wake_number_ = 0;
  Time frozen_until_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace diot::sim
