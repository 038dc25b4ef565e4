#pragma once
// What the witnesses say of the log in the form of public logs (c2sp.org/tlog-cosignature): each signs the newest
// checkpoint once it is on disk and tells the others, so that any of them can export all signatures.

#include <map>
#include <string>
#include <vector>

#include "core/ledger/note.hpp"
#include "dht/context.hpp"

namespace diot {

class Cosignatures {
 public:
  Cosignatures(OverlayContext& context, const KeyPair* key) : context_(context), key_(key) {}

  /// Our own signed note for the newest checkpoint, which is on disk; for the other witnesses.
  std::string sign();
  /// A note of another witness. false: nobody honest sends it.
  bool on_note(std::string_view note);
  /// The signature lines of the other witnesses that are known for this checkpoint.
  std::vector<std::pair<NoteKey, std::string>> lines_for(const LogCheckpoint& checkpoint) const;

 private:
  struct Known {
    LogCheckpoint checkpoint;
    WallMs when = 0;
    std::string line;
  };
  NoteKey note_key(const PublicKey& witness) const;

  OverlayContext& context_;
  const KeyPair* key_;
  std::map<PublicKey, Known> newest_;  ///< by witness; of those in office
};

}  // namespace diot
