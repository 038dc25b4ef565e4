#include "tools/app/ledger_answers.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/ledger/verify.hpp"
#include "dht/ledger_sync.hpp"

namespace diot {

namespace {

constexpr std::uint64_t tail_blocks = 10;

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

Result<Json> list(const Ledger& ledger) {
  Json handles = Json::array();
  for (const auto& [name, record] : ledger.handles())
    handles.push_back({{"handle", name},
                       {"nodes", record.nodes.size()},
                       {"version", record.version},
                       {"height", record.height},
                       {"registered_ms", record.registered},
                       {"lease_until_ms", or_null(record.lease_until)}});
  return Json{{"handles", std::move(handles)}};
}

Result<Json> show(const Ledger& ledger, const std::string& handle, std::string_view own_handle) {
  const HandleRecord* record = ledger.handle(handle);
  if (!record)
    return fail(Errc::not_found, fmt::format("no handle '{}' is registered; see `diot ledger list`", handle));
  return handle_answer(*record, handle == own_handle);
}

Result<Json> history(const Ledger& ledger, Store& store, const std::string& handle) {
  if (!ledger.handle(handle))
    return fail(Errc::not_found, fmt::format("no handle '{}' is registered; see `diot ledger list`", handle));
  Json entries = Json::array();
  auto scanned = each_block(store, 1, [&](ByteView bytes) {
    const auto block = decode_block(bytes);
    if (!block) return true;
    for (const auto& entry : block->entries)
      if (const auto view = describe_entry(entry); view && view->handle == handle)
        entries.push_back({{"height", block->header.height},
                           {"time_ms", block->header.time},
                           {"kind", view->kind},
                           {"version", view->version},
                           {"hash", view->hash.hex()}});
    return true;
  });
  if (!scanned) return tl::unexpected(scanned.error());
  return Json{{"handle", handle}, {"entries", std::move(entries)}};
}

Result<Json> tail(const Ledger& ledger, Store& store, std::uint64_t count) {
  Json blocks = Json::array();
  const std::uint64_t head = ledger.head().height;
  auto scanned = each_block(store, head > count ? head - count + 1 : 1, [&](ByteView bytes) {
    const auto block = decode_block(bytes);
    if (!block) return true;
    Json entries = Json::array();
    for (const auto& entry : block->entries)
      if (const auto view = describe_entry(entry)) entries.push_back({{"kind", view->kind}, {"handle", view->handle}});
    blocks.push_back({{"height", block->header.height},
                      {"time_ms", block->header.time},
                      {"hash", block->hash.hex()},
                      {"entries", std::move(entries)}});
    return true;
  });
  if (!scanned) return tl::unexpected(scanned.error());
  return Json{{"blocks", std::move(blocks)}};
}

Result<Json> verify(ByteView genesis, Store& store) {
  std::uint64_t height = 0;
  const auto report = verify_chain(genesis, [&]() -> Result<std::optional<Bytes>> {
    ++height;
    auto block = store.get(Table::block, block_key(height));
    if (!block)
      return fail(Errc::corrupt, fmt::format("block {} is damaged on this disk: {}", height, block.error().message));
    return block;
  });
  if (!report) return tl::unexpected(report.error());
  return Json{{"network", report->network.hex()},   {"height", report->head.height},
              {"head", report->head.block.hex()},   {"blocks", report->blocks},
              {"entries", report->entries},         {"handles", report->handles},
              {"log_root", report->log_root.hex()}, {"map_root", report->map_root.hex()}};
}

}  // namespace

Result<Ledger> replay_ledger(ByteView genesis, Store& store) {
  auto ledger = Ledger::from_genesis(genesis);
  if (!ledger) return ledger;
  std::optional<Error> wrong;
  auto scanned = each_block(store, 1, [&](ByteView block) {
    if (auto appended = ledger->append(block); !appended) wrong = appended.error();
    return !wrong;
  });
  if (wrong)
    return fail(Errc::corrupt,
                fmt::format("the stored ledger is wrong behind block {}: {}", ledger->head().height, wrong->message));
  if (!scanned) return tl::unexpected(scanned.error());
  return ledger;
}

Json handle_answer(const HandleRecord& record, bool ours) {
  Json nodes = Json::array();
  for (const auto& [node, role] : record.nodes)
    nodes.push_back({{"node", to_display(node)}, {"role", role == Role::admin ? "admin" : "member"}});
  return {{"handle", record.handle},
          {"owner", record.owner.hex()},
          {"nodes", std::move(nodes)},
          {"version", record.version},
          {"height", record.height},
          {"registered_ms", record.registered},
          {"lease_until_ms", or_null(record.lease_until)},
          {"register_entry", record.register_entry.hex()},
          {"ours", ours}};
}

Result<Json> ledger_answer(std::string_view verb, const Json& args, const Ledger& ledger, ByteView genesis,
                           Store& store, std::string_view own_handle) {
  if (verb == "ledger list") return list(ledger);
  if (verb == "ledger show") return show(ledger, args.at("handle").get<std::string>(), own_handle);
  if (verb == "ledger history") return history(ledger, store, args.at("handle").get<std::string>());
  if (verb == "ledger tail") return tail(ledger, store, args.value("count", tail_blocks));
  if (verb == "ledger verify") return verify(genesis, store);
  return fail(Errc::not_available, fmt::format("`diot {}` is not available yet", verb));
}

}  // namespace diot
