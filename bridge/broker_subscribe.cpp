// Subscriptions (MQTT 5.0 sections 3.8 to 3.11).

#include "bridge/broker.hpp"
#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot {

void Broker::on_subscribe(ClientConnection& connection, const RawPacket& packet) {
  const auto parsed = decode_subscribe(packet, connection.protocol);
  if (!parsed) return kick(connection, parsed.error().reason, parsed.error().what);
  Session& session = *connection.session;
  SubscribeAnswer suback{parsed->packet_id, {}};
  std::vector<std::string_view> replays;
  for (const auto& request : parsed->requests) {
    bool is_new = false;
    const Reason reason = subscribe(session, request.filter, request.options, parsed->subscription_id, is_new);
    suback.reasons.push_back(reason);
    const RetainHandling handling = request.options.retain_handling;
    if (!is_failure(reason) &&
        (handling == RetainHandling::send || (handling == RetainHandling::send_if_new && is_new)))
      replays.push_back(request.filter);
  }
  PendingAnswer first;
  encode_subscribe_answer(first.packet, connection.protocol, PacketType::suback, suback);
  first.ticket = session.stored ? store_.open_ticket() : 0;
  answer(connection, std::move(first));
  for (const auto filter : replays) {
    if (connection.closed) return;
    // A filter that stands twice in one packet is one subscription, but each is answered.
    replay(session, session.subscriptions.find(filter)->second);
  }
}

Reason Broker::subscribe(Session& session, std::string_view filter, const SubscribeOptions& options, std::uint32_t id,
                         bool& is_new) {
  if (filter.starts_with("$share/")) return Reason::shared_subscriptions_not_supported;
  if (!check_filter(filter)) return Reason::topic_filter_invalid;
  // Commons are off by default, and not built yet.
  if (parts_of(filter).kind == TopicKind::commons) return Reason::not_authorized;
  if (parts_of(filter).kind == TopicKind::owned && parts_of(filter).rest.empty()) return Reason::topic_filter_invalid;
  is_new = !session.subscriptions.contains(filter);
  if (is_new && session.subscriptions.size() >= limits::subscriptions_per_session_max) return Reason::quota_exceeded;
  const Subscription& subscription = add_subscription(session, filter, options, id);
  if (session.stored) {
    store_.put(Table::session, session_key(session.client_id, filter), encode_subscription_row(subscription));
    save_state(session);
  }
  return static_cast<Reason>(options.qos);
}

/// Adds or replaces; `given` is valid.
Subscription& Broker::add_subscription(Session& session, std::string_view given, const SubscribeOptions& options,
                                       std::uint32_t id) {
  const auto [at, is_new] = session.subscriptions.try_emplace(std::string(given));
  Subscription& subscription = at->second;
  subscription.options = options;
  subscription.id = id;
  if (!is_new) return subscription;
  subscription.session = &session;
  subscription.filter = local_name(given, config_.own_handle);
  const bool was_owned = subscription.filter.size() != given.size();
  subscription.own_only = was_owned && (subscription.filter.front() == '+' || subscription.filter.front() == '#');
  subscription.overlay = subscription.filter.starts_with('@');
  trie_.insert(subscription.filter, &subscription);
  if (subscription.overlay) overlay_.add_demand(subscription.filter, session.stored);
  return subscription;
}

void Broker::remove_subscription(Session& session, Subscription& subscription) {
  trie_.erase(subscription.filter, &subscription);
  if (subscription.overlay) overlay_.remove_demand(subscription.filter, session.stored);
}

void Broker::on_unsubscribe(ClientConnection& connection, const RawPacket& packet) {
  const auto parsed = decode_unsubscribe(packet, connection.protocol);
  if (!parsed) return kick(connection, parsed.error().reason, parsed.error().what);
  Session& session = *connection.session;
  SubscribeAnswer unsuback{parsed->packet_id, {}};
  for (const auto filter : parsed->filters) {
    const auto found = session.subscriptions.find(filter);
    unsuback.reasons.push_back(found == session.subscriptions.end() ? Reason::no_subscription_existed
                                                                    : Reason::success);
    if (found == session.subscriptions.end()) continue;
    remove_subscription(session, found->second);
    if (session.stored) {
      store_.erase(Table::session, session_key(session.client_id, filter));
      turn_.touch();
    }
    session.subscriptions.erase(found);
  }
  PendingAnswer first;
  encode_subscribe_answer(first.packet, connection.protocol, PacketType::unsuback, unsuback);
  first.ticket = session.stored ? store_.open_ticket() : 0;
  answer(connection, std::move(first));
}

/// Sends the retained messages that a new subscription matches.
void Broker::replay(Session& session, const Subscription& subscription) {
  const std::uint32_t ids[] = {subscription.id};
  const auto send = [&](const MessagePtr& message, Ticket ticket) {
    Delivery delivery;
    delivery.qos = std::min(message->qos, subscription.options.qos);
    delivery.retain = true;
    delivery.replay = true;
    // In a stored session they are part of what the SUBACK promises.
    delivery.ticket = message->qos == Qos::at_most_once ? 0 : session.stored ? store_.open_ticket() : ticket;
    if (subscription.id > 0) delivery.subscription_ids = ids;
    SpoolPlace place;
    deliver_to(session, message, place, delivery);
  };
  const bool own_only = subscription.own_only;
  retained_.match(subscription.filter, [&](const std::string& topic, const RetainedValue& value) {
    if (forming_.contains(topic) || (own_only && topic.starts_with('@'))) return;
    send(value.message, value.ticket);
  });
  for (const auto& [topic, forming] : forming_)
    if (forming.first && matches(subscription.filter, topic)) send(forming.first, forming.second);
  sys_topics_.match(subscription.filter, [&](const std::string& topic, const std::string& value) {
    auto message = std::make_shared<Message>();
    message->topic = topic;
    message->payload = to_bytes(value);
    message->received = clock_.monotonic();
    send(message, 0);
  });
}

}  // namespace diot
