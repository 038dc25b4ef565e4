#include "tools/app/ledger_alarms.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "dht/fork_watch.hpp"

namespace diot {

static std::string time_text(WallMs time) {
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(static_cast<std::time_t>(time / 1000)));
}

Result<std::vector<Fork>> stored_forks(Store& store) {
  const auto row = store.get(Table::meta, meta_forks());
  if (!row) return tl::unexpected(row.error());
  return *row ? decode_forks(**row) : Result<std::vector<Fork>>(std::vector<Fork>{});
}

static Json handle_or_null(const NodeId& node, const Ledger& ledger) {
  const HandleRecord* record = ledger.handle_of(node);
  return record ? Json(record->handle) : Json(nullptr);
}

Json fork_rows(const std::vector<Fork>& forks, const Ledger& ledger) {
  Json out = Json::array();
  for (const auto& fork : forks)
    out.push_back({{"height", fork.height()},
                   {"here", fork.our_block().hex()},
                   {"there", fork.their_block().hex()},
                   {"seen_ms", fork.seen},
                   {"shown_by", handle_or_null(fork.shown_by, ledger)},
                   {"evidence", to_base64url(encode_fork(fork))}});
  return out;
}

std::string fork_text(const Fork& fork, const Ledger& ledger) {
  const HandleRecord* teller = ledger.handle_of(fork.shown_by);
  return fmt::format(
      "TWO HISTORIES of this network exist from block {} on: {}… here, {}… at @{}, and both were decided by votes that "
      "count. {} signed both, or runs from an old backup. This node stays with its own and keeps both certificates as "
      "evidence. Ask the other homes which one they have (`diot ledger tail --from {} --to {}`), trust no registration "
      "from there on until that is settled, and have the witnesses replaced that signed twice (`diot witness list`)",
      fork.height(), fork.our_block().hex().substr(0, 16), fork.their_block().hex().substr(0, 16),
      teller ? teller->handle : "?",
      ledger.witnesses_at(fork.height()).is_solid() ? "More than a third of the witnesses" : "The registrar",
      fork.height(), fork.height());
}

static std::vector<std::string> names_of(const WitnessSet& set, const Ledger& ledger) {
  std::vector<std::string> out;
  for (const auto& [key, node] : set.members) {
    const HandleRecord* record = ledger.handle_of(node);
    out.push_back(record ? "@" + record->handle : to_display(node));
  }
  return out;
}

Json succession_rows(const std::map<Hash, SuccessionSync::Pending>& pending, const Ledger& ledger) {
  Json out = Json::array();
  for (const auto& [hash, each] : pending) {
    Json row{{"height", each.block.header.height},
             {"possible_from_ms", each.possible_from()},
             {"votes", each.votes.size()},
             {"needed", each.votes_needed()},
             {"witnesses", names_of(each.witnesses, ledger)}};
    if (!each.refusal.empty()) row["refusal"] = each.refusal;
    out.push_back(std::move(row));
  }
  return out;
}

std::string succession_text(const SuccessionSync::Pending& pending, const Ledger& ledger) {
  return fmt::format(
      "the holder of the succession key replaces the witnesses by {}, from {} on, unless those in office make a block "
      "before; {} of {} votes are there. If that is a surprise, get the witnesses to run (`diot witness list`)",
      fmt::join(names_of(pending.witnesses, ledger), ", "), time_text(pending.possible_from()), pending.votes.size(),
      pending.votes_needed());
}

}  // namespace diot
