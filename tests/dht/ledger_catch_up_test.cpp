// Nodes that are far behind, over the links of an overlay.

#include <gtest/gtest.h>

#include <set>

#include "core/ledger/placement.hpp"
#include "core/ledger/storage.hpp"
#include "dht/wire.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

class LedgerCatchUps : public ::testing::Test {
 protected:
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);

  /// Bob was away for 40 days in which two homes were let in, one of them at the end.
  void be_away() {
    world.run();
    world.kill(bob);
    world.join("carol", alice);
    world.clock.now_ms += 40ull * 24 * 3'600'000;
    world.join("dave", alice);
    world.run();
    world.blocks.resize(2);
    bob.catch_up = {1, 1};
  }
};

TEST_F(LedgerCatchUps, TakeTheLedgerOverAtItsNewestBlockAndGoOn) {
  be_away();
  world.start(bob);
  world.pass(std::chrono::seconds(3));
  EXPECT_EQ(bob.ledger->head(), alice.ledger->head());
  EXPECT_EQ(bob.ledger->handles(), alice.ledger->handles());
  EXPECT_EQ(stored_base(*bob.store).value(), alice.ledger->head().height);
  const auto loaded = load_ledger(world.genesis_bytes, *bob.store);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->head(), alice.ledger->head());

  world.join("erin", alice);
  world.pass(std::chrono::seconds(1));
  EXPECT_EQ(bob.ledger->head(), alice.ledger->head());
  EXPECT_TRUE(bob.ledger->handle("erin"));
}

TEST_F(LedgerCatchUps, AskAgainWhenAnAnswerIsWrongOrDoesNotCome) {
  be_away();
  int answers = 0;
  world.on_wire = [&](const Home&, const Home&, FrameType type, Bytes& body) {
    if (type != FrameType::ledger_part) return true;
    ++answers;
    if (answers % 4 == 1) body[body.size() / 2] ^= 1;
    return answers % 4 != 2;
  };
  world.start(bob);
  world.pass(std::chrono::minutes(2));
  EXPECT_EQ(bob.ledger->head(), alice.ledger->head());
  EXPECT_GT(answers, 6);
  EXPECT_GT(bob.overlay->counters().at("parts of the ledger refused"), 0u);
  EXPECT_GT(bob.overlay->counters().at("block requests without an answer"), 0u);
}

TEST_F(LedgerCatchUps, FollowAPeerThatBeganWithASnapshotWhereNothingWasRegistered) {
  Home& carol = world.join("carol", alice);
  Home& dave = world.join("dave", alice);  // of four nodes not everyone keeps everything
  world.run();
  for (Home* home : {&bob, &carol, &dave}) world.kill(*home);
  for (const auto away : {std::chrono::hours(2), std::chrono::hours(40 * 24)}) {
    world.clock.now_ms += static_cast<WallMs>(std::chrono::milliseconds(away).count());
    world.pass(std::chrono::seconds(1));
  }
  const auto newest = alice.ledger->head();
  ASSERT_EQ(newest.height, 6u) << "two blocks without entries";
  world.blocks.resize(4);
  bob.catch_up = {1, 0};
  world.start(bob);
  world.pass(std::chrono::seconds(3));
  ASSERT_EQ(stored_base(*bob.store).value(), newest.height);
  ASSERT_FALSE(bob.store->rows(Table::block).contains(block_key(5)));

  world.kill(alice);
  world.start(carol);
  world.pass(std::chrono::seconds(10));
  EXPECT_EQ(carol.ledger->head(), newest);
  EXPECT_EQ(carol.ledger->map_root(), alice.ledger->map_root());
}

TEST_F(LedgerCatchUps, TheOlderBlocksAreFetchedWhereTheyAreWanted) {
  be_away();
  int wrong = 0;
  world.on_wire = [&](const Home&, const Home&, FrameType type, Bytes& body) {
    const auto part = type == FrameType::ledger_part ? decode_part(body) : std::nullopt;
    const bool older = part && std::holds_alternative<BlocksPart>(*part) && bob.ledger->head() == alice.ledger->head();
    if (older && ++wrong <= 2) body[body.size() / 2] ^= 1;
    return true;
  };
  world.start(bob);
  world.pass(std::chrono::seconds(3));
  ASSERT_EQ(stored_missing(*bob.store).value(), (std::vector<BlockRange>{{3, 3}}));
  auto& history = bob.overlay->ledger_sync().history();
  EXPECT_FALSE(history.status().fetching) << "four nodes share the old blocks, and of these there is no whole unit yet";

  history.fetch();
  world.pass(std::chrono::minutes(1));
  EXPECT_GT(wrong, 2);
  EXPECT_TRUE(stored_missing(*bob.store).value().empty());
  EXPECT_EQ(bob.store->rows(Table::block), alice.store->rows(Table::block));
}

TEST_F(LedgerCatchUps, AnArchiveFetchesThemByItself) {
  be_away();
  bob.archive = true;
  world.start(bob);
  world.pass(std::chrono::seconds(5));
  EXPECT_EQ(bob.ledger->head(), alice.ledger->head());
  EXPECT_EQ(bob.store->rows(Table::block), alice.store->rows(Table::block));
  EXPECT_GT(stored_base(*bob.store).value(), 0u);
}

TEST_F(LedgerCatchUps, InASmallNetworkEverybodyHasThem) {
  world.run();
  world.kill(bob);
  const auto add_alice = [&] {
    auto changed = *alice.ledger->handle("alice");
    std::optional<Result<std::uint64_t>> height;
    alice.overlay->ledger_sync().submit(
        make_update(changed, alice.ledger->network(), alice.ledger->head(), alice.owner, {}),
        [&](auto at) { height = at; });
    world.run();
    ASSERT_TRUE(height && *height);
  };
  add_alice();
  world.clock.now_ms += 40ull * 24 * 3'600'000;
  add_alice();
  world.blocks.resize(2);
  bob.catch_up = {1, 1};
  world.start(bob);
  world.pass(std::chrono::seconds(5));
  EXPECT_EQ(bob.ledger->head(), alice.ledger->head());
  EXPECT_GT(stored_base(*bob.store).value(), 0u);
  EXPECT_EQ(bob.store->rows(Table::block), alice.store->rows(Table::block));
}

TEST_F(LedgerCatchUps, ALongLedgerIsNotReplayedAtEachStart) {
  bob.history = {std::chrono::seconds(1), 2};
  be_away();
  bob.catch_up = {};  // he replays
  world.start(bob);
  world.pass(std::chrono::seconds(5));
  EXPECT_EQ(bob.ledger->head(), alice.ledger->head());
  EXPECT_EQ(stored_base(*bob.store).value(), alice.ledger->head().height);
  EXPECT_TRUE(stored_missing(*bob.store).value().empty());
  EXPECT_EQ(bob.store->rows(Table::block), alice.store->rows(Table::block));
  const auto loaded = load_ledger(world.genesis_bytes, *bob.store);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->head(), alice.ledger->head());
}

/// Five homes, and a tile's entries in blocks before the window, for three of them to keep. Alice decides the blocks and
/// keeps all.
class OldBlocks : public LedgerCatchUps {
 protected:
  void SetUp() override {
    world.join("carol", alice);
    world.join("dave", alice);
    world.join("erin", alice);
    const auto update_alice = [&] {
      alice.overlay->ledger_sync().submit(
          make_update(*alice.ledger->handle("alice"), alice.ledger->network(), alice.ledger->head(), alice.owner, {}),
          [](auto) {});
      world.run();
    };
    for (int i = 0; alice.ledger->tiles().empty() || alice.ledger->entry_count() % tile_width < 3; ++i) {
      if (i % 20 == 0) world.clock.now_ms += 24 * 3'600'000;
      update_alice();
      ASSERT_LT(i, 400);
    }
    world.clock.now_ms += 40ull * 24 * 3'600'000;
    update_alice();
    world.pass(std::chrono::seconds(1));
    world.remember_blocks_of(alice);
    const auto units = history_units(*alice.ledger);
    ASSERT_EQ(units.size(), 1u);
    unit = units[0];
    for (auto& [handle, home] : world.homes) {
      home->history = bounds;
      world.kill(*home);
      world.start(*home);
    }
  }

  bool has_unit(const Home& home) const {
    for (auto height = unit.blocks.from; height <= unit.blocks.to; ++height)
      if (!home.store->rows(Table::block).contains(block_key(height))) return false;
    return true;
  }
  std::vector<NodeId> holders() const { return Placement(*alice.ledger).holders(unit.tile); }
  bool holds(const Home& home) const { return std::ranges::count(holders(), home.key.node_id()) != 0; }
  /// Who has the unit, by handle.
  std::set<std::string> having() const {
    std::set<std::string> out;
    for (const auto& [handle, home] : world.homes)
      if (has_unit(*home)) out.insert(handle);
    return out;
  }
  std::set<std::string> supposed_to_have() const {
    std::set<std::string> out{"alice"};
    for (const auto& [handle, home] : world.homes)
      if (holds(*home)) out.insert(handle);
    return out;
  }

  const HistoryBounds bounds{std::chrono::seconds(10), 1};
  HistoryUnit unit;
};

TEST_F(OldBlocks, AreDroppedWhenAllThatShouldKeepThemSaidThatTheyDo) {
  ASSERT_EQ(holders().size(), 3u);
  std::vector<Home*> others;
  Home* keeper = nullptr;
  for (auto& [handle, home] : world.homes) {
    if (home.get() == &alice) continue;
    if (holds(*home))
      keeper = home.get();
    else
      others.push_back(home.get());
  }
  ASSERT_TRUE(keeper && !others.empty());
  // One of them does not say so.
  world.on_wire = [&](const Home& from, const Home&, FrameType type, Bytes&) {
    return type != FrameType::ledger_part || &from != keeper;
  };
  world.pass(std::chrono::minutes(5));
  EXPECT_EQ(having().size(), 5u);
  EXPECT_EQ(others.front()->overlay->ledger_sync().history().status().waiting_units, 1u);

  world.on_wire = nullptr;
  world.pass(std::chrono::minutes(5));
  EXPECT_EQ(having(), supposed_to_have());
  EXPECT_EQ(stored_missing(*others.front()->store).value(), std::vector{unit.blocks});
  const auto loaded = load_ledger(world.genesis_bytes, *others.front()->store);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->map_root(), alice.ledger->map_root());
}

TEST_F(OldBlocks, MoveToANewNodeThatIsNearerToThem) {
  world.pass(std::chrono::minutes(5));
  ASSERT_EQ(having(), supposed_to_have());
  const auto before = holders();

  // The next home that is made is nearer than all that are there.
  const auto distance = [&](const NodeId& node) {
    auto out = node.bytes;
    for (std::size_t at = 0; at < out.size(); ++at) out[at] ^= unit.tile.bytes[at];
    return out;
  };
  for (auto next = world.random;; next = world.random) {
    if (distance(KeyPair::generate(next).node_id()) < distance(before[0])) break;
    (void)world.random.u64();
  }
  Home& frank = world.join("frank", alice);
  world.kill(frank);
  ASSERT_EQ(holders()[0], frank.key.node_id());
  Home* left = nullptr;  // who was the third of the nearest, and is the fourth
  for (auto& [handle, home] : world.homes)
    if (home->key.node_id() == before[2]) left = home.get();
  ASSERT_TRUE(left && left != &alice && !holds(*left));

  // He comes with a snapshot, and gets no older blocks.
  frank.store.reset();
  frank.catch_up = {1, 1};
  frank.history = bounds;
  world.blocks.resize(2);
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes& body) {
    const auto part = type == FrameType::ledger_part && &to == &frank ? decode_part(body) : std::nullopt;
    return !part || !std::holds_alternative<BlocksPart>(*part) || frank.ledger->head() != alice.ledger->head();
  };
  world.start(frank);
  world.pass(std::chrono::minutes(5));
  EXPECT_EQ(frank.ledger->head(), alice.ledger->head());
  EXPECT_FALSE(has_unit(frank));
  EXPECT_TRUE(frank.overlay->ledger_sync().history().status().fetching);
  EXPECT_TRUE(has_unit(*left)) << "frank has not said that he has them";

  world.on_wire = nullptr;
  world.pass(std::chrono::minutes(5));
  EXPECT_EQ(having(), supposed_to_have());
  EXPECT_TRUE(has_unit(frank));
  EXPECT_FALSE(has_unit(*left));
  for (auto height = unit.blocks.from; height <= unit.blocks.to; ++height)
    EXPECT_EQ(frank.store->rows(Table::block)[block_key(height)], alice.store->rows(Table::block)[block_key(height)]);
}

TEST_F(LedgerCatchUps, WhoHasWhichBlocksIsToldByThoseThatAnswer) {
  be_away();
  world.start(bob);
  world.pass(std::chrono::seconds(3));
  std::vector<LedgerHistory::Holder> told;
  std::size_t asked = 0;
  const auto survey = [&] {
    bob.overlay->ledger_sync().history().survey([&](const auto& holders, std::size_t links) {
      told = holders;
      asked = links;
    });
    world.pass(std::chrono::seconds(3));
  };
  survey();
  ASSERT_GE(told.size(), 1u);
  EXPECT_EQ(told.size(), asked);
  const auto of_alice = std::ranges::find(told, alice.key.node_id(), &LedgerHistory::Holder::node);
  ASSERT_NE(of_alice, told.end());
  EXPECT_EQ(of_alice->blocks, (std::vector<BlockRange>{{1, 4}}));

  world.on_wire = [](const Home&, const Home&, FrameType type, Bytes&) { return type != FrameType::ledger_part; };
  survey();
  EXPECT_TRUE(told.empty()) << "who does not answer is not waited for";
  EXPECT_GE(asked, 1u);
}

TEST_F(LedgerCatchUps, ALieAboutAHeightKeepsNobodyFromFollowing) {
  world.pass(std::chrono::seconds(1));
  const auto links = world.links_between(alice, bob);
  ASSERT_FALSE(links.empty());
  bob.overlay->link_frame(links[0], alice.key.node_id(), FrameType::ledger_head,
                          wire::encode_ledger_head({1'000'000, world.random.id<Hash>()}));
  world.join("carol", alice);
  world.pass(std::chrono::seconds(1));
  EXPECT_EQ(bob.ledger->head(), alice.ledger->head());
}

}  // namespace
}  // namespace diot::test
