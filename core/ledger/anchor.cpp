#include "core/ledger/anchor.hpp"

#include "core/crypto.hpp"
#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"
#include "core/text.hpp"

namespace diot {

static constexpr std::string_view scheme = "diot-anchor:";

static Bytes anchor_bytes(const Anchor& anchor) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(5);
  out.uint(1);
  out.bin(anchor.network);
  out.uint(anchor.block.height);
  out.bin(anchor.block.block);
  out.uint(anchor.time);
  return bytes;
}

std::string encode_anchor(const Anchor& anchor) { return encode_line(scheme, anchor_bytes(anchor)); }

Result<Anchor> decode_anchor(std::string_view text) {
  const auto malformed = fail(Errc::invalid,
                              "that is no anchor: `diot ledger anchor` prints one, a line that begins "
                              "with 'diot-anchor:'");
  const auto bytes = decode_line(scheme, text);
  if (!bytes) return malformed;
  PackReader in(*bytes, 8);
  in.array_of(5);
  const auto version = in.uint();
  Anchor out;
  out.network = in.id<NetworkId>();
  out.block.height = in.uint();
  out.block.block = in.id<Hash>();
  out.time = in.uint(limits::wall_ms_max);
  if (!in.done()) return malformed;
  if (version != 1) return fail(Errc::not_available, "the anchor needs a newer diot");
  return out;
}

Hash anchor_hash(const Anchor& anchor) { return sha256({as_bytes("diot/anchor/v1"), anchor_bytes(anchor)}); }

}  // namespace diot
