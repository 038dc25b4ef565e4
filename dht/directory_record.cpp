#include <algorithm>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"
#include "dht/directory.hpp"

namespace diot {

static constexpr std::uint64_t record_version = 1;
static constexpr std::size_t subject_bytes_max = std::max(NodeId::size, owner_bytes_max);

Bytes encode_directory_record(const DirectoryRecord& record, const KeyPair& signer, const NetworkId& network) {
  Bytes out;
  out.reserve(record.body.size() + 192);
  PackWriter pack(out);
  pack.array(7);
  pack.uint(record_version);
  pack.uint(suite_1);
  pack.uint(static_cast<std::uint64_t>(record.kind));
  pack.bin(record.subject);
  pack.bin(signer.node_id());
  pack.uint(record.seq);
  pack.bin(record.body);
  append(out, signer.sign("directory", network, out));
  return out;
}

Result<DirectoryRecord> decode_directory_record(ByteView bytes, const NetworkId& network) {
  if (bytes.size() > limits::directory_record_bytes_max) return fail(Errc::limit, "directory record: above 60 KiB");
  if (bytes.size() < Signature::size) return fail(Errc::invalid, "directory record: cut off");
  const auto unsigned_bytes = bytes.first(bytes.size() - Signature::size);
  const auto signature = *Signature::from(bytes.last(Signature::size));

  PackReader in(unsigned_bytes, 8);
  in.array_of(7);
  const auto version = in.uint();
  const auto suite = in.uint();
  if (in.ok() && (version != record_version || suite != suite_1))
    return fail(Errc::not_available, "directory record: unknown version or suite");
  DirectoryRecord out;
  const auto kind = in.uint();
  out.subject = to_bytes(in.bin(subject_bytes_max));
  out.signer = in.id<NodeId>();
  out.seq = in.uint();
  const auto body = in.bin(limits::directory_record_bytes_max);
  if (!in.done()) return fail(Errc::invalid, "directory record: malformed");

  switch (kind) {
    case static_cast<std::uint64_t>(DirectoryKind::node):
      if (!equal(out.subject, out.signer)) return fail(Errc::invalid, "directory record: signed by another node");
      break;
    case static_cast<std::uint64_t>(DirectoryKind::catalogue):
      if (out.subject.empty()) return fail(Errc::invalid, "directory record: no subject");
      break;
    default: return fail(Errc::not_available, "directory record: unknown kind");
  }
  out.kind = static_cast<DirectoryKind>(kind);
  if (!verify(key_of(out.signer), signature, "directory", network, unsigned_bytes))
    return fail(Errc::invalid, "directory record: wrong signature");
  out.body = to_bytes(body);
  out.wire = to_bytes(bytes);
  return out;
}

}  // namespace diot
