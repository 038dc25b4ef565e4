// What clocks that are wrong do to messages between homes, and what becomes of a log whose writer lost a part of it, or lives
// twice.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/dht/forwarding_world.hpp"

namespace diot::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

struct Clocks : Forwarding {};
struct OneLife : Forwarding {};

// Clocks -------------------------------------------------------------------------------------------------------

TEST_F(Clocks, MessagesExpireByTheTimeTheyWereHeldWhateverTheClocksSay) {
  alice.clock->ahead_ms = -WallMs{3'600'000};  // hers is an hour behind bob's, and carol's two days ahead
  carol.clock->ahead_ms = 48 * 3'600'000;
  bob.overlay->add_demand("@alice/sensors/#", true);
  world.subscribe_durably(carol, "@alice/sensors/#");
  settle();
  const auto publish_for_a_minute = [&](const std::string& payload) {
    auto message = std::make_shared<Message>();
    message->topic = "sensors/n";
    message->payload = to_bytes(payload);
    message->qos = Qos::at_least_once;
    message->retain = true;
    message->properties.expiry_seconds = 60;
    message->received = world.clock.monotonic();
    alice.overlay->publish(message);
    alice.turn.touch();
    world.run();
  };
  publish_for_a_minute("at once");
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n at once"));
  world.kill(carol);
  publish_for_a_minute("held");
  world.kill(bob);  // from his disk then
  world.start(bob);
  bob.overlay->add_demand("@alice/sensors/#", true);
  world.pass(20s);
  bob.clock->ahead_ms = 24 * 3'600'000;  // a time server was reached
  dave.overlay->add_demand("@alice/sensors/#", false);
  world.start(carol);
  settle();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n held"));
  for (Home* reader : {&carol, &dave}) {
    const RetainedValue* value = reader->retained->find("@alice/sensors/n");
    ASSERT_TRUE(value && value->message) << reader->handle;
    EXPECT_NEAR(*value->message->seconds_left(world.clock.monotonic()), 32, 10) << reader->handle;
  }
  world.kill(carol);
  world.pass(60s);
  world.start(carol);
  settle();
  EXPECT_THAT(take(carol), IsEmpty());
  for (Home* reader : {&carol, &dave})
    reader->retained->match("@alice/#", [&](const std::string& topic, const RetainedValue&) {
      ADD_FAILURE() << topic << " is over at " << reader->handle;
    });
}

TEST_F(Clocks, LogsAreKeptAsLongWhenAClockLearnsTheDate) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  world.subscribe_durably(carol, "@alice/sensors/#");
  settle();
  world.kill(carol);
  publish("1");
  for (Home* holder : {&alice, &bob}) holder->clock->ahead_ms = 20ull * 24 * 3'600'000;
  world.pass(120s);  // retention looks once a minute
  world.kill(bob);   // who has it in memory, too
  world.start(bob);
  world.start(carol);
  settle();
  EXPECT_THAT(take(carol), ElementsAre("@alice/sensors/n 1"));
}

TEST_F(Clocks, AReaderThatDoesNotKnowTheDateYetShowsRetainedValues) {
  bob.clock->ahead_ms = -WallMs{20} * 365 * 24 * 3'600'000;
  bob.clock->is_sure = false;
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("now", true);
  ASSERT_NE(bob.retained->find("@alice/sensors/n"), nullptr);
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/n")->message->payload), "now");
}

TEST_F(Clocks, RetainsNothingAheadOfItsTime) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("good", true);
  alice.clock->ahead_ms = 3'600'000;
  publish("ahead", true);
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n good", "@alice/sensors/n ahead")) << "delivered at once";
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/n")->message->payload), "good");
  world.pass(3'590s);
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/n")->message->payload), "good");
  world.pass(20s);
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/n")->message->payload), "ahead");
}

TEST_F(Clocks, KeepsWhatIsAheadOfItsTimeAcrossARestart) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  publish("good", true);
  alice.clock->ahead_ms = 3'600'000;
  publish("ahead", true);
  alice.clock->ahead_ms = 0;
  world.kill(bob);
  world.start(bob);
  settle();
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/n")->message->payload), "good");
  world.kill(alice);  // nobody is there to ask
  world.pass(3'600s);
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/n")->message->payload), "ahead");
}

TEST_F(Clocks, WritesLaterThanWhatItHasRead) {
  ASSERT_TRUE(bob.overlay->own().add("door", Preset::public_));
  bob.overlay->add_demand("@alice/sensors/#", false);
  alice.overlay->add_demand("@bob/door", false);
  alice.clock->ahead_ms = 50'000;
  settle();
  std::map<std::string, HybridTime> times;
  world.on_wire = [&](const Home& from, const Home&, FrameType type, Bytes& body) {
    if (type == FrameType::batch) times[from.handle] = BatchView::parse(wire::decode_batch(body)->batch)->header.time;
    return true;
  };
  publish("question");
  bob.publish("door", "answer");
  world.run();
  EXPECT_GT(times.at("bob"), times.at("alice"));
}

// One life -----------------------------------------------------------------------------------------------------

TEST_F(OneLife, GivesAnOwnerBackWhatItsBackupLacks) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  publish("1", true);
  const MemoryStore::Image backup = alice.store->image();
  publish("2", true);
  publish("3");
  world.kill(alice);
  alice.store = std::make_unique<MemoryStore>(backup);
  world.start(alice);
  settle();
  EXPECT_EQ(alice.overlay->counters().at("own records fetched back"), 2u);
  ASSERT_NE(alice.retained->find("sensors/n"), nullptr);
  EXPECT_EQ(as_text(alice.retained->find("sensors/n")->message->payload), "2");
  take(bob);
  publish("4");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n 4"));
  EXPECT_EQ(bob.overlay->remote().status().at(0).durable_lost, 0u);
  EXPECT_THAT(bob.overlay->remote().forks(), IsEmpty());
}

TEST_F(OneLife, KeepsTheProofOfALogThatWasWrittenTwice) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish_twice("1");
  ASSERT_EQ(bob.overlay->remote().forks().size(), 1u);
  EXPECT_EQ(bob.overlay->remote().forks()[0].handle, "alice");
  publish("2");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n 1")) << "that life is over for bob, after a restart too";
  world.kill(alice);
  world.start(alice);
  settle();
  take(bob);
  publish("3");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n 3")) << "a new life is a new start";
  world.kill(bob);
  EXPECT_EQ(std::ranges::count_if(bob.store->rows(Table::meta),
                                  [](auto& row) { return as_text(row.first).starts_with("fork/"); }),
            1)
      << "the proof stays";
}

TEST_F(OneLife, NamesWhoWasCopiedAfterARestart) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish_twice("1");
  const auto forks_after_restart = [&] {
    world.kill(bob);
    world.start(bob);  // nobody there wants the channel yet
    return bob.overlay->remote().forks();
  };
  ASSERT_THAT(forks_after_restart(), SizeIs(1));
  EXPECT_EQ(forks_after_restart()[0].handle, "alice");
  for (auto& [key, value] : bob.store->rows(Table::meta)) {
    if (!as_text(key).starts_with("fork/")) continue;
    EXPECT_EQ(as_text(ByteView(value).subspan(2 * BatchHeader::wire_bytes)), "alice")
        << "who may be in no ledger later";
    value.resize(2 * BatchHeader::wire_bytes);
  }
  EXPECT_EQ(forks_after_restart()[0].handle, "alice") << "written by a version that did not note the handle";
}

TEST_F(OneLife, TakesWhatACopiedLifeRetainedFromTheWritersNextLifeOnly) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  publish("before", true);
  publish_twice("1");
  publish("refused", true);
  auto will = std::make_shared<Message>();
  will->topic = "sensors/will";
  alice.overlay->set_will(1, will, 0);
  world.let_meet(alice, dave);
  dave.overlay->add_demand("@alice/sensors/#", false);
  settle();
  const auto held = [&](Home& home) {
    return std::string(as_text(home.retained->find("@alice/sensors/n")->message->payload));
  };
  const auto wills = [&] { return bob.overlay->wills().use(channel()).count; };
  ASSERT_EQ(held(dave), "refused");
  EXPECT_EQ(held(bob), "before");
  const auto fetch_copies_anew = [&] {
    world.kill(bob);
    world.start(bob);
    bob.overlay->add_demand("@alice/sensors/#", false);
    world.pass(12s);
    ASSERT_TRUE(bob.overlay->remote().acknowledged("@alice/sensors/#"));
    EXPECT_TRUE(bob.overlay->counters().contains("retained values of a copied node"));
  };
  for (const char* from : {"alice", "dave"}) {
    fetch_copies_anew();
    EXPECT_EQ(held(bob), "before") << "from " << from;
    EXPECT_EQ(wills(), 0u) << "from " << from;
    world.keep_apart(alice, bob);
  }
  world.let_meet(alice, bob);
  world.kill(alice);
  world.start(alice);
  world.pass(60s);
  publish("1");
  settle();
  EXPECT_EQ(held(bob), "refused") << "now its writer stands by it";
}

TEST_F(OneLife, KeepsTheProofOfEachLifeThatWasCopied) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  Bytes proof;
  for (int life = 0; life < 2; ++life) {
    const BatchHeader header = publish_twice("1");
    ASSERT_EQ(bob.overlay->remote().forks().size(), 1u);
    for (const auto& [key, value] : bob.store->rows(Table::meta))
      if (as_text(key).starts_with("fork/")) proof = value;
    EXPECT_EQ(BatchView::parse(ByteView(proof).first(BatchHeader::wire_bytes))->header.incarnation, header.incarnation);
    world.kill(alice);
    world.start(alice);
    settle();
  }
}

TEST_F(OneLife, StopsPublishingWhileACopyOfItRuns) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  publish("1", true);
  RunsTwice what;
  what.node = alice.key.node_id();
  what.told_by = bob.key.node_id();
  what.address = "192.0.2.7:5000";
  alice.overlay->runs_twice(what);
  ASSERT_TRUE(alice.overlay->copied());
  EXPECT_EQ(alice.overlay->copied()->address, "192.0.2.7:5000");
  publish("2", true);
  alice.publish("sensors/n", "3", Qos::at_most_once);
  world.run();
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n 1"));
  // Neither who comes now gets anything of it, nor who asks again.
  world.let_meet(alice, dave);
  dave.overlay->add_demand("@alice/sensors/#", false);
  world.cut(world.links_between(alice, bob).at(0), "broken");
  settle();
  publish("4");
  EXPECT_THAT(take(bob), IsEmpty());
  EXPECT_EQ(dave.retained->find("@alice/sensors/n"), nullptr) << "a value of this life stays here, too";
  EXPECT_EQ(as_text(alice.retained->find("sensors/n")->message->payload), "2") << "at home it counts";
  // The person has stopped the copy and restarts alice: what was kept goes out.
  world.kill(alice);
  world.start(alice);
  settle();
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n 2", "@alice/sensors/n 4"));
  EXPECT_FALSE(alice.overlay->copied());
}

TEST_F(OneLife, WritesALifeThatReadersTakeForTheLaterOneWhateverTheClock) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  const MemoryStore::Image backup = alice.store->image();
  restart_an_hour_ahead();
  publish("1");
  go_back_to(backup);
  take(bob);
  publish("2");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n 2"));
}

TEST_F(OneLife, ReadsALifeThatBeganBehindTheTimeOfOneThatItKnowsNothingOf) {
  world.subscribe_durably(bob, "@alice/sensors/#");
  // What alice reads of bob, whose clock is a little ahead, her next record comes after.
  ASSERT_TRUE(bob.overlay->own().add("lamps/#", Preset::public_));
  bob.turn.touch();
  alice.overlay->add_demand("@bob/lamps/#", false);
  settle();
  const MemoryStore::Image backup = alice.store->image();
  bob.clock->ahead_ms = 50'000;
  bob.publish("lamps/hall", "on");
  world.run();
  publish("1");
  take(bob);
  // She loses both, and writes before anybody can tell her.
  world.keep_apart(alice, bob);
  go_back_to(backup);
  publish("2");
  world.let_meet(alice, bob);
  world.pass(60s);
  publish("3");
  EXPECT_THAT(take(bob), ElementsAre("@alice/sensors/n 2", "@alice/sensors/n 3"));
}

TEST_F(OneLife, ListsItsSharesAboveWhatReadersKnowWhateverTheClock) {
  world.subscribe_durably(bob, "@alice/#");
  settle();
  const MemoryStore::Image backup = alice.store->image();
  restart_an_hour_ahead();
  go_back_to(backup);
  ASSERT_TRUE(alice.overlay->own().add("lamps/#", Preset::public_));
  settle();
  ASSERT_NE(bob.overlay->remote().catalogue_of("alice"), nullptr);
  EXPECT_EQ(bob.overlay->remote().catalogue_of("alice")->size(), 2u);
  EXPECT_EQ(alice.overlay->counters().at("own catalogues of an earlier life seen"), 1u);
}

TEST_F(OneLife, BeginsANewLifeWhenItFindsThatItWasCopied) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  std::vector<BatchHeader> seen;
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes& body) {
    if (&to == &bob && type == FrameType::batch)
      seen.push_back(BatchView::parse(wire::decode_batch(body)->batch)->header);
    return true;
  };
  publish("1");
  ASSERT_EQ(seen.size(), 1u);
  // A virtual machine went back to a snapshot: bob has a record of this very life that alice does not know.
  BatchWriter snapshot(Stream::durable, channel(), seen[0].incarnation, seen[0].previous);
  Record record{RecordKind::message, "sensors/n", Qos::at_least_once, false, to_bytes("x"), {}};
  snapshot.seal({encode_record(record)}, false, seen[0].time, 1, alice.key, alice.ledger->network(), world.random);
  const Bytes second = snapshot.seal({encode_record(record)}, false, seen[0].time + 1, 1, alice.key,
                                     alice.ledger->network(), world.random);
  const auto batch = BatchView::parse(second);
  const wire::ChannelJoin join{
      channel(),
      false,
      {{alice.key.node_id(), advanced(batch->header, batch->header_hash), to_bytes(batch->header_bytes)}}};
  alice.overlay->link_frame(world.links_between(alice, bob).at(0), bob.key.node_id(), FrameType::channel_join,
                            wire::encode_channel_join(join));
  publish("2");
  EXPECT_GT(seen.back().incarnation.number, seen[0].incarnation.number);
  EXPECT_EQ(seen.back().first_seq, 1u);
  EXPECT_EQ(take(bob).back(), "@alice/sensors/n 2");
}

}  // namespace
}  // namespace diot::test
