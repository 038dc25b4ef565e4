#include "core/address.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace diot {

Result<HostPort> parse_address(std::string_view address) {
  const auto wrong = [&](std::string_view why) {
    return fail(
        Errc::invalid,
        fmt::format("'{}' is not an address: {} (write host:port, e.g. 127.0.0.1:1883 or [::1]:1883)", address, why));
  };
  const auto colon = address.rfind(':');
  if (colon == address.npos) return wrong("the port is missing");
  std::string_view host = address.substr(0, colon), port = address.substr(colon + 1);
  if (host.starts_with('[') != host.ends_with(']')) return wrong("a bracket is missing");
  const bool bracketed = host.starts_with('[');
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || host.size() > 253) return wrong("the host is missing or too long");
  if (!bracketed && host.find(':') != host.npos) return wrong("an IPv6 address needs brackets");
  for (const char c : host) {
    const bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!alphanumeric && c != '.' && c != '-' && c != '_' && !(bracketed && (c == ':' || c == '%')))
      return wrong("the host has a character that no host has");
  }
  HostPort out{std::string(host), 0};
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (error != std::errc() || end != port.data() + port.size())
    return wrong("the port is not a number from 0 to 65535");
  return out;
}

std::string to_string(const HostPort& address) {
  return address.host.find(':') == address.host.npos ? fmt::format("{}:{}", address.host, address.port)
                                                     : fmt::format("[{}]:{}", address.host, address.port);
}

bool is_loopback(const HostPort& address) {
  if (address.host == "::1" || address.host == "localhost") return true;
  // Dotted quads only: a name such as 127.example.org is none.
  return address.host.starts_with("127.") &&
         std::ranges::all_of(address.host, [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
}

}  // namespace diot
