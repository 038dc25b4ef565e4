#pragma once
// Bodies of the overlay's frames (docs/protocol.md, "Frames of the overlay"). Encoding and shape only: nothing decoded
// here is believed yet. A decoder gives nullopt on anything it would not have encoded itself.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/cursor.hpp"
#include "core/error.hpp"
#include "core/ledger/block.hpp"
#include "core/share.hpp"

namespace diot::wire {

/// "I am at this block"; after the hello only when it changed.
Bytes encode_ledger_head(const Checkpoint& head);
std::optional<Checkpoint> decode_ledger_head(ByteView body);

/// Asks for the blocks from a height on.
Bytes encode_ledger_get(std::uint64_t from_height);
std::optional<std::uint64_t> decode_ledger_get(ByteView body);

/// Some of them, in order.
Bytes encode_ledger_blocks(const std::vector<Bytes>& blocks);
std::optional<std::vector<ByteView>> decode_ledger_blocks(ByteView body);

/// An entry on its way to the witness; every hop has a number of its own for the answer.
struct Submit {
  std::uint64_t id = 0;
  std::uint8_t hops = 0;  ///< nodes that passed it on
  ByteView entry;
};
Bytes encode_submit(const Submit& submit);
std::optional<Submit> decode_submit(ByteView body);

struct Submitted {
  std::uint64_t id = 0;
  std::uint64_t height = 0;   ///< the block that holds the entry; 0: refused
  Errc code = Errc::invalid;  ///< why it was refused
  std::string message;
};
Bytes encode_submitted(const Submitted& submitted);
std::optional<Submitted> decode_submitted(ByteView body);

/// Entries that wait at one witness, to another.
inline constexpr std::size_t entries_per_frame_max = 64;
Bytes encode_entries(const std::vector<ByteView>& entries);
std::optional<std::vector<ByteView>> decode_entries(ByteView body);

/// A succession that everybody has signed, and the votes of the new witnesses for its block that the sender has.
struct Succession {
  ByteView entry;
  std::vector<BlockView::Vote> votes;
};
Bytes encode_succession(const Succession& succession);
std::optional<Succession> decode_succession(ByteView body);

/// A stranger spends an invite: the token's signature (kind `enrol`) over `enrol_statement`.
struct Enrol {
  ByteView grant;
  Signature token_signature;
};
Bytes encode_enrol(const Enrol& enrol);
std::optional<Enrol> decode_enrol(ByteView body);
/// Both nodes and both processes, so that the proof counts on this link only.
Bytes enrol_statement(const NodeId& inviter, const InstanceId& inviter_instance, const NodeId& joiner,
                      const InstanceId& joiner_instance);

/// What the inviter answers. With `error` set nothing else is.
struct Welcome {
  std::string error;
  ByteView genesis;
  std::uint32_t dht_epoch = 0;
  Seed dht_key;
  std::uint64_t height = 0;  ///< of the inviter's ledger: fetch up to here before registering
};
Bytes encode_welcome(const Welcome& welcome);
std::optional<Welcome> decode_welcome(ByteView body);

/// Asks for a handle's catalogue, now and whenever it changes: an owner's node, or one that may carry the handle's
/// channels and then also joins those that `filters` (in the owner's names) can touch for the asker; none: it may stop
/// that. The answer (frame `catalogue`) is a directory record of kind catalogue.
struct CatalogueGet {
  std::string handle;
  std::vector<std::string> filters;
};
Bytes encode_catalogue_get(const CatalogueGet& get);
std::optional<CatalogueGet> decode_catalogue_get(ByteView body);

/// A place in one writer's log. `header` (276 bytes, or none) is the signed header that the cursor is the end of: with it
/// the place is believed whoever tells it.
struct Position {
  NodeId writer;
  Cursor cursor;
  Bytes header;
};
/// A reader wants a channel's batches: of each log those behind its position, or from now on where it gives none. Answers
/// repeat its number, so that none is taken for that of a later join, which asks for something else.
struct ChannelJoin {
  ChannelId channel;
  bool snapshot = true;  ///< it wants the retained values first
  std::vector<Position> positions;
  /// In the owner's names: of batches without a record that one of these matches the header alone will do, and no other
  /// retained values are wanted. None: everything.
  std::vector<std::string> filters = {};
  std::uint64_t number = 0;  ///< the reader's, of this link; 0: it waits for no answer
};
Bytes encode_channel_join(const ChannelJoin& join);
std::optional<ChannelJoin> decode_channel_join(ByteView body);

/// The holder's answer: joined, and where it starts. With `error` set the join is refused.
struct ChannelHeads {
  ChannelId channel;
  std::string error;
  std::vector<Position> positions;
  std::uint64_t number = 0;  ///< of the join; 0: nobody asked, a log has begun
};
Bytes encode_channel_heads(const ChannelHeads& heads);
std::optional<ChannelHeads> decode_channel_heads(ByteView body);

Bytes encode_channel_leave(const ChannelId& channel);
std::optional<ChannelId> decode_channel_leave(ByteView body);

/// Batch frame: u32 seconds that it was held since it was signed ‖ batch. The first part only: the batch follows as is.
Bytes encode_batch_prefix(std::uint32_t age_seconds);
struct HeldBatch {
  std::uint32_t age_seconds = 0;
  ByteView batch;
};
std::optional<HeldBatch> decode_batch(ByteView body);

/// "Send again from behind this place" (range_get).
struct ChannelPosition {
  ChannelId channel;
  Position position;
};
Bytes encode_channel_position(const ChannelPosition& at);
std::optional<ChannelPosition> decode_channel_position(ByteView body);

/// "What lies between your place and this one is not held here" (range_gap). `next_header`: the signed header of the
/// batch that comes next, which proves the place; none if the place is the end of what is held.
struct ChannelGap {
  ChannelId channel;
  Position position;
  ByteView next_header;
};
Bytes encode_channel_gap(const ChannelGap& gap);
std::optional<ChannelGap> decode_channel_gap(ByteView body);

/// Retained values of a channel with their proofs. `last`: these were all.
struct RetainedValues {
  ChannelId channel;
  bool last = false;
  struct Value {
    std::uint32_t age_seconds = 0;
    ByteView proof;
  };
  std::vector<Value> values;
  std::uint64_t number = 0;  ///< of the join that asked for all of them; 0: they are not part of such an answer
};
Bytes encode_retained_values(const RetainedValues& values);
std::optional<RetainedValues> decode_retained_values(ByteView body);

}  // namespace diot::wire
