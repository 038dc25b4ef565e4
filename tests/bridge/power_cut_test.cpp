// The broker over the real store whose power is cut: what was acknowledged to a publisher reaches the session that was
// away, QoS 2 once, and an acknowledged retained value is there. Both ends keep their own side of every handshake.

#include "tests/power_cut.hpp"

#include <mutex>
#include <set>

#include "core/sqlite_store.hpp"
#include "tests/bridge/world.hpp"
#include "tests/core/io_loop.hpp"
#include "tests/temporary_folder.hpp"

namespace diot {
namespace {

/// A home on a disk.
struct DiskHome final : TestHome {
  explicit DiskHome(const std::string& file) {
    store = SqliteStore::open(file, loop.poster()).value();
    overlay = std::make_unique<TestOverlay>(*store);
    retained = std::make_unique<Retained>(*store, clock);
    EXPECT_TRUE(retained->load());
    broker = std::make_unique<Broker>(BrokerConfig{"alice", std::chrono::seconds(0)}, *store, *retained, *overlay,
                                      authenticator, turn, clock, random);
    EXPECT_TRUE(broker->load());
    settle();
  }
  ~DiskHome() override { broker.reset(); }

  void run() override {
    while (std::exchange(turn.touched, false)) {
      overlay->end_turn(*retained);
      broker->end_turn();
      store->seal();
    }
  }
  /// Until the disk has everything.
  void settle() {
    turn.touch();
    run();
    EXPECT_TRUE(loop.run_until([&] { return !store->busy() && !turn.touched && store->pending_bytes() == 0; },
                               [&] {
                                 turn.touch();
                                 run();
                               }));
  }

  test::IoLoop loop;
  std::unique_ptr<SqliteStore> store;
  std::unique_ptr<TestOverlay> overlay;
  std::unique_ptr<Retained> retained;
};

/// What the two clients know; it survives the home's power cut.
struct Known {
  struct Open {
    std::string payload;
    bool received = false;  ///< PUBREC came
  };
  std::map<PacketId, Open> open[3];   ///< by QoS: published and not done
  std::set<std::string> promised[3];  ///< by QoS: the home said that it has them
  std::map<std::string, int> got[3];  ///< by QoS: how often the reader was given each
  std::set<PacketId> half_received;   ///< the reader's QoS 2 state
  int retained = 0;                   ///< the last acknowledged value
};

class Clients {
 public:
  Clients(TestHome& home, Known& known, std::mutex& mutex)
      : known_(known), mutex_(mutex), publisher_(home, Protocol::mqtt_3_1_1), reader_(home) {
    publisher_.connect("pub", true);
  }

  void publish(int qos, const std::string& payload, PacketId id) {
    {
      const std::lock_guard lock(mutex_);
      known_.open[qos][id] = {payload, false};
    }
    publisher_.publish("t", payload, qos, id);
  }
  void publish_retained(int value) {
    publisher_.publish("kept", std::to_string(value), 1, retained_id, true);
    retained_sent_ = value;
  }
  /// Everything again that the home has not answered for (section 4.4).
  void publish_again() {
    for (int qos : {1, 2})
      for (const auto& [id, open] : known_.open[qos])
        if (open.received)
          publisher_.pubrel(id);
        else
          publisher_.publish("t", open.payload, qos, id, false, nullptr, true);
  }
  void hear_answers() {
    for (const std::string& line : publisher_.take()) {
      const std::lock_guard lock(mutex_);
      const auto number = line.find('#');
      if (number == line.npos) continue;
      const auto id = static_cast<PacketId>(std::stoul(line.substr(number + 1)));
      if (line.starts_with("PUBACK") && id == retained_id) {
        known_.retained = retained_sent_;
      } else if (line.starts_with("PUBACK")) {
        known_.promised[1].insert(known_.open[1].at(id).payload);
        known_.open[1].erase(id);
      } else if (line.starts_with("PUBREC")) {
        known_.promised[2].insert(known_.open[2].at(id).payload);
        known_.open[2].at(id).received = true;
        publisher_.pubrel(id);
      } else if (line.starts_with("PUBCOMP")) {
        known_.open[2].erase(id);
      }
    }
  }
  bool all_answered() const { return known_.open[1].empty() && known_.open[2].empty(); }

  /// The reader comes; it takes messages until `steps` rounds are over, and goes without a word.
  void read(TestHome& home, int steps, const std::function<void()>& settle) {
    reader_.connect("sub", true);
    for (int step = 0; step < steps; ++step) {
      const Lines lines = reader_.take();
      for (const auto& line : lines) {
        if (line.starts_with("CONNACK")) {
          EXPECT_EQ(line, "CONNACK present");
        }
        take(line);
      }
      settle();
      if (lines.empty()) break;
    }
    reader_.lose();
    home.run();
  }
  void subscribe() {
    reader_.connect("sub", true);
    reader_.subscribe("t", 2);
    reader_.take();
    reader_.lose();
  }

  static constexpr PacketId retained_id = 60'000;

 private:
  void take(const std::string& line) {
    const auto number = line.find('#');
    if (number == line.npos) return;
    const auto id = static_cast<PacketId>(std::stoul(line.substr(number + 1)));
    const std::lock_guard lock(mutex_);
    if (line.starts_with("PUBREL")) {
      known_.half_received.erase(id);
      reader_.pubcomp(id);
    } else if (line.starts_with("PUBLISH")) {
      const std::string payload = line.substr(line.find('=') + 1, line.find(' ', line.find('=')) - line.find('=') - 1);
      const int qos = line.find(" q2 ") == line.npos ? 1 : 2;
      if (qos == 1 || known_.half_received.insert(id).second) ++known_.got[qos][payload];
      reader_.acknowledge(qos == 1 ? PacketType::puback : PacketType::pubrec, id);
    }
  }

  Known& known_;
  std::mutex& mutex_;
  TestClient publisher_, reader_;
  int retained_sent_ = 0;
};

struct Cut {
  std::unique_ptr<TemporaryFolder> folder;
  Known known;
};

/// Messages go in, the reader comes and goes, the power is cut meanwhile.
std::vector<Cut> run_with_cuts(std::uint32_t seed) {
  const TemporaryFolder folder;
  PowerCuts disks(seed);
  std::mt19937 random(seed);
  std::mutex mutex;  // the disk's thread looks at what the clients know
  Known known;
  std::vector<Cut> cuts;
  DiskHome home(folder.path() + "/db");
  Clients clients(home, known, mutex);
  clients.subscribe();
  home.settle();
  disks.at_change = [&] {
    if (!disks.chance(40)) return;
    Cut cut{std::make_unique<TemporaryFolder>(), {}};
    {
      const std::lock_guard lock(mutex);
      cut.known = known;
    }
    disks.take(folder.path(), cut.folder->path());
    cuts.push_back(std::move(cut));
  };
  PacketId next_id = 1;
  int next_payload = 0;
  for (int turn = 0; turn < 40; ++turn) {
    for (int count = static_cast<int>(random() % 6); count > 0; --count, ++next_id) {
      const int qos = 1 + static_cast<int>(random() % 2);
      clients.publish(qos, std::to_string(++next_payload) + std::string(random() % 4 ? 1 : 20'000, 'x'), next_id);
    }
    if (random() % 3 == 0) clients.publish_retained(turn);
    home.run();
    if (random() % 2) home.settle();  // else the next ones join the transaction that grows meanwhile
    clients.hear_answers();
    if (random() % 8 == 0) clients.read(home, static_cast<int>(random() % 4), [&] { home.settle(); });
  }
  home.settle();
  clients.hear_answers();
  home.settle();
  disks.at_change = {};
  return cuts;
}

TEST(BrokerPowerCut, NothingAcknowledgedIsLostAndQos2ComesOnce) {
  std::size_t cuts = 0, promised = 0;
  for (std::uint32_t seed = 1; seed <= 2; ++seed) {
    for (Cut& cut : run_with_cuts(seed)) {
      SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << cut.known.promised[1].size() << " + "
                                      << cut.known.promised[2].size() << " promised");
      DiskHome home(cut.folder->path() + "/db");
      std::mutex mutex;
      Known& known = cut.known;
      const auto before = known;
      Clients clients(home, known, mutex);
      home.settle();
      clients.hear_answers();
      clients.publish_again();
      for (int times = 0; times < 10 && !clients.all_answered(); ++times) {
        home.settle();
        clients.hear_answers();
      }
      EXPECT_TRUE(clients.all_answered());
      clients.read(home, 1000, [&] { home.settle(); });
      for (int qos : {1, 2})
        for (const auto& payload : known.promised[qos]) {
          const int count = known.got[qos][payload];
          EXPECT_TRUE(qos == 1 ? count >= 1 : count == 1)
              << "QoS " << qos << ", came " << count << " times: " << payload.substr(0, 10);
        }
      const RetainedValue* kept = home.retained->find("kept");
      const int value = kept && kept->message ? std::stoi(std::string(as_text(kept->message->payload))) : 0;
      EXPECT_GE(value, before.retained);
      EXPECT_EQ(home.broker->counts().corrupt_rows, 0u);
      ++cuts;
      promised += before.promised[1].size() + before.promised[2].size();
    }
  }
  std::printf("%zu cuts, %zu messages promised before them\n", cuts, promised);
  EXPECT_GT(cuts, 5u);
}

}  // namespace
}  // namespace diot
