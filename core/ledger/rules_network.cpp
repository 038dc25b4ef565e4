// What may become of the network: its witnesses and its rules.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/ledger/block.hpp"
#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/state.hpp"
#include "core/ledger/work_stamp.hpp"

namespace diot {

using ledger_codec::time_text;

Result<void> LedgerDraft::check_epoch(std::uint64_t epoch) const {
  if (founding()) return fail(Errc::invalid, "a founding entry registers a handle");
  if (epoch != record_.epoch + 1)
    return fail(Errc::invalid, fmt::format("the entry makes epoch {} of the network, which is in epoch {}: another "
                                           "change came first, or this one is there already",
                                           epoch, record_.epoch));
  return {};
}

Result<void> LedgerDraft::check_members(const WitnessSet& witnesses) {
  if (base_.genesis.admission == Admission::open && witnesses.fragile)
    return fail(Errc::not_permitted, "a network that is open to everybody has 4 or more witnesses");
  for (const auto& [key, node] : witnesses.members)
    if (handle_of(node).empty())
      return fail(Errc::not_permitted, fmt::format("witness {}… is to run on node {}, which speaks for no handle",
                                                   key.hex().substr(0, 16), to_display(node)));
  return {};
}

/// The witnesses of now that have signed: more than two thirds of them, else an error.
Result<std::set<PublicKey>> LedgerDraft::quorum_of(const Entry& entry) const {
  std::set<PublicKey> out;
  for (const auto& [key, node] : record_.witnesses.members)
    if (entry.is_signed_by(key)) out.insert(key);
  if (!is_quorum(out.size(), record_.witnesses.members.size()))
    return fail(Errc::not_permitted, fmt::format("{} of {} witnesses have signed, more than two thirds are needed",
                                                 out.size(), record_.witnesses.members.size()));
  return out;
}

Result<void> LedgerDraft::add(const Entry& entry, const WitnessChangeBody& body) {
  if (auto follows = check_epoch(body.epoch); !follows) return follows;
  if (record_.next_set)
    return fail(Errc::exists,
                fmt::format("new witnesses begin with block {}: change them after it", record_.next_set->height));
  if (auto members = check_members(body.witnesses); !members) return members;
  auto required = quorum_of(entry);
  if (!required) return tl::unexpected(required.error());
  for (const auto& [key, node] : body.witnesses.members) required->insert(key);
  if (auto signed_ = check_signatures(entry, *required); !signed_) return signed_;

  record_.epoch = body.epoch;
  record_.next_set = NetworkRecord::NextSet{height() + 2, body.witnesses};
  return {};
}

/// The succession key, which the genesis names by its hash, and every new witness.
static Result<void> check_succession_signatures(const Entry& entry, const SuccessionBody& body,
                                                const LedgerState& state) {
  std::set<PublicKey> required;
  for (const auto& [key, signature] : entry.signatures)
    if (sha256(key) == state.genesis.succession) required.insert(key);
  if (required.empty()) return fail(Errc::not_permitted, "the signature of the network's succession key is missing");
  for (const auto& [key, node] : body.witnesses.members) required.insert(key);
  return check_signatures(entry, required, state.network);
}

static constexpr auto silence_ms = static_cast<WallMs>(std::chrono::milliseconds(limits::succession_silence).count());

/// The block time of a ledger whose witnesses are gone stands still: no block, no time. So the silence is counted from
/// the last block that they made, which the entry must name, to the time of the block that the new ones make of the
/// entry. A node takes no block from the future, so three days have to pass by its own clock as well. If the old
/// witnesses make any block meanwhile (they do so every hour while they live), the entry names a block that is the
/// newest no more, and is void.
Result<void> LedgerDraft::add(const Entry& entry, const SuccessionBody& body) {
  if (auto follows = check_epoch(body.epoch); !follows) return follows;
  if (entries_ > 0) return fail(Errc::invalid, "a succession stands alone in its block");
  if (entry.recent.height != base_.height())
    return fail(
        Errc::not_permitted,
        fmt::format("the succession is void: it was made at block {}, and the witnesses have made block {} since",
                    entry.recent.height, base_.height()));
  if (time_ < base_.head().time + silence_ms)
    return fail(Errc::not_permitted, fmt::format("the witnesses can be replaced once they have been silent for 72 "
                                                 "hours, from {} on",
                                                 time_text(base_.head().time + silence_ms)));
  if (auto members = check_members(body.witnesses); !members) return members;
  if (auto signed_ = check_succession_signatures(entry, body, base_); !signed_) return signed_;

  replaced_ = record_.witnesses;
  record_.epoch = body.epoch;
  record_.witnesses = body.witnesses;
  record_.next_set.reset();
  new_witnesses_[height()] = body.witnesses;
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const UpgradeBody& body) {
  if (auto follows = check_epoch(body.epoch); !follows) return follows;
  if (body.rules_version < record_.rules_version)
    return fail(Errc::invalid, fmt::format("rules version {} is older than version {}, which is in force",
                                           body.rules_version, record_.rules_version));
  if ((body.rules_version & test_rules) != (record_.rules_version & test_rules))
    return fail(Errc::not_permitted, "a network is for tests from its genesis on, or never");
  if (body.height < height() + 2)
    return fail(Errc::invalid, fmt::format("new rules can begin with block {} at the earliest", height() + 2));
  const auto required = quorum_of(entry);
  if (!required) return tl::unexpected(required.error());
  if (auto signed_ = check_signatures(entry, *required); !signed_) return signed_;

  record_.epoch = body.epoch;
  record_.next_rules.reset();
  if (body.rules_version != record_.rules_version)
    record_.next_rules = NetworkRecord::NextRules{body.height, body.rules_version};
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const EvidenceBody& body) {
  if (founding()) return fail(Errc::invalid, "a founding entry registers a handle");
  const auto& proof = body.proof;
  const auto name = proof.witness.hex().substr(0, 16) + "…";
  const auto at = proof.first.height;
  if (at > height()) return fail(Errc::invalid, fmt::format("nobody votes for block {} yet", at));
  const auto witnesses = base_.witnesses_at(at).keys();
  if (std::ranges::find(witnesses, proof.witness) == witnesses.end())
    return fail(Errc::invalid, fmt::format("{} was no witness of block {}", name, at));
  if (record_.liars.contains(proof.witness))
    return fail(Errc::exists, fmt::format("that witness {} lied is known already", name));
  if (entry.signatures.size() != 1 || handle_of(NodeId(entry.signatures[0].first.bytes)).empty())
    return fail(Errc::not_permitted, "evidence is signed by one node of this network");
  if (auto signed_ = check_signatures(entry, {entry.signatures[0].first}); !signed_) return signed_;
  if (auto proven = check_double_vote(proof, base_.network); !proven) return proven;

  record_.liars[proof.witness] = entry.hash;
  return {};
}

Result<void> check_rival_succession(const BlockView& rival, const Entry& entry, const SuccessionBody& body,
                                    const LedgerState& state) {
  const auto& before = state.blocks[rival.header.height - 1];
  if (entry.recent != Checkpoint{rival.header.height - 1, before.hash} || rival.header.time < before.time + silence_ms)
    return fail(Errc::invalid, "its succession does not follow 72 hours of silence");
  return check_succession_signatures(entry, body, state);
}

}  // namespace diot
