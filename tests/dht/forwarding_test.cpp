// Members that pass a channel on.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "tests/dht/forwarding_world.hpp"
#include "tests/temporary_folder.hpp"

namespace diot::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

TEST_F(Forwarding, AReaderHasTheValueThatACrashOfTheOwnerBringsBack) {
  for (const bool deleted : {false, true}) {
    SCOPED_TRACE(deleted ? "deleted" : "changed");
    publish("old", true);
    world.start(dave);
    world.let_meet(alice, dave);
    alice.store->hold();
    publish(deleted ? "" : "new", true);
    dave.overlay->add_demand("@alice/sensors/#", false);
    settle();
    EXPECT_EQ(dave.retained->find("@alice/sensors/n"), nullptr) << "neither is certain";
    world.kill(alice);  // before the change is on disk
    world.start(alice);
    settle();
    const auto* value = dave.retained->find("@alice/sensors/n");
    ASSERT_TRUE(value && value->message);
    EXPECT_EQ(as_text(value->message->payload), "old");
    world.kill(dave);
    dave.store = std::make_unique<MemoryStore>();
  }
}

TEST_F(Forwarding, ReachesWhoCannotReachTheOwner) {
  publish("kept", true);
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  EXPECT_TRUE(carol.overlay->remote().acknowledged("@alice/sensors/#"))
      << carol.overlay->remote().waiting_for("@alice/sensors/#");
  ASSERT_EQ(carol.broker->retained.size(), 1u);
  EXPECT_EQ(as_text(carol.broker->retained[0]->payload), "kept");
  publish("1");
  alice.publish("sensors/n", "live", Qos::at_most_once);
  world.run();
  EXPECT_THAT(carol.broker->texts(), UnorderedElementsAre("@alice/sensors/n 1", "@alice/sensors/n live"));
  EXPECT_THAT(bob.broker->live, testing::SizeIs(2)) << "bob carries it, his broker finds no subscription";
}

TEST_F(Forwarding, WhatAForwarderWasToBringIsAskedOfTheOwnerWhenTheForwarderIsLeft) {
  world.let_meet(alice, dave);
  world.let_meet(carol, dave);
  for (Home* forwarder : {&bob, &dave}) forwarder->overlay->add_demand("@alice/sensors/#", false);
  world.pass(60s);
  publish("1");
  std::map<std::pair<Home*, FrameType>, Bytes> held;  // what carol is told, and by whom
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&to == &dave && type == FrameType::batch) return false;  // so that dave is one behind
    if (&to != &carol || (type != FrameType::channel_heads && type != FrameType::retained)) return true;
    held[{world.homes.at(from.handle).get(), type}] = body;
    return false;
  };
  publish("2");
  carol.overlay->add_demand("@alice/sensors/#", false);
  world.pass(4s);
  ASSERT_TRUE(held.contains({&bob, FrameType::channel_heads}) && held.contains({&bob, FrameType::retained}) &&
              held.contains({&dave, FrameType::channel_heads}));
  world.let_meet(alice, carol);
  for (int second = 0; second < 60 && !held.contains({&alice, FrameType::channel_heads}); ++second) world.pass(1s);
  ASSERT_TRUE(held.contains({&alice, FrameType::channel_heads})) << "whom carol could not tell a place yet";
  bool asked = false;
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes&) {
    const bool of_bob = &from == &carol && &to == &bob && type == FrameType::range_get;
    asked |= of_bob;
    return !of_bob;  // whose answer would come too late
  };
  for (const auto& what : {std::pair(&dave, FrameType::channel_heads), std::pair(&bob, FrameType::channel_heads),
                           std::pair(&bob, FrameType::retained), std::pair(&alice, FrameType::channel_heads)})
    carol.overlay->link_frame(world.links_between(*what.first, carol).at(0), what.first->key.node_id(), what.second,
                              held.at(what));
  carol.turn.touch();
  world.pass(60s);
  EXPECT_TRUE(asked);
  publish("3");
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 2", "@alice/sensors/n 3"));
}

TEST_F(Forwarding, ReadersThatWaitForEachOthersValuesAskSomebodyElse) {
  ASSERT_TRUE(alice.overlay->own().add("other/#", Preset::public_));
  alice.turn.touch();
  publish("kept", true);
  world.let_meet(carol, dave);
  bob.overlay->add_demand("@alice/sensors/#", false);
  for (Home* home : {&carol, &dave}) home->overlay->add_demand("@alice/other/#", false);  // so they know the catalogue
  world.pass(60s);
  for (Home* home : {&carol, &dave}) world.keep_apart(bob, *home);
  for (Home* home : {&carol, &dave}) home->overlay->add_demand("@alice/sensors/#", false);
  settle();
  for (Home* home : {&carol, &dave}) world.let_meet(bob, *home);
  world.pass(120s);
  for (Home* home : {&carol, &dave}) EXPECT_NE(home->retained->find("@alice/sensors/n"), nullptr) << home->handle;
}

TEST_F(Forwarding, WhoCannotReachTheOwnerMakesRoomForAForwarderThatCan) {
  const std::vector<std::string> names{"erin", "frank", "grace", "heidi", "ivan"};
  for (const auto& name : names) {
    Home& other = world.join(name, bob);
    world.keep_apart(alice, other);
    world.let_meet(carol, other);
  }
  world.keep_apart(bob, carol);
  carol.overlay->add_demand("@alice/sensors/#", false);
  for (const auto& name : names) carol.overlay->add_demand("@" + name + "/#", false);  // so that it has links to them …
  carol.overlay->add_demand("@bob/#", false);  // … and to bob, when all places are taken
  settle();
  world.let_meet(bob, carol);
  world.pass(600s);
  publish("1");
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1"));
  world.pass(600s);
  publish("2");
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 2")) << "also when nothing was published for long";
}

TEST_F(Forwarding, AForwarderWhoseLedgerIsBehindCarriesTheChannelOnceItKnowsTheOwner) {
  world.keep_apart(alice, bob);
  Home& erin = world.join("erin", alice);
  world.keep_apart(erin, bob);
  world.keep_apart(erin, carol);
  carol.overlay->add_demand("@erin/sensors/#", false);
  ASSERT_TRUE(erin.overlay->own().add("sensors/#", Preset::public_));
  erin.turn.touch();
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes&) {
    return &to != &bob || type != FrameType::catalogue_get;  // as if bob had not heard of erin
  };
  settle();
  world.on_wire = nullptr;
  world.let_meet(alice, bob);
  world.let_meet(erin, bob);
  world.pass(60s);
  erin.publish("sensors/n", "1");
  world.run();
  EXPECT_THAT(take(carol), ElementsAre("@erin/sensors/n 1"));
}

TEST_F(Forwarding, AForwarderDoesNotPassFewCopiesForAll) {
  publish("kept", true);
  world.keep_apart(alice, bob);
  bob.overlay->add_demand("@alice/sensors/#", false);
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  world.let_meet(alice, bob);
  settle();
  ASSERT_NE(bob.retained->find("@alice/sensors/n"), nullptr);
  ASSERT_NE(carol.retained->find("@alice/sensors/n"), nullptr) << "bob got it after carol had asked him";
  world.keep_apart(bob, carol);
  world.let_meet(alice, carol);
  publish("", true);
  settle();
  const auto* ended = carol.retained->find("@alice/sensors/n");
  EXPECT_TRUE(!ended || !ended->message);
}

TEST_F(Forwarding, ADurableReaderKeepsItsPlaceBehindAnOlderCatalogueThanTheDhtHas) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  world.keep_apart(alice, bob);
  world.kill(alice);
  world.start(alice);  // with a newer catalogue, which only the DHT shows to the others
  world.keep_apart(bob, carol);
  world.subscribe_durably(carol, "@alice/sensors/#");
  world.pass(12s);
  ASSERT_NE(carol.overlay->remote().catalogue_of("alice"), nullptr);
  world.let_meet(bob, carol);
  settle();
  ASSERT_TRUE(carol.overlay->remote().acknowledged("@alice/sensors/#"));
  world.kill(carol);
  world.directory.clear();
  publish("1");
  world.let_meet(alice, carol);
  world.start(carol);
  settle();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1"));
}

TEST_F(Forwarding, NoticesWhatLiesBetweenAForwardersEndAndTheOwners) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  world.keep_apart(alice, bob);
  publish("1");
  std::vector<std::pair<FrameType, Bytes>> late;
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&to != &carol || (type != FrameType::channel_heads && type != FrameType::retained)) return true;
    if (&from == &bob) return late.emplace_back(type, body), false;
    // The forwarder's answers come after the owner was asked, and before the owner's.
    for (const auto& [kind, answer] : std::exchange(late, {}))
      carol.overlay->link_frame(world.links_between(bob, carol).at(0), bob.key.node_id(), kind, answer);
    return true;
  };
  carol.overlay->add_demand("@alice/sensors/#", true);
  settle();
  ASSERT_GE(late.size(), 2u) << "where the log ends, and that there are no values";
  world.let_meet(alice, carol);
  settle();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1")) << "with no later message that shows the gap";
}

TEST_F(Forwarding, TakesNoCopiesForAllWhereItDoesNotKnowItsPlaceInTheLog) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("1", true);
  // bob's place is behind a hole, so that it has no header to prove it with.
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&from != &bob || &to != &carol || type != FrameType::channel_heads) return true;
    auto heads = wire::decode_channel_heads(body).value();
    for (auto& position : heads.positions) position.header.clear();
    body = wire::encode_channel_heads(heads);
    return true;
  };
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  EXPECT_EQ(as_text(carol.retained->find("@alice/sensors/n")->message->payload), "1") << "better than nothing";
  world.kill(bob);
  publish("2", true);
  world.let_meet(alice, carol);
  world.pass(60s);
  EXPECT_EQ(as_text(carol.retained->find("@alice/sensors/n")->message->payload), "2");
}

TEST_F(Forwarding, TakesNoValueFromWhoMissedItsEnd) {
  world.let_meet(alice, carol);
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("over", true);
  bob.overlay->remove_demand("@alice/sensors/#", false);  // what he holds stays for others, as it is
  world.keep_apart(alice, bob);
  publish("", true);
  carol.overlay->add_demand("@alice/sensors/n", false);
  settle();
  ASSERT_TRUE(carol.overlay->remote().acknowledged("@alice/sensors/n"));
  ASSERT_EQ(carol.retained->find("@alice/sensors/n"), nullptr)
      << "she came when it was over: no tombstone keeps it out";
  bool offered = false;
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&from == &bob && &to == &carol && type == FrameType::retained)
      offered |= !wire::decode_retained_values(body)->values.empty();
    return true;
  };
  world.keep_apart(alice, carol);
  settle();
  ASSERT_TRUE(offered) << "bob stands in for alice";
  EXPECT_EQ(carol.retained->find("@alice/sensors/n"), nullptr);
  EXPECT_THAT(carol.broker->retained, IsEmpty());
}

TEST_F(Forwarding, TakesNoValueThatIsOverFromWhoTookItFromSomebodyElse) {
  publish("over", true);
  wire::RetainedValues stale;
  Bytes frame;
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes& body) {
    if (&to == &dave && type == FrameType::retained && !wire::decode_retained_values(body)->values.empty())
      frame = body;
    return true;
  };
  dave.overlay->add_demand("@alice/sensors/#", false);
  settle();
  ASSERT_FALSE(frame.empty());
  world.on_wire = nullptr;
  publish("", true);
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  ASSERT_TRUE(carol.overlay->remote().acknowledged("@alice/sensors/#"));
  // bob, who is as far in the log as she is, passes it on as a member does that has not got all of the values yet.
  stale = *wire::decode_retained_values(frame);
  stale.last = false;
  stale.number = 0;
  carol.overlay->link_frame(world.links_between(bob, carol).at(0), bob.key.node_id(), FrameType::retained,
                            wire::encode_retained_values(stale));
  carol.turn.touch();
  settle();
  EXPECT_EQ(carol.retained->find("@alice/sensors/n"), nullptr);
  EXPECT_THAT(carol.broker->retained, IsEmpty());
}

TEST_F(Forwarding, GoesOnWhenTheOwnerIsGone) {
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("1", true);
  publish("2");
  world.kill(alice);
  settle();
  dave.overlay->add_demand("@alice/sensors/#", false);
  settle();
  ASSERT_EQ(dave.broker->retained.size(), 1u) << "from bob";
  EXPECT_EQ(as_text(dave.broker->retained[0]->payload), "1");
}

TEST_F(Forwarding, CatchesADurableReaderUp) {
  world.subscribe_durably(carol, "@alice/sensors/#");
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  publish("1");
  world.kill(carol);
  publish("2");
  publish("3");
  world.kill(alice);
  settle();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1"));
  world.start(carol);
  settle();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 2", "@alice/sensors/n 3")) << "from bob, alice is gone";
  world.kill(bob);
  world.start(bob);
  world.start(alice);
  settle();
  publish("4");
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 4"));
}

TEST_F(Forwarding, HoldsWhatItHoldsForAWhileAfterItsOwnReaderWent) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("1", true);
  bob.overlay->remove_demand("@alice/sensors/#", false);
  world.kill(alice);
  settle();
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  EXPECT_EQ(carol.broker->retained.size(), 1u);
  carol.overlay->remove_demand("@alice/sensors/#", false);
  settle();
  world.pass(limits::carry_time + 10s);
  EXPECT_EQ(bob.retained->find("@alice/sensors/n"), nullptr);
  EXPECT_THAT(bob.store->rows(Table::log), IsEmpty());
}

TEST_F(Forwarding, NobodyCarriesForNobody) {
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  carol.overlay->remove_demand("@alice/sensors/#", false);
  settle();
  bob.broker->live.clear();
  publish("1");
  EXPECT_THAT(bob.broker->live, IsEmpty());
}

TEST_F(Forwarding, WaitsForTheOwnerWhereAPersistentSessionWouldLose) {
  world.subscribe_durably(carol, "@alice/sensors/#");
  settle();
  publish("1");
  let_bob_miss_two_and_carry_on();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1")) << "4 waits for 2 and 3, which alice still has";
  EXPECT_THAT(carol.overlay->remote().status().at(0).withheld, ElementsAre(alice.key.node_id()));
  world.start(alice);
  world.pass(60s);
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 2", "@alice/sensors/n 3", "@alice/sensors/n 4"));
  EXPECT_EQ(carol.overlay->remote().status().at(0).durable_lost, 0u);
}

TEST_F(Forwarding, AForwarderThatWasOffFetchesWhatItsReadersMissed) {
  for (Home* reader : {&carol, &dave}) world.subscribe_durably(*reader, "@alice/sensors/#");
  settle();
  publish("1");
  world.kill(dave);
  publish("2");
  world.kill(bob);
  for (const char* payload : {"3", "4", "5"}) publish(payload);
  world.start(bob);
  settle();  // it carries the channel for carol from alice's end on, and reads nothing of it itself
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1", "@alice/sensors/n 2", "@alice/sensors/n 3",
                                       "@alice/sensors/n 4", "@alice/sensors/n 5"));
  world.kill(alice);
  world.start(dave);
  settle();
  EXPECT_THAT(take(dave),
              ElementsAre("@alice/sensors/n 2", "@alice/sensors/n 3", "@alice/sensors/n 4", "@alice/sensors/n 5"))
      << "bob has no hole where he was off";
}

TEST_F(Forwarding, AForwarderThatNeverReadTheChannelFetchesWhatItsReaderMissed) {
  world.let_meet(alice, carol);
  world.subscribe_durably(carol, "@alice/sensors/#");
  settle();
  publish("1");
  world.keep_apart(alice, carol);
  for (const char* payload : {"2", "3"}) publish(payload);
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  EXPECT_THAT(take(bob), IsEmpty()) << "who is new at bob gets what comes from now on";
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1", "@alice/sensors/n 2", "@alice/sensors/n 3"));
}

TEST_F(Forwarding, WhatNobodyHasAnyMoreIsNotAskedForWithoutEnd) {
  world.subscribe_durably(carol, "@alice/sensors/#");
  settle();
  publish("1");
  world.kill(bob);
  publish("2");
  alice.store->damage(Table::log, std::prev(alice.store->rows(Table::log).end())->first);
  for (int i = 0; i < 6; ++i) publish(std::string(limits::channel_cache_bytes_max / 2, 'x'));  // "2" is on disk only
  world.start(bob);
  settle();
  int batches = 0;
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes&) {
    batches += &from == &alice && &to == &bob && type == FrameType::batch;
    return true;
  };
  world.pass(200s);
  EXPECT_LE(batches, 70) << "carol asks about every 20 s";
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1")) << "she waits";
}

TEST_F(Forwarding, DoesNotKeepAPassingReaderWaiting) {
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("1");
  let_bob_miss_two_and_carry_on();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1", "@alice/sensors/n 4"));
  EXPECT_EQ(carol.overlay->remote().status().at(0).durable_lost, 2u) << "counted";
}

TEST_F(Forwarding, CannotLieAboutPlacesNorBodies) {
  // bob tells everybody that alice's log is far ahead.
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&from != &bob || &to != &carol || type != FrameType::channel_heads) return true;
    auto heads = wire::decode_channel_heads(body).value();
    for (auto& position : heads.positions) position.cursor = {{~0ull, 1}, 1'000'000, {}};
    body = wire::encode_channel_heads(heads);
    return true;
  };
  publish("0");
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  EXPECT_GT(carol.overlay->counters().at("places in logs not believed"), 0u);
  world.on_wire = nullptr;
  carol.overlay->remove_demand("@alice/sensors/#", false);
  carol.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("1");
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1"));

  // Then it passes on headers without their bodies.
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&from == &bob && &to == &carol && type == FrameType::batch) body.resize(4 + BatchHeader::wire_bytes);
    return true;
  };
  publish("2");
  world.on_wire = nullptr;
  publish("3");
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 2", "@alice/sensors/n 3"));
}

// Disk ---------------------------------------------------------------------------------------------------------

TEST_F(Forwarding, FetchesADamagedBatchFromAnotherHolder) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  world.subscribe_durably(carol, "@alice/sensors/#");
  settle();
  publish("1");
  world.kill(carol);
  for (int i = 0; i < 6; ++i) publish(std::string(limits::channel_cache_bytes_max / 2, 'x'));  // read back from disk
  ASSERT_EQ(bob.store->rows(Table::log).size(), 7u);
  bob.store->damage(Table::log, std::next(bob.store->rows(Table::log).begin(), 2)->first);
  world.start(carol);
  world.pass(60s);
  EXPECT_EQ(take(carol).size(), 6u) << "bob got it again from alice, whom carol cannot reach";
  EXPECT_EQ(bob.overlay->counters().at("batches fetched for readers"), 1u);
}

TEST_F(Forwarding, KeepsAllLogsTogetherWithinTheStoresBound) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  bob.overlay->set_retention({.bytes_max = 3 << 20});
  for (int i = 0; i < 10; ++i) publish(std::string(1 << 19, 'x'));
  world.pass(5s);
  std::size_t bytes = 0;
  for (const auto& [key, row] : bob.store->rows(Table::log)) bytes += row.size();
  EXPECT_LE(bytes, 3u << 20);
  EXPECT_GE(bytes, 2u << 20);
}

TEST_F(Forwarding, LetsNoOtherHomeTakeMoreThanItsQuota) {
  ASSERT_TRUE(carol.overlay->own().add("cams/#", Preset::public_));
  carol.turn.touch();
  world.subscribe_durably(bob, "@alice/sensors/#");
  world.subscribe_durably(bob, "@carol/cams/#");
  world.pass(60s);
  bob.overlay->set_retention({.bytes_max = 100 << 20, .handle_bytes_max = 2 << 20});
  publish("1");
  for (int i = 0; i < 10; ++i) carol.publish("cams/a", std::string(1 << 19, 'x'));
  world.pass(5s);
  std::map<std::string, std::uint64_t> bytes;
  for (const auto& channel : bob.overlay->remote().status()) bytes[channel.handle] += channel.log_bytes;
  EXPECT_LE(bytes.at("carol"), 2u << 20);
  EXPECT_GT(bytes.at("carol"), 0u);
  EXPECT_GT(bytes.at("alice"), 0u) << "who takes little keeps it";
  EXPECT_GT(bob.overlay->counters().at("times a handle's quota of the store was full"), 0u);
}

TEST_F(Forwarding, TellsOfAGapWhereNobodyHasWhatIsDamaged) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  publish("1");
  world.kill(bob);
  for (int i = 0; i < 6; ++i) publish(std::string(limits::channel_cache_bytes_max / 2, 'x'));
  world.kill(alice);  // what it has in memory goes with it
  world.start(alice);
  alice.store->damage(Table::log, std::next(alice.store->rows(Table::log).begin(), 2)->first);
  world.start(bob);
  world.pass(60s);
  EXPECT_EQ(take(bob).size(), 5u) << "what is damaged is missing, and nothing else";
  EXPECT_EQ(bob.overlay->remote().status().at(0).durable_lost, 1u) << "and bob's status counts it";
  EXPECT_EQ(alice.overlay->counters().at("damaged batches on disk"), 1u);
}

TEST_F(Forwarding, CatchesUpWithinFourteenDaysAndCountsWhatIsOlder) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  world.kill(bob);
  const auto days_pass = [&](int days) {
    world.clock.now_ms += static_cast<WallMs>(days) * 24 * 3'600'000;
    world.pass(120s);  // retention looks once a minute
  };
  for (const char* payload : {"day 0", "day 1"}) publish(payload), days_pass(1);
  days_pass(11);
  publish("day 13");
  world.start(bob);
  settle();
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n day 0", "@alice/sensors/n day 1", "@alice/sensors/n day 13"));
  EXPECT_EQ(bob.overlay->remote().status().at(0).durable_lost, 0u);
  world.kill(bob);
  publish("day 13 still");
  days_pass(15);
  publish("day 28");
  world.kill(alice);  // which has the newest batches in memory, too
  world.start(alice);
  world.start(bob);
  settle();
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n day 28"));
  EXPECT_EQ(bob.overlay->remote().status().at(0).durable_lost, 1u)
      << "beyond retention the loss is counted, not hidden";
}

TEST(ForwardingOnDisk, AHomeThatWasAwayGetsAllThatIsHeldStillInOrderAndTheRestCounted) {
  TemporaryFolder folder;
  World world(1, folder.path());
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  ASSERT_TRUE(alice.overlay->own().add("sensors/#", Preset::public_));
  alice.turn.touch();
  world.subscribe_durably(bob, "@alice/sensors/#");
  world.pass(8s);
  world.kill(bob);
  constexpr int days = 20;
  for (int day = 0; day < days; ++day) {
    for (const char* hour : {"morning", "noon", "night"}) alice.publish("sensors/n", fmt::format("{} {}", day, hour));
    world.run();
    world.clock.now_ms += static_cast<WallMs>(24) * 3'600'000;
    world.pass(61s);  // retention looks once a minute
    if (day == 9) world.kill(alice), world.start(alice);
  }
  world.start(bob);
  world.pass(8s);
  // What is older than fourteen days is gone, and nothing else.
  std::vector<std::string> expected;
  for (int day = days - 13; day < days; ++day)
    for (const char* hour : {"morning", "noon", "night"})
      expected.push_back(fmt::format("@alice/sensors/n {} {}", day, hour));
  EXPECT_EQ(bob.broker->texts(), expected);
  EXPECT_EQ(bob.overlay->remote().status().at(0).durable_lost, 3u * days - expected.size());
  for (Home* home : {&alice, &bob}) world.kill(*home), world.start(*home);
  alice.publish("sensors/n", "today");
  world.pass(8s);
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n today")) << "and nothing comes again";
}

}  // namespace
}  // namespace diot::test
