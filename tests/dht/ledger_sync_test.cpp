// The ledger among several nodes: two histories of one network, witnesses that are gone, and entries that look for a way.

#include "dht/ledger_sync.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/merkle.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::chrono_literals;

struct LedgerSyncs : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  Home& carol = world.join("carol", alice);

  static LedgerSync& sync(Home& home) { return home.overlay->ledger_sync(); }
  Bytes update_of(Home& home, std::string_view profile) {
    HandleRecord changed = *home.ledger->handle(home.handle);
    changed.profile = sha256(as_bytes(profile));
    return make_update(changed, home.ledger->network(), home.ledger->head(), home.owner, {});
  }
  using Answer = std::shared_ptr<std::optional<Result<std::uint64_t>>>;
  Answer submit(Home& home, Bytes entry) {
    auto out = std::make_shared<std::optional<Result<std::uint64_t>>>();
    sync(home).submit(std::move(entry), [out](auto height) { *out = height; });
    home.turn.touch();
    world.run();
    return out;
  }
  bool commit(Home& home, Bytes entry) {
    const auto answer = submit(home, std::move(entry));
    for (int left = 40; left > 0 && !*answer; --left) world.pass(500ms);
    world.pass(1s);
    return *answer && **answer;
  }

  /// Carol's node starts again on a history in which the registrar decided otherwise from `height` on, for `more` blocks.
  void give_another_history(Home& home, std::uint64_t height, int more, const KeyPair& decider) {
    world.kill(home);
    world.run();
    world.remember_blocks_of(alice);
    const auto ours = world.blocks;
    Ledger other = Ledger::from_genesis(world.genesis_bytes).value();
    world.blocks.resize(height - 1);
    for (const auto& block : world.blocks) ASSERT_TRUE(other.append(block));
    for (int i = 0; i < more; ++i) {
      const auto proposal = other.propose({}, world.clock.wall_ms() - 1000).value();
      world.blocks.push_back(
          encode_block(proposal.header, {}, 0, {make_vote(proposal.header, 0, 0, proposal.header.time, decider)}));
      ASSERT_TRUE(other.append(world.blocks.back()));
    }
    home.store = std::make_unique<MemoryStore>(MemoryStore::Image{});
    world.start(home);
    world.blocks = ours;
  }
};

// Two histories ------------------------------------------------------------------------------------------------

TEST_F(LedgerSyncs, SeeThatTheRegistrarSignedTwoBlocksOfOneHeight) {
  ASSERT_TRUE(commit(alice, update_of(alice, "one")));
  world.pass(1s);
  const auto height = alice.ledger->head().height;
  ASSERT_EQ(bob.ledger->head().height, height);
  ASSERT_THAT(sync(bob).forks(), IsEmpty());
  give_another_history(carol, height, 1, *alice.witness);
  world.pass(5s);
  for (Home* home : {&alice, &bob, &carol}) {
    ASSERT_THAT(sync(*home).forks(), SizeIs(1)) << home->handle;
    EXPECT_EQ(sync(*home).forks()[0].height(), height);
    EXPECT_NE(sync(*home).forks()[0].our_block(), sync(*home).forks()[0].their_block());
  }
  EXPECT_TRUE(bob.ledger->network_record().liars.contains(alice.witness->public_key()))
      << "and it stands in the ledger";

  // It is known after a restart too.
  world.remember_blocks_of(bob);
  world.kill(bob);
  world.start(bob);
  EXPECT_THAT(sync(bob).forks(), SizeIs(1));
}

TEST_F(LedgerSyncs, FindTheFirstBlockInWhichTheyDiffer) {
  for (int i = 0; i < 12; ++i) ASSERT_TRUE(commit(alice, update_of(alice, std::to_string(i))));
  const auto head = alice.ledger->head().height;
  give_another_history(carol, 5, 20, *alice.witness);
  ASSERT_GT(carol.ledger->head().height, head) << "the other one is the longer";
  world.pass(5s);
  for (Home* home : {&alice, &bob, &carol}) {
    ASSERT_THAT(sync(*home).forks(), SizeIs(1)) << home->handle;
    EXPECT_EQ(sync(*home).forks()[0].height(), 5u);
  }
  EXPECT_GE(bob.ledger->head().height, head) << "and each stays with its own";
  EXPECT_EQ(*bob.ledger->block_at(5), *alice.ledger->block_at(5));
}

TEST_F(LedgerSyncs, TakeWhoShowsABlockThatNobodyDecidedForABadPeer) {
  ASSERT_TRUE(commit(alice, update_of(alice, "one")));
  const auto height = alice.ledger->head().height;
  world.on_wire = [&](const Home& from, const Home&, FrameType type, Bytes& body) {
    if (&from != &carol) return true;
    if (type == FrameType::ledger_head) body = wire::encode_ledger_head({height, sha256(as_bytes("another"))});
    if (type == FrameType::ledger_blocks) {
      auto block = decode_block(world.blocks.back()).value();
      block.header.time += 1;
      body = wire::encode_ledger_blocks(
          {encode_block(block.header, {}, 0, {make_vote(block.header, 0, 0, block.header.time, carol.key)})});
    }
    return true;
  };
  world.remember_blocks_of(alice);
  world.pass(1h + 10s);  // heads are compared
  EXPECT_THAT(sync(bob).forks(), IsEmpty());
  EXPECT_GE(bob.overlay->counters().at("peers whose ledger is wrong"), 1u);
}

TEST_F(LedgerSyncs, CompareTheirHeadsEachHourOnLinksOnWhichNothingHappens) {
  world.pass(3s);
  world.kill(alice);  // so no block comes
  int heads = 0;
  world.on_wire = [&](const Home&, const Home&, FrameType type, Bytes&) {
    heads += type == FrameType::ledger_head;
    return true;
  };
  world.pass(1h + 1s);
  EXPECT_EQ(heads, 2) << "bob's and carol's";
}

// Four witnesses -----------------------------------------------------------------------------------------------

struct FourWitnesses : LedgerSyncs {
  FourWitnesses() {
    world.witnesses_join = true;
    for (const auto* name : {"frank", "grace"}) witnesses.push_back(&world.join(name, bob));
    for (const auto* name : {"heidi", "ivan"}) witnesses.push_back(&world.join(name, carol));
    world.pass(3s);
    Home& inviter = alice;
    WitnessSet set;
    std::vector<KeyPair> signers{*alice.witness};
    for (Home* home : witnesses) {
      set.members.push_back({home->witness->public_key(), home->key.node_id()});
      signers.push_back(*home->witness);
      EXPECT_TRUE(sync(*home).let_witness_vote(inviter.ledger->head().height + 1));
    }
    EXPECT_TRUE(commit(
        alice, make_entry(WitnessChangeBody{1, set}, inviter.ledger->network(), inviter.ledger->head(), signers)));
    EXPECT_TRUE(commit(alice, update_of(alice, "a block between")));
    world.pass(5s);
    EXPECT_TRUE(commit(bob, update_of(bob, "decided by four")));
  }
  std::vector<Home*> witnesses;
};

TEST_F(FourWitnesses, CosignTheNewestCheckpoint) {
  const LogCheckpoint newest{log_origin(bob.ledger->network()), bob.ledger->entry_count(), bob.ledger->log_root()};
  for (Home* home : witnesses) {
    const auto lines = sync(*home).cosignatures().lines_for(newest);
    ASSERT_THAT(lines, SizeIs(3)) << home->handle;
    for (const auto& [key, line] : lines)
      EXPECT_TRUE(open_note(make_note(checkpoint_text(newest), {line}), {key})) << line;
  }
}

TEST_F(FourWitnesses, GetAnEntryOfWhoKnowsOnlyAFollowerThatRefusesIt) {
  // Alice is a follower by now. Bob reaches the witnesses only when he looks for them.
  for (Home* home : witnesses) world.keep_apart(bob, *home);
  world.keep_apart(bob, carol);
  world.pass(3s);
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&from != &alice || &to != &bob || type != FrameType::submitted) return true;
    body = wire::encode_submitted({wire::decode_submitted(body)->id, 0, Errc::exists, "says alice"});
    return true;
  };
  bool swallowed = false;
  const auto lie = world.on_wire;
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&to == &alice && &from == &bob && type == FrameType::submit) {
      // She hands nothing on.
      const auto id = wire::decode_submit(body)->id;
      alice.links->send(world.links_between(alice, bob).front(), FrameType::submitted,
                        {wire::encode_submitted({id, 0, Errc::exists, "says alice"})});
      swallowed = true;
      return false;
    }
    return lie(from, to, type, body);
  };
  const auto answer = submit(bob, update_of(bob, "by another way"));
  ASSERT_TRUE(swallowed);
  EXPECT_FALSE(*answer) << "one follower's word is not the ledger's";
  EXPECT_EQ(sync(bob).wanted().size(), 4u);
  for (Home* home : witnesses) world.let_meet(bob, *home);
  world.pass(15s);
  ASSERT_TRUE(*answer);
  EXPECT_TRUE(**answer) << (*answer)->error().message;
  EXPECT_THAT(sync(bob).wanted(), IsEmpty()) << "and then they are left alone";
}

TEST_F(FourWitnesses, GetAnEntryThoughTheOneFollowerThatHadItIsGone) {
  for (Home* home : witnesses) world.keep_apart(bob, *home);
  for (Home* home : witnesses) world.keep_apart(alice, *home);
  world.keep_apart(bob, carol);
  world.keep_apart(alice, carol);
  world.pass(3s);
  const auto answer = submit(bob, update_of(bob, "by another way"));
  world.kill(alice);
  for (Home* home : witnesses) world.let_meet(bob, *home);
  world.pass(15s);
  ASSERT_TRUE(*answer);
  EXPECT_TRUE(**answer) << (*answer)->error().message;
}

TEST_F(FourWitnesses, AreBelievedWhenTwoOfThemRefuse) {
  world.pass(3s);
  // Valid here, and not there: the four have another version meanwhile.
  const auto first = update_of(bob, "first"), second = update_of(bob, "second");
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes&) {
    return &to != &bob || type == FrameType::submitted;  // bob hears of no block
  };
  submit(carol, first);
  world.pass(3s);
  const auto answer = submit(bob, second);
  world.pass(2s);
  ASSERT_TRUE(*answer);
  ASSERT_FALSE(**answer);
  EXPECT_THAT((*answer)->error().message, HasSubstr("version"));
}

// Succession ---------------------------------------------------------------------------------------------------

struct Successions : FourWitnesses {
  Successions() {
    world.pass(1s);
    world.remember_blocks_of(*witnesses[0]);
    for (std::size_t i = 1; i < 4; ++i) world.kill(*witnesses[i]);
    for (Home* home : {&alice, &bob, &carol}) home->witness = home->key;  // each home has one
    for (Home* home : {&alice, &bob, &carol}) {
      world.kill(*home);
      world.start(*home);
    }
    world.pass(2s);
    last_ms = bob.ledger->head_time();
    heirs = {&alice, &bob, &carol, witnesses[0]};
  }
  WallMs last_ms = 0;
  std::vector<Home*> heirs;  ///< one of the old ones among them
  Bytes entry() {
    WitnessSet set;
    std::vector<KeyPair> signers{world.succession};
    for (Home* home : heirs) {
      set.members.push_back({home->witness->public_key(), home->key.node_id()});
      signers.push_back(*home->witness);
      if (home == witnesses[0]) continue;
      EXPECT_TRUE(sync(*home).let_witness_vote(bob.ledger->head().height + 1));
    }
    return make_entry(SuccessionBody{2, set}, bob.ledger->network(), bob.ledger->head(), signers);
  }
  /// In great steps: nothing happens.
  void wait_until(WallMs time) {
    while (world.clock.now_ms + 600'000 < time) {
      world.clock.now_ms += 300'000;
      world.pass(100ms);
    }
    world.pass(std::chrono::milliseconds(std::max<WallMs>(time - world.clock.now_ms, 0) + 1000));
  }
};

TEST_F(Successions, ReplaceWitnessesThatAreGoneWhenTheTimeHasCome) {
  const auto made = entry();
  const auto pending = sync(carol).succeed(made);
  ASSERT_TRUE(pending) << pending.error().message;
  EXPECT_EQ((*pending)->possible_from(), last_ms + 72ull * 3'600'000);
  world.pass(1s);
  for (Home* home : heirs) EXPECT_THAT(sync(*home).successions(), SizeIs(1)) << "everybody sees it coming";

  wait_until(last_ms + 71ull * 3'600'000);
  const auto height = bob.ledger->head().height;
  EXPECT_EQ(sync(alice).successions().begin()->second.votes.size(), 0u);
  // One of them is off meanwhile, one restarts.
  world.kill(carol);
  world.kill(alice);
  world.start(alice);
  wait_until(last_ms + 72ull * 3'600'000 + 60'000);
  EXPECT_EQ(bob.ledger->head().height, height + 1);
  EXPECT_EQ(bob.ledger->head_time(), last_ms + 72ull * 3'600'000);
  EXPECT_TRUE(bob.ledger->network_record().witnesses.has(alice.key.public_key()));
  EXPECT_THAT(sync(bob).successions(), IsEmpty());
  EXPECT_TRUE(commit(bob, update_of(bob, "by the heirs")));
  world.start(carol);
  world.pass(5s);
  EXPECT_EQ(carol.ledger->head(), bob.ledger->head());
}

TEST_F(Successions, AreVoidWhenTheOldWitnessesComeBack) {
  ASSERT_TRUE(sync(carol).succeed(entry()));
  wait_until(last_ms + 71ull * 3'600'000);
  for (std::size_t i = 1; i < 4; ++i) world.start(*witnesses[i]);
  world.pass(150s);  // the one that is not to propose waits a minute
  EXPECT_GT(bob.ledger->head_time(), last_ms);
  EXPECT_THAT(sync(bob).successions(), IsEmpty());
  wait_until(last_ms + 73ull * 3'600'000);
  EXPECT_TRUE(bob.ledger->network_record().witnesses.has(witnesses[2]->key.public_key()));
  EXPECT_THAT(sync(bob).forks(), IsEmpty());
}

TEST_F(Successions, AreFollowedByOldWitnessesThatComeBackTooLate) {
  ASSERT_TRUE(sync(carol).succeed(entry()));
  wait_until(last_ms + 72ull * 3'600'000 + 60'000);
  ASSERT_TRUE(bob.ledger->network_record().witnesses.has(alice.key.public_key()));
  // They find one another first.
  for (std::size_t i = 1; i < 4; ++i)
    for (Home* heir : heirs) world.keep_apart(*witnesses[i], *heir);
  for (std::size_t i = 1; i < 4; ++i) world.start(*witnesses[i]);
  world.pass(10s);
  EXPECT_THAT(sync(*witnesses[1]).status().text(), HasSubstr("hears first"));
  for (std::size_t i = 1; i < 4; ++i)
    for (Home* heir : heirs) world.let_meet(*witnesses[i], *heir);
  world.pass(60s);
  for (std::size_t i = 1; i < 4; ++i) EXPECT_EQ(witnesses[i]->ledger->head(), bob.ledger->head());
  EXPECT_THAT(sync(bob).forks(), IsEmpty());
}

TEST_F(Successions, TakeNoBlockOfAThiefBeforeItsTime) {
  const auto made = entry();
  const auto proposal = bob.ledger->propose_succession(made).value();
  std::vector<BlockView::Vote> votes;
  for (std::uint32_t i = 0; i < heirs.size(); ++i)
    votes.push_back(make_vote(proposal.header, 0, i, proposal.header.time, *heirs[i]->witness));
  const auto head = bob.ledger->head();
  // By all ways: as votes, and as a block.
  ASSERT_TRUE(sync(bob).on_frame(world.links_between(alice, bob).front(), FrameType::succession,
                                 wire::encode_succession({made, votes})));
  world.pass(1s);
  EXPECT_EQ(bob.ledger->head(), head);
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes& body) {
    if (&to == &bob && type == FrameType::ledger_head)
      body = wire::encode_ledger_head({proposal.header.height, block_hash(proposal.header)});
    if (&to == &bob && type == FrameType::ledger_blocks)
      body = wire::encode_ledger_blocks({encode_block(proposal.header, proposal.entries, 0, votes)});
    return true;
  };
  world.pass(1h + 10s);
  EXPECT_EQ(bob.ledger->head(), head);
  EXPECT_GE(bob.overlay->counters().at("successions before their time"), 1u);
}

TEST_F(Successions, TakeVotesOfTheirWitnessesOnly) {
  const auto made = entry();
  const auto proposal = bob.ledger->propose_succession(made).value();
  const LinkId link = world.links_between(alice, bob).front();
  const auto forged = make_vote(proposal.header, 0, 2, proposal.header.time, *heirs[1]->witness);
  EXPECT_FALSE(sync(bob).on_frame(link, FrameType::succession, wire::encode_succession({made, {forged}})));
  const auto beyond = make_vote(proposal.header, 0, 7, proposal.header.time, *heirs[1]->witness);
  EXPECT_FALSE(sync(bob).on_frame(link, FrameType::succession, wire::encode_succession({made, {beyond}})));
  EXPECT_FALSE(sync(bob).on_frame(link, FrameType::succession, made));
  EXPECT_EQ(sync(bob).successions().begin()->second.votes.size(), 0u);
  EXPECT_FALSE(sync(bob).succeed(update_of(bob, "no succession")));
}

// Too many -----------------------------------------------------------------------------------------------------

TEST(SubmitRates, GiveEachNodeItsOwn) {
  SubmitRate rate;
  const auto node = [](std::uint8_t number) {
    NodeId out;
    out.bytes[0] = number;
    return out;
  };
  const SubmitRate::Bucket bucket{10, 2};
  const Monotonic now{1h};
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(rate.spend(node(1), bucket, 1, now));
  EXPECT_FALSE(rate.spend(node(1), bucket, 1, now));
  EXPECT_TRUE(rate.spend(node(2), bucket, 10, now));
  EXPECT_FALSE(rate.spend(node(2), bucket, 1, now + 400ms));
  EXPECT_TRUE(rate.spend(node(2), bucket, 1, now + 500ms));
  EXPECT_FALSE(rate.spend(node(1), bucket, 11, now + 1h)) << "never more than the bucket holds";
}

TEST_F(LedgerSyncs, RefuseTheEntriesOfANodeThatHandsInTooMany) {
  world.pass(1s);
  const LinkId link = world.links_between(alice, carol).front();
  std::map<std::string, int> answers;
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&from == &alice && &to == &carol && type == FrameType::submitted)
      ++answers[wire::decode_submitted(body)->message.substr(0, 16)];
    return true;
  };
  for (std::uint64_t i = 0; i < 150; ++i)
    sync(alice).on_frame(link, FrameType::submit, wire::encode_submit({i, 0, update_of(carol, std::to_string(i))}));
  world.run();
  EXPECT_EQ(answers["too many entries"], 150 - SubmitRate::of_nodes.capacity);
  world.pass(5s);
  EXPECT_TRUE(commit(bob, update_of(bob, "others are not kept out")));
}

TEST(EntryPools, GiveWhatOnlyCostsWorkHalfTheRoomAndNoneOfTheOthers) {
  crypto_init();
  const auto entry = [](std::uint64_t number, bool stamped) {
    SeededRandom random(number);
    const auto owner = KeyPair::generate(random), node = KeyPair::generate(random);
    RegisterBody body{
        {"home", owner.public_key(), sha256(node.public_key()), {{node.node_id(), Role::admin}}}, {}, {}, {}};
    if (stamped) body.stamp = number;
    return make_entry(body, {}, {}, {owner, node});
  };
  EntryPool pool;
  const Monotonic now{1h};
  std::size_t stamped = 0, other = 0;
  for (std::uint64_t i = 0; i < 700; ++i) stamped += pool.add(entry(i, true), {}, now) != nullptr;
  EXPECT_EQ(stamped, limits::submitted_entries_max / 2);
  for (std::uint64_t i = 0; i < 1100; ++i) other += pool.add(entry(1000 + i, false), {}, now) != nullptr;
  EXPECT_EQ(other, limits::submitted_entries_max);
  EXPECT_EQ(pool.items().size(), limits::submitted_entries_max);
  for (const auto& bytes : pool.waiting()) ASSERT_FALSE(is_stamped(decode_entry(bytes).value()));
  pool.time_out(now + 2h, true, {Errc::timed_out, "over"});
  EXPECT_NE(pool.add(entry(1, true), {}, now), nullptr) << "and there is room again";
}

}  // namespace
}  // namespace diot::test
