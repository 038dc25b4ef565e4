#include "tools/app/witness_names.hpp"

#include <fmt/format.h>

#include "core/ledger/entry.hpp"

namespace diot {

/// A genesis names keys alone. Founders that are several sign with their node keys; the key of one who founded alone is
/// of its own, and the only founding entry tells the node.
NodeId node_of(const Witness& witness, const Ledger& ledger) {
  if (witness.node != NodeId{}) return witness.node;
  const auto& genesis = ledger.genesis();
  const NodeId same(witness.key.bytes);
  if (ledger.handle_of(same) || genesis.witnesses.size() != 1 || genesis.founding.size() != 1) return same;
  const auto entry = decode_entry(genesis.founding[0]);
  const auto* founder = entry ? std::get_if<RegisterBody>(&entry->body) : nullptr;
  return founder && !founder->what.nodes.empty() ? founder->what.nodes.front().first : same;
}

const HandleRecord* home_of(const Witness& witness, const Ledger& ledger) {
  return ledger.handle_of(node_of(witness, ledger));
}

std::string name_of(const Witness& witness, const Ledger& ledger) {
  if (const HandleRecord* home = home_of(witness, ledger)) return "@" + home->handle;
  return witness.key.hex().substr(0, 16) + "…";
}

std::string names_of(const WitnessSet& set, const Ledger& ledger) {
  std::string out;
  for (const auto& member : set.members) out += (out.empty() ? "" : ", ") + name_of(member, ledger);
  return out;
}

std::string registrar_text(const Ledger& ledger) {
  const auto& members = ledger.network_record().witnesses.members;
  return members.size() == 1 ? name_of(members[0], ledger) + " (trusted)" : "";
}

}  // namespace diot
