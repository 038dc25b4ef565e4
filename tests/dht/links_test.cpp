#include "dht/links.hpp"

#include <asio/ip/tcp.hpp>

#include "core/ledger/limits.hpp"
#include "core/limits.hpp"
#include "dht/life.hpp"
#include "tests/dht/link_world.hpp"

namespace diot {
namespace {

using std::chrono::milliseconds;

class LinksTest : public testing::Test {
 protected:
  bool until(const std::function<bool()>& condition) { return run_until(io, condition); }
  /// `a` dials `b`.
  void join(TestNode& a, TestNode& b) {
    a.links->dial(b.listen(), b.key.node_id());
    ASSERT_TRUE(until([&] { return !a.up().empty() && !b.up().empty(); }))
        << (a.dial_failures.empty() ? "" : a.dial_failures.back());
  }

  asio::io_context io;
};

TEST_F(LinksTest, TwoNodesExchangeHellosAndFrames) {
  TestNode a(io, 1), b(io, 2);
  a.hello.features = 5;
  a.hello.checkpoint.height = 77;
  a.hello.checkpoint.block.bytes.fill(3);
  a.hello.addresses = {"192.0.2.1:42220", "[2001:db8::1]:42220"};
  join(a, b);
  EXPECT_TRUE(a.up()[0].dialled);
  EXPECT_EQ(a.up()[0].peer, b.key.node_id());
  EXPECT_FALSE(b.up()[0].dialled);
  EXPECT_EQ(b.up()[0].peer, a.key.node_id());
  EXPECT_EQ(b.up()[0].kind, LinkClass::member);
  EXPECT_EQ(b.up()[0].hello.features, 5u);
  EXPECT_EQ(b.up()[0].hello.checkpoint, a.hello.checkpoint);
  EXPECT_EQ(b.up()[0].hello.addresses, a.hello.addresses);
  EXPECT_EQ(b.up()[0].hello.instance, a.hello.instance);
  EXPECT_EQ(b.up()[0].hello.agent, "diot/0.1.0");

  a.links->send(a.up()[0].link, FrameType::batch, {as_bytes("one"), as_bytes(" and "), as_bytes("two")});
  a.links->send(a.up()[0].link, FrameType::ledger_head, {});
  b.links->send(b.up()[0].link, FrameType::catalogue, {as_bytes("three")});
  ASSERT_TRUE(until([&] { return b.frames.size() == 2 && a.frames.size() == 1; }));
  EXPECT_EQ(as_text(b.frames[0].body), "one and two");
  EXPECT_EQ(b.frames[0].type, FrameType::batch);
  EXPECT_TRUE(b.frames[1].body.empty());
  EXPECT_EQ(as_text(a.frames[0].body), "three");
  EXPECT_EQ(a.links->stats().frames_out, 2u);
  EXPECT_EQ(b.links->stats().frames_in, 2u);
  EXPECT_EQ(b.links->stats().half_open, 0u);
  EXPECT_EQ(a.links->stats().dials, 0u);
}

TEST_F(LinksTest, NamesAndIPv6AreDialled) {
  TestNode a(io, 1), b(io, 2);
  const auto address = b.listen("[::1]:0");
  a.links->dial(address, std::nullopt);
  ASSERT_TRUE(until([&] { return a.up().size() == 1; }));
  TestNode c(io, 3), d(io, 4);
  const auto numeric = d.listen();
  c.links->dial("localhost" + numeric.substr(numeric.rfind(':')), d.key.node_id());
  EXPECT_TRUE(until([&] { return c.up().size() == 1; }));
}

TEST_F(LinksTest, AnotherKeyThanTheExpectedOneIsRefused) {
  TestNode a(io, 1), b(io, 2), c(io, 3);
  a.links->dial(b.listen(), c.key.node_id());
  ASSERT_TRUE(until([&] { return !a.dial_failures.empty(); }));
  EXPECT_EQ(a.ended(LinkEnd::wrong_key), 1u);
  EXPECT_NE(a.dial_failures[0].find(to_display(b.key.node_id())), std::string::npos);
  ASSERT_TRUE(until([&] { return b.links->stats().half_open == 0; }));
  EXPECT_EQ(b.ups, 0u);
}

TEST_F(LinksTest, DiallingOneselfIsRefusedQuietly) {
  TestNode a(io, 1);
  const auto address = a.listen();
  a.links->dial(address, std::nullopt);
  a.links->dial(address, a.key.node_id());
  ASSERT_TRUE(until([&] { return a.dial_failures.size() == 2 && a.links->stats().half_open == 0; }));
  EXPECT_EQ(a.dial_failures[1], "this node itself");
  EXPECT_EQ(a.ups, 0u);
  EXPECT_EQ(a.ended(LinkEnd::violation) + a.ended(LinkEnd::tls), 0u);
}

TEST_F(LinksTest, UnusableAddressesFailLaterNotAtOnce) {
  TestNode a(io, 1, short_times());
  asio::ip::tcp::acceptor closed(io, {asio::ip::make_address("127.0.0.1"), 0});
  const auto port = std::to_string(closed.local_endpoint().port());
  closed.close();
  for (const auto& address : {std::string("no port"), "127.0.0.1:" + port, std::string("no.such.host.invalid:1")})
    a.links->dial(address, std::nullopt);
  EXPECT_TRUE(a.dial_failures.empty());
  ASSERT_TRUE(until([&] { return a.dial_failures.size() == 3; }));
  EXPECT_EQ(a.links->stats().dials, 0u);
}

TEST_F(LinksTest, DialsAreBounded) {
  TestNode a(io, 1), b(io, 2);
  const auto address = b.listen();
  for (std::size_t i = 0; i <= limits::dials_max; ++i) a.links->dial(address, std::nullopt);
  EXPECT_EQ(a.links->stats().dials, limits::dials_max);
  EXPECT_EQ(a.ended(LinkEnd::crowded), 1u);
  // All but one are duplicates or above the other end's limit of half-open connections.
  ASSERT_TRUE(until([&] { return a.dial_failures.size() == limits::dials_max && a.up().size() == 1; }));
  EXPECT_EQ(b.up().size(), 1u);
}

TEST_F(LinksTest, AnotherNetworkIsRefusedWithAReason) {
  TestNode a(io, 1), b(io, 2);
  b.hello.network.bytes.fill(8);
  a.links->dial(b.listen(), b.key.node_id());
  ASSERT_TRUE(until([&] { return !a.dial_failures.empty(); }));
  EXPECT_EQ(a.dial_failures[0], "closed by the peer: the nodes are in different networks");
  EXPECT_EQ(b.ended(LinkEnd::network), 1u);
  EXPECT_EQ(a.ended(LinkEnd::closed_by_peer), 1u);
  EXPECT_TRUE(until([&] { return b.links->stats().half_open == 0; }));
  EXPECT_EQ(a.ups + b.ups, 0u);
}

TEST_F(LinksTest, VersionsMustMeet) {
  TestNode a(io, 1), b(io, 2), c(io, 3);
  a.hello.version_min = 2, a.hello.version_max = 3;
  c.hello.version_min = 1, c.hello.version_max = 2;
  const auto address = b.listen();
  a.links->dial(address, std::nullopt);
  c.links->dial(address, std::nullopt);
  ASSERT_TRUE(until([&] { return !a.dial_failures.empty() && c.up().size() == 1; }));
  EXPECT_NE(a.dial_failures[0].find("link versions 2 to 3 and 1 to 1"), std::string::npos) << a.dial_failures[0];
  EXPECT_EQ(b.ended(LinkEnd::version), 1u);
}

TEST_F(LinksTest, TheOverlayDecidesWhoIsAdmitted) {
  TestNode a(io, 1), b(io, 2), c(io, 3);
  b.admits = LinkClass::refused;
  a.links->dial(b.listen(), std::nullopt);
  ASSERT_TRUE(until([&] { return !a.dial_failures.empty(); }));
  EXPECT_EQ(a.dial_failures[0], "closed by the peer: this node is not admitted");
  EXPECT_EQ(b.ended(LinkEnd::not_admitted), 1u);
  // The dialler refuses, too: the other end sees its link end.
  c.admits = LinkClass::refused;
  b.admits = LinkClass::member;
  c.links->dial(b.listen(), std::nullopt);
  ASSERT_TRUE(until([&] { return !c.dial_failures.empty() && b.downs.size() == 1; }));
  EXPECT_EQ(b.downs[0], "closed by the peer: this node is not admitted");
}

TEST_F(LinksTest, CloseSendsWhatIsQueuedAndTheReason) {
  TestNode a(io, 1), b(io, 2);
  join(a, b);
  const Bytes big(1 << 20, 42);
  const auto link = a.up()[0].link;
  a.links->send(link, FrameType::batch, {big});
  a.links->send(link, FrameType::submit, {as_bytes("last")});
  a.links->close(link, "done here");
  a.links->send(link, FrameType::submit, {as_bytes("too late")});
  EXPECT_TRUE(a.downs.empty()) << "an event from inside a call";
  ASSERT_TRUE(until([&] { return a.downs.size() == 1 && b.downs.size() == 1; }));
  EXPECT_EQ(a.downs[0], "done here");
  EXPECT_EQ(b.downs[0], "closed by the peer: done here");
  ASSERT_EQ(b.frames.size(), 2u);
  EXPECT_EQ(b.frames[0].body, big);
  EXPECT_EQ(as_text(b.frames[1].body), "last");
}

TEST_F(LinksTest, CloseReachesAPeerThatIsSending) {
  TestNode a(io, 1), b(io, 2);
  join(a, b);
  const Bytes piece(100'000, 1);
  b.links->send(b.up()[0].link, FrameType::batch, {piece});
  ASSERT_TRUE(until([&] { return a.frames.size() == 1; }));
  b.links->send(b.up()[0].link, FrameType::batch, {Bytes(2 << 20, 1)});
  a.links->close(a.up()[0].link, "enough");
  ASSERT_TRUE(until([&] { return b.downs.size() == 1; }));
  EXPECT_EQ(b.downs[0], "closed by the peer: enough");
}

TEST_F(LinksTest, AFrameHandlerMaySendAndClose) {
  TestNode a(io, 1), b(io, 2);
  join(a, b);
  std::size_t seen = 0;
  b.on_frame = [&](LinkId link, FrameType, ByteView body) {
    if (++seen < 3) return b.links->send(link, FrameType::submitted, {body});
    b.links->close(link, "three are enough");
    b.links->close(link, "and again");
  };
  for (int i = 0; i < 10; ++i) a.links->send(a.up()[0].link, FrameType::submit, {as_bytes("x")});
  ASSERT_TRUE(until([&] { return a.downs.size() == 1 && b.downs.size() == 1; }));
  EXPECT_EQ(seen, 3u) << "a frame after close()";
  EXPECT_EQ(a.frames.size(), 2u);
  EXPECT_EQ(b.downs[0], "three are enough");
}

TEST_F(LinksTest, ALinkUpHandlerMayCloseAndShutDown) {
  TestNode a(io, 1), b(io, 2), c(io, 3), d(io, 4);
  b.on_up = [&](const TestNode::Up& up) { b.links->close(up.link, "no"); };
  a.links->dial(b.listen(), std::nullopt);
  ASSERT_TRUE(until([&] { return b.downs.size() == 1 && a.downs.size() == 1; }));
  d.on_up = [&](const TestNode::Up&) { d.links->shut_down(); };
  c.links->dial(d.listen(), std::nullopt);
  ASSERT_TRUE(until([&] { return d.downs.size() == 1 && c.downs.size() == 1; }));
  EXPECT_EQ(c.downs[0], "closed by the peer: this node stops");
}

TEST_F(LinksTest, ShutDownTellsPeersAndLeavesNoWork) {
  {
    TestNode a(io, 1), b(io, 2), c(io, 3);
    join(a, b);
    a.links->dial(c.listen(), std::nullopt);  // on its way
    a.links->shut_down();
    b.links->shut_down();
    c.links->shut_down();
    io.restart();
    EXPECT_LT(io.run_for(std::chrono::seconds(10)), 1000u);
    EXPECT_TRUE(io.stopped()) << "work is left";
    EXPECT_EQ(a.downs, std::vector<std::string>{"this node stops"});
    EXPECT_EQ(a.dial_failures.size(), 1u);
    EXPECT_EQ(b.downs.size(), 1u);
  }
  io.restart();
  io.poll();
}

TEST_F(LinksTest, DestructionInTheMiddleIsSafe) {
  TestNode a(io, 1), b(io, 2), c(io, 3);
  join(a, b);
  const auto address = c.listen();
  for (int i = 0; i < 5; ++i) a.links->dial(address, std::nullopt);
  a.links->dial("localhost:9", std::nullopt);
  a.links->send(a.up()[0].link, FrameType::batch, {Bytes(2 << 20, 1)});
  a.links->flush();
  a.links->close(a.up()[0].link, "bye");
  a.links.reset();
  EXPECT_TRUE(until([&] { return b.downs.size() == 1; }));
  EXPECT_TRUE(a.downs.empty());
}

// Two links to one node -------------------------------------------------------------------------------------------

TEST_F(LinksTest, WhenBothDialAtOnceExactlyOneLinkStays) {
  for (std::uint64_t round = 0; round < 20; ++round) {
    TestNode a(io, 100 + 2 * round), b(io, 101 + 2 * round);
    const auto at_a = a.listen(), at_b = b.listen();
    a.links->dial(at_b, b.key.node_id());
    b.links->dial(at_a, a.key.node_id());
    const auto settled = [&] {
      return a.up().size() == 1 && b.up().size() == 1 && a.links->stats().half_open + a.links->stats().dials == 0 &&
             b.links->stats().half_open + b.links->stats().dials == 0;
    };
    ASSERT_TRUE(until(settled));
    auto& smaller = a.key.node_id() < b.key.node_id() ? a : b;
    auto& greater = &smaller == &a ? b : a;
    EXPECT_TRUE(smaller.up()[0].dialled);
    EXPECT_FALSE(greater.up()[0].dialled);
    // The one that both kept carries frames.
    a.links->send(a.up()[0].link, FrameType::submit, {as_bytes("x")});
    b.links->send(b.up()[0].link, FrameType::submit, {as_bytes("y")});
    ASSERT_TRUE(until([&] { return a.frames.size() == 1 && b.frames.size() == 1; }));
  }
}

TEST_F(LinksTest, WhoeverIsGreaterDialsLaterKeepsTheLinkThatIsUp) {
  TestNode a(io, 1), b(io, 2);
  auto& smaller = a.key.node_id() < b.key.node_id() ? a : b;
  auto& greater = &smaller == &a ? b : a;
  join(smaller, greater);
  greater.links->dial(smaller.listen(), smaller.key.node_id());
  ASSERT_TRUE(until([&] { return greater.dial_failures.size() == 1; }));
  EXPECT_EQ(greater.dial_failures[0], "already linked to this node");
  EXPECT_EQ(smaller.ups + greater.ups, 2u);
  EXPECT_TRUE(smaller.downs.empty() && greater.downs.empty());
}

TEST_F(LinksTest, ARestartedPeerReplacesItsOldLink) {
  TestNode a(io, 1), b(io, 2);
  join(b, a);
  const auto old_link = a.up()[0].link;
  TestNode reborn(io, 2);  // the same key, another life; the old one never said good-bye
  reborn.hello.instance = a.random.id<InstanceId>();
  reborn.links->dial(a.listen(), a.key.node_id());
  ASSERT_TRUE(until([&] { return a.ups == 2 && reborn.up().size() == 1; }));
  ASSERT_EQ(a.up().size(), 1u);
  EXPECT_NE(a.up()[0].link, old_link);
  EXPECT_EQ(a.up()[0].hello.instance, reborn.hello.instance);
  EXPECT_EQ(a.ended(LinkEnd::replaced), 1u);
  EXPECT_EQ(a.downs, std::vector<std::string>{"replaced by a newer link"});
  EXPECT_TRUE(until([&] { return b.downs.size() == 1; }));
}

TEST_F(LinksTest, ALostLinkIsReplacedByTheDiallersNewOne) {
  // The same life dials again: it has lost the link, whatever we believe.
  TestNode a(io, 1), b(io, 2), b_again(io, 2);
  join(b, a);
  ASSERT_EQ(b_again.hello.instance, b.hello.instance);
  b_again.links->dial(a.listen(), a.key.node_id());
  ASSERT_TRUE(until([&] { return a.ups == 2 && b_again.up().size() == 1; }));
  EXPECT_EQ(a.up().size(), 1u);
  EXPECT_EQ(a.ended(LinkEnd::replaced), 1u);
}

// Silence and deadlines -------------------------------------------------------------------------------------------

// One life ------------------------------------------------------------------------------------------------------

/// A node and a copy of it (same key, another process) both dial `peer`.
struct CopiedNodeTest : LinksTest {
  TestNode peer{io, 1}, original{io, 2}, copy{io, 2};

  void SetUp() override {
    copy.random = SeededRandom(99);
    copy.hello.instance = copy.random.id<InstanceId>();
    address = peer.listen();
  }
  void dial(TestNode& from) { from.links->dial(address, peer.key.node_id()); }
  std::string address;
};

TEST_F(CopiedNodeTest, BothProcessesLearnOfEachOtherWithProof) {
  dial(original);
  ASSERT_TRUE(run_until(io, [&] { return peer.up().size() == 1 && original.up().size() == 1; }));
  dial(copy);
  ASSERT_TRUE(run_until(io, [&] { return !original.twice.empty() && !copy.twice.empty() && !peer.twice.empty(); }));
  for (const auto* node : {&original, &copy}) {
    const RunsTwice& what = node->twice.at(0);
    const TestNode& other = node == &original ? copy : original;
    EXPECT_EQ(what.node, node->key.node_id());
    EXPECT_EQ(what.told_by, peer.key.node_id());
    EXPECT_EQ(what.other, other.hello.instance);
    // Whoever has the proof can check it: the other one signed what this one had made up.
    const auto statement = decode_life(ByteView(what.proof).subspan(LifeNonce::size)).value();
    EXPECT_TRUE(statement.answers(*LifeNonce::from(ByteView(what.proof).first(LifeNonce::size)), what.node,
                                  node->hello.network));
    EXPECT_TRUE(what.address.starts_with("127.0.0.1:")) << what.address;
  }
  EXPECT_EQ(peer.twice.at(0).node, original.key.node_id());
  // The newer one keeps its link; the other one gets none against it, and is told why.
  ASSERT_TRUE(run_until(io, [&] { return original.up().empty(); }));
  dial(original);
  ASSERT_TRUE(run_until(io, [&] { return !original.dial_failures.empty(); }));
  EXPECT_NE(original.dial_failures.at(0).find("another process with this node's key"), std::string::npos)
      << original.dial_failures.at(0);
  EXPECT_EQ(peer.up().size(), 1u);
  EXPECT_EQ(copy.up().size(), 1u);
  EXPECT_EQ(peer.twice.size(), 1u);
}

TEST_F(CopiedNodeTest, ASnapshotThatRunsOnHasTheSameInstanceAndIsFoundToo) {
  copy.hello.instance = original.hello.instance;
  dial(original);
  ASSERT_TRUE(run_until(io, [&] { return peer.up().size() == 1 && original.up().size() == 1; }));
  dial(copy);
  EXPECT_TRUE(run_until(io, [&] { return !original.twice.empty() && !copy.twice.empty(); }));
}

TEST_F(CopiedNodeTest, ARestartedNodeIsNoCopy) {
  dial(original);
  ASSERT_TRUE(run_until(io, [&] { return original.up().size() == 1; }));
  const InstanceId before = peer.up().at(0).hello.instance;
  original.links.reset();  // without a word: its end of the connection is gone
  dial(copy);
  ASSERT_TRUE(run_until(io, [&] { return copy.up().size() == 1 && peer.up().size() == 1; }));
  EXPECT_NE(peer.up().at(0).hello.instance, before);
  EXPECT_FALSE(run_until(
      io, [&] { return !copy.twice.empty() || !peer.twice.empty(); }, std::chrono::seconds(1)));
}

TEST(Life, NobodyIsMadeToBelieveItByWhatItSignedItself) {
  SeededRandom random(7);
  const KeyPair key = KeyPair::generate(random);
  NetworkId network;
  OwnLife life(key, random), copy(key, random);
  const Monotonic now{};
  const auto first = life.answer(random.id<LifeNonce>(), {}, network, now).value();
  EXPECT_FALSE(life.answer(first.nonce, {}, network, now)) << "only another process answers what this one made up";
  EXPECT_FALSE(life.proof_in(encode_life_twin(first, "here"), network)) << "an answer to something else";
  const KeyPair stranger = KeyPair::generate(random);
  OwnLife liar(stranger, random);
  EXPECT_FALSE(life.proof_in(encode_life_twin(liar.answer(first.nonce, {}, network, now).value(), "x"), network));
  const auto other = copy.answer(first.nonce, {}, network, now).value();
  EXPECT_TRUE(life.proof_in(encode_life_twin(other, "there"), network));
  Bytes bent = encode_life_twin(other, "there");
  for (std::size_t at = 0; at < 112; ++at) {
    bent[at] ^= 1;
    EXPECT_FALSE(life.proof_in(bent, network)) << at;
    bent[at] ^= 1;
  }
  for (int i = 0; i < 20; ++i) life.answer(random.id<LifeNonce>(), {}, network, now);
  EXPECT_FALSE(life.answer(random.id<LifeNonce>(), {}, network, now)) << "it does not sign as often as it is asked";
  EXPECT_TRUE(life.answer(random.id<LifeNonce>(), {}, network, now + std::chrono::seconds(11)));
}

// Silence -------------------------------------------------------------------------------------------------------

TEST_F(LinksTest, PingsKeepAnIdleLinkAndMeasureIt) {
  auto times = short_times();
  TestNode a(io, 1, times), b(io, 2, times);
  join(a, b);
  const auto link = a.up()[0].link;
  EXPECT_FALSE(a.links->round_trip(link));
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(until([&] { return std::chrono::steady_clock::now() - start > 3 * times.silence_max; }));
  EXPECT_EQ(a.up().size(), 1u);
  EXPECT_TRUE(a.links->round_trip(link) || b.links->round_trip(b.up()[0].link));
  EXPECT_TRUE(a.frames.empty() && b.frames.empty()) << "pings are none of the overlay's business";
}

TEST_F(LinksTest, APeerThatVanishesIsNoticed) {
  asio::io_context elsewhere;  // its loop stops: the process hangs, or its cable is cut
  TestNode a(io, 1, short_times()), b(elsewhere, 2, short_times());
  const auto address = b.listen();
  a.links->dial(address, std::nullopt);
  ASSERT_TRUE(until([&] {
    elsewhere.poll();
    return a.up().size() == 1 && b.up().size() == 1;
  }));
  ASSERT_TRUE(until([&] { return a.downs.size() == 1; }));
  EXPECT_EQ(a.downs[0], "nothing heard for 400 ms");
  EXPECT_EQ(a.ended(LinkEnd::silent), 1u);
}

TEST_F(LinksTest, APeerThatClosesItsSocketIsNoticed) {
  TestNode a(io, 1), b(io, 2);
  join(a, b);
  b.links.reset();
  ASSERT_TRUE(until([&] { return a.downs.size() == 1; }));
  EXPECT_EQ(a.ended(LinkEnd::lost), 1u);
}

TEST_F(LinksTest, ADeadLinkKeptAgainstANewOneFailsItsChallenge) {
  auto times = short_times();
  times.silence_max = milliseconds(60'000);
  times.ping_interval = milliseconds(30'000);
  asio::io_context elsewhere;
  std::uint64_t seed = 2;  // the smaller NodeId dials, so that its link would stay
  while (KeyPair::generate(*std::make_unique<SeededRandom>(seed)).node_id() <
         KeyPair::generate(*std::make_unique<SeededRandom>(1)).node_id())
    ++seed;
  TestNode a(io, 1, times), b(elsewhere, seed, times);
  a.links->dial(b.listen(), std::nullopt);
  ASSERT_TRUE(until([&] {
    elsewhere.poll();
    return a.up().size() == 1 && b.up().size() == 1;
  }));
  TestNode b_again(io, seed, times);  // b lost its link without a trace and dials
  b_again.links->dial(a.listen(), std::nullopt);
  ASSERT_TRUE(until([&] { return b_again.dial_failures.size() == 1; }));
  ASSERT_TRUE(until([&] { return a.downs.size() == 1; }));
  EXPECT_EQ(a.ended(LinkEnd::silent), 1u);
}

TEST_F(LinksTest, EnrollingStrangersHaveATimeAndASizeLimit) {
  TestNode a(io, 1), b(io, 2, short_times());
  b.admits = LinkClass::enrolling;
  join(a, b);
  EXPECT_EQ(b.up()[0].kind, LinkClass::enrolling);
  a.links->send(a.up()[0].link, FrameType::submit, {Bytes(limits::entry_bytes_max, 1)});
  ASSERT_TRUE(until([&] { return b.frames.size() == 1; }));
  ASSERT_TRUE(until([&] { return b.downs.size() == 1; }));
  EXPECT_EQ(b.downs[0], "enrolling took too long");

  a.links->dial(b.listen(), std::nullopt);
  ASSERT_TRUE(until([&] { return b.ups == 2 && a.ups == 2; }));
  a.links->send(a.up()[0].link, FrameType::submit, {Bytes(limits::enrolling_frame_bytes_max, 1)});
  ASSERT_TRUE(until([&] { return b.ended(LinkEnd::violation) == 1; }));
}

TEST_F(LinksTest, EnrollingStrangersNeverCrowdMembersOut) {
  TestNode b(io, 1);
  const auto address = b.listen();
  b.admits = LinkClass::enrolling;
  std::vector<std::unique_ptr<TestNode>> strangers;
  for (std::size_t i = 0; i < limits::enrolling_links_max; ++i) {
    strangers.push_back(std::make_unique<TestNode>(io, 10 + i));
    strangers.back()->links->dial(address, std::nullopt);
    ASSERT_TRUE(until([&] { return b.up().size() == i + 1; }));
  }
  TestNode one_more(io, 100), member(io, 101);
  one_more.links->dial(address, std::nullopt);
  ASSERT_TRUE(until([&] { return one_more.dial_failures.size() == 1; }));
  EXPECT_NE(one_more.dial_failures[0].find("too many strangers"), std::string::npos);
  b.admits = LinkClass::member;
  member.links->dial(address, std::nullopt);
  EXPECT_TRUE(until([&] { return member.up().size() == 1; }));
  // A place becomes free again.
  strangers.pop_back();
  b.admits = LinkClass::enrolling;
  ASSERT_TRUE(until([&] { return b.downs.size() == 1; }));
  one_more.links->dial(address, std::nullopt);
  EXPECT_TRUE(until([&] { return one_more.up().size() == 1; }));
}

// Volume ----------------------------------------------------------------------------------------------------------

TEST_F(LinksTest, MuchArrivesIntactInOrderAndInBoundedMemory) {
  TestNode a(io, 1), b(io, 2);
  join(a, b);
  constexpr std::size_t total = 200 << 20;
  SeededRandom sizes(5);
  Bytes pattern((4 << 20) + 256);
  SeededRandom(6).fill(pattern);
  const auto link = a.up()[0].link;

  // Mostly small, some large, one in a thousand as large as a frame can be.
  const auto next_size = [](SeededRandom& random) -> std::size_t {
    const auto draw = random.u64();
    if (draw % 1000 == 0) return limits::frame_bytes_max - 1;
    if (draw % 20 == 0) return draw / 1000 % 200'000;
    return draw / 1000 % 300;
  };
  std::uint64_t sent_count = 0, sent_bytes = 0;
  std::size_t unsent_max = 0;
  const auto fill = [&](LinkId) {
    while (sent_bytes < total && a.links->unsent_bytes(link) < limits::link_bulk_bytes_max) {
      const auto size = next_size(sizes);
      Bytes number;
      ByteWriter(number).u64(sent_count);
      const auto body = ByteView(pattern).subspan(sent_count % 251, std::max<std::size_t>(size, 8) - 8);
      a.links->send(link, FrameType::batch, {number, body});
      ++sent_count;
      sent_bytes += body.size() + 8;
      unsent_max = std::max(unsent_max, a.links->unsent_bytes(link));
    }
  };
  SeededRandom expected_sizes(5);
  std::uint64_t got_count = 0, got_bytes = 0, wrong = 0;
  b.on_frame = [&](LinkId, FrameType, ByteView body) {
    const auto size = std::max<std::size_t>(next_size(expected_sizes), 8);
    ByteReader in(body);
    if (in.u64() != got_count || body.size() != size ||
        !equal(in.rest(), ByteView(pattern).subspan(got_count % 251, size - 8)))
      ++wrong;
    ++got_count;
    got_bytes += body.size();
  };
  a.on_writable = fill;
  fill(link);
  ASSERT_TRUE(run_until(
      io, [&] { return got_bytes >= total && got_count == sent_count; }, std::chrono::seconds(100)));
  EXPECT_EQ(wrong, 0u);
  EXPECT_LE(unsent_max, limits::link_bulk_bytes_max + limits::frame_bytes_max + 4);
  EXPECT_GT(a.writables, 10u);
}

TEST_F(LinksTest, ASlowReaderIsClosedAtTheBound) {
  asio::io_context elsewhere;
  TestNode a(io, 1), b(elsewhere, 2);
  a.links->dial(b.listen(), std::nullopt);
  ASSERT_TRUE(until([&] {
    elsewhere.poll();
    return a.up().size() == 1 && b.up().size() == 1;
  }));
  const auto link = a.up()[0].link;
  const Bytes piece(1 << 20, 9);
  std::size_t sent = 0;
  ASSERT_TRUE(until([&] {
    EXPECT_LE(a.links->unsent_bytes(link), limits::link_output_bytes_max);
    if (a.downs.empty() && ++sent < 1000) a.links->send(link, FrameType::batch, {piece});
    return a.downs.size() == 1;
  }));
  EXPECT_EQ(a.ended(LinkEnd::overflow), 1u);
  EXPECT_EQ(a.links->unsent_bytes(link), 0u);
}

}  // namespace
}  // namespace diot
