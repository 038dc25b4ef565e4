#pragma once
// The ledger as every node keeps it: genesis, blocks, and the state that follows from them. No I/O: the caller stores
// and sends the bytes. Formats: docs/protocol.md, "Genesis", "Entry", "Block", "Invite".

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/share.hpp"

namespace diot {

enum class Role : std::uint8_t { member = 0, admin = 1 };

/// What the ledger says about a handle.
struct HandleRecord {
  std::string handle;
  Hash register_entry;  ///< leaf hash of the entry that registered it
  PublicKey owner;
  Hash next_key;        ///< SHA-256 of the pre-committed next owner key
  std::vector<std::pair<NodeId, Role>> nodes;
  std::vector<std::pair<std::string, PublicKey>> persons;
  Hash profile;
  std::uint64_t version = 1;       ///< counts the handle's changes; each entry names the one it makes
  std::uint64_t height = 0;        ///< of the block that registered it
  WallMs registered = 0;           ///< block time
  WallMs lease_until = 0;          ///< block time; 0 = no lease

  std::optional<Role> role_of(const NodeId& node) const;
};

enum class Admission : std::uint8_t { invite = 0, open = 1 };

struct Genesis {
  std::array<std::uint8_t, 16> nonce{};
  WallMs time = 0;
  std::uint32_t rules_version = 1;
  std::vector<PublicKey> witnesses;
  Hash succession;  ///< SHA-256 of the offline succession key
  Admission admission = Admission::invite;
  std::uint32_t lease_days = 0;
  std::uint32_t replication = 3;
  std::vector<Bytes> founding;  ///< register entries, signed for the zero NetworkId
};
/// Signed by every witness key given (they must be `genesis.witnesses`, in order).
Bytes encode_genesis(const Genesis& genesis, const std::vector<KeyPair>& witnesses);
/// Checks everything, signatures and founding entries included.
Result<Genesis> decode_genesis(ByteView bytes);
Result<NetworkId> network_id_of(ByteView genesis);

/// What an admin node hands out; the token's seed travels in the invite only.
struct Grant {
  NetworkId network;
  std::string inviter;  ///< handle
  PublicKey token;
  std::uint32_t uses = 1;
  WallMs expiry = 0;    ///< block time
  Checkpoint pinned;
  NodeId signer;
};
Bytes encode_grant(const Grant& grant, const KeyPair& signer);
Result<Grant> decode_grant(ByteView bytes);

struct Invite {
  Bytes grant;
  Seed token_seed;
  NodeId inviter;
  std::vector<std::string> addresses;  ///< "host:port", IPv6 as "[…]:port"
};
/// "diot:…", one line.
std::string encode_invite(const Invite& invite);
/// Tells a cut-off or mistyped invite from something else.
Result<Invite> decode_invite(std::string_view text);

// Entries -------------------------------------------------------------------------------------------------------
// All are made here, and judged by LedgerState::check.

struct Registration {
  std::string handle;
  PublicKey owner;
  Hash next_key;
  std::vector<std::pair<NodeId, Role>> nodes;
};
/// Signed by the owner key and by every node key in `nodes`. With an invite: its grant, and the token's signature.
/// In the genesis: no invite, zero network and checkpoint.
Bytes make_register(const Registration& what, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                    const std::vector<KeyPair>& node_keys, const Invite* invite);
/// Replaces nodes, persons and profile. Signed by the owner key and by every node key that is new.
Bytes make_update(const HandleRecord& changed, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                  const std::vector<KeyPair>& new_node_keys);
/// Signed by an authorised node.
Bytes make_renew(const HandleRecord& current, const NetworkId& network, const Checkpoint& recent, const KeyPair& node);

/// For people and JSON: what an entry says, without judging it.
struct EntryView {
  std::string kind;    ///< "register", "update", "renew"
  std::string handle;
  std::uint64_t version = 0;
  Checkpoint recent;
  std::string inviter; ///< of a register entry with an invite
  std::vector<PublicKey> signers;
  Hash hash;           ///< leaf hash
};
Result<EntryView> describe_entry(ByteView entry);

struct BlockHeader {
  std::uint32_t rules_version = 1;
  NetworkId network;
  std::uint64_t height = 0;
  WallMs time = 0;
  Hash previous;             ///< hash of the header before; block 1: SHA-256 of the genesis' bytes
  std::uint64_t entries = 0; ///< in the log, this block's included
  Hash log_root;             ///< RFC 6962 over all entries
  Hash map_root;             ///< sparse map SHA-256(handle) → SHA-256(record)
  Hash witnesses;            ///< SHA-256 over the witness keys that decide this block
};
struct BlockView {
  BlockHeader header;
  Hash hash;                   ///< SHA-256 of the header's bytes
  std::vector<Bytes> entries;
  std::uint32_t round = 0;
  struct Vote {
    std::uint32_t witness;     ///< index into the witness set
    WallMs time;
    Signature signature;
  };
  std::vector<Vote> votes;     ///< the quorum certificate
};
/// Shape only.
Result<BlockView> decode_block(ByteView bytes);

/// Genesis and blocks replayed. Every rule is checked, whoever signed.
class Ledger {
 public:
  /// Starts from the genesis alone (height 0). Keeps the bytes' hash only.
  static Result<Ledger> from_genesis(ByteView genesis);
  Ledger(Ledger&&) noexcept;
  Ledger& operator=(Ledger&&) noexcept;
  ~Ledger();

  const NetworkId& network() const;
  const Genesis& genesis() const;
  /// The newest block: {0, hash of the genesis} before block 1.
  Checkpoint head() const;
  WallMs head_time() const;
  std::uint64_t entry_count() const;
  const Hash& log_root() const;
  const Hash& map_root() const;

  /// Judges the block against the rules and the state; on success it is the new head. On failure nothing changes.
  Result<void> append(ByteView block);
  /// Would this entry be accepted in the next block at block time `now`? Errc::exists = handle taken or invite used up.
  Result<void> check_entry(ByteView entry, WallMs now) const;
  /// n = 1: the sole witness makes the next block out of the entries that pass, in order; entries that do not are told
  /// to `refused`. Does not append it. Errc::not_found if none passes. Errc::not_permitted if `witness` is not it.
  Result<Bytes> make_block(const std::vector<Bytes>& entries, WallMs now, const KeyPair& witness,
                           const std::function<void(const Bytes& entry, const Error& why)>& refused = {}) const;
  /// Block 1, from the founding entries.
  Result<Bytes> make_first_block(WallMs now, const KeyPair& witness) const;

  const HandleRecord* handle(std::string_view name) const;
  /// The handle that a node speaks for, or nullptr.
  const HandleRecord* handle_of(const NodeId& node) const;
  const std::map<std::string, HandleRecord, std::less<>>& handles() const;
  /// How often an invite's token has been used.
  std::uint32_t uses_of(const PublicKey& token) const;
  /// Block hash at a height seen since from_genesis, or nullopt.
  std::optional<Hash> block_at(std::uint64_t height) const;

 private:
  struct Impl;
  explicit Ledger(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace diot
