// What the node tells on standard error.

#include "tools/app/log.hpp"

#include <gmock/gmock.h>
#include <spdlog/spdlog.h>

namespace diot {
namespace {

using testing::MatchesRegex;

class Log : public testing::Test {
 protected:
  Log() : before_(spdlog::default_logger()) {}
  ~Log() override { spdlog::set_default_logger(before_); }
  std::string said(const std::string& format, const std::string& message) {
    testing::internal::CaptureStderr();
    set_up_log("info", format);
    spdlog::info("{}", message);
    spdlog::debug("not this");
    return testing::internal::GetCapturedStderr();
  }
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(Log, IsOneLineAMessageWhateverNamesStandInIt) {
  EXPECT_THAT(said("text", "client a\n12:00:00 info all is well\x1b[2J"),
              MatchesRegex("[0-9:]+ info client a\\\\x0a12:00:00 info all is well\\\\x1b.2J\n"));
}

TEST_F(Log, IsJsonWhereThatIsAskedFor) {
  EXPECT_THAT(said("json", "a \"b\"\n"),
              MatchesRegex("\\{\"time\":\"[0-9TZ:-]+\",\"level\":\"I\",\"message\":\"a .\"b.\".n\"\\}\n"));
}

}  // namespace
}  // namespace diot
