#include "tools/app/local_users.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "tests/temporary_folder.hpp"
#include "tools/app/home.hpp"

namespace diot {
namespace {

using testing::HasSubstr;

struct LocalUsersTest : testing::Test {
  Result<Json> change(const char* verb, const char* name, const char* password = "") {
    return change_users(folder.path(), config, verb, Json{{"name", name}}, password, random);
  }
  PasswordFile file() { return load_passwords(folder.path(), config).value(); }

  TemporaryFolder folder;
  Config config;
  SystemRandom random;
};

TEST_F(LocalUsersTest, AreAddedChangedListedAndRemoved) {
  ASSERT_TRUE(change("user add", "bob", "secret"));
  ASSERT_TRUE(change("user add", "ann", "pencil"));
  EXPECT_TRUE(is_password_of(file().users().at("bob"), as_bytes("secret")));
  ASSERT_TRUE(change("user passwd", "bob", "other"));
  EXPECT_TRUE(is_password_of(file().users().at("bob"), as_bytes("other")));
  EXPECT_EQ(change("user list", "")->dump(),
            R"({"users":[{"user":"ann","hash":"PBKDF2","scram":true},{"user":"bob","hash":"PBKDF2","scram":true}]})");
  ASSERT_TRUE(change("user remove", "bob"));
  EXPECT_EQ(file().users().size(), 1u);
}

TEST_F(LocalUsersTest, TheFileIsForItsOwnerOnly) {
  ASSERT_TRUE(change("user add", "bob", "secret"));
  struct stat status {};
  ASSERT_EQ(::stat((folder.path() + "/passwords").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(LocalUsersTest, MistakesNameTheWayOut) {
  ASSERT_TRUE(change("user add", "bob", "secret"));
  EXPECT_THAT(change("user add", "bob", "x").error().message, HasSubstr("diot user passwd bob"));
  EXPECT_THAT(change("user passwd", "ann", "x").error().message, HasSubstr("diot user add ann"));
  EXPECT_THAT(change("user remove", "ann").error().message, HasSubstr("diot user list"));
  EXPECT_EQ(change("user add", "a:b", "x").error().code, Errc::invalid);
  EXPECT_EQ(change("user add", "ann", "").error().code, Errc::invalid);
}

TEST_F(LocalUsersTest, TwoAtOnceLoseNothing) {
  std::thread other([&] {
    SystemRandom own;
    for (int at = 0; at < 5; ++at)
      ASSERT_TRUE(change_users(folder.path(), config, "user add", Json{{"name", "x" + std::to_string(at)}}, "p", own));
  });
  for (int at = 0; at < 5; ++at) ASSERT_TRUE(change("user add", ("y" + std::to_string(at)).c_str(), "p"));
  other.join();
  EXPECT_EQ(file().users().size(), 10u);
}

TEST_F(LocalUsersTest, OnlyFilesThatNobodyNamedMayBeMissing) {
  EXPECT_TRUE(file().users().empty());
  EXPECT_FALSE(load_acl(folder.path(), config).value());
  config.users_passwords = config.users_acl = "elsewhere";
  EXPECT_EQ(load_passwords(folder.path(), config).error().code, Errc::not_found);
  EXPECT_EQ(load_acl(folder.path(), config).error().code, Errc::not_found);
  EXPECT_TRUE(change("user add", "bob", "secret")) << "the first user makes the file";
  EXPECT_THAT(load_acl(folder.path(), config).error().message, HasSubstr("elsewhere, line 1: "));
}

TEST_F(LocalUsersTest, MadePasswordsAreLongAndDiffer) {
  EXPECT_EQ(make_password(random).size(), 20u);
  EXPECT_NE(make_password(random), make_password(random));
}

}  // namespace
}  // namespace diot
