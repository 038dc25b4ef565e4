#pragma once
// What this node reads: the demand of its clients and of members who cannot reach an owner themselves, the catalogues of
// the handles that they name, and the channels that this leads to, from the owner's nodes or, while one of them is out of
// reach, from other members.

#include <functional>
#include <map>
#include <optional>
#include <set>
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

class RemoteChannels {
 public:
  RemoteChannels(OverlayContext& context, ChannelLogs& logs);
  /// Reads catalogues and forks; after the logs.
  Result<void> load();
  /// After the broker has told the demand of the sessions that it kept: these go on where they were; what else is held
  /// stays for other members for limits::carry_time. `own`: channels that are none of ours here.
  void settle(const std::function<bool(const ChannelId&)>& own);

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

  /// A member asks for a catalogue, and to have channels carried for it.
  void on_catalogue_get(LinkId link, const wire::CatalogueGet& get);
  void on_catalogue(LinkId link, const NodeId& peer, const DirectoryRecord& record);
  /// The same from the DHT.
  void on_directory_record(const DirectoryRecord& record);
  void on_heads(LinkId link, const NodeId& peer, const wire::ChannelHeads& heads);
  void on_batch(LinkId link, const BatchView& batch, const wire::HeldBatch& held);
  void on_gap(LinkId link, const NodeId& peer, const wire::ChannelGap& gap);
  void on_retained(LinkId link, const wire::RetainedValues& values);
  /// A batch that a member asks us for is damaged on disk, or was never held, as this node was off meanwhile or read less:
  /// it is fetched from whoever else has it. The member is told of the gap until then.
  void on_lack(const ChannelId& id, const NodeId& writer, const Cursor& before);
  /// Asks again for what was let go while the disk was behind. About once a second.
  void tick();

  struct ChannelStatus {
    std::string handle, filter;
    ChannelId id;
    std::uint64_t durable_records = 0, live_records = 0, live_lost = 0, durable_lost = 0;
    std::size_t joined = 0;        ///< at how many nodes
    std::size_t members = 0;       ///< that get it from here
    std::uint64_t log_bytes = 0;   ///< held here
    std::vector<NodeId> withheld;  ///< writers whose next records only nodes out of reach may still have
  };
  std::vector<ChannelStatus> status() const;
  /// A writer that signed two different things as one: its node was copied. Nothing of that life is taken any more.
  struct Fork {
    std::string handle;
    ChannelId channel;
    NodeId writer;
    Incarnation incarnation;
  };
  std::vector<Fork> forks() const;
  std::vector<std::string> handles() const;

 private:
  struct Demand {
    std::size_t clean = 0, durable = 0;
  };
  struct Helper {
    bool answered = false;
    Monotonic asked{};
    Monotonic brought{};  ///< when something new of the owner's came by it last
  };
  struct Owner {
    std::map<std::string, Demand, std::less<>> filters;      ///< of clients here, in the owner's names
    std::map<LinkId, std::vector<std::string>> for_members;  ///< what these asked us to carry
    std::map<NodeId, LinkId> links;                          ///< to the owner's nodes
    std::set<NodeId> answered;                               ///< whose catalogue came over the present link
    std::map<LinkId, Helper> helpers;  ///< other members, asked while an owner's node is out of reach
    Monotonic out_of_reach_since{};    ///< zero: all of the owner's nodes are linked
    std::uint64_t catalogue_seq = 0;
    Bytes catalogue;  ///< as signed; on disk too, where it leads a restarted reader to its places
    std::map<ChannelId, ShareRecord> shares;
    bool known = false;
    bool wanted() const { return !filters.empty() || !for_members.empty(); }
  };
  struct LivePlace {
    Incarnation incarnation;
    std::uint64_t seq = 0;
  };
  struct Join {
    bool joined = false;  ///< as the answer to the latest join says
    bool before = false;  ///< joined already when it was asked for something else
    bool skips = false;   ///< it may leave out the bodies of what no filter of ours matches
    Monotonic asked{};
    std::vector<std::string> filters;  ///< what it was asked for; none: everything
    std::set<NodeId> told;             ///< writers in whose logs we said where we are: what follows comes by itself
    std::map<NodeId, Cursor> ends;     ///< how far it held the logs when it answered
    std::uint64_t number = 0;
    bool snapshot = false;  ///< all retained values were asked for
    bool waits = false;     ///< no answer has come yet
  };
  /// What is missing behind a log's end, and who has been asked for it.
  struct Missing {
    Cursor place;
    std::optional<LinkId> asked;
    std::map<LinkId, LogEnd> lacking;  ///< who said that it is not held there, and what it holds next
    Monotonic since{}, next_try{};
  };
  /// What is being fetched into the middle of a log, for members.
  struct Mending {
    Cursor before;
    Monotonic since{};  ///< when it began, or something of it came last
    bool asked = false;
    bool filled = false;   ///< something came
    bool lacking = false;  ///< who was asked does not have all of it …
    bool over = false;     ///< … and nothing that we lack ourselves: nobody is asked for a while
  };
  struct Channel {
    /// By which it is read here: two where one demand came by the provisional name and another by the handle. Each gets all.
    std::set<std::string, std::less<>> handles;
    ShareRecord share;
    std::set<NodeId> followed;  ///< writers whose logs go on from their ends here, without a gap
    std::map<NodeId, LivePlace> live;
    std::map<NodeId, Missing> missing;
    std::map<LinkId, Join> joins;
    std::set<LinkId> let_go;              ///< whose durable batches were dropped while too much waited for the disk
    std::map<NodeId, Mending> mending;    ///< by writer
    std::optional<LinkId> snapshot_from;  ///< who is sending all retained values …
    Monotonic snapshot_since{};           ///< … since when, or when some came last …
    std::vector<std::string> snapshot_filters;  ///< … that these match (none: all) …
    std::set<std::string> fresh;                ///< … and what came since then; at the end the other copies go
    std::map<NodeId, Cursor> since;             ///< where the logs began that fill in what the snapshot does not have
    Hash proven_header;                         ///< the last header whose signature a retained value's proof showed
    std::uint64_t durable_records = 0, live_records = 0, live_lost = 0, durable_lost = 0;
  };

  // remote_channels.cpp: who wants what, and who is asked for it
  void ask(Owner& owner, const std::string& handle, const NodeId& peer, LinkId link);
  void ask_owners(Owner& owner, const std::string& handle);
  void on_catalogue(LinkId link, const NodeId& peer, const DirectoryRecord& record, const std::string& handle,
                    Owner& owner);
  /// Whether some node of the owner is not linked, so that other members are needed.
  bool out_of_reach(const Owner& owner, const std::string& handle) const;
  void seek_helpers(Owner& owner, const std::string& handle);
  /// Not everybody who is asked can reach the owner: who brings nothing makes room for another, but for the one that brought
  /// something last.
  void change_helper(Owner& owner, const std::string& handle);
  void dismiss_helpers(Owner& owner, const std::string& handle);
  void dismiss(LinkId helper, const std::string& handle);
  void brought_something(const Channel& channel, LinkId link);
  /// What this node took when its signer spoke for the handle stays good for it, also when that node is revoked later:
  /// so who comes back still gets from others what counts of its logs.
  enum class Signer { of_now, judged_before };
  void take_catalogue(const std::string& handle, Owner& owner, const DirectoryRecord& record, Signer signer);
  Result<std::map<ChannelId, ShareRecord>> shares_in(const std::string& handle, const DirectoryRecord& record,
                                                     Signer signer) const;
  static bool wants(const Owner& owner, std::string_view filter);
  bool wants_durably(const Channel& channel) const;
  /// Whether the link leads to a node of the channel's owner, who has all of its values.
  bool is_owners(const Channel& channel, LinkId link) const;
  /// Who has not got all values itself may wait for ours in turn: somebody else is asked, an owner's node first.
  void ask_another_for_values(const ChannelId& id, Channel& channel);
  /// Joins the channels that the demand needs now, and leaves the others.
  /// `tells`: subscribers get values that a name gets by it; not where they are about to see them.
  void recompute(const std::string& handle, Owner& owner, bool tells = true);
  /// Our copies of the retained values, under one name more.
  void copy_retained(const ChannelId& id, const std::string& handle, bool tells);
  /// The logs go on where they are: somebody has counted on every record since before the restart.
  void resume(const ChannelId& id, Channel& channel);
  /// Those that read the channel here.
  std::vector<const Owner*> readers(const Channel& channel) const;
  void join(const ChannelId& id, Channel& channel, LinkId link);
  /// What a link is asked for: the filters of our clients, if it leads to the writer itself, who alone is believed that
  /// nothing else was in a batch whose body it leaves out, and if nobody gets the channel from us. None: everything.
  std::vector<std::string> filters_for(const Channel& channel, LinkId link) const;
  /// Whether all that the logs do not bring us is in what this link sends as the retained values.
  bool knows_enough(const Channel& channel, LinkId link) const;
  void leave(const ChannelId& id, bool share_ended);
  void forget(const ChannelId& id);
  // remote_logs.cpp: what comes
  Result<void> load_forks();
  /// The log's end as the peer tells it, if it is to be believed.
  std::optional<LogEnd> believed(const ChannelId& id, const wire::Position& position, const NodeId& peer) const;
  /// Whether copies of this topic's values stay right: its batches come with their bodies.
  bool keeps(const Channel& channel, std::string_view topic) const;
  /// Whether our copies say all that there is to say of this value: the log has brought us here from behind it, so that it is
  /// what we have, or over. Who lags behind us may have it still; and of what was over before we came we hold no tombstone
  /// that would keep it out.
  bool is_known(const Channel& channel, const ProvenRecord& value) const;
  void take_in(Channel& channel, const BatchView& batch, std::uint32_t age_seconds);
  /// The message that a record of the channel becomes here, under each name by which it is read; none if it is not one, or
  /// not acceptable (counted).
  std::vector<MessagePtr> messages_of(const Channel& channel, const Record& record, std::uint32_t age_seconds);
  void on_missing(LinkId link, const ChannelId& id, Channel& channel, const NodeId& writer);
  /// That link serves the channel no more: others are asked for what it was to bring.
  void expect_nothing(Channel& channel, LinkId link);
  void ask_range(LinkId link, Channel& channel, const NodeId& writer);
  void mend(Channel& channel, const NodeId& writer, Mending& mending);
  /// The writer's own link, or all others.
  std::vector<LinkId> menders(const Channel& channel, const NodeId& writer) const;
  /// Asks for what lies behind that place of the log.
  void ask_from(LinkId link, const Channel& channel, const NodeId& writer, const Cursor& place);
  /// What comes from here on is held already.
  void stop_mending(Channel& channel, const NodeId& writer);
  void give_up(Channel& channel, const NodeId& writer);
  void on_fork(const ChannelId& id, const Channel& channel, const BatchView& batch, ByteView other_header);
  /// Whether it is of the writer's life that was copied, or of one before.
  bool is_of_copied_life(const ChannelId& id, const NodeId& writer, const Incarnation& incarnation) const;
  /// Whether a value or will of that batch may come over the link: of a life that was copied only from the writer itself,
  /// once its log goes on in a later one.
  bool stands_by(LinkId link, const BatchHeader& header) const;
  /// A retained value, now or, where its writer's clock is ahead of ours, when its time comes.
  void retain(const std::string& topic, RetainedValue value, std::optional<LinkId> from);
  Retained::Use retained_of(const ChannelId& id) const;
  bool set_retained(const std::string& topic, RetainedValue value);
  Channel* joined(LinkId link, const ChannelId& id);
  // remote_wills.cpp: what others' wills come to
  /// Whether the record is on a topic of the channel's share.
  bool is_of_share(const Channel& channel, const Record& record);
  void take_will(Channel& channel, const BatchView& batch, std::uint32_t index, Record record);
  void offer_will(const Channel& channel, const ProvenRecord& proven, ByteView proof);
  WillTable::Use wills_of_handle(const Channel& channel, WillTable::Use (WillTable::*of)(const ChannelId&) const) const;
  bool has_room_for(const Channel& channel, const WillKey& key, const HeldWill& will) const;
  /// Delivers to the subscribers here what writers that have been silent for too long left as their wills.
  void derive_wills();
  /// Where the veil of a derived will has been lifted, the value that it hid is shown again.
  void lift_veils();

  OverlayContext& context_;
  ChannelLogs& logs_;
  std::map<std::string, Owner, std::less<>> owners_;
  std::map<ChannelId, Channel> channels_;
  /// With durable demand of before the restart, and not known to anybody yet: a home under its provisional name.
  std::set<std::string> resuming_;
  std::map<ChannelId, Monotonic> lingering_;  ///< held for others only, until then
  std::map<std::pair<ChannelId, NodeId>, Fork> forks_;
  std::map<LinkId, NodeId> links_;
  std::uint64_t joins_asked_ = 0;
  std::vector<std::string> veils_over_;  ///< topics; of this frame or tick
};

}  // namespace diot
