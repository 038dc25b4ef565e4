#include "dht/link_machine.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace diot {
namespace {

bool is_known(FrameType type) {
  switch (type) {
    case FrameType::hello:
    case FrameType::close:
    case FrameType::ping:
    case FrameType::pong:
    case FrameType::life_ask:
    case FrameType::life:
    case FrameType::life_twin:
    case FrameType::ledger_head:
    case FrameType::ledger_get:
    case FrameType::ledger_blocks:
    case FrameType::submit:
    case FrameType::submitted:
    case FrameType::entries:
    case FrameType::proposal:
    case FrameType::vote:
    case FrameType::agreement_state:
    case FrameType::succession:
    case FrameType::cosignature:
    case FrameType::ledger_ask:
    case FrameType::ledger_part:
    case FrameType::enrol:
    case FrameType::welcome:
    case FrameType::catalogue_get:
    case FrameType::catalogue:
    case FrameType::channel_join:
    case FrameType::channel_heads:
    case FrameType::channel_leave:
    case FrameType::batch:
    case FrameType::range_get:
    case FrameType::range_gap:
    case FrameType::retained: return true;
  }
  return false;
}

}  // namespace

LinkMachine::LinkMachine(const LinkTimes& times, Random& random, Monotonic now)
    : times_(times), random_(random), parser_(limits::hello_bytes_max), heard_(now), pinged_(now) {}

void LinkMachine::filled(std::size_t bytes, Monotonic now) {
  parser_.filled(bytes);
  heard_ = now;
}

Result<std::optional<Frame>> LinkMachine::next(Monotonic now) {
  while (true) {
    auto frame = parser_.next();
    if (!frame || !*frame) return frame;
    const auto [type, body] = **frame;
    if (!admitted_) {
      if (type == FrameType::close) return frame;
      if (type != FrameType::hello || hello_seen_)
        return fail(Errc::invalid, fmt::format("a frame of type {} before the hellos", static_cast<unsigned>(type)));
      hello_seen_ = true;
      return frame;
    }
    switch (type) {
      case FrameType::hello: return fail(Errc::invalid, "a second hello");
      case FrameType::ping:
        if (body.size() != sizeof ping_number_) return fail(Errc::invalid, "a malformed ping");
        send(FrameType::pong, {body});
        continue;
      case FrameType::pong: {
        ByteReader in(body);
        const auto number = in.u64();
        if (!in.done()) return fail(Errc::invalid, "a malformed pong");
        if (!ping_under_way_ || number != ping_number_) continue;  // of a ping that a challenge overtook
        ping_under_way_ = false;
        answer_until_.reset();
        round_trip_ = std::chrono::duration_cast<std::chrono::microseconds>(now - pinged_);
        continue;
      }
      default:
        if (is_known(type)) return frame;
    }
  }
}

void LinkMachine::admit(std::size_t frame_bytes_max) {
  admitted_ = true;
  parser_.set_frame_bytes_max(frame_bytes_max);
}

Result<void> LinkMachine::tick(Monotonic now) {
  if (answer_until_ && now >= *answer_until_)
    return fail(Errc::timed_out, "a newer link came, and this one did not answer");
  if (now - heard_ >= times_.silence_max)
    return fail(Errc::timed_out, fmt::format("nothing heard for {} ms", times_.silence_max.count()));
  if (now - std::max(heard_, pinged_) >= times_.ping_interval) ping(now);
  return {};
}

void LinkMachine::challenge(Monotonic now) {
  if (answer_until_) return;
  answer_until_ = now + times_.challenge;
  ping(now);
}

void LinkMachine::ping(Monotonic now) {
  ping_number_ = random_.u64();
  ping_under_way_ = true;
  pinged_ = now;
  Bytes body;
  ByteWriter(body).u64(ping_number_);
  send(FrameType::ping, {body});
}

}  // namespace diot
