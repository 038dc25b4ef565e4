#include "core/ledger/header_chain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <tuple>

#include "core/ledger/codec.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/work_stamp.hpp"

namespace diot {

std::optional<std::vector<PublicKey>> successors(const std::vector<Bytes>& entries) {
  if (entries.size() != 1) return std::nullopt;
  const auto entry = decode_entry(entries[0]);
  const auto* body = entry ? std::get_if<SuccessionBody>(&entry->body) : nullptr;
  if (!body) return std::nullopt;
  return body->witnesses.keys();
}

bool changes_witnesses(const ChainLink& link) { return !link.next_witnesses.empty() || !link.succession.empty(); }

ChainLink link_of(const BlockView& block, const Ledger& ledger) {
  ChainLink out;
  out.block = decided_header(block);
  if (block.header.next_witnesses != block.header.witnesses)
    out.next_witnesses = ledger.witnesses_at(block.header.height + 1).keys();
  if (successors(block.entries)) out.succession = block.entries[0];
  return out;
}

Bytes encode_link(const ChainLink& link) {
  Bytes bytes, keys;
  for (const auto& key : link.next_witnesses) append(keys, key);
  PackWriter out(bytes);
  out.array(5);
  out.bin(link.block.header);
  out.uint(link.block.round);
  write_block_votes(out, link.block.votes);
  out.bin(keys);
  out.bin(link.succession);
  return bytes;
}

Result<ChainLink> decode_link(ByteView bytes) {
  PackReader in(bytes, block_values_max);
  ChainLink out;
  in.array_of(5);
  out.block.header = to_bytes(in.bin(block_header_bytes_max));
  out.block.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.block.votes = read_block_votes(in);
  const auto keys = in.bin(limits::witnesses_max * PublicKey::size);
  out.succession = to_bytes(in.bin(limits::entry_bytes_max));
  if (!in.done() || keys.size() % PublicKey::size != 0)
    return fail(Errc::invalid, "malformed link of the chain of headers");
  for (std::size_t at = 0; at < keys.size(); at += PublicKey::size)
    out.next_witnesses.push_back(*PublicKey::from(keys.subspan(at, PublicKey::size)));
  return out;
}

HeaderChain::HeaderChain(const Ledger& from, std::optional<Checkpoint> pinned)
    : network_(from.network()),
      succession_(from.genesis().succession),
      pinned_(pinned),
      blocks_(from.blocks()),
      deciders_(from.witnesses()),
      witnesses_(from.witness_history()),
      replaced_(from.replaced_witnesses()) {}

Result<void> HeaderChain::add(const std::vector<ChainLink>& page, Votes votes) {
  const auto before = std::tuple(blocks_.size(), deciders_, witnesses_, replaced_, newest_);
  for (const auto& link : page) {
    const auto added = add(link, &link == &page.back(), votes);
    if (added) continue;
    const auto wrong = blocks_.size();
    std::size_t size = 0;
    std::tie(size, deciders_, witnesses_, replaced_, newest_) = before;
    blocks_.resize(size);
    return fail(added.error().code, fmt::format("block {}: {}", wrong, added.error().message));
  }
  return {};
}

Result<void> HeaderChain::add(const ChainLink& link, bool last, Votes votes) {
  const auto decoded = decode_block_header(link.block.header);
  if (!decoded) return tl::unexpected(decoded.error());
  const BlockHeader& header = *decoded;
  const auto& before = blocks_.back();
  if (!knows_rules(header.rules_version))
    return fail(Errc::not_available, "it goes by rules that this diot does not know: install a newer one");
  if (header.network != network_) return fail(Errc::invalid, "it is of another network");
  if (header.height != height() + 1)
    return fail(Errc::invalid, fmt::format("it says that it is block {}", header.height));
  if (header.previous != before.hash) return fail(Errc::invalid, "it does not follow the block before it");
  if (header.time < before.time) return fail(Errc::invalid, "its time is before that of the block before it");
  if (header.entries < before.entries || header.entries > before.entries + limits::block_entries_max)
    return fail(Errc::invalid, "its count of entries does not follow that of the block before it");
  const Hash hash = sha256(link.block.header);
  if (pinned_ && header.height == pinned_->height && hash != pinned_->block)
    return fail(Errc::invalid, "it is not the one that the invite names");

  auto deciders = deciders_;
  const bool succeeded = header.witnesses != witness_set_hash(deciders);
  if (succeeded) {
    auto successors = check_succession(link, header);
    if (!successors) return tl::unexpected(successors.error());
    deciders = std::move(*successors);
  }
  if (!succeeded && !link.succession.empty())
    return fail(Errc::invalid, "a succession comes with it that is not in it");
  const bool renamed = header.next_witnesses != header.witnesses;
  if (renamed != !link.next_witnesses.empty() ||
      (renamed && witness_set_hash(link.next_witnesses) != header.next_witnesses))
    return fail(Errc::invalid, "the witnesses behind it are not those that it names");
  if ((renamed || succeeded || last) && votes == Votes::check) {
    const BlockView view{header, hash, {}, link.block.round, link.block.votes};
    if (auto decided = check_votes(view, deciders); !decided) return decided;
  }

  blocks_.push_back(PastBlock::of(header, hash));
  newest_ = header;
  const auto take_over = [&](auto& sets, std::uint64_t from, const std::vector<PublicKey>& keys) {
    WitnessSet set;
    for (const auto& key : keys) set.members.push_back({key, {}});
    set.fragile = !set.is_solid();
    sets.insert_or_assign(from, std::move(set));
  };
  if (succeeded) take_over(replaced_, header.height, deciders_);
  if (succeeded) take_over(witnesses_, header.height, deciders);
  if (renamed) take_over(witnesses_, header.height + 1, link.next_witnesses);
  deciders_ = renamed ? link.next_witnesses : std::move(deciders);
  return {};
}

Result<std::vector<PublicKey>> HeaderChain::check_succession(const ChainLink& link, const BlockHeader& header) const {
  const auto other = fail(Errc::invalid, "it was decided by other witnesses than the chain names");
  const auto entry = decode_entry(link.succession);
  const auto* body = entry ? std::get_if<SuccessionBody>(&entry->body) : nullptr;
  if (!body) return other;
  const auto& before = blocks_.back();
  const auto silence = static_cast<WallMs>(std::chrono::milliseconds(limits::succession_silence).count());
  if (entry->recent != Checkpoint{height(), before.hash} || header.entries != before.entries + 1 ||
      header.time < before.time + silence)
    return fail(Errc::invalid, "the succession in it is void");
  auto keys = body->witnesses.keys();
  if (witness_set_hash(keys) != header.witnesses) return other;
  const auto is_holder = [&](const PublicKey& key) { return sha256(key) == succession_; };
  const auto& signatures = entry->signatures;
  if (std::ranges::none_of(signatures, is_holder, &std::pair<PublicKey, Signature>::first) ||
      !std::ranges::all_of(keys, [&](const PublicKey& key) { return entry->is_signed_by(key); }))
    return fail(Errc::invalid, "a signature of the succession in it is missing");
  for (const auto& [key, signature] : signatures)
    if (!verify(key, signature, "entry", network_, entry->signed_bytes))
      return fail(Errc::invalid, "a signature of the succession in it is wrong");
  return keys;
}

}  // namespace diot
