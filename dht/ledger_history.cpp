#include "dht/ledger_history.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/storage.hpp"
#include "core/limits.hpp"

namespace diot {

static constexpr auto part_deadline = std::chrono::seconds(5);
static constexpr auto pause = std::chrono::seconds(10);
static constexpr auto survey_time = std::chrono::seconds(2);
static constexpr auto confirmed_for = std::chrono::hours(24);
static constexpr auto survey_interval = std::chrono::seconds(20);   ///< while something is to be dropped
static constexpr auto judging_max = std::chrono::milliseconds(10);  ///< of the thread's time, in 100 ms
static constexpr std::size_t wanted_max = 4;                        ///< links that are made for this, at a time

// What is for this node to keep -------------------------------------------------------------------------------

void LedgerHistory::load() {
  fetch_.reset();
  asked_.reset();
  surplus_.clear();
  // What a snapshot stands for is read from the disk.
  context_.store.when_durable([this] {
    auto missing = stored_missing(context_.store);
    if (!missing) return context_.count("ledger reads that failed");
    fetch_.emplace(context_.ledger, context_.store, std::move(*missing));
    next_look_ = {};
  });
  context_.turn.touch();
}

void LedgerHistory::fetch() {
  once_ = true;
  next_look_ = {};
}

/// Each node by itself, and all come to the same.
void LedgerHistory::look() {
  next_look_ = context_.clock.monotonic() + keeping_.bounds.look;
  const Placement placement(context_.ledger);
  const auto units = history_units(context_.ledger);
  const auto& missing = fetch_->missing();
  told_ = {};
  told_.everything = keeping_.archive || keeping_.witnesses() || placement.everywhere();
  told_.units = units.size();
  surplus_.clear();
  std::erase_if(confirmed_,
                [&](const auto& each) { return each.second.at + confirmed_for < context_.clock.monotonic(); });
  to_ask_.clear();
  failed_.clear();
  may_have_.clear();
  deadline_ = {};
  const bool all = told_.everything || once_;
  std::vector<BlockRange> goal;
  if (all) goal = missing;
  std::uint64_t entries = 0;
  std::set<NodeId> to_ask;
  for (const auto& unit : units) {
    auto holders = placement.holders(unit.tile);
    const bool own = std::ranges::find(holders, context_.self()) != holders.end();
    told_.own_units += own;
    auto lacking = clipped(missing, unit.blocks);
    if (own && !all) goal.insert(goal.end(), lacking.begin(), lacking.end());
    if (own || all || !lacking.empty()) continue;
    entries += unit.entries;
    for (const auto& node : holders)
      if (!confirmed_.contains(node)) to_ask.insert(node);
    surplus_.push_back({unit, std::move(holders)});
  }
  if (entries < least_entries()) surplus_.clear();
  if (!surplus_.empty()) to_ask_.assign(to_ask.begin(), to_ask.end());
  surveys_left_ = to_ask_.size() / wanted_max + 2;
  if (all && missing.empty()) once_ = false;
  fetch_->aim(std::move(goal));
  store_long_ledger();
}

/// A start replays what lies behind the stored snapshot, at four signatures an entry.
void LedgerHistory::store_long_ledger() {
  const auto base = stored_base(context_.store);
  const auto& blocks = context_.ledger.blocks();
  if (!base || *base >= blocks.size() || blocks.back().entries < blocks[*base].entries + least_entries()) return;
  auto missing = fetch_->missing();
  if (auto stored = store_state(context_.ledger, {}, missing, context_.store); !stored)
    return context_.count("states of the ledger that could not be stored yet");
  context_.count("states of the ledger stored");
  context_.turn.touch();
}

std::set<NodeId> LedgerHistory::wanted() const {
  std::set<NodeId> out;
  const auto add = [&](const std::vector<NodeId>& nodes) {
    for (const auto& node : nodes)
      if (out.size() < wanted_max && node != context_.self()) out.insert(node);
  };
  add(may_have_);
  add(to_ask_);
  return out;
}

void LedgerHistory::link_down(LinkId link) {
  links_.erase(link);
  failed_.erase(link);
  if (asked_ == link) {
    asked_.reset();
    deadline_ = {};
  }
  if (survey_ && survey_->open.erase(link) != 0 && survey_->open.empty()) end_survey();
}

void LedgerHistory::tick(bool idle) {
  const auto now = context_.clock.monotonic();
  if (survey_ && now >= survey_->deadline) end_survey();
  if (!fetch_) return;
  if (asked_ && now >= deadline_) give_up(*asked_, "block requests without an answer");
  if (fetch_->has_waiting()) return judge();
  if (asked_ || !idle) return;
  if (now >= next_look_) look();
  if (!fetch_->done()) {
    if (now >= deadline_) go_on();
  } else if (!surplus_.empty()) {
    confirm(now);
  }
}

// Fetching ----------------------------------------------------------------------------------------------------

void LedgerHistory::give_up(LinkId link, std::string_view counter) {
  context_.count(counter);
  failed_.insert(link);
  asked_.reset();
  deadline_ = {};
}

/// Asks one that may have it; the last one that had some first.
void LedgerHistory::go_on() {
  const auto height = fetch_->next();
  const auto may_have = [&](LinkId link) {
    const auto head = heads_.find(link);
    return head != heads_.end() && head->second.height >= height && !failed_.contains(link);
  };
  std::optional<LinkId> next;
  if (may_have(source_)) next = source_;
  for (auto at = heads_.begin(); !next && at != heads_.end(); ++at)
    if (may_have(at->first)) next = at->first;
  const auto now = context_.clock.monotonic();
  if (!next) {
    trouble_ = heads_.empty() ? "no other node is in reach"
                              : fmt::format("none of the {} linked nodes has block {}", heads_.size(), height);
    failed_.clear();
    fetch_->postpone();
    deadline_ = now + pause;
    // Those that should have it, and the witnesses, which have everything.
    may_have_.clear();
    for (const auto& unit : history_units(context_.ledger))
      if (unit.blocks.from <= height && height <= unit.blocks.to)
        may_have_ = Placement(context_.ledger).holders(unit.tile);
    const auto record = context_.ledger.network_record();
    for (const auto& [key, node] : record.witnesses.members)
      if (node != NodeId{}) may_have_.push_back(node);
    std::erase_if(may_have_, [&](const NodeId& node) {
      return std::ranges::any_of(links_, [&](const auto& link) { return link.second == node; });
    });
    if (!may_have_.empty())
      std::ranges::rotate(may_have_,
                          may_have_.begin() + static_cast<std::ptrdiff_t>(pauses_++ * wanted_max % may_have_.size()));
    return;
  }
  asked_ = next;
  deadline_ = now + part_deadline;
  context_.links->send(*next, FrameType::ledger_ask, {fetch_->ask()});
}

bool LedgerHistory::on_part(LinkId link, ByteView body) {
  const bool surveyed = survey_ && survey_->open.contains(link);
  if (asked_ != link && !surveyed) return false;
  auto part = decode_part(body);
  if (!part && asked_ == link) return give_up(link, "parts of the ledger refused"), true;
  if (!part) return false;
  if (auto* holdings = std::get_if<HoldingsPart>(&*part); holdings && surveyed) {
    survey_->open.erase(link);
    if (const auto peer = links_.find(link); peer != links_.end())
      survey_->answers.push_back({peer->second, std::move(holdings->blocks)});
    if (survey_->open.empty()) end_survey();
    return true;
  }
  if (asked_ != link) return false;
  if (auto taken = fetch_->take(std::move(*part), static_cast<std::uint64_t>(link)); !taken) {
    give_up(link, taken.error().code == Errc::not_found ? "parts of the ledger that a peer has not got"
                                                        : "parts of the ledger refused");
    return true;
  }
  asked_.reset();
  deadline_ = {};
  source_ = link;
  trouble_.clear();
  may_have_.clear();
  if (fetch_->has_waiting())
    judge();
  else
    go_on();
  return true;
}

void LedgerHistory::judge() {
  const auto end = context_.clock.monotonic() + judging_max;
  while (fetch_->has_waiting() && context_.clock.monotonic() < end) {
    if (context_.store.pending_bytes() > limits::store_pending_bytes_max) return;
    if (auto judged = fetch_->judge_next(); !judged) {
      trouble_ = judged.error().message;
      return give_up(source_, "parts of the ledger refused");
    }
    context_.turn.touch();
  }
  if (fetch_->done()) next_look_ = {};
}

// Who has which -----------------------------------------------------------------------------------------------

void LedgerHistory::survey(Surveyed done) {
  if (!survey_) {
    survey_ = Survey{};
    survey_->deadline = context_.clock.monotonic() + survey_time;
    survey_->asked = links_.size();
    for (const auto& [link, peer] : links_) {
      survey_->open.insert(link);
      context_.links->send(link, FrameType::ledger_ask, {encode_ask(HoldingsAsk{})});
    }
  }
  survey_->done.push_back(std::move(done));
  if (survey_->open.empty()) end_survey();
}

void LedgerHistory::end_survey() {
  const auto over = *std::exchange(survey_, std::nullopt);
  for (const auto& done : over.done) done(over.answers, over.asked);
}

/// All records are written then: at most eight for an entry.
std::uint64_t LedgerHistory::least_entries() const {
  return std::max<std::uint64_t>(keeping_.bounds.entries, context_.ledger.handles().size() / 8);
}

static bool holds(const std::vector<BlockRange>& ranges, const BlockRange& unit) {
  return std::ranges::any_of(ranges,
                             [&](const BlockRange& range) { return range.from <= unit.from && unit.to <= range.to; });
}

/// Asks those that should keep what is too much here: those that are linked, and a few others at a time.
void LedgerHistory::confirm(Monotonic now) {
  if (survey_ || now < next_survey_ || surveys_left_ == 0) return;
  --surveys_left_;
  next_survey_ = now + survey_interval;
  survey([this](const std::vector<Holder>& holders, std::size_t) {
    for (const auto& holder : holders) {
      confirmed_[holder.node] = {holder.blocks, context_.clock.monotonic()};
      std::erase(to_ask_, holder.node);
    }
    drop();
    // Who did not answer now is asked after the others.
    if (to_ask_.size() > wanted_max)
      std::rotate(to_ask_.begin(), to_ask_.begin() + static_cast<std::ptrdiff_t>(wanted_max), to_ask_.end());
  });
}

bool LedgerHistory::is_kept(const Surplus& surplus) const {
  return std::ranges::all_of(surplus.holders, [&](const NodeId& node) {
    const auto at = confirmed_.find(node);
    return at != confirmed_.end() && holds(at->second.blocks, surplus.unit.blocks);
  });
}

/// What all of those have that should.
void LedgerHistory::drop() {
  if (!fetch_ || surplus_.empty() || once_ || fetch_->has_waiting()) return;
  std::vector<BlockRange> ranges;
  std::uint64_t entries = 0;
  for (const auto& surplus : surplus_) {
    if (!is_kept(surplus)) continue;
    ranges.push_back(surplus.unit.blocks);
    entries += surplus.unit.entries;
  }
  if (entries < least_entries()) return;
  auto missing = fetch_->missing();
  if (auto dropped = store_state(context_.ledger, ranges, missing, context_.store); !dropped)
    return context_.count("old blocks that could not be dropped yet");
  for (const auto& range : ranges) context_.count("old blocks dropped", range.to - range.from + 1);
  context_.turn.touch();
  fetch_.emplace(context_.ledger, context_.store, std::move(missing));
  asked_.reset();
  surplus_.clear();
  to_ask_.clear();
  next_look_ = {};
}

LedgerHistory::Status LedgerHistory::status() const {
  Status out = told_;
  if (!fetch_) return out;
  out.missing = fetch_->missing();
  for (const auto& surplus : surplus_) out.waiting_units += !is_kept(surplus);
  out.fetching = !fetch_->done();
  if (out.fetching) out.trouble = trouble_;
  return out;
}

}  // namespace diot
