#include "core/ledger/invite.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/address.hpp"
#include "core/ledger/codec.hpp"
#include "core/ledger/limits.hpp"
#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/text.hpp"
#include "core/topic.hpp"

namespace diot {

static constexpr std::string_view scheme = "diot:";
static constexpr std::size_t address_bytes_max = 264;  // a host name of 253 bytes, or IPv6 with a zone, and the port

Bytes encode_grant(const Grant& grant, const KeyPair& signer) {
  expect(grant.signer == signer.node_id(), "a grant is signed by the node it names");
  Bytes signed_bytes;
  PackWriter inner(signed_bytes);
  inner.array(10);
  inner.uint(1);
  inner.uint(suite_1);
  inner.bin(grant.network);
  inner.str(grant.inviter);
  inner.bin(grant.token);
  inner.uint(grant.uses);
  inner.uint(grant.expiry);
  ledger_codec::write_checkpoint(inner, grant.pinned);
  inner.bin(grant.signer);

  Bytes bytes;
  PackWriter out(bytes);
  out.array(2);
  out.bin(signed_bytes);
  out.bin(signer.sign("grant", grant.network, signed_bytes));
  return bytes;
}

Result<Grant> decode_grant(ByteView bytes) {
  const auto malformed = fail(Errc::invalid, "the invite's grant is malformed: ask for a new invite");
  if (bytes.size() > limits::grant_bytes_max) return malformed;
  PackReader outer(bytes, 8);
  outer.array_of(2);
  const auto signed_bytes = outer.bin(limits::grant_bytes_max);
  const auto signature = outer.id<Signature>();
  if (!outer.done()) return malformed;

  Grant out;
  PackReader in(signed_bytes, 16);
  in.array_of(10);
  if (auto known = ledger_codec::check_version(in, "grant"); !known) return tl::unexpected(known.error());
  out.network = in.id<NetworkId>();
  out.inviter = in.str(32);
  out.token = in.id<PublicKey>();
  out.uses = static_cast<std::uint32_t>(in.uint(limits::grant_uses_max));
  out.expiry = in.uint(limits::wall_ms_max);
  out.pinned = ledger_codec::read_checkpoint(in);
  out.signer = in.id<NodeId>();
  out.id = sha256(signed_bytes);
  if (!in.done() || !check_handle(out.inviter)) return malformed;
  if (!verify(key_of(out.signer), signature, "grant", out.network, signed_bytes))
    return fail(Errc::invalid, "the signature of the invite's grant is wrong: ask for a new invite");
  return out;
}

/// The invite's array without its check, or with it.
static Bytes pack(const Invite& invite, ByteView check) {
  Bytes bytes;
  PackWriter out(bytes);
  const std::size_t addresses = std::min(invite.addresses.size(), limits::addresses_per_node_max);
  out.array(check.empty() ? 5 : 6);
  out.uint(1);
  out.bin(invite.grant);
  out.bin(invite.token_seed);
  out.bin(invite.inviter);
  out.array(addresses);
  for (std::size_t i = 0; i < addresses; ++i) out.str(invite.addresses[i]);
  if (!check.empty()) out.bin(check);
  return bytes;
}

static Hash check_of(const Invite& invite) { return sha256(pack(invite, {})); }

std::string encode_invite(const Invite& invite) {
  const auto check = check_of(invite);
  return encode_line(scheme, pack(invite, check.view().first(4)));
}

Result<Invite> decode_invite(std::string_view text) {
  if (text.size() > limits::invite_text_bytes_max)
    return fail(Errc::invalid, fmt::format("that is too long for an invite ({} bytes)", text.size()));
  std::string compact;
  for (const char c : text)
    if (c != ' ' && c != '\t' && c != '\r' && c != '\n') compact += c;
  if (!compact.starts_with(scheme))
    return fail(Errc::invalid,
                "that is not an invite: one begins with 'diot:', and `diot invite` on the inviter's gateway "
                "prints it");
  const auto mistyped =
      fail(Errc::invalid, "the invite is cut off or mistyped: copy the whole line that `diot invite` printed");
  const auto bytes = decode_line(scheme, compact);
  if (!bytes) return mistyped;

  Invite out;
  PackReader in(*bytes, limits::invite_text_bytes_max);
  const auto elements = in.array(limits::invite_text_bytes_max);  // a newer version may have any number
  const auto version = in.uint();
  if (in.ok() && version != 1)
    return fail(Errc::not_available, fmt::format("an invite of version {}: it needs a newer diot", version));
  out.grant = to_bytes(in.bin(limits::grant_bytes_max));
  out.token_seed = in.id<Seed>();
  out.inviter = in.id<NodeId>();
  for (auto left = in.array(limits::addresses_per_node_max); left > 0 && in.ok(); --left)
    out.addresses.emplace_back(in.str(address_bytes_max));
  const auto check = in.bin(4);
  if (!in.done() || elements != 6 || !equal(check, check_of(out).view().first(4))) return mistyped;

  for (const auto& address : out.addresses)
    if (!parse_address(address))
      return fail(Errc::invalid, "the invite holds an address that is none: ask for a new one");
  const auto grant = decode_grant(out.grant);
  if (!grant) return tl::unexpected(grant.error());
  if (KeyPair::from_seed(out.token_seed).public_key() != grant->token)
    return fail(Errc::invalid, "the invite's token is not the one of its grant: ask for a new invite");
  return out;
}

}  // namespace diot
