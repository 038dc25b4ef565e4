#include "core/batch.hpp"

#include <fmt/format.h>

#include <array>
#include <functional>
#include <span>
#include <utility>

#include "core/limits.hpp"
#include "core/merkle.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::uint8_t version_1 = 1;
constexpr std::uint8_t flag_root = 1;
enum BodyKind : std::uint8_t { plain = 0, sealed = 1 };
constexpr std::size_t seed_bytes = 16, salt_bytes = 16;
// Of a will, above MQTT's own property identifiers.
enum WillProperty : std::uint8_t { will_number = 64, will_delay = 65 };

using Salt = std::array<std::uint8_t, salt_bytes>;

Salt salt_of(ByteView seed, std::uint32_t index) {
  const std::array<std::uint8_t, 4> number{static_cast<std::uint8_t>(index >> 24),
                                           static_cast<std::uint8_t>(index >> 16),
                                           static_cast<std::uint8_t>(index >> 8), static_cast<std::uint8_t>(index)};
  Salt out;
  blake2b_keyed(out, seed, {number});
  return out;
}
Hash leaf_of(ByteView salt, ByteView record) {
  static constexpr std::array<std::uint8_t, 1> leaf_prefix{0};  // of RFC 6962
  return sha256({leaf_prefix, salt, record});
}

void write_header(Bytes& out, const BatchHeader& header) {
  ByteWriter to(out);
  to.u8(version_1);
  to.u8(suite_1);
  to.u8(static_cast<std::uint8_t>(header.stream));
  to.u8(header.has_root ? flag_root : 0);
  to.raw(header.channel);
  to.raw(header.writer);
  to.u64(header.incarnation.number);
  to.u64(header.incarnation.random);
  to.u64(header.first_seq);
  to.u32(header.count);
  to.u64(header.time);
  to.u64(header.policy_version);
  to.raw(header.previous);
  to.raw(header.root);
  to.raw(header.body_hash);
  to.u32(header.body_bytes);
}

Result<BatchHeader> read_header(ByteView bytes) {
  const auto refuse = [](std::string_view what) { return fail(Errc::invalid, fmt::format("batch header: {}", what)); };
  if (bytes.size() < BatchHeader::wire_bytes) return refuse("cut off");
  ByteReader in(bytes.first(BatchHeader::signed_bytes));
  if (const auto version = in.u8(); version != version_1) return refuse(fmt::format("version {}", version));
  if (const auto suite = in.u8(); suite != suite_1) return refuse(fmt::format("suite {}", suite));
  const auto stream = in.u8(), flags = in.u8();
  if (stream > 1) return refuse(fmt::format("stream {}", stream));
  if (flags & ~flag_root) return refuse(fmt::format("flags {:#04x}", flags));
  BatchHeader out;
  out.stream = static_cast<Stream>(stream);
  out.has_root = (flags & flag_root) != 0;
  out.channel = in.id<ChannelId>();
  out.writer = in.id<NodeId>();
  out.incarnation.number = in.u64();
  out.incarnation.random = in.u64();
  out.first_seq = in.u64();
  out.count = in.u32();
  out.time = in.u64();
  out.policy_version = in.u64();
  out.previous = in.id<Hash>();
  out.root = in.id<Hash>();
  out.body_hash = in.id<Hash>();
  out.body_bytes = in.u32();
  expect(in.done(), "the batch header's size");
  if (out.count < 1 || out.count > limits::batch_count_max) return refuse(fmt::format("{} records", out.count));
  if (out.first_seq < 1 || out.last_seq() < out.first_seq) return refuse(fmt::format("first seq {}", out.first_seq));
  if (out.body_bytes < 1 || out.body_bytes > limits::batch_body_bytes_max)
    return refuse(fmt::format("a body of {} bytes", out.body_bytes));
  if (!out.has_root && !out.root.is_zero()) return refuse("a Merkle root without its flag");
  if (out.stream == Stream::live && (out.has_root || !out.previous.is_zero()))
    return refuse("the live stream has neither chain nor Merkle root");
  return out;
}

/// The parts of a plain body. Views into it.
struct PlainBody {
  ByteView seed;
  std::vector<ByteView> records;
};
Result<PlainBody> read_body(ByteView body, std::uint32_t count) {
  ByteReader in(body);
  const auto kind = in.u8();
  if (in.ok() && kind == sealed)
    return fail(Errc::not_available, "the batch is sealed: private shares are not available yet");
  PlainBody out;
  out.seed = in.raw(seed_bytes);
  if (!in.ok() || kind != plain) return fail(Errc::invalid, "batch body: malformed");
  out.records.reserve(std::min<std::size_t>(count, in.rest().size() / 4));
  for (std::uint32_t index = 0; index < count && in.ok(); ++index) out.records.push_back(in.raw(in.u32()));
  if (!in.done()) return fail(Errc::invalid, fmt::format("batch body: not exactly {} records", count));
  return out;
}

std::vector<Hash> leaves_of(ByteView seed, std::span<const ByteView> records) {
  std::vector<Hash> out;
  out.reserve(records.size());
  for (const auto& record : records)
    out.push_back(leaf_of(salt_of(seed, static_cast<std::uint32_t>(out.size())), record));
  return out;
}

bool signature_holds(ByteView header_bytes, const NodeId& writer, const NetworkId& network) {
  const auto signature = Signature::from(header_bytes.subspan(BatchHeader::signed_bytes)).value();
  return verify(key_of(writer), signature, "batch", network, header_bytes.first(BatchHeader::signed_bytes));
}

}  // namespace

Bytes encode_record(const Record& record) {
  Bytes out;
  out.reserve(record.topic.size() + record.payload.size() + 16);
  PackWriter to(out);
  to.array(5);
  to.uint(static_cast<std::uint8_t>(record.kind));
  to.str(record.topic);
  to.uint(static_cast<std::uint64_t>(record.qos) | (record.retain ? 4 : 0));
  to.bin(record.payload);
  const bool has_delay = record.will_delay_seconds > 0;
  write_properties(to, record.properties, record.properties.expiry_seconds,
                   std::size_t{record.will_number.has_value()} + has_delay);
  if (record.will_number) to.uint(will_number), to.uint(*record.will_number);
  if (has_delay) to.uint(will_delay), to.uint(record.will_delay_seconds);
  return out;
}

Bytes encode_signal(Signal signal) {
  Bytes out;
  PackWriter to(out);
  to.array(1);
  to.uint(static_cast<std::uint8_t>(signal));
  return out;
}

std::optional<Signal> signal_of(ByteView record) {
  constexpr std::uint8_t array_of_one = 0x91;  // of msgpack
  if (record.size() != 2 || record[0] != array_of_one) return std::nullopt;
  const auto signal = static_cast<Signal>(record[1]);
  return signal == Signal::presence || signal == Signal::wills_end ? std::optional(signal) : std::nullopt;
}

Result<Record> decode_record(ByteView bytes) {
  const auto refuse = [](std::string_view what) { return fail(Errc::invalid, fmt::format("record: {}", what)); };
  PackReader in(bytes, properties_values_max + 8);
  const auto fields = in.array(64);
  const auto kind = in.uint();
  if (!in.ok()) return refuse("malformed");
  if (kind > static_cast<std::uint8_t>(RecordKind::will_clear))
    return fail(Errc::not_available, fmt::format("record: kind {} is not known here", kind));
  Record out;
  out.kind = static_cast<RecordKind>(kind);
  out.topic = in.str(65'535);
  const auto flags = in.uint(7);
  out.payload = to_bytes(in.bin(limits::packet_bytes_max));
  const bool is_will = out.kind == RecordKind::will_set || out.kind == RecordKind::will_clear;
  std::function<void(std::uint64_t)> of_wills;
  if (is_will)
    of_wills = [&](std::uint64_t key) {
      if (key == will_number)
        out.will_number = in.uint();
      else if (key == will_delay && out.kind == RecordKind::will_set)
        out.will_delay_seconds = static_cast<std::uint32_t>(in.uint(0xffffffff));
      else
        in.skip();
    };
  const bool good = read_properties(in, out.properties, of_wills);
  if (fields != 5 || !good || !in.done()) return refuse("malformed");
  if ((flags & 3) == 3) return refuse("QoS 3");
  out.qos = static_cast<Qos>(flags & 3);
  out.retain = (flags & 4) != 0;
  if (auto ok = check_topic(out.topic); !ok) return refuse(ok.error().message);
  if (parts_of(out.topic).kind != TopicKind::local) return refuse("its topic is not in the owner's local names");
  const bool clears = out.kind == RecordKind::message && out.retain && out.payload.empty();
  const bool ends = out.kind == RecordKind::tombstone || out.kind == RecordKind::will_clear;
  if (clears || (ends && !out.payload.empty()) || (out.kind == RecordKind::tombstone && !out.retain))
    return refuse("kind, retain flag and payload do not fit each other");
  return out;
}

struct BatchView::Tree {
  PlainBody parts;
  MerkleTree merkle;
};

Result<BatchView> BatchView::parse(ByteView wire) {
  auto header = read_header(wire);
  if (!header) return tl::unexpected(header.error());
  BatchView out;
  out.header = *header;
  out.header_bytes = wire.first(BatchHeader::wire_bytes);
  out.body = wire.subspan(BatchHeader::wire_bytes);
  if (!out.body.empty() && out.body.size() != out.header.body_bytes)
    return fail(Errc::invalid,
                fmt::format("batch: {} bytes of body, {} announced", out.body.size(), out.header.body_bytes));
  out.header_hash = blake2b(wire.first(BatchHeader::signed_bytes));
  return out;
}

Result<void> BatchView::verify(const NetworkId& network) const {
  if (!signature_holds(header_bytes, header.writer, network))
    return fail(Errc::not_permitted, "batch: the signature is not its writer's");
  if (body.empty()) return {};
  if (blake2b(body) != header.body_hash) return fail(Errc::invalid, "batch: the body is not the one that was signed");
  if (!header.has_root || body[0] != plain) return {};
  // Else a retained record would be good in its batch and bad on its own.
  const auto built = tree();
  if (!built) return tl::unexpected(built.error());
  if ((*built)->merkle.root() != header.root)
    return fail(Errc::invalid, "batch: the Merkle root is not that of its records");
  return {};
}

Result<std::vector<ByteView>> BatchView::records() const {
  auto parts = read_body(body, header.count);
  if (!parts) return tl::unexpected(parts.error());
  return std::move(parts->records);
}

Result<const BatchView::Tree*> BatchView::tree() const {
  if (!tree_) {
    auto parts = read_body(body, header.count);
    if (!parts) return tl::unexpected(parts.error());
    MerkleTree merkle(leaves_of(parts->seed, parts->records));
    tree_ = std::make_shared<const Tree>(Tree{std::move(*parts), std::move(merkle)});
  }
  return tree_.get();
}

Result<Bytes> BatchView::proof_of(std::uint32_t index) const {
  expect(index < header.count, "a proof of a record that is not in the batch");
  if (!header.has_root) return fail(Errc::invalid, "batch: no Merkle root, so no proof of a single record");
  const auto built = tree();
  if (!built) return tl::unexpected(built.error());
  const auto& [parts, merkle] = **built;
  const auto path = merkle.path(index);
  Bytes proof;
  proof.reserve(header_bytes.size() + 21 + path.size() * Hash::size + parts.records[index].size());
  ByteWriter to(proof);
  to.raw(header_bytes);
  to.u32(index);
  to.raw(salt_of(parts.seed, index));
  to.u8(static_cast<std::uint8_t>(path.size()));
  for (const auto& hash : path) to.raw(hash);
  to.raw(parts.records[index]);
  return proof;
}

BatchWriter::BatchWriter(Stream stream, const ChannelId& channel, const Incarnation& incarnation, const Hash& previous)
    : stream_(stream), channel_(channel), incarnation_(incarnation), previous_(previous) {
  expect(stream == Stream::durable || previous.is_zero(), "a chain in the live stream");
}

Bytes BatchWriter::seal(const std::vector<Bytes>& records, bool has_root, HybridTime time, std::uint64_t policy_version,
                        const KeyPair& writer, const NetworkId& network, Random& random) {
  expect(!records.empty() && records.size() <= limits::batch_count_max, "a batch's number of records");
  expect(time >= last_time_, "a batch before the one before it");
  expect(!has_root || stream_ == Stream::durable, "a retained record in the live stream");
  Bytes body;
  std::size_t body_size = 1 + seed_bytes;
  for (const auto& record : records) body_size += 4 + record.size();
  expect(body_size <= limits::batch_body_bytes_max, "a batch's size");
  body.reserve(body_size);
  ByteWriter to(body);
  to.u8(plain);
  std::array<std::uint8_t, seed_bytes> seed;
  random.fill(seed);
  to.raw(seed);
  for (const auto& record : records) {
    to.u32(static_cast<std::uint32_t>(record.size()));
    to.raw(record);
  }

  BatchHeader header;
  header.stream = stream_;
  header.has_root = has_root;
  header.channel = channel_;
  header.writer = writer.node_id();
  header.incarnation = incarnation_;
  header.first_seq = next_seq_;
  header.count = static_cast<std::uint32_t>(records.size());
  header.time = time;
  header.policy_version = policy_version;
  header.previous = previous_;
  if (has_root) {
    const std::vector<ByteView> views(records.begin(), records.end());
    header.root = merkle_root(leaves_of(seed, views));
  }
  header.body_hash = blake2b(body);
  header.body_bytes = static_cast<std::uint32_t>(body.size());

  Bytes wire;
  wire.reserve(BatchHeader::wire_bytes + body.size());
  write_header(wire, header);
  if (stream_ == Stream::durable) previous_ = blake2b(wire);
  append(wire, writer.sign("batch", network, wire));
  append(wire, body);
  next_seq_ += records.size();
  last_time_ = time;
  return wire;
}

Result<ProvenRecord> read_proof(ByteView proof) {
  const auto header = read_header(proof);
  if (!header) return tl::unexpected(header.error());
  ByteReader in(proof.subspan(BatchHeader::wire_bytes));
  ProvenRecord out;
  out.header = *header;
  out.header_hash = blake2b(proof.first(BatchHeader::signed_bytes));
  out.index = in.u32();
  const auto salt = in.raw(salt_bytes);
  std::vector<Hash> path(in.u8());
  for (auto& hash : path) hash = in.id<Hash>();
  if (!in.ok()) return fail(Errc::invalid, "retained record: cut off");
  if (!header->has_root ||
      merkle_root_from_path(leaf_of(salt, in.rest()), out.index, header->count, path) != header->root)
    return fail(Errc::invalid, "retained record: it is not the one in the batch");
  auto record = decode_record(in.rest());
  if (!record) return tl::unexpected(record.error());
  if (!record->retain && record->kind != RecordKind::will_set)
    return fail(Errc::invalid, "retained record: it is not a retained one");
  out.record = std::move(*record);
  return out;
}

Result<ProvenRecord> verify_proof(ByteView proof, const NetworkId& network, const Hash* known_header) {
  auto out = read_proof(proof);
  if (out && !(known_header && *known_header == out->header_hash) &&
      !signature_holds(proof.first(BatchHeader::wire_bytes), out->header.writer, network))
    return fail(Errc::not_permitted, "retained record: the signature is not its writer's");
  return out;
}

}  // namespace diot
