#include "core/ledger/handle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/ledger/codec.hpp"
#include "core/topic.hpp"

namespace diot {

std::optional<Role> HandleRecord::role_of(const NodeId& node) const {
  const auto at = std::ranges::lower_bound(nodes, node, {}, &std::pair<NodeId, Role>::first);
  if (at == nodes.end() || at->first != node) return std::nullopt;
  return at->second;
}

Bytes encode_handle(const HandleRecord& record) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(12);
  out.uint(1);
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
  return bytes;
}

Result<HandleRecord> decode_handle(ByteView bytes) {
  PackReader in(bytes, 512);
  HandleRecord out;
  std::string error;
  in.array_of(12);
  if (in.uint() != 1 && in.ok())
    return fail(Errc::not_available, "a handle's record of another version: a newer diot may read it");
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
  if (!in.done() || !error.empty()) return fail(Errc::invalid, "malformed record of a handle");
  return out;
}

// A rule of the ledger: a change needs a new rules_version.
static constexpr std::array<std::string_view, 19> reserved = {
    // words of a share's policy, where they would be ambiguous among handles
    "all", "everyone", "local", "nobody", "none", "owner", "protected", "public", "secure", "totp", "trusted",
    // names that pass for the software, its operators or this machine
    "admin", "diot", "localhost", "root", "security", "support", "sys", "system"};

Result<void> check_registrable(std::string_view handle) {
  if (auto valid = check_handle(handle); !valid) return valid;
  if (std::ranges::find(reserved, handle) != reserved.end())
    return fail(Errc::invalid,
                fmt::format("'{}' is reserved and nobody's handle: choose another with --handle", handle));
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
