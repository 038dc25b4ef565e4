#include "dht/ledger_sync.hpp"

#include <fmt/format.h>

#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"

namespace diot {

namespace {

constexpr std::uint8_t hops_max = 3;
constexpr auto submit_deadline = std::chrono::seconds(30);
constexpr auto blocks_deadline = std::chrono::seconds(5);
constexpr std::size_t blocks_bytes_max = 512 << 10;

}  // namespace

void LedgerSync::link_up(LinkId link, const Hello& hello, LinkClass kind) {
  if (kind != LinkClass::member) return;
  if (hello.features & feature_witness) witnesses_.insert(link);
  on_head(link, hello.checkpoint);
}

void LedgerSync::link_down(LinkId link) {
  peers_.erase(link);
  asked_.erase(link);
  witnesses_.erase(link);
}

void LedgerSync::on_head(LinkId link, const Checkpoint& head) {
  peers_[link] = head;
  const auto own = context_.ledger.block_at(head.height);
  if (own && *own != head.block) {
    conflict_ = head;
    return context_.count("ledger heads that contradict ours");
  }
  if (head.height > context_.ledger.head().height) ask(link, context_.ledger.head().height + 1);
}

void LedgerSync::ask(LinkId link, std::uint64_t height) {
  asked_[link] = context_.clock.monotonic() + blocks_deadline;
  context_.links->send(link, FrameType::ledger_get, {wire::encode_ledger_get(height)});
}

void LedgerSync::on_get(LinkId link, std::uint64_t from_height) {
  std::vector<Bytes> blocks;
  std::size_t bytes = 0;
  auto scanned = context_.store.scan(Table::block, block_key(from_height), {}, [&](ByteView, ByteView block) {
    blocks.push_back(to_bytes(block));
    bytes += block.size();
    return bytes < blocks_bytes_max;
  });
  if (!scanned) context_.count("ledger reads that failed");
  context_.links->send(link, FrameType::ledger_blocks, {wire::encode_ledger_blocks(blocks)});
}

void LedgerSync::on_blocks(LinkId link, const std::vector<ByteView>& blocks) {
  if (asked_.erase(link) == 0) return context_.count("blocks nobody asked for");
  bool grown = false;
  for (ByteView block : blocks) {
    const auto view = decode_block(block);
    if (!view || view->header.height <= context_.ledger.head().height) continue;
    if (auto appended = context_.ledger.append(block); !appended) {
      context_.count("blocks refused");
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
  const Checkpoint head = context_.ledger.head();
  context_.store.put(Table::block, block_key(head.height), block);
  context_.turn.touch();
  context_.store.when_durable([this, head] {
    for (const auto& [link, theirs] : peers_)
      if (theirs.height < head.height)
        context_.links->send(link, FrameType::ledger_head, {wire::encode_ledger_head(head)});
    std::vector<std::pair<Committed, std::uint64_t>> committed;
    for (auto at = waiting_.begin(); at != waiting_.end();) {
      Waiting& waiting = at->second;
      const bool here = waiting.height != 0 && waiting.height <= head.height;
      if (here) committed.emplace_back(std::move(waiting.done), waiting.height);
      at = here ? waiting_.erase(at) : std::next(at);
    }
    for (const auto& [done, height] : committed) done(height);
  });
  changed_();
}

// Entries ----------------------------------------------------------------------------------------------------

void LedgerSync::submit(Bytes entry, Committed done) {
  if (witness_) return propose(std::move(entry), std::move(done));
  forward(0, entry, {}, std::move(done));
}

void LedgerSync::forward(std::uint8_t hops, ByteView entry, std::optional<LinkId> from, Committed done) {
  // To the witness if there is a link to one, else to whom may have one.
  std::optional<LinkId> to;
  if (!witnesses_.empty())
    to = *witnesses_.begin();
  else
    for (const auto& [link, head] : peers_)
      if (link != from) to = link;
  if (!to)
    return done(fail(Errc::timed_out,
                     "no node is in reach that leads to the network's registrar; try again when `diot peers` shows one "
                     "that is up"));
  const std::uint64_t id = next_id_++;
  waiting_[id] = {from, std::move(done), context_.clock.monotonic() + submit_deadline};
  context_.links->send(*to, FrameType::submit, {wire::encode_submit({id, hops, entry})});
}

void LedgerSync::on_submit(LinkId link, const wire::Submit& submit) {
  auto answer = [this, link, id = submit.id](Result<std::uint64_t> height) {
    wire::Submitted submitted{id, height.value_or(0), Errc::invalid, {}};
    if (!height) {
      submitted.code = height.error().code;
      submitted.message = height.error().message;
    }
    context_.links->send(link, FrameType::submitted, {wire::encode_submitted(submitted)});
  };
  if (witness_) return propose(to_bytes(submit.entry), std::move(answer));
  // Cheap checks here, so that garbage does not travel.
  const WallMs now = std::max(context_.clock.wall_ms(), context_.ledger.head_time());
  if (auto good = context_.ledger.check_entry(submit.entry, now); !good) return answer(tl::unexpected(good.error()));
  if (submit.hops >= hops_max)
    return answer(fail(Errc::timed_out, "the network's registrar is not in reach of the nodes that were asked"));
  if (waiting_.size() >= limits::submitted_entries_max)
    return answer(fail(Errc::limit, "too many entries are waiting for the registrar; try again in a minute"));
  forward(static_cast<std::uint8_t>(submit.hops + 1), submit.entry, link, std::move(answer));
}

void LedgerSync::on_submitted(const wire::Submitted& submitted) {
  const auto found = waiting_.find(submitted.id);
  if (found == waiting_.end()) return;
  if (submitted.height > context_.ledger.head().height) {
    found->second.height = submitted.height;  // the block is on its way, and the answer waits for it
    return;
  }
  const auto done = std::move(found->second.done);
  waiting_.erase(found);
  if (submitted.height == 0) return done(fail(submitted.code, submitted.message));
  done(submitted.height);
}

void LedgerSync::propose(Bytes entry, Committed done) {
  if (entry.size() > limits::entry_bytes_max || candidates_.size() >= limits::submitted_entries_max)
    return done(fail(Errc::limit, "the registrar has too many entries waiting; try again in a minute"));
  candidates_.push_back({std::move(entry), std::move(done)});
  context_.turn.touch();
}

void LedgerSync::end_turn() {
  if (candidates_.empty()) return;
  auto candidates = std::exchange(candidates_, {});
  std::vector<Bytes> entries;
  for (const auto& candidate : candidates) entries.push_back(candidate.entry);
  std::map<Hash, Error> refused;
  const WallMs now = std::max(context_.clock.wall_ms(), context_.ledger.head_time());
  auto block = context_.ledger.make_block(
      entries, now, *witness_, [&](const Bytes& entry, const Error& why) { refused.emplace(merkle_leaf(entry), why); });
  std::optional<Error> failed;
  if (block) {
    if (auto appended = context_.ledger.append(*block); !appended) failed = appended.error();
  } else if (refused.empty()) {
    failed = block.error();
  }
  const std::uint64_t height = context_.ledger.head().height;
  if (block && !failed) {
    adopted(*block);
    // Told when it is on disk: what was announced is never taken back.
    context_.store.when_durable([height, refused, candidates = std::move(candidates)] {
      for (const auto& candidate : candidates) {
        const auto why = refused.find(merkle_leaf(candidate.entry));
        if (why == refused.end())
          candidate.done(height);
        else
          candidate.done(tl::unexpected(why->second));
      }
    });
    return;
  }
  for (const auto& candidate : candidates) {
    const auto why = refused.find(merkle_leaf(candidate.entry));
    candidate.done(tl::unexpected(why != refused.end() ? why->second : *failed));
  }
}

void LedgerSync::tick() {
  const Monotonic now = context_.clock.monotonic();
  std::vector<Committed> late;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    const bool over = at->second.deadline <= now;
    if (over) late.push_back(std::move(at->second.done));
    at = over ? waiting_.erase(at) : std::next(at);
  }
  for (auto& done : late)
    done(fail(Errc::timed_out, "the network's registrar did not answer within 30 s; see `diot peers` and try again"));
  for (auto& [link, deadline] : asked_)
    if (deadline <= now) {
      context_.count("block requests without an answer");
      deadline = now + blocks_deadline;
      context_.links->send(link, FrameType::ledger_get, {wire::encode_ledger_get(context_.ledger.head().height + 1)});
    }
}

}  // namespace diot
