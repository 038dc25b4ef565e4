#include "core/ledger/witness.hpp"

#include <algorithm>

#include "core/crypto.hpp"
#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"

namespace diot {

std::vector<PublicKey> WitnessSet::keys() const {
  std::vector<PublicKey> out;
  for (const auto& member : members) out.push_back(member.key);
  return out;
}

bool WitnessSet::has(const PublicKey& key) const {
  return std::ranges::find(members, key, &Witness::key) != members.end();
}
bool WitnessSet::is_solid() const { return members.size() >= limits::solid_witnesses_min; }

NetworkRecord initial_record(const Genesis& genesis) {
  NetworkRecord out;
  for (const auto& key : genesis.witnesses) out.witnesses.members.push_back({key, {}});
  out.witnesses.fragile = !out.witnesses.is_solid();
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

Result<NetworkRecord> decode_network(ByteView bytes) {
  PackReader in(bytes);
  NetworkRecord out;
  std::string
      error;  // the nodes of the genesis' witnesses are zero, so that what read_witnesses says counts for nothing
  in.array_of(7);
  const auto version = in.uint();
  if (in.ok() && version != 1)
    return fail(Errc::not_available, "a network record of another version: a newer diot may read it");
  out.epoch = in.uint();
  out.witnesses = ledger_codec::read_witnesses(in, error);
  if (!in.nil()) {
    in.array_of(2);
    auto& next = *(out.next_set = NetworkRecord::NextSet());  // clang does not see that emplace() can make one
    next.height = in.uint();
    next.witnesses = ledger_codec::read_witnesses(in, error);
  }
  out.rules_version = static_cast<std::uint32_t>(in.uint(0xffffffff));
  if (!in.nil()) {
    in.array_of(2);
    auto& next = *(out.next_rules = NetworkRecord::NextRules());
    next.height = in.uint();
    next.version = static_cast<std::uint32_t>(in.uint(0xffffffff));
  }
  for (auto left = in.array(1 << 16); left > 0 && in.ok(); --left) {
    in.array_of(2);
    const auto key = in.id<PublicKey>();
    out.liars[key] = in.id<Hash>();
  }
  if (!in.done() || encode_network(out) != to_bytes(bytes))
    return fail(Errc::invalid, "malformed record of the network");
  return out;
}

Hash network_record_key() { return sha256(as_bytes(network_record_name)); }

}  // namespace diot
