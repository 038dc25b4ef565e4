#pragma once
// The wills that clients of this home and of others have set on shared topics, and when those of others are due here: a
// will stands from its writer's record on until one that clears it, and is delivered by a reader's node itself when its
// writer has not been heard for the presence lease and the will's delay (docs/protocol.md, "Wills"). In memory; those of
// others with a row each in Table::retained, which joins the open transaction, as the reader's place in the log does.
//
// No messages are made here, and no links are known: records, silence and time come in, and wills that are due go out.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/batch.hpp"
#include "core/clock.hpp"
#include "core/store.hpp"

namespace diot {

struct WillKey {
  ChannelId channel;
  NodeId writer;
  std::uint64_t number = 0;  ///< the writer's name for it
  auto operator<=>(const WillKey&) const = default;
};

/// Where in its writer's log a record is.
struct LogPlace {
  Incarnation incarnation;
  std::uint64_t seq = 0;
  auto operator<=>(const LogPlace&) const = default;
};

struct HeldWill {
  Record record;  ///< kind will_set, with a number
  LogPlace place;
  Hash header_hash;      ///< of its batch
  Bytes proof;           ///< docs/protocol.md, "Retained record"
  bool derived = false;  ///< delivered here: for this will never again
  Monotonic since{};     ///< known here since then
  Ticket ticket = 0;     ///< the transaction that was open when it came

  /// What it counts against limits::wills_bytes_max.
  std::size_t bytes() const { return 2 * proof.size(); }  // it is kept decoded, too
};
/// What the proof of a will that is set says; nullopt if it is of anything else.
std::optional<std::pair<WillKey, HeldWill>> will_of(const ProvenRecord& proven, ByteView proof);

class WillTable {
 public:
  struct Use {
    std::size_t count = 0, bytes = 0;
  };

  /// `self`: wills of that writer are never due, and have no rows: it sets them again when it starts.
  WillTable(Store& store, const NodeId& self) : store_(store), self_(self) {}
  /// Reads the rows. Once, before anything else.
  Result<void> load();

  /// A will that was derived ends: replaced by nothing, as its writer has spoken since.
  std::function<void(const WillKey& key, const HeldWill& will)> on_over;

  // What logs say, in each writer's order ---------------------------------------------------------------------------
  /// It stands from here on. The same number again is the same will: what was derived stays so. False: a later record has
  /// been seen. Bounds are the caller's (use).
  bool set(const WillKey& key, HeldWill will, Monotonic now);
  void clear(const WillKey& key, const LogPlace& by);
  /// Of the lives of this writer before `incarnation` no will stands any more.
  void end_lives_before(const ChannelId& channel, const NodeId& writer, const Incarnation& incarnation);
  /// Drops the channel's wills but for topics that `keep` wants; without `keep` all that is known of it.
  void erase_channel(const ChannelId& channel, const std::function<bool(const std::string& topic)>& keep = {});

  const HeldWill* find(const WillKey& key) const;
  void of_channel(const ChannelId& channel,
                  const std::function<void(const WillKey& key, const HeldWill& will)>& visit) const;
  bool has_any(const ChannelId& channel, const NodeId& writer) const;
  Use use(const ChannelId& channel) const;
  const Use& total() const { return use_; }

  // Snapshots: all wills of a channel at once, from a holder whose logs end no earlier than ours did at begin_snapshot.
  // What the logs say meanwhile is later than what it says.
  void begin_snapshot(const ChannelId& channel);
  /// One of them. The caller keeps what is offered within bounds.
  void offer(const WillKey& key, HeldWill will);
  Use offered(const ChannelId& channel) const;
  /// These were all: what else was known before is gone. `has_room` is asked of each then. False: it cannot be used,
  /// because too much changed meanwhile.
  bool end_snapshot(const ChannelId& channel, Monotonic now,
                    const std::function<bool(const WillKey& key, const HeldWill& will)>& has_room);
  void drop_snapshot(const ChannelId& channel);

  // Presence and time --------------------------------------------------------------------------------------------
  /// From now on somebody here listens to the channel: before that nobody could have heard its writers. Until then its
  /// wills wait.
  void listen(const ChannelId& channel, Monotonic now);
  void stop_listening(const ChannelId& channel);
  /// The writer lived then.
  void heard(const NodeId& writer, Monotonic when);
  /// Wills that are due, at most limits::wills_derived_per_second_max. To be asked about once a second: a longer pause is
  /// one in which nobody could have been heard. They stay due until `set_derived`.
  std::vector<WillKey> due(Monotonic now);
  /// To be called in the transaction that what is delivered goes into.
  void set_derived(const WillKey& key);
  /// That life of the writer goes on: wills of it that were derived are over (on_over), though they still stand.
  void lives_on(const ChannelId& channel, const NodeId& writer, const Incarnation& incarnation);

 private:
  struct Log {
    std::map<std::uint64_t, HeldWill> wills;
    Incarnation begins;  ///< no will of a life before it stands
  };
  struct Snapshot {
    std::map<WillKey, HeldWill> offered;
    std::set<WillKey> touched;  ///< by the logs since it began
    std::size_t bytes = 0;
    bool spoilt = false;
  };
  struct Channel {
    std::map<NodeId, Log> logs;
    std::optional<Monotonic> listening;
    std::optional<Snapshot> snapshot;
    Use use;
  };
  using Wills = std::map<std::uint64_t, HeldWill>;
  Wills::iterator erase(Channel& channel, const WillKey& key, Log& log, Wills::iterator will);
  void touch(Channel& channel, const WillKey& key);
  void save(const WillKey& key, const HeldWill& will);
  void count(Channel& channel, const HeldWill& will, bool more);

  Store& store_;
  const NodeId self_;
  std::map<ChannelId, Channel> channels_;
  std::map<NodeId, Monotonic> heard_;  ///< of writers with wills
  Monotonic awake_since_{}, asked_{};
  Use use_;
};

}  // namespace diot
