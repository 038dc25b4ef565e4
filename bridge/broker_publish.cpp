// Messages come in, are routed and go out (MQTT 5.0 sections 3.3, 4.3).

#include "bridge/broker.hpp"
#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

/// What came over the overlay was not checked by our codec: a string that MQTT cannot carry must not reach a client.
bool fits_packet(const Message& message) {
  constexpr std::size_t text_max = 65'535;
  const Properties& properties = message.properties;
  const auto fits = [&](const auto& text) { return !text || text->size() <= text_max; };
  if (message.topic.empty() || message.topic.size() > text_max || !fits(properties.content_type) ||
      !fits(properties.response_topic) || !fits(properties.correlation_data))
    return false;
  for (const auto& [name, value] : properties.user)
    if (name.size() > text_max || value.size() > text_max) return false;
  return message.payload.size() + message_properties_bytes(properties) < varint_max / 2;
}

}  // namespace

void Broker::on_publish(ClientConnection& connection, const RawPacket& packet) {
  auto parsed = decode_publish(packet, connection.protocol);
  if (!parsed) return kick(connection, parsed.error().reason, parsed.error().what);
  Publish& in = *parsed;
  Session& session = *connection.session;
  ++counts_.publish_received;
  counts_.publish_bytes_received += in.payload.size();
  if (!in.subscription_ids.empty())
    return kick(connection, Reason::protocol_error, "a subscription identifier in a PUBLISH to the server");

  if (in.topic_alias) {
    const std::uint16_t alias = *in.topic_alias;
    if (alias == 0 || alias > limits::topic_alias_maximum)
      return kick(connection, Reason::topic_alias_invalid, "a topic alias out of its range");
    if (connection.aliases.size() < alias) connection.aliases.resize(alias);
    std::string& known = connection.aliases[alias - 1u];
    if (!in.topic.empty())
      known = in.topic;
    else if (known.empty())
      return kick(connection, Reason::protocol_error, "a topic alias that stands for nothing yet");
    else
      in.topic = known;
  }

  const PacketType type = in.qos == Qos::exactly_once ? PacketType::pubrec : PacketType::puback;
  const bool wants_answer = in.qos != Qos::at_most_once;
  if (wants_answer && session.has_received(in.packet_id)) {
    // One that was taken before: its answer waits for whatever the answers before it wait for.
    if (in.qos == Qos::exactly_once)
      return answer(connection, {session.received_ticket, type, in.packet_id, Reason::success});
    if (in.qos == Qos::at_least_once && connection.is_v5())
      return answer(connection, {0, type, in.packet_id, Reason::packet_identifier_in_use,
                                 "a QoS 2 message of this identifier waits for its PUBREL"});
  }

  if (in.qos == Qos::exactly_once && connection.is_v5() && connection.unreleased >= ClientConnection::receive_maximum)
    return kick(connection, Reason::receive_maximum_exceeded, "more QoS 2 messages at once than Receive Maximum");

  Outcome outcome;
  if (!check_mqtt_topic(in.topic)) {
    ++counts_.publish_not_permitted;
    outcome = {Reason::topic_name_invalid, 0, "no such topic can be: a wrong handle after '@', or too many levels"};
  } else if (in.properties.payload_format == 1 && !is_mqtt_utf8(as_text(in.payload))) {
    outcome = {Reason::payload_format_invalid, 0, "the payload is not the UTF-8 it claims to be"};
  } else {
    auto message = std::make_shared<Message>();
    message->topic = local_name(in.topic, own_names_);
    message->payload = to_bytes(in.payload);
    message->qos = in.qos;
    message->retain = in.retain;
    if (connection.is_v5()) message->properties = std::move(in.properties);
    message->received = connection.last_received;
    outcome = publish(std::move(message), &session);
  }
  if (!wants_answer) return;

  if (is_failure(outcome.reason)) {
    if (!connection.is_v5()) {
      // 3.1.1 cannot refuse. What may never be published is acknowledged and dropped; a full disk may get better, so
      // that client is not heard for a while and then closed, and will send it again.
      if (outcome.reason == Reason::quota_exceeded) {
        connection.close_at = clock_.monotonic() + limits::full_disk_patience;
        return hold(connection);
      }
      outcome.reason = Reason::success;
    }
  }
  if (in.qos == Qos::exactly_once && !is_failure(outcome.reason)) {
    // Who is there for a QoS 2 message is known when it has been released; mosquitto says nothing here either.
    outcome.reason = Reason::success;
    session.keep_received(in.packet_id);
    ++connection.unreleased;
    if (session.stored) {
      store_.put(Table::inflight, received_key(session.number, in.packet_id), {});
      outcome.ticket = session.received_ticket = store_.open_ticket();
      turn_.touch();
    }
  }
  answer(connection, {outcome.ticket, type, in.packet_id, outcome.reason, outcome.why});
}

void Broker::on_acknowledgement(ClientConnection& connection, const RawPacket& packet) {
  const auto parsed = decode_acknowledgement(packet, connection.protocol);
  if (!parsed) return kick(connection, parsed.error().reason, parsed.error().what);
  const PacketId id = parsed->packet_id;
  Session& session = *connection.session;
  if (session.stored) turn_.touch();  // rows may go
  const auto wrong = [&] {
    kick(connection, Reason::protocol_error, "an acknowledgement that its message does not wait for");
  };
  switch (packet.type) {
    case PacketType::puback:
    case PacketType::pubcomp:
      switch (packet.type == PacketType::puback ? session.outbox.puback(id) : session.outbox.pubcomp(id)) {
        case Outbox::Answer::done: return pump(session);
        case Outbox::Answer::wrong: return wrong();
        case Outbox::Answer::unknown: return;
      }
      return;
    case PacketType::pubrec:
      switch (session.outbox.pubrec(id, is_failure(parsed->reason))) {
        case Outbox::Pubrec::released:
          return answer(connection,
                        {session.stored ? store_.open_ticket() : 0, PacketType::pubrel, id, Reason::success});
        case Outbox::Pubrec::failed: return pump(session);
        case Outbox::Pubrec::wrong: return wrong();
        case Outbox::Pubrec::unknown:
          if (is_failure(parsed->reason)) return;
          return answer(connection, {0, PacketType::pubrel, id, Reason::success});
      }
      return;
    default: break;
  }
  // PUBREL
  // What is not there was released before: its PUBCOMP was lost on the way. 0x92 would be allowed (section 3.7.2.1), and
  // clients (npm's mqtt) would take it for an error.
  if (!session.release_received(id))
    return answer(connection, {session.received_ticket, PacketType::pubcomp, id, Reason::success});
  if (connection.unreleased > 0) --connection.unreleased;  // it may be from an earlier connection
  Ticket ticket = 0;
  if (session.stored) {
    store_.erase(Table::inflight, received_key(session.number, id));
    ticket = session.received_ticket = store_.open_ticket();
    turn_.touch();
  }
  answer(connection, {ticket, PacketType::pubcomp, id, Reason::success});
}

// Routing ----------------------------------------------------------------------------------------------------

/// Takes a message of a client of this node (or its will). All that it changes is in the transaction that is open now.
Broker::Outcome Broker::publish(MessagePtr message, const Session* from, Kind kind) {
  const bool foreign = message->topic.starts_with('@');
  const auto refuse = [&](std::string_view why) -> Outcome {
    ++counts_.publish_not_permitted;
    return {Reason::not_authorized, 0, why};
  };
  if (message->topic.starts_with('$')) {
    const std::string_view first = Levels(message->topic).next();
    if (first == "$SYS") return refuse("$SYS is the broker's own");
    if (first == "$share") return refuse("nobody can subscribe to a topic below $share");
  }
  if (foreign && overlay_.route_of(message->topic) == Route::not_permitted)
    return refuse("this node may not write that topic of another home");
  if (from && !may(*from, Access::publish, message->topic)) return refuse("this client may not publish to that topic");
  const bool no_room =
      message->retain && !message->payload.empty() && !retained_.has_room(message->topic, message_bytes(*message));
  if (no_room && message->qos != Qos::at_most_once && from && from->connection && from->connection->is_v5()) {
    ++counts_.retained_refused;
    return {Reason::quota_exceeded, 0, "too many retained messages are kept here"};
  }
  if (no_room || (disk_refuses_ && message->retain && message->qos == Qos::at_most_once)) {
    // It goes on to who listens now. What nobody waits for must not pile up before a full disk, and there is no word for
    // a refusal in QoS 0 and MQTT 3.
    ++counts_.retained_refused;
    auto plain = std::make_shared<Message>(*message);
    plain->retain = false;
    message = std::move(plain);
  }
  match(message->topic, message->qos, from);
  bool on_disk = false;
  if (message->qos != Qos::at_most_once) {
    for (std::size_t at = 0; at < match_count_ && !on_disk; ++at)
      on_disk = matches_[at].session->stored && matches_[at].qos != Qos::at_most_once;
    for (const Subscription* member : chosen_)
      on_disk = on_disk || (member->session->stored && member->options.qos != Qos::at_most_once);
    on_disk = on_disk || message->retain;
    // That it was taken (its identifier, or that the will is spent) is on disk before anybody gets it: else it would come
    // again after a crash.
    on_disk = on_disk || (message->qos == Qos::exactly_once && from && from->stored);
    if (disk_refuses_ && (on_disk || overlay_.route_of(message->topic) == Route::shared))
      return {Reason::quota_exceeded, 0, "the disk is full or failing"};
  }
  // And that a kept session's will is spent, of any QoS.
  on_disk = on_disk || (kind == Kind::will && from->stored);
  const Route route =
      kind == Kind::will ? overlay_.publish_will(from->will_number, message) : overlay_.publish(message);
  if (route == Route::shared && message->qos != Qos::at_most_once) on_disk = true;
  if (message->retain) {
    turn_.touch();
    if (route == Route::shared)
      forming_[message->topic] = {message->payload.empty() ? nullptr : message, store_.open_ticket()};
    else
      keep_retained(message);
  }
  const Ticket ticket = on_disk ? store_.open_ticket() : 0;
  const bool heard = match_count_ > 0 || !chosen_.empty() || route == Route::shared;
  deliver_to_matches(message, ticket, false);
  return {heard ? Reason::success : Reason::no_matching_subscribers, ticket, {}};
}

/// The retained value of a topic that stays in this home.
void Broker::keep_retained(const MessagePtr& message) {
  const RetainedValue* old = retained_.find(message->topic);
  const bool removes = message->payload.empty();
  if (removes && (!old || !old->message)) return;
  RetainedValue value;
  if (!removes) value.message = message;
  // Later than the one that is there, whatever the clock does.
  value.stamp.time = std::max(hybrid_from(clock_.wall_ms()), old ? old->stamp.time + 1 : 0);
  retained_.set(message->topic, std::move(value));
}

/// The entry of a subscription's session in matches_, made if this is the first of its subscriptions that matches.
/// nullptr: the session may not read the topic.
Broker::Match* Broker::match_of(const Subscription& subscription, std::string_view topic) {
  constexpr auto none = static_cast<std::size_t>(-1);
  Session& session = *subscription.session;
  if (session.match_serial != match_serial_) {
    session.match_serial = match_serial_;
    session.match_index = none;
    if (!may(session, Access::read, topic)) return nullptr;
    session.match_index = match_count_++;
    if (matches_.size() < match_count_) matches_.emplace_back();
    Match& fresh = matches_[session.match_index];
    fresh.session = &session;
    fresh.qos = Qos::at_most_once;
    fresh.retain_as_published = false;
    fresh.subscription_ids.clear();
  }
  if (session.match_index == none) return nullptr;
  Match& found = matches_[session.match_index];
  found.qos = std::max(found.qos, subscription.options.qos);
  found.retain_as_published |= subscription.options.retain_as_published;
  if (subscription.id > 0) found.subscription_ids.push_back(subscription.id);
  return &found;
}

void Broker::match(std::string_view topic, Qos qos, const Session* from) {
  match_count_ = 0;
  chosen_.clear();
  ++match_serial_;
  trie_.match(topic, [&](const Subscription* subscription) {
    if (subscription->own_only && topic.starts_with('@')) return;
    if (subscription->group) {
      Subscription* member =
          subscription->group->choose([&](const Subscription& one) { return rank_of(one, topic, qos); });
      if (member) chosen_.push_back(member);
      return;
    }
    if (subscription->options.no_local && subscription->session == from) return;
    match_of(*subscription, topic);
  });
}

SubscriberGroup::Rank Broker::rank_of(const Subscription& member, std::string_view topic, Qos qos) const {
  using Rank = SubscriberGroup::Rank;
  const Session& session = *member.session;
  const ClientConnection* connection = session.connection;
  const bool kept = session.stored && std::min(member.options.qos, qos) != Qos::at_most_once;
  if ((!connection && !kept) || !may(session, Access::read, topic)) return Rank::no;
  if (!connection) return Rank::kept;
  const bool busy = !connection->has_room() || session.outbox.in_flight() >= connection->window;
  return busy ? Rank::slow : Rank::ready;
}

void Broker::deliver_to_matches(const MessagePtr& message, Ticket ticket, bool as_retained) {
  for (auto& row : encoded_)
    for (auto& bytes : row) bytes.clear();
  SpoolPlace place;
  for (std::size_t at = 0; at < match_count_; ++at) {
    const Match& found = matches_[at];
    Delivery delivery;
    delivery.qos = std::min(found.qos, message->qos);
    delivery.retain = as_retained || (found.retain_as_published && message->retain);
    delivery.ticket = ticket;
    delivery.subscription_ids = found.subscription_ids;
    deliver_to(*found.session, message, place, delivery);
  }
  for (const Subscription* member : chosen_) deliver_to_member(*member, message, place, ticket);
}

void Broker::deliver_to_member(const Subscription& member, const MessagePtr& message, SpoolPlace& place,
                               Ticket ticket) {
  const std::uint32_t ids[] = {member.id};
  Delivery delivery;
  delivery.qos = std::min(member.options.qos, message->qos);
  delivery.retain = member.options.retain_as_published && message->retain;
  delivery.shared = true;
  delivery.ticket = ticket;
  if (member.id > 0) delivery.subscription_ids = ids;
  deliver_to(*member.session, message, place, delivery);
}

/// `place`: where the message lies in the spool, once some session has put it there.
void Broker::deliver_to(Session& session, const MessagePtr& message, SpoolPlace& place, const Delivery& delivery) {
  ClientConnection* connection = session.connection;
  if (delivery.qos == Qos::at_most_once) {
    if (!connection) return;
    // Only messages of one QoS and topic have an order among each other; but what was published with QoS 1 or 2, or came
    // out of another node's log, must be on disk first where it needs that, and nothing newer may overtake a retained
    // value on its way.
    const bool waits = (message->qos != Qos::at_most_once || delivery.ticket > 0) &&
                       (delivery.ticket > store_.durable_ticket() || !session.outbox.all_sent());
    if (waits || delivery.replay || session.outbox.replaying()) {
      session.outbox.push(message, {}, delivery);
      return pump(session);
    }
    if (connection->backlog() > limits::client_output_bytes_max) return count_dropped();
    if (!delivery.subscription_ids.empty() || message->properties.expiry_seconds || !connection->own_aliases.empty()) {
      PublishOut how;
      how.retain = delivery.retain;
      how.subscription_ids = delivery.subscription_ids;
      connection->send_publish(*message, how);
      return;
    }
    Bytes& encoded = encoded_[connection->is_v5()][delivery.retain];
    if (encoded.empty()) {
      PublishOut how;
      how.retain = delivery.retain;
      how.topic = message->topic;
      how.payload = message->payload;
      how.properties = &message->properties;
      encode_publish(encoded, connection->protocol, how);
    }
    if (encoded.size() > connection->packet_bytes_max) return count_dropped();
    append(connection->out(), encoded);
    count_sent(*message, encoded.size());
    return touch(*connection);
  }
  if (session.stored && !place.batch) place = spool_.add(message);
  session.outbox.push(message, session.stored ? place : SpoolPlace{}, delivery);
  if (session.stored) {
    if (!session.unsaved_queue && !session.unsaved_state) unsaved_.push_back(&session);
    session.unsaved_queue = true;
    turn_.touch();
  }
  if (connection)
    pump(session);
  else if (const auto lost = session.outbox.take_lost()) {
    session.lost += lost;
    counts_.queue_lost += lost;
    save_state(session);
  }
}

void Broker::deliver(const MessagePtr& message, Origin origin) {
  if (!fits_packet(*message)) return count_dropped();
  match(message->topic, message->qos, nullptr);
  // The reader's place in the writer's log is in the open transaction, so what it leads to has to be there too; and what
  // is delivered at most once goes out behind it, else a crash in between would bring it again.
  deliver_to_matches(message, origin == Origin::live ? 0 : store_.open_ticket(), false);
}

void Broker::deliver_retained(const MessagePtr& message) {
  if (!fits_packet(*message)) return count_dropped();
  match_count_ = 0;
  chosen_.clear();
  ++match_serial_;
  trie_.match(message->topic, [&](const Subscription* subscription) {
    if (subscription->own_only && message->topic.starts_with('@')) return;
    if (subscription->group || subscription->options.retain_handling == RetainHandling::never) return;
    match_of(*subscription, message->topic);
  });
  deliver_to_matches(message, message->qos == Qos::at_most_once ? 0 : store_.open_ticket(), true);
}

void Broker::publish_own(std::string_view topic, std::string_view payload) {
  auto message = std::make_shared<Message>();
  message->topic = topic;
  message->payload = to_bytes(payload);
  message->received = clock_.monotonic();
  match(topic, message->qos, nullptr);
  deliver_to_matches(message, 0, false);
}

void Broker::publish_notification(const std::string& topic, const std::string& value) {
  if (sys_topics_.set(topic, value)) publish_own(topic, value);
}

}  // namespace diot
