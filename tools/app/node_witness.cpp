// The verbs about witnesses: who decides the ledger's blocks, and how that changes.

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/work_stamp.hpp"
#include "core/text.hpp"
#include "tools/app/handle_verbs.hpp"
#include "tools/app/ledger_alarms.hpp"
#include "tools/app/node.hpp"
#include "tools/app/witness_names.hpp"

namespace diot {

namespace {

/// An entry that takes the witnesses' signatures, as it went from hand to hand.
struct Change {
  EntryText text;
  EntryBody body;  ///< a witness-change, a succession or an upgrade

  /// Those that it makes, or nullptr.
  const WitnessSet* witnesses() const {
    if (const auto* change = std::get_if<WitnessChangeBody>(&body)) return &change->witnesses;
    if (const auto* succession = std::get_if<SuccessionBody>(&body)) return &succession->witnesses;
    return nullptr;
  }
  const UpgradeBody* upgrade() const { return std::get_if<UpgradeBody>(&body); }
};
Result<Change> read_change(const Json& args, const NetworkId& network) {
  auto text = entry_text_for(network, args);
  if (!text) return tl::unexpected(text.error());
  auto entry = decode_entry(text->entry);
  if (!entry) return tl::unexpected(entry.error());
  Change out{std::move(*text), std::move(entry->body)};
  if (out.witnesses() || out.upgrade()) return out;
  return fail(Errc::invalid, fmt::format("the entry is about something else: it is a {}", kind_of(out.body)));
}

}  // namespace

const KeyPair& Node::witness_key() const { return witness_key_ ? *witness_key_ : *node_key_; }

Json Node::witness_rows(const WitnessSet& set) const {
  Json out = Json::array();
  for (const auto& member : set.members) {
    const auto& [key, node] = member;
    const HandleRecord* home = home_of(member, core_->ledger());
    out.push_back({{"handle", home ? Json(home->handle) : Json(nullptr)},
                   {"node", node == NodeId{} ? Json(nullptr) : Json(to_display(node))},  // a genesis names none
                   {"key", key.hex()},
                   {"ours", key == witness_key().public_key()},
                   {"lied", core_->ledger().network_record().liars.contains(key)}});
  }
  return out;
}

Result<Json> Node::witness_list() const {
  const auto& record = core_->ledger().network_record();
  Json out{{"epoch", record.epoch},
           {"trusted", !record.witnesses.is_solid()},
           {"succession", core_->ledger().genesis().succession.hex()}};
  out["rules_version"] = record.rules_version & ~test_rules;
  if (record.next_rules) {
    out["next_rules_version"] = record.next_rules->version & ~test_rules;
    out["next_rules_from_height"] = record.next_rules->height;
  }
  if (record.next_set) out["next_from_height"] = record.next_set->height;
  out["witnesses"] = witness_rows(record.witnesses);
  if (record.next_set) out["next_witnesses"] = witness_rows(record.next_set->witnesses);
  return out;
}

Result<Json> Node::witness_status() const {
  const auto& sync = core_->overlay().ledger_sync();
  const auto status = sync.status();
  Json out{{"witness", status.witness},
           {"witnesses", status.witnesses},
           {"needed", status.needed},
           {"in_reach", status.in_reach},
           {"state", status.text()},
           {"entries_waiting", status.waiting},
           {"round", status.agreeing ? Json(status.round) : Json(nullptr)}};
  if (status.witness && !status.refusal.empty()) out["warnings"] = Json::array({status.refusal});
  if (!sync.successions().empty()) out["successions"] = succession_rows(sync.successions(), core_->ledger());
  Json lies = Json::array();
  for (const auto& lie : sync.double_votes())
    lies.push_back({{"key", lie.witness.hex()}, {"height", lie.first.height}, {"round", lie.first.round}});
  if (!lies.empty()) out["double_votes"] = std::move(lies);
  return out;
}

Result<Json> Node::witness_invite(const Json& args) const {
  const auto& ledger = core_->ledger();
  const auto& record = ledger.network_record();
  if (!record.witnesses.has(witness_key().public_key()))
    return fail(Errc::not_permitted, "this node is not a witness: ask one of `diot witness list` to do it");
  WitnessSet set;
  for (auto member : record.witnesses.members) {
    const bool ours = member.node == NodeId{} && member.key == witness_key().public_key();
    member.node = ours ? node_key_->node_id() : node_of(member, ledger);
    set.members.push_back(member);
  }
  for (const auto& name : args.value("remove", std::vector<std::string>{})) {
    const auto gone = std::erase_if(set.members, [&](const Witness& member) {
      const HandleRecord* home = home_of(member, ledger);
      return (home && home->handle == name) || member.key.hex() == name;  // whose node was revoked has no handle
    });
    if (gone == 0)
      return fail(Errc::not_found,
                  fmt::format("no witness runs at '{}', or has that key; see `diot witness list`", name));
  }
  const auto handles = args.value("handles", std::string());
  for (std::string_view rest = handles; !rest.empty();) {
    const auto name = take_until(rest, ',');
    if (name.empty()) continue;
    const HandleRecord* handle = ledger.handle(name);
    if (!handle)
      return fail(Errc::not_found, fmt::format("no handle '{}' is registered; see `diot ledger list`", name));
    const auto admin = std::ranges::find(handle->nodes, Role::admin, [](const auto& each) { return each.second; });
    if (admin == handle->nodes.end()) return fail(Errc::not_found, fmt::format("@{} has no node", name));
    if (std::ranges::find(set.members, admin->first, &Witness::node) != set.members.end())
      return fail(Errc::exists, fmt::format("a witness runs at @{} already", name));
    set.members.push_back({key_of(admin->first), admin->first});
  }
  if (set.members == record.witnesses.members)
    return fail(Errc::invalid, "name the homes that are to become witnesses, or --remove one");
  if (auto solid = judge_fragile(set, args); !solid) return tl::unexpected(solid.error());
  const auto members = set.members.size();
  const auto entry =
      make_entry(WitnessChangeBody{record.epoch + 1, std::move(set)}, ledger.network(), ledger.head(), {witness_key()});
  return Json{{"entry", encode_entry_text({ledger.network(), entry})},
              {"witnesses", members},
              {"next",
               "within an hour every new witness, and two thirds of the old ones, run `diot witness accept ENTRY "
               "--yes`, each on what the one before got; then one of them runs `diot witness change ENTRY`"}};
}

void Node::witness_accept(const Json& args, std::function<void(Result<Json>)> done) {
  const auto& ledger = core_->ledger();
  auto change = read_change(args, ledger.network());
  if (!change) return done(tl::unexpected(change.error()));
  const auto& key = witness_key();
  const WitnessSet* next = change->witnesses();
  const bool joins = next && next->has(key.public_key());
  const bool decides = ledger.network_record().witnesses.has(key.public_key());
  if (!joins && !decides && next && next->has(node_key_->public_key()))
    return done(
        fail(Errc::not_permitted,
             fmt::format("the entry names this home's node key, and the witness key here is that of {0}: stop the "
                         "node, move {0} out of the folder, start it and try again",
                         home_.path() + "/witness.key")));
  if (!joins && !decides)
    return done(
        fail(Errc::not_permitted, "the entry needs no signature of this home: it neither is nor becomes a witness"));
  if (!args.contains("yes"))
    return done(fail(Errc::not_permitted,
                     fmt::format("this agrees to {}{}; say --yes if that is what you want",
                                 next ? "the witnesses " + names_of(*next, ledger) : upgrade_text(*change->upgrade()),
                                 joins && !decides ? ": this node takes part in every decision then, and should be up "
                                                     "and backed up by nothing but itself"
                                                   : "")));
  auto entry = add_signature(change->text.entry, change->text.network, key);
  if (!entry) return done(tl::unexpected(entry.error()));
  // Its memory begins where it can have voted for nothing: a witness without one does not vote.
  if (joins && !decides)
    if (auto begun = core_->overlay().ledger_sync().let_witness_vote(ledger.head().height + 1); !begun)
      return done(tl::unexpected(begun.error()));
  store_->when_durable([entry = std::move(*entry), network = change->text.network, kind = kind_of(change->body), done] {
    done(Json{{"entry", encode_entry_text({network, entry})},
              {"kind", kind},
              {"signatures", decode_entry(entry)->signatures.size()}});
  });
}

void Node::witness_upgrade(const Json& args, std::function<void(Result<Json>)> done) {
  const auto& ledger = core_->ledger();
  const auto& record = ledger.network_record();
  if (!record.witnesses.has(witness_key().public_key()))
    return done(fail(Errc::not_permitted, "this node is not a witness: ask one of `diot witness list` to do it"));
  // Whether a network is for tests is not for anybody to change.
  const auto version =
      static_cast<std::uint32_t>(args.at("rules").get<std::uint64_t>()) | (record.rules_version & test_rules);
  const UpgradeBody body{record.epoch + 1, version, args.at("from-height").get<std::uint64_t>()};
  if (version == record.rules_version && !record.next_rules)
    return done(fail(Errc::exists, fmt::format("this network goes by rules version {} already, and no other is planned",
                                               version & ~test_rules)));
  if (record.next_rules == NetworkRecord::NextRules{body.height, version})
    return done(fail(Errc::exists, "exactly that is planned already, see `diot witness list`"));
  auto entry = make_entry(body, ledger.network(), ledger.head(), {witness_key()});
  // What is wrong by any rule is said now, and not when all have signed: but that not all have is no mistake here.
  if (auto good = ledger.check_entry(entry, clock_.wall_ms()); !good && good.error().code != Errc::not_permitted)
    return done(tl::unexpected(good.error()));
  if (!knows_rules(version) && !args.contains("yes"))
    return done(fail(Errc::not_permitted,
                     fmt::format("this plans {}; say --yes if that is what you want", upgrade_text(body))));
  if (record.witnesses.members.size() > 1)
    return done(
        Json{{"entry", encode_entry_text({ledger.network(), entry})},
             {"signatures", 1},
             {"needed", core_->overlay().ledger_sync().status().needed},
             {"next",
              "so many of the witnesses run `diot witness accept ENTRY --yes`, each on what the one before got; "
              "then one of them runs `diot witness change ENTRY`, in time for that block"}});
  core_->overlay().ledger_sync().submit(std::move(entry), [this, done](Result<std::uint64_t> height) {
    if (!height) return done(tl::unexpected(height.error()));
    auto list = witness_list();
    if (list) (*list)["height"] = *height;
    done(std::move(list));
  });
}

/// A change is decided by those in office; a succession waits until they were silent for long enough.
void Node::witness_change(const Json& args, std::function<void(Result<Json>)> done) {
  auto change = read_change(args, core_->ledger().network());
  if (!change) return done(tl::unexpected(change.error()));
  if (!std::holds_alternative<SuccessionBody>(change->body)) return handle_submit(args, std::move(done));
  const auto pending = core_->overlay().ledger_sync().succeed(change->text.entry);
  if (!pending) return done(tl::unexpected(pending.error()));
  store_->when_durable([this, done] {
    Json out{{"kind", "succession"},
             {"successions", succession_rows(core_->overlay().ledger_sync().successions(), core_->ledger())},
             {"next",
              "keep the new witnesses running: they vote by themselves when the time has come; `diot witness "
              "status` shows how far they are. A block of the old ones before then makes it void"}};
    done(std::move(out));
  });
}

Result<Json> Node::witness_justify(const Json& args) const {
  const auto height = args.at("height").get<std::uint64_t>();
  const auto& members = core_->ledger().witnesses_at(height).members;
  const auto row_of = [&](const Justification& justification) {
    Json prevotes = Json::array();
    for (const auto& [key, time, signature] : justification.prevotes) {
      const auto member = std::ranges::find(members, key, &Witness::key);
      const HandleRecord* home = member == members.end() ? nullptr : home_of(*member, core_->ledger());
      prevotes.push_back({{"handle", home ? Json(home->handle) : Json(nullptr)},
                          {"witness", key.hex()},
                          {"time_ms", time},
                          {"signature", signature.hex()}});
    }
    return Json{
        {"round", justification.round}, {"block", justification.block.hex()}, {"prevotes", std::move(prevotes)}};
  };
  Json rows = Json::array();
  const auto add = [&](ByteView, ByteView bytes) {
    const auto justification = decode_justification(bytes);
    if (justification && check_justification(*justification, core_->ledger().network()))
      rows.push_back(row_of(*justification));
    return true;
  };
  auto scanned = store_->scan(Table::meta, justification_key(height), justification_key(height + 1), add, {});
  if (!scanned) return tl::unexpected(scanned.error());
  return Json{{"height", height}, {"justifications", std::move(rows)}};
}

void Node::witness_resume(const Json& args, std::function<void(Result<Json>)> done) {
  const auto height = args.at("from-height").get<std::uint64_t>();
  if (!args.contains("yes"))
    return done(fail(Errc::not_permitted,
                     fmt::format("this witness votes again from block {} on: if it ever voted for that block or a "
                                 "later one, it may vote against itself, and is shown as a liar; say --yes if you know "
                                 "that it did not",
                                 height)));
  if (auto begun = core_->overlay().ledger_sync().let_witness_vote(height); !begun)
    return done(tl::unexpected(begun.error()));
  store_->when_durable([this, done] { done(witness_status()); });
}

}  // namespace diot
