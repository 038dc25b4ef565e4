// The verbs about witnesses: who decides the ledger's blocks, and how that changes.

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/text.hpp"
#include "tools/app/handle_verbs.hpp"
#include "tools/app/ledger_alarms.hpp"
#include "tools/app/node.hpp"

namespace diot {

namespace {

/// An entry that changes the witnesses, as it went from hand to hand.
struct Change {
  EntryText text;
  WitnessSet witnesses;
  std::string kind;
  bool succession = false;
};
Result<Change> read_change(const Json& args, const NetworkId& network) {
  auto text = entry_text_for(network, args);
  if (!text) return tl::unexpected(text.error());
  const auto entry = decode_entry(text->entry);
  if (!entry) return tl::unexpected(entry.error());
  const std::string kind(kind_of(entry->body));
  if (const auto* change = std::get_if<WitnessChangeBody>(&entry->body))
    return Change{std::move(*text), change->witnesses, kind, false};
  if (const auto* succession = std::get_if<SuccessionBody>(&entry->body))
    return Change{std::move(*text), succession->witnesses, kind, true};
  return fail(Errc::invalid, fmt::format("the entry is about something else: it is a {}", kind));
}

}  // namespace

const KeyPair& Node::witness_key() const { return witness_key_ ? *witness_key_ : *node_key_; }

Json Node::witness_rows(const WitnessSet& set) const {
  Json out = Json::array();
  for (const auto& [key, node] : set.members) {
    const HandleRecord* handle = core_->ledger().handle_of(node);
    const bool ours = key == witness_key().public_key();
    out.push_back({{"handle", handle ? Json(handle->handle)
                              : ours ? Json(config_.handle)
                                     : Json(nullptr)},
                   {"node", node == NodeId{} ? Json(nullptr) : Json(to_display(node))},  // a genesis names none
                   {"key", key.hex()},
                   {"ours", ours},
                   {"lied", core_->ledger().network_record().liars.contains(key)}});
  }
  return out;
}

Result<Json> Node::witness_list() const {
  const auto& record = core_->ledger().network_record();
  Json out{{"epoch", record.epoch},
           {"trusted", !record.witnesses.is_solid()},
           {"succession", core_->ledger().genesis().succession.hex()}};
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
    if (member.node == NodeId{}) {
      if (member.key != witness_key().public_key())
        return fail(Errc::not_available, fmt::format("the genesis does not say on which node witness {}… runs: run "
                                                     "this there",
                                                     member.key.hex().substr(0, 16)));
      member.node = node_key_->node_id();
    }
    set.members.push_back(member);
  }
  for (const auto& name : args.value("remove", std::vector<std::string>{})) {
    const auto gone = std::erase_if(set.members, [&](const Witness& member) {
      const HandleRecord* handle = ledger.handle_of(member.node);
      return handle && handle->handle == name;
    });
    if (gone == 0) return fail(Errc::not_found, fmt::format("no witness runs at '{}'; see `diot witness list`", name));
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
  const bool joins = change->witnesses.has(key.public_key());
  const bool decides = ledger.network_record().witnesses.has(key.public_key());
  if (!joins && !decides)
    return done(
        fail(Errc::not_permitted, "the entry needs no signature of this home: it neither is nor becomes a witness"));
  if (!args.contains("yes")) {
    std::string who;
    for (const auto& row : witness_rows(change->witnesses))
      who += fmt::format("{}{}", who.empty() ? "" : ", ",
                         row["handle"].is_string() ? "@" + row["handle"].get<std::string>() : "somebody unknown");
    return done(fail(Errc::not_permitted,
                     fmt::format("this agrees to the witnesses {}{}; say --yes if that is what you want", who,
                                 joins && !decides ? ": this node takes part in every decision then, and should be up "
                                                     "and backed up by nothing but itself"
                                                   : "")));
  }
  auto entry = add_signature(change->text.entry, change->text.network, key);
  if (!entry) return done(tl::unexpected(entry.error()));
  // Its memory begins where it can have voted for nothing: a witness without one does not vote.
  if (joins && !decides)
    if (auto begun = core_->overlay().ledger_sync().let_witness_vote(ledger.head().height + 1); !begun)
      return done(tl::unexpected(begun.error()));
  store_->when_durable([entry = std::move(*entry), network = change->text.network, kind = change->kind, done] {
    done(Json{{"entry", encode_entry_text({network, entry})},
              {"kind", kind},
              {"signatures", decode_entry(entry)->signatures.size()}});
  });
}

/// A change is decided by those in office; a succession waits until they were silent for long enough.
void Node::witness_change(const Json& args, std::function<void(Result<Json>)> done) {
  auto change = read_change(args, core_->ledger().network());
  if (!change) return done(tl::unexpected(change.error()));
  if (!change->succession) return handle_submit(args, std::move(done));
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
