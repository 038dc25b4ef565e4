#pragma once
// What can be said of a place where MQTT clients connect.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace diot {

/// One place where clients connect, and its rules.
struct ListenerConfig {
  std::string listen;                ///< "host:port" (port 0: a free one), or the absolute path of a unix socket
  std::string protocol = "mqtt";     ///< or "websocket"
  std::vector<std::string> origins;  ///< WebSocketRules
  std::string certificate, key;      ///< files; with them (or psk_file) the listener speaks TLS
  std::string client_ca;             ///< file
  bool require_certificate = false;
  std::string psk_file;
  bool identity_as_user = false;        ///< TlsServerConfig
  std::optional<bool> allow_anonymous;  ///< not given: only where no other machine gets in
  bool proxy_protocol = false;          ///< a PROXY header (version 2) comes first
  std::uint32_t max_connections = 10'000;
  std::string mode = "0660";  ///< of a unix socket: octal
  bool operator==(const ListenerConfig&) const = default;

  bool is_unix() const { return listen.starts_with('/'); }
  bool has_tls() const { return !certificate.empty() || !psk_file.empty(); }
  /// Only processes of this machine reach it, as far as the address says: not behind a proxy.
  bool is_local() const;
  bool anonymous_allowed() const { return allow_anonymous.value_or(is_local()); }
  /// "mqtt", "mqtts", "ws" or "wss".
  std::string_view scheme() const;
  /// TLS proves who every client is, so it works without passwords.
  bool needs_no_users() const { return identity_as_user && has_tls() && (certificate.empty() || require_certificate); }
};

/// Errc::not_permitted if other machines would get in with nobody asking who they are; the message names the ways out.
Result<void> check_access(const ListenerConfig& config, bool any_users);

}  // namespace diot
