// MQTT over real sockets: what the shell between TCP and the broker has to do.

#include "bridge/listener.hpp"

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using asio::ip::tcp;

struct ListenerTest : testing::Test {
  ListenerTest() : world(), listener(Listener::open(io, *world.broker, {"127.0.0.1", 0}).value()) {}

  tcp::socket connect() {
    tcp::socket socket(io);
    socket.connect({asio::ip::make_address("127.0.0.1"), listener->address().port});
    return socket;
  }
  /// Runs the loop, turn by turn, until the condition holds.
  void until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "waited in vain";
      io.restart();
      io.poll();
      world.run();
    }
  }
  /// What the broker sends to this socket, until there are `size` bytes or it closes.
  Bytes read(tcp::socket& socket, std::size_t size) {
    Bytes all;
    bool closed = false;
    socket.non_blocking(true);
    until([&] {
      Bytes piece(1 << 16);
      std::error_code error;
      const auto got = socket.read_some(asio::buffer(piece), error);
      all.insert(all.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got));
      closed = error && error != asio::error::would_block;
      return closed || all.size() >= size;
    });
    return all;
  }
  static Bytes connect_packet(const std::string& id) {
    Connect connect;
    connect.protocol = Protocol::mqtt_3_1_1;
    connect.client_id = id;
    Bytes bytes;
    encode_connect(bytes, connect);
    return bytes;
  }

  World world;
  asio::io_context io;
  std::unique_ptr<Listener> listener;
};

TEST_F(ListenerTest, CarriesBytesBothWays) {
  auto socket = connect();
  asio::write(socket, asio::buffer(connect_packet("a")));
  EXPECT_EQ(to_hex(read(socket, 4)), "20020000");
  asio::write(socket, asio::buffer(*from_hex("c000c000")));
  EXPECT_EQ(to_hex(read(socket, 4)), "d000d000");
}

TEST_F(ListenerTest, TellsTheBrokerWhenAClientGoes) {
  auto socket = connect();
  asio::write(socket, asio::buffer(connect_packet("a")));
  read(socket, 4);
  EXPECT_EQ(world.broker->counts().clients_connected, 1u);
  socket.close();
  until([&] { return world.broker->counts().clients_connected == 0; });
  until([&] { return listener->connections() == 0; });
}

TEST_F(ListenerTest, TheLastWordsArriveAlthoughMoreWasSent) {
  auto socket = connect();
  Connect connect;
  connect.client_id = "a";
  Bytes bytes;
  encode_connect(bytes, connect);
  Bytes junk(200'000, 0);  // not a packet, and far more than is read
  append(bytes, junk);
  std::error_code ignored;
  socket.non_blocking(true);
  asio::write(socket, asio::buffer(bytes), ignored);
  const Bytes got = read(socket, 1 << 20);
  ASSERT_GE(got.size(), 3u);
  const auto connack = *next_packet(got, varint_max);
  ASSERT_TRUE(connack);
  const auto last = *next_packet(ByteView(got).subspan(connack->bytes), varint_max);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->type, PacketType::disconnect);
  EXPECT_EQ(decode_disconnect(*last, Protocol::mqtt_5)->reason, Reason::malformed_packet);
}

TEST_F(ListenerTest, LargeMessagesPassToAClientThatReadsLate) {
  auto sub = connect(), pub = connect();
  asio::write(sub, asio::buffer(connect_packet("sub")));
  asio::write(pub, asio::buffer(connect_packet("pub")));
  read(sub, 4);
  read(pub, 4);
  Bytes bytes;
  encode_subscribe(bytes, Protocol::mqtt_3_1_1, {1, 0, {{"t", {Qos::at_least_once, {}, {}, {}}}}});
  asio::write(sub, asio::buffer(bytes));
  read(sub, 5);
  constexpr int count = 40;
  const Bytes payload(500'000, 'x');
  for (int at = 0; at < count; ++at) {
    PublishOut out;
    out.qos = Qos::at_least_once;
    out.packet_id = static_cast<PacketId>(at + 1);
    out.topic = "t";
    out.payload = payload;
    bytes.clear();
    encode_publish(bytes, Protocol::mqtt_3_1_1, out);
    std::size_t written = 0;
    pub.non_blocking(true);
    until([&] {
      std::error_code error;
      written += pub.write_some(asio::buffer(bytes.data() + written, bytes.size() - written), error);
      return written == bytes.size();
    });
  }
  EXPECT_EQ(read(pub, 4 * count).size(), 4u * count);
  const std::size_t packet = publish_bytes(Protocol::mqtt_3_1_1, [&] {
    PublishOut out;
    out.qos = Qos::at_least_once;
    out.topic = "t";
    out.payload = payload;
    return out;
  }());
  EXPECT_EQ(read(sub, packet * count).size(), packet * count);
}

TEST_F(ListenerTest, StopsAcceptingButKeepsItsClients) {
  auto socket = connect();
  asio::write(socket, asio::buffer(connect_packet("a")));
  read(socket, 4);
  listener->stop();
  tcp::socket late(io);
  std::error_code error;
  late.connect({asio::ip::make_address("127.0.0.1"), listener->address().port}, error);
  EXPECT_TRUE(error);
  asio::write(socket, asio::buffer(*from_hex("c000")));
  EXPECT_EQ(to_hex(read(socket, 2)), "d000");
}

TEST_F(ListenerTest, EndsWithItsClients) {
  auto socket = connect();
  asio::write(socket, asio::buffer(connect_packet("a")));
  read(socket, 4);
  listener.reset();
  EXPECT_EQ(read(socket, 1).size(), 0u);
}

TEST_F(ListenerTest, RefusesAddressesThatItMustNotOrCannotHave) {
  const auto open = Listener::open(io, *world.broker, {"0.0.0.0", 0});
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, Errc::not_available);
  const auto taken = Listener::open(io, *world.broker, {"127.0.0.1", listener->address().port});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Errc::io);
  EXPECT_NE(taken.error().message.find("another port"), std::string::npos);
}

}  // namespace
}  // namespace diot
