#include "tools/app/ledger_answers.hpp"

#include <fmt/format.h>

#include <chrono>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/ledger/limits.hpp"
#include "core/ledger/note.hpp"
#include "core/ledger/storage.hpp"
#include "core/ledger/verify.hpp"
#include "dht/cosignatures.hpp"
#include "tools/app/ledger_alarms.hpp"
#include "tools/app/ledger_prove.hpp"
#include "tools/app/ledger_query.hpp"
#include "tools/app/ledger_storage.hpp"

namespace diot {

namespace {

constexpr std::uint64_t tail_blocks = 10;
constexpr std::uint64_t list_handles = 1000;
constexpr std::size_t export_page_bytes = 256 << 10;

Json or_null(WallMs time) { return time == 0 ? Json(nullptr) : Json(time); }

/// Visits the stored blocks from a height on until `visit` says false.
Result<void> each_block(Store& store, std::uint64_t from, const std::function<bool(ByteView)>& visit) {
  bool corrupt = false;
  auto scanned = store.scan(
      Table::block, block_key(from), {}, [&](ByteView, ByteView block) { return visit(block); },
      [&](ByteView) { corrupt = true; });
  if (!scanned) return scanned;
  if (corrupt) return fail(Errc::corrupt, "a stored block does not match its checksum; run `diot ledger verify`");
  return {};
}

/// Visits the stored blocks that a query asks for, in order.
Result<void> each_block(Store& store, const LedgerQuery& query, const std::function<void(const BlockView&)>& visit) {
  return each_block(store, query.from, [&](ByteView bytes) {
    const auto block = decode_block(bytes);
    if (!block) return true;  // `ledger verify` tells
    if (query.takes(block->header)) visit(*block);
    return block->header.height < query.to;
  });
}

/// Adds the blocks that a query asks for and that are not here.
Result<void> tell_missing(const LedgerQuery& query, Store& store, Json& out) {
  return stored_missing(store).map([&](const std::vector<BlockRange>& missing) {
    if (const auto ranges = clipped(missing, {query.from, query.to}); !ranges.empty())
      out["missing"] = ranges_json(ranges);
  });
}

Result<Json> list(const Json& args, const Ledger& ledger) {
  const auto prefix = args.value("prefix", std::string()), after = args.value("after", std::string());
  const auto limit = args.value("limit", list_handles);
  Json handles = Json::array();
  Json more = nullptr;
  for (auto at = ledger.handles().lower_bound(std::max(prefix, after)); at != ledger.handles().end(); ++at) {
    const auto& [name, record] = *at;
    if (!name.starts_with(prefix)) break;
    if (name == after) continue;
    if (handles.size() == limit) {
      more = handles.back()["handle"];
      break;
    }
    handles.push_back({{"handle", name},
                       {"nodes", record.nodes.size()},
                       {"version", record.version},
                       {"height", record.height},
                       {"registered_ms", record.registered},
                       {"lease_until_ms", or_null(record.lease_until)}});
  }
  Json out{{"handles", std::move(handles)}};
  if (!more.is_null()) out["more_after"] = more;
  return out;
}

Result<Json> show(const Ledger& ledger, const std::string& handle, std::string_view own_handle) {
  const HandleRecord* record = ledger.handle(handle);
  if (!record)
    return fail(Errc::not_found, fmt::format("no handle '{}' is registered; see `diot ledger list`", handle));
  return handle_answer(*record, handle == own_handle);
}

Result<Json> history(const LedgerQuery& query, Store& store) {
  Json entries = Json::array();
  auto scanned = each_block(store, query, [&](const BlockView& block) {
    for (const auto& entry : block.entries) {
      const auto view = describe_entry(entry);
      if (!view || !query.takes(*view)) continue;
      Json row{{"height", block.header.height}, {"time_ms", block.header.time}};
      row.update(entry_answer(*view));
      row.erase("handle");
      entries.push_back(std::move(row));
    }
  });
  if (!scanned) return tl::unexpected(scanned.error());
  Json out{{"handle", query.handle}, {"entries", std::move(entries)}};
  if (auto told = tell_missing(query, store, out); !told) return tl::unexpected(told.error());
  if (out["entries"].empty() && !out.contains("missing"))
    return fail(
        Errc::not_found,
        fmt::format("no such entry about a handle '{}' is in the ledger; see `diot ledger list`", query.handle));
  return out;
}

Result<Json> tail(const Json& args, LedgerQuery query, const LedgerSource& from) {
  const auto count = args.value("count", tail_blocks);
  const auto head = from.ledger.head().height;
  const bool newest_only = !query.asks_for_entries() && query.to >= head && query.until >= from.ledger.head_time();
  if (newest_only && head > count) query.from = std::max(query.from, head - count + 1);
  std::deque<Json> blocks;
  auto scanned = each_block(from.store, query, [&](const BlockView& block) {
    Json entries = Json::array();
    for (const auto& entry : block.entries)
      if (const auto view = describe_entry(entry); view && query.takes(*view))
        entries.push_back({{"kind", view->kind}, {"handle", view->handle}, {"version", view->version}});
    if (entries.empty() && query.asks_for_entries()) return;
    blocks.push_back({{"height", block.header.height},
                      {"time_ms", block.header.time},
                      {"hash", block.hash.hex()},
                      {"entries", std::move(entries)}});
    if (blocks.size() > count) blocks.pop_front();
  });
  if (!scanned) return tl::unexpected(scanned.error());
  Json out{{"blocks", Json(blocks)}};
  if (auto told = tell_missing(query, from.store, out); !told) return tl::unexpected(told.error());
  return out;
}

/// A page of whole blocks, for `diot ledger export` and `diot ledger diff`.
Result<Json> export_page(const LedgerQuery& query, const LedgerSource& from) {
  Json blocks = Json::array();
  Json next = nullptr;
  std::size_t bytes = 0;
  auto scanned = each_block(from.store, query.from, [&](ByteView bytes_of) {
    const auto block = decode_block(bytes_of);
    if (!block || block->header.height > query.to) return false;
    if (bytes >= export_page_bytes) {
      next = block->header.height;
      return false;
    }
    bytes += bytes_of.size();
    blocks.push_back({{"height", block->header.height}, {"block", to_base64url(bytes_of)}});
    return true;
  });
  if (!scanned) return tl::unexpected(scanned.error());
  return Json{{"network", from.ledger.network().hex()}, {"blocks", std::move(blocks)}, {"next", std::move(next)}};
}

Result<Json> checkpoint(const LedgerSource& from) {
  const auto& network = from.ledger.network();
  const auto origin = log_origin(network);
  const auto text = checkpoint_text({origin, from.ledger.entry_count(), from.ledger.log_root()});
  if (!from.witness)
    return fail(Errc::not_permitted, "only a witness signs checkpoints: ask for this one at a witness of the network");
  // What is signed must never be taken back, so it has to be on disk.
  if (const auto block = stored_block(from.store, from.ledger.head().height); !block)
    return tl::unexpected(block.error());
  Json out{{"origin", origin}, {"entries", from.ledger.entry_count()}, {"root", from.ledger.log_root().hex()}};
  const NoteKey log{origin, from.witness->public_key(), NoteKeyType::ed25519};
  const NoteKey cosigner{witness_name(network, from.witness->public_key()), from.witness->public_key(),
                         NoteKeyType::cosignature};
  out["log_key"] = log.text();
  out["cosigner_key"] = cosigner.text();
  std::vector<std::string> lines{sign_note(text, log, *from.witness),
                                 sign_note(text, cosigner, *from.witness, from.now)};
  Json others = Json::array();
  if (from.cosignatures)
    for (auto& [key, line] :
         from.cosignatures->lines_for({origin, from.ledger.entry_count(), from.ledger.log_root()})) {
      lines.push_back(std::move(line));
      others.push_back(key.text());
    }
  out["cosigner_keys"] = std::move(others);
  out["note"] = make_note(text, lines);
  return out;
}

/// Nobody looks at the ledger and does not hear that there are two.
void tell_forks(const std::vector<Fork>& forks, const Ledger& ledger, Json& out) {
  if (forks.empty()) return;
  out["forks"] = fork_rows(forks, ledger);
  for (const auto& fork : forks) out["warnings"].push_back(fork_text(fork, ledger));
}

Result<Json> stats(const LedgerSource& from) {
  std::map<std::string, std::uint64_t> kinds;
  std::uint64_t bytes = 0, lately = 0, entries = 0;
  const auto month = static_cast<WallMs>(std::chrono::milliseconds(std::chrono::hours(30 * 24)).count());
  auto scanned = each_block(from.store, 1, [&](ByteView block_bytes) {
    const auto block = decode_block(block_bytes);
    if (!block) return true;
    bytes += block_bytes.size();
    entries += block->entries.size();
    if (block->header.time + month >= from.now) lately += block->entries.size();
    for (const auto& entry : block->entries)
      if (const auto view = describe_entry(entry)) ++kinds[view->kind];
    return true;
  });
  if (!scanned) return tl::unexpected(scanned.error());
  std::size_t nodes = 0;
  for (const auto& [name, record] : from.ledger.handles()) nodes += record.nodes.size();
  const auto& ledger = from.ledger;
  const auto forks = stored_forks(from.store);
  if (!forks) return tl::unexpected(forks.error());
  Json rows = Json::array();
  for (const auto& [kind, count] : kinds) rows.push_back({{"kind", kind}, {"entries", count}});
  Json out{{"network", ledger.network().hex()},
           {"witnesses", ledger.witnesses().size()},
           {"trusted", !ledger.network_record().witnesses.is_solid()},
           {"founded_ms", ledger.genesis().time},
           {"height", ledger.head().height},
           {"head", ledger.head().block.hex()},
           {"head_time_ms", ledger.head_time()},
           {"handles", ledger.handles().size()},
           {"nodes", nodes},
           {"entries", ledger.entry_count()},
           {"entries_here", entries == ledger.entry_count() ? Json(nullptr) : Json(entries)},
           {"entries_in_30_days", lately},
           {"bytes", bytes},
           {"kinds", std::move(rows)}};
  tell_forks(*forks, ledger, out);
  return out;
}

/// Of a node that began with a snapshot: what is here is recomputed, and the rest vouched for.
Result<Json> verify_from_snapshot(ByteView genesis, Store& store) {
  StoredReport report;
  const auto ledger = verify_stored(genesis, store, report);
  if (!ledger) return tl::unexpected(ledger.error());
  return Json{{"network", ledger->network().hex()},
              {"height", ledger->head().height},
              {"head", ledger->head().block.hex()},
              {"blocks", ledger->head().height - report.base},
              {"entries", ledger->entry_count() - ledger->blocks()[report.base].entries},
              {"handles", ledger->handles().size()},
              {"log_root", ledger->log_root().hex()},
              {"map_root", ledger->map_root().hex()},
              {"snapshot", report.base},
              {"snapshot_ms", ledger->blocks()[report.base].time},
              {"snapshot_votes", report.base_votes},
              {"snapshot_witnesses", report.base_witnesses},
              {"headers", report.headers_checked}};
}

Result<Json> verify(const LedgerSource& from, bool full) {
  Store& store = from.store;
  const auto forks = stored_forks(store);
  if (!forks) return tl::unexpected(forks.error());
  const auto missing = stored_missing(store);
  if (!missing) return tl::unexpected(missing.error());
  if (!missing->empty() && full)
    return fail(
        Errc::not_available,
        "a snapshot stands for older blocks that are not on this disk: start the node (`diot run`) and try again, "
        "so that it can fetch them from others");
  if (!missing->empty()) {
    auto report = verify_from_snapshot(from.genesis, store);
    if (report) tell_forks(*forks, from.ledger, *report);
    return report;
  }
  std::uint64_t height = 0;
  const auto report = verify_chain(from.genesis, [&]() -> Result<std::optional<Bytes>> {
    ++height;
    auto block = store.get(Table::block, block_key(height));
    if (!block)
      return fail(Errc::corrupt, fmt::format("block {} is damaged on this disk: {}", height, block.error().message));
    return block;
  });
  if (!report) return tl::unexpected(report.error());
  if (from.ledger.block_at(report->head.height) != report->head.block)
    return fail(Errc::corrupt, "the blocks on this disk are another chain than the ledger that is in use");
  Json out{{"network", report->network.hex()},   {"height", report->head.height},
           {"head", report->head.block.hex()},   {"blocks", report->blocks},
           {"entries", report->entries},         {"handles", report->handles},
           {"log_root", report->log_root.hex()}, {"map_root", report->map_root.hex()}};
  tell_forks(*forks, from.ledger, out);
  return out;
}

}  // namespace

Json handle_answer(const HandleRecord& record, bool ours) {
  Json nodes = Json::array();
  for (const auto& [node, role] : record.nodes)
    nodes.push_back({{"node", to_display(node)}, {"role", role == Role::admin ? "admin" : "member"}});
  Json persons = Json::array();
  for (const auto& [person, key] : record.persons) persons.push_back({{"person", person}, {"key", key.hex()}});
  Json guardians = Json::array(), revoked = Json::array(), recovery;
  for (const auto& guardian : record.guardians.who) guardians.push_back(guardian.handle);
  for (const auto& revocation : record.revoked)
    revoked.push_back({{"node", to_display(revocation.node)}, {"height", revocation.height}});
  if (record.recovery)
    recovery = {{"owner", record.recovery->owner.hex()},
                {"due_ms", record.recovery->due},
                {"cancellable", record.recovery->cancellable}};
  return {{"handle", record.handle},
          {"owner", record.owner.hex()},
          {"next_key", record.next_key.hex()},
          {"nodes", std::move(nodes)},
          {"persons", std::move(persons)},
          {"version", record.version},
          {"height", record.height},
          {"registered_ms", record.registered},
          {"lease_until_ms", or_null(record.lease_until)},
          {"guardians", std::move(guardians)},
          {"threshold", record.guardians.threshold},
          {"recovery", std::move(recovery)},
          {"revoked", std::move(revoked)},
          {"released_ms", or_null(record.released)},
          {"profile", record.profile.is_zero() ? Json(nullptr) : Json(record.profile.hex())},
          {"register_entry", record.register_entry.hex()},
          {"ours", ours}};
}

Json entry_answer(const EntryView& entry) {
  Json out{{"kind", entry.kind}, {"handle", entry.handle}, {"version", entry.version}, {"hash", entry.hash.hex()}};
  if (!entry.inviter.empty()) out["inviter"] = entry.inviter;
  if (!entry.detail.empty()) out["detail"] = entry.detail;
  return out;
}

Result<Json> ledger_answer(std::string_view verb, const Json& args, const LedgerSource& from) {
  const auto query = ledger_query(args, from.now);
  if (!query) return tl::unexpected(query.error());
  if (verb == "ledger list") return list(args, from.ledger);
  if (verb == "ledger show") return show(from.ledger, args.at("handle").get<std::string>(), from.own_handle);
  if (verb == "ledger history") return history(*query, from.store);
  if (verb == "ledger tail") return tail(args, *query, from);
  if (verb == "ledger verify") return verify(from, args.value("full", false));
  if (verb == "ledger storage") return storage_here(from);
  if (verb == "ledger stats") return stats(from);
  if (verb == "ledger prove") return prove_answer(args, from);
  if (verb == "ledger checkpoint") return checkpoint(from);
  if (verb == "ledger export") return export_page(*query, from);
  return fail(Errc::not_available, fmt::format("`diot {}` is not available yet", verb));
}

}  // namespace diot
