#include "core/cursor.hpp"

namespace diot {

Step judge(const Cursor& cursor, const BatchHeader& header) {
  if (header.incarnation == cursor.incarnation) {
    if (header.last_seq() <= cursor.seq) return Step::seen;
    if (header.first_seq > cursor.seq + 1) return Step::gap;
    if (header.first_seq <= cursor.seq) return Step::fork;  // batches never change, so none straddles the cursor
    return header.previous == cursor.header ? Step::next : Step::fork;
  }
  if (header.incarnation < cursor.incarnation) return Step::seen;
  // A new life of the writer: its first header names the last one of the life before.
  return header.first_seq == 1 && header.previous == cursor.header ? Step::next : Step::gap;
}

Cursor advanced(const BatchHeader& header, const Hash& header_hash) {
  return {header.incarnation, header.last_seq(), header_hash};
}

Cursor before(const BatchHeader& header) { return {header.incarnation, header.first_seq - 1, header.previous}; }

Bytes encode_cursor(const Cursor& cursor) {
  Bytes out;
  ByteWriter write(out);
  write.u64(cursor.incarnation.number);
  write.u64(cursor.incarnation.random);
  write.u64(cursor.seq);
  write.raw(cursor.header);
  return out;
}

std::optional<Cursor> decode_cursor(ByteView bytes) {
  ByteReader read(bytes);
  Cursor out;
  out.incarnation.number = read.u64();
  out.incarnation.random = read.u64();
  out.seq = read.u64();
  out.header = read.id<Hash>();
  if (!read.done()) return std::nullopt;
  return out;
}

}  // namespace diot
