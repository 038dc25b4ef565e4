#include "core/retained.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "core/limits.hpp"
#include "core/memory_store.hpp"
#include "tests/core/manual_clock.hpp"

namespace diot {
namespace {

using namespace std::chrono_literals;
using diot::testing::ManualClock;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

ChannelId channel(std::uint8_t number) {
  ChannelId out;
  out.bytes[0] = number;
  return out;
}

class RetainedValues : public ::testing::Test {
 protected:
  ManualClock clock;
  MemoryStore store;
  std::optional<Retained> retained{std::in_place, store, clock};

  RetainedValue value(std::string topic, std::string_view payload, HybridTime time = 0, ChannelId in = {}) {
    auto message = std::make_shared<Message>();
    message->topic = std::move(topic);
    message->payload = to_bytes(payload);
    message->retain = true;
    message->received = clock.monotonic();
    RetainedValue out;
    out.message = message;
    out.stamp.time = time ? time : hybrid_from(clock.wall_ms()) + ++counter;
    out.channel = in;
    if (!in.is_zero()) out.proof = Bytes{1, 2, 3};
    return out;
  }
  RetainedValue sized(std::size_t bytes) {
    auto out = value("a", "");
    auto message = std::make_shared<Message>(*out.message);
    message->payload.resize(bytes - bytes_of(out));
    out.message = message;
    EXPECT_EQ(bytes_of(out), bytes);
    return out;
  }
  RetainedValue expiring(std::string topic, std::uint32_t seconds, ChannelId in = {}) {
    auto out = value(std::move(topic), "x", 0, in);
    auto message = std::make_shared<Message>(*out.message);
    message->properties.expiry_seconds = seconds;
    out.message = message;
    return out;
  }
  RetainedValue tombstone(ChannelId in = {}, HybridTime time = 0) {
    auto out = value("", "", time, in);
    out.message = nullptr;
    return out;
  }
  bool set(const std::string& topic, RetainedValue v) { return retained->set(topic, std::move(v)); }
  bool set(const std::string& topic, std::string_view payload) { return set(topic, value(topic, payload)); }
  std::vector<std::string> matching(std::string_view filter) {
    std::vector<std::string> out;
    retained->match(filter, [&](const std::string& topic, const RetainedValue& v) {
      out.push_back(topic + "=" + std::string(as_text(v.message->payload)));
    });
    return out;
  }
  std::vector<std::string> in_channel(const ChannelId& id) {
    std::vector<std::string> out;
    retained->of_channel(id, [&](const std::string& topic, const RetainedValue& v) {
      out.push_back(topic + (v.message ? "" : " (ended)"));
    });
    return out;
  }
  void restart() {
    store.seal();
    retained.emplace(store, clock);
    ASSERT_TRUE(retained->load());
  }
  std::uint64_t counter = 0;
};

TEST_F(RetainedValues, match_filters) {
  set("a/b", "1");
  set("a", "2");
  set("$SYS/x", "3");
  EXPECT_THAT(matching("a/#"), ElementsAre("a=2", "a/b=1"));
  EXPECT_THAT(matching("+/b"), ElementsAre("a/b=1"));
  EXPECT_THAT(matching("#"), ElementsAre("a=2", "a/b=1"));
  EXPECT_THAT(matching("$SYS/#"), ElementsAre("$SYS/x=3"));
  EXPECT_THAT(matching("b"), IsEmpty());
}

TEST_F(RetainedValues, a_veil_is_shown_in_the_place_of_the_value_until_a_later_one_comes) {
  set("@alice/t", value("@alice/t", "online", 0, channel(1)));
  retained->veil(value("@alice/t", "offline").message, channel(1));
  retained->veil(value("@alice/no/value", "gone").message, channel(1));
  retained->veil(value("@alice/ended", "").message, channel(1));
  for (int start = 0; start < 2; ++start) {
    EXPECT_THAT(matching("@alice/#"), ElementsAre("@alice/no/value=gone", "@alice/t=offline"));
    EXPECT_THAT(matching("@alice/+"), ElementsAre("@alice/t=offline"));
    EXPECT_EQ(as_text(retained->find("@alice/t")->message->payload), "online") << "others get what its owner said";
    EXPECT_THAT(in_channel(channel(1)), ElementsAre("@alice/t"));
    restart();
  }
  EXPECT_FALSE(set("@alice/t", value("@alice/t", "older", 1, channel(1))));
  EXPECT_THAT(matching("@alice/t"), ElementsAre("@alice/t=offline"));
  set("@alice/t", value("@alice/t", "back", 0, channel(1)));
  EXPECT_THAT(matching("@alice/t"), ElementsAre("@alice/t=back"));
  EXPECT_FALSE(retained->unveil("@alice/t"));
  EXPECT_TRUE(retained->unveil("@alice/no/value"));
  restart();
  EXPECT_THAT(matching("@alice/#"), ElementsAre("@alice/t=back"));
}

TEST_F(RetainedValues, veils_go_with_their_channel) {
  retained->veil(value("@alice/t", "offline").message, channel(1));
  retained->erase_channel(channel(1), [](const std::string&) { return false; });
  EXPECT_TRUE(retained->has_veils()) << "new copies say nothing of it";
  retained->erase_channel(channel(1));
  EXPECT_FALSE(retained->has_veils());
  restart();
  EXPECT_FALSE(retained->has_veils());
}

TEST_F(RetainedValues, the_later_stamp_wins_whichever_comes_first) {
  EXPECT_TRUE(set("t", value("t", "second", 20)));
  EXPECT_FALSE(set("t", value("t", "first", 10)));
  EXPECT_FALSE(set("t", value("t", "again", 20)));
  EXPECT_THAT(matching("t"), ElementsAre("t=second"));
  auto other_writer = value("t", "other writer", 20);
  other_writer.stamp.writer.bytes[0] = 1;
  EXPECT_TRUE(set("t", other_writer));
  auto next_life = other_writer;
  next_life.stamp.incarnation.number = 1;
  EXPECT_TRUE(set("t", next_life));
  auto next_seq = next_life;
  next_seq.stamp.seq = 1;
  EXPECT_TRUE(set("t", next_seq));
  EXPECT_FALSE(set("t", next_life));
  EXPECT_EQ(retained->size(), 1u);
}

TEST_F(RetainedValues, belong_to_the_transaction_that_is_open) {
  const Ticket ticket = store.open_ticket();
  set("t", "x");
  EXPECT_EQ(retained->find("t")->ticket, ticket);
  store.seal();
  restart();
  EXPECT_EQ(retained->find("t")->ticket, 0u);  // nothing to wait for
}

TEST_F(RetainedValues, survive_a_restart) {
  set("t", value("t", "x", 77, channel(1)));
  set("ended", tombstone(channel(1)));
  auto by_somebody = value("u", "y", 78);
  by_somebody.stamp.writer.bytes[5] = 5;
  by_somebody.stamp.incarnation = {8, 9};
  by_somebody.stamp.seq = 10;
  set("u", by_somebody);
  restart();
  EXPECT_THAT(matching("#"), ElementsAre("t=x", "u=y"));
  EXPECT_THAT(in_channel(channel(1)), ElementsAre("ended (ended)", "t"));
  EXPECT_EQ(retained->find("t")->proof, (Bytes{1, 2, 3}));
  EXPECT_EQ(retained->find("u")->stamp, by_somebody.stamp);
  EXPECT_TRUE(retained->find("u")->message->retain);
  EXPECT_EQ(retained->damaged_rows(), 0u);
}

TEST_F(RetainedValues, damaged_rows_are_dropped_and_counted) {
  set("a", "1");
  set("b", "2");
  store.seal();
  auto& rows = store.rows(Table::retained);
  rows[to_bytes("a")].pop_back();
  rows[to_bytes("c")] = rows[to_bytes("b")];  // the message says another topic
  restart();
  EXPECT_THAT(matching("#"), ElementsAre("b=2"));
  EXPECT_EQ(retained->damaged_rows(), 2u);
  restart();
  EXPECT_EQ(retained->damaged_rows(), 0u);
}

TEST_F(RetainedValues, without_a_channel_end_without_a_trace) {
  set("t", "x");
  EXPECT_TRUE(set("t", tombstone()));
  EXPECT_EQ(retained->find("t"), nullptr);
  EXPECT_TRUE(set("never/there", tombstone()));
  store.seal();
  EXPECT_TRUE(store.rows(Table::retained).empty());
}

TEST_F(RetainedValues, of_a_channel_leave_a_tombstone_for_30_days) {
  const auto before = hybrid_from(clock.wall_ms()) - 1;
  set("t", value("t", "x", 0, channel(1)));
  set("t", tombstone(channel(1)));
  EXPECT_THAT(matching("#"), IsEmpty());
  EXPECT_EQ(retained->size(), 0u);
  EXPECT_FALSE(set("t", value("t", "older", before, channel(1))));
  clock.advance(limits::tombstone_age_max - 1h);
  retained->tick();
  EXPECT_THAT(in_channel(channel(1)), ElementsAre("t (ended)"));
  clock.advance(2h);
  retained->tick();
  EXPECT_THAT(in_channel(channel(1)), IsEmpty());
  EXPECT_EQ(retained->find("t"), nullptr);
  store.seal();
  EXPECT_TRUE(store.rows(Table::retained).empty());
}

TEST_F(RetainedValues, expire) {
  set("local", expiring("local", 10));
  set("shared", expiring("shared", 10, channel(1)));
  set("later", expiring("later", 20));
  clock.advance(9s);
  retained->tick();
  EXPECT_EQ(matching("#").size(), 3u);
  clock.advance(1s);
  EXPECT_THAT(matching("#"), ElementsAre("later=x"));  // at once, whenever tick comes
  retained->tick();
  EXPECT_EQ(retained->find("local"), nullptr);
  EXPECT_EQ(retained->find("shared")->message, nullptr);  // older values stay dead
  EXPECT_EQ(retained->size(), 1u);
  store.seal();
  EXPECT_EQ(store.rows(Table::retained).size(), 2u);
}

TEST_F(RetainedValues, a_value_set_again_is_not_ended_by_the_old_expiry) {
  set("t", expiring("t", 10));
  clock.advance(5s);
  set("t", "for ever");
  clock.advance(100s);
  retained->tick();
  EXPECT_THAT(matching("#"), ElementsAre("t=for ever"));
}

TEST_F(RetainedValues, expiry_counts_the_time_on_disk) {
  set("t", expiring("t", 10));
  clock.advance(4s);
  restart();
  clock.advance(5s);
  EXPECT_THAT(matching("#"), ElementsAre("t=x"));
  clock.advance(1s);
  EXPECT_THAT(matching("#"), IsEmpty());
}

TEST_F(RetainedValues, a_channel_is_dropped_as_a_whole) {
  set("a", value("a", "1", 0, channel(1)));
  set("b", value("b", "2", 0, channel(2)));
  set("c", tombstone(channel(1)));
  set("d", "4");
  retained->erase_channel(channel(1));
  EXPECT_THAT(matching("#"), ElementsAre("b=2", "d=4"));
  EXPECT_THAT(in_channel(channel(1)), IsEmpty());
  EXPECT_THAT(in_channel({}), IsEmpty());
  restart();
  EXPECT_THAT(matching("#"), ElementsAre("b=2", "d=4"));
}

TEST_F(RetainedValues, a_topic_can_change_its_channel) {
  set("t", value("t", "1", 0, channel(1)));
  set("t", value("t", "2", 0, channel(2)));
  EXPECT_THAT(in_channel(channel(1)), IsEmpty());
  EXPECT_THAT(in_channel(channel(2)), ElementsAre("t"));
}

TEST_F(RetainedValues, what_is_early_waits_for_its_time_and_survives_a_restart) {
  set("a", "now");
  ASSERT_TRUE(retained->set_at(clock.wall_ms() + 5000, "a", value("a", "later")));
  restart();
  retained->tick();
  EXPECT_THAT(matching("#"), ElementsAre("a=now"));
  clock.advance(5s);
  retained->tick();
  EXPECT_THAT(matching("#"), ElementsAre("a=later"));
  restart();
  EXPECT_THAT(matching("#"), ElementsAre("a=later"));
  EXPECT_EQ(store.rows(Table::retained).size(), 1u) << "its row went with it";
}

TEST_F(RetainedValues, of_what_is_early_on_a_topic_the_next_one_and_the_newest_wait) {
  const WallMs now = clock.wall_ms();
  const auto early = [&](const char* payload, WallMs after) {
    return retained->set_at(now + after, "t", value("t", payload, hybrid_from(now + after) + ++counter, channel(1)));
  };
  for (int seconds = 10; seconds <= 50; seconds += 10)
    EXPECT_TRUE(early(std::to_string(seconds).c_str(), static_cast<WallMs>(seconds) * 1000));
  EXPECT_TRUE(early("late to come", 30'000));
  EXPECT_TRUE(early("the same moment", 50'000));
  EXPECT_EQ(retained->use(channel(1)).count, 2u);
  restart();
  EXPECT_EQ(retained->use(channel(1)).count, 2u);
  clock.advance(49s);
  retained->tick();
  EXPECT_THAT(matching("#"), ElementsAre("t=10")) << "a writer that goes on does not put it off for ever";
  clock.advance(1s);
  retained->tick();
  EXPECT_THAT(matching("#"), ElementsAre("t=the same moment"));
  EXPECT_EQ(retained->use(channel(1)).count, 1u);
  store.seal();
  EXPECT_EQ(store.rows(Table::retained).size(), 1u);
}

TEST_F(RetainedValues, what_is_early_counts_while_it_waits) {
  const WallMs at = clock.wall_ms() + 5000;
  const auto now = value("t", "12", 0, channel(1)), later = value("t", "3456", hybrid_from(at), channel(1));
  const auto other = value("u", "7", hybrid_from(at), channel(2));
  set("t", now);
  ASSERT_TRUE(retained->set_at(at, "t", later));
  ASSERT_TRUE(retained->set_at(at, "u", other));
  for (int start = 0; start < 2; ++start) {
    EXPECT_EQ(retained->use().count, 3u);
    EXPECT_EQ(retained->use().bytes, bytes_of(now) + bytes_of(later) + bytes_of(other));
    EXPECT_EQ(retained->use(channel(1)).count, 2u);
    EXPECT_EQ(retained->use(channel(1)).bytes, bytes_of(now) + bytes_of(later));
    EXPECT_EQ(retained->use(channel(2)).count, 1u);
    EXPECT_EQ(retained->use(channel(2)).bytes, bytes_of(other));
    restart();
  }
  retained->erase_channel(channel(2));
  EXPECT_EQ(retained->use(channel(2)).count, 0u);
  clock.advance(5s);
  retained->tick();
  EXPECT_EQ(retained->use().count, 1u);
  EXPECT_EQ(retained->use().bytes, bytes_of(later));
  retained->erase_channel(channel(1));
  EXPECT_EQ(retained->use().bytes, 0u);
}

TEST_F(RetainedValues, what_is_early_is_bounded_by_the_bytes_of_all) {
  constexpr std::size_t part = limits::retained_bytes_max / 4;
  const WallMs at = clock.wall_ms() + 1000;
  const auto large = sized(part);
  for (const auto* topic : {"a", "b"}) ASSERT_TRUE(retained->set_at(at, topic, large));
  ASSERT_TRUE(set("c", large));
  EXPECT_TRUE(retained->has_room("d", part));
  EXPECT_FALSE(retained->has_room("d", part + 1)) << "for what comes in time";
  EXPECT_FALSE(retained->set_at(at, "d", sized(part + 1)));
  EXPECT_TRUE(retained->set_at(at + 1, "a", large));
  EXPECT_FALSE(retained->set_at(at, "d", sized(1000)));
  EXPECT_FALSE(retained->set_at(at + 2, "a", sized(part + 1)));
  EXPECT_TRUE(retained->set_at(at + 2, "a", large)) << "it takes the place of the one before it";
}

TEST_F(RetainedValues, are_bounded_by_their_bytes) {
  constexpr std::size_t part = limits::retained_bytes_max / 4;
  const auto large = sized(part);
  for (const auto* topic : {"a", "b", "c"}) ASSERT_TRUE(set(topic, large));

  EXPECT_TRUE(retained->has_room("d", part));
  EXPECT_FALSE(retained->has_room("d", part + 1));
  EXPECT_TRUE(retained->has_room("a", 2 * part)) << "it replaces a part";
  EXPECT_FALSE(retained->has_room("a", 2 * part + 1));
  ASSERT_TRUE(set("a", tombstone()));
  EXPECT_TRUE(retained->has_room("d", 2 * part));
}

TEST_F(RetainedValues, know_what_they_take_altogether_and_of_a_channel) {
  const auto here = value("here", "12"), there = value("there", "345", 0, channel(1));
  set("here", here);
  set("there", there);
  set("gone", value("gone", "6789", 0, channel(1)));
  set("gone", tombstone(channel(1)));
  const auto expect_all = [&] {
    EXPECT_EQ(retained->use().count, 3u);
    EXPECT_EQ(retained->use().bytes, bytes_of(here) + bytes_of(there) + 3) << "3: the tombstone's proof";
    EXPECT_EQ(retained->use(channel(1)).count, 2u);
    EXPECT_EQ(retained->use(channel(1)).bytes, bytes_of(there) + 3);
    EXPECT_EQ(retained->use(channel(2)).bytes, 0u);
  };
  expect_all();
  store.seal();
  retained.emplace(store, clock);
  ASSERT_TRUE(retained->load());
  expect_all();
  retained->erase_channel(channel(1));
  EXPECT_EQ(retained->use().bytes, bytes_of(here));
}

TEST_F(RetainedValues, every_part_of_a_message_counts) {
  Message message;
  message.topic = "1";
  message.payload = Bytes(20);
  const std::size_t plain = message_bytes(message);
  message.properties.content_type = std::string(300, 'x');
  message.properties.response_topic = std::string(4000, 'x');
  message.properties.correlation_data = Bytes(50'000);
  EXPECT_EQ(message_bytes(message), plain + 54'300);
  message.properties.user = {{std::string(100, 'x'), std::string(200, 'x')}};
  EXPECT_GE(message_bytes(message), plain + 54'600);
}

TEST_F(RetainedValues, a_tick_does_a_slice_of_the_work) {
  for (int number = 0; number < 2500; ++number) {
    const auto topic = "t/" + std::to_string(number);
    set(topic, expiring(topic, 1));
  }
  clock.advance(1s);
  std::vector<std::size_t> sizes;
  for (int ticks = 0; ticks < 3; ++ticks) {
    retained->tick();
    sizes.push_back(retained->size());
  }
  EXPECT_THAT(sizes, ElementsAre(1500u, 500u, 0u));
}

RC_GTEST_PROP(RetainedConvergence, any_order_of_the_same_values_ends_the_same, ()) {
  struct Event {
    std::string topic, payload;
    HybridTime time;
  };
  std::vector<Event> events;
  const auto count = *rc::gen::inRange(1, 20);
  for (int at = 0; at < count; ++at)
    events.push_back({*rc::gen::element<std::string>("a", "b"), *rc::gen::element<std::string>("", "x"),
                      static_cast<HybridTime>(at + 1) << 32});
  const auto final_state = [&](const std::vector<std::size_t>& order) {
    ManualClock clock;
    clock.set_wall(1000);
    MemoryStore store;
    Retained retained(store, clock);
    for (auto at : order) {
      RetainedValue value;
      if (!events[at].payload.empty()) {
        auto message = std::make_shared<Message>();
        message->topic = events[at].topic;
        message->payload = to_bytes(events[at].payload);
        value.message = message;
      }
      value.stamp.time = events[at].time;
      value.channel = channel(1);
      retained.set(events[at].topic, value);
    }
    std::map<std::string, HybridTime> out;
    retained.match("#", [&](const std::string& topic, const RetainedValue& v) { out[topic] = v.stamp.time; });
    store.seal();
    return std::pair(out, store.image());
  };
  std::vector<std::size_t> in_order(events.size());
  std::iota(in_order.begin(), in_order.end(), 0);
  auto shuffled = in_order;
  std::ranges::shuffle(shuffled, std::mt19937(*rc::gen::arbitrary<std::uint32_t>()));
  RC_ASSERT(final_state(in_order) == final_state(shuffled));
}

}  // namespace
}  // namespace diot
