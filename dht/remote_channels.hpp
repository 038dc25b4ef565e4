#pragma once
// What this node reads: the demand of its clients, the catalogues of the handles that they name, and its place in each
// log of the channels that this leads to.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/batch.hpp"
#include "core/cursor.hpp"
#include "core/share.hpp"
#include "dht/context.hpp"
#include "dht/wire.hpp"

namespace diot {

class RemoteChannels {
 public:
  explicit RemoteChannels(OverlayContext& context) : context_(context) {}
  /// Reads cursors and catalogues.
  Result<void> load();
  /// After the broker has told the demand of the sessions that it kept: drops the places that no such session needs.
  void settle();

  void add_demand(std::string_view filter, bool durable);
  void remove_demand(std::string_view filter, bool durable);
  /// The nodes that somebody here waits for.
  std::set<NodeId> wanted() const;
  /// Every node that speaks for the filter's handle has sent its catalogue, and every channel that the filter can touch
  /// is joined there: what is published from now on arrives.
  bool acknowledged(std::string_view filter) const;
  /// Why not yet; empty if it is.
  std::string waiting_for(std::string_view filter) const;
  /// The public shares of a handle as far as they are known here; nullptr if its catalogue is not.
  const std::map<ChannelId, ShareRecord>* catalogue_of(std::string_view handle) const;

  void link_up(LinkId link, const NodeId& peer);
  void link_down(LinkId link, const NodeId& peer);
  /// A handle may have got other nodes.
  void ledger_changed();

  void on_catalogue(const NodeId& peer, ByteView bytes);
  /// The same from the DHT.
  void on_directory_record(const DirectoryRecord& record);
  void on_heads(LinkId link, const NodeId& peer, const wire::ChannelHeads& heads);
  void on_batch(LinkId link, const wire::HeldBatch& held);
  void on_gap(LinkId link, const NodeId& peer, const wire::ChannelPosition& to);
  void on_retained(LinkId link, const wire::RetainedValues& values);
  /// Asks again for what was let go while the disk was behind. About once a second.
  void tick();

  struct ChannelStatus {
    std::string handle, filter;
    ChannelId id;
    std::uint64_t durable_records = 0, live_records = 0, live_lost = 0, durable_lost = 0;
    std::size_t joined = 0;  ///< at how many of the handle's nodes
  };
  std::vector<ChannelStatus> status() const;
  std::vector<std::string> handles() const;

 private:
  struct Demand {
    std::size_t clean = 0, durable = 0;
  };
  struct Owner {
    std::map<std::string, Demand, std::less<>> filters;  ///< in the owner's names
    std::map<NodeId, LinkId> links;
    std::set<NodeId> answered;  ///< whose catalogue came over the present link
    std::uint64_t catalogue_seq = 0;
    std::uint64_t stored_seq = 0;  ///< of the catalogue on disk, which leads a restarted reader to its places
    std::map<ChannelId, ShareRecord> shares;
    bool known = false;
  };
  struct LivePlace {
    Incarnation incarnation;
    std::uint64_t seq = 0;
  };
  struct Channel {
    std::string handle;
    ShareRecord share;
    std::map<NodeId, Cursor> cursors;
    std::map<NodeId, LivePlace> live;
    std::map<NodeId, Cursor> asked;  ///< where a range was asked for, so that it is asked once
    std::map<LinkId, bool> joins;    ///< asked, and whether joined
    std::set<LinkId> let_go;         ///< whose durable batches were dropped while too much waited for the disk
    bool torn = false;               ///< part of a log is lost, and values with it: ask for all of them again
    Hash proven_header;              ///< the last header whose signature a retained value's proof showed
    std::uint64_t durable_records = 0, live_records = 0, live_lost = 0, durable_lost = 0;
  };

  void ask(Owner& owner, const std::string& handle, const NodeId& peer, LinkId link);
  void take_catalogue(const std::string& handle, Owner& owner, const DirectoryRecord& record);
  Result<std::map<ChannelId, ShareRecord>> shares_in(const std::string& handle, const DirectoryRecord& record) const;
  /// Joins the channels that the demand needs now, and leaves the others.
  void recompute(const std::string& handle, Owner& owner);
  void join(const ChannelId& id, Channel& channel, const NodeId& peer, LinkId link);
  void leave(const ChannelId& id);
  void put_cursor(const ChannelId& id, const NodeId& writer, const Cursor& cursor);
  void take_in(const ChannelId& id, Channel& channel, const BatchView& batch, std::uint32_t age_seconds);
  /// The message that a record of the channel becomes here; nullptr if it is not one, or not acceptable (counted).
  std::shared_ptr<Message> message_of(const Channel& channel, const Record& record, std::uint32_t age_seconds);
  void ask_range(LinkId link, Channel& channel, const NodeId& writer, const Cursor& from);
  bool from_the_future(HybridTime time);
  Channel* joined(LinkId link, const ChannelId& id);

  OverlayContext& context_;
  std::map<std::string, Owner, std::less<>> owners_;
  std::map<ChannelId, Channel> channels_;
  std::map<ChannelId, std::map<NodeId, Cursor>> stored_;  ///< from disk, for channels that are not joined yet
  std::map<LinkId, NodeId> links_;
};

}  // namespace diot
