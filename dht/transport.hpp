#pragma once
// Links as the overlay sees them: framed, authenticated, encrypted connections to other nodes. The program gives it
// TLS over TCP (dht/links.hpp), the simulator a world of its own.

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/share.hpp"

namespace diot {

/// Frame = u32 length of what follows ‖ u8 type ‖ body (docs/protocol.md, "Links"). Numbers are for ever.
enum class FrameType : std::uint8_t {
  hello = 1,
  close = 2,
  ping = 3,
  pong = 4,
  life_ask = 5,
  life = 6,
  life_twin = 7,  // up to here handled inside dht/links
  ledger_head = 16,
  ledger_get = 17,
  ledger_blocks = 18,
  submit = 19,
  submitted = 20,
  entries = 21,
  proposal = 22,
  vote = 23,
  enrol = 24,
  welcome = 25,
  agreement_state = 26,
  succession = 27,
  cosignature = 28,
  ledger_ask = 29,
  ledger_part = 30,
  catalogue_get = 32,
  catalogue = 33,
  channel_join = 40,
  channel_heads = 41,
  channel_leave = 42,
  batch = 43,
  range_get = 44,
  range_gap = 45,
  retained = 46,
};

namespace limits {
inline constexpr std::size_t hello_registration_bytes_max = 1536;  ///< with all else a hello fits into hello_bytes_max
}

enum class LinkId : std::uint64_t {};  ///< never reused within a process

struct Hello {
  std::uint8_t version_min = 1, version_max = 1;
  std::uint64_t features = 0;
  NetworkId network;
  InstanceId instance;
  Checkpoint checkpoint;
  std::vector<std::string> addresses;  ///< where the sender can be dialled
  std::string agent;                   ///< "diot/0.1.0"
  Bytes registration;                  ///< the register entry of a home that is not in the ledger yet; or empty
};

/// What a peer may do, decided by the overlay when its hello is in.
enum class LinkClass : std::uint8_t {
  member,     ///< a node of this network, known to the ledger
  enrolling,  ///< a stranger who may only spend an invite: enrol and submit
  refused,
};

/// Two processes live with one node key: each signed what the other had just made up.
struct RunsTwice {
  NodeId node;          ///< ours or a peer's
  InstanceId other;     ///< ours: the process that is not this one
  Bytes proof;          ///< ours: our nonce ‖ what the other one signed (dht/life.hpp)
  NodeId told_by;       ///< who has connections to both …
  std::string address;  ///< … and where it sees the other one; for a person, nothing proves it
};

/// Events never come from inside a call of LinkTransport; handlers may call it. Each link_up is followed by exactly one
/// link_down, also after close(), and there is at most one link to a node at any time.
class LinkEvents {
 public:
  virtual ~LinkEvents() = default;
  /// Our own hello, asked for at each connection.
  virtual Hello own_hello() = 0;
  /// TLS has proved `peer`. Decides before anything else of it is read.
  virtual LinkClass admit(const NodeId& peer, const Hello& hello, bool dialled_by_us) = 0;
  virtual void link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass kind, bool dialled_by_us) = 0;
  virtual void link_down(LinkId link, const NodeId& peer, const std::string& reason) = 0;
  /// `body` is valid during the call only. Types outside the overlay's own list never get here.
  virtual void link_frame(LinkId link, const NodeId& peer, FrameType type, ByteView body) = 0;
  /// The unsent bytes fell below limits::link_bulk_bytes_max again.
  virtual void link_writable(LinkId link) = 0;
  virtual void runs_twice(const RunsTwice& what) = 0;
  /// A dial ended before the link was up; also when a link to that node exists already.
  virtual void dial_failed(const std::string& address, const std::optional<NodeId>& expected,
                           const std::string& reason) = 0;
};

/// A call about a link that is gone does nothing. No call here runs an event before it returns.
class LinkTransport {
 public:
  virtual ~LinkTransport() = default;
  /// "host:port" or "[ipv6]:port". With `expected`, another key at that address is refused. Several dials may be under
  /// way; the outcome is link_up or dial_failed.
  virtual void dial(const std::string& address, const std::optional<NodeId>& expected) = 0;
  /// Queues one frame; written at the end of the turn together with the others. `parts` are concatenated. A link whose
  /// unsent bytes exceed limits::link_output_bytes_max is closed.
  virtual void send(LinkId link, FrameType type, std::initializer_list<ByteView> parts) = 0;
  virtual std::size_t unsent_bytes(LinkId link) const = 0;
  /// How long ago the peer's newest bytes came; the longest duration if the link is gone.
  virtual std::chrono::milliseconds silent_for(LinkId link) const = 0;
  /// Sends what is queued, then a close frame with the reason, then closes. No link_frame follows, but link_down.
  virtual void close(LinkId link, const std::string& reason) = 0;
};

}  // namespace diot
