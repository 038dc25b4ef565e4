#include "tools/app/config.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <array>
#include <variant>

#include "core/address.hpp"
#include "core/limits.hpp"
#include "core/topic.hpp"
#include "tools/app/home.hpp"
#include "tools/app/suggest.hpp"

namespace diot {
namespace {

constexpr std::size_t config_bytes_max = 256 << 10;
constexpr std::int64_t config_version = 1;

using Text = std::string Config::*;
using List = std::vector<std::string> Config::*;

/// One row a setting: everything that is known about it.
struct Setting {
  std::string_view key;
  std::variant<Text, List> member;
  Result<void> (*check)(std::string_view value);
  std::string_view help;
  std::size_t count_max = 1;  // of a list
};

Result<void> check_address(std::string_view value) {
  const auto address = parse_address(value);
  return address ? Result<void>{} : tl::unexpected(address.error());
}

Result<void> check_loopback(std::string_view value) {
  const auto address = parse_address(value);
  if (!address) return tl::unexpected(address.error());
  if (is_loopback(*address)) return {};
  return fail(Errc::not_permitted,
              fmt::format("'{}' is reachable from other machines; write 127.0.0.1:{}", value, address->port));
}

// Without users anybody who reaches the port may publish and read.
Result<void> check_mqtt_address(std::string_view value) {
  auto checked = check_loopback(value);
  if (!checked && checked.error().code == Errc::not_permitted)
    checked.error().message += " (users, and with them other machines, are not available yet)";
  return checked;
}

Result<void> check_public_address(std::string_view value) {
  const auto address = parse_address(value);
  if (!address) return tl::unexpected(address.error());
  if (address->port == 0) return fail(Errc::invalid, fmt::format("'{}' needs the port that others dial", value));
  return {};
}

template <std::size_t N>
Result<void> check_choice(std::string_view value, const std::array<std::string_view, N>& choices) {
  for (auto choice : choices)
    if (value == choice) return {};
  return fail(Errc::invalid,
              fmt::format("'{}' is not one of {}{}", value, fmt::join(choices, ", "), did_you_mean(value, choices)));
}
Result<void> check_log_level(std::string_view value) {
  return check_choice(value, std::array<std::string_view, 5>{"debug", "info", "warning", "error", "off"});
}
Result<void> check_log_format(std::string_view value) {
  return check_choice(value, std::array<std::string_view, 2>{"text", "json"});
}

const std::array settings{
    Setting{"handle", &Config::handle, check_handle,
            "The name this home has in the network. It is registered by `diot init` and `diot join`; changing it here\n"
            "does not register another."},
    Setting{"mqtt.listen", &Config::mqtt_listen, check_mqtt_address,
            "Where MQTT clients connect. Port 0 = any free port.", 8},
    Setting{"api.listen", &Config::api_listen, check_loopback,
            "Where the HTTP API listens, on this machine only; [] = nowhere. The token is in the file api.token.", 8},
    Setting{"overlay.listen", &Config::overlay_listen, check_address,
            "Where other nodes connect: TCP for links, UDP with the same number for the DHT.", 8},
    Setting{"overlay.addresses", &Config::overlay_addresses, check_public_address,
            "What other nodes are told to dial, where that differs from overlay.listen (a router's forwarded port).",
            limits::addresses_per_node_max},
    Setting{"log.level", &Config::log_level, check_log_level, "debug, info, warning, error or off."},
    Setting{"log.format", &Config::log_format, check_log_format, "text or json (one object a line)."},
};

/// Collects every error of a file with its place.
class Errors {
 public:
  explicit Errors(const std::string& file) : file_(file) {}
  void add(const toml::source_region& where, std::string_view message) {
    if (!text_.empty()) text_ += '\n';
    text_ += fmt::format("{}:{}:{}: {}", file_, where.begin.line, where.begin.column, message);
  }
  bool none() const { return text_.empty(); }
  std::string take() { return std::move(text_); }

 private:
  const std::string& file_;
  std::string text_;
};

std::string_view type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::none: return "nothing";
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "an array";
    case toml::node_type::string: return "a string";
    case toml::node_type::integer:
    case toml::node_type::floating_point: return "a number";
    case toml::node_type::boolean: return "true or false";
    default: return "a date or time";
  }
}

/// A string element, checked.
std::optional<std::string> read_text(const Setting& setting, const toml::node& node, Errors& errors) {
  const auto* text = node.as_string();
  if (text == nullptr) {
    errors.add(node.source(),
               fmt::format("{} must be in quotes: it is a string, not {}", setting.key, type_name(node)));
    return std::nullopt;
  }
  if (const auto checked = setting.check(text->get()); !checked) {
    errors.add(node.source(), fmt::format("{}: {}", setting.key, checked.error().message));
    return std::nullopt;
  }
  return text->get();
}

void read_setting(const Setting& setting, const toml::node& node, Config& config, Errors& errors) {
  if (const auto* member = std::get_if<Text>(&setting.member)) {
    if (auto text = read_text(setting, node, errors)) config.*(*member) = std::move(*text);
    return;
  }
  std::vector<std::string> values;
  if (const auto* array = node.as_array()) {
    if (array->size() > setting.count_max)
      return errors.add(node.source(),
                        fmt::format("{} has {} elements; {} at most", setting.key, array->size(), setting.count_max));
    for (const auto& element : *array)
      if (auto text = read_text(setting, element, errors)) values.push_back(std::move(*text));
  } else if (auto text = read_text(setting, node, errors)) {  // one element needs no brackets
    values.push_back(std::move(*text));
  }
  config.*std::get<List>(setting.member) = std::move(values);
}

void read_table(const toml::table& table, const std::string& prefix, Config& config, Errors& errors) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (key == "version") continue;
    const auto* setting = std::ranges::find(settings, std::string_view(key), &Setting::key);
    if (setting != settings.end()) {
      read_setting(*setting, node, config, errors);
    } else if (const auto* inner = node.as_table(); inner != nullptr && !inner->empty()) {
      read_table(*inner, key + ".", config, errors);
    } else if (inner == nullptr ||
               std::ranges::none_of(settings, [&](const auto& known) { return known.key.starts_with(key + "."); })) {
      std::vector<std::string_view> keys{"version"};
      for (const auto& known : settings) keys.push_back(known.key);
      errors.add(name.source(), fmt::format("there is no setting '{}'{}", key, did_you_mean(key, keys)));
    }
  }
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& file) {
  Errors errors(file);
  toml::table table;
  try {
    table = toml::parse(text);
  } catch (const toml::parse_error& error) {
    errors.add(error.source(), error.description());
    return fail(Errc::invalid, errors.take());
  }
  Config config;
  if (const auto* version = table.get("version"); version == nullptr)
    errors.add({{1, 1}, {1, 1}, {}}, "the line `version = 1` is missing; put it at the top");
  else if (version->value_exact<std::int64_t>() != config_version)
    errors.add(version->source(), fmt::format("version must be {}: this program knows no other", config_version));
  read_table(table, "", config, errors);
  if (!table.contains("handle"))
    errors.add({{1, 1}, {1, 1}, {}}, "the setting handle is missing, e.g. handle = \"alice\"");
  if (!errors.none()) return fail(Errc::invalid, errors.take());
  return config;
}

Result<Config> load_config(const std::string& file) {
  const auto bytes = read_file(file, config_bytes_max);
  if (!bytes) return tl::unexpected(bytes.error());
  return parse_config(as_text(*bytes), file);
}

std::string to_toml(const Config& config) {
  // Checked values hold nothing that a TOML string would have to escape.
  const auto quoted = [](const std::string& value) { return fmt::format("\"{}\"", value); };
  std::string out = "# Configuration of a diot node. `diot run --check` checks it.\nversion = 1\n";
  std::string_view section;
  for (const auto& setting : settings) {
    const auto dot = setting.key.find('.');
    if (dot != setting.key.npos && setting.key.substr(0, dot) != section)
      out += fmt::format("\n[{}]\n", section = setting.key.substr(0, dot));
    else
      out += '\n';
    out += "# ";
    for (const char c : setting.help) out += c == '\n' ? std::string("\n# ") : std::string(1, c);
    out += fmt::format("\n{} = ", dot == setting.key.npos ? setting.key : setting.key.substr(dot + 1));
    if (const auto* member = std::get_if<Text>(&setting.member)) {
      out += quoted(config.*(*member));
    } else {
      std::string elements;
      for (const auto& value : config.*std::get<List>(setting.member))
        elements += (elements.empty() ? "" : ", ") + quoted(value);
      out += fmt::format("[{}]", elements);
    }
    out += '\n';
  }
  return out;
}

}  // namespace diot
