#pragma once
// Network addresses as people write them, in the configuration, in invites, hellos and the directory.

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace diot {

struct HostPort {
  std::string host;  ///< without brackets; numeric or a name
  std::uint16_t port = 0;
};
/// "host:port" or "[ipv6]:port". Errc::invalid says what is wrong with it.
Result<HostPort> parse_address(std::string_view address);
std::string to_string(const HostPort& address);
/// 127.0.0.0/8, ::1 or "localhost".
bool is_loopback(const HostPort& address);

}  // namespace diot
