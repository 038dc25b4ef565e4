#pragma once
// The old blocks of the ledger: which of them this node keeps, fetching those that it lacks, dropping those that others
// keep; and who of the linked nodes has which.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/ledger/history_fetch.hpp"
#include "core/ledger/placement.hpp"
#include "dht/context.hpp"

namespace diot {

struct HistoryBounds {
  std::chrono::milliseconds look = std::chrono::hours(1);  ///< how often a node looks what is for it to keep
  /// That are dropped at once, or lie behind the stored snapshot, at least; and an eighth of the handles.
  std::uint64_t entries = 4096;
};

class LedgerHistory {
 public:
  struct Keeping {
    bool archive = false;             ///< everything, always: the operator's word
    std::function<bool()> witnesses;  ///< likewise, as long as this says so
    HistoryBounds bounds = {};
  };
  /// `heads`: the newest blocks of the peers, as they told them.
  LedgerHistory(OverlayContext& context, const std::map<LinkId, Checkpoint>& heads, Keeping keeping)
      : context_(context), heads_(heads), keeping_(std::move(keeping)) {}

  /// The ledger was read from disk, or has begun with another snapshot.
  void load();
  /// Fetches what is missing, once.
  void fetch();
  void link_up(LinkId link, const NodeId& peer) { links_[link] = peer; }
  void link_down(LinkId link);
  /// false: it is not for us.
  bool on_part(LinkId link, ByteView part);
  /// `idle`: nothing more urgent is asked of the peers.
  void tick(bool idle);
  /// Nodes that may have what is to be fetched, or should have what is to be dropped; a few at a time.
  std::set<NodeId> wanted() const;

  /// What a linked node says that it has on its disk.
  struct Holder {
    NodeId node;
    std::vector<BlockRange> blocks;
  };
  /// Asks all linked nodes, of which there are `asked`; `done` gets those that answer within 2 s.
  using Surveyed = std::function<void(const std::vector<Holder>& holders, std::size_t asked)>;
  void survey(Surveyed done);

  struct Status {
    bool everything = false;  ///< is kept here, and not this node's share of it
    bool fetching = false;
    std::vector<BlockRange> missing;
    std::uint64_t units = 0, own_units = 0;  ///< of old blocks, and those that are placed here
    std::uint64_t waiting_units = 0;         ///< that others should keep, and do not yet, or do not say so
    std::string trouble;                     ///< why fetching does not go on just now
  };
  Status status() const;

 private:
  struct Survey {
    std::set<LinkId> open;
    std::size_t asked = 0;
    std::vector<Holder> answers;
    Monotonic deadline{};
    std::vector<Surveyed> done;
  };
  /// What others are to keep.
  struct Surplus {
    HistoryUnit unit;
    std::vector<NodeId> holders;
  };

  void look();
  void judge();
  void go_on();
  void give_up(LinkId link, std::string_view counter);
  void end_survey();
  void confirm(Monotonic now);
  void drop();
  bool is_kept(const Surplus& surplus) const;
  void store_long_ledger();
  std::uint64_t least_entries() const;

  OverlayContext& context_;
  const std::map<LinkId, Checkpoint>& heads_;
  const Keeping keeping_;
  std::map<LinkId, NodeId> links_;
  bool once_ = false;
  std::optional<HistoryFetch> fetch_;
  Monotonic next_look_{};
  // Fetching.
  std::optional<LinkId> asked_;
  LinkId source_{};          ///< whose blocks wait
  std::set<LinkId> failed_;  ///< not asked before the pause is over
  Monotonic deadline_{};     ///< of the answer; while nobody is asked, of the pause
  std::string trouble_;
  std::vector<NodeId> may_have_;  ///< what nobody in reach has
  std::size_t pauses_ = 0;
  // Dropping.
  std::vector<Surplus> surplus_;
  struct Confirmed {
    std::vector<BlockRange> blocks;
    Monotonic at{};
  };
  std::map<NodeId, Confirmed> confirmed_;  ///< what they said within a day
  std::vector<NodeId> to_ask_;             ///< one after the other
  Monotonic next_survey_{};
  std::size_t surveys_left_ = 0;  ///< until the next look
  Status told_;
  std::optional<Survey> survey_;
};

}  // namespace diot
