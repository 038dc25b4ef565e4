// The broker with three clients that send what they like, time that passes, connections and processes that die.
//
// Input: a byte of settings, then steps: u8 what (low two bits: which client) and its arguments.

#include <functional>

#include "tests/bridge/world.hpp"
#include "tests/fuzz/mqtt_peer.hpp"

namespace diot::fuzz {
namespace {

class Client final : public ClientTransport {
 public:
  explicit Client(World& world) : world_(world) {}

  void send_raw(ByteView bytes) {
    if (!open_) connect();
    // The version that the broker answers in is that of the first packet.
    if (!protocol_ && first_.size() < 1024) {
      append(first_, bytes);
      if (const auto packet = next_packet(first_, limits::packet_bytes_max, v3);
          packet && *packet && (*packet)->type == PacketType::connect)
        protocol_ = protocol_claim(**packet).protocol();
    }
    world_.broker->received(id_, bytes);
  }
  void lose() {
    if (open_) world_.broker->closed(id_);
    open_ = false;
  }
  /// The process on the other side is gone.
  void forget() { open_ = false; }
  void toggle_stuck() {
    stuck_ = !stuck_;
    if (stuck_ || !open_) return;
    unsent_ = 0;
    world_.broker->writable(id_);
  }
  void look() {
    if (protocol_) require_packets(received_, *protocol_);
  }

  // ClientTransport
  void send(Bytes& output) override {
    require(open_, "nothing is sent on a connection that is gone");
    append(received_, output);
    if (stuck_) unsent_ += output.size();
    output.clear();
  }
  std::size_t unsent_bytes() const override { return unsent_; }
  void set_reading(bool) override {}
  void close() override {
    require(open_, "a connection is closed once");
    open_ = false;
  }

 private:
  void connect() {
    open_ = true;
    stuck_ = false;
    unsent_ = 0;
    received_.clear();
    first_.clear();
    protocol_.reset();
    id_ = world_.broker->open(*this, Peer{"192.0.2.1:1", {}, true});
  }

  World& world_;
  ConnectionId id_{};
  Bytes received_, first_;
  std::optional<Protocol> protocol_;
  std::size_t unsent_ = 0;
  bool open_ = false, stuck_ = false;
};

enum Step : std::uint8_t { send, send_more, turn, lose, stick, time, crash, disk, step_count };
constexpr std::size_t steps_max = 200;

}  // namespace

void broker(ByteView input) {
  Input in(input);
  const auto settings = in.u8();
  World world;
  if (settings & 1) world.overlay->shared = {"shared/#"};
  if (settings & 2) world.authenticator.passwords = {{"u", "p"}};
  if (settings & 4)
    world.authenticator.rule = [](const Principal&, Access access, std::string_view topic) {
      return access == Access::read || !topic.starts_with("no");
    };
  Client clients[] = {Client(world), Client(world), Client(world)};
  bool held = false;
  for (std::size_t steps = 0; !in.empty() && steps < steps_max; ++steps) {
    const auto what = in.u8();
    auto& client = clients[(what & 3) % std::size(clients)];
    switch (static_cast<Step>((what >> 2) % step_count)) {
      case send: client.send_raw(in.take(in.u8())); break;
      case send_more: client.send_raw(in.take(in.u16())); break;
      case turn: world.run(); break;
      case lose: client.lose(); break;
      case stick: client.toggle_stuck(); break;
      case time: world.pass(std::chrono::milliseconds(100) * (1u << in.u8() % 20)); break;
      case crash:
        world.crash();
        for (auto& each : clients) each.forget();
        held = false;
        break;
      case disk:
        held = !held;
        held ? world.store->hold() : world.store->release();
        break;
      case step_count: break;
    }
    for (auto& each : clients) each.look();
  }
  if (held) world.store->release();
  world.run();
  for (auto& each : clients) each.look();
  world.broker->sessions();
  world.crash();  // what is on disk can be read again
  for (auto& each : clients) each.forget();
}

Seeds broker_seeds() {
  Seeds out;
  for (auto protocol : {Protocol::mqtt_5, Protocol::mqtt_3_1_1, Protocol::mqtt_3_1}) {
    for (std::uint8_t settings = 0; settings < 8; ++settings) {
      const bool v5 = protocol == Protocol::mqtt_5;
      Bytes script{settings};
      const auto step = [&](Step what, int client) { script.push_back(static_cast<std::uint8_t>(what << 2 | client)); };
      const auto packet = [&](int client, auto encode, const auto&... arguments) {
        Bytes bytes;
        encode(bytes, arguments...);
        step(send, client);
        script.push_back(static_cast<std::uint8_t>(bytes.size()));
        append(script, bytes);
      };
      const auto connect = [&](int client, bool persistent) {
        Connect wanted;
        wanted.protocol = protocol;
        wanted.client_id = std::string(1, static_cast<char>('a' + client));
        wanted.clean_start = !persistent;
        if (v5 && persistent) wanted.session_expiry_seconds = 1000;
        wanted.topic_alias_maximum = v5 ? 5 : 0;
        wanted.will = Will{"shared/will", to_bytes("gone"), Qos::at_least_once, true, {}, v5 ? 1u : 0u};
        if (settings & 2) wanted.user_name = "u", wanted.password = to_bytes("p");
        packet(client, encode_connect, wanted);
      };
      const auto subscribe = [&](int client, std::string_view filter, Qos qos) {
        packet(client, encode_subscribe, protocol, Subscribe{1, v5 ? 3u : 0u, {{filter, {qos, false, false, {}}}}});
      };
      const auto publish = [&](int client, std::string_view topic, Qos qos, bool retain) {
        const Bytes payload = to_bytes("21.5");
        PublishOut sent;
        sent.topic = topic;
        sent.payload = payload;
        sent.qos = qos;
        sent.packet_id = qos == Qos::at_most_once ? 0 : 9;
        sent.retain = retain;
        packet(client, encode_publish, protocol, sent);
      };
      connect(0, true);
      connect(1, false);
      subscribe(0, "#", Qos::exactly_once);
      subscribe(1, v5 ? "$share/group/shared/+" : "shared/+", Qos::at_least_once);
      step(turn, 0);
      publish(1, "shared/a", Qos::exactly_once, true);
      step(turn, 0);
      packet(1, encode_acknowledgement, protocol, PacketType::pubrel, PacketId{9}, Reason::success, "");
      publish(0, "b", Qos::at_least_once, false);
      step(turn, 0);
      packet(0, encode_acknowledgement, protocol, PacketType::pubrec, PacketId{1}, Reason::success, "");
      packet(0, encode_acknowledgement, protocol, PacketType::pubcomp, PacketId{1}, Reason::success, "");
      packet(1, encode_acknowledgement, protocol, PacketType::puback, PacketId{1}, Reason::success, "");
      step(lose, 0);
      publish(1, "c", Qos::at_least_once, false);
      step(time, 0);
      script.push_back(8);
      step(crash, 0);
      connect(0, true);
      step(turn, 0);
      step(disk, 0);
      publish(0, "d", Qos::at_most_once, true);
      packet(0, encode_unsubscribe, protocol, Unsubscribe{4, {"#"}});
      step(stick, 0);
      step(turn, 0);
      packet(0, encode_ping, PacketType::pingreq);
      packet(0, encode_disconnect, protocol, Disconnect{});
      out.push_back(script);
    }
  }
  Bytes login{2};
  Bytes bytes;
  Connect connect;
  connect.client_id = "s";
  connect.authentication_method = "SCRAM-SHA-256";
  connect.authentication_data = to_bytes("n,,n=u,r=nonce");
  encode_connect(bytes, connect);
  login.push_back(send << 2);
  login.push_back(static_cast<std::uint8_t>(bytes.size()));
  append(login, bytes);
  bytes.clear();
  encode_auth(bytes, Auth{Reason::continue_authentication, "SCRAM-SHA-256", to_bytes("c=biws,r=nonce,p=AAAA")});
  login.push_back(send << 2);
  login.push_back(static_cast<std::uint8_t>(bytes.size()));
  append(login, bytes);
  out.push_back(login);
  return out;
}

}  // namespace diot::fuzz
