#include "core/ledger/state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"

namespace diot {

using ledger_codec::time_text;

static constexpr NetworkId no_network{};

static constexpr WallMs ms_of(std::chrono::milliseconds span) { return static_cast<WallMs>(span.count()); }

LedgerState::LedgerState(Genesis from, const NetworkId& id, const Hash& genesis_hash)
    : genesis(std::move(from)), network(id), blocks{{genesis_hash, genesis.time}} {}

// Looking things up, in the draft first --------------------------------------------------------------------------

const NetworkId& LedgerDraft::network() const { return founding() ? no_network : base_.network; }

const HandleRecord* LedgerDraft::find(std::string_view handle) const {
  if (const auto at = handles_.find(handle); at != handles_.end()) return &at->second;
  const auto at = base_.handles.find(handle);
  return at == base_.handles.end() ? nullptr : &at->second;
}

std::string_view LedgerDraft::handle_of(const NodeId& node) const {
  if (const auto at = of_node_.find(node); at != of_node_.end()) return at->second;
  const auto at = base_.of_node.find(node);
  return at == base_.of_node.end() ? std::string_view{} : at->second->handle;
}

std::uint32_t LedgerDraft::uses_of(const PublicKey& token) const {
  if (const auto at = token_uses_.find(token); at != token_uses_.end()) return at->second;
  const auto at = base_.token_uses.find(token);
  return at == base_.token_uses.end() ? 0 : at->second;
}

const std::vector<WallMs>& LedgerDraft::invited_by(const std::string& inviter) const {
  static const std::vector<WallMs> none;
  if (const auto at = invited_.find(inviter); at != invited_.end()) return at->second;
  const auto at = base_.invited.find(inviter);
  return at == base_.invited.end() ? none : at->second;
}

WallMs LedgerDraft::lease_until() const {
  const auto days = base_.genesis.lease_days;
  return days == 0 ? 0 : time_ + ms_of(std::chrono::hours(24)) * days;
}

// Rules ----------------------------------------------------------------------------------------------------------

Result<void> LedgerDraft::add(const Entry& entry) {
  if (auto recent = check_recent(entry.recent); !recent) return recent;
  return std::visit([&](const auto& body) { return add(entry, body); }, entry.body);
}

/// An entry names a block of this very chain, so that it counts in no other, and an old one cannot come back for ever.
/// A block's age counts from when the next one followed it: the newest block is recent however long nothing happened.
Result<void> LedgerDraft::check_recent(const Checkpoint& recent) const {
  if (founding()) {
    if (recent == Checkpoint{}) return {};
    return fail(Errc::invalid, "a founding entry names no checkpoint");
  }
  if (recent.height >= base_.blocks.size() || base_.blocks[recent.height].hash != recent.block)
    return fail(Errc::invalid,
                fmt::format("the entry names block {}, which is not in this ledger: it was made for another "
                            "network, or from a ledger that is ahead of this one",
                            recent.height));
  if (recent.height < base_.height() &&
      base_.blocks[recent.height + 1].time + ms_of(limits::entry_checkpoint_age_max) < time_)
    return fail(
        Errc::invalid,
        fmt::format("the entry is too old: it was made at block {}, over 14 days ago; make it again", recent.height));
  return {};
}

Result<void> LedgerDraft::check_signatures(const Entry& entry, const std::set<PublicKey>& required) const {
  for (const auto& [key, signature] : entry.signatures)
    if (!required.contains(key))
      return fail(Errc::not_permitted,
                  fmt::format("the entry is signed by {}…, which has no say in it", key.hex().substr(0, 16)));
  if (entry.signatures.size() != required.size()) {
    const auto missing = std::ranges::find_if(required, [&](const auto& key) {
      return std::ranges::find(entry.signatures, key, &std::pair<PublicKey, Signature>::first) ==
             entry.signatures.end();
    });
    return fail(Errc::not_permitted, fmt::format("the signature of {}… is missing", missing->hex().substr(0, 16)));
  }
  for (const auto& [key, signature] : entry.signatures)
    if (!verify(key, signature, "entry", network(), entry.signed_bytes))
      return fail(Errc::invalid, fmt::format("the signature of {}… is wrong", key.hex().substr(0, 16)));
  return {};
}

Result<void> LedgerDraft::check_nodes(const std::string& handle, const PublicKey& owner, const NodeRoles& nodes) const {
  for (const auto& [node, role] : nodes) {
    if (key_of(node) == owner)
      return fail(Errc::invalid, "the owner key is also a node's: whoever steals that gateway would own the handle");
    const auto other = handle_of(node);
    if (!other.empty() && other != handle)
      return fail(Errc::not_permitted,
                  fmt::format("node {} speaks for '{}' already, and a node has one handle: remove it "
                              "there first, or make a new node key",
                              to_display(node), other));
  }
  return {};
}

Result<Grant> LedgerDraft::check_grant(const RegisterBody& body) const {
  if (body.grant.empty())
    return fail(Errc::not_permitted,
                "this network is by invitation: ask somebody in it for an invite (`diot invite`), then "
                "`diot join` with it");
  auto grant = decode_grant(body.grant);
  if (!grant) return grant;
  if (grant->network != base_.network) return fail(Errc::not_permitted, "the invite is for another network");
  const auto* inviter = find(grant->inviter);
  if (!inviter)
    return fail(Errc::not_permitted, fmt::format("the invite is by '{}', whom nobody knows", grant->inviter));
  if (inviter->role_of(grant->signer) != Role::admin)
    return fail(Errc::not_permitted,
                fmt::format("the invite is signed by node {}, which is no admin of '{}' (any more): "
                            "ask for a new one",
                            to_display(grant->signer), grant->inviter));
  if (grant->pinned.height >= base_.blocks.size() || base_.blocks[grant->pinned.height].hash != grant->pinned.block)
    return fail(Errc::invalid,
                fmt::format("the invite names block {}, which is not in this ledger", grant->pinned.height));
  if (grant->expiry < time_)
    return fail(Errc::not_permitted, fmt::format("the invite expired at {}: ask {} for a new one",
                                                 time_text(grant->expiry), grant->inviter));
  if (!verify(grant->token, *body.token_signature, "token", base_.network, token_bytes(body.what)))
    return fail(Errc::not_permitted, "the invite's token has not signed this registration");
  if (const auto uses = uses_of(grant->token); uses >= grant->uses)
    return fail(Errc::exists, fmt::format("the invite is used up ({} of {}): ask {} for a new one", uses, grant->uses,
                                          grant->inviter));
  const auto& times = invited_by(grant->inviter);
  const auto window = ms_of(limits::registrations_window);
  if (times.size() == limits::registrations_per_inviter_max && times.front() + window > time_)
    return fail(Errc::limit,
                fmt::format("'{}' has let in {} homes within 30 days, the most a handle may: wait until {}, or "
                            "ask somebody else for an invite",
                            grant->inviter, times.size(), time_text(times.front() + window)));
  return grant;
}

Result<void> LedgerDraft::add(const Entry& entry, const RegisterBody& body) {
  const auto& what = body.what;
  if (auto valid = check_registrable(what.handle); !valid) return valid;
  if (const auto* taken = find(what.handle))
    return fail(Errc::exists, fmt::format("handle '{}' is taken (registered in block {}): choose another with --handle",
                                          what.handle, taken->height));
  if (what.next_key.is_zero() || what.next_key == sha256(what.owner))
    return fail(Errc::invalid,
                "the next-key hash is not that of another key: the handle could never be given a new one");
  if (auto free = check_nodes(what.handle, what.owner, what.nodes); !free) return free;
  std::optional<Grant> grant;
  if (founding()) {
    if (!body.grant.empty()) return fail(Errc::invalid, "a founding entry needs no invite");
  } else {
    auto checked = check_grant(body);
    if (!checked) return tl::unexpected(checked.error());
    grant = std::move(*checked);
  }
  std::set<PublicKey> required{what.owner};
  for (const auto& [node, role] : what.nodes) required.insert(key_of(node));
  if (auto signed_ = check_signatures(entry, required); !signed_) return signed_;

  HandleRecord record;
  record.handle = what.handle;
  record.register_entry = entry.hash;
  record.owner = what.owner;
  record.next_key = what.next_key;
  record.nodes = what.nodes;
  record.height = base_.height() + 1;
  record.registered = time_;
  record.lease_until = lease_until();
  set(std::move(record));
  if (grant) {
    token_uses_[grant->token] = uses_of(grant->token) + 1;
    auto times = invited_by(grant->inviter);
    if (times.size() == limits::registrations_per_inviter_max) times.erase(times.begin());
    times.push_back(time_);
    invited_[grant->inviter] = std::move(times);
  }
  return {};
}

Result<const HandleRecord*> LedgerDraft::existing(const std::string& handle, std::uint64_t version) const {
  if (founding()) return fail(Errc::invalid, "a founding entry registers a handle");
  const auto* record = find(handle);
  if (!record) return fail(Errc::not_found, fmt::format("there is no handle '{}'", handle));
  if (version != record->version + 1)
    return fail(Errc::invalid,
                fmt::format("the entry makes version {} of '{}', which is at version {}: another change came "
                            "first, or this one is there already",
                            version, handle, record->version));
  return record;
}

Result<void> LedgerDraft::add(const Entry& entry, const UpdateBody& body) {
  const auto current = existing(body.handle, body.version);
  if (!current) return tl::unexpected(current.error());
  auto record = **current;
  if (auto free = check_nodes(body.handle, record.owner, body.nodes); !free) return free;
  std::set<PublicKey> required{record.owner};
  for (const auto& [node, role] : body.nodes)
    if (!record.role_of(node)) required.insert(key_of(node));
  if (auto signed_ = check_signatures(entry, required); !signed_) return signed_;

  for (const auto& [node, role] : record.nodes) of_node_[node].clear();
  record.version = body.version;
  record.nodes = body.nodes;
  record.persons = body.persons;
  record.profile = body.profile;
  set(std::move(record));
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const RenewBody& body) {
  const auto current = existing(body.handle, body.version);
  if (!current) return tl::unexpected(current.error());
  if (base_.genesis.lease_days == 0)
    return fail(Errc::invalid, "handles of this network have no lease: there is nothing to renew");
  auto record = **current;
  if (entry.signatures.size() != 1 || !record.role_of(NodeId(entry.signatures[0].first.bytes)))
    return fail(Errc::not_permitted, fmt::format("a renewal is signed by one node of '{}'", body.handle));
  if (auto signed_ = check_signatures(entry, {entry.signatures[0].first}); !signed_) return signed_;

  record.version = body.version;
  record.lease_until = lease_until();
  set(std::move(record));
  return {};
}

// Changing -------------------------------------------------------------------------------------------------------

void LedgerDraft::set(HandleRecord record) {
  for (const auto& [node, role] : record.nodes) of_node_[node] = record.handle;
  auto handle = record.handle;
  handles_.insert_or_assign(std::move(handle), std::move(record));
}

void LedgerDraft::commit(LedgerState& state) {
  for (auto& [handle, record] : handles_) state.handles.insert_or_assign(handle, std::move(record));
  for (const auto& [node, handle] : of_node_) {
    if (handle.empty())
      state.of_node.erase(node);
    else
      state.of_node[node] = &state.handles.find(handle)->second;
  }
  for (const auto& [token, uses] : token_uses_) state.token_uses[token] = uses;
  for (auto& [inviter, times] : invited_) state.invited.insert_or_assign(inviter, std::move(times));
}

}  // namespace diot
