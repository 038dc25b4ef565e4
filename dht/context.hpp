#pragma once
// What the parts of the overlay share. Made by Overlay; all on the I/O thread.

#include <map>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ports.hpp"
#include "core/retained.hpp"
#include "core/store.hpp"
#include "core/topic.hpp"
#include "core/will_table.hpp"
#include "dht/directory.hpp"
#include "dht/handles.hpp"
#include "dht/transport.hpp"

namespace diot {

/// Events worth a person's attention, by name; shown by `diot status`.
using Counters = std::map<std::string, std::uint64_t, std::less<>>;

struct OverlayContext {
  const KeyPair& node;
  Ledger& ledger;
  Store& store;
  Retained& retained;
  WillTable& wills;
  Turn& turn;
  const Clock& clock;
  Random& random;
  HybridClock hybrid;
  KnownHandles handles{ledger};
  OwnNames own = {};
  std::string founder = {};      ///< the handle of the network's first home, whose nodes lead to the registrar
  Incarnation incarnation = {};  ///< of this process
  InstanceId instance = {};
  BrokerPort* broker = nullptr;
  LinkTransport* links = nullptr;
  Directory* directory = nullptr;  ///< nullptr: no DHT
  Counters counters = {};

  const NetworkId& network() const { return ledger.network(); }
  NodeId self() const { return node.node_id(); }
  void count(std::string_view event, std::uint64_t more = 1) {
    const auto found = counters.find(event);
    if (found != counters.end())
      found->second += more;
    else
      counters.emplace(event, more);
  }
  /// Whole seconds since `since`.
  std::uint32_t age_seconds(HeldMs since) const {
    const HeldMs now = clock.held_ms();
    return now <= since ? 0 : static_cast<std::uint32_t>(std::min<HeldMs>((now - since) / 1000, 0xffffffff));
  }
  /// When that was, as time is held here: what came was so old then.
  HeldMs since(std::uint32_t age_seconds) const {
    const HeldMs now = clock.held_ms(), age = HeldMs{age_seconds} * 1000;
    return now < age ? 0 : now - age;
  }
};

/// Where a batch lies in Table::log.
inline Bytes log_key(const ChannelId& channel, const NodeId& writer, const Incarnation& incarnation,
                     std::uint64_t seq) {
  Bytes key;
  ByteWriter out(key);
  out.raw(channel);
  out.raw(writer);
  out.u64(incarnation.number);
  out.u64(incarnation.random);
  out.u64(seq);
  return key;
}

/// Key of Table::cursor, and prefix of a log's keys.
inline Bytes log_prefix(const ChannelId& channel, const NodeId& writer) {
  Bytes key = to_bytes(channel.view());
  append(key, writer);
  return key;
}

}  // namespace diot
