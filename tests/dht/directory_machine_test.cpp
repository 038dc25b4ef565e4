#include "dht/directory_machine.hpp"

#include <gtest/gtest.h>

#include <deque>

#include "dht/sealed_datagram.hpp"
#include "tests/core/keys.hpp"

namespace diot {
namespace {

using Endpoint = DirectoryMachine::Endpoint;
using testing::SeededRandom;
using testing::test_key;

const NetworkId network = SeededRandom(7).id<NetworkId>();
const Endpoint here(asio::ip::address_v4(0x0a000001), 42220), there(asio::ip::address_v4(0x0a000002), 42220);

DhtKey dht_key(std::uint8_t byte = 1, std::uint32_t epoch = 3) {
  DhtKey out{epoch, {}};
  out.key.bytes.fill(byte);
  return out;
}

/// Keeps what a machine does.
struct Outside final : DirectoryMachine::Outside {
  int send(const Endpoint& to, ByteView datagram) override {
    sent.emplace_back(to, to_bytes(datagram));
    return 0;
  }
  void wake_at(Monotonic when) override { wake = when; }
  void look_up(const std::string& address) override { looked_up.push_back(address); }
  void post(std::function<void()> callback) override { posted.push_back(std::move(callback)); }

  std::deque<std::pair<Endpoint, Bytes>> sent;
  Monotonic wake{};
  std::vector<std::string> looked_up;
  std::deque<std::function<void()>> posted;
};

class DirectoryMachineTest : public ::testing::Test {
 protected:
  struct Node {
    Node(DirectoryMachineTest& test, std::uint64_t number, const Endpoint& at)
        : machine(
              outside, test_key(number).node_id(), network, dht_key(),
              [](DirectoryKind, ByteView, const NodeId&) { return true; }, test.clock_, test.random_) {
      machine.open(at, {});
    }
    Outside outside;
    DirectoryMachine machine;
  };
  static Bytes sealed_with(const DhtKey& key, ByteView plain) {
    SeededRandom random(5);
    Bytes out;
    seal_datagram(key, random, plain, out);
    return out;
  }
  /// Carries what `from` and `to` send until neither has more to say.
  static void talk(Node& from, Node& to) {
    for (int left = 1000; left > 0 && (!from.outside.sent.empty() || !to.outside.sent.empty()); --left) {
      for (auto [sender, receiver, address] : {std::tuple(&from, &to, here), std::tuple(&to, &from, there)}) {
        if (sender->outside.sent.empty()) continue;
        const auto datagram = std::move(sender->outside.sent.front());
        sender->outside.sent.pop_front();
        receiver->machine.receive(datagram.second, address);
      }
    }
  }
  SystemClock clock_;
  SeededRandom random_{1};
};

TEST_F(DirectoryMachineTest, SealsEveryDatagramThatItSends) {
  Node a(*this, 1, here);
  a.machine.ask(there);
  ASSERT_FALSE(a.outside.sent.empty());
  for (const auto& [to, datagram] : a.outside.sent) {
    Bytes plain;
    EXPECT_EQ(to, there);
    EXPECT_TRUE(open_datagram(dht_key(), datagram, plain));
  }
}

TEST_F(DirectoryMachineTest, CountsWhatAStrangerSendsAndSaysNothing) {
  Node a(*this, 1, here), b(*this, 2, there);
  b.machine.ask(here);
  const Bytes right = b.outside.sent.front().second;
  Bytes plain;
  ASSERT_TRUE(open_datagram(dht_key(), right, plain));
  auto wrong_version = right;
  wrong_version[0] = 2;
  for (const Bytes& bytes :
       {plain, Bytes(), Bytes(2000, 0xff), sealed_with(dht_key(9), plain), sealed_with(dht_key(1, 2), plain),
        wrong_version, to_bytes(ByteView(right).first(right.size() - 1)), sealed_with(dht_key(), as_bytes("x"))})
    a.machine.receive(bytes, there);
  EXPECT_EQ(a.machine.status().refused_datagrams, 8);
  EXPECT_TRUE(a.outside.sent.empty());
  a.machine.receive(right, there);
  EXPECT_EQ(a.machine.status().refused_datagrams, 8);
  EXPECT_FALSE(a.outside.sent.empty()) << "whoever has the key is answered";
}

TEST_F(DirectoryMachineTest, AsksNobodyInAFamilyThatItDoesNotHave) {
  Node a(*this, 1, here);
  a.machine.ask(Endpoint(asio::ip::address_v6::loopback(), 42220));
  EXPECT_TRUE(a.outside.sent.empty());
}

TEST_F(DirectoryMachineTest, WantsToBeWokenAndKnowsWhoAnswered) {
  Node a(*this, 1, here), b(*this, 2, there);
  EXPECT_GT(a.outside.wake, Monotonic());
  a.machine.ask(there);
  talk(a, b);
  EXPECT_EQ(a.machine.known_nodes(), std::vector<Endpoint>{there});
  EXPECT_EQ(b.machine.known_nodes(), std::vector<Endpoint>{here});
}

TEST_F(DirectoryMachineTest, LeavesItToItsOwnerWhatAnAddressMeans) {
  Node a(*this, 1, here);
  a.machine.add_contact("home.example:42220");
  EXPECT_EQ(a.outside.looked_up, std::vector<std::string>{"home.example:42220"});
}

TEST_F(DirectoryMachineTest, IsSilentAfterItsEnd) {
  Node a(*this, 1, here), b(*this, 2, there);
  b.machine.ask(here);
  bool called = false;
  a.machine.find(
      DirectoryKind::node, test_key(2).node_id(), [&](const DirectoryRecord&) { called = true; },
      [&] { called = true; });
  a.machine.shut_down();
  a.outside.sent.clear();
  a.machine.receive(b.outside.sent.front().second, there);
  a.machine.wake();
  a.machine.ask(there);
  for (const auto& callback : a.outside.posted) callback();
  EXPECT_TRUE(a.outside.sent.empty());
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace diot
