// What the log says of clients.

#include "bridge/notices.hpp"

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "tests/bridge/world.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class InTheLog : public testing::Test {
 protected:
  InTheLog() {
    auto log = std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_st>(text_));
    log->set_pattern("%v");
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(std::move(log));
  }
  ~InTheLog() override { spdlog::set_default_logger(before_); }
  std::string taken() {
    std::string out = text_.str();
    text_.str({});
    return out;
  }

  std::ostringstream text_;
  std::shared_ptr<spdlog::logger> before_;
};

TEST_F(InTheLog, ClientsCauseSomeLinesAtOnceAndOneASecond) {
  TestClock clock;
  Notices notices(clock);
  const auto lines = [&] {
    const std::string text = taken();
    return std::ranges::count(text, '\n');
  };
  for (unsigned i = 0; i < Notices::at_once + 7; ++i) notices.say("line");
  EXPECT_EQ(lines(), Notices::at_once);
  clock.advance(1s);
  notices.say("next");
  EXPECT_EQ(taken(), "7 lines about clients were left out\nnext\n");
  notices.say("too early");
  EXPECT_EQ(lines(), 0);
  clock.advance(1h);
  for (unsigned i = 0; i < Notices::at_once + 7; ++i) notices.say("line");
  EXPECT_EQ(lines(), Notices::at_once + 1);  // with the one that was left out
}

TEST_F(InTheLog, WhoIsRefusedOrThrownOutIsNamedWithTheReason) {
  World world;
  TestClient stranger(world), client(world);
  stranger.open();
  stranger.send_hex("10 0e 0004 4d515454 06 02 003c 00 0001 61");  // MQTT 6
  EXPECT_THAT(taken(), HasSubstr("is refused (0x84): MQTT 3.1, 3.1.1 and 5.0 are spoken here"));
  client.connect("lamp");
  client.connect("lamp");
  EXPECT_THAT(taken(), HasSubstr("mqtt: lamp at "));
}

}  // namespace
}  // namespace diot
