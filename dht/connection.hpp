#pragma once
// One TCP connection with TLS on it: the thin shell around a LinkMachine. What it means is decided in dht/links.cpp.

#include <asio/ip/tcp.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "dht/link_machine.hpp"
#include "dht/links.hpp"
#include "dht/tls_identity.hpp"

namespace diot {

class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  using Tcp = asio::ip::tcp;

  enum class Phase {
    connecting,  ///< resolving the name, connecting TCP
    securing,    ///< TLS shakes hands
    hello,       ///< the peer is proved; hellos are under way
    up,
    replaced,  ///< by a newer link to its node: only what tells whether that one is another process counts
    closing,   ///< what is queued goes out, what comes in is ignored
    closed,
  };

  /// Never called once the phase is closed, and only by handlers of the io_context.
  class Owner {
   public:
    virtual void secured(Connection& connection) = 0;
    /// Bytes of the peer are in the machine. Calls rest() where it leaves frames for later.
    virtual void received(Connection& connection) = 0;
    /// Bytes went out.
    virtual void wrote(Connection& connection) = 0;
    virtual void failed(Connection& connection, LinkEnd end, const std::string& reason) = 0;

   protected:
    ~Owner() = default;
  };

  Connection(Tcp::socket socket, TlsIdentity& identity, Owner& owner, const Clock& clock, const LinkTimes& times,
             Random& random, LinkId link, bool dialled);

  /// Dials: the endpoints of the name, one after the other.
  void resolve(const std::string& host, std::uint16_t port);
  void connect(std::vector<Tcp::endpoint> endpoints);
  /// The current endpoint (or the name server) takes too long.
  void give_up_endpoint(LinkEnd end, const std::string& reason);
  /// TCP is there.
  void secure();
  void start_reading();
  /// Nothing more is read, and the owner not called, for `time`: others have the thread. Then the owner goes on with the
  /// frames that are here. Only from inside Owner::received.
  void rest(std::chrono::nanoseconds time);
  /// Writes what the machine has, unless a write is under way: then that one goes on with it.
  void write();
  /// Nothing is called any more; the socket is closed at once.
  void close();

  // What the owner keeps of it.
  const LinkId link;
  const bool dialled;
  std::string address;               ///< dialled, or the peer's, for a person
  std::vector<std::uint8_t> source;  ///< accepted: what limits per address go by
  TlsPeer peer;
  NodeId node;  ///< since Phase::hello
  Hello hello;  ///< the peer's, since Phase::up
  LinkClass kind = LinkClass::refused;
  Phase phase = Phase::connecting;
  Monotonic deadline{};  ///< of the phases before up, of replaced and of closing
  LinkMachine machine;
  bool half_open = false;                     ///< accepted, and counted as not up yet
  bool dirty = false;                         ///< to be written at the end of the turn
  bool was_bulky = false;                     ///< unsent bytes have been above limits::link_bulk_bytes_max
  std::uint64_t bytes_in = 0, bytes_out = 0;  ///< not yet in the owner's statistics

 private:
  void connect_next(LinkEnd end, const std::string& reason);
  void handshake_done(const asio::error_code& error);
  void read();
  void read_done(const asio::error_code& error, std::size_t bytes);
  /// Lets the owner take what is here, then reads on.
  void take();
  void write_done(const asio::error_code& error, std::size_t bytes);

  Owner& owner_;
  const Clock& clock_;
  const LinkTimes& times_;
  asio::ssl::stream<Tcp::socket> stream_;
  std::optional<Tcp::resolver> resolver_;
  std::vector<Tcp::endpoint> endpoints_;  ///< still to be tried, the next one last
  unsigned attempt_ = 0;                  ///< tells handlers of an endpoint that was given up
  bool writing_ = false, shut_ = false, resting_ = false;
  std::optional<asio::steady_timer> rest_;
};

}  // namespace diot
