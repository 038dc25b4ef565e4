#pragma once
// How a home gets in (docs/protocol.md, "Invite and grant", frozen).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/share.hpp"

namespace diot {

/// What an admin node hands out; the token's seed travels in the invite only.
struct Grant {
  NetworkId network;
  std::string inviter;  ///< handle
  PublicKey token;
  /// Up to limits::grant_uses_max. 0: it lets everybody in, and pays for nobody: where admission is open, who joins
  /// with it works for the registration (core/ledger/work_stamp.hpp).
  std::uint32_t uses = 1;
  WallMs expiry = 0;  ///< block time
  Checkpoint pinned;  ///< a block that the joining node must find in the chain
  NodeId signer;
  Hash id = {};  ///< SHA-256 of what is signed; set by decode_grant
};
Bytes encode_grant(const Grant& grant, const KeyPair& signer);
/// Shape, and the signer's signature. Whether the signer may invite is the ledger's to say.
Result<Grant> decode_grant(ByteView bytes);

struct Invite {
  Bytes grant;
  Seed token_seed;
  NodeId inviter;                      ///< the node to dial
  std::vector<std::string> addresses;  ///< "host:port", IPv6 as "[…]:port"
};
/// "diot:…", one line. Of more than limits::addresses_per_node_max addresses the first ones.
std::string encode_invite(const Invite& invite);
/// Blanks and line breaks are ignored. Tells a cut-off or mistyped invite from something else; a grant that is not
/// well-formed and signed, or not of this token, is refused too.
Result<Invite> decode_invite(std::string_view text);

}  // namespace diot
