// diot.toml: what is read is written to the same meaning, and what is wrong is named by its line.

#include "tests/fuzz/targets.hpp"
#include "tools/app/config.hpp"

namespace diot::fuzz {

void config(ByteView input) {
  const auto parsed = parse_config(as_text(input), "f");
  if (!parsed) {
    require(parsed.error().message.starts_with("f:"), "an error says where");
    return;
  }
  const auto text = to_toml(*parsed);
  const auto again = parse_config(text, "f");
  require(again.has_value(), "what is written can be read");
  require(*again == *parsed, "what is read is what was written");
}

Seeds config_seeds() {
  Config config;
  config.handle = "alice";
  Seeds out{to_bytes(to_toml(config))};
  config.overlay_addresses = {"home.example.org:42220", "[2001:db8::1]:42220"};
  config.log_format = "json";
  config.api_listen = {};
  ListenerConfig listener;
  listener.listen = "0.0.0.0:1884";
  config.listeners = {listener};
  UpstreamConfig upstream;
  upstream.name = "hub";
  upstream.address = "hub.example:8883";
  upstream.topics = {"sensors/# both 1 \"\" alice/"};
  config.upstreams = {upstream};
  out.push_back(to_bytes(to_toml(config)));
  out.push_back(
      to_bytes("version = 1\nhandle = 'alice'\n[mqtt]\nlisten = [ \"127.0.0.1:0\", ]\n[log]\nlevel = \"x\"\n"));
  return out;
}

}  // namespace diot::fuzz
