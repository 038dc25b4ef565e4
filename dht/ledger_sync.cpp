#include "dht/ledger_sync.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/limits.hpp"
#include "core/merkle.hpp"

namespace diot {

namespace {

constexpr auto blocks_deadline = std::chrono::seconds(5);
constexpr std::size_t blocks_bytes_max = 512 << 10;
constexpr auto freshness = std::chrono::hours(1);         ///< the oldest that the newest block gets
constexpr auto compare_interval = std::chrono::hours(1);  ///< of heads, on links on which nothing happens
constexpr std::size_t double_votes_max = 100;
/// How long a witness listens that comes back when others may have succeeded it: links are there within seconds.
constexpr auto listening = std::chrono::seconds(30);

}  // namespace

LedgerSync::LedgerSync(OverlayContext& context, const KeyPair* witness, std::function<void()> changed,
                       const CatchUpBounds& catch_up, bool archive, const HistoryBounds& history)
    : context_(context),
      key_(witness),
      changed_(std::move(changed)),
      succession_(context, witness,
                  {[this](const Bytes& block) { on_decided(block); },
                   [this](const BlockHeader& header, std::uint32_t index) -> Result<BlockView::Vote> {
                     if (decides_alone()) return fail(Errc::not_permitted, "this node decides the blocks itself");
                     return witness_->precommit_succession(header, index);
                   }}),
      forks_(context,
             [this](const Fork& fork) {
               for (const auto& lie : double_votes_in(fork, context_.ledger.witnesses_at(fork.height()).keys()))
                 blame(lie);
             }),
      cosignatures_(context, witness),
      catch_up_(context, catch_up, peers_,
                LedgerCatchUp::Calls{[this](LinkId link) {
                                       head_moved({});
                                       history_.load();
                                       ask(link, context_.ledger.head().height + 1);
                                     },
                                     [this](LinkId link) { ask(link, context_.ledger.head().height + 1); }}),
      history_(context, peers_, LedgerHistory::Keeping{archive, [this] { return is_or_becomes_witness(); }, history}) {
  if (!witness) return;
  witness_.emplace(
      context_, *witness, pool_,
      WitnessSync::Calls{[this](const Bytes& block) { on_decided(block); }, [this](LinkId link) { tell_head(link); },
                         [this](const DoubleVote& evidence) { blame(evidence); }});
}

void LedgerSync::blame(const DoubleVote& evidence) {
  if (double_votes_.size() == double_votes_max) double_votes_.erase(double_votes_.begin());
  double_votes_.push_back(evidence);
  accusations_.push_back(evidence);
}

void LedgerSync::load() {
  loaded_at_ = context_.clock.monotonic();
  durable_head_ = context_.ledger.head();
  forks_.load();
  if (witness_) witness_->load();
  succession_.load();
  history_.load();
}

bool LedgerSync::is_witness() const {
  return key_ &&
         std::ranges::find(context_.ledger.witnesses(), key_->public_key()) != context_.ledger.witnesses().end();
}

bool LedgerSync::listens() const {
  const auto silence = std::chrono::milliseconds(limits::succession_silence - freshness);
  return context_.clock.monotonic() < loaded_at_ + listening && context_.ledger.head().height > 0 &&
         context_.clock.wall_ms() >= context_.ledger.head_time() + static_cast<WallMs>(silence.count());
}

bool LedgerSync::decides_alone() const { return is_witness() && context_.ledger.witnesses().size() == 1; }

std::vector<Witness> present_and_coming(const Ledger& ledger) {
  const auto& record = ledger.network_record();
  auto out = record.witnesses.members;
  if (record.next_set)
    out.insert(out.end(), record.next_set->witnesses.members.begin(), record.next_set->witnesses.members.end());
  for (auto& [key, node] : out)
    if (const NodeId same(key.bytes); node == NodeId{} && ledger.handle_of(same)) node = same;
  return out;
}

/// By the nodes that the ledger names; where a genesis names none, by what they say.
void LedgerSync::find_witnesses() {
  std::set<NodeId> nodes;
  for (const auto& [key, node] : present_and_coming(context_.ledger)) nodes.insert(node);
  const bool nameless = nodes.erase(NodeId{}) != 0;
  for (const auto& [link, member] : members_) {
    const bool witness = nodes.contains(member.node) || (nameless && member.says_so);
    if (witness == witnesses_.contains(link)) continue;
    if (witness) {
      witnesses_.insert(link);
      if (witness_) witness_->link_up(link);
      next_offer_ = {};
      if (is_witness())
        cosign();
      else
        for (auto& [number, item] : pool_.items()) ask_around(item);
    } else {
      witnesses_.erase(link);
      if (witness_) witness_->link_down(link);
    }
  }
}

bool LedgerSync::is_or_becomes_witness() const {
  const auto all = present_and_coming(context_.ledger);
  return key_ && std::ranges::find(all, key_->public_key(), &Witness::key) != all.end();
}

std::set<NodeId> LedgerSync::wanted() const {
  auto out = wanted_for_blocks();
  out.merge(history_.wanted());
  return out;
}

std::set<NodeId> LedgerSync::wanted_for_blocks() const {
  std::set<NodeId> out;
  if (!is_or_becomes_witness()) {
    if (pool_.empty() || witnesses_.size() >= enough_witnesses()) return out;
    auto nodes = witnesses_to_dial();
    // Twice as many as it takes, as a third may be away; each node begins with others.
    nodes.resize(std::min(nodes.size(), 2 * enough_witnesses()));
    return {nodes.begin(), nodes.end()};
  }
  for (const auto& [key, node] : present_and_coming(context_.ledger))
    if (node != NodeId{} && node != context_.self()) out.insert(node);
  return out;
}

/// What proves that a witness lied goes into the ledger, whoever of us brings it.
void LedgerSync::accuse() {
  const auto& liars = context_.ledger.network_record().liars;
  for (auto& evidence : std::exchange(accusations_, {})) {
    if (liars.contains(evidence.witness)) continue;
    auto entry = make_entry(EvidenceBody{evidence}, context_.network(), context_.ledger.head(), {context_.node});
    submit(std::move(entry), [this, evidence](const Result<std::uint64_t>& height) {
      const bool later = !height && height.error().code == Errc::timed_out;
      if (later && accusations_.size() < double_votes_max) accusations_.push_back(evidence);
    });
  }
}

void LedgerSync::link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass kind) {
  if (kind != LinkClass::member) return;
  members_[link] = {peer, (hello.features & feature_witness) != 0};
  history_.link_up(link, peer);
  succession_.link_up(link);
  find_witnesses();
  on_head(link, hello.checkpoint);
  // Our hello may be older than a block that came to disk while the link came up.
  if (hello.checkpoint.height < durable_head_.height) tell_head(link);
}

void LedgerSync::link_down(LinkId link) {
  peers_.erase(link);
  asked_.erase(link);
  catch_up_.link_down(link);
  history_.link_down(link);
  members_.erase(link);
  witnesses_.erase(link);
  if (witness_) witness_->link_down(link);
  succession_.link_down(link);
  forks_.link_down(link);
  std::vector<Hash> orphans;
  std::erase_if(asks_, [&](const auto& ask) {
    if (ask.second.link != link) return false;
    if (auto* item = pool_.find(ask.second.entry)) {
      item->asked.erase(ask.first);
      orphans.push_back(ask.second.entry);
    }
    return true;
  });
  for (const auto& orphan : orphans) settle(orphan);
}

bool LedgerSync::on_frame(LinkId link, FrameType type, ByteView body) {
  const auto with = [&](const auto& decoded, const auto& use) {
    if (decoded) use(*decoded);
    return decoded.has_value();
  };
  switch (type) {
    case FrameType::ledger_head:
      return with(wire::decode_ledger_head(body), [&](const auto& head) { on_head(link, head); });
    case FrameType::ledger_get: return with(wire::decode_ledger_get(body), [&](auto height) { on_get(link, height); });
    case FrameType::ledger_blocks:
      return with(wire::decode_ledger_blocks(body), [&](const auto& blocks) { on_blocks(link, blocks); });
    case FrameType::submit:
      return with(wire::decode_submit(body), [&](const auto& submit) { on_submit(link, submit); });
    case FrameType::submitted:
      return with(wire::decode_submitted(body), [&](const auto& submitted) { on_submitted(link, submitted); });
    case FrameType::entries:
      return with(wire::decode_entries(body), [&](const auto& entries) { on_entries(link, entries); });
    case FrameType::ledger_ask: return catch_up_.on_ask(link, body);
    case FrameType::ledger_part:
      if (!history_.on_part(link, body)) catch_up_.on_part(link, body);
      return true;
    case FrameType::proposal:
      if (auto* witness = awake_witness()) witness->on_proposal(link, body);
      return true;
    case FrameType::vote:
      if (auto* witness = awake_witness()) witness->on_vote(link, body);
      return true;
    case FrameType::agreement_state:
      if (auto* witness = awake_witness()) witness->on_state(link, body);
      return true;
    case FrameType::succession: return succession_.on_frame(link, body);
    case FrameType::cosignature:
      if (is_witness() && !cosignatures_.on_note(as_text(body))) context_.count("cosignatures refused");
      return true;
    default: return false;
  }
}

// Blocks -----------------------------------------------------------------------------------------------------

void LedgerSync::tell_head(LinkId link) {
  context_.links->send(link, FrameType::ledger_head, {wire::encode_ledger_head(durable_head_)});
}

/// Also on links on which no block comes: what a liar tells one of us the others hear of within the hour.
void LedgerSync::compare() {
  const Monotonic now = context_.clock.monotonic();
  if (now < next_compare_) return;
  if (next_compare_ != Monotonic{})
    for (const auto& [link, member] : members_) tell_head(link);
  next_compare_ = now + compare_interval;
}

/// What is on disk, to the other witnesses.
void LedgerSync::cosign() {
  if (!is_witness() || decides_alone() || witnesses_.empty() || durable_head_ != context_.ledger.head()) return;
  const auto note = cosignatures_.sign();
  for (const LinkId link : witnesses_) context_.links->send(link, FrameType::cosignature, {as_bytes(note)});
}

void LedgerSync::on_head(LinkId link, const Checkpoint& head) {
  const auto known = std::exchange(peers_[link], head);
  if (known == head && asked_.contains(link)) return;  // said twice, as when a link comes up
  const auto own = context_.ledger.block_at(head.height);
  if (own && *own != head.block) {
    const auto member = members_.find(link);
    return member == members_.end() ? void() : forks_.suspect(link, member->second.node, head.height);
  }
  if (catch_up_.on_head(head.height)) return;
  if (head.height > context_.ledger.head().height) ask(link, context_.ledger.head().height + 1);
}

void LedgerSync::ask(LinkId link, std::uint64_t height) {
  asked_[link] = context_.clock.monotonic() + blocks_deadline;
  context_.links->send(link, FrameType::ledger_get, {wire::encode_ledger_get(height)});
}

void LedgerSync::on_get(LinkId link, std::uint64_t from_height) {
  std::vector<Bytes> blocks;
  std::size_t bytes = 0;
  Bytes next;
  // Where the blocks before were never here, the first ones that are: the peer sees what is missing.
  auto scanned = context_.store.scan(Table::block, block_key(from_height), {}, [&](ByteView key, ByteView block) {
    if (!next.empty() && !equal(key, next)) return false;
    next = block_key(ByteReader(key).u64() + 1);
    blocks.push_back(to_bytes(block));
    bytes += block.size();
    return bytes < blocks_bytes_max;
  });
  if (!scanned) context_.count("ledger reads that failed");
  context_.links->send(link, FrameType::ledger_blocks, {wire::encode_ledger_blocks(blocks)});
}

/// Block times are those of the witnesses; the one that gives a thief of the succession key the network is not.
static bool is_early_succession(const BlockView& block, WallMs now) {
  if (block.entries.size() != 1 || block.header.time <= now) return false;
  const auto entry = decode_entry(block.entries.front());
  return entry && std::holds_alternative<SuccessionBody>(entry->body);
}

void LedgerSync::on_blocks(LinkId link, const std::vector<ByteView>& blocks) {
  if (forks_.on_blocks(link, blocks)) return;
  if (asked_.erase(link) == 0) return context_.count("blocks nobody asked for");
  bool grown = false;
  for (ByteView block : blocks) {
    const auto view = decode_block(block);
    if (!view || view->header.height <= context_.ledger.head().height) continue;
    if (is_early_succession(*view, context_.clock.wall_ms())) {
      context_.count("successions before their time");
      break;
    }
    const Checkpoint head = context_.ledger.head();
    if (view->header.height > head.height + 1) return catch_up_.on_missing();
    if (auto appended = context_.ledger.append(block); !appended) {
      context_.count("blocks refused");
      const auto member = members_.find(link);
      if (view->header.height == head.height + 1 && view->header.previous != head.block && member != members_.end())
        forks_.suspect(link, member->second.node, head.height);
      break;
    }
    adopted(to_bytes(block));
    grown = true;
  }
  const auto peer = peers_.find(link);
  if (grown && peer != peers_.end() && peer->second.height > context_.ledger.head().height)
    ask(link, context_.ledger.head().height + 1);
}

void LedgerSync::adopted(const Bytes& block) {
  context_.store.put(Table::block, block_key(context_.ledger.head().height), block);
  context_.turn.touch();
  std::vector<Committed> committed;
  if (!pool_.empty()) {
    const auto view = decode_block(block);
    for (const auto& entry : view->entries)
      for (auto& done : pool_.take(merkle_leaf(entry))) committed.push_back(std::move(done));
  }
  head_moved(std::move(committed));
}

void LedgerSync::head_moved(std::vector<Committed> committed) {
  const Checkpoint head = context_.ledger.head();
  // Told when it is on disk: what was announced is never taken back.
  context_.store.when_durable([this, head, committed = std::move(committed)] {
    durable_head_ = head;
    cosign();
    for (const auto& [link, theirs] : peers_)
      if (theirs.height < head.height) tell_head(link);
    for (const auto& done : committed) done(head.height);
  });
  succession_.on_head();
  find_witnesses();
  changed_();
  if (!witness_) return;
  // What can be in no block any more must not keep the witnesses awake.
  if (is_witness())
    for (const auto& entry : pool_.waiting())
      if (auto good = context_.ledger.check_entry(entry, context_.clock.wall_ms()); !good)
        pool_.refused(entry, good.error());
  witness_->on_head();
}

// Deciding ---------------------------------------------------------------------------------------------------

void LedgerSync::decide_alone(bool may_be_empty) {
  if (!decides_alone() || listens() || (pool_.empty() && !may_be_empty)) return;
  const auto entries = pool_.waiting();
  auto block = context_.ledger.make_block(entries, context_.clock.wall_ms(), *key_,
                                          [&](const Bytes& entry, const Error& why) { pool_.refused(entry, why); });
  if (!block) {
    if (pool_.items().size() == entries.size())  // it is nobody's fault in particular
      for (const auto& entry : entries) pool_.finish(merkle_leaf(entry), tl::unexpected(block.error()));
    return;
  }
  on_decided(*block);
  if (!pool_.empty()) context_.turn.touch();  // what did not fit is for the next one
}

void LedgerSync::on_decided(const Bytes& block) {
  const auto appended = context_.ledger.append(block);
  expect(appended.has_value(), "what the witnesses decided is a good block");
  adopted(block);
}

void LedgerSync::end_turn() {
  decide_alone(false);
  answer();
}

void LedgerSync::answer() {
  for (auto& [done, result] : pool_.take_answers()) done(result);
}

Result<void> LedgerSync::let_witness_vote(std::uint64_t first_height) {
  if (!witness_) return fail(Errc::not_permitted, "this node has no witness key");
  witness_->start_anew(first_height);
  return {};
}

LedgerSync::Status LedgerSync::status() const {
  Status out;
  out.witnesses = context_.ledger.witnesses().size();
  out.needed = quorum_size(out.witnesses);
  out.witness = is_witness();
  if (out.witness && out.witnesses > 1) {
    const auto& agreement = witness_->agreement();
    out.refusal = agreement.refusal();
    out.agreeing = agreement.started();
    out.round = agreement.round();
  }
  out.in_reach = std::min(out.witnesses, witnesses_.size() + (out.witness && out.refusal.empty() ? 1 : 0));
  out.waiting = pool_.items().size();
  out.step = catch_up_.step();
  out.listening = out.witness && listens();
  return out;
}

std::string LedgerSync::Status::text() const {
  if (listening)
    return "the newest block here is days old: for half a minute this witness hears first what others have";
  if (witnesses == 1) return in_reach == 1 ? "the registrar is in reach" : "the registrar is not in reach";
  return fmt::format("{} of {} witnesses are needed, {} {} in reach{}", needed, witnesses, in_reach,
                     in_reach == 1 ? "is" : "are", needed == witnesses ? "; none of them may fail" : "");
}

void LedgerSync::tick() {
  const Monotonic now = context_.clock.monotonic();
  const bool witness = is_witness();
  if (auto* awake = awake_witness(); awake && witness && !decides_alone()) awake->tick();
  const auto head_time =
      context_.ledger.head_time() + static_cast<WallMs>(std::chrono::milliseconds(freshness).count());
  if (decides_alone() && context_.ledger.head().height > 0 && context_.clock.wall_ms() >= head_time) decide_alone(true);
  offer_waiting();
  compare();
  forks_.tick();
  succession_.tick();
  catch_up_.tick();
  history_.tick(catch_up_.step().empty());
  if (!accusations_.empty()) accuse();
  const auto over =
      witness ? fmt::format("the witnesses did not agree within 20 s ({}); the entry stays with them", status().text())
              : fmt::format(
                    "the network's registrar did not answer within 20 s ({}); see `diot peers` "
                    "and try again",
                    status().text());
  pool_.time_out(now, witness, Error{Errc::timed_out, over});
  answer();
  for (auto& [link, deadline] : asked_)
    if (deadline <= now) {
      context_.count("block requests without an answer");
      deadline = now + blocks_deadline;
      context_.links->send(link, FrameType::ledger_get, {wire::encode_ledger_get(context_.ledger.head().height + 1)});
    }
}

}  // namespace diot
