// Which blocks a ledger takes, whoever signed them (docs/protocol.md, "Block").

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/ledger/limits.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

/// Everything that a ledger tells about itself.
void expect_equal(const Ledger& a, const Ledger& b) {
  EXPECT_EQ(a.head(), b.head());
  EXPECT_EQ(a.head_time(), b.head_time());
  EXPECT_EQ(a.entry_count(), b.entry_count());
  EXPECT_EQ(a.log_root(), b.log_root());
  EXPECT_EQ(a.map_root(), b.map_root());
  EXPECT_EQ(a.handles(), b.handles());
}

class LedgerBlocks : public ::testing::Test {
 protected:
  World world;
  Ledger ledger = world.ledger();

  /// The next block, with bob in it, changed and voted upon anew.
  template <class Change>
  Bytes changed(Change change) {
    auto proposal = ledger.propose({world.join(ledger, bob, 1000)}, world.now).value();
    change(proposal);
    return world.decide(proposal);
  }
  void expect_refused(const Bytes& block, Errc code, const char* text) {
    const auto replica = world.ledger();
    EXPECT_REFUSED(ledger.append(block), code, text);
    expect_equal(ledger, replica);
    EXPECT_EQ(ledger.handle_of(bob.node.node_id()), nullptr);
  }
};

TEST_F(LedgerBlocks, StartFromTheGenesis) {
  const auto fresh = Ledger::from_genesis(world.genesis_bytes).value();
  EXPECT_EQ(fresh.head(), (Checkpoint{0, sha256(world.genesis_bytes)}));
  EXPECT_EQ(fresh.head_time(), start_ms);
  EXPECT_EQ(fresh.network(), network_id_of(world.genesis_bytes));
  EXPECT_TRUE(fresh.handles().empty());
  EXPECT_TRUE(fresh.map_root().is_zero());
  EXPECT_EQ(fresh.block_at(0), sha256(world.genesis_bytes));
  EXPECT_EQ(fresh.block_at(1), std::nullopt);
}

TEST_F(LedgerBlocks, Block1IsMadeOfTheFoundersAndNothingElse) {
  auto fresh = Ledger::from_genesis(world.genesis_bytes).value();
  const auto block = fresh.make_first_block(start_ms, world.witnesses[0]);
  ASSERT_TRUE(block) << why(block);
  EXPECT_EQ(*block, world.blocks[0]);
  auto proposal = fresh.propose(world.genesis.founding, start_ms).value();
  proposal.entries.clear();
  proposal.header.entries = 0;
  EXPECT_REFUSED(fresh.append(world.decide(proposal)), Errc::invalid, "founding entries");
  ASSERT_EQ(why(fresh.append(*block)), "");
  EXPECT_REFUSED(fresh.make_first_block(start_ms, world.witnesses[0]), Errc::exists, "block 1");
}

TEST_F(LedgerBlocks, ReplayGivesTheStateThatMakingGave) {
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000), world.join(ledger, carol, 1001)})), "");
  world.now += day_ms;
  auto record = *ledger.handle("bob");
  record.nodes.emplace_back(bob.second.node_id(), Role::member);
  ASSERT_EQ(why(world.commit(ledger, {make_update(record, ledger.network(), ledger.head(), bob.owner, {bob.second})})),
            "");
  expect_equal(world.ledger(), ledger);
}

TEST_F(LedgerBlocks, AnUntouchedProposalIsAccepted) {
  EXPECT_EQ(why(ledger.append(changed([](auto&) {}))), "");
}

TEST_F(LedgerBlocks, EveryFieldOfTheHeaderIsChecked) {
  expect_refused(changed([](auto& p) { p.header.rules_version = 2; }), Errc::invalid, "rules version 2");
  expect_refused(changed([](auto& p) { p.header.network.bytes[0] ^= 1; }), Errc::invalid, "another network");
  expect_refused(changed([](auto& p) { p.header.height = 1; }), Errc::invalid, "block 2: it says that it is block 1");
  expect_refused(changed([](auto& p) { p.header.height = 3; }), Errc::invalid, "block 2: it says that it is block 3");
  expect_refused(changed([](auto& p) { p.header.time = start_ms - 1; }), Errc::invalid, "its time is before");
  expect_refused(changed([](auto& p) { p.header.time = limits::wall_ms_max + 1; }), Errc::invalid, "malformed");
  expect_refused(changed([](auto& p) { p.header.previous.bytes[0] ^= 1; }), Errc::invalid, "does not follow");
  expect_refused(changed([](auto& p) { p.header.entries += 1; }), Errc::invalid, "counts 3 entries, there are 2");
  expect_refused(changed([](auto& p) { p.header.log_root.bytes[31] ^= 1; }), Errc::invalid, "log root");
  expect_refused(changed([](auto& p) { p.header.map_root.bytes[31] ^= 1; }), Errc::invalid, "map root");
  expect_refused(changed([](auto& p) { p.header.witnesses.bytes[0] ^= 1; }), Errc::invalid, "other witnesses");
  expect_refused(changed([](auto& p) { p.header.next_witnesses.bytes[0] ^= 1; }), Errc::invalid, "other witnesses");
  EXPECT_EQ(why(ledger.append(changed([](auto&) {}))), "");
}

TEST_F(LedgerBlocks, AForbiddenEntryIsRefusedThoughTheWitnessSigned) {
  expect_refused(changed([&](auto& p) {
                   p.entries.push_back(p.entries[0]);
                   p.header.entries += 1;
                 }),
                 Errc::exists, "block 2: entry 1 ('bob'): handle 'bob' is taken");
  expect_refused(changed([](auto& p) { p.entries[0] = {1, 2, 3}; }), Errc::invalid, "block 2: entry 0: malformed");
}

TEST_F(LedgerBlocks, AreTakenWholeOrNotAtAll) {
  const auto good = world.join(ledger, bob, 1000), bad = world.join(ledger, alice, 1001);
  auto proposal = ledger.propose({good}, world.now).value();
  proposal.entries.push_back(bad);
  proposal.header.entries += 1;
  expect_refused(world.decide(proposal), Errc::exists, "entry 1 ('alice')");
  ASSERT_EQ(why(world.commit(ledger, {good})), "");  // nothing of bob stuck
}

TEST_F(LedgerBlocks, AnotherGenesisIsAnotherChain) {
  World other;
  other.genesis.nonce.fill(8);
  other.genesis_bytes = encode_genesis(other.genesis, other.witnesses);
  auto foreign = other.ledger();
  const auto block = foreign.propose({other.join(foreign, bob, 1000)}, other.now).value();
  expect_refused(other.decide(block), Errc::invalid, "another network");
}

TEST_F(LedgerBlocks, TimesNeverFall) {
  world.now += 5000;
  ASSERT_EQ(why(world.commit(ledger, {world.join(ledger, bob, 1000)})), "");
  const auto block = ledger.make_block({world.join(ledger, carol, 1001)}, start_ms, world.witnesses[0]);
  ASSERT_EQ(why(ledger.append(*block)), "");  // the clock went back: the block's time stays
  EXPECT_EQ(ledger.head_time(), start_ms + 5000);
}

TEST_F(LedgerBlocks, MayBeEmpty) {  // a checkpoint of freshness
  auto proposal = ledger.propose({world.join(ledger, bob, 1000)}, world.now).value();
  proposal.entries.clear();
  proposal.header.entries = 1;
  proposal.header.log_root = ledger.log_root();
  proposal.header.map_root = ledger.map_root();
  EXPECT_EQ(why(ledger.append(world.decide(proposal))), "");
  EXPECT_EQ(ledger.head().height, 2u);
}

// Making --------------------------------------------------------------------------------------------------------

TEST_F(LedgerBlocks, AreMadeByTheWitnessAlone) {
  const auto entry = world.join(ledger, bob, 1000);
  EXPECT_REFUSED(ledger.make_block({entry}, world.now, alice.node), Errc::not_permitted, "not a witness");
  EXPECT_REFUSED(ledger.make_block({to_bytes("x")}, world.now, world.witnesses[0]), Errc::not_found, "no entry");
  const auto block = ledger.make_block({entry}, world.now, world.witnesses[0]);
  ASSERT_EQ(why(ledger.append(*block)), "");
}

TEST_F(LedgerBlocks, OfNoEntriesAreCheckpointsOfFreshness) {
  world.now += day_ms;
  const auto block = ledger.make_block({}, world.now, world.witnesses[0]);
  ASSERT_EQ(why(block), "");
  const auto root = ledger.log_root();
  ASSERT_EQ(why(ledger.append(*block)), "");
  EXPECT_EQ(ledger.head_time(), world.now);
  EXPECT_EQ(ledger.log_root(), root);
}

TEST_F(LedgerBlocks, MakingChangesNothing) {
  const auto replica = world.ledger();
  EXPECT_TRUE(ledger.make_block({world.join(ledger, bob, 1000)}, world.now, world.witnesses[0]));
  expect_equal(ledger, replica);
  EXPECT_EQ(why(ledger.append(changed([](auto&) {}))), "");
}

TEST_F(LedgerBlocks, TellRefusedEntriesAndTakeTheOthers) {
  std::vector<std::string> refused;
  const auto block = ledger.make_block(
      {{1, 2, 3}, world.join(ledger, alice, 1000), world.join(ledger, bob, 1001), Bytes(limits::block_bytes_max)},
      world.now, world.witnesses[0], [&](const Bytes&, const Error& error) { refused.push_back(error.message); });
  ASSERT_EQ(refused.size(), 3u);
  EXPECT_THAT(refused[0], ::testing::HasSubstr("malformed"));
  EXPECT_THAT(refused[1], ::testing::HasSubstr("taken"));
  EXPECT_THAT(refused[2], ::testing::HasSubstr("at most"));
  ASSERT_EQ(why(ledger.append(*block)), "");
  EXPECT_TRUE(ledger.handle("bob"));
}

TEST_F(LedgerBlocks, SendToTheNextWhatNoLongerFits) {
  // Updates of a handle with 64 nodes take 2.5 KB each, so that some 400 fill a block. 20 handles may change so often.
  std::vector<Home> founders;
  for (std::uint64_t i = 0; i < 20; ++i) {
    founders.emplace_back(fmt::format("founder{}{}", static_cast<char>('a' + i / 5), static_cast<char>('a' + i % 5)),
                          100 + i);
    world.genesis.founding.push_back(
        make_register(founders.back().registration(), {}, {}, founders.back().owner, {founders.back().node}, nullptr));
  }
  world.refound();
  world.blocks.clear();
  ledger = world.ledger();
  std::vector<Bytes> entries;
  for (std::uint64_t version = 1; version <= 30; ++version) {
    for (std::size_t i = 0; i < founders.size(); ++i) {
      auto record = *ledger.handle(founders[i].handle);
      std::vector<KeyPair> keys;
      while (record.nodes.size() < limits::nodes_per_handle_max) {
        keys.push_back(test_key(100'000 + i * 100 + keys.size()));
        record.nodes.emplace_back(keys.back().node_id(), Role::member);
      }
      record.version = version;
      if (version > 1) keys.clear();
      entries.push_back(make_update(record, ledger.network(), ledger.head(), founders[i].owner, keys));
    }
  }
  const auto block = ledger.make_block(entries, world.now, world.witnesses[0],
                                       [&](const Bytes&, const Error& error) { ADD_FAILURE() << error.message; });
  ASSERT_TRUE(block) << why(block);
  EXPECT_LE(block->size(), limits::block_bytes_max);
  EXPECT_GT(block->size(), limits::block_bytes_max - 32'768);
  const auto taken = decode_block(*block)->entries;
  ASSERT_LT(taken.size(), entries.size());
  EXPECT_TRUE(std::ranges::equal(taken, std::span(entries).first(taken.size()))) << "the first ones, in their order";
  ASSERT_EQ(why(ledger.append(*block)), "");
  const std::vector left(entries.begin() + static_cast<std::ptrdiff_t>(taken.size()), entries.end());
  EXPECT_EQ(why(world.commit(ledger, left)), "");
}

TEST_F(LedgerBlocks, CountAnEntryOnceThatIsHandedInTwice) {
  const auto entry = world.join(ledger, bob, 1000);
  ASSERT_EQ(why(world.commit(ledger, {entry, entry})), "");
  EXPECT_EQ(ledger.entry_count(), 2u);
}

// Several witnesses ------------------------------------------------------------------------------------------------

class LedgerVotes : public ::testing::Test {
 protected:
  World world{4};
  Ledger ledger = world.ledger();
  Ledger::Proposal proposal = ledger.propose({world.join(ledger, bob, 1000)}, world.now).value();

  BlockView::Vote vote(std::size_t index, std::uint32_t round = 0) const {
    return make_vote(proposal.header, round, static_cast<std::uint32_t>(index), world.now + index,
                     world.witnesses[index]);
  }
  Result<void> append(const std::vector<BlockView::Vote>& votes, std::uint32_t round = 0) {
    return ledger.append(encode_block(proposal.header, proposal.entries, round, votes));
  }
};

TEST_F(LedgerVotes, OfMoreThanTwoThirdsDecide) {
  EXPECT_REFUSED(append({vote(0), vote(1)}), Errc::invalid, "2 of 4 witnesses");
  EXPECT_REFUSED(append({}), Errc::invalid, "0 of 4");
  EXPECT_EQ(why(append({vote(0), vote(2), vote(3)})), "");
}

TEST(LedgerQuorum, IsMoreThanTwoThirds) {
  for (const auto& [witnesses, needed] : {std::pair{1, 1}, {2, 2}, {3, 3}, {4, 3}, {5, 4}, {6, 5}, {7, 5}, {10, 7}}) {
    World world(static_cast<std::size_t>(witnesses));
    auto ledger = world.ledger();
    const auto proposal = ledger.propose({world.join(ledger, bob, 1000)}, world.now).value();
    std::vector<BlockView::Vote> votes;
    for (int i = 0; i < needed; ++i) {
      const auto index = static_cast<std::size_t>(i);
      EXPECT_FALSE(ledger.append(encode_block(proposal.header, proposal.entries, 0, votes)))
          << i << " of " << witnesses;
      votes.push_back(make_vote(proposal.header, 0, static_cast<std::uint32_t>(i), world.now, world.witnesses[index]));
    }
    EXPECT_EQ(why(ledger.append(encode_block(proposal.header, proposal.entries, 0, votes))), "") << witnesses;
  }
}

TEST_F(LedgerVotes, CountOnceAndInOrder) {
  EXPECT_REFUSED(append({vote(0), vote(0), vote(1)}), Errc::invalid, "ascending");
  EXPECT_REFUSED(append({vote(2), vote(1), vote(0)}), Errc::invalid, "ascending");
}

TEST_F(LedgerVotes, AreEachCheckedEvenBeyondTheQuorum) {
  auto wrong = vote(3);
  wrong.time += 1;
  EXPECT_REFUSED(append({vote(0), vote(1), vote(2), wrong}), Errc::invalid, "vote of witness 3");
  auto stranger = make_vote(proposal.header, 0, 3, world.now, bob.node);
  EXPECT_REFUSED(append({vote(0), vote(1), stranger}), Errc::invalid, "vote of witness 3");
  auto beyond = vote(3);
  beyond.witness = 4;
  EXPECT_REFUSED(append({vote(0), vote(1), vote(2), beyond}), Errc::invalid, "witness 4, of whom there are 4");
}

TEST_F(LedgerVotes, AreForOneRoundAndOneBlock) {
  EXPECT_REFUSED(append({vote(0), vote(1), vote(2)}, 1), Errc::invalid, "vote of witness 0");
  EXPECT_REFUSED(append({vote(0, 7), vote(1, 7), vote(2, 6)}, 7), Errc::invalid, "vote of witness 2");
  const auto votes = std::vector{vote(0, 7), vote(1, 7), vote(2, 7)};
  auto other = proposal;
  other.header.time += 1;
  EXPECT_REFUSED(ledger.append(encode_block(other.header, other.entries, 7, votes)), Errc::invalid, "witness 0");
  EXPECT_EQ(why(append(votes, 7)), "");
}

TEST_F(LedgerVotes, AreGatheredByALaterVersion) {
  EXPECT_REFUSED(ledger.make_block(proposal.entries, world.now, world.witnesses[1]), Errc::not_available,
                 "several witnesses");
  EXPECT_REFUSED(ledger.make_block(proposal.entries, world.now, bob.node), Errc::not_permitted, "not a witness");
}

TEST(LedgerSoleVote, HasTheBlocksTime) {
  World world;
  auto ledger = world.ledger();
  const auto proposal = ledger.propose({world.join(ledger, bob, 1000)}, world.now).value();
  const auto late = make_vote(proposal.header, 0, 0, world.now + 1, world.witnesses[0]);
  EXPECT_REFUSED(ledger.append(encode_block(proposal.header, proposal.entries, 0, {late})), Errc::invalid,
                 "its time is not that of the sole witness");
}

}  // namespace
}  // namespace diot
