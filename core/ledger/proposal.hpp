#pragma once
// What the proposer of a round puts to the vote (docs/protocol.md, "Agreement").

#include <cstdint>
#include <optional>
#include <vector>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"

namespace diot {

struct ProposalMessage {
  std::uint32_t round = 0;
  /// The earlier round in which more than two thirds prevoted this block. `proof` holds those prevotes, so that nobody
  /// needs to keep or to find them.
  std::optional<std::uint32_t> valid_round;
  BlockHeader header;  ///< its height is the proposal's
  std::vector<Bytes> entries;
  Signature signature;  ///< by the proposer, kind `proposal`; covers everything but the proof, which is signed itself
  std::vector<BlockView::Vote> proof;

  Hash hash;  ///< of the block; from the header
};

/// Fills in hash and signature.
void sign_proposal(ProposalMessage& proposal, const KeyPair& proposer);
bool check_proposal_signature(const ProposalMessage& proposal, const PublicKey& proposer);
/// More than two thirds of the witnesses prevoted the block in `valid_round`, ascending by index, each validly.
Result<void> check_proposal_proof(const ProposalMessage& proposal, const std::vector<PublicKey>& witnesses);

Bytes encode_proposal(const ProposalMessage& proposal);
/// Shape and bounds only.
Result<ProposalMessage> decode_proposal(ByteView bytes);

}  // namespace diot
