#include "tools/app/config.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <span>
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

/// One row a setting of a T: everything that is known about it.
template <class T>
struct Setting {
  using Text = std::string T::*;
  using List = std::vector<std::string> T::*;
  using Number = std::uint32_t T::*;
  using Flag = bool T::*;
  using Choice = std::optional<bool> T::*;  ///< not given: it depends

  std::string_view key;
  std::variant<Text, List, Number, Flag, Choice> member;
  Result<void> (*check)(std::string_view value);  // of strings
  std::string_view help;
  std::size_t max = 1;  // elements of a list, or the largest number
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

Result<void> check_public_address(std::string_view value) {
  const auto address = parse_address(value);
  if (!address) return tl::unexpected(address.error());
  if (address->port == 0) return fail(Errc::invalid, fmt::format("'{}' needs the port that others dial", value));
  return {};
}

Result<void> check_server_reference(std::string_view value) {
  return value.empty() ? Result<void>{} : check_public_address(value);
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

Result<void> check_bytes(std::string_view value) {
  constexpr std::uint64_t least = 1 << 20;
  if (value.empty()) return {};
  const auto bytes = parse_bytes(value);
  if (!bytes) return tl::unexpected(bytes.error());
  if (*bytes < least) return fail(Errc::invalid, fmt::format("'{}' is too little to work with: 1 MiB at least", value));
  return {};
}

Result<void> check_protocol(std::string_view value) {
  return check_choice(value, std::array<std::string_view, 2>{"mqtt", "websocket"});
}
Result<void> check_path(std::string_view value) {
  if (!value.empty() && value.find('\0') == value.npos) return {};
  return fail(Errc::invalid, "a file's name is missing");
}
Result<void> check_listen(std::string_view value) {
  return value.starts_with('/') ? check_path(value) : check_address(value);
}
Result<void> check_origin(std::string_view value) {
  if (value == "*" || (value.find("://") != value.npos && value.find('/', value.find("://") + 3) == value.npos))
    return {};
  return fail(Errc::invalid, fmt::format("'{}' is no origin: write scheme://host, e.g. https://panel.example", value));
}
Result<void> check_mode(std::string_view value) {
  if ((value.size() == 3 || value.size() == 4) && value.find_first_not_of("01234567") == value.npos &&
      value.size() - 3 <= 1 && (value.size() == 3 || value.front() == '0'))
    return {};
  return fail(Errc::invalid, fmt::format("'{}' is no file mode: write it in octal, e.g. 0660", value));
}

const std::array settings{
    Setting<Config>{
        "handle", &Config::handle, check_handle,
        "The name this home has in the network. It is registered by `diot init` and `diot join`; changing it here\n"
        "does not register another."},
    Setting<Config>{"mqtt.listen", &Config::mqtt_listen, check_listen,
                    "Where MQTT clients connect: addresses, or paths of unix sockets. Port 0 = any free port. Other\n"
                    "machines need a user (`diot user add NAME`). TLS, WebSocket and more: [[listener]] below.",
                    limits::listeners_max},
    Setting<Config>{
        "mqtt.keep_alive_max", &Config::mqtt_keep_alive_max, nullptr,
        "Seconds: MQTT 5.0 clients that ask for a longer keep-alive, or for none, are told to use this one.\n"
        "65535 = as they ask.",
        65'535},
    Setting<Config>{
        "mqtt.server_reference", &Config::mqtt_server_reference, check_server_reference,
        "Where this home's clients are served instead, host:port: 5.0 clients are told so, all are refused."},
    Setting<Config>{"mqtt.server_moved", &Config::mqtt_server_moved, nullptr, "They are told that it is for ever."},
    Setting<Config>{
        "api.listen", &Config::api_listen, check_loopback,
        "Where the HTTP API listens, on this machine only; [] = nowhere. The token is in the file api.token.", 8},
    Setting<Config>{"overlay.listen", &Config::overlay_listen, check_address,
                    "Where other nodes connect: TCP for links, UDP with the same number for the DHT.", 8},
    Setting<Config>{
        "overlay.addresses", &Config::overlay_addresses, check_public_address,
        "What other nodes are told to dial, where that differs from overlay.listen (a router's forwarded port).",
        limits::addresses_per_node_max},
    Setting<Config>{"users.passwords", &Config::users_passwords, check_path,
                    "Users and their passwords, in mosquitto's format; `diot user` writes it."},
    Setting<Config>{"users.acl", &Config::users_acl, check_path,
                    "Who may read and write what, in mosquitto's format. Without the file: everybody, everything."},
    Setting<Config>{
        "store.max", &Config::store_max, check_bytes,
        "How much of the disk the shared messages may take that are kept for other homes and from them, e.g.\n"
        "\"500 MiB\". Empty: 2 GiB, or a tenth of the disk where that is less. The oldest go first."},
    Setting<Config>{"store.handle_max", &Config::store_handle_max, check_bytes,
                    "How much of it one other home may take. Empty: a quarter."},
    Setting<Config>{"store.log_max", &Config::store_log_max, check_bytes,
                    "How much is kept of each gateway's messages under one share. Empty: 64 MiB."},
    Setting<Config>{
        "store.days", &Config::store_days, nullptr,
        "For how many days, within those bounds: a reader that comes back in time gets all that it has missed.", 3650},
    Setting<Config>{
        "ledger.archive", &Config::ledger_archive, nullptr,
        "Keep every block of the ledger since its genesis, as witnesses do. Else a node keeps its share of the old\n"
        "ones, where there are more nodes than copies are wanted."},
    Setting<Config>{"log.level", &Config::log_level, check_log_level, "debug, info, warning, error or off."},
    Setting<Config>{"log.format", &Config::log_format, check_log_format, "text or json (one object a line)."},
};

using Row = Setting<ListenerConfig>;
const std::array listener_settings{
    Row{"listen", &ListenerConfig::listen, check_listen, "An address, or the absolute path of a unix socket."},
    Row{"protocol", &ListenerConfig::protocol, check_protocol, "mqtt or websocket."},
    Row{"certificate", &ListenerConfig::certificate, check_path,
        "The server's certificate (PEM, with its chain): clients speak TLS."},
    Row{"key", &ListenerConfig::key, check_path, "The certificate's key (PEM)."},
    Row{"client_ca", &ListenerConfig::client_ca, check_path,
        "Who signs clients' certificates (PEM): clients may show one."},
    Row{"require_certificate", &ListenerConfig::require_certificate, nullptr, "Clients must show one."},
    Row{"psk_file", &ListenerConfig::psk_file, check_path,
        "Keys instead of certificates: lines of identity:hex. Clients speak TLS."},
    Row{"identity_as_user", &ListenerConfig::identity_as_user, nullptr,
        "The certificate's common name, or the key's identity, is the user: no password is asked for."},
    Row{"allow_anonymous", &ListenerConfig::allow_anonymous, nullptr,
        "Clients without a user name get in. Left out: only where no other machine does."},
    Row{"origins", &ListenerConfig::origins, check_origin,
        "WebSocket: pages that may connect, beside those of this host: \"https://panel.example\", or \"*\".", 64},
    Row{"proxy_protocol", &ListenerConfig::proxy_protocol, nullptr,
        "A proxy stands in front and sends the PROXY header, version 2. Nobody else may reach this listener then."},
    Row{"max_connections", &ListenerConfig::max_connections, nullptr, "At most this many clients at once.",
        limits::clients_max},
    Row{"mode", &ListenerConfig::mode, check_mode, "Of a unix socket: who may connect."},
};

Result<void> check_upstream_name(std::string_view value) {
  constexpr std::size_t name_bytes_max = 32;
  if (!value.empty() && value.size() <= name_bytes_max && std::ranges::all_of(value, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
      }))
    return {};
  return fail(Errc::invalid,
              fmt::format("'{}' is no name: 1 to {} letters, digits, '-' and '_'", value, name_bytes_max));
}
Result<void> check_upstream_topic(std::string_view value) {
  const auto parsed = parse_upstream_topic(value);
  return parsed ? Result<void>{} : tl::unexpected(parsed.error());
}
Result<void> check_version(std::string_view value) {
  return check_choice(value, std::array<std::string_view, 3>{"auto", "5", "3.1.1"});
}
Result<void> check_mqtt_text(std::string_view value) {
  if (!value.empty() && value.size() <= 1024 && is_mqtt_utf8(value)) return {};
  return fail(Errc::invalid, "1 to 1024 bytes of UTF-8 are expected");
}

using UpstreamRow = Setting<UpstreamConfig>;
const std::array upstream_settings{
    UpstreamRow{"name", &UpstreamConfig::name, check_upstream_name,
                "Names it in `diot status` and in $SYS/broker/connection/NAME/state."},
    UpstreamRow{"address", &UpstreamConfig::address, check_public_address, "Where the other broker is: host:port."},
    UpstreamRow{"topics", &UpstreamConfig::topics, check_upstream_topic,
                "Which topics are exchanged: \"pattern in|out|both qos local-prefix remote-prefix\".",
                limits::upstream_topics_max},
    UpstreamRow{"protocol", &UpstreamConfig::protocol, check_version, "MQTT version: auto, 5 or 3.1.1."},
    UpstreamRow{"client_id", &UpstreamConfig::client_id, check_mqtt_text, "Left out: diot-NAME."},
    UpstreamRow{"user", &UpstreamConfig::user, check_mqtt_text, "The user there."},
    UpstreamRow{"password_file", &UpstreamConfig::password_file, check_path,
                "A file whose first line is the password."},
    UpstreamRow{"keep_alive", &UpstreamConfig::keep_alive, nullptr, "Seconds.", 65'535},
    UpstreamRow{"tls", &UpstreamConfig::tls, nullptr, "The other broker speaks TLS."},
    UpstreamRow{"ca", &UpstreamConfig::ca, check_path,
                "Who signed its certificate (PEM). Left out: the system's authorities."},
    UpstreamRow{"certificate", &UpstreamConfig::certificate, check_path, "A certificate to show (PEM)."},
    UpstreamRow{"key", &UpstreamConfig::key, check_path, "The certificate's key (PEM)."},
    UpstreamRow{"psk_identity", &UpstreamConfig::psk_identity, check_mqtt_text,
                "TLS with a key instead of certificates."},
    UpstreamRow{"psk_file", &UpstreamConfig::psk_file, check_path, "Where that key is: a line identity:hex."},
    UpstreamRow{"insecure", &UpstreamConfig::insecure, nullptr, "Any certificate is good. Anybody can listen then."},
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

/// A string element, checked. `name` is the setting's, for people.
template <class T>
std::optional<std::string> read_text(const Setting<T>& setting, const std::string& name, const toml::node& node,
                                     Errors& errors) {
  const auto* text = node.as_string();
  if (text == nullptr) {
    errors.add(node.source(), fmt::format("{} must be in quotes: it is a string, not {}", name, type_name(node)));
    return std::nullopt;
  }
  if (const auto checked = setting.check(text->get()); !checked) {
    errors.add(node.source(), fmt::format("{}: {}", name, checked.error().message));
    return std::nullopt;
  }
  return text->get();
}

template <class T>
void read_setting(const Setting<T>& setting, const std::string& name, const toml::node& node, T& into, Errors& errors) {
  using Kind = Setting<T>;
  const auto wrong = [&](std::string_view what) { errors.add(node.source(), fmt::format("{} {}", name, what)); };
  if (const auto* text_member = std::get_if<typename Kind::Text>(&setting.member)) {
    if (auto text = read_text(setting, name, node, errors)) into.*(*text_member) = std::move(*text);
  } else if (const auto* number_member = std::get_if<typename Kind::Number>(&setting.member)) {
    const auto number = node.value_exact<std::int64_t>();
    if (!number || *number < 1 || static_cast<std::uint64_t>(*number) > setting.max)
      return wrong(fmt::format("must be a number from 1 to {}", setting.max));
    into.*(*number_member) = static_cast<std::uint32_t>(*number);
  } else if (const auto* list_member = std::get_if<typename Kind::List>(&setting.member)) {
    std::vector<std::string> values;
    if (const auto* array = node.as_array()) {
      if (array->size() > setting.max)
        return wrong(fmt::format("has {} elements; {} at most", array->size(), setting.max));
      for (const auto& element : *array)
        if (auto text = read_text(setting, name, element, errors)) values.push_back(std::move(*text));
    } else if (auto text = read_text(setting, name, node, errors)) {  // one element needs no brackets
      values.push_back(std::move(*text));
    }
    into.*(*list_member) = std::move(values);
  } else {
    const auto flag = node.value_exact<bool>();
    if (!flag) return wrong(fmt::format("must be true or false, not {}", type_name(node)));
    if (const auto* flag_member = std::get_if<typename Kind::Flag>(&setting.member))
      into.*(*flag_member) = *flag;
    else
      into.*std::get<typename Kind::Choice>(setting.member) = *flag;
  }
}

template <class T>
std::vector<std::string_view> keys_of(std::span<const Setting<T>> rows,
                                      std::initializer_list<std::string_view> more = {}) {
  std::vector<std::string_view> keys(more);
  for (const auto& row : rows) keys.push_back(row.key);
  return keys;
}

void check_listener(const ListenerConfig& listener, const toml::source_region& where, Errors& errors) {
  const auto need = [&](bool holds, std::string_view what) {
    if (!holds) errors.add(where, fmt::format("listener: {}", what));
  };
  need(!listener.listen.empty(), "the setting listen is missing, e.g. listen = \"0.0.0.0:8883\"");
  need(listener.certificate.empty() == listener.key.empty(), "certificate and key need each other");
  need(listener.client_ca.empty() || !listener.certificate.empty(), "client_ca needs the listener's own certificate");
  need(!listener.require_certificate || !listener.client_ca.empty(), "require_certificate needs client_ca");
  need(!listener.identity_as_user || !listener.client_ca.empty() || !listener.psk_file.empty(),
       "identity_as_user needs client_ca or psk_file");
  need(listener.origins.empty() || listener.protocol == "websocket", "origins belong to protocol = \"websocket\"");
}

void check_upstream(const UpstreamConfig& upstream, const toml::source_region& where, Errors& errors) {
  const auto need = [&](bool holds, std::string_view what) {
    if (!holds) errors.add(where, fmt::format("upstream: {}", what));
  };
  need(!upstream.name.empty(), "the setting name is missing");
  need(!upstream.address.empty(), "the setting address is missing, e.g. address = \"192.168.1.2:1883\"");
  need(!upstream.topics.empty(), "the setting topics is missing, e.g. topics = [\"sensors/# out 1\"]");
  need(upstream.certificate.empty() == upstream.key.empty(), "certificate and key need each other");
  need(upstream.psk_identity.empty() == upstream.psk_file.empty(), "psk_identity and psk_file need each other");
  need(upstream.psk_file.empty() || (upstream.ca.empty() && upstream.certificate.empty()),
       "it is keys or certificates, not both");
  need(upstream.tls || (upstream.ca.empty() && upstream.certificate.empty() && upstream.psk_file.empty()),
       "certificates and keys need tls = true");
  need(upstream.password_file.empty() || !upstream.user.empty(), "password_file needs user");
}

/// The tables of [[name]], one T each.
template <class T>
void read_tables(std::string_view name, const toml::node& node, std::span<const Setting<T>> rows, std::size_t max,
                 void (*check)(const T&, const toml::source_region&, Errors&), std::vector<T>& into, Errors& errors) {
  const auto* array = node.as_array();
  if (array == nullptr || !array->is_array_of_tables())
    return errors.add(node.source(), fmt::format("write [[{}]], once for each", name));
  if (array->size() > max) return errors.add(node.source(), fmt::format("there are more than {} [[{}]]", max, name));
  for (const auto& element : *array) {
    T made;
    for (const auto& [key, value] : *element.as_table()) {
      const auto row = std::ranges::find(rows, key.str(), &Setting<T>::key);
      const std::string full = fmt::format("{}.{}", name, key.str());
      if (row != rows.end())
        read_setting(*row, full, value, made, errors);
      else
        errors.add(key.source(),
                   fmt::format("there is no setting '{}'{}", full, did_you_mean(key.str(), keys_of(rows))));
    }
    check(made, element.source(), errors);
    into.push_back(std::move(made));
  }
}

void read_table(const toml::table& table, const std::string& prefix, Config& config, Errors& errors) {
  for (const auto& [name, node] : table) {
    const std::string key = prefix + std::string(name.str());
    if (key == "version") continue;
    const auto* setting = std::ranges::find(settings, std::string_view(key), &Setting<Config>::key);
    if (setting != settings.end()) {
      read_setting(*setting, key, node, config, errors);
    } else if (key == "listener") {
      read_tables<ListenerConfig>(key, node, listener_settings, limits::listeners_max, check_listener, config.listeners,
                                  errors);
    } else if (key == "upstream") {
      read_tables<UpstreamConfig>(key, node, upstream_settings, limits::upstreams_max, check_upstream, config.upstreams,
                                  errors);
    } else if (const auto* inner = node.as_table(); inner != nullptr && !inner->empty()) {
      read_table(*inner, key + ".", config, errors);
    } else if (inner == nullptr ||
               std::ranges::none_of(settings, [&](const auto& known) { return known.key.starts_with(key + "."); })) {
      const auto keys = keys_of(std::span<const Setting<Config>>(settings), {"version", "listener", "upstream"});
      errors.add(name.source(), fmt::format("there is no setting '{}'{}", key, did_you_mean(key, keys)));
    }
  }
}

/// As TOML has it: a basic string.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + "\"";
}

template <class T>
std::string value_text(const Setting<T>& setting, const T& from) {
  using Kind = Setting<T>;
  if (const auto* text = std::get_if<typename Kind::Text>(&setting.member)) return quoted(from.*(*text));
  if (const auto* number = std::get_if<typename Kind::Number>(&setting.member))
    return fmt::format("{}", from.*(*number));
  if (const auto* flag = std::get_if<typename Kind::Flag>(&setting.member)) return fmt::format("{}", from.*(*flag));
  if (const auto* choice = std::get_if<typename Kind::Choice>(&setting.member))
    return fmt::format("{}", (from.*(*choice)).value_or(false));
  std::string elements;
  for (const auto& value : from.*std::get<typename Kind::List>(setting.member))
    elements += (elements.empty() ? "" : ", ") + quoted(value);
  return fmt::format("[{}]", elements);
}

std::string comment(std::string_view help) {
  std::string out = "# ";
  for (const char c : help) out += c == '\n' ? std::string("\n# ") : std::string(1, c);
  return out + "\n";
}

/// Every setting of such a table, commented out, as an example.
template <class T>
std::string example_of(std::string_view name, std::string_view help, std::span<const Setting<T>> rows) {
  std::string out = fmt::format("\n{}# [[{}]]\n", comment(help), name);
  for (const auto& row : rows) out += fmt::format("{}# {} = {}\n", comment(row.help), row.key, value_text(row, T{}));
  return out;
}

/// What differs from the defaults.
template <class T>
std::string tables_of(std::string_view name, std::span<const Setting<T>> rows, const std::vector<T>& tables) {
  std::string out;
  for (const T& table : tables) {
    out += fmt::format("\n[[{}]]\n", name);
    for (const auto& row : rows) {
      const auto* choice = std::get_if<typename Setting<T>::Choice>(&row.member);
      if (choice ? (table.*(*choice)).has_value() : value_text(row, table) != value_text(row, T{}))
        out += fmt::format("{} = {}\n", row.key, value_text(row, table));
    }
  }
  return out;
}

}  // namespace

std::vector<ListenerConfig> Config::all_listeners() const {
  std::vector<ListenerConfig> out;
  for (const auto& address : mqtt_listen) {
    ListenerConfig listener;
    listener.listen = address;
    out.push_back(std::move(listener));
  }
  out.insert(out.end(), listeners.begin(), listeners.end());
  return out;
}

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
  std::set<std::string_view> names;
  for (const auto& upstream : config.upstreams)
    if (!upstream.name.empty() && !names.insert(upstream.name).second)
      errors.add(table["upstream"].node()->source(), fmt::format("two upstreams have the name '{}'", upstream.name));
  if (!errors.none()) return fail(Errc::invalid, errors.take());
  return config;
}

Result<Config> load_config(const std::string& file) {
  const auto bytes = read_file(file, config_bytes_max);
  if (!bytes) return tl::unexpected(bytes.error());
  return parse_config(as_text(*bytes), file);
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  constexpr std::uint64_t most = std::uint64_t{1} << 60;
  struct Unit {
    std::string_view name;
    std::uint64_t bytes;
  };
  static constexpr Unit units[] = {{"", 1},
                                   {"B", 1},
                                   {"KB", 1'000},
                                   {"MB", 1'000'000},
                                   {"GB", 1'000'000'000},
                                   {"TB", 1'000'000'000'000},
                                   {"KiB", 1 << 10},
                                   {"MiB", 1 << 20},
                                   {"GiB", 1 << 30},
                                   {"TiB", std::uint64_t{1} << 40}};
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto found = std::ranges::find(units, unit, &Unit::name);
  if (error != std::errc() || found == std::end(units) || number > most / found->bytes)
    return fail(Errc::invalid, fmt::format("'{}' is no size: write a whole number and a unit, e.g. 500 MiB", text));
  return number * found->bytes;
}

std::string to_toml(const Config& config) {
  std::string out = "# Configuration of a diot node. `diot run --check` checks it.\nversion = 1\n";
  std::string_view section;
  for (const auto& setting : settings) {
    const auto dot = setting.key.find('.');
    if (dot != setting.key.npos && setting.key.substr(0, dot) != section)
      out += fmt::format("\n[{}]\n", section = setting.key.substr(0, dot));
    else
      out += '\n';
    out += comment(setting.help);
    out += fmt::format("{} = {}\n", dot == setting.key.npos ? setting.key : setting.key.substr(dot + 1),
                       value_text(setting, config));
  }
  const std::span<const Setting<ListenerConfig>> listeners(listener_settings);
  const std::span<const Setting<UpstreamConfig>> upstreams(upstream_settings);
  out += example_of("listener",
                    "Any number of further listeners, each with its own rules. Files are relative to this folder.",
                    listeners);
  out += example_of("upstream", "Any number of brokers that this home is joined to.", upstreams);
  return out + tables_of("listener", listeners, config.listeners) + tables_of("upstream", upstreams, config.upstreams);
}

}  // namespace diot
