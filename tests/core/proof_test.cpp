// Light proofs about handles, entries and the log: what anybody can check who knows nothing but the network's id.

#include "core/ledger/proof.hpp"

#include <gtest/gtest.h>

#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

class Proof : public ::testing::Test {
 protected:
  explicit Proof(std::size_t witnesses = 4) : world(witnesses), ledger(world.ledger()) {
    EXPECT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000)})), "");
    EXPECT_EQ(why(world.commit(ledger, {world.join(ledger, carol, 1001)})), "");
  }

  HandleProof prove(const std::string& handle) const { return world.prove(ledger, handle); }
  EntryProof prove_entry(std::uint64_t index) const { return world.prove_entry(ledger, index); }
  ExtensionProof prove_extension(std::uint64_t height) const { return world.prove_extension(ledger, height); }
  Result<ProvedBlock> check(const LedgerProof& proof) const { return check_proof(proof, ledger.network()); }
  /// As it is read from its bytes.
  template <class Proof>
  Proof again(const Proof& proof) const {
    const auto bytes = encode_proof(proof);
    const auto out = decode_proof(bytes, ledger.network());
    EXPECT_TRUE(out) << why(out);
    EXPECT_EQ(encode_proof(*out), bytes);
    return std::get<Proof>(*out);
  }

  World world;
  Ledger ledger;
};

TEST_F(Proof, ShowsARecord) {
  const auto proof = again(prove("bob"));
  const auto shown = check(proof);
  ASSERT_TRUE(shown) << why(shown);
  EXPECT_EQ(shown->block, ledger.head());
  EXPECT_EQ(shown->time, ledger.head_time());
  EXPECT_EQ(shown->votes, 4u);
  EXPECT_EQ(shown->witnesses, 4u);
  EXPECT_EQ(proof.record, encode_handle(*ledger.handle("bob")));
}

TEST_F(Proof, ShowsThatThereIsNone) {
  for (const std::string handle : {"dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory"}) {
    const auto proof = again(prove(handle));
    EXPECT_EQ(why(check(proof)), "") << handle;
    EXPECT_TRUE(proof.record.empty());
  }
}

TEST_F(Proof, HoldsARecordInEitherForm) {
  auto record = *ledger.handle("bob");
  EXPECT_EQ(decode_handle(encode_handle(record)).value(), record);
  record.persons = {{"mum", test_key(40).public_key()}};
  record.guardians = {1, {{"alice", ledger.handle("alice")->register_entry}}};
  record.recovery =
      Recovery{carol.owner.public_key(), ledger.log_root(), {{carol.node.node_id(), Role::admin}}, 7, false};
  record.revoked = {{dave.node.node_id(), 3, ledger.map_root()}};
  EXPECT_EQ(decode_handle(encode_handle(record)).value(), record);
  record.nodes.clear();
  record.released = start_ms;
  const auto bytes = encode_handle(record);
  EXPECT_EQ(decode_handle(bytes).value(), record);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_handle(ByteView(bytes).first(size))) << size;
  auto newer = bytes;
  newer[3] = 3;  // behind the array's head
  EXPECT_FALSE(decode_handle(newer));
}

TEST_F(Proof, OfAnotherRecordOrOfNoneIsRefused) {
  auto record = *ledger.handle("bob");
  record.owner = dave.owner.public_key();
  auto proof = prove("bob");
  proof.record = encode_handle(record);
  EXPECT_REFUSED(check(again(proof)), Errc::invalid, "does not lead to the handles");

  proof = prove("bob");
  proof.record.clear();
  EXPECT_REFUSED(check(again(proof)), Errc::invalid, "shows one");
  proof.path.end.reset();
  EXPECT_REFUSED(check(again(proof)), Errc::invalid, "does not lead");
  proof = prove("dave");
  proof.handle = "bob";
  EXPECT_FALSE(check(again(proof)));
}

TEST_F(Proof, NeedsItsNetworkAndAQuorum) {
  auto proof = prove("bob");
  NetworkId other = ledger.network();
  other.bytes[0] ^= 1;
  EXPECT_REFUSED(check_proof(proof, other), Errc::invalid, "another network");
  proof.block.votes.resize(2);
  EXPECT_REFUSED(check(proof), Errc::invalid, "2 of 4 witnesses");

  // A genesis of the attacker's own, with the network's id written into his headers.
  World false_world(4);
  for (auto& witness : false_world.witnesses) witness = test_key(witness.seed().bytes[31] + 50u);
  auto header = decode_block(world.blocks.back())->header;
  std::vector<PublicKey> keys;
  for (const auto& witness : false_world.witnesses) keys.push_back(witness.public_key());
  header.witnesses = header.next_witnesses = witness_set_hash(keys);
  proof = prove("bob");
  proof.block = decided_header(decode_block(false_world.decide({header, {}})).value());
  EXPECT_REFUSED(check(proof), Errc::invalid, "decided by other witnesses");
}

TEST_F(Proof, FollowsTheWitnessesFromSetToSet) {
  // As the chain would be if the witnesses had changed at block 3, for the blocks from 4 on.
  World next(7);
  std::vector<PublicKey> keys;
  for (const auto& witness : next.witnesses) keys.push_back(witness.public_key());
  auto at_3 = decode_block(world.blocks.back())->header;
  at_3.next_witnesses = witness_set_hash(keys);
  auto at_4 = at_3;
  at_4.height = at_3.height + 1;
  at_4.previous = block_hash(at_3);
  at_4.witnesses = at_3.next_witnesses;

  auto proof = prove("bob");
  proof.changes.push_back({decided_header(decode_block(world.decide({at_3, {}})).value()), keys});
  proof.block = decided_header(decode_block(next.decide({at_4, {}})).value());
  proof = again(proof);
  const auto shown = check(proof);
  ASSERT_TRUE(shown) << why(shown);
  EXPECT_EQ(shown->witnesses, 7u);
  EXPECT_EQ(shown->block.height, 4u);

  auto bent = proof;
  bent.changes[0].next_witnesses.pop_back();
  EXPECT_REFUSED(check(bent), Errc::invalid, "not those that block 3 names");
  bent = proof;
  bent.changes[0].block.votes.resize(2);
  EXPECT_REFUSED(check(bent), Errc::invalid, "2 of 4 witnesses");
  bent = proof;
  bent.changes.push_back(bent.changes[0]);
  EXPECT_FALSE(check(bent)) << "the same step twice";
  bent.changes.clear();
  EXPECT_REFUSED(check(bent), Errc::invalid, "other witnesses");

  // From a block that the reader has pinned.
  HandleProof pinned = proof;
  pinned.genesis.clear();
  pinned.pinned = {proof.changes[0].block.header, keys};
  pinned.changes.clear();
  pinned = again(pinned);
  const Checkpoint known{3, block_hash(at_3)};
  EXPECT_EQ(why(check_proof(pinned, ledger.network(), known)), "");
  EXPECT_REFUSED(check(pinned), Errc::invalid, "--pin");
  EXPECT_REFUSED(check_proof(pinned, ledger.network(), Checkpoint{3, ledger.head().block}), Errc::invalid,
                 "not the one that you trust");
  bent = pinned;
  bent.pinned->next_witnesses.pop_back();
  EXPECT_REFUSED(check_proof(bent, ledger.network(), known), Errc::invalid, "the trusted block");
  NetworkId other = ledger.network();
  other.bytes[0] ^= 1;
  EXPECT_REFUSED(check_proof(pinned, other, known), Errc::invalid, "another network");
}

TEST_F(Proof, WithAnyBitFlippedOrCutOffShowsNothingElse) {
  const auto bytes = encode_proof(prove("bob"));
  const auto shown = check(decode_proof(bytes, ledger.network()).value()).value();
  for (std::size_t at = 0; at < bytes.size(); ++at)
    for (const int bit : {0, 7}) {
      auto bent = bytes;
      bent[at] = static_cast<std::uint8_t>(bent[at] ^ 1 << bit);
      const auto proof = decode_proof(bent, ledger.network());
      if (!proof) continue;
      const auto other = check(*proof);
      // Votes beyond the quorum may go; the statement stays.
      const auto* of = std::get_if<HandleProof>(&*proof);
      EXPECT_FALSE(other && (!of || of->handle != "bob" || of->record != encode_handle(*ledger.handle("bob")) ||
                             other->block != shown.block))
          << at;
    }
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_proof(ByteView(bytes).first(size), ledger.network())) << size;
}

TEST_F(Proof, ShowsThatAnEntryStandsInTheLog) {
  for (std::uint64_t index = 0; index < ledger.entry_count(); ++index) {
    const auto proof = again(prove_entry(index));
    const auto shown = check(proof);
    ASSERT_TRUE(shown) << why(shown);
    EXPECT_EQ(shown->block, ledger.head());
    EXPECT_EQ(shown->entries, ledger.entry_count());
    EXPECT_EQ(proof.index, index);

    auto bent = proof;
    bent.entry.back() ^= 1;
    EXPECT_REFUSED(check(bent), Errc::invalid, "does not lead from entry");
    for (const auto other : {index + 1, ledger.entry_count(), std::uint64_t(-1)}) {
      bent = proof;
      bent.index = other;
      EXPECT_REFUSED(check(bent), Errc::invalid, "does not lead from entry");
    }
    bent = proof;
    bent.path.push_back(ledger.log_root());
    EXPECT_REFUSED(check(bent), Errc::invalid, "does not lead from entry");
    bent = proof;
    bent.block.votes.resize(2);
    EXPECT_REFUSED(check(bent), Errc::invalid, "2 of 4 witnesses");
  }
}

TEST_F(Proof, ShowsThatTheLogOnlyGrew) {
  EXPECT_EQ(why(world.pass(ledger)), "");
  for (std::uint64_t old = 1; old < ledger.head().height; ++old) {
    const auto proof = again(prove_extension(old));
    const auto shown = check(proof);
    ASSERT_TRUE(shown) << why(shown);
    EXPECT_EQ(shown->block, ledger.head());

    // Every witness signs an older log that the new one does not begin with: no proof joins the two.
    auto forked = decode_block(world.blocks[old - 1])->header;
    forked.log_root = ledger.map_root();
    auto bent = proof;
    bent.old = decided_header(decode_block(world.decide({forked, {}})).value());
    EXPECT_REFUSED(check(bent), Errc::invalid, "does not show that the log");
    bent = proof;
    bent.path.push_back(ledger.log_root());
    EXPECT_REFUSED(check(bent), Errc::invalid, "does not show that the log");
    bent = proof;
    bent.old.votes.resize(2);
    EXPECT_REFUSED(check(bent), Errc::invalid, "its older block: 2 of 4 witnesses");
  }
  auto bent = prove_extension(1);
  bent.old = bent.block;
  EXPECT_REFUSED(check(bent), Errc::invalid, "is not before block");
  bent = prove_extension(1);
  bent.genesis.clear();
  bent.pinned = {decided_header(decode_block(world.blocks[1]).value()).header, world.genesis.witnesses};
  EXPECT_REFUSED(check_proof(bent, ledger.network(), Checkpoint{2, *ledger.block_at(2)}), Errc::invalid,
                 "not behind the place where trust begins");
}

TEST_F(Proof, FollowsTheWitnessesToAnOlderBlockToo) {
  // As if the witnesses had changed at block 3, for the blocks from 4 on, which add nothing to the log.
  World next(7);
  std::vector<PublicKey> keys;
  for (const auto& witness : next.witnesses) keys.push_back(witness.public_key());
  auto at_3 = decode_block(world.blocks.back())->header;
  at_3.next_witnesses = witness_set_hash(keys);
  auto at_4 = at_3;
  at_4.height = 4;
  at_4.witnesses = at_3.next_witnesses;
  auto at_5 = at_4;
  at_5.height = 5;
  const auto decided = [](const World& by, const BlockHeader& header) {
    return decided_header(decode_block(by.decide({header, {}})).value());
  };
  ExtensionProof proof{prove_extension(1)};
  proof.path.clear();
  proof.changes = {{decided(world, at_3), keys}};
  proof.block = decided(next, at_5);
  proof.old = proof.changes[0].block;  // of the old witnesses
  EXPECT_EQ(why(check(again(proof))), "");
  proof.old = decided(next, at_4);
  EXPECT_EQ(why(check(again(proof))), "");
  at_4.witnesses = decode_block(world.blocks.back())->header.witnesses;
  proof.old = decided(world, at_4);
  EXPECT_REFUSED(check(again(proof)), Errc::invalid, "decided by other witnesses");
}

TEST_F(Proof, OfEitherKindIsReadWholeOrNotAtAll) {
  for (const LedgerProof& proof : {LedgerProof(prove_entry(1)), LedgerProof(prove_extension(2))}) {
    const auto bytes = encode_proof(proof);
    for (std::size_t size = 0; size < bytes.size(); ++size)
      EXPECT_FALSE(decode_proof(ByteView(bytes).first(size), ledger.network())) << size;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
      auto bent = bytes;
      bent[at] ^= 1;
      const auto read = decode_proof(bent, ledger.network());
      if (!read || !check(*read)) continue;
      // Only votes that the quorum does not need may be missing then, so the statement is the same.
      EXPECT_EQ(read->index(), proof.index()) << at;
      if (const auto* entry = std::get_if<EntryProof>(&*read)) {
        EXPECT_EQ(entry->entry, prove_entry(1).entry) << at;
      }
    }
  }
  auto newer = encode_proof(prove_entry(0));
  newer[5] = 3;  // behind the array's head of three bytes, version and suite
  EXPECT_REFUSED(decode_proof(newer, ledger.network()), Errc::not_available, "kind 3");
}

TEST_F(Proof, IsSmall) {
  // 7 witnesses of whom 5 voted, one home in the genesis, a million handles: 20 siblings.
  World seven(7);
  auto of_seven = seven.ledger();
  auto proof = seven.prove(of_seven, "alice");
  proof.block.votes.resize(5);
  proof.path.siblings.resize(20, seven.genesis.succession);
  const auto from_genesis = encode_proof(proof).size();
  RecordProperty("bytes_from_genesis", static_cast<int>(from_genesis));
  EXPECT_LT(from_genesis, 2200u);
  proof.pinned = {proof.block.header, seven.genesis.witnesses};
  const auto from_block = encode_proof(proof).size();
  RecordProperty("bytes_from_block", static_cast<int>(from_block));
  EXPECT_LT(from_block, 1900u);
  EntryProof entry{seven.prove_entry(of_seven, 0)};
  entry.path.resize(20, seven.genesis.succession);
  entry.block.votes.resize(5);
  EXPECT_LT(encode_proof(entry).size(), 2600u) << "with an entry of alice's registration's size";
  const auto before = from_block;
  proof.changes.push_back({proof.block, seven.genesis.witnesses});
  EXPECT_LT(encode_proof(proof).size() - before, 900u);
}

}  // namespace
}  // namespace diot
