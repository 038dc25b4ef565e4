#pragma once
// What this node writes: the shares of its handle, the log of each public one, and the members that get it.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/batch.hpp"
#include "core/cursor.hpp"
#include "core/share.hpp"
#include "dht/context.hpp"
#include "dht/wire.hpp"

namespace diot {

class OwnChannels {
 public:
  explicit OwnChannels(OverlayContext& context) : context_(context) {}
  /// Reads shares and the ends of their logs.
  Result<void> load();

  // Shares. Changes are signed by this node, which needs the role admin, and take effect at once; `done` of the
  // caller's answer should wait for the store.
  Result<ShareRecord> add(const std::string& filter, Preset preset);
  Result<ShareRecord> change(const std::string& filter, Preset preset);
  Result<ShareRecord> remove(const std::string& filter);
  const Shares& shares() const { return shares_; }
  /// The signed list of the public shares, for readers and for the DHT.
  const Bytes& catalogue() const { return catalogue_; }

  // Messages.
  Route route_of(std::string_view topic) const;
  Route publish(const MessagePtr& message);
  /// Forms the batches of this turn; before the store is sealed.
  void end_turn();
  /// Retention. About once a second.
  void tick();

  // Readers.
  void follow_catalogue(LinkId link);
  void join(LinkId link, const wire::ChannelJoin& join);
  void leave(LinkId link, const ChannelId& channel);
  void resend(LinkId link, const wire::ChannelPosition& from);
  void writable(LinkId link);
  void link_down(LinkId link);

  struct ChannelStatus {
    std::string filter;
    ChannelId id;
    std::uint64_t durable_records = 0, live_records = 0, durable_batches = 0, log_bytes = 0;
    std::size_t members = 0;
  };
  std::vector<ChannelStatus> status() const;

 private:
  struct SentBatch {
    BatchHeader header;
    Hash hash;
    Bytes wire;
  };
  struct Member {
    Cursor position;                    ///< end of what was handed to the link
    std::vector<std::string> snapshot;  ///< topics whose retained values it still gets, last one first …
    bool snapshot_open = false;         ///< … and then the frame that says so
  };
  struct OpenRecord {
    Bytes bytes;
    bool retained = false;  ///< gives the batch a Merkle root
    bool is_value = false;  ///< becomes the topic's retained value here (a tombstone that only takes back what
                            ///< another share covers now does not)
    std::string topic;
    MessagePtr message;  ///< nullptr = tombstone
  };
  struct Channel {
    ShareId share;
    std::optional<BatchWriter> durable, live;
    std::vector<OpenRecord> open_durable, open_live;
    std::size_t open_durable_bytes = 0, open_live_bytes = 0;
    Cursor written;  ///< end of the log, some of it perhaps not on disk yet
    Cursor head;     ///< end of what is on disk: what readers may have
    std::uint64_t log_bytes = 0;
    std::deque<SentBatch> recent;  ///< newest batches, contiguous up to `written`
    std::size_t recent_bytes = 0;
    std::map<LinkId, Member> members;
    std::uint64_t durable_records = 0, live_records = 0, durable_batches = 0;
  };

  Result<const HandleRecord*> may_change() const;
  Result<ShareRecord> find(const std::string& filter) const;
  Result<void> check_preset(Preset preset) const;
  void insert(const HandleRecord& own, const std::string& filter, Preset preset, ShareRecord& record);
  void erase(const ShareRecord& record);
  void changed();
  void open_channel(const ShareRecord& share);
  void close_channel(const ChannelId& id);
  /// Moves the retained values of this home to the channels that the shares now give them.
  void rehome_retained();
  void make_catalogue();
  void take(const ChannelId& id, Channel& channel, Stream stream, const Record& record, OpenRecord open);
  void form_durable(const ChannelId& id, Channel& channel);
  void form_live(const ChannelId& id, Channel& channel);
  Bytes seal(const ChannelId& id, Channel& channel, Stream stream, const std::vector<OpenRecord>& records);
  void on_disk(const ChannelId& id, const Cursor& end);
  void pump(const ChannelId& id, Channel& channel, LinkId link, Member& member);
  void send_batch(LinkId link, const BatchHeader& header, ByteView wire);
  void send_gap(LinkId link, const ChannelId& id, const Cursor& to);
  bool send_from_memory(Channel& channel, LinkId link, Member& member);
  void send_from_disk(const ChannelId& id, Channel& channel, LinkId link, Member& member);
  void send_snapshot(const ChannelId& id, LinkId link, Member& member);
  void save_end(const ChannelId& id, const Channel& channel);
  void prune(const ChannelId& id, Channel& channel);

  OverlayContext& context_;
  Shares shares_;
  std::map<ShareId, Bytes> records_;  ///< as signed, in wire form
  std::map<ChannelId, Channel> channels_;
  Bytes catalogue_;
  std::uint64_t catalogue_seq_ = 0;
  std::vector<LinkId> followers_;
  std::vector<ChannelId> dirty_;  ///< channels with open records
  Monotonic next_prune_{};
};

}  // namespace diot
