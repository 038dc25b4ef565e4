#include "tools/app/ledger_query.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace diot {
namespace {

constexpr WallMs now = 1'790'000'000'000;  // 2026-09-21T14:13:20 UTC

TEST(LedgerQuery, TakesDatesTimesAndSpans) {
  EXPECT_EQ(parse_time("1970-01-01", now).value(), 0u);
  EXPECT_EQ(parse_time("2026-09-21", now).value(), 1'789'948'800'000u);
  EXPECT_EQ(parse_time("2026-09-21T14:13", now).value(), now - 20'000);
  EXPECT_EQ(parse_time("2026-09-21T14:13:20", now).value(), now);
  EXPECT_EQ(parse_time("2024-02-29", now).value(), 1'709'164'800'000u);
  EXPECT_EQ(parse_time("15m", now).value(), now - 15 * 60'000);
  EXPECT_EQ(parse_time("24h", now).value(), now - 24 * 3'600'000);
  EXPECT_EQ(parse_time("7d", now).value(), now - 7 * 86'400'000ull);
  EXPECT_EQ(parse_time("1000000d", now).value(), 0u) << "before the beginning of time is its beginning";
}

TEST(LedgerQuery, RefusesWhatIsNoTime) {
  for (const auto* text : {"", "7", "d", "-7d", "7w", "7dd", "99999999999999999999d", "2026", "2026-13-01",
                           "2026-02-30", "2026-09-21T", "2026-09-21T24:00", "2026-09-21T14:60", "2026-09-21T14:13:60",
                           "2026-09-21T14:13:20Z", "2026-9-21", "1969-12-31", "yesterday"})
    EXPECT_FALSE(parse_time(text, now)) << text;
}

TEST(LedgerQuery, TakesWhatItWasAskedFor) {
  const auto query =
      ledger_query({{"handle", "bob"}, {"kind", "renew"}, {"from", 3}, {"to", 5}, {"since", "2026-09-21"}}, now)
          .value();
  BlockHeader block;
  block.height = 3;
  block.time = now;
  EXPECT_TRUE(query.takes(block));
  block.height = 5;
  EXPECT_TRUE(query.takes(block));
  block.height = 6;
  EXPECT_FALSE(query.takes(block));
  block.height = 2;
  EXPECT_FALSE(query.takes(block));
  block.height = 4;
  block.time = 1'789'948'799'999;
  EXPECT_FALSE(query.takes(block));
  EntryView entry;
  entry.handle = "bob";
  entry.kind = "renew";
  EXPECT_TRUE(query.takes(entry));
  entry.kind = "update";
  EXPECT_FALSE(query.takes(entry));
  entry.kind = "renew";
  entry.handle = "bobby";
  EXPECT_FALSE(query.takes(entry));
  EXPECT_FALSE(ledger_query({{"until", "soon"}}, now));
}

}  // namespace
}  // namespace diot
