#include "core/ledger/agreement.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {

namespace {

constexpr Hash nil{};
constexpr std::uint32_t rounds_ahead_max = 4;  ///< messages of later rounds are kept for these only
constexpr std::uint32_t rounds_behind_max = 2;
constexpr std::size_t early_proposals_max = 2;

std::size_t at(VoteKind kind) { return static_cast<std::size_t>(kind) - 1; }
std::size_t at(AgreementStep step) { return static_cast<std::size_t>(step); }
WallMs ms_of(std::chrono::milliseconds span) { return static_cast<WallMs>(span.count()); }

}  // namespace

// States -----------------------------------------------------------------------------------------------------------

Bytes encode_agreement_state(const AgreementState& state) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(5);
  out.uint(state.height);
  out.uint(state.round);
  out.uint(state.has_proposal ? 1 : 0);
  for (const auto& votes : state.votes) {
    Bytes bits((votes.size() + 7) / 8);
    for (std::size_t i = 0; i < votes.size(); ++i)
      if (votes[i]) bits[i / 8] |= static_cast<std::uint8_t>(1u << i % 8);
    out.bin(bits);
  }
  return bytes;
}

Result<AgreementState> decode_agreement_state(ByteView bytes) {
  PackReader in(bytes, 8);
  AgreementState out;
  in.array_of(5);
  out.height = in.uint();
  out.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.has_proposal = in.uint(1) == 1;
  for (auto& votes : out.votes)
    for (const std::uint8_t bits : in.bin((limits::witnesses_max + 7) / 8))
      for (int i = 0; i < 8; ++i) votes.push_back((bits >> i & 1) != 0);
  if (!in.done()) return fail(Errc::invalid, "malformed state of an agreement");
  return out;
}

Agreement::Agreement(const Ledger& ledger, const KeyPair& witness, const Clock& clock, EntrySource& entries,
                     Times times)
    : ledger_(ledger), key_(witness), clock_(clock), entries_(entries), times_(times) {}

// What was received ------------------------------------------------------------------------------------------------

Agreement::Round& Agreement::round_at(std::uint32_t number) {
  Round& out = rounds_[number];
  for (auto& votes : out.votes) votes.resize(witnesses_.size());
  return out;
}

bool Agreement::quorum(const Round& round, VoteKind kind) const {
  const auto& slots = round.votes[at(kind)];
  return is_quorum(
      static_cast<std::size_t>(std::ranges::count_if(slots, [](const auto& slot) { return !slot.empty(); })),
      witnesses_.size());
}

std::optional<Hash> Agreement::quorum_value(const Round& round, VoteKind kind) const {
  std::map<Hash, std::size_t> count;
  for (const auto& slot : round.votes[at(kind)])
    for (const auto& vote : slot)
      if (is_quorum(++count[vote.block], witnesses_.size())) return vote.block;
  return std::nullopt;
}

std::vector<BlockView::Vote> Agreement::votes_for(const Round& round, VoteKind kind, const Hash& block) const {
  std::vector<BlockView::Vote> out;
  for (const auto& slot : round.votes[at(kind)])
    for (const auto& vote : slot)
      if (vote.block == block) out.push_back(BlockView::Vote::of(vote));
  return out;
}

bool Agreement::is_valid(Round& round) {
  if (!round.valid)
    // The signature is over the header: somebody on the way may have put other entries behind it.
    round.valid = (value_ && value_->hash == round.proposal->hash && value_->entries == round.proposal->entries) ||
                  ledger_.check_proposal(round.proposal->header, round.proposal->entries).has_value();
  return *round.valid;
}

bool Agreement::freshness_due(std::chrono::milliseconds late) const {
  return clock_.wall_ms() >= ledger_.head_time() + ms_of(times_.freshness) + ms_of(late);
}

/// Proposer-based time: who votes for a new block vouches that its time is about now, and that it is not idle.
bool Agreement::is_timely(const ProposalMessage& proposal) const {
  const WallMs now = clock_.wall_ms(), time = proposal.header.time;
  // If too many clocks are wrong the ledger goes on slowly rather than not at all.
  const auto grown = times_.clock_tolerance * (1 << std::min(proposal.round / 4, 12u));
  const WallMs tolerance = ms_of(std::min<std::chrono::milliseconds>(grown, std::chrono::hours(1)));
  if (time + tolerance < now) return false;
  if (time > now + tolerance && time != ledger_.head_time()) return false;
  if (!proposal.entries.empty() || proposal.round > 0) return true;
  return time + tolerance >= ledger_.head_time() + ms_of(times_.freshness);
}

Result<bool> Agreement::on_proposal(ByteView bytes) {
  if (!votes_here()) return false;
  auto decoded = decode_proposal(bytes);
  if (!decoded) return tl::unexpected(decoded.error());
  ProposalMessage& proposal = *decoded;
  if (proposal.header.height == height_ + 1) {
    const auto have = std::ranges::count(early_, Send::Kind::proposal, &Send::kind);
    if (static_cast<std::size_t>(have) < early_proposals_max) early_.push_back({Send::Kind::proposal, to_bytes(bytes)});
    return false;
  }
  if (decided_ || proposal.header.height != height_ || proposal.round < rules_.round ||
      proposal.round > rules_.round + rounds_ahead_max)
    return false;
  Round& round = round_at(proposal.round);
  if (round.proposal) return false;
  if (proposal.header.network != ledger_.network()) return fail(Errc::invalid, "a proposal for another network");
  const auto proposer = (height_ + proposal.round) % witnesses_.size();
  if (!check_proposal_signature(proposal, witnesses_[proposer]))
    return fail(Errc::invalid, fmt::format("a proposal for round {} that witness {}, whose turn it is, did not sign",
                                           proposal.round, proposer));
  if (auto proven = check_proposal_proof(proposal, witnesses_); !proven) return tl::unexpected(proven.error());
  if (proposer == *index_ && round.votes[at(VoteKind::prevote)][*index_].empty()) {
    // A proposal of ours goes out together with our vote for it: after a restart that vote is remembered.
    lost_memory(
        fmt::format("another witness showed a proposal of ours for block {} that is not in our memory", height_));
    return false;
  }
  round.timely = is_timely(proposal);
  round.proposal = std::move(proposal);
  round.proposal_bytes = to_bytes(bytes);
  if (!started_ && round.proposal->round == 0 && round.timely && is_valid(round)) {
    started_ = true;
    start_round(0);
  }
  run();
  return true;
}

bool Agreement::insert(const Vote& vote) {
  auto& slot = round_at(vote.round).votes[at(vote.kind)][vote.witness];
  if (slot.size() >= 2 || std::ranges::find(slot, vote.block, &Vote::block) != slot.end()) return false;
  slot.push_back(vote);
  return true;
}

Result<bool> Agreement::on_vote(ByteView bytes) {
  if (!votes_here()) return false;
  const auto decoded = decode_vote(bytes);
  if (!decoded) return tl::unexpected(decoded.error());
  const Vote& vote = *decoded;
  if (vote.height == height_ + 1) {
    if (early_.size() < 4 * witnesses_.size()) early_.push_back({Send::Kind::vote, to_bytes(bytes)});
    return false;
  }
  if (decided_ || vote.height != height_ || vote.round + rounds_behind_max < rules_.round) return false;
  if (vote.witness >= witnesses_.size())
    return fail(Errc::invalid,
                fmt::format("a vote of witness {}, of whom there are {}", vote.witness, witnesses_.size()));
  const bool far = vote.round > rules_.round + rounds_ahead_max;
  auto& newest = newest_round_[vote.witness];
  if (far) {
    if (newest && *newest >= vote.round) return false;
  } else {
    const auto& slot = round_at(vote.round).votes[at(vote.kind)][vote.witness];
    if (slot.size() >= 2 || std::ranges::find(slot, vote.block, &Vote::block) != slot.end()) return false;
  }
  if (!check_vote(vote, ledger_.network(), witnesses_[vote.witness]))
    return fail(Errc::invalid, fmt::format("a vote that witness {} did not sign", vote.witness));
  if (vote.witness == *index_ && (!started_ || vote.round >= rules_.round)) {
    lost_memory(fmt::format("another witness showed a vote of ours on block {} that is not in our memory", height_));
    return false;
  }
  newest = std::max(newest.value_or(0), vote.round);
  if (!far) {
    insert(vote);
    const auto& slot = round_at(vote.round).votes[at(vote.kind)][vote.witness];
    if (slot.size() == 2) outputs_.push_back(Caught{make_double_vote(witnesses_[vote.witness], slot[0], slot[1])});
  }
  run();
  return true;
}

// Rounds -----------------------------------------------------------------------------------------------------------

std::chrono::milliseconds Agreement::patience(std::chrono::milliseconds base) const {
  return std::min(base + times_.growth * std::min(rules_.round, 1'000'000u), times_.longest);
}

/// Whoever is a round behind may need our votes of that one to follow, as those of liars may never come again. So what we
/// did not vote for there we vote nil for now, and it is remembered like everything else.
void Agreement::start_round(std::uint32_t number) {
  if (number > 0)
    for (const auto kind : {VoteKind::prevote, VoteKind::precommit})
      if (round_at(number - 1).votes[at(kind)][*index_].empty()) cast(number - 1, {kind, nil});
  if (number > 0 && value_) justify(value_->round, value_->hash, value_->proof);
  rules_.start_round(number);
  timers_ = {};
  timers_[at(AgreementStep::propose)] = clock_.monotonic() + patience(times_.propose);
  if (number > rounds_behind_max) rounds_.erase(rounds_.begin(), rounds_.lower_bound(number - rounds_behind_max));
}

/// L55: where one honest witness is, we go too. It need not be the same round that f + 1 of them name: of f + 1 that
/// are at least that far one is honest, and rounds may be started at any time.
bool Agreement::skip_rounds() {
  std::vector<std::uint32_t> rounds;
  for (std::size_t i = 0; i < newest_round_.size(); ++i)
    if (i != *index_ && newest_round_[i]) rounds.push_back(*newest_round_[i]);
  const auto faults = faults_of(witnesses_.size());
  if (rounds.size() <= faults) return false;
  std::ranges::sort(rounds, std::greater());
  if (started_ && rounds[faults] <= rules_.round) return false;
  started_ = true;
  start_round(rounds[faults]);
  return true;
}

void Agreement::propose() {
  Round& round = round_at(rules_.round);
  if (rules_.step != AgreementStep::propose || !is_proposer() || round.proposal) return;
  ProposalMessage out;
  out.round = rules_.round;
  if (value_) {
    out.valid_round = value_->round;
    out.header = value_->header;
    out.entries = value_->entries;
    out.proof = value_->proof;
  } else {
    const bool may_be_empty = rules_.round > 0 || freshness_due(std::chrono::milliseconds(0));
    if (entries_.empty() && !may_be_empty) return;
    const WallMs now = clock_.wall_ms();
    auto next = ledger_.propose(entries_.waiting(), now,
                                [&](const Bytes& entry, const Error& why) { entries_.refused(entry, why); });
    if (!next && may_be_empty) next = ledger_.propose({}, now);
    if (!next || (next->entries.empty() && !may_be_empty)) return;
    out.header = next->header;
    out.entries = std::move(next->entries);
  }
  sign_proposal(out, key_);
  round.proposal_bytes = encode_proposal(out);
  round.proposal = std::move(out);
  round.timely = round.valid.emplace(true);
  sends_.push_back({Send::Kind::proposal, round.proposal_bytes});
}

RoundView Agreement::view() {
  Round& round = round_at(rules_.round);
  RoundView out;
  if (round.proposal)
    out.proposal = RoundView::Proposal{round.proposal->hash, round.proposal->valid_round,
                                       round.proposal->valid_round.has_value(), is_valid(round), round.timely};
  out.prevoted = quorum_value(round, VoteKind::prevote);
  out.prevotes = quorum(round, VoteKind::prevote);
  out.precommits = quorum(round, VoteKind::precommit);
  return out;
}

void Agreement::cast(std::uint32_t round, const Ballot& ballot) {
  Vote vote{ballot.kind, height_, round, ballot.block, clock_.wall_ms(), *index_, {}};
  expect(round_at(vote.round).votes[at(vote.kind)][*index_].empty(), "a witness votes once");
  sign_vote(vote, ledger_.network(), key_);
  insert(vote);
  sends_.push_back({Send::Kind::vote, encode_vote(vote)});
  dirty_ = true;
}

/// Keeps the block that was seen to be prevoted, with the proof, to propose it when our turn comes.
void Agreement::keep_value() {
  if (!rules_.valid_round || (value_ && value_->round == *rules_.valid_round)) return;
  const Round& round = round_at(*rules_.valid_round);
  auto proof = votes_for(round, VoteKind::prevote, rules_.valid);
  proof.resize(std::min(proof.size(), quorum_size(witnesses_.size())));
  value_ = Value{*rules_.valid_round, round.proposal->header, round.proposal->entries, std::move(proof), rules_.valid};
  dirty_ = value_dirty_ = true;
  if (rules_.round > 0) justify(value_->round, value_->hash, value_->proof);
}

/// Only where the block is another one than before: more prevotes for the same say nothing new.
void Agreement::justify(std::uint32_t round, const Hash& block, const std::vector<BlockView::Vote>& prevotes) {
  if (newest_justified_ == block || justifications_ == limits::justifications_per_height_max) return;
  newest_justified_ = block;
  ++justifications_;
  justified_.push_back(make_justification(height_, round, block, prevotes, witnesses_));
  dirty_ = true;
}

void Agreement::set_timers(const RoundView& view) {
  const auto set = [&](AgreementStep step, std::chrono::milliseconds base) {
    auto& timer = timers_[at(step)];
    if (!timer) timer = clock_.monotonic() + patience(base);
  };
  if (rules_.step == AgreementStep::prevote && view.prevotes) set(AgreementStep::prevote, times_.prevote);
  if (view.precommits) set(AgreementStep::precommit, times_.precommit);
}

/// L49.
bool Agreement::decide() {
  for (const auto& [number, round] : rounds_) {
    const auto block = quorum_value(round, VoteKind::precommit);
    if (!block || *block == nil) continue;
    for (auto& [other, holder] : rounds_) {
      if (!holder.proposal || holder.proposal->hash != *block || !is_valid(holder)) continue;
      decided_ = true;
      flush();
      outputs_.push_back(Decided{encode_block(holder.proposal->header, holder.proposal->entries, number,
                                              votes_for(round, VoteKind::precommit, *block))});
      return true;
    }
  }
  return false;
}

/// Everything that the rules want now.
void Agreement::run() {
  if (!votes_here() || decided_) return;
  for (;;) {
    if (decide()) return;
    if (skip_rounds()) continue;
    if (!started_) break;
    propose();
    const auto seen = view();
    const auto ballot = rules_.advance(seen);
    keep_value();
    if (!ballot) {
      set_timers(seen);
      break;
    }
    if (ballot->kind == VoteKind::prevote && ballot->block != nil && seen.proposal->valid_round)
      justify(*seen.proposal->valid_round, ballot->block, round_at(rules_.round).proposal->proof);
    cast(rules_.round, *ballot);
  }
  flush();
}

void Agreement::flush() {
  if (std::exchange(dirty_, false))
    outputs_.push_back(Persist{memory(), std::exchange(value_dirty_, false) ? std::optional(value()) : std::nullopt,
                               std::exchange(justified_, {})});
  for (auto& send : std::exchange(sends_, {})) outputs_.push_back(std::move(send));
}

void Agreement::tick() {
  if (!votes_here() || decided_) return;
  if (!started_) {
    // Who is not to propose waits a little longer, so that clocks that differ cost no round.
    const auto late = is_proposer() ? std::chrono::milliseconds(0) : times_.clock_tolerance;
    if (entries_.empty() && !freshness_due(late)) return;
    started_ = true;
    start_round(0);
  }
  const Monotonic now = clock_.monotonic();
  for (const auto step : {AgreementStep::propose, AgreementStep::prevote, AgreementStep::precommit}) {
    auto& timer = timers_[at(step)];
    if (!timer || *timer > now) continue;
    if (step == AgreementStep::precommit) {
      start_round(rules_.round + 1);
      break;
    }
    timer = Monotonic::max();  // once a round
    if (const auto ballot = rules_.time_out(step)) cast(rules_.round, *ballot);
  }
  run();
}

Monotonic Agreement::wake_at() const {
  Monotonic out = Monotonic::max();
  if (!votes_here() || decided_) return out;
  for (const auto& timer : timers_)
    if (timer) out = std::min(out, *timer);
  if (started_) return out;
  const Monotonic now = clock_.monotonic();
  if (!entries_.empty()) return now;
  const auto late = is_proposer() ? std::chrono::milliseconds(0) : times_.clock_tolerance;
  const WallMs due = ledger_.head_time() + ms_of(times_.freshness + late), wall = clock_.wall_ms();
  return std::min(out, now + std::chrono::milliseconds(due > wall ? due - wall : 0));
}

void Agreement::forget_height() {
  height_ = ledger_.head().height + 1;
  witnesses_ = ledger_.witnesses();
  const auto own = std::ranges::find(witnesses_, key_.public_key());
  index_.reset();
  if (own != witnesses_.end()) index_ = static_cast<std::uint32_t>(own - witnesses_.begin());
  started_ = decided_ = dirty_ = value_dirty_ = false;
  rules_ = {};
  value_.reset();
  justified_.clear();
  newest_justified_.reset();
  justifications_ = 0;
  rounds_.clear();
  newest_round_.assign(witnesses_.size(), std::nullopt);
  timers_ = {};
  sends_.clear();
}

void Agreement::on_head() {
  if (ledger_.head().height + 1 == height_) return;
  const bool next = ledger_.head().height == height_;
  forget_height();
  resume();
  for (const auto& message : std::exchange(early_, {}))
    if (next) (void)(message.kind == Send::Kind::vote ? on_vote(message.bytes) : on_proposal(message.bytes));
  tick();
}

// Memory -----------------------------------------------------------------------------------------------------------

static Bytes with_checksum(const Bytes& content) {
  const Hash sum = sha256(content);
  Bytes out;
  out.reserve(8 + content.size());
  append(out, sum.view().first(8));
  append(out, content);
  return out;
}

static std::optional<ByteView> without_checksum(ByteView bytes) {
  if (bytes.size() < 8 || !equal(sha256(bytes.subspan(8)).view().first(8), bytes.first(8))) return std::nullopt;
  return bytes.subspan(8);
}

namespace {
struct Memory {
  PublicKey witness;
  std::uint64_t first_height = 0, height = 0;
  std::string refusal;
  AgreementRules rules;
  std::vector<Bytes> votes;
  Bytes succession;  ///< a vote, or nothing
};
}  // namespace

static Bytes encode_memory(const Memory& memory) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(13);
  out.uint(2);
  out.bin(memory.witness);
  out.uint(memory.first_height);
  out.str(memory.refusal);
  out.uint(memory.height);
  out.uint(memory.rules.round);
  out.uint(static_cast<std::uint64_t>(memory.rules.step));
  ledger_codec::write_round(out, memory.rules.locked_round);
  out.bin(memory.rules.locked);
  ledger_codec::write_round(out, memory.rules.valid_round);
  out.bin(memory.rules.valid);
  out.array(memory.votes.size());
  for (const auto& vote : memory.votes) out.bin(vote);
  out.bin(memory.succession);
  return with_checksum(bytes);
}

static std::optional<Memory> decode_memory(ByteView bytes) {
  const auto content = without_checksum(bytes);
  if (!content) return std::nullopt;
  PackReader in(*content, 32);
  Memory out;
  in.array_of(13);
  if (in.uint() != 2) return std::nullopt;
  out.witness = in.id<PublicKey>();
  out.first_height = in.uint();
  out.refusal = in.str(1024);
  out.height = in.uint();
  out.rules.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.rules.step = static_cast<AgreementStep>(in.uint(2));
  out.rules.locked_round = ledger_codec::read_round(in);
  out.rules.locked = in.id<Hash>();
  out.rules.valid_round = ledger_codec::read_round(in);
  out.rules.valid = in.id<Hash>();
  for (auto left = in.array(4); left > 0 && in.ok(); --left) out.votes.push_back(to_bytes(in.bin(256)));
  out.succession = to_bytes(in.bin(256));
  if (!in.done()) return std::nullopt;
  return out;
}

Bytes Agreement::new_memory(const PublicKey& witness, std::uint64_t first_height) {
  Memory memory;
  memory.witness = witness;
  memory.first_height = first_height;
  return encode_memory(memory);
}

Bytes Agreement::memory() const {
  Memory out{key_.public_key(), first_height_, height_, refusal_, rules_, {}, {}};
  if (succession_) out.succession = encode_vote(*succession_);
  for (const auto& [number, round] : rounds_)
    if (number <= rules_.round && number + 1 >= rules_.round)
      for (const auto& votes : round.votes)
        if (index_ && !votes[*index_].empty()) out.votes.push_back(encode_vote(votes[*index_].front()));
  return encode_memory(out);
}

Bytes Agreement::value() const {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(6);
  out.uint(1);
  out.uint(height_);
  out.uint(value_->round);
  out.bin(encode_block_header(value_->header));
  write_block_entries(out, value_->entries);
  write_block_votes(out, value_->proof);
  return with_checksum(bytes);
}

Result<Agreement::Value> Agreement::read_value(ByteView bytes, std::uint64_t height) const {
  const auto content = without_checksum(bytes);
  if (!content) return fail(Errc::corrupt, "checksum");
  PackReader in(*content, block_values_max);
  Value out;
  in.array_of(6);
  const bool known = in.uint() == 1 && in.uint() == height;
  out.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  const auto header = in.bin(block_header_bytes_max);
  out.entries = read_block_entries(in);
  out.proof = read_block_votes(in);
  const auto decoded = decode_block_header(header);
  if (!in.done() || !known || !decoded) return fail(Errc::corrupt, "another form or height");
  out.header = *decoded;
  out.hash = sha256(header);
  return out;
}

void Agreement::load(const Result<std::optional<Bytes>>& memory, const Result<std::optional<Bytes>>& value) {
  constexpr auto why =
      "{}, so this witness does not vote: it might contradict what it voted before. If its key never voted on block {} "
      "or a "
      "later one anywhere, let it vote again";
  const auto next = ledger_.head().height + 1;
  const auto refuse = [&](std::string_view what) { refusal_ = fmt::format(why, what, next); };
  forget_height();
  remembered_.reset();
  succession_.reset();
  if (!memory) return refuse("the memory of its votes is damaged (" + memory.error().message + ")");
  if (!*memory) return refuse("the memory of its votes is missing");
  const auto found = decode_memory(**memory);
  if (!found) return refuse("the memory of its votes is damaged");
  if (found->witness != key_.public_key()) return refuse("the memory of its votes is that of another key");
  refusal_ = found->refusal;
  first_height_ = std::max(found->first_height, found->height);
  if (!refusal_.empty()) return;
  if (!found->succession.empty()) {
    const auto vote = decode_vote(found->succession);
    if (!vote) return refuse("the memory of its votes is damaged");
    succession_ = *vote;
  }
  Remembered remembered{found->height, found->rules, {}, std::nullopt};
  for (const auto& bytes : found->votes) {
    const auto vote = decode_vote(bytes);
    if (!vote) return refuse("the memory of its votes is damaged");
    remembered.votes.push_back(*vote);
  }
  if (found->rules.valid_round) {
    if (!value || !*value) return refuse("the block that it saw prevoted is missing or damaged");
    auto read = read_value(**value, found->height);
    if (!read || read->hash != found->rules.valid) return refuse("the block that it saw prevoted is damaged");
    remembered.value = std::move(*read);
  }
  remembered_ = std::move(remembered);
  resume();
  tick();
}

/// Goes on where it stopped, if that is at this height.
void Agreement::resume() {
  if (!remembered_ || remembered_->height > height_) return;
  const auto remembered = *std::exchange(remembered_, std::nullopt);
  if (remembered.height < height_ || !votes_here()) return;
  rules_ = remembered.rules;
  value_ = remembered.value;
  started_ = true;
  timers_[at(AgreementStep::propose)] = clock_.monotonic() + patience(times_.propose);
  for (auto vote : remembered.votes) {
    vote.witness = *index_;
    insert(vote);
  }
  run();
}

void Agreement::start_anew(std::uint64_t first_height) {
  forget_height();
  remembered_.reset();
  if (succession_ && succession_->height < first_height) succession_.reset();  // a vote that is known stays one
  refusal_.clear();
  first_height_ = first_height;
  dirty_ = true;
  flush();
  tick();
}

Result<BlockView::Vote> Agreement::precommit_succession(const BlockHeader& header, std::uint32_t index) {
  const auto block = block_hash(header);
  if (!refusal_.empty()) return fail(Errc::not_permitted, refusal_);
  if (header.height != height_ || height_ < first_height_ || (remembered_ && remembered_->height >= height_))
    return fail(Errc::not_permitted, fmt::format("this witness votes on block {}, not on block {}",
                                                 std::max(height_, first_height_), header.height));
  if (!succession_ || succession_->height != height_) {
    const auto first = rounds_.find(0);
    const bool precommitted =
        index_ && first != rounds_.end() && !first->second.votes[at(VoteKind::precommit)][*index_].empty();
    if (rules_.round > 0 || precommitted)
      return fail(
          Errc::not_permitted,
          fmt::format("this witness has voted for block {} together with the old witnesses, and would contradict "
                      "itself: leave it out of the succession",
                      height_));
    forget_height();
    // The header's time, as a sole witness' vote must have.
    succession_ = Vote{VoteKind::precommit, height_, 0, block, header.time, index, {}};
    sign_vote(*succession_, ledger_.network(), key_);
    dirty_ = true;
    flush();
  }
  if (succession_->block != block)
    return fail(Errc::not_permitted,
                fmt::format("this witness has voted for another succession in block {}", header.height));
  return BlockView::Vote{index, succession_->time, succession_->signature};
}

void Agreement::lost_memory(std::string why) {
  forget_height();
  refusal_ =
      std::move(why) +
      ": it was restored from a backup, or its key is used by two nodes. It does not vote; if no other node uses "
      "the key, let it vote again";
  dirty_ = true;
  flush();
}

// Catching up ------------------------------------------------------------------------------------------------------

AgreementState Agreement::state() const {
  AgreementState out;
  out.height = height_;
  out.round = rules_.round;
  for (auto& votes : out.votes) votes.resize(witnesses_.size());
  const auto found = rounds_.find(rules_.round);
  if (found == rounds_.end()) return out;
  out.has_proposal = found->second.proposal.has_value();
  for (const auto kind : {VoteKind::prevote, VoteKind::precommit})
    for (std::size_t i = 0; i < witnesses_.size(); ++i)
      out.votes[at(kind)][i] = !found->second.votes[at(kind)][i].empty();
  return out;
}

std::vector<Agreement::Send> Agreement::lacking(const AgreementState& theirs) const {
  std::vector<Send> out;
  if (!votes_here() || theirs.height != height_) return out;
  const auto add = [&](const Round& round, const AgreementState& has) {
    for (const auto kind : {VoteKind::prevote, VoteKind::precommit})
      for (std::size_t i = 0; i < witnesses_.size(); ++i) {
        const auto& bits = has.votes[at(kind)];
        if (i < bits.size() && bits[i]) continue;
        for (const auto& vote : round.votes[at(kind)][i]) out.push_back({Send::Kind::vote, encode_vote(vote)});
      }
  };
  if (const auto theirs_here = rounds_.find(theirs.round); theirs_here != rounds_.end()) {
    const Round& round = theirs_here->second;
    if (round.proposal && !theirs.has_proposal) out.push_back({Send::Kind::proposal, round.proposal_bytes});
    add(round, theirs);
  }
  // Who is behind follows once it sees that f + 1 are ahead, whoever tells it.
  for (auto later = rounds_.upper_bound(theirs.round); later != rounds_.end(); ++later) add(later->second, {});
  // Who is ahead passes our votes on to others in our round, to whom we may have no way.
  if (const auto ours = rounds_.find(rules_.round); rules_.round < theirs.round && ours != rounds_.end())
    for (const auto& votes : ours->second.votes)
      for (const auto& vote : votes[*index_]) out.push_back({Send::Kind::vote, encode_vote(vote)});
  return out;
}

}  // namespace diot
