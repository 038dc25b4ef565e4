#pragma once
// The configuration of a node, $DIOT_HOME/diot.toml. One table (config.cpp) has every setting with type, default,
// limits and help; reading, writing and the error messages all follow it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/listener_config.hpp"
#include "bridge/upstream_config.hpp"
#include "core/address.hpp"
#include "core/error.hpp"

namespace diot {

struct Config {
  std::string handle;                                        ///< handle
  std::vector<std::string> mqtt_listen{"127.0.0.1:1883"};    ///< mqtt.listen
  std::uint32_t mqtt_keep_alive_max = 65'535;                ///< mqtt.keep_alive_max: seconds
  std::string mqtt_server_reference;                         ///< mqtt.server_reference: host:port; empty: none
  bool mqtt_server_moved = false;                            ///< mqtt.server_moved
  std::vector<std::string> api_listen{"127.0.0.1:8480"};     ///< api.listen, loopback only; empty = no HTTP
  std::vector<std::string> overlay_listen{"0.0.0.0:42220"};  ///< overlay.listen: TCP for links, UDP for the DHT
  std::vector<std::string> overlay_addresses;                ///< overlay.addresses: told to other nodes. Empty: the
                                                             ///< addresses listened on
  std::string users_passwords = default_passwords;           ///< users.passwords: file; relative to the home
  std::string users_acl = default_acl;                       ///< users.acl: likewise
  std::string store_max;                                     ///< store.max; empty: a part of the disk
  std::string store_handle_max;                              ///< store.handle_max; empty: a quarter of store.max
  std::string store_log_max;                                 ///< store.log_max; empty: limits::log_bytes_max
  std::uint32_t store_days = 14;                             ///< store.days
  bool ledger_archive = false;                               ///< ledger.archive
  std::string log_level = "info";                            ///< log.level
  std::string log_format = "text";                           ///< log.format: text or json
  std::vector<ListenerConfig> listeners;                     ///< [[listener]]
  std::vector<UpstreamConfig> upstreams;                     ///< [[upstream]]
  bool operator==(const Config&) const = default;

  /// These may be missing: then there are no users, or no rules. A file that was named must be there.
  static constexpr const char* default_passwords = "passwords";
  static constexpr const char* default_acl = "acl";

  /// Those of mqtt.listen and the [[listener]] tables.
  std::vector<ListenerConfig> all_listeners() const;
};

/// "512 MiB", "2GB", "1000000": KiB, MiB, GiB, TiB are powers of 1024, KB, MB, GB, TB of 1000. Errc::invalid otherwise.
Result<std::uint64_t> parse_bytes(std::string_view text);

/// Every error is one line "FILE:LINE:COLUMN: what is wrong; what to do"; several are joined by newlines.
Result<Config> parse_config(std::string_view text, const std::string& file);
Result<Config> load_config(const std::string& file);
/// The same with a comment above every setting, ready to be read by parse_config.
std::string to_toml(const Config& config);

}  // namespace diot
