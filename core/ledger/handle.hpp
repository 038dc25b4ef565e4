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
#include "core/cursor.hpp"
#include "core/error.hpp"

namespace diot {

enum class Role : std::uint8_t { member = 0, admin = 1 };

using NodeRoles = std::vector<std::pair<NodeId, Role>>;          ///< ascending by NodeId
using Persons = std::vector<std::pair<std::string, PublicKey>>;  ///< ascending by name

/// Another handle that may help to win this one back.
struct Guardian {
  std::string handle;
  Hash register_entry;  ///< pins it: who registers the name anew is no guardian
  bool operator==(const Guardian&) const = default;
};
struct Guardians {
  std::uint32_t threshold = 0;  ///< so many of them can recover the handle
  std::vector<Guardian> who;    ///< ascending by handle
  bool operator==(const Guardians&) const = default;
};
/// What guardians have signed, and what happens when `due` comes.
struct Recovery {
  PublicKey owner;
  Hash next_key;
  NodeRoles nodes;
  WallMs due = 0;           ///< block time
  bool cancellable = true;  ///< not if all guardians signed, or more than the threshold
  bool operator==(const Recovery&) const = default;
};
/// Where a revoked node's log in one channel ends.
struct CutOff {
  ChannelId channel;
  Cursor last;  ///< the last record that counts, and the hash of the header that it ends
  bool operator==(const CutOff&) const = default;
};
using CutOffs = std::vector<CutOff>;  ///< ascending by channel
struct Revocation {
  NodeId node;
  std::uint64_t height = 0;  ///< of the block that revoked it
  Hash cut_offs;             ///< SHA-256 of them, as they stand in the entry
  bool operator==(const Revocation&) const = default;
};

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
  Guardians guardians;
  std::optional<Recovery> recovery;  ///< under way
  std::vector<Revocation> revoked;   ///< oldest first
  WallMs released = 0;               ///< block time; 0 = it is not

  /// From this block time on anybody may register the name; 0 = never.
  WallMs free_from() const;
  bool is_revoked(const NodeId& node) const;
  std::optional<Role> role_of(const NodeId& node) const;
  bool operator==(const HandleRecord&) const = default;
};

/// The record as the map root covers it (docs/protocol.md, "Map root").
Bytes encode_handle(const HandleRecord& record);
/// Shape and bounds only.
Result<HandleRecord> decode_handle(ByteView bytes);

/// The names that look alike have one skeleton, and only one of them can be registered: without hyphens, 0 as o, 1 and
/// i as l, rn as m, vv as w.
std::string skeleton_of(std::string_view handle);
/// The form of a handle, and that it neither is nor looks like a reserved one (docs/protocol.md, "Entry").
Result<void> check_registrable(std::string_view handle);
/// `[a-z0-9-]{1,32}`, no hyphen first, last or doubled.
Result<void> check_person(std::string_view person);

}  // namespace diot
