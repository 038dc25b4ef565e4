#include "dht/wire.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "core/ledger/agreement.hpp"
#include "core/ledger/parts.hpp"

namespace diot::wire {
namespace {

template <class Id>
Id id(std::uint8_t fill) {
  Id out;
  out.bytes.fill(fill);
  return out;
}

const Position position{id<NodeId>(3), {{7, 8}, 9, id<Hash>(4)}, Bytes(276, 5)};
const Bytes genesis = to_bytes("genesis bytes");
const Bytes entry = to_bytes("an entry");
const Bytes proof = to_bytes("a proof");

/// Every frame body once: its bytes, and decode followed by encode.
struct Case {
  const char* name;
  Bytes bytes;
  std::function<std::optional<Bytes>(ByteView)> again;
};

template <class Decode, class Encode>
Case make(const char* name, Bytes bytes, Decode decode, Encode encode) {
  return {name, std::move(bytes), [=](ByteView body) -> std::optional<Bytes> {
            const auto decoded = decode(body);
            if (!decoded) return std::nullopt;
            return encode(*decoded);
          }};
}

std::vector<Case> cases() {
  const Checkpoint head{12, id<Hash>(1)};
  ProposalMessage proposal;
  proposal.round = 3;
  proposal.valid_round = 1;
  proposal.header.height = 13;
  proposal.entries = {to_bytes("one"), to_bytes("two")};
  proposal.proof = {{0, 5, id<Signature>(1)}, {2, 6, id<Signature>(2)}};
  return {
      make("ledger_head", encode_ledger_head(head), decode_ledger_head, encode_ledger_head),
      make("ledger_get", encode_ledger_get(300), decode_ledger_get, encode_ledger_get),
      make("ledger_blocks", encode_ledger_blocks({to_bytes("one"), to_bytes("two")}), decode_ledger_blocks,
           [](const std::vector<ByteView>& blocks) {
             std::vector<Bytes> copies;
             for (auto block : blocks) copies.push_back(to_bytes(block));
             return encode_ledger_blocks(copies);
           }),
      make("ledger_ask", encode_ask(HeadersAsk{300}), decode_ask, encode_ask),
      make("ledger_part", encode_part(LogPart{{id<Hash>(1)}}), decode_part, encode_part),
      make("submit", encode_submit({5, 2, entry}), decode_submit, encode_submit),
      make("submitted", encode_submitted({5, 0, Errc::exists, "taken"}), decode_submitted, encode_submitted),
      make("entries", encode_entries({entry, entry}), decode_entries, encode_entries),
      make("vote", encode_vote({VoteKind::prevote, 2, 1, id<Hash>(3), 4, 5, id<Signature>(6)}), decode_vote,
           encode_vote),
      make("proposal", encode_proposal(proposal), decode_proposal, encode_proposal),
      make("agreement_state", encode_agreement_state({2, 1, true, {std::vector<bool>(8, true), std::vector<bool>(16)}}),
           decode_agreement_state, encode_agreement_state),
      make("enrol", encode_enrol({entry, id<Signature>(2)}), decode_enrol, encode_enrol),
      make("welcome", encode_welcome({"", genesis, 1, id<Seed>(5), 3}), decode_welcome, encode_welcome),
      make("catalogue_get", encode_catalogue_get({"alice", {"sensors/#", "+/door"}}), decode_catalogue_get,
           encode_catalogue_get),
      make("channel_join", encode_channel_join({id<ChannelId>(6), true, {position, position}, {}, 7}),
           decode_channel_join, encode_channel_join),
      make("channel_heads", encode_channel_heads({id<ChannelId>(6), "no", {position}, 7}), decode_channel_heads,
           encode_channel_heads),
      make("channel_leave", encode_channel_leave(id<ChannelId>(6)), decode_channel_leave, encode_channel_leave),
      make("channel_position", encode_channel_position({id<ChannelId>(6), position}), decode_channel_position,
           encode_channel_position),
      make("channel_gap", encode_channel_gap({id<ChannelId>(1), position, Bytes(276, 6)}), decode_channel_gap,
           encode_channel_gap),
      make("retained", encode_retained_values({id<ChannelId>(6), true, {{10, proof}, {0, proof}}, 7}),
           decode_retained_values, encode_retained_values),
  };
}

TEST(Wire, DecodesWhatItEncodes) {
  for (const auto& frame : cases()) EXPECT_EQ(frame.again(frame.bytes), frame.bytes) << frame.name;
}

TEST(Wire, RefusesEveryCutAndEveryExtraByte) {
  for (const auto& frame : cases()) {
    for (std::size_t size = 0; size < frame.bytes.size(); ++size)
      EXPECT_EQ(frame.again(ByteView(frame.bytes).first(size)), std::nullopt) << frame.name << " cut to " << size;
    Bytes longer = frame.bytes;
    longer.push_back(0);
    EXPECT_EQ(frame.again(longer), std::nullopt) << frame.name;
  }
}

TEST(Wire, DecodesNothingThatItWouldEncodeOtherwise) {
  std::mt19937 random(1);
  for (const auto& frame : cases())
    for (int round = 0; round < 2000; ++round) {
      Bytes changed = frame.bytes;
      for (unsigned flips = 1 + random() % 3; flips > 0; --flips)
        changed[random() % changed.size()] = static_cast<std::uint8_t>(random());
      if (const auto again = frame.again(changed)) {
        EXPECT_EQ(*again, changed) << frame.name;
      }
    }
}

TEST(Wire, KeepsABatchAsItIs) {
  Bytes frame = encode_batch_prefix(77);
  append(frame, to_bytes("batch bytes"));
  const auto held = decode_batch(frame);
  ASSERT_TRUE(held);
  EXPECT_EQ(held->age_seconds, 77u);
  EXPECT_EQ(as_text(held->batch), "batch bytes");
  EXPECT_FALSE(decode_batch(to_bytes("abc")));
}

TEST(Wire, BoundsWhatItTellsAPerson) {
  const auto answer = decode_submitted(encode_submitted({1, 0, Errc::limit, std::string(5000, 'x')}));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->message.size(), 1024u);
}

}  // namespace
}  // namespace diot::wire
