#pragma once
// The DHT as the overlay sees it: an address book of small signed records, never the hot path. A hint, too: readers
// verify everything and take the highest seq, and "not found" proves nothing.

#include <cstdint>
#include <functional>
#include <string>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

enum class DirectoryKind : std::uint8_t {
  node = 1,       ///< subject: NodeId; body: msgpack [address, …]; signed by that node
  catalogue = 2,  ///< subject: handle; body: msgpack [share record, …]; signed by a node of the handle
};

/// docs/protocol.md, "Directory record". At most 60 KiB.
struct DirectoryRecord {
  DirectoryKind kind = DirectoryKind::node;
  Bytes subject;
  NodeId signer;
  std::uint64_t seq = 0;  ///< milliseconds of the writer's clock, raised by at least one with each change
  Bytes body;
  Bytes wire;  ///< as signed, where it was decoded
};
Bytes encode_directory_record(const DirectoryRecord& record, const KeyPair& signer, const NetworkId& network);
/// Checks shape, size and signature; for kind node also that the signer is the subject.
Result<DirectoryRecord> decode_directory_record(ByteView bytes, const NetworkId& network);

class Directory {
 public:
  virtual ~Directory() = default;
  /// Puts our record and keeps it there (put again at half its life, and after a rebuild). Replaces the one put before
  /// under the same kind and subject.
  virtual void publish(DirectoryKind kind, ByteView subject, Bytes record) = 0;
  /// Looks up once; `found` gets each valid record (the caller takes the highest seq), then `done` runs. Both on the
  /// I/O thread, never from inside this call.
  virtual void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
                    std::function<void()> done) = 0;
  /// An overlay address whose node takes part in the DHT.
  virtual void add_contact(const std::string& address) = 0;
  struct Status {
    std::size_t good_nodes = 0, dubious_nodes = 0, stored_values = 0, rebuilds = 0;
    std::uint64_t refused_datagrams = 0;  ///< not sealed with the network's key, or no message of the DHT
    std::uint64_t refused_values = 0;
  };
  virtual Status status() const = 0;
};

}  // namespace diot
