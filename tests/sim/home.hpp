#pragma once
// One home: what survives its process (keys, disk, clock), and the process: a real NodeCore on a simulated disk, network
// and directory, driven in turns as tools/app/node drives it.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/address_book.hpp"
#include "tests/sim/disk.hpp"
#include "tests/sim/network.hpp"
#include "tests/sim/schedule.hpp"
#include "tools/app/node_core.hpp"

namespace diot::sim {

class World;

class Home {
 public:
  Home(World& world, HomeIndex at, std::string name, std::uint64_t seed);
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;

  bool running() const { return process_ != nullptr; }
  /// Begins a process life on what the disk holds. A node that refuses to start (its disk is corrupt) stays down for
  /// good, with `refused` set.
  void start();
  /// The process ends this instant. `power_cut`: and so does the machine.
  void crash(bool power_cut);
  /// As SIGTERM does.
  void stop();

  NodeCore& core() { return process_->core; }
  Disk& disk() { return process_->disk; }
  Port& port() { return *process_->port; }
  std::uint64_t life() const { return life_; }
  /// Asks for a turn, as whatever changed something from outside does.
  void touch() { process_->turn.touch(); }

  /// The disk's content while no process runs; a fresh home's is filled by the world.
  Disk::Image image;
  std::optional<Disk::Image> backup;

  const HomeIndex index;
  const std::string handle;
  const std::string address;
  HomeClock clock;
  Chance chance;
  KeyPair key, owner;
  std::optional<KeyPair> witness;
  Disk::Speed disk_speed;
  ChannelId channel;  ///< of its share "pub/#", as last seen
  bool registered = false;
  bool refused = false;  ///< it could not start any more
  std::string refusal;
  bool wants_to_run = false;  ///< is up, or will be started again
  bool disk_was_full = false;
  /// Its disk lost or changed something behind the node's back: what it acknowledged may be gone.
  bool damaged = false;

 private:
  struct Process {
    Process(Home& home, NodeCoreConfig config);
    struct HomeTurn final : Turn {
      explicit HomeTurn(Home& of_home) : home(of_home) {}
      void touch() override;
      Home& home;
      bool pending = false;
    } turn;
    Disk disk;
    NodeCore core;
    std::unique_ptr<BookDirectory> directory;
    std::unique_ptr<Port> port;
  };
  void end_turn();
  void tick();
  /// Runs `what` later unless this life has ended by then.
  void in_this_life(Time delay, void (Home::*what)());

  World& world_;
  std::unique_ptr<Process> process_;
  std::uint64_t life_ = 0;
};

}  // namespace diot::sim
