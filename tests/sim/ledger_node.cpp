#include <fmt/format.h>

#include "core/limits.hpp"
#include "tests/sim/ledger_world.hpp"

namespace diot::sim {

namespace {
constexpr Time tick_interval = 100ms;
constexpr Time dial_interval = 500ms;
}  // namespace

LedgerNode::LedgerNode(LedgerWorld& of, HomeIndex at, std::uint64_t seed)
    : world(of),
      index(at),
      handle("home-" + std::to_string(at)),
      address(handle + ":42220"),
      clock(of.schedule),
      chance(seed),
      key(KeyPair::generate(chance)),
      owner(KeyPair::generate(chance)),
      witness_key(KeyPair::generate(chance)) {}

void LedgerNode::Process::NodeTurn::touch() {
  if (std::exchange(pending, true)) return;
  node.in_this_life(Time(node.chance.between(0, 300)), &LedgerNode::end_turn);
}

LedgerNode::Process::Process(LedgerNode& node)
    : turn(node),
      disk(std::exchange(node.image, {}), node.world.schedule, node.chance, node.disk_speed, [this] { turn.touch(); }),
      ledger(Ledger::from_genesis(node.world.genesis).value()),
      retained(disk, node.clock),
      wills(disk, node.key.node_id()),
      context{node.key, ledger, disk, retained, wills, turn, node.clock, node.chance, HybridClock(node.clock)} {}

void LedgerNode::in_this_life(Time delay, void (LedgerNode::*what)()) {
  world.schedule.after(delay, [this, life = life_, what] {
    if (running() && life_ == life) (this->*what)();
  });
}

void LedgerNode::start() {
  expect(!running(), "a node starts twice");
  life_ = world.next_life();
  world.trace.add(life_);
  process_ = std::make_unique<Process>(*this);
  links.clear();
  dialling_.clear();
  process_->port = std::make_unique<Port>(world.network, index, life_, key.node_id(), address, *this, process_->turn);
  process_->context.links = process_->port.get();
  process_->context.instance = chance.id<InstanceId>();
  load();
  newest = ledger().head().height;
  process_->sync = std::make_unique<LedgerSync>(
      process_->context, lie ? nullptr : &witness_key, [this] { world.adopted(*this); }, catch_up, archive, history);
  if (lie) process_->liar = std::make_unique<Liar>(*this, *lie);
  world.network.attach(*process_->port);
  sync().load();
  in_this_life(chance.between(Time(0), tick_interval), &LedgerNode::tick);
  touch();
}

/// What it has of the chain, up to a damaged row; of a snapshot that is damaged nothing. The others have the rest.
void LedgerNode::load() {
  Store& store = disk();
  if (auto whole = load_ledger(world.genesis, store)) return void(ledger() = std::move(*whole));
  if (stored_base(store) != std::uint64_t{0}) {
    const auto rows = as_bytes("ledger/");
    store.erase_range(Table::meta, rows, after_prefix(rows));
    return store.erase_range(Table::block, {}, {});
  }
  std::uint64_t next = 1;
  const auto scanned = store.scan(Table::block, {}, {}, [&](ByteView at, ByteView block) {
    if (!equal(at, block_key(next)) || !ledger().append(block)) return false;
    return ++next, true;
  });
  expect(scanned.has_value(), "the simulated disk is read");
}

void LedgerNode::crash(bool power_cut) {
  if (!running()) return;
  world.trace.add(~life_);
  world.network.detach(port(), power_cut);
  image = disk().crash();
  process_.reset();
  links.clear();
  world.died(*this);
}

void LedgerNode::tick() {
  sync().tick();
  if (process_->liar) process_->liar->tick();
  if (world.schedule.now() >= next_dial_) {
    next_dial_ = world.schedule.now() + dial_interval + chance.between(Time(0), dial_interval);
    for (const auto& other : world.nodes) {
      if (other.get() == this || !world.may_dial(index, other->index)) continue;
      // Of two nodes one dials, unless the other one cannot; followers look for witnesses only.
      if (!witness && !other->witness) continue;
      if (witness && other->witness && index > other->index) continue;
      if (witness && !other->witness) continue;
      const bool up = std::ranges::any_of(links, [&](const auto& link) { return link.second == other->index; });
      if (!up && dialling_.insert(other->address).second) port().dial(other->address, other->key.node_id());
    }
  }
  touch();
  in_this_life(tick_interval, &LedgerNode::tick);
}

void LedgerNode::end_turn() {
  process_->turn.pending = false;
  sync().end_turn();
  if (!running()) return;
  disk().seal();
  // The last moment at which a process can die with a transaction handed over and nothing sent.
  if (world.dies_now()) return crash(chance.percent(50));
  port().flush();
}

Hello LedgerNode::own_hello() {
  Hello hello;
  hello.network = world.id;
  hello.instance = process_->context.instance;
  hello.checkpoint = sync().durable_head();
  if (lie || sync().is_witness()) hello.features |= feature_witness;
  return hello;
}

void LedgerNode::link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass kind, bool) {
  const LedgerNode* other = world.node_of(peer);
  links[link] = other->index;
  dialling_.erase(other->address);
  sync().link_up(link, peer, hello, kind);
  touch();
}

void LedgerNode::link_down(LinkId link, const NodeId& peer, const std::string&) {
  links.erase(link);
  dialling_.erase(world.node_of(peer)->address);
  sync().link_down(link);
  touch();
}

void LedgerNode::link_frame(LinkId link, const NodeId&, FrameType type, ByteView body) {
  if (process_->liar) process_->liar->on_frame(type, body);
  if (!sync().on_frame(link, type, body)) port().close(link, "malformed frame");
  touch();
}

void LedgerNode::hear(HomeIndex from, FrameType type, ByteView body) {
  for (const auto& [link, home] : links)
    if (home == from) return link_frame(link, world.nodes[from]->key.node_id(), type, body);
}

}  // namespace diot::sim
