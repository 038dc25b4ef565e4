// MQTT over real sockets: what the shell between TCP and the broker has to do.

#include "bridge/listener.hpp"

#include <asio/connect.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include "bridge/tls.hpp"
#include "core/address.hpp"
#include "core/limits.hpp"
#include "tests/bridge/certificates.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using asio::ip::tcp;

struct ListenerTest : testing::Test {
  ListenerTest() : world(), listener(Listener::open(io, *world.broker, at("127.0.0.1:0")).value()) {}

  static ListenerConfig at(const std::string& address) {
    ListenerConfig config;
    config.listen = address;
    return config;
  }
  tcp::endpoint endpoint() const {
    return {asio::ip::make_address("127.0.0.1"), parse_address(listener->address())->port};
  }
  tcp::socket connect() {
    tcp::socket socket(io);
    socket.connect(endpoint());
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
  EXPECT_EQ(decode_disconnect(*last, Protocol::mqtt_5)->reason, Reason::protocol_error);
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
  late.connect(endpoint(), error);
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

/// The client's side of a listener that wraps what it carries: what `layers` say goes through a real socket.
struct WrappedTest : ListenerTest {
  template <class Socket>
  struct Wrapped {
    explicit Wrapped(Socket open) : socket(std::move(open)) {}
    Socket socket;
    std::unique_ptr<Tls> tls;  ///< null: none
    Bytes in;                  ///< what came, unwrapped
    bool closed = false;
    void write(ByteView bytes) {
      Bytes wire;
      if (tls)
        EXPECT_TRUE(tls->send(bytes, wire));
      else
        append(wire, bytes);
      asio::write(socket, asio::buffer(wire));
    }
    void read() {
      socket.non_blocking(true);
      Bytes piece(1 << 16);
      std::error_code error;
      piece.resize(socket.read_some(asio::buffer(piece), error));
      closed |= error && error != asio::error::would_block;
      if (!tls) return append(in, piece);
      Bytes answer;
      closed |= !tls->receive(piece, in, answer);
      if (!answer.empty()) asio::write(socket, asio::buffer(answer), error);
    }
  };
  void open(const ListenerConfig& config) {
    listener.reset();
    auto opened = Listener::open(io, *world.broker, config);
    ASSERT_TRUE(opened) << opened.error().message;
    listener = std::move(*opened);
  }
  auto plain() { return Wrapped<tcp::socket>(connect()); }
  auto over_tls() {
    auto client = plain();
    TlsClientConfig config;
    config.ca = files.path("ca.crt");
    client.tls = std::make_unique<Tls>(TlsContext::client(config).value(), "broker.example");
    Bytes hello;
    EXPECT_TRUE(client.tls->start(hello));
    asio::write(client.socket, asio::buffer(hello));
    until([&] { return client.read(), client.tls->established() || client.closed; });
    EXPECT_TRUE(client.tls->established());
    return client;
  }
  template <class Client>
  std::string answer_of(Client& client, std::size_t size) {
    until([&] { return client.read(), client.in.size() >= size || client.closed; });
    return to_hex(std::exchange(client.in, {}));
  }
  template <class Client>
  void upgrade(Client& client) {
    client.write(
        as_bytes("GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Protocol: mqtt\r\n\r\n"));
    until([&] { return client.read(), as_text(client.in).ends_with("\r\n\r\n"); });
    EXPECT_TRUE(as_text(client.in).starts_with("HTTP/1.1 101 "));
    client.in.clear();
  }
  /// With a mask of zeros.
  static Bytes framed(ByteView payload) {
    Bytes out{0x82, static_cast<std::uint8_t>(0x80 | payload.size()), 0, 0, 0, 0};
    append(out, payload);
    return out;
  }
  ListenerConfig with_tls(ListenerConfig config) {
    config.certificate = files.write("server.crt", authority.issue("broker.example", "server.key"));
    config.key = files.path("server.key");
    return config;
  }

  CertificateFiles files;
  CertificateAuthority authority{files, "ca"};
};

TEST_F(WrappedTest, Tls) {
  open(with_tls(at("127.0.0.1:0")));
  auto client = over_tls();
  client.write(connect_packet("a"));
  EXPECT_EQ(answer_of(client, 4), "20020000");
}

TEST_F(WrappedTest, WebSocket) {
  auto config = at("127.0.0.1:0");
  config.protocol = "websocket";
  open(config);
  auto client = plain();
  upgrade(client);
  client.write(framed(connect_packet("a")));
  EXPECT_EQ(answer_of(client, 6), "820420020000");
  client.write(*from_hex("81810000000000"));  // a text frame of one byte
  EXPECT_EQ(answer_of(client, 4), "880203eb");
  until([&] { return world.broker->counts().clients_connected == 0; });
}

TEST_F(WrappedTest, WebSocketOverTlsBehindAProxy) {
  auto config = with_tls(at("127.0.0.1:0"));
  config.protocol = "websocket";
  config.proxy_protocol = true;
  config.allow_anonymous = true;
  open(config);
  auto socket = connect();
  asio::write(socket, asio::buffer(*from_hex("0d0a0d0a000d0a515549540a2111000cc0000201c00002021234075b")));
  Wrapped<tcp::socket> client(std::move(socket));
  TlsClientConfig tls;
  tls.any_certificate = true;
  client.tls = std::make_unique<diot::Tls>(TlsContext::client(tls).value(), "broker.example");
  Bytes hello;
  ASSERT_TRUE(client.tls->start(hello));
  asio::write(client.socket, asio::buffer(hello));
  until([&] { return client.read(), client.tls->established() || client.closed; });
  upgrade(client);
  client.write(framed(connect_packet("a")));
  EXPECT_EQ(answer_of(client, 6), "820420020000");
  ASSERT_EQ(world.broker->sessions().size(), 1u);
  EXPECT_EQ(world.broker->sessions()[0].peer, "192.0.2.1:4660");
}

TEST_F(WrappedTest, UnixSocket) {
  auto config = at(files.path("mqtt.sock"));
  config.mode = "0600";
  open(config);
  EXPECT_EQ(std::filesystem::status(config.listen).permissions(), std::filesystem::perms(0600));
  asio::local::stream_protocol::socket socket(io);
  socket.connect(config.listen);
  Wrapped<asio::local::stream_protocol::socket> client(std::move(socket));
  client.write(connect_packet("a"));
  EXPECT_EQ(answer_of(client, 4), "20020000");
  // One that is served stays; one that was left behind goes.
  EXPECT_FALSE(Listener::open(io, *world.broker, config));
  listener.reset();
  EXPECT_FALSE(std::filesystem::exists(config.listen));
  asio::local::stream_protocol::acceptor left_behind(io, config.listen);
  left_behind.close();
  ASSERT_TRUE(std::filesystem::exists(config.listen));
  open(config);
  // And what is no socket is nobody's to remove.
  config.listen = files.write("file", "precious");
  EXPECT_FALSE(Listener::open(io, *world.broker, config));
  EXPECT_TRUE(std::filesystem::exists(config.listen));
}

TEST_F(WrappedTest, ItTakesNoMoreThanItsConnections) {
  auto config = at("127.0.0.1:0");
  config.max_connections = 1;
  open(config);
  auto first = plain(), second = plain();
  first.write(connect_packet("a"));
  EXPECT_EQ(answer_of(first, 4), "20020000");
  EXPECT_EQ(answer_of(second, 1), "");
  EXPECT_TRUE(second.closed);
}

TEST_F(WrappedTest, HandshakesOfOneHostAreBounded) {
  open(with_tls(at("127.0.0.1:0")));
  std::vector<Wrapped<tcp::socket>> silent;
  for (std::size_t count = 0; count <= limits::half_open_clients_per_address; ++count) silent.push_back(plain());
  until([&] { return silent.back().read(), silent.back().closed; });
  silent.front().read();
  EXPECT_FALSE(silent.front().closed);
  EXPECT_EQ(listener->connections(), limits::half_open_clients_per_address);
  EXPECT_EQ(world.broker->counts().sockets, 0u) << "the broker has heard of one that is not there yet";
}

TEST_F(WrappedTest, CertificatesAreReadAgainForNewConnections) {
  auto config = with_tls(at("127.0.0.1:0"));
  open(config);
  auto before = over_tls();
  files.write("server.crt", "nonsense");
  EXPECT_FALSE(listener->reload());
  over_tls();  // the old one is still good
  files.write("server.crt", authority.issue("other.example", "server.key"));
  ASSERT_TRUE(listener->reload());
  auto after = plain();
  TlsClientConfig tls;
  tls.ca = files.path("ca.crt");
  after.tls = std::make_unique<diot::Tls>(TlsContext::client(tls).value(), "other.example");
  Bytes hello;
  ASSERT_TRUE(after.tls->start(hello));
  asio::write(after.socket, asio::buffer(hello));
  until([&] { return after.read(), after.tls->established() || after.closed; });
  EXPECT_TRUE(after.tls->established());
  before.write(connect_packet("a"));
  EXPECT_EQ(answer_of(before, 4), "20020000");
}

TEST_F(WrappedTest, WhoseKeyIsTakenAwayIsDisconnected) {
  auto config = at("127.0.0.1:0");
  config.psk_file =
      files.write("keys", "lamp:00112233445566778899aabbccddeeff\nplug:ffeeddccbbaa99887766554433221100\n");
  config.identity_as_user = true;
  open(config);
  const auto with_key = [&](const std::string& identity, const std::string& key) {
    auto client = plain();
    TlsClientConfig tls;
    tls.psk_identity = identity;
    tls.psk = *from_hex(key);
    client.tls = std::make_unique<diot::Tls>(TlsContext::client(tls).value(), "");
    Bytes hello;
    EXPECT_TRUE(client.tls->start(hello));
    asio::write(client.socket, asio::buffer(hello));
    until([&] { return client.read(), client.tls->established() || client.closed; });
    client.write(connect_packet(identity));
    EXPECT_EQ(answer_of(client, 4), "20020000");
    return client;
  };
  auto lamp = with_key("lamp", "00112233445566778899aabbccddeeff");
  auto plug = with_key("plug", "ffeeddccbbaa99887766554433221100");
  files.write("keys", "plug:ffeeddccbbaa99887766554433221100\n");
  ASSERT_TRUE(listener->reload());
  until([&] { return lamp.read(), lamp.closed; });
  plug.write(*from_hex("c000"));
  EXPECT_EQ(answer_of(plug, 2), "d000");
  files.write("keys", "plug:00000000000000000000000000000000\n");
  ASSERT_TRUE(listener->reload());
  until([&] { return plug.read(), plug.closed; });
}

TEST_F(WrappedTest, HandshakesAreBoundedAltogether) {
  open(with_tls(at("127.0.0.1:0")));
  const std::size_t hosts = limits::half_open_clients_max / limits::half_open_clients_per_address;
  std::vector<Wrapped<tcp::socket>> silent;
  const auto from = [&](std::size_t host) {
    tcp::socket socket(io, tcp::endpoint(asio::ip::address_v4(0x7F000002 + static_cast<std::uint32_t>(host)), 0));
    socket.connect(tcp::endpoint(asio::ip::address_v4::loopback(), parse_address(listener->address())->port));
    silent.emplace_back(std::move(socket));
    io.poll();
  };
  for (std::size_t count = 0; count < limits::half_open_clients_max; ++count) from(count % hosts);
  until([&] { return listener->connections() == limits::half_open_clients_max; });
  from(hosts);
  until([&] { return silent.back().read(), silent.back().closed; });
  EXPECT_EQ(listener->connections(), limits::half_open_clients_max);
}

TEST(ListenerConfig, StrangersAreAnonymousNowhereByDefault) {
  const auto allowed = [](const std::string& address, bool proxy = false) {
    ListenerConfig config;
    config.listen = address;
    config.proxy_protocol = proxy;
    return config.anonymous_allowed();
  };
  EXPECT_TRUE(allowed("127.0.0.1:1883"));
  EXPECT_TRUE(allowed("[::1]:1883"));
  EXPECT_TRUE(allowed("/run/diot/mqtt.sock"));
  EXPECT_FALSE(allowed("0.0.0.0:1883"));
  EXPECT_FALSE(allowed("[::]:1883"));
  EXPECT_FALSE(allowed("192.168.1.2:1883"));
  EXPECT_FALSE(allowed("127.0.0.1:1883", true)) << "a proxy brings others";
}

TEST(ListenerConfig, WhereNobodyCouldConnectIsSaidWithTheWayOut) {
  ListenerConfig config;
  config.listen = "0.0.0.0:1883";
  const auto refused = check_access(config, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::not_permitted);
  EXPECT_NE(refused.error().message.find("`diot user add NAME`"), std::string::npos);
  EXPECT_TRUE(check_access(config, true));
  config.identity_as_user = true;
  config.psk_file = "keys";
  EXPECT_TRUE(check_access(config, false)) << "every client has a key, and with it a name";
  config.certificate = "cert";
  EXPECT_FALSE(check_access(config, false)) << "without a client certificate nobody is known";
  config.require_certificate = true;
  EXPECT_TRUE(check_access(config, false));
  config = {};
  config.listen = "0.0.0.0:1883";
  config.allow_anonymous = true;
  EXPECT_TRUE(check_access(config, false));
  config.listen = "127.0.0.1:1883";
  config.allow_anonymous = false;
  EXPECT_FALSE(check_access(config, false));
}

TEST_F(ListenerTest, RefusesAddressesThatItCannotHave) {
  const auto taken = Listener::open(io, *world.broker, at(listener->address()));
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, Errc::io);
  EXPECT_NE(taken.error().message.find("another port"), std::string::npos);
  const auto name = Listener::open(io, *world.broker, at("broker.example:0"));
  ASSERT_FALSE(name);
  EXPECT_NE(name.error().message.find("0.0.0.0"), std::string::npos);
}

}  // namespace
}  // namespace diot
