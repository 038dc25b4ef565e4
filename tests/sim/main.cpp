// tools/sim: many seeds of the simulated world, or one of them again.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/dht_world.hpp"
#include "tests/sim/ledger_world.hpp"
#include "tests/sim/world.hpp"

namespace {

constexpr const char* usage =
    "diot-sim [--ledger [--past] [--followers F] | --dht] [--seeds N] [--seed FIRST] [--homes M] [--hours H] "
    "[--verbose]\n"
    "Runs N worlds (default 1) from seed FIRST (default 1) on, each of M homes (default: 2 to 12, as the seed says), "
    "with\n"
    "H virtual hours of trouble (default: up to a minute).\n"
    "--ledger: worlds of M witnesses (default: 1 to 13) and F followers (at most 200; default: 0 to 20), with liars "
    "among\n"
    "them; no hours.\n"
    "--past: with so much before that nodes share the old blocks.\n"
    "--dht: homes that find one another through OpenDHT over simulated datagrams; no hours.\n"
    "Exit code 1 if a promise was broken; the seed and how to run it again are told.\n";

constexpr std::size_t followers_max = 200;

std::uint64_t number(const char* text) {
  std::uint64_t out = 0;
  const char* end = text + std::strlen(text);
  const auto parsed = std::from_chars(text, end, out);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    fmt::print(stderr, "diot-sim: '{}' is not a number\n{}", text, usage);
    std::exit(2);
  }
  return out;
}

template <class Violation>
void tell(const std::vector<Violation>& violations) {
  for (const auto& violation : violations)
    fmt::print("  {:9.3f} s  {}: {}\n", static_cast<double>(violation.when.count()) / 1e6, name_of(violation.invariant),
               violation.what);
}

void tell(const diot::sim::Report& report, const diot::sim::Options& options) {
  fmt::print("seed {}: {} promises broken\n", report.seed, report.violations.size());
  tell(report.violations);
  for (const auto& line : report.state) fmt::print("  {}\n", line);
  fmt::print("  again: tools/sim --seed {}{}{} --verbose\n", report.seed,
             options.homes ? fmt::format(" --homes {}", options.homes) : "",
             options.hours ? fmt::format(" --hours {}", options.hours) : "");
}

int run_ledgers(diot::sim::LedgerOptions options, std::uint64_t seeds) {
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t failed = 0, blocks = 0, entries = 0, rounds = 0, crashes = 0, damages = 0, liars = 0, caught = 0,
                frames = 0, snapshots = 0, changes = 0, accused = 0, dropped = 0;
  double virtual_seconds = 0, slowest = 0;
  for (std::uint64_t left = seeds; left > 0; --left, ++options.seed) {
    const auto report = diot::sim::LedgerWorld(options).run();
    if (!report.violations.empty()) {
      ++failed;
      fmt::print("seed {}: {} witnesses ({} liars), {} followers\n", report.seed, report.witnesses, report.liars,
                 report.followers);
      tell(report.violations);
      fmt::print("  again: tools/sim --ledger {}{}{}--seed {} --verbose\n", options.long_past ? "--past " : "",
                 options.witnesses ? fmt::format("--homes {} ", options.witnesses) : "",
                 options.followers ? fmt::format("--followers {} ", *options.followers) : "", report.seed);
    }
    blocks += report.blocks;
    entries += report.entries;
    rounds += report.rounds;
    crashes += report.crashes;
    damages += report.damages;
    liars += report.liars;
    caught += report.caught;
    frames += report.frames;
    snapshots += report.snapshots;
    changes += report.changes;
    accused += report.accused;
    dropped += report.dropped;
    virtual_seconds += static_cast<double>(report.lasted.count()) / 1e6;
    slowest = std::max(slowest, static_cast<double>(report.commit.count()) / 1e6);
    if (seeds == 1) fmt::print("seed {}: event hash {:016x}\n", report.seed, report.hash);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print(
      "{} seeds in {:.1f} s: {:.1f} seeds/s, {:.0f} virtual seconds, {} frames, {} crashes, {} damaged disks, {} "
      "liars;\n"
      "{} blocks of {} entries, {} rounds beyond the first, {} double votes seen, {} liars named in the ledger, {} "
      "changes of witnesses, {} snapshots begun with, {} old blocks dropped, slowest commit after a heal {:.1f} s; {} "
      "seeds failed\n",
      seeds, seconds, static_cast<double>(seeds) / seconds, virtual_seconds, frames, crashes, damages, liars, blocks,
      entries, rounds, caught, accused, changes, snapshots, dropped, slowest, failed);
  return failed == 0 ? 0 : 1;
}

int run_dhts(diot::sim::DhtOptions options, std::uint64_t seeds) {
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t failed = 0, datagrams = 0, crashes = 0, finds = 0, rebuilds = 0;
  diot::sim::Time lasted{}, healed{}, renewed{}, joined{};
  for (std::uint64_t left = seeds; left > 0; --left, ++options.seed) {
    const auto report = diot::sim::DhtWorld(options).run();
    if (!report.violations.empty()) {
      ++failed;
      fmt::print("seed {}: {} homes\n", report.seed, report.homes);
      tell(report.violations);
      fmt::print("  again: tools/sim --dht --seed {}{} --verbose\n", report.seed,
                 options.homes ? fmt::format(" --homes {}", options.homes) : "");
    }
    datagrams += report.datagrams;
    crashes += report.crashes;
    finds += report.finds;
    rebuilds += report.rebuilds;
    lasted += report.lasted;
    healed = std::max(healed, report.healed);
    renewed = std::max(renewed, report.renewed);
    joined = std::max(joined, report.joined);
    if (seeds == 1) fmt::print("seed {}: event hash {:016x}\n", report.seed, report.hash);
  }
  const auto in_seconds = [](diot::sim::Time time) { return static_cast<double>(time.count()) / 1e6; };
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print(
      "{} seeds in {:.1f} s: {:.1f} seeds/s, {:.0f} virtual seconds, {} datagrams, {} look-ups, {} crashes, {} new "
      "starts of the library;\n"
      "all found: after a heal within {:.1f} s, new addresses within {:.1f} s, a newcomer within {:.1f} s; {} seeds "
      "failed\n",
      seeds, seconds, static_cast<double>(seeds) / seconds, in_seconds(lasted), datagrams, finds, crashes, rebuilds,
      in_seconds(healed), in_seconds(renewed), in_seconds(joined), failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  spdlog::set_level(spdlog::level::off);  // the nodes' own words: damaged disks are their daily bread here
  std::uint64_t seeds = 1;
  bool ledger = false, past = false, dht = false;
  std::optional<std::size_t> followers;
  diot::sim::Options options;
  for (int at = 1; at < count; ++at) {
    const std::string name = arguments[at];
    if (name == "--verbose") {
      options.verbose = true;
      spdlog::set_level(spdlog::level::warn);
    } else if (name == "--ledger") {
      ledger = true;
    } else if (name == "--past") {
      past = true;
    } else if (name == "--dht") {
      dht = true;
    } else if (name == "--help" || name == "-h") {
      fmt::print("{}", usage);
      return 0;
    } else if (at + 1 < count && name == "--followers") {
      followers = number(arguments[++at]);
    } else if (at + 1 < count && (name == "--seeds" || name == "--seed" || name == "--homes" || name == "--hours")) {
      const std::uint64_t value = number(arguments[++at]);
      if (name == "--seeds") seeds = value;
      if (name == "--seed") options.seed = value;
      if (name == "--homes") options.homes = value;
      if (name == "--hours") options.hours = value;
    } else {
      fmt::print(stderr, "{}", usage);
      return 2;
    }
  }
  if (followers && (!ledger || *followers > followers_max)) {
    fmt::print(stderr, "diot-sim: --followers goes with --ledger, and they are {} at most\n", followers_max);
    return 2;
  }
  if (dht) {
    diot::sim::DhtOptions worlds;
    worlds.seed = options.seed;
    worlds.homes = options.homes;
    worlds.verbose = options.verbose;
    return run_dhts(worlds, seeds);
  }
  if (ledger) {
    diot::sim::LedgerOptions worlds;
    worlds.seed = options.seed;
    worlds.witnesses = options.homes;
    worlds.long_past = past;
    worlds.followers = followers;
    if (past && !followers) worlds.followers = 4;
    worlds.verbose = options.verbose;
    return run_ledgers(worlds, seeds);
  }
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t failed = 0, apart = 0, messages = 0, acknowledged = 0, deliveries = 0, crashes = 0, steps = 0,
                frames = 0;
  double virtual_seconds = 0;
  for (std::uint64_t left = seeds; left > 0; --left, ++options.seed) {
    const auto report = diot::sim::World(options).run();
    if (!report.violations.empty()) ++failed, tell(report, options);
    apart += report.apart;
    messages += report.messages;
    acknowledged += report.acknowledged;
    deliveries += report.deliveries;
    crashes += report.crashes;
    steps += report.steps;
    frames += report.network.frames;
    virtual_seconds += static_cast<double>(report.lasted.count()) / 1e6;
    if (seeds == 1) fmt::print("seed {}: event hash {:016x}\n", report.seed, report.hash);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print(
      "{} seeds in {:.1f} s: {:.1f} seeds/s, {:.0f} virtual seconds, {} events, {} frames, {} crashes;\n"
      "{} messages, {} acknowledged, {} deliveries; in {} seeds homes that never reach each other; {} seeds failed\n",
      seeds, seconds, static_cast<double>(seeds) / seconds, virtual_seconds, steps, frames, crashes, messages,
      acknowledged, deliveries, apart, failed);
  return failed == 0 ? 0 : 1;
}
