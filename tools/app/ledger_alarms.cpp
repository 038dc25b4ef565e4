#include "tools/app/ledger_alarms.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/ledger/work_stamp.hpp"
#include "dht/fork_watch.hpp"
#include "tools/app/witness_names.hpp"

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

/// Who is to blame, as far as the two certificates tell.
static std::string blame_text(const Fork& fork, const Ledger& ledger) {
  if (!fork.ours.succession.empty() || !fork.theirs.succession.empty())
    return "One of them replaces the witnesses as gone for good, and they were not all gone.";
  if (ledger.witnesses_at(fork.height()).members.size() == 1)
    return "The registrar signed both, or runs from an old backup, and is accused of it in the ledger.";
  if (fork.ours.block.round == fork.theirs.block.round)
    return "More than a third of the witnesses signed both in one round, or run from old backups, and are accused "
           "of it in the ledger.";
  return "More than a third of the witnesses lied, or run from old backups; as the two were decided in different "
         "rounds, their votes prove it of nobody by name.";
}

std::string fork_text(const Fork& fork, const Ledger& ledger) {
  const HandleRecord* teller = ledger.handle_of(fork.shown_by);
  return fmt::format(
      "TWO HISTORIES of this network exist from block {} on: {}… here, {}… at @{}, and both were decided by votes that "
      "count. {} This node stays with its own and keeps both certificates as "
      "evidence. Ask the other homes which one they have (`diot ledger tail --from {} --to {}`), trust no registration "
      "from there on until that is settled, and have the witnesses replaced that are to blame (`diot witness list`)",
      fork.height(), fork.our_block().hex().substr(0, 16), fork.their_block().hex().substr(0, 16),
      teller ? teller->handle : "?", blame_text(fork, ledger), fork.height(), fork.height());
}

Json succession_rows(const std::map<Hash, SuccessionSync::Pending>& pending, const Ledger& ledger) {
  Json out = Json::array();
  for (const auto& [hash, each] : pending) {
    Json names = Json::array();
    for (const auto& member : each.witnesses.members) names.push_back(name_of(member, ledger));
    Json row{{"height", each.block.header.height},
             {"possible_from_ms", each.possible_from()},
             {"votes", each.votes.size()},
             {"needed", each.votes_needed()},
             {"witnesses", std::move(names)}};
    if (!each.refusal.empty()) row["refusal"] = each.refusal;
    out.push_back(std::move(row));
  }
  return out;
}

std::string succession_text(const SuccessionSync::Pending& pending, const Ledger& ledger) {
  return fmt::format(
      "the holder of the succession key replaces the witnesses by {}, from {} on, unless those in office make a block "
      "before; {} of {} votes are there. If that is a surprise, get the witnesses to run (`diot witness list`)",
      names_of(pending.witnesses, ledger), time_text(pending.possible_from()), pending.votes.size(),
      pending.votes_needed());
}

std::string upgrade_text(const UpgradeBody& upgrade) {
  const auto what = fmt::format("rules version {} for the ledger from block {} on", upgrade.rules_version & ~test_rules,
                                upgrade.height);
  if (knows_rules(upgrade.rules_version)) return what;
  return fmt::format(
      "{}, which this diot ({}) does not know: it knows version {}. Install a newer one before that block; else the "
      "ledger stands still here from then on, and everything else goes on",
      what, DIOT_VERSION, known_rules_version);
}

}  // namespace diot
