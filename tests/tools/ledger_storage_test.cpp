// What the ledger verbs say at a node whose ledger began with a snapshot.

#include "tools/app/ledger_storage.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/ledger/history_fetch.hpp"
#include "core/ledger/snapshot_fetch.hpp"
#include "core/ledger/storage.hpp"
#include "core/memory_store.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

/// 601 founders, and 60 blocks a day apart with an entry each; a node took them over at the newest one.
class LedgerStorage : public ::testing::Test {
 protected:
  void SetUp() override {
    for (std::uint64_t i = 0; i < 600; ++i) {
      const Home home(fmt::format("home-{}", i), 100 + i);
      world.genesis.founding.push_back(make_register(home.registration(), {}, {}, home.owner, {home.node}, nullptr));
    }
    world.refound();
    ledger.emplace(world.ledger());
    for (int day = 0; day < 60; ++day) ASSERT_EQ(why(world.pass(*ledger, day_ms)), "");
    MemoryStore whole;
    for (std::size_t at = 0; at < world.blocks.size(); ++at)
      whole.put(Table::block, block_key(at + 1), world.blocks[at]);
    whole.seal();
    const auto genesis = Ledger::from_genesis(world.genesis_bytes).value();
    SnapshotFetch fetch(genesis, disk, 1);
    while (fetch.stage() != SnapshotFetch::Stage::ready)
      ASSERT_EQ(why(fetch.take(encode_part(answer_ask(decode_ask(fetch.ask()).value(), *ledger, whole)), 0)), "");
    ASSERT_EQ(why(fetch.finish(genesis)), "");
    disk.seal();
  }
  Json ask(std::string_view verb, Json args = Json::object()) {
    const auto answer = ledger_answer(verb, args, source());
    EXPECT_TRUE(answer) << answer.error().message;
    return answer.value_or(Json());
  }
  LedgerSource source() { return {*ledger, world.genesis_bytes, disk, "alice", nullptr, world.now, nullptr}; }

  World world;
  std::optional<Ledger> ledger;
  MemoryStore disk;
};

TEST_F(LedgerStorage, SaysWhichBlocksAreHere) {
  const auto here = ask("ledger storage");
  EXPECT_EQ(here["height"], 61);
  EXPECT_EQ(here["snapshot"], 61);
  EXPECT_EQ(here["blocks_here"], 31) << "those of 30 days";
  EXPECT_EQ(here["missing"], (Json::array({{{"from", 1}, {"to", 30}}})));
  EXPECT_EQ(here["tiles"], 2) << "661 entries";
  EXPECT_EQ(here["tiles_here"], 0) << "the founders, in block 1, fill them";
}

TEST_F(LedgerStorage, VerbsThatLookBackSayWhatIsNotHere) {
  const auto from_1_to_30 = Json::array({{{"from", 1}, {"to", 30}}});
  EXPECT_EQ(ask("ledger history", {{"handle", "alice"}})["missing"], from_1_to_30);
  EXPECT_EQ(ask("ledger history", {{"handle", "home-1"}})["entries"], Json::array());
  EXPECT_EQ(ask("ledger tail", {{"from", 20}, {"to", 40}})["missing"], (Json::array({{{"from", 20}, {"to", 30}}})));
  EXPECT_FALSE(ask("ledger tail").contains("missing")) << "the newest ones are here";
  EXPECT_FALSE(ask("ledger history", {{"handle", "alice"}, {"from", 31}}).contains("missing"));
}

TEST_F(LedgerStorage, ProofsThatNeedOlderBlocksNameThem) {
  // Entries are the 601 founders', in block 1, and one a block from then on.
  const auto refused = [&](const Json& args, const std::string& why) {
    const auto answer = ledger_answer("ledger prove", args, source());
    ASSERT_FALSE(answer) << args;
    EXPECT_EQ(answer.error().code, Errc::not_available) << args;
    EXPECT_THAT(answer.error().message, ::testing::HasSubstr(why)) << args;
    EXPECT_THAT(answer.error().message, ::testing::HasSubstr("--full")) << args;
  };
  refused({{"entry", "600"}}, "blocks 1 to 1 are not on this disk");
  refused({{"entry", "629"}}, "blocks 30 to 30 are not on this disk");
  refused({{"entry", Hash{}.hex()}}, "blocks 1 to 30 are not on this disk");
  refused({{"consistency", 1}}, "blocks 1 to 1 are not on this disk");
  // Of the last tile what is behind number 512 is known of each block in the window.
  EXPECT_EQ(ask("ledger prove", {{"entry", "630"}})["height"], 31);
  EXPECT_EQ(ask("ledger prove", {{"entry", "660"}, {"pin", 40}})["height"], 61);
  EXPECT_EQ(ask("ledger prove", {{"consistency", 31}})["height"], 61);
  EXPECT_EQ(ask("ledger prove", {{"consistency", 60}, {"pin", 3}})["from_height"], 60);
}

TEST_F(LedgerStorage, VerifyTellsOnWhatItRests) {
  const auto report = ask("ledger verify");
  EXPECT_EQ(report["snapshot"], 61);
  EXPECT_EQ(report["snapshot_votes"], 1);
  EXPECT_EQ(report["snapshot_witnesses"], 1);
  EXPECT_EQ(report["headers"], 61);
  EXPECT_EQ(report["blocks"], 0) << "none was replayed";
  const auto full = ledger_answer("ledger verify", {{"full", true}}, source());
  ASSERT_FALSE(full);
  EXPECT_THAT(full.error().message, ::testing::HasSubstr("diot run"));

  // With the older blocks it is as if there had never been a snapshot.
  HistoryFetch fetch(*ledger, disk, stored_missing(disk).value());
  fetch.aim(fetch.missing());
  while (!fetch.done()) {
    BlocksPart part;
    for (std::uint64_t height = fetch.next(); height <= 61; ++height) part.blocks.push_back(world.blocks[height - 1]);
    ASSERT_EQ(why(fetch.take(std::move(part), 0)), "");
    while (fetch.has_waiting()) ASSERT_EQ(why(fetch.judge_next()), "");
  }
  disk.seal();
  const auto whole = ask("ledger verify", {{"full", true}});
  EXPECT_FALSE(whole.contains("snapshot"));
  EXPECT_EQ(whole["blocks"], 61);
  EXPECT_EQ(ask("ledger storage")["tiles_here"], 2);

  disk.rows(Table::block)[block_key(7)] = world.blocks[7];
  const auto damaged = ledger_answer("ledger verify", Json::object(), source());
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().message, ::testing::HasSubstr("block 7"));
}

TEST_F(LedgerStorage, CountsTheCopiesAtThoseThatAnswered) {
  auto here = ask("ledger storage");
  tell_holders({{alice.node.node_id(), {{1, 61}}}, {bob.node.node_id(), {{1, 10}, {50, 1000}}}}, 3, *ledger, here);
  EXPECT_EQ(here["copies_wanted"], 3);
  EXPECT_EQ(here["linked"], 3);
  EXPECT_EQ(here["holders"].size(), 2u);
  EXPECT_EQ(here["holders"][0]["handle"], "alice");
  EXPECT_EQ(here["holders"][0]["blocks"], 61);
  EXPECT_EQ(here["holders"][1]["handle"], nullptr) << "a node that the ledger does not know any more";
  EXPECT_EQ(here["holders"][1]["blocks"], 22) << "what is behind our newest block is not counted";
  EXPECT_EQ(here["in_fewer_copies"], (Json::array({{{"from", 1}, {"to", 49}}})));
}

}  // namespace
}  // namespace diot
