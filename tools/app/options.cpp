#include "tools/app/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <map>

#include "core/ledger/limits.hpp"
#include "tools/app/suggest.hpp"

namespace diot {
namespace {

using enum OptionKind;
using enum VerbPlace;

const std::vector<std::string_view> presets{"public", "trusted", "protected", "secure", "local"};

const OptionSpec handle_option{"handle", text, "NAME", "the name this home gets in the network", true};
const OptionSpec mqtt_option{"mqtt", list, "ADDRESS", "where MQTT clients connect (127.0.0.1:1883)"};
const OptionSpec api_option{"api", list, "ADDRESS", "where the HTTP API listens (127.0.0.1:8480)"};
const OptionSpec overlay_option{"overlay", list, "ADDRESS", "where other nodes connect (0.0.0.0:42220)"};
const OptionSpec public_option{"address", list, "ADDRESS", "what other nodes are told to dial, if not --overlay"};
const OptionSpec yes_option{"yes", flag, "", "also if more people see or may do more than before"};
const OptionSpec sure_option{"yes", flag, "", "do it, though it cannot be taken back"};
const OptionSpec owner_option{"owner", text, "HEX", "the new owner key, see `diot handle keys` there", true};
const OptionSpec next_key_option{"next-key-hash", text, "HEX", "the hash of the key after it, likewise", true};
const OptionSpec nodes_option{"node", list, "NODE", "a node id that speaks for it then, likewise", true};
const OptionSpec entry_option{"entry", positional, "ENTRY", "diot-entry:…", true};
const OptionSpec genesis_option{"genesis", positional, "GENESIS", "diot-genesis:…", true};
const OptionSpec filter_option{"filter", positional, "FILTER", "a topic filter of this home, e.g. 'sensors/#'", true};
const OptionSpec user_option{"name", positional, "NAME", "the user's name", true};
const OptionSpec generate_option{"generate", flag, "", "make a password and print it"};
constexpr std::uint64_t height_max = 1'000'000'000'000;
const OptionSpec kind_option{"kind", text, "KIND", "only entries of this kind, e.g. register"};
const OptionSpec from_option{"from", number, "HEIGHT", "from this block on", false, 1, height_max};
const OptionSpec to_option{"to", number, "HEIGHT", "up to this block", false, 1, height_max};
const OptionSpec since_option{"since", text, "TIME", "since 2026-11-22, 2026-11-22T08:30 (UTC), or 15m, 24h, 7d ago"};
const OptionSpec until_option{"until", text, "TIME", "until then"};
OptionSpec timeout_option(std::string_view help) { return {"timeout", number, "SECONDS", help, false, 0, 86'400}; }
OptionSpec preset_option(bool required) {
  return {"preset", text, "PRESET", "who may read and write", required, 0, 0, presets};
}
OptionSpec a_handle(bool required, std::string_view help = "a handle") {
  return {"handle", positional, "HANDLE", help, required};
}

const std::vector<Verb> verbs{
    {"init",
     local,
     false,
     "found a network with this home as its first; prints the 24 words on standard error",
     {handle_option, mqtt_option, api_option, overlay_option, public_option}},
    {"join",
     local,
     false,
     "join a network with an invite; prints the 24 words on standard error. A home that is in a network moves to the "
     "other",
     {{"invite", positional, "INVITE", "diot:…, or - to read it from standard input", true},
      handle_option,
      mqtt_option,
      api_option,
      overlay_option,
      public_option,
      timeout_option("give up after this long (30)"),
      {"yes", flag, "", "at a home that is in a network: leave that one"}}},
    {"genesis offer",
     local,
     false,
     "to found a network with others: make this home's keys and print what it brings in; prints the 24 words",
     {handle_option, mqtt_option, api_option, overlay_option, public_option}},
    {"genesis draft",
     local,
     false,
     "make a genesis of everybody's offers; one line on standard output, which goes from founder to founder",
     {{"offers", positional, "OFFERS", "the others' diot-founder:… lines, separated by commas", true},
      {"admission",
       text,
       "HOW",
       "who gets in: those with an invite, or everybody who works for it (invite)",
       false,
       0,
       0,
       {"invite", "open"}},
      {"lease-days", number, "DAYS", "handles end unless renewed; 0: they never do (0)", false, 0,
       limits::lease_days_max},
      {"accept-fragile", flag, "", "2 or 3 founders, of whom none may fail"},
      {"for-tests", flag, "", "a network to try things out: joining one that is open takes no work worth the name"}}},
    {"genesis sign",
     local,
     false,
     "sign the genesis; once all have, vote for its first block",
     {genesis_option, sure_option}},
    {"genesis start", local, false, "begin with the complete genesis", {genesis_option}},
    {"run",
     local,
     false,
     "run the node in the foreground until it is told to stop",
     {{"check", flag, "", "only check the configuration"},
      mqtt_option,
      api_option,
      overlay_option,
      public_option,
      {"archive", flag, "", "keep every block of the ledger since its genesis"}}},
    {"wait",
     local,
     true,
     "wait until the node is there and a condition holds",
     {{"ready", flag, "", "its listeners are open and its handle is active"},
      {"topic", text, "FILTER", "a client here subscribed to it and every owner node knows"},
      timeout_option("give up after this long, with exit code 5 (30)")}},
    {"status", node, true, "what the node is doing"},
    {"peers", node, true, "the nodes it is connected to, or wants to be"},
    {"invite",
     node,
     false,
     "make an invite for a new home: one line on standard output",
     {{"uses", number, "N", "how many homes may join with it (1)", false, 1, 1000},
      {"expiry-days", number, "DAYS", "how long it is good (7)", false, 1, 30},
      {"open", flag, "", "for everybody: who joins with it works for it, in a network of open admission"}}},
    {"handle register", node, false, "register a handle for this home", {a_handle(true, "the handle to register")}},
    {"handle show", node, true, "what the ledger says about a handle", {a_handle(false, "the own one if left out")}},
    {"handle renew", node, false, "renew the own handle's lease"},
    {"handle update",
     node,
     false,
     "say which nodes and persons the own handle has",
     {{"remove-node", list, "NODE", "a node id that speaks for it no more"},
      {"role", list, "NODE=ROLE", "what a node of it may do: admin (change shares, let homes in) or member (not that)"},
      {"person", list, "NAME=KEY", "a person of it, with a public key of their own in hex; a new key for one it has"},
      {"remove-person", list, "NAME", "a person that it has no more"},
      {"add-node", list, "NODE", "not available yet: a second gateway cannot enter a handle"}}},
    {"handle revoke-node",
     node,
     false,
     "lock out a node that is lost or stolen, for ever",
     {{"node", positional, "NODE", "its node id, see `diot handle show`", true}, sure_option}},
    {"handle cancel-recovery", node, false, "stop the guardians' recovery of the own handle"},
    {"handle submit", node, false, "hand in an entry that everybody has signed", {entry_option}},
    {"handle keys", local, true, "the public keys of this home that transfer and recover ask for"},
    {"handle rotate", local, false, "replace the owner key by the next one; the 24 words come from standard input"},
    {"handle release", local, false, "give the own handle up for ever; the words likewise", {sure_option}},
    {"handle guardians",
     local,
     false,
     "say which other handles can win this one back together; the words likewise",
     {{"guardian", list, "HANDLE", "one of them"},
      {"threshold", number, "K", "how many it takes", false, 1, 16},
      {"none", flag, "", "have no guardians any more"}}},
    {"handle transfer",
     local,
     false,
     "give the own handle to another owner; the words likewise",
     {owner_option, next_key_option, nodes_option, sure_option}},
    {"handle recover",
     local,
     false,
     "as a guardian: give a handle to another key",
     {a_handle(true, "the handle to recover"), owner_option, next_key_option, nodes_option}},
    {"handle sign",
     local,
     false,
     "sign an entry that somebody made with transfer or recover",
     {entry_option, sure_option}},
    {"share add", node, false, "let topics of this home be seen by others", {filter_option, preset_option(false)}},
    {"share change", node, false, "give a share another preset", {filter_option, preset_option(true), yes_option}},
    {"share remove", node, false, "end a share", {filter_option, yes_option}},
    {"share list", node, true, "the shares of a handle", {a_handle(false, "the own one if left out")}},
    {"share test",
     node,
     true,
     "say which share a topic belongs to, and who may do what",
     {{"topic", positional, "TOPIC", "a topic of this home", true}, {"as", text, "HANDLE", "seen by this handle"}}},
    {"ledger list",
     either,
     true,
     "all handles of the network",
     {{"prefix", text, "TEXT", "those that begin so"},
      {"after", text, "HANDLE", "those behind this one"},
      {"limit", number, "N", "how many at most (1000)", false, 1, 10'000}}},
    {"ledger show", either, true, "what the ledger says about a handle", {a_handle(true)}},
    {"ledger history",
     either,
     true,
     "every entry about a handle",
     {a_handle(true), kind_option, from_option, to_option, since_option, until_option}},
    {"ledger tail",
     either,
     true,
     "the newest blocks",
     {{"count", number, "N", "how many (10)", false, 1, 1000},
      {"handle", text, "HANDLE", "those with entries about it"},
      kind_option,
      from_option,
      to_option,
      since_option,
      until_option}},
    {"ledger verify",
     either,
     true,
     "recompute the ledger from its genesis, or from the snapshot that it began with here",
     {{"full", flag, "", "fetch what came before that from others, and begin with the genesis"}}},
    {"ledger stats", either, true, "sizes and rates"},
    {"ledger storage", either, true, "which part of the history is here, and at the linked nodes"},
    {"ledger prove",
     either,
     true,
     "a proof about a handle, an entry or the log, that needs no network to check; to standard output",
     {a_handle(false, "what the ledger says of it, or that it is not registered"),
      {"entry", text, "ENTRY", "that this entry is in the log: its hash, or its number in it"},
      {"consistency", number, "HEIGHT", "that the log only grew from this block to the newest", false, 1, height_max},
      {"pin", number, "HEIGHT", "for who trusts this block, not the genesis alone", false, 1, height_max}}},
    {"ledger check-proof",
     local,
     true,
     "check such a proof, with no node and no network",
     {{"file", positional, "FILE", "the proof", true},
      {"genesis", text, "HASH", "the network's id", true},
      {"pin", text, "HEIGHT:HASH", "a block that is trusted"},
      {"anchor", text, "ANCHOR", "diot-anchor:…, which must stand in the record"},
      {"tree", flag, "", "draw it"}}},
    {"ledger checkpoint", either, true, "the newest checkpoint as a signed note, at a witness"},
    {"ledger anchor",
     node,
     false,
     "print this network's newest block for another network, or write another one's into the own handle's record",
     {{"anchor", positional, "ANCHOR", "diot-anchor:…, as the other network's home prints it"}}},
    {"ledger export",
     local,
     true,
     "the ledger as JSON lines, or in the layout of public logs",
     {{"tiles", text, "FOLDER", "as c2sp.org/tlog-tiles, into this folder"},
      {"handle", text, "HANDLE", "only entries about it"},
      kind_option,
      from_option,
      to_option,
      since_option,
      until_option}},
    {"ledger diff",
     local,
     true,
     "compare with another node's export",
     {{"file", positional, "FILE", "from `diot ledger export`", true}}},
    {"user add",
     local,
     false,
     "add a local MQTT user; the password comes from standard input",
     {user_option, generate_option}},
    {"user passwd", local, false, "change a local MQTT user's password, likewise", {user_option, generate_option}},
    {"user remove", local, false, "remove a local MQTT user", {user_option}},
    {"user list", local, true, "the local MQTT users"},
    {"reload", node, false, "read users, rules and certificates again, as after SIGHUP"},
    {"import",
     local,
     false,
     "translate a configuration of mosquitto, and say what could not be translated",
     {{"file", positional, "FILE", "mosquitto.conf", true},
      {"apply", flag, "", "write it to diot.toml, instead of showing it"}}},
    {"version", local, true, "the program's version"},
    {"setup", later, false, "open this home to its network, with a user and password"},
    {"doctor", later, false, "look for what is wrong and say what to do"},
    {"mount add", later, false, "give remote topics a local name"},
    {"mount remove", later, false, "end a mount"},
    {"mount list", later, false, "the mounts of this node"},
    {"witness list", node, true, "who decides the ledger's blocks"},
    {"witness status", node, true, "whether they can decide now, and what this node does about it"},
    {"witness invite",
     node,
     false,
     "as a witness: propose other ones; one line on standard output, which goes from hand to hand",
     {{"handles", positional, "HANDLES", "homes that are to become witnesses, separated by commas"},
      {"remove", list, "HANDLE", "a home that is to be one no more, or the key that `diot witness list` shows"},
      {"accept-fragile", flag, "", "2 or 3, of whom none may fail"}}},
    {"witness accept", node, false, "sign what somebody proposed", {entry_option, sure_option}},
    {"witness change", node, false, "hand in what everybody has signed", {entry_option}},
    {"witness upgrade",
     node,
     false,
     "as a witness: plan new rules of the ledger, or take such a plan back by the rules in force",
     {{"rules", number, "VERSION", "their version", true, 1, 1'000'000},
      {"from-height", number, "HEIGHT", "the first block that goes by them", true, 1, height_max},
      {"yes", flag, "", "also if this program does not know them"}}},
    {"witness justify",
     node,
     true,
     "the prevotes by which this witness voted for another block in a later round; after a fork, for the others",
     {{"height", number, "HEIGHT", "of the block", true, 1, height_max}}},
    {"witness resume",
     node,
     false,
     "let a witness vote again that lost the memory of its votes",
     {{"from-height", number, "HEIGHT", "from this block on, for which it has never voted", true, 1, height_max},
      sure_option}},
    {"witness succeed",
     local,
     false,
     "as the founder: replace witnesses that are gone for good; the 24 words come from standard input",
     {{"handles", positional, "HANDLES", "homes that are to be the witnesses, separated by commas", true},
      {"accept-fragile", flag, "", "2 or 3, of whom none may fail"}}},
    {"ping", later, false, "measure the way to another node"},
    {"netcheck", later, false, "how this node can be reached"},
    {"top", later, false, "the busiest topics and clients"},
    {"network rekey", later, false, "give the network's DHT a new key"},
    {"network create", later, false, "found another network"},
    {"device add", later, false, "let a device in"},
    {"device pair", later, false, "pair a device by QR code or words"},
    {"device list", later, false, "the devices of this home"},
    {"device rename", later, false, "rename a device"},
    {"device revoke", later, false, "lock a device out"},
    {"approvals list", later, false, "what waits for approval"},
    {"approvals show", later, false, "one request for approval"},
    {"approvals accept", later, false, "approve a request"},
    {"approvals reject", later, false, "reject a request"},
    {"keys export", later, false, "export the keys"},
    {"keys import", later, false, "import keys"},
    {"keys seal", later, false, "seal the owner key with a passphrase"},
    {"keys rotate", later, false, "replace the owner key"},
    {"keys split", later, false, "split the words into shares"},
    {"keys combine", later, false, "put the shares together again"},
    {"pub", later, false, "publish a message"},
    {"sub", later, false, "print messages"},
    {"find", later, false, "search the public catalogues"},
    {"mute", later, false, "ignore a handle"},
    {"forget", later, false, "drop what is stored of a channel"},
    {"backup", later, false, "write a backup of this home"},
    {"restore", later, false, "restore a backup under a new node key"},
    {"bugreport", later, false, "collect what a bug report needs"},
};

const std::map<std::string_view, std::string_view> nouns{
    {"handle", "the name of a home in the ledger"},
    {"share", "what others may see of this home"},
    {"ledger", "who owns which handle"},
    {"mount", "local names for remote topics"},
    {"witness", "who decides about the ledger"},
    {"network", "the network as a whole"},
    {"genesis", "founding a network together with others"},
    {"user", "local MQTT users"},
    {"device", "devices of this home"},
    {"approvals", "commands that wait for a yes"},
    {"keys", "the keys of this home"},
};

/// As people type it.
std::string label(const OptionSpec& option) {
  return option.kind == positional ? std::string(option.value) : fmt::format("--{}", option.name);
}

Result<Json> check_text(const OptionSpec& option, const Json& value) {
  if (!value.is_string()) return fail(Errc::invalid, fmt::format("{} must be a string", label(option)));
  const auto& text_value = value.get_ref<const std::string&>();
  if (text_value.empty()) return fail(Errc::invalid, fmt::format("{} is empty", label(option)));
  if (!option.choices.empty() && std::ranges::find(option.choices, text_value) == option.choices.end())
    return fail(Errc::invalid, fmt::format("{} '{}' is not one of {}{}", label(option), text_value,
                                           fmt::join(option.choices, ", "), did_you_mean(text_value, option.choices)));
  return value;
}

Result<Json> check_number(const OptionSpec& option, const Json& value) {
  const auto wrong = [&] {
    return fail(Errc::invalid, fmt::format("{} must be a number from {} to {}", label(option), option.min, option.max));
  };
  std::uint64_t number_value = 0;
  if (value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0)) {
    number_value = value.get<std::uint64_t>();
  } else if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number_value);
    if (error != std::errc() || end != digits.data() + digits.size()) return wrong();
  } else {
    return wrong();
  }
  if (number_value < option.min || number_value > option.max) return wrong();
  return Json(number_value);
}

Result<Json> check_value(const OptionSpec& option, const Json& value) {
  switch (option.kind) {
    case text:
    case positional: return check_text(option, value);
    case number: return check_number(option, value);
    case flag:
      if (value.is_boolean()) return value;
      if (value.is_string() && value.get_ref<const std::string&>() == "true") return Json(true);
      if (value.is_string() && value.get_ref<const std::string&>() == "false") return Json(false);
      return fail(Errc::invalid, fmt::format("{} must be true or false", label(option)));
    case list: {
      Json out = Json::array();
      for (const auto& element : value.is_array() ? value : Json::array({value})) {
        auto checked = check_text(option, element);
        if (!checked) return checked;
        out.push_back(std::move(*checked));
      }
      return out;
    }
  }
  return fail(Errc::invalid, "unknown kind of option");
}

/// Puts what CLI11 read where check_args expects it.
struct Binding {
  const OptionSpec* spec;
  std::vector<std::string> values;
  CLI::Option* option;
};

void bind_options(CLI::App& app, const Verb& verb, std::vector<std::unique_ptr<Binding>>& bindings) {
  for (const auto& spec : verb.options) {
    auto& binding = bindings.emplace_back(std::make_unique<Binding>(Binding{&spec, {}, nullptr}));
    std::string help(spec.help);
    if (!spec.choices.empty()) help += fmt::format(": {}", fmt::join(spec.choices, ", "));
    const std::string name = label(spec);
    if (spec.kind == flag) {
      binding->option =
          app.add_flag(name, std::as_const(help));  // a mutable string would be taken for the flag's value
    } else {
      binding->option = app.add_option(name, binding->values, help)
                            ->type_name(spec.kind == positional ? "" : std::string(spec.value));
      if (spec.kind == list)
        binding->option->delimiter(',')->expected(1, 64)->allow_extra_args(false);
      else
        binding->option->expected(1);
      if (spec.required) binding->option->required();
    }
  }
}

/// Mistyped verbs and options, the most frequent mistakes, of which CLI11 would only say that it did not expect them.
/// Empty if there is none. `path` becomes the known part of what was typed.
std::string find_mistake(int argc, const char* const* argv, std::string& path) {
  if (argc < 2 || argv[1][0] == '-') return {};
  std::vector<std::string_view> names;
  for (const auto& verb : verbs) {
    names.push_back(verb.name);
    names.push_back(verb.name.substr(0, verb.name.find(' ')));
  }
  std::string typed = argv[1];
  if (std::ranges::find(names, typed) == names.end())
    return fmt::format("there is no '{}'{}", typed, did_you_mean(typed, names));
  path = typed + " ";
  int next = 2;
  if (find_verb(typed) == nullptr && argc > 2 && argv[2][0] != '-') {
    typed += fmt::format(" {}", argv[next++]);
    if (find_verb(typed) == nullptr) return fmt::format("there is no '{}'{}", typed, did_you_mean(typed, names));
    path = typed + " ";
  }
  const Verb* verb = find_verb(typed);
  if (verb == nullptr || verb->place == later) return {};
  std::vector<std::string_view> options{"json", "help"};
  for (const auto& option : verb->options)
    if (option.kind != positional) options.push_back(option.name);
  for (; next < argc && std::string_view(argv[next]) != "--"; ++next) {
    std::string_view name = argv[next];
    if (!name.starts_with("--")) continue;
    name = name.substr(2, name.find('=') - 2);
    if (std::ranges::find(options, name) == options.end())
      return fmt::format("'{}' has no option --{}{}", typed, name, did_you_mean(name, options));
  }
  return {};
}

}  // namespace

const OptionSpec* Verb::option(std::string_view option_name) const {
  const auto found = std::ranges::find(options, option_name, &OptionSpec::name);
  return found == options.end() ? nullptr : &*found;
}

std::span<const Verb> all_verbs() { return verbs; }

const Verb* find_verb(std::string_view name) {
  const auto found = std::ranges::find(verbs, name, &Verb::name);
  return found == verbs.end() ? nullptr : &*found;
}

Result<Json> check_args(const Verb& verb, const Json& args) {
  if (!args.is_object()) return fail(Errc::invalid, "the arguments must be a JSON object");
  Json out = Json::object();
  for (const auto& [name, value] : args.items()) {
    const auto* option = verb.option(name);
    if (option == nullptr) {
      std::vector<std::string_view> names;
      for (const auto& known : verb.options) names.push_back(known.name);
      return fail(Errc::invalid,
                  fmt::format("'{}' has no argument '{}'{}", verb.name, name, did_you_mean(name, names)));
    }
    auto checked = check_value(*option, value);
    if (!checked) return checked;
    if (option->kind == flag && !checked->get<bool>()) continue;
    out[name] = std::move(*checked);
  }
  for (const auto& option : verb.options)
    if (option.required && !out.contains(option.name))
      return fail(Errc::invalid, fmt::format("'{}' needs {}", verb.name, label(option)));
  return out;
}

std::variant<Invocation, Answer> parse_command_line(int argc, const char* const* argv) {
  const auto usage = [](std::string_view message, std::string_view command) {
    return Answer{fmt::format("diot: {}\nRun `diot {}--help`.\n", message, command), true};
  };
  std::string path;  // of the verb that the arguments got to, with a blank behind
  if (auto mistake = find_mistake(argc, argv, path); !mistake.empty()) return usage(mistake, path);
  // Only the verbs that are meant need a parser.
  const std::string_view first = argc > 1 && argv[1][0] != '-' ? argv[1] : "";
  CLI::App app("One MQTT broker made of everybody's home gateways.", "diot");
  app.require_subcommand(1);
  app.footer(
      "State is in $DIOT_HOME (~/.local/share/diot). Exit codes: 0 done, 1 failed, 2 usage, 3 node not running,\n"
      "4 not permitted, 5 timed out.");
  bool json = false;
  std::map<std::string, CLI::App*, std::less<>> parents;
  std::map<const Verb*, CLI::App*> commands;
  std::map<const Verb*, std::vector<std::unique_ptr<Binding>>> bindings;
  for (const auto& verb : verbs) {
    const auto blank = verb.name.find(' ');
    if (!first.empty() && verb.name.substr(0, blank) != first) continue;
    CLI::App* parent = &app;
    if (blank != verb.name.npos) {
      auto& noun = parents[std::string(verb.name.substr(0, blank))];
      if (noun == nullptr) {
        const auto found = nouns.find(verb.name.substr(0, blank));
        noun = app.add_subcommand(std::string(verb.name.substr(0, blank)),
                                  found == nouns.end() ? "" : std::string(found->second));
        noun->require_subcommand(1);
      }
      parent = noun;
    }
    std::string help(verb.help);
    if (verb.place == later) help += " (not available yet)";
    auto* command = commands[&verb] =
        parent->add_subcommand(std::string(blank == verb.name.npos ? verb.name : verb.name.substr(blank + 1)), help);
    bind_options(*command, verb, bindings[&verb]);
    command->add_flag("--json", json, "print the result as JSON");
    if (verb.place == later) command->allow_extras();
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* asked = &app;  // the innermost subcommand that was named
    std::string parent;
    while (!asked->get_subcommands().empty()) {
      parent += (parent.empty() ? "" : " ") + asked->get_name();
      asked = asked->get_subcommands().front();
    }
    return Answer{asked->help(parent), false};
  } catch (const CLI::ParseError& error) {
    return usage(error.what(), path);
  }
  for (const auto& verb : verbs) {
    if (const auto command = commands.find(&verb); command == commands.end() || !command->second->parsed()) continue;
    Invocation out{&verb, Json::object(), json};
    if (verb.place == later) return out;
    for (const auto& binding : bindings.at(&verb)) {
      if (binding->option->count() == 0) continue;
      const std::string name(binding->spec->name);
      if (binding->spec->kind == flag)
        out.args[name] = true;
      else if (binding->spec->kind == list)
        out.args[name] = binding->values;
      else
        out.args[name] = binding->values.front();
    }
    auto checked = check_args(verb, out.args);
    if (!checked) return usage(checked.error().message, path);
    out.args = std::move(*checked);
    return out;
  }
  return usage("say what to do", "");
}

}  // namespace diot
