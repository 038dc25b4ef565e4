#pragma once
// Keeps the ledger equal to the peers', brings entries to the witnesses, and decides about blocks where this node is one.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/ledger/storage.hpp"
#include "dht/context.hpp"
#include "dht/cosignatures.hpp"
#include "dht/entry_pool.hpp"
#include "dht/fork_watch.hpp"
#include "dht/ledger_catch_up.hpp"
#include "dht/ledger_history.hpp"
#include "dht/submit_rate.hpp"
#include "dht/succession_sync.hpp"
#include "dht/wire.hpp"
#include "dht/witness_sync.hpp"

namespace diot {

class LedgerSync {
 public:
  /// `witness`: the key with which this node decides blocks, if it is or was one of the network's witnesses. `archive`: it
  /// keeps every block, as witnesses do.
  LedgerSync(OverlayContext& context, const KeyPair* witness, std::function<void()> changed,
             const CatchUpBounds& catch_up = {}, bool archive = false, const HistoryBounds& history = {});
  /// Reads what a witness remembers.
  void load();

  void link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass kind);
  void link_down(LinkId link);
  /// The frames that are the ledger's. false: malformed.
  bool on_frame(LinkId link, FrameType type, ByteView body);

  using Committed = EntryPool::Committed;
  /// Brings an entry of ours into the ledger: `done` once it is committed and on disk here, or refused, or neither within
  /// 20 s (Errc::timed_out; it may still be committed later).
  void submit(Bytes entry, Committed done);

  /// Makes a block of what was submitted in this turn, and answers.
  void end_turn();
  /// About every 100 ms.
  void tick();

  /// Nodes to be linked to: for a witness the other ones'; for others some of them while an entry is on its way and fewer
  /// links lead to witnesses than it takes. And those that have to do with the old blocks here.
  std::set<NodeId> wanted() const;
  /// The newest block that is on disk: what others may be told.
  const Checkpoint& durable_head() const { return durable_head_; }
  /// Whether this node decides about the next block, alone or with others.
  bool is_witness() const;
  /// Proofs that the network has two histories.
  const std::vector<Fork>& forks() const { return forks_.forks(); }
  /// The succession that everybody has signed goes to all nodes, and into a block when the old witnesses were silent for
  /// long enough.
  Result<const SuccessionSync::Pending*> succeed(ByteView entry) { return succession_.take(entry); }
  const std::map<Hash, SuccessionSync::Pending>& successions() const { return succession_.pending(); }
  const Cosignatures& cosignatures() const { return cosignatures_; }
  LedgerHistory& history() { return history_; }
  const LedgerHistory& history() const { return history_; }

  /// How the next block comes about, for people.
  struct Status {
    std::size_t witnesses = 0, needed = 0, in_reach = 0;  ///< in_reach: ourselves, and links to nodes that say so
    bool witness = false;
    std::string refusal;    ///< why this witness does not vote
    bool agreeing = false;  ///< a block is being agreed upon, in this round:
    std::uint32_t round = 0;
    std::size_t waiting = 0;  ///< entries
    bool listening = false;   ///< a witness that may have been succeeded while it was away
    std::string step;         ///< of taking the ledger over at its newest block, while that is under way
    /// "3 of 4 witnesses are needed, 2 are in reach".
    std::string text() const;
  };
  Status status() const;
  /// The operator's word to a witness that lost its memory: vote again from that height on. Safe if the key voted on no
  /// block from there on. Errc::not_permitted at a node without a witness key.
  Result<void> let_witness_vote(std::uint64_t first_height);
  /// Proofs against witnesses that voted twice, newest last; the oldest go.
  const std::vector<DoubleVote>& double_votes() const { return double_votes_; }

 private:
  struct Ask {
    Hash entry;
    LinkId link{};
  };

  struct Member {
    NodeId node;
    bool says_so = false;  ///< in its hello: it is a witness
  };

  void find_witnesses();
  std::size_t enough_witnesses() const;
  std::vector<NodeId> witnesses_to_dial() const;
  std::set<NodeId> wanted_for_blocks() const;
  bool is_or_becomes_witness() const;
  bool listens() const;
  /// nullptr while it listens, too.
  WitnessSync* awake_witness() { return witness_ && !listens() ? &*witness_ : nullptr; }
  void blame(const DoubleVote& evidence);
  void accuse();
  void on_head(LinkId link, const Checkpoint& head);
  void on_get(LinkId link, std::uint64_t from_height);
  void on_blocks(LinkId link, const std::vector<ByteView>& blocks);
  void on_submit(LinkId link, const wire::Submit& submit);
  void on_submitted(LinkId link, const wire::Submitted& submitted);
  void on_entries(LinkId link, const std::vector<ByteView>& entries);

  bool decides_alone() const;
  void decide_alone(bool may_be_empty);
  void on_decided(const Bytes& block);
  void adopted(const Bytes& block);
  void head_moved(std::vector<Committed> committed);
  void ask(LinkId link, std::uint64_t height);
  void tell_head(LinkId link);
  void compare();
  void cosign();
  /// Whether the entry is worth passing on; what it costs to know grows from check to check.
  Result<void> check(ByteView entry, LinkId from);
  /// At a witness: into the pool, and to the others.
  void take_in(ByteView entry, std::optional<LinkId> from, Committed done);
  void offer(const std::vector<ByteView>& entries, std::optional<LinkId> but);
  void offer_waiting();
  /// Elsewhere: to nodes that are or may know witnesses.
  void forward(std::uint8_t hops, ByteView entry, std::optional<LinkId> from, Committed done);
  void ask_around(EntryPool::Item& item);
  void hand(EntryPool::Item& item, LinkId link);
  /// Gives up where nobody is left to ask.
  void settle(const Hash& hash);
  void answer();

  OverlayContext& context_;
  const KeyPair* key_;
  std::function<void()> changed_;
  EntryPool pool_;
  std::optional<WitnessSync> witness_;
  SuccessionSync succession_;
  ForkWatch forks_;
  Cosignatures cosignatures_;
  SubmitRate rate_;
  std::map<LinkId, Checkpoint> peers_;
  LedgerCatchUp catch_up_;
  LedgerHistory history_;
  Monotonic loaded_at_{};
  std::map<LinkId, Member> members_;
  std::set<LinkId> witnesses_;         ///< links to nodes that are witnesses, or will be
  std::map<LinkId, Monotonic> asked_;  ///< blocks that are under way
  std::map<std::uint64_t, Ask> asks_;  ///< submit frames without an answer
  std::uint64_t next_id_ = 1;
  Monotonic next_offer_{}, next_compare_{};
  std::vector<DoubleVote> double_votes_;
  std::vector<DoubleVote> accusations_;  ///< not in the ledger yet
  Checkpoint durable_head_;
};

/// Of the next block, and of those behind it if that is decided. A genesis names no nodes; where several people founded
/// the network together, their witness keys are their node keys.
std::vector<Witness> present_and_coming(const Ledger& ledger);

/// Bit in Hello::features: this node is a witness.
inline constexpr std::uint64_t feature_witness = 1;

}  // namespace diot
