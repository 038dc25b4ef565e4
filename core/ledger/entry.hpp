#pragma once
// Entries: what changes the ledger (docs/protocol.md, "Entry"). Made and parsed here, judged by Ledger::check_entry.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/handle.hpp"
#include "core/ledger/invite.hpp"
#include "core/ledger/vote.hpp"
#include "core/ledger/witness.hpp"
#include "core/share.hpp"

namespace diot {

// What an entry says. Lists are in any order when an entry is made, and in order once it is read. ------------------

struct Registration {
  std::string handle;
  PublicKey owner;
  Hash next_key;
  NodeRoles nodes;
};
struct RegisterBody {
  Registration what;
  Bytes grant;                               ///< empty: none
  std::optional<Signature> token_signature;  ///< with a grant
  std::optional<std::uint64_t> stamp;        ///< without one, where admission is open (core/ledger/work_stamp.hpp)
};

/// A change of a handle.
struct HandleChange {
  std::string handle;
  std::uint64_t version = 0;  ///< the one that this entry makes
};
struct UpdateBody : HandleChange {
  NodeRoles nodes;
  Persons persons;
  Hash profile;
};
/// The owner key gives way to the next one.
struct RotateBody : HandleChange {
  PublicKey owner;  ///< the pre-committed next key
  Hash next_key;    ///< of the one after it
};
struct RenewBody : HandleChange {};
/// Another owner gets the handle; persons, profile and guardians go.
struct TransferBody : HandleChange {
  PublicKey owner;
  Hash next_key;
  NodeRoles nodes;
};
/// Where the log of a revoked node in one channel ends for good.
struct RevokeNodeBody : HandleChange {
  NodeId node;
  CutOffs cut_offs;  ///< in channels that are not named, nothing of the node counts
};
struct SetGuardiansBody : HandleChange {
  std::uint32_t threshold = 0;         ///< 0: no guardians
  std::vector<std::string> guardians;  ///< handles
};
/// Guardians give the handle to another key, after a delay.
struct RecoverBody : HandleChange {
  PublicKey owner;
  Hash next_key;
  NodeRoles nodes;
};
struct CancelRecoveryBody : HandleChange {};
struct ReleaseBody : HandleChange {};
/// The whole new set, which decides from the second block after this one on.
struct WitnessChangeBody {
  std::uint64_t epoch = 0;  ///< the one that this entry makes
  WitnessSet witnesses;
};
/// New rules from a height on. A version that is in force already takes a planned change back.
struct UpgradeBody {
  std::uint64_t epoch = 0;
  std::uint32_t rules_version = 0;
  std::uint64_t height = 0;
};
struct EvidenceBody {
  DoubleVote proof;
};
/// The holder of the succession key names witnesses in place of those that have gone silent.
struct SuccessionBody {
  std::uint64_t epoch = 0;
  WitnessSet witnesses;
};

/// A kind's number in the format is its place here, counted from 1.
using EntryBody = std::variant<RegisterBody, UpdateBody, RotateBody, RenewBody, TransferBody, RevokeNodeBody,
                               SetGuardiansBody, RecoverBody, CancelRecoveryBody, ReleaseBody, WitnessChangeBody,
                               UpgradeBody, EvidenceBody, SuccessionBody>;
/// "register", "revoke-node" …
std::string_view kind_of(const EntryBody& body);
/// The handle that it is about, or "".
const std::string& handle_of(const EntryBody& body);

// Making -----------------------------------------------------------------------------------------------------------

/// Signed by `signers`, in any order. Who must sign what: docs/protocol.md.
Bytes make_entry(EntryBody body, const NetworkId& network, const Checkpoint& recent, std::vector<KeyPair> signers);
/// The same entry with one signature more, for those that several people sign. Errc::exists if it is there already.
Result<Bytes> add_signature(ByteView entry, const NetworkId& network, const KeyPair& signer);

/// Signed by the owner key and by every node key in `nodes`. With an invite: its grant, and the token's signature.
/// In the genesis: no invite, zero network and checkpoint.
Bytes make_register(const Registration& what, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                    const std::vector<KeyPair>& node_keys, const Invite* invite);
/// The same with a work stamp in place of an invite.
Bytes make_register(const Registration& what, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                    const std::vector<KeyPair>& node_keys, std::uint64_t stamp);
/// Replaces nodes, persons and profile. `changed` is the current record, its version included, with these fields
/// changed. Signed by the owner key and by every node key that is new.
Bytes make_update(const HandleRecord& changed, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                  const std::vector<KeyPair>& new_node_keys);
/// `signer`: an authorised node, or the owner.
Bytes make_renew(const HandleRecord& current, const NetworkId& network, const Checkpoint& recent,
                 const KeyPair& signer);

// Reading ----------------------------------------------------------------------------------------------------------

struct Entry {
  Checkpoint recent;
  EntryBody body;
  Bytes signed_bytes;
  std::vector<std::pair<PublicKey, Signature>> signatures;  ///< ascending by key; not checked yet
  Hash hash;                                                ///< leaf hash

  const std::string& handle() const { return handle_of(body); }
  bool is_signed_by(const PublicKey& key) const;
};
/// A registration with work in place of an invite.
bool is_stamped(const Entry& entry);
/// Everything that can be said of an entry by itself, without its signatures: form, bounds, order, an admin among the
/// nodes. Errc::not_available for another version or suite.
Result<Entry> decode_entry(ByteView bytes);
/// What the invite's token signs, so that nobody who reads the ledger can spend the invite.
Bytes token_bytes(const Registration& what);

/// For people and JSON: what an entry says, without judging it.
struct EntryView {
  std::string kind;           ///< "register", "revoke-node" …
  std::string handle;         ///< "": it is about the network
  std::uint64_t version = 0;  ///< of the handle; of what is about the network, its epoch
  Checkpoint recent;
  std::string inviter;  ///< of a register entry with an invite
  std::string detail;   ///< a few words about what the others do not say; may be ""
  std::vector<PublicKey> signers;
  Hash hash;  ///< leaf hash
};
Result<EntryView> describe_entry(ByteView entry);

}  // namespace diot
