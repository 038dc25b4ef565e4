#pragma once
// The retained messages of this node: its own, and copies of those of the channels that it carries. In memory, with a
// row each in Table::retained.

#include <functional>
#include <memory>
#include <string_view>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/message.hpp"
#include "core/store.hpp"

namespace diot {

/// One process life of one writer. Ordered: the number counts, the random half tells clones apart.
struct Incarnation {
  std::uint64_t number = 0;
  std::uint64_t random = 0;
  auto operator<=>(const Incarnation&) const = default;
};

/// Which of two retained values of a topic is the later one, the same at every node.
struct Stamp {
  HybridTime time = 0;
  NodeId writer;
  Incarnation incarnation;
  std::uint64_t seq = 0;
  auto operator<=>(const Stamp&) const = default;
};

struct RetainedValue {
  MessagePtr message;  ///< nullptr: a tombstone, kept for limits::tombstone_age_max so that older values stay dead
  Stamp stamp;
  ChannelId channel;  ///< zero: in no channel
  Bytes proof;        ///< in a channel: (header, salt, record, path) as in docs/protocol.md, "Retained record"
  Ticket ticket = 0;  ///< the transaction that holds the row
};

/// What a value counts against limits::retained_bytes_max: its message and its proof. A tombstone has no message.
std::size_t message_bytes(const Message& message);
inline std::size_t bytes_of(const RetainedValue& value) {
  return value.proof.size() + (value.message ? message_bytes(*value.message) : 0);
}

class Retained {
 public:
  struct Use {
    std::size_t count = 0, bytes = 0;
  };

  Retained(Store& store, const Clock& clock);
  ~Retained();

  /// Reads the table; call once, before anything else. Damaged rows are dropped and counted.
  Result<void> load();
  /// Whether a value of `bytes` (bytes_of) may come to the topic within limits::retained_count_max and
  /// retained_bytes_max. To be asked before a value is taken from anybody: `set` does not refuse what was taken.
  bool has_room(std::string_view topic, std::size_t bytes) const;
  /// Keeps the value if it is later than the one that is there, and says whether it did. The value's ticket is set here.
  /// A tombstone in no channel just ends the value: there is nobody who could bring an older one back.
  bool set(std::string_view topic, RetainedValue value);
  /// The same, once the wall clock has come to `at`: its writer is ahead of time. Kept on disk, and let go with its channel;
  /// of a topic the first and the latest that came. It counts in `use` meanwhile. False: there is no room (as in has_room).
  bool set_at(WallMs at, std::string_view topic, RetainedValue value);
  /// From now on `match` shows this retained message in the place of the topic's value (nothing, if it has no payload), until
  /// a later value comes or the veil is lifted: what a derived will says of a topic whose log it must not change. On disk.
  void veil(const MessagePtr& message, const ChannelId& channel);
  /// Whether there was one.
  bool unveil(std::string_view topic);
  bool has_veils() const;
  /// The value of one topic, or nullptr; tombstones are returned too, and no veils.
  const RetainedValue* find(std::string_view topic) const;
  /// Visits every value (no tombstones, nothing expired) whose topic matches the filter. Nothing may be set meanwhile.
  void match(std::string_view filter,
             const std::function<void(const std::string& topic, const RetainedValue&)>& visit) const;
  /// Visits every value and tombstone of a channel.
  void of_channel(const ChannelId& channel,
                  const std::function<void(const std::string& topic, const RetainedValue&)>& visit) const;
  /// Values, tombstones and what waits for its time, of a channel, and of all.
  Use use(const ChannelId& channel) const;
  Use use() const;
  /// Drops the copies of a channel, but for the topics that `keep` wants; without a `keep` also its veils and what waits for
  /// its time.
  void erase_channel(const ChannelId& channel, const std::function<bool(const std::string& topic)>& keep = {});
  /// Sets what was early and has come to its time; drops expired values (in a channel a tombstone with their stamp remains)
  /// and old tombstones. A slice of the work a
  /// call; call about once a second.
  void tick();
  /// Values, without tombstones.
  std::size_t size() const;
  std::size_t damaged_rows() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace diot
