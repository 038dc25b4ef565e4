#include "core/ledger/block.hpp"

#include <fmt/format.h>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {

void ledger_codec::write_history(PackWriter& out, const BlockHeader& header) {
  out.uint(header.height);
  out.uint(header.time);
  out.bin(header.previous);
  out.uint(header.entries);
  out.bin(header.log_root);
  out.bin(header.map_root);
}

void ledger_codec::read_history(PackReader& in, BlockHeader& out) {
  out.height = in.uint();
  out.time = in.uint(limits::wall_ms_max);
  out.previous = in.id<Hash>();
  out.entries = in.uint();
  out.log_root = in.id<Hash>();
  out.map_root = in.id<Hash>();
}

Bytes encode_block_header(const BlockHeader& header) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(12);
  out.uint(1);
  out.uint(suite_1);
  out.uint(header.rules_version);
  out.bin(header.network);
  ledger_codec::write_history(out, header);
  out.bin(header.witnesses);
  out.bin(header.next_witnesses);
  return bytes;
}

BlockView::Vote make_vote(const BlockHeader& header, std::uint32_t round, std::uint32_t index, WallMs time,
                          const KeyPair& witness) {
  Vote vote{VoteKind::precommit, header.height, round, block_hash(header), time, index, {}};
  sign_vote(vote, header.network, witness);
  return BlockView::Vote::of(vote);
}

void write_block_entries(PackWriter& out, const std::vector<Bytes>& entries) {
  out.array(entries.size());
  for (const auto& entry : entries) out.bin(entry);
}

std::vector<Bytes> read_block_entries(PackReader& in) {
  std::vector<Bytes> out;
  for (auto left = in.array(limits::block_entries_max); left > 0 && in.ok(); --left)
    out.push_back(to_bytes(in.bin(limits::entry_bytes_max)));
  return out;
}

void write_block_votes(PackWriter& out, const std::vector<BlockView::Vote>& votes) {
  out.array(votes.size());
  for (const auto& vote : votes) {
    out.array(3);
    out.uint(vote.witness);
    out.uint(vote.time);
    out.bin(vote.signature);
  }
}

std::vector<BlockView::Vote> read_block_votes(PackReader& in) {
  std::vector<BlockView::Vote> out;
  for (auto left = in.array(limits::witnesses_max); left > 0 && in.ok(); --left) {
    in.array_of(3);
    auto& vote = out.emplace_back();
    vote.witness = static_cast<std::uint32_t>(in.uint(limits::witnesses_max - 1));
    vote.time = in.uint(limits::wall_ms_max);
    vote.signature = in.id<Signature>();
  }
  return out;
}

Bytes encode_block(const BlockHeader& header, const std::vector<Bytes>& entries, std::uint32_t round,
                   const std::vector<BlockView::Vote>& votes) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(4);
  out.bin(encode_block_header(header));
  write_block_entries(out, entries);
  out.uint(round);
  write_block_votes(out, votes);
  return bytes;
}

Hash block_hash(const BlockHeader& header) { return sha256(encode_block_header(header)); }

Result<BlockHeader> decode_block_header(ByteView bytes) {
  PackReader in(bytes, 16);
  BlockHeader out;
  in.array_of(12);
  if (auto known = ledger_codec::check_version(in, "a block"); !known) return tl::unexpected(known.error());
  out.rules_version = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.network = in.id<NetworkId>();
  ledger_codec::read_history(in, out);
  out.witnesses = in.id<Hash>();
  out.next_witnesses = in.id<Hash>();
  if (!in.done()) return fail(Errc::invalid, "malformed block: its header is not in the form of one");
  return out;
}

Result<BlockView> decode_block(ByteView bytes) {
  if (bytes.size() > limits::block_bytes_max)
    return fail(Errc::limit,
                fmt::format("a block of {} bytes, at most {} are allowed", bytes.size(), limits::block_bytes_max));
  PackReader in(bytes, block_values_max);
  BlockView out;
  in.array_of(4);
  const auto header = in.bin(block_header_bytes_max);
  out.entries = read_block_entries(in);
  out.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.votes = read_block_votes(in);
  if (!in.done()) return fail(Errc::invalid, "malformed block: it is not in the form of one");
  auto decoded = decode_block_header(header);
  if (!decoded) return tl::unexpected(decoded.error());
  out.header = *decoded;
  out.hash = sha256(header);
  return out;
}

Hash witness_set_hash(const std::vector<PublicKey>& witnesses) {
  Bytes keys;
  for (const auto& key : witnesses) append(keys, key);
  return sha256(keys);
}

Result<void> check_votes(const BlockView& block, const std::vector<PublicKey>& witnesses) {
  if (!is_quorum(block.votes.size(), witnesses.size()))
    return fail(Errc::invalid, fmt::format("{} of {} witnesses voted for it, more than two thirds are needed",
                                           block.votes.size(), witnesses.size()));
  const BlockView::Vote* before = nullptr;
  for (const auto& vote : block.votes) {
    if (vote.witness >= witnesses.size())
      return fail(Errc::invalid,
                  fmt::format("a vote of witness {}, of whom there are {}", vote.witness, witnesses.size()));
    if (before && vote.witness <= before->witness)
      return fail(Errc::invalid, "its votes are not in ascending order of the witnesses");
    if (!check_vote(vote.precommit(block.header.height, block.round, block.hash), block.header.network,
                    witnesses[vote.witness]))
      return fail(Errc::invalid, fmt::format("the vote of witness {} is not signed by it", vote.witness));
    before = &vote;
  }
  if (witnesses.size() == 1 && block.votes[0].time != block.header.time)
    return fail(Errc::invalid, "its time is not that of the sole witness' vote");
  return {};
}

}  // namespace diot
