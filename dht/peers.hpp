#pragma once
// Which nodes to have a link to, and how to get one: known addresses first, then the DHT.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dht/context.hpp"

namespace diot {

/// Table::peer's values, and the body of a directory record of kind node: msgpack [address, …].
Bytes encode_addresses(const std::vector<std::string>& addresses);
std::optional<std::vector<std::string>> decode_addresses(ByteView bytes);

class Peers {
 public:
  explicit Peers(OverlayContext& context) : context_(context) {}
  Result<void> load();

  /// Addresses that the node itself told, over a link or in its signed directory record; the best first.
  void learned(const NodeId& node, const std::vector<std::string>& addresses);
  void link_up(LinkId link, const NodeId& peer, const Hello& hello, bool dialled_by_us);
  void link_down(LinkId link, const NodeId& peer);
  void dial_failed(const std::string& address, const std::optional<NodeId>& expected, const std::string& reason);
  /// Dials what is due. `wanted`: the nodes that somebody here waits for; a few others keep the ledger and the DHT in
  /// reach. About every 100 ms.
  void tick(const std::set<NodeId>& wanted);

  std::optional<LinkId> link_to(const NodeId& node) const;
  struct Status {
    NodeId node;
    std::string address;  ///< the one in use, or the next to try; may be empty
    enum class State { up, dialling, down } state = State::down;
    Monotonic since{};
    bool dialled_by_us = false;
    std::optional<LinkId> link;
    std::string last_failure;
  };
  std::vector<Status> status() const;

 private:
  struct Peer {
    std::vector<std::string> addresses;
    std::uint64_t record_seq = 0;  ///< of the directory record that was used
    std::optional<LinkId> link;
    Monotonic since{};
    bool dialled_by_us = false;
    bool dialling = false;
    Monotonic next_dial{};
    std::chrono::milliseconds pause{};
    Monotonic next_lookup{};
    std::string last_failure;
  };

  std::set<NodeId> background() const;
  void dial(const NodeId& node, Peer& peer, bool wanted);
  void look_up(const NodeId& node, Peer& peer);
  void save(const NodeId& node, const Peer& peer);

  OverlayContext& context_;
  std::map<NodeId, Peer> peers_;
};

}  // namespace diot
