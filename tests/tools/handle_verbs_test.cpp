// The verbs of `handle` that take the 24 words or several signatures, with a node that is a ledger alone.

#include "tools/app/handle_verbs.hpp"

#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>

#include "core/ledger/ledger.hpp"
#include "core/words.hpp"
#include "tests/core/keys.hpp"
#include "tests/temporary_folder.hpp"
#include "tools/app/ledger_answers.hpp"
#include "tools/app/setup.hpp"

namespace diot {
namespace {

using ::testing::HasSubstr;
using testing::test_key;

/// A home as `diot init` makes it, and its words.
struct MadeHome {
  MadeHome(const std::string& path, const std::string& handle) {
    Config config;
    config.handle = handle;
    SystemRandom random;
    EXPECT_TRUE(init_home(path, config, random, SystemClock(), [this](const auto& shown) { words = shown; }));
    home.emplace(Home::open(path).value());
  }
  std::string words;
  std::optional<Home> home;
};

class HandleVerbs : public ::testing::Test {
 protected:
  HandleVerbs() : ledger(Ledger::from_genesis(alice.home->genesis().value()).value()) {
    commit({});
    register_home("bob", bob);
  }

  void commit(const std::vector<Bytes>& entries) {
    const auto witness = alice.home->witness_key().value();
    const auto block =
        entries.empty() ? ledger.make_first_block(now(), witness) : ledger.make_block(entries, now(), witness);
    ASSERT_TRUE(block) << block.error().message;
    ASSERT_TRUE(ledger.append(*block));
  }
  WallMs now() const { return std::max(SystemClock().wall_ms(), ledger.head_time()); }
  /// Its keys are those of a home of another network, of which only they matter here.
  void register_home(const std::string& handle, const MadeHome& made) {
    const auto node = alice.home->node_key().value(), theirs = made.home->node_key().value();
    const auto token = test_key(handle.size());
    const Grant grant{ledger.network(), "alice", token.public_key(), 1, now() + 10'000, ledger.head(), node.node_id()};
    const Invite invite{encode_grant(grant, node), token.seed(), node.node_id(), {}};
    const auto owner = made.home->owner_key().value();
    commit({make_register(
        {handle, owner.public_key(), made.home->next_key_hash().value(), {{theirs.node_id(), Role::admin}}},
        ledger.network(), ledger.head(), owner, {theirs}, &invite)});
  }

  Result<Json> run(const std::string& verb, const Json& args, const MadeHome& at, const std::string& words,
                   const std::string& own = "alice") {
    const auto ask = [&](std::string_view asked, const Json& with) -> Result<Json> {
      if (asked == "status")
        return Json{
            {"network", ledger.network().hex()}, {"height", ledger.head().height}, {"head", ledger.head().block.hex()}};
      if (asked == "handle show") {
        const auto* record = ledger.handle(with.value("handle", own));
        if (!record) return fail(Errc::not_found, "no such handle");
        return handle_answer(*record, true);
      }
      EXPECT_EQ(asked, "handle submit");
      const auto text = decode_entry_text(with.at("entry").get<std::string>()).value();
      if (auto good = ledger.check_entry(text.entry, now()); !good) return tl::unexpected(good.error());
      commit({text.entry});
      return Json{{"height", ledger.head().height}};
    };
    return handle_verb(verb, args, {*at.home, ask, [&] { return Result<std::string>(words); }});
  }
  Result<Json> run(const std::string& verb, const Json& args = Json::object()) {
    return run(verb, args, alice, alice.words);
  }
  static std::string why(const Result<Json>& result) { return result ? "" : result.error().message; }
  PublicKey key(const MadeHome& of, std::uint32_t index) const { return owner_key(of.words, index).public_key(); }
  const HandleRecord& record(const std::string& handle) const { return *ledger.handle(handle); }

  TemporaryFolder folder;
  MadeHome alice{folder.path() + "/alice", "alice"}, bob{folder.path() + "/bob", "bob"};
  Ledger ledger;
};

TEST_F(HandleVerbs, RotateTakesTheNextKeyOfTheWords) {
  for (std::uint32_t index = 1; index < 3; ++index) {
    ASSERT_EQ(why(run("handle rotate")), "");
    EXPECT_EQ(record("alice").owner, key(alice, index));
    EXPECT_EQ(alice.home->owner_key()->public_key(), key(alice, index));
    EXPECT_EQ(alice.home->next_key_hash().value(), sha256(key(alice, index + 1)));
  }
}

TEST_F(HandleVerbs, RotateMendsARunThatEndedBetweenLedgerAndFile) {
  ASSERT_EQ(why(run("handle rotate")), "");
  ASSERT_TRUE(alice.home->write_key("owner", owner_key(alice.words, 0)));
  const auto height = ledger.head().height;
  ASSERT_EQ(why(run("handle rotate")), "");
  EXPECT_EQ(ledger.head().height, height);
  EXPECT_EQ(alice.home->owner_key()->public_key(), key(alice, 1));
}

TEST_F(HandleVerbs, TheWordsOfAnotherHandleAreRefused) {
  EXPECT_THAT(why(run("handle rotate", Json::object(), alice, bob.words)), HasSubstr("not the words of @alice"));
  EXPECT_NE(why(run("handle rotate", Json::object(), alice, "no words")), "");
}

TEST_F(HandleVerbs, WhatCannotBeTakenBackIsAskedFirst) {
  EXPECT_THAT(why(run("handle release")), HasSubstr("for ever"));
  EXPECT_EQ(record("alice").released, 0u);
  ASSERT_EQ(why(run("handle release", Json{{"yes", true}})), "");
  EXPECT_NE(record("alice").released, 0u);
}

TEST_F(HandleVerbs, GuardiansAreNamedAndDismissed) {
  EXPECT_THAT(why(run("handle guardians")), HasSubstr("--guardian"));
  EXPECT_THAT(why(run("handle guardians", Json{{"guardian", {"bob"}}})), HasSubstr("--threshold"));
  ASSERT_EQ(why(run("handle guardians", Json{{"guardian", {"bob"}}, {"threshold", 1}})), "");
  EXPECT_EQ(record("alice").guardians.threshold, 1u);
  ASSERT_EQ(why(run("handle guardians", Json{{"none", true}})), "");
  EXPECT_TRUE(record("alice").guardians.who.empty());
}

TEST_F(HandleVerbs, AGuardianRecoversAHandleToANewHome) {
  ASSERT_EQ(why(run("handle guardians", Json{{"guardian", {"bob"}}, {"threshold", 1}})), "");
  const MadeHome fresh(folder.path() + "/fresh", "fresh");
  const auto keys = run("handle keys", Json::object(), fresh, "").value();
  const auto handed = run("handle recover",
                          Json{{"handle", "alice"},
                               {"owner", keys["owner"]},
                               {"next-key-hash", keys["next-key-hash"]},
                               {"node", {keys["node"]}}},
                          bob, "", "bob");
  ASSERT_TRUE(handed) << why(handed);
  const Json entry{{"entry", (*handed)["entry"]}};
  EXPECT_THAT(why(run("handle sign", entry, fresh, "")), HasSubstr("recover of @alice"));
  const auto whole = run("handle sign", Json{{"entry", entry["entry"]}, {"yes", true}}, fresh, "");
  ASSERT_TRUE(whole) << why(whole);
  EXPECT_EQ((*whole)["signatures"], 3);
  const auto text = decode_entry_text((*whole)["entry"].get<std::string>()).value();
  ASSERT_TRUE(ledger.check_entry(text.entry, now()));
  commit({text.entry});
  EXPECT_EQ(record("alice").recovery->owner, key(fresh, 0));
}

TEST_F(HandleVerbs, ATransferIsSignedByBoth) {
  const MadeHome fresh(folder.path() + "/fresh", "fresh");
  const auto keys = run("handle keys", Json::object(), fresh, "").value();
  Json args{{"owner", keys["owner"]}, {"next-key-hash", keys["next-key-hash"]}, {"node", {keys["node"]}}};
  EXPECT_THAT(why(run("handle transfer", args)), HasSubstr("--yes"));
  args["yes"] = true;
  const auto handed = run("handle transfer", args);
  ASSERT_TRUE(handed) << why(handed);
  const auto whole = run("handle sign", Json{{"entry", (*handed)["entry"]}, {"yes", true}}, fresh, "");
  ASSERT_TRUE(whole) << why(whole);
  commit({decode_entry_text((*whole)["entry"].get<std::string>()).value().entry});
  EXPECT_EQ(record("alice").owner, key(fresh, 0));
}

TEST(EntryTexts, AreReadAsTheyAreWrittenAndNothingElse) {
  EntryText text;
  text.network.bytes.fill(3);
  text.entry = {1, 2, 3};
  const auto line = encode_entry_text(text);
  EXPECT_EQ(decode_entry_text(line)->entry, text.entry);
  EXPECT_EQ(decode_entry_text(line)->network, text.network);
  for (std::size_t i = 0; i < line.size(); ++i) EXPECT_FALSE(decode_entry_text(line.substr(0, i)));
  EXPECT_FALSE(decode_entry_text("diot:" + line));
  EXPECT_FALSE(decode_entry_text("diot-entry:AAAA"));
}

}  // namespace
}  // namespace diot
