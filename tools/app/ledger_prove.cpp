#include "tools/app/ledger_prove.hpp"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/ledger/anchor.hpp"
#include "core/ledger/block.hpp"
#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/proof.hpp"
#include "core/ledger/storage.hpp"
#include "core/ledger/tiles.hpp"
#include "core/merkle.hpp"
#include "core/topic.hpp"
#include "tools/app/home.hpp"

namespace diot {

static constexpr std::size_t proof_file_bytes_max = 4 << 20;

// Making ---------------------------------------------------------------------------------------------------------

/// With its votes, which are kept apart from the block only where the witnesses change.
static Result<DecidedHeader> decided_at(std::uint64_t height, const LedgerSource& from) {
  auto out = stored_decision(from.store, height);
  if (!out || !out->votes.empty()) return out;
  return stored_block(from.store, height).map([](const BlockView& block) { return decided_header(block); });
}

/// From the genesis, or behind block `pin` if it is not 0, to the block as of which something is proven.
static Result<ProofChain> chain_to(std::uint64_t height, std::uint64_t pin, const LedgerSource& from) {
  ProofChain out;
  const auto block = decided_at(height, from);
  if (!block) return tl::unexpected(block.error());
  out.block = *block;
  if (pin >= height && pin != 0)
    return fail(Errc::invalid,
                fmt::format("--pin is for a block before the one that the proof is as of, which is {}", height));
  if (pin != 0) {
    const auto pinned = stored_decision(from.store, pin);
    if (!pinned) return tl::unexpected(pinned.error());
    out.pinned = ProofChain::Pinned{pinned->header, from.ledger.witnesses_at(pin + 1).keys()};
  } else {
    const auto genesis = unsigned_genesis(from.genesis);
    if (!genesis) return tl::unexpected(genesis.error());
    out.genesis = to_bytes(*genesis);
  }
  const WitnessSet* known = &from.ledger.witnesses_at(pin + 1);
  for (auto at = pin + 1; at < height; ++at) {
    const WitnessSet* set = std::exchange(known, &from.ledger.witnesses_at(at + 1));
    if (set == known || set->keys() == known->keys()) continue;
    const auto next = known->keys();
    const auto last = decided_at(at, from);
    if (!last) return tl::unexpected(last.error());
    const auto header = decode_block_header(last->header);
    if (!header) return tl::unexpected(header.error());
    if (header->next_witnesses != witness_set_hash(next))
      return fail(Errc::not_available, fmt::format("the holder of the succession key replaced the witnesses in block "
                                                   "{}, which no proof can follow: --pin that block or a later one",
                                                   at + 1));
    out.changes.push_back({*last, next});
  }
  if (out.changes.size() > limits::proof_changes_max)
    return fail(Errc::limit,
                fmt::format("the witnesses changed {} times since: --pin a newer block", out.changes.size()));
  return out;
}

/// The log as of a block.
static LogProver log_at(std::uint64_t height, const LedgerSource& from) {
  return {from.ledger.blocks()[height].entries, from.ledger.tiles(),
          [&from](std::uint64_t tile, std::size_t width) { return tile_leaves(tile, width, from.ledger, from.store); }};
}

/// The answer, with what `out` says so far. Nobody is handed a proof that does not hold.
static Result<Json> handed_out(const LedgerProof& proof, std::uint64_t pin, const LedgerSource& from, Json out) {
  const auto bytes = encode_proof(proof);
  const auto pinned = pin == 0 ? std::nullopt : std::optional(Checkpoint{pin, *from.ledger.block_at(pin)});
  const auto read = decode_proof(bytes, from.ledger.network());
  if (!read) return tl::unexpected(read.error());
  const auto holds = check_proof(*read, from.ledger.network(), pinned);
  if (!holds) return tl::unexpected(holds.error());
  out["height"] = holds->block.height;
  out["bytes"] = bytes.size();
  out["proof"] = to_base64url(bytes);
  return out;
}

static Result<Json> prove_handle(const std::string& handle, std::uint64_t pin, const LedgerSource& from) {
  if (auto valid = check_handle(handle); !valid) return tl::unexpected(valid.error());
  auto chain = chain_to(from.ledger.head().height, pin, from);
  if (!chain) return tl::unexpected(chain.error());
  HandleProof proof{std::move(*chain), handle, {}, from.ledger.prove(handle)};
  if (const auto* record = from.ledger.handle(handle)) proof.record = encode_handle(*record);
  return handed_out(proof, pin, from, {{"handle", handle}, {"registered", !proof.record.empty()}});
}

/// The number of the entry in the log: it is that, or the entry's hash.
static Result<std::uint64_t> index_of(const std::string& text, const LedgerSource& from) {
  std::uint64_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  const bool is_number = error == std::errc{} && end == text.data() + text.size();
  if (is_number && text.size() != 2 * Hash::size) {
    const auto count = from.ledger.entry_count();
    if (index < count) return index;
    return fail(Errc::not_found, fmt::format("the log has {} entries, numbered from 0 to {}", count, count - 1));
  }
  const auto bytes = from_hex(text);
  const auto hash = bytes ? Hash::from(*bytes) : std::nullopt;
  if (!hash)
    return fail(Errc::invalid, fmt::format("--entry takes an entry's hash, as `diot ledger history` shows it, or its "
                                           "number in the log, and '{}' is neither",
                                           text));
  std::optional<std::uint64_t> found;
  auto scanned = from.store.scan(Table::block, block_key(1), {},
                                 [&](ByteView, ByteView bytes_of) {
                                   const auto block = decode_block(bytes_of);
                                   for (std::size_t i = 0; block && i < block->entries.size() && !found; ++i)
                                     if (merkle_leaf(block->entries[i]) == *hash)
                                       found = block->header.entries - block->entries.size() + i;
                                   return !found;
                                 },
                                 {});
  if (!scanned) return tl::unexpected(scanned.error());
  if (found) return *found;
  const auto missing = stored_missing(from.store);
  if (!missing) return tl::unexpected(missing.error());
  if (!missing->empty())
    return fail(Errc::not_available, fmt::format("no such entry is on this disk, and {}",
                                                 not_on_disk({missing->front().from, missing->back().to}).message));
  return fail(Errc::not_found, "no such entry is in the ledger; see `diot ledger history`");
}

static Result<Json> prove_entry(const std::string& which, std::uint64_t pin, const LedgerSource& from) {
  const auto index = index_of(which, from);
  if (!index) return tl::unexpected(index.error());
  // As of the block that brought it, so that the proof says since when it is there at the latest.
  const auto& blocks = from.ledger.blocks();
  const auto with = std::ranges::upper_bound(blocks, *index, {}, &PastBlock::entries);
  const auto height = static_cast<std::uint64_t>(with - blocks.begin());
  const auto block = stored_block(from.store, height);
  if (!block) return tl::unexpected(block.error());
  const auto at = *index - std::prev(with)->entries;
  if (at >= block->entries.size())
    return fail(Errc::corrupt, fmt::format("block {} has not the entries that it has to: `diot ledger verify` says "
                                           "more",
                                           height));
  auto chain = chain_to(height, pin, from);
  if (!chain) return tl::unexpected(chain.error());
  auto path = log_at(height, from).path(*index);
  if (!path) return tl::unexpected(path.error());
  const auto& entry = block->entries[at];
  const EntryProof proof{std::move(*chain), entry, *index, std::move(*path)};
  return handed_out(proof, pin, from, {{"hash", merkle_leaf(entry).hex()}, {"index", *index}});
}

static Result<Json> prove_consistency(std::uint64_t old, std::uint64_t pin, const LedgerSource& from) {
  const auto head = from.ledger.head().height;
  if (old >= head)
    return fail(Errc::invalid, fmt::format("--consistency is for a block before the newest one, which is {}", head));
  if (old <= pin)
    return fail(Errc::invalid,
                fmt::format("block {} is not behind block {}, which is trusted: --pin an older one", old, pin));
  auto chain = chain_to(head, pin, from);
  if (!chain) return tl::unexpected(chain.error());
  auto decision = decided_at(old, from);
  if (!decision) return tl::unexpected(decision.error());
  auto path = log_at(head, from).consistency(from.ledger.blocks()[old].entries);
  if (!path) return tl::unexpected(path.error());
  const ExtensionProof proof{std::move(*chain), std::move(*decision), std::move(*path)};
  return handed_out(proof, pin, from, {{"from_height", old}});
}

Result<Json> prove_answer(const Json& args, const LedgerSource& from) {
  const auto pin = args.value("pin", std::uint64_t{0});
  if (args.contains("handle") + args.contains("entry") + args.contains("consistency") != 1)
    return fail(Errc::invalid,
                "a proof is of a HANDLE, of an --entry or of the --consistency of the log since a block: "
                "say one of them");
  if (args.contains("entry")) return prove_entry(args["entry"].get<std::string>(), pin, from);
  if (args.contains("consistency")) return prove_consistency(args["consistency"].get<std::uint64_t>(), pin, from);
  return prove_handle(args["handle"].get<std::string>(), pin, from);
}

// Checking -------------------------------------------------------------------------------------------------------

static Result<Checkpoint> parse_pin(std::string_view text) {
  Checkpoint out;
  const auto colon = text.find(':');
  const auto [end, error] = std::from_chars(text.data(), text.data() + std::min(colon, text.size()), out.height);
  const auto hash = colon == text.npos ? std::nullopt : from_hex(text.substr(colon + 1));
  const auto block = hash ? Hash::from(*hash) : std::nullopt;
  if (error != std::errc{} || end != text.data() + colon || !block)
    return fail(Errc::invalid,
                fmt::format("'{}' is no block: write HEIGHT:HASH, as `diot ledger tail` shows them", text));
  out.block = *block;
  return out;
}

static std::string brief(const Hash& hash) { return hash.is_zero() ? "(nothing)" : hash.hex().substr(0, 16) + "…"; }
static std::string_view side(bool right) { return right ? "right" : "left "; }

/// From the root to the handle's leaf.
static std::string drawn(const HandleProof& proof, const ProvedBlock& shown) {
  const auto key = sha256(as_bytes(proof.handle));
  std::string out = fmt::format("map root {}\n", brief(shown.map_root));
  for (std::size_t depth = 0; depth < proof.path.siblings.size(); ++depth) {
    const bool right = (key.bytes[depth / 8] >> (7 - depth % 8)) & 1;
    out +=
        fmt::format("{:>3} {} beside {} {}\n", depth + 1, side(right), side(!right), brief(proof.path.siblings[depth]));
  }
  if (!proof.record.empty())
    return out + fmt::format("    └─ {}: record {}\n", proof.handle, brief(proof.path.end->value));
  if (proof.path.end)
    return out + fmt::format("    └─ another handle stands alone here: {}\n", brief(proof.path.end->key));
  return out + "    └─ nothing stands here\n";
}

/// From the root to the entry's leaf.
static std::string drawn(const EntryProof& proof, const ProvedBlock& shown) {
  std::string out = fmt::format("log root {} of {} entries\n", brief(shown.log_root), shown.entries);
  auto depth = proof.path.size();
  for (std::uint64_t from = 0, to = shown.entries; depth > 0;) {
    const auto half = from + std::bit_floor(to - from - 1);
    const bool right = proof.index >= half;
    out += fmt::format("{:>3} {} beside {} {}\n", proof.path.size() - depth + 1, side(right), side(!right),
                       brief(proof.path[depth - 1]));
    --depth;
    (right ? from : to) = half;
  }
  return out + fmt::format("    └─ entry {}: {}\n", proof.index, brief(merkle_leaf(proof.entry)));
}

/// The parts that the new log is made of, the last ones first, and which of them the old one is made of.
static std::string drawn(const ExtensionProof& proof, const ProvedBlock& shown) {
  const auto old = decode_block_header(proof.old.header).value();
  std::string out = fmt::format("log root {} of {} entries\n", brief(shown.log_root), shown.entries);
  auto left = proof.path.rbegin();
  const auto part = [&](std::uint64_t from, std::uint64_t to, const Hash& hash) {
    out += fmt::format("    {} {} entries {} to {}\n", from < old.entries ? "in both" : "new    ", brief(hash), from,
                       to - 1);
  };
  std::uint64_t from = 0, to = shown.entries;
  while (to != old.entries && left != proof.path.rend()) {
    const auto half = from + std::bit_floor(to - from - 1);
    if (old.entries <= half)
      part(half, std::exchange(to, half), *left++);
    else
      part(std::exchange(from, half), half, *left++);
  }
  part(from, to, left == proof.path.rend() ? old.log_root : *left);
  return out + fmt::format("log root {} of {} entries, block {} {}\n    └─ decided by {} of the witnesses then\n",
                           brief(old.log_root), old.entries, old.height, brief(sha256(proof.old.header)),
                           proof.old.votes.size());
}

/// From there to whom the checker trusts.
static std::string drawn(const ProofChain& chain, const ProvedBlock& shown) {
  auto out = fmt::format("block {} {}\n    └─ decided by {} of {} witnesses\n", shown.block.height,
                         brief(shown.block.block), shown.votes, shown.witnesses);
  for (auto change = chain.changes.rbegin(); change != chain.changes.rend(); ++change)
    if (const auto header = decode_block_header(change->block.header))
      out += fmt::format("    └─ named by block {}, which {} witnesses before them decided\n", header->height,
                         change->block.votes.size());
  return out + (chain.pinned ? "    └─ named by the block that you trust\n" : "    └─ named by the genesis\n");
}

static Result<Json> told(const HandleProof& proof, const ProvedBlock&) {
  Json out{{"proves", "handle"}, {"handle", proof.handle}, {"registered", !proof.record.empty()}};
  if (proof.record.empty()) return out;
  const auto record = decode_handle(proof.record);
  if (!record) return tl::unexpected(record.error());
  out.update(handle_answer(*record, false));
  out.erase("ours");
  return out;
}
static Result<Json> told(const EntryProof& proof, const ProvedBlock& shown) {
  const auto entry = describe_entry(proof.entry);
  if (!entry) return tl::unexpected(entry.error());
  Json out = entry_answer(*entry);
  out.update({{"proves", "entry"}, {"index", proof.index}, {"log_entries", shown.entries}});
  return out;
}
static Result<Json> told(const ExtensionProof& proof, const ProvedBlock& shown) {
  const auto old = decode_block_header(proof.old.header);
  if (!old) return tl::unexpected(old.error());
  return Json{{"proves", "consistency"}, {"from_height", old->height},   {"from_block", sha256(proof.old.header).hex()},
              {"from_ms", old->time},    {"from_entries", old->entries}, {"log_entries", shown.entries}};
}

static Result<Json> check_anchor(const std::string& text, const LedgerProof& proof, const ProvedBlock& shown) {
  const auto anchor = decode_anchor(text);
  if (!anchor) return tl::unexpected(anchor.error());
  const auto* of_handle = std::get_if<HandleProof>(&proof);
  if (!of_handle) return fail(Errc::invalid, "an anchor stands in a handle's record, and this is no proof of a handle");
  const auto record = of_handle->record.empty() ? HandleRecord{} : decode_handle(of_handle->record);
  if (!record || record->profile != anchor_hash(*anchor))
    return fail(Errc::invalid, fmt::format("that anchor does not stand in the record of @{} as of block {}",
                                           of_handle->handle, shown.block.height));
  return Json{{"network", anchor->network.hex()},
              {"height", anchor->block.height},
              {"block", anchor->block.block.hex()},
              {"time_ms", anchor->time}};
}

Result<Json> check_proof_file(const Json& args) {
  const auto file = args.at("file").get<std::string>();
  const auto id = from_hex(args.at("genesis").get<std::string>());
  const auto network = id ? NetworkId::from(*id) : std::nullopt;
  if (!network)
    return fail(Errc::invalid, "--genesis takes the network's id, 64 hex digits: `diot status` shows it as network");
  std::optional<Checkpoint> pinned;
  if (args.contains("pin")) {
    auto pin = parse_pin(args["pin"].get_ref<const std::string&>());
    if (!pin) return tl::unexpected(pin.error());
    pinned = *pin;
  }
  const auto bytes = read_file(file, proof_file_bytes_max);
  if (!bytes) return tl::unexpected(bytes.error());
  const auto wrong = [&](const Error& error) { return fail(error.code, fmt::format("{}: {}", file, error.message)); };
  const auto proof = decode_proof(*bytes, *network);
  if (!proof) return wrong(proof.error());
  const auto shown = check_proof(*proof, *network, pinned);
  if (!shown) return wrong(shown.error());
  auto out = std::visit([&](const auto& one) { return told(one, *shown); }, *proof);
  if (!out) return wrong(out.error());
  out->update({{"as_of_height", shown->block.height},
               {"as_of_block", shown->block.block.hex()},
               {"as_of_ms", shown->time},
               {"network", shown->network.hex()},
               {"witnesses", shown->witnesses},
               {"votes", shown->votes},
               {"bytes", bytes->size()}});
  if (args.contains("anchor")) {
    auto anchored = check_anchor(args["anchor"].get<std::string>(), *proof, *shown);
    if (!anchored) return wrong(anchored.error());
    (*out)["anchored"] = std::move(*anchored);
  }
  if (args.contains("tree"))
    (*out)["tree"] =
        std::visit([&](const auto& one) { return drawn(one, *shown); }, *proof) + drawn(chain_of(*proof), *shown);
  return out;
}

}  // namespace diot
