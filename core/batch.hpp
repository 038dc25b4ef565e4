#pragma once
// The batch: the signed unit in which records travel and are stored. Byte layout and test vectors: docs/protocol.md,
// "Batch" (frozen).

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"
#include "core/message.hpp"
#include "core/retained.hpp"

namespace diot {

enum class Stream : std::uint8_t {
  durable = 0,  ///< QoS ≥ 1 and everything with the retain flag: has seq and a chain of headers, is on disk
  live = 1,     ///< the rest of QoS 0: its own counter, no chain, never stored
};

struct BatchHeader {
  Stream stream = Stream::durable;
  bool has_root = false;  ///< some record is retained, so the Merkle root is there
  ChannelId channel;
  NodeId writer;
  Incarnation incarnation;
  std::uint64_t first_seq = 1;
  std::uint32_t count = 0;
  HybridTime time = 0;
  std::uint64_t policy_version = 0;  ///< seq of the share record that the writer went by
  Hash previous;                     ///< hash of the header before it in the log; zero: none or live
  Hash root;                         ///< RFC 6962 over the records' leaves; zero without has_root
  Hash body_hash;                    ///< BLAKE2b-256 of the body's bytes on the wire
  std::uint32_t body_bytes = 0;

  static constexpr std::size_t signed_bytes = 212;
  static constexpr std::size_t wire_bytes = signed_bytes + Signature::size;  ///< 276
  std::uint64_t last_seq() const { return first_seq + count - 1; }
};

enum class RecordKind : std::uint8_t { message = 0, tombstone = 1, will_set = 2, will_clear = 3 };

/// One message inside a batch. The topic is the owner's: without "@handle/".
struct Record {
  RecordKind kind = RecordKind::message;
  std::string topic;
  Qos qos = Qos::at_most_once;
  bool retain = false;
  Bytes payload;
  Properties properties;                          ///< of a will: those that its message gets
  std::optional<std::uint64_t> will_number = {};  ///< of a will: names it among all of its writer, for ever
  std::uint32_t will_delay_seconds = 0;           ///< of a will that is set (MQTT 5.0 section 3.1.3.2.2)

  bool operator==(const Record&) const = default;
};

Bytes encode_record(const Record& record);
/// A record of two bytes that is no message: what its writer says by it. Who does not know it skips it.
enum class Signal : std::uint8_t {
  presence = 4,  ///< in the live stream: the writer lives
  wills_end = 5  ///< in the durable log: of its earlier incarnations' wills none stands that it has not set again
};
Bytes encode_signal(Signal signal);
std::optional<Signal> signal_of(ByteView record);

/// Checks everything that docs/protocol.md says of a record; unknown property keys are skipped. Errc::not_available on
/// an unknown kind (the caller skips the record).
Result<Record> decode_record(ByteView bytes);

/// A batch as on the wire, parsed but with nothing believed yet. Views into the bytes it was parsed from.
class BatchView {
 public:
  BatchHeader header;
  ByteView header_bytes;  ///< 276 bytes, signature included
  ByteView body;          ///< empty if only the header came
  Hash header_hash;       ///< BLAKE2b-256 of the signed 212 bytes: what the next header's `previous` names

  /// Checks shape and bounds only. `wire` = header ‖ signature ‖ body.
  static Result<BatchView> parse(ByteView wire);
  /// The writer's signature over the header (Errc::not_permitted); if the body is there its hash, and its Merkle root
  /// if it is plain.
  Result<void> verify(const NetworkId& network) const;
  /// The records' bytes, in order. Errc::not_available for a sealed body. A retained record is good only in a batch
  /// with has_root: the caller sees to that after decode_record.
  Result<std::vector<ByteView>> records() const;
  /// The proof of one record: header, salt, path (docs/protocol.md, "Retained record"). Errc::invalid without has_root.
  /// The tree is built once for all of a batch's proofs (by verify, if that came first).
  Result<Bytes> proof_of(std::uint32_t index) const;

 private:
  struct Tree;
  Result<const Tree*> tree() const;
  mutable std::shared_ptr<const Tree> tree_;
};

/// Forms batches of one log of one writer: numbers, chains, signs.
class BatchWriter {
 public:
  /// `previous` = hash of the last header of the incarnation before, zero if unknown or for the live stream.
  BatchWriter(Stream stream, const ChannelId& channel, const Incarnation& incarnation, const Hash& previous);

  /// Wire bytes of the next batch: 1 to limits::batch_count_max encoded records whose body (17 bytes, and 4 for each
  /// record) fits limits::batch_body_bytes_max. `has_root` if one of them is retained; `time` never falls.
  Bytes seal(const std::vector<Bytes>& records, bool has_root, HybridTime time, std::uint64_t policy_version,
             const KeyPair& writer, const NetworkId& network, Random& random);
  std::uint64_t next_seq() const { return next_seq_; }
  const Incarnation& incarnation() const { return incarnation_; }

 private:
  Stream stream_;
  ChannelId channel_;
  Incarnation incarnation_;
  Hash previous_;
  HybridTime last_time_ = 0;
  std::uint64_t next_seq_ = 1;
};

/// One retained record, or a will that is set, on its own: believed as far as its writer is.
struct ProvenRecord {
  BatchHeader header;
  Hash header_hash;
  std::uint32_t index = 0;  ///< within the batch; seq = header.first_seq + index
  Record record;
  Stamp stamp() const { return {header.time, header.writer, header.incarnation, header.first_seq + index}; }
};
/// Reads a proof that was verified before (from this node's own disk).
Result<ProvenRecord> read_proof(ByteView proof);
/// Checks signature (unless `known_header` is this header's hash, checked before) and path.
Result<ProvenRecord> verify_proof(ByteView proof, const NetworkId& network, const Hash* known_header = nullptr);

}  // namespace diot
