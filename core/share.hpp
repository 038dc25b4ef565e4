#pragma once
// Shares: the owner's policy for one topic filter each. Byte layout and test vectors of the record: docs/protocol.md,
// "Share record" (frozen). What no share covers never leaves the gateway.

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/crypto.hpp"
#include "core/error.hpp"

namespace diot {

enum class ReadClass : std::uint8_t { everyone = 0, list = 1, nobody = 2 };
enum class WriteClass : std::uint8_t { owner = 0, list = 1 };

/// A place in the ledger.
struct Checkpoint {
  std::uint64_t height = 0;
  Hash block;  ///< hash of the block's header
  bool operator==(const Checkpoint&) const = default;
};

struct SharePolicy {
  std::string filter;                ///< in the owner's local names
  std::vector<std::string> readers;  ///< handles, with ReadClass::list
  WriteClass write = WriteClass::owner;
  std::vector<std::string> writers;  ///< handles, with WriteClass::list
  std::uint32_t approve = 0;         ///< how many must approve a write; 0 = none
  std::vector<std::string> approvers;
  bool operator==(const SharePolicy&) const = default;
};

struct ShareRecord {
  bool removed = false;  ///< the end of this share: a later seq without policy
  ReadClass read = ReadClass::nobody;
  ShareId id;
  std::uint64_t seq = 1;
  ChannelId channel;
  NodeId signer;
  Checkpoint checkpoint;  ///< where the signer's role is judged
  SharePolicy policy;

  bool is_public() const { return !removed && read == ReadClass::everyone; }
};

/// The presets of `diot share add --preset`.
enum class Preset { public_, trusted, protected_, secure, local };
std::optional<Preset> preset_from(std::string_view name);
std::string_view name_of(Preset preset);
/// The preset that this record is an instance of.
Preset preset_of(const ShareRecord& record);

/// BLAKE2b-256("diot/channel/v1" ‖ network ‖ register entry's hash ‖ share id), so that a handle registered anew
/// inherits nothing.
ChannelId channel_id(const NetworkId& network, const Hash& register_entry, const ShareId& share);

/// Signs as `signer`; fills nothing in.
Bytes encode_share(const ShareRecord& record, const KeyPair& signer, const NetworkId& network);
/// Parses, and checks the signature and the filter. Whether the signer may speak for the handle is the caller's to ask.
/// Errc::not_available for a sealed policy.
Result<ShareRecord> decode_share(ByteView bytes, const NetworkId& network);
/// A share made anew as one of that handle in that network, with a channel of its own. `register_entry` is that handle's.
ShareRecord rehomed(ShareRecord share, const NetworkId& network, const Hash& register_entry, const NodeId& signer,
                    const Checkpoint& checkpoint);
/// Which of two valid records of one share holds: the higher seq, then the lower hash.
bool supersedes(ByteView a, const ShareRecord& a_record, ByteView b, const ShareRecord& b_record);

/// The shares of one handle, and the rule which one a topic belongs to.
class Shares {
 public:
  /// The share that covers a local topic name: of the matching filters the one with the most leading levels without a
  /// wildcard. nullptr: none does.
  const ShareRecord* of_topic(std::string_view topic) const;
  /// Errc::exists if another share has an equal claim: a filter that overlaps with as many literal levels (names it).
  Result<void> check_addition(std::string_view filter, const ShareId* replacing = nullptr) const;
  /// Inserts or replaces (removed records erase).
  void set(ShareRecord record);
  const std::map<ShareId, ShareRecord>& all() const { return shares_; }
  const ShareRecord* by_filter(std::string_view filter) const;

 private:
  std::map<ShareId, ShareRecord> shares_;
};

}  // namespace diot
