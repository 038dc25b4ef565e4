#pragma once
// A node that is far behind, or new, takes the ledger over at its newest block instead of replaying all of it; and the
// answers to those that do.

#include <functional>
#include <map>
#include <optional>
#include <set>

#include "core/ledger/snapshot_fetch.hpp"
#include "dht/context.hpp"

namespace diot {

/// When replaying takes too long: a snapshot costs all records, a replay four signatures an entry.
struct CatchUpBounds {
  std::uint64_t blocks = 2048;   ///< that a node is behind before it asks for headers
  std::uint64_t entries = 4096;  ///< that it would replay before the window before it asks for records
};

class LedgerCatchUp {
 public:
  struct Calls {
    /// The ledger is another one, and its rows are in the open transaction. This peer has what comes behind it.
    std::function<void(LinkId link)> begun;
    /// From here on this peer's blocks do.
    std::function<void(LinkId link)> replay;
  };
  /// `heads`: the peers' newest blocks, as they told them.
  LedgerCatchUp(OverlayContext& context, const CatchUpBounds& bounds, const std::map<LinkId, Checkpoint>& heads,
                Calls calls)
      : context_(context), bounds_(bounds), heads_(heads), calls_(std::move(calls)) {}

  /// A peer told its newest block. Says whether we take the ledger over to get there, and the peer need not be asked for
  /// blocks.
  bool on_head(std::uint64_t height);
  /// A peer has not got the blocks that we would replay.
  void on_missing();
  void link_down(LinkId link);
  void on_part(LinkId link, ByteView part);
  /// A question of somebody else's. false: malformed.
  bool on_ask(LinkId link, ByteView ask);
  void tick();
  std::string step() const { return fetch_ ? fetch_->step() : std::string(); }

 private:
  void begin(std::uint64_t entries_min);
  void go_on();
  void give_up(LinkId link);
  void finish(LinkId link);

  OverlayContext& context_;
  const CatchUpBounds bounds_;
  const std::map<LinkId, Checkpoint>& heads_;
  Calls calls_;
  std::optional<SnapshotFetch> fetch_;
  std::optional<LinkId> asked_;
  std::set<LinkId> failed_;  ///< not asked before the pause is over
  Monotonic deadline_{};     ///< of the answer; while nobody is asked, of the pause
  std::uint64_t replay_to_ = 0;
};

}  // namespace diot
