#include "tools/app/succession_verb.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/ledger/entry.hpp"
#include "core/ledger/limits.hpp"
#include "core/text.hpp"
#include "core/words.hpp"

namespace diot {

namespace {

template <class Id>
std::optional<Id> id_of(const Json& from, const char* name) {
  const auto bytes = from_hex(from.value(name, std::string()));
  return bytes ? Id::from(*bytes) : std::nullopt;
}

/// A home's witness key is its node key.
Result<Witness> witness_at(const HandleTools& tools, std::string_view handle) {
  const auto record = tools.ask("handle show", Json{{"handle", handle}});
  if (!record) return tl::unexpected(record.error());
  for (const auto& row : (*record)["nodes"]) {
    if (row["role"] != "admin") continue;
    const auto node = node_id_from_display(row["node"].get<std::string>());
    if (!node) return tl::unexpected(node.error());
    return Witness{key_of(*node), *node};
  }
  return fail(Errc::not_found, fmt::format("@{} has no node", handle));
}

}  // namespace

Result<Json> witness_succeed(const Json& args, const HandleTools& tools) {
  const auto status = tools.ask("status", Json::object());
  if (!status) return tl::unexpected(status.error());
  const auto list = tools.ask("witness list", Json::object());
  if (!list) return tl::unexpected(list.error());
  const auto network = id_of<NetworkId>(*status, "network");
  const auto head = id_of<Hash>(*status, "head");
  const auto succession = id_of<Hash>(*list, "succession");
  if (!network || !head || !succession)
    return fail(Errc::not_available, "the running node is of another version than this program: restart it");

  WitnessSet set;
  const auto handles = args.at("handles").get<std::string>();
  for (std::string_view rest = handles; !rest.empty();) {
    const auto name = take_until(rest, ',');
    if (name.empty()) continue;
    auto witness = witness_at(tools, name);
    if (!witness) return tl::unexpected(witness.error());
    if (set.has(witness->key)) return fail(Errc::invalid, fmt::format("@{} is named twice", name));
    set.members.push_back(*witness);
  }
  if (set.members.empty()) return fail(Errc::invalid, "name the homes that are to be the witnesses from then on");
  if (auto solid = judge_fragile(set, args); !solid) return tl::unexpected(solid.error());

  const auto typed = tools.read_words();
  if (!typed) return tl::unexpected(typed.error());
  const auto words = check_words(*typed);
  if (!words) return tl::unexpected(words.error());
  const KeyPair key = succession_key(*words);
  if (sha256(key.public_key()) != *succession)
    return fail(Errc::not_permitted,
                "these are not the words of the network's founder: they alone give the succession key");

  const auto silence = static_cast<WallMs>(std::chrono::milliseconds(limits::succession_silence).count());
  const auto last = status->value("head_time_ms", WallMs{0});
  const auto height = status->value("height", std::uint64_t{0});
  const auto members = set.members.size();
  const auto entry = make_entry(SuccessionBody{list->value("epoch", std::uint64_t{0}) + 1, std::move(set)}, *network,
                                {height, *head}, {key});
  return Json{
      {"entry", encode_entry_text({*network, entry})},
      {"witnesses", members},
      {"last_block", height},
      {"last_block_ms", last},
      {"possible_from_ms", last + silence},
      {"next",
       "every new witness runs `diot witness accept ENTRY --yes`, each on what the one before got; then one of "
       "them runs `diot witness change ENTRY`. They take over 72 hours after the last block; any block that the "
       "old witnesses make before makes all of this void"}};
}

}  // namespace diot
