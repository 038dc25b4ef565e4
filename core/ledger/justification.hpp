#pragma once
// Why an honest witness may vote for one block of a height although it voted for another one in an earlier round: more
// than two thirds prevoted the new one in between (Tendermint's justification). Kept so that after a fork over several rounds whoever
// cannot show such prevotes is named. Bytes: docs/protocol.md, "Justification".

#include <cstdint>
#include <vector>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"

namespace diot {

struct Justification {
  std::uint64_t height = 0;
  std::uint32_t round = 0;  ///< in which they prevoted it
  Hash block;
  struct Prevote {
    PublicKey witness;
    WallMs time = 0;
    Signature signature;
    bool operator==(const Prevote&) const = default;
  };
  std::vector<Prevote> prevotes;

  bool operator==(const Justification&) const = default;
};

/// `votes`: prevotes by index into `witnesses`.
Justification make_justification(std::uint64_t height, std::uint32_t round, const Hash& block,
                                 const std::vector<BlockView::Vote>& votes, const std::vector<PublicKey>& witnesses);
Bytes encode_justification(const Justification& justification);
/// Shape and bounds only.
Result<Justification> decode_justification(ByteView bytes);
/// Every prevote is signed by whom it names, and nobody is named twice. Whether they were witnesses then, and enough, is
/// the ledger's to say.
Result<void> check_justification(const Justification& justification, const NetworkId& network);

/// Key of Table::meta; all of a height are in the order of their rounds.
Bytes justification_key(std::uint64_t height, std::uint32_t round = 0);

}  // namespace diot
