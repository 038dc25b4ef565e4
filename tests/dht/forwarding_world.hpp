#pragma once
// Homes of which some reach one other alone, in the world of tests/dht/overlay_world.hpp.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/dht/overlay_world.hpp"

namespace diot::test {

using namespace std::chrono_literals;

/// alice shares, bob reaches everybody, carol and dave reach only bob.
struct Forwarding : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  Home& carol = world.join("carol", alice);
  Home& dave = world.join("dave", alice);

  void SetUp() override {
    ASSERT_TRUE(alice.overlay->own().add("sensors/#", Preset::public_));
    alice.turn.touch();
    world.keep_apart(alice, carol);
    world.keep_apart(alice, dave);
    world.keep_apart(carol, dave);
    settle();
  }
  void settle() { world.pass(8s); }
  void publish(const std::string& payload, bool retain = false) {
    alice.publish("sensors/n", payload, Qos::at_least_once, retain);
    world.run();
  }
  /// Once at alice, and once, to bob, by a copy of alice's node that went on from the same point. Alice's batch.
  BatchHeader publish_twice(const std::string& payload) {
    BatchHeader header;
    world.on_wire = [&](const Home&, const Home& to, FrameType type, Bytes& body) {
      if (&to == &bob && type == FrameType::batch) header = BatchView::parse(wire::decode_batch(body)->batch)->header;
      return true;
    };
    publish(payload);
    world.on_wire = nullptr;
    BatchWriter copy(Stream::durable, channel(), header.incarnation, header.previous);
    Record record{RecordKind::message, "sensors/n", Qos::at_least_once, false, to_bytes("twin"), {}};
    Bytes frame = wire::encode_batch_prefix(0);
    append(frame, copy.seal({encode_record(record)}, false, hybrid_from(world.clock.wall_ms()), 1, alice.key,
                            alice.ledger->network(), world.random));
    bob.overlay->link_frame(world.links_between(alice, bob).at(0), alice.key.node_id(), FrameType::batch, frame);
    bob.turn.touch();
    world.run();
    return header;
  }
  /// bob is away while "2" and "3" are published, begins anew behind that hole with an empty disk, and hands "4" to carol,
  /// who reaches nobody else.
  void let_bob_miss_two_and_carry_on() {
    world.keep_apart(bob, carol);
    world.kill(bob);
    for (const char* payload : {"2", "3"}) publish(payload);
    bob.store = std::make_unique<MemoryStore>();
    world.start(bob);
    bob.overlay->add_demand("@alice/sensors/#", false);
    settle();
    publish("4");
    world.kill(alice);
    world.let_meet(bob, carol);
    world.pass(60s);  // who is not waited for is dialled about every 30 s
  }
  void restart_an_hour_ahead() {
    alice.clock->ahead_ms = 3'600'000;
    world.kill(alice);
    world.start(alice);
    settle();
  }
  /// On a machine whose clock is right.
  void go_back_to(const MemoryStore::Image& backup) {
    world.kill(alice);
    alice.clock->ahead_ms = 0;
    alice.store = std::make_unique<MemoryStore>(backup);
    world.start(alice);
    settle();
  }
  ChannelId channel() { return alice.overlay->own().status().at(0).id; }
  static std::vector<std::string> take(Home& home) {
    auto out = home.broker->texts();
    home.broker->live.clear();
    return out;
  }
};

}  // namespace diot::test
