#include "bridge/proxy_protocol.hpp"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "core/limits.hpp"

namespace diot {
namespace {

const std::string start = "0d0a0d0a000d0a515549540a";
Bytes bytes(const std::string& hex) { return *from_hex(hex); }
/// 192.0.2.1:4660 → 192.0.2.2:1883
const std::string ipv4 = start + "2111000cc0000201c00002021234075b";

TEST(ProxyHeader, TellsWhereTheClientIs) {
  ProxyHeader header;
  Bytes up, down, in = bytes(ipv4);
  append(in, as_bytes("mqtt"));
  ASSERT_TRUE(header.receive(in, up, down));
  EXPECT_TRUE(header.established());
  EXPECT_EQ(header.address(), "192.0.2.1:4660");
  EXPECT_EQ(as_text(up), "mqtt");
  ASSERT_TRUE(header.receive(as_bytes(" goes on"), up, down));
  EXPECT_EQ(as_text(up), "mqtt goes on");
  EXPECT_TRUE(down.empty());
}

TEST(ProxyHeader, MayBeIpv6WithMoreBehindIt) {
  ProxyHeader header;
  Bytes up, down;
  ASSERT_TRUE(header.receive(bytes(start + "21210027" + "20010db8000000000000000000000001" +
                                   "20010db8000000000000000000000002" + "0050075b" + "040000"),
                             up, down));
  EXPECT_EQ(header.address(), "[2001:db8::1]:80");
}

TEST(ProxyHeader, TheProxyMaySpeakForItself) {
  ProxyHeader header;
  Bytes up, down;
  ASSERT_TRUE(header.receive(bytes(start + "20000000"), up, down));
  EXPECT_TRUE(header.established());
  EXPECT_EQ(header.address(), "");
}

TEST(ProxyHeader, WhatProxiesAddIsBounded) {
  for (const bool fits : {true, false}) {
    const std::size_t size = limits::proxy_header_bytes_max + (fits ? 0 : 1);
    Bytes in = bytes(start + "2111"), up, down;
    ByteWriter(in).u16(static_cast<std::uint16_t>(size));
    append(in, bytes("c0000201c00002021234075b"));
    in.resize(16 + size);
    ProxyHeader header;
    EXPECT_EQ(header.receive(in, up, down).has_value(), fits);
    EXPECT_EQ(header.address(), fits ? "192.0.2.1:4660" : "");
  }
}

TEST(ProxyHeader, WhateverElseComesFirstIsRefused) {
  for (const auto& wrong : {std::string("10"), start.substr(0, 22) + "0b", start + "1111000c", start + "2211000c",
                            start + "21110004c0000201", start + "2111ffff"}) {
    ProxyHeader header;
    Bytes up, down, in = bytes(wrong);
    in.resize(std::max<std::size_t>(in.size(), wrong.size() > 24 ? 16 + 12 : in.size()));
    EXPECT_FALSE(header.receive(in, up, down)) << wrong;
    EXPECT_TRUE(up.empty());
  }
}

TEST(ProxyHeader, MayBeCutAnywhere) {
  EXPECT_TRUE(rc::check([] {
    Bytes in = bytes(ipv4), up, down;
    append(in, as_bytes("0123456789"));
    ProxyHeader header;
    for (ByteView rest = in; !rest.empty();) {
      const auto size = *rc::gen::inRange<std::size_t>(1, rest.size() + 1);
      RC_ASSERT(header.receive(rest.first(size), up, down).has_value());
      rest = rest.subspan(size);
    }
    RC_ASSERT(as_text(up) == "0123456789");
  }));
}

}  // namespace
}  // namespace diot
