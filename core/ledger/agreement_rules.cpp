#include "core/ledger/agreement_rules.hpp"

namespace diot {

static constexpr Hash nil{};

std::optional<Ballot> AgreementRules::advance(const RoundView& view) {
  const auto& proposal = view.proposal;
  if (step == AgreementStep::propose && proposal) {
    if (!proposal->valid_round) {  // L22
      const bool free = !locked_round || locked == proposal->value;
      step = AgreementStep::prevote;
      return Ballot{VoteKind::prevote, proposal->valid && proposal->timely && free ? proposal->value : nil};
    }
    if (proposal->proven && *proposal->valid_round < round) {  // L28
      const bool free = !locked_round || *locked_round <= *proposal->valid_round || locked == proposal->value;
      step = AgreementStep::prevote;
      return Ballot{VoteKind::prevote, proposal->valid && free ? proposal->value : nil};
    }
  }
  if (step == AgreementStep::propose || !view.prevoted) return std::nullopt;
  if (proposal && *view.prevoted == proposal->value && proposal->valid) {  // L36
    valid_round = round;
    valid = proposal->value;
    if (step != AgreementStep::prevote) return std::nullopt;
    locked_round = round;
    locked = proposal->value;
    step = AgreementStep::precommit;
    return Ballot{VoteKind::precommit, locked};
  }
  if (*view.prevoted == nil && step == AgreementStep::prevote) {  // L44
    step = AgreementStep::precommit;
    return Ballot{VoteKind::precommit, nil};
  }
  return std::nullopt;
}

std::optional<Ballot> AgreementRules::time_out(AgreementStep of) {
  if (step != of) return std::nullopt;
  switch (of) {
    case AgreementStep::propose: step = AgreementStep::prevote; return Ballot{VoteKind::prevote, nil};
    case AgreementStep::prevote: step = AgreementStep::precommit; return Ballot{VoteKind::precommit, nil};
    case AgreementStep::precommit: break;  // L65: the next round, which the caller starts
  }
  return std::nullopt;
}

}  // namespace diot
