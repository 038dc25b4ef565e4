// Batches as they come from a link. With the first byte's lowest bit the batch is made to be its writer's: key, hash of the
// body, its size and signature are put right, and with the next bit the Merkle root.

#include "core/batch.hpp"
#include "core/limits.hpp"
#include "core/merkle.hpp"
#include "core/will_table.hpp"
#include "tests/fuzz/signing.hpp"

namespace diot::fuzz {
namespace {

constexpr std::size_t writer_at = 36, root_at = 144, body_hash_at = 176, body_bytes_at = 208;

void put_right(Bytes& wire, bool with_root) {
  if (wire.size() <= BatchHeader::wire_bytes) return;
  const Bytes body(wire.begin() + BatchHeader::wire_bytes, wire.end());
  overwrite(wire, writer_at, signer().node_id());
  overwrite(wire, body_hash_at, blake2b(body));
  Bytes size;
  ByteWriter(size).u32(static_cast<std::uint32_t>(body.size()));
  overwrite(wire, body_bytes_at, size);
  if (with_root) {
    if (const auto view = BatchView::parse(wire)) {
      if (const auto records = view->records()) {
        std::vector<Hash> leaves;
        for (std::uint32_t index = 0; index < records->size(); ++index) {
          Bytes number, salt(16);
          ByteWriter(number).u32(index);
          blake2b_keyed(salt, ByteView(body).subspan(1, 16), {number});
          const std::uint8_t leaf = 0;
          leaves.push_back(sha256({ByteView(&leaf, 1), salt, (*records)[index]}));
        }
        overwrite(wire, root_at, merkle_root(leaves));
      }
    }
  }
  overwrite(wire, BatchHeader::signed_bytes,
            signer().sign("batch", network(), ByteView(wire).first(BatchHeader::signed_bytes)));
}

void look_at_record(ByteView bytes) {
  if (const auto signal = signal_of(bytes)) require(encode_signal(*signal) == to_bytes(bytes), "a signal is two bytes");
  const auto record = decode_record(bytes);
  if (!record) return;
  require(record->payload.size() <= limits::packet_bytes_max, "a payload is bounded");
  const auto written = encode_record(*record);
  const auto again = decode_record(written);
  require(again.has_value() && *again == *record, "a record is read as it is written");
  require(encode_record(*again) == written, "it is written the same");
}

}  // namespace

void batch(ByteView input) {
  Input in(input);
  const auto settings = in.u8();
  Bytes wire = to_bytes(in.rest());
  if (settings & 1) put_right(wire, settings & 2);
  const auto view = BatchView::parse(wire);
  if (!view) return;
  require(view->header.count >= 1 && view->header.count <= limits::batch_count_max, "records are counted in bounds");
  require(view->body.empty() || view->body.size() == view->header.body_bytes, "the body has the size that it should");
  const auto records = view->records();
  if (records) {
    require(records->size() == view->header.count, "as many records as the header says");
    for (const auto& record : *records) look_at_record(record);
  }
  if (!view->verify(network())) return;
  for (std::uint32_t index = 0; records && index < view->header.count && index < 8; ++index) {
    const auto proof = view->proof_of(index);
    require(proof.has_value() == view->header.has_root, "a record of a batch with a root has a proof");
    if (!proof) break;
    const auto record = decode_record((*records)[index]);
    const auto proven = verify_proof(*proof, network());
    const bool travels_alone = record && (record->retain || record->kind == RecordKind::will_set);
    require(proven.has_value() == travels_alone, "the proof of a retained record or a will holds");
    if (proven) require(proven->record == *record && proven->index == index, "and is of that record");
    if (proven && will_of(*proven, *proof)) require(record->will_number.has_value(), "a will has a number");
  }
}

Seeds batch_seeds() {
  testing::SeededRandom random(1);
  const auto channel = random.id<ChannelId>();
  std::vector<Bytes> records;
  for (int kind = 0; kind < 4; ++kind)
    for (bool retain : {false, true}) {
      Record record;
      record.kind = static_cast<RecordKind>(kind);
      record.retain = retain || record.kind == RecordKind::tombstone;
      record.topic = "sensors/" + std::to_string(kind);
      record.qos = Qos::exactly_once;
      if (kind == 0 || kind == 2) record.payload = to_bytes("21.5");
      record.properties.payload_format = 1;
      record.properties.expiry_seconds = 60;
      record.properties.content_type = "text/plain";
      record.properties.response_topic = "answers";
      record.properties.correlation_data = Bytes{1, 2};
      record.properties.user = {{"a", "b"}};
      if (kind >= 2) record.will_number = 7;
      if (kind == 2) record.will_delay_seconds = 30;
      records.push_back(encode_record(record));
    }
  records.push_back(encode_signal(Signal::wills_end));
  Seeds out;
  BatchWriter durable(Stream::durable, channel, {7, 8}, {}), live(Stream::live, channel, {7, 8}, {});
  const std::vector<Bytes> wires{durable.seal(records, true, 1000, 3, signer(), network(), random),
                                 durable.seal({records[0]}, false, 1001, 3, signer(), network(), random),
                                 live.seal({records[0]}, false, 1001, 3, signer(), network(), random)};
  for (const auto& wire : wires)
    for (std::uint8_t settings = 0; settings < 4; ++settings) out.push_back(chosen(settings, wire));
  out.push_back(chosen(0, ByteView(wires[0]).first(BatchHeader::wire_bytes)));
  return out;
}

}  // namespace diot::fuzz
