#include "bridge/listener_config.hpp"

#include <fmt/format.h>

#include "core/address.hpp"

namespace diot {

bool ListenerConfig::is_local() const {
  if (proxy_protocol) return false;
  if (is_unix()) return true;
  const auto address = parse_address(listen);
  return address && is_loopback(*address);
}

std::string_view ListenerConfig::scheme() const {
  return protocol == "websocket" ? (has_tls() ? "wss" : "ws") : (has_tls() ? "mqtts" : "mqtt");
}

Result<void> check_access(const ListenerConfig& config, bool any_users) {
  if (any_users || config.anonymous_allowed() || config.needs_no_users()) return {};
  return fail(
      Errc::not_permitted,
      fmt::format("nobody could connect to {}: it takes no anonymous clients, and there is no user yet; `diot user "
                  "add NAME` makes one (or let everybody in who reaches it: allow_anonymous = true in its "
                  "[[listener]])",
                  config.listen));
}

}  // namespace diot
