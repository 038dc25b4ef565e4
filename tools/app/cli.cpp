#include "tools/app/cli.hpp"

#include <fmt/format.h>

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "core/address.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/storage.hpp"
#include "core/topic.hpp"
#include "tools/app/control.hpp"
#include "tools/app/founding.hpp"
#include "tools/app/handle_verbs.hpp"
#include "tools/app/home.hpp"
#include "tools/app/import_mosquitto.hpp"
#include "tools/app/ledger_answers.hpp"
#include "tools/app/ledger_files.hpp"
#include "tools/app/ledger_prove.hpp"
#include "tools/app/local_users.hpp"
#include "tools/app/move.hpp"
#include "tools/app/options.hpp"
#include "tools/app/printer.hpp"
#include "tools/app/succession_verb.hpp"

namespace diot {
namespace {

constexpr auto fetch_poll = std::chrono::milliseconds(500);
constexpr auto fetch_patience = std::chrono::seconds(60);  // with `ledger verify --full`, since a block came
constexpr int answer_timeout_ms = 60'000;                  // registering waits for a block
constexpr auto wait_poll = std::chrono::milliseconds(50);
constexpr std::uint64_t timeout_s_default = 30;
constexpr std::size_t invite_bytes_max = 16 << 10;
constexpr std::size_t config_file_bytes_max = 1 << 20;

void to_stderr(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }

void show_words(const std::string& handle, const std::string& words) {
  std::string out = fmt::format(
      "\nThe 24 words of @{}. They are shown this once and stored nowhere: write them on paper. With them the handle "
      "can\n"
      "be moved and won back when this machine is lost or stolen; without them it cannot.\n\n",
      handle);
  std::istringstream stream(words);
  std::string word;
  for (int number = 1; stream >> word; ++number)
    out += number % 6 == 0 ? fmt::format("  {:2} {}\n", number, word) : fmt::format("  {:2} {:<10}", number, word);
  to_stderr(out + "\n");
}

/// The settings that `init`, `join` and `run` take from the command line.
Result<void> apply_options(const Json& args, Config& config) {
  const auto list = [&](const char* name, std::vector<std::string>& member) {
    if (const auto found = args.find(name); found != args.end()) member = found->get<std::vector<std::string>>();
  };
  if (const auto handle = args.find("handle"); handle != args.end()) config.handle = handle->get<std::string>();
  list("mqtt", config.mqtt_listen);
  list("api", config.api_listen);
  list("overlay", config.overlay_listen);
  list("address", config.overlay_addresses);
  if (args.contains("archive")) config.ledger_archive = true;
  // The same checks as for the file.
  const auto checked = parse_config(to_toml(config), "");
  if (checked) return {};
  const auto& text = checked.error().message;  // ":LINE:COLUMN: what" for the first error is enough
  const auto start = text.find(": ");
  return fail(Errc::invalid, text.substr(start == text.npos ? 0 : start + 2, text.find('\n') - start - 2));
}

/// A line of standard input; at a terminal asked for, and not shown.
std::string read_secret(const char* prompt) {
  std::string line;
  if (!isatty(STDIN_FILENO)) return std::getline(std::cin, line), line;
  termios shown{};
  tcgetattr(STDIN_FILENO, &shown);
  termios hidden = shown;
  hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  to_stderr(prompt);
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
  std::getline(std::cin, line);
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
  to_stderr("\n");
  return line;
}

/// Says how long the work for a registration may still take, now and then.
class WorkShown {
 public:
  void operator()(std::uint64_t done, std::uint64_t expected) {
    const auto now = std::chrono::steady_clock::now();
    if (done == 0) {
      begun_ = now;
      next_ = now + std::chrono::seconds(2);
    }
    if (now < next_) return;
    next_ = now + std::chrono::minutes(1);
    const auto seconds = std::chrono::duration<double>(now - begun_).count();
    to_stderr(fmt::format(
        "working for the registration, which takes one processor about {:.0f} minutes (1 in 20 takes three times as "
        "long); {:.0f} s so far\n",
        std::max(1.0, seconds / static_cast<double>(done) * static_cast<double>(expected) / 60), seconds));
  }

 private:
  std::chrono::steady_clock::time_point begun_, next_;
};

/// At a terminal asked for twice.
Result<std::string> read_password() {
  std::string password = read_secret("Password: ");
  if (password.ends_with('\r')) password.pop_back();
  if (password.empty())
    return fail(Errc::invalid, "no password came on standard input: type one, pipe one in, or say --generate");
  if (isatty(STDIN_FILENO) && read_secret("Again: ") != password)
    return fail(Errc::invalid, "the two are not the same");
  return password;
}

class CommandLine {
 public:
  CommandLine(const Invocation& invocation, const Program& program)
      : verb_(*invocation.verb),
        args_(invocation.args),
        json_(invocation.json),
        program_(program),
        path_(Home::default_path()) {}

  /// nullopt: done, with nothing to print.
  Result<std::optional<Json>> run() {
    switch (verb_.place) {
      case VerbPlace::later:
        return fail(Errc::not_available, fmt::format("`diot {}` is not available yet", verb_.name));
      case VerbPlace::node: return ask();
      case VerbPlace::either:
        if (verb_.name == "ledger prove") return prove();
        return optional(verb_.name == "ledger verify" ? verify() : ask_or_read(std::string(verb_.name), args_));
      case VerbPlace::local: break;
    }
    if (verb_.name == "version") return Json{{"version", DIOT_VERSION}};
    if (verb_.name == "init") return init();
    if (verb_.name == "join") return join();
    if (verb_.name.starts_with("genesis ")) return found_together();
    if (verb_.name == "run") return run_node();
    if (verb_.name == "wait") return wait();
    if (verb_.name.starts_with("user ")) return change_users();
    if (verb_.name == "import") return import();
    if (verb_.name == "ledger export") return export_ledger();
    if (verb_.name == "ledger diff") return optional(diff_ledger(asking(), args_));
    if (verb_.name == "ledger check-proof") return optional(check_proof_file(args_));
    if (verb_.name.starts_with("handle ") || verb_.name == "witness succeed") return change_handle();
    return fail(Errc::not_available, fmt::format("`diot {}` is not available yet", verb_.name));
  }

 private:
  Result<std::optional<Json>> ask() {
    auto answer = ask_node(socket_path(), verb_.name, args_, answer_timeout_ms);
    if (!answer && answer.error().code == Errc::not_running)
      if (const auto home = Home::open(path_); !home && home.error().code == Errc::not_found)
        return fail(Errc::not_running, home.error().message);
    return optional(std::move(answer));
  }

  /// Asks the running node, or answers from the home's files if none runs.
  Result<Json> ask_or_read(const std::string& verb, const Json& args) {
    if (!offline_) {
      auto answer = ask_node(socket_path(), verb, args, answer_timeout_ms);
      if (answer || answer.error().code != Errc::not_running) return answer;
      auto opened = Offline::open(path_);
      if (!opened) return tl::unexpected(opened.error());
      offline_.emplace(std::move(*opened));
    }
    const auto* own = offline_->ledger.handle_of(offline_->node);
    return ledger_answer(verb, args,
                         {offline_->ledger, offline_->genesis, offline_->store->store(), own ? own->handle : "",
                          offline_->witness ? &*offline_->witness : nullptr, SystemClock().wall_ms()});
  }
  AskLedger asking() {
    return [this](const std::string& verb, const Json& args) { return ask_or_read(verb, args); };
  }

  Result<std::optional<Json>> export_ledger() {
    if (args_.contains("tiles")) return optional(export_tiles(asking(), args_));
    const auto written =
        export_lines(asking(), args_, [](std::string_view line) { std::fwrite(line.data(), 1, line.size(), stdout); });
    if (!written) return tl::unexpected(written.error());
    return std::nullopt;
  }

  /// With --full it asks again as long as older blocks come in.
  Result<Json> verify() {
    using Clock = std::chrono::steady_clock;
    std::uint64_t left = 0;
    for (auto moved = Clock::now();; std::this_thread::sleep_for(fetch_poll)) {
      auto answer = ask_or_read("ledger verify", args_);
      if (!answer || !answer->contains("fetching")) return answer;
      const auto now_left = (*answer)["fetching"]["blocks"].get<std::uint64_t>();
      const auto why = (*answer)["fetching"]["trouble"].get<std::string>();
      if (now_left != left) {
        moved = Clock::now();
        to_stderr(fmt::format("fetching the older blocks, {} are missing\n", now_left));
      }
      left = now_left;
      if (Clock::now() > moved + fetch_patience)
        return fail(Errc::timed_out,
                    fmt::format("{} older blocks are still missing ({}); the node goes on trying: see `diot ledger "
                                "storage`",
                                left, why.empty() ? "no answer" : why));
    }
  }

  Result<std::optional<Json>> prove() {
    if (!json_ && ::isatty(::fileno(stdout)))
      return fail(Errc::invalid, "a proof is bytes, not text: write `diot ledger prove … > FILE`");
    return optional(ask_or_read("ledger prove", args_));
  }

  Result<std::optional<Json>> init() {
    Config config;
    if (auto applied = apply_options(args_, config); !applied) return tl::unexpected(applied.error());
    SystemRandom random;
    auto made =
        init_home(path_, config, random, SystemClock(), [&](const auto& words) { show_words(config.handle, words); });
    if (made) to_stderr("A network with you as its registrar is founded. Start your node: diot run\n");
    return optional(std::move(made));
  }

  Result<std::optional<Json>> found_together() {
    SystemRandom random;
    if (verb_.name == "genesis draft") return optional(genesis_draft(path_, args_, random, SystemClock()));
    if (verb_.name == "genesis sign") return optional(genesis_sign(path_, args_));
    if (verb_.name == "genesis start") return optional(genesis_start(path_, args_, random));
    Config config;
    if (auto applied = apply_options(args_, config); !applied) return tl::unexpected(applied.error());
    return optional(genesis_offer(path_, config, random, [&](const auto& words) { show_words(config.handle, words); }));
  }

  Result<std::optional<Json>> join() {
    std::string text = args_["invite"].get<std::string>();
    if (text == "-") {
      text.assign(invite_bytes_max, '\0');
      std::cin.getline(text.data(), static_cast<std::streamsize>(text.size()));
      text.resize(std::char_traits<char>::length(text.data()));
    }
    while (!text.empty() && (text.back() == '\r' || text.back() == ' ')) text.pop_back();
    const auto invite = decode_invite(text);
    if (!invite) return tl::unexpected(invite.error());
    if (const auto home = Home::open(path_)) return move(*home, *invite);
    Config config;
    if (auto applied = apply_options(args_, config); !applied) return tl::unexpected(applied.error());
    SystemRandom random;
    auto joined = join_home(
        path_, config, *invite, std::chrono::seconds(timeout_s()), random,
        [&](const auto& words) { show_words(config.handle, words); }, WorkShown(), program_.join_network);
    if (joined && registered_or_told(*joined, config.handle))
      to_stderr(fmt::format("@{} is registered. Start your node: diot run\n", config.handle));
    return optional(std::move(joined));
  }

  /// If it is not registered, says what is waited for.
  static bool registered_or_told(const Json& joined, const std::string& handle) {
    if (!joined.contains("provisional")) return true;
    to_stderr(fmt::format(
        "The ledger is out of reach: {}. This home is @{} until it is registered as @{}, which `diot run` sees to by "
        "itself as soon as it can. Start your node: diot run\n",
        joined["waiting_for"].get<std::string>(), joined["provisional"].get<std::string>(), handle));
    return false;
  }

  /// What is set in its diot.toml stays, but for what the command says.
  Result<std::optional<Json>> move(const Home& home, const Invite& invite) {
    auto config = load_config(home.config_path());
    if (!config) return tl::unexpected(config.error());
    if (auto applied = apply_options(args_, *config); !applied) return tl::unexpected(applied.error());
    auto moved = move_home(home, *config, invite, std::chrono::seconds(timeout_s()), args_.contains("yes"), WorkShown(),
                           program_.join_network);
    if (moved && registered_or_told(*moved, config->handle))
      to_stderr(fmt::format("This home is @{} in its new network. Start your node: diot run\n", config->handle));
    if (moved)
      to_stderr(fmt::format("What stayed behind is in {}: `DIOT_HOME={} diot ledger list` looks into it.\n",
                            (*moved)["old_folder"].get<std::string>(), (*moved)["old_folder"].get<std::string>()));
    return optional(std::move(moved));
  }

  Result<std::optional<Json>> run_node() {
    const bool check = args_.contains("check");
    const auto home = Home::open(path_);
    if (!home && !(check && home.error().code == Errc::not_found)) return tl::unexpected(home.error());
    auto config = load_config(path_ + "/diot.toml");
    if (!config) return tl::unexpected(config.error());
    if (auto applied = apply_options(args_, *config); !applied) return tl::unexpected(applied.error());
    if (check) {
      // What the configuration names must be good too.
      const auto passwords = load_passwords(path_, *config);
      if (!passwords) return tl::unexpected(passwords.error());
      if (const auto acl = load_acl(path_, *config); !acl) return tl::unexpected(acl.error());
      for (const auto& listener : config->all_listeners())
        if (auto safe = check_access(listener, !passwords->users().empty()); !safe) return tl::unexpected(safe.error());
      return Json{{"file", path_ + "/diot.toml"},      {"handle", config->handle},
                  {"mqtt", config->mqtt_listen},       {"api", config->api_listen},
                  {"overlay", config->overlay_listen}, {"addresses", config->overlay_addresses},
                  {"log_level", config->log_level},    {"log_format", config->log_format}};
    }
    const auto ended = program_.run_node(*home, *config);
    if (!ended) return tl::unexpected(ended.error());
    return std::nullopt;
  }

  Result<std::optional<Json>> change_users() {
    const auto home = Home::open(path_);
    if (!home) return tl::unexpected(home.error());
    const auto config = load_config(home->config_path());
    if (!config) return tl::unexpected(config.error());
    SystemRandom random;
    std::string password;
    const bool generate = args_.contains("generate");
    if (verb_.option("generate")) {
      auto given = generate ? Result<std::string>(make_password(random)) : read_password();
      if (!given) return tl::unexpected(given.error());
      password = std::move(*given);
    }
    auto changed = diot::change_users(path_, *config, verb_.name, args_, password, random);
    if (!changed || verb_.reads_only) return optional(std::move(changed));
    if (generate) (*changed)["password"] = password;
    const auto reloaded = ask_node(socket_path(), "reload", Json::object(), answer_timeout_ms);
    if (!reloaded && reloaded.error().code != Errc::not_running)
      return fail(reloaded.error().code,
                  fmt::format("the file was changed, but the node did not take it: {}", reloaded.error().message));
    (*changed)["reloaded"] = reloaded.has_value();
    return optional(std::move(changed));
  }

  Result<std::optional<Json>> change_handle() {
    const auto home = Home::open(path_);
    if (!home) return tl::unexpected(home.error());
    const HandleTools tools{*home,
                            [this](std::string_view verb, const Json& args) {
                              return ask_node(socket_path(), verb, args, answer_timeout_ms);
                            },
                            [] { return Result<std::string>(read_secret("The 24 words: ")); }};
    return optional(verb_.name == "witness succeed" ? witness_succeed(args_, tools)
                                                    : handle_verb(verb_.name, args_, tools));
  }

  Result<std::optional<Json>> import() {
    const auto file = args_["file"].get<std::string>();
    const auto text = read_file(file, config_file_bytes_max);
    if (!text) return tl::unexpected(text.error());
    const bool apply = args_.contains("apply");
    const auto home = Home::open(path_);
    if (apply && !home) return tl::unexpected(home.error());
    Config base;
    if (home) {
      auto loaded = load_config(home->config_path());
      if (!loaded) return tl::unexpected(loaded.error());
      base = std::move(*loaded);
    }
    std::error_code ignored;
    const auto folder = std::filesystem::absolute(file, ignored).parent_path().string();
    const auto imported = import_mosquitto(as_text(*text), folder, base);
    if (!imported) return fail(imported.error().code, fmt::format("{}, {}", file, imported.error().message));
    const std::string toml = to_toml(imported->config);
    if (auto checked = parse_config(toml, "diot.toml"); !checked && home)
      return fail(Errc::invalid,
                  fmt::format("{} makes no configuration that is in order: {}", file, checked.error().message));
    if (apply)
      if (auto written = home->write_config(toml); !written) return tl::unexpected(written.error());
    return Json{{"config", toml}, {"applied", apply}, {"notes", imported->notes}};
  }

  Result<std::optional<Json>> wait() {
    if (const auto topic = args_.find("topic"); topic != args_.end())
      if (auto valid = check_filter(topic->get<std::string>()); !valid) return tl::unexpected(valid.error());
    Json asked = args_;
    asked.erase("timeout");
    const auto timeout = std::chrono::seconds(timeout_s());
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    std::string missing = "no node is running here: start it with `diot run`";
    for (;;) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      const auto answer =
          ask_node(socket_path(), "wait", asked, std::clamp(static_cast<int>(left.count()), 100, answer_timeout_ms));
      if (answer && answer->value("done", false)) return *answer;
      if (answer) {
        missing.clear();
        for (const auto& reason : answer->value("waiting_for", Json::array()))
          if (reason.is_string()) missing += (missing.empty() ? "" : ", ") + reason.get<std::string>();
        missing = "still waiting for: " + missing;
      } else if (answer.error().code != Errc::not_running && answer.error().code != Errc::timed_out &&
                 answer.error().code != Errc::io) {
        return tl::unexpected(answer.error());
      }
      if (std::chrono::steady_clock::now() + wait_poll > deadline)
        return fail(Errc::timed_out, fmt::format("{} s are over; {}", timeout.count(), missing));
      std::this_thread::sleep_for(wait_poll);
    }
  }

  static Result<std::optional<Json>> optional(Result<Json> answer) {
    if (!answer) return tl::unexpected(std::move(answer.error()));
    return std::move(*answer);
  }
  std::string socket_path() const { return path_ + "/api.sock"; }
  std::uint64_t timeout_s() const { return args_.value("timeout", timeout_s_default); }

  /// A home's ledger without a node.
  struct Offline {
    Bytes genesis;
    NodeId node;
    std::optional<KeyPair> witness;
    std::unique_ptr<OfflineStore> store;
    Ledger ledger;

    static Result<Offline> open(const std::string& path) {
      const auto home = Home::open(path);
      if (!home) return tl::unexpected(home.error());
      auto genesis = home->genesis();
      if (!genesis) return tl::unexpected(genesis.error());
      const auto node = home->node_key();
      if (!node) return tl::unexpected(node.error());
      auto store = OfflineStore::open(*home);
      if (!store) return tl::unexpected(store.error());
      auto ledger = load_ledger(*genesis, (*store)->store());
      if (!ledger) return tl::unexpected(ledger.error());
      // As in a running node: a witness key of its own, or the node's, while it is one of those who decide.
      std::optional<KeyPair> witness(home->witness_key().value_or(*node));
      if (std::ranges::find(ledger->witnesses(), witness->public_key()) == ledger->witnesses().end()) witness.reset();
      return Offline{std::move(*genesis), node->node_id(), witness, std::move(*store), std::move(*ledger)};
    }
  };

  const Verb& verb_;
  const Json& args_;
  bool json_;
  const Program& program_;
  std::string path_;
  std::optional<Offline> offline_;  ///< once no node answered
};

std::string verified_text(const Json& report) {
  const std::string_view fits =
      report.contains("forks") ? "everything fits here, and it is not the only history" : "everything fits";
  if (!report.contains("snapshot")) return fmt::format("Recomputed from the genesis: {}.\n", fits);
  return fmt::format(
      "Recomputed from block {} on: {}. What came before is not on this disk: that the handles were as they are at "
      "block "
      "{} rests on {} of its {} witnesses, whom the headers since the genesis name.\n",
      report["snapshot"].get<std::uint64_t>() + 1, fits, report["snapshot"].get<std::uint64_t>(),
      report["snapshot_votes"].get<std::uint64_t>(), report["snapshot_witnesses"].get<std::uint64_t>());
}

std::string proved_text(const Json& proved) {
  if (proved.contains("index"))
    return fmt::format("entry {} is number {} in the log", proved["hash"].get<std::string>(),
                       proved["index"].get<std::uint64_t>());
  if (proved.contains("from_height"))
    return fmt::format("the log only grew from block {} on", proved["from_height"].get<std::uint64_t>());
  return fmt::format("@{} is {}registered", proved["handle"].get<std::string>(),
                     proved["registered"].get<bool>() ? "" : "not ");
}

std::string missing_text(const Json& missing) {
  std::vector<std::string> ranges;
  for (const auto& range : missing)
    ranges.push_back(fmt::format("{} to {}", range["from"].get<std::uint64_t>(), range["to"].get<std::uint64_t>()));
  return fmt::format(
      "Blocks {} are not on this disk, as its ledger began with a snapshot: `diot ledger verify --full` fetches "
      "them.\n",
      fmt::join(ranges, ", "));
}

/// On a terminal what is longer than that goes through $PAGER, or less.
void write_out(const std::string& text, bool paged) {
  winsize size{};
  const bool long_one = paged && ::isatty(::fileno(stdout)) && ::ioctl(::fileno(stdout), TIOCGWINSZ, &size) == 0 &&
                        std::ranges::count(text, '\n') >= size.ws_row;
  const char* wanted = std::getenv("PAGER");
  std::FILE* pager = long_one ? ::popen(wanted && *wanted ? wanted : "less -FRX", "w") : nullptr;
  std::fwrite(text.data(), 1, text.size(), pager ? pager : stdout);
  if (pager) ::pclose(pager);
}

/// Which member is the one line that goes from hand to hand; empty: there is none.
std::string line_of(const Json& result) {
  for (const char* name : {"invite", "entry", "offer", "genesis", "anchor"})
    if (result.contains(name) && result[name].is_string()) return name;
  return "";
}

void print(const Invocation& invocation, const Json& result) {
  std::string text;
  if (invocation.json) {
    text = result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  } else if (invocation.verb->name == "wait") {
    return;  // its exit code says it all
  } else if (const auto line = line_of(result); !line.empty()) {
    // Scripts take the one line on standard output; people read the rest.
    Json rest = result;
    rest.erase(line);
    to_stderr(format_result(rest, PrintStyle::of(stderr)));
    text = result[line].get<std::string>() + "\n";
  } else if (invocation.verb->name == "import") {
    for (const auto& note : result["notes"]) to_stderr(fmt::format("{}\n", printable(note.get<std::string>())));
    if (!result["applied"].get<bool>()) text = result["config"].get<std::string>();
  } else if (invocation.verb->name == "run") {
    text = fmt::format("{} is in order\n", result["file"].get<std::string>());
  } else if (invocation.verb->name == "ledger prove") {
    const auto bytes = from_base64url(result["proof"].get<std::string>()).value_or(Bytes{});
    to_stderr(fmt::format("{} as of block {}: {} bytes\n", proved_text(result), result["height"].get<std::uint64_t>(),
                          bytes.size()));
    text = as_text(bytes);
  } else if (invocation.verb->name == "ledger checkpoint") {
    text = result["note"].get<std::string>();
    to_stderr(fmt::format("verifier keys:\n{}\n{}\n", result["log_key"].get<std::string>(),
                          result["cosigner_key"].get<std::string>()));
    for (const auto& key : result["cosigner_keys"]) to_stderr(key.get<std::string>() + "\n");
  } else if (result.contains("tree")) {
    Json rest = result;
    rest.erase("tree");
    text = format_result(rest, PrintStyle::of(stdout)) + "\n" + result["tree"].get<std::string>();
  } else {
    text = format_result(result, PrintStyle::of(stdout));
    if (invocation.verb->name == "ledger verify") text += verified_text(result);
    if (result.contains("missing") && !result["missing"].empty()) to_stderr(missing_text(result["missing"]));
  }
  write_out(text, invocation.verb->name.starts_with("ledger "));
}

}  // namespace

ExitCode exit_code_of(Errc code) {
  switch (code) {
    case Errc::not_running: return ExitCode::not_running;
    case Errc::not_permitted: return ExitCode::not_permitted;
    case Errc::timed_out: return ExitCode::timed_out;
    default: return ExitCode::failed;
  }
}

int run_command_line(int argc, const char* const* argv, const Program& program) {
  crypto_init();
  const auto parsed = parse_command_line(argc, argv);
  if (const auto* answer = std::get_if<Answer>(&parsed)) {
    std::fwrite(answer->text.data(), 1, answer->text.size(), answer->usage_error ? stderr : stdout);
    return static_cast<int>(answer->usage_error ? ExitCode::usage : ExitCode::done);
  }
  const auto& invocation = std::get<Invocation>(parsed);
  const auto result = CommandLine(invocation, program).run();
  if (!result) {
    to_stderr(format_error(result.error().message, PrintStyle::of(stderr)));
    if (invocation.json) {
      const std::string text = answer_to_json(tl::unexpected(result.error())).dump(2) + "\n";
      std::fwrite(text.data(), 1, text.size(), stdout);
    }
    return static_cast<int>(exit_code_of(result.error().code));
  }
  if (*result) print(invocation, **result);
  return static_cast<int>(ExitCode::done);
}

}  // namespace diot
