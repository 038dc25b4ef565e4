#include "dht/wire.hpp"

#include "core/batch.hpp"
#include "core/ledger/limits.hpp"
#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot::wire {

namespace {

constexpr std::size_t positions_max = limits::nodes_per_handle_max;
constexpr std::size_t message_bytes_max = 1024;
constexpr std::size_t genesis_bytes_max = 1 << 20;
constexpr std::size_t blocks_per_frame_max = 4096;
constexpr std::size_t values_per_frame_max = 4096;

void pack(PackWriter& out, const Position& position) {
  out.array(3);
  out.bin(position.writer);
  out.bin(encode_cursor(position.cursor));
  out.bin(position.header);
}

bool is_header(ByteView bytes) { return bytes.empty() || bytes.size() == BatchHeader::wire_bytes; }

bool unpack(PackReader& in, Position& position) {
  in.array_of(3);
  position.writer = in.id<NodeId>();
  const auto cursor = decode_cursor(in.bin(56));
  position.header = to_bytes(in.bin(BatchHeader::wire_bytes));
  if (!in.ok() || !cursor || !is_header(position.header)) return false;
  position.cursor = *cursor;
  return true;
}

void pack(PackWriter& out, const std::vector<Position>& positions) {
  out.array(positions.size());
  for (const auto& position : positions) pack(out, position);
}

bool unpack(PackReader& in, std::vector<Position>& positions) {
  for (auto left = in.array(positions_max); left > 0; --left)
    if (!unpack(in, positions.emplace_back())) return false;
  return in.ok();
}

}  // namespace

Bytes encode_ledger_head(const Checkpoint& head) {
  Bytes body;
  PackWriter out(body);
  out.array(2);
  out.uint(head.height);
  out.bin(head.block);
  return body;
}

std::optional<Checkpoint> decode_ledger_head(ByteView body) {
  PackReader in(body);
  in.array_of(2);
  Checkpoint head;
  head.height = in.uint();
  head.block = in.id<Hash>();
  if (!in.done()) return std::nullopt;
  return head;
}

Bytes encode_ledger_get(std::uint64_t from_height) {
  Bytes body;
  PackWriter(body).uint(from_height);
  return body;
}

std::optional<std::uint64_t> decode_ledger_get(ByteView body) {
  PackReader in(body);
  const auto height = in.uint();
  if (!in.done()) return std::nullopt;
  return height;
}

Bytes encode_ledger_blocks(const std::vector<Bytes>& blocks) {
  Bytes body;
  PackWriter out(body);
  out.array(blocks.size());
  for (const auto& block : blocks) out.bin(block);
  return body;
}

std::optional<std::vector<ByteView>> decode_ledger_blocks(ByteView body) {
  PackReader in(body);
  std::vector<ByteView> blocks;
  for (auto left = in.array(blocks_per_frame_max); left > 0; --left) blocks.push_back(in.bin(limits::block_bytes_max));
  if (!in.done()) return std::nullopt;
  return blocks;
}

Bytes encode_succession(const Succession& succession) {
  Bytes body;
  PackWriter out(body);
  out.array(2);
  out.bin(succession.entry);
  write_block_votes(out, succession.votes);
  return body;
}

std::optional<Succession> decode_succession(ByteView body) {
  PackReader in(body, 8 + 4 * limits::witnesses_max);
  in.array_of(2);
  Succession out;
  out.entry = in.bin(limits::entry_bytes_max);
  out.votes = read_block_votes(in);
  if (!in.done()) return std::nullopt;
  return out;
}

Bytes encode_submit(const Submit& submit) {
  Bytes body;
  PackWriter out(body);
  out.array(3);
  out.uint(submit.id);
  out.uint(submit.hops);
  out.bin(submit.entry);
  return body;
}

std::optional<Submit> decode_submit(ByteView body) {
  PackReader in(body);
  in.array_of(3);
  Submit submit;
  submit.id = in.uint();
  submit.hops = static_cast<std::uint8_t>(in.uint(255));
  submit.entry = in.bin(limits::entry_bytes_max);
  if (!in.done()) return std::nullopt;
  return submit;
}

Bytes encode_submitted(const Submitted& submitted) {
  Bytes body;
  PackWriter out(body);
  out.array(4);
  out.uint(submitted.id);
  out.uint(submitted.height);
  out.uint(static_cast<std::uint64_t>(submitted.code));
  out.str(std::string_view(submitted.message).substr(0, message_bytes_max));
  return body;
}

std::optional<Submitted> decode_submitted(ByteView body) {
  PackReader in(body);
  in.array_of(4);
  Submitted submitted;
  submitted.id = in.uint();
  submitted.height = in.uint();
  submitted.code = static_cast<Errc>(in.uint(static_cast<std::uint64_t>(Errc::not_running)));
  submitted.message = in.str(message_bytes_max);
  if (!in.done()) return std::nullopt;
  return submitted;
}

Bytes encode_entries(const std::vector<ByteView>& entries) {
  Bytes body;
  PackWriter out(body);
  out.array(entries.size());
  for (const ByteView entry : entries) out.bin(entry);
  return body;
}

std::optional<std::vector<ByteView>> decode_entries(ByteView body) {
  PackReader in(body, entries_per_frame_max + 1);
  std::vector<ByteView> entries;
  for (auto left = in.array(entries_per_frame_max); left > 0; --left)
    entries.push_back(in.bin(limits::entry_bytes_max));
  if (!in.done()) return std::nullopt;
  return entries;
}

Bytes encode_enrol(const Enrol& enrol) {
  Bytes body;
  PackWriter out(body);
  out.array(2);
  out.bin(enrol.grant);
  out.bin(enrol.token_signature);
  return body;
}

std::optional<Enrol> decode_enrol(ByteView body) {
  PackReader in(body);
  in.array_of(2);
  Enrol enrol;
  enrol.grant = in.bin(limits::entry_bytes_max);
  enrol.token_signature = in.id<Signature>();
  if (!in.done()) return std::nullopt;
  return enrol;
}

Bytes enrol_statement(const NodeId& inviter, const InstanceId& inviter_instance, const NodeId& joiner,
                      const InstanceId& joiner_instance) {
  Bytes out;
  for (ByteView part : {inviter.view(), inviter_instance.view(), joiner.view(), joiner_instance.view()})
    append(out, part);
  return out;
}

Bytes encode_welcome(const Welcome& welcome) {
  Bytes body;
  PackWriter out(body);
  out.array(5);
  out.str(std::string_view(welcome.error).substr(0, message_bytes_max));
  out.bin(welcome.genesis);
  out.uint(welcome.dht_epoch);
  out.bin(welcome.dht_key);
  out.uint(welcome.height);
  return body;
}

std::optional<Welcome> decode_welcome(ByteView body) {
  PackReader in(body);
  in.array_of(5);
  Welcome welcome;
  welcome.error = in.str(message_bytes_max);
  welcome.genesis = in.bin(genesis_bytes_max);
  welcome.dht_epoch = static_cast<std::uint32_t>(in.uint(0xffffffff));
  welcome.dht_key = in.id<Seed>();
  welcome.height = in.uint();
  if (!in.done()) return std::nullopt;
  return welcome;
}

Bytes encode_catalogue_get(const CatalogueGet& get) {
  Bytes body;
  PackWriter out(body);
  out.array(2);
  out.str(get.handle);
  out.array(get.filters.size());
  for (const auto& filter : get.filters) out.str(filter);
  return body;
}

std::optional<CatalogueGet> decode_catalogue_get(ByteView body) {
  PackReader in(body);
  in.array_of(2);
  CatalogueGet get;
  get.handle = in.str(owner_bytes_max);
  for (auto left = in.array(limits::filters_for_others_max); left > 0; --left)
    if (!check_filter(get.filters.emplace_back(in.str(0xffff)))) return std::nullopt;
  if (!in.done()) return std::nullopt;
  return get;
}

Bytes encode_channel_join(const ChannelJoin& join) {
  Bytes body;
  PackWriter out(body);
  out.array(5);
  out.bin(join.channel);
  out.uint(join.number);
  out.uint(join.snapshot ? 1 : 0);
  pack(out, join.positions);
  out.array(join.filters.size());
  for (const auto& filter : join.filters) out.str(filter);
  return body;
}

std::optional<ChannelJoin> decode_channel_join(ByteView body) {
  PackReader in(body);
  in.array_of(5);
  ChannelJoin join;
  join.channel = in.id<ChannelId>();
  join.number = in.uint();
  join.snapshot = in.uint(1) == 1;
  if (!unpack(in, join.positions)) return std::nullopt;
  for (auto left = in.array(limits::filters_for_others_max); left > 0; --left)
    if (!check_filter(join.filters.emplace_back(in.str(0xffff)))) return std::nullopt;
  if (!in.done()) return std::nullopt;
  return join;
}

Bytes encode_channel_heads(const ChannelHeads& heads) {
  Bytes body;
  PackWriter out(body);
  out.array(4);
  out.bin(heads.channel);
  out.uint(heads.number);
  out.str(std::string_view(heads.error).substr(0, message_bytes_max));
  pack(out, heads.positions);
  return body;
}

std::optional<ChannelHeads> decode_channel_heads(ByteView body) {
  PackReader in(body);
  in.array_of(4);
  ChannelHeads heads;
  heads.channel = in.id<ChannelId>();
  heads.number = in.uint();
  heads.error = in.str(message_bytes_max);
  if (!unpack(in, heads.positions) || !in.done()) return std::nullopt;
  return heads;
}

Bytes encode_channel_leave(const ChannelId& channel) { return to_bytes(channel.view()); }
std::optional<ChannelId> decode_channel_leave(ByteView body) { return ChannelId::from(body); }

Bytes encode_batch_prefix(std::uint32_t age_seconds) {
  Bytes body;
  ByteWriter(body).u32(age_seconds);
  return body;
}

std::optional<HeldBatch> decode_batch(ByteView body) {
  ByteReader in(body);
  HeldBatch held;
  held.age_seconds = in.u32();
  held.batch = in.rest();
  if (!in.ok()) return std::nullopt;
  return held;
}

Bytes encode_channel_position(const ChannelPosition& at) {
  Bytes body;
  PackWriter out(body);
  out.array(2);
  out.bin(at.channel);
  pack(out, at.position);
  return body;
}

std::optional<ChannelPosition> decode_channel_position(ByteView body) {
  PackReader in(body);
  in.array_of(2);
  ChannelPosition at;
  at.channel = in.id<ChannelId>();
  if (!unpack(in, at.position) || !in.done()) return std::nullopt;
  return at;
}

Bytes encode_channel_gap(const ChannelGap& gap) {
  Bytes body;
  PackWriter out(body);
  out.array(3);
  out.bin(gap.channel);
  pack(out, gap.position);
  out.bin(gap.next_header);
  return body;
}

std::optional<ChannelGap> decode_channel_gap(ByteView body) {
  PackReader in(body);
  in.array_of(3);
  ChannelGap gap;
  gap.channel = in.id<ChannelId>();
  if (!unpack(in, gap.position)) return std::nullopt;
  gap.next_header = in.bin(BatchHeader::wire_bytes);
  if (!in.done() || !is_header(gap.next_header)) return std::nullopt;
  return gap;
}

Bytes encode_retained_values(const RetainedValues& values) {
  Bytes body;
  PackWriter out(body);
  out.array(4);
  out.bin(values.channel);
  out.uint(values.number);
  out.uint(values.last ? 1 : 0);
  out.array(values.values.size());
  for (const auto& value : values.values) {
    out.array(2);
    out.uint(value.age_seconds);
    out.bin(value.proof);
  }
  return body;
}

std::optional<RetainedValues> decode_retained_values(ByteView body) {
  PackReader in(body);
  in.array_of(4);
  RetainedValues values;
  values.channel = in.id<ChannelId>();
  values.number = in.uint();
  values.last = in.uint(1) == 1;
  for (auto left = in.array(values_per_frame_max); left > 0; --left) {
    in.array_of(2);
    auto& value = values.values.emplace_back();
    value.age_seconds = static_cast<std::uint32_t>(in.uint(0xffffffff));
    value.proof = in.bin(limits::frame_bytes_max);
  }
  if (!in.done()) return std::nullopt;
  return values;
}

}  // namespace diot::wire
