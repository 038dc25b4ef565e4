// TLS as a layer: two ends, and what passes between them in memory.

#include "bridge/tls.hpp"

#include <gmock/gmock.h>
#include <rapidcheck.h>

#include <filesystem>
#include <fstream>

#include "core/limits.hpp"
#include "tests/bridge/certificates.hpp"
#include "tests/temporary_folder.hpp"

namespace diot {
namespace {

using testing::HasSubstr;

struct Ends {
  Ends(std::shared_ptr<const TlsContext> server_context, std::shared_ptr<const TlsContext> client_context,
       const std::string& host = "broker.example")
      : server(std::move(server_context)), client(std::move(client_context), host) {
    Bytes hello;
    note(client.start(hello));
    to_server = std::move(hello);
    pass();
  }
  void note(const Result<void>& result) {
    if (!result && error.empty()) error = result.error().message;
  }
  /// Until nobody has anything left to say.
  void pass() {
    while (!to_server.empty() || !to_client.empty()) {
      const Bytes a = std::exchange(to_server, {}), b = std::exchange(to_client, {});
      if (!a.empty()) note(server.receive(a, at_server, to_client));
      if (!b.empty()) note(client.receive(b, at_client, to_server));
    }
  }
  bool up() const { return server.established() && client.established() && error.empty(); }

  Tls server, client;
  Bytes to_server, to_client, at_server, at_client;
  std::string error;  ///< the first
};

struct TlsTest : testing::Test {
  TlsTest() {
    server_config.certificate = files.write("server.crt", authority.issue("broker.example", "server.key"));
    server_config.key = files.path("server.key");
    client_config.ca = files.path("ca.crt");
  }
  auto server() { return TlsContext::server(server_config).value(); }
  auto client() { return TlsContext::client(client_config).value(); }
  void show_certificate(const std::string& name) {
    client_config.certificate = files.write("client.crt", authority.issue(name, "client.key"));
    client_config.key = files.path("client.key");
  }

  CertificateFiles files;
  CertificateAuthority authority{files, "ca"};
  TlsServerConfig server_config;
  TlsClientConfig client_config;
};

TEST_F(TlsTest, CarriesBytesBothWays) {
  Ends ends(server(), client());
  ASSERT_TRUE(ends.up()) << ends.error;
  ASSERT_TRUE(ends.client.send(as_bytes("up"), ends.to_server));
  const Bytes large(100'000, 'x');
  ASSERT_TRUE(ends.server.send(large, ends.to_client));
  EXPECT_EQ(std::ranges::search(ends.to_client, Bytes(32, 'x')).size(), 0u) << "in the clear";
  ends.pass();
  EXPECT_EQ(as_text(ends.at_server), "up");
  EXPECT_EQ(ends.at_client, large);
  EXPECT_EQ(ends.server.user(), "");
}

TEST_F(TlsTest, AGoodbyeEndsIt) {
  Ends ends(server(), client());
  ends.client.close(ends.to_server);
  ends.pass();
  EXPECT_THAT(ends.error, HasSubstr("closed"));
}

TEST_F(TlsTest, TheClientChecksTheName) {
  EXPECT_TRUE(Ends(server(), client(), "broker.example").up());
  const Ends other(server(), client(), "other.example");
  EXPECT_FALSE(other.up());
  EXPECT_THAT(other.error, HasSubstr("mismatch"));
  EXPECT_FALSE(Ends(server(), client(), "127.0.0.1").up());
  client_config.any_certificate = true;
  EXPECT_TRUE(Ends(server(), client(), "other.example").up());
}

TEST_F(TlsTest, TheClientChecksTheAuthority) {
  CertificateAuthority stranger(files, "stranger");
  client_config.ca = files.path("stranger.crt");
  EXPECT_FALSE(Ends(server(), client()).up());
}

TEST_F(TlsTest, ACertificateNamesTheUser) {
  server_config.client_ca = files.path("ca.crt");
  server_config.identity_as_user = true;
  show_certificate("lamp");
  const Ends ends(server(), client());
  ASSERT_TRUE(ends.up()) << ends.error;
  EXPECT_EQ(ends.server.user(), "lamp");
}

TEST_F(TlsTest, ACertificateMayBeRequired) {
  server_config.client_ca = files.path("ca.crt");
  EXPECT_TRUE(Ends(server(), client()).up());
  server_config.require_certificate = true;
  EXPECT_FALSE(Ends(server(), client()).up());
  show_certificate("lamp");
  EXPECT_TRUE(Ends(server(), client()).up());
}

TEST_F(TlsTest, ACertificateOfAStrangerIsRefused) {
  server_config.client_ca = files.path("ca.crt");
  CertificateAuthority stranger(files, "stranger");
  client_config.certificate = files.write("client.crt", stranger.issue("lamp", "client.key"));
  client_config.key = files.path("client.key");
  EXPECT_FALSE(Ends(server(), client()).up());
}

TEST_F(TlsTest, AClientsChainIsBounded) {
  server_config.client_ca = files.path("ca.crt");
  show_certificate("lamp");
  const auto chain_of = [&](std::size_t more) {
    // What comes after the client's own certificate is looked at only if it is needed; it fills the chain.
    const std::string own = authority.issue("lamp", "client.key");
    std::string chain = own;
    for (std::size_t count = 0; count < more; ++count) chain += authority.issue("more", "more.key");
    client_config.certificate = files.write("client.crt", chain);
    return static_cast<std::size_t>(std::filesystem::file_size(client_config.certificate)) * 3 / 4;  // PEM is base64
  };
  const std::size_t each = chain_of(1) - chain_of(0);
  const std::size_t fits = limits::tls_certificate_bytes_max / each * 9 / 10, beyond = fits * 4 / 3;
  ASSERT_LT(chain_of(fits), limits::tls_certificate_bytes_max);
  EXPECT_TRUE(Ends(server(), client()).up());
  ASSERT_GT(chain_of(beyond), limits::tls_certificate_bytes_max);
  const Ends ends(server(), client());
  EXPECT_FALSE(ends.up());
  EXPECT_THAT(ends.error, HasSubstr("excessive message size"));
}

TEST_F(TlsTest, APreSharedKeyIsEnough) {
  server_config = {};
  server_config.psk = parse_psk_file("lamp:00112233445566778899aabbccddeeff\n").value();
  server_config.identity_as_user = true;
  client_config = {};
  client_config.psk_identity = "lamp";
  client_config.psk = *from_hex("00112233445566778899aabbccddeeff");
  Ends ends(server(), client());
  ASSERT_TRUE(ends.up()) << ends.error;
  EXPECT_EQ(ends.server.user(), "lamp");
  ASSERT_TRUE(ends.client.send(as_bytes("on"), ends.to_server));
  ends.pass();
  EXPECT_EQ(as_text(ends.at_server), "on");

  client_config.psk[0] ^= 1;
  EXPECT_FALSE(Ends(server(), client()).up());
  client_config.psk_identity = "nobody";
  EXPECT_FALSE(Ends(server(), client()).up());
}

TEST_F(TlsTest, FilesThatCannotBeUsedAreNamed) {
  server_config.certificate = files.path("missing.crt");
  EXPECT_THAT(TlsContext::server(server_config).error().message, HasSubstr("missing.crt"));
  server_config.certificate = files.path("server.crt");
  server_config.key = files.path("ca.key");
  EXPECT_THAT(TlsContext::server(server_config).error().message, HasSubstr("mismatch"));
  server_config.key = files.path("server.key");
  server_config.client_ca = files.path("server.key");
  EXPECT_FALSE(TlsContext::server(server_config));
}

TEST_F(TlsTest, WhatIsNoTlsIsRefused) {
  for (const char* text : {"GET / HTTP/1.1\r\n\r\n", "\x10\x16garbage", "\x16\x03\x01\xff\xff\x01garbage"}) {
    Tls server_end(server());
    Bytes up, down;
    const auto taken = server_end.receive(as_bytes(text), up, down);
    EXPECT_TRUE(!taken || !server_end.established());
    EXPECT_TRUE(up.empty());
  }
}

TEST_F(TlsTest, NoMutationGetsThrough) {
  const auto server_context = server(), client_context = client();
  EXPECT_TRUE(rc::check([&] {
    Ends ends(server_context, client_context);
    RC_ASSERT(ends.client.send(as_bytes("an honest message"), ends.to_server).has_value());
    ends.to_server[*rc::gen::inRange<std::size_t>(0, ends.to_server.size())] ^= *rc::gen::inRange<int>(1, 256);
    ends.pass();
    RC_ASSERT(ends.at_server.empty());
  }));
}

TEST(PskFile, IsReadLineByLine) {
  const auto keys = parse_psk_file("# devices\nlamp:0aFF\r\n\ndoor bell:00").value();
  EXPECT_EQ(keys.size(), 2u);
  EXPECT_EQ(to_hex(keys.at("lamp")), "0aff");
  EXPECT_EQ(to_hex(keys.at("door bell")), "00");
}

TEST(PskFile, IsBounded) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/keys";
  const auto write = [&](std::size_t bytes) {
    const std::string line = "lamp:00112233445566778899aabbccddeeff\n";
    std::ofstream(file) << "#" << std::string(bytes - line.size() - 2, 'x') << "\n" << line;
  };
  write(limits::users_file_bytes_max);
  EXPECT_EQ(load_psk_file(file).value().size(), 1u);
  write(limits::users_file_bytes_max + 1);
  EXPECT_EQ(load_psk_file(file).error().code, Errc::limit);
}

TEST(PskFile, WhatIsWrongIsNamedWithItsLine) {
  const auto error_of = [](std::string_view text) { return parse_psk_file(text).error().message; };
  EXPECT_THAT(error_of("lamp:00\nlamp\n"), HasSubstr("line 2: write identity:key"));
  EXPECT_THAT(error_of(":00"), HasSubstr("line 1"));
  EXPECT_THAT(error_of("lamp:0"), HasSubstr("hex digits"));
  EXPECT_THAT(error_of("lamp:"), HasSubstr("hex digits"));
  EXPECT_THAT(error_of("lamp:00\nlamp:01"), HasSubstr("'lamp' has a key already"));
  EXPECT_THAT(error_of("\xff:00"), HasSubstr("UTF-8"));
}

}  // namespace
}  // namespace diot
