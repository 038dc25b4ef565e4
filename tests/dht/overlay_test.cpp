#include "dht/overlay.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;

struct Overlays : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);

  void share(const std::string& filter, Preset preset = Preset::public_) {
    const auto made = alice.overlay->own().add(filter, preset);
    ASSERT_TRUE(made) << made.error().message;
    alice.turn.touch();
    world.run();
  }
  void settle() { world.pass(3s); }
  bool acknowledged(const std::string& filter) { return bob.overlay->remote().acknowledged(filter); }
};

TEST_F(Overlays, CarryAMessageToWhoAskedForIt) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  EXPECT_TRUE(acknowledged("@alice/sensors/#"));
  alice.publish("sensors/kitchen/temp", "21.5");
  alice.publish("sensors/kitchen/temp", "21.6", Qos::at_most_once);
  alice.publish("secret/door", "open");
  world.run();
  EXPECT_THAT(bob.broker->texts(),
              testing::UnorderedElementsAre("@alice/sensors/kitchen/temp 21.5", "@alice/sensors/kitchen/temp 21.6"));
}

TEST_F(Overlays, LetNothingOutThatNoShareCovers) {
  share("sensors/#");
  share("sensors/bedroom/#", Preset::local);
  std::string seen;
  world.on_wire = [&](const Home&, const Home&, FrameType, Bytes& body) {
    seen.append(as_text(body));
    return true;
  };
  bob.overlay->add_demand("@alice/#", false);
  settle();
  for (const Qos qos : {Qos::at_most_once, Qos::at_least_once, Qos::exactly_once}) {
    alice.publish("sensors/bedroom/move", "hidden-1", qos, true);
    alice.publish("sensors/bedroom/move", "hidden-2", qos);
    alice.publish("private", "hidden-3", qos, true);
    alice.publish("@alice/private", "hidden-4", qos);
    alice.publish("sensors/kitchen", "shown", qos);
  }
  world.run();
  for (const auto& [key, record] : world.directory) seen.append(as_text(record));
  EXPECT_THAT(bob.broker->texts(), testing::Each("@alice/sensors/kitchen shown"));
  EXPECT_EQ(bob.broker->live.size(), 3u);
  EXPECT_NE(seen.find("shown"), seen.npos) << "the test sees the wire";
  EXPECT_EQ(seen.find("hidden"), seen.npos);
  EXPECT_EQ(seen.find("bedroom"), seen.npos) << "nor does the name of a local share leave";
  EXPECT_EQ(seen.find("private"), seen.npos);
}

TEST_F(Overlays, GiveALateReaderTheRetainedValues) {
  share("sensors/#");
  alice.publish("sensors/a", "1", Qos::at_least_once, true);
  alice.publish("sensors/b", "old", Qos::at_most_once, true);
  alice.publish("sensors/b", "2", Qos::at_most_once, true);
  alice.publish("sensors/c", "3", Qos::at_least_once, true);
  alice.publish("sensors/c", "", Qos::at_least_once, true);
  alice.publish("sensors/d", "not retained");
  world.run();
  bob.overlay->add_demand("@alice/sensors/+", false);
  settle();
  std::vector<std::string> got;
  for (const auto& message : bob.broker->retained)
    got.push_back(message->topic + " " + std::string(as_text(message->payload)));
  EXPECT_THAT(got, testing::UnorderedElementsAre("@alice/sensors/a 1", "@alice/sensors/b 2"));
  EXPECT_THAT(bob.broker->live, IsEmpty());
  ASSERT_NE(bob.retained->find("@alice/sensors/a"), nullptr);
}

TEST_F(Overlays, MakeReadableWhatWasRetainedBeforeTheShare) {
  alice.retained->set("sensors/a", {[] {
                                      auto message = std::make_shared<Message>();
                                      message->topic = "sensors/a";
                                      message->payload = to_bytes("1");
                                      message->retain = true;
                                      return message;
                                    }(),
                                    {hybrid_from(world.clock.wall_ms()), alice.key.node_id(), {}, 0},
                                    {},
                                    {},
                                    0});
  bob.overlay->add_demand("@alice/sensors/a", false);
  settle();
  share("sensors/#");
  settle();
  ASSERT_EQ(bob.broker->retained.size(), 1u);
  EXPECT_EQ(bob.broker->retained[0]->topic, "@alice/sensors/a");
  ASSERT_NE(bob.retained->find("@alice/sensors/a"), nullptr);

  share("sensors/a", Preset::local);
  settle();
  const auto* hidden = bob.retained->find("@alice/sensors/a");
  EXPECT_TRUE(!hidden || !hidden->message) << "a carved-out value is taken back";
  ASSERT_NE(alice.retained->find("sensors/a"), nullptr);
  EXPECT_TRUE(alice.retained->find("sensors/a")->message) << "and stays at home";
}

TEST_F(Overlays, AskForAllRetainedValuesAgainWhereALogHasBegunUnheard) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  // A second gateway of alice's has written before bob hears of it.
  const KeyPair second = KeyPair::generate(world.random);
  HandleRecord record = *alice.ledger->handle("alice");
  record.nodes.push_back({second.node_id(), Role::admin});
  std::optional<Result<std::uint64_t>> committed;
  alice.overlay->ledger_sync().submit(
      make_update(record, alice.ledger->network(), alice.ledger->head(), alice.owner, {second}),
      [&](auto height) { committed = height; });
  world.run();
  ASSERT_TRUE(committed && *committed) << (committed ? committed->error().message : "not answered");
  const ChannelId channel = alice.overlay->own().status().at(0).id;
  BatchWriter writer(Stream::durable, channel, {1, 1}, {});
  const Bytes wire =
      writer.seal({encode_record({RecordKind::message, "sensors/n", Qos::at_least_once, true, to_bytes("x"), {}})},
                  true, hybrid_from(world.clock.wall_ms()), 1, second, alice.ledger->network(), world.random);
  const auto batch = BatchView::parse(wire);
  const Cursor end = advanced(batch->header, batch->header_hash);

  const wire::Position position{second.node_id(), end, to_bytes(batch->header_bytes)};
  std::size_t asked = 0;
  world.on_wire = [&](const Home& from, const Home&, FrameType type, Bytes& body) {
    asked += &from == &bob && type == FrameType::channel_join && wire::decode_channel_join(body)->snapshot;
    if (type != FrameType::channel_heads) return true;
    auto heads = *wire::decode_channel_heads(body);
    heads.positions.push_back(position);  // alice has got it, too
    body = wire::encode_channel_heads(heads);
    return true;
  };
  bob.overlay->link_frame(world.links_between(alice, bob).at(0), alice.key.node_id(), FrameType::channel_heads,
                          wire::encode_channel_heads({channel, {}, {position}, 0}));
  bob.turn.touch();
  world.pass(60s);
  EXPECT_EQ(asked, 1u);
}

TEST_F(Overlays, DropTheCopiesWhenAShareEnds) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  alice.publish("sensors/a", "1", Qos::at_least_once, true);
  world.run();
  ASSERT_NE(bob.retained->find("@alice/sensors/a"), nullptr);
  ASSERT_TRUE(alice.overlay->own().remove("sensors/#"));
  alice.turn.touch();
  settle();
  EXPECT_EQ(bob.retained->find("@alice/sensors/a"), nullptr);
  bob.broker->live.clear();
  alice.publish("sensors/a", "2", Qos::at_least_once, true);
  world.run();
  EXPECT_THAT(bob.broker->live, IsEmpty());
}

TEST_F(Overlays, GiveAPassingReaderThatRestartedTheValuesThatChangedMeanwhile) {
  share("sensors/#");
  alice.publish("sensors/a", "1", Qos::at_least_once, true);
  alice.publish("sensors/b", "1", Qos::at_least_once, true);
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  ASSERT_NE(bob.retained->find("@alice/sensors/a"), nullptr);
  world.kill(bob);
  alice.publish("sensors/a", "2", Qos::at_least_once, true);
  alice.publish("sensors/b", "", Qos::at_least_once, true);
  world.run();
  world.start(bob);
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  ASSERT_NE(bob.retained->find("@alice/sensors/a"), nullptr);
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/a")->message->payload), "2");
  const auto* ended = bob.retained->find("@alice/sensors/b");
  EXPECT_TRUE(!ended || !ended->message);
}

TEST_F(Overlays, GiveAReaderAgainWhatWasDamagedOnItsDisk) {
  share("sensors/#");
  alice.publish("sensors/a", "1", Qos::at_least_once, true);
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  ASSERT_NE(bob.retained->find("@alice/sensors/a"), nullptr);
  world.kill(bob);
  auto image = bob.store->image();
  image[static_cast<std::size_t>(Table::retained)].at(to_bytes("@alice/sensors/a")) = to_bytes("damaged");
  bob.store = std::make_unique<MemoryStore>(std::move(image));
  world.start(bob);
  settle();
  ASSERT_NE(bob.retained->find("@alice/sensors/a"), nullptr);
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/a")->message->payload), "1");
}

TEST_F(Overlays, RepairAGapByRange) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  int batches = 0;
  world.on_wire = [&](const Home&, const Home&, FrameType type, Bytes&) {
    return type != FrameType::batch || ++batches % 3 != 2;  // the second of three is lost
  };
  for (int i = 0; i < 20; ++i) {
    alice.publish("sensors/n", std::to_string(i));
    world.run();
  }
  world.on_wire = nullptr;
  alice.publish("sensors/n", "20");
  world.run();
  std::vector<std::string> expected;
  for (int i = 0; i <= 20; ++i) expected.push_back("@alice/sensors/n " + std::to_string(i));
  EXPECT_EQ(bob.broker->texts(), expected);
  EXPECT_GT(bob.overlay->counters().at("ranges asked for"), 0u);
}

TEST_F(Overlays, CatchUpADurableReaderAcrossRestartsOfBothSides) {
  share("sensors/#");
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  std::vector<std::string> got, expected;
  auto collect = [&] {
    for (auto& text : bob.broker->texts()) got.push_back(text);
    bob.broker->live.clear();
  };
  int next = 0;
  auto publish = [&](int count) {
    for (int i = 0; i < count; ++i) {
      expected.push_back("@alice/sensors/n " + std::to_string(next));
      alice.publish("sensors/n", std::to_string(next++), Qos::exactly_once);
      world.run();
    }
  };
  for (int round = 0; round < 5; ++round) {
    publish(3);
    collect();
    world.kill(bob);
    publish(3);
    if (round % 2 == 0) {
      world.kill(alice);
      world.start(alice);
      publish(2);
    }
    world.start(bob);
    settle();
    collect();
    world.kill(alice);
    world.start(alice);
    publish(2);
    settle();
    collect();
  }
  EXPECT_EQ(got, expected) << "all of them, in order, none twice";
}

TEST_F(Overlays, StartACleanReaderFromNowOn) {
  share("sensors/#");
  alice.publish("sensors/n", "before");
  world.run();
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  alice.publish("sensors/n", "after");
  world.run();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n after"));
  world.kill(bob);
  alice.publish("sensors/n", "while away");
  world.run();
  world.start(bob);
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  alice.publish("sensors/n", "again");
  world.run();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n again"));
}

TEST_F(Overlays, KeepTheirPlaceWhileALinkIsDown) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  world.unreachable = {alice.address, bob.address};
  for (LinkId link : world.links_between(alice, bob)) world.cut(link, "cable");
  world.run();
  alice.publish("sensors/n", "1");
  alice.publish("sensors/n", "2");
  world.pass(5s);
  EXPECT_THAT(bob.broker->texts(), IsEmpty());
  world.unreachable.clear();
  settle();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n 1", "@alice/sensors/n 2"));
}

TEST_F(Overlays, SendNothingThatIsNotOnDisk) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  alice.store->hold();
  alice.publish("sensors/n", "1");
  world.run();
  EXPECT_THAT(bob.broker->texts(), IsEmpty());
  alice.store->release();
  world.run();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n 1"));
}

TEST_F(Overlays, TellNobodyOfAShareThatACrashCouldTakeBack) {
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  bool told = false;
  world.on_wire = [&](const Home& from, const Home&, FrameType type, Bytes&) {
    told = told || (&from == &alice && type == FrameType::catalogue);
    return true;
  };
  alice.store->hold();
  share("sensors/#");
  world.run();
  EXPECT_FALSE(told);
  alice.store->release();
  world.run();
  EXPECT_TRUE(told);
}

TEST_F(Overlays, GatherABatchWhileTheDiskIsBusy) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  alice.store->hold();
  for (int i = 0; i < 100; ++i) {
    alice.publish("sensors/n", std::to_string(i));
    world.run();
  }
  alice.store->release();
  alice.turn.touch();
  world.run();
  EXPECT_EQ(bob.broker->live.size(), 100u);
  EXPECT_LE(alice.overlay->own().status().at(0).durable_batches, 2u);
}

TEST_F(Overlays, LetASlowReaderCatchUpFromTheLog) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  const LinkId link = world.links_between(alice, bob).at(0);
  alice.links->unsent[link] = limits::link_bulk_bytes_max;
  const std::string payload(100'000, 'x');
  for (int i = 0; i < 50; ++i) {
    alice.publish("sensors/n", payload);
    alice.publish("sensors/live", "dropped", Qos::at_most_once);
    world.run();
  }
  EXPECT_THAT(bob.broker->live, IsEmpty());
  alice.links->unsent.clear();
  alice.overlay->link_writable(link);
  world.run();
  EXPECT_EQ(bob.broker->live.size(), 50u) << "5 MB, more than is kept in memory";
  EXPECT_EQ(alice.overlay->counters().at("live records dropped for slow links"), 50u);
}

TEST_F(Overlays, RefuseWhatIsNotTheOwners) {
  share("sensors/#");
  Home& mallory = world.join("mallory", alice);
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  // Every batch to bob is changed in one bit on its way.
  world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes& body) {
    if (type == FrameType::batch && &to == &bob) body[body.size() / 2] ^= 1;
    return true;
  };
  alice.publish("sensors/n", "1");
  alice.publish("sensors/live", "2", Qos::at_most_once);
  world.run();
  EXPECT_THAT(bob.broker->live, IsEmpty());
  world.on_wire = nullptr;

  // And mallory cannot speak in alice's channel.
  const auto channel = alice.overlay->own().status().at(0).id;
  BatchWriter forger(Stream::live, channel, {~0ull, 1}, {});
  Record record{RecordKind::message, "sensors/n", Qos::at_most_once, false, to_bytes("forged"), {}};
  const Bytes forged = forger.seal({encode_record(record)}, false, hybrid_from(world.clock.wall_ms()), 1, mallory.key,
                                   alice.ledger->network(), world.random);
  Bytes frame = wire::encode_batch_prefix(0);
  append(frame, forged);
  const LinkId link = world.links_between(alice, bob).at(0);
  bob.overlay->link_frame(link, alice.key.node_id(), FrameType::batch, frame);
  world.run();
  EXPECT_THAT(bob.broker->live, IsEmpty());
  EXPECT_EQ(bob.overlay->counters().at("batches of strangers"), 1u);

  alice.publish("sensors/n", "3");
  settle();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n 1", "@alice/sensors/n 3"))
      << "what was spoilt is fetched again";
}

TEST_F(Overlays, RefuseARetainedRecordThatNoRootProves) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  // alice's own node signs it: the rule is the format's, whoever breaks it.
  BatchWriter writer(Stream::live, alice.overlay->own().status().at(0).id, {~0ull, 1}, {});
  Bytes frame = wire::encode_batch_prefix(0);
  std::vector<Bytes> records;
  for (const bool retain : {true, false})
    records.push_back(encode_record(
        {RecordKind::message, retain ? "sensors/kept" : "sensors/n", Qos::at_most_once, retain, to_bytes("x"), {}}));
  append(frame, writer.seal(records, false, hybrid_from(world.clock.wall_ms()), 1, alice.key, alice.ledger->network(),
                            world.random));
  bob.overlay->link_frame(world.links_between(alice, bob).at(0), alice.key.node_id(), FrameType::batch, frame);
  world.run();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n x"));
  EXPECT_EQ(bob.retained->find("@alice/sensors/kept"), nullptr);
  EXPECT_EQ(bob.overlay->counters().at("retained records without a root"), 1u);
}

TEST_F(Overlays, MayNotWriteToAnotherHome) {
  EXPECT_EQ(alice.overlay->route_of("@bob/door"), Route::not_permitted);
  EXPECT_EQ(alice.overlay->route_of("@/lyon/noise"), Route::not_permitted);
  EXPECT_EQ(alice.overlay->route_of("@alice/door"), Route::home);
  EXPECT_EQ(alice.overlay->route_of("$SYS/x"), Route::home);
}

TEST_F(Overlays, RefuseSharesThatAreNotBuiltYet) {
  for (const Preset preset : {Preset::trusted, Preset::protected_, Preset::secure}) {
    const auto made = alice.overlay->own().add("door/#", preset);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Errc::not_available);
  }
  EXPECT_EQ(alice.overlay->own().add("@bob/x", Preset::public_).error().code, Errc::invalid);
  EXPECT_EQ(alice.overlay->own().add("a/#/b", Preset::public_).error().code, Errc::invalid);
  share("sensors/#");
  EXPECT_EQ(alice.overlay->own().add("sensors/#", Preset::local).error().code, Errc::exists);
}

TEST_F(Overlays, WaitForAHandleThatIsRegisteredLater) {
  bob.overlay->add_demand("@carol/x", false);
  settle();
  EXPECT_FALSE(acknowledged("@carol/x"));
  Home& carol = world.join("carol", alice);
  ASSERT_TRUE(carol.overlay->own().add("x", Preset::public_));
  carol.turn.touch();
  // bob hears of her in the ledger and finds her address in the directory.
  world.pass(5s);
  EXPECT_TRUE(acknowledged("@carol/x")) << bob.overlay->remote().waiting_for("@carol/x");
  for (Home* home : {&alice, &carol}) EXPECT_EQ(home->ledger->head(), bob.ledger->head());
}

TEST_F(Overlays, FindAnOwnerWhoMoved) {
  share("sensors/#");
  world.subscribe_durably(bob, "@alice/sensors/#");
  settle();
  world.kill(bob);
  world.kill(alice);
  alice.address = "elsewhere:42220";
  world.start(alice);
  world.run();
  world.start(bob);
  settle();
  EXPECT_TRUE(acknowledged("@alice/sensors/#")) << bob.overlay->remote().waiting_for("@alice/sensors/#");
}

TEST_F(Overlays, PassAnEntryOnToTheRegistrar) {
  settle();
  Home& carol = world.join("carol", bob);
  settle();
  ASSERT_NE(bob.ledger->handle("carol"), nullptr);
  HandleRecord changed = *carol.ledger->handle("carol");
  changed.profile = sha256(as_bytes("hello"));
  std::optional<Result<std::uint64_t>> committed;
  carol.overlay->ledger_sync().submit(
      make_update(changed, carol.ledger->network(), carol.ledger->head(), carol.owner, {}), [&](auto height) {
        committed = height;
        EXPECT_GE(carol.ledger->head().height, height.value_or(0)) << "told when the block is here";
      });
  settle();
  ASSERT_TRUE(committed);
  ASSERT_TRUE(*committed) << committed->error().message;
  EXPECT_EQ(bob.ledger->handle("carol")->version, 2u);
}

TEST_F(Overlays, LetAStrangerDoNothingButEnrol) {
  share("sensors/#");
  const LinkId link{4711};
  const auto stranger = KeyPair::generate(world.random);
  Hello hello;
  hello.network = alice.ledger->network();
  ASSERT_EQ(alice.overlay->admit(stranger.node_id(), hello, false), LinkClass::enrolling);
  EXPECT_EQ(alice.overlay->admit(stranger.node_id(), hello, true), LinkClass::refused);
  alice.overlay->link_up(link, stranger.node_id(), hello, LinkClass::enrolling, false);
  for (const auto type : {FrameType::ledger_get, FrameType::catalogue_get, FrameType::channel_join, FrameType::submit})
    alice.overlay->link_frame(link, stranger.node_id(), type, wire::encode_ledger_get(1));
  EXPECT_EQ(alice.overlay->counters().at("frames of strangers"), 4u);
}

TEST_F(Overlays, EnrolNobodyWhoseInviteIsNotGood) {
  const auto stranger = KeyPair::generate(world.random);
  Hello hello;
  hello.network = alice.ledger->network();
  hello.instance = world.random.id<InstanceId>();
  const InstanceId own = alice.overlay->own_hello().instance;
  std::uint64_t next = 5000, refused = 0;
  /// Whether a stranger who shows this grant, and signs with this token, may read the ledger then.
  const auto enrols = [&](const Bytes& grant, const KeyPair& token, const InstanceId& instance) {
    const LinkId link{next++};
    alice.overlay->link_up(link, stranger.node_id(), hello, LinkClass::enrolling, false);
    const Bytes statement = wire::enrol_statement(alice.key.node_id(), own, stranger.node_id(), instance);
    const Signature signature = token.sign("enrol", alice.ledger->network(), statement);
    alice.overlay->link_frame(link, stranger.node_id(), FrameType::enrol, wire::encode_enrol({grant, signature}));
    const auto before = alice.overlay->counters();
    alice.overlay->link_frame(link, stranger.node_id(), FrameType::ledger_get, wire::encode_ledger_get(1));
    const auto strangers = [](const Counters& counters) {
      const auto found = counters.find("frames of strangers");
      return found == counters.end() ? 0 : found->second;
    };
    const bool in = strangers(alice.overlay->counters()) == strangers(before);
    refused += !in;
    return in;
  };
  const Invite good = alice.overlay->make_invite(1, 3'600'000).value();
  const KeyPair token = KeyPair::from_seed(good.token_seed);
  EXPECT_TRUE(enrols(good.grant, token, hello.instance));
  EXPECT_FALSE(enrols(good.grant, KeyPair::generate(world.random), hello.instance)) << "only seen, not held";
  EXPECT_FALSE(enrols(good.grant, token, world.random.id<InstanceId>())) << "a proof recorded on another link";
  for (std::size_t at = 0; at < good.grant.size(); at += 7) {
    Bytes bent = good.grant;
    bent[at] ^= 1;
    EXPECT_FALSE(enrols(bent, token, hello.instance)) << "byte " << at;
  }
  // Signed by somebody who may not invite for alice.
  Grant grant = decode_grant(good.grant).value();
  grant.signer = stranger.node_id();
  EXPECT_FALSE(enrols(encode_grant(grant, stranger), token, hello.instance));
  grant = decode_grant(good.grant).value();
  grant.uses = 0;
  EXPECT_FALSE(enrols(encode_grant(grant, alice.key), token, hello.instance)) << "nobody works to get in here";
  world.clock.now_ms += 2 * 3'600'000;
  EXPECT_FALSE(enrols(good.grant, token, hello.instance)) << "expired";
  EXPECT_EQ(alice.overlay->counters().at("enrolments refused"), refused) << "and each is counted for `diot status`";
}

TEST_F(Overlays, HearOfABlockThatCameWhileTheirLinkDid) {
  world.keep_apart(alice, bob);
  const Checkpoint before = alice.overlay->own_hello().checkpoint;
  Home& carol = world.join("carol", alice);
  world.keep_apart(carol, bob);
  ASSERT_EQ(bob.ledger->handle("carol"), nullptr);
  world.on_hello = [&](const Home& home, Hello& hello) {
    if (&home == &alice) hello.checkpoint = before;
  };
  world.let_meet(alice, bob);
  world.pass(2min);
  EXPECT_NE(bob.ledger->handle("carol"), nullptr);
}

TEST_F(Overlays, LinkAnewWithAHomeThatWasStillAStrangerWhenItCame) {
  // dave dials bob a moment before bob has the block that registers dave.
  Home& dave = world.join("dave", alice);
  world.pass(8s);
  EXPECT_TRUE(std::ranges::any_of(bob.overlay->peers().status(), [&](const auto& peer) {
    return peer.node == dave.key.node_id() && peer.state == Peers::Status::State::up;
  })) << "and is a member for bob as soon as bob has it";
}

TEST_F(Overlays, SurviveHostileFrames) {
  share("sensors/#");
  bob.overlay->add_demand("@alice/sensors/#", false);
  settle();
  SeededRandom noise(7);
  for (int round = 0; round < 3000; ++round) {
    const auto links = world.links_between(alice, bob);
    if (links.empty()) {
      settle();
      continue;
    }
    Bytes body(noise.u64() % 300);
    noise.fill(body);
    bob.overlay->link_frame(links[0], alice.key.node_id(), static_cast<FrameType>(16 + noise.u64() % 40), body);
    world.run();
  }
  settle();
  alice.publish("sensors/n", "still here");
  world.run();
  EXPECT_THAT(bob.broker->texts(), ElementsAre("@alice/sensors/n still here"));
}

}  // namespace
}  // namespace diot::test
