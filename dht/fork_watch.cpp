#include "dht/fork_watch.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "dht/ledger_sync.hpp"

namespace diot {

namespace {
constexpr auto answer_deadline = std::chrono::seconds(10);
constexpr auto judged_again = std::chrono::hours(1);
constexpr std::size_t searches_max = 8;  // at a time; others come again with the peer's next head
}  // namespace

void ForkWatch::load() {
  const auto row = context_.store.get(Table::meta, meta_forks());
  if (row && !*row) return;
  auto forks = row ? decode_forks(**row) : Result<std::vector<Fork>>(tl::unexpected(row.error()));
  if (!forks) return spdlog::error("ledger: what was kept of a fork is unreadable: {}", forks.error().message);
  forks_ = std::move(*forks);
}

void ForkWatch::suspect(LinkId link, const NodeId& peer, std::uint64_t height) {
  if (height == 0) return;  // the genesis is what names the network
  const auto judged = judged_.find(peer);
  if (judged != judged_.end() && context_.clock.monotonic() < judged->second) return;
  if (searches_.contains(link) || searches_.size() >= searches_max) return;
  context_.count("ledger heads that contradict ours");
  Search& search = searches_[link];
  search.peer = peer;
  search.other = height;
  ask(link, search, height);
}

void ForkWatch::ask(LinkId link, Search& search, std::uint64_t height) {
  search.asked = height;
  search.deadline = context_.clock.monotonic() + answer_deadline;
  context_.links->send(link, FrameType::ledger_get, {wire::encode_ledger_get(height)});
}

bool ForkWatch::on_blocks(LinkId link, const std::vector<ByteView>& blocks) {
  const auto found = searches_.find(link);
  if (found == searches_.end() || blocks.empty()) return false;
  Search& search = found->second;
  const auto block = decode_block(blocks.front());
  if (!block || block->header.height != search.asked) return false;
  const auto ours = context_.ledger.block_at(search.asked), before = context_.ledger.block_at(search.asked - 1);
  if (*ours == block->hash) {
    search.same = search.asked;
  } else if (*before == block->header.previous) {
    const Search done = search;
    searches_.erase(found);
    judge(link, done, *block);
    return true;
  } else {
    search.other = search.asked - 1;
  }
  if (search.same >= search.other) {
    bad_peer(link, "its blocks do not follow one another");
    return true;
  }
  ask(link, search, search.same + (search.other - search.same + 1) / 2);
  return true;
}

void ForkWatch::judge(LinkId link, const Search& search, const BlockView& theirs) {
  judged_[search.peer] = context_.clock.monotonic() + judged_again;
  if (auto decided = context_.ledger.check_rival(theirs); !decided) return bad_peer(link, decided.error().message);
  const auto height = theirs.header.height;
  const bool known = std::ranges::any_of(
      forks_, [&](const Fork& fork) { return fork.height() == height && fork.their_block() == theirs.hash; });
  if (known || forks_.size() == forks_max) return;
  const auto stored = context_.store.get(Table::block, block_key(height));
  const auto ours =
      stored && *stored ? decode_block(**stored) : Result<BlockView>(fail(Errc::not_found, "it is not on disk yet"));
  if (!ours) {
    judged_.erase(search.peer);  // the next time, then
    return context_.count("ledger reads that failed");
  }
  forks_.push_back({context_.clock.wall_ms(), search.peer, fork_side(*ours), fork_side(theirs)});
  context_.store.put(Table::meta, meta_forks(), encode_forks(forks_));
  context_.turn.touch();
  const HandleRecord* teller = context_.handles.of(search.peer);
  spdlog::critical(
      "ledger: TWO HISTORIES of this network exist: @{} has block {} as {}, here it is {}, and both were decided by "
      "votes that count; see `diot ledger verify`",
      teller ? teller->handle : "?", height, theirs.hash.hex(), ours->hash.hex());
  found_(forks_.back());
}

void ForkWatch::bad_peer(LinkId link, const std::string& why) {
  if (const auto found = searches_.find(link); found != searches_.end()) {
    judged_[found->second.peer] = context_.clock.monotonic() + judged_again;
    searches_.erase(found);
  }
  context_.count("peers whose ledger is wrong");
  context_.links->close(link, "your ledger is wrong: " + why);
}

void ForkWatch::tick() {
  const Monotonic now = context_.clock.monotonic();
  // Who claims another block and does not show it proves nothing.
  if (std::erase_if(searches_, [&](const auto& each) { return each.second.deadline <= now; }) > 0)
    context_.count("contradictions of the ledger that were not shown");
  std::erase_if(judged_, [&](const auto& each) { return each.second <= now; });
}

}  // namespace diot
