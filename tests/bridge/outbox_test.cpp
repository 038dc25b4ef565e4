// The queue of one session and its window: identifiers, order, resending, and what is on disk of it.

#include "bridge/outbox.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "core/memory_store.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using Answer = Outbox::Answer;
using testing::ElementsAre;
using testing::IsEmpty;

struct TestSink final : DeliverySink {
  bool has_room() const override { return room > 0; }
  bool send_publish(const Message& message, const PublishOut& how) override {
    if (too_large == message.topic) return false;
    lines.push_back(message.topic + " #" + std::to_string(how.packet_id) + (how.dup ? " dup" : ""));
    --room;
    return true;
  }
  void send_pubrel(PacketId id) override { lines.push_back("PUBREL #" + std::to_string(id)); }
  Lines take() { return std::exchange(lines, {}); }
  int room = INT_MAX;
  std::string too_large;
  Lines lines;
};

struct OutboxTest : testing::Test {
  void push(Outbox& outbox, const std::string& topic, Qos qos, bool stored = false) {
    auto message = std::make_shared<Message>();
    message->topic = topic;
    message->qos = qos;
    Delivery delivery;
    delivery.qos = qos;
    outbox.push(message, stored && qos != Qos::at_most_once ? spool.add(message) : SpoolPlace{}, delivery);
  }
  void end_turn(Outbox& outbox) {
    outbox.save();
    spool.save();
    store.seal();
  }
  static constexpr Qos q0 = Qos::at_most_once, q1 = Qos::at_least_once, q2 = Qos::exactly_once;
  TestClock clock;
  MemoryStore store;
  Spool spool{store, clock};
  TestSink sink;
};

TEST_F(OutboxTest, SendsInOrderUpToTheWindow) {
  Outbox outbox(store, spool, 1, false);
  for (const char* topic : {"a", "b", "c", "d"}) push(outbox, topic, q1);
  EXPECT_EQ(outbox.pump(sink, 2), Outbox::State::waits_for_acknowledgement);
  EXPECT_THAT(sink.take(), ElementsAre("a #1", "b #2"));
  EXPECT_EQ(outbox.puback(3), Answer::unknown);  // not sent
  EXPECT_EQ(outbox.puback(2), Answer::done);     // in any order
  EXPECT_EQ(outbox.puback(2), Answer::unknown);
  outbox.pump(sink, 2);
  EXPECT_THAT(sink.take(), ElementsAre("c #3"));
  EXPECT_EQ(outbox.puback(1), Answer::done);
  EXPECT_EQ(outbox.puback(3), Answer::done);
  outbox.pump(sink, 2);
  EXPECT_EQ(outbox.puback(4), Answer::done);
  EXPECT_EQ(outbox.pump(sink, 2), Outbox::State::idle);
  EXPECT_EQ(outbox.waiting(), 0u);
}

TEST_F(OutboxTest, AcknowledgementsMustFitTheQosAndTheStep) {
  Outbox outbox(store, spool, 1, false);
  push(outbox, "one", q1);
  push(outbox, "two", q2);
  outbox.pump(sink, 9);
  EXPECT_EQ(outbox.pubrec(1, false), Outbox::Pubrec::wrong);
  EXPECT_EQ(outbox.pubcomp(1), Answer::wrong);
  EXPECT_EQ(outbox.puback(2), Answer::wrong);
  EXPECT_EQ(outbox.pubcomp(2), Answer::wrong);
  EXPECT_EQ(outbox.pubrec(2, false), Outbox::Pubrec::released);
  EXPECT_EQ(outbox.pubrec(2, false), Outbox::Pubrec::released);  // again
  EXPECT_EQ(outbox.pubrec(2, true), Outbox::Pubrec::unknown);    // too late to refuse
  EXPECT_EQ(outbox.puback(2), Answer::wrong);
  EXPECT_EQ(outbox.pubcomp(2), Answer::done);
  push(outbox, "three", q2);
  outbox.pump(sink, 9);
  EXPECT_EQ(outbox.pubrec(3, true), Outbox::Pubrec::failed);
  EXPECT_EQ(outbox.pubcomp(3), Answer::unknown);
  EXPECT_EQ(outbox.puback(1), Answer::done);
  EXPECT_EQ(outbox.waiting(), 0u);
  EXPECT_EQ(outbox.puback(0), Answer::unknown);
}

TEST_F(OutboxTest, IdentifiersWrapAndAreNeverInUseTwice) {
  Outbox outbox(store, spool, 1, false);
  push(outbox, "first", q1);
  outbox.pump(sink, 1000);
  for (int at = 2; at <= 65'535; ++at) {
    push(outbox, "x", q1);
    outbox.pump(sink, 1000);
    ASSERT_EQ(outbox.puback(static_cast<PacketId>(at)), Answer::done);
  }
  sink.take();
  push(outbox, "next", q1);
  EXPECT_EQ(outbox.pump(sink, 1000), Outbox::State::waits_for_acknowledgement);  // number 1 is still out
  EXPECT_THAT(sink.take(), IsEmpty());
  EXPECT_EQ(outbox.puback(1), Answer::done);
  outbox.pump(sink, 1000);
  EXPECT_THAT(sink.take(), ElementsAre("next #1"));
}

TEST_F(OutboxTest, ANewConnectionGetsWhatWasNotAcknowledged) {
  Outbox outbox(store, spool, 1, false);
  push(outbox, "zero", q0);
  for (const char* topic : {"a", "b"}) push(outbox, topic, q1);
  for (const char* topic : {"c", "d", "e"}) push(outbox, topic, q2);
  outbox.pump(sink, 4);
  EXPECT_THAT(sink.take(), ElementsAre("zero #1", "a #2", "b #3", "c #4", "d #5"));
  outbox.puback(2);
  outbox.pubrec(4, false);
  outbox.disconnected();
  outbox.pump(sink, 9);
  EXPECT_THAT(sink.take(), ElementsAre("b #3 dup", "PUBREL #4", "d #5 dup", "e #6"));
}

TEST_F(OutboxTest, WaitsForRoom) {
  Outbox outbox(store, spool, 1, false);
  for (const char* topic : {"a", "b", "c"}) push(outbox, topic, q0);
  sink.room = 2;
  EXPECT_EQ(outbox.pump(sink, 9), Outbox::State::waits_for_room);
  EXPECT_THAT(sink.take(), ElementsAre("a #1", "b #2"));
  sink.room = 9;
  EXPECT_EQ(outbox.pump(sink, 9), Outbox::State::idle);
  EXPECT_THAT(sink.take(), ElementsAre("c #3"));
}

TEST_F(OutboxTest, OneRowASessionAndBatch) {
  Outbox one(store, spool, 1, true), two(store, spool, 2, true);
  auto message = std::make_shared<Message>();
  message->topic = "t";
  message->qos = q1;
  for (int at = 0; at < 100; ++at) {
    const SpoolPlace place = spool.add(message);
    Delivery delivery;
    delivery.qos = q1;
    one.push(message, place, delivery);
    two.push(message, place, delivery);
  }
  one.save();
  end_turn(two);
  EXPECT_EQ(store.rows(Table::queue).size(), 2u);
  EXPECT_EQ(store.rows(Table::spool).size(), 1u);
  one.clear();
  store.seal();
  EXPECT_EQ(store.rows(Table::queue).size(), 1u);
  EXPECT_EQ(store.rows(Table::spool).size(), 1u);
  two.clear();
  store.seal();
  EXPECT_EQ(store.rows(Table::queue).size(), 0u);
  EXPECT_EQ(store.rows(Table::spool).size(), 0u);
}

TEST_F(OutboxTest, AMessageThatCannotBeSentIsDoneForGood) {
  Outbox outbox(store, spool, 1, true);
  for (const char* topic : {"a", "large", "b"}) push(outbox, topic, q2, true);
  end_turn(outbox);
  sink.too_large = "large";
  outbox.pump(sink, 9);
  EXPECT_THAT(sink.take(), ElementsAre("a #1", "b #3"));
  store.seal();
  // After a restart too, although its row is still there.
  MemoryStore later(store.image());
  Spool later_spool(later, clock);
  Outbox restored(later, later_spool, 1, true);
  const auto& [key, row] = *later.rows(Table::queue).begin();
  ASSERT_TRUE(restored.restore_row(1, row, 0));
  for (const auto& [mark, value] : later.rows(Table::inflight))
    restored.restore_mark(ByteView(mark).subspan(9), value[0]);
  sink.too_large.clear();
  restored.pump(sink, 9);
  EXPECT_THAT(sink.take(), ElementsAre("a #1", "b #3"));
}

TEST_F(OutboxTest, BrokenRowsAreRefused) {
  Outbox outbox(store, spool, 1, true);
  push(outbox, "a", q1, true);
  push(outbox, "b", q2, true);
  end_turn(outbox);
  const Bytes good = store.rows(Table::queue).begin()->second;
  for (std::size_t size = 0; size < good.size(); ++size) {
    Outbox restored(store, spool, 2, true);
    const bool whole_entries = size == 9 + 5;  // the first message alone is a row too
    EXPECT_EQ(restored.restore_row(7, ByteView(good).first(size), 0), whole_entries) << size;
  }
  Bytes bad = good;
  bad[0] = 99;
  Outbox restored(store, spool, 3, true);
  EXPECT_FALSE(restored.restore_row(7, bad, 0));
}

TEST_F(OutboxTest, TheOldestIsGivenUpAtTheBound) {
  Outbox outbox(store, spool, 1, false);
  push(outbox, "in flight", q1);
  outbox.pump(sink, 1);
  sink.take();
  for (std::size_t at = 0; at < limits::session_queue_count_max + 63; ++at) push(outbox, std::to_string(at), q1);
  EXPECT_EQ(outbox.take_lost(), 0u);  // a little more, so that cutting it back pays
  push(outbox, "one more", q1);
  EXPECT_EQ(outbox.waiting(), limits::session_queue_count_max);
  EXPECT_EQ(outbox.take_lost(), 65u);
  EXPECT_EQ(outbox.puback(1), Answer::done);
  outbox.pump(sink, 1);
  EXPECT_THAT(sink.take(), ElementsAre("65 #67"));
  EXPECT_EQ(outbox.puback(67), Answer::done);  // found although numbers before it are missing
}

}  // namespace
}  // namespace diot
