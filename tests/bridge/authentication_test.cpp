// Who may connect: user name and password, SCRAM-SHA-256 by AUTH packets (MQTT 5.0 section 4.12, RFC 7677).

#include "bridge/scram.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The example of RFC 7677 section 3.
constexpr auto rfc_client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr auto rfc_server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr auto rfc_client_final =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

TEST(Scram, FollowsTheExampleOfItsRfc) {
  // Salt "W22ZaJ0SNY7soEsUEjb6gQ==".
  const Bytes salt = hex("5b6d99689d12358eeca04b141236fa81");
  ScramServer server(rfc_server_nonce);
  EXPECT_EQ(server.begin(as_bytes(rfc_client_first)).value(), "user");
  EXPECT_EQ(as_text(server.challenge(make_scram_credentials("pencil", salt, 4096))),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
  const auto last = server.finish(as_bytes(rfc_client_final));
  ASSERT_TRUE(last) << last.error().message;
  EXPECT_EQ(as_text(*last), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

TEST(Scram, NamesAndPasswordsAreComparedInOneForm) {
  // The examples of RFC 4013 section 3.
  EXPECT_EQ(saslprep("I\u00ADX", SaslKind::kept).value(), "IX");
  EXPECT_EQ(saslprep("user", SaslKind::kept).value(), "user");
  EXPECT_EQ(saslprep("USER", SaslKind::kept).value(), "USER");
  EXPECT_EQ(saslprep("\u00AA", SaslKind::kept).value(), "a");
  EXPECT_EQ(saslprep("\u2168", SaslKind::kept).value(), "IX");
  EXPECT_FALSE(saslprep("\x07", SaslKind::kept));
  EXPECT_FALSE(saslprep("\u0627\u0031", SaslKind::kept));
  EXPECT_FALSE(saslprep("", SaslKind::kept));
  EXPECT_FALSE(saslprep("\u00AD", SaslKind::kept));  // nothing is left
  EXPECT_FALSE(saslprep("\xC3", SaslKind::kept));
  EXPECT_FALSE(saslprep(std::string_view("a\0\u00AA", 4), SaslKind::sent));
  EXPECT_TRUE(saslprep("\u0221", SaslKind::sent));  // not in Unicode 3.2
  EXPECT_FALSE(saslprep("\u0221", SaslKind::kept));
  std::string longest;
  while (longest.size() < 1023) longest += "\uFDFA";  // each becomes 18 characters
  EXPECT_TRUE(saslprep(longest, SaslKind::kept));
  EXPECT_EQ(saslprep(longest + "\u00AA", SaslKind::kept).error().code, Errc::limit);
  EXPECT_EQ(ScramServer("s").begin(as_bytes("n,,n=\u2168,r=x")).value(), "IX");
  EXPECT_FALSE(ScramServer("s").begin(as_bytes("n,,n=a\x07,r=x")));
}

TEST(Scram, AnythingElseIsRefused) {
  const auto first = [](std::string_view text) { return ScramServer("s").begin(as_bytes(text)); };
  EXPECT_EQ(first("y,,n=a=2Cb=3D,r=x").value(), "a,b=");
  EXPECT_EQ(first("n,a=u,n=u,r=x").value(), "u");
  EXPECT_EQ(first("n,a=v,n=u,r=x").error().code, Errc::not_permitted);
  EXPECT_EQ(first("p=tls-exporter,,n=u,r=x").error().code, Errc::not_available);
  EXPECT_EQ(first("n,,m=x,n=u,r=x").error().code, Errc::not_available);
  for (const auto bad : {"", "n", "n,", "n,,", "n,,n=,r=x", "n,,n=u", "n,,n=u,r=", "n,,r=x,n=u", "n,,n=u=,r=x",
                         "n,,n=u=4A,r=x", "x,,n=u,r=x"})
    EXPECT_FALSE(first(bad)) << bad;
  const auto last = [](std::string_view text) {
    ScramServer server(rfc_server_nonce);
    EXPECT_TRUE(server.begin(as_bytes(rfc_client_first)));
    server.challenge(make_scram_credentials("pencil", hex("5b6d99689d12358eeca04b141236fa81"), 4096));
    return server.finish(as_bytes(text)).has_value();
  };
  const std::string good = rfc_client_final;
  EXPECT_TRUE(last(good));
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = bad[at] == 'x' ? 'y' : 'x';
    EXPECT_FALSE(last(bad)) << bad;
    EXPECT_FALSE(last(good.substr(0, at))) << at;
  }
}

struct LoginTest : testing::Test {
  LoginTest() { world.authenticator.passwords = {{"alice", "secret"}, {"bob", "other"}}; }
  static TestClient::Change with(const std::string& user, const std::string& password) {
    return [=](Connect& connect) {
      connect.user_name = user;
      connect.password = to_bytes(password);
    };
  }
  World world;
  TestClient client{world}, old{world, v3};
};

TEST_F(LoginTest, UserNameAndPasswordAreChecked) {
  client.connect("a", false, with("alice", "secret"));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK"));
  EXPECT_EQ(world.broker->sessions()[0].user, "alice");
  client.connect("a", false, with("alice", "wrong"));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x86", "closed"));
  client.connect("a");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x86", "closed"));
  old.connect("b", false, with("alice", "wrong"));
  EXPECT_THAT(old.take(), ElementsAre("CONNACK 0x86", "closed"));  // return code 4
  old.connect("b", false, with("bob", "other"));
  EXPECT_THAT(old.take(), ElementsAre("CONNACK"));
}

TEST_F(LoginTest, ASlowVerdictHoldsOnlyThatClient) {
  world.authenticator.slow = true;
  client.connect("a", false, with("alice", "secret"));
  client.subscribe("t");
  client.publish("t", "x");
  EXPECT_THAT(client.take(), IsEmpty());
  EXPECT_FALSE(client.is_reading());
  world.authenticator.waiting.at(0)();
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "SUBACK 00", "PUBLISH t=x"));
  EXPECT_TRUE(client.is_reading());

  old.connect("b", false, with("alice", "secret"));
  old.lose();
  world.authenticator.waiting.at(1)();  // on one that has gone
  old.connect("b", false, with("alice", "wrong"));
  old.publish("t", "y");
  world.authenticator.waiting.at(2)();
  EXPECT_THAT(old.take(), ElementsAre("CONNACK 0x86", "closed"));
  EXPECT_THAT(client.take(), IsEmpty());
}

TEST_F(LoginTest, AVerdictThatNeverComesEndsWithTheDeadline) {
  world.authenticator.slow = true;
  client.connect("a", false, with("alice", "secret"));
  world.pass(std::chrono::seconds(11));
  EXPECT_THAT(client.take(), ElementsAre("closed"));
}

TEST_F(LoginTest, ASessionBelongsToItsUser) {
  client.connect("a", true, with("alice", "secret"));
  client.subscribe("t", 1);
  EXPECT_THAT(client.take(), ElementsAre("CONNACK", "SUBACK 01"));
  old.connect("a", true, with("bob", "other"));
  EXPECT_THAT(old.take(), ElementsAre("CONNACK 0x87", "closed"));
  EXPECT_FALSE(client.is_closed());
  world.run();
  world.crash();
  old.connect("a", false, with("bob", "other"));
  EXPECT_THAT(old.take(), ElementsAre("CONNACK 0x87", "closed"));
  client.connect("a", true, with("alice", "secret"));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK present"));
}

// Enhanced authentication -------------------------------------------------------------------------------------

Bytes hmac(ByteView key, std::string_view text) {
  Bytes out(32);
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), as_bytes(text).data(), text.size(), out.data(), nullptr);
  return out;
}

std::string base64(const Bytes& bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3), 0);
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(), static_cast<int>(bytes.size()));
  return out;
}

/// The client's final message to a challenge "r=…,s=…,i=…", by the book, on OpenSSL alone.
std::string client_final(const std::string& password, const std::string& first_bare, const std::string& challenge) {
  const auto field = [&](const std::string& name) {
    const auto at = challenge.find(name);
    return challenge.substr(at, challenge.find(',', at) - at);
  };
  EXPECT_EQ(field("s="), "s=" + base64(to_bytes("salt"))) << challenge;
  Bytes salted(32);
  PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), reinterpret_cast<const unsigned char*>("salt"),
                    4, 4096, EVP_sha256(), 32, salted.data());
  Bytes key = hmac(salted, "Client Key");
  const std::string without_proof = "c=biws," + field("r=");
  const Bytes signature = hmac(sha256(key).bytes, first_bare + "," + challenge + "," + without_proof);
  for (std::size_t at = 0; at < key.size(); ++at) key[at] ^= signature[at];
  return without_proof + ",p=" + base64(key);
}

TEST_F(LoginTest, WhoseUserIsGoneOrHasAnotherPasswordIsDisconnected) {
  client.connect("a", true, with("alice", "secret"));
  old.connect("b", false, with("bob", "other"));
  TestClient anybody(world), proven(world);
  world.authenticator.passwords.clear();
  anybody.connect("c");
  EXPECT_THAT(anybody.take(), ElementsAre("CONNACK"));
  world.authenticator.passwords = {{"alice", "new"}, {"bob", "other"}};
  client.take();
  old.take();
  world.broker->permissions_changed();
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x87", "closed"));
  EXPECT_THAT(old.take(), IsEmpty());
  EXPECT_THAT(anybody.take(), IsEmpty());
  client.connect("a", true, with("alice", "new"));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK present"));
  world.authenticator.passwords.erase("bob");
  world.broker->permissions_changed();
  EXPECT_THAT(old.take(), ElementsAre("closed"));
  EXPECT_FALSE(client.is_closed());
}

TEST_F(LoginTest, ALoginUnderWayWhenTheUsersChangeBeginsAgain) {
  world.authenticator.slow = true;
  client.connect("a", false, with("alice", "secret"));
  world.broker->permissions_changed();
  world.authenticator.waiting.at(0)();
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x89", "closed"));
}

struct EnhancedTest : LoginTest {
  static TestClient::Change method(const std::string& name, const std::optional<std::string>& data) {
    return [=](Connect& connect) {
      connect.authentication_method = name;
      if (data) connect.authentication_data = to_bytes(*data);
    };
  }
};

TEST_F(EnhancedTest, AnUnknownMethodIsRefused) {
  client.connect("a", false, method("KERBEROS", {}));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x8c", "closed"));
  world.authenticator.passwords.clear();
  client.connect("a", false, method("SCRAM-SHA-256", "n,,n=alice,r=x"));
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x8c", "closed"));
}

TEST_F(EnhancedTest, TheRightPasswordOpensAndOpensAgain) {
  const std::string tag = "AUTH 0x18 SCRAM-SHA-256:";
  client.connect("a", false, method("SCRAM-SHA-256", "n,,n=alice,r=abc"));
  Lines lines = client.take();
  ASSERT_EQ(lines.size(), 1u);
  ASSERT_TRUE(lines[0].starts_with(tag)) << lines[0];
  client.auth(Reason::continue_authentication, "SCRAM-SHA-256",
              client_final("secret", "n=alice,r=abc", lines[0].substr(tag.size())));
  lines = client.take();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(lines[0].starts_with("CONNACK SCRAM-SHA-256:v=")) << lines[0];  // the server knows the password too
  EXPECT_EQ(world.broker->sessions()[0].user, "alice");
  client.subscribe("t");
  client.take();

  // Again, while messages flow (section 4.12.1).
  client.auth(Reason::reauthenticate, "SCRAM-SHA-256", "n,,n=alice,r=def");
  client.publish("t", "x");
  lines = client.take();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1], "PUBLISH t=x");
  client.auth(Reason::continue_authentication, "SCRAM-SHA-256",
              client_final("secret", "n=alice,r=def", lines[0].substr(tag.size())));
  lines = client.take();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(lines[0].starts_with("AUTH SCRAM-SHA-256:v=")) << lines[0];

  // Nobody becomes another one by it.
  client.auth(Reason::reauthenticate, "SCRAM-SHA-256", "n,,n=bob,r=ghi");
  lines = client.take();
  client.auth(Reason::continue_authentication, "SCRAM-SHA-256",
              client_final("other", "n=bob,r=ghi", lines.at(0).substr(tag.size())));
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x87", "closed"));
}

TEST_F(EnhancedTest, NothingElseMayComeBeforeItsEnd) {
  client.connect("a", false, method("SCRAM-SHA-256", "n,,n=alice,r=x"));
  ASSERT_EQ(client.take().size(), 1u);
  client.subscribe("t");
  EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x82", "closed"));
  client.connect("a", false, method("SCRAM-SHA-256", "n,,n=alice,r=x"));
  client.auth(Reason::continue_authentication, "OTHER", "x");
  EXPECT_EQ(client.take().back(), "closed");
  client.connect("a", false, method("SCRAM-SHA-256", "n,,n=alice,r=x"));
  client.auth(Reason::reauthenticate, "SCRAM-SHA-256", "x");
  EXPECT_EQ(client.take().back(), "closed");
  client.connect("a", false, method("SCRAM-SHA-256", "n,,n=alice,r=x"));
  client.disconnect();
  EXPECT_EQ(client.take().back(), "closed");
  client.connect("a", false, with("alice", "secret"));
  client.take();
  client.auth(Reason::reauthenticate, "SCRAM-SHA-256", "n,,n=alice,r=x");
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));
  client.connect("a", false, with("alice", "secret"));
  client.take();
  client.send_hex("f0 01 00");  // whatever it holds
  EXPECT_THAT(client.take(), ElementsAre("DISCONNECT 0x82", "closed"));
}

TEST_F(EnhancedTest, AWrongProofAndAnUnknownUserLookAlike) {
  for (const auto user : {"alice", "nobody"}) {
    client.connect("a", false, method("SCRAM-SHA-256", {}));
    EXPECT_THAT(client.take(), ElementsAre("AUTH 0x18 SCRAM-SHA-256:"));  // the first message may come later
    client.auth(Reason::continue_authentication, "SCRAM-SHA-256", std::string("n,,n=") + user + ",r=abc");
    const Lines challenge = client.take();
    ASSERT_EQ(challenge.size(), 1u);
    const std::string nonce =
        challenge[0].substr(challenge[0].find("r="), challenge[0].find(",s=") - challenge[0].find("r="));
    EXPECT_TRUE(nonce.starts_with("r=abc")) << nonce;
    client.auth(Reason::continue_authentication, "SCRAM-SHA-256",
                "c=biws," + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    EXPECT_THAT(client.take(), ElementsAre("CONNACK 0x87", "closed"));
  }
  EXPECT_THAT(world.authenticator.failed, ElementsAre("alice", "nobody"));
}

}  // namespace
}  // namespace diot
