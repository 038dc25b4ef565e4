#pragma once
// An MQTT client as the standard wants it: it keeps what was not acknowledged, sends it again when it is back, and
// remembers the QoS 2 messages that it has taken. Speaks real packets through the broker's own interface.

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "bridge/broker.hpp"
#include "bridge/packet.hpp"
#include "tests/sim/checker.hpp"
#include "tests/sim/home.hpp"

namespace diot::sim {

class Client {
 public:
  struct Profile {
    std::string id;
    Protocol protocol = Protocol::mqtt_5;
    bool persistent = true;
    std::size_t window = 8;  ///< its own publishes that may be unacknowledged
    Time lan_delay = 500us;
    Time thinking_max = 5ms;  ///< before it acknowledges
  };
  struct Filter {
    std::string filter;
    Qos qos = Qos::at_least_once;
    bool granted = false;  ///< SUBACK came in this session
    bool wanted = true;
  };

  Client(World& world, Home& home, Profile profile, std::uint64_t seed);
  Client(const Client&) = delete;

  /// Connects, and again after each loss, from now on.
  void begin();
  /// The connection breaks; `away`: it comes back after that time.
  void lose(Time away);
  /// DISCONNECT, and back after that time.
  void leave(Time away);
  void home_died();

  void publish(MessageIndex message, std::string topic, Qos qos, bool retain, Bytes payload);
  void add_filter(std::string filter, Qos qos);
  /// From now on each CONNECT has a will there.
  void leave_wills_on(std::string topic) { will_topic_ = std::move(topic); }
  /// UNSUBSCRIBE, or SUBSCRIBE again.
  void toggle_filter(std::size_t index);

  const Profile profile;
  const std::vector<Filter>& filters() const { return filters_; }
  Home& home() const { return home_; }
  bool connected() const { return connected_; }
  const std::string& will_topic() const { return will_topic_; }
  /// Nothing of what it published waits for an answer, and all its filters are granted.
  bool idle() const;
  std::string describe() const;
  SubscriberIndex subscriber = 0;

 private:
  /// One connection's two byte streams.
  struct Wire final : ClientTransport, std::enable_shared_from_this<Wire> {
    explicit Wire(Client& owner) : client(owner) {}
    void send(Bytes& output) override;
    std::size_t unsent_bytes() const override { return unsent; }
    void set_reading(bool on) override;
    void close() override;
    void to_broker(Bytes bytes);
    void push();
    bool broker_lives() const;

    Client& client;
    ConnectionId id{};
    std::uint64_t life = 0;
    bool broker_open = true, client_open = true, reading = true;
    bool up_lost = false;  ///< what the client wrote does not arrive any more
    Bytes waiting;         ///< came in while the broker did not read
    std::size_t unsent = 0;
    Time last_up{}, last_down{};
  };
  struct Outgoing {
    MessageIndex message;
    std::string topic;
    Qos qos;
    bool retain;
    Bytes payload;
    PacketId id = 0;
    bool received = false;  ///< PUBREC came
  };

  /// With --verbose.
  template <class... Args>
  void tell(const char* format, const Args&... args);
  void connect();
  void reconnect_after(Time delay);
  void gone(Wire& wire);
  void take(Wire& wire, ByteView bytes);
  void on_packet(const RawPacket& packet);
  void on_connack(const Connack& connack);
  void on_publish(const Publish& publish);
  void on_acknowledgement(PacketType type, const Acknowledgement& acknowledgement);
  void on_suback(const SubscribeAnswer& answer);
  void pump();
  void send_publish(const Outgoing& outgoing, bool dup);
  void subscribe_missing();
  void write(Bytes bytes);
  void write_later(Bytes bytes);
  void acknowledge(PacketType type, PacketId id, bool later = false);
  PacketId free_id();

  World& world_;
  Home& home_;
  Chance chance_;
  std::shared_ptr<Wire> wire_;
  std::vector<std::shared_ptr<Wire>> wires_;  ///< all there were: a broker may still name an old one
  Bytes input_;
  bool begun_ = false, connected_ = false, subscribing_ = false, reconnecting_ = false;
  bool had_session_ = false;  ///< something that makes the session durable was acknowledged
  std::string will_topic_;
  Time away_until_{}, last_answer_{};
  std::uint64_t connection_ = 0;
  PacketId next_id_ = 1;
  std::deque<Outgoing> queue_;
  std::vector<Outgoing> in_flight_;
  std::set<PacketId> taken_;  ///< QoS 2 messages whose PUBREL has not come
  std::vector<Filter> filters_;
  std::vector<std::size_t> asked_;  ///< filters of the SUBSCRIBE under way
  PacketId subscribe_id_ = 0;
};

}  // namespace diot::sim
