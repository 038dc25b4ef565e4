#include "dht/udp_sockets.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace diot {
namespace {

using namespace std::chrono_literals;
using asio::ip::udp;

TEST(SplitAddress, TakesHostAndPortApart) {
  EXPECT_EQ(split_address("127.0.0.1:80"), std::pair(std::string("127.0.0.1"), std::string("80")));
  EXPECT_EQ(split_address("[::1]:65535"), std::pair(std::string("::1"), std::string("65535")));
  EXPECT_EQ(split_address("home.example:1"), std::pair(std::string("home.example"), std::string("1")));
  for (auto bad : {"", ":", "x", "x:", ":1", "x:65536", "x:-1", "x:1a", "::1:80", "[::1]", "[::1", "[]:1", "a]:1"})
    EXPECT_FALSE(split_address(bad)) << bad;
}

class UdpSocketsTest : public ::testing::Test {
 protected:
  std::shared_ptr<UdpSockets> open(const std::string& address) {
    auto out = std::make_shared<UdpSockets>(io_);
    const auto listening = out->listen(address);
    EXPECT_TRUE(listening) << listening.error().message;
    return out;
  }
  template <class Condition>
  bool wait_for(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (!condition() && std::chrono::steady_clock::now() < end) io_.restart(), io_.run_one_for(100ms);
    return condition();
  }
  asio::io_context io_;
};

TEST_F(UdpSocketsTest, CarriesDatagramsOfBothFamilies) {
  for (const std::string host : {"127.0.0.1", "[::1]"}) {
    auto a = open(host + ":0"), b = open(host + ":0");
    const auto to = host[0] == '[' ? b->local_v6() : b->local_v4();
    const auto from = host[0] == '[' ? a->local_v6() : a->local_v4();
    std::vector<std::string> got;
    b->start([&](ByteView datagram, const udp::endpoint& sender) {
      got.emplace_back(as_text(datagram));
      EXPECT_EQ(sender, from);
    });
    EXPECT_EQ(a->send_to(to, as_bytes("one")), 0);
    EXPECT_EQ(a->send_to(to, Bytes(60'000, 'x')), 0);
    ASSERT_TRUE(wait_for([&] { return got.size() == 2; })) << host;
    EXPECT_EQ(got[0], "one");
    EXPECT_EQ(got[1].size(), 60'000);
  }
}

TEST_F(UdpSocketsTest, SaysWhatIsWrongWithAnAddress) {
  UdpSockets socket(io_);
  EXPECT_EQ(socket.listen("nonsense").error().code, Errc::invalid);
  EXPECT_EQ(socket.listen("127.0.0.1").error().code, Errc::invalid);
  EXPECT_EQ(socket.listen("192.0.2.1:0").error().code, Errc::io);  // nobody's address
  ASSERT_TRUE(socket.listen("127.0.0.1:0"));
  EXPECT_EQ(socket.listen("127.0.0.1:0").error().code, Errc::exists);
  auto second = std::make_shared<UdpSockets>(io_);
  const auto taken = second->listen("127.0.0.1:" + std::to_string(socket.local_v4().port()));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Errc::io);
  EXPECT_NE(taken.error().message.find(std::to_string(socket.local_v4().port())), std::string::npos);
}

TEST_F(UdpSocketsTest, TakesBothFamiliesOnOnePortForTheAnyAddress) {
  auto socket = open("[::]:0");
  EXPECT_NE(socket->local_v4().port(), 0);
  EXPECT_EQ(socket->local_v6().port(), socket->local_v4().port());
}

TEST_F(UdpSocketsTest, SendsNothingWithoutASocketOfTheFamilyOrTooLarge) {
  auto socket = open("127.0.0.1:0");
  EXPECT_EQ(socket->send_to(udp::endpoint(udp::v6(), 9), as_bytes("x")), EAFNOSUPPORT);
  EXPECT_EQ(socket->send_to(socket->local_v4(), Bytes(65'508, 0)), EMSGSIZE);
}

TEST_F(UdpSocketsTest, MayBeClosedAndDroppedFromItsOwnCallback) {
  auto a = open("127.0.0.1:0"), b = open("127.0.0.1:0");
  int got = 0;
  b->start([&](ByteView, const udp::endpoint&) {
    ++got;
    b->close();
    b.reset();
  });
  const auto to = b->local_v4();
  for (int i = 0; i < 3; ++i) a->send_to(to, as_bytes("x"));
  ASSERT_TRUE(wait_for([&] { return got > 0; }));
  io_.restart();
  io_.poll();
  EXPECT_EQ(got, 1);
}

}  // namespace
}  // namespace diot
