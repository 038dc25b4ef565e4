// Records of the directory, as they come out of the DHT. With the first byte's lowest bit the record is signed by the signer
// that it names, if that is ours.

#include "core/limits.hpp"
#include "dht/directory.hpp"
#include "tests/fuzz/signing.hpp"

namespace diot::fuzz {

void directory(ByteView input) {
  Input in(input);
  const bool right = in.u8() & 1;
  Bytes bytes = to_bytes(in.rest());
  if (right) append(bytes, signer().sign("directory", network(), bytes));
  const auto record = decode_directory_record(bytes, network());
  if (!record) return;
  require(bytes.size() <= limits::directory_record_bytes_max, "a record is bounded");
  require(record->signer == signer().node_id(), "nobody else's signature can be made");
  require(encode_directory_record(*record, signer(), network()) == bytes, "a record has one way to be written");
  require(!decode_directory_record(bytes, {}), "it counts in its network alone");
}

Seeds directory_seeds() {
  Seeds out;
  DirectoryRecord record;
  record.subject = to_bytes(signer().node_id());
  record.seq = 1'790'000'000'000;
  record.body = to_bytes(
      "\x91\xaf"
      "192.0.2.1:42220");
  for (auto kind : {DirectoryKind::node, DirectoryKind::catalogue}) {
    record.kind = kind;
    if (kind == DirectoryKind::catalogue) record.subject = to_bytes("alice");
    const auto bytes = encode_directory_record(record, signer(), network());
    out.push_back(chosen(0, bytes));
    out.push_back(chosen(1, ByteView(bytes).first(bytes.size() - Signature::size)));
  }
  return out;
}

}  // namespace diot::fuzz
