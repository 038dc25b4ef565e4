#pragma once
// The directory on OpenDHT, without sockets, timers and name look-ups: datagrams and time come in, sealed datagrams and
// the next time to wake go out. The library itself reads std::chrono::steady_clock too; a simulator defines that one
// (docs/simulation.md). One object, one thread. docs/protocol.md, "Directory record" and "DHT datagrams";
// docs/security.md, "The DHT".

#include <asio/ip/udp.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "dht/dht_key.hpp"
#include "dht/directory.hpp"

namespace diot {

/// How patient the directory is.
struct DhtTiming {
  using Duration = std::chrono::milliseconds;
  Duration find_connect_max{3'000};    ///< a look-up waits so long for the first node that answers …
  Duration find_max{10'000};           ///< … and is done after this, whatever is still under way
  Duration contact_retry_min{1'000};   ///< while no node answers: doubled with each round …
  Duration contact_retry_max{30'000};  ///< … up to this
  Duration contact_refresh{60'000};    ///< while nodes answer, so that the halves of a split network meet again
  Duration silence_max{60'000};        ///< without a datagram: nodes are asked …
  Duration silence_grace{10'000};      ///< … and given so long to answer before it counts as an outage
  Duration outage_after{10'000};       ///< without a good node, having had one
  Duration warm_up_after{5'000};       ///< plus up to as much again, so that nodes that start together spread
  Duration value_life{60 * 60'000};    ///< how long other nodes keep a value; put again at half of it
  Duration second_put{60'000};         ///< after the first put of a record; then at half of its life
  Duration put_retry{5'000};           ///< after a put that no node took; doubled up to a minute
  Duration put_again_min{15'000};      ///< between puts because of new nodes, in a network of few
};

class DirectoryMachine final : public Directory {
 public:
  using Endpoint = asio::ip::udp::endpoint;
  /// Whether the ledger knows `signer` and lets it speak for `subject` (a node, for itself). Asked for every record that
  /// is to be stored here for another node, or was found.
  using MaySign = std::function<bool(DirectoryKind kind, ByteView subject, const NodeId& signer)>;

  /// What the machine needs of the world. Nothing here calls the machine before it returns.
  class Outside {
   public:
    virtual ~Outside() = default;
    /// 0, or the errno. `datagram` is valid during the call only.
    virtual int send(const Endpoint& to, ByteView datagram) = 0;
    /// Calls wake() then, instead of at the time told before.
    virtual void wake_at(Monotonic when) = 0;
    /// Calls ask() for each meaning of "host:port", as far as there is one.
    virtual void look_up(const std::string& address) = 0;
    virtual void post(std::function<void()> callback) = 0;
  };

  /// `clock` must run with std::chrono::steady_clock, which the library reads by itself. All references outlive this.
  DirectoryMachine(Outside& outside, const NodeId& node, const NetworkId& network, const DhtKey& key, MaySign may_sign,
                   const Clock& clock, Random& random, const DhtTiming& timing = {});
  ~DirectoryMachine() override;
  DirectoryMachine(const DirectoryMachine&) = delete;
  DirectoryMachine& operator=(const DirectoryMachine&) = delete;

  /// The own address of each family; port 0: this node has none. Again when a family was added.
  void open(const Endpoint& v4, const Endpoint& v6);
  void receive(ByteView datagram, const Endpoint& from);
  void wake();
  /// Whether a node of the network is there.
  void ask(const Endpoint& contact);

  /// A record that does not verify, or is too large, is not published: that is an error in the log.
  void publish(DirectoryKind kind, ByteView subject, Bytes record) override;
  /// `found` gets each signer's record, and again if a newer one of the same signer comes in. `done` always runs,
  /// unless shut_down() comes first.
  void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
            std::function<void()> done) override;
  /// Asked at once, and again while no node answers; the oldest of too many is forgotten.
  void add_contact(const std::string& address) override;
  Status status() const override;

  /// Nodes that answered lately, at most `known_nodes_max`: contacts after a restart.
  std::vector<Endpoint> known_nodes() const;
  static constexpr std::size_t known_nodes_max = 32;

  /// No callback runs any more, nothing is sent. Nothing else may be called then but status().
  void shut_down();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace diot
