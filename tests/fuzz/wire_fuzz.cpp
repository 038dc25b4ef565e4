// Bodies of the overlay's frames: what decodes is exactly what would be encoded. The first byte chooses the frame.

#include <functional>

#include "core/ledger/agreement.hpp"
#include "core/ledger/parts.hpp"
#include "dht/wire.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {
namespace {

template <class Id>
Id id(std::uint8_t fill) {
  Id out;
  out.bytes.fill(fill);
  return out;
}

/// One kind of frame: an example, and decode followed by encode.
struct Kind {
  Bytes example;
  std::function<std::optional<Bytes>(ByteView)> again;
};
template <class Decode, class Encode>
Kind make(Bytes example, Decode decode, Encode encode) {
  return {std::move(example), [=](ByteView body) -> std::optional<Bytes> {
            const auto decoded = decode(body);
            if (!decoded) return std::nullopt;
            return encode(*decoded);
          }};
}

const std::vector<Kind>& kinds() {
  using namespace wire;
  static const std::vector<Kind> out = [] {
    const Position position{id<NodeId>(3), {{7, 8}, 9, id<Hash>(4)}, Bytes(276, 5)};
    const Bytes some = to_bytes("some bytes");
    Bytes batch = encode_batch_prefix(77);
    append(batch, some);
    ProposalMessage proposal;
    proposal.entries = {some};
    proposal.proof = {{0, 5, id<Signature>(1)}};
    return std::vector<Kind>{
        make(encode_ledger_head({12, id<Hash>(1)}), decode_ledger_head, encode_ledger_head),
        make(encode_ledger_get(300), decode_ledger_get, encode_ledger_get),
        make(encode_ledger_blocks({some, to_bytes("two")}), decode_ledger_blocks,
             [](const std::vector<ByteView>& blocks) {
               std::vector<Bytes> copies;
               for (auto block : blocks) copies.push_back(to_bytes(block));
               return encode_ledger_blocks(copies);
             }),
        make(encode_ask(HeadersAsk{300}), decode_ask, encode_ask),
        make(encode_ask(StateAsk{{{SparsePlace{}.child(4, 7), id<Hash>(2)}}}), decode_ask, encode_ask),
        make(encode_ask(LogAsk{300, 5}), decode_ask, encode_ask),
        make(encode_part(LogPart{{id<Hash>(1), id<Hash>(2)}}), decode_part, encode_part),
        make(encode_part(BlocksPart{{some, some}}), decode_part, encode_part),
        make(encode_part(StatePart{
                 {StatePart::Gone{}, StatePart::Below(1 << part_levels), StatePart::Records{{"alice", some, {some}}}}}),
             decode_part, encode_part),
        make(encode_part(HeadersPart{true, {{{some, 1, {}}, {id<PublicKey>(1)}, some}}}), decode_part, encode_part),
        make(encode_submit({5, 2, some}), decode_submit, encode_submit),
        make(encode_submitted({5, 0, Errc::exists, "taken"}), decode_submitted, encode_submitted),
        make(encode_entries({some, some}), decode_entries, encode_entries),
        make(encode_vote({VoteKind::prevote, 2, 1, id<Hash>(3), 4, 5, id<Signature>(6)}), decode_vote, encode_vote),
        make(encode_proposal(proposal), decode_proposal, encode_proposal),
        make(encode_agreement_state({2, 1, true, {std::vector<bool>(8, true), std::vector<bool>(16)}}),
             decode_agreement_state, encode_agreement_state),
        make(encode_succession({some, {{0, 5, id<Signature>(1)}}}), decode_succession, encode_succession),
        make(encode_enrol({some, id<Signature>(2)}), decode_enrol, encode_enrol),
        make(encode_welcome({"", some, 1, id<Seed>(5), 3}), decode_welcome, encode_welcome),
        make(encode_catalogue_get({"alice", {"sensors/#", "+/door"}}), decode_catalogue_get, encode_catalogue_get),
        make(encode_channel_join({id<ChannelId>(6), true, {position, position}, {}, 7}), decode_channel_join,
             encode_channel_join),
        make(encode_channel_heads({id<ChannelId>(6), "no", {position}, 7}), decode_channel_heads, encode_channel_heads),
        make(encode_channel_leave(id<ChannelId>(6)), decode_channel_leave, encode_channel_leave),
        make(encode_channel_position({id<ChannelId>(6), position}), decode_channel_position, encode_channel_position),
        make(encode_channel_gap({id<ChannelId>(1), position, Bytes(276, 6)}), decode_channel_gap, encode_channel_gap),
        make(encode_retained_values({id<ChannelId>(6), true, {{10, some}, {0, some}}, 7}), decode_retained_values,
             encode_retained_values),
        make(batch, decode_batch,
             [](const HeldBatch& held) {
               Bytes bytes = encode_batch_prefix(held.age_seconds);
               append(bytes, held.batch);
               return bytes;
             }),
    };
  }();
  return out;
}

}  // namespace

void wire(ByteView input) {
  Input in(input);
  const auto& kind = kinds()[in.u8() % kinds().size()];
  const auto body = in.rest();
  if (const auto again = kind.again(body)) require(equal(*again, body), "what decodes would be encoded alike");
}

Seeds wire_seeds() {
  Seeds out;
  for (std::uint8_t number = 0; number < kinds().size(); ++number)
    out.push_back(chosen(number, kinds()[number].example));
  return out;
}

}  // namespace diot::fuzz
