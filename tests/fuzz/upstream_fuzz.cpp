// An upstream whose other broker says what it likes.
//
// Input: a byte of settings, then steps: u8 what and its arguments.

#include "bridge/upstream.hpp"
#include "tests/bridge/world.hpp"
#include "tests/fuzz/mqtt_peer.hpp"

namespace diot::fuzz {
namespace {

class Wire final : public UpstreamWire {
 public:
  // UpstreamWire
  void send(Bytes& output) override { append(sent, std::exchange(output, {})); }
  std::size_t unsent_bytes() const override { return unsent; }
  void set_reading(bool) override {}
  void close() override { closing = true; }

  Bytes sent;
  std::size_t unsent = 0;
  bool up = false, closing = false;
};

enum Step : std::uint8_t { remote, remote_more, dial, cut, local, time, stick, turn, step_count };
constexpr const char* protocol_settings[] = {"auto", "5", "3.1.1"};
constexpr std::size_t steps_max = 200;

}  // namespace

void upstream(ByteView input) {
  Input in(input);
  const auto settings = in.u8();
  World world;
  Wire wire;
  UpstreamConfig config;
  config.name = "hub";
  config.address = "hub.example:1883";
  config.protocol = protocol_settings[settings % 3];
  config.topics = {"sensors/# both 2", "cmd/+ in 1 hub/ orders/"};
  std::vector<UpstreamTopic> topics;
  for (const auto& text : config.topics) topics.push_back(parse_upstream_topic(text).value());
  Upstream upstream(config, topics, to_bytes("secret"), "home", *world.broker, wire, world.clock);
  upstream.prepare();
  world.run();
  TestClient here(world, Protocol::mqtt_5);
  here.connect("here");
  here.subscribe("#", 2);

  std::optional<Protocol> protocol;
  const auto settle = [&] {
    world.run();
    require_packets(wire.sent, protocol.value_or(Protocol::mqtt_5), [&](const RawPacket& packet) {
      if (packet.type == PacketType::connect) protocol = decode_connect(packet)->protocol;
    });
    if (std::exchange(wire.closing, false) && std::exchange(wire.up, false)) upstream.lost("closed");
    here.take();
  };
  std::uint16_t packet_id = 0;
  for (std::size_t steps = 0; !in.empty() && steps < steps_max; ++steps) {
    switch (static_cast<Step>(in.u8() % step_count)) {
      case remote:
      case remote_more: {
        const auto bytes = in.take(in.u8());
        if (wire.up) upstream.received(bytes);
        break;
      }
      case dial:
        if (wire.up) break;
        wire.up = true;
        wire.sent.clear();
        upstream.connected();
        // The version that it speaks is in its CONNECT, which is the first packet.
        if (const auto packet = next_packet(wire.sent, varint_max, v3); packet && *packet)
          if (const auto connect = decode_connect(**packet)) protocol = connect->protocol;
        break;
      case cut:
        if (std::exchange(wire.up, false)) upstream.lost("cut");
        break;
      case local:
        here.publish("sensors/a", "1", in.u8() % 3, ++packet_id ? packet_id : ++packet_id);
        here.pubrel(packet_id);
        break;
      case time:
        world.pass(std::chrono::milliseconds(500) * (1u << in.u8() % 10));
        upstream.tick();
        break;
      case stick:
        wire.unsent = wire.unsent ? 0 : 1 << 20;
        if (wire.up && !wire.unsent) upstream.writable();
        break;
      case turn:
      case step_count: break;
    }
    settle();
  }
}

Seeds upstream_seeds() {
  Seeds out;
  for (std::uint8_t settings = 0; settings < 3; ++settings) {
    const auto protocol = settings == 2 ? Protocol::mqtt_3_1_1 : Protocol::mqtt_5;
    Bytes script{settings, dial};
    const auto say = [&](auto encode, const auto&... arguments) {
      Bytes bytes;
      encode(bytes, arguments...);
      script.push_back(remote);
      script.push_back(static_cast<std::uint8_t>(bytes.size()));
      append(script, bytes);
    };
    Connack connack;
    connack.session_present = true;
    say(encode_connack, protocol, connack);
    say(encode_subscribe_answer, protocol, PacketType::suback, SubscribeAnswer{1, {Reason::success, Reason::success}});
    const Bytes payload = to_bytes("on");
    PublishOut publish;
    publish.topic = "orders/cmd/on";
    publish.payload = payload;
    publish.qos = Qos::exactly_once;
    publish.packet_id = 5;
    say(encode_publish, protocol, publish);
    say(encode_acknowledgement, protocol, PacketType::pubrel, PacketId{5}, Reason::success, "");
    append(script, Bytes{local, 2});
    say(encode_acknowledgement, protocol, PacketType::pubrec, PacketId{1}, Reason::success, "");
    say(encode_acknowledgement, protocol, PacketType::pubcomp, PacketId{1}, Reason::success, "");
    append(script, Bytes{local, 1, time, 3, stick, local, 0, stick});
    say(encode_ping, PacketType::pingresp);
    say(encode_disconnect, protocol, Disconnect{});
    append(script, Bytes{cut, time, 4, dial});
    connack = {};
    connack.reason = Reason::unsupported_protocol_version;
    say(encode_connack, protocol, connack);
    append(script, Bytes{cut, time, 4, dial});
    out.push_back(script);
  }
  return out;
}

}  // namespace diot::fuzz
