#include "bridge/proxy_protocol.hpp"

#include <arpa/inet.h>

#include <array>

#include "core/address.hpp"
#include "core/limits.hpp"

namespace diot {

namespace {
constexpr std::array<std::uint8_t, 12> signature{0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D,
                                                 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A};
constexpr std::size_t fixed_bytes = 16;  // signature, version and command, family, length
}  // namespace

Result<void> ProxyHeader::receive(ByteView in, Bytes& up, Bytes&) {
  if (done_) {
    append(up, in);
    return {};
  }
  const auto take = [&](std::size_t until) {
    const std::size_t size = std::min(in.size(), until - std::min(until, head_.size()));
    append(head_, in.first(size));
    in = in.subspan(size);
    return head_.size() >= until;
  };
  const bool fixed = take(fixed_bytes);
  const std::size_t signed_bytes = std::min(head_.size(), signature.size());
  if (!std::equal(head_.begin(), head_.begin() + static_cast<std::ptrdiff_t>(signed_bytes), signature.begin()))
    return fail(Errc::invalid, "no PROXY header (version 2) came first");
  if (!fixed) return {};
  const std::size_t length = static_cast<std::size_t>(head_[14] << 8 | head_[15]);
  if (length > limits::proxy_header_bytes_max) return fail(Errc::limit, "a PROXY header that is too long");
  if (!take(fixed_bytes + length)) return {};
  if (auto parsed = parse(); !parsed) return parsed;
  done_ = true;
  Bytes().swap(head_);
  append(up, in);
  return {};
}

Result<void> ProxyHeader::parse() {
  if (head_[12] >> 4 != 2) return fail(Errc::invalid, "a PROXY header of another version than 2");
  const int command = head_[12] & 0x0F, family = head_[13] >> 4;
  if (command > 1) return fail(Errc::invalid, "an unknown command in a PROXY header");
  if (command == 0) return {};  // LOCAL
  const int system_family = family == 1 ? AF_INET : family == 2 ? AF_INET6 : AF_UNSPEC;
  if (system_family == AF_UNSPEC) return {};
  const std::size_t address_bytes = family == 1 ? 4 : 16;
  ByteReader reader(ByteView(head_).subspan(fixed_bytes));
  const ByteView source = reader.raw(address_bytes);
  reader.raw(address_bytes);  // where it connected to
  const std::uint16_t port = reader.u16();
  if (!reader.ok()) return fail(Errc::invalid, "a PROXY header without the addresses that it announces");
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(system_family, source.data(), text, sizeof text);
  address_ = to_string(HostPort{text, port});
  return {};
}

Result<void> ProxyHeader::send(ByteView in, Bytes& down) {
  append(down, in);
  return {};
}

}  // namespace diot
