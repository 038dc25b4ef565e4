#pragma once
// The protocol of one link behind its encryption: hello first, then frames; pings; silence. Bytes and time in, bytes
// and frames out. Who is let in is decided above (dht/links.cpp).

#include <optional>

#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/limits.hpp"
#include "dht/frame.hpp"

namespace diot {

/// Bounds in time of links; tests shorten them.
struct LinkTimes {
  std::chrono::milliseconds dial = limits::dial_deadline;
  std::chrono::milliseconds handshake = limits::handshake_deadline;
  std::chrono::milliseconds ping_interval = limits::link_ping_interval;
  std::chrono::milliseconds silence_max = limits::link_silence_max;
  std::chrono::milliseconds challenge = limits::challenge_deadline;
  std::chrono::milliseconds closing = limits::link_closing_deadline;
  std::chrono::milliseconds enrolling_age_max = limits::enrolling_link_age_max;
  std::chrono::milliseconds slice{5};  ///< of the thread for one link's frames; then it is left alone as long again
};

class LinkMachine {
 public:
  LinkMachine(const LinkTimes& times, Random& random, Monotonic now);

  // Bytes of the peer: read into room(), tell how many, then take frames until there are none.
  std::span<std::uint8_t> room() { return parser_.room(); }
  void filled(std::size_t bytes, Monotonic now);
  /// The next frame that is not ping or pong: one hello, then close or the overlay's. Types that this program does not
  /// know are passed over, so that a newer peer may say more. An error is the peer's violation and ends the link. The
  /// body lives until the next room().
  Result<std::optional<Frame>> next(Monotonic now);
  /// The peer is admitted: the hello's bounds and order end here.
  void admit(std::size_t frame_bytes_max);

  // Bytes for the peer.
  void send(FrameType type, std::initializer_list<ByteView> parts) { output_.push(type, parts); }
  ByteView output() const { return output_.front(); }
  void written(std::size_t bytes) { output_.pop(bytes); }
  std::size_t unsent_bytes() const { return output_.bytes(); }

  // Time, for admitted links.
  /// Pings a quiet peer. Errc::timed_out once it is silent for too long or owes the answer to a challenge.
  Result<void> tick(Monotonic now);
  /// The peer must answer a fresh ping in time; pings and answers that are on their way do not count.
  void challenge(Monotonic now);
  /// When the newest bytes came in.
  Monotonic heard() const { return heard_; }
  /// Of the newest ping that was answered.
  std::optional<std::chrono::microseconds> round_trip() const { return round_trip_; }

 private:
  void ping(Monotonic now);

  const LinkTimes& times_;
  Random& random_;
  FrameParser parser_;
  FrameQueue output_;
  bool hello_seen_ = false, admitted_ = false;
  Monotonic heard_, pinged_;
  std::uint64_t ping_number_ = 0;  ///< of the ping under way; random, so that no answer comes before its question
  bool ping_under_way_ = false;
  std::optional<Monotonic> answer_until_;
  std::optional<std::chrono::microseconds> round_trip_;
};

}  // namespace diot
