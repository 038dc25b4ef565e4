#pragma once
// A small network for the ledger's tests: alice founded it and is its registrar. Time stands still unless told.

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "core/ledger/ledger.hpp"
#include "core/ledger/proof.hpp"
#include "core/merkle.hpp"
#include "tests/core/keys.hpp"

namespace diot::testing {

inline constexpr WallMs day_ms = 24ull * 60 * 60 * 1000;
inline constexpr WallMs start_ms = 1'790'000'000'000;

/// The error's text, or "" if there is none.
template <class T>
std::string why(const Result<T>& result) {
  return result ? "" : result.error().message;
}
#define EXPECT_REFUSED(result, errc, text)                              \
  do {                                                                  \
    const auto& refused_ = (result);                                    \
    ASSERT_FALSE(refused_) << "was accepted";                           \
    EXPECT_EQ(refused_.error().code, errc) << refused_.error().message; \
    EXPECT_THAT(refused_.error().message, ::testing::HasSubstr(text));  \
  } while (false)

/// The keys of one home, all derived from its number.
struct Home {
  explicit Home(std::string name, std::uint64_t number)
      : handle(std::move(name)),
        owner(test_key(number * 100)),
        next(test_key(number * 100 + 1)),
        node(test_key(number * 100 + 2)),
        second(test_key(number * 100 + 3)) {}
  std::string handle;
  KeyPair owner, next, node, second;

  Registration registration() const {
    return {handle, owner.public_key(), sha256(next.public_key()), {{node.node_id(), Role::admin}}};
  }
};

inline const Home alice{"alice", 1}, bob{"bob", 2}, carol{"carol", 3}, dave{"dave", 4};

struct World {
  explicit World(std::size_t witness_count = 1, std::uint32_t lease_days = 0) {
    for (std::size_t i = 0; i < witness_count; ++i) witnesses.push_back(test_key(10 + i));
    genesis.nonce.fill(7);
    genesis.time = start_ms;
    for (const auto& witness : witnesses) genesis.witnesses.push_back(witness.public_key());
    genesis.succession = sha256(test_key(9).public_key());
    genesis.lease_days = lease_days;
    genesis.founding = {make_register(alice.registration(), {}, {}, alice.owner, {alice.node}, nullptr)};
    refound();
  }
  /// After changes of `genesis`.
  void refound() { genesis_bytes = encode_genesis(genesis, witnesses); }

  /// With block 1, made at start_ms.
  Ledger ledger() {
    auto out = Ledger::from_genesis(genesis_bytes).value();
    if (blocks.empty()) {
      now = start_ms;
      blocks.push_back(decide(out.propose(genesis.founding, now).value()));
    }
    for (const auto& block : blocks) EXPECT_EQ(why(out.append(block)), "");
    return out;
  }

  /// Every witness votes.
  Bytes decide(const Ledger::Proposal& proposal) const {
    std::vector<BlockView::Vote> votes;
    for (std::size_t i = 0; i < witnesses.size(); ++i)
      votes.push_back(make_vote(proposal.header, 0, static_cast<std::uint32_t>(i), proposal.header.time, witnesses[i]));
    return encode_block(proposal.header, proposal.entries, 0, votes);
  }

  /// Makes the next block of exactly these entries, keeps and appends it.
  Result<void> commit(Ledger& to, const std::vector<Bytes>& entries) {
    std::optional<Error> refused;
    const auto block = to.propose(entries, now, [&](const Bytes&, const Error& error) { refused = error; });
    if (refused) return tl::unexpected(*refused);
    if (!block) return tl::unexpected(block.error());
    blocks.push_back(decide(*block));
    return to.append(blocks.back());
  }

  Bytes entry(const Ledger& ledger, EntryBody body, std::vector<KeyPair> signers) const {
    return make_entry(std::move(body), ledger.network(), ledger.head(), std::move(signers));
  }
  /// What makes the next version of a handle.
  static HandleChange next(const Ledger& ledger, const std::string& handle) {
    return {handle, ledger.handle(handle)->version + 1};
  }
  /// A block that changes nothing but alice's version.
  Result<void> pass(Ledger& to, WallMs time = 0) {
    now += time;
    return commit(to, {make_update(*to.handle("alice"), to.network(), to.head(), alice.owner, {})});
  }

  /// What the newest block says of a handle, from the genesis on.
  HandleProof prove(const Ledger& ledger, const std::string& handle) const {
    HandleProof out{chain(), handle, {}, ledger.prove(handle)};
    if (const auto* record = ledger.handle(handle)) out.record = encode_handle(*record);
    return out;
  }

  /// As of the newest block, too.
  EntryProof prove_entry(const Ledger& ledger, std::uint64_t index) const {
    const auto log = entries(ledger);
    return {chain(), log.at(index), index, MerkleTree(leaves(log)).path(index)};
  }
  ExtensionProof prove_extension(const Ledger& ledger, std::uint64_t height) const {
    const auto old = decode_block(blocks.at(height - 1)).value();
    return {chain(), decided_header(old), MerkleTree(leaves(entries(ledger))).consistency(old.header.entries)};
  }
  ProofChain chain() const {
    ProofChain out;
    out.genesis = to_bytes(unsigned_genesis(genesis_bytes).value());
    out.block = decided_header(decode_block(blocks.back()).value());
    return out;
  }
  /// The whole log.
  std::vector<Bytes> entries(const Ledger& ledger) const {
    std::vector<Bytes> out;
    for (const auto& bytes : blocks) {
      const auto block = decode_block(bytes).value();
      out.insert(out.end(), block.entries.begin(), block.entries.end());
    }
    EXPECT_EQ(merkle_root(leaves(out)), ledger.log_root());
    return out;
  }
  static std::vector<Hash> leaves(const std::vector<Bytes>& entries) {
    std::vector<Hash> out;
    for (const auto& entry : entries) out.push_back(merkle_leaf(entry));
    return out;
  }

  Grant grant(const Ledger& ledger, const Home& inviter, std::uint64_t token) const {
    return {ledger.network(), inviter.handle, test_key(token).public_key(), 1,
            now + 7 * day_ms, ledger.head(),  inviter.node.node_id()};
  }
  Invite invite(const Grant& grant, const Home& inviter, std::uint64_t token) const {
    return {encode_grant(grant, inviter.node), test_key(token).seed(), inviter.node.node_id(), {"192.0.2.1:42220"}};
  }
  Bytes join(const Ledger& ledger, const Home& who, const Invite& with) const {
    return make_register(who.registration(), ledger.network(), ledger.head(), who.owner, {who.node}, &with);
  }
  /// Joins by a fresh invite of alice's.
  Bytes join(const Ledger& ledger, const Home& who, std::uint64_t token) const {
    return join(ledger, who, invite(grant(ledger, alice, token), alice, token));
  }

  Genesis genesis;
  std::vector<KeyPair> witnesses;
  Bytes genesis_bytes;
  std::vector<Bytes> blocks;
  WallMs now = start_ms;
};

}  // namespace diot::testing
