#include "bridge/upstream.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

/// Far from those of messages, which begin at 1.
constexpr PacketId subscribe_id = 65'535;
constexpr std::uint16_t window_3_1_1 = 20;  ///< mosquitto acknowledges QoS 2 beyond it and then drops
constexpr std::string_view origin_property = "diot-origin";
constexpr std::size_t sent_max = 64;                    ///< messages that are remembered to know their echo …
constexpr auto echo_within = std::chrono::seconds(10);  ///< … which comes at once if it comes
constexpr int echoes_max = 3;  ///< the same message from somebody else is no loop, three in a row are

std::size_t hash_of(std::string_view topic, ByteView payload) {
  return std::hash<std::string_view>()(topic) * 31 + std::hash<std::string_view>()(as_text(payload));
}

/// MQTT 3.1.1 with mosquitto's bridge bit in the protocol level.
void set_bridge_bit(Bytes& connect) {
  std::size_t at = 1;
  while ((connect[at++] & 0x80) != 0) {
  }
  connect[at + 6] |= 0x80;  // after the protocol's name
}

/// Calls handle(packet) for the whole packets at the front and returns how many bytes they had. nullopt: malformed.
std::optional<std::size_t> each_packet(ByteView input, auto&& handle) {
  std::size_t used = 0;
  for (;;) {
    const auto packet = next_packet(input.subspan(used), varint_max);
    if (!packet) return std::nullopt;
    if (!*packet) return used;
    used += (*packet)->bytes;
    if (!handle(**packet)) return used;
  }
}

/// A message as it came, identifier and all, under another name. Both must outlive the result.
PublishOut passed_on(const Publish& publish, std::string_view name) {
  PublishOut out;
  out.dup = publish.dup;
  out.qos = publish.qos;
  out.retain = publish.retain;
  out.packet_id = publish.packet_id;
  out.topic = name;
  out.payload = publish.payload;
  out.properties = &publish.properties;
  out.seconds_left = publish.properties.expiry_seconds;
  return out;
}

}  // namespace

Result<UpstreamTopic> parse_upstream_topic(std::string_view text) {
  const auto wrong = [&](std::string_view what) {
    return fail(Errc::invalid,
                fmt::format("'{}': {} (write \"pattern in|out|both qos local-prefix remote-prefix\", e.g. "
                            "\"sensors/# out 1\")",
                            text, what));
  };
  std::vector<std::string_view> words;
  for (auto rest = text; !rest.empty();) {
    const auto from = rest.find_first_not_of(" \t");
    if (from == rest.npos) break;
    rest.remove_prefix(from);
    const auto end = std::min(rest.find_first_of(" \t"), rest.size());
    words.push_back(rest.substr(0, end) == "\"\"" ? std::string_view{} : rest.substr(0, end));
    rest.remove_prefix(end);
  }
  if (words.empty() || words.size() > 5) return wrong("one to five words are expected");
  UpstreamTopic out;
  out.pattern = words[0];
  if (words.size() > 1) {
    if (words[1] != "in" && words[1] != "out" && words[1] != "both") return wrong("the direction is in, out or both");
    out.in = words[1] != "out";
    out.out = words[1] != "in";
  }
  if (words.size() > 2) {
    if (words[2] != "0" && words[2] != "1" && words[2] != "2") return wrong("the QoS is 0, 1 or 2");
    out.qos = static_cast<Qos>(words[2][0] - '0');
  }
  if (words.size() > 3) out.local_prefix = words[3];
  if (words.size() > 4) out.remote_prefix = words[4];
  for (const auto& prefix : {out.local_prefix, out.remote_prefix})
    if (prefix.find_first_of("+#") != prefix.npos) return wrong("a prefix has no wildcard");
  if (!check_filter(out.local_filter()) || !is_topic_filter(out.remote_filter()) ||
      !is_mqtt_utf8(out.remote_filter()) || out.remote_filter().size() > 65'535)
    return wrong("pattern and prefixes do not make a topic filter");
  return out;
}

Upstream::Upstream(UpstreamConfig config, std::vector<UpstreamTopic> topics, Bytes password, std::string origin,
                   Broker& broker, UpstreamWire& wire, const Clock& clock)
    : config_(std::move(config)),
      topics_(std::move(topics)),
      password_(std::move(password)),
      origin_(std::move(origin)),
      broker_(broker),
      wire_(wire),
      clock_(clock),
      dialect_(config_.protocol == "3.1.1" ? Dialect::bridge_3_1_1 : Dialect::mqtt_5),
      echoes_(topics_.size()),
      stopped_(topics_.size()) {}

Upstream::~Upstream() { close_local(); }

void Upstream::prepare() {
  open_local(window_3_1_1, UINT32_MAX, Qos::exactly_once);
  close_local();
}

// The client here --------------------------------------------------------------------------------------------

void Upstream::open_local(std::uint16_t window, std::uint32_t packet_bytes_max, Qos qos_max) {
  local_ = broker_.open(*this, Peer{config_.address, std::string(upstream_user_prefix) + config_.name, true});
  Connect connect;
  connect.protocol = Protocol::mqtt_5;
  connect.clean_start = false;
  connect.session_expiry_seconds = UINT32_MAX;
  connect.client_id = std::string(upstream_user_prefix) + config_.name;
  connect.receive_maximum = window;
  connect.maximum_packet_bytes = packet_bytes_max;
  connect.request_problem_information = true;
  Bytes packets;
  encode_connect(packets, connect);
  Subscribe subscribe;
  subscribe.packet_id = subscribe_id;
  std::vector<std::string> filters;
  for (const auto& topic : topics_) filters.push_back(topic.local_filter());
  for (std::size_t at = 0; at < topics_.size(); ++at)
    if (topics_[at].out)
      subscribe.requests.push_back(
          {filters[at], {std::min(topics_[at].qos, qos_max), true, true, RetainHandling::send_if_new}});
  if (!subscribe.requests.empty()) encode_subscribe(packets, Protocol::mqtt_5, subscribe);
  give_to_local(packets);
}

void Upstream::close_local() {
  if (const auto id = std::exchange(local_, std::nullopt)) broker_.closed(*id);
  for_local_.clear();
}

void Upstream::give_to_local(ByteView packets) {
  if (local_ && !for_local_.empty()) {
    const Bytes answers = std::exchange(for_local_, {});
    broker_.received(*local_, answers);
  }
  if (local_ && !packets.empty()) broker_.received(*local_, packets);
}

/// The broker here has ended the session's connection: a client took its name, or the node stops.
void Upstream::close() {
  local_.reset();
  if (phase_ == Phase::connected) give_up("the broker here has ended it");
}

void Upstream::send(Bytes& output) {
  const Bytes packets = std::exchange(output, {});
  // Whole packets only, which are ours.
  each_packet(packets, [&](const RawPacket& packet) {
    from_local(packet);
    return true;
  });
  flush();
}

void Upstream::from_local(const RawPacket& packet) {
  if (phase_ != Phase::connected) return;  // preparing
  switch (packet.type) {
    case PacketType::publish: return message_from_local(packet);
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp:
      if (const auto ack = decode_acknowledgement(packet, Protocol::mqtt_5))
        encode_acknowledgement(to_remote_, protocol(), packet.type, ack->packet_id, ack->reason);
      return;
    case PacketType::connack:
      if (const auto connack = decode_connack(packet, Protocol::mqtt_5); connack && is_failure(connack->reason))
        give_up(fmt::format("the broker here refuses it: {}", connack->reason_string));
      return;
    case PacketType::suback:
      if (const auto answer = decode_subscribe_answer(packet, Protocol::mqtt_5))
        if (std::ranges::any_of(answer->reasons, is_failure))
          status_.error = "a local topic of it cannot be subscribed to";
      return;
    default: return;
  }
}

void Upstream::message_from_local(const RawPacket& packet) {
  auto publish = decode_publish(packet, Protocol::mqtt_5);
  if (!publish) return;
  for (std::size_t at = 0; at < topics_.size(); ++at) {
    const UpstreamTopic& topic = topics_[at];
    if (!topic.out || stopped_[at] || !matches(topic.local_filter(), publish->topic)) continue;
    const std::string name = topic.remote_prefix + std::string(publish->topic.substr(topic.local_prefix.size()));
    if (name.empty() || name.size() > 65'535) break;
    auto& user = publish->properties.user;
    if (std::ranges::none_of(user, [](const auto& property) { return property.first == origin_property; }))
      user.emplace_back(origin_property, origin_);
    encode_publish(to_remote_, protocol(), passed_on(*publish, name));
    ++status_.sent;
    if (dialect_ == Dialect::plain_3_1_1 && topic.in) {
      sent_.push_back({at, hash_of(name, publish->payload), clock_.monotonic()});
      if (sent_.size() > sent_max) sent_.pop_front();
    }
    return;
  }
  // A subscription of an older configuration, or a stopped pattern: nobody wants it.
  acknowledge(for_local_, Protocol::mqtt_5, *publish);
}

/// Takes a message off who sent it.
void Upstream::acknowledge(Bytes& to, Protocol with, const Publish& publish) {
  if (publish.qos == Qos::at_least_once) encode_acknowledgement(to, with, PacketType::puback, publish.packet_id);
  if (publish.qos == Qos::exactly_once) encode_acknowledgement(to, with, PacketType::pubrec, publish.packet_id);
}

// The other broker -------------------------------------------------------------------------------------------

void Upstream::connected() {
  phase_ = Phase::connecting;
  input_.clear();
  last_received_ = last_sent_ = clock_.monotonic();
  Connect connect;
  connect.protocol = protocol();
  connect.clean_start = false;
  connect.session_expiry_seconds = UINT32_MAX;
  connect.client_id = config_.client_id.empty() ? "diot-" + config_.name : config_.client_id;
  connect.keep_alive_seconds = static_cast<std::uint16_t>(config_.keep_alive);
  connect.receive_maximum = ClientConnection::receive_maximum;  // what comes from there goes to the broker here
  connect.request_problem_information = true;
  if (!config_.user.empty()) {
    connect.user_name = config_.user;
    connect.password = password_;
  }
  encode_connect(to_remote_, connect);
  if (dialect_ == Dialect::bridge_3_1_1) set_bridge_bit(to_remote_);
  flush();
}

void Upstream::received(ByteView bytes) {
  if (phase_ == Phase::idle || !pending_error_.empty()) return;
  last_received_ = clock_.monotonic();
  append(input_, bytes);
  const auto used = each_packet(input_, [&](const RawPacket& packet) {
    from_remote(packet);
    return pending_error_.empty();
  });
  if (!used) return give_up("it sends what is not MQTT");
  input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(*used));
  if (input_.size() > 2 * limits::packet_bytes_max) return give_up("it sends a packet that is too large");
  give_to_local();
  flush();
}

void Upstream::from_remote(const RawPacket& packet) {
  if (phase_ == Phase::connecting) {
    if (packet.type != PacketType::connack) return give_up("it did not answer CONNECT with CONNACK");
    // Who does not know 5.0 refuses it in the form that it knows, which has two bytes.
    const auto connack = decode_connack(packet, packet.body.size() == 2 ? Protocol::mqtt_3_1_1 : protocol());
    if (!connack) return give_up("it sends a malformed CONNACK");
    return on_connack(*connack);
  }
  switch (packet.type) {
    case PacketType::publish: return message_from_remote(packet);
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp:
      if (const auto ack = decode_acknowledgement(packet, protocol())) {
        Bytes out;
        encode_acknowledgement(out, Protocol::mqtt_5, packet.type, ack->packet_id, ack->reason);
        return give_to_local(out);
      }
      return give_up("it sends a malformed acknowledgement");
    case PacketType::suback:
      if (const auto answer = decode_subscribe_answer(packet, protocol()))
        if (std::ranges::any_of(answer->reasons, is_failure)) {
          status_.error = "it refuses the subscription to a topic pattern";
          spdlog::warn("upstream {}: {}", config_.name, status_.error);
        }
      return;
    case PacketType::disconnect: {
      const auto disconnect = decode_disconnect(packet, protocol());
      return give_up(disconnect ? fmt::format("it has disconnected us: reason {:#x} {}",
                                              static_cast<int>(disconnect->reason), disconnect->reason_string)
                                : "it sends a malformed DISCONNECT");
    }
    default: return;
  }
}

void Upstream::on_connack(const Connack& connack) {
  if (is_failure(connack.reason)) {
    if (connack.reason == Reason::unsupported_protocol_version && config_.protocol != "5" &&
        dialect_ != Dialect::plain_3_1_1) {
      dialect_ = static_cast<Dialect>(static_cast<int>(dialect_) + 1);
      return give_up("it speaks another version of MQTT, which is tried next");
    }
    return give_up(
        fmt::format("it refuses us: reason {:#x} {}", static_cast<int>(connack.reason), connack.reason_string));
  }
  phase_ = Phase::connected;
  status_.connected = true;
  status_.error.clear();
  status_.protocol = dialect_ == Dialect::mqtt_5 ? "5.0" : dialect_ == Dialect::bridge_3_1_1 ? "3.1.1 bridge" : "3.1.1";
  sent_.clear();
  spdlog::info("upstream {}: connected to {} (MQTT {})", config_.name, config_.address, status_.protocol);
  Subscribe subscribe;
  subscribe.packet_id = subscribe_id;
  std::vector<std::string> filters;
  for (const auto& topic : topics_) filters.push_back(topic.remote_filter());
  for (std::size_t at = 0; at < topics_.size(); ++at)
    if (topics_[at].in && !stopped_[at])
      subscribe.requests.push_back(
          {filters[at], {std::min(topics_[at].qos, connack.maximum_qos), true, true, RetainHandling::send_if_new}});
  if (dialect_ != Dialect::mqtt_5)  // which has a QoS only
    for (auto& request : subscribe.requests)
      request.options = {request.options.qos, false, false, RetainHandling::send};
  if (!subscribe.requests.empty()) encode_subscribe(to_remote_, protocol(), subscribe);
  flush();
  open_local(dialect_ == Dialect::mqtt_5 ? connack.receive_maximum : window_3_1_1, connack.maximum_packet_bytes,
             connack.maximum_qos);
  broker_.publish_notification(fmt::format("$SYS/broker/connection/{}/state", config_.name), "1");
}

void Upstream::message_from_remote(const RawPacket& packet) {
  auto publish = decode_publish(packet, protocol());
  if (!publish) return give_up("it sends a malformed PUBLISH");
  const bool ours = std::ranges::any_of(publish->properties.user, [&](const auto& property) {
    return property.first == origin_property && property.second == origin_;
  });
  for (std::size_t at = 0; !ours && at < topics_.size(); ++at) {
    const UpstreamTopic& topic = topics_[at];
    if (!topic.in || !matches(topic.remote_filter(), publish->topic)) continue;
    if (stopped_[at] || is_echo(at, publish->topic, publish->payload)) break;
    const std::string name = topic.local_prefix + std::string(publish->topic.substr(topic.remote_prefix.size()));
    if (name.empty() || name.size() > 65'535) break;
    Bytes wrapped;
    encode_publish(wrapped, Protocol::mqtt_5, passed_on(*publish, name));
    ++status_.received;
    return give_to_local(wrapped);
  }
  acknowledge(to_remote_, protocol(), *publish);
}

/// A broker that knows neither No Local nor the bridge bit sends a `both` pattern's messages back. Those are dropped; a
/// pattern of which several in a row come back is a loop, and stops.
bool Upstream::is_echo(std::size_t topic, std::string_view name, ByteView payload) {
  if (dialect_ != Dialect::plain_3_1_1 || !topics_[topic].out) return false;
  const Monotonic now = clock_.monotonic();
  std::erase_if(sent_, [&](const Sent& sent) { return now - sent.when > echo_within; });
  const auto found = std::ranges::find_if(
      sent_, [&](const Sent& sent) { return sent.topic == topic && sent.hash == hash_of(name, payload); });
  if (found == sent_.end()) return echoes_[topic] = 0, false;
  sent_.erase(found);
  if (++echoes_[topic] < echoes_max) return true;
  stopped_[topic] = true;
  status_.error = fmt::format("'{}' is stopped: the other broker sends back what it gets; use in or out, or MQTT 5.0",
                              topics_[topic].pattern);
  spdlog::error("upstream {}: {}", config_.name, status_.error);
  return true;
}

void Upstream::writable() {
  if (local_) broker_.writable(*local_);
  give_to_local();
}

void Upstream::lost(std::string_view why) {
  const bool was_connected = std::exchange(phase_, Phase::idle) == Phase::connected;
  status_.connected = false;
  status_.error = pending_error_.empty() ? std::string(why) : std::exchange(pending_error_, {});
  to_remote_.clear();
  close_local();
  if (!was_connected) return;
  spdlog::warn("upstream {}: the connection to {} is lost: {}", config_.name, config_.address, status_.error);
  broker_.publish_notification(fmt::format("$SYS/broker/connection/{}/state", config_.name), "0");
}

/// Ends the connection; lost() follows.
void Upstream::give_up(std::string why) {
  if (!pending_error_.empty()) return;
  pending_error_ = std::move(why);
  wire_.close();
}

void Upstream::tick() {
  if (phase_ == Phase::idle) return;
  const Monotonic now = clock_.monotonic();
  const auto keep_alive = std::chrono::seconds(config_.keep_alive);
  if (now - last_received_ > keep_alive + keep_alive / 2) return give_up("nothing was heard of it for too long");
  if (phase_ == Phase::connected &&
      (now - last_sent_ >= keep_alive * 3 / 4 || now - last_received_ >= keep_alive * 3 / 4)) {
    encode_ping(to_remote_, PacketType::pingreq);
    flush();
  }
  give_to_local();
}

void Upstream::flush() {
  if (to_remote_.empty()) return;
  last_sent_ = clock_.monotonic();
  wire_.send(to_remote_);
}

void forget_other_upstreams(Broker& broker, const std::vector<std::string>& names) {
  struct Silent final : ClientTransport {
    void send(Bytes& output) override { output.clear(); }
    std::size_t unsent_bytes() const override { return 0; }
    void set_reading(bool) override {}
    void close() override { closed = true; }
    bool closed = false;
  };
  for (const auto& session : broker.sessions()) {
    if (!session.client_id.starts_with(upstream_user_prefix)) continue;
    if (std::ranges::find(names, session.client_id.substr(upstream_user_prefix.size())) != names.end()) continue;
    // A clean start that is to be forgotten at once.
    Silent transport;
    const ConnectionId id = broker.open(transport, Peer{"", session.client_id, true});
    Connect connect;
    connect.client_id = session.client_id;
    Bytes packet;
    encode_connect(packet, connect);
    broker.received(id, packet);
    if (!transport.closed) broker.closed(id);
  }
}

}  // namespace diot
