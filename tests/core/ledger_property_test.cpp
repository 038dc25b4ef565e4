// Random histories, and hostile bytes.

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

#include "core/ledger/snapshot_fetch.hpp"
#include "core/ledger/storage.hpp"
#include "core/memory_store.hpp"
#include "core/merkle.hpp"
#include "core/words.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;

/// The map root that docs/protocol.md defines, computed the slow way.
Hash slow_map_root(std::vector<std::pair<Hash, Hash>> leaves, std::size_t depth = 0) {
  if (leaves.empty()) return {};
  if (leaves.size() == 1) {
    const std::uint8_t zero = 0;
    return sha256({ByteView(&zero, 1), leaves[0].first, leaves[0].second});
  }
  std::vector<std::pair<Hash, Hash>> left, right;
  for (const auto& leaf : leaves) (leaf.first.bytes[depth / 8] >> (7 - depth % 8) & 1 ? right : left).push_back(leaf);
  const std::uint8_t one = 1;
  const auto left_root = slow_map_root(std::move(left), depth + 1),
             right_root = slow_map_root(std::move(right), depth + 1);
  return sha256({ByteView(&one, 1), left_root, right_root});
}

Hash slow_map_root(const Ledger& ledger) {
  std::vector<std::pair<Hash, Hash>> leaves;
  for (const auto& [handle, record] : ledger.handles())
    leaves.emplace_back(sha256(as_bytes(handle)), sha256(encode_handle(record)));
  const auto& network = ledger.network_record();
  if (network != initial_record(ledger.genesis()))
    leaves.emplace_back(sha256(as_bytes("/network")), sha256(encode_network(network)));
  return slow_map_root(std::move(leaves));
}

/// The key of `who` that is the owner now, or would be the next one; any other if neither is known.
KeyPair key_of_owner(const Home& who, const PublicKey& owner) {
  return who.next.public_key() == owner ? who.next : who.second.public_key() == owner ? who.second : who.owner;
}

/// What the next key, the guardians or the witness sign: often valid, often not.
Bytes random_grave_entry(const World& world, const Ledger& ledger, const Home& who, const Home& other) {
  const auto& record = *ledger.handle(who.handle);
  const auto change = World::next(ledger, who.handle);
  const auto owner = key_of_owner(who, record.owner);
  const NodeRoles nodes{{other.node.node_id(), Role::admin}};
  const auto after = sha256(test_key(*rc::gen::inRange<std::uint64_t>(5000, 5010)).public_key());
  switch (*rc::gen::inRange(0, 9)) {
    case 0: return world.entry(ledger, RotateBody{change, who.next.public_key(), after}, {who.next});
    case 1:
      return world.entry(ledger, TransferBody{change, other.owner.public_key(), sha256(other.next.public_key()), nodes},
                         {owner, who.next, other.owner, other.node});
    case 2: return world.entry(ledger, ReleaseBody{change}, {owner, who.next});
    case 3:
    case 4: {
      const bool one = other.handle == "bob" || who.handle == "bob";
      return world.entry(
          ledger,
          SetGuardiansBody{
              change, 1, one ? std::vector<std::string>{other.handle} : std::vector<std::string>{"bob", other.handle}},
          {owner, who.next});
    }
    case 5:
      return world.entry(ledger,
                         RecoverBody{change, test_key(5000).public_key(), after, {{who.second.node_id(), Role::admin}}},
                         {test_key(5000), who.second, other.owner});
    case 6: return world.entry(ledger, CancelRecoveryBody{change}, {owner});
    case 7: {
      ChannelId channel;
      channel.bytes.fill(1);
      return world.entry(ledger, RevokeNodeBody{change, other.node.node_id(), {{channel, {{1, 2}, 3, after}}}},
                         {owner});
    }
    default:
      return world.entry(ledger,
                         WitnessChangeBody{ledger.network_record().epoch + 1,
                                           {{{world.witnesses[0].public_key(), other.node.node_id()}}, true}},
                         world.witnesses);
  }
}

/// One entry of a random history: often valid, often not.
Bytes random_entry(const World& world, const Ledger& ledger, const std::vector<Home>& homes) {
  const auto& who = *rc::gen::elementOf(homes);
  const auto& other = *rc::gen::elementOf(homes);
  const auto* record = ledger.handle(who.handle);
  const auto kind = *rc::gen::inRange(0, 14);
  if (!record || kind <= 2) {
    auto grant = world.grant(ledger, kind == 0 ? alice : other, *rc::gen::inRange<std::uint64_t>(1000, 1010));
    grant.uses = *rc::gen::inRange(1u, 4u);
    const auto token = *rc::gen::inRange<std::uint64_t>(1000, 1010);
    grant.token = test_key(token).public_key();
    return world.join(ledger, who, world.invite(grant, kind == 0 ? alice : other, token));
  }
  if (kind >= 8) return random_grave_entry(world, ledger, who, other);
  auto changed = *record;
  if (kind == 3) return make_renew(changed, ledger.network(), ledger.head(), other.node);
  if (kind == 4) return make_renew(changed, ledger.network(), ledger.head(), who.node);
  changed.nodes = {{who.node.node_id(), Role::admin}};
  const auto& second = kind == 5 ? other : who;
  changed.nodes.emplace_back(second.second.node_id(), Role::member);
  std::vector<KeyPair> fresh;
  for (const auto& key : {who.node, second.second})
    if (!record->role_of(key.node_id())) fresh.push_back(key);
  return make_update(changed, ledger.network(), ledger.head(), kind == 6 ? other.owner : who.owner, fresh);
}

TEST(LedgerProperty, ReplicasAgreeAfterAnyHistory) {
  const std::vector<Home> homes{alice, bob, carol, dave, Home("erin", 5), Home("frank", 6)};
  const auto holds = rc::check([&] {
    World world(1, 90);
    auto maker = world.ledger();
    auto follower = world.ledger();
    const auto block_count = *rc::gen::inRange(1, 12);
    std::uint64_t taken = 1, refused_in_all = 0;
    for (int b = 0; b < block_count; ++b) {
      world.now += *rc::gen::inRange<WallMs>(0, 20 * day_ms);
      std::vector<Bytes> entries;
      for (auto left = *rc::gen::inRange(1, 6); left > 0; --left) entries.push_back(random_entry(world, maker, homes));
      // What make_block refuses is exactly what it leaves out; what is handed in twice is judged once.
      const auto distinct = std::set<Bytes>(entries.begin(), entries.end()).size();
      std::size_t refused = 0;
      const auto block =
          maker.make_block(entries, world.now, world.witnesses[0], [&](const Bytes&, const Error&) { ++refused; });
      refused_in_all += refused;
      if (!block) {
        RC_ASSERT(refused == distinct);
        continue;
      }
      const auto inside = decode_block(*block)->entries;
      RC_ASSERT(inside.size() + refused == distinct);
      // The first of them would have been accepted alone.
      RC_ASSERT(maker.check_entry(inside[0], world.now).has_value());
      RC_ASSERT(maker.append(*block).has_value());
      RC_ASSERT(!maker.append(*block).has_value());
      RC_ASSERT(follower.append(*block).has_value());
      world.blocks.push_back(*block);
      taken += inside.size();
      for (const auto& entry : inside) RC_ASSERT(!maker.check_entry(entry, world.now).has_value());
    }
    const auto replayed = world.ledger();
    for (const Ledger* replica : std::initializer_list<const Ledger*>{&follower, &replayed}) {
      RC_ASSERT(replica->head() == maker.head());
      RC_ASSERT(replica->handles() == maker.handles());
      RC_ASSERT(replica->log_root() == maker.log_root());
      RC_ASSERT(replica->map_root() == maker.map_root());
      RC_ASSERT(replica->network_record() == maker.network_record());
    }
    RC_CLASSIFY(taken > 4, "more than 3 entries taken");
    RC_CLASSIFY(refused_in_all > 3, "more than 3 entries refused");
    RC_ASSERT(maker.entry_count() == taken);
    RC_ASSERT(maker.map_root() == slow_map_root(maker));
    // Each node speaks for one handle, and the index knows it.
    std::set<NodeId> seen;
    std::set<std::string> looks;
    for (const auto& [name, record] : maker.handles()) {
      RC_ASSERT(looks.insert(skeleton_of(name)).second);
      RC_ASSERT(record.free_from() > maker.head_time());
      RC_ASSERT(!record.recovery || record.recovery->due > maker.head_time());
      for (const auto& [node, role] : record.nodes) {
        RC_ASSERT(seen.insert(node).second);
        RC_ASSERT(maker.handle_of(node) == &record);
      }
    }
    for (const auto& home : homes)
      for (const auto& key : {home.node, home.second})
        if (!seen.contains(key.node_id())) RC_ASSERT(maker.handle_of(key.node_id()) == nullptr);
  });
  EXPECT_TRUE(holds);
}

/// A node that others ask, and what it keeps.
struct Keeper {
  explicit Keeper(const World& of) : world(of) {}
  void keep(const Bytes& block) {
    EXPECT_EQ(why(ledger.append(block)), "");
    store.put(Table::block, block_key(ledger.head().height), block);
    store.seal();
  }
  const World& world;
  MemoryStore store;
  Ledger ledger = Ledger::from_genesis(world.genesis_bytes).value();
};

TEST(LedgerProperty, WhoBeginsWithASnapshotJudgesAsWhoReplayedEverything) {
  const std::vector<Home> homes{alice, bob, carol, dave, Home("erin", 5), Home("frank", 6)};
  std::uint64_t begun = 0, refused_alike = 0;
  const auto holds = rc::check([&] {
    World world(1, 90);
    auto maker = world.ledger();
    Keeper keeper(world);
    keeper.keep(world.blocks[0]);
    std::vector<Invite> invites;  // good for as long as the rules let them
    const auto some_entries = [&] {
      std::vector<Bytes> out;
      for (auto left = *rc::gen::inRange(1, 8); left > 0; --left) {
        out.push_back(random_entry(world, maker, homes));
        const auto& inviter = *rc::gen::elementOf(homes);
        auto grant = world.grant(maker, inviter, 2000 + invites.size());
        grant.uses = *rc::gen::inRange(1u, 4u);
        grant.expiry = world.now + 100 * day_ms;
        invites.push_back(world.invite(grant, inviter, 2000 + invites.size()));
        out.push_back(world.join(maker, *rc::gen::elementOf(homes), *rc::gen::elementOf(invites)));
      }
      return out;
    };
    const auto make_block = [&] {
      world.now += *rc::gen::element<WallMs>(0, day_ms / 24, day_ms, 10 * day_ms, 29 * day_ms, 31 * day_ms);
      const auto block = maker.make_block(some_entries(), world.now, world.witnesses[0]);
      if (!block) return false;
      RC_ASSERT(maker.append(*block).has_value());
      keeper.keep(*block);
      return true;
    };
    for (auto left = *rc::gen::inRange(2, 14); left > 0; --left) make_block();

    MemoryStore disk;
    const auto genesis = Ledger::from_genesis(world.genesis_bytes).value();
    SnapshotFetch fetch(genesis, disk, 0);
    using Stage = SnapshotFetch::Stage;
    while (fetch.stage() != Stage::ready && fetch.stage() != Stage::replay)
      RC_ASSERT(fetch.take(encode_part(answer_ask(decode_ask(fetch.ask()).value(), keeper.ledger, keeper.store)), 0)
                    .has_value());
    RC_PRE(fetch.stage() == Stage::ready);
    ++begun;
    auto fetched = fetch.finish(genesis);
    RC_ASSERT(why(fetched) == "");
    disk.seal();
    auto loaded = load_ledger(world.genesis_bytes, disk);
    RC_ASSERT(why(loaded) == "");
    for (int more = 0; more < 6; ++more) {
      for (Ledger* other : {&*fetched, &*loaded}) {
        RC_ASSERT(other->head() == maker.head());
        RC_ASSERT(other->handles() == maker.handles());
        RC_ASSERT(other->network_record() == maker.network_record());
        RC_ASSERT(other->log_root() == maker.log_root());
        RC_ASSERT(other->map_root() == maker.map_root());
        RC_ASSERT(other->witnesses() == maker.witnesses());
        for (const auto& [name, record] : maker.handles())
          for (const auto& revocation : record.revoked) {
            RC_ASSERT(other->cut_offs(name, revocation.node) != nullptr);
            RC_ASSERT(*other->cut_offs(name, revocation.node) == *maker.cut_offs(name, revocation.node));
          }
        for (const auto& entry : some_entries()) {
          const auto verdict = why(maker.check_entry(entry, world.now));
          RC_ASSERT(why(other->check_entry(entry, world.now)) == verdict);
          refused_alike += !verdict.empty();
        }
      }
      if (!make_block()) continue;
      const auto block = keeper.store.get(Table::block, block_key(maker.head().height)).value().value();
      RC_ASSERT(why(fetched->append(block)) == "");
      RC_ASSERT(why(loaded->append(block)) == "");
    }
  });
  EXPECT_TRUE(holds);
  EXPECT_GT(begun, 50u);
  EXPECT_GT(refused_alike, 1000u);
}

/// Changes, inserts, removes, copies or cuts some bytes.
Bytes mutated(Bytes bytes, SeededRandom& random) {
  for (auto times = random.u64() % 4 + 1; times > 0 && !bytes.empty(); --times) {
    const auto at = static_cast<std::ptrdiff_t>(random.u64() % bytes.size());
    switch (random.u64() % 6) {
      case 0: bytes[static_cast<std::size_t>(at)] ^= static_cast<std::uint8_t>(1 << random.u64() % 8); break;
      case 1: bytes[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(random.u64()); break;
      case 2: bytes.insert(bytes.begin() + at, static_cast<std::uint8_t>(random.u64())); break;
      case 3: bytes.erase(bytes.begin() + at); break;
      case 4: bytes.resize(static_cast<std::size_t>(at)); break;
      default: {
        const auto from = static_cast<std::ptrdiff_t>(random.u64() % bytes.size());
        const Bytes piece(bytes.begin() + std::min(from, at), bytes.begin() + std::max(from, at));
        bytes.insert(bytes.begin() + at, piece.begin(), piece.end());
      }
    }
  }
  return bytes;
}

TEST(LedgerHostileBytes, AreRefusedInEveryFormat) {
  World world;
  auto ledger = world.ledger();
  const auto invite = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
  const auto text = encode_invite(invite);
  const auto packed = from_base64url(std::string_view(text).substr(5)).value();
  const auto entry = world.join(ledger, bob, invite);
  std::vector<Bytes> entries{entry};
  const auto change = World::next(ledger, "alice");
  const auto add = [&](EntryBody body, std::vector<KeyPair> signers) {
    entries.push_back(world.entry(ledger, std::move(body), std::move(signers)));
    EXPECT_EQ(why(ledger.check_entry(entries.back(), world.now)), "");
  };
  const auto hash = sha256(bob.next.public_key());
  const WitnessSet set{{{world.witnesses[0].public_key(), alice.node.node_id()}}, true};
  add(UpdateBody{change, ledger.handle("alice")->nodes, {{"kid", bob.owner.public_key()}}, hash}, {alice.owner});
  add(RotateBody{change, alice.next.public_key(), hash}, {alice.next});
  add(TransferBody{change, bob.owner.public_key(), hash, {{bob.node.node_id(), Role::admin}}},
      {alice.owner, alice.next, bob.owner, bob.node});
  add(RevokeNodeBody{change, alice.node.node_id(), {{ChannelId{}, {{1, 2}, 3, hash}}}}, {alice.owner});
  add(SetGuardiansBody{change, 0, {}}, {alice.owner, alice.next});
  add(ReleaseBody{change}, {alice.owner, alice.next});
  add(WitnessChangeBody{1, set}, world.witnesses);
  add(UpgradeBody{1, 2, 77}, world.witnesses);
  const auto block = world.decide(ledger.propose({entry}, world.now).value());
  SeededRandom random(20261122);
  for (int i = 0; i < 1500; ++i) {
    // Unchanged by chance counts as valid; anything else must not.
    const auto check = [&](const Bytes& valid, const Bytes& bytes, bool accepted) {
      EXPECT_TRUE(!accepted || bytes == valid) << to_hex(bytes);
    };
    auto bytes = mutated(world.genesis_bytes, random);
    check(world.genesis_bytes, bytes, decode_genesis(bytes).has_value());
    bytes = mutated(invite.grant, random);
    check(invite.grant, bytes, decode_grant(bytes).has_value());
    bytes = mutated(packed, random);
    check(packed, bytes, decode_invite("diot:" + to_base64url(bytes)).has_value());
    for (const auto& valid : entries) {
      bytes = mutated(valid, random);
      check(valid, bytes, ledger.check_entry(bytes, world.now).has_value());
      (void)describe_entry(bytes);
    }
    bytes = mutated(block, random);
    if (bytes != block) {
      EXPECT_FALSE(ledger.append(bytes)) << to_hex(bytes);
    }
    (void)check_words(as_text(bytes));
    // Bytes that were never valid.
    bytes.resize(random.u64() % 300);
    random.fill(bytes);
    EXPECT_FALSE(decode_genesis(bytes));
    EXPECT_FALSE(decode_grant(bytes));
    EXPECT_FALSE(decode_entry(bytes));
    EXPECT_FALSE(decode_block(bytes));
    EXPECT_FALSE(decode_invite(as_text(bytes)));
  }
  EXPECT_EQ(why(ledger.append(block)), "");
}

}  // namespace
}  // namespace diot
