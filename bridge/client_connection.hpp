#pragma once
// One client's connection as the broker sees it: bytes in, bytes out, and what the two ends agreed on in CONNECT.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bridge/authenticator.hpp"
#include "bridge/outbox.hpp"
#include "bridge/packet.hpp"
#include "bridge/scram.hpp"
#include "core/clock.hpp"
#include "core/fifo.hpp"
#include "core/limits.hpp"

namespace diot {

struct Session;

enum class ConnectionId : std::uint64_t {};

/// What carries a connection's bytes: TCP (bridge/listener.hpp), later TLS, WebSocket, unix sockets. No call leads back
/// into the broker before it returns.
class ClientTransport {
 public:
  virtual ~ClientTransport() = default;
  /// Takes all bytes and leaves `output` empty.
  virtual void send(Bytes& output) = 0;
  /// Bytes taken that the other end's side has not accepted yet. When they fall to nothing, Broker::writable is called.
  virtual std::size_t unsent_bytes() const = 0;
  virtual void set_reading(bool on) = 0;
  /// Closes once what was sent is out, or after a short while. The broker names this connection no more, and the
  /// transport calls no more.
  virtual void close() = 0;
};

/// An answer that must not leave before a transaction is on disk.
struct PendingAnswer {
  Ticket ticket = 0;
  PacketType type{};
  PacketId packet_id = 0;
  Reason reason = Reason::success;
  std::string_view why{};  ///< for a person, with a failure; static text
  Bytes packet{};          ///< if not an acknowledgement: the whole packet
};

/// A CONNECT, or a re-authentication, on its way to a verdict.
struct Login {
  std::shared_ptr<Connect> connect;    ///< nullptr: a re-authentication
  std::unique_ptr<ScramServer> scram;  ///< nullptr: user name and password are being checked
  std::string user;                    ///< whom the exchange is about
  enum class Step : std::uint8_t { first, final } step = Step::first;  ///< which message of the client comes next
  bool unknown = false;  ///< no such user: the exchange goes on, and fails
};

struct ClientConnection final : DeliverySink {
  /// What CONNACK says. Messages of QoS 1 cannot come to it, for with as many answers pending a client is not read; one of
  /// QoS 2 counts until its PUBREL.
  static constexpr std::uint16_t receive_maximum = limits::pending_answers_max;
  ConnectionId id{};
  ClientTransport* transport = nullptr;
  Peer peer;
  Monotonic opened{}, last_received{};

  // From CONNECT.
  Protocol protocol = Protocol::mqtt_3_1_1;
  bool bridge = false;    ///< says so in its protocol level
  bool accepted = false;  ///< its CONNECT was
  bool greeted = false;   ///< its CONNACK was written
  Session* session = nullptr;
  std::uint16_t keep_alive_seconds = 0;
  std::uint16_t window = 0;  ///< the most that may be unacknowledged towards the client
  std::size_t packet_bytes_max = varint_max + 5;
  bool wants_texts = false;           ///< asked for them: Request Problem Information is 1
  bool can_change_expiry = false;     ///< the session's expiry was not 0 at CONNECT
  std::string authentication_method;  ///< empty: user name and password
  std::uint64_t user_version = 0;     ///< Authenticator::version_of at the login
  std::unique_ptr<Login> login;       ///< a verdict is awaited

  Bytes input;   ///< an incomplete packet, or what waits while `held`
  Bytes output;  ///< of this turn; written through out()
  Fifo<PendingAnswer> pending;
  std::uint16_t unreleased = 0;           ///< QoS 2 messages of this connection whose PUBREL has not come
  std::vector<std::string> aliases;       ///< by topic alias − 1, the client's
  std::vector<std::string> own_aliases;   ///< ours: the last topic of each; as many as the client takes
  bool held = false;                      ///< what comes in waits
  Monotonic close_at = Monotonic::max();  ///< the disk refused a durable publish of a client that cannot be told
  bool reading = true;
  bool closed = false;  ///< named no more; the object goes at the turn's end
  bool dirty = false;   ///< has output, or waits to be told

  class Host {
   public:
    virtual ~Host() = default;
    virtual void wrote(ClientConnection& connection) = 0;
    /// Gives an empty buffer, perhaps with room. What is in it after the turn has gone, and so has the buffer.
    virtual void lend(Bytes& buffer) = 0;
    virtual void count_sent(const Message& message, std::size_t bytes) = 0;
    virtual void count_dropped() = 0;
    virtual void count_expired() = 0;
    virtual Monotonic now() const = 0;
  };
  Host* host = nullptr;

  bool is_v5() const { return protocol == Protocol::mqtt_5; }
  /// Where to append what is to be sent. A connection that has nothing to say owns no buffer.
  Bytes& out() {
    if (output.capacity() == 0) host->lend(output);
    return output;
  }
  std::size_t backlog() const { return output.size() + transport->unsent_bytes(); }

  // DeliverySink
  bool has_room() const override;
  bool send_publish(const Message& message, const PublishOut& how) override;
  void send_pubrel(PacketId packet_id) override;
};

}  // namespace diot
