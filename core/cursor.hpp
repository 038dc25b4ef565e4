#pragma once
// Where a reader stands in one writer's durable log, and what it makes of the next batch. Pure.

#include <cstdint>
#include <optional>

#include "core/batch.hpp"
#include "core/bytes.hpp"

namespace diot {

/// The last record that was taken in, without a gap before it since the reader began.
struct Cursor {
  Incarnation incarnation;
  std::uint64_t seq = 0;
  Hash header;  ///< hash of the header that `seq` ends; zero: none yet

  bool operator==(const Cursor&) const = default;
};

enum class Step : std::uint8_t {
  next,  ///< follows: take it in and advance
  seen,  ///< taken in before
  gap,   ///< something before it is missing: ask for the range behind the cursor
  fork,  ///< contradicts what was taken in: a writer must not sign the same seq twice (refuse it)
};

/// Judges a verified header of the durable log.
Step judge(const Cursor& cursor, const BatchHeader& header);
/// `position` is an earlier place of the same log than `end`.
inline bool is_behind(const Cursor& position, const Cursor& end) {
  return position.incarnation < end.incarnation || (position.incarnation == end.incarnation && position.seq < end.seq);
}
/// The cursor after a batch that is `next`.
Cursor advanced(const BatchHeader& header, const Hash& header_hash);
/// The cursor just before a batch: what a holder that lost everything in between says to start from.
Cursor before(const BatchHeader& header);

/// 56 bytes: incarnation (16) ‖ seq (8) ‖ header hash (32).
Bytes encode_cursor(const Cursor& cursor);
std::optional<Cursor> decode_cursor(ByteView bytes);

}  // namespace diot
