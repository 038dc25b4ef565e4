// A ledger that begins with a snapshot: fetched part by part from nodes that may say anything, and stored.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/ledger/history_fetch.hpp"
#include "core/ledger/placement.hpp"
#include "core/ledger/snapshot_fetch.hpp"
#include "core/ledger/storage.hpp"
#include "core/ledger/verify.hpp"
#include "core/memory_store.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;
using Stage = SnapshotFetch::Stage;

class LedgerSnapshots : public ::testing::Test {
 protected:
  /// 700 homes founded it, so that the map is more than one answer; what came since is older and newer than 30 days.
  void SetUp() override {
    for (std::uint64_t i = 0; i < 700; ++i) {
      const Home home(fmt::format("home-{}-of-many", i), 100 + i);
      world.genesis.founding.push_back(make_register(home.registration(), {}, {}, home.owner, {home.node}, nullptr));
    }
    world.refound();
    ledger.emplace(world.ledger());
    keep();
    commit({world.join(*ledger, bob, 1000), world.join(*ledger, carol, 1001), world.join(*ledger, dave, 1002)});
    ChannelId channel;
    channel.bytes.fill(7);
    auto two = *ledger->handle("bob");
    two.nodes.emplace_back(bob.second.node_id(), Role::member);
    commit({make_update(two, ledger->network(), ledger->head(), bob.owner, {bob.second})});
    commit({world.entry(*ledger,
                        RevokeNodeBody{World::next(*ledger, "bob"), bob.second.node_id(), {{channel, {{1, 2}, 3, {}}}}},
                        {bob.owner})});
    const WitnessSet set{{{test_key(30).public_key(), alice.node.node_id()},
                          {test_key(31).public_key(), bob.node.node_id()},
                          {test_key(32).public_key(), carol.node.node_id()},
                          {test_key(33).public_key(), dave.node.node_id()}},
                         false};
    const std::vector<KeyPair> four{test_key(30), test_key(31), test_key(32), test_key(33)};
    auto signers = four;
    signers.push_back(world.witnesses[0]);
    commit({world.entry(*ledger, WitnessChangeBody{1, set}, signers)});
    pass(day_ms);
    world.witnesses = four;
    for (int i = 0; i < 400; ++i) {
      if (ledger->entry_count() % tile_width != tile_width - 1) {
        pass(day_ms / 10);
        continue;
      }
      // Where a tile ends a block goes on into the next one.
      world.now += day_ms / 10;
      const auto update = [&](const Home& home) {
        return make_update(*ledger->handle(home.handle), ledger->network(), ledger->head(), home.owner, {});
      };
      commit({update(alice), update(carol)});
    }
    for (int i = 0; i < 20; ++i) pass(2 * day_ms);
  }

  void keep() {
    const auto height = ledger->head().height;
    store.put(Table::block, block_key(height), world.blocks[height - 1]);
    store.seal();
  }
  void commit(const std::vector<Bytes>& entries) {
    ASSERT_EQ(why(world.commit(*ledger, entries)), "");
    keep();
  }
  void pass(WallMs time) {
    ASSERT_EQ(why(world.pass(*ledger, time)), "");
    keep();
  }
  Ledger genesis() const { return Ledger::from_genesis(world.genesis_bytes).value(); }
  Bytes answer(const Bytes& ask) { return encode_part(answer_ask(decode_ask(ask).value(), *ledger, store)); }
  static bool goes_on(const SnapshotFetch& fetch) {
    return fetch.stage() != Stage::ready && fetch.stage() != Stage::replay;
  }
  void run(SnapshotFetch& fetch) {
    while (goes_on(fetch)) ASSERT_EQ(why(fetch.take(answer(fetch.ask()), 0)), "");
  }
  Ledger first_blocks(std::size_t count) const {
    auto out = genesis();
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(why(out.append(world.blocks[i])), "");
    return out;
  }
  /// Begins with a snapshot on `disk`, which holds the first blocks up to `behind`.
  Ledger begin_with_snapshot(const Ledger& behind, std::uint64_t entries = 1) {
    for (std::uint64_t height = 1; height <= behind.head().height; ++height)
      disk.put(Table::block, block_key(height), world.blocks[height - 1]);
    disk.seal();
    SnapshotFetch fetch(behind, disk, entries);
    run(fetch);
    EXPECT_EQ(fetch.stage(), Stage::ready);
    disk.seal();
    auto out = fetch.finish(behind);
    EXPECT_EQ(why(out), "");
    disk.seal();
    return std::move(*out);
  }
  BlocksPart blocks_for(const Bytes& ask) { return std::get<BlocksPart>(decode_part(answer(ask)).value()); }
  /// Of everything that is missing on `disk`.
  HistoryFetch fetch_history(const Ledger& begun) {
    HistoryFetch out(begun, disk, stored_missing(disk).value());
    out.aim(out.missing());
    return out;
  }
  Result<VerifyReport> verify_disk() {
    std::uint64_t height = 0;
    return verify_chain(world.genesis_bytes, [&] { return disk.get(Table::block, block_key(++height)); });
  }
  void expect_equal(const Ledger& other) {
    EXPECT_EQ(other.head(), ledger->head());
    EXPECT_EQ(other.handles(), ledger->handles());
    EXPECT_EQ(other.network_record(), ledger->network_record());
    EXPECT_EQ(other.entry_count(), ledger->entry_count());
    EXPECT_EQ(other.log_root(), ledger->log_root());
    EXPECT_EQ(other.tiles(), ledger->tiles());
    EXPECT_EQ(other.witnesses(), ledger->witnesses());
    for (std::uint64_t height = 0; height <= ledger->head().height; ++height) {
      EXPECT_EQ(other.block_at(height), ledger->block_at(height));
      EXPECT_EQ(other.witnesses_at(height).keys(), ledger->witnesses_at(height).keys());
    }
    ChannelId channel;
    channel.bytes.fill(7);
    EXPECT_EQ(other.right_to_write("bob", bob.second.node_id(), channel).last.seq, 3u);
  }

  World world;
  std::optional<Ledger> ledger;
  MemoryStore store;  ///< of whoever is asked
  MemoryStore disk;   ///< of whoever asks
};

TEST_F(LedgerSnapshots, AreTheStateOfWhoReplayedEverythingAndSurviveOnDisk) {
  const auto begin = genesis();
  SnapshotFetch fetch(begin, disk, 100, Checkpoint{5, *ledger->block_at(5)});
  run(fetch);
  ASSERT_EQ(fetch.stage(), Stage::ready);
  const auto fetched = fetch.finish(begin);
  ASSERT_TRUE(fetched) << why(fetched);
  expect_equal(*fetched);
  EXPECT_LT(disk.rows(Table::block).size(), 50u) << "the blocks of 30 days";

  disk.seal();
  const auto loaded = load_ledger(world.genesis_bytes, disk);
  ASSERT_TRUE(loaded) << why(loaded);
  expect_equal(*loaded);
  StoredReport report;
  const auto verified = verify_stored(world.genesis_bytes, disk, report);
  ASSERT_TRUE(verified) << why(verified);
  EXPECT_EQ(report.base, ledger->head().height);
  EXPECT_EQ(report.first_replayed, ledger->head().height + 1);
  EXPECT_EQ(report.base_witnesses, 4u);
  EXPECT_EQ(report.base_votes, 4u);

  // Whoever began so can be asked like anybody else.
  MemoryStore third;
  SnapshotFetch from_fetched(begin, third, 100);
  while (goes_on(from_fetched))
    ASSERT_EQ(why(from_fetched.take(encode_part(answer_ask(decode_ask(from_fetched.ask()).value(), *loaded, disk)), 0)),
              "");
  const auto again = from_fetched.finish(begin);
  ASSERT_TRUE(again) << why(again);
  expect_equal(*again);
}

TEST_F(LedgerSnapshots, FollowALedgerThatMovesOnMeanwhile) {
  const auto begin = genesis();
  SnapshotFetch fetch(begin, disk, 100);
  int questions = 0, moves = 0;
  while (goes_on(fetch)) {
    ASSERT_LT(++questions, 200);
    // What the map holds changes under way, at first with each answer.
    if (fetch.stage() == Stage::state && (moves < 3 || (moves < 6 && questions % 7 == 0)) && ++moves) {
      if (moves == 2)
        commit({world.join(*ledger, Home("erin", 5), 1005)});
      else
        pass(60'000);
    }
    ASSERT_EQ(why(fetch.take(answer(fetch.ask()), 0)), "");
  }
  EXPECT_GE(moves, 3);
  const auto fetched = fetch.finish(begin);
  ASSERT_TRUE(fetched) << why(fetched);
  expect_equal(*fetched);
}

TEST_F(LedgerSnapshots, RefuseEachFlippedBitAndGoOnWithSomebodyElse) {
  const auto begin = genesis();
  SeededRandom random(4);
  int refused = 0, flips = 0;
  for (int round = 0; round < 20; ++round) {
    MemoryStore own;
    SnapshotFetch fetch(begin, own, 100);
    while (goes_on(fetch)) {
      auto part = answer(fetch.ask());
      if (random.u64() % 2 == 0) {
        const auto bit = random.u64() % (part.size() * 8);
        part[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
        ++flips;
        refused += !fetch.take(part, 0);
        continue;
      }
      // What is right is taken, but for the first block behind hashes that were wrong.
      const auto stage = fetch.stage();
      const auto taken = fetch.take(part, 0);
      ASSERT_TRUE(taken || stage == Stage::window) << why(taken);
    }
    ASSERT_EQ(fetch.stage(), Stage::ready);
    const auto fetched = fetch.finish(begin);
    ASSERT_TRUE(fetched) << why(fetched);
    expect_equal(*fetched);
  }
  EXPECT_GT(flips, 60);
  // But for hashes of older entries, which show only with the first block behind them.
  EXPECT_GT(refused * 2, flips);
}

TEST_F(LedgerSnapshots, AWrongHashOfOneNodeIsNotLaidToAnother) {
  const auto begin = genesis();
  SnapshotFetch fetch(begin, disk, 100);
  constexpr std::uint64_t liar = 1, honest = 2;
  while (fetch.stage() != Stage::log) ASSERT_EQ(why(fetch.take(answer(fetch.ask()), honest)), "");
  auto part = answer(fetch.ask());
  part.back() ^= 1;
  ASSERT_EQ(why(fetch.take(part, liar)), "") << "nothing shows it yet";
  ASSERT_EQ(fetch.stage(), Stage::window);
  EXPECT_EQ(why(fetch.take(answer(fetch.ask()), honest)), "");
  EXPECT_EQ(fetch.stage(), Stage::log) << "fetched again, and from that node";

  ASSERT_EQ(why(fetch.take(part, liar)), "");
  EXPECT_REFUSED(fetch.take(answer(fetch.ask()), liar), Errc::invalid, "or the hashes before it are wrong");
  while (goes_on(fetch)) ASSERT_EQ(why(fetch.take(answer(fetch.ask()), honest)), "");
  const auto fetched = fetch.finish(begin);
  ASSERT_TRUE(fetched) << why(fetched);
  expect_equal(*fetched);
}

TEST_F(LedgerSnapshots, AreLeftWhereTheWindowFollows) {
  const auto first = window_start(ledger->blocks());
  auto behind = genesis();
  for (std::uint64_t height = 1; height < first; ++height) ASSERT_EQ(why(behind.append(world.blocks[height - 1])), "");
  SnapshotFetch fetch(behind, disk, 0);
  run(fetch);
  EXPECT_EQ(fetch.stage(), Stage::replay);
}

TEST_F(LedgerSnapshots, RefuseAnotherChainThanTheInviteNames) {
  const auto begin = genesis();
  SnapshotFetch fetch(begin, disk, 100, Checkpoint{5, *ledger->block_at(6)});
  EXPECT_REFUSED(fetch.take(answer(fetch.ask()), 0), Errc::invalid, "block 5: it is not the one that the invite names");
}

TEST_F(LedgerSnapshots, RefuseWitnessesThatTheOldOnesDidNotName) {
  const auto begin = genesis();
  HeaderChain chain(begin);
  std::vector<ChainLink> page;
  for (const auto& block : world.blocks) page.push_back(link_of(decode_block(block).value(), *ledger));
  const auto change = std::ranges::find_if(page, [](const auto& link) { return !link.next_witnesses.empty(); });
  ASSERT_NE(change, page.end());
  EXPECT_EQ(why(HeaderChain(begin).add(page)), "");
  auto other = page;
  auto& keys = other[static_cast<std::size_t>(change - page.begin())].next_witnesses;
  keys[0] = test_key(77).public_key();
  EXPECT_REFUSED(HeaderChain(begin).add(other), Errc::invalid, "the witnesses behind it are not those that it names");
  other = page;
  other[static_cast<std::size_t>(change - page.begin())].block.votes.clear();
  EXPECT_REFUSED(HeaderChain(begin).add(other), Errc::invalid, "0 of 1 witnesses voted");
  other = page;
  other.back().block.votes.resize(2);
  EXPECT_REFUSED(chain.add(other), Errc::invalid, "2 of 4 witnesses voted");
  EXPECT_EQ(chain.height(), 0u) << "nothing of the page was taken";
  EXPECT_EQ(why(chain.add(page)), "");
  EXPECT_EQ(chain.height(), ledger->head().height);
}

TEST_F(LedgerSnapshots, ShortHistoriesAreReplayed) {
  const auto begin = genesis();
  SnapshotFetch fetch(begin, disk, 100'000);
  run(fetch);
  EXPECT_EQ(fetch.stage(), Stage::replay);
  disk.seal();
  EXPECT_TRUE(disk.rows(Table::meta).empty()) << "nothing of it stays";
}

TEST_F(LedgerSnapshots, GoOnBehindBlocksThatAreHere) {
  begin_with_snapshot(first_blocks(20), 100);
  const auto loaded = load_ledger(world.genesis_bytes, disk);
  ASSERT_TRUE(loaded) << why(loaded);
  expect_equal(*loaded);
  EXPECT_TRUE(disk.rows(Table::block).contains(block_key(20))) << "what was here stays";
}

TEST_F(LedgerSnapshots, AreNotLoadedFromADamagedDisk) {
  const auto begin = genesis();
  SnapshotFetch fetch(begin, disk, 100);
  run(fetch);
  ASSERT_TRUE(fetch.finish(begin));
  disk.seal();
  const auto damaged = [&](Table table, const Bytes& key) {
    MemoryStore copy(disk.image());
    copy.damage(table, key);
    return load_ledger(world.genesis_bytes, copy);
  };
  EXPECT_REFUSED(damaged(Table::meta, header_key(7)), Errc::corrupt, "block 7");
  EXPECT_REFUSED(damaged(Table::meta, record_key("bob")), Errc::corrupt, "a record is damaged");
  EXPECT_REFUSED(damaged(Table::block, block_key(ledger->head().height)), Errc::corrupt,
                 fmt::format("block {}", ledger->head().height));
  EXPECT_REFUSED(damaged(Table::meta, base_key()), Errc::corrupt, "damaged");
  // A whole row of something else.
  MemoryStore copy(disk.image());
  copy.rows(Table::meta)[record_key("bob")] = copy.rows(Table::meta)[record_key("carol")];
  EXPECT_REFUSED(load_ledger(world.genesis_bytes, copy), Errc::corrupt, "snapshot of the ledger is wrong");
}

TEST_F(LedgerSnapshots, FollowASuccession) {
  const std::vector<KeyPair> two{test_key(40), test_key(41)};
  const WitnessSet set{{{two[0].public_key(), alice.node.node_id()}, {two[1].public_key(), bob.node.node_id()}}, true};
  auto signers = two;
  signers.push_back(test_key(9));
  const auto entry = world.entry(*ledger, SuccessionBody{2, set}, signers);
  world.now += 4 * day_ms;
  const auto proposal = ledger->propose_succession(entry).value();
  world.witnesses = two;
  world.blocks.push_back(world.decide(proposal));
  ASSERT_EQ(why(ledger->append(world.blocks.back())), "");
  keep();
  for (int i = 0; i < 20; ++i) pass(2 * day_ms);
  const auto begin = genesis();
  SnapshotFetch fetch(begin, disk, 100);
  run(fetch);
  const auto fetched = fetch.finish(begin);
  ASSERT_TRUE(fetched) << why(fetched);
  expect_equal(*fetched);

  // Nobody else's word makes new witnesses.
  std::vector<ChainLink> page;
  for (const auto& block : world.blocks) page.push_back(link_of(decode_block(block).value(), *ledger));
  const auto succession = std::ranges::find_if(page, [](const auto& link) { return !link.succession.empty(); });
  ASSERT_NE(succession, page.end());
  auto thief = two;
  thief.push_back(test_key(8));
  succession->succession =
      make_entry(SuccessionBody{2, set}, ledger->network(), decode_entry(succession->succession)->recent, thief);
  EXPECT_REFUSED(HeaderChain(begin).add(page), Errc::invalid, "a signature of the succession in it is missing");
  succession->succession.clear();
  EXPECT_REFUSED(HeaderChain(begin).add(page), Errc::invalid, "other witnesses than the chain names");
}

TEST_F(LedgerSnapshots, TheBlocksThatTheyStandForCanBeFetched) {
  const auto begun = begin_with_snapshot(first_blocks(20));
  const auto first = window_start(begun.blocks());
  const BlockRange gap{21, first - 1};
  EXPECT_EQ(stored_missing(disk).value(), std::vector{gap});
  const auto held = answer_ask(HoldingsAsk{}, begun, disk);
  EXPECT_EQ(std::get<HoldingsPart>(held).blocks, (std::vector<BlockRange>{{1, 20}, {first, begun.head().height}}));

  auto fetch = fetch_history(begun);
  EXPECT_REFUSED(fetch.take(BlocksPart{}, 0), Errc::not_found, "has not got the older blocks");
  std::uint64_t fetched = 0;
  while (!fetch.done()) {
    ASSERT_EQ(why(fetch.take(blocks_for(fetch.ask()), 0)), "");
    for (; fetch.has_waiting(); ++fetched) {
      ASSERT_EQ(why(fetch.judge_next()), "");
      disk.seal();
      // A process that dies now goes on from here.
      if (fetched == 100) fetch = fetch_history(begun);
    }
  }
  EXPECT_EQ(fetched, gap.to - gap.from + 1);
  EXPECT_TRUE(stored_missing(disk).value().empty());
  EXPECT_EQ(disk.rows(Table::block), store.rows(Table::block));
  const auto verified = verify_disk();
  ASSERT_TRUE(verified) << why(verified);
  EXPECT_EQ(verified->head, ledger->head());
  const auto loaded = load_ledger(world.genesis_bytes, disk);
  ASSERT_TRUE(loaded) << why(loaded);
  expect_equal(*loaded);
}

TEST_F(LedgerSnapshots, OlderBlocksAreNotTakenWithOneBitFlipped) {
  const auto begun = begin_with_snapshot(genesis());
  auto fetch = fetch_history(begun);
  SeededRandom random(5);
  int refused = 0;
  while (!fetch.done()) {
    auto part = blocks_for(fetch.ask());
    part.blocks.resize(std::min<std::size_t>(part.blocks.size(), 20));
    auto bad = part;
    auto& block = bad.blocks[random.u64() % bad.blocks.size()];
    const auto bit = random.u64() % (block.size() * 8);
    block[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    ASSERT_EQ(why(fetch.take(bad, 0)), "");
    Result<void> judged;
    while (judged && fetch.has_waiting()) judged = fetch.judge_next();
    if (!judged) {
      EXPECT_EQ(judged.error().code, Errc::invalid);
      EXPECT_FALSE(fetch.has_waiting());
      ++refused;
    }
    disk.seal();
    if (fetch.done()) break;
    ASSERT_EQ(why(fetch.take(blocks_for(fetch.ask()), 0)), "");
    for (int good = 0; good < 5 && fetch.has_waiting(); ++good) ASSERT_EQ(why(fetch.judge_next()), "");
    disk.seal();
  }
  EXPECT_GT(refused, 5);
  EXPECT_TRUE(verify_disk()) << "what was taken is what the network decided";
}

TEST_F(LedgerSnapshots, OlderBlocksWithTooFewVotesAreRefused) {
  const auto begun = begin_with_snapshot(genesis());
  auto fetch = fetch_history(begun);
  auto part = blocks_for(fetch.ask());
  const auto last = decode_block(part.blocks.front()).value();
  part.blocks.front() = encode_block(last.header, last.entries, last.round, {});
  ASSERT_EQ(why(fetch.take(part, 0)), "");
  EXPECT_REFUSED(fetch.judge_next(), Errc::invalid, "block 1: 0 of 1 witnesses voted");
}

TEST_F(LedgerSnapshots, OldBlocksAreSharedInUnitsThatEndWithATile) {
  const auto units = history_units(*ledger);
  ASSERT_EQ(units.size(), 2u)
      << "the founders fill two tiles with block 1; the third and fourth are full, the fifth is not";
  EXPECT_EQ(units[0].blocks.from, 1u);
  EXPECT_EQ(units[0].tile, ledger->tiles()[2]) << "of block 1's last entry";
  std::uint64_t entries = 0, next = 1;
  for (std::size_t at = 0; at < units.size(); ++at) {
    EXPECT_EQ(units[at].blocks.from, next);
    next = units[at].blocks.to + 1;
    EXPECT_LT(units[at].blocks.to, window_start(ledger->blocks()));
    entries += units[at].entries;
    EXPECT_EQ(entries, ledger->blocks()[units[at].blocks.to].entries);
  }
}

TEST_F(LedgerSnapshots, EverybodyKnowsWhoKeepsAUnit) {
  const Placement placement(*ledger);
  EXPECT_FALSE(placement.everywhere());
  std::vector<NodeId> nodes;
  for (const auto& [name, record] : ledger->handles())
    for (const auto& [node, role] : record.nodes) nodes.push_back(node);
  for (const auto& tile : ledger->tiles()) {
    const auto distance = [&](const NodeId& node) {
      Hash out;
      for (std::size_t i = 0; i < Hash::size; ++i) out.bytes[i] = node.bytes[i] ^ tile.bytes[i];
      return out;
    };
    std::ranges::sort(nodes, {}, distance);
    EXPECT_EQ(placement.holders(tile), (std::vector<NodeId>{nodes[0], nodes[1], nodes[2]}));
  }
  EXPECT_TRUE(Placement(genesis()).everywhere()) << "there is nobody yet";
}

TEST_F(LedgerSnapshots, BlocksThatOthersKeepAreDroppedAndFetchedAgain) {
  const auto units = history_units(*ledger);
  ASSERT_GE(units.size(), 2u);
  for (const auto& [key, block] : store.rows(Table::block)) disk.put(Table::block, key, block);
  disk.seal();
  std::vector<BlockRange> missing;
  ASSERT_EQ(why(store_state(*ledger, {units[0].blocks}, missing, disk)), "");
  disk.seal();
  EXPECT_EQ(missing, std::vector{units[0].blocks});
  EXPECT_EQ(stored_missing(disk).value(), missing);
  EXPECT_FALSE(disk.rows(Table::block).contains(block_key(units[0].blocks.to)));
  EXPECT_TRUE(disk.rows(Table::block).contains(block_key(units[0].blocks.to + 1)));
  const auto loaded = load_ledger(world.genesis_bytes, disk);
  ASSERT_TRUE(loaded) << why(loaded);
  expect_equal(*loaded);

  // Later, the rest: it joins the first.
  pass(day_ms);
  disk.put(Table::block, block_key(ledger->head().height), world.blocks.back());
  disk.seal();
  ASSERT_EQ(why(store_state(*ledger, {units[1].blocks}, missing, disk)), "");
  disk.seal();
  EXPECT_EQ(missing, (std::vector<BlockRange>{{1, units[1].blocks.to}}));
  const auto again = load_ledger(world.genesis_bytes, disk);
  ASSERT_TRUE(again) << why(again);
  expect_equal(*again);

  // Who never had what is before it gets the hashes first.
  std::erase_if(disk.rows(Table::meta), [](const auto& row) { return as_text(row.first).starts_with("ledger/rest/"); });
  // A liar's are not laid to the other node.
  HistoryFetch fetch(*ledger, disk, missing);
  fetch.aim({units[1].blocks});
  constexpr std::uint64_t liar = 1, honest = 2;
  const auto hashes = decode_part(answer(fetch.ask())).value();
  ASSERT_TRUE(std::holds_alternative<LogPart>(hashes));
  auto wrong = hashes;
  std::get<LogPart>(wrong).hashes.back().bytes[0] ^= 1;
  ASSERT_EQ(why(fetch.take(wrong, liar)), "");
  ASSERT_EQ(why(fetch.take(blocks_for(fetch.ask()), honest)), "");
  EXPECT_EQ(why(fetch.judge_next()), "");
  EXPECT_FALSE(fetch.has_waiting());
  ASSERT_EQ(why(fetch.take(wrong, liar)), "");
  ASSERT_EQ(why(fetch.take(blocks_for(fetch.ask()), liar)), "");
  EXPECT_REFUSED(fetch.judge_next(), Errc::invalid, "or the hashes before them, are wrong");
  ASSERT_EQ(why(fetch.take(hashes, honest)), "");
  while (!fetch.done()) {
    ASSERT_EQ(why(fetch.take(blocks_for(fetch.ask()), honest)), "");
    while (fetch.has_waiting()) ASSERT_EQ(why(fetch.judge_next()), "");
  }
  disk.seal();
  EXPECT_EQ(stored_missing(disk).value(), std::vector{units[0].blocks});
  for (auto height = units[1].blocks.from; height <= units[1].blocks.to; ++height)
    EXPECT_EQ(disk.rows(Table::block).at(block_key(height)), store.rows(Table::block).at(block_key(height)));

  // Who has it gives it on, with the hashes before it.
  const auto rest = rest_of_log(ledger->blocks()[units[1].blocks.from - 1].entries, *ledger, disk);
  EXPECT_EQ(rest, std::get<LogPart>(hashes).hashes);
}

TEST_F(LedgerSnapshots, NothingIsDroppedThatCannotBeReadFirst) {
  const auto units = history_units(*ledger);
  for (const auto& [key, block] : store.rows(Table::block)) disk.put(Table::block, key, block);
  disk.seal();
  disk.damage(Table::block, block_key(units[0].blocks.to));
  std::vector<BlockRange> missing;
  EXPECT_FALSE(store_state(*ledger, {units[0].blocks}, missing, disk));
  disk.seal();
  EXPECT_TRUE(missing.empty());
  EXPECT_TRUE(stored_missing(disk).value().empty());
  EXPECT_EQ(stored_base(disk).value(), 0u);
}

TEST(LedgerParts, AreReadAsTheyWereWrittenAndNothingElseIs) {
  const auto same_ask = [](const LedgerAsk& ask) {
    const auto bytes = encode_ask(ask);
    const auto decoded = decode_ask(bytes);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(encode_ask(*decoded), bytes);
    for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_ask(ByteView(bytes).first(size)));
  };
  const auto place = SparsePlace{}.child(5, 21);
  same_ask(HeadersAsk{7});
  same_ask(StateAsk{{{place, sha256({})}, {{}, sha256({})}}});
  same_ask(LogAsk{300, 4});
  same_ask(BlocksAsk{1ull << 40});
  same_ask(HoldingsAsk{});
  auto beyond = place;
  beyond.prefix.bytes[31] = 1;
  EXPECT_FALSE(decode_ask(encode_ask(StateAsk{{{beyond, {}}}}))) << "bits behind the place's depth";
  EXPECT_FALSE(decode_ask(encode_ask(StateAsk{})));

  const auto same_part = [](const LedgerPart& part) {
    const auto bytes = encode_part(part);
    const auto decoded = decode_part(bytes);
    ASSERT_TRUE(decoded);
    EXPECT_EQ(encode_part(*decoded), bytes);
    for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(decode_part(ByteView(bytes).first(size)));
  };
  World world;
  auto ledger = world.ledger();
  StatePart::Below below(1 << part_levels);
  below[3] = {SparseSubtree::Kind::entry, sha256({})};
  same_part(HeadersPart{true, {link_of(decode_block(world.blocks[0]).value(), ledger)}});
  same_part(HeadersPart{});
  same_part(StatePart{{StatePart::Gone{}, below, StatePart::Records{record_of(ledger, "alice")}}});
  same_part(LogPart{{sha256({}), sha256({})}});
  same_part(BlocksPart{world.blocks});
  same_part(HoldingsPart{{{1, 1}, {3, 9}}});
  same_part(HoldingsPart{});
  for (const auto& bad : {BlockRange{0, 1}, BlockRange{2, 1}, BlockRange{1, ~std::uint64_t{0}}})
    EXPECT_FALSE(decode_part(encode_part(HoldingsPart{{bad}})));
  EXPECT_FALSE(decode_part(encode_part(HoldingsPart{{{1, 2}, {3, 4}}}))) << "one range, said as two";
}

}  // namespace
}  // namespace diot
