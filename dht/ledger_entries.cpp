// Entries on their way to the witnesses, and among them.

#include <algorithm>

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"
#include "dht/ledger_sync.hpp"

namespace diot {

namespace {

constexpr std::uint8_t hops_max = 3;
constexpr auto offer_interval = std::chrono::seconds(3);  ///< of what waits, to the other witnesses, again

}  // namespace

void LedgerSync::submit(Bytes entry, Committed done) {
  // A sole witness judges it with the others of this turn, so that one may rest on another.
  if (!decides_alone())
    if (auto good = context_.ledger.check_entry(entry, context_.clock.wall_ms()); !good)
      return done(tl::unexpected(good.error()));
  if (is_witness()) return take_in(entry, {}, std::move(done));
  forward(0, entry, {}, std::move(done));
}

Result<void> LedgerSync::check(ByteView bytes, LinkId from) {
  const auto now = std::max(context_.clock.wall_ms(), context_.ledger.head_time());
  if (auto good = decides_alone() ? Result<void>() : context_.ledger.check_entry(bytes, now, StampCheck::none); !good)
    return good;
  const auto entry = decode_entry(bytes);
  const bool stamped = entry && is_stamped(*entry);
  const auto member = members_.find(from);
  const auto& bucket = is_witness() && witnesses_.contains(from) ? SubmitRate::of_witnesses : SubmitRate::of_nodes;
  if (!rate_.spend(member == members_.end() ? NodeId{} : member->second.node, bucket,
                   SubmitRate::entry_cost + (stamped ? SubmitRate::stamp_cost : 0), context_.clock.monotonic())) {
    context_.count("entries refused because too many came from there");
    return fail(Errc::limit, "too many entries come from this node; try again in a minute");
  }
  return stamped ? context_.ledger.check_entry(bytes, now) : Result<void>();
}

// At a witness -------------------------------------------------------------------------------------------------

void LedgerSync::take_in(ByteView entry, std::optional<LinkId> from, Committed done) {
  const bool known = pool_.find(merkle_leaf(entry)) != nullptr;
  if (!pool_.add(entry, done, context_.clock.monotonic()))
    return done ? done(fail(Errc::limit, "the registrar has too many entries waiting; try again in a minute")) : void();
  context_.turn.touch();
  if (known || decides_alone()) return;
  offer({entry}, from);
  witness_->tick();
}

void LedgerSync::on_entries(LinkId link, const std::vector<ByteView>& entries) {
  if (!is_witness()) return;
  for (ByteView entry : entries)
    if (!pool_.find(merkle_leaf(entry)) && check(entry, link)) take_in(entry, link, {});
}

void LedgerSync::offer(const std::vector<ByteView>& entries, std::optional<LinkId> but) {
  const Bytes body = wire::encode_entries(entries);
  for (const LinkId link : witnesses_)
    if (link != but) context_.links->send(link, FrameType::entries, {body});
}

/// A witness that was away, or behind, when an entry came.
void LedgerSync::offer_waiting() {
  const Monotonic now = context_.clock.monotonic();
  if (!is_witness() || decides_alone() || pool_.empty() || now < next_offer_) return;
  next_offer_ = now + offer_interval;
  std::vector<ByteView> entries;
  for (const auto& [number, item] : pool_.items())
    if (entries.size() < wire::entries_per_frame_max) entries.emplace_back(item.entry);
  offer(entries, {});
}

// Elsewhere ----------------------------------------------------------------------------------------------------

/// So many that one of them is honest.
std::size_t LedgerSync::enough_witnesses() const { return faults_of(context_.ledger.witnesses().size()) + 1; }

/// Those without a link, nearest to this node first, so that nodes spread over them.
std::vector<NodeId> LedgerSync::witnesses_to_dial() const {
  std::set<NodeId> linked;
  for (const LinkId link : witnesses_) linked.insert(members_.at(link).node);
  std::map<Hash, NodeId> by_distance;
  for (const auto& [key, node] : present_and_coming(context_.ledger))
    if (node != NodeId{} && node != context_.self() && !linked.contains(node))
      by_distance[sha256({context_.self().view(), node.view()})] = node;
  std::vector<NodeId> out;
  for (const auto& [distance, node] : by_distance) out.push_back(node);
  return out;
}

void LedgerSync::forward(std::uint8_t hops, ByteView entry, std::optional<LinkId> from, Committed done) {
  const Hash hash = merkle_leaf(entry);
  const bool known = pool_.find(hash) != nullptr;
  auto* item = pool_.add(entry, done, context_.clock.monotonic());
  if (!item) return done(fail(Errc::limit, "too many entries are waiting for the registrar; try again in a minute"));
  context_.turn.touch();
  if (known) return;
  item->hops = hops;
  item->from = from;
  ask_around(*item);
  settle(hash);
}

void LedgerSync::hand(EntryPool::Item& item, LinkId link) {
  const std::uint64_t id = next_id_++;
  item.told.insert(link);
  item.asked.insert(id);
  asks_[id] = {merkle_leaf(item.entry), link};
  context_.links->send(link, FrameType::submit, {wire::encode_submit({id, item.hops, item.entry})});
}

/// To so many witnesses that one of them is honest; while there is no link to any, to one node after the other that may
/// have one.
void LedgerSync::ask_around(EntryPool::Item& item) {
  std::size_t witnesses = 0;
  for (const LinkId link : item.told) witnesses += witnesses_.contains(link);
  for (const LinkId link : witnesses_)
    if (witnesses < enough_witnesses() && link != item.from && !item.told.contains(link)) {
      hand(item, link);
      ++witnesses;
    }
  if (witnesses > 0 || !item.asked.empty()) return;
  for (auto peer = peers_.rbegin(); peer != peers_.rend(); ++peer)
    if (peer->first != item.from && !item.told.contains(peer->first)) return hand(item, peer->first);
}

void LedgerSync::settle(const Hash& hash) {
  auto* item = pool_.find(hash);
  if (!item) return;
  if (item->refusals < enough_witnesses()) {
    if (!item->asked.empty()) return;
    ask_around(*item);
    if (!item->asked.empty() || !witnesses_to_dial().empty()) return;  // or until the time is over
  }
  const Error nobody{Errc::timed_out,
                     "no node is in reach that leads to the network's registrar; try again when `diot peers` shows one "
                     "that is up"};
  pool_.finish(hash, tl::unexpected(item->refusal.value_or(nobody)));
  context_.turn.touch();
}

void LedgerSync::on_submit(LinkId link, const wire::Submit& submit) {
  auto reply = [this, link, id = submit.id](Result<std::uint64_t> height) {
    wire::Submitted submitted{id, height.value_or(0), Errc::invalid, {}};
    if (!height) {
      submitted.code = height.error().code;
      submitted.message = height.error().message;
    }
    context_.links->send(link, FrameType::submitted, {wire::encode_submitted(submitted)});
  };
  const bool known = pool_.find(merkle_leaf(submit.entry)) != nullptr;
  // Here too, so that garbage does not travel.
  if (auto good = known ? Result<void>() : check(submit.entry, link); !good) return reply(tl::unexpected(good.error()));
  if (is_witness()) return take_in(submit.entry, link, std::move(reply));
  if (submit.hops >= hops_max)
    return reply(fail(Errc::timed_out, "the network's registrar is not in reach of the nodes that were asked"));
  forward(static_cast<std::uint8_t>(submit.hops + 1), submit.entry, link, std::move(reply));
}

/// That it is committed we see in our own ledger; that it is refused we believe when so many witnesses say so that one of
/// them is honest, or when nobody is left to ask.
void LedgerSync::on_submitted(LinkId link, const wire::Submitted& submitted) {
  const auto found = asks_.find(submitted.id);
  if (found == asks_.end() || found->second.link != link) return;
  const Hash hash = found->second.entry;
  asks_.erase(found);
  auto* item = pool_.find(hash);
  if (!item || submitted.height != 0) return;
  item->asked.erase(submitted.id);
  item->refusal = Error{submitted.code, submitted.message};
  item->refusals += witnesses_.contains(link);
  settle(hash);
}

}  // namespace diot
