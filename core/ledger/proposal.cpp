#include "core/ledger/proposal.hpp"

#include <fmt/format.h>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {

static Bytes signed_bytes(const ProposalMessage& proposal) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(4);
  out.uint(proposal.header.height);
  out.uint(proposal.round);
  ledger_codec::write_round(out, proposal.valid_round);
  out.bin(proposal.hash);
  return bytes;
}

void sign_proposal(ProposalMessage& proposal, const KeyPair& proposer) {
  proposal.hash = block_hash(proposal.header);
  proposal.signature = proposer.sign("proposal", proposal.header.network, signed_bytes(proposal));
}

bool check_proposal_signature(const ProposalMessage& proposal, const PublicKey& proposer) {
  return verify(proposer, proposal.signature, "proposal", proposal.header.network, signed_bytes(proposal));
}

Result<void> check_proposal_proof(const ProposalMessage& proposal, const std::vector<PublicKey>& witnesses) {
  const auto& proof = proposal.proof;
  if (!proposal.valid_round)
    return proof.empty() ? Result<void>() : fail(Errc::invalid, "a new proposal needs no proof");
  if (*proposal.valid_round >= proposal.round)
    return fail(Errc::invalid, "a proposal cannot rest on the prevotes of its own round or of a later one");
  if (!is_quorum(proof.size(), witnesses.size()))
    return fail(Errc::invalid, fmt::format("{} of {} witnesses prevoted it, more than two thirds are needed",
                                           proof.size(), witnesses.size()));
  for (std::size_t i = 0; i < proof.size(); ++i) {
    const auto& at = proof[i];
    if (at.witness >= witnesses.size() || (i > 0 && at.witness <= proof[i - 1].witness))
      return fail(Errc::invalid, "its prevotes are not of different witnesses, in their order");
    const Vote vote{
        VoteKind::prevote, proposal.header.height, *proposal.valid_round, proposal.hash, at.time, at.witness,
        at.signature};
    if (!check_vote(vote, proposal.header.network, witnesses[at.witness]))
      return fail(Errc::invalid, fmt::format("the prevote of witness {} is not signed by it", at.witness));
  }
  return {};
}

Bytes encode_proposal(const ProposalMessage& proposal) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(6);
  out.uint(proposal.round);
  ledger_codec::write_round(out, proposal.valid_round);
  out.bin(encode_block_header(proposal.header));
  write_block_entries(out, proposal.entries);
  out.bin(proposal.signature);
  write_block_votes(out, proposal.proof);
  return bytes;
}

Result<ProposalMessage> decode_proposal(ByteView bytes) {
  const auto malformed = [] { return fail(Errc::invalid, "malformed proposal: it is not in the form of one"); };
  if (bytes.size() > limits::block_bytes_max) return fail(Errc::limit, "a proposal larger than a block may be");
  PackReader in(bytes, block_values_max);
  ProposalMessage out;
  in.array_of(6);
  out.round = static_cast<std::uint32_t>(in.uint(0xfffffffe));
  out.valid_round = ledger_codec::read_round(in);
  const auto header = in.bin(block_header_bytes_max);
  out.entries = read_block_entries(in);
  out.signature = in.id<Signature>();
  out.proof = read_block_votes(in);
  if (!in.done()) return malformed();
  auto decoded = decode_block_header(header);
  if (!decoded) return tl::unexpected(decoded.error());
  out.header = *decoded;
  out.hash = sha256(header);
  return out;
}

}  // namespace diot
