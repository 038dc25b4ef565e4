#pragma once
// The founding bytes of a network (docs/protocol.md, "Genesis", frozen).

#include <array>
#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

enum class Admission : std::uint8_t { invite = 0, open = 1 };

struct Genesis {
  std::array<std::uint8_t, 16> nonce{};
  WallMs time = 0;
  std::uint32_t rules_version = 1;
  std::vector<PublicKey> witnesses;
  Hash succession;  ///< SHA-256 of the offline succession key
  Admission admission = Admission::invite;
  std::uint32_t lease_days = 0;  ///< 0 = no leases
  std::uint32_t replication = 3;
  std::vector<Bytes> founding;  ///< register entries, signed for the zero NetworkId
};

/// Signed by every witness key given (they must be `genesis.witnesses`, in order).
Bytes encode_genesis(const Genesis& genesis, const std::vector<KeyPair>& witnesses);
// Where each witness signs at home: what is signed, one signature, and all of them together in the witnesses' order.
Bytes unsigned_genesis(const Genesis& genesis);
Signature sign_genesis(ByteView unsigned_bytes, const KeyPair& witness);
Bytes signed_genesis(ByteView unsigned_bytes, const std::vector<Signature>& signatures);
/// Shape only.
Result<Genesis> decode_unsigned_genesis(ByteView unsigned_bytes);
/// Checks everything, signatures and founding entries included. Errc::not_available for another version or suite.
Result<Genesis> decode_genesis(ByteView bytes);
/// Checks the outer shape only.
Result<NetworkId> network_id_of(ByteView genesis);

/// What is signed, and whose SHA-256 is the NetworkId. Checks the outer shape only.
Result<ByteView> unsigned_genesis(ByteView genesis);
/// The witness keys in what unsigned_genesis gave. Shape only: whoever knows the NetworkId knows that the rest is right.
Result<std::vector<PublicKey>> genesis_witnesses(ByteView unsigned_bytes);

}  // namespace diot
