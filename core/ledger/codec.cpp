#include "core/ledger/codec.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <set>

#include "core/crypto.hpp"
#include "core/ledger/limits.hpp"

namespace diot::ledger_codec {

void write_nodes(PackWriter& out, const NodeRoles& nodes) {
  out.array(nodes.size());
  for (const auto& [node, role] : nodes) {
    out.array(2);
    out.bin(node);
    out.uint(static_cast<std::uint8_t>(role));
  }
}

NodeRoles read_nodes(PackReader& in, std::string& error) {
  NodeRoles out;
  bool has_admin = false;
  for (auto left = in.array(limits::nodes_per_handle_max); left > 0 && in.ok(); --left) {
    in.array_of(2);
    const auto node = in.id<NodeId>();
    const auto role = static_cast<Role>(in.uint(static_cast<std::uint8_t>(Role::admin)));
    if (in.ok() && !out.empty() && node <= out.back().first) error = "its nodes are not in ascending order";
    has_admin = has_admin || role == Role::admin;
    out.emplace_back(node, role);
  }
  if (in.ok() && !has_admin) error = "a handle needs a node with the role admin";
  return out;
}

void write_persons(PackWriter& out, const Persons& persons) {
  out.array(persons.size());
  for (const auto& [name, key] : persons) {
    out.array(2);
    out.str(name);
    out.bin(key);
  }
}

Persons read_persons(PackReader& in, std::string& error) {
  Persons out;
  for (auto left = in.array(limits::persons_per_handle_max); left > 0 && in.ok(); --left) {
    in.array_of(2);
    const auto name = in.str(32);
    const auto key = in.id<PublicKey>();
    if (!in.ok()) break;
    if (const auto valid = check_person(name); !valid) error = valid.error().message;
    if (!out.empty() && name <= out.back().first) error = "its persons are not in ascending order";
    for (const auto& [other, other_key] : out)
      if (other_key == key) error = fmt::format("the persons '{}' and '{}' have the same key", other, name);
    out.emplace_back(name, key);
  }
  return out;
}

void write_cut_offs(PackWriter& out, const CutOffs& cut_offs) {
  out.array(cut_offs.size());
  for (const auto& [channel, last] : cut_offs) {
    out.array(5);
    out.bin(channel);
    out.uint(last.incarnation.number);
    out.uint(last.incarnation.random);
    out.uint(last.seq);
    out.bin(last.header);
  }
}

CutOffs read_cut_offs(PackReader& in, std::string& error) {
  CutOffs out;
  for (auto left = in.array(limits::cut_offs_per_entry_max); left > 0 && in.ok(); --left) {
    CutOff cut_off;
    in.array_of(5);
    cut_off.channel = in.id<ChannelId>();
    cut_off.last.incarnation.number = in.uint();
    cut_off.last.incarnation.random = in.uint();
    cut_off.last.seq = in.uint();
    cut_off.last.header = in.id<Hash>();
    if (!in.ok()) break;
    if (!out.empty() && cut_off.channel <= out.back().channel) error = "its channels are not in ascending order";
    out.push_back(cut_off);
  }
  return out;
}

void write_witnesses(PackWriter& out, const WitnessSet& witnesses) {
  out.array(2);
  out.uint(witnesses.fragile);
  out.array(witnesses.members.size());
  for (const auto& [key, node] : witnesses.members) {
    out.array(2);
    out.bin(key);
    out.bin(node);
  }
}

WitnessSet read_witnesses(PackReader& in, std::string& error) {
  WitnessSet out;
  in.array_of(2);
  out.fragile = in.uint(1) == 1;
  std::set<PublicKey> keys;
  std::set<NodeId> nodes;
  for (auto left = in.array(limits::witnesses_max); left > 0 && in.ok(); --left) {
    Witness witness;
    in.array_of(2);
    witness.key = in.id<PublicKey>();
    witness.node = in.id<NodeId>();
    if (in.ok() && (!keys.insert(witness.key).second || !nodes.insert(witness.node).second))
      error = "it names a witness or its node twice";
    out.members.push_back(witness);
  }
  if (!in.ok() || !error.empty()) return out;
  if (out.members.empty()) {
    error = "it names no witness";
    return out;
  }
  if (!out.is_solid() && !out.fragile)
    error = fmt::format("{} witnesses: fewer than 4 do not survive the failure of one, and must be accepted as fragile",
                        out.members.size());
  if (out.is_solid() && out.fragile) error = "4 or more witnesses are not fragile";
  return out;
}

Result<void> check_version(PackReader& in, std::string_view what) {
  const auto version = in.uint();
  const auto suite = in.uint();
  if (in.ok() && (version != 1 || suite != suite_1))
    return fail(Errc::not_available,
                fmt::format("{} of version {}, suite {}: this diot knows version 1, suite 1 only; a "
                            "newer one may read it",
                            what, version, suite));
  return {};
}

std::string time_text(WallMs time) {
  const auto seconds = static_cast<std::time_t>(std::min<WallMs>(time, limits::wall_ms_max) / 1000);
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(seconds));
}

}  // namespace diot::ledger_codec
