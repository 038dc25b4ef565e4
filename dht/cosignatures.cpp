#include "dht/cosignatures.hpp"

#include <algorithm>

namespace diot {

static constexpr std::size_t note_bytes_max = 1024;

NoteKey Cosignatures::note_key(const PublicKey& witness) const {
  return {witness_name(context_.network(), witness), witness, NoteKeyType::cosignature};
}

std::string Cosignatures::sign() {
  const auto text =
      checkpoint_text({log_origin(context_.network()), context_.ledger.entry_count(), context_.ledger.log_root()});
  return make_note(text, {sign_note(text, note_key(key_->public_key()), *key_, context_.clock.wall_ms())});
}

bool Cosignatures::on_note(std::string_view note) {
  if (note.size() > note_bytes_max) return false;
  const auto& witnesses = context_.ledger.witnesses();
  std::vector<NoteKey> keys;
  for (const auto& witness : witnesses) keys.push_back(note_key(witness));
  const auto opened = open_note(note, keys);
  // Whoever signed it may have been a witness until the block that we have and the sender has not.
  if (!opened) return false;
  const auto checkpoint = parse_checkpoint_text(opened->text);
  if (!checkpoint || checkpoint->origin != log_origin(context_.network()) || opened->by.size() != 1) return false;
  const auto line = note.substr(opened->text.size() + 1);
  if (std::ranges::count(line, '\n') != 1) return false;
  const auto& by = opened->by.front();
  auto& known = newest_[by.key.key];
  if (by.when < known.when) return true;
  known = {*checkpoint, by.when, std::string(line)};
  std::erase_if(newest_, [&](const auto& each) { return std::ranges::find(witnesses, each.first) == witnesses.end(); });
  return true;
}

std::vector<std::pair<NoteKey, std::string>> Cosignatures::lines_for(const LogCheckpoint& checkpoint) const {
  std::vector<std::pair<NoteKey, std::string>> out;
  for (const auto& [witness, known] : newest_)
    if (known.checkpoint == checkpoint) out.emplace_back(note_key(witness), known.line);
  return out;
}

}  // namespace diot
