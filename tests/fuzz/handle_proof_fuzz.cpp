// What is shown to people who have no node: light proofs, signed notes, checkpoints. The first byte chooses.

#include "core/ledger/note.hpp"
#include "core/ledger/proof.hpp"
#include "tests/core/ledger_world.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {
namespace {

using testing::alice;
using testing::bob;

enum Kind : std::uint8_t { light_proof, note, checkpoint, kind_count };

/// A ledger of alice and bob, and a key that signs notes.
struct Network {
  testing::World world{4};
  Ledger ledger = world.ledger();
  const KeyPair signer = testing::test_key(70);
  const std::vector<NoteKey> keys{{"log", signer.public_key(), NoteKeyType::ed25519},
                                  {"log/w", signer.public_key(), NoteKeyType::cosignature}};
  Network() { require(world.commit(ledger, {world.join(ledger, bob, 1000)}).has_value(), "bob joins"); }

  HandleProof prove(const std::string& handle, bool pin) const {
    auto out = world.prove(ledger, handle);
    if (pin) {
      out.genesis.clear();
      out.pinned = {encode_block_header(decode_block(world.blocks[0])->header), world.genesis.witnesses};
    }
    return out;
  }
};
const Network& shared() {
  static const Network out;
  return out;
}

void look_at_proof(ByteView bytes) {
  const auto proof = decode_proof(bytes, shared().ledger.network());
  if (!proof) return;
  require(equal(encode_proof(*proof), bytes), "a proof has one way to be written");
  const auto& ledger = shared().ledger;
  const auto shown = check_proof(*proof, ledger.network(), Checkpoint{1, *ledger.block_at(1)});
  if (!shown) return;
  // Nothing but what the ledger says can be shown of its newest block.
  require(shown->block == ledger.head(), "only what the witnesses signed");
  if (const auto* of = std::get_if<HandleProof>(&*proof)) {
    const auto* record = ledger.handle(of->handle);
    require(record ? of->record == encode_handle(*record) : of->record.empty(), "a proof tells the truth");
  } else if (const auto* of_entry = std::get_if<EntryProof>(&*proof)) {
    require(of_entry->entry == shared().world.prove_entry(ledger, of_entry->index).entry, "only what is in the log");
  } else {
    const auto old = decode_block_header(std::get<ExtensionProof>(*proof).old.header);
    require(old && ledger.block_at(old->height) == block_hash(*old), "only blocks of the chain");
  }
}

void look_at_note(std::string_view text) {
  const auto& keys = shared().keys;
  const auto opened = open_note(text, keys);
  if (!opened) return;
  require(!opened->by.empty() && text.starts_with(opened->text), "a note is signed, and begins with its text");
}

}  // namespace

void handle_proof(ByteView input) {
  Input in(input);
  switch (in.u8() % kind_count) {
    case light_proof: return look_at_proof(in.rest());
    case note: return look_at_note(as_text(in.rest()));
    case checkpoint: {
      const auto parsed = parse_checkpoint_text(as_text(in.rest()));
      if (parsed)
        require(parse_checkpoint_text(checkpoint_text(*parsed)).value() == *parsed, "a checkpoint is read as written");
      return;
    }
  }
}

Seeds handle_proof_seeds() {
  const auto& [world, ledger, signer, keys] = shared();
  Seeds out;
  for (const auto* handle : {"alice", "bob", "carol", "dave"})
    for (const bool pin : {false, true}) out.push_back(chosen(light_proof, encode_proof(shared().prove(handle, pin))));
  for (std::uint64_t index : {0, 1}) out.push_back(chosen(light_proof, encode_proof(world.prove_entry(ledger, index))));
  out.push_back(chosen(light_proof, encode_proof(world.prove_extension(ledger, 1))));
  const auto text = checkpoint_text({log_origin(ledger.network()), 2, ledger.log_root()});
  out.push_back(chosen(checkpoint, as_bytes(text)));
  out.push_back(chosen(note, as_bytes(make_note(text, {sign_note(text, keys[0], signer),
                                                       sign_note(text, keys[1], signer, testing::start_ms)}))));
  return out;
}

}  // namespace diot::fuzz
