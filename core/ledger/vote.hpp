#pragma once
// What witnesses sign while they agree on a block (docs/protocol.md, "Votes"), and the proof that one of them lied.

#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

enum class VoteKind : std::uint8_t { prevote = 1, precommit = 2 };

struct Vote {
  VoteKind kind = VoteKind::prevote;
  std::uint64_t height = 0;
  std::uint32_t round = 0;
  Hash block;                 ///< zero: none ("nil")
  WallMs time = 0;            ///< by the witness' clock; tells nothing, and is signed
  std::uint32_t witness = 0;  ///< index into the witness set of that height; not signed, as the key says it
  Signature signature;

  bool operator==(const Vote&) const = default;
};

/// What the signature (kind `vote`) covers.
Bytes vote_bytes(const Vote& vote);
/// Fills in the signature.
void sign_vote(Vote& vote, const NetworkId& network, const KeyPair& witness);
bool check_vote(const Vote& vote, const NetworkId& network, const PublicKey& witness);

Bytes encode_vote(const Vote& vote);
/// Shape and bounds only.
Result<Vote> decode_vote(ByteView bytes);

/// Two votes of one key, of one kind, height and round, for different blocks (nil counts as one): no honest witness
/// signs both. Believed by anybody who knows the network, without its history.
struct DoubleVote {
  PublicKey witness;
  Vote first, second;  ///< first.block < second.block; `witness` of both is 0
};
/// From two votes in any order; the caller has checked both signatures.
DoubleVote make_double_vote(const PublicKey& witness, const Vote& one, const Vote& other);
Bytes encode_double_vote(const DoubleVote& evidence);
/// Shape, and that the two votes contradict each other. Signatures: check_double_vote.
Result<DoubleVote> decode_double_vote(ByteView bytes);
/// Both signatures. Whether that key is or was a witness is the ledger's to say.
Result<void> check_double_vote(const DoubleVote& evidence, const NetworkId& network);

}  // namespace diot
