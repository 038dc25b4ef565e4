// Frames of a member, each type of them, again and again: what they make a node do is bounded.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include "core/limits.hpp"
#include "tests/dht/overlay_world.hpp"

namespace diot::test {
namespace {

using testing::Contains;
using testing::Ge;
using testing::SizeIs;
using namespace std::chrono_literals;

/// Of this thread only, so that a busy machine changes nothing.
std::chrono::nanoseconds cpu_time() {
  timespec out{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &out);
  return std::chrono::seconds(out.tv_sec) + std::chrono::nanoseconds(out.tv_nsec);
}

std::size_t rows_of(const Home& home) {
  std::size_t out = 0;
  for (std::size_t table = 0; table < static_cast<std::size_t>(Table::count_); ++table)
    out += home.store->rows(static_cast<Table>(table)).size();
  return out;
}

struct Flood : testing::Test {
  World world;
  Home& alice = world.found("alice");
  Home& bob = world.join("bob", alice);
  Home& carol = world.join("carol", alice);
  std::map<FrameType, std::vector<Bytes>> said;  ///< what bob said to alice in an ordinary life

  void SetUp() override {
    world.on_wire = [&](const Home& from, const Home& to, FrameType type, Bytes& body) {
      if (&from == &bob && &to == &alice) said[type].push_back(body);
      return true;
    };
    for (Home* home : {&alice, &bob}) {
      ASSERT_TRUE(home->overlay->own().add("sensors/#", Preset::public_));
      home->turn.touch();
    }
    alice.overlay->add_demand("@bob/sensors/#", false);
    bob.overlay->add_demand("@alice/sensors/#", false);
    carol.overlay->add_demand("@alice/sensors/#", false);
    world.pass(8s);
    for (int at = 0; at < 20; ++at) alice.publish("sensors/" + std::to_string(at), "value", Qos::at_least_once, true);
    bob.publish("sensors/b", "value", Qos::at_least_once, true);
    world.run();
    // A gap, an entry for the ledger, an end of interest, a restart.
    world.subscribe_durably(bob, "@alice/sensors/#");
    world.run();
    world.kill(bob);
    alice.publish("sensors/n", "missed");
    world.run();
    world.start(bob);
    world.pass(8s);
    HandleRecord changed = *bob.ledger->handle("bob");
    changed.profile = sha256(as_bytes("a face"));
    bob.overlay->ledger_sync().submit(make_update(changed, bob.ledger->network(), bob.ledger->head(), bob.owner, {}),
                                      [](const Result<std::uint64_t>&) {});
    world.pass(3s);
    carol.broker->live.clear();
  }
  LinkId link() { return world.links_between(alice, bob).at(0); }
};

TEST_F(Flood, OfEachFrameCostsLittleAndLeavesNothing) {
  EXPECT_THAT(said, SizeIs(Ge(8u))) << "types of frames that bob said";
  constexpr std::size_t flood = 2000;
  for (const auto& [type, bodies] : said) {
    SCOPED_TRACE("frames of type " + std::to_string(static_cast<int>(type)));
    std::size_t answered = 0;
    world.on_wire = [&](const Home& from, const Home& to, FrameType, Bytes& body) {
      if (&from == &alice && &to == &bob) answered += body.size();
      return &from != &alice || &to != &bob;
    };
    const std::size_t rows = rows_of(alice);
    const auto began = cpu_time();
    for (std::size_t count = 0; count < flood; ++count) {
      if (world.links_between(alice, bob).empty()) break;  // cut off
      alice.overlay->link_frame(link(), bob.key.node_id(), type, bodies[count % bodies.size()]);
      alice.turn.touch();
      if (count % 50 == 0) world.run();
    }
    world.run();
    EXPECT_LT((cpu_time() - began) / flood, 20ms) << "a frame";
    EXPECT_LT(answered / flood, limits::link_bulk_bytes_max) << "bytes of answer to a frame";
    EXPECT_LT(rows_of(alice), rows + 10) << "rows on disk";
  }
  world.on_wire = nullptr;
  world.pass(8s);
  alice.publish("sensors/n", "still here");
  world.run();
  EXPECT_THAT(carol.broker->texts(), Contains("@alice/sensors/n still here"));
}

TEST_F(Flood, OfQuestionsAboutWhatIsNotThereLeavesNothing) {
  const std::size_t rows = rows_of(alice);
  world.on_wire = [&](const Home& from, const Home& to, FrameType, Bytes&) { return &from != &alice || &to != &bob; };
  for (std::uint64_t count = 0; count < 5000; ++count) {
    const wire::CatalogueGet get{"nobody" + std::to_string(count), {"#"}};
    alice.overlay->link_frame(link(), bob.key.node_id(), FrameType::catalogue_get, wire::encode_catalogue_get(get));
    wire::ChannelJoin join;
    join.channel = world.random.id<ChannelId>();
    alice.overlay->link_frame(link(), bob.key.node_id(), FrameType::channel_join, wire::encode_channel_join(join));
    alice.turn.touch();
    if (count % 50 == 0) world.run();
  }
  world.run();
  EXPECT_LE(rows_of(alice), rows);
  EXPECT_EQ(alice.overlay->counters().at("catalogues asked for that nobody has"), 5000u);
}

}  // namespace
}  // namespace diot::test
