#pragma once
// The sockets of the load generator: one thread, one epoll set, reads and writes of many packets each.

#include <netinet/in.h>

#include <cstdint>
#include <vector>

#include "tools/bench/client.hpp"

namespace diot::bench {

/// Nanoseconds of the monotonic clock.
std::uint64_t now_ns();

/// The address of an IPv4 or IPv6 literal or of a host name.
struct Endpoint {
  sockaddr_storage address{};
  socklen_t size = 0;
};
Result<Endpoint> resolve(const std::string& host, std::uint16_t port);

/// One connection's socket. Stays where it is while it is open.
struct Link {
  explicit Link(Client& of) : client(&of) {}
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  Client* client;
  int fd = -1;
  bool connecting = false;
  bool closing = false;  ///< the server's end of stream is awaited
  bool ended = false;    ///< our side of the stream
  bool blocked = false;  ///< the socket takes no more for now
  bool marked = false;
  std::size_t written = 0;  ///< of client->out
  Bytes unread;             ///< the beginning of a packet
};

class Network {
 public:
  /// `packet_bytes_max`: the largest packet that may come in.
  explicit Network(std::size_t packet_bytes_max);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  /// Connects and sends CONNECT as soon as that is possible.
  Result<void> open(Link& link, const Endpoint& to);
  /// Writes what is queued, ends the stream and waits (in later turns) for the server to do so too.
  void finish(Link& link);
  /// Nothing is read from it any more.
  void ignore(Link& link);
  /// Closes at once.
  void close(Link& link);
  /// The client has something to write: flush() will.
  void mark(Link& link);
  Result<void> flush();
  /// Waits for at most `timeout_ns` and passes on what came in.
  Result<void> turn(std::uint64_t timeout_ns);
  /// The time when the bytes that are being passed on had been read.
  std::uint64_t read_at() const { return read_at_; }
  std::size_t open_count() const { return open_count_; }

 private:
  Result<void> connected(Link& link);
  Result<void> read(Link& link);
  Result<void> write(Link& link);
  void watch(Link& link, bool for_writing);

  int epoll_;
  Bytes buffer_;
  std::vector<Link*> marked_;
  std::uint64_t read_at_ = 0;
  std::size_t open_count_ = 0;
};

}  // namespace diot::bench
