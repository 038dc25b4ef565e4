#include "dht/ledger_sync.hpp"

#include <fmt/format.h>

#include "core/limits.hpp"
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
  std::erase_if(forwarded_, [&](const auto& entry) { return entry.second.from == link; });
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
    std::vector<Committed> done;
    std::erase_if(waiting_, [&](auto& entry) {
      if (entry.second.height == 0 || entry.second.height > head.height) return false;
      done.push_back(
          [committed = std::move(entry.second.done), height = entry.second.height](auto) { committed(height); });
      return true;
    });
    for (auto& call : done) call(head.height);
  });
  changed_();
}

// Entries ----------------------------------------------------------------------------------------------------

void LedgerSync::submit(Bytes entry, Committed done) {
  if (witness_) return propose(std::move(entry), std::move(done));
  const std::uint64_t id = next_id_++;
  Waiting& waiting = waiting_[id];
  waiting.deadline = context_.clock.monotonic() + submit_deadline;
  waiting.done = std::move(done);
  waiting.entry = std::move(entry);
  forward(id, 0, waiting.entry);
}

void LedgerSync::forward(std::uint64_t id, std::uint8_t hops, ByteView entry) {
  // To the witness if there is a link to one, else to whom may have one.
  std::optional<LinkId> to;
  if (!witnesses_.empty())
    to = *witnesses_.begin();
  else
    for (const auto& [link, head] : peers_)
      if (const auto from = forwarded_.find(id); from == forwarded_.end() || from->second.from != link) to = link;
  if (to) return context_.links->send(*to, FrameType::submit, {wire::encode_submit({id, hops, entry})});
  on_submitted(LinkId{},
               {id, 0, Errc::timed_out,
                "no node is in reach that leads to the network's registrar; try again when `diot peers` shows "
                "one that is up"});
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
  if (auto good =
          context_.ledger.check_entry(submit.entry, std::max(context_.clock.wall_ms(), context_.ledger.head_time()));
      !good)
    return answer(tl::unexpected(good.error()));
  if (submit.hops >= hops_max)
    return answer(fail(Errc::timed_out, "the network's registrar is not in reach of the nodes that were asked"));
  if (forwarded_.size() >= limits::submitted_entries_max)
    return answer(fail(Errc::limit, "too many entries are waiting for the registrar; try again in a minute"));
  const std::uint64_t id = next_id_++;
  forwarded_[id] = {link, submit.id, context_.clock.monotonic() + submit_deadline};
  forward(id, static_cast<std::uint8_t>(submit.hops + 1), submit.entry);
}

void LedgerSync::on_submitted(LinkId, const wire::Submitted& submitted) {
  if (const auto passed = forwarded_.find(submitted.id); passed != forwarded_.end()) {
    wire::Submitted back = submitted;
    back.id = passed->second.id;
    const LinkId to = passed->second.from;
    forwarded_.erase(passed);
    return context_.links->send(to, FrameType::submitted, {wire::encode_submitted(back)});
  }
  const auto own = waiting_.find(submitted.id);
  if (own == waiting_.end()) return;
  if (submitted.height == 0 || submitted.height <= context_.ledger.head().height) {
    auto done = std::move(own->second.done);
    waiting_.erase(own);
    if (submitted.height == 0) return done(fail(submitted.code, submitted.message));
    return done(submitted.height);
  }
  own->second.height = submitted.height;  // the block is on its way
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
  std::erase_if(forwarded_, [&](const auto& entry) { return entry.second.deadline <= now; });
  std::vector<Committed> late;
  std::erase_if(waiting_, [&](auto& entry) {
    if (entry.second.deadline > now) return false;
    late.push_back(std::move(entry.second.done));
    return true;
  });
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
