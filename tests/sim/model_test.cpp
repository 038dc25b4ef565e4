// The core promises in the small, explored whole: one writer, one reader, a link, and every order in which they can
// publish, sync, send, lose, die and come back, within a few of each. The rules that decide are the real ones
// (core/cursor). Each property has a variant with one rule broken, in which the exploration must find a violation.

#include <gtest/gtest.h>

#include <algorithm>
#include <compare>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/cursor.hpp"

namespace diot::sim {
namespace {

/// Visits every state that `next` leads to; `wrong` gives the violation, if a state has one. "" if none has.
template <class State>
std::string explore(const State& first, auto next, auto wrong, std::size_t& states) {
  std::set<State> seen{first};
  std::vector<State> open{first};
  while (!open.empty()) {
    const State state = std::move(open.back());
    open.pop_back();
    if (std::string what = wrong(state); !what.empty()) return what;
    next(state, [&](State&& follows) {
      if (seen.insert(follows).second) open.push_back(std::move(follows));
    });
  }
  states = seen.size();
  return "";
}

// Logs ---------------------------------------------------------------------------------------------------------

enum class Broken {
  nothing,
  cursor_before_records,  ///< the reader's place is on disk before what it leads to
  records_before_cursor,  ///< and the other way round
  same_life,              ///< a writer that comes back goes on in the incarnation of before
  no_repair,              ///< a gap is not asked for, but jumped
  early_answer,           ///< acknowledged before it is on disk
};

using Id = std::uint8_t;

struct Batch {
  std::uint64_t life = 0, seq = 0;
  Id previous = 0, hash = 0;  ///< every header ever signed has a hash of its own
  Id record = 0;
  auto operator<=>(const Batch&) const = default;
};
struct Place {
  std::uint64_t life = 0, seq = 0;
  Id header = 0;
  auto operator<=>(const Place&) const = default;
};

Hash hash_of(Id id) {
  Hash out;
  out.bytes[0] = id;
  return out;
}
Cursor cursor_of(const Place& place) { return {{place.life, 0}, place.seq, hash_of(place.header)}; }
Place place_of(const Cursor& cursor) { return {cursor.incarnation.number, cursor.seq, cursor.header.bytes[0]}; }
BatchHeader header_of(const Batch& batch) {
  BatchHeader out;
  out.incarnation = {batch.life, 0};
  out.first_seq = batch.seq;
  out.count = 1;
  out.previous = hash_of(batch.previous);
  return out;
}
Place behind(const Batch& batch) { return place_of(advanced(header_of(batch), hash_of(batch.hash))); }

struct Frame {
  enum Kind : std::uint8_t { batch, gap, get } kind = batch;
  Batch content;
  Place place;
  auto operator<=>(const Frame&) const = default;
};

struct Logs {
  // The writer.
  std::vector<Batch> disk, memory;  ///< memory: not synced yet
  std::vector<Batch> backup;
  std::uint64_t life = 1;
  std::vector<Id> acknowledged;
  std::optional<Place> sent;  ///< to the reader, over the present link
  // The reader.
  Place place, place_on_disk;
  std::vector<Id> got, got_on_disk;  ///< queued for its sessions
  std::optional<Place> asked;
  // Between them.
  bool linked = true;
  std::vector<Frame> to_reader, to_writer;
  // What may still happen.
  std::uint8_t publishes = 3, crashes = 2, breaks = 1, restores = 1;
  Id next_record = 1, next_hash = 1;
  auto operator<=>(const Logs&) const = default;
};

class LogModel {
 public:
  explicit LogModel(Broken broken) : broken_(broken) {}

  Logs first() const {
    Logs out;
    out.place = out.place_on_disk = {1, 0, 0};
    out.sent = out.place;
    return out;
  }

  void next(const Logs& now, auto visit) const {
    const auto with = [&](auto change) {
      Logs then = now;
      change(then);
      visit(std::move(then));
    };
    if (now.publishes > 0) with([&](Logs& s) { publish(s); });
    if (!now.memory.empty()) with([&](Logs& s) { sync_writer(s); });
    if (can_send(now)) with([&](Logs& s) { send(s); });
    if (!now.to_reader.empty()) with([&](Logs& s) { receive(s); });
    if (!now.to_writer.empty()) with([&](Logs& s) { answer(s); });
    if (now.place != now.place_on_disk || now.got != now.got_on_disk) {
      with([&](Logs& s) { sync_reader(s); });
      // What is not one transaction can be torn.
      if (broken_ == Broken::cursor_before_records) with([&](Logs& s) { s.place_on_disk = s.place; });
      if (broken_ == Broken::records_before_cursor) with([&](Logs& s) { s.got_on_disk = s.got; });
    }
    if (now.breaks > 0 && now.linked) with([&](Logs& s) { --s.breaks, unlink(s); });
    if (!now.linked) with([&](Logs& s) { link(s); });
    // A frame that never arrives although the link holds: a reader that let it go, because its disk was behind.
    if (now.breaks > 0 && !now.to_reader.empty())
      with([&](Logs& s) { --s.breaks, s.to_reader.erase(s.to_reader.begin()); });
    if (now.crashes > 0) {
      with([&](Logs& s) { --s.crashes, crash_writer(s); });
      with([&](Logs& s) { --s.crashes, crash_reader(s); });
    }
    if (now.restores > 0 && now.backup.empty() && !now.disk.empty()) with([&](Logs& s) { s.backup = s.disk; });
    if (now.restores > 0 && !now.backup.empty() && now.backup != now.disk)
      with([&](Logs& s) {
        --s.restores;
        s.acknowledged.clear();  // what only its disk held is gone; what comes from now on counts
        s.disk = s.backup;
        crash_writer(s);
      });
  }

  std::string wrong(const Logs& state) const {
    const auto& got = state.got_on_disk;
    for (std::size_t at = 1; at < got.size(); ++at)
      if (got[at] == got[at - 1] || std::ranges::count(got, got[at]) > 1) return "delivered twice";
    if (!std::ranges::is_sorted(got)) return "false order";
    const Logs quiet = settle(state);
    for (const Id record : quiet.acknowledged)
      if (!std::ranges::count(quiet.got_on_disk, record)) return "acknowledged and lost";
    return "";
  }

 private:
  void publish(Logs& s) const {
    --s.publishes;
    const std::vector<Batch>& log = s.memory.empty() ? s.disk : s.memory;
    Batch batch;
    batch.life = s.life;
    batch.seq = !log.empty() && log.back().life == s.life ? log.back().seq + 1 : 1;
    batch.previous = log.empty() ? Id{0} : log.back().hash;
    batch.hash = s.next_hash++;
    batch.record = s.next_record++;
    s.memory.push_back(batch);
    if (broken_ == Broken::early_answer) s.acknowledged.push_back(batch.record);
  }
  void sync_writer(Logs& s) const {
    for (const Batch& batch : s.memory) {
      s.disk.push_back(batch);
      if (broken_ != Broken::early_answer) s.acknowledged.push_back(batch.record);
    }
    s.memory.clear();
  }
  static const Batch* following(const Logs& s) {
    if (!s.linked || !s.sent) return nullptr;
    for (const Batch& batch : s.disk)
      if (batch.life > s.sent->life || (batch.life == s.sent->life && batch.seq > s.sent->seq)) return &batch;
    return nullptr;
  }
  static bool can_send(const Logs& s) { return s.to_reader.size() < 2 && following(s) != nullptr; }
  void send(Logs& s) const {
    const Batch batch = *following(s);
    if (judge(cursor_of(*s.sent), header_of(batch)) != Step::next)
      s.to_reader.push_back({Frame::gap, {}, place_of(before(header_of(batch)))});
    s.to_reader.push_back({Frame::batch, batch, {}});
    s.sent = behind(batch);
  }
  void receive(Logs& s) const {
    const Frame frame = s.to_reader.front();
    s.to_reader.erase(s.to_reader.begin());
    if (frame.kind == Frame::gap) {
      const bool ahead =
          s.place.life < frame.place.life || (s.place.life == frame.place.life && s.place.seq <= frame.place.seq);
      if (ahead) s.place = frame.place;
      return;
    }
    switch (judge(cursor_of(s.place), header_of(frame.content))) {
      case Step::seen:
      case Step::fork: return;
      case Step::gap:
        if (broken_ == Broken::no_repair) break;
        if (s.asked == s.place) return;
        s.asked = s.place;
        s.to_writer.push_back({Frame::get, {}, s.place});
        return;
      case Step::next: break;
    }
    s.asked.reset();
    s.place = behind(frame.content);
    s.got.push_back(frame.content.record);
  }
  void answer(Logs& s) const {
    s.sent = s.to_writer.front().place;
    s.to_writer.erase(s.to_writer.begin());
  }
  static void sync_reader(Logs& s) {
    s.place_on_disk = s.place;
    s.got_on_disk = s.got;
  }
  static void unlink(Logs& s) {
    s.linked = false;
    s.sent.reset();
    s.asked.reset();
    s.to_reader.clear();
    s.to_writer.clear();
  }
  /// The reader says where it is.
  static void link(Logs& s) {
    s.linked = true;
    s.to_writer.push_back({Frame::get, {}, s.place});
  }
  void crash_writer(Logs& s) const {
    s.memory.clear();
    if (broken_ != Broken::same_life) ++s.life;
    unlink(s);
  }
  static void crash_reader(Logs& s) {
    s.place = s.place_on_disk;
    s.got = s.got_on_disk;
    unlink(s);
  }
  /// What becomes of it when nothing goes wrong any more. One more message shows the reader a gap that it has not seen.
  Logs settle(Logs s) const {
    s.publishes = 1;
    s.next_record = 200;
    publish(s);
    for (int steps = 0; steps < 200; ++steps) {
      if (!s.memory.empty())
        sync_writer(s);
      else if (!s.linked)
        link(s);
      else if (!s.to_writer.empty())
        answer(s);
      else if (!s.to_reader.empty())
        receive(s);
      else if (can_send(s))
        send(s);
      else
        break;
    }
    sync_reader(s);
    return s;
  }

  Broken broken_;
};

std::string explore_logs(Broken broken, std::size_t& states) {
  const LogModel model(broken);
  return explore(
      model.first(), [&](const Logs& state, auto visit) { model.next(state, visit); },
      [&](const Logs& state) { return model.wrong(state); }, states);
}

TEST(Model, LogsLoseNothingDoubleNothingAndKeepOrder) {
  std::size_t states = 0;
  EXPECT_EQ(explore_logs(Broken::nothing, states), "");
  EXPECT_GT(states, 10'000u) << "the exploration goes somewhere";
  RecordProperty("states", std::to_string(states));
}

TEST(Model, FindsBrokenRulesOfLogs) {
  std::size_t states = 0;
  EXPECT_EQ(explore_logs(Broken::cursor_before_records, states), "acknowledged and lost");
  EXPECT_EQ(explore_logs(Broken::records_before_cursor, states), "delivered twice");
  EXPECT_EQ(explore_logs(Broken::same_life, states), "acknowledged and lost");
  EXPECT_EQ(explore_logs(Broken::no_repair, states), "acknowledged and lost");
  EXPECT_EQ(explore_logs(Broken::early_answer, states), "acknowledged and lost");
}

}  // namespace
}  // namespace diot::sim
