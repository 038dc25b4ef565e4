#include "tools/app/import_mosquitto.hpp"

#include <gmock/gmock.h>
#include <rapidcheck.h>

namespace diot {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

Config base() {
  Config config;
  config.handle = "alice";
  return config;
}
ImportedConfig import(std::string_view text) { return import_mosquitto(text, "/etc/mosquitto", base()).value(); }
/// What an import writes must be a configuration that is in order.
void expect_in_order(const ImportedConfig& imported) {
  const auto parsed = parse_config(to_toml(imported.config), "f");
  ASSERT_TRUE(parsed) << parsed.error().message << "\n" << to_toml(imported.config);
  EXPECT_EQ(*parsed, imported.config);
}

TEST(ImportMosquitto, AnEmptyFileListensOnThisMachine) {
  const auto imported = import("# nothing\n");
  ASSERT_EQ(imported.config.listeners.size(), 1u);
  EXPECT_EQ(imported.config.listeners[0].listen, "127.0.0.1:1883");
  EXPECT_TRUE(imported.config.listeners[0].anonymous_allowed());
  EXPECT_THAT(imported.notes, IsEmpty());
  EXPECT_EQ(imported.config.handle, "alice");
  expect_in_order(imported);
}

TEST(ImportMosquitto, ListenersKeepTheirRules) {
  const auto imported = import(R"(
persistence true
allow_anonymous false
password_file passwd
acl_file /srv/acl

listener 1883
listener 8883 192.168.1.2
certfile certs/server.crt
keyfile certs/server.key
cafile certs/ca.crt
require_certificate true
use_identity_as_username true
listener 9001
protocol websockets
max_connections 50
max_keepalive 600
listener 0 /run/mosquitto.sock
allow_anonymous true
)");
  const auto& listeners = imported.config.listeners;
  ASSERT_EQ(listeners.size(), 4u);
  EXPECT_EQ(listeners[0].listen, "0.0.0.0:1883");
  EXPECT_FALSE(listeners[0].anonymous_allowed());
  EXPECT_EQ(listeners[1].listen, "192.168.1.2:8883");
  EXPECT_EQ(listeners[1].certificate, "/etc/mosquitto/certs/server.crt");
  EXPECT_EQ(listeners[1].client_ca, "/etc/mosquitto/certs/ca.crt");
  EXPECT_TRUE(listeners[1].require_certificate && listeners[1].identity_as_user);
  EXPECT_EQ(listeners[2].protocol, "websocket");
  EXPECT_EQ(listeners[2].max_connections, 50u);
  EXPECT_EQ(imported.config.mqtt_keep_alive_max, 600u);
  EXPECT_EQ(listeners[3].listen, "/run/mosquitto.sock");
  EXPECT_TRUE(listeners[3].anonymous_allowed());
  EXPECT_EQ(imported.config.users_passwords, "/etc/mosquitto/passwd");
  EXPECT_EQ(imported.config.users_acl, "/srv/acl");
  expect_in_order(imported);
}

TEST(ImportMosquitto, ConnectionsBecomeUpstreams) {
  const auto imported = import(R"(
connection my hub
address hub.example:8883 other.example
topic sensors/# out 1
topic cmd/# in 2 local/ remote/
topic bad+ in
bridge_cafile ca.crt
bridge_protocol_version mqttv50
keepalive_interval 30
remote_username alice
remote_password secret
)");
  ASSERT_EQ(imported.config.upstreams.size(), 1u);
  const auto& hub = imported.config.upstreams[0];
  EXPECT_EQ(hub.name, "my-hub");
  EXPECT_EQ(hub.address, "hub.example:8883");
  EXPECT_EQ(hub.topics, (std::vector<std::string>{"sensors/# out 1", "cmd/# in 2 local/ remote/"}));
  EXPECT_TRUE(hub.tls);
  EXPECT_EQ(hub.protocol, "5");
  EXPECT_EQ(hub.keep_alive, 30u);
  EXPECT_EQ(hub.user, "alice");
  EXPECT_THAT(imported.notes, Contains(HasSubstr("my-hub.password")));
  EXPECT_THAT(imported.notes, Contains(HasSubstr("only the first address")));
  EXPECT_THAT(imported.notes, Contains(HasSubstr("'bad+ in'")));
  for (const auto& note : imported.notes) EXPECT_THAT(note, testing::Not(HasSubstr("secret")));
  expect_in_order(imported);
}

TEST(ImportMosquitto, WhatHasNoCounterpartIsSaidWithItsLine) {
  const auto imported = import("listener 1883 127.0.0.1\nplugin /usr/lib/x.so\nmax_inflight_messages 5\n");
  EXPECT_THAT(imported.notes, Contains("line 2: plugin has no counterpart and is left out"));
  EXPECT_THAT(imported.notes, Contains("line 3: max_inflight_messages has no counterpart and is left out"));
}

TEST(ImportMosquitto, WhatMosquittoWouldRefuseIsRefused) {
  EXPECT_THAT(import_mosquitto("\nlistener x\n", "/", base()).error().message,
              HasSubstr("line 2: listener needs a port"));
  EXPECT_THAT(import_mosquitto("allow_anonymous perhaps\n", "/", base()).error().message, HasSubstr("true or false"));
  EXPECT_THAT(import_mosquitto("certfile\n", "/", base()).error().message, HasSubstr("needs a value"));
}

TEST(ImportMosquitto, WhatTheConfigurationWouldRefuseIsLeftOutAndSaid) {
  const auto imported = import(R"(
listener 1883
listener 8883 no where
listener 8884
certfile /srv/server.crt
listener 8885
require_certificate true
connection a
address hub:x
topic # in
connection b
address hub.example
topic # in
remote_password secret
connection c
address hub.example
topic # in
connection c
address other.example
topic # in
)");
  ASSERT_EQ(imported.config.listeners.size(), 1u);
  EXPECT_EQ(imported.config.listeners[0].listen, "0.0.0.0:1883");
  ASSERT_EQ(imported.config.upstreams.size(), 1u);
  EXPECT_EQ(imported.config.upstreams[0].address, "hub.example:1883");
  EXPECT_THAT(imported.notes, Contains(HasSubstr("8884 is left out: listener: certificate and key need each other")));
  EXPECT_THAT(imported.notes, Contains(HasSubstr("8885 is left out: listener: require_certificate needs client_ca")));
  EXPECT_THAT(imported.notes, Contains(HasSubstr("'a' is left out: upstream.address: 'hub:x")));
  EXPECT_THAT(imported.notes, Contains(HasSubstr("'b' is left out: upstream: password_file needs user")));
  EXPECT_THAT(imported.notes, Contains(HasSubstr("a second connection 'c' is left out")));
  expect_in_order(imported);
  EXPECT_THAT(import_mosquitto("acl_file \xff\n", "/", base()).error().message, HasSubstr("line 1: acl_file"));
}

TEST(ImportMosquitto, AnyTextIsTranslatedOrRefused) {
  const std::vector<std::string> words{"listener",
                                       "1883",
                                       "connection",
                                       "address",
                                       "topic",
                                       "#",
                                       "in",
                                       "2",
                                       "certfile",
                                       "cafile",
                                       "a b",
                                       "/x",
                                       "true",
                                       "\n",
                                       "\n",
                                       "port",
                                       "0",
                                       "bind_address",
                                       "psk_file",
                                       "\"\"",
                                       "protocol",
                                       "websockets",
                                       "remote_password",
                                       "\xff"};
  EXPECT_TRUE(rc::check([&] {
    std::string text;
    for (int count = *rc::gen::inRange(0, 40); count > 0; --count) text += *rc::gen::elementOf(words) + " ";
    if (const auto imported = import_mosquitto(text, "/etc", base())) expect_in_order(*imported);
  }));
}

}  // namespace
}  // namespace diot
