#include "bridge/broker.hpp"

#include "core/limits.hpp"

namespace diot {

namespace {
/// Output of one connection that is handed to its transport before the turn's end.
constexpr std::size_t early_flush_bytes = 128 << 10;
/// Output buffers that wait for the next connection that has something to say: so many that fan-out finds them warm.
constexpr std::size_t spare_outputs_max = 64;
/// An input buffer that grew beyond this for a large packet is not kept.
constexpr std::size_t kept_buffer_bytes = 4 << 10;
/// From here on a packet in pieces gets room for the largest.
constexpr std::size_t large_packet_bytes = 64 << 10;
constexpr auto scan_interval = std::chrono::milliseconds(500);
}  // namespace

// Connection -------------------------------------------------------------------------------------------------

bool ClientConnection::has_room() const { return backlog() < limits::output_high_water_bytes; }

bool ClientConnection::send_publish(const Message& message, const PublishOut& how) {
  PublishOut out = how;
  out.topic = message.topic;
  out.payload = message.payload;
  out.properties = &message.properties;
  if (message.properties.expiry_seconds) {
    out.seconds_left = message.seconds_left(host->now());
    // One that was sent before may not be forgotten half-way; what has not been sent yet need not be.
    if (*out.seconds_left == 0 && !how.dup) return host->count_expired(), false;
  }
  std::string* alias = nullptr;
  if (!own_aliases.empty()) {
    // Each topic has one place, and the newest topic there wins: an alias costs no search, and three bytes at worst.
    const std::size_t place = std::hash<std::string>{}(message.topic) % own_aliases.size();
    out.topic_alias = static_cast<std::uint16_t>(place + 1);
    if (own_aliases[place] == message.topic)
      out.topic = {};
    else
      alias = &own_aliases[place];
  }
  if (packet_bytes_max < limits::packet_bytes_max * 2 && publish_bytes(protocol, out) > packet_bytes_max)
    return host->count_dropped(), false;
  const std::size_t before = output.size();
  encode_publish(this->out(), protocol, out);
  if (alias) *alias = message.topic;
  host->count_sent(message, output.size() - before);
  host->wrote(*this);
  return true;
}

void ClientConnection::send_pubrel(PacketId packet_id) {
  encode_acknowledgement(out(), protocol, PacketType::pubrel, packet_id);
  host->wrote(*this);
}

// Broker -----------------------------------------------------------------------------------------------------

Broker::Broker(BrokerConfig config, Store& store, Retained& retained, OverlayPort& overlay,
               Authenticator& authenticator, Turn& turn, const Clock& clock, Random& random)
    : config_(std::move(config)),
      own_names_{config_.own_handle, {}},
      store_(store),
      retained_(retained),
      overlay_(overlay),
      authenticator_(authenticator),
      turn_(turn),
      clock_(clock),
      random_(random),
      notices_(clock),
      started_(clock.monotonic()),
      spool_(store, clock),
      scram_secret_(random.id<Seed>()) {}

Broker::~Broker() = default;

ClientConnection* Broker::find(ConnectionId id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

ConnectionId Broker::open(ClientTransport& transport, Peer peer) {
  const ConnectionId id{next_connection_++};
  auto connection = std::make_unique<ClientConnection>();
  connection->id = id;
  connection->transport = &transport;
  connection->peer = std::move(peer);
  connection->opened = connection->last_received = clock_.monotonic();
  connection->host = this;
  if (paused_) set_reading(*connection, false);
  connections_.emplace(id, std::move(connection));
  ++counts_.sockets;
  return id;
}

void Broker::closed(ConnectionId id) {
  if (ClientConnection* connection = find(id)) detach(*connection, true);
}

void Broker::writable(ConnectionId id) {
  ClientConnection* connection = find(id);
  if (!connection) return;
  if (connection->session) pump(*connection->session);
  resume(*connection);
}

// Input ------------------------------------------------------------------------------------------------------

void Broker::received(ConnectionId id, ByteView bytes) {
  ClientConnection* connection = find(id);
  if (!connection) return;
  connection->last_received = clock_.monotonic();
  counts_.bytes_received += bytes.size();
  if (connection->held || !connection->input.empty()) {
    Bytes& input = connection->input;
    // Growing step by step would copy a large packet several times.
    if (input.size() + bytes.size() > std::max(input.capacity(), large_packet_bytes))
      input.reserve(std::max(limits::packet_bytes_max, 2 * input.capacity()));
    append(input, bytes);
    return process_input(*connection);
  }
  const std::size_t used = process(*connection, bytes);
  if (!connection->closed) append(connection->input, bytes.subspan(used));
}

void Broker::process_input(ClientConnection& connection) {
  if (connection.held || connection.closed) return;
  const std::size_t used = process(connection, connection.input);
  if (connection.closed) return;
  Bytes& input = connection.input;
  input.erase(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(used));
  if (input.empty() && input.capacity() > kept_buffer_bytes) Bytes().swap(input);
}

/// Handles the whole packets at the front of `input`, and returns how many bytes they had.
std::size_t Broker::process(ClientConnection& connection, ByteView input) {
  std::size_t used = 0;
  while (!connection.closed && !connection.held) {
    const auto packet = next_packet(input.subspan(used), limits::packet_bytes_max, connection.protocol);
    if (!packet) {
      kick(connection, packet.error().reason, packet.error().what);
      break;
    }
    if (!*packet) break;
    used += (*packet)->bytes;
    ++counts_.messages_received;
    handle(connection, **packet);
    // A client that asks and asks and never reads the answers.
    if (!connection.closed && connection.backlog() > limits::client_output_bytes_max) hold(connection);
  }
  return used;
}

void Broker::handle(ClientConnection& connection, const RawPacket& packet) {
  if (connection.login && !connection.accepted) {
    // Until its CONNACK a client that authenticates step by step sends nothing else [MQTT-3.1.2-33].
    if (packet.type == PacketType::auth) return on_auth(connection, packet);
    if (packet.type == PacketType::disconnect) return drop_connection(connection, true);
    return refuse_connect(connection, Reason::protocol_error, "only AUTH may come before CONNACK");
  }
  if (!connection.accepted) {
    if (packet.type == PacketType::connect) return on_connect(connection, packet);
    return kick(connection, Reason::protocol_error, "the first packet was not CONNECT");
  }
  switch (packet.type) {
    case PacketType::publish: return on_publish(connection, packet);
    case PacketType::puback:
    case PacketType::pubrec:
    case PacketType::pubrel:
    case PacketType::pubcomp: return on_acknowledgement(connection, packet);
    case PacketType::subscribe: return on_subscribe(connection, packet);
    case PacketType::unsubscribe: return on_unsubscribe(connection, packet);
    case PacketType::pingreq:
      if (!packet.body.empty()) return kick(connection, Reason::malformed_packet, "PINGREQ with a body");
      encode_ping(connection.out(), PacketType::pingresp);
      ++counts_.messages_sent;
      return touch(connection);
    case PacketType::disconnect: return on_disconnect(connection, packet);
    case PacketType::auth: return on_auth(connection, packet);
    case PacketType::connect: return kick(connection, Reason::protocol_error, "a second CONNECT");
    default: return kick(connection, Reason::protocol_error, "a packet that only a server sends");
  }
}

// Output -----------------------------------------------------------------------------------------------------

/// Sends an answer when its transaction is on disk, and never before those that were given earlier: acknowledgements go
/// out in the order of the packets (section 4.6).
void Broker::answer(ClientConnection& connection, PendingAnswer answer) {
  if (connection.pending.empty() && answer.ticket <= store_.durable_ticket()) return write_answer(connection, answer);
  if (connection.pending.empty()) waiting_connections_.push_back(connection.id);
  connection.pending.push_back(std::move(answer));
  if (connection.pending.size() >= limits::pending_answers_max) hold(connection);
  when_durable();
}

void Broker::write_answer(ClientConnection& connection, const PendingAnswer& answer) {
  if (!answer.packet.empty()) {
    connection.greeted = true;  // the first of them is the CONNACK
    return send_packet(connection, answer.packet);
  }
  // The text goes only where it is wanted and fits [MQTT-3.1.2-32] [MQTT-3.4.2-2].
  constexpr std::size_t other_bytes = 16;
  const bool tell = connection.wants_texts && answer.why.size() + other_bytes <= connection.packet_bytes_max;
  encode_acknowledgement(connection.out(), connection.protocol, answer.type, answer.packet_id, answer.reason,
                         tell ? answer.why : std::string_view());
  ++counts_.messages_sent;
  touch(connection);
}

void Broker::release_answers(ClientConnection& connection) {
  const bool was_greeted = connection.greeted;
  const Ticket durable = store_.durable_ticket();
  while (!connection.pending.empty() && connection.pending.front().ticket <= durable) {
    const PendingAnswer answer = std::move(connection.pending.front());
    connection.pending.pop_front();
    write_answer(connection, answer);
    if (connection.closed) return;
  }
  if (!connection.pending.empty()) waiting_connections_.push_back(connection.id);
  if (!was_greeted && connection.greeted && connection.session) pump(*connection.session);
  resume(connection);
}

/// What comes in waits: for the CONNACK, because too many answers wait for the disk or for the client to read them, or
/// because the client is not heard any more until its end.
void Broker::hold(ClientConnection& connection) {
  connection.held = true;
  set_reading(connection, false);
}

void Broker::resume(ClientConnection& connection) {
  if (!connection.held || !connection.greeted || connection.close_at != Monotonic::max() ||
      connection.pending.size() > limits::pending_answers_max / 2 || !connection.has_room())
    return;
  connection.held = false;
  if (!paused_) set_reading(connection, true);
  process_input(connection);
}

/// A packet to a 5.0 client never exceeds the size that it takes (section 3.1.2.11.4).
void Broker::send_packet(ClientConnection& connection, const Bytes& packet) {
  if (packet.size() > connection.packet_bytes_max) return drop_connection(connection, true);
  append(connection.out(), packet);
  ++counts_.messages_sent;
  touch(connection);
}

void Broker::touch(ClientConnection& connection) {
  if (!connection.dirty) {
    connection.dirty = true;
    dirty_.push_back(connection.id);
    turn_.touch();
  }
  if (connection.output.size() >= early_flush_bytes) flush(connection);
}

void Broker::flush(ClientConnection& connection) {
  if (connection.output.empty()) return;
  counts_.bytes_sent += connection.output.size();
  connection.transport->send(connection.output);
  if (spare_outputs_.size() < spare_outputs_max && connection.output.capacity() <= 2 * early_flush_bytes)
    spare_outputs_.push_back(std::move(connection.output));
  Bytes().swap(connection.output);
}

void Broker::lend(Bytes& buffer) {
  if (spare_outputs_.empty()) return;
  buffer.swap(spare_outputs_.back());
  spare_outputs_.pop_back();
}

void Broker::set_reading(ClientConnection& connection, bool on) {
  if (connection.reading == on) return;
  connection.reading = on;
  connection.transport->set_reading(on);
}

void Broker::count_sent(const Message& message, std::size_t) {
  ++counts_.messages_sent;
  ++counts_.publish_sent;
  counts_.publish_bytes_sent += message.payload.size();
}

void Broker::pump(Session& session) {
  if (!session.connection || !session.connection->greeted) return;  // nothing comes before the CONNACK
  const auto state = session.outbox.pump(*session.connection, session.connection->window);
  if (const auto lost = session.outbox.take_lost()) {
    session.lost += lost;
    counts_.queue_lost += lost;
    save_state(session);
  }
  if (state != Outbox::State::waits_for_disk || session.waits_for_disk) return;
  session.waits_for_disk = true;
  waiting_sessions_.push_back(&session);
  when_durable();
}

// Turns ------------------------------------------------------------------------------------------------------

void Broker::when_durable() {
  turn_.touch();
  wants_callback_ = true;
}

void Broker::on_durable() {
  callback_asked_ = false;
  for (const ConnectionId id : std::exchange(waiting_connections_, {}))
    if (ClientConnection* connection = find(id)) release_answers(*connection);
  for (Session* session : std::exchange(waiting_sessions_, {})) {
    session->waits_for_disk = false;
    pump(*session);
  }
  if (!waiting_connections_.empty() || !waiting_sessions_.empty()) when_durable();
  check_pressure();
}

void Broker::end_turn() {
  std::erase_if(forming_, [&](const auto& item) { return item.second.second < store_.open_ticket(); });
  for (Session* session : std::exchange(unsaved_, {})) {
    if (std::exchange(session->unsaved_queue, false)) session->outbox.save();
    if (!std::exchange(session->unsaved_state, false)) continue;
    const SessionRow row{session->number,
                         session->expiry_seconds,
                         session->connection != nullptr,
                         session->incomplete,
                         session->disconnected_at,
                         session->outbox.next_seq(),
                         session->outbox.last_sent(),
                         session->lost,
                         static_cast<std::uint32_t>(session->subscriptions.size()),
                         session->user,
                         session->will ? std::optional(*session->will) : std::nullopt,
                         session->will_number};
    store_.put(Table::session, session_key(session->client_id),
               encode_session_row(row, clock_.monotonic(), clock_.held_ms()));
  }
  spool_.save();
  if (wants_callback_ && !callback_asked_) {
    wants_callback_ = false;
    callback_asked_ = true;
    store_.when_durable([this, alive = std::weak_ptr(alive_)] {
      if (alive.lock()) on_durable();
    });
  }
  for (const ConnectionId id : std::exchange(dirty_, {})) {
    ClientConnection* connection = find(id);
    if (!connection) continue;
    connection->dirty = false;
    flush(*connection);
  }
  gone_.clear();
  check_pressure();
}

/// Too much waits for the disk: clients are not read until half of it is there.
void Broker::check_pressure() {
  disk_refuses_ = store_.trouble().has_value();
  const std::size_t pending = store_.pending_bytes();
  const bool pause = pending > (paused_ ? limits::store_pending_bytes_max / 2 : limits::store_pending_bytes_max);
  if (pause == paused_) return;
  paused_ = pause;
  for (const auto& [id, connection] : connections_)
    if (!connection->held) set_reading(*connection, !paused_);
}

void Broker::tick() {
  const Monotonic now = clock_.monotonic();
  if (now < next_scan_) return;
  next_scan_ = now + scan_interval;
  check_pressure();

  struct Late {
    ConnectionId id;
    Reason reason;
    const char* why;
  };
  std::vector<Late> late;
  for (const auto& [id, connection] : connections_) {
    // One and a half times the keep-alive (section 3.1.2.10); not while we are the ones who do not listen.
    const auto silence = std::chrono::milliseconds(1500) * connection->keep_alive_seconds;
    if (!connection->accepted && now - connection->opened > limits::connect_deadline)
      late.push_back({id, Reason::unspecified_error, "no CONNECT in time"});
    else if (now >= connection->close_at)
      late.push_back({id, Reason::quota_exceeded, "the disk is full"});
    else if (connection->reading && connection->keep_alive_seconds > 0 && now - connection->last_received > silence)
      late.push_back({id, Reason::keep_alive_timeout, "nothing was heard within one and a half keep-alive times"});
    else if (!connection->reading)
      connection->last_received = now;
  }
  for (const Late& one : late)
    if (ClientConnection* connection = find(one.id)) kick(*connection, one.reason, one.why);

  std::vector<Session*> due, expired;
  for (const auto& [client_id, session] : sessions_) {
    if (session->will_due && now >= *session->will_due) due.push_back(session.get());
    if (session->expires_at && now >= *session->expires_at) expired.push_back(session.get());
  }
  for (Session* session : due) publish_will(*session);
  for (Session* session : expired) {
    ++counts_.sessions_expired;
    end_session(*session);
  }

  if (config_.sys_interval.count() > 0 && now >= next_sys_) {
    next_sys_ = now + config_.sys_interval;
    sys_topics_.update(counts(), now,
                       [&](const std::string& topic, const std::string& value) { publish_own(topic, value); });
  }
}

void Broker::permissions_changed() {
  for (const auto& [client_id, session] : sessions_) {
    session->unrestricted = authenticator_.unrestricted({session->user, client_id});
    if (session->will && !may(*session, Access::publish, local_name(session->will->topic, own_names_)))
      overlay_.clear_will(session->will_number);
  }
  std::vector<ClientConnection*> logging_in, outdated;
  for (const auto& [id, connection] : connections_) {
    if (connection->login && !connection->accepted)
      logging_in.push_back(connection.get());
    else if (connection->session && connection->peer.user.empty() &&
             connection->user_version != authenticator_.version_of(connection->session->user))
      outdated.push_back(connection.get());
  }
  for (ClientConnection* connection : logging_in)
    refuse_connect(*connection, Reason::server_busy, "the users have changed meanwhile: try again");
  for (ClientConnection* connection : outdated)
    kick(*connection, Reason::not_authorized, "the user is gone, or has another password now");
}

void Broker::expel(ConnectionId id, std::string_view why) {
  if (ClientConnection* connection = find(id)) kick(*connection, Reason::not_authorized, why);
}

void Broker::stop() {
  stopping_ = true;
  std::vector<ConnectionId> all;
  for (const auto& [id, connection] : connections_) all.push_back(id);
  for (const ConnectionId id : all)
    if (ClientConnection* connection = find(id))
      kick(*connection, Reason::server_shutting_down, "the node is stopping");
}

// For people -------------------------------------------------------------------------------------------------

BrokerCounts Broker::counts() const {
  BrokerCounts counts = counts_;
  counts.sessions = sessions_.size();
  counts.retained = retained_.size();
  for (const auto& [client_id, session] : sessions_) {
    counts.queued += session->outbox.waiting();
    counts.queued_bytes += session->outbox.waiting_bytes();
  }
  counts.disk_refuses = disk_refuses_;
  counts.uptime = std::chrono::duration_cast<std::chrono::seconds>(clock_.monotonic() - started_);
  return counts;
}

std::vector<SessionStatus> Broker::sessions() const {
  std::vector<SessionStatus> out;
  const Monotonic now = clock_.monotonic();
  for (const auto& [client_id, session] : sessions_) {
    SessionStatus& status = out.emplace_back();
    status.client_id = client_id;
    status.user = session->user;
    status.persistent = session->stored;
    status.subscriptions = session->subscriptions.size();
    status.queued = session->outbox.waiting();
    status.in_flight = session->outbox.in_flight();
    status.lost = session->lost;
    const ClientConnection* connection = session->connection;
    if (!connection) continue;
    status.connected = true;
    status.peer = connection->peer.address;
    status.protocol_level = static_cast<int>(connection->protocol);
    status.keep_alive_seconds = connection->keep_alive_seconds;
    status.unsent_bytes = connection->backlog();
    status.since = std::chrono::duration_cast<std::chrono::seconds>(now - connection->opened);
  }
  std::ranges::sort(out, {}, &SessionStatus::client_id);
  return out;
}

void Broker::subscriptions(const std::function<void(const std::string&, bool)>& visit) const {
  for (const auto& [client_id, session] : sessions_)
    for (const auto& [filter, subscription] : session->subscriptions) visit(filter, session->connection != nullptr);
}

}  // namespace diot
