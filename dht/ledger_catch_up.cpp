#include "dht/ledger_catch_up.hpp"

#include "core/ledger/storage.hpp"

namespace diot {

static constexpr auto part_deadline = std::chrono::seconds(5);
static constexpr auto pause = std::chrono::seconds(2);

bool LedgerCatchUp::on_head(std::uint64_t height) {
  // Whoever lies about its height costs some questions, and keeps nobody else from being asked.
  const bool far = height > context_.ledger.head().height + bounds_.blocks && height > replay_to_;
  if (far && !fetch_) begin(bounds_.entries);
  if (fetch_ && !asked_) go_on();
  return far && fetch_;
}

void LedgerCatchUp::on_missing() {
  context_.count("peers without the blocks to replay");
  if (!fetch_) begin(0);
  if (!asked_) go_on();
}

void LedgerCatchUp::begin(std::uint64_t entries_min) {
  fetch_.emplace(context_.ledger, context_.store, entries_min);
  failed_.clear();
  deadline_ = {};
}

/// Asks somebody who has the blocks that we know of.
void LedgerCatchUp::go_on() {
  if (fetch_->stage() == SnapshotFetch::Stage::ready) return;
  for (const auto& [link, head] : heads_) {
    if (failed_.contains(link) || head.height < fetch_->height() || head.height <= context_.ledger.head().height)
      continue;
    asked_ = link;
    deadline_ = context_.clock.monotonic() + part_deadline;
    return context_.links->send(link, FrameType::ledger_ask, {fetch_->ask()});
  }
  deadline_ = context_.clock.monotonic() + pause;
}

void LedgerCatchUp::give_up(LinkId link) {
  failed_.insert(link);
  asked_.reset();
  go_on();
}

void LedgerCatchUp::link_down(LinkId link) {
  failed_.erase(link);
  if (asked_ != link) return;
  asked_.reset();
  go_on();
}

void LedgerCatchUp::on_part(LinkId link, ByteView part) {
  if (!fetch_ || asked_ != link) return context_.count("parts of the ledger nobody asked for");
  if (const auto taken = fetch_->take(part, static_cast<std::uint64_t>(link)); !taken) {
    context_.count(taken.error().code == Errc::not_found ? "parts of the ledger that a peer has not got"
                                                         : "parts of the ledger refused");
    return give_up(link);
  }
  asked_.reset();
  using Stage = SnapshotFetch::Stage;
  if (fetch_->stage() == Stage::ready) {
    // Its rows go on from those of the blocks that are here.
    context_.turn.touch();
    return context_.store.when_durable([this, link] {
      if (fetch_ && fetch_->stage() == Stage::ready) finish(link);
    });
  }
  if (fetch_->stage() == Stage::replay) {
    replay_to_ = fetch_->height();
    fetch_.reset();
    return calls_.replay(link);
  }
  asked_ = link;
  deadline_ = context_.clock.monotonic() + part_deadline;
  context_.links->send(link, FrameType::ledger_ask, {fetch_->ask()});
}

void LedgerCatchUp::finish(LinkId link) {
  auto ledger = fetch_->finish(context_.ledger);
  fetch_.reset();
  if (!ledger) return context_.count("snapshots of the ledger refused");  // the next head begins another one
  context_.ledger = std::move(*ledger);
  context_.turn.touch();
  calls_.begun(link);
}

bool LedgerCatchUp::on_ask(LinkId link, ByteView body) {
  const auto ask = decode_ask(body);
  if (!ask) return false;
  context_.links->send(link, FrameType::ledger_part, {encode_part(answer_ask(*ask, context_.ledger, context_.store))});
  return true;
}

void LedgerCatchUp::tick() {
  if (!fetch_ || context_.clock.monotonic() < deadline_) return;
  if (asked_) {
    context_.count("block requests without an answer");
    return give_up(*asked_);
  }
  failed_.clear();
  go_on();
  if (!asked_ && fetch_->height() <= context_.ledger.head().height) fetch_.reset();  // nobody has anything newer
}

}  // namespace diot
