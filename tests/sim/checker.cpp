#include "tests/sim/checker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/topic.hpp"

namespace diot::sim {

namespace {
constexpr std::size_t violations_kept_max = 20;

/// "m17;" and then a filling that follows from the number.
std::uint8_t filling(MessageIndex message, std::size_t at) {
  return static_cast<std::uint8_t>('a' + (message * 7 + at * 3) % 26);
}
}  // namespace

std::string_view name_of(Invariant invariant) {
  switch (invariant) {
    case Invariant::lost: return "lost";
    case Invariant::twice: return "twice";
    case Invariant::order: return "order";
    case Invariant::leak: return "leak";
    case Invariant::retained: return "retained";
    case Invariant::ledger: return "ledger";
    case Invariant::bounds: return "bounds";
    case Invariant::integrity: return "integrity";
    case Invariant::session: return "session";
    case Invariant::liveness: return "liveness";
    case Invariant::start: return "start";
    case Invariant::will: return "will";
  }
  return "?";
}

void Checker::fail(Invariant invariant, std::string what) {
  if (violations_.size() < violations_kept_max) violations_.push_back({invariant, schedule_.now(), std::move(what)});
}

// Messages ---------------------------------------------------------------------------------------------------

MessageIndex Checker::publish(HomeIndex home, const std::string& publisher, const std::string& topic, Qos qos,
                              bool retain, bool removes) {
  auto& [stream, count] =
      streams_
          .try_emplace(fmt::format("{} {} {} {}", publisher, topic, static_cast<int>(qos), retain), streams_.size(), 0)
          .first->second;
  Published made;
  made.home = home;
  made.topic = topic;
  made.qos = qos;
  made.retain = retain;
  made.removes = removes;
  made.stream = stream;
  made.number = ++count;
  messages_.push_back(std::move(made));
  return messages_.size() - 1;
}

MessageIndex Checker::leave_will(HomeIndex home, const std::string& publisher, const std::string& topic, Qos qos) {
  const MessageIndex message = publish(home, publisher, topic, qos, false, false);
  messages_[message].will = true;
  return message;
}

unsigned Checker::times_derived(SubscriberIndex subscriber, MessageIndex message) const {
  const auto& got = subscribers_[subscriber].got;
  const auto found = got.find(message);
  return found == got.end() ? 0 : found->second.derived;
}

Bytes Checker::payload_of(MessageIndex message, std::size_t bytes) const {
  if (messages_[message].removes) return {};
  Bytes out = to_bytes(fmt::format("m{};", message));
  if (messages_[message].topic.find(secret) != std::string::npos) append(out, as_bytes(secret));
  while (out.size() < bytes) out.push_back(filling(message, out.size()));
  return out;
}

void Checker::sent(MessageIndex message) {
  Published& published = messages_[message];
  published.sent_again = published.sent;
  published.sent_last = schedule_.now();
  if (std::exchange(published.sent, true)) return;
  published.sent_at = schedule_.now();
  if (published.qos != Qos::at_most_once && !published.removes) published.due = in_force(published);
}

// Subscribers ------------------------------------------------------------------------------------------------

SubscriberIndex Checker::add_subscriber(HomeIndex home, std::string name) {
  subscribers_.push_back({home, std::move(name), {}, {}, {}, {}});
  return subscribers_.size() - 1;
}

void Checker::delivered(SubscriberIndex index, std::string_view topic, ByteView payload, Qos qos, bool retained,
                        std::optional<bool> derived) {
  Subscriber& subscriber = subscribers_[index];
  ++deliveries_;
  if (payload.empty()) return;  // the end of a retained value; nothing says which
  const std::string_view text = as_text(payload);
  MessageIndex number = messages_.size();
  const auto parsed = std::from_chars(text.data() + 1, text.data() + text.size(), number);
  if (text[0] != 'm' || parsed.ec != std::errc() || number >= messages_.size() ||
      !equal(payload, payload_of(number, payload.size())))
    return fail(Invariant::integrity, fmt::format("{} got a payload that nobody published", subscriber.name));
  const Published& message = messages_[number];
  const std::string seen =
      message.home == subscriber.home ? message.topic : "@" + handle(message.home) + "/" + message.topic;
  if (topic != seen || qos > message.qos)
    return fail(Invariant::integrity, fmt::format("{} got m{} of '{}' as '{}' at QoS {}", subscriber.name, number, seen,
                                                  topic, static_cast<int>(qos)));
  if (message.home != subscriber.home && topic.find(secret) != topic.npos)
    fail(Invariant::leak, fmt::format("{} got m{} on '{}'", subscriber.name, number, topic));

  auto& times = subscriber.got[number];
  if (message.will && derived != false) {
    // Where a client cannot tell them apart, its gateway's own may come beside a derived one.
    if (derived && ++times.derived > 1 && qos != Qos::at_least_once && !excused(message, subscriber))
      fail(Invariant::will,
           fmt::format("{} got the will m{} derived {} times", subscriber.name, number, times.derived));
    return;
  }
  const Time heard = subscriber.heard.try_emplace(message.home, schedule_.now()).first->second;
  // What a subscription or a join brings of retained values may repeat what came before, and lies behind what is newer.
  if (retained) {
    ++times.replayed;
    return;
  }
  if (++times.live > 1) {
    if (message.qos == qos && qos != Qos::at_least_once && !excused(message, subscriber))
      fail(Invariant::twice, fmt::format("{} got m{} ('{}' number {}) at QoS {} {} times", subscriber.name, number,
                                         topic, message.number, static_cast<int>(qos), times.live));
    return;
  }
  std::uint64_t& newest = subscriber.newest[message.stream];
  const bool two_streams = message.retain && message.qos == Qos::at_most_once && retain_may_go(message.home);
  // What was published before the subscription began and sent again afterwards is new to this subscriber alone, and
  // MQTT wants it delivered (3.1.1 section 4.3.2: at least once), behind what came in between. At another home a
  // subscription begins when its owner has heard of it.
  const Time since = message.home == subscriber.home ? subscriber.since : heard;
  const bool before_its_time = message.sent_again && message.sent_at <= since;
  if (message.number <= newest && !two_streams && !before_its_time && !excused(message, subscriber))
    fail(Invariant::order, fmt::format("{} got number {} of '{}' at QoS {} behind number {} (m{})", subscriber.name,
                                       message.number, topic, static_cast<int>(message.qos), newest, number));
  newest = std::max(newest, message.number);
}

void Checker::excuse(SubscriberIndex subscriber) {
  for (auto& message : messages_) message.due.erase(subscriber);
}

std::size_t Checker::missing() const {
  std::size_t count = 0;
  for (MessageIndex at = 0; at < messages_.size(); ++at) {
    const Published& message = messages_[at];
    if (!message.acknowledged) continue;
    for (const auto subscriber : message.due)
      count += !subscribers_[subscriber].got.contains(at) && !excused(message, subscribers_[subscriber]);
  }
  return count;
}

void Checker::check_missing() {
  for (MessageIndex at = 0; at < messages_.size(); ++at) {
    const Published& message = messages_[at];
    if (!message.acknowledged) continue;
    for (const auto subscriber : message.due)
      if (!subscribers_[subscriber].got.contains(at) && !excused(message, subscribers_[subscriber]))
        fail(Invariant::lost,
             fmt::format("m{}, number {} of @{} '{}' at QoS {}, sent at {} ms and acknowledged, never reached {}", at,
                         message.number, handle(message.home), message.topic, static_cast<int>(message.qos),
                         message.sent_at.count() / 1000, subscribers_[subscriber].name));
  }
}

// The wire, the ledger ----------------------------------------------------------------------------------------

void Checker::frame(HomeIndex from, ByteView body) {
  if (as_text(body).find(secret) == std::string_view::npos) return;
  fail(Invariant::leak, fmt::format("@{} sent what no share covers", handle(from)));
}

void Checker::block(HomeIndex home, std::uint64_t height, const Hash& hash) {
  const auto [known, fresh] = blocks_.emplace(height, hash);
  if (!fresh && known->second != hash)
    fail(Invariant::ledger, fmt::format("@{} has another block {} than the others", handle(home), height));
}

}  // namespace diot::sim
