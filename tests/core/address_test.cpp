#include "core/address.hpp"

#include <gtest/gtest.h>

namespace diot {
namespace {

TEST(Address, NamesAndNumbersAreSplitAndJoined) {
  for (const char* text : {"127.0.0.1:1883", "gateway.example.org:42220", "[::1]:80", "[fe80::1%eth0]:65535", "a:0"}) {
    const auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), text);
  }
  EXPECT_EQ(parse_address("[::1]:80")->host, "::1");
  EXPECT_EQ(parse_address("[::1]:80")->port, 80);
}

TEST(Address, WhatIsNoneIsRefused) {
  for (const char* text : {"", ":", "host", "host:", ":80", "host:65536", "host:-1", "host:+1", "host:1x", "::1:80",
                           "[::1:80", "::1]:80", "[]:80", "ho st:80", "host\n:80", "h\xc3\xb6st:80"})
    EXPECT_FALSE(parse_address(text)) << text;
  EXPECT_FALSE(parse_address(std::string(254, 'a') + ":80"));
}

TEST(Address, OnlyThisMachineIsLoopback) {
  for (const char* text : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"})
    EXPECT_TRUE(is_loopback(*parse_address(text))) << text;
  for (const char* text : {"127.example.org:1", "10.0.0.1:1", "[::]:1", "localhost.example.org:1"})
    EXPECT_FALSE(is_loopback(*parse_address(text))) << text;
}

}  // namespace
}  // namespace diot
