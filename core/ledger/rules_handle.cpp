// What may become of a handle that somebody owns. Each rule checks everything before it changes the draft.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/state.hpp"

namespace diot {

using ledger_codec::time_text;

namespace {

/// Of `nodes`, those whose consent is needed because they do not speak for the handle yet.
void require_new(std::set<PublicKey>& required, const NodeRoles& nodes, const HandleRecord& record) {
  for (const auto& [node, role] : nodes)
    if (!record.role_of(node)) required.insert(key_of(node));
}

/// The key among the signers that the ledger knows by its hash. So far only its owner has seen it, and it lies on no
/// gateway: a thief of the current key has not got it.
Result<PublicKey> next_key_among(const Entry& entry, const HandleRecord& record) {
  for (const auto& [key, signature] : entry.signatures)
    if (sha256(key) == record.next_key) return key;
  return fail(Errc::not_permitted, fmt::format("this takes the next key of '{}', which comes from its 24 words: its "
                                               "signature is missing",
                                               record.handle));
}

/// What the next key signs ends a recovery that could be cancelled, and has to wait for one that could not.
Result<void> end_recovery(HandleRecord& record) {
  if (record.recovery && !record.recovery->cancellable)
    return fail(Errc::not_permitted,
                fmt::format("the guardians of '{}' are giving it to another key, which happens at {} and cannot be "
                            "cancelled",
                            record.handle, time_text(record.recovery->due)));
  record.recovery.reset();
  return {};
}

}  // namespace

Result<void> LedgerDraft::add(const Entry& entry, const UpdateBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  if (auto free = check_nodes(body.handle, record->owner, body.nodes, &*record); !free) return free;
  std::set<PublicKey> required{record->owner};
  require_new(required, body.nodes, *record);
  if (auto signed_ = check_signatures(entry, required); !signed_) return signed_;
  if (auto within = spend(*record, Change::daily); !within) return within;

  record->version = body.version;
  record->nodes = body.nodes;
  record->persons = body.persons;
  record->profile = body.profile;
  set(std::move(*record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const RotateBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  if (sha256(body.owner) != record->next_key)
    return fail(
        Errc::not_permitted,
        fmt::format("the new owner key is not the next key of '{}': take the one that its 24 words give", body.handle));
  if (auto good = check_next_key(body.owner, body.next_key); !good) return good;
  if (auto free = check_nodes(body.handle, body.owner, record->nodes, &*record); !free) return free;
  if (auto ended = end_recovery(*record); !ended) return ended;
  if (auto signed_ = check_signatures(entry, {body.owner}); !signed_) return signed_;
  if (auto within = spend(*record, Change::grave); !within) return within;

  record->version = body.version;
  record->owner = body.owner;
  record->next_key = body.next_key;
  set(std::move(*record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const RenewBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  if (base_.genesis.lease_days == 0)
    return fail(Errc::invalid, "handles of this network have no lease: there is nothing to renew");
  const auto may = [&](const PublicKey& key) { return key == record->owner || record->role_of(NodeId(key.bytes)); };
  if (entry.signatures.size() != 1 || !may(entry.signatures[0].first))
    return fail(Errc::not_permitted,
                fmt::format("a renewal is signed by one node of '{}', or by its owner", body.handle));
  if (auto signed_ = check_signatures(entry, {entry.signatures[0].first}); !signed_) return signed_;
  if (auto within = spend(*record, Change::daily); !within) return within;

  record->version = body.version;
  record->lease_until = lease_until();
  set(std::move(*record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const TransferBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  const auto next = next_key_among(entry, *record);
  if (!next) return tl::unexpected(next.error());
  if (body.owner == record->owner || body.owner == *next)
    return fail(Errc::invalid, "a transfer is to a key of somebody else: for a new key of one's own there is rotate");
  if (auto good = check_next_key(body.owner, body.next_key); !good) return good;
  if (auto free = check_nodes(body.handle, body.owner, body.nodes, &*record); !free) return free;
  if (auto ended = end_recovery(*record); !ended) return ended;
  std::set<PublicKey> required{record->owner, *next, body.owner};
  require_new(required, body.nodes, *record);
  if (auto signed_ = check_signatures(entry, required); !signed_) return signed_;
  if (auto within = spend(*record, Change::grave); !within) return within;

  record->version = body.version;
  record->owner = body.owner;
  record->next_key = body.next_key;
  record->nodes = body.nodes;
  record->persons.clear();
  record->profile = {};
  record->guardians = {};
  set(std::move(*record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const RevokeNodeBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  if (!record->role_of(body.node))
    return fail(Errc::not_found, fmt::format("node {} does not speak for '{}'", to_display(body.node), body.handle));
  if (auto signed_ = check_signatures(entry, {record->owner}); !signed_) return signed_;
  if (auto within = spend(*record, Change::daily); !within) return within;

  auto cut_offs = cut_offs_.get(body.handle);
  Bytes bytes;
  PackWriter out(bytes);
  ledger_codec::write_cut_offs(out, body.cut_offs);
  record->version = body.version;
  std::erase_if(record->nodes, [&](const auto& node) { return node.first == body.node; });
  if (record->revoked.size() == limits::revocations_per_handle_max) {
    cut_offs.erase(record->revoked.front().node);
    record->revoked.erase(record->revoked.begin());
  }
  record->revoked.push_back({body.node, height(), sha256(bytes)});
  cut_offs[body.node] = body.cut_offs;
  cut_offs_.set(body.handle, std::move(cut_offs));
  set(std::move(*record));
  return {};
}

// Guardians --------------------------------------------------------------------------------------------------------

Result<void> LedgerDraft::add(const Entry& entry, const SetGuardiansBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  const auto next = next_key_among(entry, *record);
  if (!next) return tl::unexpected(next.error());
  Guardians guardians{body.threshold, {}};
  for (const auto& name : body.guardians) {
    if (name == body.handle) return fail(Errc::invalid, "a handle is no guardian of itself");
    const auto* guardian = find(name);
    if (!guardian || guardian->released != 0)
      return fail(Errc::not_found, fmt::format("there is no handle '{}' to be a guardian", name));
    guardians.who.push_back({name, guardian->register_entry});
  }
  if (auto ended = end_recovery(*record); !ended) return ended;
  if (auto signed_ = check_signatures(entry, {record->owner, *next}); !signed_) return signed_;
  if (auto within = spend(*record, Change::grave); !within) return within;

  record->version = body.version;
  record->guardians = std::move(guardians);
  set(std::move(*record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const RecoverBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  const auto threshold = record->guardians.threshold;
  if (threshold == 0)
    return fail(Errc::not_permitted,
                fmt::format("'{}' has no guardians: nobody can recover it but its 24 words", body.handle));
  std::set<PublicKey> required{body.owner};
  require_new(required, body.nodes, *record);
  std::size_t count = 0;
  for (const auto& guardian : record->guardians.who) {
    const auto* current = find(guardian.handle);
    if (!current || current->register_entry != guardian.register_entry || current->released != 0) continue;
    if (!entry.is_signed_by(current->owner)) continue;
    required.insert(current->owner);
    ++count;
  }
  if (count < threshold)
    return fail(Errc::not_permitted,
                fmt::format("{} of the guardians of '{}' have signed, {} are needed", count, body.handle, threshold));
  const bool cancellable = count == threshold && count < record->guardians.who.size();
  if (record->recovery && (cancellable || !record->recovery->cancellable))
    return fail(Errc::exists, fmt::format("a recovery of '{}' is under way, until {}", body.handle,
                                          time_text(record->recovery->due)));
  if (body.owner == record->owner || sha256(body.owner) == record->next_key)
    return fail(Errc::invalid, "a recovery is to a new key, not to one that the handle has");
  if (auto good = check_next_key(body.owner, body.next_key); !good) return good;
  if (auto free = check_nodes(body.handle, body.owner, body.nodes, &*record); !free) return free;
  if (auto signed_ = check_signatures(entry, required); !signed_) return signed_;
  if (auto within = spend(*record, Change::grave); !within) return within;

  const auto delay = static_cast<WallMs>(std::chrono::milliseconds(limits::recovery_delay).count());
  record->version = body.version;
  record->recovery = Recovery{body.owner, body.next_key, body.nodes, time_ + delay, cancellable};
  set(std::move(*record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const CancelRecoveryBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  if (!record->recovery) return fail(Errc::not_found, fmt::format("no recovery of '{}' is under way", body.handle));
  if (auto ended = end_recovery(*record); !ended) return ended;
  if (auto signed_ = check_signatures(entry, {record->owner}); !signed_) return signed_;
  if (auto within = spend(*record, Change::daily); !within) return within;

  record->version = body.version;
  set(std::move(*record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const ReleaseBody& body) {
  auto record = existing(body);
  if (!record) return tl::unexpected(record.error());
  const auto next = next_key_among(entry, *record);
  if (!next) return tl::unexpected(next.error());
  if (auto ended = end_recovery(*record); !ended) return ended;
  if (auto signed_ = check_signatures(entry, {record->owner, *next}); !signed_) return signed_;
  if (auto within = spend(*record, Change::grave); !within) return within;

  record->version = body.version;
  record->nodes.clear();
  record->persons.clear();
  record->guardians = {};
  record->released = time_;
  set(std::move(*record));
  return {};
}

}  // namespace diot
