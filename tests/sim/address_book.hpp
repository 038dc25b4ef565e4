#pragma once
// A directory that is as bad as a DHT may be: late, out of date, and sometimes empty-handed.

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "dht/directory.hpp"
#include "tests/sim/schedule.hpp"

namespace diot::sim {

/// What all homes put, whoever is in reach.
class AddressBook {
 public:
  AddressBook(Schedule& of_world, Chance own_chance) : schedule(of_world), chance(own_chance) {}
  Schedule& schedule;
  Chance chance;
  std::uint64_t misses_percent = 20, stale_percent = 20;
  std::map<std::pair<DirectoryKind, Bytes>, std::vector<Bytes>> records;  ///< oldest first
  std::function<void(ByteView record)> on_publish;
};

/// One process's view of it.
class BookDirectory final : public Directory {
 public:
  BookDirectory(AddressBook& book, const NetworkId& network) : book_(book), network_(network) {}
  ~BookDirectory() override { *alive_ = false; }

  void publish(DirectoryKind kind, ByteView subject, Bytes record) override {
    if (book_.on_publish) book_.on_publish(record);
    book_.schedule.after(book_.chance.between(Time(50ms), Time(2s)),
                         [&book = book_, key = std::pair(kind, to_bytes(subject)), record = std::move(record)] {
                           auto& all = book.records[key];
                           all.push_back(record);
                           if (all.size() > 4) all.erase(all.begin());
                         });
  }
  void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
            std::function<void()> done) override {
    book_.schedule.after(book_.chance.between(Time(50ms), Time(2s)),
                         [this, alive = alive_, key = std::pair(kind, to_bytes(subject)), found, done] {
                           if (*alive) answer(key, found), done();
                         });
  }
  void add_contact(const std::string&) override {}
  Status status() const override { return {}; }

 private:
  void answer(const std::pair<DirectoryKind, Bytes>& key, const std::function<void(const DirectoryRecord&)>& found) {
    const auto at = book_.records.find(key);
    if (at == book_.records.end() || book_.chance.percent(book_.misses_percent)) return;
    const auto& all = at->second;
    const Bytes bytes = book_.chance.percent(book_.stale_percent) ? book_.chance.one_of(all) : all.back();
    if (const auto record = decode_directory_record(bytes, network_)) found(*record);
  }

  AddressBook& book_;
  const NetworkId network_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace diot::sim
