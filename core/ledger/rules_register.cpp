// Who gets in, and under which name.

#include <fmt/format.h>

#include <chrono>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/state.hpp"
#include "core/ledger/work_stamp.hpp"

namespace diot {

using ledger_codec::time_text;

static constexpr WallMs window_ms =
    static_cast<WallMs>(std::chrono::milliseconds(limits::registrations_window).count());

Result<Grant> LedgerDraft::check_grant(const RegisterBody& body) {
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
  const auto fresh = check_age(grant->pinned, limits::grant_checkpoint_age_max);
  if (!fresh && fresh.error().code == Errc::not_found)
    return fail(Errc::invalid,
                fmt::format("the invite names block {}, which is not in this ledger", grant->pinned.height));
  if (!fresh)
    return fail(Errc::not_permitted,
                fmt::format("the invite was made at block {}, over 30 days ago: ask {} for a new one",
                            grant->pinned.height, grant->inviter));
  if (grant->expiry < time_)
    return fail(Errc::not_permitted, fmt::format("the invite expired at {}: ask {} for a new one",
                                                 time_text(grant->expiry), grant->inviter));
  if (!verify(grant->token, *body.token_signature, "token", base_.network, token_bytes(body.what)))
    return fail(Errc::not_permitted, "the invite's token has not signed this registration");
  if (grant->uses == 0) return fail(Errc::not_permitted, "this invite pays for no registration: it takes a work stamp");
  if (const auto uses = grant_uses_.get(grant->id); uses >= grant->uses)
    return fail(Errc::exists, fmt::format("the invite is used up ({} of {}): ask {} for a new one", uses, grant->uses,
                                          grant->inviter));
  const auto times = invited_.get(grant->inviter);
  if (times.size() == limits::registrations_per_inviter_max && times.front() + window_ms > time_)
    return fail(Errc::limit,
                fmt::format("'{}' has let in {} homes within 30 days, the most a handle may: wait until {}, or "
                            "ask somebody else for an invite",
                            grant->inviter, times.size(), time_text(times.front() + window_ms)));
  return grant;
}

/// After everything else, as it costs the most.
Result<void> LedgerDraft::check_work(const Entry& entry, const RegisterBody& body) {
  if (stamped_ == limits::stamped_per_block_max || stamp_checks_ == 2 * limits::stamped_per_block_max)
    return fail(Errc::limit, fmt::format("a block takes {} registrations without an invite: hand the entry in again "
                                         "after it",
                                         limits::stamped_per_block_max));
  if (!good_stamps_ || good_stamps_->contains(entry.hash)) return {};
  ++stamp_checks_;  // also of those that turn out bad, so that they cannot keep a proposer busy for long
  const auto good =
      check_stamp(*body.stamp, body.what, base_.network, entry.recent, work_rules(base_.record.rules_version));
  if (!good) return tl::unexpected(good.error());
  if (!*good) return fail(Errc::not_permitted, "the work stamp is not one for this registration");
  good_stamps_->add(entry.hash);
  return {};
}

Result<void> LedgerDraft::add(const Entry& entry, const RegisterBody& body) {
  const auto& what = body.what;
  if (auto valid = check_registrable(what.handle); !valid) return valid;
  if (const auto* taken = find(what.handle)) {
    if (taken->released != 0)
      return fail(Errc::exists, fmt::format("handle '{}' was given up, and is free from {} on: choose another with "
                                            "--handle",
                                            what.handle, time_text(taken->free_from())));
    return fail(Errc::exists, fmt::format("handle '{}' is taken (registered in block {}): choose another with --handle",
                                          what.handle, taken->height));
  }
  if (const auto* alike = looks_.find(skeleton_of(what.handle)))
    if (const auto* other = find(std::string(*alike)))
      return fail(Errc::exists, fmt::format("handle '{}' looks too much like '{}', which is taken: choose another with "
                                            "--handle",
                                            what.handle, other->handle));
  if (auto good = check_next_key(what.owner, what.next_key); !good) return good;
  if (auto free = check_nodes(what.handle, what.owner, what.nodes, nullptr); !free) return free;
  std::optional<Grant> grant;
  if (founding()) {
    if (!body.grant.empty() || body.stamp) return fail(Errc::invalid, "a founding entry needs no invite");
  } else if (!body.grant.empty()) {
    auto checked = check_grant(body);
    if (!checked) return tl::unexpected(checked.error());
    grant = std::move(*checked);
  } else if (base_.genesis.admission != Admission::open) {
    return fail(Errc::not_permitted,
                "this network is by invitation: ask somebody in it for an invite (`diot invite`), then "
                "`diot join` with it");
  } else if (!body.stamp) {
    return fail(Errc::not_permitted, "a registration needs an invite, or a work stamp in its place");
  }
  std::set<PublicKey> required{what.owner};
  for (const auto& [node, role] : what.nodes) required.insert(key_of(node));
  if (auto signed_ = check_signatures(entry, required); !signed_) return signed_;
  if (body.stamp)
    if (auto worked = check_work(entry, body); !worked) return worked;

  HandleRecord record;
  record.handle = what.handle;
  record.register_entry = entry.hash;
  record.owner = what.owner;
  record.next_key = what.next_key;
  record.nodes = what.nodes;
  record.height = height();
  record.registered = time_;
  record.lease_until = lease_until();
  set(std::move(record));
  if (body.stamp) ++stamped_;
  if (grant) {
    grant_uses_.set(grant->id, grant_uses_.get(grant->id) + 1);
    auto times = invited_.get(grant->inviter);
    if (times.size() == limits::registrations_per_inviter_max) times.erase(times.begin());
    times.push_back(time_);
    invited_.set(grant->inviter, std::move(times));
  }
  return {};
}

}  // namespace diot
