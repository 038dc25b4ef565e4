#include "core/ledger/vote.hpp"

#include <utility>

#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {

static VoteKind read_kind(PackReader& in, bool& known) {
  const auto kind = in.uint(static_cast<std::uint64_t>(VoteKind::precommit));
  known = kind >= static_cast<std::uint64_t>(VoteKind::prevote);
  return static_cast<VoteKind>(kind);
}

Bytes vote_bytes(const Vote& vote) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(5);
  out.uint(static_cast<std::uint64_t>(vote.kind));
  out.uint(vote.height);
  out.uint(vote.round);
  out.bin(vote.block);
  out.uint(vote.time);
  return bytes;
}

void sign_vote(Vote& vote, const NetworkId& network, const KeyPair& witness) {
  vote.signature = witness.sign("vote", network, vote_bytes(vote));
}

bool check_vote(const Vote& vote, const NetworkId& network, const PublicKey& witness) {
  return verify(witness, vote.signature, "vote", network, vote_bytes(vote));
}

Bytes encode_vote(const Vote& vote) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(7);
  out.uint(static_cast<std::uint64_t>(vote.kind));
  out.uint(vote.height);
  out.uint(vote.round);
  out.bin(vote.block);
  out.uint(vote.time);
  out.uint(vote.witness);
  out.bin(vote.signature);
  return bytes;
}

Result<Vote> decode_vote(ByteView bytes) {
  PackReader in(bytes, 16);
  Vote vote;
  bool known = false;
  in.array_of(7);
  vote.kind = read_kind(in, known);
  vote.height = in.uint();
  vote.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  vote.block = in.id<Hash>();
  vote.time = in.uint(limits::wall_ms_max);
  vote.witness = static_cast<std::uint32_t>(in.uint(limits::witnesses_max - 1));
  vote.signature = in.id<Signature>();
  if (!in.done() || !known) return fail(Errc::invalid, "malformed vote: it is not in the form of one");
  return vote;
}

DoubleVote make_double_vote(const PublicKey& witness, const Vote& one, const Vote& other) {
  DoubleVote out{witness, one, other};
  if (out.second.block < out.first.block) std::swap(out.first, out.second);
  out.first.witness = out.second.witness = 0;
  return out;
}

Bytes encode_double_vote(const DoubleVote& evidence) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(6);
  out.bin(evidence.witness);
  out.uint(static_cast<std::uint64_t>(evidence.first.kind));
  out.uint(evidence.first.height);
  out.uint(evidence.first.round);
  for (const auto* vote : {&evidence.first, &evidence.second}) {
    out.array(3);
    out.bin(vote->block);
    out.uint(vote->time);
    out.bin(vote->signature);
  }
  return bytes;
}

Result<DoubleVote> decode_double_vote(ByteView bytes) {
  PackReader in(bytes, 32);
  DoubleVote out;
  bool known = false;
  in.array_of(6);
  out.witness = in.id<PublicKey>();
  out.first.kind = out.second.kind = read_kind(in, known);
  out.first.height = out.second.height = in.uint();
  out.first.round = out.second.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  for (auto* vote : {&out.first, &out.second}) {
    in.array_of(3);
    vote->block = in.id<Hash>();
    vote->time = in.uint(limits::wall_ms_max);
    vote->signature = in.id<Signature>();
  }
  if (!in.done() || !known)
    return fail(Errc::invalid, "malformed evidence: it is not in the form of two votes of one witness");
  if (!(out.first.block < out.second.block))
    return fail(Errc::invalid, "the evidence proves nothing: its votes are for one block, or not in order");
  return out;
}

Result<void> check_double_vote(const DoubleVote& evidence, const NetworkId& network) {
  for (const auto* vote : {&evidence.first, &evidence.second})
    if (!check_vote(*vote, network, evidence.witness))
      return fail(Errc::invalid, "the evidence proves nothing: a vote is not signed by " +
                                     evidence.witness.hex().substr(0, 16) + "…, whom it accuses");
  return {};
}

}  // namespace diot
