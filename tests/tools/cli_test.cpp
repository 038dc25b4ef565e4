// The command line from its arguments to its exit code and output, with homes on disk; a node is played where one is needed.
#include "tools/app/cli.hpp"

#include <gmock/gmock.h>

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <atomic>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/ledger/ledger.hpp"
#include "core/words.hpp"
#include "tests/temporary_folder.hpp"
#include "tools/app/control.hpp"

namespace diot {
namespace {

using testing::HasSubstr;

struct Outcome {
  int code = -1;
  std::string out, err;
};

struct CliTest : testing::Test {
  CliTest() {
    crypto_init();
    ::setenv("DIOT_HOME", path.c_str(), 1);
  }
  Outcome run(std::vector<const char*> words) {
    words.insert(words.begin(), "diot");
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    Outcome outcome;
    outcome.code = run_command_line(static_cast<int>(words.size()), words.data(), program);
    std::fflush(stdout);
    outcome.out = testing::internal::GetCapturedStdout();
    outcome.err = testing::internal::GetCapturedStderr();
    return outcome;
  }
  Outcome init() {
    return run({"init", "--handle", "alice", "--mqtt", "127.0.0.1:0", "--overlay", "127.0.0.1:0", "--json"});
  }
  static std::string words_in(const std::string& text) {
    std::string words;
    std::istringstream stream(text.substr(std::min(text.find("\n   1 "), text.size())));
    for (std::string token; stream >> token;)
      if (!token.empty() && std::ranges::all_of(token, [](char c) { return c >= '0' && c <= '9'; }) && stream >> token)
        words += (words.empty() ? "" : " ") + token;
    return words;
  }

  TemporaryFolder folder;
  const std::string path = folder.path() + "/home";
  Program program;
};

/// A node that answers `wait` with what the test sets, and anything else with an error.
struct PlayedNode final : Api {
  explicit PlayedNode(const std::string& home) {
    std::filesystem::create_directories(home);
    EXPECT_TRUE(server.listen(home + "/api.sock"));
    thread = std::thread([this] { io.run(); });
  }
  ~PlayedNode() override {
    asio::post(io, [this] { server.shut_down(); });
    work.reset();
    thread.join();
  }
  void call(const std::string& verb, const Json& args, std::function<void(Result<Json>)> done) override {
    if (verb == "wait" && ++polls >= polls_until_done) return done(Json{{"done", true}});
    if (verb == "wait") return done(Json{{"done", false}, {"waiting_for", {"the handle of " + args.dump()}}});
    if (verb == "invite") return done(Json{{"invite", "diot:abc"}, {"uses", 1}, {"expires_ms", 0}});
    if (verb == "share list")
      return done(Json{{"handle", "alice"}, {"shares", {{{"filter", "a\x1b[31m/#"}, {"preset", "public"}}}}});
    done(fail(Errc::not_permitted, "only an admin may"));
  }
  std::atomic<int> polls = 0;
  const int polls_until_done = 3;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(io);
  ControlServer server{io, *this};
  std::thread thread;
};

TEST_F(CliTest, InitMakesAHomeWhoseLedgerCanBeReadOffline) {
  const auto made = init();
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(Json::parse(made.out)["handle"], "alice");
  const auto words = words_in(made.err);
  EXPECT_TRUE(check_words(words)) << made.err;

  const auto home = Home::open(path).value();
  EXPECT_EQ(owner_key(words, 0).public_key(), home.owner_key()->public_key());
  EXPECT_EQ(home.next_key_hash().value(), sha256(owner_key(words, 1).public_key()));
  EXPECT_EQ(load_config(home.config_path())->handle, "alice");

  const auto list = run({"ledger", "list", "--json"});
  ASSERT_EQ(list.code, 0) << list.err;
  EXPECT_EQ(Json::parse(list.out)["handles"][0]["handle"], "alice");
  const auto show = run({"ledger", "show", "alice"});
  EXPECT_EQ(show.code, 0) << show.err;
  EXPECT_THAT(show.out, HasSubstr("admin"));
  const auto verify = run({"ledger", "verify", "--json"});
  EXPECT_EQ(verify.code, 0) << verify.err;
  EXPECT_EQ(Json::parse(verify.out)["height"], 1);
  EXPECT_EQ(run({"ledger", "show", "nobody"}).code, 1);
}

TEST_F(CliTest, TheWordsAreInNoFile) {
  const auto words = words_in(init().err);
  const std::string first_three = words.substr(0, words.find(' ', words.find(' ', words.find(' ') + 1) + 1));
  for (const auto& file : std::filesystem::directory_iterator(path)) {
    std::ifstream stream(file.path());
    const std::string content{std::istreambuf_iterator<char>(stream), {}};
    EXPECT_EQ(content.find(first_three), content.npos) << file.path();
  }
}

TEST_F(CliTest, InitRefusesAHomeThatIsComplete) {
  ASSERT_EQ(init().code, 0);
  const auto genesis = Home::open(path)->genesis().value();
  const auto again = init();
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.err, HasSubstr("diot run"));
  EXPECT_EQ(Home::open(path)->genesis().value(), genesis);
}

TEST_F(CliTest, AnInterruptedInitStartsOver) {
  ASSERT_EQ(init().code, 0);
  std::filesystem::remove(path + "/genesis");
  const auto again = init();
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(run({"ledger", "verify"}).code, 0);
}

TEST_F(CliTest, InitChecksBeforeItWrites) {
  EXPECT_EQ(run({"init", "--handle", "Alice"}).code, 1);
  EXPECT_EQ(run({"init", "--handle", "alice", "--mqtt", "nonsense"}).code, 1);
  EXPECT_EQ(run({"init", "--handle", "alice", "--api", "0.0.0.0:8480"}).code, 1);
  EXPECT_FALSE(std::filesystem::exists(path + "/node.key"));
}

TEST_F(CliTest, VerifyFindsADamagedDatabase) {
  ASSERT_EQ(init().code, 0);
  const auto genesis = Home::open(path)->genesis().value();
  std::fstream file(path + "/diot.db", std::ios::in | std::ios::out | std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), {}};
  const auto at = content.find("alice");
  ASSERT_NE(at, content.npos) << "the block is in the file";
  file.clear();
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>('a' ^ 4));
  file.close();
  const auto verify = run({"ledger", "verify"});
  EXPECT_EQ(verify.code, 1);
  EXPECT_NE(verify.err, "");
}

TEST_F(CliTest, VerifyFindsADamagedGenesis) {
  ASSERT_EQ(init().code, 0);
  auto genesis = Home::open(path)->genesis().value();
  genesis[genesis.size() / 2] ^= 1;
  ASSERT_TRUE(write_file(path + "/genesis", genesis));
  EXPECT_EQ(run({"ledger", "verify"}).code, 1);
}

TEST_F(CliTest, JoinShowsTheWordsOnceAndGoesOnAfterAnInterruption) {
  Invite invite;
  Grant grant;
  grant.inviter = "alice";
  invite.token_seed = Seed{};
  grant.token = KeyPair::from_seed(Seed{}).public_key();
  grant.signer = KeyPair::from_seed(Seed{}).node_id();
  invite.grant = encode_grant(grant, KeyPair::from_seed(Seed{}));
  invite.addresses = {"127.0.0.1:1"};
  const std::string text = encode_invite(invite);
  std::optional<NodeId> first;
  // The first attempt dies after the entry has left, the second one finds it in the ledger.
  program.join_network = [&](const JoinRequest& request, Store&) -> Result<JoinResult> {
    EXPECT_TRUE(request.before_submit());
    first = request.node.node_id();
    return fail(Errc::io, "the inviting node is not in reach at 127.0.0.1:1");
  };
  const auto failed = run({"join", text.c_str(), "--handle", "bob"});
  EXPECT_EQ(failed.code, 1);
  EXPECT_THAT(failed.err, HasSubstr("127.0.0.1:1"));
  const auto words = words_in(failed.err);
  ASSERT_TRUE(check_words(words));

  const TemporaryFolder other;
  ::setenv("DIOT_HOME", (other.path() + "/a").c_str(), 1);
  ASSERT_EQ(init().code, 0);
  const auto genesis = Home::open(other.path() + "/a")->genesis().value();
  ::setenv("DIOT_HOME", path.c_str(), 1);

  program.join_network = [&](const JoinRequest& request, Store&) -> Result<JoinResult> {
    EXPECT_EQ(request.node.node_id(), first);
    EXPECT_EQ(request.owner.public_key(), owner_key(words, 0).public_key());
    EXPECT_TRUE(request.before_submit());
    return JoinResult{genesis, 7};
  };
  const auto joined = run({"join", text.c_str(), "--handle", "bob", "--json"});
  ASSERT_EQ(joined.code, 0) << joined.err;
  EXPECT_EQ(Json::parse(joined.out)["height"], 7);
  EXPECT_EQ(words_in(joined.err), "");
  EXPECT_EQ(Home::open(path)->genesis().value(), genesis);
}

TEST_F(CliTest, JoinCompletesAHomeWhileTheLedgerIsOutOfReach) {
  const TemporaryFolder other;
  ::setenv("DIOT_HOME", (other.path() + "/a").c_str(), 1);
  ASSERT_EQ(init().code, 0);
  const auto genesis = Home::open(other.path() + "/a")->genesis().value();
  ::setenv("DIOT_HOME", path.c_str(), 1);
  Invite invite;
  Grant grant;
  grant.inviter = "alice";
  grant.token = KeyPair::from_seed(invite.token_seed).public_key();
  grant.signer = KeyPair::from_seed(Seed{}).node_id();
  invite.grant = encode_grant(grant, KeyPair::from_seed(Seed{}));
  invite.addresses = {"127.0.0.1:1"};
  program.join_network = [&](const JoinRequest& request, Store& store) -> Result<JoinResult> {
    EXPECT_TRUE(request.before_submit());
    store.put(Table::meta, to_bytes("registration"), to_bytes("the entry"));
    return JoinResult{genesis, 0, "bob~234567abcdef", "the registrar is not in reach"};
  };
  const auto joined = run({"join", encode_invite(invite).c_str(), "--handle", "bob", "--json"});
  ASSERT_EQ(joined.code, 0) << joined.err;
  const auto answer = Json::parse(joined.out);
  EXPECT_EQ(answer["handle"], "bob");
  EXPECT_EQ(answer["provisional"], "bob~234567abcdef");
  EXPECT_TRUE(answer["height"].is_null());
  EXPECT_THAT(joined.err, HasSubstr("the registrar is not in reach"));
  EXPECT_THAT(joined.err, HasSubstr("@bob~234567abcdef until it is registered as @bob"));
  EXPECT_EQ(Home::open(path)->genesis().value(), genesis) << "it is complete";
}

TEST_F(CliTest, AWrongInviteMakesNoHome) {
  EXPECT_EQ(run({"join", "diot:rubbish", "--handle", "bob"}).code, 1);
  EXPECT_EQ(run({"join", "hello", "--handle", "bob"}).code, 1);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(CliTest, RunNeedsAHomeAndARightConfiguration) {
  const auto nothing = run({"run"});
  EXPECT_EQ(nothing.code, 1);
  EXPECT_THAT(nothing.err, HasSubstr("diot init"));
  ASSERT_EQ(init().code, 0);
  EXPECT_EQ(run({"run", "--check"}).code, 0);
  std::ofstream(path + "/diot.toml", std::ios::app) << "nonsense = 1\n";
  const auto wrong = run({"run", "--check"});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_THAT(wrong.err, HasSubstr("diot.toml:"));
  EXPECT_THAT(wrong.err, HasSubstr("nonsense"));
}

TEST_F(CliTest, RunTakesAddressesForThisTime) {
  ASSERT_EQ(init().code, 0);
  Config seen;
  program.run_node = [&](const Home&, const Config& config) {
    seen = config;
    return Result<void>{};
  };
  EXPECT_EQ(run({"run", "--mqtt", "127.0.0.1:7777"}).code, 0);
  EXPECT_EQ(seen.mqtt_listen, std::vector<std::string>{"127.0.0.1:7777"});
  EXPECT_EQ(seen.handle, "alice");
}

TEST_F(CliTest, ExitCodesSayWhatHappened) {
  EXPECT_EQ(run({"status"}).code, 3);
  EXPECT_THAT(run({"status"}).err, HasSubstr("diot init"));
  ASSERT_EQ(init().code, 0);
  EXPECT_EQ(run({"status"}).code, 3);
  EXPECT_THAT(run({"status"}).err, HasSubstr("diot run"));
  EXPECT_EQ(run({"nonsense"}).code, 2);
  EXPECT_EQ(run({"doctor"}).code, 1);
  EXPECT_THAT(run({"doctor"}).err, HasSubstr("not available yet"));
  EXPECT_EQ(run({"version"}).code, 0);
  EXPECT_EQ(run({"--help"}).code, 0);
  EXPECT_EQ(run({"wait", "--timeout", "0"}).code, 5);
  const PlayedNode node(path);
  EXPECT_EQ(run({"handle", "renew"}).code, 4);
}

TEST_F(CliTest, ErrorsAreJsonWhereJsonIsAsked) {
  const auto error = run({"status", "--json"});
  EXPECT_EQ(Json::parse(error.out)["code"], "not running");
}

TEST_F(CliTest, WaitWaitsForTheNodeAndTheCondition) {
  auto node = std::async(std::launch::async, [&] { return std::make_unique<PlayedNode>(path); });
  EXPECT_EQ(run({"wait", "--ready", "--timeout", "20"}).code, 0);
  const auto played = node.get();
  EXPECT_GE(played->polls, 3);
  played->polls = -1'000'000;
  const auto late = run({"wait", "--topic", "@alice/#", "--timeout", "0"});
  EXPECT_EQ(late.code, 5);
  EXPECT_THAT(late.err, HasSubstr("@alice/#"));
  EXPECT_EQ(run({"wait", "--topic", "a/#/b"}).code, 1);
}

TEST_F(CliTest, AnInviteIsOneLineOnStandardOutput) {
  const PlayedNode node(path);
  EXPECT_EQ(run({"invite"}).out, "diot:abc\n");
}

TEST_F(CliTest, StrangersNamesCannotDriveTheTerminal) {
  const PlayedNode node(path);
  const auto list = run({"share", "list"});
  EXPECT_EQ(list.out.find('\x1b'), list.out.npos);
  EXPECT_THAT(list.out, HasSubstr("\\x1b"));
}

}  // namespace
}  // namespace diot
