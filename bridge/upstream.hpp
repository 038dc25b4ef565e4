#pragma once
// A classic bridge to another MQTT broker, with no socket. To the broker here it is a client with a persistent session,
// to the other one too, and it hands packets from one to the other: an acknowledgement passes on when it came, under
// the same packet identifier. So nothing is kept here: what is acknowledged is on disk at one end or at the other, also
// when either end, or this process, starts again; and QoS 2 is exact from end to end.
//
// No loops: MQTT 5.0 subscriptions are No Local at both ends, and user property `diot-origin` names the home that a
// message left, which takes it no more. To a 3.1.1 broker the bridge bit of the protocol level says the same (mosquitto
// and others); one that refuses it is watched, and a topic pattern whose messages come back stops.
//
// On the I/O thread.

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bridge/broker.hpp"
#include "bridge/upstream_config.hpp"
#include "core/clock.hpp"

namespace diot {

/// The way to the other broker. No call leads back into the Upstream before it returns.
class UpstreamWire {
 public:
  virtual ~UpstreamWire() = default;
  /// Takes all bytes and leaves `output` empty.
  virtual void send(Bytes& output) = 0;
  virtual std::size_t unsent_bytes() const = 0;
  virtual void set_reading(bool on) = 0;
  /// Ends the connection. Upstream::lost() follows, later.
  virtual void close() = 0;
};

struct UpstreamStatus {
  bool connected = false;
  std::string protocol;                  ///< of the connection: "5.0", "3.1.1 bridge" or "3.1.1"
  std::string error;                     ///< what ended the last attempt or stopped a pattern; empty: nothing
  std::uint64_t sent = 0, received = 0;  ///< messages
};

class Upstream final : private ClientTransport {
 public:
  /// `topics` are those of the configuration, parsed; `password` may be empty. `origin` names this home for loop
  /// prevention. The references outlive this.
  Upstream(UpstreamConfig config, std::vector<UpstreamTopic> topics, Bytes password, std::string origin, Broker& broker,
           UpstreamWire& wire, const Clock& clock);
  ~Upstream() override;

  /// Makes the session here, so that messages wait for the other broker from now on. Once.
  void prepare();

  // The wire's events.
  void connected();
  void received(ByteView bytes);
  /// What was unsent is out.
  void writable();
  /// The connection is gone, or never came; `why` is for people.
  void lost(std::string_view why);
  /// About every second.
  void tick();

  const UpstreamConfig& config() const { return config_; }
  const UpstreamStatus& status() const { return status_; }
  /// The connection to try next is of this kind: after "no such version" an older one.
  enum class Dialect : std::uint8_t { mqtt_5, bridge_3_1_1, plain_3_1_1 };

 private:
  enum class Phase : std::uint8_t { idle, connecting, connected };

  // ClientTransport: what the broker here says to its client.
  void send(Bytes& output) override;
  std::size_t unsent_bytes() const override { return wire_.unsent_bytes(); }
  void set_reading(bool on) override { wire_.set_reading(on); }
  void close() override;

  Protocol protocol() const { return dialect_ == Dialect::mqtt_5 ? Protocol::mqtt_5 : Protocol::mqtt_3_1_1; }
  void from_remote(const RawPacket& packet);
  void on_connack(const Connack& connack);
  void message_from_remote(const RawPacket& packet);
  void from_local(const RawPacket& packet);
  void message_from_local(const RawPacket& packet);
  void acknowledge(Bytes& to, Protocol protocol, const Publish& publish);
  void open_local(std::uint16_t window, std::uint32_t packet_bytes_max, Qos qos_max);
  void close_local();
  void give_to_local(ByteView packets = {});
  void flush();
  void give_up(std::string why);
  bool is_echo(std::size_t topic, std::string_view name, ByteView payload);

  const UpstreamConfig config_;
  const std::vector<UpstreamTopic> topics_;
  const Bytes password_;
  const std::string origin_;
  Broker& broker_;
  UpstreamWire& wire_;
  const Clock& clock_;

  Phase phase_ = Phase::idle;
  Dialect dialect_;
  UpstreamStatus status_;
  std::optional<ConnectionId> local_;
  Bytes input_;      ///< of the other broker: an incomplete packet
  Bytes to_remote_;  ///< of this call
  Bytes for_local_;  ///< answers to the broker here, which is calling: they go at the next event
  Monotonic last_sent_{}, last_received_{};
  std::string pending_error_;  ///< the connection is being closed because of it

  /// For brokers that may send our own messages back.
  struct Sent {
    std::size_t topic;
    std::size_t hash;
    Monotonic when;
  };
  std::deque<Sent> sent_;
  std::vector<int> echoes_;    ///< by topic
  std::vector<bool> stopped_;  ///< by topic
};

/// Ends the sessions, with what waits in them, of upstreams that are not in the configuration any more. After the
/// broker has loaded its sessions.
void forget_other_upstreams(Broker& broker, const std::vector<std::string>& names);

}  // namespace diot
