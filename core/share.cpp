#include "core/share.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/ledger/handle.hpp"
#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::uint8_t version_1 = 1;
constexpr std::uint8_t flag_removed = 1;
constexpr std::size_t signed_bytes = 168, header_bytes = signed_bytes + Signature::size;
constexpr std::size_t policy_bytes_max = 8 << 10;
constexpr std::size_t list_max = 1000;  // the policy's size is the real bound
enum PolicyKind : std::uint8_t { plain = 0, sealed = 1 };
enum Key : std::uint8_t { filter = 1, readers = 2, write_class = 3, writers = 4, approvals = 5, approvers = 6 };
/// From here on unknown keys are skipped: whoever does not know them grants nothing that they forbid.
constexpr std::uint64_t first_optional_key = 64;

constexpr std::array<std::pair<std::string_view, Preset>, 5> presets{{{"public", Preset::public_},
                                                                      {"trusted", Preset::trusted},
                                                                      {"protected", Preset::protected_},
                                                                      {"secure", Preset::secure},
                                                                      {"local", Preset::local}}};

/// A handle; approvers may also be a person of one: "alice/mum".
Result<void> check_member(std::string_view name, bool persons) {
  const auto slash = persons ? name.find('/') : name.npos;
  if (auto ok = check_handle(name.substr(0, slash)); !ok) return ok;
  return slash == name.npos ? Result<void>{} : check_person(name.substr(slash + 1));
}

Result<void> check_list(std::string_view what, const std::vector<std::string>& names, bool persons) {
  for (std::size_t at = 0; at < names.size(); ++at) {
    if (auto ok = check_member(names[at], persons); !ok)
      return fail(Errc::invalid, fmt::format("share: {}: '{}': {}", what, names[at], ok.error().message));
    if (at > 0 && names[at - 1] >= names[at])
      return fail(Errc::invalid, fmt::format("share: {} are not in strictly ascending order", what));
  }
  return {};
}

Result<void> check_share_filter(std::string_view text) {
  if (auto ok = check_filter(text); !ok) return ok;
  if (parts_of(text).kind == TopicKind::local) return {};
  return fail(Errc::invalid, fmt::format("filter '{}': a share covers topics of its owner, under their local names "
                                         "(not '@…', not '$…')",
                                         text));
}

std::vector<std::string> sorted(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

void write_list(PackWriter& to, Key key, const std::vector<std::string>& names) {
  to.uint(key);
  to.array(names.size());
  for (const auto& name : names) to.str(name);
}

/// Lists that the classes do not ask for are not there.
Bytes encode_policy(const ShareRecord& record) {
  const auto& policy = record.policy;
  const bool reading = !record.removed && record.read == ReadClass::list;
  const bool writing = !record.removed && policy.write == WriteClass::list;
  const bool approving = !record.removed && policy.approve > 0;
  Bytes out{plain};
  PackWriter to(out);
  to.map(std::size_t{1} + reading + 2 * writing + 2 * approving);
  to.uint(filter);
  to.str(policy.filter);
  if (reading) write_list(to, readers, sorted(policy.readers));
  if (writing) {
    to.uint(write_class);
    to.uint(static_cast<std::uint8_t>(WriteClass::list));
    write_list(to, writers, sorted(policy.writers));
  }
  if (approving) {
    to.uint(approvals);
    to.uint(policy.approve);
    write_list(to, approvers, sorted(policy.approvers));
  }
  return out;
}

Result<SharePolicy> decode_policy(ByteView bytes, bool removed, ReadClass read) {
  const auto refuse = [](std::string_view what) { return fail(Errc::invalid, fmt::format("share policy: {}", what)); };
  PackReader in(bytes);
  SharePolicy out;
  std::uint64_t present = 0;  // a bit for each key
  bool unknown = false;
  const auto list = [&](std::vector<std::string>& to) {
    for (auto left = in.array(list_max); left > 0 && in.ok(); --left) to.emplace_back(in.str(policy_bytes_max));
  };
  for (auto left = in.map(64); left > 0 && in.ok(); --left) {
    const auto key = in.uint();
    if (key >= first_optional_key) {
      in.skip();
      continue;
    }
    present |= std::uint64_t{1} << key;
    switch (key) {
      case filter: out.filter = in.str(policy_bytes_max); break;
      case readers: list(out.readers); break;
      case write_class:
        unknown = unknown || in.uint() != static_cast<std::uint8_t>(WriteClass::list);
        out.write = WriteClass::list;
        break;
      case writers: list(out.writers); break;
      case approvals: out.approve = static_cast<std::uint32_t>(in.uint(list_max)); break;
      case approvers: list(out.approvers); break;
      default: unknown = true; in.skip();
    }
  }
  const auto has = [&](Key key) { return (present >> key & 1) != 0; };
  if (!in.done() || !has(filter)) return refuse("malformed");
  if (unknown) return fail(Errc::not_available, "share policy: a newer diot wrote it, with rules not known here");
  if (has(readers) != (read == ReadClass::list) || has(writers) != has(write_class) ||
      has(approvers) != has(approvals) || (has(approvals) && out.approve == 0))
    return refuse("its lists and classes do not fit each other");
  if (removed && (read != ReadClass::nobody || has(writers) || has(approvers)))
    return refuse("a removed share has a filter and nothing else");
  if (out.approve > out.approvers.size()) return refuse("it asks for more approvals than there are approvers");
  if (auto ok = check_share_filter(out.filter); !ok) return tl::unexpected(ok.error());
  if (auto ok = check_list("readers", out.readers, false); !ok) return tl::unexpected(ok.error());
  if (auto ok = check_list("writers", out.writers, false); !ok) return tl::unexpected(ok.error());
  if (auto ok = check_list("approvers", out.approvers, true); !ok) return tl::unexpected(ok.error());
  return out;
}

}  // namespace

std::optional<Preset> preset_from(std::string_view name) {
  const auto found = std::ranges::find(presets, name, [](const auto& entry) { return entry.first; });
  return found == presets.end() ? std::nullopt : std::optional(found->second);
}

std::string_view name_of(Preset preset) {
  return std::ranges::find(presets, preset, [](const auto& entry) { return entry.second; })->first;
}

Preset preset_of(const ShareRecord& record) {
  if (record.removed || record.read == ReadClass::nobody) return Preset::local;
  if (record.policy.approve > 0) return Preset::secure;
  if (record.policy.write == WriteClass::list) return Preset::protected_;
  return record.read == ReadClass::everyone ? Preset::public_ : Preset::trusted;
}

ChannelId channel_id(const NetworkId& network, const Hash& register_entry, const ShareId& share) {
  return ChannelId(blake2b({as_bytes("diot/channel/v1"), network, register_entry, share}).bytes);
}

ShareRecord rehomed(ShareRecord share, const NetworkId& network, const Hash& register_entry, const NodeId& signer,
                    const Checkpoint& checkpoint) {
  share.seq = 1;
  share.channel = channel_id(network, register_entry, share.id);
  share.signer = signer;
  share.checkpoint = checkpoint;
  return share;
}

Bytes encode_share(const ShareRecord& record, const KeyPair& signer, const NetworkId& network) {
  const Bytes policy = encode_policy(record);
  expect(policy.size() <= policy_bytes_max, "a share policy's size");
  Bytes out;
  out.reserve(header_bytes + policy.size());
  ByteWriter to(out);
  to.u8(version_1);
  to.u8(suite_1);
  to.u8(record.removed ? flag_removed : 0);
  to.u8(static_cast<std::uint8_t>(record.removed ? ReadClass::nobody : record.read));
  to.raw(record.id);
  to.u64(record.seq);
  to.raw(record.channel);
  to.raw(signer.node_id());
  to.u64(record.checkpoint.height);
  to.raw(record.checkpoint.block);
  to.raw(blake2b(policy));
  to.u32(static_cast<std::uint32_t>(policy.size()));
  to.raw(signer.sign("share", network, out));
  to.raw(policy);
  return out;
}

Result<ShareRecord> decode_share(ByteView bytes, const NetworkId& network) {
  const auto refuse = [](std::string_view what) { return fail(Errc::invalid, fmt::format("share record: {}", what)); };
  ByteReader in(bytes);
  const auto version = in.u8(), suite = in.u8(), flags = in.u8(), read = in.u8();
  ShareRecord out;
  out.id = in.id<ShareId>();
  out.seq = in.u64();
  out.channel = in.id<ChannelId>();
  out.signer = in.id<NodeId>();
  out.checkpoint.height = in.u64();
  out.checkpoint.block = in.id<Hash>();
  const auto policy_hash = in.id<Hash>();
  const auto policy_size = in.u32();
  const auto signature = in.id<Signature>();
  const auto policy = in.rest();
  if (!in.ok()) return refuse("cut off");
  if (version != version_1) return refuse(fmt::format("version {}", version));
  if (suite != suite_1) return refuse(fmt::format("suite {}", suite));
  if (flags & ~flag_removed) return refuse(fmt::format("flags {:#04x}", flags));
  if (read > static_cast<std::uint8_t>(ReadClass::nobody)) return refuse(fmt::format("read class {}", read));
  if (out.seq < 1) return refuse("seq 0");
  if (policy.empty() || policy.size() > policy_bytes_max || policy.size() != policy_size ||
      blake2b(policy) != policy_hash)
    return refuse("the policy is not the one that was signed");
  if (!verify(key_of(out.signer), signature, "share", network, bytes.first(signed_bytes)))
    return fail(Errc::not_permitted, "share record: the signature is not its signer's");
  out.removed = (flags & flag_removed) != 0;
  out.read = static_cast<ReadClass>(read);
  if (policy[0] == sealed && !out.removed && out.read != ReadClass::everyone)
    return fail(Errc::not_available, "share record: its policy is sealed: private shares are not available yet");
  if (policy[0] != plain) return refuse(fmt::format("policy kind {}", policy[0]));
  auto plain_policy = decode_policy(policy.subspan(1), out.removed, out.read);
  if (!plain_policy) return tl::unexpected(plain_policy.error());
  out.policy = std::move(*plain_policy);
  return out;
}

bool supersedes(ByteView a, const ShareRecord& a_record, ByteView b, const ShareRecord& b_record) {
  return a_record.seq != b_record.seq ? a_record.seq > b_record.seq : blake2b(a) < blake2b(b);
}

const ShareRecord* Shares::of_topic(std::string_view topic) const {
  if (parts_of(topic).kind != TopicKind::local) return nullptr;
  const ShareRecord* best = nullptr;
  std::size_t best_levels = 0;
  for (const auto& [id, share] : shares_) {
    if (!matches(share.policy.filter, topic)) continue;
    const auto levels = literal_levels(share.policy.filter);
    if (best && levels <= best_levels) continue;
    best = &share;
    best_levels = levels;
  }
  return best;
}

Result<void> Shares::check_addition(std::string_view filter, const ShareId* replacing) const {
  if (auto ok = check_share_filter(filter); !ok) return ok;
  if (!replacing && shares_.size() >= limits::shares_per_handle_max)
    return fail(Errc::limit, fmt::format("a handle has at most {} shares: remove one first (diot share list)",
                                         limits::shares_per_handle_max));
  for (const auto& [id, share] : shares_) {
    if (replacing && id == *replacing) continue;
    if (literal_levels(share.policy.filter) != literal_levels(filter) || !overlaps(share.policy.filter, filter))
      continue;
    return fail(Errc::exists,
                fmt::format("'{}' and the share '{}' would claim the same topics with equal right: change or remove "
                            "that one, or choose a filter with more or fewer levels before its first wildcard",
                            filter, share.policy.filter));
  }
  return {};
}

void Shares::set(ShareRecord record) {
  if (record.removed)
    shares_.erase(record.id);
  else
    shares_.insert_or_assign(record.id, std::move(record));
}

const ShareRecord* Shares::by_filter(std::string_view filter) const {
  for (const auto& [id, share] : shares_)
    if (share.policy.filter == filter) return &share;
  return nullptr;
}

}  // namespace diot
