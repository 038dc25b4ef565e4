// Sessions begin, resume and end (MQTT 5.0 sections 3.1, 3.2, 3.14, 4.1).

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "bridge/broker.hpp"
#include "bridge/upstream_config.hpp"
#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

/// MQTT 5.0, table 3-10.
bool may_come_from_client(Reason reason) {
  switch (reason) {
    case Reason::success:
    case Reason::disconnect_with_will:
    case Reason::unspecified_error:
    case Reason::malformed_packet:
    case Reason::protocol_error:
    case Reason::implementation_specific_error:
    case Reason::topic_name_invalid:
    case Reason::receive_maximum_exceeded:
    case Reason::topic_alias_invalid:
    case Reason::packet_too_large:
    case Reason::message_rate_too_high:
    case Reason::quota_exceeded:
    case Reason::administrative_action:
    case Reason::payload_format_invalid: return true;
    default: return false;
  }
}

/// What a client can do without is left out of a packet that would be too large for it [MQTT-3.2.2-19].
Bytes fitting_connack(const ClientConnection& connection, Connack connack) {
  Bytes packet;
  encode_connack(packet, connection.protocol, connack);
  if (packet.size() <= connection.packet_bytes_max) return packet;
  connack.reason_string.clear();
  connack.user.clear();
  connack.response_information.clear();
  packet.clear();
  encode_connack(packet, connection.protocol, connack);
  return packet;
}

}  // namespace

void Broker::on_connect(ClientConnection& connection, const RawPacket& packet) {
  ++counts_.connects;
  // A version that is not spoken is answered in a form that its speaker understands (sections 3.1.2.1, 3.1.2.2).
  const ProtocolClaim claim = protocol_claim(packet);
  const auto protocol = claim.protocol();
  if (!protocol) {
    if (claim.name != "MQTT" && claim.name != "MQIsdp")
      return kick(connection, Reason::unsupported_protocol_version, "not an MQTT client");
    connection.protocol = claim.name == "MQTT" && claim.level > 5 ? Protocol::mqtt_5 : Protocol::mqtt_3_1_1;
    return refuse_connect(connection, Reason::unsupported_protocol_version,
                          "MQTT 3.1, 3.1.1 and 5.0 are spoken here, not this version");
  }
  connection.protocol = *protocol;
  auto connect = decode_connect(packet);
  if (!connect) {
    ++counts_.violations;
    return refuse_connect(connection, connect.error().reason, connect.error().what);
  }
  const bool v5 = connection.is_v5();
  connection.bridge = connect->bridge;
  connection.packet_bytes_max = connect->maximum_packet_bytes;
  connection.wants_texts = connect->request_problem_information.value_or(false);
  if (connect->client_id.size() > limits::client_id_bytes_max)
    return refuse_connect(connection, Reason::client_identifier_not_valid, "the client identifier is too long");
  if (connect->client_id.empty() && !v5 && (!connect->clean_start || *protocol == Protocol::mqtt_3_1))
    return refuse_connect(connection, Reason::client_identifier_not_valid,
                          "an empty client identifier needs a clean session, and MQTT 3.1.1 or 5.0");
  if (connect->will && connect->will->properties.payload_format == 1 && !is_mqtt_utf8(as_text(connect->will->payload)))
    return refuse_connect(connection, Reason::payload_format_invalid,
                          "the will's payload is not the UTF-8 it claims to be");
  if (!config_.server_reference.empty() && !connection.peer.user.starts_with(upstream_user_prefix))
    return refuse_connect(connection, config_.server_moved ? Reason::server_moved : Reason::use_another_server,
                          "clients are served elsewhere");
  if (!v5) connect->session_expiry_seconds = connect->clean_start ? 0 : Session::never;
  log_in(connection, *std::move(connect));
}

/// The client is who it says. `last_proof`: what enhanced authentication has to tell it at last.
void Broker::accept_connect(ClientConnection& connection, Connect connect, std::string user, Bytes last_proof) {
  const bool v5 = connection.is_v5();
  Connack connack;
  std::string client_id = connect.client_id;
  if (client_id.empty())
    connack.assigned_client_id = client_id = fmt::format("diot-{:016x}{:016x}", random_.u64(), random_.u64());
  if (const Session* there = find_session(client_id); there && !there->user.empty() && there->user != user)
    return refuse_connect(connection, Reason::not_authorized, "this client identifier belongs to another user");

  bool wiped = false;
  Session* session = begin_session(connect, client_id, connack.session_present, wiped);
  if (!session)
    return refuse_connect(connection, v5 ? Reason::quota_exceeded : Reason::server_unavailable,
                          "too many sessions are kept here");
  session->connection = &connection;
  session->expiry_seconds = connect.session_expiry_seconds;
  session->expires_at.reset();
  forget_will(*session);
  session->user = std::move(user);
  session->unrestricted = authenticator_.unrestricted({session->user, client_id});
  if (connect.will) {
    session->will = std::make_unique<Will>(*std::move(connect.will));
    session->will_number = random_.u64() | 1;  // not 0
    announce_will(*session);
  }
  connection.session = session;
  connection.accepted = true;
  connection.user_version = authenticator_.version_of(session->user);
  connection.keep_alive_seconds = connect.keep_alive_seconds;
  connection.window = std::min(connect.receive_maximum, limits::in_flight_max);
  connection.can_change_expiry = connect.session_expiry_seconds > 0;
  connection.own_aliases.resize(std::min(connect.topic_alias_maximum, limits::topic_aliases_to_client_max));
  counts_.clients_maximum = std::max(counts_.clients_maximum, ++counts_.clients_connected);

  if (v5) {
    const std::uint16_t most = config_.keep_alive_seconds_max;
    if (connect.keep_alive_seconds > most || (connect.keep_alive_seconds == 0 && most < UINT16_MAX))
      connack.server_keep_alive_seconds = connection.keep_alive_seconds = most;
    // High, for widespread clients (npm's mqtt) do not count.
    connack.receive_maximum = ClientConnection::receive_maximum;
    connack.maximum_packet_bytes = limits::packet_bytes_max;
    connack.topic_alias_maximum = limits::topic_alias_maximum;
    if (session->lost > 0) connack.user.emplace_back("diot-lost", fmt::format("{}", session->lost));
    // Where answers to this client can go (section 4.10); its own level, so that a rule can name it with %c.
    if (connect.request_response_information && is_topic_name(client_id))
      connack.response_information = fmt::format("response/{}", client_id);
    connack.authentication_method = connection.authentication_method;
    connack.authentication_data = std::move(last_proof);
  }
  const auto lost = std::exchange(session->lost, 0);
  save_state(*session);

  const bool present = connack.session_present;
  PendingAnswer first;
  first.packet = fitting_connack(connection, std::move(connack));
  // What a clean start threw away must not come back: were it still there after a crash, an old QoS 2 identifier would
  // swallow a new message.
  first.ticket = wiped ? store_.open_ticket() : 0;
  answer(connection, std::move(first));
  if (connection.closed) return;
  if (!connection.pending.empty()) hold(connection);
  spdlog::debug("mqtt: {} connected from {} (MQTT {}, session {})", client_id, connection.peer.address,
                v5 ? "5.0" : "3.1.1", present ? "resumed" : "new");
  if (lost > 0) {
    spdlog::warn("mqtt: {} has lost {} messages from its queue", client_id, lost);
    if (!v5) publish_own("$SYS/log", fmt::format("client {} lost {} messages from its queue", client_id, lost));
  }
  pump(*session);
}

/// Before a connection is accepted nothing but a CONNACK may tell it why not.
void Broker::refuse_connect(ClientConnection& connection, Reason reason, std::string_view why, std::string_view who) {
  notices_.say(fmt::format("mqtt: {}{}{} is refused ({:#04x}): {}", who, who.empty() ? "" : " at ",
                           connection.peer.address, static_cast<int>(reason), why));
  // A CONNECT of 3.1 or 3.1.1 that is malformed is not answered at all (section 3.1.4 there).
  const bool broken = reason == Reason::malformed_packet || reason == Reason::protocol_error ||
                      reason == Reason::payload_format_invalid;
  if (connection.is_v5() || !broken) {
    Connack connack;
    connack.reason = reason;
    if (connection.wants_texts) connack.reason_string = why;
    if (reason == Reason::use_another_server || reason == Reason::server_moved)
      connack.server_reference = config_.server_reference;
    send_packet(connection, fitting_connack(connection, std::move(connack)));
  }
  drop_connection(connection, true);
}

Session* Broker::find_session(std::string_view client_id) {
  const auto found = sessions_.find(client_id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

/// Finds or makes the session of a client, ending a connection that has it. nullptr: limits::sessions_max are kept.
/// `wiped`: a stored one was thrown away.
Session* Broker::begin_session(const Connect& connect, const std::string& client_id, bool& present, bool& wiped) {
  Session* session = find_session(client_id);
  if (session && session->connection) {
    // Section 3.1.4: the newer connection wins. One that resumes the session in time calls off a delayed will.
    const bool resumes = !connect.clean_start && session->expiry_seconds > 0;
    const bool delayed = session->will && session->will->delay_seconds > 0;
    if (resumes && delayed) forget_will(*session);
    kick(*session->connection, Reason::session_taken_over, "another connection has taken the session over");
    session = find_session(client_id);  // it has ended if it was not to outlive its connection
  }
  if (session && connect.clean_start) {
    wiped = session->stored;
    end_session(*session);
    session = nullptr;
  }
  // MQTT 3.1 cannot say that the session is new, so that such a client would never subscribe again to what is left.
  if (session && session->incomplete && connect.protocol != Protocol::mqtt_3_1) {
    spdlog::warn("mqtt: the session of {} had lost subscriptions on disk: it begins anew, with what is queued",
                 client_id);
    wiped = true;
    return renew_session(*session, connect.session_expiry_seconds);
  }
  present = session != nullptr;
  if (session) return session;
  if (sessions_.size() >= limits::sessions_max) return nullptr;
  auto made = std::make_unique<Session>(store_, spool_, client_id, random_.u64(), connect.session_expiry_seconds);
  session = made.get();
  sessions_.emplace(session->client_id, std::move(made));
  return session;
}

/// A session without subscriptions in the place of `old`, whose client is told that it has none (Session Present = 0)
/// and subscribes again. What was queued for it is delivered all the same.
Session* Broker::renew_session(Session& old, std::uint32_t expiry_seconds) {
  const std::string client_id = old.client_id;
  auto left = old.outbox.take(Outbox::Take::everything);
  const std::uint64_t lost_now = old.outbox.take_lost(), lost = old.lost + lost_now;
  counts_.queue_lost += lost_now;
  end_session(old);
  auto made = std::make_unique<Session>(store_, spool_, client_id, random_.u64(), expiry_seconds);
  Session& session = *made;
  sessions_.emplace(session.client_id, std::move(made));
  session.lost = lost;
  for (const auto& one : left) {
    Delivery delivery;
    delivery.qos = one.qos;
    delivery.retain = one.retain;
    delivery.shared = one.shared;
    // Not before it is kept for the new session.
    delivery.ticket = session.stored ? store_.open_ticket() : one.ticket;
    delivery.subscription_ids = one.subscription_ids;
    SpoolPlace place;
    deliver_to(session, one.message, place, delivery);
  }
  return &session;
}

void Broker::on_disconnect(ClientConnection& connection, const RawPacket& packet) {
  const auto disconnect = decode_disconnect(packet, connection.protocol);
  if (!disconnect) return kick(connection, disconnect.error().reason, disconnect.error().what);
  // Wrong, but it has said goodbye and reads nothing more [MQTT-3.14.4-1].
  if (!may_come_from_client(disconnect->reason)) {
    ++counts_.violations;
    return drop_connection(connection, true);
  }
  if (disconnect->session_expiry_seconds) {
    if (*disconnect->session_expiry_seconds > 0 && !connection.can_change_expiry)
      return kick(connection, Reason::protocol_error, "a session expiry in DISCONNECT after none in CONNECT");
    connection.session->expiry_seconds = *disconnect->session_expiry_seconds;
  }
  drop_connection(connection, disconnect->reason != Reason::success);
}

void Broker::kick(ClientConnection& connection, Reason reason, std::string_view why) {
  if (connection.closed) return;
  if (reason != Reason::server_shutting_down)
    notices_.say(fmt::format("mqtt: {} at {} is disconnected ({:#04x}): {}",
                             connection.session ? connection.session->client_id : "a client", connection.peer.address,
                             static_cast<int>(reason), why));
  const bool ours = reason == Reason::session_taken_over || reason == Reason::server_shutting_down ||
                    reason == Reason::keep_alive_timeout;
  if (!ours) ++counts_.violations;
  if (connection.accepted && connection.protocol == Protocol::mqtt_5) {
    Disconnect disconnect{reason, {}, std::string(connection.wants_texts ? why : "")};
    Bytes packet;
    encode_disconnect(packet, connection.protocol, disconnect);
    if (packet.size() > connection.packet_bytes_max) {
      disconnect.reason_string.clear();
      packet.clear();
      encode_disconnect(packet, connection.protocol, disconnect);
    }
    if (packet.size() <= connection.packet_bytes_max) {
      append(connection.out(), packet);
      ++counts_.messages_sent;
    }
  }
  drop_connection(connection, true);
}

void Broker::drop_connection(ClientConnection& connection, bool keep_will) {
  if (connection.closed) return;
  flush(connection);
  connection.transport->close();
  detach(connection, keep_will);
}

void Broker::detach(ClientConnection& connection, bool keep_will) {
  connection.closed = true;
  connection.pending.clear();
  connection.login.reset();
  Session* session = std::exchange(connection.session, nullptr);
  // The object goes at the end of the turn: callers up the stack still hold it.
  const auto found = connections_.find(connection.id);
  gone_.push_back(std::move(found->second));
  connections_.erase(found);
  turn_.touch();
  if (!session) return;
  --counts_.clients_connected;
  session->connection = nullptr;
  session->outbox.disconnected();
  if (!keep_will) forget_will(*session);
  if (session->expiry_seconds == 0) return end_session(*session);
  const Monotonic now = clock_.monotonic();
  session->disconnected_at = clock_.held_ms();
  if (session->expiry_seconds != Session::never)
    session->expires_at = now + std::chrono::seconds(session->expiry_seconds);
  if (session->will) {
    session->will_due = now + std::chrono::seconds(session->will->delay_seconds);
    if (session->will->delay_seconds == 0) publish_will(*session);
  }
  if (!stopping_) hand_over(*session, false);
  save_state(*session);
}

static std::shared_ptr<Message> message_of(const Will& will, const OwnNames& own, Monotonic now) {
  auto message = std::make_shared<Message>();
  message->topic = local_name(will.topic, own);
  message->payload = will.payload;
  message->qos = will.qos;
  message->retain = will.retain;
  message->properties = will.properties;
  message->received = now;
  return message;
}

void Broker::publish_will(Session& session) {
  session.will_due.reset();
  if (!session.will) return;
  const auto will = std::exchange(session.will, nullptr);
  save_state(session);
  const auto message = message_of(*will, own_names_, clock_.monotonic());
  const auto outcome =
      check_topic(message->topic) ? publish(message, &session, Kind::will) : Outcome{Reason::topic_name_invalid, 0};
  forget_will(session);
  if (is_failure(outcome.reason))
    spdlog::debug("mqtt: the will of {} to '{}' was not published (reason {:#x})", session.client_id, will->topic,
                  static_cast<int>(outcome.reason));
}

void Broker::forget_will(Session& session) {
  session.will_due.reset();
  session.will.reset();
  if (session.will_number != 0) overlay_.clear_will(std::exchange(session.will_number, 0));
}

void Broker::announce_will(Session& session) {
  if (!session.will || !check_topic(session.will->topic)) return;
  const Will& will = *session.will;
  const auto topic = local_name(will.topic, own_names_);
  if (topic.starts_with('@') || topic.starts_with('$') || !may(session, Access::publish, topic)) return;
  const auto message = message_of(will, own_names_, clock_.monotonic());
  // The end of the session is the latest time (MQTT 5.0 section 3.1.3.2.2).
  overlay_.set_will(session.will_number, message, std::min(will.delay_seconds, session.expiry_seconds));
}

void Broker::end_session(Session& session) {
  expect(!session.connection, "a session ends while it has a connection");
  publish_will(session);
  hand_over(session, true);
  while (!session.subscriptions.empty()) {
    auto& [filter, subscription] = *session.subscriptions.begin();
    remove_subscription(session, subscription);
    session.subscriptions.erase(session.subscriptions.begin());
  }
  session.outbox.clear();
  if (session.stored) {
    const Bytes prefix = session_key(session.client_id);
    store_.erase_range(Table::session, prefix, after_prefix(prefix));
    turn_.touch();
  }
  std::erase(unsaved_, &session);
  std::erase(waiting_sessions_, &session);
  // The map's key is the session's own.
  const auto found = sessions_.find(session.client_id);
  const std::unique_ptr<Session> last = std::move(found->second);
  sessions_.erase(found);
}

/// At the turn's end the session's own row is put.
void Broker::save_state(Session& session) {
  if (!session.stored) return;
  if (!session.unsaved_queue && !session.unsaved_state) unsaved_.push_back(&session);
  session.unsaved_state = true;
  turn_.touch();
}

}  // namespace diot
