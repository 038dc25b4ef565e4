#include "tools/app/ledger_query.hpp"

#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>

namespace diot {

bool LedgerQuery::takes(const BlockHeader& block) const {
  return block.height >= from && block.height <= to && block.time >= since && block.time <= until;
}
bool LedgerQuery::takes(const EntryView& entry) const {
  return (handle.empty() || entry.handle == handle) && (kind.empty() || entry.kind == kind);
}

/// Exactly `digits` digits off the front.
static bool take_number(std::string_view& text, std::size_t digits, unsigned& out) {
  if (text.size() < digits) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, out);
  if (error != std::errc{} || end != text.data() + digits) return false;
  text.remove_prefix(digits);
  return true;
}
static bool take_char(std::string_view& text, char expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(1);
  return true;
}

/// `T08:30`, `T08:30:15` or nothing.
static std::optional<std::chrono::seconds> time_of_day(std::string_view text) {
  unsigned hour = 0, minute = 0, second = 0;
  if (!text.empty()) {
    if (!take_char(text, 'T') || !take_number(text, 2, hour) || !take_char(text, ':') || !take_number(text, 2, minute))
      return std::nullopt;
    if (!text.empty() && (!take_char(text, ':') || !take_number(text, 2, second))) return std::nullopt;
  }
  if (!text.empty() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  return std::chrono::hours(hour) + std::chrono::minutes(minute) + std::chrono::seconds(second);
}

Result<WallMs> parse_time(std::string_view text, WallMs now) {
  const auto wrong = [&] {
    return fail(Errc::invalid, fmt::format("'{}' is no time: write 2026-11-22 or 2026-11-22T08:30 (UTC), or how long "
                                           "ago: 15m, 24h, 7d",
                                           text));
  };
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error == std::errc{} && end + 1 == text.data() + text.size() && count <= 1'000'000) {
    const std::uint64_t minutes = *end == 'm' ? 1 : *end == 'h' ? 60 : *end == 'd' ? 24 * 60 : 0;
    if (minutes != 0) return now - std::min<WallMs>(now, count * minutes * 60'000);
  }
  unsigned year = 0, month = 0, day = 0;
  auto rest = text;
  if (!take_number(rest, 4, year) || !take_char(rest, '-') || !take_number(rest, 2, month) || !take_char(rest, '-') ||
      !take_number(rest, 2, day))
    return wrong();
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)), std::chrono::month(month),
                                         std::chrono::day(day)};
  const auto time = time_of_day(rest);
  if (!date.ok() || year < 1970 || !time) return wrong();
  const auto since_1970 = std::chrono::sys_days(date).time_since_epoch() + *time;
  return static_cast<WallMs>(std::chrono::duration_cast<std::chrono::milliseconds>(since_1970).count());
}

Result<LedgerQuery> ledger_query(const Json& args, WallMs now) {
  LedgerQuery out;
  out.handle = args.value("handle", std::string());
  out.kind = args.value("kind", std::string());
  out.from = args.value("from", out.from);
  out.to = args.value("to", out.to);
  for (const auto& [name, time] : {std::pair("since", &out.since), std::pair("until", &out.until)})
    if (args.contains(name)) {
      const auto parsed = parse_time(args[name].get<std::string>(), now);
      if (!parsed) return tl::unexpected(parsed.error());
      *time = *parsed;
    }
  return out;
}

}  // namespace diot
