// Every run of three honest witnesses and one that lies, over a few rounds and two values, with the very rules that the
// program uses. Messages are never lost but may arrive in any order and as late as they like, so a step may be taken as
// soon as what it needs was sent; the liar may have sent anybody anything. No two witnesses decide differently.

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <functional>
#include <string>
#include <unordered_set>

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
  /// What a broken witness does to its own state behind each step.
  std::function<void(AgreementRules&)> spoil;
  int quorum = 3;
};

/// 0: has not voted; 1: nil; 2: value 1; 3: value 2.
using Votes = std::array<std::array<std::array<std::uint8_t, honest>, 2>, 4>;

struct State {
  std::array<AgreementRules, honest> rules;
  Votes votes{};                              ///< by round, kind and witness
  std::array<std::uint8_t, 4> proposed{};     ///< by round: the value of an honest proposer, 0: none yet
  std::array<std::uint8_t, 4> valid_round{};  ///< of that proposal, +1

  std::string key() const {
    std::string out;
    const auto add = [&](std::uint64_t n) { out.push_back(static_cast<char>(n)); };
    for (const auto& it : rules) {
      add(it.round);
      add(static_cast<std::uint64_t>(it.step));
      add(it.locked_round ? *it.locked_round + 1 : 0);
      add(static_cast<std::uint64_t>(number(it.locked)));
      add(it.valid_round ? *it.valid_round + 1 : 0);
      add(static_cast<std::uint64_t>(number(it.valid)));
    }
    for (const auto& round : votes)
      for (const auto& kind : round)
        for (const auto vote : kind) add(vote);
    for (const auto it : proposed) add(it);
    for (const auto it : valid_round) add(it);
    return out;
  }
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
      const State state = open_.front();
      open_.pop_front();
      for (int who = 0; who < honest; ++who) step(state, who);
    }
    result_.states = seen_.size();
    return result_;
  }

 private:
  void visit(const State& state) {
    // Who decides changes nothing for the others, so it is enough to look at what somebody may decide.
    std::array<bool, 3> decided{};
    for (int round = 0; round < options_.rounds; ++round)
      for (int code : {1, 2}) decided[code] |= votes_for(state, round, 1, code + 1) >= options_.quorum;
    result_.decided |= decided[1] || decided[2];
    result_.forked |= decided[1] && decided[2];
    if (seen_.insert(state.key()).second) open_.push_back(state);
  }

  int votes_for(const State& state, int round, int kind, int code) const {
    int count = liars;
    for (const auto vote : state.votes[round][kind]) count += vote == code;
    return count;
  }
  int proposer(int round) const { return (options_.proposers + round) % (honest + liars); }

  /// Proposals that may have arrived in a round: an honest proposer's one, or whatever a liar could have made up.
  std::vector<std::optional<RoundView::Proposal>> proposals(const State& state, int round) const {
    std::vector<std::optional<RoundView::Proposal>> out{std::nullopt};
    const auto proven = [&](int code, int in) { return votes_for(state, in, 0, code + 1) >= options_.quorum; };
    const auto add = [&](int code, int valid) {
      RoundView::Proposal proposal{value(code), std::nullopt, false, true, true};
      if (valid > 0) {
        if (valid > round || !proven(code, valid - 1)) return;
        proposal.valid_round = static_cast<std::uint32_t>(valid - 1);
        proposal.proven = true;
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

  void cast(State state, int who, const Ballot& ballot) {
    const int kind = ballot.kind == VoteKind::prevote ? 0 : 1;
    auto& slot = state.votes[state.rules[who].round][kind][who];
    EXPECT_EQ(slot, 0) << "votes once";
    slot = static_cast<std::uint8_t>(number(ballot.block) + 1);
    settle(std::move(state), who);
  }
  void settle(State state, int who) {
    if (options_.spoil) options_.spoil(state.rules[who]);
    visit(state);
  }

  void step(const State& state, int who) {
    const AgreementRules& rules = state.rules[who];
    const int round = static_cast<int>(rules.round);
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
        State next = state;
        const auto ballot = next.rules[who].advance(view);
        if (ballot)
          cast(std::move(next), who, *ballot);
        else if (!(next.rules[who] == rules))
          settle(std::move(next), who);
      }
    }
    // Time runs out at any time: more than the rules allow, as who leaves a round votes nil for what it left out there.
    for (const auto of : {AgreementStep::propose, AgreementStep::prevote}) {
      State next = state;
      if (const auto ballot = next.rules[who].time_out(of)) cast(std::move(next), who, *ballot);
    }
    // Any later round may begin at any time: more than the rules allow, so that every reason is covered.
    if (round + 1 < options_.rounds) {
      State next = state;
      next.rules[who].start_round(static_cast<std::uint32_t>(round + 1));
      settle(std::move(next), who);
    }
  }

  Options options_;
  std::unordered_set<std::string> seen_;
  std::deque<State> open_;
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
