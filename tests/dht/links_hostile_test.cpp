// Peers that do not keep to the protocol, with sockets and TLS of their own.

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <rapidcheck.h>

#include <asio/ip/tcp.hpp>
#include <asio/ssl.hpp>
#include <asio/write.hpp>

#include "core/limits.hpp"
#include "tests/dht/link_world.hpp"

namespace diot {
namespace {

using asio::ip::tcp;
using namespace std::chrono_literals;

EVP_PKEY* make_key(const char* kind) {
  if (std::string_view(kind) == "RSA") return EVP_RSA_gen(2048);
  if (std::string_view(kind) == "EC") return EVP_EC_gen("P-256");
  return EVP_PKEY_Q_keygen(nullptr, nullptr, kind);
}

/// A TLS context of a peer that is not ours.
struct Stranger {
  asio::ssl::context context{asio::ssl::context::tls};

  Stranger() {
    SSL_CTX_set_verify(context.native_handle(), SSL_VERIFY_NONE, nullptr);
    offer("\6diot/1");
  }
  void offer(std::string_view protocols) {
    SSL_CTX_set_alpn_protos(context.native_handle(), reinterpret_cast<const unsigned char*>(protocols.data()),
                            static_cast<unsigned>(protocols.size()));
  }
  void show(const char* kind, int extra_certificates = 0) {
    EVP_PKEY* key = make_key(kind);
    X509* x509 = X509_new();
    X509_set_version(x509, 2);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key);
    X509_sign(x509, key, std::string_view(kind) == "ED25519" ? nullptr : EVP_sha256());
    SSL_CTX_use_certificate(context.native_handle(), x509);
    SSL_CTX_use_PrivateKey(context.native_handle(), key);
    for (int i = 0; i < extra_certificates; ++i) SSL_CTX_add1_chain_cert(context.native_handle(), x509);
    X509_free(x509);
    EVP_PKEY_free(key);
  }
};

tcp::endpoint endpoint_of(const std::string& address) {
  const auto colon = address.rfind(':');
  return {asio::ip::make_address(address.substr(0, colon)),
          static_cast<asio::ip::port_type>(std::stoi(address.substr(colon + 1)))};
}

class HostileTest : public testing::Test {
 protected:
  bool until(const std::function<bool()>& condition) { return run_until(io, condition); }

  /// A plain socket to the node, from a source address of its own if wished.
  tcp::socket connect(const std::string& source = "") {
    tcp::socket socket(io);
    socket.open(tcp::v4());
    if (!source.empty()) socket.bind({asio::ip::make_address(source), 0});
    socket.connect(endpoint_of(address));
    return socket;
  }
  /// The node closed it: read until the end.
  bool closed(tcp::socket& socket) {
    socket.non_blocking(true);
    return until([&] {
      char byte[512];
      asio::error_code error;
      socket.read_some(asio::buffer(byte), error);
      return error && error != asio::error::would_block;
    });
  }

  asio::io_context io;
  TestNode node{io, 1, short_times()};
  std::string address = node.listen();
};

/// A connection whose TLS is right (unless the context is a stranger's) and whose bytes are the test's.
class RawPeer : public std::enable_shared_from_this<RawPeer> {
 public:
  static std::shared_ptr<RawPeer> connect(asio::io_context& io, asio::ssl::context& context,
                                          const std::string& address) {
    const auto peer = std::make_shared<RawPeer>(io, context);
    peer->stream.next_layer().connect(endpoint_of(address));
    peer->stream.async_handshake(asio::ssl::stream_base::client, [peer](const asio::error_code& error) {
      peer->shaken = true;
      peer->failed = static_cast<bool>(error);
      if (!error) peer->read();
    });
    return peer;
  }
  RawPeer(asio::io_context& io, asio::ssl::context& context) : stream(tcp::socket(io), context) {}

  void write(Bytes bytes) {
    out_ = std::move(bytes);
    asio::async_write(stream, asio::buffer(out_),
                      [self = shared_from_this()](const asio::error_code&, std::size_t) { self->written = true; });
  }
  static Bytes frame(unsigned type, ByteView body = {}) {
    Bytes out;
    ByteWriter wire(out);
    wire.u32(static_cast<std::uint32_t>(body.size() + 1));
    wire.u8(static_cast<std::uint8_t>(type));
    wire.raw(body);
    return out;
  }

  asio::ssl::stream<tcp::socket> stream;
  bool shaken = false, failed = false, ended = false, written = false;
  Bytes received;

 private:
  void read() {
    stream.async_read_some(asio::buffer(buffer_),
                           [self = shared_from_this()](const asio::error_code& error, std::size_t bytes) {
                             if (error) {
                               self->ended = true;
                               asio::error_code ignored;
                               self->stream.next_layer().close(ignored);
                               return;
                             }
                             append(self->received, ByteView(self->buffer_).first(bytes));
                             self->read();
                           });
  }
  std::array<std::uint8_t, 16384> buffer_{};
  Bytes out_;
};

// TLS -------------------------------------------------------------------------------------------------------------

TEST_F(HostileTest, ClientsWithoutOurTlsAreRefusedAndCounted) {
  struct Case {
    const char* name;
    std::function<void(Stranger&)> prepare;
  };
  const std::vector<Case> cases{
      {"no certificate", [](Stranger&) {}},
      {"RSA", [](Stranger& s) { s.show("RSA"); }},
      {"EC", [](Stranger& s) { s.show("EC"); }},
      {"Ed448", [](Stranger& s) { s.show("ED448"); }},
      {"TLS 1.2",
       [](Stranger& s) {
         s.show("ED25519");
         SSL_CTX_set_max_proto_version(s.context.native_handle(), TLS1_2_VERSION);
       }},
      {"no ALPN",
       [](Stranger& s) {
         s.show("ED25519");
         s.offer("");
       }},
      {"another ALPN",
       [](Stranger& s) {
         s.show("ED25519");
         s.offer("\2h2");
       }},
      {"a long chain", [](Stranger& s) { s.show("ED25519", 30); }},
  };
  std::uint64_t refused = 0;
  for (const auto& each : cases) {
    Stranger stranger;
    each.prepare(stranger);
    const auto peer = RawPeer::connect(io, stranger.context, address);
    ++refused;
    ASSERT_TRUE(until([&] { return node.ended(LinkEnd::tls) == refused && (peer->failed || peer->ended); }))
        << each.name;
    EXPECT_NE(node.links->stats().last_refusal, "") << each.name;
  }
  EXPECT_EQ(node.links->stats().half_open, 0u);
  EXPECT_EQ(node.ups, 0u);

  // The same client with a key and the protocol passes TLS.
  Stranger good;
  good.show("ED25519");
  const auto peer = RawPeer::connect(io, good.context, address);
  ASSERT_TRUE(until([&] { return peer->shaken && !peer->failed; }));
  EXPECT_TRUE(until([&] { return node.ended(LinkEnd::late) == 1; }));
  EXPECT_EQ(node.ended(LinkEnd::tls), refused);
}

TEST_F(HostileTest, ServersWithoutOurTlsAreRefused) {
  struct Case {
    const char* name;
    const char* key;
    bool old_tls, alpn;
  };
  for (const auto& [name, key, old_tls, alpn] :
       {Case{"RSA", "RSA", false, true}, Case{"TLS 1.2", "ED25519", true, true},
        Case{"no ALPN", "ED25519", false, false}}) {
    Stranger stranger;
    stranger.show(key);
    if (old_tls) SSL_CTX_set_max_proto_version(stranger.context.native_handle(), TLS1_2_VERSION);
    if (alpn)
      SSL_CTX_set_alpn_select_cb(
          stranger.context.native_handle(),
          [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned, void*) {
            *size = in[0];
            *out = in + 1;
            return SSL_TLSEXT_ERR_OK;
          },
          nullptr);
    tcp::acceptor acceptor(io, {asio::ip::make_address("127.0.0.1"), 0});
    asio::ssl::stream<tcp::socket> stream(tcp::socket(io), stranger.context);
    acceptor.async_accept(stream.next_layer(), [&](const asio::error_code&) {
      stream.async_handshake(asio::ssl::stream_base::server, [](const asio::error_code&) {});
    });
    const auto before = node.ended(LinkEnd::tls);
    node.links->dial("127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()), std::nullopt);
    EXPECT_TRUE(until([&] { return node.ended(LinkEnd::tls) == before + 1; })) << name;
    asio::error_code ignored;
    stream.next_layer().close(ignored);
    io.poll();
  }
  EXPECT_EQ(node.dial_failures.size(), 3u);
}

TEST_F(HostileTest, PlainBytesAreRefused) {
  for (const std::string text : {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x10\x10MQTT hello, a broker?"}) {
    auto socket = connect();
    asio::write(socket, asio::buffer(text));
    EXPECT_TRUE(closed(socket));
  }
  EXPECT_EQ(node.ended(LinkEnd::tls), 2u);
}

TEST_F(HostileTest, AHugeHandshakeIsCutOff) {
  // Records of a ClientHello that declares 131,000 bytes.
  auto socket = connect();
  Bytes record{22, 3, 1, 0x40, 0x00};
  record.resize(5 + 0x4000, 0);
  const std::array<std::uint8_t, 6> hello{1, 1, 0xff, 0xb8, 3, 3};
  std::ranges::copy(hello, record.begin() + 5);
  asio::error_code error;
  for (int i = 0; i < 8 && !error; ++i) {
    asio::write(socket, asio::buffer(record), error);
    std::fill_n(record.begin() + 5, hello.size(), 0);
    io.poll();
  }
  EXPECT_TRUE(closed(socket));
  EXPECT_EQ(node.ended(LinkEnd::tls), 1u);
  EXPECT_NE(node.links->stats().last_refusal.find("too many bytes"), std::string::npos)
      << node.links->stats().last_refusal;
}

TEST_F(HostileTest, SilentPeersAreClosedByTheDeadline) {
  std::vector<tcp::socket> sockets;
  for (std::size_t i = 0; i < limits::half_open_per_address_max; ++i) sockets.push_back(connect());
  ASSERT_TRUE(until([&] { return node.links->stats().half_open == sockets.size(); }));
  for (auto& socket : sockets) EXPECT_TRUE(closed(socket));
  EXPECT_EQ(node.ended(LinkEnd::late), sockets.size());
  EXPECT_EQ(node.links->stats().half_open, 0u);
}

TEST_F(HostileTest, DribblersAreClosedByTheDeadline) {
  // One byte of a handshake now and then is no progress.
  auto socket = connect();
  const std::array<std::uint8_t, 11> start{22, 3, 1, 0x40, 0, 1, 0, 0x20, 0, 3, 3};
  std::size_t sent = 0;
  auto last = std::chrono::steady_clock::now();
  ASSERT_TRUE(until([&] {
    if (std::chrono::steady_clock::now() - last > std::chrono::milliseconds(20)) {
      last = std::chrono::steady_clock::now();
      const std::uint8_t byte = sent < start.size() ? start[sent] : 0;
      ++sent;
      asio::error_code ignored;
      socket.write_some(asio::buffer(&byte, 1), ignored);
    }
    return node.ended(LinkEnd::late) == 1;
  }));
  EXPECT_GT(sent, 5u);
}

TEST_F(HostileTest, ASilentServerEndsTheDial) {
  tcp::acceptor acceptor(io, {asio::ip::make_address("127.0.0.1"), 0});  // nobody accepts
  node.links->dial("127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()), std::nullopt);
  ASSERT_TRUE(until([&] { return node.dial_failures.size() == 1; }));
  EXPECT_EQ(node.ended(LinkEnd::late), 1u);
}

TEST_F(HostileTest, HalfOpenConnectionsAreBoundedPerAddressAndInTotal) {
  TestNode busy(io, 2);  // with the real deadlines
  address = busy.listen();
  std::vector<tcp::socket> sockets;
  const auto addresses = limits::half_open_links_max / limits::half_open_per_address_max;
  for (std::size_t from = 1; from <= addresses; ++from) {
    const auto source = "127.0.1." + std::to_string(from);
    for (std::size_t i = 0; i < limits::half_open_per_address_max; ++i) sockets.push_back(connect(source));
    ASSERT_TRUE(until([&] { return busy.links->stats().half_open == sockets.size(); }));
    if (from == 1) {
      auto one_more = connect(source);
      EXPECT_TRUE(closed(one_more));
      EXPECT_EQ(busy.ended(LinkEnd::crowded), 1u);
    }
  }
  auto one_more = connect("127.0.1.200");
  EXPECT_TRUE(closed(one_more));
  EXPECT_EQ(busy.ended(LinkEnd::crowded), 2u);
  EXPECT_EQ(busy.links->stats().half_open, limits::half_open_links_max);
  // When they go, others may come.
  sockets.clear();
  ASSERT_TRUE(until([&] { return busy.links->stats().half_open == 0; }));
  TestNode friendly(io, 3);
  friendly.links->dial(address, std::nullopt);
  EXPECT_TRUE(until([&] { return friendly.up().size() == 1; }));
}

// Behind TLS ------------------------------------------------------------------------------------------------------

class HostileFramesTest : public HostileTest {
 protected:
  HostileFramesTest() {
    other_hello.instance = SeededRandom(9).id<InstanceId>();
    stranger.show("ED25519");
  }
  std::shared_ptr<RawPeer> secured() {
    auto peer = RawPeer::connect(io, stranger.context, address);
    EXPECT_TRUE(until([&] { return peer->shaken; }));
    EXPECT_FALSE(peer->failed);
    return peer;
  }
  Bytes hello_frame() { return RawPeer::frame(1, encode_hello(other_hello)); }
  std::shared_ptr<RawPeer> linked() {
    auto peer = secured();
    peer->write(hello_frame());
    EXPECT_TRUE(until([&] { return node.up().size() == 1 && peer->written && !peer->received.empty(); }));
    peer->received.clear();
    return peer;
  }

  Stranger stranger;
  Hello other_hello = [&] {
    auto hello = node.hello;
    hello.addresses = {"192.0.2.7:1"};
    return hello;
  }();
};

TEST_F(HostileFramesTest, TheNodeSaysNothingBeforeTheHello) {
  const auto peer = secured();
  EXPECT_TRUE(until([&] { return peer->ended; }));
  EXPECT_TRUE(peer->received.empty());
  EXPECT_EQ(node.ended(LinkEnd::late), 1u);
}

TEST_F(HostileFramesTest, OtherThingsThanAHelloAreViolations) {
  const std::vector<Bytes> cases{
      RawPeer::frame(3, Bytes(8)),                 // ping
      RawPeer::frame(43, Bytes(100)),              // batch
      RawPeer::frame(200),                         // unknown
      RawPeer::frame(1),                           // an empty hello
      RawPeer::frame(1, as_bytes("not msgpack")),  //
      RawPeer::frame(1, Bytes(limits::hello_bytes_max)),
      {0, 0, 0, 0},
      {0xff, 0xff, 0xff, 0xff, 0xff},
  };
  std::uint64_t violations = 0;
  for (const auto& bytes : cases) {
    const auto peer = secured();
    peer->write(bytes);
    ++violations;
    ASSERT_TRUE(until([&] { return node.ended(LinkEnd::violation) == violations && peer->ended; })) << violations;
    ASSERT_GT(peer->received.size(), 5u) << "a close frame tells why";
    EXPECT_EQ(peer->received[4], 2);
  }
  EXPECT_EQ(node.ups, 0u);
  EXPECT_TRUE(until([&] { return node.links->stats().half_open == 0; }));
}

TEST_F(HostileFramesTest, ViolationsEndALink) {
  const std::vector<Bytes> cases{
      hello_frame(), RawPeer::frame(3, Bytes(7)), RawPeer::frame(4, Bytes(9)), {0, 0, 0, 0}, {0x7f, 0, 0, 0, 1},
  };
  std::uint64_t violations = 0;
  for (const auto& bytes : cases) {
    const auto peer = linked();
    peer->write(bytes);
    ++violations;
    ASSERT_TRUE(until([&] { return node.downs.size() == violations && peer->ended; })) << violations;
    EXPECT_EQ(node.ended(LinkEnd::violation), violations);
    ASSERT_GT(peer->received.size(), 5u);
    EXPECT_EQ(peer->received[4], 2);
  }
}

TEST_F(HostileFramesTest, ACloseReasonIsMadeFitForLogs) {
  const auto peer = linked();
  peer->write(RawPeer::frame(2, as_bytes("bye\n\x1b[31m")));
  ASSERT_TRUE(until([&] { return node.downs.size() == 1; }));
  EXPECT_EQ(node.downs[0], "closed by the peer: bye??[31m");
}

TEST_F(HostileFramesTest, RandomGarbageEndsTheLinkAndNothingElse) {
  SeededRandom garbage(77);
  TestNode friendly(io, 3, short_times());
  friendly.links->dial(address, std::nullopt);
  ASSERT_TRUE(until([&] { return friendly.up().size() == 1; }));
  for (int round = 0; round < 30; ++round) {
    const bool after_hello = round % 2 == 0;
    auto peer = secured();
    Bytes bytes(1 + garbage.u64() % 5000);
    garbage.fill(bytes);
    if (after_hello) {
      Bytes wire = hello_frame();
      append(wire, bytes);
      bytes = wire;
    }
    peer->write(bytes);
    // Either the bytes break a rule, or they announce a frame that never comes whole.
    ASSERT_TRUE(until([&] { return peer->ended; })) << round;
    ASSERT_TRUE(until([&] { return node.up().size() == 1; }));
  }
  friendly.links->send(friendly.up()[0].link, FrameType::submit, {as_bytes("still here")});
  node.frames.clear();
  EXPECT_TRUE(until([&] { return !node.frames.empty(); }));
  EXPECT_EQ(friendly.downs.size(), 0u);
}

TEST_F(HostileFramesTest, AFloodOfFramesOfAnyTypeHoldsUpItsOwnLinkOnly) {
  TestNode served(io, 5), friendly(io, 3);  // as patient as the program
  const auto at = served.listen();
  const auto peer = RawPeer::connect(io, stranger.context, at);
  ASSERT_TRUE(until([&] { return peer->shaken; }));
  peer->write(hello_frame());
  ASSERT_TRUE(until([&] { return served.up().size() == 1; }));
  const auto flooding = served.up()[0].link;
  friendly.links->dial(at, std::nullopt);
  ASSERT_TRUE(until([&] { return friendly.up().size() == 1; }));
  std::size_t handled = 0, heard = 0;
  served.on_frame = [&](LinkId link, FrameType, ByteView) {
    if (link != flooding) return void(++heard);
    ++handled;
    const auto busy_until = std::chrono::steady_clock::now() + 200us;
    while (std::chrono::steady_clock::now() < busy_until) {
    }
  };
  Bytes wire;
  constexpr std::size_t flood = 60'000;
  for (std::size_t count = 0; count < flood; ++count) append(wire, RawPeer::frame(16 + count % 64));  // of all types
  peer->write(wire);
  ASSERT_TRUE(until([&] { return served.links->stats().rests > 0; }));
  for (std::size_t word = 1; word <= 5; ++word) {
    const auto before = handled;
    friendly.links->send(friendly.up()[0].link, FrameType::submit, {as_bytes("in between")});
    ASSERT_TRUE(until([&] { return heard == word; })) << testing::PrintToString(served.downs);
    EXPECT_LT(handled - before, 500u) << "a read of the flood holds some thousand frames";
  }
  EXPECT_LT(handled, flood / 2) << "it still waits for its turn";
  EXPECT_EQ(served.downs.size(), 0u) << "who asks for much is slow, not cut off";
  EXPECT_TRUE(until([&] { return handled > 1000; })) << "and goes on";
}

TEST_F(HostileFramesTest, AFloodOfPingsFromAPeerThatDoesNotReadEndsAtTheBound) {
  // It never reads the pongs; its own socket buffers hold some of them.
  asio::ssl::stream<tcp::socket> stream(tcp::socket(io), stranger.context);
  stream.next_layer().connect(endpoint_of(address));
  bool ready = false;
  stream.async_handshake(asio::ssl::stream_base::client, [&](const asio::error_code& error) { ready = !error; });
  ASSERT_TRUE(until([&] { return ready; }));
  Bytes wire = hello_frame();
  const auto ping = RawPeer::frame(3, Bytes(8, 1));
  while (wire.size() < 64 << 20) append(wire, ping);
  asio::async_write(stream, asio::buffer(wire), [](const asio::error_code&, std::size_t) {});
  ASSERT_TRUE(until([&] {
    for (const auto& up : node.up())
      EXPECT_LE(node.links->unsent_bytes(up.link), limits::link_output_bytes_max + 16384u);
    return node.downs.size() == 1;
  }));
  EXPECT_EQ(node.ended(LinkEnd::overflow), 1u);
}

}  // namespace
}  // namespace diot
