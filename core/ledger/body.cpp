#include "core/ledger/body.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/topic.hpp"

namespace diot::ledger_codec {
namespace {

constexpr std::size_t handle_bytes_max = 64;  // longer than any valid one, so that check_handle tells why
constexpr std::size_t double_vote_bytes_max = 1024;

void write_change(PackWriter& out, const HandleChange& change, std::size_t more) {
  out.array(2 + more);
  out.str(change.handle);
  out.uint(change.version);
}
void read_change(PackReader& in, HandleChange& change, std::size_t more) {
  in.array_of(2 + more);
  change.handle = in.str(handle_bytes_max);
  change.version = in.uint();
}

// Register ---------------------------------------------------------------------------------------------------------

void write(PackWriter& out, const RegisterBody& body) {
  out.array(6);
  out.str(body.what.handle);
  out.bin(body.what.owner);
  out.bin(body.what.next_key);
  write_nodes(out, body.what.nodes);
  if (!body.grant.empty()) {
    out.bin(body.grant);
    out.bin(*body.token_signature);
    return;
  }
  out.nil();
  if (!body.stamp) return out.nil();
  Bytes stamp;
  ByteWriter(stamp).u64(*body.stamp);
  out.bin(stamp);
}

void read(PackReader& in, RegisterBody& out, std::string& error) {
  in.array_of(6);
  out.what.handle = in.str(handle_bytes_max);
  out.what.owner = in.id<PublicKey>();
  out.what.next_key = in.id<Hash>();
  out.what.nodes = read_nodes(in, error);
  if (!in.nil()) {
    out.grant = to_bytes(in.bin(limits::grant_bytes_max));
    out.token_signature = in.id<Signature>();
    if (in.ok() && out.grant.empty()) error = "its grant is empty";
  } else if (!in.nil()) {
    const auto stamp = in.bin(Signature::size);
    if (!in.ok()) return;
    if (stamp.size() == 8)
      out.stamp = ByteReader(stamp).u64();
    else
      error = "it has a token signature but no grant";
  }
}

// A handle's changes -----------------------------------------------------------------------------------------------

void write(PackWriter& out, const UpdateBody& body) {
  write_change(out, body, 3);
  write_nodes(out, body.nodes);
  write_persons(out, body.persons);
  out.bin(body.profile);
}
void read(PackReader& in, UpdateBody& out, std::string& error) {
  read_change(in, out, 3);
  out.nodes = read_nodes(in, error);
  out.persons = read_persons(in, error);
  out.profile = in.id<Hash>();
}

void write(PackWriter& out, const RotateBody& body) {
  write_change(out, body, 2);
  out.bin(body.owner);
  out.bin(body.next_key);
}
void read(PackReader& in, RotateBody& out, std::string&) {
  read_change(in, out, 2);
  out.owner = in.id<PublicKey>();
  out.next_key = in.id<Hash>();
}

/// renew, cancel-recovery, release.
template <class Body>
concept OnlyChange =
    std::same_as<Body, RenewBody> || std::same_as<Body, CancelRecoveryBody> || std::same_as<Body, ReleaseBody>;
void write(PackWriter& out, const OnlyChange auto& body) { write_change(out, body, 0); }
void read(PackReader& in, OnlyChange auto& out, std::string&) { read_change(in, out, 0); }

template <class Body>
concept NewOwner = std::same_as<Body, TransferBody> || std::same_as<Body, RecoverBody>;
void write(PackWriter& out, const NewOwner auto& body) {
  write_change(out, body, 3);
  out.bin(body.owner);
  out.bin(body.next_key);
  write_nodes(out, body.nodes);
}
void read(PackReader& in, NewOwner auto& out, std::string& error) {
  read_change(in, out, 3);
  out.owner = in.id<PublicKey>();
  out.next_key = in.id<Hash>();
  out.nodes = read_nodes(in, error);
}

void write(PackWriter& out, const RevokeNodeBody& body) {
  write_change(out, body, 2);
  out.bin(body.node);
  write_cut_offs(out, body.cut_offs);
}
void read(PackReader& in, RevokeNodeBody& out, std::string& error) {
  read_change(in, out, 2);
  out.node = in.id<NodeId>();
  out.cut_offs = read_cut_offs(in, error);
}

void write(PackWriter& out, const SetGuardiansBody& body) {
  write_change(out, body, 2);
  out.uint(body.threshold);
  out.array(body.guardians.size());
  for (const auto& guardian : body.guardians) out.str(guardian);
}
void read(PackReader& in, SetGuardiansBody& out, std::string& error) {
  read_change(in, out, 2);
  out.threshold = static_cast<std::uint32_t>(in.uint(limits::guardians_per_handle_max));
  for (auto left = in.array(limits::guardians_per_handle_max); left > 0 && in.ok(); --left) {
    const auto guardian = std::string(in.str(handle_bytes_max));
    if (!in.ok()) break;
    if (auto valid = check_handle(guardian); !valid) error = valid.error().message;
    if (!out.guardians.empty() && guardian <= out.guardians.back()) error = "its guardians are not in ascending order";
    out.guardians.push_back(guardian);
  }
  if (in.ok() && error.empty() &&
      (out.threshold > out.guardians.size() || (out.threshold == 0) != out.guardians.empty()))
    error = fmt::format("{} of {} guardians cannot be asked for", out.threshold, out.guardians.size());
}

// The network's changes --------------------------------------------------------------------------------------------

template <class Body>
concept NewWitnesses = std::same_as<Body, WitnessChangeBody> || std::same_as<Body, SuccessionBody>;
void write(PackWriter& out, const NewWitnesses auto& body) {
  out.array(2);
  out.uint(body.epoch);
  write_witnesses(out, body.witnesses);
}
void read(PackReader& in, NewWitnesses auto& out, std::string& error) {
  in.array_of(2);
  out.epoch = in.uint();
  out.witnesses = read_witnesses(in, error);
}

void write(PackWriter& out, const UpgradeBody& body) {
  out.array(3);
  out.uint(body.epoch);
  out.uint(body.rules_version);
  out.uint(body.height);
}
void read(PackReader& in, UpgradeBody& out, std::string&) {
  in.array_of(3);
  out.epoch = in.uint();
  out.rules_version = static_cast<std::uint32_t>(in.uint(0xffffffff));
  out.height = in.uint();
}

void write(PackWriter& out, const EvidenceBody& body) {
  out.array(1);
  out.bin(encode_double_vote(body.proof));
}
void read(PackReader& in, EvidenceBody& out, std::string& error) {
  in.array_of(1);
  const auto bytes = in.bin(double_vote_bytes_max);
  if (!in.ok()) return;
  const auto proof = decode_double_vote(bytes);
  if (proof)
    out.proof = *proof;
  else
    error = proof.error().message;
}

template <std::size_t... Index>
EntryBody read_any(std::uint64_t kind, PackReader& in, std::string& error, std::index_sequence<Index...>) {
  EntryBody out;
  ((kind == Index + 1 ? read(in, out.emplace<Index>(), error) : void()), ...);
  return out;
}

}  // namespace

void write_body(PackWriter& out, const EntryBody& body) {
  std::visit([&](const auto& one) { write(out, one); }, body);
}

EntryBody read_body(std::uint64_t kind, PackReader& in, std::string& error) {
  return read_any(kind, in, error, std::make_index_sequence<kinds_of_entries>());
}

void sort_body(EntryBody& body) {
  std::visit(
      [](auto& one) {
        if constexpr (requires { one.what.nodes; }) std::ranges::sort(one.what.nodes);
        if constexpr (requires { one.nodes; }) std::ranges::sort(one.nodes);
        if constexpr (requires { one.persons; }) std::ranges::sort(one.persons);
        if constexpr (requires { one.guardians; }) std::ranges::sort(one.guardians);
        if constexpr (requires { one.cut_offs; }) std::ranges::sort(one.cut_offs, {}, &CutOff::channel);
      },
      body);
}

}  // namespace diot::ledger_codec
