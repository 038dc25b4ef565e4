#pragma once
// What a client has here, connected or not: subscriptions, queue, QoS 2 state, will (MQTT 5.0 section 4.1).
//
// On disk (only a session that outlives its connection):
//   Table::session   client id ‖ 0x00 → state (below) ; client id ‖ 0x00 ‖ filter → one subscription
//   Table::inflight  session number (8) ‖ 'i' ‖ packet id (2) → empty: QoS 2 received, PUBREL not yet
//   and the rows of bridge/outbox.hpp.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "bridge/outbox.hpp"
#include "bridge/packet.hpp"
#include "core/clock.hpp"
#include "core/fifo.hpp"

namespace diot {

struct ClientConnection;
struct Session;
class SubscriberGroup;

/// One subscription of one session. Its address is what the subscription trie holds, or for a shared subscription that
/// of its group's.
struct Subscription {
  Session* session = nullptr;
  std::string_view filter;  ///< as the trie has it: in local names; into the key of Session::subscriptions
  SubscribeOptions options;
  std::uint32_t id = 0;              ///< subscription identifier; 0: none
  bool own_only = false;             ///< came as "@own/…" with a wildcard first: matches no topic of others
  bool overlay = false;              ///< makes demand: begins with another home's handle
  SubscriberGroup* group = nullptr;  ///< of a shared subscription
};

struct Session {
  Session(Store& store, Spool& spool, std::string id, std::uint64_t unique_number, std::uint32_t expiry)
      : client_id(std::move(id)),
        number(unique_number),
        stored(expiry > 0),
        expiry_seconds(expiry),
        outbox(store, spool, unique_number, stored) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  static constexpr std::uint32_t never = UINT32_MAX;

  const std::string client_id;
  const std::uint64_t number;  ///< random; names it in the queue's rows
  const bool stored;           ///< outlived its connection when it was made, so it is on disk
  std::uint32_t expiry_seconds;
  std::string user;                                                ///< whom it acts as; empty: anonymous
  bool unrestricted = true;                                        ///< nobody has to be asked what it may do
  bool incomplete = false;                                         ///< the disk has lost subscriptions of it
  std::map<std::string, Subscription, std::less<>> subscriptions;  ///< by the filter as the client gave it
  Fifo<PacketId> received;                                         ///< QoS 2, PUBREL not yet; ascending
  Ticket received_ticket = 0;                                      ///< of the newest change of them
  Outbox outbox;
  ClientConnection* connection = nullptr;
  std::unique_ptr<Will> will;           ///< null: none
  std::uint64_t will_number = 0;        ///< its name in other homes
  std::optional<Monotonic> will_due;    ///< the connection is gone, the will waits for its delay
  std::optional<Monotonic> expires_at;  ///< set while there is no connection
  HeldMs disconnected_at = 0;
  std::uint64_t lost = 0;  ///< messages it was not given, not yet told

  bool has_received(PacketId id);
  void keep_received(PacketId id);
  /// Whether it was there.
  bool release_received(PacketId id);

  // Of the broker's current turn.
  bool unsaved_queue = false, unsaved_state = false, waits_for_disk = false;
  std::uint64_t match_serial = 0;
  std::size_t match_index = 0;
};

/// Table::session's value of a session's own row: u8 version ‖ u64 number ‖ u32 expiry ‖ u8 flags (1 connected, 2 has a
/// will, 4 incomplete) ‖ u64 disconnected at (ms) ‖ u64 next sequence number ‖ u64 last sequence number sent ‖ u64 lost ‖
/// u32 how many rows of subscriptions it has ‖ u16 length and bytes of the user's name ‖ with a will: u64 its number
/// (not in version 3) ‖ u32 delay ‖ stored message.
struct SessionRow {
  std::uint64_t number = 0;
  std::uint32_t expiry_seconds = 0;
  bool connected = false, incomplete = false;
  HeldMs disconnected_at = 0;
  QueueSeq next_seq = 1, last_sent = 0;
  std::uint64_t lost = 0;
  std::uint32_t subscriptions = 0;
  std::string user;
  std::optional<Will> will;
  std::uint64_t will_number = 0;  ///< 0: none yet
};
Bytes encode_session_row(const SessionRow& row, Monotonic now, HeldMs held_now);
std::optional<SessionRow> decode_session_row(ByteView value, Monotonic now);

/// Table::session's value of a subscription's row: u8 version ‖ u8 options ‖ u32 subscription identifier.
Bytes encode_subscription_row(const Subscription& subscription);
bool decode_subscription_row(ByteView value, Subscription& into);

Bytes session_key(std::string_view client_id, std::string_view filter = {});
Bytes received_key(std::uint64_t session_number, PacketId packet_id);

}  // namespace diot
