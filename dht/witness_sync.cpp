#include "dht/witness_sync.hpp"

#include "core/ledger/limits.hpp"
#include "core/limits.hpp"

namespace diot {

namespace {

constexpr auto tell_interval = std::chrono::seconds(1);         ///< where we are, while we agree
constexpr auto help_interval = std::chrono::milliseconds(200);  ///< what somebody lacks, at most so often

}  // namespace

void WitnessSync::load() {
  auto memory = context_.store.get(Table::meta, witness_memory_key());
  // Who decided alone until now kept no memory: its blocks were all that it voted for.
  if (memory && !*memory && context_.ledger.witnesses() == std::vector{agreement_.key()}) {
    memory = Agreement::new_memory(agreement_.key(), 0);
    context_.store.put(Table::meta, witness_memory_key(), **memory);
    context_.store.erase(Table::meta, witness_value_key());
    context_.turn.touch();
  }
  agreement_.load(memory, context_.store.get(Table::meta, witness_value_key()));
  work();
}

void WitnessSync::start_anew(std::uint64_t first_height) {
  agreement_.start_anew(first_height);
  work();
}

Result<BlockView::Vote> WitnessSync::precommit_succession(const BlockHeader& header, std::uint32_t index) {
  auto vote = agreement_.precommit_succession(header, index);
  work();
  return vote;
}

// Links ------------------------------------------------------------------------------------------------------

void WitnessSync::link_up(LinkId link) { tell(link, links_[link]); }

void WitnessSync::tell(LinkId link, Link& entry) {
  entry.told = context_.clock.monotonic();
  context_.links->send(link, FrameType::agreement_state, {encode_agreement_state(agreement_.state())});
}

/// What leaves may rest on what was just put into the store.
void WitnessSync::send(std::vector<Agreement::Send> messages, std::optional<LinkId> to) {
  if (messages.empty()) return;
  context_.turn.touch();
  context_.store.when_durable([this, messages = std::move(messages), to] {
    for (const auto& message : messages) {
      const auto type = message.kind == Agreement::Send::Kind::vote ? FrameType::vote : FrameType::proposal;
      if (to) {
        if (links_.contains(*to)) context_.links->send(*to, type, {message.bytes});
        continue;
      }
      for (const auto& [link, entry] : links_) context_.links->send(link, type, {message.bytes});
    }
  });
}

void WitnessSync::judge(LinkId link, const Result<bool>& result) {
  if (!result) {
    context_.count("votes and proposals that nobody honest sends");
    context_.links->close(link, result.error().message);
  }
  work();
}

void WitnessSync::on_proposal(LinkId link, ByteView body) { judge(link, agreement_.on_proposal(body)); }
void WitnessSync::on_vote(LinkId link, ByteView body) { judge(link, agreement_.on_vote(body)); }

void WitnessSync::on_state(LinkId link, ByteView body) {
  const auto theirs = decode_agreement_state(body);
  if (!theirs) return judge(link, tl::unexpected(theirs.error()));
  const auto found = links_.find(link);
  if (found == links_.end()) return;  // it does not say that it is a witness
  const Monotonic now = context_.clock.monotonic();
  auto& [told, helped] = found->second;
  if (theirs->height < agreement_.height() && theirs->height > 0) return calls_.head_to(link);
  // Who is at work tells regularly; who rests answers, so that it gets what it missed.
  if (!agreement_.started() && told + help_interval <= now && !(*theirs == agreement_.state()))
    tell(link, found->second);
  if (helped + help_interval > now || context_.links->unsent_bytes(link) > limits::link_bulk_bytes_max) return;
  auto lacking = agreement_.lacking(*theirs);
  if (lacking.empty()) return;
  helped = now;
  send(std::move(lacking), link);
}

// The agreement ------------------------------------------------------------------------------------------------

void WitnessSync::on_head() {
  agreement_.on_head();
  work();
}

void WitnessSync::tick() {
  agreement_.tick();
  work();
  if (!agreement_.started()) return;
  const Monotonic now = context_.clock.monotonic();
  for (auto& [link, entry] : links_)
    if (entry.told + tell_interval <= now) tell(link, entry);
}

void WitnessSync::work() {
  if (working_) return;  // who is at it goes on until nothing is left
  working_ = true;
  std::vector<Agreement::Send> messages;
  for (auto outputs = agreement_.take(); !outputs.empty(); outputs = agreement_.take())
    for (auto& output : outputs) {
      if (auto* persist = std::get_if<Agreement::Persist>(&output)) {
        context_.store.put(Table::meta, witness_memory_key(), std::move(persist->memory));
        if (persist->value) context_.store.put(Table::meta, witness_value_key(), std::move(*persist->value));
        for (const auto& each : persist->justifications) {
          context_.store.put(Table::meta, justification_key(each.height, each.round), encode_justification(each));
          if (each.height > limits::justified_heights_max)
            context_.store.erase_range(Table::meta, justification_key(0),
                                       justification_key(each.height - limits::justified_heights_max));
        }
        context_.turn.touch();
      } else if (auto* message = std::get_if<Agreement::Send>(&output)) {
        messages.push_back(std::move(*message));
      } else if (auto* made = std::get_if<Agreement::Decided>(&output)) {
        calls_.decided(made->block);
      } else if (auto* liar = std::get_if<Agreement::Caught>(&output)) {
        context_.count("witnesses caught voting twice");
        calls_.caught(liar->evidence);
      }
    }
  working_ = false;
  send(std::move(messages), std::nullopt);
}

}  // namespace diot
