#pragma once
// What this node writes: the shares of its handle and the batches of each public one.

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
#include "dht/channel_logs.hpp"
#include "dht/context.hpp"
#include "dht/wire.hpp"

namespace diot {

class OwnChannels {
 public:
  OwnChannels(OverlayContext& context, ChannelLogs& logs) : context_(context), logs_(logs) {}
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
  /// Made anew, and sent to those who follow it.
  void announce_catalogue();

  // Messages.
  Route route_of(std::string_view topic) const;
  Route publish(const MessagePtr& message);

  // Wills of this home's clients (OverlayPort). They are said to others at the next tick: those of clients that come for
  // a moment leave no record.
  void set_will(std::uint64_t number, const MessagePtr& will, std::uint32_t delay_seconds);
  void clear_will(std::uint64_t number);
  Route publish_will(std::uint64_t number, const MessagePtr& message);
  /// The broker has set all wills that it kept: what else was set before this process is over.
  void settle();
  /// Wills, and presence where there are some. About once a second.
  void tick();

  /// Forms the batches of this turn; before the store is sealed.
  void end_turn();
  /// A new life of this node: from here on every log goes on in it.
  void begin_incarnation();
  /// Another process writes as this node: what follows is kept, and nothing of it leaves while this process runs.
  void hold_back();

  // Readers.
  void follow_catalogue(LinkId link);
  void link_down(LinkId link);
  bool has(const ChannelId& id) const { return channels_.contains(id); }
  /// A reader has seen a later one of ours than it got: ours goes on behind it.
  void on_own_catalogue(const DirectoryRecord& record);
  // Own records of an earlier life that a peer holds and we do not: a restored backup, a disk that failed.
  /// A peer told how far it has one of our logs. True: it has more than we, in our present life (so this process was
  /// copied), or a later life than ours (a backup on a machine whose clock is behind): ours must end.
  bool on_own_position(LinkId link, const ChannelId& id, const wire::Position& position);
  void on_own_batch(LinkId link, const BatchView& batch, const wire::HeldBatch& held);

  struct ChannelStatus {
    std::string filter;
    ChannelId id;
    std::uint64_t durable_records = 0, live_records = 0, durable_batches = 0, log_bytes = 0;
    std::size_t members = 0;
  };
  std::vector<ChannelStatus> status() const;

 private:
  struct OpenRecord {
    Bytes bytes;
    bool retained = false;  ///< gives the batch a Merkle root
    bool is_value = false;  ///< becomes the topic's retained value here (a tombstone that only takes back what
                            ///< another share covers now does not)
    std::string topic;
    MessagePtr message;  ///< nullptr = tombstone
    std::optional<std::uint64_t> sets_will = {}, clears_will = {};
  };
  struct OwnWill {
    MessagePtr message;
    std::uint32_t delay_seconds = 0;
    ChannelId channel;  ///< where it is set; zero: nowhere yet
  };
  struct Channel {
    ShareId share;
    std::optional<BatchWriter> durable, live;
    std::vector<OpenRecord> open_durable, open_live;
    std::size_t open_durable_bytes = 0, open_live_bytes = 0;
    Cursor known;                      ///< end of the logs of earlier lives, as far as they are here …
    std::map<LinkId, Cursor> fetches;  ///< … and how far a peer that sends them back has them
    std::uint64_t durable_records = 0, live_records = 0, durable_batches = 0;
    bool had_wills = false;   ///< in this life or an earlier one; on disk
    bool lost_wills = false;  ///< an earlier life that we had forgotten had some
    Monotonic said_live{};    ///< when it last wrote to the live stream
  };

  Route publish(const MessagePtr& message, bool durable);
  // own_wills.cpp
  static Bytes meta_wills(const ChannelId& channel);
  /// Says of each will, in the log of the share that covers it now, that it stands.
  void place_wills();
  void place_will(std::uint64_t number, OwnWill& will);
  void say_cleared(std::uint64_t number, OwnWill& will);
  /// Says all of them again in the present life, and that of earlier ones no other stands.
  void say_wills_again(const ChannelId& id, Channel& channel);
  void take_back_retained(const ChannelId& id, const BatchView& batch, std::uint32_t age_seconds);
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
  Bytes make_catalogue();
  void tell_catalogue(Bytes made);
  void take(const ChannelId& id, Channel& channel, Stream stream, const Record& record, OpenRecord open);
  void take(const ChannelId& id, Channel& channel, Stream stream, OpenRecord open);
  void form_durable(const ChannelId& id, Channel& channel);
  void form_live(const ChannelId& id, Channel& channel);
  Bytes seal(const ChannelId& id, Channel& channel, Stream stream, const std::vector<OpenRecord>& records);

  OverlayContext& context_;
  ChannelLogs& logs_;
  Shares shares_;
  std::map<ShareId, Bytes> records_;  ///< as signed, in wire form
  std::map<ChannelId, Channel> channels_;
  Bytes catalogue_;  ///< as it was told: what it lists is on disk
  std::uint64_t catalogue_seq_ = 0;
  std::vector<LinkId> followers_;
  std::vector<ChannelId> dirty_;  ///< channels with open records
  bool held_back_ = false;
  std::map<std::uint64_t, OwnWill> wills_;  ///< by number; those that no share covers too
  std::size_t will_bytes_ = 0;
  bool wills_changed_ = false;
};

}  // namespace diot
