#pragma once
// Pieces that several formats of the ledger share. For this folder only.

#include <optional>
#include <string>

#include "core/clock.hpp"
#include "core/ledger/handle.hpp"
#include "core/ledger/witness.hpp"
#include "core/msgpack.hpp"
#include "core/share.hpp"

namespace diot {
struct BlockHeader;
}

namespace diot::ledger_codec {

void write_nodes(PackWriter& out, const NodeRoles& nodes);
/// Bounded, ascending, no node twice, a known role each; `error` says what is wrong, and stays empty if all is well
/// or if the reader failed.
NodeRoles read_nodes(PackReader& in, std::string& error);

void write_persons(PackWriter& out, const Persons& persons);
Persons read_persons(PackReader& in, std::string& error);

void write_cut_offs(PackWriter& out, const CutOffs& cut_offs);
CutOffs read_cut_offs(PackReader& in, std::string& error);

/// [fragile, [[key, NodeId], …]]
void write_witnesses(PackWriter& out, const WitnessSet& witnesses);
/// 1 to 100, no key and no node twice, four or more unless `fragile`.
WitnessSet read_witnesses(PackReader& in, std::string& error);

inline void write_checkpoint(PackWriter& out, const Checkpoint& checkpoint) {
  out.uint(checkpoint.height);
  out.bin(checkpoint.block);
}
inline Checkpoint read_checkpoint(PackReader& in) {
  Checkpoint out;
  out.height = in.uint();
  out.block = in.id<Hash>();
  return out;
}

/// What a block's header says between its network and its witnesses: height, time, previous, entries, log root, map root.
void write_history(PackWriter& out, const BlockHeader& header);
void read_history(PackReader& in, BlockHeader& out);

/// A round of the agreement, or none: 0 is none, 1 is round 0.
inline void write_round(PackWriter& out, const std::optional<std::uint32_t>& round) {
  out.uint(round ? std::uint64_t{*round} + 1 : 0);
}
inline std::optional<std::uint32_t> read_round(PackReader& in) {
  const auto number = in.uint(0xffffffff);
  if (number == 0) return std::nullopt;
  return static_cast<std::uint32_t>(number - 1);
}

/// Version and suite, which every format of the ledger begins with. Errc::not_available if this program does not know
/// them; `what` names the format in the error.
Result<void> check_version(PackReader& in, std::string_view what);

/// "2026-11-22 08:15:00 UTC".
std::string time_text(WallMs time);

}  // namespace diot::ledger_codec
