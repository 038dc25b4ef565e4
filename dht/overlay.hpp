#pragma once
// The node's part in the distributed broker: what it writes (own_channels), what it reads (remote_channels), the ledger
// (ledger_sync) and the links that carry all of it (peers). Sans-I/O: links, DHT, store and time come in from outside.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/limits.hpp"
#include "core/ports.hpp"
#include "dht/channel_logs.hpp"
#include "dht/context.hpp"
#include "dht/dht_key.hpp"
#include "dht/ledger_sync.hpp"
#include "dht/own_channels.hpp"
#include "dht/own_registration.hpp"
#include "dht/peers.hpp"
#include "dht/remote_channels.hpp"

namespace diot {

/// Table::meta's key and value for the key that seals the network's DHT datagrams.
inline Bytes meta_dht_key() { return to_bytes("dht-key"); }
/// Those whose values are the node's in whatever network it is: they only grow.
inline Bytes meta_incarnation() { return to_bytes("incarnation"); }
inline Bytes meta_node_record_seq() { return to_bytes("node-record-seq"); }
Bytes encode_dht_key(const DhtKey& key);
std::optional<DhtKey> decode_dht_key(ByteView bytes);

struct OverlayConfig {
  std::string handle;                  ///< the own one
  std::vector<std::string> addresses;  ///< where others can dial this node
  Bytes genesis;
  DhtKey dht_key;
  std::optional<KeyPair> witness;
  CatchUpBounds catch_up = {};
  bool archive = false;  ///< keep every block of the ledger, not this node's share of the old ones
  HistoryBounds history = {};
};

class Overlay final : public OverlayPort, public LinkEvents {
 public:
  Overlay(OverlayConfig config, const KeyPair& node, Ledger& ledger, Store& store, Retained& retained, Turn& turn,
          const Clock& clock, Random& random);

  /// The rest of the node; before load. `directory` may be nullptr.
  void connect(BrokerPort& broker, LinkTransport& links, Directory* directory);
  /// Reads what is on disk and begins this process's incarnation. Then the broker loads its sessions, then `settle`.
  Result<void> load();
  void settle();

  /// Addresses where this node can be dialled, once the listeners are open.
  void set_addresses(std::vector<std::string> addresses);
  void set_retention(const Retention& retention) { logs_.set_retention(retention); }
  /// Runs in `load`, and when a provisional name gives way to the handle.
  std::function<void(const OwnNames&)> on_named;
  /// Before the store is sealed.
  void end_turn();
  /// About every 100 ms.
  void tick();

  // OverlayPort
  Route route_of(std::string_view topic) const override { return own_.route_of(topic); }
  Route publish(const MessagePtr& message) override { return own_.publish(message); }
  void set_will(std::uint64_t number, const MessagePtr& will, std::uint32_t delay_seconds) override {
    own_.set_will(number, will, delay_seconds);
  }
  void clear_will(std::uint64_t number) override { own_.clear_will(number); }
  Route publish_will(std::uint64_t number, const MessagePtr& message) override {
    return own_.publish_will(number, message);
  }
  void add_demand(std::string_view filter, bool durable) override;
  void remove_demand(std::string_view filter, bool durable) override { remote_.remove_demand(filter, durable); }

  // LinkEvents
  Hello own_hello() override;
  LinkClass admit(const NodeId& peer, const Hello& hello, bool dialled_by_us) override;
  void link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass kind, bool dialled_by_us) override;
  void link_down(LinkId link, const NodeId& peer, const std::string& reason) override;
  void link_frame(LinkId link, const NodeId& peer, FrameType type, ByteView body) override;
  void link_writable(LinkId link) override { logs_.writable(link); }
  void runs_twice(const RunsTwice& what) override;
  void dial_failed(const std::string& address, const std::optional<NodeId>& expected,
                   const std::string& reason) override {
    peers_.dial_failed(address, expected, reason);
  }

  /// Another process lives with this node's key: nothing of ours leaves for other homes until this one has been restarted,
  /// which is for a person to do once the other one is stopped. At home all goes on, and our logs keep what is for others.
  struct Copied {
    InstanceId other;
    WallMs since = 0;
    NodeId told_by;
    std::string address;  ///< where that node sees the other process; not proved
  };
  const std::optional<Copied>& copied() const { return copied_; }
  /// Peers that were seen to run twice, and when last.
  const std::map<NodeId, WallMs>& copied_peers() const { return copied_peers_; }

  /// An invite for `uses` homes, signed by this node (role admin).
  /// With 0 uses it is for everybody (Grant::uses), and does not expire.
  Result<Invite> make_invite(std::uint32_t uses, WallMs valid_ms);

  OwnChannels& own() { return own_; }
  const RemoteChannels& remote() const { return remote_; }
  LedgerSync& ledger_sync() { return ledger_sync_; }
  const Peers& peers() const { return peers_; }
  /// What of a node's logs is held here: where a revocation may cut them off.
  CutOffs ends_of(const NodeId& writer) const { return logs_.ends_of(writer); }
  const Counters& counters() const { return context_.counters; }
  /// The wills that stand in the channels held here, own ones and others'.
  const WillTable& wills() const { return wills_; }
  const OwnNames& names() const { return context_.own; }
  const KnownHandles& handles() const { return context_.handles; }
  const OwnRegistration& registration() const { return registration_; }

 private:
  struct Link {
    NodeId peer;
    InstanceId instance;
    LinkClass kind = LinkClass::refused;
    bool enrolled = false;      ///< an enrolling link whose token was proved
    bool unregistered = false;  ///< a member that was not in the ledger when it came
    Monotonic until{};          ///< when that one, whose name is nothing any more, has heard why
  };

  void enrol(LinkId id, Link& link, ByteView body);
  Result<void> check_enrolment(const Link& link, ByteView body) const;
  void ledger_changed();
  void name_myself();
  void part_from_unregistered();
  void renew_lease();
  void begin_incarnation(std::uint64_t above = 0);
  void on_positions(LinkId link, const ChannelId& channel, const std::vector<wire::Position>& positions);
  void on_batch(LinkId link, const wire::HeldBatch& held);
  void publish_node_record();
  void find_catalogues();

  OverlayConfig config_;
  WillTable wills_;
  OverlayContext context_;
  ChannelLogs logs_;
  OwnChannels own_;
  RemoteChannels remote_;
  LedgerSync ledger_sync_;
  OwnRegistration registration_;
  Peers peers_;
  std::map<LinkId, Link> links_;
  std::optional<Copied> copied_;
  std::map<NodeId, WallMs> copied_peers_;
  Monotonic next_second_{};
  Monotonic next_catalogue_lookup_{};
  Monotonic next_renewal_{};
  std::uint64_t node_record_seq_ = 0;
};

}  // namespace diot
