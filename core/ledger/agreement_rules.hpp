#pragma once
// The rules by which one witness votes on one height: Algorithm 1 of "The latest gossip on BFT consensus" (Buchman,
// Kwon, Milosevic, arXiv 1807.04938), its lines quoted as L22 and so on. No bytes, no keys, no time: what was received
// comes in as a view, the vote to give comes out. So the whole of it can be explored (tests/core/agreement_model_test).

#include <cstdint>
#include <optional>

#include "core/bytes.hpp"
#include "core/ledger/vote.hpp"

namespace diot {

enum class AgreementStep : std::uint8_t { propose = 0, prevote = 1, precommit = 2 };

/// What a witness has received of its current round.
struct RoundView {
  struct Proposal {
    Hash value;
    std::optional<std::uint32_t> valid_round;  ///< the earlier round in which the value is said to have been prevoted
    bool proven = false;                       ///< more than two thirds' prevotes for it in that round are here
    bool valid = false;                        ///< no rule of the ledger is against it
    bool timely = false;                       ///< as a new one: now is the time for such a block
  };
  std::optional<Proposal> proposal;
  std::optional<Hash> prevoted;  ///< what more than two thirds prevoted; zero: nil
  bool prevotes = false;         ///< more than two thirds prevoted, whatever
  bool precommits = false;       ///< the same of precommits
};

struct Ballot {
  VoteKind kind = VoteKind::prevote;
  Hash block;  ///< zero: nil
  bool operator==(const Ballot&) const = default;
};

/// All that a witness must never forget between two votes. A value.
struct AgreementRules {
  std::uint32_t round = 0;
  AgreementStep step = AgreementStep::propose;
  std::optional<std::uint32_t> locked_round;  ///< the newest in which it precommitted a value …
  Hash locked;                                ///< … this one
  std::optional<std::uint32_t> valid_round;   ///< the newest in which it saw more than two thirds prevote a value …
  Hash valid;                                 ///< … this one, which it proposes when its turn comes

  bool operator==(const AgreementRules&) const = default;

  void start_round(std::uint32_t number) {
    round = number;
    step = AgreementStep::propose;
  }
  /// The vote that is due in the current round, if one is; the state has then moved past it. Call again until none is.
  std::optional<Ballot> advance(const RoundView& view);
  /// The time for a step of the current round is over (L57, L61): the nil vote that is due, if that step is still on.
  std::optional<Ballot> time_out(AgreementStep of);
};

/// How many witnesses may lie or be gone: f, the most with n > 3f.
constexpr std::size_t faults_of(std::size_t witnesses) { return witnesses == 0 ? 0 : (witnesses - 1) / 3; }

}  // namespace diot
