// Passwords, rules and the slowing down of those who guess.

#include "bridge/users.hpp"

#include "bridge/scram.hpp"

#include <gmock/gmock.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <rapidcheck.h>

#include <deque>

#include "core/limits.hpp"
#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using testing::HasSubstr;

// What mosquitto_passwd 2.0.11 wrote for "secret".
const std::string pbkdf2_line =
    "bob:$7$101$W4miCDElYLRzS2YD$Bl84NFWgnkUN5M1bHtGs2Aq6/"
    "5LbRfKF3uLSCCUIxgoQIkPgk3BENrwwDmYlGGXsniF+5H0B9FUQjo3iokD7CA==\n";
const std::string sha512_line =
    "bob:$6$nWkc9jAyndOWfgAf$F4l9DRO+35c5QIra7RU/"
    "p6RR89MX7RTcurhTpbpm3Ax4k7fiVehn1C3BsQE20WguiFihhdD2sANCswETSJCeBA==\n";

// Password file ----------------------------------------------------------------------------------------------

TEST(PasswordFile, ReadsWhatMosquittoWrites) {
  for (const auto& line : {pbkdf2_line, sha512_line}) {
    const auto file = PasswordFile::parse(line).value();
    const auto& record = file.users().at("bob");
    EXPECT_TRUE(is_password_of(record, as_bytes("secret")));
    EXPECT_FALSE(is_password_of(record, as_bytes("Secret")));
    EXPECT_FALSE(is_password_of(record, {}));
    EXPECT_EQ(file.text(), line);
  }
}

TEST(PasswordFile, WhatIsMadeIsReadAgain) {
  TestRandom random;
  PasswordFile file = PasswordFile::parse("# devices\n" + pbkdf2_line).value();
  file.set("alice", make_password_record(as_bytes("wonder"), random));
  EXPECT_TRUE(file.erase("bob"));
  EXPECT_FALSE(file.erase("bob"));
  const auto again = PasswordFile::parse(file.text()).value();
  EXPECT_THAT(file.text(), testing::StartsWith("# devices\nalice:$7$"));
  ASSERT_EQ(again.users().size(), 1u);
  const auto& record = again.users().at("alice");
  EXPECT_EQ(record, file.users().at("alice"));
  EXPECT_TRUE(is_password_of(record, as_bytes("wonder")));
  ASSERT_TRUE(record.scram);
  EXPECT_EQ(record.scram->salt, file.users().at("alice").scram->salt);
  EXPECT_EQ(record.scram->server_key, file.users().at("alice").scram->server_key);
  EXPECT_EQ(record.scram->stored_key, file.users().at("alice").scram->stored_key);
}

TEST(PasswordFile, LineEndsOfOtherSystemsAreNotKept) {
  const auto once =
      PasswordFile::parse("# devices\r\r\n" + pbkdf2_line.substr(0, pbkdf2_line.size() - 1) + "\r\n").value();
  EXPECT_EQ(once.text(), "# devices\n" + pbkdf2_line);
}

TEST(PasswordFile, WhatIsWrongIsNamedWithItsLine) {
  const auto error_of = [](const std::string& text) {
    const auto parsed = PasswordFile::parse(text);
    return parsed ? "" : parsed.error().message;
  };
  EXPECT_THAT(error_of("\nbob\n"), HasSubstr("line 2: 'bob' has no password hash"));
  EXPECT_THAT(error_of("bob:plain\n"), HasSubstr("diot user passwd bob"));
  EXPECT_THAT(error_of(":$6$"), HasSubstr("line 1: a user's name"));
  EXPECT_THAT(error_of(pbkdf2_line + pbkdf2_line), HasSubstr("line 2: 'bob' is there twice"));
  for (const char* hash : {"$7$0$AAAA$AAAA", "$7$101$AAAA$AAAA", "$7$99999999999$AAAA$AAAA", "$5$AAAA$AAAA", "$6$AAAA",
                           "$7$101$A===$AAAA", "$6$-AAA$AAAA"})
    EXPECT_THAT(error_of(std::string("bob:") + hash), HasSubstr("line 1")) << hash;
}

TEST(PasswordFile, IsBounded) {
  const std::string hash = sha512_line.substr(sha512_line.find(':'));
  std::string text;
  for (std::size_t at = 0; at < limits::users_max; ++at) text += std::to_string(at) + hash;
  EXPECT_TRUE(PasswordFile::parse(text));
  EXPECT_THAT(PasswordFile::parse(text + "more" + hash).error().message,
              HasSubstr("line 10001: there are more than 10000 users"));
  const auto with_iterations = [](std::uint32_t count) {
    std::string line = pbkdf2_line;
    return PasswordFile::parse(line.replace(line.find("101"), 3, std::to_string(count)));
  };
  EXPECT_TRUE(with_iterations(limits::password_iterations_max));
  EXPECT_FALSE(with_iterations(limits::password_iterations_max + 1));
}

TEST(PasswordFile, APasswordThatIsNoTextHasNoKeysForScram) {
  TestRandom random;
  EXPECT_FALSE(make_password_record(as_bytes("a\x07"), random).scram);
  const auto record = make_password_record(as_bytes("\u2168"), random);  // SASLprep: IX
  ASSERT_TRUE(record.scram);
  EXPECT_EQ(record.scram->stored_key,
            make_scram_credentials("IX", record.scram->salt, record.scram->iterations).stored_key);
  EXPECT_TRUE(is_password_of(record, as_bytes("\u2168"))) << "without SCRAM it is bytes";
  EXPECT_FALSE(is_password_of(record, as_bytes("IX")));
}

TEST(PasswordFile, NoMutationIsMisread) {
  EXPECT_TRUE(rc::check([] {
    std::string text = pbkdf2_line;
    for (int change = *rc::gen::inRange(1, 5); change > 0; --change)
      text[*rc::gen::inRange<std::size_t>(0, text.size())] = static_cast<char>(*rc::gen::inRange(0, 256));
    const auto parsed = PasswordFile::parse(text);
    if (parsed) RC_ASSERT(PasswordFile::parse(parsed->text())->users() == parsed->users());
  }));
}

// Rules ------------------------------------------------------------------------------------------------------

struct AclTest : testing::Test {
  void rules(const std::string& text) { acl = AclFile::parse(text).value(); }
  bool reads(const char* user, const char* topic, const char* client = "c1") {
    return acl.may({user, client}, Access::read, topic);
  }
  bool writes(const char* user, const char* topic, const char* client = "c1") {
    return acl.may({user, client}, Access::publish, topic);
  }
  bool subscribes(const char* user, const char* filter, const char* client = "c1") {
    return acl.may({user, client}, Access::subscribe, filter);
  }
  AclFile acl;
};

TEST_F(AclTest, NothingIsAllowedThatIsNotSaid) {
  rules("");
  EXPECT_FALSE(reads("", "a"));
  EXPECT_FALSE(writes("bob", "a"));
  EXPECT_FALSE(subscribes("bob", "#"));
}

TEST_F(AclTest, LinesBelongToTheUserAboveThemAndTheFirstOnesToAnonymousClients) {
  rules("topic read public/#\n\n# comment\nuser bob\ntopic house/#\ntopic write log\nuser ann\ntopic readwrite x y\n");
  EXPECT_TRUE(reads("", "public/a"));
  EXPECT_FALSE(writes("", "public/a"));
  EXPECT_FALSE(reads("bob", "public/a"));
  EXPECT_TRUE(reads("bob", "house/door"));
  EXPECT_TRUE(writes("bob", "house/door"));
  EXPECT_TRUE(writes("bob", "log"));
  EXPECT_FALSE(reads("bob", "log"));
  EXPECT_TRUE(writes("ann", "x y"));
  EXPECT_FALSE(writes("eve", "house/door"));
}

TEST_F(AclTest, DenialsComeFirstWhereverTheyStand) {
  rules("user bob\ntopic house/#\ntopic deny house/safe\npattern deny secret/%u\npattern secret/#\n");
  EXPECT_FALSE(reads("bob", "house/safe"));
  EXPECT_TRUE(reads("bob", "house/door"));
  EXPECT_FALSE(writes("bob", "secret/bob"));
  EXPECT_TRUE(writes("bob", "secret/ann"));
}

TEST_F(AclTest, PatternsStandForTheUserAndTheClient) {
  rules("pattern write dev/%c/%u/#\npattern read all\n");
  EXPECT_TRUE(writes("bob", "dev/c1/bob/x", "c1"));
  EXPECT_FALSE(writes("bob", "dev/c2/bob/x", "c1"));
  EXPECT_FALSE(writes("ann", "dev/c1/bob/x", "c1"));
  EXPECT_TRUE(reads("", "all"));
  EXPECT_FALSE(writes("", "dev/c1//x", "c1"));
}

TEST_F(AclTest, NamesThatWouldBeMoreThanALevelAreDenied) {
  rules("pattern read dev/%c/#\npattern read all\n");
  for (const char* client : {"+", "#", "a/b"}) EXPECT_FALSE(reads("bob", "all", client)) << client;
  EXPECT_FALSE(reads("bob", "dev/other/x", "+"));
}

TEST_F(AclTest, SystemTopicsNeedARuleOfTheirOwn) {
  rules("topic read #\nuser bob\ntopic read $SYS/#\n");
  EXPECT_FALSE(reads("", "$SYS/broker/version"));
  EXPECT_TRUE(reads("bob", "$SYS/broker/version"));
}

TEST_F(AclTest, OtherHomesAreWrittenOnlyByARuleThatNamesThem) {
  rules("user bob\ntopic #\nuser ann\ntopic write @alice/lamp\n");
  EXPECT_FALSE(writes("bob", "@alice/lamp"));
  EXPECT_TRUE(reads("bob", "@alice/lamp"));
  EXPECT_TRUE(writes("ann", "@alice/lamp"));
  EXPECT_FALSE(writes("ann", "@alice/door"));
}

TEST_F(AclTest, ASubscriptionNeedsSomethingToRead) {
  rules("user bob\ntopic read house/+/temp\ntopic write out/#\ntopic deny house/safe/#\n");
  EXPECT_TRUE(subscribes("bob", "#"));
  EXPECT_TRUE(subscribes("bob", "house/kitchen/temp"));
  EXPECT_TRUE(subscribes("bob", "house/kitchen/#"));
  EXPECT_FALSE(subscribes("bob", "out/#"));
  EXPECT_FALSE(subscribes("bob", "house/safe/temp"));
  EXPECT_FALSE(subscribes("bob", "garden/#"));
}

TEST_F(AclTest, WhatIsWrongIsNamedWithItsLine) {
  const auto error_of = [](const std::string& text) {
    const auto parsed = AclFile::parse(text);
    return parsed ? "" : parsed.error().message;
  };
  EXPECT_THAT(error_of("user\n"), HasSubstr("line 1: `user` needs a name"));
  EXPECT_THAT(error_of("user bob\ntopics x\n"), HasSubstr("line 2: 'topics' is none of"));
  EXPECT_THAT(error_of("topic raed x\n"), HasSubstr("'raed' is none of"));
  EXPECT_THAT(error_of("topic read a/#/b\n"), HasSubstr("no topic filter"));
  EXPECT_THAT(error_of("topic\n"), HasSubstr("needs a topic"));
}

TEST_F(AclTest, IsBounded) {
  std::string text = "user bob\n";
  for (std::size_t at = 0; at < limits::acl_rules_max; ++at) text += "topic t/" + std::to_string(at) + "\n";
  EXPECT_TRUE(AclFile::parse(text));
  EXPECT_THAT(AclFile::parse(text + "topic more\n").error().message,
              HasSubstr("line 10002: there are more than 10000 rules"));
}

TEST_F(AclTest, DeniedIsDeniedWhateverElseIsThere) {
  EXPECT_TRUE(rc::check([this] {
    std::vector<std::string> lines{"topic deny a/b", "topic readwrite #", "topic read a/#", "topic write +/b"};
    const auto order = *rc::gen::container<std::vector<int>>(8, rc::gen::inRange(0, 4));
    std::string text = "user bob\n";
    for (const int line : order) text += lines[static_cast<std::size_t>(line)] + "\n";
    rules(text + lines[0] + "\n");
    RC_ASSERT(!reads("bob", "a/b") && !writes("bob", "a/b") && !subscribes("bob", "a/b"));
  }));
}

// LoginLimiter -----------------------------------------------------------------------------------------------

TEST(LoginLimiter, AllowsABurstAndThenOneAtATime) {
  LoginLimiter limiter(3);
  Monotonic now{std::chrono::hours(1)};
  for (int at = 0; at < 3; ++at) EXPECT_TRUE(limiter.take("a", now));
  EXPECT_FALSE(limiter.take("a", now));
  EXPECT_TRUE(limiter.take("b", now)) << "another is not concerned";
  now += limits::login_refill;
  EXPECT_TRUE(limiter.take("a", now));
  EXPECT_FALSE(limiter.take("a", now));
  now += 10 * limits::login_refill;
  for (int at = 0; at < 3; ++at) EXPECT_TRUE(limiter.take("a", now));
  EXPECT_FALSE(limiter.take("a", now));
}

TEST(LoginLimiter, SuccessCostsNothing) {
  LoginLimiter limiter(1);
  const Monotonic now{std::chrono::hours(1)};
  for (int at = 0; at < 100; ++at) {
    ASSERT_TRUE(limiter.take("a", now));
    limiter.give_back("a", now);
  }
  EXPECT_EQ(limiter.size(), 0u);
}

TEST(LoginLimiter, IsBoundedAndThenSharesOneAllowance) {
  LoginLimiter limiter(2);
  const Monotonic now{std::chrono::hours(1)};
  for (std::size_t at = 0; at < limits::login_keys_max; ++at) ASSERT_TRUE(limiter.take(std::to_string(at), now));
  EXPECT_TRUE(limiter.take("x", now));
  EXPECT_TRUE(limiter.take("y", now));
  EXPECT_FALSE(limiter.take("z", now));
  EXPECT_EQ(limiter.size(), limits::login_keys_max);
  EXPECT_TRUE(limiter.take("z", now + limits::login_refill));
  EXPECT_EQ(limiter.size(), 1u) << "those who have not failed lately are forgotten";
}

// Users ------------------------------------------------------------------------------------------------------

struct UsersTest : testing::Test {
  UsersTest()
      : users([this](auto work, auto then) { slow.emplace_back(std::move(work), std::move(then)); }, clock, random) {
    local.anonymous_allowed = true;
    local.address = "127.0.0.1:1000";
    stranger.anonymous_allowed = false;
    stranger.address = "192.0.2.1:1000";
  }
  void with_bob() { users.set_passwords(PasswordFile::parse(pbkdf2_line).value()); }

  /// The verdict; "…" if none came before it returned.
  std::string log_in(const Peer& peer, std::optional<std::string> user = {}, std::optional<std::string> password = {}) {
    std::string out = "…";
    Authenticator::Login login{peer, "c1", {}, {}};
    if (user) login.user_name = *user;
    if (password) login.password = as_bytes(*password);
    verdict = &out;
    users.check(login, [this, at = &out](Authenticator::Verdict given) {
      std::string text =
          given.reason == Reason::success ? "as " + given.user : to_hex(Bytes{static_cast<std::uint8_t>(given.reason)});
      (verdict == at ? *at : late) = text;
    });
    if (out == "…" && run_at_once) run(), out = late.empty() ? out : std::exchange(late, {});
    verdict = nullptr;
    return out;
  }
  void run() {
    std::string* const was = std::exchange(verdict, nullptr);
    while (!slow.empty()) {
      auto [work, then] = std::move(slow.front());
      slow.pop_front();
      work();
      then();
    }
    verdict = was;
  }

  TestClock clock;
  TestRandom random;
  std::deque<std::pair<std::function<void()>, std::function<void()>>> slow;
  Users users;
  Peer local, stranger;
  std::string* verdict = nullptr;
  std::string late;
  bool run_at_once = true;
};

TEST_F(UsersTest, AnonymousWhereTheListenerAllowsIt) {
  EXPECT_EQ(log_in(local), "as ");
  EXPECT_EQ(log_in(stranger), "87");
}

TEST_F(UsersTest, ANameThatNobodyCanCheckGivesNoRights) {
  EXPECT_EQ(log_in(local, "bob", "anything"), "as ");
  EXPECT_EQ(log_in(stranger, "bob", "anything"), "87");
}

TEST_F(UsersTest, ThePasswordDecidesEverywhere) {
  with_bob();
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "as bob");
  EXPECT_EQ(log_in(stranger, "bob", "wrong"), "86");
  EXPECT_EQ(log_in(stranger, "bob"), "86");
  EXPECT_EQ(log_in(stranger, "eve", "secret"), "86");
  EXPECT_EQ(log_in(local, "bob", "wrong"), "86");
  EXPECT_EQ(log_in(local), "as ");
  EXPECT_EQ(users.failed_logins(), 4u);
}

TEST_F(UsersTest, WhomTlsHasProvenNeedsNoPassword) {
  with_bob();
  stranger.user = "lamp";
  EXPECT_EQ(log_in(stranger, "bob", "wrong"), "as lamp");
  EXPECT_TRUE(slow.empty());
}

TEST_F(UsersTest, ARightPasswordIsHashedOnce) {
  with_bob();
  log_in(stranger, "bob", "secret");
  run_at_once = false;
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "as bob");
  EXPECT_TRUE(slow.empty());
  with_bob();  // read again: nothing is taken for granted
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "…");
}

TEST_F(UsersTest, WhoseRecordGoesWhileItIsCheckedIsRefused) {
  with_bob();
  run_at_once = false;
  log_in(stranger, "bob", "secret");
  users.set_passwords({});
  run();
  EXPECT_EQ(late, "86");
}

TEST_F(UsersTest, GuessingIsSlowedDownByAddress) {
  with_bob();
  for (int at = 0; at < limits::login_burst_per_address; ++at)
    EXPECT_EQ(log_in(stranger, "user" + std::to_string(at), "x"), "86");
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "9f");
  stranger.address = "192.0.2.1:2000";  // another port is the same guesser
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "9f");
  stranger.address = "192.0.2.2:1000";
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "as bob");
  stranger.address = "192.0.2.1:1000";
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "as bob") << "who is known to be right is no guesser";
  clock.advance(limits::login_refill);
  EXPECT_EQ(log_in(stranger, "bob", "wrong"), "86");
  EXPECT_EQ(log_in(stranger, "bob", "wrong"), "9f");
}

TEST_F(UsersTest, GuessingIsSlowedDownByUser) {
  with_bob();
  for (int at = 0; at < limits::login_burst_per_user; ++at) {
    stranger.address = "192.0.2." + std::to_string(at) + ":1000";
    EXPECT_EQ(log_in(stranger, "bob", "x"), "86");
  }
  stranger.address = "198.51.100.1:1000";
  EXPECT_EQ(log_in(stranger, "bob", "x"), "9f");
  EXPECT_EQ(log_in(stranger, "ann", "x"), "86");
}

TEST_F(UsersTest, OneIpv6NetworkIsOneAddress) {
  with_bob();
  for (int at = 0; at < limits::login_burst_per_address; ++at) {
    stranger.address = "[2001:db8:1:2:" + std::to_string(at) + "::1]:1000";
    EXPECT_EQ(log_in(stranger, "user" + std::to_string(at), "x"), "86");
  }
  stranger.address = "[2001:db8:1:2:ffff::1]:1000";
  EXPECT_EQ(log_in(stranger, "bob", "x"), "9f");
  stranger.address = "[2001:db8:1:3::1]:1000";
  EXPECT_EQ(log_in(stranger, "bob", "x"), "86");
}

TEST_F(UsersTest, GuessesUnderWayCountAsGuesses) {
  with_bob();
  run_at_once = false;
  for (int at = 0; at < limits::login_burst_per_address; ++at)
    EXPECT_EQ(log_in(stranger, "user" + std::to_string(at), "x"), "…");
  EXPECT_EQ(log_in(stranger, "bob", "x"), "9f");
}

TEST_F(UsersTest, AUserIsAnotherOneWithAnotherPassword) {
  EXPECT_EQ(users.version_of("bob"), 0u);
  with_bob();
  const auto version = users.version_of("bob");
  EXPECT_NE(version, 0u);
  EXPECT_EQ(users.version_of("ann"), 0u);
  with_bob();
  EXPECT_EQ(users.version_of("bob"), version);
  users.set_passwords(PasswordFile::parse(sha512_line).value());
  EXPECT_NE(users.version_of("bob"), version);
}

TEST_F(UsersTest, TheQueueOfTheHashingThreadIsBounded) {
  with_bob();
  run_at_once = false;
  for (std::size_t at = 0; at < limits::password_checks_max; ++at) {
    stranger.address = "192.0." + std::to_string(at / 250) + "." + std::to_string(at % 250) + ":1000";
    ASSERT_EQ(log_in(stranger, "user" + std::to_string(at), "x"), "…");
  }
  stranger.address = "198.51.100.1:1000";
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "89");
  run();
  run_at_once = true;
  EXPECT_EQ(log_in(stranger, "bob", "secret"), "as bob");
}

TEST_F(UsersTest, RulesApplyAsSoonAsThereAreSome) {
  const Principal bob{"bob", "c1"};
  EXPECT_TRUE(users.unrestricted(bob));
  EXPECT_TRUE(users.may(bob, Access::publish, "a"));
  EXPECT_FALSE(users.may(bob, Access::publish, "@alice/a")) << "that takes a rule";
  users.set_acl(AclFile::parse("user bob\ntopic @alice/#\n").value());
  EXPECT_FALSE(users.unrestricted(bob));
  EXPECT_FALSE(users.may(bob, Access::publish, "a"));
  EXPECT_TRUE(users.may(bob, Access::publish, "@alice/a"));
  EXPECT_FALSE(users.may({"", "c1"}, Access::publish, "@alice/a"));
  users.set_acl({});
  EXPECT_TRUE(users.may(bob, Access::publish, "a"));
}

TEST_F(UsersTest, ScramKnowsTheUsersThatHaveTheirKeys) {
  EXPECT_FALSE(users.offers_scram());
  with_bob();
  EXPECT_FALSE(users.offers_scram()) << "mosquitto's line has no keys for it";
  PasswordFile file;
  file.set("ann", make_password_record(as_bytes("pencil"), random));
  users.set_passwords(file);
  EXPECT_TRUE(users.offers_scram());
  const auto keys = users.scram_credentials(stranger, "ann").value();
  // RFC 5802 section 3, by OpenSSL alone.
  std::array<std::uint8_t, 32> salted, expected;
  PKCS5_PBKDF2_HMAC("pencil", 6, keys.salt.data(), static_cast<int>(keys.salt.size()),
                    static_cast<int>(keys.iterations), EVP_sha256(), 32, salted.data());
  unsigned size = 0;
  HMAC(EVP_sha256(), salted.data(), 32, as_bytes("Server Key").data(), 10, expected.data(), &size);
  EXPECT_EQ(keys.server_key, expected);
  EXPECT_EQ(users.scram_credentials(stranger, "bob").error(), Reason::bad_user_name_or_password);
  for (int at = 0; at < limits::login_burst_per_address; ++at) users.scram_failed(stranger, "ann");
  EXPECT_EQ(users.scram_credentials(stranger, "ann").error(), Reason::connection_rate_exceeded);
}

}  // namespace
}  // namespace diot
