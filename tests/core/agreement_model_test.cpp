// Every run of three honest witnesses and one that lies, over a few rounds and two values, with the very rules that the
// program uses. Messages are never lost but may arrive in any order and as late as they like, so a step may be taken as
// soon as what it needs was sent; the liar may have sent anybody anything. No two witnesses decide differently.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "core/ledger/agreement_rules.hpp"

namespace diot {
namespace {

constexpr int honest = 3, liars = 1;
constexpr Hash nil{};

Hash value(int n) {
  Hash out;
  out.bytes[0] = static_cast<std::uint8_t>(n);
  return out;
}
int number(const Hash& hash) { return hash.bytes[0]; }

struct Options {
  int rounds = 2;
  int proposers = 0;  ///< index of the proposer of round 0; 3 is the liar
  /// Every round's proposer lies. What an honest one may propose a liar may, too, so that this covers all proposers; and
  /// it makes the honest ones alike: states that differ in who is who, or in what changes no vote any more, are one.
  bool liar_proposes = false;
  /// What a broken witness does to its own state behind each step.
  std::function<void(AgreementRules&)> spoil;
  /// What a broken witness takes for what it received.
  std::function<void(const AgreementRules&, RoundView&)> mistake;
  int quorum = 3;
};

constexpr int rounds_max = 4;

/// 0: has not voted; 1: nil; 2: value 1; 3: value 2.
using Votes = std::array<std::array<std::uint8_t, 2>, rounds_max>;

struct Witness {
  AgreementRules rules;
  Votes votes{};  ///< by round and kind

  /// All of it, as a number.
  std::uint32_t key() const {
    std::uint32_t out = 0;
    const auto add = [&](std::uint32_t n, unsigned bits) { out = out << bits | n; };
    add(rules.round, 3);
    add(static_cast<std::uint32_t>(rules.step), 2);
    add(rules.locked_round ? *rules.locked_round + 1 : 0, 3);
    add(static_cast<std::uint32_t>(number(rules.locked)), 2);
    add(rules.valid_round ? *rules.valid_round + 1 : 0, 3);
    add(static_cast<std::uint32_t>(number(rules.valid)), 2);
    for (const auto& round : votes)
      for (const auto vote : round) add(vote, 2);
    return out;
  }
};

struct State {
  std::array<Witness, honest> witnesses;
  std::array<std::uint8_t, rounds_max> proposed{};     ///< by round: the value of an honest proposer, 0: none yet
  std::array<std::uint8_t, rounds_max> valid_round{};  ///< of that proposal, +1

  using Key = std::array<std::uint32_t, honest + 1>;
  Key key() const {
    Key out{};
    for (int who = 0; who < honest; ++who) out[who] = witnesses[who].key();
    for (int round = 0; round < rounds_max; ++round)
      out[honest] = (out[honest] << 2 | proposed[round]) << 3 | valid_round[round];
    return out;
  }
  struct HashOfKey {
    std::size_t operator()(const Key& key) const {
      std::uint64_t out = 0;
      for (const auto word : key) out = (out ^ word) * 0x9fb21c651e98df25, out ^= out >> 29;
      return out;
    }
  };
};

class Exploration {
 public:
  explicit Exploration(Options options) : options_(std::move(options)) {}

  /// The number of states, and whether two honest witnesses can decide differently.
  struct Result {
    std::size_t states = 0;
    bool forked = false;
    bool decided = false;  ///< somebody may decide somewhere: the exploration is not empty
  };
  Result run() {
    visit(State());
    while (!open_.empty() && !result_.forked) {
      const State state = std::move(open_.back());
      open_.pop_back();
      for (int who = 0; who < honest; ++who) step(state, who);
    }
    result_.states = seen_.size();
    return result_;
  }

 private:
  void visit(State state) {
    if (options_.liar_proposes) simplify(state);
    // Who decides changes nothing for the others, so it is enough to look at what somebody may decide.
    std::array<bool, 3> decided{};
    for (int round = 0; round < options_.rounds; ++round)
      for (int code : {1, 2}) decided[code] |= votes_for(state, round, 1, code + 1) >= options_.quorum;
    result_.decided |= decided[1] || decided[2];
    result_.forked |= decided[1] && decided[2];
    if (seen_.insert(state.key()).second) open_.push_back(std::move(state));
  }

  /// Who has precommitted does nothing more in its round, nil counts for no value, nobody honest proposes what it knows to
  /// be valid, and the witnesses are alike.
  static void simplify(State& state) {
    for (auto& it : state.witnesses) {
      if (it.rules.step == AgreementStep::precommit) it.rules.start_round(it.rules.round + 1);
      it.rules.valid_round.reset();
      it.rules.valid = nil;
      for (auto& round : it.votes)
        for (auto& vote : round)
          if (vote == 1) vote = 0;
    }
    std::ranges::sort(state.witnesses, {}, &Witness::key);
  }

  int votes_for(const State& state, int round, int kind, int code) const {
    int count = liars;
    for (const auto& it : state.witnesses) count += it.votes[round][kind] == code;
    return count;
  }
  int proposer(int round) const {
    return options_.liar_proposes ? honest : (options_.proposers + round) % (honest + liars);
  }

  /// Proposals that may have arrived in a round: an honest proposer's one, or whatever a liar could have made up.
  std::vector<std::optional<RoundView::Proposal>> proposals(const State& state, int round) const {
    std::vector<std::optional<RoundView::Proposal>> out{std::nullopt};
    const auto proven = [&](int code, int in) { return votes_for(state, in, 0, code + 1) >= options_.quorum; };
    const auto add = [&](int code, int valid) {
      RoundView::Proposal proposal{value(code), std::nullopt, false, true, true};
      if (valid > 0) {
        proposal.valid_round = static_cast<std::uint32_t>(valid - 1);
        proposal.proven = proven(code, valid - 1);
      }
      out.push_back(proposal);
    };
    if (proposer(round) < honest) {
      if (state.proposed[round]) add(state.proposed[round], state.valid_round[round]);
      return out;
    }
    for (int code : {1, 2})
      for (int valid = 0; valid <= round; ++valid) add(code, valid);
    return out;
  }

  /// A witness has taken a step, and voted if there is a ballot.
  void settle(State state, int who, const AgreementRules& next, const std::optional<Ballot>& ballot) {
    Witness& witness = state.witnesses[who];
    if (ballot) {
      auto& slot = witness.votes[witness.rules.round][ballot->kind == VoteKind::prevote ? 0 : 1];
      expect(slot == 0, "a witness votes once");
      slot = static_cast<std::uint8_t>(number(ballot->block) + 1);
    }
    witness.rules = next;
    if (options_.spoil) options_.spoil(witness.rules);
    visit(std::move(state));
  }

  void step(const State& state, int who) {
    const AgreementRules& rules = state.witnesses[who].rules;
    const int round = static_cast<int>(rules.round);
    if (round == options_.rounds) return;
    // It proposes when its turn comes: what it knows to be valid, else anything.
    if (proposer(round) == who && rules.step == AgreementStep::propose && !state.proposed[round])
      for (int code : {1, 2}) {
        if (rules.valid_round && number(rules.valid) != code) continue;
        State next = state;
        next.proposed[round] = static_cast<std::uint8_t>(code);
        next.valid_round[round] = static_cast<std::uint8_t>(rules.valid_round ? *rules.valid_round + 1 : 0);
        visit(next);
      }
    // What may have arrived.
    for (const auto& proposal : proposals(state, round)) {
      std::vector<std::optional<Hash>> prevoted{std::nullopt};
      for (int code : {0, 1, 2})
        if (votes_for(state, round, 0, code + 1) >= options_.quorum) prevoted.emplace_back(code ? value(code) : nil);
      for (const auto& seen : prevoted) {
        RoundView view;
        view.proposal = proposal;
        view.prevoted = seen;
        if (options_.mistake) options_.mistake(rules, view);
        AgreementRules next = rules;
        const auto ballot = next.advance(view);
        if (ballot || next != rules) settle(state, who, next, ballot);
      }
    }
    // Time runs out at any time: more than the rules allow, as who leaves a round votes nil for what it left out there.
    for (const auto of : {AgreementStep::propose, AgreementStep::prevote}) {
      AgreementRules next = rules;
      if (const auto ballot = next.time_out(of)) settle(state, who, next, ballot);
    }
    // Any later round may begin at any time: more than the rules allow, so that every reason is covered.
    if (round + 1 < options_.rounds) {
      AgreementRules next = rules;
      next.start_round(static_cast<std::uint32_t>(round + 1));
      settle(state, who, next, std::nullopt);
    }
  }

  Options options_;
  std::unordered_set<State::Key, State::HashOfKey> seen_;
  std::vector<State> open_;
  Result result_;
};

TEST(AgreementModel, NoTwoHonestWitnessesDecideDifferently) {
  for (int first : {0, 3}) {
    Options options;
    options.proposers = first;
    const auto result = Exploration(options).run();
    EXPECT_FALSE(result.forked) << "first proposer " << first;
    EXPECT_TRUE(result.decided);
    EXPECT_GT(result.states, 100'000u) << "first proposer " << first;
  }
}

/// What unlocks a witness takes three rounds: a value is prevoted in the first and decided by nobody, another one is
/// locked in the second, and in the third the first comes again with its proof.
TEST(AgreementModel, NorInThreeRoundsWhoeverProposes) {
  Options options;
  options.rounds = 3;
  options.liar_proposes = true;
  const auto result = Exploration(options).run();
  EXPECT_FALSE(result.forked);
  EXPECT_TRUE(result.decided);
  EXPECT_GT(result.states, 100'000u);
}

TEST(AgreementModel, WithLocksThatAnyProofOpensTheyDo) {
  Options options;
  options.liar_proposes = true;
  // As if the proof were of the round in which it locked.
  options.mistake = [](const AgreementRules& rules, RoundView& view) {
    if (view.proposal && view.proposal->valid_round && rules.locked_round)
      view.proposal->valid_round = std::max(*view.proposal->valid_round, *rules.locked_round);
  };
  options.rounds = 2;
  EXPECT_FALSE(Exploration(options).run().forked) << "two rounds are too few to see it";
  options.rounds = 3;
  EXPECT_TRUE(Exploration(options).run().forked);
}

TEST(AgreementModel, WithoutProofsTheyDo) {
  Options options;
  options.liar_proposes = true;
  options.mistake = [](const AgreementRules&, RoundView& view) {
    if (view.proposal) view.proposal->proven = true;
  };
  EXPECT_TRUE(Exploration(options).run().forked);
}

TEST(AgreementModel, WithoutLocksTheyDo) {
  Options options;
  options.proposers = 3;
  options.spoil = [](AgreementRules& rules) { rules.locked_round.reset(), rules.locked = nil; };
  EXPECT_TRUE(Exploration(options).run().forked);
}

TEST(AgreementModel, WithMajoritiesOfHalfTheyDo) {
  Options options;
  options.proposers = 3;
  options.quorum = 2;
  EXPECT_TRUE(Exploration(options).run().forked);
}

}  // namespace
}  // namespace diot
