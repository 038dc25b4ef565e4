#pragma once
// Entries: what changes the ledger (docs/protocol.md, "Entry"). Made and parsed here, judged by Ledger::check_entry.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/handle.hpp"
#include "core/ledger/invite.hpp"
#include "core/share.hpp"

namespace diot {

struct Registration {
  std::string handle;
  PublicKey owner;
  Hash next_key;
  NodeRoles nodes;  ///< make_register puts them in order
};
/// Signed by the owner key and by every node key in `nodes`. With an invite: its grant, and the token's signature.
/// In the genesis: no invite, zero network and checkpoint.
Bytes make_register(const Registration& what, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                    const std::vector<KeyPair>& node_keys, const Invite* invite);
/// Replaces nodes, persons and profile. `changed` is the current record, its version included, with these fields
/// changed (in any order). Signed by the owner key and by every node key that is new.
Bytes make_update(const HandleRecord& changed, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                  const std::vector<KeyPair>& new_node_keys);
/// Signed by an authorised node.
Bytes make_renew(const HandleRecord& current, const NetworkId& network, const Checkpoint& recent, const KeyPair& node);

struct RegisterBody {
  Registration what;
  Bytes grant;  ///< empty: none
  std::optional<Signature> token_signature;
};
struct UpdateBody {
  std::string handle;
  std::uint64_t version = 0;  ///< the one that this entry makes
  NodeRoles nodes;
  Persons persons;
  Hash profile;
};
struct RenewBody {
  std::string handle;
  std::uint64_t version = 0;
};

struct Entry {
  Checkpoint recent;
  std::variant<RegisterBody, UpdateBody, RenewBody> body;
  Bytes signed_bytes;
  std::vector<std::pair<PublicKey, Signature>> signatures;  ///< ascending by key; not checked yet
  Hash hash;                                                ///< leaf hash

  const std::string& handle() const;
};
/// Everything that can be said of an entry by itself, without its signatures: form, bounds, order, an admin among the
/// nodes. Errc::not_available for another version, suite, or a reserved kind.
Result<Entry> decode_entry(ByteView bytes);
/// What the invite's token signs, so that nobody who reads the ledger can spend the invite.
Bytes token_bytes(const Registration& what);

/// For people and JSON: what an entry says, without judging it.
struct EntryView {
  std::string kind;  ///< "register", "update", "renew"
  std::string handle;
  std::uint64_t version = 0;
  Checkpoint recent;
  std::string inviter;  ///< of a register entry with an invite
  std::vector<PublicKey> signers;
  Hash hash;  ///< leaf hash
};
Result<EntryView> describe_entry(ByteView entry);

}  // namespace diot
