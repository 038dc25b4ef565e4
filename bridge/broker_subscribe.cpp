// Subscriptions (MQTT 5.0 sections 3.8 to 3.11).

#include <fmt/format.h>

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
    SubscribeOptions options = request.options;
    if (connection.bridge) options.no_local = options.retain_as_published = true;
    const Reason reason = subscribe(session, request.filter, options, parsed->subscription_id, is_new);
    suback.reasons.push_back(reason);
    const RetainHandling handling = options.retain_handling;
    // Those who share a subscription get no retained messages (section 4.8.2).
    if (!is_failure(reason) && !is_shared_filter(request.filter) &&
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
  if (!is_usable_filter(filter)) return Reason::topic_filter_invalid;
  const auto shared = split_shared_filter(filter);
  const std::string_view wanted = shared ? shared->filter : filter;
  // Commons are off by default, and not built yet.
  if (parts_of(wanted).kind == TopicKind::commons) return Reason::not_authorized;
  if (!may(session, Access::subscribe, local_name(wanted, own_names_))) return Reason::not_authorized;
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
  const auto shared = split_shared_filter(at->first);
  const std::string_view wanted = shared ? shared->filter : at->first;
  subscription.session = &session;
  subscription.filter = local_name(wanted, own_names_);
  const bool was_owned = subscription.filter.size() != wanted.size();
  subscription.own_only = was_owned && (subscription.filter.front() == '+' || subscription.filter.front() == '#');
  subscription.overlay = subscription.filter.starts_with('@');
  ++counts_.subscriptions;
  if (shared)
    join_group(subscription, shared->name);
  else
    trie_.insert(subscription.filter, &subscription);
  if (subscription.overlay) overlay_.add_demand(subscription.filter, session.stored);
  return subscription;
}

void Broker::remove_subscription(Session& session, Subscription& subscription) {
  --counts_.subscriptions;
  if (subscription.group)
    leave_group(subscription);
  else
    trie_.erase(subscription.filter, &subscription);
  if (subscription.overlay) overlay_.remove_demand(subscription.filter, session.stored);
}

// Shared subscriptions ---------------------------------------------------------------------------------------

void Broker::join_group(Subscription& subscription, std::string_view name) {
  // "@own/#" and "#" are different wishes under one local name.
  std::string key = fmt::format("{}/{}{}", name, subscription.own_only ? "@/" : "", subscription.filter);
  auto& group = groups_[key];
  if (!group) {
    group = std::make_unique<SubscriberGroup>(std::move(key), subscription);
    trie_.insert(subscription.filter, group->entry());
  }
  group->add(subscription);
  ++counts_.shared_subscriptions;
}

void Broker::leave_group(Subscription& subscription) {
  SubscriberGroup& group = *subscription.group;
  group.remove(subscription);
  --counts_.shared_subscriptions;
  if (!group.members().empty()) return;
  trie_.erase(subscription.filter, group.entry());
  groups_.erase(groups_.find(group.key()));
}

void Broker::hand_over(Session& session, bool ends) {
  std::vector<Subscription*> own;
  bool others_listen = false;
  for (auto& [filter, subscription] : session.subscriptions) {
    if (!subscription.group) continue;
    own.push_back(&subscription);
    for (const Subscription* member : subscription.group->members())
      others_listen |= member->session != &session && (ends || member->session->connection);
  }
  if (!others_listen) return;
  const auto taken = session.outbox.take(ends ? Outbox::Take::shared : Outbox::Take::unsent_shared);
  if (taken.empty()) return;
  for (const auto& handed : taken) {
    const MessagePtr& message = handed.message;
    const bool foreign = message->topic.starts_with('@');
    for (Subscription* subscription : own) {
      if (!matches(subscription->filter, message->topic) || (subscription->own_only && foreign)) continue;
      Session* const self = subscription->session;
      const Subscription* member = subscription->group->choose([&](const Subscription& one) {
        if (one.session == self) return SubscriberGroup::Rank::no;
        return rank_of(one, message->topic, message->qos);
      });
      if (!member) continue;
      SpoolPlace place;
      deliver_to_member(*member, message, place, session.stored ? store_.open_ticket() : handed.ticket);
      break;
    }
  }
  turn_.touch();
}

// ------------------------------------------------------------------------------------------------------------

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
      save_state(session);
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
    if (!may(session, Access::read, message->topic)) return;
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
