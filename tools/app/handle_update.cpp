#include "tools/app/handle_update.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/crypto.hpp"
#include "core/ledger/limits.hpp"
#include "core/text.hpp"

namespace diot {

namespace {

using Names = std::vector<std::string>;

Result<std::pair<NodeId, Role>*> node_in(HandleRecord& record, std::string_view text) {
  const auto node = node_id_from_display(text);
  if (!node) return tl::unexpected(node.error());
  const auto at = std::ranges::find(record.nodes, *node, &std::pair<NodeId, Role>::first);
  if (at == record.nodes.end())
    return fail(Errc::not_found, fmt::format("{} does not speak for @{}", text, record.handle));
  return &*at;
}

Result<void> set_role(HandleRecord& record, const std::string& text) {
  std::string_view role = text;
  const auto node = take_until(role, '=');
  if (role != "admin" && role != "member")
    return fail(Errc::invalid,
                fmt::format("--role {}: say NODE=admin or NODE=member, with a node of `diot handle show`", text));
  return node_in(record, node).map([&](auto* found) { found->second = role == "admin" ? Role::admin : Role::member; });
}

Result<void> set_person(HandleRecord& record, const std::string& text) {
  std::string_view hex = text;
  const std::string name(take_until(hex, '='));
  if (auto valid = check_person(name); !valid)
    return fail(Errc::invalid, fmt::format("--person {}: {}", text, valid.error().message));
  const auto bytes = from_hex(hex);
  const auto key = bytes ? PublicKey::from(*bytes) : std::nullopt;
  if (!key || key->is_zero())
    return fail(Errc::invalid, fmt::format("--person {}: say NAME=KEY, where KEY is an Ed25519 public key of that "
                                           "person's own, {} hex digits",
                                           text, 2 * PublicKey::size));
  auto at = std::ranges::lower_bound(record.persons, name, {}, &Persons::value_type::first);
  if (at != record.persons.end() && at->first == name)
    at->second = *key;
  else
    record.persons.emplace(at, name, *key);
  return {};
}

}  // namespace

Result<HandleRecord> update_record(const HandleRecord& record, const Json& args) {
  HandleRecord out = record;
  for (const auto& text : args.value("remove-node", Names())) {
    const auto found = node_in(out, text);
    if (!found) return tl::unexpected(found.error());
    out.nodes.erase(out.nodes.begin() + (*found - out.nodes.data()));
  }
  for (const auto& name : args.value("remove-person", Names()))
    if (std::erase_if(out.persons, [&](const auto& person) { return person.first == name; }) == 0)
      return fail(Errc::not_found, fmt::format("@{} has no person '{}'; see `diot handle show`", record.handle, name));
  for (const auto& text : args.value("role", Names()))
    if (auto set = set_role(out, text); !set) return tl::unexpected(set.error());
  for (const auto& text : args.value("person", Names()))
    if (auto set = set_person(out, text); !set) return tl::unexpected(set.error());
  if (out.persons.size() > limits::persons_per_handle_max)
    return fail(Errc::limit, fmt::format("a handle has {} persons at most", limits::persons_per_handle_max));
  if (std::ranges::find(out.nodes, Role::admin, &std::pair<NodeId, Role>::second) == out.nodes.end())
    return fail(Errc::invalid,
                fmt::format("@{} needs a node with the role admin: nobody could change its shares or let "
                            "homes in",
                            record.handle));
  if (out == record)
    return fail(Errc::invalid,
                fmt::format("that is what @{} is already: say what to change with --remove-node, --role, "
                            "--person or --remove-person",
                            record.handle));
  return out;
}

}  // namespace diot
