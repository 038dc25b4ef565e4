// What is acknowledged survives: no answer before the disk has it, no message lost, and none of QoS 2 twice, wherever
// the process dies.

#include "core/limits.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

/// A persistent session "sub" that subscribed to "#", and a persistent "pub".
struct DurabilityTest : testing::TestWithParam<Protocol> {
  DurabilityTest() {
    sub.connect("sub", true);
    sub.subscribe("#", 2);
    pub.connect("pub", true);
    sub.take();
    pub.take();
  }
  void crash() {
    world.crash();
    sub.connect("sub", true);
    pub.connect("pub", true);
  }
  World world;
  TestClient sub{world, GetParam()}, pub{world, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Mqtt, DurabilityTest, testing::Values(Protocol::mqtt_3_1_1, Protocol::mqtt_5),
                         [](const auto& test) { return test.param == Protocol::mqtt_5 ? "5_0" : "3_1_1"; });

TEST_P(DurabilityTest, NothingIsAcknowledgedOrDeliveredBeforeTheDiskHasIt) {
  world.store->hold();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  pub.publish("t", "0");
  EXPECT_THAT(pub.take(), IsEmpty());
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=0"));  // QoS 0 does not wait
  world.store->release();
  EXPECT_THAT(pub.take(), ElementsAre("PUBACK #1", "PUBREC #2"));
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=1 q1 #1", "PUBLISH t=2 q2 #2"));
}

TEST_P(DurabilityTest, WhatNeedsNoDiskIsAnsweredAtOnce) {
  world.store->hold();
  TestClient clean(world), listener(world);
  clean.connect("clean");
  listener.connect("listener");
  sub.unsubscribe("#");
  world.run();
  listener.subscribe("t", 1);
  listener.take();
  clean.take();
  clean.publish("t", "x", 1, 1);
  EXPECT_THAT(clean.take(), ElementsAre("PUBACK #1"));
  EXPECT_THAT(listener.take(), ElementsAre("PUBLISH t=x q1 #1"));
}

TEST_P(DurabilityTest, AcknowledgementsKeepTheirOrder) {
  TestClient clean(world);
  clean.connect("clean");
  clean.take();
  world.store->hold();
  clean.publish("t", "x", 1, 1);  // for the persistent session
  pub.publish("t", "y", 1, 1);
  sub.unsubscribe("#");
  clean.publish("u", "z", 1, 2);  // for nobody
  EXPECT_THAT(clean.take(), IsEmpty());
  world.store->release();
  const Lines lines = clean.take();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "PUBACK #1");
  EXPECT_TRUE(lines[1].starts_with("PUBACK #2"));
}

TEST_P(DurabilityTest, RetainedAndSharedMessagesAreOnDiskFirst) {
  TestClient clean(world), listener(world);
  clean.connect("clean");
  listener.connect("listener");
  listener.subscribe("#", 1);
  sub.unsubscribe("#");
  listener.take();
  clean.take();
  world.overlay->shared = {"shared"};
  for (const auto& [topic, retain] : {std::pair{"kept", true}, std::pair{"shared", false}}) {
    world.store->hold();
    clean.publish(topic, "x", 1, 1, retain);
    EXPECT_THAT(clean.take(), IsEmpty());
    EXPECT_THAT(listener.take(), IsEmpty());
    world.store->release();
    EXPECT_THAT(clean.take(), ElementsAre("PUBACK #1"));
    EXPECT_EQ(listener.take().size(), 1u);
  }
}

TEST_P(DurabilityTest, AnOfflineSessionGetsEverythingInOrderAfterACrash) {
  sub.disconnect();
  for (PacketId id = 1; id <= 9; ++id) {
    pub.publish("t/" + std::to_string(id), "x", id % 3, id % 3 ? id : 0);
    if (id % 2) world.run();  // several batches
  }
  pub.take();
  crash();
  EXPECT_THAT(sub.take(),
              ElementsAre("CONNACK present", "PUBLISH t/1=x q1 #1", "PUBLISH t/2=x q2 #2", "PUBLISH t/4=x q1 #3",
                          "PUBLISH t/5=x q2 #4", "PUBLISH t/7=x q1 #5", "PUBLISH t/8=x q2 #6"));
}

TEST_P(DurabilityTest, WhatWasSentBeforeTheCrashHasDupAndItsIdentifier) {
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=1 q1 #1", "PUBLISH t=2 q2 #2"));
  crash();
  EXPECT_THAT(sub.take(), ElementsAre("CONNACK present", "PUBLISH t=1 q1 #1 dup", "PUBLISH t=2 q2 #2 dup"));
}

TEST_P(DurabilityTest, WhatWasNeverSentHasNoDup) {
  pub.publish("t", "1", 1, 1);
  sub.take();
  sub.disconnect();
  pub.publish("t", "2", 1, 2);
  pub.take();
  crash();
  EXPECT_THAT(sub.take(), ElementsAre("CONNACK present", "PUBLISH t=1 q1 #1 dup", "PUBLISH t=2 q1 #2"));
}

TEST_P(DurabilityTest, NothingIsLeftOnDiskWhenEverythingIsDone) {
  for (PacketId id = 1; id <= 6; ++id) pub.publish("t", "x", id % 2 ? 1 : 2, id);
  pub.take();
  sub.take();
  EXPECT_GT(world.rows(Table::spool), 0u);
  for (PacketId id = 1; id <= 6; ++id)
    if (id % 2) {
      sub.puback(id);
    } else {
      sub.pubrec(id);
      sub.take();
      sub.pubcomp(id);
    }
  for (PacketId id = 2; id <= 6; id += 2) pub.pubrel(id);
  sub.take();
  EXPECT_EQ(world.rows(Table::spool), 0u);
  EXPECT_EQ(world.rows(Table::queue), 0u);
  EXPECT_EQ(world.rows(Table::inflight), 0u);
}

TEST_P(DurabilityTest, AnEndedSessionLeavesNothingOnDisk) {
  sub.disconnect();
  pub.publish("t", "x", 1, 1);
  pub.publish("t", "y", 2, 2);
  pub.take();
  TestClient clean(world, GetParam());
  clean.connect("sub");
  pub.disconnect();
  TestClient other(world, GetParam());
  other.connect("pub");
  world.run();
  for (const auto table : {Table::session, Table::queue, Table::spool, Table::inflight})
    EXPECT_EQ(world.rows(table), 0u) << static_cast<int>(table);
}

TEST_P(DurabilityTest, ACleanStartIsNotAnsweredBeforeTheOldSessionIsGone) {
  pub.publish("t", "x", 2, 5);
  pub.take();
  pub.disconnect();
  world.run();
  world.store->hold();
  pub.connect("pub", false);
  pub.publish("t", "y", 2, 5);
  EXPECT_THAT(pub.take(), IsEmpty());
  EXPECT_FALSE(pub.is_reading());
  world.store->release();
  EXPECT_THAT(pub.take(), ElementsAre("CONNACK", "PUBREC #5"));
  EXPECT_TRUE(pub.is_reading());
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=x q2 #1", "PUBLISH t=y q2 #2"));
}

/// The publisher's side of QoS 2. The process dies after each step, once with the step on disk and once without; a
/// publisher that was not answered sends again, and the message arrives exactly once.
TEST_P(DurabilityTest, Qos2InIsExactlyOnceWhereverTheProcessDies) {
  for (int crash_after = 0; crash_after < 4; ++crash_after)
    for (const bool on_disk : {false, true}) {
      World here;
      TestClient to(here, GetParam()), from(here, GetParam());
      to.connect("to", true);
      to.subscribe("#", 2);
      from.connect("from", true);
      to.take();
      from.take();
      int deliveries = 0;
      bool has_pubrec = false, has_pubcomp = false;
      const auto look = [&] {
        for (const auto& line : from.take()) {
          has_pubrec |= line.starts_with("PUBREC #7");
          has_pubcomp |= line.starts_with("PUBCOMP #7");
        }
      };
      // The subscriber completes what it gets at once: what comes again would be a second delivery.
      const auto consume = [&] {
        for (Lines lines = to.take(); !lines.empty(); lines = to.take())
          for (const auto& line : lines) {
            const auto id = line.find('#') == line.npos
                                ? PacketId{0}
                                : static_cast<PacketId>(std::stoi(line.substr(line.find('#') + 1)));
            if (line.starts_with("PUBLISH")) ++deliveries, to.pubrec(id);
            if (line.starts_with("PUBREL")) to.pubcomp(id);
          }
      };
      const auto die = [&] {
        here.run();
        here.crash();
        to.connect("to", true);
        from.connect("from", true);
      };
      if (crash_after <= 1 && !on_disk) here.store->hold();
      from.publish("t", "x", 2, 7);
      look();
      if (crash_after == 0) die();
      look();
      consume();
      if (crash_after == 1) die();
      look();
      if (!has_pubrec) from.publish("t", "x", 2, 7, false, nullptr, true);
      look();
      consume();
      ASSERT_TRUE(has_pubrec);
      if (crash_after == 2 && !on_disk) here.store->hold();
      from.pubrel(7);
      look();
      if (crash_after == 2) die();
      if (!has_pubcomp) from.pubrel(7);
      look();
      ASSERT_TRUE(has_pubcomp);
      if (crash_after == 3) die();
      consume();
      // The identifier is free again: another message of that number is a new one.
      from.take();
      from.publish("t", "y", 2, 7);
      here.run();
      consume();
      EXPECT_EQ(deliveries, 2) << "died after step " << crash_after << (on_disk ? ", on disk" : ", not on disk");
    }
}

/// The subscriber's side: it keeps the identifiers it has received until PUBREL, as section 4.3.3 demands.
TEST_P(DurabilityTest, Qos2OutIsExactlyOnceWhereverTheProcessDies) {
  for (int crash_after = 0; crash_after < 5; ++crash_after)
    for (const bool on_disk : {false, true}) {
      World here;
      TestClient to(here, GetParam()), from(here, GetParam());
      to.connect("to", true);
      to.subscribe("#", 2);
      from.connect("from");
      to.take();
      std::set<PacketId> received;
      int deliveries = 0, steps = 0;
      const auto die_maybe = [&] {
        if (steps++ != crash_after) return;
        here.crash();
        to.connect("to", true);
      };
      from.publish("t", "x", 2, 7);
      from.publish("t", "stays", 1, 8);  // of the same batch, never acknowledged: its row stays on disk
      here.run();
      for (int round = 0; round < 20; ++round)
        for (const auto& line : to.take()) {
          const auto id = line.find('#') == line.npos
                              ? PacketId{0}
                              : static_cast<PacketId>(std::stoi(line.substr(line.find('#') + 1)));
          if (line.starts_with("PUBLISH t=x")) {
            if (received.insert(id).second) ++deliveries;
            die_maybe();
            if (!on_disk && steps == crash_after) here.store->hold();
            to.pubrec(id);
            here.run();
            die_maybe();
          } else if (line.starts_with("PUBREL")) {
            received.erase(id);
            die_maybe();
            if (!on_disk && steps == crash_after) here.store->hold();
            to.pubcomp(id);
            here.run();
            die_maybe();
          }
        }
      EXPECT_EQ(deliveries, 1) << "died after step " << crash_after << (on_disk ? ", on disk" : ", not on disk");
      here.crash();
      to.connect("to", true);
      EXPECT_THAT(to.messages(), ElementsAre("PUBLISH t=stays q1 #2 dup"));
    }
}

/// Random traffic with random deaths: nothing acknowledged is lost, nothing of QoS 2 comes twice, order holds.
TEST_P(DurabilityTest, RandomDeathsLoseNothing) {
  std::mt19937 random(GetParam() == Protocol::mqtt_5 ? 5u : 3u);
  for (int run = 0; run < 20; ++run) {
    World here;
    TestClient to(here, GetParam()), from(here, GetParam());
    int next = 0;
    std::map<PacketId, std::pair<int, int>> sending;  // id → number, qos; no PUBREC or PUBACK yet
    std::set<PacketId> releasing;
    std::set<int> acknowledged, got;
    std::map<int, int> times;
    std::set<PacketId> to_received;
    std::map<int, int> last_of_qos;
    const auto connect = [&] {
      to.connect("to", true);
      to.subscribe("#", 2, {{}, false, false, RetainHandling::never});
      from.connect("from", true);
      for (const auto& [id, what] : sending)
        from.publish("t", std::to_string(what.first), what.second, id, false, nullptr, true);
      for (const auto id : releasing) from.pubrel(id);
    };
    const auto id_of = [](const std::string& line) {
      return static_cast<PacketId>(std::stoi(line.substr(line.find('#') + 1)));
    };
    to.connect("to", true);
    to.subscribe("#", 2);
    from.connect("from", true);
    here.run();
    for (int step = 0; step < 400; ++step) {
      const bool quiet = step > 350;  // towards the end everything settles
      switch (random() % (quiet ? 1 : 12)) {
        case 1:
        case 2:
        case 3: {
          PacketId id = 1;
          while (sending.contains(id) || releasing.contains(id)) ++id;
          const int qos = 1 + static_cast<int>(random() % 2);
          sending[id] = {next, qos};
          from.publish("t", std::to_string(next++), qos, id);
          break;
        }
        case 4: here.store->hold(); break;
        case 5: here.store->release(); break;
        case 6:
          if (random() % 4 == 0) {
            here.run();
            here.crash();
            connect();
          }
          break;
        case 7:
          if (random() % 4 == 0) {
            to.lose();
            to.connect("to", true);
          }
          break;
        default: break;
      }
      if (quiet) here.store->release();
      if (random() % 2 || quiet)
        for (const auto& line : from.take()) {
          if (line.starts_with("PUBACK") || line.starts_with("PUBREC")) {
            const PacketId id = id_of(line);
            if (!sending.contains(id)) continue;
            acknowledged.insert(sending[id].first);
            sending.erase(id);
            if (line.starts_with("PUBREC")) releasing.insert(id), from.pubrel(id);
          }
          if (line.starts_with("PUBCOMP")) releasing.erase(id_of(line));
        }
      if (random() % 2 || quiet)
        for (const auto& line : to.take()) {
          if (line.starts_with("PUBREL")) to_received.erase(id_of(line)), to.pubcomp(id_of(line));
          if (!line.starts_with("PUBLISH")) continue;
          const int number = std::stoi(line.substr(line.find('=') + 1));
          if (line.find(" q2 ") != line.npos) {
            if (to_received.insert(id_of(line)).second) ++times[number];
            to.pubrec(id_of(line));
          } else {
            to.puback(id_of(line));
          }
          got.insert(number);
        }
    }
    for (int number : acknowledged) EXPECT_TRUE(got.contains(number)) << "lost " << number << " in run " << run;
    for (const auto& [number, count] : times) EXPECT_EQ(count, 1) << number << " in run " << run;
    EXPECT_TRUE(sending.empty());
    EXPECT_GT(got.size(), 30u);
  }
}

// Queues ------------------------------------------------------------------------------------------------------

TEST_P(DurabilityTest, AFullQueueLosesItsOldestAndTellsTheClient) {
  sub.disconnect();
  world.run();
  PacketId id = 0;
  for (std::size_t at = 0; at < limits::session_queue_count_max + 65; ++at) {
    pub.publish("t", std::to_string(at), 1, id = static_cast<PacketId>(id % 1000 + 1));
    if (at % 1000 == 999) pub.take();
  }
  pub.take();
  EXPECT_EQ(world.broker->sessions()[1].lost, 65u);
  crash();
  const Lines lines = sub.take();
  ASSERT_GE(lines.size(), 2u);
  EXPECT_EQ(lines[0], GetParam() == Protocol::mqtt_5 ? "CONNACK present diot-lost=65" : "CONNACK present");
  EXPECT_EQ(lines[1], "PUBLISH t=65 q1 #66");
  sub.lose();
  sub.connect("sub", true);
  EXPECT_EQ(sub.take()[0], "CONNACK present");
}

TEST_P(DurabilityTest, AQueueIsBoundedByBytesTooAlsoAfterARestart) {
  sub.disconnect();
  world.run();
  const std::string large(1 << 20, 'x');
  const std::size_t room = limits::session_queue_bytes_max / (large.size() + 1);
  const auto publish = [&](std::size_t number) {
    pub.publish("t", large, 1, static_cast<PacketId>(1 + number));
    pub.take();
  };
  for (std::size_t at = 0; at < room; ++at) publish(at);
  EXPECT_EQ(world.broker->sessions()[1].lost, 0u);
  world.crash();
  pub.connect("pub", true);
  pub.take();
  publish(room);
  EXPECT_EQ(world.broker->sessions()[1].lost, 0u);  // a little more, so that cutting it back pays
  publish(room + 1);
  EXPECT_EQ(world.broker->sessions()[1].lost, 2u);
  EXPECT_EQ(world.broker->sessions()[1].queued, room);
}

TEST(Durability, PropertiesCountAsBytesOfAQueue) {
  World world;
  TestClient sub(world), pub(world);
  sub.connect("sub", true);
  sub.subscribe("#", 1);
  sub.disconnect();
  pub.connect("pub");
  pub.take();
  Properties properties;
  for (int at = 0; at < 16; ++at) properties.user.emplace_back("name", std::string(65'000, 'x'));
  for (PacketId id = 1; id <= 70; ++id) {
    pub.publish("t", "", 1, id, false, &properties);
    pub.take();
  }
  EXPECT_GT(world.broker->sessions()[1].lost, 3u);
}

TEST_P(DurabilityTest, ATurnsMessagesAreKeptInRowsOfABoundedSize) {
  sub.disconnect();
  const std::string half(limits::spool_batch_bytes_max / 2, 'x');
  for (PacketId id = 1; id <= 6; ++id) pub.publish("t", half, 1, id);
  pub.take();
  EXPECT_EQ(world.rows(Table::spool), 3u);
  for (const auto& [key, row] : world.store->rows(Table::spool))
    EXPECT_LT(row.size(), 2 * limits::spool_batch_bytes_max);
}

TEST_P(DurabilityTest, MessagesBeyondMemoryAreReadFromDiskAgain) {
  sub.disconnect();
  const std::string large(100'000, 'x');
  const int count = static_cast<int>(limits::spool_memory_bytes_max / large.size()) / 2;
  // Two sessions with different messages: together more than is kept in memory.
  TestClient other(world, GetParam());
  other.connect("other", true);
  other.subscribe("other", 1);
  other.disconnect();
  sub.connect("sub", true);
  sub.unsubscribe("#");
  sub.subscribe("t", 1);
  sub.disconnect();
  for (int at = 0; at < count; ++at) {
    pub.publish("t", std::to_string(at) + large, 1, 1);
    pub.take();
    pub.publish("other", std::to_string(at) + large, 1, 1);
    pub.take();
    pub.publish("other", std::to_string(at) + large, 1, 1);
    pub.take();
  }
  int next = 0;
  sub.connect("sub", true);
  for (Lines lines = sub.messages(); !lines.empty(); lines = sub.messages())
    for (const auto& line : lines) {
      EXPECT_TRUE(line.starts_with("PUBLISH t=" + std::to_string(next) + "x")) << line.substr(0, 20);
      sub.puback(static_cast<PacketId>(++next));
    }
  EXPECT_EQ(next, count);
}

TEST_P(DurabilityTest, RetainedMessagesPromisedToAStoredSessionSurvive) {
  pub.publish("r", "value", 1, 1, true);
  pub.take();
  TestClient late(world, GetParam());
  late.connect("late", true);
  late.subscribe("r", 1);
  EXPECT_THAT(late.messages(), ElementsAre("PUBLISH r=value q1 #1 retain"));
  world.crash();
  late.connect("late", true);
  EXPECT_THAT(late.messages(), ElementsAre("PUBLISH r=value q1 #1 dup retain"));
}

TEST_P(DurabilityTest, MessagesOfTheOverlayAreOnDiskBeforeTheyAreSent) {
  world.store->hold();
  world.deliver("@bob/x", "one", Qos::at_least_once);
  world.deliver("@bob/x", "zero", Qos::at_most_once);
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH @bob/x=zero"));
  world.store->release();
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH @bob/x=one q1 #1"));
  crash();
  EXPECT_THAT(sub.take(), ElementsAre("CONNACK present", "PUBLISH @bob/x=one q1 #1 dup"));
}

TEST_P(DurabilityTest, Qos0OutOfALogIsNotSentBeforeItsPlaceIsOnDisk) {
  // A crash in between would bring it a second time.
  world.store->hold();
  world.deliver("@bob/x", "retained 1", Qos::at_most_once, true);
  world.run();
  world.deliver("@bob/x", "retained 2", Qos::at_most_once, true);
  world.broker->deliver(world.message("@bob/x", "a will", Qos::at_most_once), Origin::log);
  world.deliver("@bob/x", "live", Qos::at_most_once);
  EXPECT_THAT(sub.messages(), ElementsAre("PUBLISH @bob/x=live"));
  world.store->release();
  world.turn.touch();
  EXPECT_THAT(sub.messages(),
              ElementsAre("PUBLISH @bob/x=retained 1", "PUBLISH @bob/x=retained 2", "PUBLISH @bob/x=a will"));
}

TEST_P(DurabilityTest, CorruptRowsCostWhatTheyHoldAndNoMore) {
  sub.disconnect();
  pub.publish("t", "1", 1, 1);
  pub.take();
  pub.publish("t", "2", 1, 2);
  pub.take();
  world.store->rows(Table::queue).begin()->second = Bytes{9, 9};
  world.store->rows(Table::session)[to_bytes("garbage")] = Bytes{1};
  world.store->rows(Table::inflight)[Bytes{1, 2, 3}] = Bytes{};
  crash();
  EXPECT_THAT(sub.messages(), ElementsAre("PUBLISH t=2 q1 #2"));
  EXPECT_EQ(world.broker->counts().corrupt_rows, 3u);
  sub.puback(2);
  sub.take();
  EXPECT_EQ(world.rows(Table::spool), 0u);
}

/// A client that believed its session whole would never subscribe again to what is gone.
TEST_P(DurabilityTest, AClientIsToldToSubscribeAgainWhenTheDiskLostASubscription) {
  sub.subscribe("u", 1);
  sub.take();
  sub.disconnect();
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  pub.take();
  world.store->rows(Table::session)[session_key("sub", "u")] = Bytes{9};
  world.crash();
  crash();  // it is remembered until the client comes
  EXPECT_THAT(sub.take(), ElementsAre("CONNACK", "PUBLISH t=1 q1 #1", "PUBLISH t=2 q2 #2"));
  pub.publish("t", "3", 1, 3);
  EXPECT_THAT(sub.messages(), IsEmpty());
  sub.subscribe("#", 1);
  pub.publish("t", "4", 1, 4);
  EXPECT_THAT(sub.messages(), ElementsAre("PUBLISH t=4 q1 #3"));
  crash();
  EXPECT_EQ(sub.take().at(0), "CONNACK present");
}

TEST_P(DurabilityTest, WhatMayHaveArrivedOfASessionThatBeginsAnewIsNamedAsLost) {
  pub.publish("t", "1", 1, 1);
  pub.publish("t", "2", 2, 2);
  EXPECT_EQ(sub.messages().size(), 2u);  // and the client's answers are lost with the home
  world.store->rows(Table::session).erase(session_key("sub", "#"));
  crash();
  const std::string answer = GetParam() == Protocol::mqtt_5 ? "CONNACK diot-lost=1" : "CONNACK";
  EXPECT_THAT(sub.take(), ElementsAre(answer, "PUBLISH t=1 q1 #1"));
  EXPECT_EQ(world.broker->counts().queue_lost, 1u);
}

TEST(Durability, AClientOfMqtt31KeepsWhatIsLeftForItCannotBeTold) {
  World world;
  TestClient sub(world, Protocol::mqtt_3_1), pub(world);
  sub.connect("sub", true);
  sub.subscribe("t", 1);
  sub.subscribe("u", 1);
  sub.take();
  world.store->rows(Table::session)[session_key("sub", "u")] = Bytes{9};
  world.crash();
  sub.connect("sub", true);
  pub.connect("pub");
  pub.publish("t", "1", 1, 1);
  EXPECT_THAT(sub.messages(), ElementsAre("PUBLISH t=1 q1 #1"));
}

TEST_P(DurabilityTest, AMissingSpoolRowIsCountedAsLost) {
  sub.disconnect();
  pub.publish("t", "1", 1, 1);
  pub.take();
  pub.publish("t", "2", 1, 2);
  pub.take();
  auto& spool = world.store->rows(Table::spool);
  spool.erase(spool.begin());
  crash();
  EXPECT_THAT(sub.messages(), ElementsAre("PUBLISH t=2 q1 #2"));
  EXPECT_EQ(world.broker->counts().queue_lost, 1u);
}

// A disk that refuses ------------------------------------------------------------------------------------------

TEST_P(DurabilityTest, AFullDiskRefusesWhatItCannotKeep) {
  world.store->refuse(Error{Errc::io, "disk full"});
  pub.publish("t", "1", 1, 1);
  EXPECT_THAT(pub.take(), IsEmpty());
  world.pass(1s);
  TestClient clean(world, GetParam()), listener(world, GetParam());
  clean.connect("clean");
  listener.connect("listener");
  listener.subscribe("u", 1);
  listener.take();
  clean.take();
  clean.publish("t", "2");  // QoS 0 goes on
  EXPECT_THAT(sub.take(), ElementsAre("PUBLISH t=2"));
  sub.unsubscribe("#");
  world.run();
  clean.publish("u", "3", 1, 3);  // and what needs no disk
  EXPECT_THAT(clean.take(), ElementsAre("PUBACK #3"));
  clean.publish("u", "not kept", 0, 0, true);
  EXPECT_THAT(listener.take(), ElementsAre("PUBLISH u=3 q1 #1", "PUBLISH u=not kept"));
  EXPECT_EQ(world.retained->size(), 0u);
  clean.publish("u", "4", 1, 4, true);
  if (GetParam() == Protocol::mqtt_5) {
    EXPECT_THAT(clean.take(), ElementsAre("PUBACK #4 0x97"));
  } else {
    EXPECT_THAT(clean.take(), IsEmpty());
    EXPECT_FALSE(clean.is_reading());
    world.pass(11s);
    EXPECT_TRUE(clean.is_closed());
  }
  world.store->refuse(std::nullopt);
  EXPECT_THAT(pub.take(), ElementsAre("PUBACK #1"));
}

TEST_P(DurabilityTest, ClientsAreNotReadWhileTooMuchWaitsForTheDisk) {
  world.store->hold();
  const std::string large(1'000'000, 'x');
  for (std::size_t sent = 0; sent <= limits::store_pending_bytes_max; sent += large.size()) {
    EXPECT_TRUE(pub.is_reading());
    pub.publish("t", large, 1, static_cast<PacketId>(1 + sent / large.size()));
    world.run();
  }
  EXPECT_FALSE(pub.is_reading());
  world.store->release();
  world.turn.touch();
  world.run();
  EXPECT_TRUE(pub.is_reading());
}

}  // namespace
}  // namespace diot
