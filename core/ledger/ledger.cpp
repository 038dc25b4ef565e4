#include "core/ledger/ledger.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/ledger/limits.hpp"
#include "core/ledger/state.hpp"
#include "core/merkle.hpp"

namespace diot {

static constexpr std::uint32_t known_rules_version = 1;

/// What a block takes besides its entries at most: header, votes and the frame around them, and 3 bytes per entry.
static constexpr std::size_t block_overhead_max = 1024 + limits::witnesses_max * 96 + limits::block_entries_max * 3;
static_assert(limits::genesis_bytes_max + block_overhead_max <= limits::block_bytes_max, "block 1 holds the founding");

struct Ledger::Impl {
  Impl(Genesis genesis, const NetworkId& network, const Hash& genesis_hash)
      : state(std::move(genesis), network, genesis_hash), log_root(log.root()), map_root(map.root()) {}

  LedgerState state;
  MerkleFrontier log;  ///< over the entries' hashes
  SparseMap map;       ///< SHA-256(handle) → SHA-256(record)
  Hash log_root, map_root;

  /// The newest block that was proposed or judged on top of the head, and what it makes of the state: mostly it is the
  /// next one, and its entries' signatures need not be checked again.
  struct Judged {
    Hash block;
    LedgerDraft draft;
    MerkleFrontier log_after;
  };
  std::optional<Judged> judged;
  bool was_judged(const BlockView& block) const {
    if (!judged || judged->block != block.hash) return false;
    auto log_after = log;
    for (const auto& entry : block.entries) log_after.append(merkle_leaf(entry));
    return log_after.root() == block.header.log_root;  // the entries are those that the header stands for
  }

  /// Puts the draft's records into the map. `unmap` takes them out again.
  void remap(const LedgerDraft& draft) {
    for (const auto& [handle, record] : draft.changed())
      map.set(sha256(as_bytes(handle)), sha256(encode_handle(record)));
  }
  void unmap(const LedgerDraft& draft) {
    for (const auto& [handle, record] : draft.changed()) {
      const auto key = sha256(as_bytes(handle));
      if (const auto before = state.handles.find(handle); before != state.handles.end())
        map.set(key, sha256(encode_handle(before->second)));
      else
        map.erase(key);
    }
  }

  Result<void> check_header(const BlockHeader& header, std::size_t entries) const;
  /// Judges the entries and both roots. If all is well, `draft`, `log_after` and `map` are what the block makes of the
  /// state; else the map is as before.
  Result<void> judge(const BlockHeader& header, const std::vector<Bytes>& entries, LedgerDraft& draft,
                     MerkleFrontier& log_after);
  Result<void> append(const BlockView& block);
  Proposal proposal(LedgerDraft draft, std::vector<Bytes> entries, MerkleFrontier log_after, WallMs time);
  Result<Bytes> decide(const Proposal& proposal, const KeyPair& witness) const;
  Result<void> check_sole_witness(const KeyPair& witness) const;
};

Ledger::Ledger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ledger::Ledger(Ledger&&) noexcept = default;
Ledger& Ledger::operator=(Ledger&&) noexcept = default;
Ledger::~Ledger() = default;

Result<Ledger> Ledger::from_genesis(ByteView bytes) {
  auto genesis = decode_genesis(bytes);
  if (!genesis) return tl::unexpected(genesis.error());
  if (genesis->rules_version != known_rules_version)
    return fail(Errc::not_available,
                fmt::format("this network goes by rules version {}, and this diot knows version {}: "
                            "install a newer one",
                            genesis->rules_version, known_rules_version));
  if (genesis->admission != Admission::invite)
    return fail(Errc::not_available, "networks of open admission are not available yet");
  const auto network = network_id_of(bytes);
  if (!network) return tl::unexpected(network.error());
  return Ledger(std::make_unique<Impl>(std::move(*genesis), *network, sha256(bytes)));
}

const NetworkId& Ledger::network() const { return impl_->state.network; }
const Genesis& Ledger::genesis() const { return impl_->state.genesis; }
Checkpoint Ledger::head() const { return {impl_->state.height(), impl_->state.head().hash}; }
WallMs Ledger::head_time() const { return impl_->state.head().time; }
std::uint64_t Ledger::entry_count() const { return impl_->log.size(); }
const std::vector<PublicKey>& Ledger::witnesses() const { return impl_->state.genesis.witnesses; }
const Hash& Ledger::log_root() const { return impl_->log_root; }
const Hash& Ledger::map_root() const { return impl_->map_root; }
const Handles& Ledger::handles() const { return impl_->state.handles; }

const HandleRecord* Ledger::handle(std::string_view name) const {
  const auto at = impl_->state.handles.find(name);
  return at == impl_->state.handles.end() ? nullptr : &at->second;
}
SparseProof Ledger::prove(std::string_view handle) const { return impl_->map.prove(sha256(as_bytes(handle))); }
const HandleRecord* Ledger::handle_of(const NodeId& node) const {
  const auto at = impl_->state.of_node.find(node);
  return at == impl_->state.of_node.end() ? nullptr : at->second;
}
std::uint32_t Ledger::uses_of(const PublicKey& token) const {
  const auto at = impl_->state.token_uses.find(token);
  return at == impl_->state.token_uses.end() ? 0 : at->second;
}
std::optional<Hash> Ledger::block_at(std::uint64_t height) const {
  if (height > impl_->state.height()) return std::nullopt;
  return impl_->state.blocks[height].hash;
}

// Judging --------------------------------------------------------------------------------------------------------

Result<void> Ledger::Impl::check_header(const BlockHeader& header, std::size_t entries) const {
  if (header.network != state.network) return fail(Errc::invalid, "it is of another network");
  if (header.height != state.height() + 1)
    return fail(Errc::invalid, fmt::format("it says that it is block {}", header.height));
  if (header.rules_version != state.genesis.rules_version)
    return fail(Errc::not_available,
                fmt::format("it goes by rules version {}: install a newer diot", header.rules_version));
  if (header.previous != state.head().hash) return fail(Errc::invalid, "it does not follow the block before it");
  if (header.time < state.head().time) return fail(Errc::invalid, "its time is before that of the block before it");
  const auto witnesses = witness_set_hash(state.genesis.witnesses);
  if (header.witnesses != witnesses || header.next_witnesses != witnesses)
    return fail(Errc::invalid, "it names other witnesses than the ledger");
  if (header.entries != log.size() + entries)
    return fail(Errc::invalid, fmt::format("it counts {} entries, there are {}", header.entries, log.size() + entries));
  return {};
}

Result<void> Ledger::Impl::judge(const BlockHeader& header, const std::vector<Bytes>& entries, LedgerDraft& draft,
                                 MerkleFrontier& log_after) {
  if (state.height() == 0 && entries != state.genesis.founding)
    return fail(Errc::invalid, "block 1 does not hold exactly the founding entries of the genesis");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto entry = decode_entry(entries[i]);
    const auto added = entry.and_then([&](const Entry& decoded) { return draft.add(decoded); });
    if (!added)
      return fail(added.error().code,
                  fmt::format("entry {}{}: {}", i, entry ? " ('" + entry->handle() + "')" : "", added.error().message));
    log_after.append(entry->hash);
  }
  if (header.log_root != log_after.root()) return fail(Errc::invalid, "its log root is not that of the entries");
  remap(draft);
  if (header.map_root != map.root()) {
    unmap(draft);
    return fail(Errc::invalid, "its map root is not that of the handles");
  }
  return {};
}

Result<void> Ledger::Impl::append(const BlockView& block) {
  if (auto valid = check_header(block.header, block.entries.size()); !valid) return valid;
  if (auto decided = check_votes(block, state.genesis.witnesses); !decided) return decided;
  if (was_judged(block)) {
    remap(judged->draft);
  } else {
    judged.emplace(Judged{block.hash, LedgerDraft(state, block.header.time), log});
    if (auto valid = judge(block.header, block.entries, judged->draft, judged->log_after); !valid) {
      judged.reset();
      return valid;
    }
  }
  judged->draft.commit(state);
  state.blocks.push_back({block.hash, block.header.time});
  log = std::move(judged->log_after);
  judged.reset();
  log_root = block.header.log_root;
  map_root = block.header.map_root;
  return {};
}

Result<void> Ledger::append(ByteView bytes) {
  const auto height = impl_->state.height() + 1;
  return decode_block(bytes)
      .and_then([&](const BlockView& block) { return impl_->append(block); })
      .map_error([&](const Error& error) {
        return Error{error.code, fmt::format("block {}: {}", height, error.message)};
      });
}

Result<void> Ledger::check_proposal(const BlockHeader& header, const std::vector<Bytes>& entries) const {
  std::size_t bytes = 0;
  for (const auto& entry : entries) bytes += entry.size();
  if (entries.size() > limits::block_entries_max || bytes > limits::block_bytes_max - block_overhead_max)
    return fail(Errc::limit, "it has more entries than a block and its votes can hold");
  if (auto valid = impl_->check_header(header, entries.size()); !valid) return valid;
  Impl::Judged judged{block_hash(header), LedgerDraft(impl_->state, header.time), impl_->log};
  if (auto valid = impl_->judge(header, entries, judged.draft, judged.log_after); !valid) return valid;
  impl_->unmap(judged.draft);
  impl_->judged.emplace(std::move(judged));
  return {};
}

Result<void> Ledger::check_entry(ByteView bytes, WallMs now) const {
  const auto& state = impl_->state;
  if (state.height() == 0)
    return fail(Errc::not_permitted, "block 1 holds the founding entries only, and is not there yet");
  return decode_entry(bytes).and_then(
      [&](const Entry& entry) { return LedgerDraft(state, std::max(now, state.head().time)).add(entry); });
}

// Making ---------------------------------------------------------------------------------------------------------

Ledger::Proposal Ledger::Impl::proposal(LedgerDraft draft, std::vector<Bytes> entries, MerkleFrontier log_after,
                                        WallMs time) {
  Proposal out;
  out.header.rules_version = state.genesis.rules_version;
  out.header.network = state.network;
  out.header.height = state.height() + 1;
  out.header.time = time;
  out.header.previous = state.head().hash;
  out.header.entries = log_after.size();
  out.header.log_root = log_after.root();
  out.header.witnesses = out.header.next_witnesses = witness_set_hash(state.genesis.witnesses);
  remap(draft);
  out.header.map_root = map.root();
  unmap(draft);
  out.entries = std::move(entries);
  judged.emplace(Judged{block_hash(out.header), std::move(draft), std::move(log_after)});
  return out;
}

Result<Ledger::Proposal> Ledger::propose(
    const std::vector<Bytes>& entries, WallMs now,
    const std::function<void(const Bytes& entry, const Error& why)>& refused) const {
  auto& impl = *impl_;
  const WallMs time = std::min<WallMs>(std::max(now, impl.state.head().time), limits::wall_ms_max);
  const bool first = impl.state.height() == 0;
  LedgerDraft draft(impl.state, time);
  auto log_after = impl.log;
  std::vector<Bytes> taken;
  std::set<Hash> judged;
  std::size_t room = limits::block_bytes_max - block_overhead_max;
  for (const auto& bytes : entries) {
    if (!judged.insert(merkle_leaf(bytes)).second) continue;
    const auto entry = decode_entry(bytes);
    const bool fits = taken.size() < limits::block_entries_max && bytes.size() <= room;
    if (!fits && bytes.size() <= limits::entry_bytes_max) continue;
    const auto added = entry.and_then([&](const Entry& decoded) { return draft.add(decoded); });
    if (!added) {
      if (refused) refused(bytes, added.error());
      continue;
    }
    log_after.append(entry->hash);
    room -= bytes.size();
    taken.push_back(bytes);
  }
  if (first && taken != impl.state.genesis.founding)
    return fail(Errc::invalid, "block 1 holds the founding entries, all of them and nothing else");
  if (taken.empty() && !entries.empty()) return fail(Errc::not_found, "there is no entry for the next block");
  return impl.proposal(std::move(draft), std::move(taken), std::move(log_after), time);
}

Result<void> Ledger::Impl::check_sole_witness(const KeyPair& witness) const {
  const auto& witnesses = state.genesis.witnesses;
  if (std::ranges::find(witnesses, witness.public_key()) == witnesses.end())
    return fail(Errc::not_permitted, "this node is not a witness of the network: its blocks come from others");
  if (witnesses.size() > 1) return fail(Errc::not_available, "agreement among several witnesses is not available yet");
  return {};
}

Result<Bytes> Ledger::make_block(const std::vector<Bytes>& entries, WallMs now, const KeyPair& witness,
                                 const std::function<void(const Bytes& entry, const Error& why)>& refused) const {
  if (auto sole = impl_->check_sole_witness(witness); !sole) return tl::unexpected(sole.error());
  return propose(entries, now, refused).map([&](const Proposal& decided) {
    return encode_block(decided.header, decided.entries, 0,
                        {make_vote(decided.header, 0, 0, decided.header.time, witness)});
  });
}

Result<Bytes> Ledger::make_first_block(WallMs now, const KeyPair& witness) const {
  if (impl_->state.height() != 0) return fail(Errc::exists, "the ledger has its block 1 already");
  return make_block(impl_->state.genesis.founding, now, witness);
}

}  // namespace diot
