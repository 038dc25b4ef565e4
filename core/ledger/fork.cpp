#include "core/ledger/fork.hpp"

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {

std::uint64_t Fork::height() const {
  const auto header = decode_block_header(ours.block.header);
  return header ? header->height : 0;
}

Fork::Side fork_side(const BlockView& block) {
  Fork::Side out{decided_header(block), {}};
  if (block.entries.size() != 1) return out;
  const auto entry = decode_entry(block.entries[0]);
  if (entry && std::holds_alternative<SuccessionBody>(entry->body)) out.succession = block.entries[0];
  return out;
}

static void write_side(PackWriter& out, const Fork::Side& side) {
  out.array(4);
  write_decided(out, side.block);
  out.bin(side.succession);
}
static Fork::Side read_side(PackReader& in) {
  in.array_of(4);
  Fork::Side out;
  out.block = read_decided(in);
  out.succession = to_bytes(in.bin(limits::entry_bytes_max));
  return out;
}

static void write_fork(PackWriter& out, const Fork& fork) {
  out.array(5);
  out.uint(1);
  out.uint(fork.seen);
  out.bin(fork.shown_by);
  write_side(out, fork.ours);
  write_side(out, fork.theirs);
}

Bytes encode_fork(const Fork& fork) {
  Bytes bytes;
  PackWriter out(bytes);
  write_fork(out, fork);
  return bytes;
}

Bytes encode_forks(const std::vector<Fork>& forks) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(forks.size());
  for (const auto& fork : forks) write_fork(out, fork);
  return bytes;
}

Result<std::vector<Fork>> decode_forks(ByteView bytes) {
  PackReader in(bytes, 1 + forks_max * (16 + 8 * limits::witnesses_max));
  std::vector<Fork> out;
  for (auto left = in.array(forks_max); left > 0 && in.ok(); --left) {
    in.array_of(5);
    if (in.uint() != 1) return fail(Errc::not_available, "the evidence of a fork needs a newer diot");
    Fork fork;
    fork.seen = in.uint(limits::wall_ms_max);
    fork.shown_by = in.id<NodeId>();
    fork.ours = read_side(in);
    fork.theirs = read_side(in);
    if (!decode_block_header(fork.ours.block.header) || !decode_block_header(fork.theirs.block.header))
      return fail(Errc::corrupt, "the evidence of a fork is malformed");
    out.push_back(std::move(fork));
  }
  if (!in.done()) return fail(Errc::corrupt, "the evidence of a fork is malformed");
  return out;
}

std::vector<DoubleVote> double_votes_in(const Fork& fork, const std::vector<PublicKey>& witnesses) {
  std::vector<DoubleVote> out;
  const auto &ours = fork.ours.block, &theirs = fork.theirs.block;
  if (ours.round != theirs.round || !fork.ours.succession.empty() || !fork.theirs.succession.empty()) return out;
  const auto vote_of = [&](const DecidedHeader& block, const BlockView::Vote& vote) {
    return Vote{VoteKind::precommit, fork.height(), block.round, sha256(block.header), vote.time, 0, vote.signature};
  };
  for (const auto& one : ours.votes)
    for (const auto& other : theirs.votes)
      if (one.witness == other.witness && one.witness < witnesses.size())
        out.push_back(make_double_vote(witnesses[one.witness], vote_of(ours, one), vote_of(theirs, other)));
  return out;
}

}  // namespace diot
