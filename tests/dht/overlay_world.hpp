#pragma once
// Several overlays in one process: manual clock, memory stores, links that are queues. Nothing moves but by run().

#include <gtest/gtest.h>

#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/memory_store.hpp"
#include "core/sqlite_store.hpp"
#include "core/topic.hpp"
#include "dht/overlay.hpp"
#include "dht/own_registration.hpp"
#include "tests/core/io_loop.hpp"

namespace diot::test {

class ManualClock final : public Clock {
 public:
  Monotonic monotonic() const override { return Monotonic{} + std::chrono::milliseconds(now_ms - 1'700'000'000'000); }
  WallMs wall_ms() const override { return now_ms; }
  WallMs now_ms = 1'700'000'000'000 + 3'600'000;
};

/// A home's own idea of the time.
class SkewedClock final : public Clock {
 public:
  explicit SkewedClock(const Clock& world) : world_(world) {}
  Monotonic monotonic() const override { return world_.monotonic(); }
  WallMs wall_ms() const override { return world_.wall_ms() + ahead_ms; }
  HeldMs held_ms() const override { return world_.held_ms(); }
  bool sure() const override { return is_sure; }
  WallMs ahead_ms = 0;  ///< two's complement: behind
  bool is_sure = true;

 private:
  const Clock& world_;
};

class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  void fill(std::span<std::uint8_t> out) override {
    for (auto& byte : out) {
      state_ ^= state_ << 13;
      state_ ^= state_ >> 7;
      state_ ^= state_ << 17;
      byte = static_cast<std::uint8_t>(state_ >> 24);
    }
  }

 private:
  std::uint64_t state_;
};

class World;

/// What a broker would do with messages from elsewhere: keep them.
class FakeBroker final : public BrokerPort {
 public:
  void deliver(const MessagePtr& message, Origin of) override {
    live.push_back(message);
    origin = of;
  }
  void deliver_retained(const MessagePtr& message) override { retained.push_back(message); }
  std::vector<std::string> texts() const {
    std::vector<std::string> out;
    for (const auto& message : live) out.push_back(message->topic + " " + std::string(as_text(message->payload)));
    return out;
  }
  std::vector<MessagePtr> live, retained;
  Origin origin = Origin::live;  ///< of the newest
};

class FakeLinks final : public LinkTransport {
 public:
  FakeLinks(World& world, std::string address) : world_(world), address_(std::move(address)) {}
  void dial(const std::string& address, const std::optional<NodeId>& expected) override;
  void send(LinkId link, FrameType type, std::initializer_list<ByteView> parts) override;
  std::size_t unsent_bytes(LinkId link) const override { return unsent.contains(link) ? unsent.at(link) : 0; }
  std::chrono::milliseconds silent_for(LinkId link) const override;
  void close(LinkId link, const std::string& reason) override;

  std::map<LinkId, std::size_t> unsent;  ///< what a test pretends
  const std::string& address() const { return address_; }

 private:
  World& world_;
  std::string address_;
};

/// A DHT that never fails: what one home puts, every other one finds.
class FakeDirectory final : public Directory {
 public:
  explicit FakeDirectory(World& world) : world_(world) {}
  void publish(DirectoryKind kind, ByteView subject, Bytes record) override;
  void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
            std::function<void()> done) override;
  void add_contact(const std::string&) override {}
  Status status() const override { return {}; }

 private:
  World& world_;
};

/// One home: what survives a restart, and the running parts.
struct Home {
  std::string handle;
  KeyPair key = KeyPair::from_seed({});
  KeyPair owner = KeyPair::from_seed({});
  std::optional<KeyPair> witness;
  std::string address;
  CatchUpBounds catch_up = {};
  bool archive = false;
  HistoryBounds history = {};
  std::unique_ptr<SkewedClock> clock;

  std::unique_ptr<Ledger> ledger;
  std::unique_ptr<MemoryStore> store;
  std::unique_ptr<SqliteStore> file;  ///< in a world on disk, instead
  Store& disk() { return file ? static_cast<Store&>(*file) : *store; }
  std::unique_ptr<Retained> retained;
  std::unique_ptr<FakeBroker> broker;
  std::unique_ptr<FakeLinks> links;
  std::unique_ptr<FakeDirectory> directory;
  std::unique_ptr<Overlay> overlay;

  struct HomeTurn final : Turn {
    void touch() override { touched = true; }
    bool touched = false;
  } turn;

  bool running() const { return overlay != nullptr; }
  void publish(std::string topic, std::string payload, Qos qos = Qos::at_least_once, bool retain = false) {
    auto message = std::make_shared<Message>();
    message->topic = std::move(topic);
    message->payload = to_bytes(payload);
    message->qos = qos;
    message->retain = retain;
    overlay->publish(message);
    turn.touch();
  }
};

class World {
 public:
  /// With a folder the homes keep what they keep in files there, and not in memory.
  explicit World(std::uint64_t seed = 1, std::filesystem::path files = {}) : random(seed), folder(std::move(files)) {
    crypto_init();
  }

  /// The network's founder and registrar.
  Home& found(const std::string& handle) {
    Home& home = make(handle);
    home.witness = KeyPair::generate(random);
    Genesis genesis;
    genesis.time = clock.wall_ms();
    genesis.witnesses = {home.witness->public_key()};
    genesis.lease_days = lease_days;
    genesis.succession = sha256(succession.public_key());
    genesis.founding = {make_register(registration(home), {}, {}, home.owner, {home.key}, nullptr)};
    genesis_bytes = encode_genesis(genesis, {*home.witness});
    auto ledger = Ledger::from_genesis(genesis_bytes);
    EXPECT_TRUE(ledger) << ledger.error().message;
    home.ledger = std::make_unique<Ledger>(std::move(*ledger));
    blocks.push_back(home.ledger->make_first_block(clock.wall_ms(), *home.witness).value());
    start(home);
    return home;
  }

  /// Registered by the founder's witness with an invite of `inviter`; its ledger is up to date.
  Home& join(const std::string& handle, Home& inviter) {
    Home& home = make(handle);
    const Invite invite = inviter.overlay->make_invite(1, 3'600'000).value();
    const Bytes entry = make_register(registration(home), inviter.ledger->network(), inviter.ledger->head(), home.owner,
                                      {home.key}, &invite);
    std::optional<Result<std::uint64_t>> committed;
    homes.begin()->second->overlay->ledger_sync().submit(entry, [&](auto height) { committed = height; });
    run();
    EXPECT_TRUE(committed && *committed) << (committed ? committed->error().message : "not answered");
    remember_blocks_of(*homes.begin()->second);
    start(home);
    return home;
  }

  /// Made with an invite of `inviter`, which is all that it has reached: its entry waits on its disk.
  Home& join_provisionally(const std::string& handle, Home& inviter) {
    const Invite invite = inviter.overlay->make_invite(1, 3'600'000).value();
    return join_provisionally(handle, inviter, invite);
  }
  Home& join_provisionally(const std::string& handle, Home& inviter, const Invite& invite) {
    Home& home = make(handle);
    home.store = std::make_unique<MemoryStore>();
    home.store->put(Table::meta, meta_registration(),
                    make_register(registration(home), inviter.ledger->network(), inviter.ledger->head(), home.owner,
                                  {home.key}, &invite));
    home.store->put(Table::peer, inviter.key.node_id(), encode_addresses({inviter.address}));
    home.store->seal();
    remember_blocks_of(inviter);
    start(home);
    return home;
  }

  /// What homes start with from now on.
  void remember_blocks_of(Home& home) {
    blocks.clear();
    EXPECT_TRUE(home.disk().scan(Table::block, {}, {},
                                 [&](ByteView, ByteView block) {
                                   blocks.push_back(to_bytes(block));
                                   return true;
                                 },
                                 {}));
  }

  /// Begins a process life on what the home's disk holds.
  void start(Home& home) {
    auto image = home.store ? home.store->image() : MemoryStore::Image{};
    home.store = std::make_unique<MemoryStore>(std::move(image));
    if (!folder.empty()) {
      home.retained.reset();
      home.file.reset();
      auto opened = SqliteStore::open(folder / (home.handle + ".db"), io.poster());
      EXPECT_TRUE(opened) << opened.error().message;
      home.file = std::move(*opened);
    }
    auto ledger = Ledger::from_genesis(genesis_bytes);
    home.ledger = std::make_unique<Ledger>(std::move(*ledger));
    for (std::size_t at = 0; at < blocks.size(); ++at) {
      EXPECT_TRUE(home.ledger->append(blocks[at]));
      home.disk().put(Table::block, block_key(at + 1), blocks[at]);
    }
    home.retained = std::make_unique<Retained>(home.disk(), *home.clock);
    EXPECT_TRUE(home.retained->load());
    home.broker = std::make_unique<FakeBroker>();
    home.links = std::make_unique<FakeLinks>(*this, home.address);
    OverlayConfig config;
    config.handle = home.handle;
    config.genesis = genesis_bytes;
    config.witness = home.witness;
    config.catch_up = home.catch_up;
    config.archive = home.archive;
    config.history = home.history;
    home.overlay = std::make_unique<Overlay>(std::move(config), home.key, *home.ledger, home.disk(), *home.retained,
                                             home.turn, *home.clock, random);
    home.directory = std::make_unique<FakeDirectory>(*this);
    home.overlay->connect(*home.broker, *home.links, home.directory.get());
    EXPECT_TRUE(home.overlay->load());
    home.overlay->set_addresses({home.address});
    for (const auto& filter : durable_demand[home.handle]) home.overlay->add_demand(filter, true);
    if (before_settle) before_settle(home);
    home.overlay->settle();
    home.turn.touch();
  }

  /// The process dies: what is not in the store's image is gone.
  void kill(Home& home) {
    std::vector<LinkId> ends;
    for (const auto& [id, link] : links)
      if (link.ends[0] == &home || link.ends[1] == &home) ends.push_back(id);
    home.overlay.reset();
    for (LinkId id : ends) cut(id, "peer died");
  }

  /// A persistent session of the home's broker.
  void subscribe_durably(Home& home, const std::string& filter) {
    durable_demand[home.handle].push_back(filter);
    home.overlay->add_demand(filter, true);
  }

  /// From now on these two have no link and get none.
  void keep_apart(const Home& a, const Home& b) {
    apart.insert({a.handle, b.handle});
    for (LinkId link : links_between(a, b)) cut(link, "apart");
  }
  void let_meet(const Home& a, const Home& b) {
    apart.erase({a.handle, b.handle});
    apart.erase({b.handle, a.handle});
  }

  void cut(LinkId id, const std::string& reason) {
    const auto found = links.find(id);
    if (found == links.end()) return;
    const Link link = found->second;
    links.erase(found);
    for (int side : {0, 1})
      events.push_back([this, id, reason, home = link.ends[side], peer = link.ends[1 - side]->key.node_id()] {
        if (home->running()) home->overlay->link_down(id, peer, reason);
      });
  }

  std::vector<LinkId> links_between(const Home& a, const Home& b) const {
    std::vector<LinkId> out;
    for (const auto& [id, link] : links)
      if ((link.ends[0] == &a && link.ends[1] == &b) || (link.ends[0] == &b && link.ends[1] == &a)) out.push_back(id);
    return out;
  }

  /// Until nothing moves any more.
  void run() {
    for (int steps = 0; steps < 1'000'000; ++steps) {
      bool moved = false;
      if (!events.empty()) {
        auto event = std::move(events.front());
        events.pop_front();
        event();
        moved = true;
      }
      for (auto& [handle, home] : homes) {
        if (!home->running() || !std::exchange(home->turn.touched, false)) continue;
        home->overlay->end_turn();
        home->disk().seal();
        if (home->file) {
          EXPECT_TRUE(io.run_until([&] { return !home->file->busy(); }, [&] { home->file->seal(); }));
        }
        moved = true;
      }
      if (!moved) return;
    }
    FAIL() << "the world does not come to rest";
  }

  /// Lets time pass in ticks of 100 ms.
  void pass(std::chrono::milliseconds time) {
    for (auto left = time; left.count() > 0; left -= std::chrono::milliseconds(100)) {
      clock.now_ms += 100;
      for (auto& [handle, home] : homes)
        if (home->running()) {
          home->overlay->tick();
          home->retained->tick();
          home->turn.touch();
        }
      run();
    }
  }

  struct Link {
    Home* ends[2];
    bool up[2] = {false, false};
  };
  ManualClock clock;
  SeededRandom random;
  const std::filesystem::path folder;
  IoLoop io;
  std::map<std::string, std::unique_ptr<Home>> homes;
  std::map<LinkId, Link> links;
  std::deque<std::function<void()>> events;
  std::set<std::string> unreachable;                    ///< addresses
  std::set<std::pair<std::string, std::string>> apart;  ///< handles of homes that cannot reach each other
  std::map<std::pair<DirectoryKind, Bytes>, Bytes> directory;
  /// May change or swallow (false) a frame under way.
  std::function<bool(const Home& from, const Home& to, FrameType type, Bytes& body)> on_wire;
  std::uint64_t next_link = 1;
  std::uint32_t lease_days = 0;                       ///< of the network to be founded
  std::function<void(Home&)> before_settle;           ///< what a home's broker does while it loads
  std::function<void(const Home&, Hello&)> on_hello;  ///< changes what a home says of itself
  KeyPair succession = KeyPair::from_seed(Seed{});
  bool witnesses_join = false;  ///< homes that are made have a witness key, their node key
  Bytes genesis_bytes;
  std::vector<Bytes> blocks;
  std::map<std::string, std::vector<std::string>> durable_demand;

 private:
  Home& make(const std::string& handle) {
    auto& home = homes[handle] = std::make_unique<Home>();
    home->handle = handle;
    home->clock = std::make_unique<SkewedClock>(clock);
    home->key = KeyPair::generate(random);
    if (witnesses_join) home->witness = home->key;
    home->owner = KeyPair::generate(random);
    home->address = handle + ":42220";
    return *home;
  }
  static Registration registration(const Home& home) {
    return {home.handle, home.owner.public_key(), sha256(home.key.public_key()), {{home.key.node_id(), Role::admin}}};
  }
};

inline void FakeDirectory::publish(DirectoryKind kind, ByteView subject, Bytes record) {
  world_.directory[{kind, to_bytes(subject)}] = std::move(record);
}

inline void FakeDirectory::find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
                                std::function<void()> done) {
  world_.events.push_back([&world = world_, key = std::pair(kind, to_bytes(subject)), found, done] {
    const auto network = network_id_of(world.genesis_bytes);
    if (const auto at = world.directory.find(key); at != world.directory.end())
      if (const auto record = decode_directory_record(at->second, *network)) found(*record);
    done();
  });
}

inline void FakeLinks::dial(const std::string& address, const std::optional<NodeId>& expected) {
  world_.events.push_back([this, &world = world_, address, expected, from_address = address_] {
    Home *from = nullptr, *to = nullptr;
    for (auto& [handle, home] : world.homes) {
      if (home->address == from_address && home->running() && home->links.get() == this) from = home.get();
      if (home->address == address && home->running()) to = home.get();
    }
    if (!from) return;
    if (!to || world.unreachable.contains(address) || world.apart.contains({from->handle, to->handle}) ||
        world.apart.contains({to->handle, from->handle}) || (expected && to->key.node_id() != *expected))
      return from->overlay->dial_failed(address, expected, "refused");
    if (!world.links_between(*from, *to).empty()) return from->overlay->dial_failed(address, expected, "duplicate");
    const LinkId id{world.next_link++};
    Hello from_hello = from->overlay->own_hello(), to_hello = to->overlay->own_hello();
    if (world.on_hello) world.on_hello(*from, from_hello), world.on_hello(*to, to_hello);
    const LinkClass at_from = from->overlay->admit(to->key.node_id(), to_hello, true);
    const LinkClass at_to = to->overlay->admit(from->key.node_id(), from_hello, false);
    if (at_from == LinkClass::refused || at_to == LinkClass::refused)
      return from->overlay->dial_failed(address, expected, "not admitted");
    world.links[id] = {{from, to}, {true, true}};
    from->overlay->link_up(id, to->key.node_id(), to_hello, at_from, true);
    to->overlay->link_up(id, from->key.node_id(), from_hello, at_to, false);
  });
}

inline void FakeLinks::send(LinkId link, FrameType type, std::initializer_list<ByteView> parts) {
  Bytes body;
  for (auto part : parts) append(body, part);
  const auto found = world_.links.find(link);
  if (found == world_.links.end()) return;
  const int side = found->second.ends[0]->address == address_ ? 0 : 1;
  Home* from = found->second.ends[side];
  Home* to = found->second.ends[1 - side];
  world_.events.push_back([&world = world_, link, type, from, to, body = std::move(body)]() mutable {
    if (!world.links.contains(link) || !to->running()) return;
    if (world.on_wire && !world.on_wire(*from, *to, type, body)) return;
    to->overlay->link_frame(link, from->key.node_id(), type, body);
    to->turn.touch();
  });
}

inline std::chrono::milliseconds FakeLinks::silent_for(LinkId link) const {
  return world_.links.contains(link) ? std::chrono::milliseconds(0) : std::chrono::milliseconds::max();
}

inline void FakeLinks::close(LinkId link, const std::string& reason) {
  world_.events.push_back([&world = world_, link, reason] { world.cut(link, reason); });
}

}  // namespace diot::test
