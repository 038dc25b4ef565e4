// Wills across homes: what a reader's node delivers when a whole gateway is gone (docs/protocol.md, "Wills").

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using namespace std::chrono_literals;

/// alice shares, bob reaches everybody, carol reaches only bob.
struct Wills : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  Home& carol = world.join("carol", alice);

  void SetUp() override {
    ASSERT_TRUE(alice.overlay->own().add("sensors/#", Preset::public_));
    alice.turn.touch();
    world.keep_apart(alice, carol);
    world.pass(8s);
  }
  void read(Home& home) {
    home.overlay->add_demand("@alice/sensors/#", false);
    world.pass(8s);
    ASSERT_TRUE(home.overlay->remote().acknowledged("@alice/sensors/#"))
        << home.overlay->remote().waiting_for("@alice/sensors/#");
  }
  static MessagePtr message(std::string payload, Qos qos = Qos::at_least_once, bool retain = false,
                            std::string topic = "sensors/status") {
    auto out = std::make_shared<Message>();
    out->topic = std::move(topic);
    out->payload = to_bytes(payload);
    out->qos = qos;
    out->retain = retain;
    return out;
  }
  void set(std::uint64_t number, const MessagePtr& will, std::uint32_t delay = 0) {
    alice.overlay->set_will(number, will, delay);
    world.pass(2s);
  }
  void publish(std::uint64_t number, const MessagePtr& will) {
    (void)alice.overlay->publish_will(number, will);
    alice.turn.touch();
    world.run();
  }
  /// What a broker says again of kept sessions' wills while it loads.
  void come_back(Home& home, std::function<void(Home&)> says = {}) {
    world.before_settle = std::move(says);
    world.start(home);
    world.before_settle = nullptr;
  }
  ChannelId channel() { return alice.overlay->own().status().at(0).id; }
  /// Of what a home got: "topic payload", with * if it was derived.
  static std::vector<std::string> take(Home& home) {
    std::vector<std::string> out;
    for (const auto& got : std::exchange(home.broker->live, {})) {
      const auto& user = got->properties.user;
      const bool derived =
          std::ranges::find(user, std::pair<std::string, std::string>("diot-derived", "will")) != user.end();
      out.push_back(fmt::format("{}{}", as_text(got->payload), derived ? "*" : ""));
    }
    return out;
  }
  /// What a new subscriber finds.
  static std::string shown(Home& home) {
    std::string out = "nothing";
    home.retained->match("@alice/sensors/status", [&](const std::string&, const RetainedValue& value) {
      out = as_text(value.message->payload);
    });
    return out;
  }
  std::size_t standing(Home& home) { return home.overlay->wills().use(channel()).count; }
};

TEST_F(Wills, AreDeliveredByReadersWhenTheWholeGatewayIsGone) {
  read(bob);
  auto will = std::make_shared<Message>(*message("gone", Qos::exactly_once));
  will->properties.content_type = "text/plain";
  will->properties.expiry_seconds = 60;
  will->properties.user = {{"room", "kitchen"}};
  set(1, will);
  world.pass(5min);
  EXPECT_THAT(take(bob), IsEmpty()) << "alice lives";
  world.kill(alice);
  world.pass(25s);
  EXPECT_THAT(take(bob), IsEmpty());
  world.pass(10s);
  ASSERT_THAT(bob.broker->live, SizeIs(1));
  const Message& got = *bob.broker->live[0];
  EXPECT_EQ(got.topic, "@alice/sensors/status");
  EXPECT_EQ(got.qos, Qos::exactly_once);
  EXPECT_FALSE(got.retain);
  EXPECT_EQ(bob.broker->origin, Origin::log) << "that it was derived is on disk before anybody gets it";
  EXPECT_EQ(got.properties.content_type, "text/plain");
  EXPECT_EQ(got.seconds_left(world.clock.monotonic() - 10s), 60u) << "it counts from now";
  EXPECT_THAT(got.properties.user,
              ElementsAre(testing::Pair("room", "kitchen"), testing::Pair("diot-derived", "will")));
  EXPECT_THAT(take(bob), ElementsAre("gone*"));
  world.pass(5min);
  EXPECT_THAT(take(bob), IsEmpty());
  world.kill(bob);
  world.start(bob);
  bob.overlay->add_demand("@alice/sensors/#", false);
  world.pass(5min);
  EXPECT_THAT(take(bob), IsEmpty()) << "once, whoever restarts";
}

TEST_F(Wills, WaitForTheirDelay) {
  read(bob);
  set(1, message("gone"), 60);
  world.kill(alice);
  world.pass(85s);
  EXPECT_THAT(take(bob), IsEmpty());
  world.pass(10s);
  EXPECT_THAT(take(bob), ElementsAre("gone*"));
}

TEST_F(Wills, ThatTheGatewayPublishesComeOnceAsOrdinaryMessages) {
  read(bob);
  for (const Qos qos : {Qos::at_most_once, Qos::at_least_once, Qos::exactly_once}) {
    const auto will = message("died", qos);
    set(1, will);
    EXPECT_EQ(standing(bob), 1u);
    publish(1, will);
    EXPECT_THAT(take(bob), ElementsAre("died"));
    EXPECT_EQ(bob.broker->origin, Origin::log) << "QoS 0 too: the live stream could be ahead of what clears it";
    EXPECT_EQ(standing(bob), 0u);
  }
  world.kill(alice);
  world.pass(2min);
  EXPECT_THAT(take(bob), IsEmpty());
}

TEST_F(Wills, OfWhoSaidGoodbyeOrChangedItAreForgotten) {
  read(bob);
  set(1, message("one"));
  set(2, message("two"));
  set(3, message("three", Qos::at_least_once, false, "elsewhere"));
  alice.overlay->clear_will(1);
  alice.overlay->clear_will(2);
  alice.overlay->set_will(4, message("four"), 0);
  world.pass(2s);
  EXPECT_EQ(standing(bob), 1u);
  world.kill(alice);
  world.pass(2min);
  EXPECT_THAT(take(bob), ElementsAre("four*"));
}

TEST_F(Wills, OfClientsThatCameForAMomentLeaveNoRecord) {
  read(bob);
  const auto batches = alice.overlay->own().status().at(0).durable_batches;
  alice.overlay->set_will(1, message("gone"), 0);
  alice.overlay->clear_will(1);
  world.pass(5s);
  EXPECT_EQ(alice.overlay->own().status().at(0).durable_batches, batches);
}

TEST_F(Wills, LeaveTheHomeOnlyWhereAShareCoversThem) {
  read(bob);
  bool seen = false;
  world.on_wire = [&](const Home&, const Home&, FrameType, Bytes& body) {
    seen |= as_text(body).find("SECRET") != std::string_view::npos;
    return true;
  };
  set(1, message("SECRET", Qos::at_least_once, true, "home/door"));
  alice.overlay->clear_will(1);
  set(2, message("SECRET", Qos::at_least_once, true, "home/door"));
  publish(2, message("SECRET", Qos::at_least_once, true, "home/door"));
  set(3, message("SECRET", Qos::at_least_once, false, "home/window"));
  world.kill(alice);
  world.pass(60s);
  EXPECT_FALSE(seen);
  EXPECT_THAT(take(bob), IsEmpty());
}

TEST_F(Wills, FollowTheShares) {
  read(bob);
  set(1, message("gone", Qos::at_least_once, false, "home/door"));
  EXPECT_EQ(standing(bob), 0u);
  ASSERT_TRUE(alice.overlay->own().add("home/#", Preset::public_));
  bob.overlay->add_demand("@alice/home/#", false);
  world.pass(8s);
  ASSERT_TRUE(alice.overlay->own().add("home/door/#", Preset::local));
  world.pass(3s);
  world.kill(alice);
  world.pass(60s);
  EXPECT_THAT(take(bob), IsEmpty()) << "it was taken back when the share did not cover it any more";
}

TEST_F(Wills, ReachWhoReadsThroughAnother) {
  read(bob);
  read(carol);
  set(1, message("gone"));
  world.pass(5min);
  EXPECT_THAT(take(carol), IsEmpty()) << "presence comes the same way";
  world.kill(alice);
  world.pass(40s);
  EXPECT_THAT(take(bob), ElementsAre("gone*"));
  EXPECT_THAT(take(carol), ElementsAre("gone*"));
}

TEST_F(Wills, OfAWriterThatOnlyOneOfTwoReadersReachesAreDerivedByTheOther) {
  read(bob);
  set(1, message("gone"));
  world.keep_apart(alice, bob);
  world.pass(40s);
  EXPECT_THAT(take(bob), ElementsAre("gone*"));
  world.let_meet(alice, bob);
  world.pass(60s);
  publish(1, message("gone"));
  EXPECT_THAT(take(bob), ElementsAre("gone")) << "a record of the log is never held back";
}

TEST_F(Wills, AreLearntByWhoJoinsLateFromWhoeverHoldsThem) {
  alice.overlay->set_retention({.log_bytes_max = 1});
  read(bob);
  set(1, message("one"));
  set(2, message("two"));
  alice.overlay->clear_will(2);
  world.pass(5s);  // alice's own log is pruned
  const auto held = [&](Home& home) { return home.overlay->wills().use(channel()).count; };
  EXPECT_EQ(held(bob), 1u);
  world.let_meet(alice, carol);
  read(carol);
  EXPECT_EQ(held(carol), 1u);
  Home& dave = world.join("dave", alice);
  world.keep_apart(alice, dave);
  world.kill(alice);
  world.pass(2min);
  EXPECT_THAT(take(carol), ElementsAre("one*"));
  dave.overlay->add_demand("@alice/sensors/#", false);
  world.pass(60s);
  EXPECT_THAT(take(dave), ElementsAre("one*")) << "through bob or carol";
}

TEST_F(Wills, ThatAReaderHeldAreDerivedAlsoIfItRestartsAfterTheEnd) {
  read(bob);
  set(1, message("gone"));
  world.kill(alice);
  world.pass(10s);
  world.kill(bob);
  world.pass(60s);
  world.start(bob);
  bob.overlay->add_demand("@alice/sensors/#", false);
  world.pass(25s);
  EXPECT_THAT(take(bob), IsEmpty()) << "it has just begun to listen";
  world.pass(10s);
  EXPECT_THAT(take(bob), ElementsAre("gone*"));
}

TEST_F(Wills, OfSessionsThatWereNotKeptAreOverWhenTheirGatewayIsBack) {
  read(bob);
  set(1, message("kept"));
  set(2, message("not kept"));
  world.kill(alice);
  world.pass(5s);
  come_back(alice, [&](Home& home) { home.overlay->set_will(1, message("kept"), 0); });
  world.pass(60s);
  EXPECT_EQ(standing(bob), 1u);
  world.kill(alice);
  world.pass(60s);
  EXPECT_THAT(take(bob), ElementsAre("kept*"));
  come_back(alice, [&](Home& home) { home.overlay->set_will(1, message("kept"), 0); });
  world.pass(60s);
  world.kill(alice);
  world.pass(60s);
  EXPECT_THAT(take(bob), IsEmpty()) << "it is still the same will";
  come_back(alice, [&](Home& home) { home.overlay->set_will(3, message("new"), 0); });
  world.pass(60s);
  world.kill(alice);
  world.pass(60s);
  EXPECT_THAT(take(bob), ElementsAre("new*"));
}

TEST_F(Wills, OfALifeThatABackupForgotAreTakenBack) {
  const auto backup = alice.store->image();
  read(bob);
  set(1, message("gone"));
  world.kill(alice);
  alice.store = std::make_unique<MemoryStore>(backup);
  world.start(alice);
  world.pass(60s);
  EXPECT_EQ(standing(bob), 0u);
  world.kill(alice);
  world.pass(60s);
  EXPECT_THAT(take(bob), IsEmpty());
}

TEST_F(Wills, RetainedOnesVeilTheValueUntilTheirWriterIsBack) {
  read(bob);
  alice.publish("sensors/status", "online", Qos::at_least_once, true);
  set(1, message("offline", Qos::at_least_once, true));
  EXPECT_THAT(take(bob), ElementsAre("online"));
  bob.broker->retained.clear();
  world.keep_apart(alice, bob);
  world.pass(40s);
  EXPECT_THAT(take(bob), ElementsAre("offline*"));
  EXPECT_EQ(shown(bob), "offline");
  EXPECT_EQ(as_text(bob.retained->find("@alice/sensors/status")->message->payload), "online");
  world.kill(bob);
  world.start(bob);
  bob.overlay->add_demand("@alice/sensors/#", false);
  world.pass(5s);
  EXPECT_EQ(shown(bob), "offline") << "also after a restart";

  world.let_meet(alice, bob);
  world.pass(60s);
  EXPECT_EQ(shown(bob), "online");
  ASSERT_THAT(bob.broker->retained, SizeIs(1)) << "and who was told hears it";
  EXPECT_EQ(as_text(bob.broker->retained[0]->payload), "online");
}

TEST_F(Wills, VeilsGoForWhatTheReturnedWriterSays) {
  read(bob);
  alice.publish("sensors/status", "online", Qos::at_least_once, true);
  set(1, message("offline", Qos::at_least_once, true));
  world.kill(alice);
  world.pass(40s);
  EXPECT_THAT(take(bob), ElementsAre("online", "offline*"));
  bob.broker->retained.clear();
  // The session was kept; its client does not come back.
  come_back(alice, [&](Home& home) { home.overlay->set_will(1, message("offline", Qos::at_least_once, true), 0); });
  publish(1, message("offline", Qos::at_least_once, true));
  world.pass(60s);
  EXPECT_THAT(take(bob), ElementsAre("offline")) << "the gateway's own";
  EXPECT_EQ(shown(bob), "offline");
  EXPECT_THAT(bob.broker->retained, IsEmpty()) << "and no 'online' in between";
  EXPECT_FALSE(bob.retained->has_veils());
}

TEST_F(Wills, AreNotGatheredBeyondAHandlesQuota) {
  read(bob);
  BatchWriter log(Stream::durable, channel(), {UINT64_MAX, 0}, {});
  std::uint64_t number = 0;
  std::vector<Bytes> frames;
  for (int batch = 0; batch < 3; ++batch) {
    std::vector<Bytes> records;
    for (int each = 0; each < 1000; ++each) {
      Record record{RecordKind::will_set, "sensors/status", Qos::at_least_once, false, to_bytes("spam"), {}, ++number};
      records.push_back(encode_record(record));
    }
    const Bytes wire = log.seal(records, true, hybrid_from(world.clock.wall_ms()), 1, alice.key,
                                alice.ledger->network(), world.random);
    Bytes frame = wire::encode_batch_prefix(0);
    append(frame, wire);
    bob.overlay->link_frame(world.links_between(alice, bob).at(0), alice.key.node_id(), FrameType::batch, frame);
  }
  bob.turn.touch();
  world.run();
  EXPECT_EQ(standing(bob), limits::wills_per_handle_max);
  world.kill(alice);
  world.pass(35s);
  EXPECT_LE(bob.broker->live.size(), 5 * limits::wills_derived_per_second_max) << "not all at once";
  world.pass(60s);
  EXPECT_EQ(bob.broker->live.size(), limits::wills_per_handle_max);
}

TEST_F(Wills, TooLargeOrTooManyStayInTheirHome) {
  read(bob);
  set(1, message(std::string(limits::will_bytes_max, 'x')));
  EXPECT_EQ(standing(bob), 0u);
  for (std::uint64_t number = 2; number < limits::wills_per_handle_max + 10; ++number)
    alice.overlay->set_will(number, message("gone"), 0);
  world.pass(3s);
  EXPECT_EQ(standing(bob), limits::wills_per_handle_max);
  EXPECT_EQ(alice.overlay->counters().at("wills that stay in this home: too large, or too many"), 9u);
}

TEST_F(Wills, AFilterBringsThoseThatItMatches) {
  bob.overlay->add_demand("@alice/sensors/kitchen/#", false);
  world.pass(8s);
  set(1, message("kitchen", Qos::at_least_once, false, "sensors/kitchen/status"));
  set(2, message("bath", Qos::at_least_once, false, "sensors/bath/status"));
  EXPECT_EQ(standing(bob), 1u);
  read(bob);
  EXPECT_EQ(standing(bob), 2u) << "a wider one brings the rest";
  alice.overlay->clear_will(2);
  bob.overlay->remove_demand("@alice/sensors/#", false);
  world.pass(8s);
  world.kill(alice);
  world.pass(60s);
  EXPECT_THAT(take(bob), ElementsAre("kitchen*"));
}

TEST_F(Wills, AllComeByTheWiderOfTwoQuestionsUnderWayAtOnceAlsoForWhomTheyAreCarried) {
  set(1, message("kitchen", Qos::at_least_once, false, "sensors/kitchen/status"));
  set(2, message("bath", Qos::at_least_once, false, "sensors/bath/status"));
  std::vector<std::pair<FrameType, Bytes>> held;  // what alice answers
  world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
    if (&from != &alice || &to != &bob || (type != FrameType::channel_heads && type != FrameType::retained))
      return true;
    held.emplace_back(type, body);
    return false;
  };
  bob.overlay->add_demand("@alice/sensors/hall", false);
  carol.overlay->add_demand("@alice/sensors/#", false);
  world.pass(5s);  // carol asks bob, who asks for everything then, before he has his answer
  world.on_wire = nullptr;
  for (const auto& [type, body] : held)
    bob.overlay->link_frame(world.links_between(alice, bob).at(0), alice.key.node_id(), type, body);
  bob.turn.touch();
  world.run();
  EXPECT_EQ(standing(bob), 2u);
  world.pass(10s);
  EXPECT_EQ(standing(carol), 2u) << "an answer to the narrower question was passed on as all there is";
}

TEST_F(Wills, AreNotDueAfterALinkThatStoodForLessThanASecond) {
  read(bob);
  set(1, message("gone"));
  world.keep_apart(alice, bob);
  world.pass(25s);
  const LinkId link{world.next_link++};
  bob.overlay->link_up(link, alice.key.node_id(), alice.overlay->own_hello(), LinkClass::member, false);
  bob.overlay->link_down(link, alice.key.node_id(), "not permitted");
  world.pass(20s);
  EXPECT_THAT(take(bob), IsEmpty()) << "alice said hello";
  world.pass(20s);
  EXPECT_THAT(take(bob), ElementsAre("gone*"));
}

}  // namespace
}  // namespace diot::test
