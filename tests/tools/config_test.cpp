#include "tools/app/config.hpp"

#include <gmock/gmock.h>
#include <rapidcheck.h>

#include <functional>

#include "core/limits.hpp"
#include "tests/temporary_folder.hpp"
#include "tools/app/home.hpp"

namespace diot {
namespace {

using testing::HasSubstr;

std::string errors_of(std::string_view text) {
  const auto parsed = parse_config(text, "diot.toml");
  return parsed ? "" : parsed.error().message;
}
const std::string head = "version = 1\nhandle = \"alice\"\n";

TEST(Config, WhatIsWrittenIsReadAgain) {
  Config config;
  config.handle = "alice";
  config.mqtt_listen = {"127.0.0.1:18831", "[::1]:0"};
  config.api_listen = {};
  config.overlay_addresses = {"home.example.org:42220"};
  config.log_format = "json";
  EXPECT_EQ(parse_config(to_toml(config), "f").value(), config);
}

TEST(Config, WrittenFilesExplainEverySetting) {
  const std::string text = to_toml(Config{});
  for (const char* key : {"handle = ", "[mqtt]", "listen = ", "[overlay]", "addresses = ", "[log]", "level = "})
    EXPECT_THAT(text, HasSubstr(key));
  EXPECT_THAT(text, HasSubstr("# Where MQTT clients connect"));
}

TEST(Config, DefaultsStandForWhatIsMissing) {
  const auto config = parse_config(head, "f").value();
  EXPECT_EQ(config.mqtt_listen, std::vector<std::string>{"127.0.0.1:1883"});
  EXPECT_EQ(config.handle, "alice");
}

TEST(Config, OneElementNeedsNoBrackets) {
  EXPECT_EQ(parse_config(head + "mqtt.listen = \"127.0.0.1:7\"", "f")->mqtt_listen,
            std::vector<std::string>{"127.0.0.1:7"});
}

TEST(Config, ErrorsHaveLineAndColumnAndTheWayOut) {
  EXPECT_THAT(errors_of(head + "[mqtt]\nlisten = \"127.0.0.1:99999\"\n"), HasSubstr("diot.toml:4:10: mqtt.listen: "));
  EXPECT_THAT(errors_of(head + "[mqtt]\nlisten = [\"127.0.0.1:1\", 7]\n"),
              HasSubstr("diot.toml:4:26: mqtt.listen must be"));
  EXPECT_THAT(errors_of(head + "[mqtt\n"), HasSubstr("diot.toml:3:"));
  EXPECT_THAT(errors_of("version = 1\nhandle = \"A\"\n"), HasSubstr("diot.toml:2:10: handle"));
  EXPECT_THAT(errors_of("handle = \"alice\"\n"), HasSubstr("diot.toml:1:1: the line `version = 1` is missing"));
  EXPECT_THAT(errors_of("version = 2\nhandle = \"alice\"\n"), HasSubstr("diot.toml:1:11: version must be 1"));
  EXPECT_THAT(errors_of("version = 1\n"), HasSubstr("handle is missing"));
  EXPECT_THAT(errors_of(head + "log.level = \"lots\"\n"), HasSubstr("diot.toml:3:13: log.level: 'lots' is not one of"));
}

TEST(Config, UnknownSettingsAreErrorsWithASuggestion) {
  EXPECT_THAT(errors_of(head + "[mqtt]\nlistn = \"127.0.0.1:1\"\n"),
              HasSubstr("diot.toml:4:1: there is no setting 'mqtt.listn'; did you mean 'mqtt.listen'?"));
  EXPECT_THAT(errors_of(head + "[mqqt]\nlisten = \"127.0.0.1:1\"\n"), HasSubstr("did you mean 'mqtt.listen'?"));
  EXPECT_THAT(errors_of(head + "[elsewhere]\n"), HasSubstr("there is no setting 'elsewhere'"));
}

TEST(Config, EveryErrorIsTold) {
  const auto text = errors_of(head + "mqtt.listen = 1\nlog.level = \"x\"\nnonsense = 1\n");
  EXPECT_EQ(std::ranges::count(text, '\n'), 2) << text;
}

TEST(Config, TheApiStaysOnThisMachine) {
  EXPECT_THAT(errors_of(head + "api.listen = \"0.0.0.0:8480\"\n"), HasSubstr("other machines"));
  EXPECT_EQ(errors_of(head + "overlay.listen = \"0.0.0.0:42220\"\n"), "");
}

TEST(Config, ListenersAreTablesWithTheirOwnRules) {
  const auto config = parse_config(head + R"(
[[listener]]
listen = "0.0.0.0:8883"
certificate = "server.crt"
key = "server.key"
client_ca = "ca.crt"
require_certificate = true
identity_as_user = true

[[listener]]
listen = "/run/diot/mqtt.sock"
mode = "0600"

[[listener]]
listen = "127.0.0.1:9001"
protocol = "websocket"
origins = ["https://panel.example"]
allow_anonymous = false
max_connections = 7
)",
                                   "f")
                          .value();
  ASSERT_EQ(config.listeners.size(), 3u);
  EXPECT_EQ(config.listeners[0].certificate, "server.crt");
  EXPECT_TRUE(config.listeners[0].require_certificate);
  EXPECT_EQ(config.listeners[0].scheme(), "mqtts");
  EXPECT_TRUE(config.listeners[1].is_unix());
  EXPECT_TRUE(config.listeners[1].anonymous_allowed());
  EXPECT_EQ(config.listeners[2].max_connections, 7u);
  EXPECT_EQ(config.listeners[2].origins, std::vector<std::string>{"https://panel.example"});
  EXPECT_FALSE(config.listeners[2].anonymous_allowed());
  EXPECT_EQ(parse_config(to_toml(config), "f").value(), config);
  // Those of the short form come first.
  ASSERT_EQ(config.all_listeners().size(), 4u);
  EXPECT_EQ(config.all_listeners()[0].listen, "127.0.0.1:1883");
}

TEST(Config, WhatAListenerLacksIsSaid) {
  const std::string one = head + "[[listener]]\n";
  EXPECT_THAT(errors_of(one), HasSubstr("diot.toml:3:1: listener: the setting listen is missing"));
  EXPECT_THAT(errors_of(one + "listen = \"x\"\n"), HasSubstr("diot.toml:4:10: listener.listen: "));
  const std::string open = one + "listen = \"127.0.0.1:1\"\n";
  EXPECT_EQ(errors_of(open), "");
  EXPECT_THAT(errors_of(open + "certificat = \"x\"\n"),
              HasSubstr("diot.toml:5:1: there is no setting 'listener.certificat'; did you mean 'certificate'?"));
  EXPECT_THAT(errors_of(open + "certificate = \"x\"\n"), HasSubstr("certificate and key need each other"));
  EXPECT_THAT(errors_of(open + "require_certificate = true\n"), HasSubstr("require_certificate needs client_ca"));
  EXPECT_THAT(errors_of(open + "client_ca = \"x\"\n"), HasSubstr("needs the listener's own certificate"));
  EXPECT_THAT(errors_of(open + "identity_as_user = true\n"), HasSubstr("client_ca or psk_file"));
  EXPECT_THAT(errors_of(open + "origins = [\"https://a.example\"]\n"), HasSubstr("websocket"));
  EXPECT_THAT(errors_of(open + "protocol = \"websockets\"\n"), HasSubstr("did you mean 'websocket'?"));
  EXPECT_THAT(errors_of(open + "allow_anonymous = \"yes\"\n"), HasSubstr("must be true or false"));
  EXPECT_THAT(errors_of(open + "max_connections = 0\n"), HasSubstr("a number from 1 to"));
  EXPECT_THAT(errors_of(open + "mode = \"rw\"\n"), HasSubstr("octal"));
  EXPECT_THAT(errors_of(head + "[listener]\nlisten = \"127.0.0.1:1\"\n"), HasSubstr("write [[listener]]"));
  std::string many = head;
  for (int at = 0; at < 40; ++at) many += "[[listener]]\nlisten = \"127.0.0.1:1\"\n";
  EXPECT_THAT(errors_of(many), HasSubstr("more than 32"));
}

TEST(Config, TablesAreBounded) {
  const auto refused = [](const std::string& text) {
    return !parse_config("version = 1\nhandle = \"alice\"\n" + text, "f");
  };
  const auto times = [](std::size_t count, const std::function<std::string(std::size_t)>& one) {
    std::string out;
    for (std::size_t at = 0; at < count; ++at) out += one(at);
    return out;
  };
  const auto listener = [](std::size_t at) {
    return "[[listener]]\nlisten = \"127.0.0.1:" + std::to_string(2000 + at) + "\"\n";
  };
  EXPECT_FALSE(refused(times(limits::listeners_max, listener)));
  EXPECT_TRUE(refused(times(limits::listeners_max + 1, listener)));
  const auto upstream = [](std::size_t at) {
    return "[[upstream]]\nname = \"u" + std::to_string(at) + "\"\naddress = \"h:1\"\ntopics = [\"t\"]\n";
  };
  EXPECT_FALSE(refused(times(limits::upstreams_max, upstream)));
  EXPECT_TRUE(refused(times(limits::upstreams_max + 1, upstream)));
  const auto topics = [&](std::size_t count) {
    return "[[upstream]]\nname = \"u\"\naddress = \"h:1\"\ntopics = [" +
           times(count, [](std::size_t at) { return "\"t" + std::to_string(at) + "\","; }) + "]\n";
  };
  EXPECT_FALSE(refused(topics(limits::upstream_topics_max)));
  EXPECT_TRUE(refused(topics(limits::upstream_topics_max + 1)));
}

TEST(Config, WhereClientsAreSentIsAnAddress) {
  const std::string start = "version = 1\nhandle = \"alice\"\n[mqtt]\n";
  EXPECT_EQ(parse_config(start + "server_reference = \"other:1883\"", "f")->mqtt_server_reference, "other:1883");
  EXPECT_EQ(parse_config(start + "server_reference = \"\"", "f")->mqtt_server_reference, "");
  EXPECT_FALSE(parse_config(start + "server_reference = \"other\"", "f"));
  EXPECT_EQ(parse_config(start + "keep_alive_max = 60", "f")->mqtt_keep_alive_max, 60u);
  EXPECT_FALSE(parse_config(start + "keep_alive_max = 65536", "f"));
}

TEST(Config, HostileTextIsRefused) {
  EXPECT_NE(errors_of(std::string("\0\1\2", 3)), "");
  EXPECT_NE(errors_of("version = 1\nhandle = \"alice\"\nx = " + std::string(100'000, '[')), "");
  EXPECT_NE(errors_of(head + "handle = \"bob\"\n"), "");  // twice
  EXPECT_NE(errors_of(head + "mqtt = 1\n"), "");
  EXPECT_NE(errors_of(head + "mqtt.listen.deeper = 1\n"), "");
  std::string many = "mqtt.listen = [";
  for (int i = 0; i < 100; ++i) many += "\"127.0.0.1:1\", ";
  EXPECT_THAT(errors_of(head + many + "]"), HasSubstr("at most"));
}

TEST(Config, AnyChangeOfAFileIsReadOrExplained) {
  Config config;
  config.handle = "alice";
  const std::string good = to_toml(config);
  EXPECT_TRUE(rc::check([&] {
    std::string text = good;
    for (int change = *rc::gen::inRange(1, 6); change > 0; --change) {
      const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
      const auto length = *rc::gen::inRange<std::size_t>(0, 12);
      const auto inserted =
          *rc::gen::container<std::string>(rc::gen::elementOf(std::string("[]{}=.,\"'\n#\\ax019-:\xff\0", 21)));
      text.replace(at, length, inserted.substr(0, 8));
      if (text.empty()) break;
    }
    const auto parsed = parse_config(text, "f");
    if (parsed)
      RC_ASSERT(parse_config(to_toml(*parsed), "f").value() == *parsed);
    else
      RC_ASSERT(parsed.error().message.starts_with("f:"));
  }));
}

TEST(Config, AFileThatIsTooLargeIsNotRead) {
  const TemporaryFolder folder;
  const std::string file = folder.path() + "/diot.toml";
  ASSERT_TRUE(write_file(file, as_bytes(head + "#" + std::string(1 << 20, 'x'))));
  EXPECT_EQ(load_config(file).error().code, Errc::limit);
  EXPECT_EQ(load_config(folder.path() + "/none").error().code, Errc::not_found);
}

}  // namespace
}  // namespace diot
