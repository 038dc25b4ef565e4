// Broken rules, one for each invariant of the witnesses' world: a checker that does not see them checks nothing.

#include "core/ledger/storage.hpp"
#include "tests/sim/ledger_world.hpp"

namespace diot::sim {

std::string_view name_of(LedgerSabotage sabotage) {
  static constexpr std::string_view names[] = {"none",          "turn_back",    "other_state", "other_states",
                                               "stranger_acts", "second_owner", "misquote",    "halt",
                                               "lose_block",    "lose_blocks"};
  return names[static_cast<std::size_t>(sabotage)];
}

/// Those that are done once, when the world has come to rest; the others go on from its beginning.
void LedgerWorld::sabotage_one() {
  LedgerNode& node = *nodes.back();
  const std::uint64_t top = heights_.rbegin()->first;
  const auto everywhere = [this](const auto& change) {
    for (const auto& it : nodes) {
      change(it->disk());
      it->disk().seal();
    }
  };
  // The next block, as if all witnesses had decided these entries; the rules are not asked.
  const auto decide_anyway = [&](const Bytes& entry) {
    auto made = node.ledger().propose({}, node.ledger().head_time()).value();
    ++made.header.entries;
    const Bytes block = decide(made.header, {entry});
    everywhere([&](Disk& disk) { disk.put(Table::block, block_key(made.header.height), block); });
  };
  switch (options.sabotage) {
    case LedgerSabotage::turn_back: {
      // Longer than that of the others by a block, and all of its blocks have the time of the newest one of the past.
      Ledger other = Ledger::from_genesis(genesis).value();
      for (const auto& block : past_) expect(other.append(block).has_value(), "the past is good");
      while (other.head().height <= top) {
        const auto made = other.propose({}, other.head_time()).value();
        expect(other.append(decide(made.header, {})).has_value(), "an empty block is good");
      }
      node.ledger() = std::move(other);
      adopted(node);
      break;
    }
    case LedgerSabotage::stranger_acts:
      decide_anyway(
          make_update(*node.ledger().handle(founders_[0].handle), id, node.ledger().head(), founders_[1].owner, {}));
      break;
    case LedgerSabotage::second_owner: decide_anyway(make_registration(node, node.handle, founders_count - 1)); break;
    case LedgerSabotage::lose_block: node.disk().erase(Table::block, block_key(top)); break;
    case LedgerSabotage::lose_blocks:
      everywhere([&](Disk& disk) {
        disk.erase(Table::block, block_key(top));
        store_missing({{top, top}}, disk);
      });
      break;
    default: return;
  }
  node.touch();
  const Time end = schedule.now() + 1s;
  while (schedule.step(end) && report_.violations.empty()) {
  }
}

}  // namespace diot::sim
