#pragma once
// A block of one network, written into the ledger of another as the profile hash of a handle: so nobody can show another
// history of the first later, however many of its witnesses agree (docs/ledger.md, "Anchors").

#include <string>
#include <string_view>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/error.hpp"
#include "core/share.hpp"

namespace diot {

struct Anchor {
  NetworkId network;
  Checkpoint block;
  WallMs time = 0;  ///< the block's

  bool operator==(const Anchor&) const = default;
};

/// "diot-anchor:…", one line.
std::string encode_anchor(const Anchor& anchor);
Result<Anchor> decode_anchor(std::string_view text);
/// What stands in the other ledger.
Hash anchor_hash(const Anchor& anchor);

}  // namespace diot
