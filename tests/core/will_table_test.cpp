#include "core/will_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <memory>

#include "core/limits.hpp"
#include "core/memory_store.hpp"

namespace diot {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using namespace std::chrono_literals;

constexpr Monotonic begin{1h};

/// One writer's wills as its log tells them, and what a reader that restarts makes of them.
struct Wills : ::testing::Test {
  Wills() {
    channel.bytes[0] = 1;
    start();
  }
  void start() {
    if (store) store = std::make_unique<MemoryStore>(store->image());
    if (!store) store = std::make_unique<MemoryStore>();
    table = std::make_unique<WillTable>(*store, self.node_id());
    over.clear();
    table->on_over = [this](const WillKey& key, const HeldWill&) { over.push_back(key.number); };
    ASSERT_TRUE(table->load());
    table->listen(channel, now);
    (void)table->due(now);
  }
  WillKey key(std::uint64_t number) const { return {channel, writer.node_id(), number}; }
  HeldWill will(std::uint64_t number, LogPlace place, std::uint32_t delay = 0) {
    Record record{RecordKind::will_set, "status", Qos::at_least_once, true, to_bytes("gone"), {}, number, delay};
    BatchWriter log(Stream::durable, channel, place.incarnation, {});
    const std::vector<Bytes> records(place.seq, encode_record(record));
    const Bytes wire = log.seal(records, true, 1, 1, writer, network, random);
    const Bytes proof = BatchView::parse(wire)->proof_of(static_cast<std::uint32_t>(place.seq - 1)).value();
    return will_of(verify_proof(proof, network).value(), proof).value().second;
  }
  void set(std::uint64_t number, std::uint64_t seq, std::uint32_t delay = 0) {
    EXPECT_TRUE(table->set(key(number), will(number, {{life, 0}, seq}, delay), now));
    table->heard(writer.node_id(), now);
    store->seal();
  }
  void clear(std::uint64_t number, std::uint64_t seq) { table->clear(key(number), {{life, 0}, seq}), store->seal(); }
  /// Second by second, delivering what is due: the numbers.
  std::vector<std::uint64_t> pass(std::chrono::seconds time, bool writer_lives = false) {
    std::vector<std::uint64_t> out;
    for (; time > 0s; time -= 1s) {
      now += 1s;
      if (writer_lives) table->heard(writer.node_id(), now);
      for (const WillKey& due : table->due(now)) {
        table->set_derived(due);
        out.push_back(due.number);
      }
      store->seal();
    }
    return out;
  }
  std::vector<std::uint64_t> standing() const {
    std::vector<std::uint64_t> out;
    table->of_channel(channel, [&](const WillKey& each, const HeldWill&) { out.push_back(each.number); });
    return out;
  }

  SystemRandom random;
  KeyPair writer = KeyPair::generate(random), self = KeyPair::generate(random);
  NetworkId network{};
  ChannelId channel{};
  std::uint64_t life = 1;
  Monotonic now = begin;
  std::unique_ptr<MemoryStore> store;
  std::unique_ptr<WillTable> table;
  std::vector<std::uint64_t> over;
};

TEST_F(Wills, AreDueWhenTheirWriterIsSilentForTheLeaseAndTheirDelay) {
  set(1, 1);
  set(2, 2, 20);
  EXPECT_THAT(pass(100s, true), IsEmpty()) << "it lives";
  EXPECT_THAT(pass(29s), IsEmpty());
  EXPECT_THAT(pass(1s), ElementsAre(1));
  EXPECT_THAT(pass(19s), IsEmpty());
  EXPECT_THAT(pass(1s), ElementsAre(2));
  EXPECT_THAT(pass(1000s), IsEmpty()) << "once";
}

TEST_F(Wills, StandUntilTheyAreCleared) {
  set(1, 1);
  set(2, 2);
  clear(1, 3);
  clear(2, 1);  // older than what set it
  EXPECT_THAT(pass(60s), ElementsAre(2));
}

TEST_F(Wills, AreDerivedOnceAlsoOverARestart) {
  set(1, 1);
  set(2, 2, 3600);
  EXPECT_THAT(pass(60s), ElementsAre(1));
  start();
  EXPECT_THAT(standing(), ElementsAre(1, 2));
  EXPECT_THAT(pass(3600s + 60s), ElementsAre(2));
}

TEST_F(Wills, OfAnotherLifeStandOnIfTheyAreSetAgain) {
  set(1, 1);
  set(2, 2);
  EXPECT_THAT(pass(40s), ElementsAre(1, 2));
  life = 2;
  set(2, 1);  // the same will, which was derived
  set(3, 2);
  table->end_lives_before(channel, writer.node_id(), {life, 0});
  EXPECT_THAT(over, ElementsAre(1));
  EXPECT_THAT(standing(), ElementsAre(2, 3));
  EXPECT_FALSE(table->set(key(1), will(1, {{1, 0}, 9}), now)) << "a late record of the life that is over";
  EXPECT_THAT(pass(40s), ElementsAre(3));
}

TEST_F(Wills, WhoSleptHeardNobody) {
  set(1, 1);
  (void)pass(10s);
  now += 10h;  // suspended
  EXPECT_THAT(table->due(now), IsEmpty());
  EXPECT_THAT(pass(29s), IsEmpty());
  EXPECT_THAT(pass(1s), ElementsAre(1));
}

TEST_F(Wills, WhoStartsListensFirst) {
  set(1, 1);
  now += 10h;
  start();
  EXPECT_THAT(pass(29s), IsEmpty());
  EXPECT_THAT(pass(1s), ElementsAre(1)) << "and what is gone for good is not waited for for ever";
}

TEST_F(Wills, OfChannelsThatNobodyReadsWait) {
  set(1, 1);
  table->stop_listening(channel);
  EXPECT_THAT(pass(100s), IsEmpty());
  table->listen(channel, now);
  EXPECT_THAT(pass(29s), IsEmpty());
  EXPECT_THAT(pass(1s), ElementsAre(1));
}

TEST_F(Wills, LateKnowledgeCountsFromWhenItCame) {
  set(1, 1);
  (void)pass(100s);
  EXPECT_TRUE(table->set(key(2), will(2, {{life, 0}, 2}), now));
  EXPECT_THAT(pass(29s), IsEmpty());
  EXPECT_THAT(pass(1s), ElementsAre(2));
}

TEST_F(Wills, ThatWereDerivedAreOverWhenTheirLifeGoesOn) {
  set(1, 1);
  (void)pass(60s);
  table->lives_on(channel, writer.node_id(), {2, 0});
  EXPECT_THAT(over, IsEmpty()) << "another life";
  table->lives_on(channel, writer.node_id(), {1, 0});
  EXPECT_THAT(over, ElementsAre(1));
  EXPECT_THAT(pass(60s), IsEmpty()) << "for this will never again";
}

TEST_F(Wills, OfThisNodeAreNeverDueAndLeaveNoRows) {
  const KeyPair other = std::exchange(writer, self);
  set(1, 1);
  EXPECT_THAT(pass(60s), IsEmpty());
  start();
  EXPECT_THAT(standing(), IsEmpty());
  writer = other;
}

TEST_F(Wills, DamagedRowsAreDropped) {
  set(1, 1);
  set(2, 2);
  const Bytes first = store->rows(Table::retained).begin()->first;
  store->damage(Table::retained, first);
  table = std::make_unique<WillTable>(*store, self.node_id());
  ASSERT_TRUE(table->load());
  EXPECT_EQ(standing().size(), 1u);
  store->seal();
  EXPECT_EQ(store->rows(Table::retained).size(), 1u);
}

const auto any_room = [](const WillKey&, const HeldWill&) { return true; };

TEST_F(Wills, ASnapshotEndsWhatIsNotInItAndYieldsToWhatTheLogSaidSince) {
  set(1, 1);
  set(2, 2);
  table->begin_snapshot(channel);
  table->offer(key(2), will(2, {{life, 0}, 2}));
  table->offer(key(3), will(3, {{life, 0}, 3}));
  table->offer(key(4), will(4, {{life, 0}, 4}));
  clear(3, 5);
  set(5, 6);
  EXPECT_THAT(standing(), ElementsAre(1, 2, 5)) << "not before it is whole";
  EXPECT_TRUE(table->end_snapshot(channel, now, any_room));
  EXPECT_THAT(standing(), ElementsAre(2, 4, 5));
}

TEST_F(Wills, ASnapshotDuringWhichTooMuchChangedIsOfNoUse) {
  table->begin_snapshot(channel);
  for (std::uint64_t number = 0; number <= limits::wills_per_handle_max; ++number)
    table->clear(key(number), {{1, 0}, 1});
  EXPECT_FALSE(table->end_snapshot(channel, now, any_room));
}

TEST_F(Wills, AreCounted) {
  set(1, 1);
  set(2, 2);
  EXPECT_EQ(table->use(channel).count, 2u);
  const auto bytes = table->find(key(1))->bytes() + table->find(key(2))->bytes();
  EXPECT_EQ(table->total().bytes, bytes);
  clear(1, 3);
  table->erase_channel(channel, [](const std::string& topic) { return topic == "other"; });
  EXPECT_EQ(table->total().count, 0u);
  EXPECT_EQ(table->total().bytes, 0u);
  set(3, 4);
  table->erase_channel(channel);
  store->seal();
  EXPECT_EQ(table->total().bytes, 0u);
  EXPECT_THAT(store->rows(Table::retained), IsEmpty());
}

TEST_F(Wills, OnlySoManyASecond) {
  HeldWill one = will(0, {{life, 0}, 1});
  for (std::uint64_t number = 0; number < limits::wills_derived_per_second_max + 10; ++number) {
    one.record.will_number = number;
    ASSERT_TRUE(table->set(key(number), one, now));
  }
  (void)pass(29s);
  EXPECT_EQ(pass(1s).size(), limits::wills_derived_per_second_max);
  EXPECT_EQ(pass(1s).size(), 10u);
}

/// Whatever a log says, in order, and wherever a snapshot of some later state of it falls in: the table is what the log
/// says, and every will is derived once at most, whenever the reader restarts.
RC_GTEST_FIXTURE_PROP(Wills, AreWhatTheLogSays, ()) {
  enum Step { sets, clears, sets_again, new_life, begins, ends, silence, restart };
  const auto steps = *rc::gen::container<std::vector<std::pair<int, int>>>(
      rc::gen::pair(rc::gen::inRange(0, 8), rc::gen::inRange(0, 3)));
  std::map<std::uint64_t, std::uint64_t> truth;  // number → generation, which a new will gets anew
  std::map<std::uint64_t, int> derived;
  std::uint64_t seq = 0, made = 0;
  bool snapshot = false;
  std::map<std::uint64_t, LogPlace> places;
  for (const auto& [step, which] : steps) {
    std::vector<std::uint64_t> numbers;
    for (const auto& [number, generation] : truth) numbers.push_back(number);
    const auto chosen = numbers.empty() ? 0 : numbers[static_cast<std::size_t>(which) % numbers.size()];
    switch (step) {
      case sets:
        ++made;
        truth[made] = made;
        set(made, ++seq);
        places[made] = {{life, 0}, seq};
        break;
      case clears:
        if (numbers.empty()) break;
        truth.erase(chosen);
        clear(chosen, ++seq);
        break;
      case sets_again:
        if (numbers.empty()) break;
        set(chosen, ++seq);
        places[chosen] = {{life, 0}, seq};
        break;
      case new_life:
        ++life;
        seq = 0;
        if (which > 0 && !numbers.empty()) {
          set(chosen, ++seq);
          places[chosen] = {{life, 0}, seq};
          truth = {{chosen, chosen}};
        } else {
          truth.clear();
        }
        table->end_lives_before(channel, writer.node_id(), {life, 0});
        break;
      case begins:
        table->begin_snapshot(channel);
        for (const auto& [number, generation] : truth) table->offer(key(number), will(number, places[number]));
        snapshot = true;
        break;
      case ends:
        if (std::exchange(snapshot, false)) RC_ASSERT(table->end_snapshot(channel, now, any_room));
        break;
      case silence:
        for (const auto number : pass(which * 20s)) RC_ASSERT(++derived[number] == 1);
        break;
      case restart:
        store->seal();
        start();
        snapshot = false;
        break;
    }
    std::vector<std::uint64_t> expected;
    for (const auto& [number, generation] : truth) expected.push_back(number);
    RC_ASSERT(standing() == expected);
  }
  for (const auto number : pass(31s)) RC_ASSERT(++derived[number] == 1);
  for (const auto& [number, generation] : truth) RC_ASSERT(derived[number] == 1);
}

}  // namespace
}  // namespace diot
