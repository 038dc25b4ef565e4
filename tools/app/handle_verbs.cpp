#include "tools/app/handle_verbs.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/msgpack.hpp"
#include "core/text.hpp"
#include "core/words.hpp"

namespace diot {

namespace {

constexpr std::string_view scheme = "diot-entry:";
constexpr std::uint32_t keys_max = 256;  // of one set of words; each takes some milliseconds to find

template <class Id>
Result<Id> id_from(const Json& args, const char* name) {
  const auto bytes = from_hex(args.at(name).get<std::string>());
  const auto id = bytes ? Id::from(*bytes) : std::nullopt;
  if (!id)
    return fail(Errc::invalid, fmt::format("--{} has {} hex digits: `diot handle keys` at the other home prints it",
                                           name, 2 * Id::size));
  return *id;
}

Result<NodeRoles> nodes_from(const Json& args) {
  NodeRoles out;
  for (const auto& text : args.at("node").get<std::vector<std::string>>()) {
    const auto node = node_id_from_display(text);
    if (!node) return tl::unexpected(node.error());
    out.emplace_back(*node, Role::admin);
  }
  return out;
}

Result<void> need_yes(const Json& args, std::string_view what) {
  if (args.contains("yes")) return {};
  return fail(Errc::not_permitted, fmt::format("{}: say --yes if that is what you want", what));
}

/// What the running node knows of a handle, and where its ledger is.
struct Known {
  NetworkId network;
  Checkpoint head;
  std::string handle;
  std::uint64_t version = 0;
  PublicKey owner;
  Hash next_key;
};

class Verbs {
 public:
  Verbs(const Json& args, const HandleTools& tools) : args_(args), tools_(tools) {}

  Result<Json> keys() const {
    const auto owner = tools_.home.owner_key();
    if (!owner) return tl::unexpected(owner.error());
    const auto next = tools_.home.next_key_hash();
    if (!next) return tl::unexpected(next.error());
    const auto node = tools_.home.node_key();
    if (!node) return tl::unexpected(node.error());
    return Json{
        {"owner", owner->public_key().hex()}, {"next-key-hash", next->hex()}, {"node", to_display(node->node_id())}};
  }

  Result<Json> rotate() const {
    const auto known = ask({});
    if (!known) return tl::unexpected(known.error());
    const auto words = read_words();
    if (!words) return tl::unexpected(words.error());
    // An earlier run may have ended between the ledger and the file.
    const auto home_key = tools_.home.owner_key();
    if (const auto index = find_key(*words, [&](const KeyPair& key) { return key.public_key() == known->owner; });
        index && (!home_key || home_key->public_key() != known->owner)) {
      if (auto kept = keep(*words, *index); !kept) return tl::unexpected(kept.error());
      return tools_.ask("handle show", Json::object());
    }
    const auto index = next_key_index(*words, *known);
    if (!index) return tl::unexpected(index.error());
    const auto next = owner_key(*words, *index);
    const RotateBody body{
        {known->handle, known->version + 1}, next.public_key(), sha256(owner_key(*words, *index + 1).public_key())};
    auto committed = submit(*known, body, {next});
    if (!committed) return committed;
    if (auto kept = keep(*words, *index); !kept)
      return fail(kept.error().code, fmt::format("the ledger has the new owner key, but this home has not ({}): run "
                                                 "`diot handle rotate` again",
                                                 kept.error().message));
    return tools_.ask("handle show", Json::object());
  }

  Result<Json> release() const {
    const auto known = ask({});
    if (!known) return tl::unexpected(known.error());
    if (auto yes = need_yes(args_, fmt::format("this gives @{} up for ever: after 30 days anybody may register it, and "
                                               "readers of its shares lose them at once",
                                               known->handle));
        !yes)
      return tl::unexpected(yes.error());
    const auto keys = both_keys(*known);
    if (!keys) return tl::unexpected(keys.error());
    return submit(*known, ReleaseBody{{known->handle, known->version + 1}}, *keys);
  }

  Result<Json> guardians() const {
    SetGuardiansBody body;
    body.guardians = args_.value("guardian", std::vector<std::string>{});
    const bool none = args_.contains("none");
    if (none != body.guardians.empty()) return fail(Errc::invalid, "name the guardians with --guardian, or say --none");
    if (!none && !args_.contains("threshold"))
      return fail(Errc::invalid, "say with --threshold how many of the guardians it takes");
    body.threshold = static_cast<std::uint32_t>(args_.value("threshold", std::uint64_t{0}));
    const auto known = ask({});
    if (!known) return tl::unexpected(known.error());
    const auto keys = both_keys(*known);
    if (!keys) return tl::unexpected(keys.error());
    body.handle = known->handle;
    body.version = known->version + 1;
    auto committed = submit(*known, body, *keys);
    return committed ? tools_.ask("handle show", Json::object()) : committed;
  }

  Result<Json> transfer() const {
    const auto known = ask({});
    if (!known) return tl::unexpected(known.error());
    if (auto yes = need_yes(args_, fmt::format("this makes somebody else the owner of @{}, for ever, once they have "
                                               "signed it too",
                                               known->handle));
        !yes)
      return tl::unexpected(yes.error());
    auto body = new_owner<TransferBody>(*known);
    if (!body) return tl::unexpected(body.error());
    const auto keys = both_keys(*known);
    if (!keys) return tl::unexpected(keys.error());
    return hand_out(*known, std::move(*body), *keys,
                    "the new owner signs it with `diot handle sign`, and you hand it in with `diot handle submit`");
  }

  Result<Json> recover() const {
    const auto known = ask(args_.at("handle").get<std::string>());
    if (!known) return tl::unexpected(known.error());
    auto body = new_owner<RecoverBody>(*known);
    if (!body) return tl::unexpected(body.error());
    const auto owner = tools_.home.owner_key();
    if (!owner) return tl::unexpected(owner.error());
    return hand_out(*known, std::move(*body), {*owner},
                    "the other guardians and the new owner sign it with `diot handle sign`; then hand it in with "
                    "`diot handle submit`");
  }

  Result<Json> sign() const {
    auto text = decode_entry_text(args_.at("entry").get<std::string>());
    if (!text) return tl::unexpected(text.error());
    const auto entry = decode_entry(text->entry);
    if (!entry) return tl::unexpected(entry.error());
    const auto view = describe_entry(text->entry);
    if (auto yes = need_yes(args_, fmt::format("this signs: {} of @{}, version {}, {}", view->kind, view->handle,
                                               view->version, view->detail));
        !yes)
      return tl::unexpected(yes.error());
    const auto owner = tools_.home.owner_key();
    if (!owner) return tl::unexpected(owner.error());
    const auto node = tools_.home.node_key();
    if (!node) return tl::unexpected(node.error());
    std::vector<KeyPair> signers{*owner};
    std::visit(
        [&](const auto& body) {
          if constexpr (requires { body.nodes; })
            for (const auto& [id, role] : body.nodes)
              if (id == node->node_id()) signers.push_back(*node);
        },
        entry->body);
    bool added = false;
    for (const auto& signer : signers) {
      auto more = add_signature(text->entry, text->network, signer);
      if (!more && more.error().code == Errc::exists) continue;
      if (!more) return tl::unexpected(more.error());
      text->entry = std::move(*more);
      added = true;
    }
    if (!added) return fail(Errc::exists, "this home has signed the entry already");
    return Json{{"entry", encode_entry_text(*text)},
                {"kind", view->kind},
                {"handle", view->handle},
                {"signatures", decode_entry(text->entry)->signatures.size()}};
  }

 private:
  Result<Known> ask(const std::optional<std::string>& handle) const {
    const auto status = tools_.ask("status", Json::object());
    if (!status) return tl::unexpected(status.error());
    const auto record = tools_.ask("handle show", handle ? Json{{"handle", *handle}} : Json::object());
    if (!record) return tl::unexpected(record.error());
    const auto bytes = [](const Json& from, const char* name) {
      return from_hex(from.value(name, std::string())).value_or(Bytes{});
    };
    const auto network = NetworkId::from(bytes(*status, "network"));
    const auto head = Hash::from(bytes(*status, "head"));
    const auto owner = PublicKey::from(bytes(*record, "owner"));
    const auto next_key = Hash::from(bytes(*record, "next_key"));
    if (!network || !head || !owner || !next_key)
      return fail(Errc::not_available, "the running node is of another version than this program: restart it");
    return Known{*network,
                 {status->value("height", std::uint64_t{0}), *head},
                 record->value("handle", std::string()),
                 record->value("version", std::uint64_t{0}),
                 *owner,
                 *next_key};
  }

  Result<std::string> read_words() const {
    const auto typed = tools_.read_words();
    if (!typed) return typed;
    return check_words(*typed);
  }

  static std::optional<std::uint32_t> find_key(const std::string& words, const auto& fits) {
    for (std::uint32_t index = 0; index < keys_max; ++index)
      if (fits(owner_key(words, index))) return index;
    return std::nullopt;
  }
  static Result<std::uint32_t> next_key_index(const std::string& words, const Known& known) {
    const auto index = find_key(words, [&](const KeyPair& key) { return sha256(key.public_key()) == known.next_key; });
    if (index) return *index;
    return fail(Errc::not_permitted, fmt::format("these are not the words of @{}", known.handle));
  }

  /// The owner key of this home, and the next one by the words.
  Result<std::vector<KeyPair>> both_keys(const Known& known) const {
    const auto owner = tools_.home.owner_key();
    if (!owner) return tl::unexpected(owner.error());
    if (owner->public_key() != known.owner)
      return fail(Errc::not_permitted, fmt::format("the owner key of this home is not that of @{} in the ledger: `diot "
                                                   "handle rotate` puts it right if you have the words",
                                                   known.handle));
    const auto words = read_words();
    if (!words) return tl::unexpected(words.error());
    const auto index = next_key_index(*words, known);
    if (!index) return tl::unexpected(index.error());
    return std::vector<KeyPair>{*owner, owner_key(*words, *index)};
  }

  Result<void> keep(const std::string& words, std::uint32_t index) const {
    if (auto written = tools_.home.write_key("owner", owner_key(words, index)); !written) return written;
    return tools_.home.write_next_key_hash(sha256(owner_key(words, index + 1).public_key()));
  }

  template <class Body>
  Result<Body> new_owner(const Known& known) const {
    Body body{{known.handle, known.version + 1}, {}, {}, {}};
    const auto owner = id_from<PublicKey>(args_, "owner");
    if (!owner) return tl::unexpected(owner.error());
    const auto next = id_from<Hash>(args_, "next-key-hash");
    if (!next) return tl::unexpected(next.error());
    auto nodes = nodes_from(args_);
    if (!nodes) return tl::unexpected(nodes.error());
    body.owner = *owner;
    body.next_key = *next;
    body.nodes = std::move(*nodes);
    return body;
  }

  static Json hand_out(const Known& known, EntryBody body, std::vector<KeyPair> signers, std::string_view next_step) {
    const auto kind = kind_of(body);
    return Json{{"entry", encode_entry_text({known.network, make_entry(std::move(body), known.network, known.head,
                                                                       std::move(signers))})},
                {"kind", kind},
                {"handle", known.handle},
                {"next", next_step}};
  }

  Result<Json> submit(const Known& known, EntryBody body, std::vector<KeyPair> signers) const {
    const auto entry = make_entry(std::move(body), known.network, known.head, std::move(signers));
    return tools_.ask("handle submit", Json{{"entry", encode_entry_text({known.network, entry})}});
  }

  const Json& args_;
  const HandleTools& tools_;
};

}  // namespace

std::string encode_entry_text(const EntryText& text) {
  Bytes bytes;
  PackWriter out(bytes);
  out.array(3);
  out.uint(1);
  out.bin(text.network);
  out.bin(text.entry);
  return encode_line(scheme, bytes);
}

Result<EntryText> decode_entry_text(std::string_view text) {
  const auto malformed = fail(Errc::invalid,
                              "that is no entry, or it was cut off: copy the whole line that begins "
                              "with 'diot-entry:'");
  const auto bytes = decode_line(scheme, text);
  if (!bytes) return malformed;
  PackReader in(*bytes, 8);
  EntryText out;
  in.array_of(3);
  const auto version = in.uint();
  out.network = in.id<NetworkId>();
  out.entry = to_bytes(in.bin(limits::entry_bytes_max));
  if (!in.done()) return malformed;
  if (version != 1) return fail(Errc::not_available, "the entry needs a newer diot");
  return out;
}

Result<EntryText> entry_text_for(const NetworkId& network, const Json& args) {
  auto text = decode_entry_text(args.at("entry").get<std::string>());
  if (text && text->network != network) return fail(Errc::invalid, "the entry is for the ledger of another network");
  return text;
}

Result<void> judge_fragile(WitnessSet& set, const Json& args) {
  set.fragile = !set.is_solid();
  if (!set.fragile || set.members.size() == 1 || args.contains("accept-fragile")) return {};
  return fail(Errc::not_permitted,
              fmt::format("{} witnesses are worse than one: if any of them fails nothing is registered any more; "
                          "have {} or more, or say --accept-fragile",
                          set.members.size(), limits::solid_witnesses_min));
}

Result<Json> handle_verb(std::string_view verb, const Json& args, const HandleTools& tools) {
  const Verbs verbs(args, tools);
  if (verb == "handle keys") return verbs.keys();
  if (verb == "handle rotate") return verbs.rotate();
  if (verb == "handle release") return verbs.release();
  if (verb == "handle guardians") return verbs.guardians();
  if (verb == "handle transfer") return verbs.transfer();
  if (verb == "handle recover") return verbs.recover();
  if (verb == "handle sign") return verbs.sign();
  return fail(Errc::not_available, fmt::format("`diot {}` is not available yet", verb));
}

}  // namespace diot
