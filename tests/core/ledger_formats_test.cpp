// Genesis, invite, grant and entry as bytes: what is written is read back, and nothing else is accepted.

#include <gtest/gtest.h>

#include "core/ledger/limits.hpp"
#include "core/limits.hpp"
#include "core/merkle.hpp"
#include "core/msgpack.hpp"
#include "tests/core/ledger_world.hpp"

namespace diot {
namespace {

using namespace diot::testing;
using ::testing::HasSubstr;

// Genesis -----------------------------------------------------------------------------------------------------

TEST(GenesisFormat, IsReadAsItWasWritten) {
  World world(4, 90);
  const auto read = decode_genesis(world.genesis_bytes);
  ASSERT_TRUE(read) << why(read);
  EXPECT_EQ(read->nonce, world.genesis.nonce);
  EXPECT_EQ(read->time, start_ms);
  EXPECT_EQ(read->rules_version, 1u);
  EXPECT_EQ(read->witnesses, world.genesis.witnesses);
  EXPECT_EQ(read->succession, world.genesis.succession);
  EXPECT_EQ(read->admission, Admission::invite);
  EXPECT_EQ(read->lease_days, 90u);
  EXPECT_EQ(read->replication, 3u);
  EXPECT_EQ(read->founding, world.genesis.founding);
}

/// A genesis changed by `change`, signed anew.
template <class Change>
Result<Genesis> changed_genesis(Change change, std::size_t witness_count = 1) {
  World world(witness_count);
  change(world);
  return decode_genesis(encode_genesis(world.genesis, world.witnesses));
}

TEST(GenesisFormat, OfNoOrTwiceTheSameWitnessIsRefused) {
  EXPECT_REFUSED(changed_genesis([](World& w) { w.witnesses.clear(), w.genesis.witnesses.clear(); }), Errc::invalid,
                 "no witness");
  EXPECT_REFUSED(changed_genesis([](World& w) {
                   w.witnesses.push_back(w.witnesses[0]);
                   w.genesis.witnesses.push_back(w.witnesses[0].public_key());
                 }),
                 Errc::invalid, "twice");
  EXPECT_TRUE(changed_genesis([](World&) {}, 100));
  EXPECT_REFUSED(changed_genesis([](World&) {}, 101), Errc::invalid, "malformed");
}

TEST(GenesisFormat, ThatAWitnessHasNotSignedIsRefused) {
  World world(2);
  auto other = world;
  other.genesis.time += 1;
  const auto foreign = encode_genesis(other.genesis, other.witnesses);
  // its signed part with the other's signatures
  PackReader mine(world.genesis_bytes), theirs(foreign);
  mine.array_of(2), theirs.array_of(2);
  const auto signed_part = mine.bin(1 << 20);
  theirs.skip();
  theirs.array_of(2);
  const auto one = theirs.bin(64), two = theirs.bin(64);
  Bytes mixed;
  PackWriter out(mixed);
  out.array(2);
  out.bin(signed_part);
  out.array(2);
  out.bin(one);
  out.bin(two);
  EXPECT_REFUSED(decode_genesis(mixed), Errc::invalid, "signature of witness 0");

  Bytes fewer;
  PackWriter short_out(fewer);
  short_out.array(2);
  short_out.bin(signed_part);
  short_out.array(0);
  EXPECT_REFUSED(decode_genesis(fewer), Errc::invalid, "2 witnesses, but 0 signatures");
  EXPECT_EQ(*network_id_of(fewer), *network_id_of(world.genesis_bytes));  // names what it would be, believes nothing
}

TEST(GenesisFormat, HasFoundersThatObeyTheRules) {
  EXPECT_REFUSED(changed_genesis([](World& w) { w.genesis.founding.clear(); }), Errc::invalid, "no founding entry");
  EXPECT_REFUSED(changed_genesis([](World& w) { w.genesis.founding.push_back(w.genesis.founding[0]); }), Errc::exists,
                 "founding entry 1: handle 'alice' is taken");
  EXPECT_REFUSED(changed_genesis([](World& w) {
                   w.genesis.founding.push_back({1, 2, 3});
                 }),
                 Errc::invalid, "founding entry 1: malformed");
  EXPECT_REFUSED(changed_genesis([](World& w) {
                   auto what = bob.registration();
                   what.handle = "admin";
                   w.genesis.founding.push_back(make_register(what, {}, {}, bob.owner, {bob.node}, nullptr));
                 }),
                 Errc::invalid, "reserved");
  EXPECT_REFUSED(
      changed_genesis([](World& w) {
        w.genesis.founding.push_back(make_register(bob.registration(), {}, {}, carol.owner, {bob.node}, nullptr));
      }),
      Errc::not_permitted, "founding entry 1");
  EXPECT_REFUSED(
      changed_genesis([](World& w) {
        w.genesis.founding.push_back(make_register(bob.registration(), {}, {1, {}}, bob.owner, {bob.node}, nullptr));
      }),
      Errc::invalid, "no checkpoint");
  EXPECT_REFUSED(
      changed_genesis([](World& w) {
        NetworkId other;
        other.bytes[0] = 1;
        w.genesis.founding.push_back(make_register(bob.registration(), other, {}, bob.owner, {bob.node}, nullptr));
      }),
      Errc::invalid, "wrong");
  EXPECT_REFUSED(changed_genesis([](World& w) {
                   HandleRecord record;
                   record.handle = "bob";
                   record.nodes = {{bob.node.node_id(), Role::admin}};
                   w.genesis.founding.push_back(make_update(record, {}, {}, bob.owner, {bob.node}));
                 }),
                 Errc::invalid, "registers");
  EXPECT_TRUE(changed_genesis([](World& w) {
    w.genesis.founding.push_back(make_register(bob.registration(), {}, {}, bob.owner, {bob.node}, nullptr));
  }));
}

TEST(GenesisFormat, OfUnknownRulesIsReadButNotFollowed) {
  World world;
  world.genesis.rules_version = 2;
  auto bytes = encode_genesis(world.genesis, world.witnesses);
  EXPECT_TRUE(decode_genesis(bytes));
  EXPECT_REFUSED(Ledger::from_genesis(bytes), Errc::not_available, "rules version 2");
  world.genesis.rules_version = 1;
  world.genesis.admission = Admission::open;
  bytes = encode_genesis(world.genesis, world.witnesses);
  EXPECT_TRUE(decode_genesis(bytes));
  EXPECT_REFUSED(Ledger::from_genesis(bytes), Errc::invalid, "4 or more witnesses");
  World open(4);
  open.genesis.admission = Admission::open;
  EXPECT_REFUSED(Ledger::from_genesis(encode_genesis(open.genesis, open.witnesses)), Errc::invalid, "leases");
  open.genesis.lease_days = 90;
  EXPECT_TRUE(Ledger::from_genesis(encode_genesis(open.genesis, open.witnesses)));
}

TEST(GenesisFormat, OfAnotherVersionIsNotAvailable) {
  World world;
  auto bytes = world.genesis_bytes;
  const auto signed_at = 1 + 3;  // array of 2, bin 16: then the signed array of 11, then the version
  ASSERT_EQ(bytes[signed_at], 0x9b);
  bytes[signed_at + 1] = 2;
  EXPECT_REFUSED(decode_genesis(bytes), Errc::not_available, "version 2");
  bytes[signed_at + 1] = 1;
  bytes[signed_at + 2] = 9;
  EXPECT_REFUSED(decode_genesis(bytes), Errc::not_available, "suite 9");
}

TEST(GenesisFormat, ThatIsTooLongIsRefused) {
  EXPECT_REFUSED(decode_genesis(Bytes(limits::genesis_bytes_max + 1)), Errc::limit, "at most");
}

// Invites -----------------------------------------------------------------------------------------------------

class InviteFormat : public ::testing::Test {
 protected:
  World world;
  Ledger ledger = world.ledger();
  Invite invite = world.invite(world.grant(ledger, alice, 1000), alice, 1000);
};

TEST_F(InviteFormat, IsReadAsItWasWritten) {
  invite.addresses = {"192.0.2.1:42220", "[2001:db8::1]:42220", "home.example:1"};
  const auto text = encode_invite(invite);
  EXPECT_THAT(text, ::testing::StartsWith("diot:"));
  EXPECT_EQ(text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:"), text.npos);
  const auto read = decode_invite(text);
  ASSERT_TRUE(read) << why(read);
  EXPECT_EQ(read->grant, invite.grant);
  EXPECT_EQ(read->token_seed, invite.token_seed);
  EXPECT_EQ(read->inviter, invite.inviter);
  EXPECT_EQ(read->addresses, invite.addresses);
}

TEST_F(InviteFormat, MayBeBrokenIntoLinesByAMailProgram) {
  auto text = encode_invite(invite);
  text.insert(40, "\r\n  ");
  EXPECT_TRUE(decode_invite("\n " + text + " \n"));
}

TEST_F(InviteFormat, EveryWrongCharacterIsFound) {
  const auto text = encode_invite(invite);
  for (std::size_t at = 5; at < text.size(); ++at) {
    auto wrong = text;
    wrong[at] = text[at] == 'A' ? 'B' : 'A';
    const auto read = decode_invite(wrong);
    ASSERT_FALSE(read) << "position " << at;
    if (at > 8) {  // before that it may pass for another version
      EXPECT_THAT(read.error().message, HasSubstr("cut off or mistyped")) << "position " << at;
    }
  }
}

TEST_F(InviteFormat, EveryCutIsFound) {
  const auto text = encode_invite(invite);
  for (std::size_t size = 5; size < text.size(); ++size)
    EXPECT_REFUSED(decode_invite(text.substr(0, size)), Errc::invalid, "cut off");
  EXPECT_REFUSED(decode_invite(text + "A"), Errc::invalid, "cut off");
}

TEST_F(InviteFormat, SomethingElseIsToldApart) {
  EXPECT_REFUSED(decode_invite(""), Errc::invalid, "not an invite");
  EXPECT_REFUSED(decode_invite("http://example.com"), Errc::invalid, "not an invite");
  EXPECT_REFUSED(decode_invite(std::string(10'000, 'x')), Errc::invalid, "too long");
}

TEST_F(InviteFormat, OfANewerVersionIsNotAvailable) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(2);
  out.uint(2);
  out.str("who knows");
  EXPECT_REFUSED(decode_invite("diot:" + to_base64url(bytes)), Errc::not_available, "version 2");
}

TEST_F(InviteFormat, OfAForgedGrantOrAnotherTokenIsRefused) {
  auto other = invite;
  other.grant[other.grant.size() - 1] ^= 1;
  EXPECT_REFUSED(decode_invite(encode_invite(other)), Errc::invalid, "signature");
  other = invite;
  other.grant = {1, 2, 3};
  EXPECT_REFUSED(decode_invite(encode_invite(other)), Errc::invalid, "malformed");
  other = invite;
  other.token_seed = test_key(1001).seed();
  EXPECT_REFUSED(decode_invite(encode_invite(other)), Errc::invalid, "token");
}

TEST_F(InviteFormat, HoldsAddressesThatAreSome) {
  invite.addresses = {"no address"};
  EXPECT_REFUSED(decode_invite(encode_invite(invite)), Errc::invalid, "address");
  invite.addresses.assign(20, "192.0.2.1:42220");
  EXPECT_EQ(decode_invite(encode_invite(invite))->addresses.size(), limits::addresses_per_node_max);
  invite.addresses.assign(limits::addresses_per_node_max, std::string(253, 'a') + ":42220");
  EXPECT_TRUE(decode_invite(encode_invite(invite)));
}

TEST_F(InviteFormat, GrantIsReadAsItWasWritten) {
  auto grant = world.grant(ledger, alice, 1000);
  grant.uses = 7;
  const auto read = decode_grant(encode_grant(grant, alice.node));
  ASSERT_TRUE(read) << why(read);
  EXPECT_EQ(read->network, grant.network);
  EXPECT_EQ(read->inviter, "alice");
  EXPECT_EQ(read->token, grant.token);
  EXPECT_EQ(read->uses, 7u);
  EXPECT_EQ(read->expiry, grant.expiry);
  EXPECT_EQ(read->pinned, grant.pinned);
  EXPECT_EQ(read->signer, grant.signer);
}

TEST_F(InviteFormat, GrantHasBoundedUsesAndExpiry) {
  const auto with = [&](std::uint32_t uses, WallMs expiry) {
    auto grant = world.grant(ledger, alice, 1000);
    grant.uses = uses;
    grant.expiry = expiry;
    return decode_grant(encode_grant(grant, alice.node));
  };
  EXPECT_TRUE(with(limits::grant_uses_max, limits::wall_ms_max));
  EXPECT_TRUE(with(0, limits::wall_ms_max)) << "for everybody, where that is allowed";
  EXPECT_REFUSED(with(limits::grant_uses_max + 1, start_ms), Errc::invalid, "malformed");
  EXPECT_REFUSED(with(1, limits::wall_ms_max + 1), Errc::invalid, "malformed");
}

// Entries -----------------------------------------------------------------------------------------------------

TEST_F(InviteFormat, EntriesAreDescribedForPeople) {
  const auto bytes = world.join(ledger, bob, invite);
  const auto view = describe_entry(bytes);
  ASSERT_TRUE(view) << why(view);
  EXPECT_EQ(view->kind, "register");
  EXPECT_EQ(view->handle, "bob");
  EXPECT_EQ(view->version, 1u);
  EXPECT_EQ(view->recent, ledger.head());
  EXPECT_EQ(view->inviter, "alice");
  EXPECT_THAT(view->signers, ::testing::UnorderedElementsAre(bob.owner.public_key(), bob.node.public_key()));
  EXPECT_EQ(view->hash, merkle_leaf(bytes));

  const auto update =
      describe_entry(make_update(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.owner, {}));
  EXPECT_EQ(update->kind, "update");
  EXPECT_EQ(update->version, 2u);
  EXPECT_EQ(update->inviter, "");
  const auto renew = describe_entry(make_renew(*ledger.handle("alice"), ledger.network(), ledger.head(), alice.node));
  EXPECT_EQ(renew->kind, "renew");
  EXPECT_EQ(renew->handle, "alice");
}

/// An entry of any kind and body, unsigned.
Bytes raw_entry(std::uint64_t version, std::uint64_t suite, std::uint64_t kind, const Bytes& body) {
  Bytes signed_bytes, bytes;
  PackWriter inner(signed_bytes), out(bytes);
  inner.array(6);
  inner.uint(version);
  inner.uint(suite);
  inner.uint(kind);
  inner.uint(0);
  inner.bin(Hash{});
  append(signed_bytes, body);
  out.array(2);
  out.bin(signed_bytes);
  out.array(0);
  return bytes;
}

TEST(EntryFormat, OfAnUnknownKindOrVersionIsRefused) {
  const Bytes nothing{0x90};
  for (std::uint64_t kind = 1; kind <= 14; ++kind)
    EXPECT_REFUSED(decode_entry(raw_entry(1, 1, kind, nothing)), Errc::invalid, "not in the form of its kind");
  EXPECT_REFUSED(decode_entry(raw_entry(1, 1, 0, nothing)), Errc::invalid, "no kind 0");
  EXPECT_REFUSED(decode_entry(raw_entry(1, 1, 15, nothing)), Errc::invalid, "no kind 15");
  EXPECT_REFUSED(decode_entry(raw_entry(2, 1, 1, nothing)), Errc::not_available, "version 2");
  EXPECT_REFUSED(decode_entry(raw_entry(1, 2, 1, nothing)), Errc::not_available, "suite 2");
}

TEST(EntryFormat, ThatIsTooLongIsRefused) {
  EXPECT_REFUSED(decode_entry(Bytes(limits::entry_bytes_max + 1)), Errc::limit, "at most");
  EXPECT_REFUSED(decode_entry({}), Errc::invalid, "malformed");
}

TEST(EntryFormat, SignaturesAscendAndComeOnce) {
  World world;
  const auto entry = decode_entry(world.genesis.founding[0]).value();
  ASSERT_EQ(entry.signatures.size(), 2u);
  const auto with = [&](std::vector<std::size_t> order) {
    Bytes bytes;
    PackWriter out(bytes);
    out.array(2);
    out.bin(entry.signed_bytes);
    out.array(order.size());
    for (auto i : order) {
      out.array(2);
      out.bin(entry.signatures[i].first);
      out.bin(entry.signatures[i].second);
    }
    return decode_entry(bytes);
  };
  EXPECT_TRUE(with({0, 1}));
  EXPECT_REFUSED(with({1, 0}), Errc::invalid, "ascending");
  EXPECT_REFUSED(with({0, 0}), Errc::invalid, "ascending");
}

}  // namespace
}  // namespace diot
