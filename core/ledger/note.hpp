#pragma once
// The ledger's log in the forms of public transparency logs: signed notes (c2sp.org/signed-note), checkpoints
// (c2sp.org/tlog-checkpoint) and cosignatures (c2sp.org/tlog-cosignature, Ed25519).

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

struct LogCheckpoint {
  std::string origin;
  std::uint64_t size = 0;  ///< entries
  Hash root;

  bool operator==(const LogCheckpoint&) const = default;
};
/// "diot/" and the network's id in hex.
std::string log_origin(const NetworkId& network);
/// The origin and a piece of the witness' key.
std::string witness_name(const NetworkId& network, const PublicKey& witness);
/// The three lines of the note's text.
std::string checkpoint_text(const LogCheckpoint& checkpoint);
/// Extension lines are passed over.
Result<LogCheckpoint> parse_checkpoint_text(std::string_view text);

/// The signature types of c2sp.org/signed-note that are used here.
enum class NoteKeyType : std::uint8_t { ed25519 = 1, cosignature = 4 };
struct NoteKey {
  std::string name;  ///< neither blanks nor '+'
  PublicKey key;
  NoteKeyType type = NoteKeyType::ed25519;

  std::array<std::uint8_t, 4> id() const;
  /// As verifiers take it: name+id+base64.
  std::string text() const;
};

/// One signature line, its end included. A cosignature is for this time, in whole seconds; without one `when` counts
/// for nothing.
std::string sign_note(std::string_view text, const NoteKey& as, const KeyPair& key, WallMs when = 0);
/// Text, blank line, signature lines.
std::string make_note(std::string_view text, const std::vector<std::string>& signature_lines);

struct OpenedNote {
  std::string text;
  struct Signed {
    NoteKey key;
    WallMs when = 0;  ///< of a cosignature
  };
  std::vector<Signed> by;  ///< one at least
};
/// Errc::invalid if it is not a note, if a signature of one of these keys is wrong, or if none of them signed it.
/// Signatures of others are passed over.
Result<OpenedNote> open_note(std::string_view note, const std::vector<NoteKey>& keys);

}  // namespace diot
