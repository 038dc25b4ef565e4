#include "dht/succession_sync.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"
#include "core/msgpack.hpp"
#include "dht/wire.hpp"

namespace diot {

namespace {

constexpr std::size_t pending_max = 4;                    ///< only the holder of the succession key makes them
constexpr auto tell_interval = std::chrono::seconds(30);  ///< again, for who was behind when it came

Bytes meta_successions() { return to_bytes("successions"); }

/// As frames and blocks have them.
std::vector<BlockView::Vote> list_of(const std::map<std::uint32_t, BlockView::Vote>& votes) {
  std::vector<BlockView::Vote> out;
  for (const auto& [index, vote] : votes) out.push_back(vote);
  return out;
}

}  // namespace

void SuccessionSync::load() {
  const auto row = context_.store.get(Table::meta, meta_successions());
  if (!row || !*row) return;
  PackReader in(**row, 1 + pending_max);
  for (auto left = in.array(pending_max); left > 0 && in.ok(); --left)
    (void)take(in.bin(limits::entry_bytes_max));  // what is void by now is not kept
}

void SuccessionSync::save() {
  Bytes row;
  PackWriter out(row);
  out.array(pending_.size());
  for (const auto& [hash, pending] : pending_) out.bin(pending.entry);
  context_.store.put(Table::meta, meta_successions(), std::move(row));
  context_.turn.touch();
}

Result<const SuccessionSync::Pending*> SuccessionSync::take(ByteView bytes) {
  const auto entry = decode_entry(bytes);
  if (!entry) return tl::unexpected(entry.error());
  const auto* body = std::get_if<SuccessionBody>(&entry->body);
  if (!body) return fail(Errc::invalid, "the entry is no succession");
  if (const auto known = pending_.find(entry->hash); known != pending_.end()) return &known->second;
  auto block = context_.ledger.propose_succession(bytes);
  if (!block) return tl::unexpected(block.error());
  if (pending_.size() >= pending_max)
    return fail(Errc::limit, "other successions are pending already, see `diot witness status`");
  auto& pending = pending_[entry->hash];
  pending = {to_bytes(bytes), body->witnesses, std::move(*block), {}, {}};
  save();
  spdlog::critical(
      "ledger: the holder of the succession key replaces the witnesses, unless they make a block before; see `diot "
      "witness status`");
  tell_all(pending, {});
  return &pending;
}

// Telling -------------------------------------------------------------------------------------------------------

void SuccessionSync::tell(LinkId link, const Pending& pending) {
  context_.links->send(link, FrameType::succession, {wire::encode_succession({pending.entry, list_of(pending.votes)})});
}

void SuccessionSync::tell_all(const Pending& pending, std::optional<LinkId> but) {
  for (const LinkId link : links_)
    if (link != but) tell(link, pending);
}

void SuccessionSync::link_up(LinkId link) {
  links_.insert(link);
  for (const auto& [hash, pending] : pending_) tell(link, pending);
}

bool SuccessionSync::on_frame(LinkId link, ByteView body) {
  const auto told = wire::decode_succession(body);
  if (!told) return false;
  if (!take(told->entry)) return true;  // void here, or of a block that is not here yet: told again
  Pending& pending = pending_.at(merkle_leaf(told->entry));
  bool more = false;
  for (const auto& each : told->votes) {
    if (each.witness >= pending.witnesses.members.size()) return false;
    if (pending.votes.contains(each.witness)) continue;
    const auto& header = pending.block.header;
    if (each.time != header.time || !check_vote(each.precommit(header.height, 0, block_hash(header)),
                                                context_.network(), pending.witnesses.members[each.witness].key)) {
      context_.count("votes and proposals that nobody honest sends");
      return false;
    }
    pending.votes[each.witness] = each;
    more = true;
  }
  if (more && !decide(pending)) tell_all(pending, link);
  return true;
}

// Deciding ------------------------------------------------------------------------------------------------------

void SuccessionSync::vote(const Hash& hash, Pending& pending) {
  const auto keys = pending.witnesses.keys();
  const auto own = key_ ? std::ranges::find(keys, key_->public_key()) : keys.end();
  if (own == keys.end()) return;
  const auto index = static_cast<std::uint32_t>(own - keys.begin());
  if (pending.votes.contains(index)) return;
  // That our operator agreed is the signature of our key in the entry.
  const auto vote = calls_.precommit(pending.block.header, index);
  if (!vote) {
    pending.refusal = vote.error().message;
    return;
  }
  pending.refusal.clear();
  pending.votes[index] = *vote;
  context_.turn.touch();
  context_.store.when_durable([this, hash] {
    const auto found = pending_.find(hash);
    if (found != pending_.end() && !decide(found->second)) tell_all(found->second, {});
  });
}

/// Who is not one of them takes the block too, and does not rest on their clocks.
bool SuccessionSync::decide(const Pending& pending) {
  if (pending.votes.size() < pending.votes_needed() || context_.clock.wall_ms() < pending.possible_from()) return false;
  calls_.decided(encode_block(pending.block.header, pending.block.entries, 0, list_of(pending.votes)));
  return true;
}

void SuccessionSync::on_head() {
  if (pending_.empty()) return;
  const auto dropped = std::erase_if(
      pending_, [&](const auto& each) { return each.second.block.header.height <= context_.ledger.head().height; });
  if (dropped > 0) save();
}

void SuccessionSync::tick() {
  if (pending_.empty()) return;
  const Monotonic now = context_.clock.monotonic();
  const bool again = now >= next_tell_;
  if (again) next_tell_ = now + tell_interval;
  for (auto& [hash, pending] : pending_)
    if (context_.clock.wall_ms() >= pending.possible_from()) vote(hash, pending);
  if (!again) return;
  for (const auto& [hash, pending] : pending_) {
    if (decide(pending)) return;  // and is gone
    tell_all(pending, {});
  }
}

}  // namespace diot
