#pragma once
// The channels that this node holds, its own and those that it reads: of each the log of every writer as far as it is
// here, and the members that get it from here. A member is served alike whoever wrote the log; who serves without having
// written is a forwarder.

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/batch.hpp"
#include "core/cursor.hpp"
#include "core/limits.hpp"
#include "dht/context.hpp"
#include "dht/wire.hpp"

namespace diot {

/// How far a log is held here.
struct LogEnd {
  Cursor cursor;
  Bytes header;  ///< the signed header that the cursor is the end of (276 bytes); empty: there is none, or unknown
  HybridTime time = 0;  ///< of that header: no later one is below it
};

/// A header without its body, signed by `writer` for the durable log of `channel`; nullopt if the bytes are anything else.
std::optional<BatchView> signed_header(ByteView bytes, const ChannelId& channel, const NodeId& writer,
                                       const NetworkId& network);
/// The header that proves a place in the log of a channel; nullopt if nothing does.
std::optional<BatchHeader> proven_header(const wire::Position& position, const ChannelId& channel,
                                         const NetworkId& network);

/// How much of the logs stays on disk.
struct Retention {
  std::uint64_t bytes_max = limits::store_bytes_max;             ///< of all logs together …
  std::uint64_t handle_bytes_max = limits::store_bytes_max / 4;  ///< … of one other handle …
  std::uint64_t log_bytes_max = limits::log_bytes_max;           ///< … and of each
  std::chrono::seconds age_max = limits::log_age_max;
};

class ChannelLogs {
 public:
  explicit ChannelLogs(OverlayContext& context) : context_(context) {}
  /// Reads the ends of all logs.
  Result<void> load();

  /// Begins to hold a channel of another handle, or tells whose it is.
  void open(const ChannelId& id, const std::string& handle) { channels_[id].handle = handle; }
  /// The same for one that this node writes.
  void open_own(const ChannelId& id) { channels_[id].logs[context_.self()]; }
  /// Forgets it, on disk too.
  void close(const ChannelId& id);
  bool holds(const ChannelId& id) const { return channels_.contains(id); }
  std::vector<ChannelId> held() const;
  /// Where the logs of a writer end, as far as they are held here.
  CutOffs ends_of(const NodeId& writer) const;

  // Logs ---------------------------------------------------------------------------------------------------------
  /// nullptr: nothing is known of that log.
  const LogEnd* end(const ChannelId& id, const NodeId& writer) const;
  std::vector<NodeId> writers(const ChannelId& id) const;
  /// Keeps a batch that follows the log's end (the caller judged and verified it), in the open transaction. Members get
  /// it: one of this node's own once it is on disk, others at once. `age_seconds`: since it was signed, as whoever sent it
  /// says. `from` is a member that has it already.
  void append(const ChannelId& id, const BatchView& batch, Bytes wire, std::uint32_t age_seconds,
              std::optional<LinkId> from = {});
  /// Keeps a batch from before the log's end whose row is not here: damaged, or of a life that a backup lacked.
  void restore(const ChannelId& id, const BatchView& batch, Bytes wire, std::uint32_t age_seconds);
  /// Moves a log's end without batches: where a reader starts, or across what nobody has.
  void jump(const ChannelId& id, const NodeId& writer, LogEnd end);
  /// The held batch that begins at `first_seq`, if it is here.
  std::optional<Bytes> find(const ChannelId& id, const NodeId& writer, const Incarnation& incarnation,
                            std::uint64_t first_seq);
  /// From now on nobody gets what this node writes: its logs grow here alone, until it is restarted.
  void hold_back();
  /// Passes a batch of the live stream to the members.
  void pass_live(const ChannelId& id, std::uint32_t records, std::uint32_t age_seconds, ByteView wire,
                 std::optional<LinkId> from = {});
  /// A retained value that came without its batch: members that have their snapshot get it too.
  void pass_retained(const ChannelId& id, const std::string& topic, LinkId from);

  /// Whether the copies of the channel's retained values were all here once, of the topics that `filters` match (none: of
  /// all); they keep up by the logs from then on.
  bool copies_complete(const ChannelId& id, const std::vector<std::string>& filters = {}) const;
  void set_copies_complete(const ChannelId& id, const std::vector<std::string>& filters);
  void set_copies_incomplete(const ChannelId& id);

  // Members ------------------------------------------------------------------------------------------------------
  bool has_members(const ChannelId& id) const;
  void join(LinkId link, const NodeId& peer, const wire::ChannelJoin& join);
  void leave(LinkId link, const ChannelId& channel);
  void resend(LinkId link, const wire::ChannelPosition& from);
  void writable(LinkId link);
  void link_down(LinkId link);

  void set_retention(const Retention& retention) { retention_ = retention; }
  /// What a member needs is not here: a row was damaged on disk, or was never held. To be fetched from behind `before`.
  std::function<void(const ChannelId& id, const NodeId& writer, const Cursor& before)> on_lack;
  /// Retention. About once a second.
  void tick();

  std::uint64_t log_bytes(const ChannelId& id) const;
  std::size_t members(const ChannelId& id) const;

 private:
  /// What a batch is about, for members with filters.
  struct Topics {
    bool known = false;  ///< else nobody can tell, and everybody gets the body
    std::vector<std::string> names;
    bool concern(const std::vector<std::string>& filters) const;
  };
  static Topics topics_of(const BatchView& batch);
  struct SentBatch {
    BatchHeader header;
    Hash hash;
    Bytes wire;
    HeldMs since = 0;                   ///< when it was signed
    std::optional<Topics> topics = {};  ///< once somebody asks
  };
  struct Log {
    LogEnd end;      ///< some of it perhaps not on disk yet
    Cursor on_disk;  ///< end of what the store can read back
    Cursor held_at;  ///< of an own log, since hold_back: the end of what may leave
    std::uint64_t bytes = 0;
    std::deque<SentBatch> recent;  ///< newest batches, contiguous up to `end`
    std::size_t recent_bytes = 0;
  };
  struct Member {
    NodeId node;
    std::uint64_t number = 0;            ///< of its join
    std::vector<std::string> filters;    ///< none: it wants everything
    std::map<NodeId, Cursor> positions;  ///< by writer: end of what was handed to the link
    std::map<NodeId, Cursor> lacks;  ///< … and where it stood when it was first told that what follows is not here
    bool wants(std::string_view topic) const;
    std::vector<std::string> snapshot;  ///< topics whose retained values it still gets, last one first …
    std::vector<std::string> unsaved;   ///< … those that wait for the disk …
    Ticket saved_by = 0;                ///< … until it has this transaction …
    bool waits_for_disk = false;        ///< … which it will tell us …
    std::vector<WillKey> wills;         ///< … the wills that stand …
    bool snapshot_open = false;         ///< … and then the frame that says that these were all
    bool snapshot_due = false;          ///< it asked for all of them, and gets them once they are all here
  };
  struct Channel {
    std::string handle;  ///< whose it is; empty: ours, or not known yet
    std::map<NodeId, Log> logs;
    std::map<LinkId, Member> members;
    std::optional<std::vector<std::string>>
        copies;  ///< complete for what these match (none: all); not set: not complete
    bool all_copies() const { return copies && copies->empty(); }
  };

  Log& log(const ChannelId& id, const NodeId& writer);
  void save_end(const ChannelId& id, const NodeId& writer, const Log& log);
  void wait_for_disk(const ChannelId& id, const NodeId& writer, const Cursor& end);
  const Cursor& servable(const NodeId& writer, const Log& log) const;
  void pump(const ChannelId& id, Channel& channel, LinkId link, Member& member);
  void pump_log(const ChannelId& id, const NodeId& writer, Log& log, LinkId link, Member& member);
  bool send_from_memory(const NodeId& writer, Log& log, LinkId link, Member& member);
  bool send_from_disk(const ChannelId& id, const NodeId& writer, const Log& log, LinkId link, Member& member);
  /// `whole`: with the body.
  void send_batch(LinkId link, HeldMs since, ByteView wire, bool whole);
  void send_gap(LinkId link, const ChannelId& id, const NodeId& writer, Member& member, const LogEnd& to,
                ByteView next_header);
  void open_snapshot(const ChannelId& id, Member& member);
  /// Not so while a change of ours, perhaps the end of a value, could be undone by a crash.
  bool is_saved(const NodeId& writer, Ticket ticket) const;
  /// Whether what this node wrote in that transaction and life may leave in a snapshot.
  bool may_leave(const NodeId& writer, Ticket ticket, const Incarnation& incarnation) const;
  void send_snapshot(const ChannelId& id, LinkId link, Member& member);
  bool wait_for_disk(const ChannelId& id, LinkId link, Member& member);
  /// Drops the oldest batches: those beyond retention, and more until the log has at most `bytes_max`.
  void prune(const ChannelId& id, const NodeId& writer, Log& log, std::uint64_t bytes_max);
  void keep_within_bounds();

  OverlayContext& context_;
  std::map<ChannelId, Channel> channels_;
  std::optional<Incarnation> held_back_;  ///< own records of later lives than this stay here
  Monotonic next_prune_{};
  Retention retention_;
};

}  // namespace diot
