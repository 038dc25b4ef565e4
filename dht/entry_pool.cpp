#include "dht/entry_pool.hpp"

#include <algorithm>

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"

namespace diot {

namespace {
constexpr auto answer_deadline = std::chrono::seconds(20);  // whoever joins waits for 30
constexpr auto keep_max = std::chrono::hours(1);            ///< at a witness: longer and somebody better makes it anew
constexpr std::size_t askers_max = 16;                      ///< of one entry
constexpr std::size_t stamped_max = limits::submitted_entries_max / 2;
}  // namespace

EntryPool::Item* EntryPool::find(const Hash& hash) {
  const auto number = numbers_.find(hash);
  return number == numbers_.end() ? nullptr : &items_.at(number->second);
}

EntryPool::Item* EntryPool::add(ByteView entry, const Committed& done, Monotonic now) {
  const Hash hash = merkle_leaf(entry);
  Item* item = find(hash);
  if (!item) {
    const auto decoded = decode_entry(entry);
    const bool stamped = decoded && is_stamped(*decoded);
    if (!make_room(stamped) || entry.size() > limits::entry_bytes_max) return nullptr;
    numbers_[hash] = next_number_;
    item = &items_[next_number_++];
    item->entry = to_bytes(entry);
    item->since = now;
    item->stamped = stamped;
    stamped_ += stamped;
  }
  item->deadline = now + answer_deadline;
  if (done) {
    if (item->done.size() >= askers_max) return nullptr;
    item->done.push_back(done);
  }
  return item;
}

bool EntryPool::make_room(bool for_stamped) {
  if (for_stamped) return stamped_ < stamped_max && items_.size() < limits::submitted_entries_max;
  if (items_.size() < limits::submitted_entries_max) return true;
  const auto last = std::find_if(items_.rbegin(), items_.rend(), [](const auto& each) { return each.second.stamped; });
  if (last == items_.rend()) return false;
  finish(merkle_leaf(last->second.entry),
         fail(Errc::limit, "others with an invite came first; hand the entry in again in some minutes"));
  return true;
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
  auto& item = items_.at(number->second);
  auto done = std::move(item.done);
  stamped_ -= item.stamped;
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
  for (const auto& hash : over) finish(hash, tl::unexpected(find(hash)->refusal.value_or(why)));
}

}  // namespace diot
