#include "core/ledger/history_fetch.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/storage.hpp"
#include "core/ledger/tiles.hpp"

namespace diot {

void HistoryFetch::aim(std::vector<BlockRange> goal) {
  const bool same = !goal.empty() && !goal_.empty() && goal.front().from == next();
  goal_ = std::move(goal);
  if (same) return;
  waiting_.clear();
  begin_range();
}

void HistoryFetch::postpone() {
  if (goal_.size() < 2) return;
  std::ranges::rotate(goal_, goal_.begin() + 1);
  waiting_.clear();
  begin_range();
}

void HistoryFetch::begin_range() {
  log_.reset();
  rest_.clear();
  rest_from_.reset();
  if (!done()) begin_log(rest_of_log(entries_before(), *ledger_, *store_));
}

bool HistoryFetch::begin_log(std::vector<Hash> rest) {
  const auto entries = entries_before();
  if (rest.size() != entries % tile_width) return false;
  const auto& full = ledger_->tiles();
  log_ = LogTiles{{full.begin(), full.begin() + static_cast<std::ptrdiff_t>(entries / tile_width)}, std::move(rest)}
             .frontier();
  return true;
}

Bytes HistoryFetch::ask() const {
  expect(!done(), "nothing is to be asked");
  if (log_) return encode_ask(BlocksAsk{next()});
  return encode_ask(LogAsk{entries_before(), entries_before() / tile_width});
}

Result<void> HistoryFetch::take(LedgerPart part, std::uint64_t from) {
  auto* log = std::get_if<LogPart>(&part);
  auto* blocks = std::get_if<BlocksPart>(&part);
  if (done() || (log_ ? !blocks : !log)) return fail(Errc::invalid, "another part of the ledger than was asked for");
  if (log) {
    if (!begin_log(log->hashes)) return fail(Errc::not_found, "it has not got the hashes before the older blocks");
    rest_ = std::move(log->hashes);
    rest_from_ = from;
    return {};
  }
  if (blocks->blocks.empty()) return fail(Errc::not_found, "it has not got the older blocks");
  waiting_.assign(std::move_iterator(blocks->blocks.begin()), std::move_iterator(blocks->blocks.end()));
  waiting_from_ = from;
  return {};
}

Result<void> HistoryFetch::judge(ByteView bytes) {
  const auto height = next();
  const auto wrong = [&](std::string_view why) {
    return fail(Errc::invalid, fmt::format("block {}: {}", height, why));
  };
  const auto block = decode_block(bytes);
  if (!block) return wrong(block.error().message);
  if (block->hash != ledger_->blocks()[height].hash) return wrong("it is another one than the chain names");
  if (auto decided = check_votes(*block, ledger_->witnesses_at(height).keys()); !decided)
    return wrong(decided.error().message);
  auto log = *log_;
  for (const auto& entry : block->entries) log.append(merkle_leaf(entry));
  if (log.root() != block->header.log_root) return wrong("its entries, or the hashes before them, are wrong");
  log_ = std::move(log);
  return {};
}

/// Takes one height out of them.
static void remove(std::vector<BlockRange>& ranges, std::uint64_t height) {
  const auto at = std::ranges::lower_bound(ranges, height, {}, &BlockRange::to);
  if (at == ranges.end() || at->from > height) return;
  const auto [from, to] = *at;
  const auto next = ranges.erase(at);
  const auto behind = to > height ? ranges.insert(next, {height + 1, to}) : next;
  if (from < height) ranges.insert(behind, {from, height - 1});
}

Result<void> HistoryFetch::judge_next() {
  expect(has_waiting() && !done() && log_, "a block is there to be judged");
  Bytes bytes = std::move(waiting_.front());
  waiting_.pop_front();
  if (auto good = judge(bytes); !good) {
    waiting_.clear();
    // Nobody can say whose fault it is if the hashes before it came from somebody else: both are asked for again.
    const bool of_others = rest_from_ && *rest_from_ != waiting_from_;
    if (rest_from_) begin_range();
    return of_others ? Result<void>() : good;
  }
  const auto height = next();
  if (rest_from_) store_rest(ledger_->blocks()[height - 1].entries, rest_, *store_);
  rest_.clear();
  rest_from_.reset();
  store_->put(Table::block, block_key(height), std::move(bytes));
  remove(missing_, height);
  store_missing(missing_, *store_);
  if (goal_.front().from++ != goal_.front().to) return {};
  goal_.erase(goal_.begin());
  const bool follows = !done() && next() == height + 1;
  if (follows) return {};
  waiting_.clear();
  begin_range();
  return {};
}

}  // namespace diot
