#include "dht/entry_pool.hpp"

#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"

namespace diot {

namespace {
constexpr auto answer_deadline = std::chrono::seconds(20);  // whoever joins waits for 30
constexpr auto keep_max = std::chrono::hours(1);            ///< at a witness: longer and somebody better makes it anew
constexpr std::size_t askers_max = 16;                      ///< of one entry
}  // namespace

EntryPool::Item* EntryPool::find(const Hash& hash) {
  const auto number = numbers_.find(hash);
  return number == numbers_.end() ? nullptr : &items_.at(number->second);
}

EntryPool::Item* EntryPool::add(ByteView entry, const Committed& done, Monotonic now) {
  const Hash hash = merkle_leaf(entry);
  Item* item = find(hash);
  if (!item) {
    if (items_.size() >= limits::submitted_entries_max || entry.size() > limits::entry_bytes_max) return nullptr;
    numbers_[hash] = next_number_;
    item = &items_[next_number_++];
    item->entry = to_bytes(entry);
    item->since = now;
  }
  item->deadline = now + answer_deadline;
  if (done) {
    if (item->done.size() >= askers_max) return nullptr;
    item->done.push_back(done);
  }
  return item;
}

std::vector<Bytes> EntryPool::waiting() {
  std::vector<Bytes> out;
  out.reserve(items_.size());
  for (const auto& [number, item] : items_) out.push_back(item.entry);
  return out;
}

void EntryPool::refused(const Bytes& entry, const Error& why) { finish(merkle_leaf(entry), tl::unexpected(why)); }

std::vector<EntryPool::Committed> EntryPool::take(const Hash& hash) {
  const auto number = numbers_.find(hash);
  if (number == numbers_.end()) return {};
  auto done = std::move(items_.at(number->second).done);
  items_.erase(number->second);
  numbers_.erase(number);
  return done;
}

void EntryPool::finish(const Hash& hash, const Result<std::uint64_t>& result) {
  for (auto& done : take(hash)) answers_.push_back({std::move(done), result});
}

void EntryPool::time_out(Monotonic now, bool keep, const Error& why) {
  std::vector<Hash> over;
  for (auto& [number, item] : items_) {
    if (item.deadline > now) continue;
    if (!keep || item.since + keep_max <= now) {
      over.push_back(merkle_leaf(item.entry));
      continue;
    }
    for (auto& done : std::exchange(item.done, {})) answers_.push_back({std::move(done), tl::unexpected(why)});
  }
  for (const auto& hash : over) finish(hash, tl::unexpected(why));
}

}  // namespace diot
