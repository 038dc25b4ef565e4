// Wills across homes, in the world: who must know them, and when they may be derived.

#include <fmt/format.h>

#include <charconv>

#include "core/limits.hpp"
#include "core/topic.hpp"
#include "tests/sim/world.hpp"

namespace diot::sim {

namespace {

constexpr Time lease = limits::presence_lease, lease_tolerance = 2s;  // what a second's ticks may be off by

MessageIndex message_in(const Record& will) {
  const std::string_view text = as_text(will.payload);
  MessageIndex out = 0;
  std::from_chars(text.data() + 1, text.data() + text.size(), out);
  return out;
}

/// The wills of a writer that a home knows to stand in the channel, by number.
std::map<std::uint64_t, HeldWill> standing(Home& home, const ChannelId& channel, const NodeId& writer) {
  std::map<std::uint64_t, HeldWill> out;
  home.core().overlay().wills().of_channel(channel, [&](const WillKey& key, const HeldWill& will) {
    if (key.writer == writer) out.emplace(key.number, will);
  });
  return out;
}

}  // namespace

bool World::hears(Home& reader, const Home& owner, const std::string& topic) const {
  if (&reader == &owner || !reader.running() || reader.damaged || owner.damaged) return false;
  if (!reachable(reader.index, owner.index)) return false;
  const std::string seen = owned_topic(owner.handle, topic);
  return std::ranges::any_of(clients, [&](const auto& client) {
    return &client->home() == &reader && std::ranges::any_of(client->filters(), [&](const Client::Filter& filter) {
      return filter.granted && parts_of(filter.filter).kind == TopicKind::owned && matches(filter.filter, seen) &&
             reader.core().overlay().remote().acknowledged(filter.filter);
    });
  });
}

void World::watch_wills(Home& home) {
  for (const auto& owner : homes) {
    if (owner.get() == &home) continue;
    if (network.whole(home.index, owner->index)) heard_[{home.index, owner->index}] = schedule.now();
    home.core().overlay().wills().of_channel(owner->channel, [&](const WillKey& key, const HeldWill& will) {
      if (!will.derived || !derived_.emplace(home.index, key).second) return;
      tell("@{} derives a will of @{}, m{}", home.handle, owner->handle, message_in(will.record));
      const auto heard = heard_.find({home.index, owner->index});
      if (heard == heard_.end() || schedule.now() - heard->second >= lease - lease_tolerance || home.damaged) return;
      checker.fail(Invariant::will, fmt::format("@{} derived a will of @{} {} ms after it could hear it", home.handle,
                                                owner->handle, (schedule.now() - heard->second).count() / 1000));
    });
  }
}

void World::check_wills() {
  for (const auto& owner : homes) {
    if (!owner->running() || owner->damaged) continue;
    const auto own = standing(*owner, owner->channel, owner->key.node_id());
    for (const auto& client : clients) {
      if (&client->home() != owner.get() || client->will_topic().empty()) continue;
      const bool stands =
          std::ranges::any_of(own, [&](const auto& each) { return each.second.record.topic == client->will_topic(); });
      if (client->connected() && !stands)
        checker.fail(Invariant::will, fmt::format("the will of {} does not stand", client->profile.id));
      for (const auto& reader : homes) {
        if (!hears(*reader, *owner, client->will_topic())) continue;
        const auto known = standing(*reader, owner->channel, owner->key.node_id());
        for (const auto& [number, will] : own)
          if (will.record.topic == client->will_topic() && !known.contains(number))
            checker.fail(Invariant::will, fmt::format("@{} does not know the will m{} of @{}", reader->handle,
                                                      message_in(will.record), owner->handle));
        for (const auto& [number, will] : known)
          if (will.record.topic == client->will_topic() && !own.contains(number))
            checker.fail(Invariant::will, fmt::format("@{} still knows the will m{} of @{}", reader->handle,
                                                      message_in(will.record), owner->handle));
      }
    }
  }
}

void World::end_a_gateway() {
  std::vector<Home*> able;
  for (const auto& home : homes)
    if (home->running() && !home->damaged && !standing(*home, home->channel, home->key.node_id()).empty())
      able.push_back(home.get());
  if (able.empty()) return;
  Home& gone = *chance.one_of(able);
  struct Due {
    Home* reader;
    const Client* client;
    MessageIndex message;
  };
  std::vector<Due> due;
  for (const auto& client : clients) {
    Home& reader = client->home();
    if (!client->profile.persistent || client->profile.protocol != Protocol::mqtt_5 || !client->connected()) continue;
    for (const auto& filter : client->filters()) {
      if (!filter.granted || filter.qos == Qos::at_most_once || &reader == &gone) continue;
      for (const auto& [number, will] : standing(reader, gone.channel, gone.key.node_id()))
        if (!will.derived && will.record.qos != Qos::at_most_once &&
            matches(filter.filter, owned_topic(gone.handle, will.record.topic)) &&
            hears(reader, gone, will.record.topic))
          due.push_back({&reader, client.get(), message_in(will.record)});
    }
  }
  tell("@{} goes, and {} wills are due", gone.handle, due.size());
  gone.crash(true);
  run_until(schedule.now() + lease + 15s);
  if (gone.running()) return;  // it had been going to be started again
  for (const auto& one : due)
    if (checker.times_derived(one.client->subscriber, one.message) == 0)
      checker.fail(Invariant::will, fmt::format("the will m{} of @{}, which is gone, never reached {}", one.message,
                                                gone.handle, one.client->profile.id));
}

}  // namespace diot::sim
