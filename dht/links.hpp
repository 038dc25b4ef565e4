#pragma once
// Links over TCP and TLS 1.3: the program's LinkTransport. docs/protocol.md, "Links".
//
// Everything runs on the io_context's one thread. Events never come from inside a call of this class; what an event's
// handler does (send, close, dial) is safe. Each link_up is followed by one link_down, also after close(), and no
// link_frame comes between close() and link_down.

#include <array>
#include <memory>

#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/ports.hpp"
#include "dht/link_machine.hpp"
#include "dht/transport.hpp"

namespace asio {
class io_context;
}

namespace diot {

/// Why connections ended, up or not.
enum class LinkEnd : std::uint8_t {
  closed_here,     ///< close() or shut_down()
  closed_by_peer,  ///< it told a reason
  lost,            ///< the connection broke
  silent,          ///< nothing heard for limits::link_silence_max, or a challenge was not answered
  late,            ///< a deadline of dialling, TLS or the hellos
  unreachable,     ///< no such host, or TCP was refused
  tls,             ///< the other end does not speak our TLS: another protocol or version, no key or another kind of key
  wrong_key,       ///< dialled, but another node answered
  self,            ///< this node dialled itself
  version,         ///< no link version in common
  network,         ///< a node of another network
  not_admitted,    ///< the overlay's decision
  crowded,         ///< limits: half-open in total or per address, links, dials, enrolling strangers and their age
  violation,       ///< the peer broke the protocol
  overflow,        ///< the peer reads too slowly: limits::link_output_bytes_max
  replaced,        ///< by a newer link to the same node
  duplicate,       ///< of two links to one node the other was kept
  count_
};
std::string_view name_of(LinkEnd end);

struct LinkStats {
  std::size_t links = 0, half_open = 0, dials = 0;  ///< now: up; accepted but not up; dialled but not up
  std::uint64_t accepted = 0, established = 0;
  std::uint64_t frames_in = 0, frames_out = 0;  ///< the overlay's
  std::uint64_t bytes_in = 0, bytes_out = 0;    ///< before encryption
  std::uint64_t rests = 0;                      ///< times that a link's frames had taken LinkTimes::slice
  std::array<std::uint64_t, static_cast<std::size_t>(LinkEnd::count_)> ended{};
  std::string last_refusal;  ///< "ADDRESS: reason" of the last connection to us that did not become a link
  std::uint64_t count(LinkEnd end) const { return ended[static_cast<std::size_t>(end)]; }
};

class Links final : public LinkTransport {
 public:
  /// The references must outlive this object, and the io_context its handlers. Throws std::exception if TLS cannot be
  /// set up (start-up).
  Links(asio::io_context& io, const KeyPair& node_key, LinkEvents& events, Turn& turn, const Clock& clock,
        Random& random, const LinkTimes& times = {});
  /// Closes everything at once, without events. Not from inside an event.
  ~Links() override;

  /// Accepts links at a numeric address; port 0 = any free one. Several calls listen at several addresses. The address
  /// bound, or Errc::io.
  Result<std::string> listen(const std::string& address);
  /// Writes what the turn queued: one write a link. The program calls it at the end of each turn.
  void flush();
  /// Stops listening and dialling and closes every link; link_down follows for each, dial_failed for each dial. The
  /// connections are gone within limits::link_closing_deadline, and with them all work of this object in the
  /// io_context.
  void shut_down();

  void dial(const std::string& address, const std::optional<NodeId>& expected) override;
  void send(LinkId link, FrameType type, std::initializer_list<ByteView> parts) override;
  std::size_t unsent_bytes(LinkId link) const override;
  std::chrono::milliseconds silent_for(LinkId link) const override;
  void close(LinkId link, const std::string& reason) override;

  /// Of the link's newest answered ping; nullopt before the first.
  std::optional<std::chrono::microseconds> round_trip(LinkId link) const;
  LinkStats stats() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace diot
