#pragma once
// Who decides the ledger's blocks, and what else of a network can change after its genesis (docs/protocol.md, "Network
// record").

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/genesis.hpp"

namespace diot {

struct Witness {
  PublicKey key;  ///< signs votes
  NodeId node;    ///< the node that runs it, for the others to dial; zero: a witness of the genesis, which names none
  bool operator==(const Witness&) const = default;
};

struct WitnessSet {
  std::vector<Witness> members;  ///< a vote names its witness by the place in here
  bool fragile = false;          ///< its makers accept fewer than four: one that fails halts the ledger

  std::vector<PublicKey> keys() const;
  bool has(const PublicKey& key) const;
  /// One of them may fail or lie.
  bool is_solid() const;
  bool operator==(const WitnessSet&) const = default;
};

struct NetworkRecord {
  std::uint64_t epoch = 0;  ///< counts witness-change, succession and upgrade; each names the one that it makes
  WitnessSet witnesses;     ///< decide the next block
  struct NextSet {
    std::uint64_t height = 0;  ///< the first block that it decides
    WitnessSet witnesses;
    bool operator==(const NextSet&) const = default;
  };
  std::optional<NextSet> next_set;
  std::uint32_t rules_version = 1;  ///< of the next block
  struct NextRules {
    std::uint64_t height = 0;  ///< the first block that goes by them
    std::uint32_t version = 0;
    bool operator==(const NextRules&) const = default;
  };
  std::optional<NextRules> next_rules;
  /// Witnesses that were proven to have signed two different votes in one place → hash of the evidence entry.
  std::map<PublicKey, Hash> liars;

  bool operator==(const NetworkRecord&) const = default;
};

/// As it follows from the genesis alone.
NetworkRecord initial_record(const Genesis& genesis);
/// The record as the map root covers it.
Bytes encode_network(const NetworkRecord& record);
/// Shape and bounds only.
Result<NetworkRecord> decode_network(ByteView bytes);
/// Its key in the map is the SHA-256 of this. No handle has that name.
inline constexpr std::string_view network_record_name = "/network";
Hash network_record_key();

}  // namespace diot
