#pragma once
// What one session still has to get: its queue, and the window of it that is in flight (MQTT 5.0
// sections 4.3, 4.4, 4.6, 4.9). Knows neither sockets nor packets' bytes.
//
// A message's place in the queue is its sequence number, and its packet identifier follows from that: so after a
// restart the same message has the same identifier, with nothing written for it. For a stored session (one that
// outlives its connection) the QoS 1 and 2 messages are on disk before they are sent:
//   Table::queue     session number (8) ‖ batch (8) → u8 version ‖ u64 first sequence number ‖ for each message: varint
//                    sequence number − first, varint index in the spool batch, u8 QoS | retain << 2 | shared << 3, varint
//                    bytes that it counts, varint count of subscription identifiers, varint each
//   Table::inflight  session number (8) ‖ 'o' ‖ sequence number (8) → u8: 1 = PUBREC was received, 2 = given up
// A row goes, and the marks with it, when all of its messages are done.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "bridge/packet.hpp"
#include "bridge/spool.hpp"
#include "core/fifo.hpp"
#include "core/message.hpp"
#include "core/store.hpp"

namespace diot {

using QueueSeq = std::uint64_t;

/// From 1 to 65,535, over and over.
inline PacketId packet_id_of(QueueSeq seq) { return static_cast<PacketId>(1 + (seq - 1) % 65'535); }

/// How a message is to go to one session.
struct Delivery {
  Qos qos = Qos::at_most_once;
  bool retain = false;
  bool replay = false;  ///< a retained message at SUBSCRIBE: not bounded by the queue's limits, dropped at a disconnect
                        ///< if QoS 0
  bool shared = false;  ///< for one of a group: another one may have it, while this one has not
  Ticket ticket = 0;    ///< not before this is on disk
  std::span<const std::uint32_t> subscription_ids;
};

/// Who sends what comes out of an outbox: one connection.
class DeliverySink {
 public:
  virtual ~DeliverySink() = default;
  /// More may be written now.
  virtual bool has_room() const = 0;
  /// False: this message can never be sent to this client (too large, expired): it counts as done.
  virtual bool send_publish(const Message& message, const PublishOut& how) = 0;
  virtual void send_pubrel(PacketId packet_id) = 0;
};

class Outbox {
 public:
  enum class State { idle, waits_for_acknowledgement, waits_for_disk, waits_for_room };
  enum class Pubrec { unknown, wrong, failed, released };

  Outbox(Store& store, Spool& spool, std::uint64_t session_number, bool stored);
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  /// Appends. `place` is where the message lies in the spool, for QoS 1 and 2 of a stored session; else nothing.
  void push(const MessagePtr& message, SpoolPlace place, const Delivery& delivery);
  /// Everything has been sent (but perhaps not acknowledged): a message of QoS 0 may overtake nothing.
  bool all_sent() const { return next_ == queue_.size(); }
  /// Retained messages still wait: newer ones must not overtake them.
  bool replaying() const { return replays_ > 0; }

  /// Sends what may be sent now. `window`: the most that may be unacknowledged.
  State pump(DeliverySink& sink, std::uint16_t window);

  // What the client answers. An unknown identifier is no violation: the session may have lost it. `wrong`: the message is
  // known, and this is not what it waits for (another QoS, another step).
  enum class Answer { unknown, wrong, done };
  Answer puback(PacketId packet_id);
  /// `released`: PUBREL may leave when the ticket that is open now is on disk (at once unless the session is stored).
  Pubrec pubrec(PacketId packet_id, bool failure);
  Answer pubcomp(PacketId packet_id);

  /// The connection is gone: QoS 0 goes, what was in flight will be sent again, with DUP.
  void disconnected();

  /// Messages that somebody else is to deliver: those of shared subscriptions, for others of their group (never sent; of
  /// a session that ends also those of QoS 1 that were not acknowledged, while one of QoS 2 stays, [MQTT-4.8.2-5]), or
  /// everything of a session that begins anew, where QoS 2 in doubt counts as lost. They are done here. Only while there
  /// is no connection.
  enum class Take : std::uint8_t { unsent_shared, shared, everything };
  struct Taken {
    MessagePtr message;
    Ticket ticket = 0;
    Qos qos{};
    bool retain = false, shared = false;
    std::vector<std::uint32_t> subscription_ids;
  };
  std::vector<Taken> take(Take which);

  /// The end of the turn: puts rows for what was pushed.
  void save();
  /// The session ends: forgets everything, on disk too.
  void clear();

  /// At start-up, in key order; `in_doubt_through`: what is not above it may have been sent before. False: a corrupt
  /// row.
  bool restore_row(std::uint64_t batch, ByteView value, QueueSeq in_doubt_through);
  void restore_mark(ByteView seq_and_value, std::uint8_t value);

  std::size_t waiting() const { return waiting_; }
  std::size_t in_flight() const { return in_flight_; }
  std::size_t waiting_bytes() const { return waiting_bytes_; }
  /// Messages given up at the bound or lost on disk, since the last call.
  std::uint64_t take_lost() { return std::exchange(lost_, 0); }
  QueueSeq last_sent() const { return last_sent_; }
  QueueSeq next_seq() const { return next_seq_; }
  void resume_seq(QueueSeq next) { next_seq_ = unsaved_from_ = std::max(next_seq_, next); }

 private:
  enum class Progress : std::uint8_t { queued, sent, released, done };
  struct Entry {
    QueueSeq seq = 0;
    MessagePtr message;  ///< null: in the spool
    SpoolPlace place;
    Ticket ticket = 0;
    std::uint32_t bytes = 0;
    Qos qos{};
    bool retain = false, replay = false, shared = false;
    bool in_doubt = false;  ///< may have been sent before: DUP
    Progress progress = Progress::queued;
    std::vector<std::uint32_t> subscription_ids;
  };
  /// The messages of one spool batch in this queue.
  struct Row {
    SpoolBatch* batch = nullptr;
    QueueSeq first = 0, last = 0;
    std::uint32_t left = 0;
    bool saved = false, marked = false;
  };

  Entry* find(PacketId packet_id);
  void finish(Entry& entry);
  void pop_done();
  bool is_over(std::size_t by_count, std::size_t by_bytes) const;
  void give_up_oldest();
  Fifo<Row>::iterator row_of(const SpoolBatch& batch);
  void leave_row(SpoolBatch& batch);
  void mark(const Entry& entry, std::uint8_t value);
  Bytes key_of_row(const SpoolBatch& batch) const;
  Bytes key_of_mark(QueueSeq seq) const;

  Store& store_;
  Spool& spool_;
  const std::uint64_t session_number_;
  const bool stored_;
  Fifo<Entry> queue_;              ///< ascending by seq; done ones go when they reach the front
  Fifo<Row> rows_;                 ///< ascending by batch
  std::size_t next_ = 0;           ///< index of the first entry not sent on this connection
  std::size_t in_flight_ = 0;      ///< sent on this connection and neither acknowledged nor done
  std::size_t waiting_ = 0;        ///< entries not done, without replays …
  std::size_t waiting_bytes_ = 0;  ///< … and their bytes
  std::size_t replays_ = 0;        ///< replay entries not sent
  QueueSeq next_seq_ = 1, unsaved_from_ = 1, last_sent_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace diot
