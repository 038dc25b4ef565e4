#include "core/ledger/handle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/topic.hpp"

namespace diot {

std::optional<Role> HandleRecord::role_of(const NodeId& node) const {
  const auto at = std::ranges::lower_bound(nodes, node, {}, &std::pair<NodeId, Role>::first);
  if (at == nodes.end() || at->first != node) return std::nullopt;
  return at->second;
}

WallMs HandleRecord::free_from() const {
  const auto end = released != 0 ? released : lease_until;
  return end == 0 ? 0 : end + static_cast<WallMs>(std::chrono::milliseconds(limits::grace_period).count());
}

bool HandleRecord::is_revoked(const NodeId& node) const {
  return std::ranges::find(revoked, node, &Revocation::node) != revoked.end();
}

Bytes encode_handle(const HandleRecord& record) {
  // Most records have none of what version 2 adds, and stay in the short form.
  const bool plain = record.guardians.who.empty() && !record.recovery && record.revoked.empty() && record.released == 0;
  Bytes bytes;
  PackWriter out(bytes);
  out.array(plain ? 12 : 16);
  out.uint(plain ? 1 : 2);
  out.str(record.handle);
  out.bin(record.register_entry);
  out.bin(record.owner);
  out.bin(record.next_key);
  ledger_codec::write_nodes(out, record.nodes);
  ledger_codec::write_persons(out, record.persons);
  out.bin(record.profile);
  out.uint(record.version);
  out.uint(record.height);
  out.uint(record.registered);
  out.uint(record.lease_until);
  if (plain) return bytes;
  out.array(2);
  out.uint(record.guardians.threshold);
  out.array(record.guardians.who.size());
  for (const auto& guardian : record.guardians.who) {
    out.array(2);
    out.str(guardian.handle);
    out.bin(guardian.register_entry);
  }
  if (const auto& recovery = record.recovery) {
    out.array(5);
    out.bin(recovery->owner);
    out.bin(recovery->next_key);
    ledger_codec::write_nodes(out, recovery->nodes);
    out.uint(recovery->due);
    out.uint(recovery->cancellable);
  } else {
    out.nil();
  }
  out.array(record.revoked.size());
  for (const auto& revocation : record.revoked) {
    out.array(3);
    out.bin(revocation.node);
    out.uint(revocation.height);
    out.bin(revocation.cut_offs);
  }
  out.uint(record.released);
  return bytes;
}

static void read_version_2(PackReader& in, HandleRecord& out, std::string& error) {
  in.array_of(2);
  out.guardians.threshold = static_cast<std::uint32_t>(in.uint(limits::guardians_per_handle_max));
  for (auto left = in.array(limits::guardians_per_handle_max); left > 0 && in.ok(); --left) {
    in.array_of(2);
    auto& guardian = out.guardians.who.emplace_back();
    guardian.handle = in.str(64);
    guardian.register_entry = in.id<Hash>();
  }
  if (!in.nil()) {
    in.array_of(5);
    auto& recovery = out.recovery.emplace();
    recovery.owner = in.id<PublicKey>();
    recovery.next_key = in.id<Hash>();
    recovery.nodes = ledger_codec::read_nodes(in, error);
    recovery.due = in.uint();
    recovery.cancellable = in.uint(1) != 0;
  }
  for (auto left = in.array(limits::revocations_per_handle_max); left > 0 && in.ok(); --left) {
    in.array_of(3);
    auto& revocation = out.revoked.emplace_back();
    revocation.node = in.id<NodeId>();
    revocation.height = in.uint();
    revocation.cut_offs = in.id<Hash>();
  }
  out.released = in.uint();
}

Result<HandleRecord> decode_handle(ByteView bytes) {
  PackReader in(bytes, 2048);
  HandleRecord out;
  std::string error;
  const auto members = in.array(16);
  const auto version = in.uint();
  if (in.ok() && (version < 1 || version > 2))
    return fail(Errc::not_available, fmt::format("a handle's record of version {}: a newer diot may read it", version));
  out.handle = in.str(64);
  out.register_entry = in.id<Hash>();
  out.owner = in.id<PublicKey>();
  out.next_key = in.id<Hash>();
  out.nodes = ledger_codec::read_nodes(in, error);
  out.persons = ledger_codec::read_persons(in, error);
  out.profile = in.id<Hash>();
  out.version = in.uint();
  out.height = in.uint();
  out.registered = in.uint();
  out.lease_until = in.uint();
  if (version == 2) read_version_2(in, out, error);
  // One way to write it: what says nothing in version 2 is written in version 1.
  if (!in.done() || members != (version == 1 ? 12 : 16) || encode_handle(out) != to_bytes(bytes))
    return fail(Errc::invalid, "malformed record of a handle");
  return out;
}

// A rule of the ledger: a change needs a new rules_version.
static constexpr auto reserved = std::to_array<std::string_view>(
    {// words of a share's policy, where they would be ambiguous among handles
     "all", "everyone", "local", "nobody", "none", "owner", "protected", "public", "secure", "totp", "trusted",
     // names that pass for the software, its operators or this machine
     "admin", "administrator", "diot", "help", "localhost", "mqtt", "official", "operator", "registrar", "root",
     "security", "support", "sys", "system", "witness"});

std::string skeleton_of(std::string_view handle) {
  std::string out;
  for (const char c : handle) {
    if (c == '-') continue;
    out += c == '0' ? 'o' : c == '1' || c == 'i' ? 'l' : c;
    if (out.ends_with("rn"))
      out.replace(out.size() - 2, 2, "m");
    else if (out.ends_with("vv"))
      out.replace(out.size() - 2, 2, "w");
  }
  return out;
}

Result<void> check_registrable(std::string_view handle) {
  if (auto valid = check_handle(handle); !valid) return valid;
  const auto skeleton = skeleton_of(handle);
  for (const auto word : reserved) {
    if (handle == word)
      return fail(Errc::invalid,
                  fmt::format("'{}' is reserved and nobody's handle: choose another with --handle", handle));
    if (skeleton == skeleton_of(word))
      return fail(Errc::invalid, fmt::format("'{}' looks like '{}', which is reserved and nobody's handle: choose "
                                             "another with --handle",
                                             handle, word));
  }
  return {};
}

Result<void> check_person(std::string_view person) {
  const bool form =
      !person.empty() && person.size() <= 32 && person.front() != '-' && person.back() != '-' &&
      person.find("--") == person.npos &&
      std::ranges::all_of(person, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (!form)
    return fail(Errc::invalid, "a person's name has 1 to 32 of a-z, 0-9 and '-', no hyphen first, last or doubled");
  return {};
}

}  // namespace diot
