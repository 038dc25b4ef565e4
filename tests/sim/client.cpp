#include "tests/sim/client.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/topic.hpp"
#include "tests/sim/world.hpp"

namespace diot::sim {

template <class... Args>
void Client::tell(const char* format, const Args&... args) {
  if (world_.options.verbose) world_.tell("{} {}", profile.id, fmt::vformat(format, fmt::make_format_args(args...)));
}

// The connection ---------------------------------------------------------------------------------------------

bool Client::Wire::broker_lives() const { return broker_open && client.home_.running() && client.home_.life() == life; }

void Client::Wire::send(Bytes& output) {
  Schedule& schedule = client.world_.schedule;
  last_down = std::max(last_down, schedule.now() + client.profile.lan_delay);
  unsent += output.size();
  schedule.at(last_down, [wire = shared_from_this(), bytes = std::exchange(output, {})] {
    wire->unsent -= bytes.size();
    if (wire->client_open) wire->client.take(*wire, bytes);
    if (wire->unsent == 0 && wire->broker_lives()) wire->client.home_.core().broker().writable(wire->id);
  });
}

void Client::Wire::close() {
  broker_open = false;
  Schedule& schedule = client.world_.schedule;
  last_down = std::max(last_down, schedule.now() + client.profile.lan_delay);
  schedule.at(last_down, [wire = shared_from_this()] {
    if (wire->client_open) wire->client.gone(*wire);
  });
}

void Client::Wire::set_reading(bool on) {
  reading = on;
  if (on) client.world_.schedule.after(0us, [wire = shared_from_this()] { wire->push(); });
}

void Client::Wire::to_broker(Bytes bytes) {
  Schedule& schedule = client.world_.schedule;
  last_up = std::max(last_up, schedule.now() + client.profile.lan_delay);
  schedule.at(last_up, [wire = shared_from_this(), bytes = std::move(bytes)] {
    append(wire->waiting, bytes);
    wire->push();
  });
}

void Client::Wire::push() {
  if (!broker_lives() || !reading || waiting.empty() || up_lost) return;
  const Bytes bytes = std::exchange(waiting, {});
  client.world_.trace.add(bytes);
  client.home_.core().broker().received(id, bytes);
}

Client::Client(World& world, Home& home, Profile given, std::uint64_t seed)
    : profile(std::move(given)), world_(world), home_(home), chance_(seed) {}

void Client::begin() {
  begun_ = true;
  connect();
}

void Client::connect() {
  reconnecting_ = false;
  if (!begun_ || wire_) return;
  if (!home_.running() || world_.schedule.now() < away_until_)
    return reconnect_after(std::max(Time(chance_.between(50, 500) * 1000), away_until_ - world_.schedule.now()));
  ++connection_;
  input_.clear();
  wire_ = wires_.emplace_back(std::make_shared<Wire>(*this));
  wire_->life = home_.life();
  wire_->id = home_.core().broker().open(*wire_, Peer{profile.id});
  Connect connect;
  connect.protocol = profile.protocol;
  connect.client_id = profile.id;
  connect.clean_start = !profile.persistent;
  if (profile.persistent && profile.protocol == Protocol::mqtt_5) connect.session_expiry_seconds = UINT32_MAX;
  if (!will_topic_.empty()) {
    const Qos qos = static_cast<Qos>(connection_ % 3);
    const MessageIndex message = world_.checker.leave_will(home_.index, profile.id, will_topic_, qos);
    connect.will = Will{will_topic_, world_.checker.payload_of(message, 20), qos, false, {}, 0};
    if (profile.protocol == Protocol::mqtt_5) connect.will->delay_seconds = static_cast<std::uint32_t>(connection_ % 7);
  }
  Bytes bytes;
  encode_connect(bytes, connect);
  write(std::move(bytes));
}

void Client::reconnect_after(Time delay) {
  if (std::exchange(reconnecting_, true)) return;
  world_.schedule.after(delay, [this] { connect(); });
}

/// The client's end of the connection is over.
void Client::gone(Wire& wire) {
  wire.client_open = false;
  if (wire_.get() != &wire) return;
  wire_.reset();
  connected_ = subscribing_ = false;
  if (!profile.persistent) {
    taken_.clear();
    for (Filter& filter : filters_) filter.granted = false;
  }
  reconnect_after(Time(chance_.between(10, 1500) * 1000));
}

void Client::lose(Time away) {
  away_until_ = world_.schedule.now() + away;
  if (!wire_) return;
  const auto wire = wire_;
  // Either end may hear of it first; what was under way may arrive or not.
  wire->up_lost = chance_.percent(50);
  const bool vanished = chance_.percent(50);
  world_.schedule.after(vanished ? Time(chance_.between(1, 3000) * 1000) : Time(1ms), [wire] {
    if (wire->broker_lives()) wire->client.home_.core().broker().closed(wire->id);
    wire->broker_open = false;
  });
  gone(*wire);
}

void Client::leave(Time away) {
  away_until_ = world_.schedule.now() + away;
  if (!wire_) return;
  if (connected_) {
    Bytes bytes;
    encode_disconnect(bytes, profile.protocol, {});
    write(std::move(bytes));
  }
  const auto wire = wire_;
  world_.schedule.at(std::max(wire->last_up, world_.schedule.now()) + 1ms, [wire] {
    if (wire->broker_lives()) wire->client.home_.core().broker().closed(wire->id);
    wire->broker_open = false;
  });
  gone(*wire);
}

void Client::home_died() {
  if (wire_) gone(*wire_);
}

void Client::write(Bytes bytes) {
  if (wire_) wire_->to_broker(std::move(bytes));
}

/// After some thought, but in order.
void Client::write_later(Bytes bytes) {
  Schedule& schedule = world_.schedule;
  last_answer_ = std::max(last_answer_, schedule.now() + chance_.between(Time(0), profile.thinking_max));
  schedule.at(last_answer_, [this, connection = connection_, bytes = std::move(bytes)]() mutable {
    if (connected_ && connection == connection_) write(std::move(bytes));
  });
}

void Client::acknowledge(PacketType type, PacketId id, bool later) {
  Bytes bytes;
  encode_acknowledgement(bytes, profile.protocol, type, id);
  if (later)
    write_later(std::move(bytes));
  else
    write(std::move(bytes));
}

// Packets ----------------------------------------------------------------------------------------------------

void Client::take(Wire& wire, ByteView bytes) {
  world_.trace.add(bytes);
  append(input_, bytes);
  std::size_t used = 0;
  while (wire.client_open) {
    const auto packet = next_packet(ByteView(input_).subspan(used), varint_max);
    if (!packet) return world_.checker.fail(Invariant::integrity, profile.id + " got a malformed packet");
    if (!*packet) break;
    used += (*packet)->bytes;
    on_packet(**packet);
  }
  input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(used));
}

void Client::on_packet(const RawPacket& packet) {
  const auto broken = [&] {
    world_.checker.fail(Invariant::integrity, fmt::format("{} got a packet of type {} that does not decode", profile.id,
                                                          static_cast<int>(packet.type)));
  };
  switch (packet.type) {
    case PacketType::connack: {
      const auto connack = decode_connack(packet, profile.protocol);
      return connack ? on_connack(*connack) : broken();
    }
    case PacketType::publish: {
      const auto publish = decode_publish(packet, profile.protocol);
      return publish ? on_publish(*publish) : broken();
    }
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp: {
      const auto acknowledgement = decode_acknowledgement(packet, profile.protocol);
      return acknowledgement ? on_acknowledgement(packet.type, *acknowledgement) : broken();
    }
    case PacketType::suback:
    case PacketType::unsuback: {
      const auto answer = decode_subscribe_answer(packet, profile.protocol);
      return answer ? on_suback(*answer) : broken();
    }
    default: return;
  }
}

void Client::on_connack(const Connack& connack) {
  tell("is connected, {}", connack.session_present ? "session present" : "new session");
  if (connack.reason != Reason::success) return;  // and closed
  connected_ = true;
  last_answer_ = {};
  if (!connack.session_present) {
    if (profile.persistent && had_session_ && !home_.damaged)
      world_.checker.fail(Invariant::session,
                          fmt::format("{} of @{} came back to no session", profile.id, home_.handle));
    had_session_ = false;
    taken_.clear();
    for (Filter& filter : filters_) filter.granted = false;
    if (profile.persistent && home_.damaged) world_.checker.excuse(subscriber);
    // What was taken over by the broker is not ours any more. The rest may be sent as new; of QoS 2 only where the
    // session outlives connections, because then its loss says that nothing of it was taken.
    std::deque<Outgoing> again;
    for (Outgoing& outgoing : in_flight_)
      if (!outgoing.received && (outgoing.qos == Qos::at_least_once || (profile.persistent && !home_.damaged)))
        again.push_back(std::move(outgoing));
    in_flight_.clear();
    queue_.insert(queue_.begin(), std::make_move_iterator(again.begin()), std::make_move_iterator(again.end()));
  }
  for (const Outgoing& outgoing : in_flight_) {
    if (outgoing.received)
      acknowledge(PacketType::pubrel, outgoing.id);
    else
      send_publish(outgoing, true);
  }
  subscribe_missing();
  pump();
}

void Client::subscribe_missing() {
  if (!connected_ || subscribing_) return;
  asked_.clear();
  Subscribe subscribe;
  for (std::size_t at = 0; at < filters_.size(); ++at) {
    const Filter& filter = filters_[at];
    if (filter.granted || !filter.wanted) continue;
    SubscribeOptions options;
    options.qos = filter.qos;
    subscribe.requests.push_back({filter.filter, options});
    asked_.push_back(at);
  }
  if (asked_.empty()) return;
  subscribing_ = true;
  subscribe.packet_id = subscribe_id_ = free_id();
  Bytes bytes;
  encode_subscribe(bytes, profile.protocol, subscribe);
  write(std::move(bytes));
}

void Client::on_suback(const SubscribeAnswer& answer) {
  if (answer.packet_id != subscribe_id_) return;
  subscribing_ = false;
  for (std::size_t at = 0; at < asked_.size() && at < answer.reasons.size(); ++at)
    if (!is_failure(answer.reasons[at])) filters_[asked_[at]].granted = true;
  asked_.clear();
  world_.checker.subscribed(subscriber);
  had_session_ = profile.persistent;
  subscribe_missing();
}

void Client::add_filter(std::string filter, Qos qos) {
  filters_.push_back({std::move(filter), qos, false, true});
  subscribe_missing();
}

void Client::toggle_filter(std::size_t index) {
  Filter& filter = filters_[index];
  if (filter.wanted && (!connected_ || !filter.granted)) return;
  filter.wanted = !filter.wanted;
  if (filter.wanted) return subscribe_missing();
  filter.granted = false;
  world_.checker.excuse(subscriber);
  world_.withdrawn(home_, filter.filter);
  Bytes bytes;
  encode_unsubscribe(bytes, profile.protocol, {free_id(), {filter.filter}});
  write(std::move(bytes));
}

// Publishing -------------------------------------------------------------------------------------------------

void Client::publish(MessageIndex message, std::string topic, Qos qos, bool retain, Bytes payload) {
  queue_.push_back({message, std::move(topic), qos, retain, std::move(payload)});
  pump();
}

PacketId Client::free_id() {
  do next_id_ = static_cast<PacketId>(next_id_ == 65'535 ? 1 : next_id_ + 1);
  while (std::ranges::any_of(in_flight_, [&](const Outgoing& one) { return one.id == next_id_; }) ||
         (subscribing_ && next_id_ == subscribe_id_));
  return next_id_;
}

void Client::send_publish(const Outgoing& outgoing, bool dup) {
  PublishOut out;
  out.dup = dup && outgoing.qos != Qos::at_most_once;
  out.qos = outgoing.qos;
  out.retain = outgoing.retain;
  out.packet_id = outgoing.id;
  out.topic = outgoing.topic;
  out.payload = outgoing.payload;
  const Properties none;
  out.properties = &none;
  Bytes bytes;
  encode_publish(bytes, profile.protocol, out);
  world_.checker.sent(outgoing.message);
  tell("sends m{} to '{}' QoS {}, id {}{}", outgoing.message, outgoing.topic, static_cast<int>(outgoing.qos),
       outgoing.id, out.dup ? " again" : "");
  write(std::move(bytes));
}

void Client::pump() {
  while (connected_ && !queue_.empty() && in_flight_.size() < profile.window) {
    Outgoing outgoing = std::move(queue_.front());
    queue_.pop_front();
    if (outgoing.qos != Qos::at_most_once) outgoing.id = free_id();
    send_publish(outgoing, false);
    if (outgoing.qos != Qos::at_most_once) in_flight_.push_back(std::move(outgoing));
  }
}

void Client::on_acknowledgement(PacketType type, const Acknowledgement& answer) {
  if (type == PacketType::pubrel) {
    taken_.erase(answer.packet_id);
    return acknowledge(PacketType::pubcomp, answer.packet_id, true);
  }
  tell("is answered {} {} {:#x}", static_cast<int>(type), answer.packet_id, static_cast<int>(answer.reason));
  const auto found = std::ranges::find_if(in_flight_, [&](const Outgoing& one) { return one.id == answer.packet_id; });
  if (found == in_flight_.end()) {
    if (type == PacketType::pubrec) acknowledge(PacketType::pubrel, answer.packet_id);
    return;
  }
  const bool refused = is_failure(answer.reason);
  if (!refused) had_session_ = had_session_ || (profile.persistent && found->qos == Qos::exactly_once);
  switch (type) {
    case PacketType::puback:
      if (world_.options.sabotage == Sabotage::swallow_pubacks) return;
      if (!refused) world_.checker.acknowledged(found->message);
      in_flight_.erase(found);
      break;
    case PacketType::pubrec:
      if (refused) {
        in_flight_.erase(found);
        break;
      }
      world_.checker.acknowledged(found->message);
      found->received = true;
      return acknowledge(PacketType::pubrel, answer.packet_id);
    default: in_flight_.erase(found);
  }
  pump();
}

// Subscribing ------------------------------------------------------------------------------------------------

void Client::on_publish(const Publish& publish) {
  tell("gets '{}' {} QoS {}{}{}", publish.topic, as_text(publish.payload).substr(0, 8), static_cast<int>(publish.qos),
       publish.retain ? " retained" : "", publish.dup ? " again" : "");
  std::optional<bool> derived;
  if (profile.protocol == Protocol::mqtt_5)
    derived = std::ranges::any_of(publish.properties.user, [](const auto& one) { return one.first == "diot-derived"; });
  if (publish.qos != Qos::exactly_once || taken_.insert(publish.packet_id).second)
    world_.checker.delivered(subscriber, publish.topic, publish.payload, publish.qos, publish.retain, derived);
  if (publish.qos == Qos::at_least_once) acknowledge(PacketType::puback, publish.packet_id, true);
  if (publish.qos == Qos::exactly_once) acknowledge(PacketType::pubrec, publish.packet_id, true);
}

bool Client::idle() const {
  return connected_ && queue_.empty() && in_flight_.empty() && !subscribing_ &&
         std::ranges::none_of(filters_, [](const Filter& filter) { return filter.wanted && !filter.granted; });
}

std::string Client::describe() const {
  return fmt::format("{} of @{} ({}): {}, {} to send, {} in flight, {} of {} filters granted", profile.id, home_.handle,
                     profile.persistent ? "persistent" : "clean", connected_ ? "connected" : "not connected",
                     queue_.size(), in_flight_.size(),
                     std::ranges::count_if(filters_, [](const Filter& filter) { return filter.granted; }),
                     filters_.size());
}

}  // namespace diot::sim
