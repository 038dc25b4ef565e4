#include "tools/app/home.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "tests/temporary_folder.hpp"

namespace diot {
namespace {

using testing::HasSubstr;

unsigned mode_of(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 0777 : 0;
}

struct HomeTest : testing::Test {
  HomeTest() { crypto_init(); }
  TemporaryFolder folder;
  const std::string path = folder.path() + "/a/home";
  SystemRandom random;
};

TEST_F(HomeTest, IsForItsOwnerOnly) {
  const auto home = Home::create(path).value();
  ASSERT_TRUE(home.write_key("node", KeyPair::generate(random)));
  ASSERT_TRUE(home.write_config("version = 1\n"));
  ASSERT_TRUE(home.api_token(random));
  EXPECT_EQ(mode_of(path), 0700u);
  for (const char* file : {"/node.key", "/diot.toml", "/api.token"}) EXPECT_EQ(mode_of(path + file), 0600u) << file;
}

TEST_F(HomeTest, KeysComeBack) {
  const auto home = Home::create(path).value();
  const auto node = KeyPair::generate(random), owner = KeyPair::generate(random);
  ASSERT_TRUE(home.write_key("node", node));
  ASSERT_TRUE(home.write_key("owner", owner));
  EXPECT_EQ(home.node_key()->public_key(), node.public_key());
  EXPECT_EQ(home.owner_key()->public_key(), owner.public_key());
  EXPECT_EQ(home.witness_key().error().code, Errc::not_found);
  const Hash next = sha256(as_bytes("next"));
  ASSERT_TRUE(home.write_next_key_hash(next));
  EXPECT_EQ(home.next_key_hash().value(), next);
  const auto token = home.api_token(random).value();
  EXPECT_EQ(home.api_token(random).value(), token);
  EXPECT_EQ(token.size(), 43u);
}

TEST_F(HomeTest, IsCompleteWithItsGenesis) {
  EXPECT_EQ(Home::open(path).error().code, Errc::not_found);
  EXPECT_THAT(Home::open(path).error().message, HasSubstr("diot init"));
  const auto home = Home::create(path).value();
  EXPECT_TRUE(Home::create(path)) << "an interrupted init can be run again";
  ASSERT_TRUE(home.write_genesis(as_bytes("g")));
  EXPECT_TRUE(Home::open(path));
  EXPECT_EQ(Home::create(path).error().code, Errc::exists);
  EXPECT_THAT(Home::create(path).error().message, HasSubstr("diot run"));
}

TEST_F(HomeTest, MovesWhereverItsLastAttemptEnded) {
  // The renames of a move, in their order; before each the machine may have lost its power.
  const std::vector<std::pair<std::string, std::string>> renames{
      {"witness.key", "old/witness.key"}, {"diot.db-wal", "old/diot.db-wal"}, {"diot.db.mark", "old/diot.db.mark"},
      {"diot.db", "old/diot.db"},         {"moving/diot.db", "diot.db"},      {"diot.toml", "old/diot.toml"},
      {"moving/diot.toml", "diot.toml"},  {"genesis", "old/genesis"},         {"moving/genesis", "genesis"}};
  for (std::size_t done = 0; done < renames.size(); ++done) {
    SCOPED_TRACE(done);
    const std::string at = folder.path() + "/move-" + std::to_string(done);
    const auto home = Home::create(at).value();
    const auto node = KeyPair::generate(random);
    for (const auto* role : {"node", "owner", "witness"}) ASSERT_TRUE(home.write_key(role, node));
    ASSERT_TRUE(home.write_next_key_hash(Hash{}));
    for (const auto* file : {"diot.toml", "diot.db", "diot.db-wal", "diot.db.mark", "genesis", "passwords"})
      ASSERT_TRUE(write_file(at + "/" + file, as_bytes("old")));
    const auto move = home.begin_move("0123456789abcdef0123").value();
    ASSERT_EQ(move.old_folder, at + "/old-0123456789abcdef");
    for (const auto* file : {"diot.toml", "diot.db", "diot.db.mark"})
      ASSERT_TRUE(write_file(move.home.path() + "/" + file, as_bytes("new")));
    EXPECT_EQ(as_text(*home.genesis()), "old") << "until it is complete nothing has changed";
    ASSERT_TRUE(move.home.write_genesis(as_bytes("new")));
    for (std::size_t i = 0; i < done; ++i) {
      auto to = at + "/" + renames[i].second;
      if (const auto old = to.find("/old/"); old != std::string::npos) to.replace(old, 4, "/old-0123456789abcdef");
      std::filesystem::rename(at + "/" + renames[i].first, to);
    }
    ASSERT_TRUE(Home::open(at));
    const auto content = [&](const std::string& file) -> std::string {
      const auto bytes = read_file(at + "/" + file, 1000);
      return bytes ? std::string(as_text(*bytes)) : "";
    };
    for (const auto* file : {"diot.toml", "diot.db", "genesis"}) EXPECT_EQ(content(file), "new") << file;
    for (const auto* file : {"diot.toml", "diot.db", "diot.db-wal", "diot.db.mark", "genesis"})
      EXPECT_EQ(content("old-0123456789abcdef/" + std::string(file)), "old") << file;
    EXPECT_EQ(content("passwords"), "old") << "stays";
    EXPECT_EQ(content("diot.db-wal") + content("diot.db.mark") + content("witness.key"), "");
    EXPECT_EQ(Home::open(at + "/old-0123456789abcdef")->node_key()->public_key(), node.public_key());
    EXPECT_EQ(home.node_key()->public_key(), node.public_key());
    EXPECT_FALSE(std::filesystem::exists(at + "/moving"));
  }
}

TEST_F(HomeTest, AMoveThatIsNotCompleteChangesNothing) {
  const auto home = Home::create(path).value();
  const auto node = KeyPair::generate(random);
  for (const auto* role : {"node", "owner"}) ASSERT_TRUE(home.write_key(role, node));
  ASSERT_TRUE(home.write_next_key_hash(Hash{}));
  ASSERT_TRUE(write_file(home.database_path(), as_bytes("old")));
  ASSERT_TRUE(home.write_genesis(as_bytes("old")));
  const auto first = home.begin_move("network").value();
  ASSERT_TRUE(write_file(first.home.database_path(), as_bytes("half")));
  ASSERT_TRUE(Home::open(path));
  EXPECT_EQ(as_text(*read_file(home.database_path(), 100)), "old");
  const auto second = home.begin_move("network").value();
  EXPECT_EQ(second.old_folder, first.old_folder);
  EXPECT_FALSE(std::filesystem::exists(second.home.database_path())) << "what the first one left is gone";
  // The folder of a move that was made is not touched by the next one from the same network.
  ASSERT_TRUE(write_file(second.old_folder + "/genesis", as_bytes("kept")));
  EXPECT_EQ(home.begin_move("network")->old_folder, first.old_folder + "-2");
}

TEST_F(HomeTest, LeavesOtherPeoplesFoldersAlone) {
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  EXPECT_TRUE(Home::create(folder.path())) << "empty: made private";
  EXPECT_EQ(mode_of(folder.path()), 0700u);
  std::ofstream(folder.path() + "/letter") << "dear";
  EXPECT_TRUE(Home::create(folder.path()));
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  EXPECT_EQ(Home::create(folder.path()).error().code, Errc::not_permitted);
  EXPECT_EQ(mode_of(folder.path()), 0755u);
  EXPECT_EQ(Home::create(folder.path() + "/letter").error().code, Errc::exists);
}

TEST_F(HomeTest, WrongKeyFilesAreTold) {
  const auto home = Home::create(path).value();
  const auto put = [&](std::string_view text) { ASSERT_TRUE(write_file(path + "/node.key", as_bytes(text))); };
  for (const std::string& text :
       {std::string(), std::string("diot-key-1 node 00"), "diot-key-1 owner " + std::string(64, '0'),
        "diot-key-1 node " + std::string(63, '0') + "g", "diot-key-2 node " + std::string(64, '0'),
        std::string(300, 'x')}) {
    put(text);
    EXPECT_FALSE(home.node_key()) << text;
  }
  put("diot-key-1 node " + std::string(64, '0') + "\n");
  EXPECT_TRUE(home.node_key());
  ASSERT_EQ(::chmod((path + "/node.key").c_str(), 0644), 0);
  EXPECT_EQ(home.node_key().error().code, Errc::not_permitted);
  EXPECT_THAT(home.node_key().error().message, HasSubstr("chmod 600"));
}

TEST_F(HomeTest, FilesAreReplacedWhole) {
  const std::string file = folder.path() + "/file";
  ASSERT_TRUE(write_file(file, as_bytes("old")));
  ASSERT_TRUE(write_file(file, as_bytes(std::string(100'000, 'n'))));
  EXPECT_EQ(read_file(file, 200'000)->size(), 100'000u);
  EXPECT_EQ(read_file(file, 99'999).error().code, Errc::limit);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1) << "no temporary file is left";
  EXPECT_FALSE(write_file(folder.path() + "/none/file", as_bytes("x")));
}

TEST(HomePath, FollowsTheEnvironment) {
  ::setenv("DIOT_HOME", "/somewhere", 1);
  EXPECT_EQ(Home::default_path(), "/somewhere");
  ::unsetenv("DIOT_HOME");
  ::setenv("XDG_DATA_HOME", "/data", 1);
  EXPECT_EQ(Home::default_path(), "/data/diot");
  ::unsetenv("XDG_DATA_HOME");
  ::setenv("HOME", "/home/ann", 1);
  EXPECT_EQ(Home::default_path(), "/home/ann/.local/share/diot");
}

}  // namespace
}  // namespace diot
