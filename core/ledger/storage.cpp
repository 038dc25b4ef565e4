#include "core/ledger/storage.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"

namespace diot {

static constexpr std::string_view header_prefix = "ledger/header/", record_prefix = "ledger/record/";

Bytes header_key(std::uint64_t height) {
  Bytes key = to_bytes(header_prefix);
  ByteWriter(key).u64(height);
  return key;
}
Bytes record_key(std::string_view name) { return to_bytes(std::string(record_prefix).append(name)); }
Bytes base_key() { return to_bytes("ledger/base"); }
Bytes missing_key() { return to_bytes("ledger/missing"); }

namespace {

/// Of the snapshot that the stored ledger begins with.
struct Base {
  std::uint64_t height = 0;
  LogTiles log;  ///< before its window
};

Bytes encode_base(const Base& base) {
  Bytes bytes;
  ByteWriter out(bytes);
  out.u8(1);
  out.u64(base.height);
  out.u64(base.log.full.size());
  for (const auto& hash : base.log.full) out.raw(hash);
  for (const auto& hash : base.log.rest) out.raw(hash);
  return bytes;
}

Result<std::optional<Base>> read_base(Store& store) {
  const auto row = store.get(Table::meta, base_key());
  if (!row) return tl::unexpected(row.error());
  if (!*row) return std::nullopt;
  ByteReader in(**row);
  const auto version = in.u8();
  Base out;
  out.height = in.u64();
  const auto full = in.u64();
  while (in.ok() && !in.rest().empty())
    (out.log.full.size() < full ? out.log.full : out.log.rest).push_back(in.id<Hash>());
  if (!in.ok() || version != 1 || out.log.full.size() != full || out.height == 0)
    return fail(Errc::corrupt, "where the stored ledger begins is not readable");
  return out;
}

Bytes encode_row(const NamedRecord& record) {
  Bytes bytes;
  PackWriter out(bytes);
  write_record(out, record);
  return bytes;
}

/// The rows of one height after the other, until `row` returns false, one is missing or damaged.
Result<void> each_height(Store& store, Table table, Bytes (*key_of)(std::uint64_t), std::uint64_t from,
                         const std::function<bool(ByteView)>& row) {
  bool damaged = false;
  std::uint64_t next = from;
  auto scanned = store.scan(
      table, key_of(from), {},
      [&](ByteView key, ByteView value) { return equal(key, key_of(next)) && (++next, row(value)); },
      [&](ByteView key) { damaged = damaged || equal(key, key_of(next)); });
  if (scanned && damaged) return fail(Errc::corrupt, fmt::format("the row of block {} is damaged", next));
  return scanned;
}

Result<void> each_header(Store& store, std::uint64_t from, const std::function<bool(ByteView)>& row) {
  return each_height(store, Table::meta, header_key, from, row);
}
Result<void> each_block(Store& store, std::uint64_t from, const std::function<bool(ByteView)>& row) {
  return each_height(store, Table::block, block_key, from, row);
}

enum class Care : std::uint8_t { usual, all };

/// The snapshot that is stored, on top of the genesis' ledger.
Result<Ledger> load_base(const Ledger& genesis, const Base& base, Store& store, Care care, StoredReport& report) {
  const auto corrupt = [](const Error& error) {
    return fail(Errc::corrupt, fmt::format("the stored snapshot of the ledger is wrong: {}", error.message));
  };
  LedgerSnapshot snapshot{HeaderChain(genesis), {}, base.log, {}};
  std::optional<Error> wrong;
  std::vector<ChainLink> page;
  const auto add = [&] {
    const auto added =
        snapshot.chain.add(page, care == Care::all ? HeaderChain::Votes::check : HeaderChain::Votes::trust);
    if (!added) wrong = added.error();
    page.clear();
    return added.has_value();
  };
  auto scanned = each_header(store, 1, [&](ByteView bytes) {
    auto link = decode_link(bytes);
    if (!link) return wrong = link.error(), false;
    report.base_votes = link->block.votes.size();
    page.push_back(std::move(*link));
    if (page.back().block.votes.empty()) return true;  // a later one vouches for it
    return add() && snapshot.chain.height() < base.height;
  });
  if (wrong) return corrupt(*wrong);
  if (!scanned) return corrupt(scanned.error());
  if (snapshot.chain.height() != base.height)
    return corrupt({Errc::corrupt, fmt::format("the header of block {} is missing", snapshot.chain.height() + 1)});
  if (care == Care::all) report.headers_checked = base.height;

  bool damaged = false;
  scanned = store.scan(
      Table::meta, to_bytes(record_prefix), after_prefix(as_bytes(record_prefix)),
      [&](ByteView, ByteView value) {
        PackReader in(value);
        snapshot.records.push_back(read_record(in));
        return in.done();
      },
      [&](ByteView) { damaged = true; });
  if (!scanned) return corrupt(scanned.error());
  if (damaged) return corrupt({Errc::corrupt, "the row of a record is damaged"});

  const auto first = window_start(snapshot.chain.blocks());
  scanned = each_block(store, first, [&](ByteView block) {
    snapshot.window.push_back(to_bytes(block));
    return first + snapshot.window.size() <= base.height;
  });
  if (!scanned) return corrupt(scanned.error());
  auto out = Ledger::from_snapshot(genesis, snapshot);
  if (!out) return corrupt(out.error());
  report.base = base.height;
  report.first_replayed = base.height + 1;
  report.base_witnesses = out->witnesses_at(base.height).members.size();
  return out;
}

Result<Ledger> load(ByteView genesis, Store& store, Care care, StoredReport& report) {
  auto ledger = Ledger::from_genesis(genesis);
  if (!ledger) return ledger;
  const auto base = read_base(store);
  if (!base) return tl::unexpected(base.error());
  if (*base) {
    const auto missing = stored_missing(store);
    if (!missing) return tl::unexpected(missing.error());
    auto begun = load_base(*ledger, **base, store, care, report);
    if (!begun && !missing->empty()) return begun;
    if (begun) *ledger = std::move(*begun);
  }
  std::optional<Error> wrong;
  auto scanned = each_block(store, ledger->head().height + 1, [&](ByteView block) {
    const auto appended = ledger->append(block, care == Care::all ? StampCheck::all : StampCheck::none);
    if (!appended) wrong = appended.error();
    return appended.has_value();
  });
  if (!wrong && !scanned) wrong = scanned.error();
  const auto head = ledger->head().height;
  if (wrong)
    return fail(Errc::corrupt, fmt::format("the stored ledger is wrong behind block {}: {}", head, wrong->message));
  bool further = false;
  scanned =
      store.scan(Table::block, block_key(head + 1), {}, [&](ByteView, ByteView) { return further = true, false; }, {});
  if (!scanned) return tl::unexpected(scanned.error());
  if (further) return fail(Errc::corrupt, fmt::format("the stored ledger has no block {}, and later ones", head + 1));
  return ledger;
}

}  // namespace

Result<std::uint64_t> stored_base(Store& store) {
  return read_base(store).map([](const std::optional<Base>& base) { return base ? base->height : 0; });
}

Result<std::vector<BlockRange>> stored_missing(Store& store) {
  const auto row = store.get(Table::meta, missing_key());
  if (!row) return tl::unexpected(row.error());
  std::vector<BlockRange> out;
  if (!*row) return out;
  ByteReader in(**row);
  const auto version = in.u8();
  while (in.ok() && !in.rest().empty()) {
    const auto from = in.u64(), to = in.u64();
    out.push_back({from, to});
  }
  if (!in.ok() || version != 1) return fail(Errc::corrupt, "which blocks are missing on this disk is not readable");
  return out;
}

void store_missing(const std::vector<BlockRange>& missing, Store& store) {
  if (missing.empty()) return store.erase(Table::meta, missing_key());
  Bytes bytes;
  ByteWriter out(bytes);
  out.u8(1);
  for (const auto& [from, to] : missing) {
    out.u64(from);
    out.u64(to);
  }
  store.put(Table::meta, missing_key(), std::move(bytes));
}

std::vector<BlockRange> without(const std::vector<BlockRange>& missing, std::uint64_t height) {
  std::vector<BlockRange> out;
  std::uint64_t next = 1;
  for (const auto& [from, to] : missing) {
    if (from > next) out.push_back({next, from - 1});
    next = to + 1;
  }
  if (next <= height) out.push_back({next, height});
  return out;
}

std::vector<BlockRange> clipped(const std::vector<BlockRange>& ranges, const BlockRange& within) {
  std::vector<BlockRange> out;
  for (const auto& [from, to] : ranges)
    if (from <= within.to && to >= within.from) out.push_back({std::max(from, within.from), std::min(to, within.to)});
  return out;
}

std::uint64_t count_of(const std::vector<BlockRange>& ranges) {
  std::uint64_t out = 0;
  for (const auto& [from, to] : ranges) out += to - from + 1;
  return out;
}

static constexpr std::string_view rest_prefix = "ledger/rest/";
static Bytes rest_key(std::uint64_t entries) {
  Bytes key = to_bytes(rest_prefix);
  ByteWriter(key).u64(entries);
  return key;
}
void store_rest(std::uint64_t entries, const std::vector<Hash>& rest, Store& store) {
  if (rest.empty()) return;
  Bytes bytes;
  for (const auto& hash : rest) append(bytes, hash);
  store.put(Table::meta, rest_key(entries), std::move(bytes));
}

Result<BlockView> stored_block(Store& store, std::uint64_t height) {
  const auto bytes = store.get(Table::block, block_key(height));
  if (!bytes) return tl::unexpected(bytes.error());
  if (*bytes) return decode_block(**bytes);
  const auto missing = stored_missing(store);
  if (!missing) return tl::unexpected(missing.error());
  if (!clipped(*missing, {height, height}).empty()) return tl::unexpected(not_on_disk({height, height}));
  return fail(Errc::not_found, fmt::format("block {} is not on this disk (yet): try again", height));
}

Result<DecidedHeader> stored_decision(Store& store, std::uint64_t height) {
  const auto link = store.get(Table::meta, header_key(height));
  if (!link) return tl::unexpected(link.error());
  if (*link) return decode_link(**link).map([](const ChainLink& whole) { return whole.block; });
  return stored_block(store, height).map([](const BlockView& block) { return decided_header(block); });
}

/// Of the leaf hashes from `begin` on, where a tile begins, up to `entries` as many as are kept.
static std::vector<Hash> stored_rest(std::uint64_t begin, std::uint64_t entries, Store& store) {
  std::vector<Hash> out;
  const auto longest = [&](ByteView key, ByteView value) {
    ByteReader number(key.subspan(rest_prefix.size()));
    if (value.size() != (number.u64() - begin) * Hash::size) return true;
    out.clear();
    for (ByteReader in(value); in.ok() && !in.rest().empty();) out.push_back(in.id<Hash>());
    return true;
  };
  if (!store.scan(Table::meta, rest_key(begin), rest_key(entries + 1), longest, {})) out.clear();
  return out;
}

/// Of a tile the first leaf hashes, up to those of the log with so many entries; fewer where their blocks are not here.
static std::vector<Hash> known_leaves(std::uint64_t tile, std::uint64_t entries, const Ledger& ledger, Store& store) {
  // They stand in the blocks around; before the first ones of these that are here, in what was kept for them.
  const auto begin = tile * tile_width;
  auto rest = stored_rest(begin, entries, store);
  if (const auto base = read_base(store); base && *base && (*base)->log.full.size() == tile) {
    auto of_base = (*base)->log.rest;
    of_base.resize(std::min<std::size_t>(of_base.size(), entries - begin));
    if (of_base.size() > rest.size()) rest = std::move(of_base);
  }
  const auto& blocks = ledger.blocks();
  for (auto next = begin + rest.size(); next < entries;) {
    const auto with_next = std::ranges::upper_bound(blocks, next, {}, &PastBlock::entries);
    const auto row = store.get(Table::block, block_key(static_cast<std::uint64_t>(with_next - blocks.begin())));
    const auto block = row && *row ? decode_block(**row) : fail(Errc::not_found, "it is not here");
    auto at = next - std::prev(with_next)->entries;
    if (!block || block->hash != with_next->hash || at >= block->entries.size()) break;
    for (; at < block->entries.size() && next < entries; ++at, ++next) rest.push_back(merkle_leaf(block->entries[at]));
  }
  return rest;
}

std::vector<Hash> rest_of_log(std::uint64_t entries, const Ledger& ledger, Store& store) {
  return known_leaves(entries / tile_width, entries, ledger, store);
}

Error not_on_disk(const BlockRange& blocks) {
  return {Errc::not_available,
          fmt::format("blocks {} to {} are not on this disk, as its ledger began with a snapshot: `diot ledger verify "
                      "--full` fetches them",
                      blocks.from, blocks.to)};
}

Result<std::vector<Hash>> tile_leaves(std::uint64_t tile, std::size_t width, const Ledger& ledger, Store& store) {
  const auto begin = tile * tile_width, end = begin + width;
  auto out = known_leaves(tile, end, ledger, store);
  if (out.size() == width) return out;
  const auto height_of = [&](std::uint64_t entry) {
    const auto with = std::ranges::upper_bound(ledger.blocks(), entry, {}, &PastBlock::entries);
    return static_cast<std::uint64_t>(with - ledger.blocks().begin());
  };
  const auto height = height_of(begin + out.size());
  const auto missing = stored_missing(store);
  if (!missing) return tl::unexpected(missing.error());
  const auto lacking = clipped(*missing, {height, height_of(end - 1)});
  if (lacking.empty() || lacking.front().from != height)
    return fail(Errc::corrupt,
                fmt::format("block {} is not readable on this disk: `diot ledger verify` says more", height));
  return tl::unexpected(not_on_disk({height, lacking.back().to}));
}

/// The headers of the blocks behind the stored base up to this one, which are here.
static Result<void> store_headers(std::uint64_t last, const Ledger& ledger, Store& store) {
  const auto base = stored_base(store);
  if (!base) return tl::unexpected(base.error());
  std::uint64_t next = *base + 1;
  if (next <= last) {
    auto scanned = each_block(store, next, [&](ByteView bytes) {
      const auto block = decode_block(bytes);
      if (block) store.put(Table::meta, header_key(next++), encode_link(link_of(*block, ledger)));
      return block && next <= last;
    });
    if (!scanned) return scanned;
  }
  if (next <= last) return fail(Errc::corrupt, fmt::format("block {} is not on this disk", next));
  return {};
}

static void erase_records(Store& store) {
  store.erase_range(Table::meta, as_bytes(record_prefix), after_prefix(as_bytes(record_prefix)));
}
static void store_record(const NamedRecord& record, Store& store) {
  store.put(Table::meta, record_key(record.name), encode_row(record));
}

Result<void> store_snapshot(const LedgerSnapshot& snapshot, const Ledger& from, Store& store) {
  auto missing = stored_missing(store);
  if (!missing) return tl::unexpected(missing.error());
  // Those of the blocks behind were put when they came.
  const auto last = from.head().height;
  if (auto stored = store_headers(last, from, store); !stored) return stored;
  erase_records(store);
  for (const auto& record : snapshot.records) store_record(record, store);
  const auto height = snapshot.chain.height();
  store.put(Table::meta, base_key(), encode_base({height, snapshot.log}));
  auto at = height + 1 - snapshot.window.size();
  std::erase_if(*missing, [&](const BlockRange& range) { return range.to > last; });  // of a home that was given up
  if (last + 1 < at) missing->push_back({last + 1, at - 1});
  store_missing(*missing, store);
  store_rest(snapshot.log.size(), snapshot.log.rest, store);
  for (const auto& block : snapshot.window) store.put(Table::block, block_key(at++), block);
  return {};
}

Result<void> store_state(const Ledger& ledger, const std::vector<BlockRange>& drop, std::vector<BlockRange>& missing,
                         Store& store) {
  const auto& blocks = ledger.blocks();
  const auto first_kept = window_start(blocks);
  // What lies before a range that stays, so that it can be judged by whoever gets it from here.
  std::map<std::uint64_t, std::vector<Hash>> rests;
  LogTiles log;
  const auto need_rest = [&](std::uint64_t entries) -> Result<void> {
    auto rest = rest_of_log(entries, ledger, store);
    if (rest.size() != entries % tile_width)
      return fail(Errc::corrupt, fmt::format("the entries up to number {} are not readable here", entries));
    rests[entries] = std::move(rest);
    return {};
  };
  for (const auto& range : missing) (void)need_rest(blocks[range.to].entries);
  for (const auto& range : drop) {
    expect(range.from > 0 && range.from <= range.to && range.to < first_kept, "only old blocks are dropped");
    if (auto good = need_rest(blocks[range.to].entries); !good) return good;
  }
  const auto entries = blocks[first_kept - 1].entries;
  if (auto good = need_rest(entries); !good) return good;
  log.full.assign(ledger.tiles().begin(), ledger.tiles().begin() + static_cast<std::ptrdiff_t>(entries / tile_width));
  log.rest = rests[entries];

  const auto head = ledger.head().height;
  if (auto stored = store_headers(head, ledger, store); !stored) return stored;
  erase_records(store);
  ledger.map().each({}, [&](const Hash&, const std::string& name) {
    store_record(record_of(ledger, name), store);
    return true;
  });
  store.put(Table::meta, base_key(), encode_base({head, std::move(log)}));
  for (const auto& [from, to] : drop) {
    store.erase_range(Table::block, block_key(from), block_key(to + 1));
    missing.push_back({from, to});
  }
  std::ranges::sort(missing, {}, &BlockRange::from);
  std::vector<BlockRange> joined;
  for (const auto& range : missing) {
    if (!joined.empty() && joined.back().to + 1 >= range.from)
      joined.back().to = std::max(joined.back().to, range.to);
    else
      joined.push_back(range);
  }
  missing = std::move(joined);
  store_missing(missing, store);
  for (const auto& [from, to] : missing)
    store.erase_range(Table::meta, rest_key(blocks[from - 1].entries), rest_key(blocks[to].entries));
  for (const auto& [at, rest] : rests)
    if (std::ranges::any_of(missing, [&](const BlockRange& range) { return blocks[range.to].entries == at; }))
      store_rest(at, rest, store);
  return {};
}

Result<Ledger> load_ledger(ByteView genesis, Store& store) {
  StoredReport report;
  return load(genesis, store, Care::usual, report);
}
Result<Ledger> verify_stored(ByteView genesis, Store& store, StoredReport& report) {
  return load(genesis, store, Care::all, report);
}

// Answers --------------------------------------------------------------------------------------------------------

namespace {

HeadersPart answer(const HeadersAsk& ask, const Ledger& ledger, Store& store) {
  HeadersPart out;
  std::size_t bytes = 0, read = 0;
  const auto room = [&] {
    return out.links.size() < limits::links_per_part_max && bytes < limits::part_bytes_max &&
           read < 8 * limits::part_bytes_max;
  };
  const auto next = [&] { return ask.from + out.links.size(); };
  const auto take = [&](ChainLink link) {
    const bool with_votes = changes_witnesses(link);
    bytes += link.block.header.size() + (with_votes ? link.block.votes.size() * 80 : 0) + link.succession.size() + 64;
    out.links.push_back(std::move(link));
  };
  const auto head = ledger.head().height;
  if (ask.from == 0 || ask.from > head) return out;
  (void)each_header(store, ask.from, [&](ByteView row) {
    auto link = decode_link(row);
    if (!link) return false;
    take(std::move(*link));
    return room();
  });
  // Of a block that is not on disk yet nobody is told.
  if (room())
    (void)each_block(store, next(), [&](ByteView row) {
      const auto block = decode_block(row);
      if (!block || block->header.height > head) return false;
      read += row.size();
      take(link_of(*block, ledger));
      return room();
    });
  out.more = !out.links.empty() && !room();
  // One that nobody here has the votes of waits for those behind it; of the others the last ones vouch for all.
  while (!out.links.empty() && out.links.back().block.votes.empty()) out.links.pop_back();
  for (std::size_t i = 0; i + 1 < out.links.size(); ++i)
    if (!changes_witnesses(out.links[i])) out.links[i].block.votes.clear();
  return out;
}

std::optional<StatePart::Records> records_at(const SparsePlace& place, const Ledger& ledger, std::size_t& bytes) {
  std::vector<std::string> names;
  ledger.map().each(place, [&](const Hash&, const std::string& name) {
    names.push_back(name);
    return names.size() <= limits::records_per_place_max;
  });
  if (names.size() > limits::records_per_place_max) return std::nullopt;
  StatePart::Records out;
  for (const auto& name : names) {
    out.push_back(record_of(ledger, name));
    bytes += out.back().record.size();
    for (const auto& cut_offs : out.back().cut_offs) bytes += cut_offs.size();
    if (bytes > limits::records_bytes_max && names.size() > 1 && place.depth + part_levels <= 256) return std::nullopt;
  }
  return out;
}

StatePart answer(const StateAsk& ask, const Ledger& ledger) {
  StatePart out;
  std::size_t bytes = 0;
  for (const auto& at : ask.places) {
    if (ledger.map().subtree(at.place).hash != at.hash) {
      out.places.emplace_back(StatePart::Gone{});
      continue;
    }
    std::size_t more = 0;
    if (auto records = records_at(at.place, ledger, more)) {
      bytes += more;
      out.places.emplace_back(std::move(*records));
    } else {
      StatePart::Below below;
      for (std::uint32_t i = 0; i < 1 << part_levels; ++i)
        below.push_back(ledger.map().subtree(at.place.child(part_levels, i)));
      out.places.emplace_back(std::move(below));
    }
    if (bytes > limits::records_bytes_max) break;
  }
  return out;
}

LogPart answer(const LogAsk& ask, const Ledger& ledger, Store& store) {
  LogPart out;
  if (ask.entries > ledger.entry_count()) return out;
  const auto full = ask.entries / tile_width;
  for (auto at = ask.from; at < full && out.hashes.size() < limits::hashes_per_part_max; ++at)
    out.hashes.push_back(ledger.tiles()[at]);
  if (out.hashes.size() == limits::hashes_per_part_max || ask.from > full + tile_width) return out;
  const auto rest = rest_of_log(ask.entries, ledger, store);
  const auto skipped = ask.from > full ? std::min<std::size_t>(ask.from - full, rest.size()) : 0;
  for (auto at = skipped; at < rest.size() && out.hashes.size() < limits::hashes_per_part_max; ++at)
    out.hashes.push_back(rest[at]);
  return out;
}

BlocksPart answer(const BlocksAsk& ask, Store& store) {
  BlocksPart out;
  std::size_t bytes = 0;
  (void)each_block(store, ask.from, [&](ByteView row) {
    out.blocks.push_back(to_bytes(row));
    bytes += row.size();
    return bytes < limits::part_bytes_max && out.blocks.size() < limits::block_entries_max;
  });
  return out;
}

}  // namespace

LedgerPart answer_ask(const LedgerAsk& ask, const Ledger& ledger, Store& store) {
  if (const auto* headers = std::get_if<HeadersAsk>(&ask)) return answer(*headers, ledger, store);
  if (const auto* state = std::get_if<StateAsk>(&ask)) return answer(*state, ledger);
  if (const auto* log = std::get_if<LogAsk>(&ask)) return answer(*log, ledger, store);
  if (const auto* blocks = std::get_if<BlocksAsk>(&ask)) return answer(*blocks, store);
  auto held = without(stored_missing(store).value_or(std::vector<BlockRange>()), ledger.head().height);
  if (held.size() > limits::ranges_per_part_max)
    held.erase(held.begin(), held.end() - static_cast<std::ptrdiff_t>(limits::ranges_per_part_max));
  return HoldingsPart{std::move(held)};
}

}  // namespace diot
