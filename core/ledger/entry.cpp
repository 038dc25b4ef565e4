#include "core/ledger/entry.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

using namespace ledger_codec;

/// The numbers of docs/protocol.md, "Entry".
enum class EntryKind : std::uint8_t { register_ = 1, update = 2, renew = 4 };
static constexpr std::uint64_t kind_max = 13;  // 3 and 5 to 13 are reserved

static constexpr std::size_t signatures_max = limits::nodes_per_handle_max + 1;  // the nodes and the owner

// Making ------------------------------------------------------------------------------------------------------

static Bytes seal(EntryKind kind, const Checkpoint& recent, const NetworkId& network, ByteView body,
                  std::vector<KeyPair> signers) {
  Bytes signed_bytes;
  PackWriter inner(signed_bytes);
  inner.array(6);
  inner.uint(1);
  inner.uint(suite_1);
  inner.uint(static_cast<std::uint8_t>(kind));
  write_checkpoint(inner, recent);
  append(signed_bytes, body);

  std::ranges::sort(signers, {}, &KeyPair::public_key);
  Bytes bytes;
  PackWriter out(bytes);
  out.array(2);
  out.bin(signed_bytes);
  out.array(signers.size());
  for (const auto& signer : signers) {
    out.array(2);
    out.bin(signer.public_key());
    out.bin(signer.sign("entry", network, signed_bytes));
  }
  return bytes;
}

static void write_registration(PackWriter& out, const Registration& what) {
  out.str(what.handle);
  out.bin(what.owner);
  out.bin(what.next_key);
  write_nodes(out, what.nodes);
}

Bytes token_bytes(const Registration& what) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(4);
  write_registration(out, what);
  return bytes;
}

Bytes make_register(const Registration& what, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                    const std::vector<KeyPair>& node_keys, const Invite* invite) {
  auto ordered = what;
  std::ranges::sort(ordered.nodes);
  Bytes body;
  PackWriter out(body);
  out.array(6);
  write_registration(out, ordered);
  if (invite) {
    out.bin(invite->grant);
    out.bin(KeyPair::from_seed(invite->token_seed).sign("token", network, token_bytes(ordered)));
  } else {
    out.nil();
    out.nil();
  }
  auto signers = node_keys;
  signers.push_back(owner);
  return seal(EntryKind::register_, recent, network, body, std::move(signers));
}

Bytes make_update(const HandleRecord& changed, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                  const std::vector<KeyPair>& new_node_keys) {
  auto nodes = changed.nodes;
  auto persons = changed.persons;
  std::ranges::sort(nodes);
  std::ranges::sort(persons);
  Bytes body;
  PackWriter out(body);
  out.array(5);
  out.str(changed.handle);
  out.uint(changed.version + 1);
  write_nodes(out, nodes);
  write_persons(out, persons);
  out.bin(changed.profile);
  auto signers = new_node_keys;
  signers.push_back(owner);
  return seal(EntryKind::update, recent, network, body, std::move(signers));
}

Bytes make_renew(const HandleRecord& current, const NetworkId& network, const Checkpoint& recent, const KeyPair& node) {
  Bytes body;
  PackWriter out(body);
  out.array(2);
  out.str(current.handle);
  out.uint(current.version + 1);
  return seal(EntryKind::renew, recent, network, body, {node});
}

// Parsing -----------------------------------------------------------------------------------------------------

static constexpr std::size_t handle_bytes_max = 64;  // longer than any valid one, so that check_handle tells why

static RegisterBody read_register(PackReader& in, std::string& error) {
  RegisterBody out;
  in.array_of(6);
  out.what.handle = in.str(handle_bytes_max);
  out.what.owner = in.id<PublicKey>();
  out.what.next_key = in.id<Hash>();
  out.what.nodes = read_nodes(in, error);
  const bool invited = !in.nil();
  if (invited) {
    out.grant = to_bytes(in.bin(limits::grant_bytes_max));
    out.token_signature = in.id<Signature>();
    if (in.ok() && out.grant.empty()) error = "its grant is empty";
  } else if (!in.nil() && in.ok()) {
    error = "it has a token signature but no grant";
  }
  return out;
}

static UpdateBody read_update(PackReader& in, std::string& error) {
  UpdateBody out;
  in.array_of(5);
  out.handle = in.str(handle_bytes_max);
  out.version = in.uint();
  out.nodes = read_nodes(in, error);
  out.persons = read_persons(in, error);
  out.profile = in.id<Hash>();
  return out;
}

static RenewBody read_renew(PackReader& in) {
  RenewBody out;
  in.array_of(2);
  out.handle = in.str(handle_bytes_max);
  out.version = in.uint();
  return out;
}

static tl::unexpected<Error> malformed(std::string_view why) {
  return fail(Errc::invalid, fmt::format("malformed entry: {}", why));
}

/// What is signed.
static Result<void> read_signed(ByteView bytes, Entry& out) {
  PackReader in(bytes, 512);
  in.array_of(6);
  if (auto known = check_version(in, "an entry"); !known) return known;
  const auto kind = in.uint();
  out.recent = read_checkpoint(in);
  std::string error;
  if (!in.ok()) return malformed("it is not in the form of one");
  switch (kind) {
    case static_cast<std::uint64_t>(EntryKind::register_): out.body = read_register(in, error); break;
    case static_cast<std::uint64_t>(EntryKind::update): out.body = read_update(in, error); break;
    case static_cast<std::uint64_t>(EntryKind::renew): out.body = read_renew(in); break;
    default:
      if (kind == 0 || kind > kind_max) return malformed(fmt::format("there is no kind {}", kind));
      return fail(Errc::not_available, fmt::format("entries of kind {} are not available yet", kind));
  }
  if (!error.empty()) return malformed(error);
  if (!in.done()) return malformed("its body is not in the form of its kind");
  return check_handle(out.handle());
}

Result<Entry> decode_entry(ByteView bytes) {
  if (bytes.size() > limits::entry_bytes_max)
    return fail(Errc::limit,
                fmt::format("an entry of {} bytes, at most {} are allowed", bytes.size(), limits::entry_bytes_max));
  PackReader in(bytes, 4 + 3 * signatures_max);
  Entry out;
  in.array_of(2);
  out.signed_bytes = to_bytes(in.bin(limits::entry_bytes_max));
  for (auto left = in.array(signatures_max); left > 0 && in.ok(); --left) {
    in.array_of(2);
    const auto key = in.id<PublicKey>();
    const auto signature = in.id<Signature>();
    if (in.ok() && !out.signatures.empty() && key <= out.signatures.back().first)
      return malformed("its signatures are not in ascending order");
    out.signatures.emplace_back(key, signature);
  }
  if (!in.done()) return malformed("it is not in the form of one");
  if (auto read = read_signed(out.signed_bytes, out); !read) return tl::unexpected(read.error());
  out.hash = merkle_leaf(bytes);
  return out;
}

const std::string& Entry::handle() const {
  if (const auto* registered = std::get_if<RegisterBody>(&body)) return registered->what.handle;
  if (const auto* updated = std::get_if<UpdateBody>(&body)) return updated->handle;
  return std::get<RenewBody>(body).handle;
}

Result<EntryView> describe_entry(ByteView entry) {
  const auto decoded = decode_entry(entry);
  if (!decoded) return tl::unexpected(decoded.error());
  EntryView out;
  out.handle = decoded->handle();
  out.recent = decoded->recent;
  out.hash = decoded->hash;
  for (const auto& [key, signature] : decoded->signatures) out.signers.push_back(key);
  if (const auto* registered = std::get_if<RegisterBody>(&decoded->body)) {
    out.kind = "register";
    out.version = 1;
    if (const auto grant = decode_grant(registered->grant)) out.inviter = grant->inviter;
  } else if (const auto* updated = std::get_if<UpdateBody>(&decoded->body)) {
    out.kind = "update";
    out.version = updated->version;
  } else {
    out.kind = "renew";
    out.version = std::get<RenewBody>(decoded->body).version;
  }
  return out;
}

}  // namespace diot
