#include "dht/link_machine.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "tests/dht/link_world.hpp"

namespace diot {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LinkMachineTest : public testing::Test {
 protected:
  /// What the machine says to these bytes.
  Result<std::optional<Frame>> feed(ByteView wire) {
    const auto room = machine.room();
    std::copy(wire.begin(), wire.end(), room.begin());
    machine.filled(wire.size(), now);
    return machine.next(now);
  }
  static Bytes frame(FrameType type, ByteView body = {}) {
    FrameQueue queue;
    queue.push(type, {body});
    return to_bytes(queue.front());
  }
  /// Everything that the machine wants written.
  Bytes output() {
    Bytes out;
    while (!machine.output().empty()) {
      append(out, machine.output());
      machine.written(machine.output().size());
    }
    return out;
  }
  void admitted() {
    ASSERT_TRUE(feed(frame(FrameType::hello)));
    machine.admit(limits::frame_bytes_max);
  }

  LinkTimes times;
  SeededRandom random{1};
  Monotonic now{};
  LinkMachine machine{times, random, now};
};

TEST_F(LinkMachineTest, TheFirstFrameIsTheHelloOrClose) {
  const auto hello = feed(frame(FrameType::hello, as_bytes("x")));
  ASSERT_TRUE(hello && *hello);
  EXPECT_EQ((*hello)->type, FrameType::hello);
  EXPECT_FALSE(feed(frame(FrameType::hello)));

  for (const auto type : {FrameType::close, FrameType::ping, FrameType::batch, static_cast<FrameType>(200)}) {
    LinkMachine fresh(times, random, now);
    const auto wire = frame(type, Bytes(8));
    std::copy(wire.begin(), wire.end(), fresh.room().begin());
    fresh.filled(wire.size(), now);
    EXPECT_EQ(fresh.next(now).has_value(), type == FrameType::close);
  }
}

TEST_F(LinkMachineTest, BeforeItsHelloAPeerMaySendLittle) {
  Bytes wire{0, 0, 0x10, 1, 1};  // 4097 bytes
  EXPECT_EQ(feed(wire).error().code, Errc::limit);
}

TEST_F(LinkMachineTest, PingsAreAnsweredAndUnknownTypesPassedOver) {
  admitted();
  Bytes wire = frame(FrameType::ping, as_bytes("12345678"));
  append(wire, frame(static_cast<FrameType>(250), as_bytes("from the future")));
  append(wire, frame(FrameType::submit, as_bytes("x")));
  const auto next = feed(wire);
  ASSERT_TRUE(next && *next);
  EXPECT_EQ((*next)->type, FrameType::submit);
  EXPECT_EQ(output(), frame(FrameType::pong, as_bytes("12345678")));
}

TEST_F(LinkMachineTest, BrokenRulesAreErrors) {
  for (const auto& wire : {frame(FrameType::hello), frame(FrameType::ping, Bytes(7)), frame(FrameType::pong, Bytes(9)),
                           Bytes{0, 0, 0, 0}, Bytes{0xff, 0, 0, 0, 1}}) {
    LinkMachine fresh(times, random, now);
    auto hello = frame(FrameType::hello);
    append(hello, wire);
    std::copy(hello.begin(), hello.end(), fresh.room().begin());
    fresh.filled(hello.size(), now);
    EXPECT_TRUE(fresh.next(now));
    fresh.admit(limits::frame_bytes_max);
    EXPECT_FALSE(fresh.next(now));
  }
}

TEST_F(LinkMachineTest, AQuietPeerIsPingedAndASilentOneIsGivenUp) {
  admitted();
  now += times.ping_interval - milliseconds(1);
  ASSERT_TRUE(machine.tick(now));
  EXPECT_TRUE(output().empty());
  now += milliseconds(1);
  ASSERT_TRUE(machine.tick(now));
  EXPECT_EQ(output().size(), frame_head_bytes + 8);
  ASSERT_TRUE(machine.tick(now + seconds(1)));
  EXPECT_TRUE(output().empty()) << "one ping an interval";
  now = Monotonic{} + times.silence_max - milliseconds(1);
  EXPECT_TRUE(machine.tick(now));
  EXPECT_EQ(machine.tick(now + milliseconds(1)).error().code, Errc::timed_out);
}

TEST_F(LinkMachineTest, AnythingHeardCountsAsLife) {
  admitted();
  for (int i = 0; i < 100; ++i) {
    now += times.ping_interval - milliseconds(1);
    ASSERT_TRUE(feed(frame(FrameType::submit)));
    ASSERT_TRUE(machine.tick(now));
  }
  EXPECT_TRUE(output().empty());
}

TEST_F(LinkMachineTest, OnlyTheAnswerToTheNewestPingIsTimed) {
  admitted();
  now += times.ping_interval;
  ASSERT_TRUE(machine.tick(now));
  const auto ping = output();
  ASSERT_TRUE(feed(frame(FrameType::pong, as_bytes("whatever"))));
  EXPECT_FALSE(machine.round_trip());
  now += milliseconds(3);
  ASSERT_TRUE(feed(frame(FrameType::pong, ByteView(ping).subspan(frame_head_bytes))));
  EXPECT_EQ(machine.round_trip(), milliseconds(3));
}

TEST_F(LinkMachineTest, AChallengeNeedsItsOwnAnswer) {
  admitted();
  now += times.ping_interval;
  ASSERT_TRUE(machine.tick(now));
  const auto before = output();
  machine.challenge(now);
  const auto challenge = output();
  ASSERT_NE(before, challenge);
  machine.challenge(now);
  EXPECT_TRUE(output().empty()) << "one is enough";
  ASSERT_TRUE(feed(frame(FrameType::pong, ByteView(before).subspan(frame_head_bytes))));
  EXPECT_FALSE(machine.tick(now + times.challenge));
  ASSERT_TRUE(feed(frame(FrameType::pong, ByteView(challenge).subspan(frame_head_bytes))));
  EXPECT_TRUE(machine.tick(now + times.challenge));
}

TEST_F(LinkMachineTest, AnyBytesAreSurvived) {
  EXPECT_TRUE(rc::check([&] {
    LinkMachine fresh(times, random, now);
    Bytes wire;
    for (int frames = *rc::gen::inRange(0, 10); frames > 0; --frames)
      append(wire, frame(static_cast<FrameType>(*rc::gen::inRange(0, 50)), *rc::gen::arbitrary<Bytes>()));
    append(wire, *rc::gen::arbitrary<Bytes>());
    if (*rc::gen::arbitrary<bool>()) fresh.admit(limits::frame_bytes_max);
    const auto size = std::min(wire.size(), fresh.room().size());
    std::copy_n(wire.begin(), size, fresh.room().begin());
    fresh.filled(size, now);
    while (true) {
      const auto next = fresh.next(now);
      if (!next || !*next) break;
    }
    RC_ASSERT(fresh.unsent_bytes() <= wire.size());
  }));
}

}  // namespace
}  // namespace diot
