#include "dht/handles.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/entry.hpp"
#include "core/ledger/provisional.hpp"

namespace diot {

static bool is_provisional(std::string_view name) { return name.find('~') != name.npos; }

const HandleRecord* KnownHandles::find(std::string_view name) const {
  const auto tilde = name.find('~');
  const HandleRecord* registered = ledger_.handle(name.substr(0, tilde));
  if (tilde == name.npos) return registered;
  if (registered && provisional_name(ledger_.network(), registered->handle, registered->register_entry) == name)
    return registered;
  const auto at = homes_.find(name);
  return at == homes_.end() ? nullptr : &at->second.record;
}

const HandleRecord* KnownHandles::of(const NodeId& node) const {
  if (const auto* record = ledger_.handle_of(node)) return record;
  const auto at = std::ranges::find_if(homes_, [&](const auto& each) { return each.second.node == node; });
  return at == homes_.end() ? nullptr : &at->second.record;
}

bool KnownHandles::speaks_for(const NodeId& node, std::string_view name) const {
  const HandleRecord* record = find(name);
  return record && record->role_of(node).has_value();
}

WriterRight KnownHandles::right_to_write(std::string_view name, const NodeId& writer, const ChannelId& channel) const {
  const HandleRecord* record = find(name);
  if (!record) return {};
  if (!is_provisional(record->handle)) return ledger_.right_to_write(record->handle, writer, channel);
  return {record->role_of(writer) ? WriterRight::Extent::all : WriterRight::Extent::nothing, {}};
}

bool KnownHandles::is_same(std::string_view a, std::string_view b) const {
  if (a == b) return true;
  if (!is_provisional(a) && !is_provisional(b)) return false;
  const HandleRecord* record = find(a);
  return record && record == find(b);
}

void KnownHandles::set_own(HandleRecord record) {
  forget_own();
  Home home;
  home.node = record.nodes.front().first;
  const auto name = record.handle;
  home.record = std::move(record);
  homes_.insert_or_assign(name, std::move(home));
}

void KnownHandles::forget_own() {
  std::erase_if(homes_, [](const auto& each) { return each.second.entry.empty(); });
}

Result<void> KnownHandles::has_room(const Home& home, std::uint32_t uses) const {
  const auto alike = std::ranges::count_if(
      homes_, [&](const auto& each) { return each.second.inviter == home.inviter && each.second.node != home.node; });
  const auto of_grant = std::ranges::count_if(
      homes_, [&](const auto& each) { return each.second.grant == home.grant && each.second.node != home.node; });
  if (!home.inviter.empty() && ledger_.uses_of(home.grant) + static_cast<std::uint64_t>(of_grant) >= uses)
    return fail(Errc::exists, "the invite is used up, by others that are not registered yet either");
  const auto most =
      home.inviter.empty() ? limits::provisional_homes_by_work_max : limits::provisional_homes_per_inviter_max;
  if (homes_.size() < limits::provisional_homes_max && static_cast<std::size_t>(alike) < most) return {};
  return fail(Errc::limit, "too many homes that are not registered yet are linked here");
}

Result<void> KnownHandles::take(ByteView bytes, const NodeId& node, WallMs wall, Monotonic now) {
  const auto entry = decode_entry(bytes);
  if (!entry) return tl::unexpected(entry.error());
  auto record = provisional_record(*entry, ledger_.network());
  if (!record) return tl::unexpected(record.error());
  // A node has one handle. Several nodes of one home do not come before it is registered.
  if (record->nodes.size() != 1 || record->nodes.front().first != node)
    return fail(Errc::not_permitted, "the register entry is not this node's own");
  const auto known = homes_.find(record->handle);
  if (known != homes_.end()) {
    known->second.linked = now;
    return {};
  }
  if (const auto* other = ledger_.handle_of(node))
    return fail(Errc::exists, fmt::format("this node speaks for @{} already", other->handle));
  Home home{std::move(*record), to_bytes(bytes), node, {}, {}, now};
  const auto grant = decode_grant(std::get<RegisterBody>(entry->body).grant);
  if (grant) home.inviter = grant->inviter, home.grant = grant->id;
  if (auto room = has_room(home, grant ? grant->uses : 0); !room) return room;
  if (auto good = ledger_.check_entry(bytes, wall, StampCheck::none); !good) return good;
  if (is_stamped(*entry)) {
    if (now - stamps_since_ >= std::chrono::minutes(1)) stamps_since_ = now, stamps_ = 0;
    if (stamps_ == limits::provisional_stamps_per_minute_max)
      return fail(Errc::limit, "too many homes that are not registered yet came within a minute");
    ++stamps_;
    if (auto good = ledger_.check_entry(bytes, wall); !good) return good;
  }
  std::erase_if(homes_, [&](const auto& each) { return each.second.node == node; });
  const auto name = home.record.handle;
  homes_.insert_or_assign(name, std::move(home));
  return {};
}

bool KnownHandles::holds_invite(ByteView bytes, const NodeId& node, WallMs wall) const {
  const auto entry = decode_entry(bytes);
  const auto* body = entry ? std::get_if<RegisterBody>(&entry->body) : nullptr;
  const auto grant = body ? decode_grant(body->grant) : tl::unexpected(Error{});
  if (!grant || !body->token_signature || grant->network != ledger_.network()) return false;
  const HandleRecord* inviter = ledger_.handle(grant->inviter);
  return inviter && inviter->role_of(grant->signer) == Role::admin && grant->expiry >= wall &&
         ledger_.uses_of(grant->id) < grant->uses && body->what.nodes.size() == 1 &&
         body->what.nodes.front().first == node &&
         verify(grant->token, *body->token_signature, "token", ledger_.network(), token_bytes(body->what));
}

void KnownHandles::ledger_changed(WallMs wall) {
  std::erase_if(homes_, [&](const auto& each) {
    const Home& home = each.second;
    if (home.entry.empty()) return false;
    const auto good = ledger_.check_entry(home.entry, wall, StampCheck::none);
    return !good && is_final(good.error());
  });
}

}  // namespace diot
