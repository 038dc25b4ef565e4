// Share records. With the first byte's lowest bit the policy's hash and size, the signer and the signature are put right.

#include "core/limits.hpp"
#include "core/share.hpp"
#include "core/topic.hpp"
#include "tests/fuzz/signing.hpp"

namespace diot::fuzz {
namespace {

constexpr std::size_t signer_at = 60, policy_hash_at = 132, policy_size_at = 164, signature_at = 168, policy_at = 232;

void put_right(Bytes& record) {
  if (record.size() < policy_at) return;
  const auto policy = ByteView(record).subspan(policy_at);
  Bytes size;
  ByteWriter(size).u32(static_cast<std::uint32_t>(policy.size()));
  overwrite(record, policy_hash_at, blake2b(policy));
  overwrite(record, policy_size_at, size);
  overwrite(record, signer_at, signer().node_id());
  overwrite(record, signature_at, signer().sign("share", network(), ByteView(record).first(signature_at)));
}

}  // namespace

void share(ByteView input) {
  Input in(input);
  const bool right = in.u8() & 1;
  Bytes bytes = to_bytes(in.rest());
  if (right) put_right(bytes);
  const auto record = decode_share(bytes, network());
  if (!record) return;
  require(check_filter(record->policy.filter).has_value(), "a share has a filter");
  require(record->policy.approve <= record->policy.approvers.size(), "enough may approve");
  require(!decode_share(bytes, {}), "it counts in its network alone");
  preset_of(*record);
  const auto written = encode_share(*record, signer(), network());
  const auto again = decode_share(written, network());
  require(again && again->policy == record->policy && again->read == record->read && again->id == record->id &&
              again->seq == record->seq && again->checkpoint == record->checkpoint,
          "a share is read as it is written");
  require(
      supersedes(bytes, *record, written, *again) != supersedes(written, *again, bytes, *record) || bytes == written,
      "of two records one holds");
  Shares shares;
  require(shares.check_addition(record->policy.filter).has_value(), "the first share has no rival");
  shares.set(*record);
  require(record->removed == shares.all().empty(), "a removed share is none");
}

Seeds share_seeds() {
  ShareRecord record;
  record.id.bytes.fill(3);
  record.channel.bytes.fill(4);
  record.checkpoint = {9, {}};
  record.signer = signer().node_id();
  record.policy.filter = "sensors/#";
  std::vector<ShareRecord> records;
  record.read = ReadClass::everyone;
  records.push_back(record);
  record.read = ReadClass::nobody;
  records.push_back(record);
  record.removed = true;
  records.push_back(record);
  record.removed = false;
  record.read = ReadClass::list;
  record.policy.readers = {"bob", "carol"};
  record.policy.write = WriteClass::list;
  record.policy.writers = {"bob"};
  record.policy.approve = 2;
  record.policy.approvers = {"alice/m", "alice/mum", "carol"};
  records.push_back(record);
  Seeds out;
  for (const auto& one : records)
    for (std::uint8_t settings : {0, 1}) out.push_back(chosen(settings, encode_share(one, signer(), network())));
  return out;
}

}  // namespace diot::fuzz
