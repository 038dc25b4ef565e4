#include "bridge/sys_topics.hpp"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/topic.hpp"

namespace diot {

void SysTopics::update(const BrokerCounts& counts, Monotonic now,
                       const std::function<void(const std::string&, const std::string&)>& publish) {
  const auto set = [&](std::string_view name, const std::string& value) {
    const std::string topic = fmt::format("$SYS/broker/{}", name);
    auto& old = values_[topic];
    if (old == value) return;
    old = value;
    publish(topic, value);
  };
  const auto number = [&](std::string_view name, std::uint64_t value) { set(name, fmt::format("{}", value)); };

  set("version", "diot version " DIOT_VERSION);
  set("uptime", fmt::format("{} seconds", counts.uptime.count()));
  number("clients/total", counts.sessions);
  number("clients/connected", counts.clients_connected);
  number("clients/disconnected", counts.sessions - counts.clients_connected);
  number("clients/active", counts.clients_connected);
  number("clients/inactive", counts.sessions - counts.clients_connected);
  number("clients/maximum", counts.clients_maximum);
  number("clients/expired", counts.sessions_expired);
  number("messages/received", counts.messages_received);
  number("messages/sent", counts.messages_sent);
  number("messages/stored", counts.retained + counts.queued);
  number("store/messages/count", counts.retained + counts.queued);
  number("store/messages/bytes", counts.queued_bytes);
  number("publish/messages/received", counts.publish_received);
  number("publish/messages/sent", counts.publish_sent);
  number("publish/messages/dropped", counts.publish_dropped + counts.queue_lost + counts.publish_not_permitted);
  number("publish/bytes/received", counts.publish_bytes_received);
  number("publish/bytes/sent", counts.publish_bytes_sent);
  number("bytes/received", counts.bytes_received);
  number("bytes/sent", counts.bytes_sent);
  number("subscriptions/count", counts.subscriptions);
  number("shared_subscriptions/count", counts.shared_subscriptions);
  number("retained messages/count", counts.retained);
  const auto heap = static_cast<std::uint64_t>(mallinfo2().uordblks);
  heap_maximum_ = std::max(heap_maximum_, heap);
  number("heap/current", heap);
  number("heap/maximum", heap_maximum_);

  const std::array<std::pair<const char*, std::uint64_t>, 9> rates{{
      {"messages/received", counts.messages_received},
      {"messages/sent", counts.messages_sent},
      {"publish/received", counts.publish_received},
      {"publish/sent", counts.publish_sent},
      {"publish/dropped", counts.publish_dropped + counts.queue_lost},
      {"bytes/received", counts.bytes_received},
      {"bytes/sent", counts.bytes_sent},
      {"sockets", counts.sockets},
      {"connections", counts.connects},
  }};
  const bool first = last_update_ == Monotonic{};
  const double seconds = first ? 0 : std::chrono::duration<double>(now - last_update_).count();
  last_update_ = now;
  constexpr std::array<int, 3> minutes{1, 5, 15};
  for (const auto& [name, value] : rates) {
    Load& load = loads_[name];
    for (std::size_t at = 0; at < minutes.size(); ++at) {
      if (seconds > 0) {
        const double per_minute = static_cast<double>(value - load.last) * 60 / seconds;
        const double keep = std::exp(-seconds / (60.0 * minutes[at]));
        load.average[at] = per_minute * (1 - keep) + load.average[at] * keep;
      }
      set(fmt::format("load/{}/{}min", name, minutes[at]), fmt::format("{:.2f}", load.average[at]));
    }
    load.last = value;
  }
}

bool SysTopics::set(const std::string& topic, const std::string& value) {
  return std::exchange(values_[topic], value) != value;
}

void SysTopics::match(std::string_view filter,
                      const std::function<void(const std::string&, const std::string&)>& visit) const {
  for (const auto& [topic, value] : values_)
    if (matches(filter, topic)) visit(topic, value);
}

}  // namespace diot
