#include "core/ledger/entry.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "core/ledger/body.hpp"
#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/merkle.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

using namespace ledger_codec;

static constexpr std::size_t signatures_max = 2 * limits::witnesses_max;  // a witness-change has the most
static_assert(signatures_max > limits::nodes_per_handle_max + limits::guardians_per_handle_max + 3);

static constexpr std::array<std::string_view, kinds_of_entries> kind_names = {
    "register", "update",          "rotate",  "renew",          "transfer", "revoke-node", "set-guardians",
    "recover",  "cancel-recovery", "release", "witness-change", "upgrade",  "evidence",    "succession"};

std::string_view kind_of(const EntryBody& body) { return kind_names[body.index()]; }

const std::string& handle_of(const EntryBody& body) {
  static const std::string none;
  return std::visit(
      [](const auto& one) -> const std::string& {
        if constexpr (requires { one.what; })
          return one.what.handle;
        else if constexpr (requires { one.handle; })
          return one.handle;
        else
          return none;
      },
      body);
}

/// Else it is about the network.
static bool is_of_handle(const EntryBody& body) {
  return std::visit(
      [](const auto& one) {
        return requires { one.what; }
        || requires { one.handle; };
      },
      body);
}

static bool changes_witnesses(const EntryBody& body) {
  return std::holds_alternative<WitnessChangeBody>(body) || std::holds_alternative<SuccessionBody>(body);
}

// Making ------------------------------------------------------------------------------------------------------

using Signatures = std::vector<std::pair<PublicKey, Signature>>;

static Bytes pack(ByteView signed_bytes, const Signatures& signatures) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(2);
  out.bin(signed_bytes);
  out.array(signatures.size());
  for (const auto& [key, signature] : signatures) {
    out.array(2);
    out.bin(key);
    out.bin(signature);
  }
  return bytes;
}

Bytes make_entry(EntryBody body, const NetworkId& network, const Checkpoint& recent, std::vector<KeyPair> signers) {
  sort_body(body);
  Bytes signed_bytes;
  PackWriter out(signed_bytes);
  out.array(6);
  out.uint(1);
  out.uint(suite_1);
  out.uint(body.index() + 1);
  write_checkpoint(out, recent);
  write_body(out, body);

  std::ranges::sort(signers, {}, &KeyPair::public_key);
  Signatures signatures;
  for (const auto& signer : signers)
    signatures.emplace_back(signer.public_key(), signer.sign("entry", network, signed_bytes));
  return pack(signed_bytes, signatures);
}

Result<Bytes> add_signature(ByteView bytes, const NetworkId& network, const KeyPair& signer) {
  auto entry = decode_entry(bytes);
  if (!entry) return tl::unexpected(entry.error());
  if (entry->is_signed_by(signer.public_key())) return fail(Errc::exists, "the entry is signed by this key already");
  if (entry->signatures.size() == signatures_max)
    return fail(Errc::limit, fmt::format("the entry has {} signatures, the most it may", signatures_max));
  entry->signatures.emplace_back(signer.public_key(), signer.sign("entry", network, entry->signed_bytes));
  std::ranges::sort(entry->signatures);
  return pack(entry->signed_bytes, entry->signatures);
}

Bytes token_bytes(const Registration& what) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(4);
  out.str(what.handle);
  out.bin(what.owner);
  out.bin(what.next_key);
  write_nodes(out, what.nodes);
  return bytes;
}

static RegisterBody register_body(const Registration& what) {
  RegisterBody body;
  body.what = what;
  std::ranges::sort(body.what.nodes);
  return body;
}

static Bytes sign_register(RegisterBody body, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                           std::vector<KeyPair> signers) {
  signers.push_back(owner);
  return make_entry(std::move(body), network, recent, std::move(signers));
}

Bytes make_register(const Registration& what, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                    const std::vector<KeyPair>& node_keys, const Invite* invite) {
  RegisterBody body = register_body(what);
  if (invite) {
    body.grant = invite->grant;
    body.token_signature = KeyPair::from_seed(invite->token_seed).sign("token", network, token_bytes(body.what));
  }
  return sign_register(std::move(body), network, recent, owner, node_keys);
}

Bytes make_register(const Registration& what, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                    const std::vector<KeyPair>& node_keys, std::uint64_t stamp) {
  RegisterBody body = register_body(what);
  body.stamp = stamp;
  return sign_register(std::move(body), network, recent, owner, node_keys);
}

Bytes make_update(const HandleRecord& changed, const NetworkId& network, const Checkpoint& recent, const KeyPair& owner,
                  const std::vector<KeyPair>& new_node_keys) {
  auto signers = new_node_keys;
  signers.push_back(owner);
  return make_entry(UpdateBody{{changed.handle, changed.version + 1}, changed.nodes, changed.persons, changed.profile},
                    network, recent, std::move(signers));
}

Bytes make_renew(const HandleRecord& current, const NetworkId& network, const Checkpoint& recent,
                 const KeyPair& signer) {
  return make_entry(RenewBody{{current.handle, current.version + 1}}, network, recent, {signer});
}

// Reading -----------------------------------------------------------------------------------------------------

static tl::unexpected<Error> malformed(std::string_view why) {
  return fail(Errc::invalid, fmt::format("malformed entry: {}", why));
}

/// What is signed.
static Result<void> read_signed(ByteView bytes, Entry& out) {
  PackReader in(bytes, 1024);
  in.array_of(6);
  if (auto known = check_version(in, "an entry"); !known) return known;
  const auto kind = in.uint();
  out.recent = read_checkpoint(in);
  if (!in.ok()) return malformed("it is not in the form of one");
  if (kind == 0 || kind > kinds_of_entries) return malformed(fmt::format("there is no kind {}", kind));
  std::string error;
  out.body = read_body(kind, in, error);
  if (!error.empty()) return malformed(error);
  if (!in.done()) return malformed("its body is not in the form of its kind");
  return is_of_handle(out.body) ? check_handle(out.handle()) : Result<void>{};
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
  if (bytes.size() > limits::common_entry_bytes_max && !changes_witnesses(out.body))
    return fail(Errc::limit, fmt::format("a {} entry of {} bytes, at most {} are allowed", kind_of(out.body),
                                         bytes.size(), limits::common_entry_bytes_max));
  out.hash = merkle_leaf(bytes);
  return out;
}

bool is_stamped(const Entry& entry) {
  const auto* body = std::get_if<RegisterBody>(&entry.body);
  return body && body->stamp;
}

bool Entry::is_signed_by(const PublicKey& key) const {
  const auto at = std::ranges::lower_bound(signatures, key, {}, &std::pair<PublicKey, Signature>::first);
  return at != signatures.end() && at->first == key;
}

// Describing --------------------------------------------------------------------------------------------------

static std::string short_key(ByteView key) { return to_hex(key.first(8)) + "…"; }

static std::string detail_of(const RegisterBody& body) { return body.stamp ? "with a work stamp" : ""; }
static std::string detail_of(const UpdateBody& body) {
  return fmt::format("{} nodes, {} persons", body.nodes.size(), body.persons.size());
}
static std::string detail_of(const RotateBody& body) { return fmt::format("owner key {}", short_key(body.owner)); }
static std::string detail_of(const RevokeNodeBody& body) {
  return fmt::format("node {}, {} cut-offs", to_display(body.node), body.cut_offs.size());
}
static std::string detail_of(const SetGuardiansBody& body) {
  return body.guardians.empty() ? "none" : fmt::format("{} of {}", body.threshold, fmt::join(body.guardians, ", "));
}
static std::string detail_of(const UpgradeBody& body) {
  return fmt::format("rules version {} from block {} on", body.rules_version, body.height);
}
static std::string detail_of(const EvidenceBody& body) {
  return fmt::format("witness {} signed two blocks at height {}", short_key(body.proof.witness),
                     body.proof.first.height);
}
template <class Body>
static std::string detail_of(const Body& body) {
  if constexpr (requires { body.witnesses; })
    return fmt::format("{} witnesses", body.witnesses.members.size());
  else if constexpr (requires { body.owner; })
    return fmt::format("to owner key {}", short_key(body.owner));
  else
    return "";
}

Result<EntryView> describe_entry(ByteView entry) {
  const auto decoded = decode_entry(entry);
  if (!decoded) return tl::unexpected(decoded.error());
  EntryView out;
  out.kind = kind_of(decoded->body);
  out.handle = decoded->handle();
  out.recent = decoded->recent;
  out.hash = decoded->hash;
  for (const auto& [key, signature] : decoded->signatures) out.signers.push_back(key);
  std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.grant; }) {
          out.version = 1;
          if (const auto grant = decode_grant(body.grant)) out.inviter = grant->inviter;
        } else if constexpr (requires { body.version; }) {
          out.version = body.version;
        } else if constexpr (requires { body.epoch; }) {
          out.version = body.epoch;
        }
        out.detail = detail_of(body);
      },
      decoded->body);
  return out;
}

}  // namespace diot
