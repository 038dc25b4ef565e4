#include "core/ledger/proof.hpp"

#include <fmt/format.h>

#include <map>

#include "core/crypto.hpp"
#include "core/ledger/codec.hpp"
#include "core/ledger/genesis.hpp"
#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

static constexpr std::size_t siblings_max = 256;
static constexpr std::size_t log_path_max = 65;  // of a log of 2^64 entries

DecidedHeader decided_header(const BlockView& block) {
  return {encode_block_header(block.header), block.round, block.votes};
}

// The form -------------------------------------------------------------------------------------------------------

static void write_keys(PackWriter& out, const std::vector<PublicKey>& keys) {
  Bytes bytes;
  for (const auto& key : keys) append(bytes, key);
  out.bin(bytes);
}
static std::vector<PublicKey> read_keys(PackReader& in, std::string& error) {
  const auto bytes = in.bin(limits::witnesses_max * PublicKey::size);
  if (bytes.size() % PublicKey::size != 0) error = "its keys are not whole";
  std::vector<PublicKey> out;
  for (std::size_t at = 0; at + PublicKey::size <= bytes.size(); at += PublicKey::size)
    out.push_back(*PublicKey::from(bytes.subspan(at, PublicKey::size)));
  return out;
}

void write_decided(PackWriter& out, const DecidedHeader& block) {
  out.bin(block.header);
  out.uint(block.round);
  write_block_votes(out, block.votes);
}
DecidedHeader read_decided(PackReader& in) {
  DecidedHeader out;
  out.header = to_bytes(in.bin(block_header_bytes_max));
  out.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.votes = read_block_votes(in);
  return out;
}

/// Without its version, which is the proof's, its network, and `witnesses`, if who reads it knows them.
enum class Witnesses { told, known };
static void write_header(PackWriter& out, ByteView bytes, Witnesses witnesses) {
  const auto header = decode_block_header(bytes);
  expect(header.has_value(), "a proof is made of headers");
  out.uint(header->rules_version);
  ledger_codec::write_history(out, *header);
  if (witnesses == Witnesses::told) out.bin(header->witnesses);
  out.bin(header->next_witnesses);
}
static Bytes read_header(PackReader& in, const NetworkId& network, const std::optional<Hash>& witnesses = {}) {
  BlockHeader out;
  out.network = network;
  out.rules_version = static_cast<std::uint32_t>(in.uint(0xffffffff));
  ledger_codec::read_history(in, out);
  out.witnesses = witnesses ? *witnesses : in.id<Hash>();
  out.next_witnesses = in.id<Hash>();
  return encode_block_header(out);
}
static constexpr std::size_t header_values = 8;

static void write_decision(PackWriter& out, const DecidedHeader& block) {
  write_header(out, block.header, Witnesses::known);
  out.uint(block.round);
  write_block_votes(out, block.votes);
}
static DecidedHeader read_decision(PackReader& in, const NetworkId& network, const Hash& witnesses) {
  DecidedHeader out;
  out.header = read_header(in, network, witnesses);
  out.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.votes = read_block_votes(in);
  return out;
}
static constexpr std::size_t decision_values = header_values + 2;

/// Empty subtrees are left out, and told by a bit each.
static void write_siblings(PackWriter& out, const std::vector<Hash>& siblings) {
  Bytes there((siblings.size() + 7) / 8), hashes;
  for (std::size_t i = 0; i < siblings.size(); ++i) {
    if (siblings[i].is_zero()) continue;
    there[i / 8] |= static_cast<std::uint8_t>(0x80 >> i % 8);
    append(hashes, siblings[i]);
  }
  out.uint(siblings.size());
  out.bin(there);
  out.bin(hashes);
}
static std::vector<Hash> read_siblings(PackReader& in, std::string& error) {
  std::vector<Hash> out(in.uint(siblings_max));
  const auto there = in.bin(siblings_max / 8);
  auto hashes = in.bin(siblings_max * Hash::size);
  if (!in.ok()) return {};
  Bytes told((out.size() + 7) / 8);
  for (std::size_t i = 0; i < out.size() && there.size() == told.size(); ++i) {
    const auto bit = static_cast<std::uint8_t>(0x80 >> i % 8);
    if (!(there[i / 8] & bit) || hashes.size() < Hash::size) continue;
    out[i] = *Hash::from(hashes.first(Hash::size));
    if (out[i].is_zero()) continue;
    told[i / 8] |= bit;
    hashes = hashes.subspan(Hash::size);
  }
  if (!equal(told, there) || !hashes.empty()) error = "its path is not in the form of one";
  return out;
}

/// By its place in the variant.
enum class ProofKind : std::uint8_t { handle, entry, extension };

static std::size_t values_of(const HandleProof&) { return 6; }
static void write_statement(PackWriter& out, const HandleProof& proof) {
  out.str(proof.handle);
  if (proof.record.empty())
    out.nil();
  else
    out.bin(proof.record);
  write_siblings(out, proof.path.siblings);
  if (proof.path.end && proof.record.empty()) {
    out.array(2);
    out.bin(proof.path.end->key);
    out.bin(proof.path.end->value);
  } else {
    out.nil();
  }
}
static void read_statement(PackReader& in, const NetworkId&, HandleProof& out, std::string& error) {
  out.handle = in.str(64);
  if (!in.nil()) {
    out.record = to_bytes(in.bin(limits::entry_bytes_max));
    if (out.record.empty()) error = "its record is empty";
  }
  out.path.siblings = read_siblings(in, error);
  if (!in.nil()) {
    in.array_of(2);
    SparseProof::Entry end;
    end.key = in.id<Hash>();
    end.value = in.id<Hash>();
    if (!out.record.empty()) error = "it has a record and says that there is none";
    out.path.end = end;
  }
  if (!out.record.empty()) out.path.end = SparseProof::Entry{sha256(as_bytes(out.handle)), sha256(out.record)};
  if (auto valid = check_handle(out.handle); !valid && error.empty()) error = valid.error().message;
}

static void write_path(PackWriter& out, const std::vector<Hash>& path) {
  Bytes hashes;
  for (const auto& hash : path) append(hashes, hash);
  out.bin(hashes);
}
static std::vector<Hash> read_path(PackReader& in, std::string& error) {
  const auto hashes = in.bin(log_path_max * Hash::size);
  if (hashes.size() % Hash::size != 0) error = "the hashes of its path are not whole";
  std::vector<Hash> out;
  for (std::size_t at = 0; at + Hash::size <= hashes.size(); at += Hash::size)
    out.push_back(*Hash::from(hashes.subspan(at, Hash::size)));
  return out;
}

static std::size_t values_of(const EntryProof&) { return 3; }
static void write_statement(PackWriter& out, const EntryProof& proof) {
  out.bin(proof.entry);
  out.uint(proof.index);
  write_path(out, proof.path);
}
static void read_statement(PackReader& in, const NetworkId&, EntryProof& out, std::string& error) {
  out.entry = to_bytes(in.bin(limits::entry_bytes_max));
  out.index = in.uint();
  out.path = read_path(in, error);
}

static std::size_t values_of(const ExtensionProof&) { return 2; }
static void write_statement(PackWriter& out, const ExtensionProof& proof) {
  out.array(header_values + 3);
  write_header(out, proof.old.header, Witnesses::told);
  out.uint(proof.old.round);
  write_block_votes(out, proof.old.votes);
  write_path(out, proof.path);
}
static void read_statement(PackReader& in, const NetworkId& network, ExtensionProof& out, std::string& error) {
  in.array_of(header_values + 3);
  out.old.header = read_header(in, network);
  out.old.round = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.old.votes = read_block_votes(in);
  out.path = read_path(in, error);
}

const ProofChain& chain_of(const LedgerProof& proof) {
  return std::visit([](const auto& one) -> const ProofChain& { return one; }, proof);
}

static constexpr std::size_t chain_values = 6 + decision_values;  // with version, suite and kind

Bytes encode_proof(const LedgerProof& proof) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(chain_values + std::visit([](const auto& one) { return values_of(one); }, proof));
  out.uint(1);
  out.uint(suite_1);
  out.uint(proof.index());
  const auto& chain = chain_of(proof);
  if (chain.pinned) {
    out.nil();
    out.array(header_values + 2);
    write_header(out, chain.pinned->header, Witnesses::told);
    write_keys(out, chain.pinned->next_witnesses);
  } else {
    out.bin(chain.genesis);
    out.nil();
  }
  out.array(chain.changes.size());
  for (const auto& change : chain.changes) {
    out.array(decision_values + 1);
    write_decision(out, change.block);
    write_keys(out, change.next_witnesses);
  }
  write_decision(out, chain.block);
  std::visit([&](const auto& one) { write_statement(out, one); }, proof);
  return bytes;
}

static ProofChain read_chain(PackReader& in, const NetworkId& network, std::string& error) {
  ProofChain out;
  Hash witnesses;
  if (in.nil()) {
    in.array_of(header_values + 2);
    ProofChain::Pinned pinned;
    pinned.header = read_header(in, network);
    pinned.next_witnesses = read_keys(in, error);
    witnesses = witness_set_hash(pinned.next_witnesses);
    out.pinned = std::move(pinned);
  } else {
    out.genesis = to_bytes(in.bin(limits::genesis_bytes_max));
    if (!in.nil()) error = "it begins in two places";
    if (const auto keys = genesis_witnesses(out.genesis))
      witnesses = witness_set_hash(*keys);
    else
      error = keys.error().message;
  }
  for (auto left = in.array(limits::proof_changes_max); left > 0 && in.ok(); --left) {
    in.array_of(decision_values + 1);
    auto block = read_decision(in, network, witnesses);
    out.changes.push_back({std::move(block), read_keys(in, error)});
    witnesses = witness_set_hash(out.changes.back().next_witnesses);
  }
  out.block = read_decision(in, network, witnesses);
  return out;
}

Result<LedgerProof> decode_proof(ByteView bytes, const NetworkId& network) {
  static constexpr std::size_t bytes_max = limits::genesis_bytes_max + (1 << 20);
  if (bytes.size() > bytes_max)
    return fail(Errc::limit, fmt::format("a proof of {} bytes, at most {} are allowed", bytes.size(), bytes_max));
  PackReader in(bytes);
  const auto values = in.array(2 * chain_values);
  const auto version = in.uint(), suite = in.uint(), kind = in.uint();
  LedgerProof out;
  if (in.ok() && (version != 1 || suite != suite_1 || kind > std::uint64_t(ProofKind::extension)))
    return fail(Errc::not_available,
                fmt::format("a proof of version {}, suite {}, kind {}: this diot knows version 1, suite 1, kinds 0 to "
                            "2 only; a newer one may read it",
                            version, suite, kind));
  if (ProofKind(kind) == ProofKind::entry) out = EntryProof();
  if (ProofKind(kind) == ProofKind::extension) out = ExtensionProof();
  std::string error;
  auto chain = read_chain(in, network, error);
  std::visit(
      [&](auto& one) {
        if (values != chain_values + values_of(one)) error = "it has too few or too many values";
        static_cast<ProofChain&>(one) = std::move(chain);
        read_statement(in, network, one, error);
      },
      out);
  if (!in.done()) return fail(Errc::invalid, "malformed proof: it is not in the form of one");
  if (!error.empty()) return fail(Errc::invalid, fmt::format("malformed proof: {}", error));
  return out;
}

// Checking -------------------------------------------------------------------------------------------------------

/// The witnesses that decide the block behind the place where trust begins, and that place's height.
static Result<std::pair<std::vector<PublicKey>, std::uint64_t>> anchor(const ProofChain& proof,
                                                                       const NetworkId& network,
                                                                       const std::optional<Checkpoint>& pinned) {
  if (!proof.pinned) {
    if (NetworkId(sha256(proof.genesis).bytes) != network) return fail(Errc::invalid, "it is of another network");
    return genesis_witnesses(proof.genesis).map([](auto witnesses) {
      return std::pair(std::move(witnesses), std::uint64_t{0});
    });
  }
  if (!pinned)
    return fail(Errc::invalid, "it begins at a block, not at the genesis: say which block you trust with --pin");
  const auto header = decode_block_header(proof.pinned->header);
  if (!header) return tl::unexpected(header.error());
  if (header->network != network) return fail(Errc::invalid, "it is of another network");
  if (sha256(proof.pinned->header) != pinned->block || header->height != pinned->height)
    return fail(Errc::invalid,
                fmt::format("it begins at block {}, which is not the one that you trust", header->height));
  if (witness_set_hash(proof.pinned->next_witnesses) != header->next_witnesses)
    return fail(Errc::invalid, "its witnesses are not those that the trusted block names");
  return std::pair(proof.pinned->next_witnesses, header->height);
}

/// A block behind `height` that these witnesses decided. `what` names it in the error.
static Result<BlockHeader> check_decided(const DecidedHeader& block, const NetworkId& network, std::uint64_t height,
                                         const std::vector<PublicKey>& witnesses, std::string_view what) {
  auto header = decode_block_header(block.header);
  if (!header) return header;
  const auto wrong = [&](std::string_view why) { return fail(Errc::invalid, fmt::format("{}: {}", what, why)); };
  if (header->network != network) return wrong("it is of another network");
  if (header->height <= height) return wrong("it is not behind the one before it");
  if (header->witnesses != witness_set_hash(witnesses)) return wrong("it was decided by other witnesses");
  const BlockView view{*header, sha256(block.header), {}, block.round, block.votes};
  if (auto votes = check_votes(view, witnesses); !votes) return wrong(votes.error().message);
  return header;
}

/// First block that they decide → witnesses, up to the proof's block.
using Deciders = std::map<std::uint64_t, std::vector<PublicKey>>;

static Result<void> check_statement(const HandleProof& proof, const BlockHeader& block, const NetworkId&,
                                    const Deciders&) {
  const auto key = sha256(as_bytes(proof.handle));
  if (proof.record.empty() && proof.path.end && proof.path.end->key == key)
    return fail(Errc::invalid, "it says that there is no such handle, and shows one");
  if (sparse_root(key, proof.path) != block.map_root)
    return fail(Errc::invalid, fmt::format("its path does not lead to the handles of block {}", block.height));
  return {};
}

static Result<void> check_statement(const EntryProof& proof, const BlockHeader& block, const NetworkId&,
                                    const Deciders&) {
  if (merkle_root_from_path(merkle_leaf(proof.entry), proof.index, block.entries, proof.path) != block.log_root)
    return fail(Errc::invalid,
                fmt::format("its path does not lead from entry {} to the log of block {}", proof.index, block.height));
  return {};
}

static Result<void> check_statement(const ExtensionProof& proof, const BlockHeader& block, const NetworkId& network,
                                    const Deciders& deciders) {
  const auto named = decode_block_header(proof.old.header);
  if (!named) return tl::unexpected(named.error());
  const auto after = deciders.upper_bound(named->height);
  if (after == deciders.begin())
    return fail(Errc::invalid,
                fmt::format("its older block {} is not behind the place where trust begins", named->height));
  if (named->height >= block.height)
    return fail(Errc::invalid, fmt::format("its older block {} is not before block {}", named->height, block.height));
  const auto old = check_decided(proof.old, network, 0, std::prev(after)->second, "its older block");
  if (!old) return tl::unexpected(old.error());
  if (!merkle_consistent(old->entries, old->log_root, block.entries, block.log_root, proof.path))
    return fail(Errc::invalid, fmt::format("it does not show that the log of block {} begins with that of block {}",
                                           block.height, old->height));
  return {};
}

Result<ProvedBlock> check_proof(const LedgerProof& proof, const NetworkId& network,
                                const std::optional<Checkpoint>& pinned) {
  const auto& chain = chain_of(proof);
  auto from = anchor(chain, network, pinned);
  if (!from) return tl::unexpected(from.error());
  auto& [witnesses, height] = *from;
  Deciders deciders{{height + 1, witnesses}};
  for (const auto& change : chain.changes) {
    const auto header =
        check_decided(change.block, network, height, witnesses, "a block that names the next witnesses");
    if (!header) return tl::unexpected(header.error());
    if (witness_set_hash(change.next_witnesses) != header->next_witnesses)
      return fail(Errc::invalid, fmt::format("its witnesses are not those that block {} names", header->height));
    witnesses = change.next_witnesses;
    height = header->height;
    deciders[height + 1] = witnesses;
  }
  const auto block = check_decided(chain.block, network, height, witnesses, "the block that it is as of");
  if (!block) return tl::unexpected(block.error());
  const auto holds =
      std::visit([&](const auto& one) { return check_statement(one, *block, network, deciders); }, proof);
  if (!holds) return tl::unexpected(holds.error());
  return ProvedBlock{network,          {block->height, sha256(chain.block.header)},
                     block->time,      chain.block.votes.size(),
                     witnesses.size(), block->map_root,
                     block->log_root,  block->entries};
}

}  // namespace diot
