#pragma once
// Witnesses on one table: what one sends the others get, when the test says so, unless it is taken away.

#include <deque>
#include <functional>
#include <memory>
#include <set>

#include "core/ledger/agreement.hpp"
#include "tests/core/ledger_world.hpp"
#include "tests/core/manual_clock.hpp"

namespace diot::testing {

struct Pool final : EntrySource {
  std::vector<Bytes> entries;
  std::vector<std::pair<Bytes, Error>> refusals;
  std::vector<Bytes> waiting() override { return entries; }
  bool empty() const override { return entries.empty(); }
  void refused(const Bytes& entry, const Error& why) override {
    refusals.emplace_back(entry, why);
    std::erase(entries, entry);
  }
};

class Witnesses {
 public:
  struct Member {
    Member(Ledger of, const KeyPair& witness, const ManualClock& clock)
        : ledger(std::move(of)), key(witness), agreement(std::make_unique<Agreement>(ledger, key, clock, pool)) {
      memory = Agreement::new_memory(key.public_key(), 2);
    }
    Ledger ledger;
    KeyPair key;
    Pool pool;
    std::unique_ptr<Agreement> agreement;
    std::optional<Bytes> memory, value;  ///< its disk
    std::vector<DoubleVote> caught;
    std::vector<Justification> justifications;
    bool up = true;
  };

  explicit Witnesses(std::size_t n) : world(n) {
    clock.set_wall(start_ms);
    for (std::size_t i = 0; i < n; ++i)
      members.push_back(std::make_unique<Member>(world.ledger(), world.witnesses[i], clock));
    for (auto& member : members) member->agreement->load(member->memory, member->value);
    collect();
  }

  Member& operator[](std::size_t i) { return *members[i]; }

  /// An entry has reached everybody.
  void submit(const Bytes& entry) {
    for (auto& member : members) {
      member->pool.entries.push_back(entry);
      if (member->up) member->agreement->tick();
    }
    collect();
  }
  /// Everything that is under way arrives, and what comes of it.
  void deliver() {
    collect();
    while (!flights.empty()) {
      const auto flight = std::move(flights.front());
      flights.pop_front();
      auto& to = *members[flight.to];
      if (!to.up || (drop && drop(flight.from, flight.to, flight.message))) continue;
      (void)hand(flight.to, flight.message);
      collect();
    }
  }
  Result<bool> hand(std::size_t to, const Agreement::Send& message) {
    return message.kind == Agreement::Send::Kind::vote ? members[to]->agreement->on_vote(message.bytes)
                                                       : members[to]->agreement->on_proposal(message.bytes);
  }
  void pass(std::chrono::milliseconds time) {
    clock.advance(time);
    for (auto& member : members)
      if (member->up) member->agreement->tick();
    deliver();
  }
  /// Lets time pass until everybody who is up is at that height; false after a minute.
  bool reach(std::uint64_t height) {
    for (int left = 600; left > 0; --left) {
      deliver();
      bool all = true;
      for (auto& member : members) all = all && (!member->up || member->ledger.head().height >= height);
      if (all) return true;
      pass(std::chrono::milliseconds(100));
    }
    return false;
  }
  void stop(std::size_t i) { members[i]->up = false; }
  /// A new process on the same disk.
  void restart(std::size_t i) {
    auto& member = *members[i];
    member.up = true;
    member.agreement = std::make_unique<Agreement>(member.ledger, member.key, clock, member.pool);
    member.agreement->load(member.memory, member.value);
    collect();
  }
  /// Everybody tells everybody what is missing.
  void repair() {
    for (std::size_t from = 0; from < members.size(); ++from)
      for (std::size_t to = 0; to < members.size(); ++to)
        if (from != to && members[from]->up && members[to]->up)
          for (const auto& message : members[from]->agreement->lacking(members[to]->agreement->state()))
            flights.push_back({from, to, message});
    deliver();
  }
  void collect() {
    for (std::size_t i = 0; i < members.size(); ++i) {
      auto& member = *members[i];
      for (auto outputs = member.agreement->take(); !outputs.empty(); outputs = member.agreement->take())
        for (auto& output : outputs) use(i, member, output);
    }
  }

  struct Flight {
    std::size_t from, to;
    Agreement::Send message;
  };

  World world;
  ManualClock clock;
  std::vector<std::unique_ptr<Member>> members;
  std::deque<Flight> flights;
  std::function<bool(std::size_t from, std::size_t to, const Agreement::Send&)> drop;
  std::vector<Bytes> decided;  ///< blocks, as who was first has them

 private:
  void use(std::size_t i, Member& member, Agreement::Output& output) {
    if (auto* persist = std::get_if<Agreement::Persist>(&output)) {
      member.memory = persist->memory;
      if (persist->value) member.value = persist->value;
      member.justifications.insert(member.justifications.end(), persist->justifications.begin(),
                                   persist->justifications.end());
    } else if (auto* send = std::get_if<Agreement::Send>(&output)) {
      for (std::size_t to = 0; to < members.size(); ++to)
        if (to != i) flights.push_back({i, to, *send});
    } else if (auto* made = std::get_if<Agreement::Decided>(&output)) {
      ASSERT_EQ(why(member.ledger.append(made->block)), "");
      const auto block = decode_block(made->block).value();
      for (const auto& entry : block.entries) std::erase(member.pool.entries, entry);
      if (block.header.height == decided.size() + 2) decided.push_back(made->block);
      EXPECT_EQ(decode_block(decided.at(block.header.height - 2))->hash, block.hash) << "two blocks at one height";
      member.agreement->on_head();
    } else if (auto* liar = std::get_if<Agreement::Caught>(&output)) {
      member.caught.push_back(liar->evidence);
    }
  }
};

}  // namespace diot::testing
