#pragma once
// A succession on its way into a block: the entry goes to every node, so that everybody sees it coming; once the old
// witnesses have been silent for long enough each new one votes for the block that follows from it; whoever has the votes
// of enough of them has the block (docs/ledger.md, "Lost for good").

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/ledger/entry.hpp"
#include "dht/context.hpp"

namespace diot {

class SuccessionSync {
 public:
  struct Calls {
    /// Appends the block.
    std::function<void(const Bytes& block)> decided;
    /// Our vote (Agreement::precommit_succession); remembered with what is put into the store before the next call.
    std::function<Result<BlockView::Vote>(const BlockHeader& header, std::uint32_t index)> precommit;
  };
  /// `key`: this node's as a witness, or nullptr.
  SuccessionSync(OverlayContext& context, const KeyPair* key, Calls calls)
      : context_(context), key_(key), calls_(std::move(calls)) {}
  void load();

  struct Pending {
    Bytes entry;
    WitnessSet witnesses;
    Ledger::Proposal block;
    std::map<std::uint32_t, BlockView::Vote> votes;  ///< by witness
    std::string refusal;                             ///< why this node, one of them, does not vote

    /// From then on the new witnesses may vote, if no other block is made before.
    WallMs possible_from() const { return block.header.time; }
    std::size_t votes_needed() const { return quorum_size(witnesses.members.size()); }
  };
  /// A succession that everybody has signed. Kept, and told to all. The error says which rule is against it.
  Result<const Pending*> take(ByteView entry);
  const std::map<Hash, Pending>& pending() const { return pending_; }

  void link_up(LinkId link);
  void link_down(LinkId link) { links_.erase(link); }
  /// false: malformed.
  bool on_frame(LinkId link, ByteView body);
  /// The ledger's head moved: what was pending is decided, or void.
  void on_head();
  void tick();

 private:
  void tell(LinkId link, const Pending& pending);
  void tell_all(const Pending& pending, std::optional<LinkId> but);
  void vote(const Hash& hash, Pending& pending);
  bool decide(const Pending& pending);
  void save();

  OverlayContext& context_;
  const KeyPair* key_;
  Calls calls_;
  std::map<Hash, Pending> pending_;  ///< by the entry's hash
  std::set<LinkId> links_;
  Monotonic next_tell_{};
};

}  // namespace diot
