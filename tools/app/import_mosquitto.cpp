#include "tools/app/import_mosquitto.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "core/address.hpp"
#include "core/limits.hpp"
#include "core/text.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

/// What is settled here by itself, so that nothing is lost by leaving it out.
constexpr std::array settled{"persistence",
                             "persistence_location",
                             "persistence_file",
                             "autosave_interval",
                             "autosave_on_changes",
                             "user",
                             "pid_file",
                             "log_dest",
                             "log_type",
                             "log_timestamp",
                             "log_timestamp_format",
                             "log_facility",
                             "connection_messages",
                             "websockets_log_level",
                             "websockets_headers_size",
                             "sys_interval",
                             "set_tcp_nodelay",
                             "per_listener_settings",
                             "psk_hint",
                             "notifications",
                             "notifications_local_only",
                             "notification_topic",
                             "try_private",
                             "start_type",
                             "restart_timeout",
                             "round_robin",
                             "idle_timeout",
                             "threshold",
                             "retain_available",
                             "queue_qos0_messages",
                             "allow_zero_length_clientid",
                             "local_clientid",
                             "bridge_attempt_unsubscribe",
                             "bridge_outgoing_retain",
                             "socket_domain",
                             "check_retain_source",
                             "bridge_require_ocsp",
                             "upgrade_outgoing_qos",
                             "cleansession",
                             "local_cleansession"};

class Importer {
 public:
  Importer(const std::string& folder, const Config& base) : folder_(folder) {
    out_.config = base;
    out_.config.mqtt_listen.clear();
    out_.config.listeners.clear();
    out_.config.upstreams.clear();
  }

  Result<ImportedConfig> run(std::string_view text) {
    for (line_ = 1; !text.empty(); ++line_) {
      const auto line = trimmed(take_until(text, '\n'));
      if (line.empty() || line.front() == '#') continue;
      const auto blank = std::min(line.find_first_of(" \t"), line.size());
      if (auto taken = take(std::string(line.substr(0, blank)), std::string(trimmed(line.substr(blank)))); !taken)
        return fail(taken.error().code, fmt::format("line {}: {}", line_, taken.error().message));
    }
    finish();
    return std::move(out_);
  }

 private:
  void note(std::string_view what) { out_.notes.push_back(fmt::format("line {}: {}", line_, what)); }
  std::string path(const std::string& file) const {
    return file.starts_with('/') ? file : fmt::format("{}/{}", folder_, file);
  }

  static std::optional<bool> flag(const std::string& value) {
    if (value == "true" || value == "1") return true;
    if (value == "false" || value == "0") return false;
    return std::nullopt;
  }
  static std::optional<std::uint32_t> number(const std::string& value) {
    std::uint32_t out = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
    return error == std::errc() && end == value.data() + value.size() ? std::optional(out) : std::nullopt;
  }

  /// The listener that settings belong to: the last one named, or mosquitto's default one.
  ListenerConfig& listener() {
    if (out_.config.listeners.empty()) {
      default_listener_ = true;
      out_.config.listeners.emplace_back().listen = "127.0.0.1:1883";
    }
    return out_.config.listeners.back();
  }
  UpstreamConfig* upstream(const std::string& keyword) {
    if (!out_.config.upstreams.empty()) return &out_.config.upstreams.back();
    note(fmt::format("{} stands before any `connection`", keyword));
    return nullptr;
  }

  Result<void> take(const std::string& keyword, const std::string& value) {
    const auto wrong = [&](std::string_view what) { return fail(Errc::invalid, fmt::format("{} {}", keyword, what)); };
    if (std::ranges::find(settled, keyword) != settled.end()) return {};
    if (value.empty()) return wrong("needs a value");
    if (!is_mqtt_utf8(value)) return wrong("has a value that is not UTF-8");
    if (keyword == "listener" || keyword == "port") return take_listener(keyword, value);
    if (keyword == "bind_address") {
      auto& there = listener();
      const auto port = parse_address(there.listen);
      if (port) there.listen = to_string(HostPort{value, port->port});
      return {};
    }
    if (keyword == "connection") {
      if (out_.config.upstreams.size() >= limits::upstreams_max)
        return fail(Errc::limit, fmt::format("there are more than {} connections", limits::upstreams_max));
      UpstreamConfig made;
      for (const char c : value.substr(0, 32))
        made.name += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' ? c : '-';
      if (made.name != value) note(fmt::format("the connection '{}' is called '{}' here", value, made.name));
      out_.config.upstreams.push_back(std::move(made));
      return {};
    }
    if (keyword == "acl_file" || keyword == "password_file") {
      auto& place = keyword == "acl_file" ? out_.config.users_acl : out_.config.users_passwords;
      auto& seen = keyword == "acl_file" ? acl_seen_ : passwords_seen_;
      if (!seen.empty() && seen != value) {
        note(fmt::format("there is one {} for all listeners: {} is left out", keyword, value));
        return {};
      }
      seen = value;
      place = path(value);
      return {};
    }
    if (keyword == "allow_anonymous") {
      const auto yes = flag(value);
      if (!yes) return wrong("must be true or false");
      // Without per_listener_settings it is for all of them, wherever it stands.
      allow_anonymous_ = yes;
      if (!out_.config.listeners.empty()) listener().allow_anonymous = yes;
      return {};
    }
    if (keyword == "max_keepalive") {
      const auto seconds = number(value);
      if (!seconds || *seconds > 65'535) return wrong("must be a number from 0 to 65535");
      out_.config.mqtt_keep_alive_max = *seconds > 0 ? *seconds : 65'535;
      return {};
    }
    if (take_of_listener(keyword, value) || take_of_upstream(keyword, value)) return {};
    note(fmt::format("{} has no counterpart and is left out", keyword));
    return {};
  }

  Result<void> take_listener(const std::string& keyword, const std::string& value) {
    const auto blank = value.find_first_of(" \t");
    const std::string host(blank == value.npos ? "" : trimmed(std::string_view(value).substr(blank)));
    const auto port = number(value.substr(0, blank));
    if (!port || *port > 65'535) return fail(Errc::invalid, fmt::format("{} needs a port from 0 to 65535", keyword));
    if (out_.config.listeners.size() >= limits::listeners_max)
      return fail(Errc::limit, fmt::format("there are more than {} listeners", limits::listeners_max));
    ListenerConfig made;
    if (host.starts_with('/'))
      made.listen = host;
    else
      made.listen = to_string(HostPort{host.empty() ? "0.0.0.0" : host, static_cast<std::uint16_t>(*port)});
    made.allow_anonymous = allow_anonymous_;
    out_.config.listeners.push_back(std::move(made));
    return {};
  }

  bool take_of_listener(const std::string& keyword, const std::string& value) {
    static const std::map<std::string_view, std::string ListenerConfig::*> files{
        {"certfile", &ListenerConfig::certificate},
        {"keyfile", &ListenerConfig::key},
        {"cafile", &ListenerConfig::client_ca},
        {"psk_file", &ListenerConfig::psk_file}};
    if (const auto file = files.find(keyword); file != files.end()) {
      listener().*file->second = path(value);
    } else if (keyword == "protocol") {
      listener().protocol = value == "websockets" ? "websocket" : "mqtt";
    } else if (keyword == "require_certificate") {
      listener().require_certificate = flag(value).value_or(false);
    } else if (keyword == "use_identity_as_username") {
      listener().identity_as_user = flag(value).value_or(false);
    } else if (keyword == "max_connections") {
      if (const auto count = number(value); count && *count > 0)
        listener().max_connections = std::min<std::uint32_t>(*count, limits::clients_max);
    } else {
      return false;
    }
    return true;
  }

  bool take_of_upstream(const std::string& keyword, const std::string& value) {
    static const std::map<std::string_view, std::string UpstreamConfig::*> files{
        {"bridge_cafile", &UpstreamConfig::ca},
        {"bridge_certfile", &UpstreamConfig::certificate},
        {"bridge_keyfile", &UpstreamConfig::key}};
    static const std::map<std::string_view, std::string UpstreamConfig::*> texts{
        {"remote_username", &UpstreamConfig::user},
        {"username", &UpstreamConfig::user},
        {"remote_clientid", &UpstreamConfig::client_id},
        {"clientid", &UpstreamConfig::client_id},
        {"bridge_identity", &UpstreamConfig::psk_identity}};
    const auto file = files.find(keyword);
    const auto text = texts.find(keyword);
    constexpr std::array others{"address",       "addresses",         "topic",           "remote_password",
                                "password",      "bridge_psk",        "bridge_insecure", "bridge_protocol_version",
                                "bridge_capath", "keepalive_interval"};
    if (file == files.end() && text == texts.end() && std::ranges::find(others, keyword) == others.end()) return false;
    UpstreamConfig* const to = upstream(keyword);
    if (!to) return true;
    if (file != files.end()) {
      to->*file->second = path(value);
      to->tls = true;
    } else if (text != texts.end()) {
      to->*text->second = value;
    } else if (keyword == "address" || keyword == "addresses") {
      const std::string first = value.substr(0, value.find_first_of(" \t"));
      if (first != value) note("only the first address of a connection is used");
      to->address = parse_address(first) ? first : first + ":1883";
    } else if (keyword == "topic") {
      if (auto topic = parse_upstream_topic(value))
        to->topics.push_back(value);
      else
        note(fmt::format("the topic {}", topic.error().message));
    } else if (keyword == "remote_password" || keyword == "password") {
      to->password_file = to->name + ".password";
      note(fmt::format("write the password of '{0}' into $DIOT_HOME/{0}.password (chmod 600)", to->name));
    } else if (keyword == "bridge_psk") {
      to->psk_file = to->name + ".psk";
      to->tls = true;
      note(fmt::format("write the key of '{0}' into $DIOT_HOME/{0}.psk (chmod 600), as IDENTITY:HEX", to->name));
    } else if (keyword == "bridge_insecure") {
      to->insecure = flag(value).value_or(false);
    } else if (keyword == "bridge_capath") {
      to->tls = true;
      note("bridge_capath is left out: the system's authorities are trusted; `ca` names a file");
    } else if (keyword == "bridge_protocol_version") {
      to->protocol = value == "mqttv50" ? "5" : value == "mqttv311" ? "3.1.1" : "auto";
      if (value == "mqttv31") note("MQTT 3.1 is not spoken to upstreams: auto is used");
    } else if (const auto seconds = number(value); seconds && *seconds > 0) {  // keepalive_interval
      to->keep_alive = std::min<std::uint32_t>(*seconds, 65'535);
    }
    return true;
  }

  /// What depends on more than one line.
  void finish() {
    line_ = 0;
    const auto whole = [&](std::string_view what) { out_.notes.emplace_back(what); };
    listener();
    for (auto& each : out_.config.listeners) {
      if (!each.allow_anonymous && !default_listener_) each.allow_anonymous = allow_anonymous_.value_or(false);
      // In mosquitto it may also name the authority of the server's own certificate, which nobody needs.
      if (!each.require_certificate && !each.identity_as_user) each.client_ca.clear();
      if (each.certificate.empty()) each.client_ca.clear();
      if (!each.client_ca.empty() && !each.require_certificate)
        whole(fmt::format("{}: clients may show a certificate, and need a password if they do not", each.listen));
      if (each.listen.starts_with("0.0.0.0:"))
        whole(fmt::format("{} is IPv4 only: add a [[listener]] with [::] for IPv6", each.listen));
      if (each.protocol == "websocket")
        whole(fmt::format("{}: name the web pages that may connect in `origins`, if they are of other hosts",
                          each.listen));
    }
    std::erase_if(out_.config.upstreams, [&](const UpstreamConfig& each) {
      const bool usable = !each.address.empty() && !each.topics.empty();
      if (!usable) whole(fmt::format("the connection '{}' has no address or no topic, and is left out", each.name));
      return !usable;
    });
    for (auto& each : out_.config.upstreams)
      if (each.psk_identity.empty() != each.psk_file.empty()) each.psk_identity.clear(), each.psk_file.clear();
    std::set<std::string> names;
    keep_in_order(out_.config.listeners, &Config::listeners,
                  [&](const auto& each, auto why) { whole(fmt::format("{} is left out: {}", each.listen, why)); });
    keep_in_order(out_.config.upstreams, &Config::upstreams, [&](const auto& each, auto why) {
      whole(fmt::format("the connection '{}' is left out: {}", each.name, why));
    });
    std::erase_if(out_.config.upstreams, [&](const UpstreamConfig& each) {
      const bool again = !names.insert(each.name).second;
      if (again) whole(fmt::format("a second connection '{}' is left out: give it another name", each.name));
      return again;
    });
  }

  /// Leaves out what the configuration would refuse, which judges each table by itself.
  template <class T, class Refused>
  void keep_in_order(std::vector<T>& tables, std::vector<T> Config::*place, Refused refused) {
    std::erase_if(tables, [&](const T& each) {
      Config alone;
      alone.handle = out_.config.handle;
      (alone.*place).push_back(each);
      const auto checked = parse_config(to_toml(alone), "");
      if (checked) return false;
      std::string_view why = checked.error().message;  // ":LINE:COLUMN: what is wrong", and more behind a newline
      why = why.substr(0, why.find('\n'));
      refused(each, why.substr(std::min(why.size(), why.find(": ") + 2)));
      return true;
    });
  }

  const std::string& folder_;
  ImportedConfig out_;
  int line_ = 0;
  bool default_listener_ = false;
  std::optional<bool> allow_anonymous_;
  std::string acl_seen_, passwords_seen_;
};

}  // namespace

Result<ImportedConfig> import_mosquitto(std::string_view text, const std::string& folder, const Config& base) {
  return Importer(folder, base).run(text);
}

}  // namespace diot
