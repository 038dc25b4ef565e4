// The ledger's worked examples of docs/protocol.md, made and read.

#include <gtest/gtest.h>

#include "core/ledger/provisional.hpp"
#include "core/merkle.hpp"
#include "tests/core/ledger_world.hpp"
#include "tests/core/vectors.hpp"

namespace diot {
namespace {

using namespace diot::testing;

class LedgerVectors : public ::testing::Test {
 protected:
  static KeyPair key(const Vector& vector, const std::string& name) {
    return KeyPair::from_seed(vector.id<Seed>(name + " seed"));
  }

  const Vector genesis{"genesis-1"}, block_1{"block-1"}, invite{"invite-1"}, registered{"entry-register-1"},
      updated{"entry-update-1"}, renewed{"entry-renew-1"}, block_2{"block-2"};
  const KeyPair witness = key(genesis, "witness");
  const KeyPair alice_owner = key(genesis, "alice owner"), alice_node = key(genesis, "alice node");
  const KeyPair bob_owner = key(registered, "bob owner"), bob_node = key(registered, "bob node");
  const NetworkId network = genesis.id<NetworkId>("network");
  const Checkpoint at_block_1{1, block_1.id<Hash>("hash")};

  Registration bob_registration() const {
    return {"bob",
            bob_owner.public_key(),
            sha256(key(registered, "bob next").public_key()),
            {{bob_node.node_id(), Role::admin}}};
  }
  Ledger at_1() const {
    auto out = Ledger::from_genesis(genesis.bytes("genesis")).value();
    EXPECT_EQ(why(out.append(block_1.bytes("block"))), "");
    return out;
  }
};

TEST_F(LedgerVectors, Genesis) {
  Genesis from;
  std::ranges::copy(genesis.bytes("nonce"), from.nonce.begin());
  from.time = genesis.number("time");
  from.rules_version = static_cast<std::uint32_t>(genesis.number("rules version"));
  from.witnesses = {witness.public_key()};
  from.succession = sha256(key(genesis, "succession").public_key());
  from.admission = static_cast<Admission>(genesis.number("admission"));
  from.lease_days = static_cast<std::uint32_t>(genesis.number("lease days"));
  from.replication = static_cast<std::uint32_t>(genesis.number("replication"));
  const Registration alice_registration{"alice",
                                        alice_owner.public_key(),
                                        sha256(key(genesis, "alice next").public_key()),
                                        {{alice_node.node_id(), Role::admin}}};
  from.founding = {make_register(alice_registration, {}, {}, alice_owner, {alice_node}, nullptr)};
  EXPECT_EQ(to_hex(from.founding[0]), genesis.text("founding entry"));
  EXPECT_EQ(to_hex(encode_genesis(from, {witness})), genesis.text("genesis"));
  EXPECT_EQ(network_id_of(genesis.bytes("genesis"))->hex(), genesis.text("network"));
  EXPECT_EQ(why(decode_genesis(genesis.bytes("genesis"))), "");
}

TEST_F(LedgerVectors, Block1) {
  const auto ledger = Ledger::from_genesis(genesis.bytes("genesis")).value();
  EXPECT_EQ(to_hex(ledger.make_first_block(block_1.number("time"), witness).value()), block_1.text("block"));
  const auto view = decode_block(block_1.bytes("block")).value();
  EXPECT_EQ(to_hex(encode_block_header(view.header)), block_1.text("header"));
  EXPECT_EQ(view.hash.hex(), block_1.text("hash"));
  EXPECT_EQ(view.header.witnesses.hex(), block_1.text("witness set"));
  const auto after = at_1();
  EXPECT_EQ(after.log_root().hex(), block_1.text("log root"));
  EXPECT_EQ(after.map_root().hex(), block_1.text("map root"));
  EXPECT_EQ(to_hex(encode_handle(*after.handle("alice"))), block_1.text("handle record"));
  EXPECT_EQ(after.handle("alice")->register_entry.hex(), block_1.text("entry hash"));
}

TEST_F(LedgerVectors, GrantAndInvite) {
  const auto token = key(invite, "token");
  const Grant grant{network,
                    "alice",
                    token.public_key(),
                    static_cast<std::uint32_t>(invite.number("uses")),
                    invite.number("expiry"),
                    {invite.number("checkpoint height"), at_block_1.block},
                    alice_node.node_id()};
  EXPECT_EQ(to_hex(encode_grant(grant, alice_node)), invite.text("grant"));
  const auto& addresses = invite.text("addresses");
  const auto blank = addresses.find(' ');
  const Invite from{invite.bytes("grant"),
                    token.seed(),
                    alice_node.node_id(),
                    {addresses.substr(0, blank), addresses.substr(blank + 1)}};
  EXPECT_EQ(encode_invite(from), invite.text("invite"));
  const auto read = decode_invite(invite.text("invite"));
  ASSERT_TRUE(read) << why(read);
  EXPECT_EQ(read->addresses, from.addresses);
}

TEST_F(LedgerVectors, RegisterUpdateAndRenew) {
  const auto ledger = at_1();
  const auto with = decode_invite(invite.text("invite")).value();
  EXPECT_EQ(to_hex(make_register(bob_registration(), network, at_block_1, bob_owner, {bob_node}, &with)),
            registered.text("entry"));
  const auto decoded = decode_entry(registered.bytes("entry")).value();
  EXPECT_EQ(decoded.hash.hex(), registered.text("hash"));
  EXPECT_EQ(to_hex(*std::get<RegisterBody>(decoded.body).token_signature), registered.text("token signature"));

  auto changed = *ledger.handle("alice");
  const auto fresh = key(updated, "new node");
  changed.nodes.emplace_back(fresh.node_id(), Role::member);
  changed.persons = {{"mum", key(updated, "person").public_key()}};
  changed.profile = updated.id<Hash>("profile hash");
  EXPECT_EQ(to_hex(make_update(changed, network, at_block_1, alice_owner, {fresh})), updated.text("entry"));
  EXPECT_EQ(describe_entry(updated.bytes("entry"))->hash.hex(), updated.text("hash"));

  HandleRecord bob_record;
  bob_record.handle = "bob";
  EXPECT_EQ(to_hex(make_renew(bob_record, network, at_block_1, bob_node)), renewed.text("entry"));
  EXPECT_EQ(describe_entry(renewed.bytes("entry"))->hash.hex(), renewed.text("hash"));
}

TEST_F(LedgerVectors, Block2) {
  auto ledger = at_1();
  const auto block = ledger.make_block({registered.bytes("entry"), updated.bytes("entry"), renewed.bytes("entry")},
                                       block_2.number("time"), witness);
  EXPECT_EQ(to_hex(block.value()), block_2.text("block"));
  ASSERT_EQ(why(ledger.append(block_2.bytes("block"))), "");
  EXPECT_EQ(ledger.head().block.hex(), block_2.text("hash"));
  EXPECT_EQ(ledger.log_root().hex(), block_2.text("log root"));
  EXPECT_EQ(ledger.map_root().hex(), block_2.text("map root"));
}

TEST_F(LedgerVectors, Proofs) {
  auto ledger = at_1();
  ASSERT_EQ(why(ledger.append(block_2.bytes("block"))), "");
  for (const auto* name : {"proof-entry-1", "proof-consistency-1"}) {
    const Vector vector(name);
    const auto proof = decode_proof(vector.bytes("proof"), network);
    ASSERT_TRUE(proof) << why(proof);
    EXPECT_EQ(to_hex(encode_proof(*proof)), vector.text("proof"));
    const auto shown = check_proof(*proof, network);
    ASSERT_TRUE(shown) << why(shown);
    EXPECT_EQ(shown->block, ledger.head());
    if (const auto* entry = std::get_if<EntryProof>(&*proof)) {
      EXPECT_EQ(to_hex(entry->entry), updated.text("entry"));
      EXPECT_EQ(entry->index, vector.number("index"));
    } else {
      EXPECT_EQ(to_hex(std::get<ExtensionProof>(*proof).old.header), block_1.text("header"));
    }
  }
}

// The other kinds, on top of block 2.
class LedgerVectors3 : public LedgerVectors {
 protected:
  const Vector rotate{"entry-rotate-1"}, transfer{"entry-transfer-1"}, revoke{"entry-revoke-node-1"},
      guardians{"entry-set-guardians-1"}, recover{"entry-recover-1"}, cancel{"entry-cancel-recovery-1"},
      release{"entry-release-1"}, witnesses{"entry-witness-change-1"}, upgrade{"entry-upgrade-1"},
      evidence{"entry-evidence-1"}, succession{"entry-succession-1"}, stamped{"entry-register-2"}, block_3{"block-3"};
  const KeyPair alice_next = key(genesis, "alice next"), bob_next = key(registered, "bob next");
  const KeyPair alice_after = key(rotate, "after next"), buyer = key(transfer, "new owner"),
                buyer_next = key(transfer, "new next"), buyer_node = key(transfer, "new node"),
                recovered = key(recover, "new owner"), recovered_node = key(recover, "new node"),
                new_witness = key(witnesses, "new witness");
  const WitnessSet new_set{{{new_witness.public_key(), alice_node.node_id()}}, true};

  void expect(const Vector& vector, EntryBody body, std::vector<KeyPair> signers) const {
    const Checkpoint at_block_2{2, block_2.id<Hash>("hash")};
    EXPECT_EQ(to_hex(make_entry(std::move(body), network, at_block_2, std::move(signers))), vector.text("entry"));
    const auto decoded = decode_entry(vector.bytes("entry"));
    ASSERT_TRUE(decoded) << why(decoded);
    EXPECT_EQ(decoded->hash.hex(), vector.text("hash"));
  }
};

TEST_F(LedgerVectors3, Keys) {
  expect(rotate, RotateBody{{"alice", 3}, alice_next.public_key(), sha256(alice_after.public_key())}, {alice_next});
  expect(transfer,
         TransferBody{
             {"bob", 3}, buyer.public_key(), sha256(buyer_next.public_key()), {{buyer_node.node_id(), Role::admin}}},
         {bob_owner, bob_next, buyer, buyer_node});
  ChannelId channel;
  channel.bytes.fill(1);
  expect(revoke,
         RevokeNodeBody{
             {"alice", 4}, key(updated, "new node").node_id(), {{channel, {{5, 50}, 100, sha256(as_bytes("header"))}}}},
         {alice_next});
  expect(release, ReleaseBody{{"bob", 4}}, {buyer, buyer_next});
}

TEST_F(LedgerVectors3, Guardians) {
  expect(guardians, SetGuardiansBody{{"alice", 5}, 1, {"bob"}}, {alice_next, alice_after});
  expect(recover,
         RecoverBody{{"alice", 6},
                     recovered.public_key(),
                     sha256(key(recover, "new next").public_key()),
                     {{recovered_node.node_id(), Role::admin}}},
         {recovered, recovered_node, buyer});
  expect(cancel, CancelRecoveryBody{{"alice", 7}}, {alice_next});
}

TEST_F(LedgerVectors3, Network) {
  expect(witnesses, WitnessChangeBody{1, new_set}, {witness, new_witness});
  expect(upgrade, UpgradeBody{2, 2, 50}, {witness});
  expect(evidence, EvidenceBody{decode_double_vote(evidence.bytes("double vote")).value()}, {alice_node});
  expect(succession, SuccessionBody{3, new_set}, {key(genesis, "succession"), new_witness});
  auto carol_registration = bob_registration();
  carol_registration.handle = "carol";
  expect(stamped, RegisterBody{carol_registration, {}, {}, stamped.number("stamp")}, {bob_owner, bob_node});
}

TEST_F(LedgerVectors3, Block3) {
  auto ledger = at_1();
  ASSERT_EQ(why(ledger.append(block_2.bytes("block"))), "");
  std::vector<Bytes> entries;
  for (const auto* vector :
       {&rotate, &transfer, &revoke, &guardians, &recover, &release, &witnesses, &upgrade, &evidence})
    entries.push_back(vector->bytes("entry"));
  const auto block = ledger.make_block(entries, block_3.number("time"), witness,
                                       [](const Bytes&, const Error& error) { ADD_FAILURE() << error.message; });
  EXPECT_EQ(to_hex(block.value()), block_3.text("block"));
  ASSERT_EQ(why(ledger.append(block_3.bytes("block"))), "");
  EXPECT_EQ(to_hex(encode_handle(*ledger.handle("alice"))), block_3.text("alice record"));
  EXPECT_EQ(to_hex(encode_handle(*ledger.handle("bob"))), block_3.text("bob record"));
  EXPECT_EQ(to_hex(encode_network(ledger.network_record())), block_3.text("network record"));
  EXPECT_EQ(ledger.map_root().hex(), block_3.text("map root"));
}

TEST(ProvisionalVectors, the_name_of_a_home_that_is_not_registered) {
  const Vector vector("provisional-1");
  EXPECT_EQ(provisional_name(vector.id<NetworkId>("network"), vector.text("handle"), vector.id<Hash>("register entry")),
            vector.text("name"));
}

}  // namespace
}  // namespace diot
