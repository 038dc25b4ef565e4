#pragma once
// A client connection of the load generator, without its socket: just enough MQTT 3.1.1 and 5.0 to publish and to
// subscribe at every QoS, and cheap enough never to be what is measured.

#include <cstdint>
#include <string>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot::bench {

enum class Version : std::uint8_t { v311 = 4, v5 = 5 };

/// The variable part of a PUBLISH that one publisher sends again and again to one topic.
class PublishTemplate {
 public:
  PublishTemplate(Version version, std::string_view topic, std::uint8_t qos, bool retain, std::size_t payload_bytes);
  /// Appends one packet; `payload_head` ‖ `payload_rest` must have the size that was announced. `packet_id` is
  /// ignored at QoS 0.
  void append_to(Bytes& out, std::uint16_t packet_id, ByteView payload_head, ByteView payload_rest) const;

 private:
  Bytes head_;  ///< up to and with the topic
  bool v5_;
  bool has_id_;
};

class Client;

/// What a client tells its owner, from inside received(). The owner must not destroy the client there.
class ClientOwner {
 public:
  /// Connected and, if it has filters, subscribed to all of them.
  virtual void ready(Client& client) = 0;
  virtual void message(Client& client, ByteView payload) = 0;
  /// One of its publishes was acknowledged (PUBACK, PUBCOMP or a refusing PUBREC).
  virtual void acknowledged(Client& client, bool accepted) = 0;

 protected:
  ~ClientOwner() = default;
};

class Client {
 public:
  struct Config {
    std::string id;
    Version version = Version::v311;
    std::uint8_t qos = 0;  ///< asked for by its subscriptions, and of its publishes
    bool clean = true;     ///< else a session that outlives the connection
    std::vector<std::string> filters;
    std::size_t tag = 0;  ///< for its owner
  };
  Client(Config config, ClientOwner& owner) : config_(std::move(config)), owner_(&owner) {}

  /// Queues CONNECT. For a new connection of the same client, all that was in flight is forgotten.
  void start();
  /// Takes whole packets and returns how many bytes they were; the rest belongs in front of the next call's bytes.
  Result<std::size_t> received(ByteView bytes);

  /// How many more publishes the packet ids and the server's Receive Maximum allow; unbounded at QoS 0.
  std::size_t room() const { return config_.qos == 0 ? SIZE_MAX : in_flight_max_ - in_flight_; }
  std::size_t in_flight() const { return in_flight_; }
  /// Queues one PUBLISH; room() must not be 0.
  void publish(const PublishTemplate& packet, ByteView payload_head, ByteView payload_rest);
  void ping();
  void disconnect();

  bool is_ready() const { return ready_; }
  /// Seconds of silence that the server allows; 0 = any. Only MQTT 5 servers set one, for we ask for none.
  std::uint16_t keep_alive_s() const { return keep_alive_s_; }
  const Config& config() const { return config_; }
  /// For the next start().
  void set_session(bool clean, std::vector<std::string> filters) {
    config_.clean = clean;
    config_.filters = std::move(filters);
  }

  Bytes out;  ///< to be written; the owner of the socket takes from it

 private:
  enum class IdState : std::uint8_t { unused, publish_sent, release_sent };

  Result<void> packet(std::uint8_t first, ByteView body);
  Result<void> connack(ByteView body);
  Result<void> connack_properties(ByteView properties);
  Result<void> suback(ByteView body);
  Result<void> publish_in(std::uint8_t flags, ByteView body);
  Result<void> answer(std::uint8_t type, ByteView body);
  void subscribe_next();
  void send_ack(std::uint8_t first, std::uint16_t packet_id);

  Config config_;
  ClientOwner* owner_;
  bool connected_ = false;
  bool ready_ = false;
  std::size_t filters_asked_ = 0;
  std::uint16_t keep_alive_s_ = 0;
  std::size_t in_flight_ = 0, in_flight_max_ = 65535;
  std::uint16_t next_id_ = 1;
  std::vector<IdState> ids_;  ///< by packet id; empty until the first publish above QoS 0
};

}  // namespace diot::bench
