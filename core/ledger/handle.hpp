#pragma once
// What the ledger says about a handle.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"

namespace diot {

enum class Role : std::uint8_t { member = 0, admin = 1 };

using NodeRoles = std::vector<std::pair<NodeId, Role>>;          ///< ascending by NodeId
using Persons = std::vector<std::pair<std::string, PublicKey>>;  ///< ascending by name

struct HandleRecord {
  std::string handle;
  Hash register_entry;  ///< leaf hash of the entry that registered it
  PublicKey owner;
  Hash next_key;  ///< SHA-256 of the pre-committed next owner key
  NodeRoles nodes;
  Persons persons;
  Hash profile;               ///< zero: none
  std::uint64_t version = 1;  ///< counts the handle's changes; each entry names the one it makes
  std::uint64_t height = 0;   ///< of the block that registered it
  WallMs registered = 0;      ///< block time
  WallMs lease_until = 0;     ///< block time; 0 = no lease

  std::optional<Role> role_of(const NodeId& node) const;
  bool operator==(const HandleRecord&) const = default;
};

/// The record as the map root covers it (docs/protocol.md, "Map root").
Bytes encode_handle(const HandleRecord& record);
/// Shape and bounds only.
Result<HandleRecord> decode_handle(ByteView bytes);

/// The form of a handle, and that it is none of the reserved ones (docs/protocol.md, "Entry").
Result<void> check_registrable(std::string_view handle);
/// `[a-z0-9-]{1,32}`, no hyphen first, last or doubled.
Result<void> check_person(std::string_view person);

}  // namespace diot
