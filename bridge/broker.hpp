#pragma once
// The MQTT broker of one node, with no socket and no thread: bytes of clients and messages of the overlay come in,
// bytes and messages go out. MQTT 3.1, 3.1.1 and 5.0.
//
// Everything that one turn of the I/O loop changes is in one transaction of the store, and an answer that promises
// something on disk leaves when that transaction is there. So per turn: received() … deliver() … then the overlay's
// end_turn(), this one's end_turn(), Store::seal(). All calls on the I/O thread.
//
// Who may connect and what a client may do is the Authenticator's to say (bridge/authenticator.hpp).

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "bridge/authenticator.hpp"
#include "bridge/client_connection.hpp"
#include "bridge/notices.hpp"
#include "bridge/packet.hpp"
#include "bridge/session.hpp"
#include "bridge/spool.hpp"
#include "bridge/subscriber_group.hpp"
#include "bridge/sys_topics.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/filter_trie.hpp"
#include "core/limits.hpp"
#include "core/ports.hpp"
#include "core/retained.hpp"
#include "core/store.hpp"
#include "core/topic.hpp"

namespace diot {

struct BrokerConfig {
  std::string own_handle;                 ///< "@own/x" is the topic "x" here
  std::chrono::seconds sys_interval{10};  ///< between two publications of $SYS; 0 = none
  /// The most that a 5.0 client gets (Server Keep Alive); older ones cannot be told, and keep their own. 65,535: no bound.
  std::uint16_t keep_alive_seconds_max = 65'535;
  /// Clients are sent to that broker and not served here (Server Reference, section 4.11); empty: they are served.
  std::string server_reference{};
  bool server_moved = false;  ///< for ever: 0x9D, not 0x9C
};

/// One session, for people to look at.
struct SessionStatus {
  std::string client_id;
  std::string user;  ///< empty: anonymous
  bool connected = false;
  bool persistent = false;
  std::string peer;  ///< connected only, as the four that follow
  int protocol_level = 0;
  std::uint16_t keep_alive_seconds = 0;
  std::size_t unsent_bytes = 0;
  std::chrono::seconds since{};
  std::size_t subscriptions = 0;
  std::size_t queued = 0;  ///< messages not acknowledged, those in flight included
  std::size_t in_flight = 0;
  std::uint64_t lost = 0;  ///< given up at the queue's bound, not yet told to the client
};

class Broker final : public BrokerPort, private ClientConnection::Host {
 public:
  Broker(BrokerConfig config, Store& store, Retained& retained, OverlayPort& overlay, Authenticator& authenticator,
         Turn& turn, const Clock& clock, Random& random);
  ~Broker() override;

  /// Reads sessions and queues, and tells the overlay what they demand. Once, after Retained::load, before anything
  /// else.
  Result<void> load();
  /// "@name/x" is the topic "x" here. Until it is called, BrokerConfig::own_handle is all that the home is known by.
  void set_own_names(OwnNames names) { own_names_ = std::move(names); }

  // Connections ------------------------------------------------------------------------------------------------
  /// A client's connection. `transport` outlives it: until it calls closed(), or close() was called.
  ConnectionId open(ClientTransport& transport, Peer peer);
  /// Bytes from the client, in order. They are not kept.
  void received(ConnectionId id, ByteView bytes);
  /// The connection is gone, without the broker's doing.
  void closed(ConnectionId id);
  /// Its transport's unsent bytes have gone out.
  void writable(ConnectionId id);
  /// limits::clients_max are connected: a listener refuses more.
  bool full() const { return connections_.size() >= limits::clients_max; }

  /// The authenticator's rules have changed. Each message is judged anew; connections and subscriptions stay, but for
  /// users that are gone or have another password now: they are disconnected.
  void permissions_changed();
  /// A listener does not admit this one any more: a 5.0 client is told why.
  void expel(ConnectionId id, std::string_view why);
  /// A value of the node's own under `$SYS`: told when it changes, and to whoever subscribes later.
  void publish_notification(const std::string& topic, const std::string& value);

  // BrokerPort
  void deliver(const MessagePtr& message, Origin origin) override;
  void deliver_retained(const MessagePtr& message) override;

  // Time -------------------------------------------------------------------------------------------------------
  /// Deadlines, expiry, wills, $SYS. A few times a second.
  void tick();
  /// After the overlay's, before Store::seal().
  void end_turn();
  /// Tells every client that the node stops, and closes. Wills are published. The program then ends its turn, waits for
  /// the store and closes.
  void stop();

  // For people -------------------------------------------------------------------------------------------------
  BrokerCounts counts() const;
  std::vector<SessionStatus> sessions() const;
  /// Calls visit(filter, connected) for every subscription, as the client gave it.
  void subscriptions(const std::function<void(const std::string& filter, bool connected)>& visit) const;

 private:
  struct Outcome {
    Reason reason = Reason::success;
    Ticket ticket = 0;       ///< the acknowledgement waits for it
    std::string_view why{};  ///< with a failure; static text
  };
  /// One session that a message goes to. Overlapping subscriptions of a session are one: its highest QoS, all
  /// identifiers.
  struct Match {
    Session* session = nullptr;
    Qos qos = Qos::at_most_once;
    bool retain_as_published = false;
    std::vector<std::uint32_t> subscription_ids;
  };

  // broker.cpp: bytes to packets, turns, time
  void process_input(ClientConnection& connection);
  std::size_t process(ClientConnection& connection, ByteView input);
  void handle(ClientConnection& connection, const RawPacket& packet);
  void answer(ClientConnection& connection, PendingAnswer answer);
  void write_answer(ClientConnection& connection, const PendingAnswer& answer);
  void release_answers(ClientConnection& connection);
  void hold(ClientConnection& connection);
  void resume(ClientConnection& connection);
  void send_packet(ClientConnection& connection, const Bytes& packet);
  void touch(ClientConnection& connection);
  void flush(ClientConnection& connection);
  void set_reading(ClientConnection& connection, bool on);
  void when_durable();
  void on_durable();
  void pump(Session& session);
  void check_pressure();
  ClientConnection* find(ConnectionId id);

  // broker_connect.cpp: sessions begin and end
  void on_connect(ClientConnection& connection, const RawPacket& packet);
  void accept_connect(ClientConnection& connection, Connect connect, std::string user, Bytes last_proof = {});
  /// `who` it said it is, for the log.
  void refuse_connect(ClientConnection& connection, Reason reason, std::string_view why, std::string_view who = {});
  Session* find_session(std::string_view client_id);
  Session* begin_session(const Connect& connect, const std::string& client_id, bool& present, bool& wiped);
  Session* renew_session(Session& old, std::uint32_t expiry_seconds);
  void on_disconnect(ClientConnection& connection, const RawPacket& packet);
  /// Ends the connection for a violation, telling a 5.0 client why.
  void kick(ClientConnection& connection, Reason reason, std::string_view why);
  /// Takes the connection away from the broker. `keep_will` false: the client said goodbye.
  void detach(ClientConnection& connection, bool keep_will);
  void drop_connection(ClientConnection& connection, bool keep_will);
  void publish_will(Session& session);
  /// It is not to be published any more.
  void forget_will(Session& session);
  /// Tells the overlay of the session's will, if it has one that may be published.
  void announce_will(Session& session);
  void end_session(Session& session);
  void save_state(Session& session);

  // broker_login.cpp: who is it?
  void log_in(ClientConnection& connection, Connect connect);
  void on_verdict(ClientConnection& connection, Authenticator::Verdict verdict);
  void on_auth(ClientConnection& connection, const RawPacket& packet);
  void begin_scram(ClientConnection& connection, const std::optional<Bytes>& client_first);
  void take_client_first(ClientConnection& connection, ByteView client_first);
  void take_client_final(ClientConnection& connection, ByteView client_final);
  void refuse_login(ClientConnection& connection, Reason reason, std::string_view why, std::string_view who = {});
  void send_auth(ClientConnection& connection, Reason reason, Bytes data);
  bool may(const Session& session, Access access, std::string_view topic) const;

  // broker_publish.cpp: messages
  void on_publish(ClientConnection& connection, const RawPacket& packet);
  void on_acknowledgement(ClientConnection& connection, const RawPacket& packet);
  enum class Kind { message, will };
  Outcome publish(MessagePtr message, const Session* from, Kind kind = Kind::message);
  void keep_retained(const MessagePtr& message);
  /// Fills matches_ and chosen_ with where a message of that topic and QoS goes.
  void match(std::string_view topic, Qos qos, const Session* from);
  Match* match_of(const Subscription& subscription, std::string_view topic);
  SubscriberGroup::Rank rank_of(const Subscription& member, std::string_view topic, Qos qos) const;
  void deliver_to_member(const Subscription& member, const MessagePtr& message, SpoolPlace& place, Ticket ticket);
  void deliver_to_matches(const MessagePtr& message, Ticket ticket, bool as_retained);
  void deliver_to(Session& session, const MessagePtr& message, SpoolPlace& place, const Delivery& delivery);
  /// A $SYS topic: to those who listen, kept by sys_topics_.
  void publish_own(std::string_view topic, std::string_view payload);

  // broker_subscribe.cpp
  void on_subscribe(ClientConnection& connection, const RawPacket& packet);
  void on_unsubscribe(ClientConnection& connection, const RawPacket& packet);
  Reason subscribe(Session& session, std::string_view filter, const SubscribeOptions& options, std::uint32_t id,
                   bool& is_new);
  Subscription& add_subscription(Session& session, std::string_view given, const SubscribeOptions& options,
                                 std::uint32_t id);
  void remove_subscription(Session& session, Subscription& subscription);
  void join_group(Subscription& subscription, std::string_view name);
  void leave_group(Subscription& subscription);
  /// What a session that is away (`ends`: for ever) has of shared subscriptions goes to others of their groups.
  void hand_over(Session& session, bool ends);
  void replay(Session& session, const Subscription& subscription);

  // broker_load.cpp
  Session& restore_session(const std::string& client_id, const SessionRow& row);

  // ClientConnection::Host
  void wrote(ClientConnection& connection) override { touch(connection); }
  void lend(Bytes& buffer) override;
  void count_sent(const Message& message, std::size_t bytes) override;
  void count_dropped() override { ++counts_.publish_dropped; }
  void count_expired() override { ++counts_.expired; }
  Monotonic now() const override { return clock_.monotonic(); }

  const BrokerConfig config_;
  OwnNames own_names_;
  Store& store_;
  Retained& retained_;
  OverlayPort& overlay_;
  Authenticator& authenticator_;
  Turn& turn_;
  const Clock& clock_;
  Random& random_;
  Notices notices_;
  const Monotonic started_;

  Spool spool_;
  std::unordered_map<std::string_view, std::unique_ptr<Session>> sessions_;  ///< by their own client_id
  FilterTrie<Subscription*> trie_;
  std::map<std::string, std::unique_ptr<SubscriberGroup>, std::less<>> groups_;  ///< by name ‖ "/" ‖ filter
  std::unordered_map<ConnectionId, std::unique_ptr<ClientConnection>> connections_;
  std::uint64_t next_connection_ = 1;

  // Of this turn.
  std::vector<ConnectionId> dirty_;
  std::vector<std::unique_ptr<ClientConnection>> gone_;
  std::vector<Bytes> spare_outputs_;
  std::vector<Session*> unsaved_;

  // Waiting for the disk.
  std::vector<ConnectionId> waiting_connections_;
  std::vector<Session*> waiting_sessions_;
  bool wants_callback_ = false, callback_asked_ = false;
  bool paused_ = false;        ///< no client is read: too much waits for the disk
  bool disk_refuses_ = false;  ///< durable publishes are refused
  bool stopping_ = false;

  /// Retained values of shared topics become values (with their proof) when the overlay forms its batch; until then,
  /// who subscribes gets them from here. With the transaction that they belong to.
  std::map<std::string, std::pair<MessagePtr, Ticket>, std::less<>> forming_;

  std::vector<Match> matches_;  ///< of the message being routed; the first match_count_ are in use
  std::size_t match_count_ = 0;
  std::uint64_t match_serial_ = 0;
  std::vector<Subscription*> chosen_;  ///< of the groups that the message goes to
  Bytes encoded_[2][2];                ///< the same for every QoS 0 receiver: by protocol and RETAIN

  SysTopics sys_topics_;
  BrokerCounts counts_;
  Monotonic next_scan_{}, next_sys_{};
  Seed scram_secret_;  ///< makes the salts of users that do not exist
  /// Callbacks of the store may outlive this.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace diot
