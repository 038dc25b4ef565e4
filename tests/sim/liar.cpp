#include "core/ledger/agreement.hpp"
#include "tests/sim/ledger_world.hpp"

namespace diot::sim {

std::optional<std::uint32_t> Liar::index_of() const {
  const auto keys = node_.ledger().witnesses();
  const auto at = std::ranges::find(keys, node_.witness_key.public_key());
  if (at == keys.end()) return std::nullopt;
  return static_cast<std::uint32_t>(at - keys.begin());
}

void Liar::vote(VoteKind kind, std::uint64_t height, std::uint32_t round, const Hash& block, LinkId to) {
  const auto index = index_of();
  if (!index) return;
  Vote out{kind, height, round, block, node_.clock.wall_ms(), *index, {}};
  sign_vote(out, node_.world.id, node_.witness_key);
  node_.port().send(to, FrameType::vote, {encode_vote(out)});
}

void Liar::on_frame(FrameType type, ByteView body) {
  if (lie_ == Lie::silent) return;
  Chance& chance = node_.chance;
  if (type == FrameType::entries) {
    if (const auto entries = wire::decode_entries(body))
      for (const ByteView entry : *entries)
        if (entries_.size() < 8) entries_.push_back(to_bytes(entry));
  } else if (type == FrameType::proposal) {
    const auto proposal = decode_proposal(body);
    if (!proposal) return;
    auto& blocks = blocks_[proposal->header.height];
    if (blocks.size() < 4 && std::ranges::find(blocks, proposal->hash) == blocks.end())
      blocks.push_back(proposal->hash);
    height_ = proposal->header.height;
    round_ = proposal->round;
    react(proposal->header.height, proposal->round, proposal->hash, proposal->header.time);
  } else if (type == FrameType::vote) {
    const auto vote = decode_vote(body);
    if (!vote) return;
    height_ = vote->height;
    round_ = std::max(round_, vote->round);
    // Seldom, as liars react to liars too.
    if (lie_ != Lie::collude && chance.percent(30) && std::exchange(may_react_, false))
      react(vote->height, vote->round, vote->block, 0);
  }
  if (lie_ == Lie::garbage && !body.empty() && chance.percent(20) && !node_.links.empty()) {
    Bytes bytes = to_bytes(body);
    chance.one_of(bytes) ^= static_cast<std::uint8_t>(1u << chance.below(8));
    const auto to = std::next(node_.links.begin(), static_cast<std::ptrdiff_t>(chance.below(node_.links.size())));
    node_.port().send(to->first, type, {bytes});
  }
}

void Liar::react(std::uint64_t height, std::uint32_t round, const Hash& block, WallMs time) {
  Chance& chance = node_.chance;
  const auto any = [&]() -> Hash {
    auto& blocks = blocks_[height];
    switch (chance.below(4)) {
      case 0: return Hash{};
      case 1: return chance.id<Hash>();
      case 2: return blocks.empty() ? block : chance.one_of(blocks);
      default: return block;
    }
  };
  for (const auto& [link, home] : node_.links) {
    const auto both = [&](const Hash& prevote, const Hash& precommit) {
      vote(VoteKind::prevote, height, round, prevote, link);
      vote(VoteKind::precommit, height, round, precommit, link);
    };
    switch (lie_) {
      case Lie::waver: both(any(), any()); break;
      case Lie::withhold:
        if (chance.percent(40)) both(block, block);
        break;
      case Lie::stale:
        vote(VoteKind::prevote, height, round + static_cast<std::uint32_t>(chance.below(2000)), any(), link);
        vote(VoteKind::precommit, height, round == 0 ? 0 : round - 1, any(), link);
        vote(VoteKind::precommit, height + chance.below(3) - 1, round, any(), link);
        break;
      case Lie::garbage: both(block, Hash{}); break;
      case Lie::collude:
        if (time != 0 && time % 2 == home % 2) both(block, block);
        break;
      default: break;
    }
  }
}

void Liar::tick() {
  may_react_ = true;
  if (lie_ == Lie::waver || lie_ == Lie::collude || lie_ == Lie::withhold) propose();
}

/// Two blocks for one round, to different witnesses.
void Liar::propose() {
  Ledger& ledger = node_.ledger();
  const std::uint64_t height = ledger.head().height + 1;
  if (height_ != height) round_ = 0;
  const auto n = ledger.witnesses().size();
  const auto index = index_of();
  if (!index) return;
  std::uint32_t round = height_ == height ? round_ : 0;
  if ((height + round) % n != *index) ++round;  // the next one, early
  if ((height + round) % n != *index || entries_.empty() || proposed_.contains({height, round})) return;
  const WallMs now = std::max(node_.clock.wall_ms(), ledger.head_time()) / 2 * 2;
  const auto even = ledger.propose(entries_, now + 2), odd = ledger.propose(entries_, now + 3);
  if (!even || !odd) return entries_.clear();
  proposed_.emplace(height, round);
  for (const auto* made : {&*even, &*odd}) {
    ProposalMessage out;
    out.round = round;
    out.header = made->header;
    out.entries = made->entries;
    sign_proposal(out, node_.witness_key);
    for (const auto& [link, home] : node_.links)
      if (home % 2 == out.header.time % 2 || node_.world.nodes[home]->lie)
        node_.port().send(link, FrameType::proposal, {encode_proposal(out)});
    blocks_[height].push_back(out.hash);
    react(height, round, out.hash, out.header.time);
  }
  node_.touch();
}

}  // namespace diot::sim
