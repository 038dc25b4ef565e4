#include "dht/sealed_socket.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "tests/core/keys.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using asio::ip::udp;
using testing::ConstantRandom;
using testing::SeededRandom;

DhtKey key(std::uint8_t byte = 1, std::uint32_t epoch = 3) {
  DhtKey out{epoch, {}};
  out.key.bytes.fill(byte);
  return out;
}

Bytes sealed_with(const DhtKey& with, std::string_view plain) {
  SeededRandom random(5);
  Bytes out;
  seal_datagram(with, random, as_bytes(plain), out);
  return out;
}

TEST(SealedDatagram, OpensWithTheSameKeyOnly) {
  const auto datagram = sealed_with(key(), "hello");
  EXPECT_EQ(datagram.size(), 5 + sealed::overhead_bytes);
  Bytes plain;
  ASSERT_TRUE(open_datagram(key(), datagram, plain));
  EXPECT_EQ(as_text(plain), "hello");
  EXPECT_FALSE(open_datagram(key(2), datagram, plain));
  EXPECT_FALSE(open_datagram(key(1, 4), datagram, plain));
}

TEST(SealedDatagram, MayBeEmpty) {
  Bytes plain{1, 2, 3};
  ASSERT_TRUE(open_datagram(key(), sealed_with(key(), ""), plain));
  EXPECT_TRUE(plain.empty());
}

TEST(SealedDatagram, IsRefusedChangedOrCutOff) {
  const auto datagram = sealed_with(key(), "hello");
  Bytes plain;
  for (std::size_t i = 0; i < datagram.size(); ++i) {
    auto changed = datagram;
    changed[i] ^= 1;
    EXPECT_FALSE(open_datagram(key(), changed, plain)) << i;
    EXPECT_FALSE(open_datagram(key(), ByteView(datagram).first(i), plain)) << i;
  }
}

TEST(SealedDatagram, HasTheDocumentedBytes) {
  ConstantRandom random(0x22);
  Bytes datagram;
  seal_datagram(key(0x11, 0x01020304), random, as_bytes("diot"), datagram);
  EXPECT_EQ(to_hex(datagram),
            "0101020304222222222222222222222222222222222222222222222222e70e88789b58711ca428af5043f78bac3efd14d0");
}

TEST(SplitAddress, TakesHostAndPortApart) {
  EXPECT_EQ(split_address("127.0.0.1:80"), std::pair(std::string("127.0.0.1"), std::string("80")));
  EXPECT_EQ(split_address("[::1]:65535"), std::pair(std::string("::1"), std::string("65535")));
  EXPECT_EQ(split_address("home.example:1"), std::pair(std::string("home.example"), std::string("1")));
  for (auto bad : {"", ":", "x", "x:", ":1", "x:65536", "x:-1", "x:1a", "::1:80", "[::1]", "[::1", "[]:1", "a]:1"})
    EXPECT_FALSE(split_address(bad)) << bad;
}

class SealedSocketTest : public ::testing::Test {
 protected:
  std::shared_ptr<SealedSocket> open(const std::string& address, const DhtKey& with = key()) {
    auto out = std::make_shared<SealedSocket>(io_, with, random_);
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
  SeededRandom random_{1};
};

TEST_F(SealedSocketTest, CarriesDatagramsOfBothFamilies) {
  for (const std::string host : {"127.0.0.1", "[::1]"}) {
    auto a = open(host + ":0"), b = open(host + ":0");
    const auto to = host[0] == '[' ? b->local_v6() : b->local_v4();
    const auto from = host[0] == '[' ? a->local_v6() : a->local_v4();
    std::vector<std::string> got;
    b->start([&](ByteView plain, const udp::endpoint& sender) {
      got.emplace_back(as_text(plain));
      EXPECT_EQ(sender, from);
    });
    EXPECT_EQ(a->send_to(to, as_bytes("one")), 0);
    EXPECT_EQ(a->send_to(to, Bytes(60'000, 'x')), 0);
    ASSERT_TRUE(wait_for([&] { return got.size() == 2; })) << host;
    EXPECT_EQ(got[0], "one");
    EXPECT_EQ(got[1].size(), 60'000);
  }
}

TEST_F(SealedSocketTest, CountsWhatAStrangerSendsAndShowsItToNobody) {
  auto socket = open("127.0.0.1:0");
  std::vector<std::string> got;
  socket->start([&](ByteView plain, const udp::endpoint&) { got.emplace_back(as_text(plain)); });
  udp::socket stranger(io_, udp::endpoint(udp::v4(), 0));
  const auto right = sealed_with(key(), "right");
  auto wrong_version = right;
  wrong_version[0] = 2;
  for (const Bytes& bytes : {to_bytes("d1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q4:pinge"), Bytes(), Bytes(2000, 0xff),
                             sealed_with(key(9), "wrong key"), sealed_with(key(1, 2), "wrong epoch"), wrong_version,
                             to_bytes(ByteView(right).first(right.size() - 1)), right})
    stranger.send_to(asio::buffer(bytes), socket->local_v4());
  ASSERT_TRUE(wait_for([&] { return !got.empty(); }));
  EXPECT_EQ(got, std::vector<std::string>{"right"});
  EXPECT_EQ(socket->refused(), 7);
}

TEST_F(SealedSocketTest, SaysWhatIsWrongWithAnAddress) {
  SealedSocket socket(io_, key(), random_);
  EXPECT_EQ(socket.listen("nonsense").error().code, Errc::invalid);
  EXPECT_EQ(socket.listen("127.0.0.1").error().code, Errc::invalid);
  EXPECT_EQ(socket.listen("192.0.2.1:0").error().code, Errc::io);  // nobody's address
  ASSERT_TRUE(socket.listen("127.0.0.1:0"));
  EXPECT_EQ(socket.listen("127.0.0.1:0").error().code, Errc::exists);
  auto second = std::make_shared<SealedSocket>(io_, key(), random_);
  const auto taken = second->listen("127.0.0.1:" + std::to_string(socket.local_v4().port()));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Errc::io);
  EXPECT_NE(taken.error().message.find(std::to_string(socket.local_v4().port())), std::string::npos);
}

TEST_F(SealedSocketTest, TakesBothFamiliesOnOnePortForTheAnyAddress) {
  auto socket = open("[::]:0");
  EXPECT_NE(socket->local_v4().port(), 0);
  EXPECT_EQ(socket->local_v6().port(), socket->local_v4().port());
}

TEST_F(SealedSocketTest, SendsNothingWithoutASocketOfTheFamilyOrTooLarge) {
  auto socket = open("127.0.0.1:0");
  EXPECT_EQ(socket->send_to(udp::endpoint(udp::v6(), 9), as_bytes("x")), EAFNOSUPPORT);
  EXPECT_EQ(socket->send_to(socket->local_v4(), Bytes(65'500, 0)), EMSGSIZE);
}

TEST_F(SealedSocketTest, MayBeClosedAndDroppedFromItsOwnCallback) {
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
