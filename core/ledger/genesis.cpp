#include "core/ledger/genesis.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/state.hpp"
#include "core/msgpack.hpp"

namespace diot {

static constexpr NetworkId no_network{};

Bytes unsigned_genesis(const Genesis& genesis) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(11);
  out.uint(1);
  out.uint(suite_1);
  out.bin(genesis.nonce);
  out.uint(genesis.time);
  out.uint(genesis.rules_version);
  out.array(genesis.witnesses.size());
  for (const auto& key : genesis.witnesses) out.bin(key);
  out.bin(genesis.succession);
  out.uint(static_cast<std::uint8_t>(genesis.admission));
  out.uint(genesis.lease_days);
  out.uint(genesis.replication);
  out.array(genesis.founding.size());
  for (const auto& entry : genesis.founding) out.bin(entry);
  return bytes;
}

Bytes encode_genesis(const Genesis& genesis, const std::vector<KeyPair>& witnesses) {
  expect(std::ranges::equal(genesis.witnesses, witnesses, {}, {}, &KeyPair::public_key),
         "the genesis is signed by its witnesses, in order");
  const auto signed_bytes = unsigned_genesis(genesis);
  std::vector<Signature> signatures;
  for (const auto& witness : witnesses) signatures.push_back(sign_genesis(signed_bytes, witness));
  return signed_genesis(signed_bytes, signatures);
}

Signature sign_genesis(ByteView unsigned_bytes, const KeyPair& witness) {
  return witness.sign("genesis", no_network, unsigned_bytes);
}

Bytes signed_genesis(ByteView unsigned_bytes, const std::vector<Signature>& signatures) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(2);
  out.bin(unsigned_bytes);
  out.array(signatures.size());
  for (const auto& signature : signatures) out.bin(signature);
  return bytes;
}

/// The outer array: what is signed, and the signatures.
static Result<std::pair<ByteView, std::vector<Signature>>> open(ByteView bytes) {
  if (bytes.size() > limits::genesis_bytes_max)
    return fail(Errc::limit,
                fmt::format("genesis: {} bytes, at most {} are allowed", bytes.size(), limits::genesis_bytes_max));
  PackReader in(bytes, 2 * limits::witnesses_max);
  in.array_of(2);
  const auto signed_bytes = in.bin(limits::genesis_bytes_max);
  std::vector<Signature> signatures(in.array(limits::witnesses_max));
  for (auto& signature : signatures) signature = in.id<Signature>();
  if (!in.done()) return fail(Errc::invalid, "genesis: malformed bytes");
  return std::pair(signed_bytes, std::move(signatures));
}

Result<NetworkId> network_id_of(ByteView genesis) {
  return open(genesis).map([](const auto& parts) { return NetworkId(sha256(parts.first).bytes); });
}

static Result<Genesis> parse(ByteView signed_bytes) {
  PackReader in(signed_bytes, 2 * (limits::block_entries_max + limits::witnesses_max));
  Genesis out;
  in.array_of(11);
  if (auto known = ledger_codec::check_version(in, "genesis"); !known) return tl::unexpected(known.error());
  const auto nonce = in.bin(out.nonce.size());
  out.time = in.uint(limits::wall_ms_max);
  out.rules_version = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.witnesses.resize(in.array(limits::witnesses_max));
  for (auto& key : out.witnesses) key = in.id<PublicKey>();
  out.succession = in.id<Hash>();
  out.admission = static_cast<Admission>(in.uint(1));
  out.lease_days = static_cast<std::uint32_t>(in.uint(limits::lease_days_max));
  out.replication = static_cast<std::uint32_t>(in.uint(100));
  out.founding.resize(in.array(limits::block_entries_max));
  for (auto& entry : out.founding) entry = to_bytes(in.bin(limits::entry_bytes_max));
  if (!in.done() || nonce.size() != out.nonce.size()) return fail(Errc::invalid, "genesis: malformed bytes");
  std::ranges::copy(nonce, out.nonce.begin());
  return out;
}

Result<ByteView> unsigned_genesis(ByteView genesis) {
  return open(genesis).map([](const auto& parts) { return parts.first; });
}
Result<std::vector<PublicKey>> genesis_witnesses(ByteView unsigned_bytes) {
  return parse(unsigned_bytes).map([](const Genesis& genesis) { return genesis.witnesses; });
}

Result<Genesis> decode_unsigned_genesis(ByteView unsigned_bytes) { return parse(unsigned_bytes); }

Result<Genesis> decode_genesis(ByteView bytes) {
  const auto parts = open(bytes);
  if (!parts) return tl::unexpected(parts.error());
  const auto& [signed_bytes, signatures] = *parts;
  auto out = parse(signed_bytes);
  if (!out) return out;

  if (out->witnesses.empty()) return fail(Errc::invalid, "genesis: it names no witness");
  auto distinct = out->witnesses;
  std::ranges::sort(distinct);
  if (std::ranges::adjacent_find(distinct) != distinct.end())
    return fail(Errc::invalid, "genesis: it names a witness twice");
  if (signatures.size() != out->witnesses.size())
    return fail(Errc::invalid,
                fmt::format("genesis: {} witnesses, but {} signatures", out->witnesses.size(), signatures.size()));
  for (std::size_t i = 0; i < signatures.size(); ++i)
    if (!verify(out->witnesses[i], signatures[i], "genesis", no_network, signed_bytes))
      return fail(Errc::invalid, fmt::format("genesis: the signature of witness {} is wrong", i));
  if (out->replication == 0) return fail(Errc::invalid, "genesis: replication is at least 1");
  if (out->founding.empty()) return fail(Errc::invalid, "genesis: it has no founding entry, so nobody could invite");

  const LedgerState empty(*out, NetworkId(sha256(signed_bytes).bytes), sha256(bytes));
  LedgerDraft draft(empty, out->time, nullptr);
  for (std::size_t i = 0; i < out->founding.size(); ++i) {
    const auto added = decode_entry(out->founding[i]).and_then([&](const Entry& entry) { return draft.add(entry); });
    if (!added)
      return fail(added.error().code, fmt::format("genesis, founding entry {}: {}", i, added.error().message));
  }
  return out;
}

}  // namespace diot
