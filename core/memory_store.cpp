#include "core/memory_store.hpp"

namespace diot {

void MemoryStore::release() {
  held_ = false;
  commit();
  after_commit();
}

void MemoryStore::refuse(std::optional<Error> error) {
  refusal_ = std::move(error);
  commit();
  after_commit();
}

void MemoryStore::when_durable(std::function<void()> done) {
  waiting_.emplace_back(open_.empty() ? open_ticket_ - 1 : open_ticket_, std::move(done));
}

void MemoryStore::seal() {
  if (!writing_ && open_.empty()) {
    durable_ticket_ = open_ticket_++;
  } else if (!writing_) {
    writing_ = std::exchange(open_, {});
    ++open_ticket_;
    commit();
  }
  after_commit();
}

void MemoryStore::commit() {
  if (!writing_ || held_ || refusal_) return;
  for (std::size_t at = 0; at < writing_->size(); ++at) {
    const auto change = writing_->at(at);
    Rows& table = rows(change.table);
    const Bytes key = to_bytes(change.key);
    switch (change.kind) {
      case StoreChanges::Kind::put: table[key] = to_bytes(change.value); break;
      case StoreChanges::Kind::erase: table.erase(key); break;
      case StoreChanges::Kind::erase_range: {
        const Bytes last = to_bytes(change.last);
        if (last.empty() || key < last)
          table.erase(table.lower_bound(key), last.empty() ? table.end() : table.lower_bound(last));
        break;
      }
    }
  }
  writing_.reset();
  durable_ticket_ = open_ticket_ - 1;
}

void MemoryStore::after_commit() {
  if (!deferred_) run_callbacks();
}

void MemoryStore::run_callbacks() {
  if (running_) return;  // a callback sealed: the loop below goes on when it returns
  running_ = true;
  while (!waiting_.empty() && waiting_.front().first <= durable_ticket_) {
    const auto done = std::move(waiting_.front().second);
    waiting_.pop_front();
    done();
  }
  running_ = false;
}

Result<std::optional<Bytes>> MemoryStore::get(Table table, ByteView key) {
  const auto found = rows(table).find(to_bytes(key));
  if (found == rows(table).end()) return std::optional<Bytes>{};
  if (damaged_.contains({table, found->first})) return fail(Errc::corrupt, "a damaged row");
  return std::optional<Bytes>(found->second);
}

Result<void> MemoryStore::scan(Table table, ByteView first, ByteView last,
                               const std::function<bool(ByteView key, ByteView value)>& row,
                               const std::function<void(ByteView key)>& corrupt) {
  const Bytes end = to_bytes(last);
  std::vector<Rows::value_type> snapshot;  // as a database: what the callback commits is not seen by this scan
  for (auto at = rows(table).lower_bound(to_bytes(first)); at != rows(table).end() && (end.empty() || at->first < end);
       ++at)
    snapshot.push_back(*at);
  for (const auto& [key, value] : snapshot) {
    if (damaged_.contains({table, key})) {
      if (corrupt) corrupt(key);
    } else if (!row(key, value)) {
      break;
    }
  }
  return {};
}

}  // namespace diot
