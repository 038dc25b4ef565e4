// diot-bench: puts load on MQTT servers and says how they bear it.

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "tools/bench/load.hpp"
#include "tools/bench/report.hpp"

namespace {

using namespace diot::bench;

constexpr int exit_failed = 1, exit_usage = 2;

void add_options(CLI::App& app, Options& options, std::uint16_t& port, bool& json) {
  using Versions = std::map<std::string, Version>;
  using Deliveries = std::map<std::string, Delivery>;
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  const auto positive = CLI::Range(1, 1'000'000);
  app.add_option("--host", options.host, "of the servers")->capture_default_str();
  app.add_option("--port", port, "of the server")->capture_default_str();
  app.add_option("--pub-port", options.publish_port, "where the publishers connect, if not to --port");
  app.add_option("--sub-port", options.subscribe_port, "where the subscribers connect, if not to --port");
  app.add_option("--mqtt", options.version, "version")
      ->transform(CLI::Transformer(Versions{{"3.1.1", Version::v311}, {"5", Version::v5}}))
      ->option_text("3.1.1|5 [3.1.1]");
  app.add_option("--publishers", options.publishers)->check(positive)->capture_default_str();
  app.add_option("--subscribers", options.subscribers)->check(CLI::Range(0, 1'000'000))->capture_default_str();
  app.add_flag("--pairs", options.pairs, "subscriber i reads publisher i only, not everybody");
  app.add_option("--topics", options.topics, "of each publisher, in turn")->check(positive)->capture_default_str();
  app.add_option("--topic", options.topic, "prefix of all topics")->capture_default_str();
  app.add_option("--sub-prefix", options.subscribe_prefix, "in front of the subscribers' filters, e.g. @alice/");
  app.add_option("--qos", options.qos)->check(CLI::Range(0, 2))->capture_default_str();
  app.add_option("--size", options.payload_bytes, "bytes of a payload")
      ->check(CLI::Range(payload_bytes_min, std::size_t{1} << 28))
      ->capture_default_str();
  app.add_option("--window", options.window, "messages of a publisher that are under way at once")
      ->check(positive)
      ->capture_default_str();
  app.add_option("--rate", options.rate, "messages/s of all publishers, whatever comes back: for latencies")
      ->check(CLI::Range(0.001, 1e8));
  app.add_option("--count", options.count, "messages of each publisher, instead of a duration")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 40));
  app.add_option("--duration", options.duration_s, "seconds measured")
      ->check(CLI::Range(0.01, 1e6))
      ->capture_default_str();
  app.add_option("--warmup", options.warmup_s, "seconds before")->check(CLI::Range(0.0, 1e6))->capture_default_str();
  app.add_option("--settle", options.settle_s, "seconds without an arrival that end the run")
      ->check(CLI::Range(0.01, 1e6))
      ->capture_default_str();
  app.add_option(
         "--deliver", options.delivery,
         "live; retained: one message a topic, subscribers come later; offline: --count messages, to kept sessions")
      ->transform(CLI::Transformer(
          Deliveries{{"live", Delivery::live}, {"retained", Delivery::retained}, {"offline", Delivery::offline}}))
      ->option_text("live|retained|offline [live]");
  app.add_option("--idle", options.idle, "more connections, each with a subscription that nothing matches")
      ->check(CLI::Range(0, 1'000'000));
  app.add_flag("--storm", options.storm, "cut the --idle ones once, and let them come back to kept sessions at once");
  app.add_option("--slow", options.slow, "subscribers of everything that never read")->check(CLI::Range(0, 10'000));
  app.add_option("--unrelated", options.unrelated, "more wildcard subscriptions that nothing matches")
      ->check(CLI::Range(0, 10'000'000));
  app.add_option("--pid", options.pids, "server processes whose CPU time and memory are to be measured")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_flag("--json", json, "print one JSON object");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  std::uint16_t port = 1883;
  bool json = false;
  CLI::App app(
      "Publishes to an MQTT server and subscribes to another or the same, and counts what arrives.\n"
      "Exit code 1: something was lost (QoS 1 and 2), came twice (QoS 0 and 2), out of order or damaged.",
      "diot-bench");
  add_options(app, options, port, json);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_usage;
  }
  if (app.count("--pub-port") == 0) options.publish_port = port;
  if (app.count("--sub-port") == 0) options.subscribe_port = port;

  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  ::prctl(PR_SET_TIMERSLACK, 1);  // nanosecond: wake in time with --rate

  const auto report = run_load(options);
  if (!report) {
    fmt::print(stderr, "diot-bench: {}\n", report.error().message);
    return report.error().code == diot::Errc::invalid ? exit_usage : exit_failed;
  }
  if (json) {
    fmt::print("{}\n", to_json(options, *report).dump(2));
  } else {
    fmt::print("{}", to_text(options, *report));
  }
  return report->failures(options).empty() ? 0 : exit_failed;
}
