#pragma once
// A layer fed in pieces does what it does with everything at once.

#include "bridge/layer.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

/// Input: u8 size of the pieces, then the bytes. Both layers start alike.
inline void feed_twins(Layer& whole, Layer& pieces, ByteView input, std::size_t growth_max) {
  Input in(input);
  const std::size_t piece = in.u8() + std::size_t{1};
  ByteView bytes = in.rest();
  Bytes up, down, piece_up, piece_down;
  const auto all = whole.receive(bytes, up, down);
  bool ok = true;
  while (ok && !bytes.empty()) {
    const auto size = std::min(piece, bytes.size());
    ok = pieces.receive(bytes.first(size), piece_up, piece_down).has_value();
    bytes = bytes.subspan(size);
  }
  require(ok == all.has_value(), "pieces are accepted as the whole is");
  require(piece_up == up && piece_down == down, "pieces say what the whole says");
  require(pieces.established() == whole.established() && pieces.address() == whole.address(), "both get as far");
  require(up.size() <= input.size() && down.size() <= input.size() + growth_max, "nothing is made out of nothing");
  if (ok && whole.established()) {
    Bytes sent;
    require(whole.send(as_bytes("packet"), sent).has_value() && sent.size() >= 6, "an established layer sends");
  }
}

}  // namespace diot::fuzz
