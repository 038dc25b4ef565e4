#include "tools/app/home.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

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
