#include "tools/app/printer.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <nlohmann/json.hpp>

namespace diot {
namespace {

struct PrinterTest : testing::Test {
  PrinterTest() {
    ::setenv("TZ", "UTC", 1);
    ::tzset();
  }
};

TEST_F(PrinterTest, MembersStandOneALine) {
  EXPECT_EQ(format_result({{"handle", "alice"},
                           {"lease_until_ms", nullptr},
                           {"registered_ms", 1'795'313'339'597u},
                           {"uptime_s", 3700u},
                           {"ours", true},
                           {"mqtt", {"a:1", "b:2"}}},
                          {}),
            "handle       alice\n"
            "lease until  -\n"
            "registered   2026-11-22 02:08:59\n"
            "uptime       1 h 1 min\n"
            "ours         yes\n"
            "mqtt         a:1, b:2\n");
}

TEST_F(PrinterTest, ArraysOfObjectsAreTables) {
  EXPECT_EQ(format_result({{"handles", {{{"handle", "älice"}, {"nodes", 1}}, {{"handle", "bo"}, {"nodes", 12}}}}}, {}),
            "handle  nodes\n"
            "älice   1\n"
            "bo      12\n");
  EXPECT_EQ(format_result({{"handles", Json::array()}}, {}), "none\n");
}

TEST_F(PrinterTest, WarningsComeLast) {
  EXPECT_EQ(format_result({{"warnings", {"mind the gap"}}, {"handle", "alice"}}, {}),
            "handle  alice\nwarning: mind the gap\n");
  EXPECT_EQ(format_result({{"warnings", {"mind"}}}, {.colours = true}), "\033[33mwarning: mind\033[0m\n");
}

TEST_F(PrinterTest, ControlCharactersAreVisible) {
  EXPECT_EQ(printable("a\x1b[31m\r\n\x7f"), "a\\x1b[31m\\x0d\\x0a\\x7f");
  EXPECT_EQ(printable("größe"), "größe");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\x9b31m")
      << "an 8-bit control sequence introducer";
  EXPECT_EQ(format_error("two\nlines\x1b", {}), "diot: two\nlines\\x1b\n");
}

}  // namespace
}  // namespace diot
