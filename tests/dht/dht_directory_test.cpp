#include "dht/dht_directory.hpp"

#include <gtest/gtest.h>
#include <opendht/dht.h>

#include <asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <set>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "dht/sealed_datagram.hpp"
#include "dht/udp_sockets.hpp"
#include "tests/core/keys.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using asio::ip::udp;
using testing::test_key;
using Time = std::chrono::steady_clock::time_point;

const NetworkId network = testing::SeededRandom(7).id<NetworkId>();

DhtKey dht_key(std::uint8_t byte = 1) {
  DhtKey out{1, {}};
  out.key.bytes.fill(byte);
  return out;
}

Bytes node_record(const KeyPair& key, std::uint64_t seq, std::string_view body = "addresses") {
  DirectoryRecord out;
  out.subject = to_bytes(key.node_id());
  out.seq = seq;
  out.body = to_bytes(body);
  return encode_directory_record(out, key, network);
}

Bytes catalogue_record(std::string_view handle, const KeyPair& key, std::uint64_t seq, std::size_t body_bytes = 100) {
  DirectoryRecord out;
  out.kind = DirectoryKind::catalogue;
  out.subject = to_bytes(handle);
  out.seq = seq;
  out.body.assign(body_bytes, static_cast<std::uint8_t>(seq));
  return encode_directory_record(out, key, network);
}

dht::InfoHash key_hash(DirectoryKind kind, ByteView subject) {
  const Bytes kind_byte{static_cast<std::uint8_t>(kind)};
  const auto hash = blake2b({as_bytes("diot/directory/v1"), network, kind_byte, subject});
  return {hash.bytes.data(), HASH_LEN};
}

dht::Value::Id value_id(const KeyPair& signer) {
  const auto node = signer.node_id();
  return ByteReader(node).u64();
}

/// A member of the network that has the key, but keeps no rule: a bare node of the library behind a socket of its own.
class Outlaw {
 public:
  Outlaw(asio::io_context& io, const DhtKey& key) : key_(key), socket_(std::make_shared<UdpSockets>(io)), timer_(io) {
    EXPECT_TRUE(socket_->listen("127.0.0.1:0"));
    struct Socket final : dht::net::DatagramSocket {
      explicit Socket(Outlaw& of) : outlaw(of) {}
      int sendTo(const dht::SockAddr& to, const std::uint8_t* data, std::size_t size, bool) override {
        return outlaw.send(udp::endpoint(asio::ip::address_v4(ntohl(to.getIPv4().sin_addr.s_addr)), to.getPort()),
                           {data, size});
      }
      bool hasIPv4() const override { return true; }
      bool hasIPv6() const override { return true; }
      const dht::SockAddr& getBoundRef(sa_family_t) const override { return none; }
      void stop() override {}
      Outlaw& outlaw;
      dht::SockAddr none;
    };
    dht::Config config;
    config.node_id = dht::InfoHash::getRandom();
    dht_ = std::make_unique<dht::Dht>(std::make_unique<Socket>(*this), config, dht::Sp<dht::Logger>());
    socket_->start([this](ByteView datagram, const udp::endpoint& from) {
      Bytes plain;
      if (!open_datagram(key_, datagram, plain)) return;
      dht_->periodic(plain.data(), plain.size(), from.data(), static_cast<socklen_t>(from.size()),
                     std::chrono::steady_clock::now());
    });
    turn();
  }
  ~Outlaw() {
    timer_.cancel();
    socket_->close();
  }
  void join(std::uint16_t port) {
    const udp::endpoint to(asio::ip::address_v4::loopback(), port);
    dht_->pingNode(dht::SockAddr(to.data(), static_cast<socklen_t>(to.size())));
  }
  /// Also keeps it, so that whoever asks this node gets it.
  void put(const dht::InfoHash& key, dht::ValueType::Id type, Bytes data, dht::Value::Id id) {
    auto value = std::make_shared<dht::Value>(type, std::move(data), id);
    dht_->put(key, value, dht::DoneCallbackSimple([this](bool) { ++puts_done; }), dht::time_point::max(), false);
    msgpack::sbuffer buffer;
    msgpack::packer<msgpack::sbuffer> pack(&buffer);
    pack.pack_array(1);
    pack.pack_array(2);
    pack.pack(std::chrono::steady_clock::now().time_since_epoch().count());
    value->msgpack_pack(pack);
    dht_->importValues({{key, dht::Blob(buffer.data(), buffer.data() + buffer.size())}});
  }
  bool connected() { return dht_->updateStatus(AF_INET) == dht::NodeStatus::Connected; }
  void send_raw(std::uint16_t port, ByteView plain) {
    send(udp::endpoint(asio::ip::address_v4::loopback(), port), plain);
  }
  int puts_done = 0;

 private:
  int send(const udp::endpoint& to, ByteView plain) {
    Bytes datagram;
    seal_datagram(key_, random_, plain, datagram);
    return socket_->send_to(to, datagram);
  }
  void turn() {
    dht_->periodic(nullptr, 0, dht::SockAddr(), std::chrono::steady_clock::now());
    timer_.expires_after(5ms);
    timer_.async_wait([this](const std::error_code& error) {
      if (!error) turn();
    });
  }
  SystemRandom random_;
  const DhtKey key_;
  std::shared_ptr<UdpSockets> socket_;
  asio::steady_timer timer_;
  std::unique_ptr<dht::Dht> dht_;
};

class DhtDirectoryTest : public ::testing::Test {
 protected:
  struct Found {
    std::vector<DirectoryRecord> records;
    bool done = false;
    std::chrono::milliseconds took{};
    std::uint64_t highest() const {
      std::uint64_t out = 0;
      for (const auto& record : records) out = std::max(out, record.seq);
      return out;
    }
  };

  DhtDirectoryTest() {
    // Quick where the program is patient.
    timing_.outage_after = 500ms;
    timing_.warm_up_after = 500ms;
    timing_.put_again_min = 500ms;
    timing_.put_retry = 200ms;
    timing_.contact_retry_min = 200ms;
    timing_.contact_retry_max = 1s;
  }

  std::unique_ptr<DhtDirectory> open(const std::string& address = "127.0.0.1:0", const DhtKey& key = dht_key()) {
    auto out = std::make_unique<DhtDirectory>(
        io_, test_key(next_key_++).node_id(), network, key,
        [this](DirectoryKind kind, ByteView subject, const NodeId& signer) {
          if (kind == DirectoryKind::node) return !strangers_.contains(signer);
          return speakers_[std::string(as_text(subject))].contains(signer);
        },
        clock_, random_, timing_);
    const auto listening = out->listen(address);
    EXPECT_TRUE(listening) << listening.error().message;
    return out;
  }
  std::unique_ptr<DhtDirectory> join(const DhtDirectory& contact) {
    auto out = open();
    out->add_contact(address_of(contact));
    return out;
  }
  static std::string address_of(const DhtDirectory& directory) {
    return "127.0.0.1:" + std::to_string(directory.port());
  }

  template <class Condition>
  bool wait_for(Condition condition, std::chrono::milliseconds limit = 15s) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      io_.restart();
      io_.run_one_for(50ms);
    }
    return condition();
  }

  Found find(DhtDirectory& at, DirectoryKind kind, ByteView subject) {
    auto out = std::make_shared<Found>();
    const auto start = std::chrono::steady_clock::now();
    at.find(
        kind, subject, [out](const DirectoryRecord& record) { out->records.push_back(record); },
        [out, start] {
          EXPECT_FALSE(out->done);
          out->done = true;
          out->took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
        });
    EXPECT_TRUE(wait_for([&] { return out->done; })) << "a look-up was not done";
    return *out;
  }
  /// Looks up until a record of at least that seq is found.
  bool finds(DhtDirectory& at, DirectoryKind kind, ByteView subject, std::uint64_t seq) {
    const auto end = std::chrono::steady_clock::now() + 15s;
    while (std::chrono::steady_clock::now() < end) {
      if (find(at, kind, subject).highest() >= seq) return true;
      wait_for([] { return false; }, 50ms);
    }
    return false;
  }
  bool connected(const DhtDirectory& directory, std::size_t nodes) {
    return wait_for([&] { return directory.status().good_nodes >= nodes; });
  }

  asio::io_context io_;
  SystemClock clock_;
  SystemRandom random_;
  DhtTiming timing_;
  std::map<std::string, std::set<NodeId>> speakers_;  ///< of each handle
  std::set<NodeId> strangers_;                        ///< nodes that the ledger does not know
  std::uint64_t next_key_ = 1000;
};

TEST_F(DhtDirectoryTest, NodesFindEachOthersRecordsSoonAfterTheirStart) {
  auto a = open();
  auto b = join(*a), c = join(*a);
  const auto alice = test_key(1), bob = test_key(2);
  speakers_["alice"] = {alice.node_id()};
  a->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 1, "at home"));
  a->publish(DirectoryKind::catalogue, as_bytes("alice"), catalogue_record("alice", alice, 5));
  b->publish(DirectoryKind::node, bob.node_id(), node_record(bob, 3));

  EXPECT_TRUE(finds(*b, DirectoryKind::node, alice.node_id(), 1));
  EXPECT_TRUE(finds(*c, DirectoryKind::catalogue, as_bytes("alice"), 5));
  EXPECT_TRUE(finds(*a, DirectoryKind::node, bob.node_id(), 3));

  const auto found = find(*c, DirectoryKind::node, alice.node_id());
  ASSERT_EQ(found.records.size(), 1);
  EXPECT_EQ(as_text(found.records[0].body), "at home");
  EXPECT_EQ(found.records[0].signer, alice.node_id());
  EXPECT_LT(found.took, 300ms) << "the target for a warm look-up";
}

TEST_F(DhtDirectoryTest, WhatNobodyPublishedIsDoneWithoutARecord) {
  auto a = open();
  auto b = join(*a);
  ASSERT_TRUE(connected(*b, 1));
  EXPECT_TRUE(find(*b, DirectoryKind::catalogue, as_bytes("nobody")).records.empty());
}

TEST_F(DhtDirectoryTest, WithNobodyInReachALookUpIsDoneInBoundedTime) {
  timing_.find_connect_max = 300ms;
  auto a = open();
  a->add_contact("127.0.0.1:9");
  const auto found = find(*a, DirectoryKind::node, test_key(1).node_id());
  EXPECT_TRUE(found.records.empty());
  EXPECT_GE(found.took, 300ms);
  EXPECT_LT(found.took, 3s);
}

TEST_F(DhtDirectoryTest, ALookUpStartedBeforeAnyNodeIsReachedWaitsForIt) {
  auto a = open();
  auto b = join(*a);
  const auto alice = test_key(1);
  a->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 1));
  ASSERT_TRUE(finds(*b, DirectoryKind::node, alice.node_id(), 1));
  auto late = join(*a);
  EXPECT_EQ(find(*late, DirectoryKind::node, alice.node_id()).highest(), 1) << "at the first try";
}

TEST_F(DhtDirectoryTest, ANodeThatComesLateFindsThroughOneContactThatPublishedNothing) {
  auto a = open();
  auto b = join(*a), c = join(*b);
  const auto alice = test_key(1);
  speakers_["alice"] = {alice.node_id()};
  b->publish(DirectoryKind::catalogue, as_bytes("alice"), catalogue_record("alice", alice, 2));
  ASSERT_TRUE(finds(*c, DirectoryKind::catalogue, as_bytes("alice"), 2));
  auto late = join(*a);
  EXPECT_TRUE(finds(*late, DirectoryKind::catalogue, as_bytes("alice"), 2));
}

TEST_F(DhtDirectoryTest, TheHigherSeqTakesTheOldOnesPlace) {
  auto a = open();
  auto b = join(*a), c = join(*a);
  const auto alice = test_key(1);
  a->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 10, "old"));
  ASSERT_TRUE(finds(*c, DirectoryKind::node, alice.node_id(), 10));
  a->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 11, "new"));
  ASSERT_TRUE(finds(*c, DirectoryKind::node, alice.node_id(), 11));
  // In time nobody has the old one any more.
  EXPECT_TRUE(wait_for([&] {
    const auto found = find(*b, DirectoryKind::node, alice.node_id());
    return found.records.size() == 1 && as_text(found.records[0].body) == "new";
  }));
  // And a lower one is not taken back: c is a stranger to this record, its put is what a replay would be.
  c->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 9, "replayed"));
  const auto refused = [&] { return a->status().refused_values + b->status().refused_values; };
  EXPECT_TRUE(wait_for([&] { return refused() > 0; }));
  EXPECT_EQ(find(*b, DirectoryKind::node, alice.node_id()).highest(), 11);
}

TEST_F(DhtDirectoryTest, SeveralSignersOfOneSubjectStandSideBySide) {
  auto a = open();
  auto b = join(*a);
  const auto first = test_key(1), second = test_key(2);
  speakers_["alice"] = {first.node_id(), second.node_id()};
  a->publish(DirectoryKind::catalogue, as_bytes("alice"), catalogue_record("alice", first, 1));
  b->publish(DirectoryKind::catalogue, as_bytes("alice"), catalogue_record("alice", second, 2));
  auto c = join(*a);
  EXPECT_TRUE(wait_for([&] { return find(*c, DirectoryKind::catalogue, as_bytes("alice")).records.size() == 2; }));
}

TEST_F(DhtDirectoryTest, ALargeCatalogueGetsThrough) {
  auto a = open();
  auto b = join(*a), c = join(*a);
  const auto alice = test_key(1);
  speakers_["alice"] = {alice.node_id()};
  const auto empty = catalogue_record("alice", alice, 4, 0x10000).size() - 0x10000;
  const auto body_bytes = limits::directory_record_bytes_max - empty;
  a->publish(DirectoryKind::catalogue, as_bytes("alice"), catalogue_record("alice", alice, 4, body_bytes));
  ASSERT_TRUE(finds(*c, DirectoryKind::catalogue, as_bytes("alice"), 4));
  auto late = join(*b);
  ASSERT_TRUE(finds(*late, DirectoryKind::catalogue, as_bytes("alice"), 4));
  EXPECT_EQ(find(*late, DirectoryKind::catalogue, as_bytes("alice")).records[0].body.size(), body_bytes);
}

TEST_F(DhtDirectoryTest, WhoMayNotSignIsNeitherStoredNorBelieved) {
  auto a = open();
  auto b = join(*a);
  Outlaw outlaw(io_, dht_key());
  outlaw.join(a->port());
  outlaw.join(b->port());
  ASSERT_TRUE(wait_for([&] { return outlaw.connected(); }));
  const auto alice = test_key(1), mallory = test_key(9);
  speakers_["alice"] = {alice.node_id()};

  outlaw.put(key_hash(DirectoryKind::catalogue, as_bytes("alice")), 0x1002, catalogue_record("alice", mallory, 99),
             value_id(mallory));
  ASSERT_TRUE(wait_for([&] { return a->status().refused_values > 0 && b->status().refused_values > 0; }));
  strangers_ = {mallory.node_id()};
  const auto asked = a->status().refused_values;
  outlaw.put(key_hash(DirectoryKind::node, mallory.node_id()), 0x1001, node_record(mallory, 1), value_id(mallory));
  ASSERT_TRUE(wait_for([&] { return a->status().refused_values > asked; }));
  EXPECT_EQ(a->status().stored_values, 0);
  EXPECT_EQ(b->status().stored_values, 0);
  const auto before = a->status().refused_values;
  EXPECT_TRUE(find(*a, DirectoryKind::catalogue, as_bytes("alice")).records.empty());
  EXPECT_GT(a->status().refused_values, before) << "the outlaw itself has answered with it";
}

TEST_F(DhtDirectoryTest, ForeignAndMisplacedValuesAreNotStored) {
  auto a = open();
  Outlaw outlaw(io_, dht_key());
  outlaw.join(a->port());
  ASSERT_TRUE(wait_for([&] { return outlaw.connected(); }));
  const auto alice = test_key(1);
  speakers_["alice"] = {alice.node_id()};
  const auto id = value_id(alice);
  const auto right = catalogue_record("alice", alice, 1);
  const auto right_key = key_hash(DirectoryKind::catalogue, as_bytes("alice"));
  auto changed = right;
  changed[changed.size() / 2] ^= 1;

  outlaw.put(dht::InfoHash::getRandom(), 0, to_bytes("user data"), 1);
  outlaw.put(dht::InfoHash::getRandom(), 3, to_bytes("a type that nobody knows"), 1);
  outlaw.put(dht::InfoHash::getRandom(), 0xffff, Bytes(5000, 7), 1);
  outlaw.put(dht::InfoHash::getRandom(), 0x1002, right, id);  // not the key of its subject
  outlaw.put(right_key, 0x1002, right, id + 1);               // not the id of its signer
  outlaw.put(right_key, 0x1001, right, id + 2);               // the other kind's type
  outlaw.put(right_key, 0x1002, changed, id + 3);             // not what was signed
  outlaw.put(dht::InfoHash::getRandom(), 0x1001, to_bytes("garbage"), 1);
  ASSERT_TRUE(wait_for([&] { return a->status().refused_values >= 8; }));
  EXPECT_EQ(a->status().stored_values, 0);
  // The same way does store what is right.
  outlaw.put(right_key, 0x1002, right, id);
  EXPECT_TRUE(wait_for([&] { return a->status().stored_values == 1; }));
}

TEST_F(DhtDirectoryTest, GarbageDoesNoHarm) {
  auto a = open();
  auto b = join(*a);
  const auto alice = test_key(1);
  a->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 1));
  ASSERT_TRUE(finds(*b, DirectoryKind::node, alice.node_id(), 1));

  testing::SeededRandom random(3);
  udp::socket stranger(io_, udp::endpoint(udp::v4(), 0));
  Outlaw outlaw(io_, dht_key());
  const udp::endpoint to(asio::ip::address_v4::loopback(), b->port());
  // What the library's parser knows, bent: it must take it from members, who have the key.
  const std::string message(
      "\x85\xa1\x61\x81\xa2\x69\x64\xc4\x14????????????????????\xa1\x71\xa4ping\xa1\x74\xc4\x04????"
      "\xa1\x79\xa1q\xa1v\xa4RNG1");
  for (int i = 0; i < 3000; ++i) {
    Bytes bytes(random.u64() % 300);
    random.fill(bytes);
    std::error_code ignored;
    stranger.send_to(asio::buffer(bytes), to, 0, ignored);
    outlaw.send_raw(b->port(), bytes);
    auto bent = to_bytes(message);
    for (int changes = 0; changes < 3; ++changes)
      bent[random.u64() % bent.size()] = static_cast<std::uint8_t>(random.u64());
    outlaw.send_raw(b->port(), bent);
    if (i % 30 == 0) io_.poll();
  }
  EXPECT_TRUE(wait_for([&] { return b->status().refused_datagrams > 100; }));
  EXPECT_TRUE(finds(*b, DirectoryKind::node, alice.node_id(), 1));
  EXPECT_TRUE(finds(*a, DirectoryKind::node, alice.node_id(), 1));
}

TEST_F(DhtDirectoryTest, WhoHasAnotherKeyIsNotPartOfIt) {
  auto a = open();
  const auto alice = test_key(1);
  a->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 1));
  timing_.find_connect_max = 500ms;
  auto stranger = open("127.0.0.1:0", dht_key(2));
  stranger->add_contact(address_of(*a));
  EXPECT_TRUE(find(*stranger, DirectoryKind::node, alice.node_id()).records.empty());
  EXPECT_GT(a->status().refused_datagrams, 0);
  EXPECT_EQ(a->status().good_nodes + a->status().dubious_nodes, 0);
}

TEST_F(DhtDirectoryTest, AContactThatStartsLaterIsTriedAgain) {
  auto a = open();
  const auto address = address_of(*a);
  a.reset();
  auto b = open();
  const auto bob = test_key(2);
  b->publish(DirectoryKind::node, bob.node_id(), node_record(bob, 1));
  b->add_contact(address);
  EXPECT_FALSE(wait_for([&] { return b->status().good_nodes > 0; }, 300ms));
  a = open(address);
  EXPECT_TRUE(connected(*b, 1));
  EXPECT_TRUE(finds(*a, DirectoryKind::node, bob.node_id(), 1));
}

TEST_F(DhtDirectoryTest, AfterAnOutageItStartsAnewAndIsFoundAgain) {
  auto a = open();
  const auto address = address_of(*a);
  auto b = join(*a);
  const auto bob = test_key(2);
  b->publish(DirectoryKind::node, bob.node_id(), node_record(bob, 1));
  ASSERT_TRUE(finds(*a, DirectoryKind::node, bob.node_id(), 1));

  a.reset();
  find(*b, DirectoryKind::node, test_key(3).node_id());  // notices that nobody answers
  ASSERT_TRUE(wait_for([&] { return b->status().good_nodes == 0; }));
  wait_for([] { return false; }, timing_.outage_after + 600ms);
  EXPECT_EQ(b->status().rebuilds, 0);
  a = open(address);
  EXPECT_TRUE(wait_for([&] { return b->status().rebuilds == 1; }));
  EXPECT_TRUE(finds(*a, DirectoryKind::node, bob.node_id(), 1)) << "put again after the new start";
  EXPECT_EQ(b->status().rebuilds, 1);
}

TEST_F(DhtDirectoryTest, SilenceIsAnOutageToo) {
  timing_.silence_max = 500ms;
  timing_.silence_grace = 2s;  // also a busy machine answers itself within
  auto a = open();
  const auto address = address_of(*a);
  auto b = join(*a);
  ASSERT_TRUE(connected(*b, 1));
  EXPECT_FALSE(wait_for([&] { return b->status().rebuilds > 0; }, 3500ms)) << "asked, a answers";
  a.reset();
  wait_for([] { return false; }, 3500ms);
  a = open(address);
  EXPECT_TRUE(wait_for([&] { return b->status().rebuilds == 1; }));
  EXPECT_TRUE(connected(*b, 1));
}

TEST_F(DhtDirectoryTest, AContactThatRestartsLearnsTheRecordsAgain) {
  auto a = open();
  const auto address = address_of(*a);
  auto b = join(*a), c = join(*a);
  const auto bob = test_key(2);
  b->publish(DirectoryKind::node, bob.node_id(), node_record(bob, 1));
  ASSERT_TRUE(finds(*c, DirectoryKind::node, bob.node_id(), 1));
  const auto contacts = a->export_contacts();
  a.reset();
  a = open(address);
  ASSERT_TRUE(a->import_contacts(contacts));
  EXPECT_TRUE(finds(*a, DirectoryKind::node, bob.node_id(), 1));
  auto late = join(*a);
  EXPECT_TRUE(finds(*late, DirectoryKind::node, bob.node_id(), 1));
}

TEST_F(DhtDirectoryTest, KnownNodesSurviveARestart) {
  auto a = open();
  auto b = join(*a);
  ASSERT_TRUE(wait_for([&] {
    const auto contacts = b->export_contacts();
    PackReader in(contacts);
    return in.array(10) == 1 && in.str(64) == address_of(*a);
  }));
  const auto contacts = b->export_contacts();
  b.reset();
  b = open();
  ASSERT_TRUE(b->import_contacts(contacts));
  EXPECT_TRUE(connected(*b, 1));
  EXPECT_FALSE(b->import_contacts(to_bytes("nonsense")));
  EXPECT_TRUE(b->import_contacts(Bytes{0x90}));
}

TEST_F(DhtDirectoryTest, WorksOverIPv6) {
  auto a = open("[::1]:0"), b = open("[::1]:0"), c = open("[::1]:0");
  for (auto* other : {b.get(), c.get()}) other->add_contact("[::1]:" + std::to_string(a->port()));
  const auto alice = test_key(1);
  a->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 1));
  EXPECT_TRUE(finds(*b, DirectoryKind::node, alice.node_id(), 1));
  EXPECT_TRUE(finds(*c, DirectoryKind::node, alice.node_id(), 1));
}

TEST_F(DhtDirectoryTest, WorksBetweenFamiliesThroughANodeThatHasBoth) {
  auto both = open("[::]:0");
  auto four = open("127.0.0.1:0"), six = open("[::1]:0");
  four->add_contact("127.0.0.1:" + std::to_string(both->port()));
  six->add_contact("[::1]:" + std::to_string(both->port()));
  const auto alice = test_key(1);
  four->publish(DirectoryKind::node, alice.node_id(), node_record(alice, 1));
  EXPECT_TRUE(finds(*six, DirectoryKind::node, alice.node_id(), 1));
}

TEST_F(DhtDirectoryTest, WhoDidNotKnowTheSignerYetIsAskedAgainSoon) {
  timing_.second_put = 1s;
  auto a = open();
  auto b = join(*a);
  ASSERT_TRUE(connected(*a, 1));
  ASSERT_TRUE(connected(*b, 1));
  const auto bob = test_key(2);
  speakers_["bob"] = {};
  b->publish(DirectoryKind::catalogue, as_bytes("bob"), catalogue_record("bob", bob, 1));
  ASSERT_TRUE(wait_for([&] { return a->status().refused_values > 0; }));
  speakers_["bob"] = {bob.node_id()};
  EXPECT_TRUE(wait_for([&] { return a->status().stored_values == 1; }));
}

TEST_F(DhtDirectoryTest, SendsNoRecordThatDoesNotVerify) {
  auto a = open();
  auto b = join(*a);
  ASSERT_TRUE(connected(*b, 1));
  const auto alice = test_key(1);
  auto bad = node_record(alice, 1);
  bad.back() ^= 1;
  b->publish(DirectoryKind::node, alice.node_id(), bad);
  b->publish(DirectoryKind::node, test_key(2).node_id(), node_record(alice, 1));
  b->publish(DirectoryKind::node, alice.node_id(), {});
  EXPECT_TRUE(find(*a, DirectoryKind::node, alice.node_id()).records.empty());
  EXPECT_EQ(a->status().refused_values, 0);
}

TEST_F(DhtDirectoryTest, ContactsThatAreNoAddressAreIgnored) {
  auto a = open();
  for (auto bad :
       {"", "x", "127.0.0.1", "127.0.0.1:99999", "[::1]", "0.0.0.0:1", "[::]:1", "127.0.0.1:0", "224.0.0.1:5"})
    a->add_contact(bad);
  a->add_contact("no-such-host.invalid:1");
  for (int i = 0; i < 200; ++i) a->add_contact("127.0.0.1:" + std::to_string(20'000 + i));
  auto b = join(*a);
  EXPECT_TRUE(connected(*b, 1));
}

TEST_F(DhtDirectoryTest, LookUpsAreBoundedAndEachIsDone) {
  auto a = open();
  auto b = join(*a);
  ASSERT_TRUE(connected(*b, 1));
  std::size_t done = 0;
  constexpr std::size_t count = limits::dht_finds_max + 50;
  for (std::size_t i = 0; i < count; ++i)
    b->find(
        DirectoryKind::node, test_key(i).node_id(), [](const DirectoryRecord&) {}, [&] { ++done; });
  EXPECT_EQ(done, 0) << "never from inside the call";
  EXPECT_TRUE(wait_for([&] { return done == count; }));
}

TEST_F(DhtDirectoryTest, NothingIsCalledAfterTheEnd) {
  auto a = open();
  auto b = join(*a);
  bool called = false;
  b->find(
      DirectoryKind::node, test_key(1).node_id(), [&](const DirectoryRecord&) { called = true; },
      [&] { called = true; });
  b->shut_down();
  EXPECT_EQ(b->status().good_nodes, 0);
  b.reset();
  wait_for([] { return false; }, 100ms);
  EXPECT_FALSE(called);
}

}  // namespace
}  // namespace diot
