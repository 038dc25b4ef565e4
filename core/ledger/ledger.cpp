#include "core/ledger/ledger.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "core/ledger/header_chain.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/snapshot.hpp"
#include "core/ledger/state.hpp"
#include "core/ledger/tiles.hpp"
#include "core/ledger/work_stamp.hpp"
#include "core/merkle.hpp"

namespace diot {

/// What a block takes besides its entries at most: header, votes and the frame around them, and 3 bytes per entry.
static constexpr std::size_t block_overhead_max = 1024 + limits::witnesses_max * 96 + limits::block_entries_max * 3;
static constexpr auto succession_is_apart = "a succession is decided by the new witnesses, in a block of its own";
static_assert(limits::genesis_bytes_max + block_overhead_max <= limits::block_bytes_max, "block 1 holds the founding");

struct Ledger::Impl {
  Impl(Genesis genesis, const NetworkId& network, const Hash& genesis_hash)
      : state(std::move(genesis), network, genesis_hash), log_root(log.root()), map_root(map.root()) {}
  Impl(LedgerState from, LogTiles entries);

  LedgerState state;
  MerkleFrontier log;  ///< over the entries' hashes
  LogTiles tiles;      ///< the same
  SparseMap map;       ///< SHA-256(handle) → SHA-256(record), and the network record once anything changed it
  Hash log_root, map_root;
  std::vector<PublicKey> witnesses = state.record.witnesses.keys();  ///< decide the next block
  GoodStamps good_stamps;

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
    for (const auto& [handle, record] : draft.changed()) put(handle, record ? &*record : nullptr);
    put(draft.record());
  }
  void unmap(const LedgerDraft& draft) {
    for (const auto& [handle, record] : draft.changed()) {
      const auto before = state.handles.find(handle);
      put(handle, before != state.handles.end() ? &before->second : nullptr);
    }
    put(state.record);
  }
  void put(const std::string& handle, const HandleRecord* record) {
    const auto key = sha256(as_bytes(handle));
    if (record)
      map.set(key, sha256(encode_handle(*record)), handle);
    else
      map.erase(key);
  }
  void put(const NetworkRecord& record) {
    if (record.epoch != 0 || !record.liars.empty())
      map.set(network_record_key(), sha256(encode_network(record)), std::string(network_record_name));
    else
      map.erase(network_record_key());
  }

  /// Errc::not_available if the next block goes by rules that this program does not know.
  Result<void> check_rules() const;
  /// `deciders`: whose votes decide the block.
  Result<void> check_header(const BlockHeader& header, std::size_t entries,
                            const std::vector<PublicKey>& deciders) const;
  /// Judges the entries and both roots. If all is well, `draft`, `log_after` and `map` are what the block makes of the
  /// state; else the map is as before.
  Result<void> judge(const BlockHeader& header, const std::vector<Bytes>& entries, LedgerDraft& draft,
                     MerkleFrontier& log_after);
  Result<void> append(const BlockView& block, StampCheck stamps);
  Proposal proposal(LedgerDraft draft, std::vector<Bytes> entries, MerkleFrontier log_after, WallMs time);
  Result<void> check_sole_witness(const KeyPair& witness) const;
};

Ledger::Ledger(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Ledger::Ledger(Ledger&&) noexcept = default;
Ledger& Ledger::operator=(Ledger&&) noexcept = default;
Ledger::~Ledger() = default;

Ledger::Impl::Impl(LedgerState from, LogTiles entries)
    : state(std::move(from)), log(entries.frontier()), tiles(std::move(entries)), log_root(log.root()) {
  for (const auto& [handle, record] : state.handles) put(handle, &record);
  put(state.record);
  map_root = map.root();
}

Result<Ledger> Ledger::from_snapshot(const Ledger& of, const LedgerSnapshot& snapshot) {
  auto restored = restore(LedgerState(of.genesis(), of.network(), of.blocks()[0].hash), snapshot);
  if (!restored) return tl::unexpected(restored.error());
  const auto [map_root, log_root] = std::pair(restored->map_root, restored->log_root);
  Ledger out(std::make_unique<Impl>(std::move(restored->state), std::move(restored->log)));
  if (out.map_root() != map_root) return fail(Errc::invalid, "the records are not those that the block stands for");
  if (out.log_root() != log_root) return fail(Errc::invalid, "the entries are not those that the block stands for");
  return out;
}

Result<Ledger> Ledger::from_genesis(ByteView bytes) {
  auto genesis = decode_genesis(bytes);
  if (!genesis) return tl::unexpected(genesis.error());
  if (!knows_rules(genesis->rules_version))
    return fail(Errc::not_available,
                fmt::format("this network goes by rules version {}, and this diot knows version {}: "
                            "install a newer one",
                            genesis->rules_version, known_rules_version));
  if (genesis->admission == Admission::open && genesis->witnesses.size() < limits::solid_witnesses_min)
    return fail(Errc::invalid, "a network that is open to everybody has 4 or more witnesses");
  if (genesis->admission == Admission::open && genesis->lease_days == 0)
    return fail(Errc::invalid, "a network that is open to everybody has leases, or names would be gone for ever");
  const auto network = network_id_of(bytes);
  if (!network) return tl::unexpected(network.error());
  return Ledger(std::make_unique<Impl>(std::move(*genesis), *network, sha256(bytes)));
}

const NetworkId& Ledger::network() const { return impl_->state.network; }
const Genesis& Ledger::genesis() const { return impl_->state.genesis; }
Checkpoint Ledger::head() const { return {impl_->state.height(), impl_->state.head().hash}; }
WallMs Ledger::head_time() const { return impl_->state.head().time; }
std::uint64_t Ledger::entry_count() const { return impl_->log.size(); }
const std::vector<PublicKey>& Ledger::witnesses() const { return impl_->witnesses; }
const WitnessSet& Ledger::witnesses_at(std::uint64_t height) const { return impl_->state.witnesses_at(height); }
const NetworkRecord& Ledger::network_record() const { return impl_->state.record; }
Result<void> Ledger::can_go_on() const { return impl_->check_rules(); }
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
  return at == impl_->state.of_node.end() ? nullptr : handle(at->second);
}
WriterRight Ledger::right_to_write(std::string_view name, const NodeId& writer, const ChannelId& channel) const {
  const auto* record = handle(name);
  if (!record) return {};
  if (record->role_of(writer)) return {WriterRight::Extent::all, {}};
  if (!record->is_revoked(writer)) return {};
  const auto* ends = cut_offs(name, writer);
  if (!ends) return {};
  const auto at = std::ranges::lower_bound(*ends, channel, {}, &CutOff::channel);
  if (at == ends->end() || at->channel != channel) return {};
  return {WriterRight::Extent::up_to, at->last};
}
const CutOffs* Ledger::cut_offs(std::string_view name, const NodeId& node) const {
  const auto* record = handle(name);
  if (!record) return nullptr;
  const auto of_handle = impl_->state.cut_offs.find(record->handle);
  if (of_handle == impl_->state.cut_offs.end()) return nullptr;
  const auto of_node = of_handle->second.find(node);
  return of_node == of_handle->second.end() ? nullptr : &of_node->second;
}
std::uint32_t Ledger::uses_of(const Hash& grant) const {
  const auto at = impl_->state.grant_uses.find(grant);
  return at == impl_->state.grant_uses.end() ? 0 : at->second;
}
const std::vector<PastBlock>& Ledger::blocks() const { return impl_->state.blocks; }
const std::map<std::uint64_t, WitnessSet>& Ledger::witness_history() const { return impl_->state.witnesses; }
const std::map<std::uint64_t, WitnessSet>& Ledger::replaced_witnesses() const { return impl_->state.replaced; }
const SparseMap& Ledger::map() const { return impl_->map; }
const std::vector<Hash>& Ledger::tiles() const { return impl_->tiles.full; }
std::optional<Hash> Ledger::block_at(std::uint64_t height) const {
  if (height > impl_->state.height()) return std::nullopt;
  return impl_->state.blocks[height].hash;
}

// Judging --------------------------------------------------------------------------------------------------------

Result<void> Ledger::Impl::check_rules() const {
  const auto version = state.record.rules_version;
  if (knows_rules(version)) return {};
  return fail(Errc::not_available,
              fmt::format("from block {} on this network goes by rules version {}, and this diot knows version {}: "
                          "install a newer one; until then the ledger stands still here, and everything else goes on",
                          state.height() + 1, version & ~test_rules, known_rules_version));
}

Result<void> Ledger::Impl::check_header(const BlockHeader& header, std::size_t entries,
                                        const std::vector<PublicKey>& deciders) const {
  if (auto known = check_rules(); !known) return known;
  if (header.network != state.network) return fail(Errc::invalid, "it is of another network");
  if (header.height != state.height() + 1)
    return fail(Errc::invalid, fmt::format("it says that it is block {}", header.height));
  if (header.rules_version != state.record.rules_version)
    return fail(Errc::invalid, fmt::format("it says that it goes by rules version {}, and version {} is in force",
                                           header.rules_version, state.record.rules_version));
  if (header.previous != state.head().hash) return fail(Errc::invalid, "it does not follow the block before it");
  if (header.time < state.head().time) return fail(Errc::invalid, "its time is before that of the block before it");
  if (header.witnesses != witness_set_hash(deciders))
    return fail(Errc::invalid, "it names other witnesses than the ledger");
  if (header.entries != log.size() + entries)
    return fail(Errc::invalid, fmt::format("it counts {} entries, there are {}", header.entries, log.size() + entries));
  return {};
}

Result<void> Ledger::Impl::judge(const BlockHeader& header, const std::vector<Bytes>& entries, LedgerDraft& draft,
                                 MerkleFrontier& log_after) {
  if (state.height() == 0 && entries != state.genesis.founding)
    return fail(Errc::invalid, "block 1 does not hold exactly the founding entries of the genesis");
  draft.begin();
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto entry = decode_entry(entries[i]);
    const auto added = entry.and_then([&](const Entry& decoded) { return draft.add(decoded); });
    if (!added)
      return fail(added.error().code,
                  fmt::format("entry {}{}: {}", i,
                              entry && !entry->handle().empty() ? fmt::format(" ('{}')", entry->handle()) : "",
                              added.error().message));
    log_after.append(entry->hash);
  }
  draft.finish();
  if (header.next_witnesses != witness_set_hash(draft.record().witnesses.keys()))
    return fail(Errc::invalid, "it names other witnesses of the next block than the ledger");
  if (header.log_root != log_after.root()) return fail(Errc::invalid, "its log root is not that of the entries");
  remap(draft);
  if (header.map_root != map.root()) {
    unmap(draft);
    return fail(Errc::invalid, "its map root is not that of the records");
  }
  return {};
}

/// A block with a succession holds nothing else.
static std::optional<Entry> succession_of(const std::vector<Bytes>& entries) {
  if (entries.size() != 1) return std::nullopt;
  auto entry = decode_entry(entries[0]);
  if (!entry || !std::holds_alternative<SuccessionBody>(entry->body)) return std::nullopt;
  return std::move(*entry);
}
Result<void> Ledger::Impl::append(const BlockView& block, StampCheck stamps) {
  const auto deciders = successors(block.entries).value_or(witnesses);
  if (auto valid = check_header(block.header, block.entries.size(), deciders); !valid) return valid;
  if (auto decided = check_votes(block, deciders); !decided) return decided;
  if (was_judged(block)) {
    remap(judged->draft);
  } else {
    judged.emplace(Judged{
        block.hash, LedgerDraft(state, block.header.time, stamps == StampCheck::all ? &good_stamps : nullptr), log});
    if (auto valid = judge(block.header, block.entries, judged->draft, judged->log_after); !valid) {
      judged.reset();
      return valid;
    }
  }
  judged->draft.commit(state, PastBlock::of(block.header, block.hash));
  for (const auto& entry : block.entries) tiles.append(merkle_leaf(entry));
  witnesses = state.record.witnesses.keys();
  log = std::move(judged->log_after);
  judged.reset();
  log_root = block.header.log_root;
  map_root = block.header.map_root;
  return {};
}

Result<void> Ledger::append(ByteView bytes, StampCheck stamps) {
  const auto height = impl_->state.height() + 1;
  return decode_block(bytes)
      .and_then([&](const BlockView& block) { return impl_->append(block, stamps); })
      .map_error([&](const Error& error) {
        return Error{error.code, fmt::format("block {}: {}", height, error.message)};
      });
}

Result<void> Ledger::check_proposal(const BlockHeader& header, const std::vector<Bytes>& entries) const {
  std::size_t bytes = 0;
  for (const auto& entry : entries) bytes += entry.size();
  if (entries.size() > limits::block_entries_max || bytes > limits::block_bytes_max - block_overhead_max)
    return fail(Errc::limit, "it has more entries than a block and its votes can hold");
  if (auto valid = impl_->check_header(header, entries.size(), impl_->witnesses); !valid) return valid;
  if (successors(entries)) return fail(Errc::not_permitted, succession_is_apart);
  Impl::Judged judged{block_hash(header), LedgerDraft(impl_->state, header.time, &impl_->good_stamps), impl_->log};
  if (auto valid = impl_->judge(header, entries, judged.draft, judged.log_after); !valid) return valid;
  impl_->unmap(judged.draft);
  impl_->judged.emplace(std::move(judged));
  return {};
}

Result<void> Ledger::check_rival(const BlockView& rival) const {
  const auto& state = impl_->state;
  const auto height = rival.header.height;
  if (height == 0 || height > state.height() || rival.hash == state.blocks[height].hash)
    return fail(Errc::invalid, "there is no other block here to compare it with");
  const auto& before = state.blocks[height - 1];
  if (rival.header.network != state.network || rival.header.previous != before.hash || rival.header.time < before.time)
    return fail(Errc::invalid, fmt::format("it does not follow block {}", height - 1));
  auto deciders = state.witnesses_at(height).keys();
  if (const auto succession = succession_of(rival.entries)) {
    const auto& body = std::get<SuccessionBody>(succession->body);
    if (auto valid = check_rival_succession(rival, *succession, body, state); !valid) return valid;
    deciders = body.witnesses.keys();
  } else if (const auto replaced = state.replaced.find(height); replaced != state.replaced.end()) {
    deciders = replaced->second.keys();
  }
  if (rival.header.witnesses != witness_set_hash(deciders))
    return fail(Errc::invalid, "it names other witnesses than the ledger");
  return check_votes(rival, deciders);
}

Result<void> Ledger::check_entry(ByteView bytes, WallMs now, StampCheck stamps) const {
  const auto& state = impl_->state;
  if (state.height() == 0)
    return fail(Errc::not_permitted, "block 1 holds the founding entries only, and is not there yet");
  if (auto known = impl_->check_rules(); !known) return known;
  return decode_entry(bytes).and_then([&](const Entry& entry) {
    auto* good_stamps = stamps == StampCheck::all ? &impl_->good_stamps : nullptr;
    return LedgerDraft(state, std::max(now, state.head().time), good_stamps).add(entry);
  });
}

// Making ---------------------------------------------------------------------------------------------------------

Ledger::Proposal Ledger::Impl::proposal(LedgerDraft draft, std::vector<Bytes> entries, MerkleFrontier log_after,
                                        WallMs time) {
  draft.finish();
  Proposal out;
  out.header.rules_version = state.record.rules_version;
  out.header.network = state.network;
  out.header.height = state.height() + 1;
  out.header.time = time;
  out.header.previous = state.head().hash;
  out.header.entries = log_after.size();
  out.header.log_root = log_after.root();
  out.header.witnesses = witness_set_hash(successors(entries).value_or(witnesses));
  out.header.next_witnesses = witness_set_hash(draft.record().witnesses.keys());
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
  if (auto known = impl.check_rules(); !known) return tl::unexpected(known.error());
  const WallMs time = std::min<WallMs>(std::max(now, impl.state.head().time), limits::wall_ms_max);
  const bool first = impl.state.height() == 0;
  LedgerDraft draft(impl.state, time, &impl.good_stamps);
  draft.begin();
  auto log_after = impl.log;
  std::vector<Bytes> taken;
  std::size_t room = limits::block_bytes_max - block_overhead_max;

  struct Candidate {
    const Bytes& bytes;
    Result<Entry> entry;
  };
  std::vector<Candidate> candidates;
  std::set<Hash> seen;
  for (const auto& bytes : entries)
    if (seen.insert(merkle_leaf(bytes)).second) candidates.push_back({bytes, decode_entry(bytes)});
  const auto consider = [&](const Candidate& candidate) {
    const auto& [bytes, entry] = candidate;
    const bool fits = taken.size() < limits::block_entries_max && bytes.size() <= room;
    if (entry && !fits) return;  // for a later block
    const auto added = entry.and_then([&](const Entry& decoded) -> Result<void> {
      if (std::holds_alternative<SuccessionBody>(decoded.body)) return fail(Errc::not_permitted, succession_is_apart);
      return draft.add(decoded);
    });
    if (!added) {
      if (entry && is_stamped(*entry) && added.error().code == Errc::limit) return;  // likewise
      if (refused) refused(bytes, added.error());
      return;
    }
    log_after.append(entry->hash);
    room -= bytes.size();
    taken.push_back(bytes);
  };
  // Those that somebody of the network vouches for come before those that only cost work.
  for (const auto& candidate : candidates)
    if (!candidate.entry || !is_stamped(*candidate.entry)) consider(candidate);
  for (const auto& candidate : candidates)
    if (candidate.entry && is_stamped(*candidate.entry)) consider(candidate);

  if (first && taken != impl.state.genesis.founding)
    return fail(Errc::invalid, "block 1 holds the founding entries, all of them and nothing else");
  if (taken.empty() && !entries.empty()) return fail(Errc::not_found, "there is no entry for the next block");
  return impl.proposal(std::move(draft), std::move(taken), std::move(log_after), time);
}

Result<Ledger::Proposal> Ledger::propose_succession(ByteView bytes) const {
  auto& impl = *impl_;
  if (auto known = impl.check_rules(); !known) return tl::unexpected(known.error());
  const auto entry = decode_entry(bytes);
  if (!entry) return tl::unexpected(entry.error());
  if (!std::holds_alternative<SuccessionBody>(entry->body)) return fail(Errc::invalid, "the entry is no succession");
  const WallMs time =
      impl.state.head().time + static_cast<WallMs>(std::chrono::milliseconds(limits::succession_silence).count());
  if (time > limits::wall_ms_max) return fail(Errc::limit, "there is no time after that of the newest block");
  LedgerDraft draft(impl.state, time, &impl.good_stamps);
  draft.begin();
  if (auto added = draft.add(*entry); !added) return tl::unexpected(added.error());
  auto log_after = impl.log;
  log_after.append(entry->hash);
  return impl.proposal(std::move(draft), {to_bytes(bytes)}, std::move(log_after), time);
}

Result<void> Ledger::Impl::check_sole_witness(const KeyPair& witness) const {
  if (std::ranges::find(witnesses, witness.public_key()) == witnesses.end())
    return fail(Errc::not_permitted, "this node is not a witness of the network: its blocks come from others");
  if (witnesses.size() > 1)
    return fail(Errc::not_available, "blocks of several witnesses are agreed upon, not made by one of them");
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
