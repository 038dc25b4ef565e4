// Import of mosquitto.conf: what comes out is a configuration that is in order.

#include "tests/fuzz/targets.hpp"
#include "tools/app/import_mosquitto.hpp"

namespace diot::fuzz {

void mosquitto(ByteView input) {
  Config base;
  base.handle = "alice";
  const auto imported = import_mosquitto(as_text(input), "/etc/mosquitto", base);
  if (!imported) {
    require(!imported.error().message.empty(), "an error says what is wrong");
    return;
  }
  const auto parsed = parse_config(to_toml(imported->config), "f");
  require(parsed.has_value(), "what is imported is in order");
  require(*parsed == imported->config, "and is read as it was written");
}

Seeds mosquitto_seeds() {
  return {
      to_bytes("# nothing\n"),
      to_bytes("persistence true\nallow_anonymous false\npassword_file passwd\nacl_file /srv/acl\n\nlistener 1883\n"
               "listener 8883 192.168.1.2\ncertfile certs/server.crt\nkeyfile certs/server.key\ncafile certs/ca.crt\n"
               "require_certificate true\nuse_identity_as_username true\nlistener 9001\nprotocol websockets\n"
               "max_connections 50\nlistener 0 /run/mosquitto.sock\nallow_anonymous true\n"),
      to_bytes("connection hub\naddress hub.example:1884\ntopic sensors/# out 1 \"\" alice/\ntopic cmd/+ in 2 hub/\n"
               "remote_username u\nremote_password p\nbridge_protocol_version mqttv50\nbridge_insecure true\n"
               "bridge_cafile /etc/ca.pem\nkeepalive_interval 30\nremote_clientid id\ncleansession false\n"),
      to_bytes("bind_address 10.0.0.1\nport 1885\npsk_file psk\npsk_hint h\nper_listener_settings true\n"
               "log_dest syslog\nlog_type all\nmax_inflight_messages 5\n"),
  };
}

}  // namespace diot::fuzz
