#pragma once
// A witness among others: the agreement about the next block over the links to the other witnesses.

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/ledger/agreement.hpp"
#include "dht/context.hpp"

namespace diot {

/// Table::meta's keys: what it voted (Agreement::Persist::memory), and the block that it saw prevoted.
inline Bytes witness_memory_key() { return to_bytes("agreement"); }
inline Bytes witness_value_key() { return to_bytes("agreement-value"); }

class WitnessSync {
 public:
  /// `decided` appends the block and calls on_head; `head_to` tells a link our head.
  struct Calls {
    std::function<void(const Bytes& block)> decided;
    std::function<void(LinkId link)> head_to;
    std::function<void(const DoubleVote&)> caught;
  };
  WitnessSync(OverlayContext& context, const KeyPair& key, EntrySource& entries, Calls calls)
      : context_(context), calls_(std::move(calls)), agreement_(context.ledger, key, context.clock, entries) {}

  void load();
  /// Links to other witnesses.
  void link_up(LinkId link);
  void link_down(LinkId link) { links_.erase(link); }
  /// Frames of members. The sender of what no honest node sends loses its link.
  void on_proposal(LinkId link, ByteView body);
  void on_vote(LinkId link, ByteView body);
  void on_state(LinkId link, ByteView body);

  /// The ledger's head moved.
  void on_head();
  /// Entries wait, or time passed: about every 100 ms.
  void tick();
  /// The operator's word (Agreement::start_anew).
  void start_anew(std::uint64_t first_height);
  /// Agreement::precommit_succession; the vote may leave once what is in the store by now is on disk.
  Result<BlockView::Vote> precommit_succession(const BlockHeader& header, std::uint32_t index);

  const Agreement& agreement() const { return agreement_; }
  std::size_t links() const { return links_.size(); }

 private:
  struct Link {
    Monotonic told{}, helped{};
  };

  void work();
  void tell(LinkId link, Link& entry);
  void judge(LinkId link, const Result<bool>& result);
  void send(std::vector<Agreement::Send> messages, std::optional<LinkId> to);

  OverlayContext& context_;
  Calls calls_;
  Agreement agreement_;
  std::map<LinkId, Link> links_;
  bool working_ = false;
};

}  // namespace diot
