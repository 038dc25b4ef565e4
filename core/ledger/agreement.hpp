#pragma once
// How several witnesses agree on the next block: agreement_rules with keys, bytes, time and a memory. Sans-I/O: messages
// and time come in, what to keep and to send comes out. One height at a time, the one behind the ledger's head. One
// thread. docs/ledger.md, "Agreement"; bytes: docs/protocol.md, "Agreement".

#include <array>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/agreement_rules.hpp"
#include "core/ledger/justification.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/proposal.hpp"
#include "core/ledger/vote.hpp"

namespace diot {

/// The entries that wait at this witness for a block.
class EntrySource {
 public:
  virtual ~EntrySource() = default;
  virtual std::vector<Bytes> waiting() = 0;
  virtual bool empty() const = 0;
  /// A rule is against the entry.
  virtual void refused(const Bytes& entry, const Error& why) = 0;
};

/// What one witness tells another about where it is, so that this one sends what is missing there.
struct AgreementState {
  std::uint64_t height = 0;
  std::uint32_t round = 0;
  bool has_proposal = false;               ///< that of its round
  std::array<std::vector<bool>, 2> votes;  ///< of its round, by kind and witness

  bool operator==(const AgreementState&) const = default;
};
Bytes encode_agreement_state(const AgreementState& state);
Result<AgreementState> decode_agreement_state(ByteView bytes);

class Agreement {
 public:
  struct Times {
    std::chrono::milliseconds propose{3000}, prevote{1000}, precommit{1000};
    std::chrono::milliseconds growth{500};           ///< of each, a round …
    std::chrono::milliseconds longest{60'000};       ///< … up to this
    std::chrono::milliseconds freshness{3'600'000};  ///< the oldest that the newest block gets, if the clocks are right
    std::chrono::milliseconds clock_tolerance{60'000};  ///< of a new proposal's time; doubles every 4 rounds, to 1 h
  };

  /// All of them outlive this.
  Agreement(const Ledger& ledger, const KeyPair& witness, const Clock& clock, EntrySource& entries, Times times);
  Agreement(const Ledger& ledger, const KeyPair& witness, const Clock& clock, EntrySource& entries)
      : Agreement(ledger, witness, clock, entries, Times()) {}

  // Memory ------------------------------------------------------------------------------------------------------
  /// What a new witness key's memory begins as: it has voted for nothing, and votes from that height on.
  static Bytes new_memory(const PublicKey& witness, std::uint64_t first_height);
  /// Before anything else: both parts of what `Persist` said last. If they are missing or damaged this witness does not
  /// vote: it might contradict a vote that it has forgotten.
  void load(const Result<std::optional<Bytes>>& memory, const Result<std::optional<Bytes>>& value);
  /// Why this witness does not vote although it is one, for people; empty if it does.
  const std::string& refusal() const { return refusal_; }
  /// The operator's word: forget, and vote again from `first_height` on. Safe if all heights at which it might have voted
  /// are below. Gives a Persist.
  void start_anew(std::uint64_t first_height);

  /// Our precommit, of round 0, for the block of a succession (Ledger::propose_succession) that makes us its witness number
  /// `index`. From then on we take no part in what the old witnesses agree on at that height, and vote for no other
  /// succession there. Gives a Persist; the vote may leave behind it. The same block gets the same vote again.
  /// Errc::not_permitted if this witness may have precommitted another one, or does not vote.
  Result<BlockView::Vote> precommit_succession(const BlockHeader& header, std::uint32_t index);

  // Input -------------------------------------------------------------------------------------------------------
  /// The ledger's head moved: by what was decided here, or by blocks of others.
  void on_head();
  /// Entries wait, or time passed; call at the latest at wake_at().
  void tick();
  /// Errc::invalid: whoever sent it is broken or lies, as nobody honest passes it on. false: nothing new, or not now.
  Result<bool> on_proposal(ByteView bytes);
  Result<bool> on_vote(ByteView bytes);

  // Output ------------------------------------------------------------------------------------------------------
  /// Must be on disk before any Send behind it leaves. Both are stored in one transaction.
  struct Persist {
    Bytes memory;
    std::optional<Bytes> value;                 ///< absent: as before
    std::vector<Justification> justifications;  ///< of what it votes for; where a height takes more than one round
  };
  struct Send {
    enum class Kind { proposal, vote } kind = Kind::vote;
    Bytes bytes;
  };
  struct Decided {
    Bytes block;  ///< append it, then call on_head
  };
  struct Caught {
    DoubleVote evidence;
  };
  using Output = std::variant<Persist, Send, Decided, Caught>;
  /// In their order. To be asked for after every call above.
  std::vector<Output> take() { return std::exchange(outputs_, {}); }
  Monotonic wake_at() const;

  // Catching up -------------------------------------------------------------------------------------------------
  AgreementState state() const;
  /// What somebody in that state lacks and we have. Nothing of ours that is not on disk may be in it: ask only when all
  /// that was persisted is durable.
  std::vector<Send> lacking(const AgreementState& theirs) const;

  // For people --------------------------------------------------------------------------------------------------
  std::uint64_t height() const { return height_; }
  std::uint32_t round() const { return rules_.round; }
  bool started() const { return started_; }
  std::optional<std::uint32_t> index() const { return index_; }
  const PublicKey& key() const { return key_.public_key(); }

 private:
  struct Round {
    std::optional<ProposalMessage> proposal;
    Bytes proposal_bytes;
    bool timely = false;
    std::optional<bool> valid;  ///< by the ledger; asked when it matters
    /// By kind and witness. An honest witness gives one; of a liar the first two are kept and count each for its block.
    std::array<std::vector<std::vector<Vote>>, 2> votes;
  };
  struct Value {
    std::uint32_t round = 0;
    BlockHeader header;
    std::vector<Bytes> entries;
    std::vector<BlockView::Vote> proof;
    Hash hash;
  };

  Round& round_at(std::uint32_t number);
  /// A sole witness needs no agreement: Ledger::make_block.
  bool votes_here() const {
    return index_ && witnesses_.size() > 1 && refusal_.empty() && height_ >= first_height_ &&
           !(succession_ && succession_->height == height_);
  }
  bool is_proposer() const { return (height_ + rules_.round) % witnesses_.size() == *index_; }
  bool quorum(const Round& round, VoteKind kind) const;
  std::optional<Hash> quorum_value(const Round& round, VoteKind kind) const;
  bool is_valid(Round& round);
  bool is_timely(const ProposalMessage& proposal) const;
  bool freshness_due(std::chrono::milliseconds early) const;

  void run();
  bool decide();
  bool skip_rounds();
  void start_round(std::uint32_t number);
  void propose();
  RoundView view();
  void cast(std::uint32_t round, const Ballot& ballot);
  void keep_value();
  void justify(std::uint32_t round, const Hash& block, const std::vector<BlockView::Vote>& prevotes);
  std::vector<BlockView::Vote> votes_for(const Round& round, VoteKind kind, const Hash& block) const;
  void set_timers(const RoundView& view);
  std::chrono::milliseconds patience(std::chrono::milliseconds base) const;
  bool insert(const Vote& vote);
  void flush();
  Bytes memory() const;
  Bytes value() const;
  Result<void> read_memory(ByteView bytes);
  Result<Value> read_value(ByteView bytes, std::uint64_t height) const;
  void resume();
  void forget_height();
  void lost_memory(std::string why);

  const Ledger& ledger_;
  const KeyPair& key_;
  const Clock& clock_;
  EntrySource& entries_;
  const Times times_;

  struct Remembered {
    std::uint64_t height = 0;
    AgreementRules rules;
    std::vector<Vote> votes;  ///< ours, of rules.round and the one before
    std::optional<Value> value;
  };

  std::string refusal_ = "the memory of this witness was not loaded";
  std::uint64_t first_height_ = 0;
  std::optional<Vote> succession_;        ///< our precommit for the block of one
  std::optional<Remembered> remembered_;  ///< of a height that the ledger has not reached yet

  std::uint64_t height_ = 0;
  std::vector<PublicKey> witnesses_;
  std::optional<std::uint32_t> index_;  ///< ours; none: not a witness of this height
  bool started_ = false;                ///< there is a reason for a block
  bool decided_ = false;
  AgreementRules rules_;
  std::optional<Value> value_;            ///< rules_.valid's
  std::vector<Justification> justified_;  ///< not given out yet
  std::optional<Hash> newest_justified_;  ///< of this height
  std::size_t justifications_ = 0;        ///< of this height
  std::map<std::uint32_t, Round> rounds_;
  std::vector<std::optional<std::uint32_t>> newest_round_;  ///< by witness: the highest that it voted in
  std::array<std::optional<Monotonic>, 3> timers_;          ///< by step, of this round
  /// Of the next height: others decide a little earlier. Not checked yet.
  std::vector<Send> early_;

  bool dirty_ = false, value_dirty_ = false;
  std::vector<Send> sends_;  ///< behind the next persist
  std::vector<Output> outputs_;
};

}  // namespace diot
