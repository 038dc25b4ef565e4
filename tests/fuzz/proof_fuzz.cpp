// Proofs of retained records. With the first byte's lowest bit the root and the signature are put right.

#include "core/batch.hpp"
#include "core/merkle.hpp"
#include "tests/fuzz/signing.hpp"

namespace diot::fuzz {
namespace {

constexpr std::size_t count_at = 92, root_at = 144;

void put_right(Bytes& proof) {
  if (proof.size() < BatchHeader::wire_bytes) return;
  ByteReader count(ByteView(proof).subspan(count_at, 4)), in(ByteView(proof).subspan(BatchHeader::wire_bytes));
  const auto index = in.u32();
  const auto salt = in.raw(16);
  std::vector<Hash> path(in.u8());
  for (auto& hash : path) hash = in.id<Hash>();
  if (!in.ok()) return;
  const std::uint8_t leaf = 0;
  const auto root = merkle_root_from_path(sha256({ByteView(&leaf, 1), salt, in.rest()}), index, count.u32(), path);
  if (root) overwrite(proof, root_at, *root);
  overwrite(proof, 36, signer().node_id());
  overwrite(proof, BatchHeader::signed_bytes,
            signer().sign("batch", network(), ByteView(proof).first(BatchHeader::signed_bytes)));
}

}  // namespace

void proof(ByteView input) {
  Input in(input);
  const bool right = in.u8() & 1;
  Bytes bytes = to_bytes(in.rest());
  if (right) put_right(bytes);
  const auto proven = verify_proof(bytes, network());
  if (!proven) return;
  require(
      (proven->record.retain || proven->record.kind == RecordKind::will_set) && proven->index < proven->header.count,
      "a retained record of the batch");
  const auto known = verify_proof(bytes, network(), &proven->header_hash);
  require(known && known->stamp() == proven->stamp(), "a header that is known already changes nothing");
  require(!verify_proof(bytes, {}), "it counts in its network alone");
  const Hash other{};
  require(verify_proof(bytes, network(), &other).has_value(), "another header that is known changes nothing");
}

Seeds proof_seeds() {
  testing::SeededRandom random(1);
  BatchWriter durable(Stream::durable, random.id<ChannelId>(), {7, 8}, {});
  Seeds out;
  for (std::size_t count : {1, 5}) {
    std::vector<Bytes> records;
    for (std::size_t at = 0; at < count; ++at) {
      Record record;
      record.retain = true;
      record.topic = "sensors/" + std::to_string(at);
      record.payload = to_bytes("21.5");
      if (at == 4) record.kind = RecordKind::will_set, record.retain = false, record.will_number = 7;
      if (at == 3) record.kind = RecordKind::tombstone, record.payload.clear();
      records.push_back(encode_record(record));
    }
    const auto wire = durable.seal(records, true, 1000, 3, signer(), network(), random);
    const auto view = BatchView::parse(wire).value();
    for (std::uint32_t at = 0; at < count; ++at) {
      out.push_back(chosen(1, view.proof_of(at).value()));
      out.push_back(chosen(0, view.proof_of(at).value()));
    }
  }
  return out;
}

}  // namespace diot::fuzz
