#include "core/ledger/witness.hpp"

#include "core/crypto.hpp"
#include "core/ledger/codec.hpp"

namespace diot {

std::vector<PublicKey> WitnessSet::keys() const {
  std::vector<PublicKey> out;
  for (const auto& member : members) out.push_back(member.key);
  return out;
}

NetworkRecord initial_record(const Genesis& genesis) {
  NetworkRecord out;
  for (const auto& key : genesis.witnesses) out.witnesses.members.push_back({key, {}});
  out.witnesses.fragile = genesis.witnesses.size() < 4;
  out.rules_version = genesis.rules_version;
  return out;
}

Bytes encode_network(const NetworkRecord& record) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(7);
  out.uint(1);
  out.uint(record.epoch);
  ledger_codec::write_witnesses(out, record.witnesses);
  if (record.next_set) {
    out.array(2);
    out.uint(record.next_set->height);
    ledger_codec::write_witnesses(out, record.next_set->witnesses);
  } else {
    out.nil();
  }
  out.uint(record.rules_version);
  if (record.next_rules) {
    out.array(2);
    out.uint(record.next_rules->height);
    out.uint(record.next_rules->version);
  } else {
    out.nil();
  }
  out.array(record.liars.size());
  for (const auto& [key, evidence] : record.liars) {
    out.array(2);
    out.bin(key);
    out.bin(evidence);
  }
  return bytes;
}

Hash network_record_key() { return sha256(as_bytes("/network")); }

}  // namespace diot
