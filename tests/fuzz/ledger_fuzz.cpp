// Entry, block, genesis, grant and invite, and the ledger that judges them. The first byte chooses; entries and blocks go
// to a ledger at height 1 too.

#include "core/ledger/limits.hpp"
#include "tests/core/ledger_world.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {
namespace {

using testing::alice;
using testing::bob;
using testing::day_ms;
using testing::start_ms;

enum Kind : std::uint8_t { entry, block, genesis, grant, invite, kind_count };

struct Network {
  testing::World world;
  const Ledger at_1 = world.ledger();
};
const Network& shared() {
  static const Network out;
  return out;
}

void look_at_entry(ByteView bytes) {
  const auto decoded = decode_entry(bytes);
  const auto described = describe_entry(bytes);
  require(decoded.has_value() == described.has_value(), "an entry can be described if it can be read");
  if (decoded) {
    require(bytes.size() <= limits::entry_bytes_max, "an entry is bounded");
    require(decoded->handle() == described->handle && decoded->hash == described->hash, "and is described as it is");
  }
  const auto& ledger = shared().at_1;
  const auto judged = ledger.check_entry(bytes, start_ms + day_ms);
  if (judged) require(decoded.has_value(), "what the ledger takes can be read");
  const auto proposal = ledger.propose({to_bytes(bytes)}, start_ms + day_ms);
  require(proposal.has_value() == judged.has_value(), "what the ledger takes can stand in a block");
  if (!proposal) return;
  testing::World world;
  auto copy = world.ledger();
  const auto appended = copy.append(world.decide(*proposal));
  require(appended.has_value() && copy.head().height == 2, "and the block is accepted");
}

void look_at_block(ByteView bytes) {
  const auto view = decode_block(bytes);
  if (view) {
    require(equal(encode_block(view->header, view->entries, view->round, view->votes), bytes),
            "a block has one way to be written");
    require(view->entries.size() <= limits::block_entries_max && bytes.size() <= limits::block_bytes_max, "bounded");
    require(view->hash == sha256(encode_block_header(view->header)), "it has its header's hash");
  }
  testing::World world;
  auto ledger = world.ledger();
  const auto before = ledger.head();
  if (ledger.append(bytes))
    require(view && ledger.head() == Checkpoint{before.height + 1, view->hash}, "a block that is taken is the head");
  else
    require(ledger.head() == before, "a block that is refused changes nothing");
}

void look_at_genesis(ByteView bytes) {
  const auto decoded = decode_genesis(bytes);
  const auto id = network_id_of(bytes);
  auto ledger = Ledger::from_genesis(bytes);
  if (decoded) require(id.has_value() && bytes.size() <= limits::genesis_bytes_max, "a genesis has an id");
  if (ledger) require(decoded && ledger->network() == *id && ledger->head().height == 0, "a ledger has a genesis");
}

void look_at_invite(std::string_view text) {
  const auto decoded = decode_invite(text);
  if (!decoded) return;
  const auto written = encode_invite(*decoded);
  const auto again = decode_invite(written);
  require(again && again->grant == decoded->grant && again->inviter == decoded->inviter &&
              again->token_seed == decoded->token_seed && again->addresses == decoded->addresses,
          "an invite is read as it is written");
}

}  // namespace

void ledger(ByteView input) {
  Input in(input);
  switch (static_cast<Kind>(in.u8() % kind_count)) {
    case entry: return look_at_entry(in.rest());
    case block: return look_at_block(in.rest());
    case genesis: return look_at_genesis(in.rest());
    case grant: {
      const auto bytes = in.rest();
      if (const auto decoded = decode_grant(bytes)) {
        require(decoded->uses >= 1 && decoded->uses <= limits::grant_uses_max, "a grant's uses are bounded");
        require(
            decode_grant(encode_grant(*decoded, alice.node)).has_value() == (decoded->signer == alice.node.node_id()),
            "a grant is its signer's");
      }
      return;
    }
    case invite: return look_at_invite(as_text(in.rest()));
    case kind_count: return;
  }
}

Seeds ledger_seeds() {
  testing::World world;
  auto at = world.ledger();
  const auto granted = world.grant(at, alice, 77);
  const auto invited = world.invite(granted, alice, 77);
  auto changed = *at.handle("alice");
  changed.nodes.emplace_back(alice.second.node_id(), Role::member);
  changed.persons.emplace_back("mum", testing::test_key(40).public_key());
  const auto change = testing::World::next(at, "alice");
  const auto hash = sha256(bob.next.public_key());
  const WitnessSet set{{{world.witnesses[0].public_key(), alice.node.node_id()}}, true};
  Vote votes[2] = {{VoteKind::prevote, 1, 0, hash, start_ms, 0, {}}, {VoteKind::prevote, 1, 0, {}, start_ms, 0, {}}};
  for (auto& vote : votes) sign_vote(vote, at.network(), world.witnesses[0]);
  const auto at_alice = [&](EntryBody body, std::vector<KeyPair> signers) {
    return world.entry(at, std::move(body), std::move(signers));
  };
  const std::vector<Bytes> entries{
      world.join(at, bob, invited),
      make_update(changed, at.network(), at.head(), alice.owner, {alice.second}),
      make_renew(*at.handle("alice"), at.network(), at.head(), alice.node),
      at_alice(RotateBody{change, alice.next.public_key(), hash}, {alice.next}),
      at_alice(TransferBody{change, bob.owner.public_key(), hash, {{bob.node.node_id(), Role::admin}}},
               {alice.owner, alice.next, bob.owner, bob.node}),
      at_alice(RevokeNodeBody{change, alice.node.node_id(), {{ChannelId{}, {{1, 2}, 3, hash}}}}, {alice.owner}),
      at_alice(SetGuardiansBody{change, 2, {"bob", "carol"}}, {alice.owner, alice.next}),
      at_alice(RecoverBody{change, bob.owner.public_key(), hash, changed.nodes}, {bob.owner}),
      at_alice(CancelRecoveryBody{change}, {alice.owner}),
      at_alice(ReleaseBody{change}, {alice.owner, alice.next}),
      at_alice(WitnessChangeBody{1, set}, world.witnesses),
      at_alice(UpgradeBody{1, 2, 9}, world.witnesses),
      at_alice(EvidenceBody{make_double_vote(world.witnesses[0].public_key(), votes[0], votes[1])}, {alice.node}),
      at_alice(SuccessionBody{1, set}, {testing::test_key(9), world.witnesses[0]}),
      at_alice(RegisterBody{bob.registration(), {}, {}, 7}, {bob.owner, bob.node}),
  };
  Seeds out;
  for (const auto& one : entries) out.push_back(chosen(entry, one));
  out.push_back(chosen(entry, world.genesis.founding[0]));
  const auto proposal = at.propose({entries[0], entries[1]}, start_ms + 1).value();
  out.push_back(chosen(block, world.decide(proposal)));
  out.push_back(chosen(block, world.blocks[0]));
  out.push_back(chosen(genesis, world.genesis_bytes));
  out.push_back(chosen(genesis, testing::World(4, 90).genesis_bytes));
  out.push_back(chosen(grant, invited.grant));
  out.push_back(chosen(invite, as_bytes(encode_invite(invited))));
  return out;
}

}  // namespace diot::fuzz
