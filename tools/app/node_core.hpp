#pragma once
// A node without its sockets: ledger, retained values, overlay and broker, wired together in the order in which they need
// each other. The program gives it SQLite, TLS links and the system's clock; the simulator a world of its own
// (docs/simulation.md). All calls on one thread.

#include <memory>
#include <optional>
#include <string>

#include "bridge/broker.hpp"
#include "core/clock.hpp"
#include "core/ledger/ledger.hpp"
#include "core/retained.hpp"
#include "core/store.hpp"
#include "dht/dht_key.hpp"
#include "dht/overlay.hpp"

namespace diot {

/// Table::meta's key: u64 wall clock (ms) ‖ u64 time held (ms; absent: the same).
inline Bytes meta_time() { return to_bytes("time"); }

struct NodeCoreConfig {
  std::string handle;
  Bytes genesis;
  std::optional<KeyPair> witness;          ///< with which it decides blocks where it is a witness
  bool archive = false;                    ///< keep everything of the ledger from the genesis on
  BrokerConfig broker;                     ///< its handle is set from the one above
  Authenticator* authenticator = nullptr;  ///< outlives the node; nullptr: everybody may do everything
  WallMs built = 0;                        ///< when the program was: no clock is behind that
};

class NodeCore {
 public:
  /// The references outlive this.
  NodeCore(NodeCoreConfig config, const KeyPair& node, Store& store, Turn& turn, const Clock& clock, Random& random);

  /// Replays the ledger and reads the retained values; makes overlay and broker. Errc::corrupt says what is broken on
  /// disk. Then `links` and `directory`, which need the overlay, can be made.
  Result<void> open();
  /// Reads what is left on disk and begins this process's incarnation. From now on events may come. `directory` may be
  /// nullptr.
  Result<void> start(LinkTransport& links, Directory* directory);

  /// What the turn changed goes into one transaction; clients get what was gathered for them. Then the links are flushed.
  void end_turn();
  /// About every 100 ms.
  void tick();

  Ledger& ledger() { return *ledger_; }
  const Ledger& ledger() const { return *ledger_; }
  Retained& retained() { return *retained_; }
  const Retained& retained() const { return *retained_; }
  Overlay& overlay() { return *overlay_; }
  const Overlay& overlay() const { return *overlay_; }
  Broker& broker() { return *broker_; }
  const Broker& broker() const { return *broker_; }
  /// False: the system's clock is behind a time that is known to be past, and is not gone by.
  bool clock_sure() const { return clock_.sure(); }
  /// Seals the network's DHT datagrams.
  const DhtKey& dht_key() const { return dht_key_; }
  /// Whether the ledger lets `signer` sign such a record: for DhtDirectory.
  bool may_sign(DirectoryKind kind, ByteView subject, const NodeId& signer) const;

 private:
  Result<DhtKey> stored_dht_key();
  Result<void> set_clock();
  void keep_time();

  NodeCoreConfig config_;
  const KeyPair& node_;
  Store& store_;
  Turn& turn_;
  HomeClock clock_;
  Monotonic next_time_row_{};
  std::uint64_t kept_offset_ = 0;  ///< of the wall clock from the time held, in the row
  Random& random_;
  DhtKey dht_key_;
  AllowEverybody everybody_;
  std::optional<Ledger> ledger_;
  std::unique_ptr<Retained> retained_;
  std::unique_ptr<Overlay> overlay_;
  std::unique_ptr<Broker> broker_;
};

}  // namespace diot
