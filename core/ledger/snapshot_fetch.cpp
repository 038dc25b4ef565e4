#include "core/ledger/snapshot_fetch.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/limits.hpp"
#include "core/ledger/storage.hpp"
#include "core/merkle.hpp"

namespace diot {

static constexpr int stale_max = 8;

SnapshotFetch::SnapshotFetch(const Ledger& from, Store& store, std::uint64_t entries_min,
                             std::optional<Checkpoint> pinned)
    : store_(store),
      from_height_(from.head().height),
      from_entries_(from.entry_count()),
      entries_min_(entries_min),
      chain_(from, pinned) {}

std::string SnapshotFetch::step() const {
  switch (stage_) {
    case Stage::headers: return fmt::format("fetching the ledger's headers, at block {}", height());
    case Stage::state:
      return fmt::format("fetching the handles as of block {}, {} are here", height(), records_.size());
    case Stage::log: return "fetching the hashes of the ledger's older entries";
    case Stage::window:
      return fmt::format("fetching the entries of the last 30 days, {} blocks are here", window_.size());
    case Stage::ready: return "putting the ledger together";
    case Stage::replay: break;
  }
  return "fetching the ledger's blocks";
}

Bytes SnapshotFetch::ask() {
  switch (stage_) {
    case Stage::headers: return encode_ask(HeadersAsk{chain_.height() + 1});
    case Stage::state: {
      const auto count = std::min(wants_.size(), limits::places_per_ask_max);
      asked_.assign(wants_.rbegin(), wants_.rbegin() + static_cast<std::ptrdiff_t>(count));
      return encode_ask(StateAsk{asked_});
    }
    case Stage::log: return encode_ask(LogAsk{chain_.blocks()[window_start(chain_.blocks()) - 1].entries, log_.size()});
    case Stage::window: return encode_ask(BlocksAsk{window_start(chain_.blocks()) + window_.size()});
    case Stage::ready:
    case Stage::replay: break;
  }
  expect(false, "nothing is to be asked");
  return {};
}

Result<void> SnapshotFetch::take(ByteView answer, std::uint64_t from) {
  const auto part = decode_part(answer);
  if (!part) return fail(Errc::invalid, "a malformed part of the ledger");
  if (const auto* headers = std::get_if<HeadersPart>(&*part); headers && stage_ == Stage::headers)
    return take(*headers);
  if (const auto* state = std::get_if<StatePart>(&*part); state && stage_ == Stage::state) return take(*state);
  if (const auto* log = std::get_if<LogPart>(&*part); log && stage_ == Stage::log) return take(*log, from);
  if (const auto* blocks = std::get_if<BlocksPart>(&*part); blocks && stage_ == Stage::window)
    return take(*blocks, from);
  return fail(Errc::invalid, "another part of the ledger than was asked for");
}

// Headers --------------------------------------------------------------------------------------------------------

Result<void> SnapshotFetch::take(const HeadersPart& part) {
  auto next = chain_.height() + 1;
  if (auto added = chain_.add(part.links); !added) return added;
  for (auto link : part.links) {
    // Votes that nobody checked are not handed on.
    if (next != chain_.height() && !changes_witnesses(link)) link.block.votes.clear();
    store_.put(Table::meta, header_key(next++), encode_link(link));
  }
  if (part.links.empty() && (chain_.height() == from_height_ || ++stale_ > stale_max)) {
    stale_ = 0;
    return fail(Errc::not_found, "it has no newer block");
  }
  if (!part.links.empty()) stale_ = 0;
  if (!part.more) decide();
  return {};
}

void SnapshotFetch::decide() {
  const auto& blocks = chain_.blocks();
  const auto window = window_start(blocks);
  // What is in the window everybody has, also who began with a snapshot.
  if (window <= from_height_ + 1 || blocks[window - 1].entries < from_entries_ + entries_min_) {
    store_.erase_range(Table::meta, header_key(from_height_ + 1), header_key(chain_.height() + 1));
    stage_ = Stage::replay;
    return;
  }
  stage_ = Stage::state;
  wants_.clear();
  if (have_.root() != chain_.newest()->map_root) wants_.push_back({{}, chain_.newest()->map_root});
  if (wants_.empty()) begin_log();
}

// Records --------------------------------------------------------------------------------------------------------

Result<void> SnapshotFetch::take(const StatePart& part) {
  if (part.places.size() > asked_.size()) return fail(Errc::invalid, "more records than were asked for");
  const auto asked = std::exchange(asked_, {});
  bool gone = false;
  for (std::size_t i = 0; i < part.places.size(); ++i) {
    const auto& at = asked[i];
    if (std::holds_alternative<StatePart::Gone>(part.places[i])) {
      gone = true;
      continue;
    }
    // Whatever becomes of it, what is wanted below takes its place.
    const auto want = std::ranges::find_if(wants_, [&](const auto& it) { return it.place == at.place; });
    expect(want != wants_.end(), "what was asked for was wanted");
    wants_.erase(want);
    const auto* below = std::get_if<StatePart::Below>(&part.places[i]);
    const auto taken = below ? take_below(at, *below) : take_records(at, std::get<StatePart::Records>(part.places[i]));
    if (!taken) {
      wants_.push_back(at);
      return taken;
    }
  }
  // Its ledger has moved on: the same from its newest block on, but for what is here.
  if (gone) stage_ = Stage::headers;
  if (!gone && wants_.empty()) begin_log();
  return {};
}

Result<void> SnapshotFetch::take_below(const StateAsk::At& at, const StatePart::Below& below) {
  if (at.place.depth + part_levels > 256 || sparse_join(below) != SparseSubtree{SparseSubtree::Kind::branch, at.hash})
    return fail(Errc::invalid, "the map's subtrees are not those of the place");
  for (std::uint32_t i = 0; i < below.size(); ++i) {
    const auto place = at.place.child(part_levels, i);
    if (have_.subtree(place) == below[i]) continue;
    if (below[i].kind == SparseSubtree::Kind::empty)
      forget(place);
    else
      wants_.push_back({place, below[i].hash});
  }
  return {};
}

Result<void> SnapshotFetch::take_records(const StateAsk::At& at, const StatePart::Records& records) {
  SparseMap map;
  for (const auto& record : records) {
    const auto key = sha256(as_bytes(record.name));
    if (!at.place.holds(key)) return fail(Errc::invalid, "a record that belongs elsewhere");
    map.set(key, sha256(record.record));
  }
  if (map.subtree(at.place).hash != at.hash) return fail(Errc::invalid, "the records are not those of the place");
  for (const auto& record : records)
    if (auto good = check_record(record); !good) return good;
  forget(at.place);
  for (const auto& record : records) {
    have_.set(sha256(as_bytes(record.name)), sha256(record.record), record.name);
    records_.insert_or_assign(record.name, record);
  }
  return {};
}

void SnapshotFetch::forget(const SparsePlace& place) {
  std::vector<std::pair<Hash, std::string>> gone;
  have_.each(place, [&](const Hash& key, const std::string& name) { return gone.emplace_back(key, name), true; });
  for (const auto& [key, name] : gone) {
    have_.erase(key);
    records_.erase(name);
  }
}

// The log and the window -----------------------------------------------------------------------------------------

void SnapshotFetch::begin_log() {
  log_.clear();
  log_from_.clear();
  window_.clear();
  frontier_ = {};
  stage_ = log_size() == 0 ? Stage::window : Stage::log;
}

/// Full tiles and what is behind them, before the window.
std::uint64_t SnapshotFetch::log_size() const {
  const auto entries = chain_.blocks()[window_start(chain_.blocks()) - 1].entries;
  return entries / tile_width + entries % tile_width;
}

static LogTiles tiles_of(const std::vector<Hash>& hashes, std::uint64_t entries) {
  const auto full = static_cast<std::ptrdiff_t>(entries / tile_width);
  return {{hashes.begin(), hashes.begin() + full}, {hashes.begin() + full, hashes.end()}};
}

Result<void> SnapshotFetch::take(const LogPart& part, std::uint64_t from) {
  if (part.hashes.empty()) return fail(Errc::not_found, "it has not got the hashes of the older entries");
  if (part.hashes.size() > log_size() - log_.size()) return fail(Errc::invalid, "more hashes than were asked for");
  log_.insert(log_.end(), part.hashes.begin(), part.hashes.end());
  log_from_.insert(from);
  if (log_.size() < log_size()) return {};
  frontier_ = tiles_of(log_, chain_.blocks()[window_start(chain_.blocks()) - 1].entries).frontier();
  stage_ = Stage::window;
  return {};
}

Result<void> SnapshotFetch::take(const BlocksPart& part, std::uint64_t from) {
  if (part.blocks.empty()) return fail(Errc::not_found, "it has not got the blocks of the last 30 days");
  const auto first = window_start(chain_.blocks());
  for (const auto& bytes : part.blocks) {
    const auto height = first + window_.size();
    if (height > chain_.height()) break;
    const auto block = decode_block(bytes);
    if (!block) return tl::unexpected(block.error());
    if (block->hash != chain_.blocks()[height].hash)
      return fail(Errc::invalid, fmt::format("block {} is another one than the chain names", height));
    auto frontier = frontier_;
    for (const auto& entry : block->entries) frontier.append(merkle_leaf(entry));
    if (frontier.root() != block->header.log_root) {
      // Nobody can say which of the two is wrong, so both are fetched again, and from one node.
      const bool of_others = !log_from_.empty() && log_from_ != std::set{from};
      if (window_.empty()) begin_log();
      if (window_.empty() && of_others) return {};
      return fail(Errc::invalid, fmt::format("the entries of block {} or the hashes before it are wrong", height));
    }
    frontier_ = std::move(frontier);
    window_.push_back(bytes);
  }
  if (first + window_.size() > chain_.height()) stage_ = Stage::ready;
  return {};
}

Result<Ledger> SnapshotFetch::finish(const Ledger& from) {
  expect(stage_ == Stage::ready, "a snapshot is whole before it is used");
  const auto own = from.head();
  if (own.height >= chain_.height() || chain_.blocks()[own.height].hash != own.block) {
    store_.erase_range(Table::meta, header_key(own.height + 1), header_key(chain_.height() + 1));
    return fail(Errc::exists, "the ledger here went another way meanwhile");
  }
  const auto entries = chain_.blocks()[window_start(chain_.blocks()) - 1].entries;
  LedgerSnapshot snapshot{std::move(chain_), {}, tiles_of(log_, entries), std::move(window_)};
  for (auto& [name, record] : std::exchange(records_, {})) snapshot.records.push_back(std::move(record));
  auto ledger = Ledger::from_snapshot(from, snapshot);
  if (!ledger) return ledger;
  if (auto stored = store_snapshot(snapshot, from, store_); !stored) return tl::unexpected(stored.error());
  return ledger;
}

}  // namespace diot
