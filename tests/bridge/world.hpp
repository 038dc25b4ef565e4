#pragma once
// A broker with everything around it made of memory: clock, disk, overlay, and clients whose packets read as text.

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "bridge/broker.hpp"
#include "core/memory_store.hpp"
#include "core/topic.hpp"

namespace diot {

using Lines = std::vector<std::string>;

constexpr auto v3 = Protocol::mqtt_3_1_1;

/// Bytes from hexadecimal digits; blanks are for the reader.
inline Bytes hex(std::string_view text) {
  std::string digits;
  for (const char c : text)
    if (c != ' ') digits += c;
  return from_hex(digits).value();
}

class TestClock final : public Clock {
 public:
  Monotonic monotonic() const override { return now; }
  WallMs wall_ms() const override { return wall; }
  HeldMs held_ms() const override { return held; }
  void advance(std::chrono::milliseconds by) {
    now += by;
    wall += static_cast<WallMs>(by.count());
    held += static_cast<HeldMs>(by.count());
  }
  Monotonic now{std::chrono::hours(1)};
  WallMs wall = 1'800'000'000'000;
  HeldMs held = wall;
};

class TestRandom final : public Random {
 public:
  void fill(std::span<std::uint8_t> out) override {
    for (auto& byte : out) byte = static_cast<std::uint8_t>(source_());
  }

 private:
  std::mt19937 source_{7};
};

class TestTurn final : public Turn {
 public:
  void touch() override { touched = true; }
  bool touched = false;
};

/// Shares what matches `shared`; other homes' topics may not be written.
class TestOverlay final : public OverlayPort {
 public:
  explicit TestOverlay(Store& store) : store_(store) {}
  Route route_of(std::string_view topic) const override {
    if (topic.starts_with('@')) return Route::not_permitted;
    for (const auto& filter : shared)
      if (matches(filter, topic)) return Route::shared;
    return Route::home;
  }
  Route publish(const MessagePtr& message) override {
    const Route route = route_of(message->topic);
    if (route == Route::shared) open_.push_back(message);
    return route;
  }
  void set_will(std::uint64_t number, const MessagePtr& will, std::uint32_t delay_seconds) override {
    wills[number] = fmt::format("{}={} q{}{} +{}", will->topic, as_text(will->payload), static_cast<int>(will->qos),
                                will->retain ? " retain" : "", delay_seconds);
  }
  void clear_will(std::uint64_t number) override { wills.erase(number); }
  Route publish_will(std::uint64_t number, const MessagePtr& message) override {
    clear_will(number);
    return publish(message);
  }
  void add_demand(std::string_view filter, bool durable) override {
    ++demand[std::string(filter) + (durable ? "!" : "")];
  }
  void remove_demand(std::string_view filter, bool durable) override {
    const auto found = demand.find(std::string(filter) + (durable ? "!" : ""));
    ASSERT_NE(found, demand.end());
    if (--found->second == 0) demand.erase(found);
  }
  /// As the real one: while the disk is busy records gather.
  void end_turn(Retained& retained) {
    if (store_.busy()) return;
    for (const auto& message : std::exchange(open_, {})) {
      if (message->qos != Qos::at_most_once || message->retain) {
        Bytes key;
        ByteWriter(key).u64(++seq);
        store_.put(Table::log, key, message->payload);
      }
      if (message->retain) {
        RetainedValue value;
        if (!message->payload.empty()) value.message = message;
        value.stamp.time = hybrid_from(1'800'000'000'000) + seq;
        value.channel.bytes[0] = 1;
        retained.set(message->topic, std::move(value));
      }
    }
  }

  std::vector<std::string> shared;
  std::map<std::string, int> demand;           ///< filter, with "!" if durable
  std::map<std::uint64_t, std::string> wills;  ///< that other homes know
  std::uint64_t seq = 0;

 private:
  Store& store_;
  std::vector<MessagePtr> open_;
};

/// Everybody may do everything, until a test says otherwise.
class TestAuthenticator final : public Authenticator {
 public:
  void check(const Login& login, std::function<void(Verdict)> done) override {
    Verdict verdict{Reason::success, login.peer.user};
    if (!passwords.empty()) {
      verdict.user = std::string(login.user_name.value_or(""));
      const auto user = passwords.find(verdict.user);
      const bool right = user != passwords.end() && login.password && as_text(*login.password) == user->second;
      if (!right) verdict.reason = Reason::bad_user_name_or_password;
    }
    if (slow)
      waiting.emplace_back([done = std::move(done), verdict] { done(verdict); });
    else
      done(verdict);
  }
  bool offers_scram() const override { return !passwords.empty(); }
  tl::expected<ScramCredentials, Reason> scram_credentials(const Peer&, std::string_view user) override {
    const auto found = passwords.find(user);
    if (found == passwords.end()) return tl::unexpected<Reason>(Reason::bad_user_name_or_password);
    return make_scram_credentials(found->second, as_bytes("salt"), 4096);
  }
  void scram_failed(const Peer&, std::string_view user) override { failed.emplace_back(user); }
  bool may(const Principal& who, Access access, std::string_view topic) override {
    ++asked;
    return !rule || rule(who, access, topic);
  }
  bool unrestricted(const Principal&) override { return !rule; }

  std::map<std::string, std::string, std::less<>> passwords;
  std::function<bool(const Principal&, Access, std::string_view)> rule;
  std::uint64_t version_of(std::string_view user) const override {
    const auto found = passwords.find(user);
    return found == passwords.end() ? 0 : 1 + std::hash<std::string>{}(found->second);
  }

  std::vector<std::string> failed;
  bool slow = false;
  std::vector<std::function<void()>> waiting;
  int asked = 0;
};

/// What a client sees of its home.
struct TestHome {
  virtual ~TestHome() = default;
  /// Turns of the loop until nothing is left to do.
  virtual void run() = 0;

  TestClock clock;
  TestRandom random;
  TestTurn turn;
  TestAuthenticator authenticator;
  std::unique_ptr<Broker> broker;
};

class World : public TestHome {
 public:
  explicit World(MemoryStore::Image image = {}) { start(std::move(image)); }
  ~World() override { broker.reset(); }  // before what it uses

  /// The process dies now, and another one starts with what the disk holds.
  void crash() {
    auto image = store->image();
    shared_ = overlay->shared;
    broker.reset();
    retained.reset();
    overlay.reset();
    store.reset();
    start(std::move(image));
  }

  void run() override {
    while (std::exchange(turn.touched, false)) {
      overlay->end_turn(*retained);
      broker->end_turn();
      store->seal();
    }
  }

  void pass(std::chrono::milliseconds time) {
    run();
    clock.advance(time);
    broker->tick();
    run();
  }

  void deliver(const std::string& topic, const std::string& payload, Qos qos, bool retain = false) {
    const bool logged = qos != Qos::at_most_once || retain;
    broker->deliver(message(topic, payload, qos, retain), logged ? Origin::log : Origin::live);
    Bytes key;
    ByteWriter(key).u64(++cursor_);
    if (logged) store->put(Table::cursor, key, {});
    turn.touch();
  }

  MessagePtr message(const std::string& topic, const std::string& payload, Qos qos, bool retain = false) const {
    auto made = std::make_shared<Message>();
    made->topic = topic;
    made->payload = to_bytes(payload);
    made->qos = qos;
    made->retain = retain;
    made->received = clock.monotonic();
    return made;
  }

  std::size_t rows(Table table) { return store->rows(table).size(); }

  BrokerConfig config{"alice", std::chrono::seconds(0)};  ///< for the next start
  std::unique_ptr<MemoryStore> store;
  std::unique_ptr<TestOverlay> overlay;
  std::unique_ptr<Retained> retained;

 private:
  void start(MemoryStore::Image image) {
    store = std::make_unique<MemoryStore>(std::move(image));
    overlay = std::make_unique<TestOverlay>(*store);
    overlay->shared = shared_;
    retained = std::make_unique<Retained>(*store, clock);
    ASSERT_TRUE(retained->load());
    broker = std::make_unique<Broker>(config, *store, *retained, *overlay, authenticator, turn, clock, random);
    ASSERT_TRUE(broker->load());
    run();
  }

  std::vector<std::string> shared_;
  std::uint64_t cursor_ = 0;
};

/// One client. What it receives is read as one line a packet.
class TestClient final : public ClientTransport {
 public:
  explicit TestClient(TestHome& world, Protocol protocol = Protocol::mqtt_5) : world_(world), protocol_(protocol) {}

  using Change = std::function<void(Connect&)>;
  /// Opens a connection (a new one each time) and sends CONNECT. Without an id the session ends with the connection.
  void connect(const std::string& id, bool persistent = false, const Change& change = {}) {
    open();
    Connect connect;
    connect.protocol = protocol_;
    connect.client_id = id;
    connect.clean_start = !persistent;
    if (persistent && protocol_ == Protocol::mqtt_5) connect.session_expiry_seconds = UINT32_MAX;
    if (change) change(connect);
    Bytes bytes;
    encode_connect(bytes, connect);
    send_raw(bytes);
  }
  void open() {
    closed_ = false;
    received_.clear();
    id_ = world_.broker->open(*this, Peer{"test"});
  }
  void send_raw(const Bytes& bytes) { world_.broker->received(id_, bytes); }
  void send_hex(std::string_view digits) { send_raw(hex(digits)); }
  void auth(Reason reason, const std::string& method, const std::string& data) {
    Bytes bytes;
    encode_auth(bytes, {reason, method, to_bytes(data)});
    send_raw(bytes);
  }

  /// The connection breaks.
  void lose() {
    if (!closed_) world_.broker->closed(id_);
    closed_ = true;
  }
  void disconnect(const Disconnect& disconnect = {}) {
    Bytes bytes;
    encode_disconnect(bytes, protocol_, disconnect);
    send_raw(bytes);
  }

  void publish(const std::string& topic, const std::string& payload, int qos = 0, PacketId id = 0, bool retain = false,
               const Properties* properties = nullptr, bool dup = false) {
    PublishOut out;
    out.topic = topic;
    const Bytes body = to_bytes(payload);
    out.payload = body;
    out.qos = static_cast<Qos>(qos);
    out.packet_id = id;
    out.retain = retain;
    out.dup = dup;
    out.properties = properties;
    if (properties) out.seconds_left = properties->expiry_seconds;
    Bytes bytes;
    encode_publish(bytes, protocol_, out);
    send_raw(bytes);
  }
  void acknowledge(PacketType type, PacketId id, Reason reason = Reason::success) {
    Bytes bytes;
    encode_acknowledgement(bytes, protocol_, type, id, reason);
    send_raw(bytes);
  }
  void puback(PacketId id) { acknowledge(PacketType::puback, id); }
  void pubrec(PacketId id) { acknowledge(PacketType::pubrec, id); }
  void pubrel(PacketId id) { acknowledge(PacketType::pubrel, id); }
  void pubcomp(PacketId id) { acknowledge(PacketType::pubcomp, id); }

  void subscribe(const std::string& filter, int qos = 0, SubscribeOptions options = {}, std::uint32_t id = 0) {
    options.qos = static_cast<Qos>(qos);
    Bytes bytes;
    encode_subscribe(bytes, protocol_, {1, id, {{filter, options}}});
    send_raw(bytes);
  }
  void unsubscribe(const std::string& filter) {
    Bytes bytes;
    encode_unsubscribe(bytes, protocol_, {2, {filter}});
    send_raw(bytes);
  }

  /// The packets since the last call, once the turn is over.
  Lines take() {
    world_.run();
    Lines lines;
    std::size_t at = 0;
    while (const auto packet = *next_packet(ByteView(received_).subspan(at), varint_max)) {
      at += packet->bytes;
      lines.push_back(text_of(*packet));
    }
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(at));
    if (closed_ && !told_) {
      told_ = true;
      lines.push_back("closed");
    }
    return lines;
  }
  /// take() without the acknowledgements of what this client does itself.
  Lines messages() {
    Lines lines = take();
    std::erase_if(lines, [](const std::string& line) { return !line.starts_with("PUBLISH"); });
    return lines;
  }
  bool is_closed() const { return closed_; }
  /// Of the last CONNACK, acknowledgement or DISCONNECT that take() read.
  const std::string& reason_string() const { return reason_string_; }
  bool is_reading() const { return reading_; }

  // ClientTransport
  void send(Bytes& output) override {
    append(received_, output);
    unsent_ += stuck ? output.size() : 0;
    output.clear();
  }
  std::size_t unsent_bytes() const override { return unsent_; }
  void set_reading(bool on) override { reading_ = on; }
  void close() override { closed_ = true, told_ = false; }

  /// Does not read: what is sent to it stays unsent.
  bool stuck = false;
  void unstick() {
    stuck = false;
    unsent_ = 0;
    world_.broker->writable(id_);
  }

 private:
  std::string text_of(const RawPacket& packet) {
    const auto number = [](auto value) { return std::to_string(static_cast<unsigned>(value)); };
    const auto hex = [](Reason reason) {
      return reason == Reason::success ? std::string() : " 0x" + to_hex(Bytes{static_cast<std::uint8_t>(reason)});
    };
    switch (packet.type) {
      case PacketType::connack: {
        const auto connack = decode_connack(packet, protocol_).value();
        std::string text = "CONNACK" + hex(connack.reason);
        reason_string_ = connack.reason_string;
        if (connack.session_present) text += " present";
        if (!connack.authentication_method.empty())
          text += " " + connack.authentication_method + ":" + std::string(as_text(connack.authentication_data));
        if (connack.server_keep_alive_seconds) text += " keep-alive:" + number(*connack.server_keep_alive_seconds);
        if (!connack.server_reference.empty()) text += " reference:" + connack.server_reference;
        if (!connack.response_information.empty()) text += " response:" + connack.response_information;
        for (const auto& [name, value] : connack.user) text += " " + name + "=" + value;
        return text;
      }
      case PacketType::publish: {
        const auto publish = decode_publish(packet, protocol_).value();
        std::string text = "PUBLISH " + std::string(publish.topic) + "=" + std::string(as_text(publish.payload));
        if (publish.topic_alias) text += " alias:" + number(*publish.topic_alias);
        if (publish.qos != Qos::at_most_once) text += " q" + number(publish.qos) + " #" + number(publish.packet_id);
        if (publish.dup) text += " dup";
        if (publish.retain) text += " retain";
        for (auto id : publish.subscription_ids) text += " id:" + number(id);
        if (publish.properties.expiry_seconds) text += " expiry:" + number(*publish.properties.expiry_seconds);
        const Properties& also = publish.properties;
        if (also.payload_format) text += " format:" + number(*also.payload_format);
        if (also.content_type) text += " content:" + *also.content_type;
        if (also.response_topic) text += " response:" + *also.response_topic;
        if (also.correlation_data) text += " correlation:" + to_hex(*also.correlation_data);
        for (const auto& [name, value] : also.user) text += " " + name + "=" + value;
        return text;
      }
      case PacketType::puback:
      case PacketType::pubrec:
      case PacketType::pubrel:
      case PacketType::pubcomp: {
        const auto ack = decode_acknowledgement(packet, protocol_).value();
        static const char* const names[] = {"PUBACK", "PUBREC", "PUBREL", "PUBCOMP"};
        reason_string_ = ack.reason_string;
        return names[static_cast<int>(packet.type) - 4] + std::string(" #") + number(ack.packet_id) + hex(ack.reason);
      }
      case PacketType::suback:
      case PacketType::unsuback: {
        const auto answer = decode_subscribe_answer(packet, protocol_).value();
        std::string text = packet.type == PacketType::suback ? "SUBACK" : "UNSUBACK";
        for (auto reason : answer.reasons) text += " " + to_hex(Bytes{static_cast<std::uint8_t>(reason)});
        return text;
      }
      case PacketType::pingresp: return "PINGRESP";
      case PacketType::auth: {
        const auto auth = decode_auth(packet).value();
        return "AUTH" + hex(auth.reason) + " " + auth.method + ":" + std::string(as_text(auth.data.value_or(Bytes{})));
      }
      case PacketType::disconnect: {
        const auto disconnect = decode_disconnect(packet, protocol_).value();
        reason_string_ = disconnect.reason_string;
        return "DISCONNECT" + hex(disconnect.reason);
      }
      default: return "?";
    }
  }

  TestHome& world_;
  const Protocol protocol_;
  ConnectionId id_{};
  Bytes received_;
  std::string reason_string_;
  std::size_t unsent_ = 0;
  bool closed_ = true, told_ = true, reading_ = true;
};

}  // namespace diot
