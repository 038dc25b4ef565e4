// The only file that sees OpenDHT. It is driven by the rules that were found by tracing (docs/decisions): the raw Dht
// class, no thread, periodic() after every packet, timer and call.

#include "dht/directory_machine.hpp"

#include <fmt/format.h>
#include <opendht/dht.h>
#include <spdlog/spdlog.h>

#include <deque>
#include <map>

#include "core/limits.hpp"
#include "dht/message_check.hpp"
#include "dht/sealed_datagram.hpp"

namespace diot {

using namespace std::chrono_literals;
using Endpoint = DirectoryMachine::Endpoint;

namespace {

/// Value type ids in the DHT, 0x1000 + kind (docs/protocol.md). Never reused.
constexpr dht::ValueType::Id type_of(DirectoryKind kind) {
  return static_cast<dht::ValueType::Id>(0x1000 + static_cast<unsigned>(kind));
}
constexpr DirectoryKind kinds[] = {DirectoryKind::node, DirectoryKind::catalogue};

constexpr auto housekeeping_interval = 500ms;
constexpr std::size_t small_network_max = 16;  // nodes; with more, eight others hold a value and one more is no loss
constexpr unsigned warm_up_buckets = 8;
constexpr std::size_t nodes_asked_after_silence = 4;

/// The first 8 bytes of the signer, so that each signer has one value under a key.
dht::Value::Id value_id_of(const NodeId& signer) {
  ByteReader reader(signer.view());
  const auto id = reader.u64();
  return id == dht::Value::INVALID_ID ? 1 : id;
}

dht::InfoHash key_hash(DirectoryKind kind, ByteView subject, const NetworkId& network) {
  const std::uint8_t kind_byte[] = {static_cast<std::uint8_t>(kind)};
  const auto hash = blake2b({as_bytes("diot/directory/v1"), network, kind_byte, subject});
  return {hash.bytes.data(), HASH_LEN};
}

dht::SockAddr to_library(const Endpoint& endpoint) {
  return {endpoint.data(), static_cast<socklen_t>(endpoint.size())};
}

Endpoint from_library(const sockaddr* address, socklen_t size) {
  Endpoint out;
  if (size > 0 && size <= out.capacity()) {
    std::memcpy(out.data(), address, size);
    out.resize(size);
  }
  return out;
}

}  // namespace

struct DirectoryMachine::Impl : std::enable_shared_from_this<Impl> {
  using Time = Monotonic;

  struct Published {
    DirectoryKind kind;
    dht::InfoHash key;
    Bytes record;
    NodeId signer;
    Time next_put{};
    bool fresh = true;  ///< not put yet since it was published
    DhtTiming::Duration retry;
    std::uint64_t put_number = 0;  ///< of the put under way, so that answers to earlier ones are told apart
  };
  struct Find {
    dht::InfoHash key;
    std::function<void(const DirectoryRecord&)> found;
    std::function<void()> done;
    Time start_by, end_by;
    bool started = false;
    std::size_t values = 0;
    std::map<NodeId, std::uint64_t> newest;  ///< seq told to `found`, by signer
  };

  /// The library's view of our sockets. The library owns and drops it with each rebuild.
  class Socket final : public dht::net::DatagramSocket {
   public:
    explicit Socket(Impl& machine)
        : machine_(machine), v4_(to_library(machine.local_v4_)), v6_(to_library(machine.local_v6_)) {}

    int sendTo(const dht::SockAddr& to, const std::uint8_t* data, std::size_t size, bool) override {
      return machine_.send(from_library(to.get(), to.getLength()), {data, size});
    }
    // True also without such a socket: otherwise the library's listen() gives a token that cannot be cancelled. A family
    // without nodes costs nothing.
    bool hasIPv4() const override { return true; }
    bool hasIPv6() const override { return true; }
    const dht::SockAddr& getBoundRef(sa_family_t family) const override { return family == AF_INET6 ? v6_ : v4_; }
    void stop() override {}

   private:
    Impl& machine_;
    dht::SockAddr v4_, v6_;
  };

  Impl(Outside& outside, const NodeId& node, const NetworkId& network, const DhtKey& key, MaySign may_sign,
       const Clock& clock, Random& random, const DhtTiming& timing)
      : outside_(outside),
        network_(network),
        key_(key),
        may_sign_(std::move(may_sign)),
        clock_(clock),
        random_(random),
        timing_(timing) {
    // New with each process: a node that comes back empty must not pass for the one that others gave their values to.
    const auto instance = random_.id<InstanceId>();
    const auto id = blake2b({as_bytes("diot/dht-node/v1"), network, node, instance});
    id_ = {id.bytes.data(), HASH_LEN};
  }

  // Driving the library -------------------------------------------------------------------------------------------

  /// No exception of the library gets out of here.
  template <class Call>
  void guarded(Call&& call) {
    if (!dht_) return;
    try {
      call(*dht_);
    } catch (const std::exception& error) {
      spdlog::debug("dht: {}", error.what());
    }
  }

  /// One step of the library. `now` passes the library's own next time: at that very time it would never expire a
  /// request (its comparison is strict).
  void step(ByteView packet = {}, const Endpoint* from = nullptr) {
    auto now = clock_.monotonic();
    if (packet.empty() && now >= wake_) now = std::max(now, wake_ + 1ns);
    Time next = now + housekeeping_interval;  // should it throw
    guarded([&](dht::Dht& dht) {
      next = packet.empty() ? dht.periodic(nullptr, 0, dht::SockAddr(), now)
                            : dht.periodic(packet.data(), packet.size(), to_library(*from), now);
    });
    wake_ = next;
    guarded([&](dht::Dht& dht) {
      dht.updateStatus(AF_INET);
      dht.updateStatus(AF_INET6);
    });
  }

  /// To be called after everything that called the library from outside its own callbacks.
  void turn() {
    if (stopped_ || !dht_) return;
    step();
    settle();
  }

  /// What a step brought may call for more calls, and these for a step.
  void settle() {
    for (int left = 4; left > 0 && keep_house(); --left) step();
    arm();
  }

  void arm() {
    const auto now = clock_.monotonic();
    outside_.wake_at(std::min(std::max(wake_, now), now + housekeeping_interval));
  }

  bool has(const Endpoint& family) const { return (family.address().is_v4() ? local_v4_ : local_v6_).port() != 0; }

  int send(const Endpoint& to, ByteView plain) {
    if (!has(to)) return EAFNOSUPPORT;
    if (plain.size() > sealed::plain_bytes_max) return EMSGSIZE;
    seal_datagram(key_, random_, plain, outgoing_);
    return outside_.send(to, outgoing_);
  }

  void receive(ByteView datagram, const Endpoint& from) {
    if (stopped_ || !dht_) return;
    if (!open_datagram(key_, datagram, opened_) || !is_dht_message(opened_)) {
      ++refused_datagrams_;
      return;
    }
    heard_at_ = clock_.monotonic();
    if (outage_) rebuild();
    step(opened_, &from);
    // Whoever asks us first is only dubious to the library, until a reply: with nobody else ask back at once.
    if (!connected_ && heard_at_ >= ask_back_at_) {
      ask_back_at_ = heard_at_ + 1s;
      ping(from);
      step();
    }
    settle();
  }

  // The library's life --------------------------------------------------------------------------------------------

  void open(const Endpoint& v4, const Endpoint& v6) {
    local_v4_ = v4;
    local_v6_ = v6;
    dht_ ? rebuild() : create();
    for (const auto& contact : contacts_) outside_.look_up(contact);
    turn();
  }

  void create() {
    try {
      dht::Config config;
      config.node_id = id_;
      config.max_store_size = limits::dht_store_bytes_max;
      dht_ = std::make_unique<dht::Dht>(std::make_unique<Socket>(*this), config, dht::Sp<dht::Logger>());
      dht_->setStorageLimit(limits::dht_store_bytes_max);
      register_types();
    } catch (const std::exception& error) {
      dht_.reset();
      spdlog::error("dht: cannot start: {}", error.what());
    }
    wake_ = clock_.monotonic();
    connected_ = false;
    outage_ = false;
    lost_at_ = {};
    contact_retry_ = timing_.contact_retry_min;
    next_contacts_ = clock_.monotonic() + contact_retry_;
  }

  /// The library keeps what an outage spoiled: searches with too few nodes, nodes given up. A new object under the same
  /// id, with the nodes known before and the values held for others, starts clean.
  void rebuild() {
    std::vector<dht::ValuesExport> values;
    guarded([&](dht::Dht& dht) { values = dht.exportValues(); });
    ++generation_;  // what the old object calls back from now on is ignored
    dht_.reset();
    create();
    ++rebuilds_;
    spdlog::info("dht: started anew after an outage, {} nodes known", known_.size());
    guarded([&](dht::Dht& dht) {
      dht.importValues(values);
      for (const auto& node : known_) dht.insertNode(node);
    });
    for (const auto& node : known_) ping(node);
    for (auto& [id, find] : finds_) find->started = false;
  }

  void register_types() {
    for (auto kind : kinds) {
      dht_->registerType(dht::ValueType(
          type_of(kind), "diot", timing_.value_life,
          [this](dht::InfoHash key, const std::shared_ptr<dht::Value>& value, const dht::InfoHash&,
                 const dht::SockAddr&) { return accept_store(key, *value, nullptr); },
          [this](dht::InfoHash key, const std::shared_ptr<dht::Value>& old, std::shared_ptr<dht::Value>& value,
                 const dht::InfoHash&, const dht::SockAddr&) { return accept_store(key, *value, old.get()); }));
    }
    // A type that the library does not know would be stored like plain user data.
    dht::ValueType refused(
        0, "refused", timing_.value_life, [this](const auto&...) { return ++refused_values_, false; },
        [this](const auto&...) { return ++refused_values_, false; });
    for (unsigned id = 0; id <= 0xffff; ++id) {
      refused.id = static_cast<dht::ValueType::Id>(id);
      if (std::ranges::none_of(kinds, [&](auto kind) { return type_of(kind) == refused.id; }))
        dht_->registerType(refused);
    }
  }

  // Values --------------------------------------------------------------------------------------------------------

  /// What we hold for others or believe ourselves: a plain value whose record verifies and belongs under this key.
  std::optional<DirectoryRecord> check(const dht::InfoHash& key, const dht::Value& value) {
    if (value.owner || value.recipient || !value.signature.empty() || !value.cypher.empty() || !value.user_type.empty())
      return std::nullopt;
    auto record = decode_directory_record(value.data, network_);
    if (!record || value.type != type_of(record->kind) || value.id != value_id_of(record->signer) ||
        key != key_hash(record->kind, record->subject, network_))
      return std::nullopt;
    if (!may_sign_(record->kind, record->subject, record->signer)) return std::nullopt;
    return std::move(*record);
  }

  /// The library asks before it stores a value that another node puts here, over `old` if there is one of that id.
  bool accept_store(const dht::InfoHash& key, const dht::Value& value, const dht::Value* old) {
    const auto now = clock_.monotonic();
    if (now >= checks_until_) checks_until_ = now + 1s, checks_ = 0;
    std::optional<DirectoryRecord> record;
    if (checks_++ < limits::dht_checks_per_second_max) record = check(key, value);
    if (record && old) {
      const auto held = decode_directory_record(old->data, network_);
      if (held && (held->signer != record->signer || held->seq >= record->seq)) record.reset();
    }
    if (!record) ++refused_values_;
    return record.has_value();
  }

  // Publishing ----------------------------------------------------------------------------------------------------

  void publish(DirectoryKind kind, ByteView subject, Bytes bytes) {
    const auto record = decode_directory_record(bytes, network_);
    if (!record || record->kind != kind || !equal(record->subject, subject)) {
      spdlog::error("dht: own record not published: {}", record ? "wrong kind or subject" : record.error().message);
      return;
    }
    const auto key = key_hash(kind, subject, network_);
    auto found = published_.find(key);
    if (found == published_.end()) {
      if (published_.size() >= limits::dht_published_max) {
        spdlog::error("dht: own record not published: more than {}", limits::dht_published_max);
        return;
      }
      found = published_.emplace(key, Published()).first;
    }
    auto& mine = found->second;
    mine.kind = kind;
    mine.key = key;
    mine.record = std::move(bytes);
    mine.signer = record->signer;
    mine.next_put = {};
    mine.fresh = true;
    mine.retry = timing_.put_retry;
    turn();
  }

  void put(Published& mine, Time now) {
    auto value = std::make_shared<dht::Value>(type_of(mine.kind), mine.record, value_id_of(mine.signer));
    const auto number = ++mine.put_number;
    // The second one soon: some node may not have had the block yet that lets us sign.
    mine.next_put = now + jittered(mine.fresh ? timing_.second_put : timing_.value_life / 2);
    mine.fresh = false;
    dht::DoneCallbackSimple done = [this, key = mine.key, number, generation = generation_](bool stored) {
      if (generation != generation_) return;
      const auto it = published_.find(key);
      if (it == published_.end() || it->second.put_number != number) return;
      auto& own = it->second;
      if (stored) {
        own.retry = timing_.put_retry;
      } else {
        own.next_put = clock_.monotonic() + own.retry;
        own.retry = std::min<DhtTiming::Duration>(own.retry * 2, 60s);
      }
    };
    guarded([&](dht::Dht& dht) { dht.put(mine.key, value, std::move(done)); });
  }

  /// 90 to 100 %, so that what began together does not stay together.
  DhtTiming::Duration jittered(DhtTiming::Duration time) {
    return time - DhtTiming::Duration(random_.u64() % (static_cast<std::uint64_t>(time.count()) / 10 + 1));
  }

  // Looking up ----------------------------------------------------------------------------------------------------

  void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
            std::function<void()> done) {
    auto find = std::make_shared<Find>();
    const auto now = clock_.monotonic();
    find->key = key_hash(kind, subject, network_);
    find->found = std::move(found);
    find->done = std::move(done);
    find->start_by = now + timing_.find_connect_max;
    find->end_by = now + timing_.find_max;
    if (finds_.size() >= limits::dht_finds_max || !dht_) return post_done(std::move(find));
    finds_.emplace(next_find_++, std::move(find));
    turn();
  }

  /// The library may answer before its get() returns, and calls nothing twice after `done`.
  void start(std::uint64_t id, Find& find) {
    find.started = true;
    dht::GetCallback got = [this, id,
                            generation = generation_](const std::vector<std::shared_ptr<dht::Value>>& values) {
      return generation == generation_ && on_values(id, values);
    };
    dht::DoneCallbackSimple done = [this, id, generation = generation_](bool) {
      if (generation == generation_) finish(id);
    };
    guarded([&](dht::Dht& dht) { dht.get(find.key, std::move(got), std::move(done)); });
  }

  /// Whether more is wanted.
  bool on_values(std::uint64_t id, const std::vector<std::shared_ptr<dht::Value>>& values) {
    const auto it = finds_.find(id);
    if (it == finds_.end()) return false;
    auto& find = *it->second;
    for (const auto& value : values) {
      if (++find.values > limits::dht_values_per_find_max) return false;
      auto record = check(find.key, *value);
      if (!record) {
        ++refused_values_;
        continue;
      }
      const auto [told, first] = find.newest.emplace(record->signer, record->seq);
      if (!first && told->second >= record->seq) continue;
      told->second = record->seq;
      outside_.post([weak = weak_from_this(), find = it->second, record = std::move(*record)] {
        if (const auto self = weak.lock(); self && !self->stopped_) find->found(record);
      });
    }
    return true;
  }

  void finish(std::uint64_t id) {
    const auto it = finds_.find(id);
    if (it == finds_.end()) return;
    post_done(std::move(it->second));
    finds_.erase(it);
  }

  void post_done(std::shared_ptr<Find> find) {
    outside_.post([weak = weak_from_this(), find = std::move(find)] {
      if (const auto self = weak.lock(); self && !self->stopped_) find->done();
    });
  }

  // Contacts ------------------------------------------------------------------------------------------------------

  void add_contact(const std::string& address) {
    if (const auto it = std::ranges::find(contacts_, address); it != contacts_.end()) contacts_.erase(it);
    contacts_.push_back(address);
    if (contacts_.size() > limits::dht_contacts_max) contacts_.pop_front();
    if (dht_) outside_.look_up(address);
  }

  void ping(const Endpoint& to) {
    if (to.port() == 0 || to.address().is_unspecified() || to.address().is_multicast()) return;
    if (!has(to)) return;
    guarded([&](dht::Dht& dht) { dht.pingNode(to_library(to)); });
  }

  void ping(const dht::NodeExport& node) {
    ping(from_library(reinterpret_cast<const sockaddr*>(&node.ss), node.sslen));
  }

  void ping_everyone() {
    for (const auto& contact : contacts_) outside_.look_up(contact);
    for (const auto& node : known_) ping(node);
  }

  // From time to time ---------------------------------------------------------------------------------------------

  /// Whether the library was called, so that it needs a step.
  bool keep_house() {
    const auto now = clock_.monotonic();
    const bool was_connected = connected_;
    guarded([&](dht::Dht& dht) { connected_ = dht.getStatus() == dht::NodeStatus::Connected; });
    if (connected_ && !was_connected) {
      lost_at_ = {};
      warm_up_at_ = now + timing_.warm_up_after + jittered(timing_.warm_up_after);
      next_contacts_ = now + timing_.contact_refresh;
      next_nodes_ = now;
      for (auto& [key, mine] : published_) mine.next_put = now;
    } else if (!connected_ && was_connected) {
      lost_at_ = now;
      contact_retry_ = timing_.contact_retry_min;
      next_contacts_ = now;
    }
    bool called = false;
    if (connected_ && now >= next_nodes_) look_at_nodes(now);
    watch_for_outage(now, called);

    if (now >= next_contacts_) {
      ping_everyone();
      called = true;
      contact_retry_ = std::min(contact_retry_ * 2, timing_.contact_retry_max);
      next_contacts_ = now + (connected_ ? timing_.contact_refresh : contact_retry_);
    }
    if (connected_ && warm_up_at_ != Time() && now >= warm_up_at_) {
      warm_up_at_ = {};
      warm_up();
      called = true;
    }
    if (connected_) {
      for (auto& [key, mine] : published_) {
        if (now < mine.next_put) continue;
        put(mine, now);
        called = true;
      }
    }
    std::vector<std::uint64_t> starting, ending;
    for (const auto& [id, find] : finds_) {
      if (now >= find->end_by)
        ending.push_back(id);
      else if (!find->started && (connected_ || now >= find->start_by))
        starting.push_back(id);
    }
    for (auto id : ending) finish(id);
    for (auto id : starting) {
      if (const auto it = finds_.find(id); it != finds_.end()) {
        const auto find = it->second;  // it may be done before start() returns
        start(id, *find);
        called = true;
      }
    }
    return called;
  }

  /// Remembers who answers. In a network of few nodes a new one is one of those that have to hold our records.
  void look_at_nodes(Time now) {
    next_nodes_ = now + 1s;
    std::vector<dht::NodeExport> good;
    guarded([&](dht::Dht& dht) { good = dht.exportNodes(); });
    if (good.empty()) return;
    const bool small = good.size() <= small_network_max;
    if (good.size() > known_nodes_max) good.resize(known_nodes_max);
    const bool news = std::ranges::any_of(good, [&](const auto& node) {
      return std::ranges::none_of(known_, [&](const auto& known) { return known.id == node.id; });
    });
    known_ = std::move(good);
    if (!small || !news) return;
    const auto again = std::max(now + 1s, put_again_at_ + timing_.put_again_min);
    put_again_at_ = again;
    for (auto& [key, mine] : published_) mine.next_put = std::min(mine.next_put, again);
  }

  /// The library takes a node for good until requests to it fail, which can be long when little is asked.
  void watch_for_outage(Time now, bool& called) {
    if (!connected_) {
      if (lost_at_ != Time() && now - lost_at_ >= timing_.outage_after) outage_ = true;
      return;
    }
    const auto silent = now - heard_at_;
    if (silent < timing_.silence_max) return;
    if (silent >= timing_.silence_max + timing_.silence_grace) outage_ = true;
    if (now >= ask_back_at_) {
      ask_back_at_ = now + timing_.silence_grace / 4;
      for (std::size_t i = 0; i < std::min(known_.size(), nodes_asked_after_silence); ++i) ping(known_[i]);
      called = true;
    }
  }

  /// Looks up random ids near and far: nodes that joined all at once could otherwise stay two halves that never meet.
  void warm_up() {
    for (unsigned bit = 0; bit < warm_up_buckets; ++bit) {
      dht::InfoHash id;
      random_.fill({id.data(), id.size()});
      for (unsigned i = 0; i < bit; ++i) id.setBit(i, id_.getBit(i));
      id.setBit(bit, !id_.getBit(bit));
      guarded([&](dht::Dht& dht) {
        dht.get(id, dht::GetCallback([](const auto&) { return true; }), dht::DoneCallbackSimple());
      });
    }
  }

  Status status() const {
    Status out;
    out.rebuilds = rebuilds_;
    out.refused_datagrams = refused_datagrams_;
    out.refused_values = refused_values_;
    if (!dht_) return out;
    for (auto family : {AF_INET, AF_INET6}) {
      const auto stats = dht_->getNodesStats(static_cast<sa_family_t>(family));
      out.good_nodes += stats.good_nodes;
      out.dubious_nodes += stats.dubious_nodes;
    }
    out.stored_values = dht_->getStoreSize().second;
    return out;
  }

  void shut_down() {
    stopped_ = true;
    ++generation_;
    finds_.clear();
    dht_.reset();
  }

  Outside& outside_;
  const NetworkId network_;
  const DhtKey key_;
  const MaySign may_sign_;
  const Clock& clock_;
  Random& random_;
  const DhtTiming timing_;
  dht::InfoHash id_;
  Endpoint local_v4_, local_v6_;
  Bytes opened_, outgoing_;
  std::unique_ptr<dht::Dht> dht_;
  bool stopped_ = false;
  std::uint64_t generation_ = 0;  ///< of dht_

  Time wake_{};
  Time heard_at_{}, lost_at_{}, ask_back_at_{};
  Time next_contacts_{}, next_nodes_{}, warm_up_at_{}, put_again_at_{};
  DhtTiming::Duration contact_retry_{};
  bool connected_ = false;  ///< some node answered lately
  bool outage_ = false;     ///< lasts until the next datagram, which rebuilds

  std::map<dht::InfoHash, Published> published_;
  std::map<std::uint64_t, std::shared_ptr<Find>> finds_;
  std::uint64_t next_find_ = 0;
  std::deque<std::string> contacts_;
  std::vector<dht::NodeExport> known_;

  Time checks_until_{};
  std::size_t checks_ = 0;
  std::size_t rebuilds_ = 0;
  std::uint64_t refused_values_ = 0, refused_datagrams_ = 0;
};

DirectoryMachine::DirectoryMachine(Outside& outside, const NodeId& node, const NetworkId& network, const DhtKey& key,
                                   MaySign may_sign, const Clock& clock, Random& random, const DhtTiming& timing)
    : impl_(std::make_shared<Impl>(outside, node, network, key, std::move(may_sign), clock, random, timing)) {}
DirectoryMachine::~DirectoryMachine() { impl_->shut_down(); }

void DirectoryMachine::open(const Endpoint& v4, const Endpoint& v6) { impl_->open(v4, v6); }
void DirectoryMachine::receive(ByteView datagram, const Endpoint& from) { impl_->receive(datagram, from); }
void DirectoryMachine::wake() { impl_->turn(); }
void DirectoryMachine::ask(const Endpoint& contact) {
  impl_->ping(contact);
  impl_->turn();
}
void DirectoryMachine::publish(DirectoryKind kind, ByteView subject, Bytes record) {
  impl_->publish(kind, subject, std::move(record));
}
void DirectoryMachine::find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
                            std::function<void()> done) {
  impl_->find(kind, subject, std::move(found), std::move(done));
}
void DirectoryMachine::add_contact(const std::string& address) { impl_->add_contact(address); }
Directory::Status DirectoryMachine::status() const { return impl_->status(); }
void DirectoryMachine::shut_down() { impl_->shut_down(); }

std::vector<Endpoint> DirectoryMachine::known_nodes() const {
  std::vector<Endpoint> out;
  for (const auto& node : impl_->known_)
    out.push_back(from_library(reinterpret_cast<const sockaddr*>(&node.ss), node.sslen));
  return out;
}

}  // namespace diot
