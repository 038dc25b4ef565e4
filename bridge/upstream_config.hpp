#pragma once
// An existing MQTT broker that this home is joined to, as the configuration says it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/packet.hpp"
#include "core/error.hpp"

namespace diot {

/// Client identifiers and users of upstreams begin with it; nobody else's may.
inline constexpr std::string_view upstream_user_prefix = "$upstream/";

/// Which topics are exchanged: "pattern [in|out|both [qos [local-prefix [remote-prefix]]]]", as in mosquitto's `topic`
/// lines; `""` stands for an empty prefix. Without a direction: out, with QoS 0.
struct UpstreamTopic {
  std::string pattern;
  bool out = true, in = false;
  Qos qos = Qos::at_most_once;
  std::string local_prefix, remote_prefix;

  std::string local_filter() const { return local_prefix + pattern; }
  std::string remote_filter() const { return remote_prefix + pattern; }
};
/// Errc::invalid says what is wrong with it.
Result<UpstreamTopic> parse_upstream_topic(std::string_view text);

struct UpstreamConfig {
  std::string name;     ///< in notifications and in client identifiers: [A-Za-z0-9_-]
  std::string address;  ///< host:port
  std::vector<std::string> topics;
  std::string protocol = "auto";  ///< "5", "3.1.1", or what the other broker speaks
  std::string client_id;          ///< empty: "diot-" and the name
  std::string user, password_file;
  std::uint32_t keep_alive = 60;  ///< seconds
  bool tls = false;
  std::string ca;                      ///< file; empty: the system's authorities
  std::string certificate, key;        ///< to show; files
  std::string psk_identity, psk_file;  ///< TLS with a key instead: parse_psk_file
  bool insecure = false;               ///< takes any certificate
  bool operator==(const UpstreamConfig&) const = default;
};

}  // namespace diot
