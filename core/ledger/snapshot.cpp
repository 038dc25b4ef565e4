#include "core/ledger/snapshot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/ledger/codec.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/state.hpp"
#include "core/merkle.hpp"

namespace diot {

static constexpr std::size_t cut_offs_bytes_max = 16 << 10;

// Everything that a rule asks of past entries beside the records.
static constexpr auto window = std::max({limits::registrations_window, limits::grant_checkpoint_age_max});
static_assert(limits::changes_window <= window && limits::entry_checkpoint_age_max <= window);

std::uint64_t window_start(const std::vector<PastBlock>& blocks) {
  const auto span = static_cast<WallMs>(std::chrono::milliseconds(window).count());
  const auto begin = blocks.back().time - std::min(blocks.back().time, span);
  const auto first = std::ranges::lower_bound(blocks, begin, {}, &PastBlock::time) - blocks.begin();
  return static_cast<std::uint64_t>(std::max<std::ptrdiff_t>(first, 1));
}

// Records --------------------------------------------------------------------------------------------------------

static Bytes encode_cut_offs(const CutOffs& cut_offs) {
  Bytes bytes;
  PackWriter out(bytes);
  ledger_codec::write_cut_offs(out, cut_offs);
  return bytes;
}

NamedRecord record_of(const Ledger& ledger, const std::string& name) {
  NamedRecord out;
  out.name = name;
  const auto* record = ledger.handle(name);
  if (!record) {
    out.record = encode_network(ledger.network_record());
    return out;
  }
  out.record = encode_handle(*record);
  for (const auto& revocation : record->revoked)
    out.cut_offs.push_back(encode_cut_offs(*ledger.cut_offs(name, revocation.node)));
  return out;
}

static Result<HandleRecord> decode_record(const NamedRecord& named) {
  auto record = decode_handle(named.record);
  if (!record) return record;
  if (record->handle != named.name) return fail(Errc::invalid, "it is the record of another handle");
  const bool whole = std::ranges::equal(record->revoked, named.cut_offs, {}, &Revocation::cut_offs,
                                        [](const Bytes& cut_offs) { return sha256(cut_offs); });
  if (!whole) return fail(Errc::invalid, "its cut-offs are not those that the record names");
  return record;
}

Result<void> check_record(const NamedRecord& record) {
  const auto wrong = [&](const Error& error) {
    return fail(error.code, fmt::format("'{}': {}", record.name, error.message));
  };
  if (record.name == network_record_name) {
    const auto decoded = decode_network(record.record);
    if (!decoded) return wrong(decoded.error());
    if (!record.cut_offs.empty()) return wrong({Errc::invalid, "the network has no cut-offs"});
    return {};
  }
  const auto decoded = decode_record(record);
  if (!decoded) return wrong(decoded.error());
  return {};
}

void write_record(PackWriter& out, const NamedRecord& record) {
  out.array(3);
  out.str(record.name);
  out.bin(record.record);
  out.array(record.cut_offs.size());
  for (const auto& cut_offs : record.cut_offs) out.bin(cut_offs);
}

NamedRecord read_record(PackReader& in) {
  NamedRecord out;
  in.array_of(3);
  out.name = in.str(64);
  out.record = to_bytes(in.bin(limits::block_bytes_max));
  for (auto left = in.array(limits::revocations_per_handle_max); left > 0 && in.ok(); --left)
    out.cut_offs.push_back(to_bytes(in.bin(cut_offs_bytes_max)));
  return out;
}

// The state ------------------------------------------------------------------------------------------------------

static Result<void> restore_handle(LedgerState& state, const NamedRecord& named) {
  auto record = decode_record(named);
  if (!record) return tl::unexpected(record.error());
  for (const auto& [node, role] : record->nodes)
    if (!state.of_node.emplace(node, record->handle).second)
      return fail(Errc::invalid, fmt::format("one of its nodes speaks for '{}' as well", state.of_node[node]));
  for (std::size_t i = 0; i < named.cut_offs.size(); ++i) {
    std::string error;
    PackReader in(named.cut_offs[i]);
    auto cut_offs = ledger_codec::read_cut_offs(in, error);
    if (!in.done() || !error.empty()) return fail(Errc::invalid, "malformed cut-offs");
    state.cut_offs[record->handle][record->revoked[i].node] = std::move(cut_offs);
  }
  state.looks[skeleton_of(record->handle)] = record->handle;
  if (const auto when = timer_of(*record); when != 0) state.timers.emplace(when, record->handle);
  const auto handle = record->handle;
  if (!state.handles.emplace(handle, std::move(*record)).second) return fail(Errc::invalid, "it is there twice");
  return {};
}

/// What the rules ask of an entry of the window later on. A handle that was registered anew since begins anew.
static void remember(LedgerState& state, const Entry& entry, std::uint64_t height, WallMs time) {
  const auto counts = [&](const std::string& handle) {
    const auto at = state.handles.find(handle);
    return at != state.handles.end() && at->second.height <= height;
  };
  if (const auto* body = std::get_if<RegisterBody>(&entry.body)) {
    const auto grant = body->grant.empty() ? std::nullopt : std::optional(decode_grant(body->grant));
    if (!grant || !*grant) return;
    ++state.grant_uses[(*grant)->id];
    if (!counts((*grant)->inviter)) return;
    auto& times = state.invited[(*grant)->inviter];
    if (times.size() == limits::registrations_per_inviter_max) times.erase(times.begin());
    times.push_back(time);
    return;
  }
  if (entry.handle().empty() || !counts(entry.handle())) return;
  const auto is = [&]<class... Body>(std::type_identity<Body>...) {
    return (std::holds_alternative<Body>(entry.body) || ...);
  };
  const bool grave =
      is(std::type_identity<RotateBody>{}, std::type_identity<TransferBody>{}, std::type_identity<SetGuardiansBody>{},
         std::type_identity<RecoverBody>{}, std::type_identity<ReleaseBody>{});
  auto& changes = state.changes[entry.handle()];
  (grave ? changes.grave : changes.daily).push_back(time);
}

Result<Restored> restore(LedgerState genesis, const LedgerSnapshot& snapshot) {
  Restored out{std::move(genesis), snapshot.log, {}, {}};
  auto& state = out.state;
  const auto& header = snapshot.chain.newest();
  if (!header || state.head().hash != snapshot.chain.blocks()[0].hash)
    return fail(Errc::invalid, "the headers are not those of this network");
  out.map_root = header->map_root;
  out.log_root = header->log_root;
  state.blocks = snapshot.chain.blocks();
  state.witnesses = snapshot.chain.witnesses();
  state.replaced = snapshot.chain.replaced();
  for (const auto& named : snapshot.records) {
    Result<void> restored;
    if (named.name == network_record_name) {
      auto record = decode_network(named.record);
      if (record) state.record = std::move(*record);
      if (!record) restored = tl::unexpected(record.error());
    } else {
      restored = restore_handle(state, named);
    }
    if (!restored) return fail(restored.error().code, fmt::format("'{}': {}", named.name, restored.error().message));
  }
  if (witness_set_hash(state.record.witnesses.keys()) != header->next_witnesses)
    return fail(Errc::invalid, "the network's record names other witnesses than the newest header");
  state.witnesses.rbegin()->second = state.record.witnesses;  // with their nodes, which no header names

  auto height = window_start(state.blocks);
  const auto wrong = [&height](std::string_view why) {
    return fail(Errc::invalid, fmt::format("block {}: {}", height, why));
  };
  if (state.blocks.size() - height != snapshot.window.size()) return wrong("the window does not begin or end with it");
  if (out.log.size() != state.blocks[height - 1].entries) return wrong("the log before it has another size");
  for (const auto& bytes : snapshot.window) {
    const auto block = decode_block(bytes);
    if (!block) return tl::unexpected(block.error());
    if (block->hash != state.blocks[height].hash) return wrong("it is another one than the chain names");
    for (const auto& raw : block->entries) {
      const auto entry = decode_entry(raw);
      if (!entry) return tl::unexpected(entry.error());
      out.log.append(entry->hash);
      remember(state, *entry, height, block->header.time);
    }
    ++height;
  }
  return out;
}

}  // namespace diot
