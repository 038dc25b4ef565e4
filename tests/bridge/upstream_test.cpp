// A bridge between two brokers, all of it in memory: `home` has the upstream, `other` is the broker that it is joined to.

#include "bridge/upstream.hpp"

#include <gmock/gmock.h>

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// The way between them. What the other broker does not know can be taken out of what it hears.
class Way final : public UpstreamWire {
 public:
  explicit Way(World& other) : other_(other), end_(*this) {}

  // UpstreamWire
  void send(Bytes& output) override { append(to_other, std::exchange(output, {})); }
  std::size_t unsent_bytes() const override { return stuck ? to_other.size() : 0; }
  void set_reading(bool on) override { reading = on; }
  void close() override { closing = true; }

  void dial(Upstream& upstream) {
    upstream_ = &upstream;
    closing = other_closed = false;
    to_other.clear();
    to_home.clear();
    id_ = other_.broker->open(end_, Peer{"192.0.2.1:1", {}, true});
    up = true;
    upstream.connected();
  }
  void cut(std::string_view why = "cut") {
    if (!std::exchange(up, false)) return;
    if (!other_closed) other_.broker->closed(id_);
    upstream_->lost(why);
  }
  /// Returns whether anything passed.
  bool pass() {
    if (!up) return false;
    bool any = false;
    if (const Bytes bytes = stuck ? Bytes() : std::exchange(to_other, {}); !bytes.empty() && !other_closed) {
      other_.broker->received(id_, bytes);
      any = true;
    }
    if (const Bytes bytes = std::exchange(to_home, {}); !bytes.empty() && !closing) {
      upstream_->received(bytes);
      any = true;
    }
    if (closing || other_closed) {
      cut("it has closed the connection");
      any = true;
    }
    return any;
  }

  Bytes to_other, to_home;
  bool up = false, closing = false, other_closed = false, reading = true, stuck = false;

 private:
  struct End final : ClientTransport {
    explicit End(Way& the_way) : way(the_way) {}
    void send(Bytes& output) override { append(way.to_home, std::exchange(output, {})); }
    std::size_t unsent_bytes() const override { return 0; }
    void set_reading(bool) override {}
    void close() override { way.other_closed = true; }
    Way& way;
  };
  World& other_;
  End end_;
  Upstream* upstream_ = nullptr;
  ConnectionId id_{};
};

struct UpstreamTest : testing::Test {
  UpstreamTest() : way(other) {}

  void join(std::vector<std::string> topics, const std::string& protocol = "auto") {
    config.name = "hub";
    config.address = "hub.example:1883";
    config.protocol = protocol;
    config.topics = std::move(topics);
    make();
    dial();
  }
  void make() {
    std::vector<UpstreamTopic> parsed;
    for (const auto& text : config.topics) parsed.push_back(parse_upstream_topic(text).value());
    upstream = std::make_unique<Upstream>(config, parsed, Bytes(), "home", *home.broker, way, home.clock);
    upstream->prepare();
    run();
  }
  void dial() {
    way.dial(*upstream);
    run();
  }
  void run() {
    do {
      home.run();
      other.run();
    } while (way.pass() || home.turn.touched || other.turn.touched);
  }
  /// A client of each, subscribed to everything.
  Lines heard(TestClient& client) {
    run();
    return client.messages();
  }

  World home, other;
  Way way;
  UpstreamConfig config;
  std::unique_ptr<Upstream> upstream;
  TestClient here{home}, there{other};
};

TEST_F(UpstreamTest, PatternsSayWhatPassesAndUnderWhichNames) {
  here.connect("here");
  there.connect("there");
  here.subscribe("#", 2);
  there.subscribe("#", 2);
  join({"sensors/# out 1 \"\" alice/", "cmd/+ in 2 hub/ orders/", "both both 0"});
  EXPECT_TRUE(upstream->status().connected);
  EXPECT_EQ(upstream->status().protocol, "5.0");
  EXPECT_THAT(heard(there), IsEmpty());
  here.publish("sensors/a", "1", 1, 1);
  here.publish("private", "x", 1, 2);
  EXPECT_THAT(heard(there), ElementsAre("PUBLISH alice/sensors/a=1 q1 #1 diot-origin=home"));
  heard(here);
  there.publish("orders/cmd/on", "now", 2, 1);
  there.pubrel(1);
  there.publish("cmd/on", "no", 1, 2);
  EXPECT_THAT(heard(here), ElementsAre("PUBLISH hub/cmd/on=now q2 #3"));
}

TEST_F(UpstreamTest, WhatCrossesDoesNotComeBack) {
  join({"# both 1"});
  here.connect("here");
  there.connect("there");
  here.subscribe("x", 1);
  there.subscribe("x", 1);
  here.publish("x", "a", 1, 1);
  EXPECT_THAT(heard(there), ElementsAre(HasSubstr("x=a")));
  there.publish("x", "b", 1, 1);
  EXPECT_THAT(heard(here), ElementsAre(HasSubstr("x=a"), HasSubstr("x=b")));
  EXPECT_THAT(heard(there), ElementsAre(HasSubstr("x=b")));
  EXPECT_EQ(upstream->status().sent, 1u);
  EXPECT_EQ(upstream->status().received, 1u);
}

TEST_F(UpstreamTest, AMessageOfThisHomeIsNotTakenFromAThird) {
  join({"x both 1"});
  here.connect("here");
  here.subscribe("x");
  there.connect("there");
  Properties origin;
  origin.user = {{"diot-origin", "home"}};
  there.publish("x", "mine", 1, 1, false, &origin);
  origin.user = {{"diot-origin", "another"}};
  there.publish("x", "another's", 1, 2, false, &origin);
  EXPECT_THAT(heard(here), ElementsAre(HasSubstr("x=another's")));
}

TEST_F(UpstreamTest, WhatIsAcknowledgedWaitsForTheOtherBroker) {
  there.connect("there");
  there.subscribe("#", 2);
  join({"x out 2"});
  way.cut();
  here.connect("here");
  here.publish("x", "0", 0);
  here.publish("x", "1", 1, 1);
  here.publish("x", "2", 2, 2);
  here.pubrel(2);
  run();
  EXPECT_THAT(here.take(), ElementsAre("CONNACK", "PUBACK #1", "PUBREC #2", "PUBCOMP #2"));
  // Not even this process's end changes that.
  upstream.reset();
  home.crash();
  make();
  EXPECT_THAT(heard(there), IsEmpty());
  dial();
  EXPECT_THAT(heard(there), ElementsAre(HasSubstr("x=1 q1"), HasSubstr("x=2 q2")));
}

TEST_F(UpstreamTest, FromTheFirstStartEvenBeforeItWasEverReached) {
  config.name = "hub";
  config.topics = {"x out 1"};
  make();
  here.connect("here");
  here.publish("x", "early", 1, 1);
  run();
  there.connect("there");
  there.subscribe("#", 1);
  dial();
  EXPECT_THAT(heard(there), ElementsAre(HasSubstr("x=early q1")));
}

TEST_F(UpstreamTest, WhatTheOtherAcknowledgedWaitsForUs) {
  join({"x in 1"});
  here.connect("here", true);
  here.subscribe("x", 1);
  way.cut();
  there.connect("there");
  there.publish("x", "kept", 1, 1);
  run();
  EXPECT_THAT(heard(here), IsEmpty());
  dial();
  EXPECT_THAT(heard(here), ElementsAre(HasSubstr("x=kept q1")));
}

TEST_F(UpstreamTest, QosTwoIsExactWhereverTheConnectionBreaks) {
  there.connect("there");
  there.subscribe("x", 2);
  join({"x out 2", "y in 2"});
  here.connect("here");
  here.subscribe("y", 2);
  // Cut after every possible number of steps of the exchange.
  for (int steps = 0; steps < 12; ++steps) {
    const std::string number = std::to_string(steps);
    here.publish("x", number, 2, static_cast<PacketId>(100 + steps));
    here.pubrel(static_cast<PacketId>(100 + steps));
    there.publish("y", number, 2, static_cast<PacketId>(100 + steps));
    there.pubrel(static_cast<PacketId>(100 + steps));
    for (int step = 0; step < steps; ++step) {
      home.run();
      other.run();
      way.pass();
    }
    way.cut();
    dial();
    const auto at_other = heard(there), at_home = heard(here);
    ASSERT_THAT(at_other, ElementsAre(HasSubstr("x=" + number + " q2"))) << steps;
    ASSERT_THAT(at_home, ElementsAre(HasSubstr("y=" + number + " q2"))) << steps;
    for (auto* client : {&here, &there})
      for (const auto& line : client == &here ? at_home : at_other) {
        const auto id = static_cast<PacketId>(std::stoi(line.substr(line.find('#') + 1)));
        client->pubrec(id);
        run();
        client->pubcomp(id);
        client->take();
      }
  }
}

TEST_F(UpstreamTest, RetainedMessagesPassAsSuch) {
  here.connect("here");
  here.publish("x", "kept", 1, 1, true);
  run();
  join({"x both 1", "y in 1"});
  there.connect("there");
  there.subscribe("#", 1);
  EXPECT_THAT(heard(there), ElementsAre(HasSubstr("x=kept q1 #1 retain")));
  there.publish("y", "theirs", 1, 1, true);
  run();
  here.subscribe("y", 1);
  EXPECT_THAT(heard(here), ElementsAre(HasSubstr("y=theirs q1 #1 retain")));
}

TEST_F(UpstreamTest, TheStateIsTold) {
  join({"x out"});
  here.connect("here");
  here.subscribe("$SYS/broker/connection/+/state");
  EXPECT_THAT(heard(here), ElementsAre("PUBLISH $SYS/broker/connection/hub/state=1 retain"));
  way.cut("the cable was pulled");
  EXPECT_THAT(heard(here), ElementsAre("PUBLISH $SYS/broker/connection/hub/state=0"));
  EXPECT_EQ(upstream->status().error, "the cable was pulled");
  dial();
  EXPECT_THAT(heard(here), ElementsAre("PUBLISH $SYS/broker/connection/hub/state=1"));
  EXPECT_EQ(upstream->status().error, "");
}

TEST_F(UpstreamTest, SilenceEndsTheConnection) {
  join({"x out"});
  config.keep_alive = 60;
  home.clock.advance(std::chrono::seconds(50));
  upstream->tick();
  EXPECT_EQ(to_hex(way.to_other), "c000");
  home.clock.advance(std::chrono::seconds(41));
  upstream->tick();
  EXPECT_TRUE(way.closing);
  run();
  EXPECT_THAT(upstream->status().error, HasSubstr("nothing was heard"));
}

TEST_F(UpstreamTest, ASlowWayHoldsBackWhatComesFromHere) {
  join({"x out 1"});
  here.connect("here");
  way.stuck = true;
  const std::string payload(100'000, 'x');
  for (PacketId id = 1; id <= 20; ++id) here.publish("x", payload, 1, id);
  run();
  EXPECT_LT(way.to_other.size(), 500'000u);
  there.connect("there");
  there.subscribe("#", 1);
  way.stuck = false;
  run();
  upstream->writable();
  for (int round = 0; round < 20; ++round) {
    run();
    upstream->writable();
  }
  EXPECT_EQ(upstream->status().sent, 20u);
}

TEST_F(UpstreamTest, WhoIsGoneFromTheConfigurationIsForgotten) {
  join({"x out 1"});
  way.cut();
  upstream.reset();
  ASSERT_EQ(home.broker->sessions().size(), 1u);
  forget_other_upstreams(*home.broker, {"hub"});
  EXPECT_EQ(home.broker->sessions().size(), 1u);
  forget_other_upstreams(*home.broker, {"another"});
  home.run();
  EXPECT_EQ(home.broker->sessions().size(), 0u);
}

// Brokers of 3.1.1 -------------------------------------------------------------------------------------------

/// A broker by hand: what it hears, and what it says.
struct ByHand final : UpstreamWire {
  void send(Bytes& output) override { append(heard, std::exchange(output, {})); }
  std::size_t unsent_bytes() const override { return 0; }
  void set_reading(bool) override {}
  void close() override { closing = true; }
  std::string take() { return to_hex(std::exchange(heard, {})); }
  Bytes heard;
  bool closing = false;
};

struct OldUpstreamTest : testing::Test {
  void join(const std::string& topic, const std::string& protocol = "auto") {
    config.name = "hub";
    config.protocol = protocol;
    upstream = std::make_unique<Upstream>(config, std::vector{parse_upstream_topic(topic).value()}, Bytes(), "home",
                                          *home.broker, wire, home.clock);
    upstream->prepare();
    home.run();
    upstream->connected();
  }
  void says(const std::string& hex) {
    upstream->received(*from_hex(hex));
    home.run();
    if (std::exchange(wire.closing, false)) upstream->lost("closed here");
  }
  World home;
  ByHand wire;
  UpstreamConfig config;
  std::unique_ptr<Upstream> upstream;
};

TEST_F(OldUpstreamTest, AnOlderVersionIsTriedWhereTheNewerIsRefused) {
  join("x both 1");
  EXPECT_THAT(wire.take(), HasSubstr("00044d51545405"));
  says("20020001");
  upstream->connected();
  EXPECT_THAT(wire.take(), HasSubstr("00044d51545484")) << "with the bridge bit";
  says("20020001");
  upstream->connected();
  EXPECT_THAT(wire.take(), HasSubstr("00044d51545404"));
  says("20020000");
  EXPECT_EQ(upstream->status().protocol, "3.1.1");
  EXPECT_EQ(wire.take(), "8206ffff00017801");
}

TEST_F(OldUpstreamTest, APatternThatComesBackStops) {
  join("x both 0", "3.1.1");
  says("20020001");
  upstream->connected();
  says("20020000");
  wire.take();
  TestClient here(home);
  here.connect("here");
  here.subscribe("x");
  here.take();
  for (const char* payload : {"a", "b", "c"}) {
    here.publish("x", payload);
    home.run();
    const std::string sent = wire.take();
    ASSERT_FALSE(sent.empty());
    says(sent);  // as it was
  }
  EXPECT_THAT(here.messages(), testing::SizeIs(3)) << "its own, and no echo";
  EXPECT_THAT(upstream->status().error, HasSubstr("'x' is stopped"));
  here.publish("x", "d");
  home.run();
  EXPECT_EQ(wire.take(), "");
}

TEST_F(OldUpstreamTest, GarbageAndRefusalsEndTheAttempt) {
  join("x both 1", "5");
  says("ffffffffff");
  EXPECT_THAT(upstream->status().error, HasSubstr("not MQTT"));
  upstream->connected();
  says("d000");
  EXPECT_THAT(upstream->status().error, HasSubstr("CONNACK"));
  upstream->connected();
  says("2003008600");
  EXPECT_THAT(upstream->status().error, HasSubstr("0x86"));
  upstream->connected();
  says("2003000000");
  EXPECT_TRUE(upstream->status().connected);
  says("e0018b");
  EXPECT_THAT(upstream->status().error, HasSubstr("0x8b"));
}

// Patterns ---------------------------------------------------------------------------------------------------

TEST(UpstreamTopic, IsReadAsMosquittoWritesIt) {
  const auto simple = parse_upstream_topic("a/#").value();
  EXPECT_TRUE(simple.out && !simple.in);
  EXPECT_EQ(simple.qos, Qos::at_most_once);
  const auto full = parse_upstream_topic(" # both 2  local/ remote/").value();
  EXPECT_TRUE(full.out && full.in);
  EXPECT_EQ(full.local_filter(), "local/#");
  EXPECT_EQ(full.remote_filter(), "remote/#");
  EXPECT_EQ(parse_upstream_topic("x in 1 \"\" r/")->local_filter(), "x");
}

TEST(UpstreamTopic, WhatIsWrongIsSaid) {
  for (const char* wrong : {"", " ", "a up", "a in 3", "a in 1 b+ c", "a# in", "a in 1 b c d", "a/#/b out"}) {
    const auto parsed = parse_upstream_topic(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_THAT(parsed.error().message, HasSubstr("sensors/# out 1")) << wrong;
  }
}

}  // namespace
}  // namespace diot
