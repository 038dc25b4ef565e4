#include "tests/sim/ledger_world.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "core/merkle.hpp"

namespace diot::sim {

namespace {

bool is_agreement(FrameType type) {
  return type == FrameType::proposal || type == FrameType::vote || type == FrameType::agreement_state ||
         type == FrameType::entries;
}

}  // namespace

std::string_view name_of(LedgerInvariant invariant) {
  static constexpr std::string_view names[] = {"one_block", "time", "state",    "rules",
                                               "owners",    "told", "progress", "kept"};
  return names[static_cast<std::size_t>(invariant)];
}

LedgerWorld::LedgerWorld(LedgerOptions with)
    : options(with), chance(with.seed * 0x9e3779b97f4a7c15 + 7), network(schedule, Chance(chance.next()), trace, [] {
        Network::Rules rules;
        rules.delay_max = 80ms;
        return rules;
      }()) {
  report_.seed = options.seed;
  constexpr std::array<std::size_t, 20> sizes{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1, 2, 3, 7, 7, 7, 7, 10, 13};
  const auto witnesses = options.witnesses ? options.witnesses : sizes[chance.below(sizes.size())];
  const auto followers = options.followers.value_or(chance.percent(2) ? 20 : chance.below(4));
  const auto faults = faults_of(witnesses);
  const auto liars = options.liars.value_or(chance.percent(40) ? faults : chance.below(faults + 1));
  for (HomeIndex index = 0; index < witnesses + followers; ++index) {
    nodes.push_back(std::make_unique<LedgerNode>(*this, index, chance.next()));
    LedgerNode& node = *nodes.back();
    node.witness = index < witnesses;
    if (options.faults) node.clock.wrong_by = std::chrono::milliseconds(chance.between(-25'000, 25'000));
    node.disk_speed.sync_max = chance.percent(20) ? Time(50ms) : Time(2ms);
    if (chance.percent(70)) node.catch_up = {chance.below(3), chance.below(3)};
    node.archive = chance.percent(20);
    node.history = {std::chrono::milliseconds(1000 + chance.below(5000)), 1};
  }
  for (std::size_t left = liars; left > 0;) {
    LedgerNode& node = *nodes[chance.below(witnesses)];
    if (node.lie) continue;
    node.lie = options.lie.value_or(static_cast<Lie>(chance.below(static_cast<std::uint64_t>(Lie::count_))));
    --left;
  }
  // Some witnesses reach one another only through others.
  if (options.faults && witnesses >= 4 && liars <= 1 && chance.percent(25))
    for (HomeIndex a = 0; a < witnesses; ++a)
      for (HomeIndex b = a + 2; b < witnesses; ++b)
        if (!(a == 0 && b + 1 == witnesses) && chance.percent(60)) no_way_.insert({a, b});
  network.can_dial = [this](HomeIndex a, HomeIndex b) { return may_dial(a, b); };
  network.on_arrive = [this](HomeIndex from, HomeIndex to, FrameType type, ByteView body) {
    if (options.sabotage == LedgerSabotage::halt && type == FrameType::vote) return false;
    if (!faulty_ || !is_agreement(type)) return true;
    const auto again = [&] {
      schedule.after(chance.between(Time(0), Time(3s)), [this, from, to, type, copy = to_bytes(body)] {
        if (nodes[to]->running()) nodes[to]->hear(from, type, copy);
      });
    };
    const auto dice = chance.below(100);
    if (dice < 4) return false;           // lost
    if (dice < 8) return again(), false;  // behind others
    if (dice < 10) again();               // twice
    return true;
  };
  found();
}

bool LedgerWorld::may_dial(HomeIndex a, HomeIndex b) const { return !no_way_.contains(std::minmax(a, b)); }

void LedgerWorld::found() {
  genesis_.nonce.fill(1);
  // Block 1 may be older than the window, where it is not about the time that passes.
  const bool young = !options.long_past && (!options.faults || chance.percent(30));
  const WallMs age = young ? 60'000 : 40ull * 86'400'000;
  genesis_.time = HomeClock::wall_begin_ms - age;
  genesis_.replication = static_cast<std::uint32_t>(1 + chance.below(3));
  genesis_.succession = sha256(as_bytes("nobody"));
  for (std::size_t i = 0; i < founders_count; ++i) {
    founders_.push_back({"founder-" + std::to_string(i), KeyPair::generate(chance), KeyPair::generate(chance)});
    const Founder& it = founders_.back();
    const Registration home{
        it.handle, it.owner.public_key(), sha256(as_bytes(it.handle)), {{it.key.node_id(), Role::admin}}};
    genesis_.founding.push_back(make_register(home, {}, {}, it.owner, {it.key}, nullptr));
  }
  for (const auto& node : nodes) {
    Registration home{
        node->handle, node->owner.public_key(), sha256(as_bytes(node->handle)), {{node->key.node_id(), Role::admin}}};
    genesis_.founding.push_back(make_register(home, {}, {}, node->owner, {node->key}, nullptr));
    registered_.insert(node->handle);
    if (!node->witness) continue;
    keys_.push_back(node->witness_key);
    genesis_.witnesses.push_back(node->witness_key.public_key());
  }
  genesis = encode_genesis(genesis_, keys_);
  id = network_id_of(genesis).value();
  deciders_ = {genesis_.witnesses};
  reference_.emplace(Ledger::from_genesis(genesis).value());
  make_past(!young && (options.long_past || chance.percent(10)));
  for (auto& node : nodes) {
    // Who just joined, so to say, has nothing yet.
    if (node->witness || chance.percent(50))
      for (std::size_t at = 0; at < past_.size(); ++at)
        Disk::put_row(node->image, Table::block, block_key(at + 1), past_[at]);
    if (node->witness)
      Disk::put_row(node->image, Table::meta, witness_memory_key(),
                    Agreement::new_memory(node->witness_key.public_key(), past_.size() + 1));
  }
}

Bytes LedgerWorld::decide(const BlockHeader& header, const std::vector<Bytes>& entries) const {
  std::vector<BlockView::Vote> votes;
  for (std::size_t i = 0; i < keys_.size(); ++i)
    votes.push_back(make_vote(header, 0, static_cast<std::uint32_t>(i), header.time, keys_[i]));
  return encode_block(header, entries, 0, votes);
}

/// Block 1; and, in a long one, so many changes of the founders' records that nodes share them as old blocks.
void LedgerWorld::make_past(bool long_one) {
  const auto add = [&](const std::vector<Bytes>& entries, WallMs time) {
    const auto made = reference_->propose(entries, time).value();
    past_.push_back(decide(made.header, made.entries));
    expect(made.entries.size() == entries.size() && reference_->append(past_.back()), "the past is good");
  };
  add(genesis_.founding, genesis_.time);
  constexpr std::size_t changes_a_day = 30;
  for (WallMs day = 1; long_one && day <= 4; ++day) {
    std::vector<Bytes> entries;
    for (const auto& founder : founders_) {
      auto record = *reference_->handle(founder.handle);
      for (std::size_t i = 0; i < changes_a_day; ++i, ++record.version)
        entries.push_back(make_update(record, id, reference_->head(), founder.owner, {}));
    }
    add(entries, genesis_.time + day * 86'400'000);
  }
  // Nobody was away for days: witnesses would not begin at once.
  const auto& founder = founders_[0];
  if (genesis_.time + 86'400'000 < HomeClock::wall_begin_ms)
    add({make_update(*reference_->handle(founder.handle), id, reference_->head(), founder.owner, {})},
        HomeClock::wall_begin_ms - 60'000);
}

LedgerNode* LedgerWorld::node_of(const NodeId& node) const {
  for (const auto& it : nodes)
    if (it->key.node_id() == node) return it.get();
  return nullptr;
}

// Checking ----------------------------------------------------------------------------------------------------

void LedgerWorld::fail(LedgerInvariant invariant, const std::string& what) {
  if (report_.violations.size() < 10) report_.violations.push_back({invariant, schedule.now(), what});
  tell(fmt::format("BROKEN: {}: {}", name_of(invariant), what));
}

void LedgerWorld::tell(const std::string& what) {
  if (options.verbose) fmt::print("{:9.3f} s  {}\n", static_cast<double>(schedule.now().count()) / 1e6, what);
}

void LedgerWorld::adopted(LedgerNode& node) {
  const Ledger& ledger = node.ledger();
  const Checkpoint head = ledger.head();
  report_.snapshots += head.height > node.newest + 1;  // blocks come one by one
  node.newest = head.height;
  if (head.height > top_) {
    top_ = head.height;
    const auto& record = ledger.network_record();
    report_.changes += record.epoch > epoch_;
    epoch_ = record.epoch;
    std::erase_if(candidates_, [&](const auto& each) { return each.first <= epoch_; });
    deciders_ = {record.witnesses.keys()};
    if (record.next_set) deciders_.push_back(record.next_set->witnesses.keys());
  }
  trace.add(head.height << 8 | node.index);
  trace.add(head.block);
  Height here{head.block, ledger.map_root(), ledger.log_root(), ledger.head_time()};
  if (options.sabotage == LedgerSabotage::other_states ||
      (options.sabotage == LedgerSabotage::other_state && node.index == 0))
    here.map_root = sha256(here.map_root);
  // It counts from when it is on disk: until then nobody is told, and a crash takes it back.
  node.disk().when_durable([this, &node, height = head.height, here] { check_head(node, height, here); });
}

/// A node has a new block: the one that everybody has at that height, and its state is that of everybody.
void LedgerWorld::check_head(const LedgerNode& node, std::uint64_t height, const Height& here) {
  const Height& first = heights_.try_emplace(height, here).first->second;
  if (here.hash != first.hash)
    return fail(LedgerInvariant::one_block,
                fmt::format("two blocks at height {}: {} has {}, the first was {}", height, node.handle,
                            here.hash.hex().substr(0, 8), first.hash.hex().substr(0, 8)));
  if (here.map_root != first.map_root || here.log_root != first.log_root)
    return fail(LedgerInvariant::state,
                fmt::format("{} has another state at block {} than the first who had it", node.handle, height));
  if (const auto before = heights_.find(height - 1); before != heights_.end() && before->second.time > here.time)
    return fail(LedgerInvariant::time, fmt::format("time went back at block {}", height));
  tell(fmt::format("{} is at block {}", node.handle, height));
}

void LedgerWorld::died(LedgerNode& node) {
  ++report_.crashes;
  tell(node.handle + " died");
  schedule.after(chance.between(Time(0), Time(10s)), [this, &node] {
    if (node.running()) return;
    node.start();
    tell(node.handle + " is back");
  });
}

bool LedgerWorld::bears(const std::vector<PublicKey>& keys, const LedgerNode* one_more) const {
  const auto faulty = std::ranges::count_if(nodes, [&](const auto& node) {
    return (node->lie || node->damaged || node.get() == one_more) &&
           std::ranges::find(keys, node->witness_key.public_key()) != keys.end();
  });
  return static_cast<std::size_t>(faulty) <= faults_of(keys.size());
}

// What happens ------------------------------------------------------------------------------------------------

Bytes LedgerWorld::make_entry(LedgerNode& from) {
  const Ledger& ledger = from.ledger();
  const auto pick = chance.below(10);
  if (pick < 2) {
    auto record = *ledger.handle(from.handle);
    record.profile = chance.id<Hash>();
    return make_update(record, id, ledger.head(), from.owner, {});
  }
  // Two may want one name, and a founder may have let in as many as it may.
  const auto number = pick < 4 && next_name_ > 0 ? next_name_ - 1 : next_name_++;
  return make_registration(from, fmt::format("new-{}", number), chance.below(founders_count - 1));
}

Bytes LedgerWorld::make_registration(LedgerNode& from, const std::string& name, std::size_t founder) {
  const Founder& inviter = founders_[founder];
  const KeyPair token = KeyPair::generate(chance), owner = KeyPair::generate(chance), key = KeyPair::generate(chance);
  const Checkpoint head = from.ledger().head();
  const Grant grant{id,
                    inviter.handle,
                    token.public_key(),
                    1,
                    std::max(from.clock.wall_ms(), from.ledger().head_time()) + 86'400'000,
                    head,
                    inviter.key.node_id()};
  const Invite invite{encode_grant(grant, inviter.key), token.seed(), inviter.key.node_id(), {from.address}};
  const Registration home{name, owner.public_key(), chance.id<Hash>(), {{key.node_id(), Role::admin}}};
  return make_register(home, id, head, owner, {key}, &invite);
}

void LedgerWorld::submit(LedgerNode& from) {
  if (!from.running() || from.ledger().head().height == 0) return;
  const Bytes entry = make_entry(from);
  const Hash hash = merkle_leaf(entry);
  from.sync().submit(entry, [this, hash, who = from.handle](Result<std::uint64_t> height) {
    tell(fmt::format("{} is told: {}", who, height ? fmt::format("block {}", *height) : height.error().message));
    if (!height) return;
    if (options.sabotage == LedgerSabotage::misquote) ++*height;
    ++report_.acknowledged;
    committed_[hash] = *height;
  });
  from.touch();
}

void LedgerWorld::submissions_go_on() {
  schedule.after(chance.between(Time(200ms), Time(4s)), [this] {
    if (!busy_) return;
    submit(*chance.one_of(nodes));
    submissions_go_on();
  });
}

void LedgerWorld::faults_go_on() {
  schedule.after(chance.between(Time(300ms), Time(5s)), [this] {
    if (!faulty_) return;
    fault();
    faults_go_on();
  });
}

void LedgerWorld::skip_a_month() {
  tell("a month passes");
  for (const auto& node : nodes) node->clock.skipped += std::chrono::hours(31 * 24);
}

void LedgerWorld::change_witnesses() {
  LedgerNode& from = *chance.one_of(nodes);
  // Who reaches the others through a witness only might lose it.
  if (!from.running() || !no_way_.empty() || deciders_.size() > 1) return;
  const auto is_one = [&](const LedgerNode& node) {
    return std::ranges::find(deciders_[0], node.witness_key.public_key()) != deciders_[0].end();
  };
  WitnessSet set;
  std::vector<LedgerNode*> joining;
  std::vector<KeyPair> signers;
  const auto draw = [&] {
    set = {};
    joining.clear();
    signers.clear();
    for (const auto& node : nodes) {
      const bool now = is_one(*node);
      const bool then = chance.percent(80) && (now || (node->running() && !node->damaged));
      if (then) set.members.push_back({node->witness_key.public_key(), node->key.node_id()});
      if (then && !now) joining.push_back(node.get());
      if (then || now) signers.push_back(node->witness_key);
    }
    return set.members.size() >= 4 && set.keys() != deciders_[0] && bears(set.keys());
  };
  auto tries = 10;
  while (!draw())
    if (--tries == 0) return;
  const auto& record = from.ledger().network_record();
  candidates_.emplace_back(record.epoch + 1, set.keys());
  tell(fmt::format("{} of {} witnesses are to take over, by {}'s wish", set.members.size(), nodes.size(), from.handle));
  for (auto* node : joining) {
    node->witness = true;
    // As `diot witness accept` does: who knows of no office of its own has voted for nothing yet.
    if (!node->lie && !node->ledger().network_record().witnesses.has(node->witness_key.public_key()))
      (void)node->sync().let_witness_vote(node->ledger().head().height + 1);
  }
  const Bytes entry = diot::make_entry(WitnessChangeBody{record.epoch + 1, std::move(set)}, id, from.ledger().head(),
                                       std::move(signers));
  from.sync().submit(entry, [this, who = from.handle](Result<std::uint64_t> height) {
    tell(fmt::format("{} is told of the new witnesses: {}", who,
                     height ? fmt::format("block {}", *height) : height.error().message));
  });
  from.touch();
}

void LedgerWorld::fault() {
  LedgerNode& node = *chance.one_of(nodes);
  const auto several = nodes.size() > 1;
  switch (chance.below(10)) {
    case 0:
    case 1:
    case 2: node.crash(chance.percent(50)); break;
    case 3:
    case 4:
      if (several) {
        std::set<HomeIndex> side;
        for (const auto& it : nodes)
          if (chance.percent(50)) side.insert(it->index);
        const Time until = schedule.now() + chance.between(Time(1s), Time(15s));
        tell("partition");
        network.partition(side, until);
      }
      break;
    case 5: network.break_one(); break;
    case 6:
      if (node.running()) {
        node.disk().set_full(true);
        schedule.after(chance.between(Time(100ms), Time(5s)), [&node] {
          if (node.running()) node.disk().set_full(false);
        });
      }
      break;
    case 7: node.clock.wrong_by = std::chrono::milliseconds(chance.between(-25'000, 25'000)); break;
    case 8:  // everybody at once
      if (chance.percent(20))
        for (const auto& it : nodes) it->crash(true);
      break;
    default: {
      // A bit of its votes or blocks turns. A witness that lost either counts as faulty; more than a third never are.
      if (node.lie || nodes.size() == 1) break;
      const auto bears_it = [&](const auto& keys) { return bears(keys, &node); };
      if (!std::ranges::all_of(deciders_, bears_it) || !std::ranges::all_of(candidates_ | std::views::values, bears_it))
        break;
      if (!node.running()) break;
      node.damaged = true;
      ++report_.damages;
      if (!node.witness && chance.percent(30)) {
        tell(node.handle + " lost its disk");
        node.crash(true);
        node.image = {};
        break;
      }
      if (chance.percent(50))
        node.disk().flip_bit({Table::block});
      else
        node.disk().flip_bit({Table::meta});
      tell(node.handle + "'s disk is damaged");
      node.crash(true);
    }
  }
}

void LedgerWorld::heal() {
  faulty_ = busy_ = false;
  network.heal();
  tell("healed");
  std::uint64_t newest = 0;
  for (const auto& [height, block] : heights_) newest = std::max(newest, height);
  for (const auto& node : nodes) {
    if (!node->running()) node->start();
    node->disk().set_full(false);
    node->disk_speed = {};
  }
  // A ring of those that vote and pass votes on bears one hole.
  if (std::ranges::count_if(nodes, [](const auto& node) { return node->witness && (node->lie || node->damaged); }) > 1)
    no_way_.clear();
  // The operators look at their witnesses, some at once.
  for (const auto& node : nodes)
    if (node->damaged && node->witness && chance.percent(50)) {
      tell(node->handle + " may vote again");
      (void)node->sync().let_witness_vote(std::max<std::uint64_t>(newest, past_.size()) + 2);
    }
}

bool LedgerWorld::all_have(const std::string& handle) const {
  return std::ranges::all_of(
      nodes, [&](const auto& node) { return node->running() && node->ledger().handle(handle) != nullptr; });
}

/// A block that no running node has on its disk nobody can fetch.
bool LedgerWorld::archives_are_whole() const {
  std::set<std::uint64_t> somewhere;
  for (const auto& node : nodes)
    if (node->running() && !node->lie)
      (void)node->disk().scan(Table::block, {}, {},
                              [&](ByteView key, ByteView) { return somewhere.insert(ByteReader(key).u64()), true; },
                              {});
  return std::ranges::all_of(nodes, [&](const auto& node) {
    if (!node->running() || node->lie || !(node->archive || node->sync().is_witness())) return true;
    const auto missing = stored_missing(node->disk());
    return missing && (missing->empty() || !somewhere.contains(missing->front().from));
  });
}

/// A block is on a node's disk, or the node knows that it is not.
void LedgerWorld::check_disks() {
  for (const auto& node : nodes) {
    if (!node->running() || node->lie || node->damaged) continue;
    const auto missing = stored_missing(node->disk());
    if (!missing) {
      fail(LedgerInvariant::kept, node->handle + " does not know which blocks it has");
      continue;
    }
    std::set<std::uint64_t> here;
    (void)node->disk().scan(Table::block, {}, {},
                            [&](ByteView key, ByteView) { return here.insert(ByteReader(key).u64()), true; }, {});
    for (const auto& [from, to] : without(*missing, node->sync().durable_head().height))
      for (auto height = from; height <= to; ++height)
        if (!here.contains(height))
          fail(LedgerInvariant::kept, fmt::format("{} has lost block {}", node->handle, height));
    for (const auto& [from, to] : *missing)
      for (auto height = from; height <= to; ++height)
        if (here.contains(height))
          fail(LedgerInvariant::kept, fmt::format("{} says that it has not got block {}", node->handle, height));
    report_.dropped += node->dropped();
  }
}

LedgerReport LedgerWorld::run() {
  for (const auto& node : nodes) {
    const bool new_here = node->image[static_cast<std::size_t>(Table::block)].empty();
    const auto from = new_here ? Time(5s) : Time(0);
    schedule.after(chance.between(from, from * 5 + Time(1s)), [&node] {
      if (!node->running()) node->start();
    });
  }
  faulty_ = options.faults;
  const Time faults_end = Time(2s) + chance.between(Time(5s), Time(45s));
  busy_ = true;
  submissions_go_on();
  for (auto left = options.faults && chance.percent(50) ? 1 + chance.below(4) : 0; left > 0; --left)
    schedule.after(chance.between(Time(2s), faults_end), [this] {
      if (busy_) change_witnesses();
    });
  if (options.faults && chance.percent(60))
    schedule.after(chance.between(Time(5s), Time(30s)), [this] { skip_a_month(); });
  if (faulty_) faults_go_on();
  while (schedule.step(faults_end) && report_.violations.empty()) {
  }
  if (!report_.violations.empty()) return report();
  heal();
  // One more registration, whoever's, commits everywhere within the bound.
  const Time healed = schedule.now();
  const std::string name = fmt::format("new-{}", ++next_name_);
  ++next_name_;
  bool waits = false;
  Time next{};
  while (report_.violations.empty()) {
    if (all_have(name) && archives_are_whole()) break;
    if (schedule.now() > healed + bound) {
      fail(LedgerInvariant::progress,
           fmt::format("what was handed in after the heal is not committed everywhere within {} s", bound / 1s));
      for (const auto& node : nodes)
        tell(fmt::format("{} at block {}{}: {}, round {}, {} waiting, {}", node->handle, node->ledger().head().height,
                         node->lie ? " (liar)" : "", node->sync().status().text(), node->sync().status().round,
                         node->sync().status().waiting, node->sync().status().refusal));
      break;
    }
    // Who is told that nobody is in reach, or that its head is too old, tries again, as a person would.
    if (!waits && schedule.now() >= next) {
      next = schedule.now() + 2s;
      LedgerNode& from = *chance.one_of(nodes);
      if (from.running() && from.ledger().head().height > 0) {
        waits = true;
        from.sync().submit(make_registration(from, name, founders_count - 1),
                           [this, &waits, who = from.handle](Result<std::uint64_t> height) {
                             tell(fmt::format("{} is told at the end: {}", who,
                                              height ? fmt::format("block {}", *height) : height.error().message));
                             if (!height) waits = false;
                           });
        from.touch();
      }
    }
    schedule.step(schedule.now() + 100ms);
  }
  report_.commit = schedule.now() - healed;
  // Nodes ask one another every 20 s before they drop old blocks.
  while (past_.size() > 2 && schedule.now() < healed + 50s && report_.violations.empty())
    schedule.step(schedule.now() + 100ms);
  if (options.sabotage != LedgerSabotage::none && report_.violations.empty()) sabotage_one();
  check_disks();
  return report();
}

LedgerReport LedgerWorld::rest(Time time) {
  for (const auto& node : nodes) node->start();
  while (schedule.step(time) && report_.violations.empty()) {
  }
  return report();
}

/// Replays the longest chain from the genesis, as somebody new would, and compares.
LedgerReport LedgerWorld::report() {
  LedgerNode* longest = nullptr;
  for (const auto& node : nodes)
    if (node->running() && (!longest || node->ledger().head().height > longest->ledger().head().height))
      longest = node.get();
  std::set<std::string> names = registered_;
  std::map<Hash, std::uint64_t> entries;
  if (longest && report_.violations.empty()) {
    // Of nodes that began with a snapshot none may have them all.
    std::map<std::uint64_t, Bytes> blocks;
    auto top = longest->ledger().head().height;
    for (const auto& node : nodes)
      if (node->running())
        (void)node->disk().scan(Table::block, {}, {},
                                [&](ByteView, ByteView bytes) {
                                  const auto block = decode_block(bytes);
                                  if (block && (block->header.height > top ||
                                                longest->ledger().block_at(block->header.height) == block->hash))
                                    blocks.try_emplace(block->header.height, to_bytes(bytes));
                                  return true;
                                },
                                {});
    if (!blocks.empty()) top = std::max(top, blocks.rbegin()->first);
    std::uint64_t next = 1;
    for (; next <= top && blocks.contains(next) && report_.violations.empty(); ++next) {
      const auto block = decode_block(blocks[next]);
      report_.rounds += block->round;
      for (const auto& entry : block->entries) {
        entries[merkle_leaf(entry)] = next;
        ++report_.entries;
        const auto view = describe_entry(entry);
        report_.updates += view && next > past_.size() && view->kind == "update";
        if (view && next > past_.size() && view->kind == "register" && !names.insert(view->handle).second)
          fail(LedgerInvariant::owners, "two owners of " + view->handle);
      }
      if (next > past_.size())
        if (auto good = reference_->append(blocks[next]); !good)
          fail(LedgerInvariant::rules, "a replay refuses a block: " + good.error().message);
    }
    if (next <= longest->sync().durable_head().height && report_.damages == 0)
      fail(LedgerInvariant::kept, fmt::format("nobody has block {} any more", next));
    if (report_.violations.empty() && heights_.contains(reference_->head().height) &&
        heights_.at(reference_->head().height).map_root != reference_->map_root())
      fail(LedgerInvariant::state, "a replay comes to another state");
    for (const auto& [hash, height] : committed_)
      if (next > height && (!entries.contains(hash) || entries.at(hash) != height))
        fail(LedgerInvariant::told, fmt::format("an entry that was told to be in block {} is not", height));
  }
  report_.hash = trace.hash();
  report_.steps = schedule.steps();
  report_.blocks = heights_.empty() ? 1 : heights_.rbegin()->first;
  report_.frames = network.stats().frames;
  report_.witnesses = genesis_.witnesses.size();
  if (longest) report_.accused = longest->ledger().network_record().liars.size();
  report_.followers = nodes.size() - report_.witnesses;
  for (const auto& node : nodes) {
    report_.liars += node->lie.has_value();
    if (node->running()) report_.caught += node->sync().double_votes().size();
  }
  report_.lasted = schedule.now();
  return report_;
}

}  // namespace diot::sim
