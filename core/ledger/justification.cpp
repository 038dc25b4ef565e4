#include "core/ledger/justification.hpp"

#include <fmt/format.h>

#include <set>

#include "core/ledger/limits.hpp"
#include "core/ledger/vote.hpp"
#include "core/msgpack.hpp"

namespace diot {

Justification make_justification(std::uint64_t height, std::uint32_t round, const Hash& block,
                                 const std::vector<BlockView::Vote>& votes, const std::vector<PublicKey>& witnesses) {
  Justification out{height, round, block, {}};
  for (const auto& vote : votes) out.prevotes.push_back({witnesses.at(vote.witness), vote.time, vote.signature});
  return out;
}

Bytes encode_justification(const Justification& justification) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(5);
  out.uint(1);
  out.uint(justification.height);
  out.uint(justification.round);
  out.bin(justification.block);
  out.array(justification.prevotes.size());
  for (const auto& prevote : justification.prevotes) {
    out.array(3);
    out.bin(prevote.witness);
    out.uint(prevote.time);
    out.bin(prevote.signature);
  }
  return bytes;
}

Result<Justification> decode_justification(ByteView bytes) {
  PackReader in(bytes, 16 + 4 * limits::witnesses_max);
  Justification out;
  in.array_of(5);
  const bool known = in.uint() == 1;
  out.height = in.uint();
  out.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.block = in.id<Hash>();
  for (auto left = in.array(limits::witnesses_max); left > 0 && in.ok(); --left) {
    in.array_of(3);
    auto& prevote = out.prevotes.emplace_back();
    prevote.witness = in.id<PublicKey>();
    prevote.time = in.uint(limits::wall_ms_max);
    prevote.signature = in.id<Signature>();
  }
  if (!in.done() || !known) return fail(Errc::invalid, "malformed justification of a vote");
  return out;
}

Result<void> check_justification(const Justification& justification, const NetworkId& network) {
  std::set<PublicKey> seen;
  for (const auto& [witness, time, signature] : justification.prevotes) {
    const Vote vote{VoteKind::prevote, justification.height, justification.round, justification.block, time, 0,
                    signature};
    if (!seen.insert(witness).second || !check_vote(vote, network, witness))
      return fail(Errc::invalid, fmt::format("a prevote for block {} that witness {}… did not sign, or twice",
                                             justification.height, witness.hex().substr(0, 16)));
  }
  return {};
}

Bytes justification_key(std::uint64_t height, std::uint32_t round) {
  Bytes key = to_bytes("justification/");
  ByteWriter out(key);
  out.u64(height);
  out.u32(round);
  return key;
}

}  // namespace diot
