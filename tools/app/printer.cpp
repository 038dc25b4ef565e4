#include "tools/app/printer.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

namespace diot {
namespace {

constexpr std::string_view red = "\033[31m", yellow = "\033[33m", bold = "\033[1m", plain = "\033[0m";

std::string coloured(std::string_view text, std::string_view colour, PrintStyle style) {
  return style.colours ? fmt::format("{}{}{}", colour, text, plain) : std::string(text);
}

std::string duration(std::uint64_t seconds) {
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  if (seconds < 86'400) return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{} d {} h", seconds / 86'400, seconds / 3600 % 24);
}

std::string local_time(std::uint64_t milliseconds) {
  const auto seconds = static_cast<std::time_t>(milliseconds / 1000);
  std::tm parts{};
  if (::localtime_r(&seconds, &parts) == nullptr) return fmt::format("{} ms", milliseconds);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", parts);
}

/// "registered_ms" → "registered".
std::string title(std::string_view name) {
  if (name.ends_with("_ms")) name.remove_suffix(3);
  if (name.ends_with("_s")) name.remove_suffix(2);
  std::string out(name);
  std::ranges::replace(out, '_', ' ');
  return out;
}

bool is_rows(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::ranges::all_of(value, [](const auto& row) { return row.is_object(); });
}

std::string cell(std::string_view name, const Json& value) {
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_string()) return printable(value.get_ref<const std::string&>());
  if (value.is_number_unsigned() && name.ends_with("_ms")) {
    constexpr std::uint64_t year_2000_ms = 946'684'800'000;  // what is less is a span of time
    const auto milliseconds = value.get<std::uint64_t>();
    return milliseconds >= year_2000_ms ? local_time(milliseconds) : fmt::format("{} ms", milliseconds);
  }
  if (value.is_number_unsigned() && name.ends_with("_s")) return duration(value.get<std::uint64_t>());
  if (value.is_array() || value.is_object()) {
    std::string out;
    for (const auto& [key, element] : value.items()) {
      std::string text = cell(key, element);
      if (element.is_object()) text = cell("", element);
      out += (out.empty() ? "" : element.is_object() ? "; " : ", ") + text;
    }
    return out.empty() ? "-" : out;
  }
  return value.dump();
}

/// Columns that people compare by their beginning are cut in wide tables; --json has them whole.
std::string table_cell(std::string_view name, const Json& value, bool wide) {
  constexpr std::size_t id_characters = 15;  // two groups of a node id
  std::string text = cell(name, value);
  const bool is_id = name == "node" || name == "hash" || name == "share" || name == "channel";
  return wide && is_id && text.size() > id_characters ? text.substr(0, id_characters) + "…" : text;
}

/// Characters, not bytes, so that columns stay straight for what is not ASCII (wide ones aside).
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}
std::string pad(std::string text, std::size_t width) {
  text.append(width - std::min(width, width_of(text)), ' ');
  return text;
}

std::string format_table(const Json& rows, PrintStyle style) {
  std::vector<std::string> names;
  for (const auto& row : rows)
    for (const auto& [name, value] : row.items())
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  constexpr std::size_t narrow_columns = 2;
  const bool wide = names.size() > narrow_columns;
  std::vector<std::vector<std::string>> lines{{}};
  for (const auto& name : names) lines.front().push_back(title(name));
  for (const auto& row : rows) {
    auto& line = lines.emplace_back();
    for (const auto& name : names) line.push_back(row.contains(name) ? table_cell(name, row[name], wide) : "");
  }
  std::vector<std::size_t> widths(names.size());
  for (const auto& line : lines)
    for (std::size_t column = 0; column < line.size(); ++column)
      widths[column] = std::max(widths[column], width_of(line[column]));
  std::string out;
  for (const auto& line : lines) {
    std::string text;
    for (std::size_t column = 0; column < line.size(); ++column)
      text += column + 1 == line.size() ? line[column] : pad(line[column], widths[column] + 2);
    out += (&line == &lines.front() ? coloured(text, bold, style) : text) + "\n";
  }
  return out;
}

}  // namespace

PrintStyle PrintStyle::of(std::FILE* file) {
  return {::isatty(::fileno(file)) != 0 && std::getenv("NO_COLOR") == nullptr};
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    // U+0080 to U+009F are control characters too, in UTF-8 behind 0xc2.
    const bool c1 = byte == 0xc2 && at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) < 0xa0;
    if (c1)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++at]));
    else if (byte < 0x20 || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += text[at];
  }
  return out;
}

std::string format_result(const Json& result, PrintStyle style) {
  if (!result.is_object()) return cell("", result) + "\n";
  std::size_t width = 0;
  for (const auto& [name, value] : result.items())
    if (!is_rows(value) && name != "warnings") width = std::max(width, title(name).size());
  std::string out;
  for (const auto& [name, value] : result.items()) {
    if (is_rows(value) || name == "warnings") continue;
    if (value.is_array() && value.empty() && result.size() == 1) return "none\n";
    out += fmt::format("{}  {}\n", pad(title(name), width), cell(name, value));
  }
  for (const auto& [name, value] : result.items()) {
    if (!is_rows(value)) continue;
    if (!out.empty()) out += fmt::format("\n{}:\n", title(name));
    out += format_table(value, style);
  }
  if (const auto warnings = result.find("warnings"); warnings != result.end() && warnings->is_array())
    for (const auto& warning : *warnings)
      out += coloured(fmt::format("warning: {}", cell("", warning)), yellow, style) + "\n";
  return out;
}

std::string format_error(std::string_view message, PrintStyle style) {
  std::string lines;
  for (std::size_t at = 0; at <= message.size();) {  // messages of several lines keep them
    const auto end = std::min(message.find('\n', at), message.size());
    lines += (at == 0 ? "" : "\n") + printable(message.substr(at, end - at));
    at = end + 1;
  }
  return fmt::format("{} {}\n", coloured("diot:", red, style), lines);
}

}  // namespace diot
