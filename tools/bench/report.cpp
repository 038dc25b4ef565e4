#include "tools/bench/report.hpp"

#include <fmt/format.h>

namespace diot::bench {
namespace {

using Json = nlohmann::ordered_json;

double ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }
double cpu_us(std::uint64_t cpu_ns, std::uint64_t messages) {
  return ratio(static_cast<double>(cpu_ns) / 1e3, static_cast<double>(messages));
}
double us(std::uint64_t ns) { return static_cast<double>(ns) / 1e3; }

Json to_json(const Stretch& stretch, bool with_server) {
  Json out{{"seconds", stretch.seconds},
           {"published", stretch.published},
           {"acknowledged", stretch.acknowledged},
           {"delivered", stretch.delivered},
           {"published_per_s", ratio(static_cast<double>(stretch.published), stretch.seconds)},
           {"delivered_per_s", ratio(static_cast<double>(stretch.delivered), stretch.seconds)},
           {"generator_busy", ratio(static_cast<double>(stretch.generator_cpu_ns) / 1e9, stretch.seconds)}};
  if (with_server) {
    out["server_busy"] = ratio(static_cast<double>(stretch.server_cpu_ns) / 1e9, stretch.seconds);
    if (stretch.published > 0) out["cpu_us_per_published"] = cpu_us(stretch.server_cpu_ns, stretch.published);
    if (stretch.delivered > 0) out["cpu_us_per_delivered"] = cpu_us(stretch.server_cpu_ns, stretch.delivered);
  }
  return out;
}

Json to_json(const Histogram& times) {
  return {{"count", times.count()},
          {"p50_us", us(times.quantile(0.5))},
          {"p90_us", us(times.quantile(0.9))},
          {"p99_us", us(times.quantile(0.99))},
          {"p999_us", us(times.quantile(0.999))},
          {"max_us", us(times.max())}};
}

}  // namespace

Json to_json(const Options& options, const Report& report) {
  static constexpr std::string_view deliveries[] = {"live", "retained", "offline"};
  const bool with_server = !options.pids.empty();
  Json out{{"options",
            {{"mqtt", options.version == Version::v5 ? "5" : "3.1.1"},
             {"qos", options.qos},
             {"payload_bytes", options.payload_bytes},
             {"publishers", options.publishers},
             {"subscribers", options.subscribers},
             {"pairs", options.pairs},
             {"topics", options.topics},
             {"window", options.window},
             {"rate", options.rate},
             {"deliver", deliveries[static_cast<std::size_t>(options.delivery)]},
             {"idle", options.idle},
             {"slow", options.slow},
             {"unrelated", options.unrelated}}}};
  if (report.storm.seconds > 0)
    out["storm"] = {{"seconds", report.storm.seconds},
                    {"connections_per_s", ratio(static_cast<double>(options.idle), report.storm.seconds)},
                    {"cpu_us_per_connection", cpu_us(report.storm.server_cpu_ns, options.idle)}};
  if (report.publishing.seconds > 0) out["publishing"] = to_json(report.publishing, with_server);
  out["delivering"] = to_json(report.delivering, with_server);
  if (options.delivery == Delivery::live) {
    out["latency"] = to_json(report.latency_ns);
    if (options.rate > 0) out["generator_lateness"] = to_json(report.lateness_ns);
    out["first_delivery_ms"] = report.first_delivery_ms;
  }
  out["run"] = {{"published", report.published}, {"expected", report.expected},
                {"lost", report.lost},           {"duplicates", report.duplicates},
                {"reordered", report.reordered}, {"foreign", report.foreign},
                {"refused", report.refused},     {"unacknowledged", report.unacknowledged},
                {"stalls", report.stalls}};
  if (with_server) {
    out["rss_bytes"] = {
        {"before", report.rss_before}, {"connected", report.rss_connected}, {"after", report.rss_after}};
  }
  out["failures"] = report.failures(options);
  return out;
}

std::string to_text(const Options& options, const Report& report) {
  std::string out;
  const auto line = [&](std::string_view name, const std::string& value) {
    out += fmt::format("{:<22}{}\n", name, value);
  };
  const auto stretch = [&](const Stretch& of, std::string_view name, std::string_view verb, std::uint64_t messages) {
    line(name, fmt::format("{:.0f} messages/s {} ({} in {:.3f} s)", ratio(static_cast<double>(messages), of.seconds),
                           verb, messages, of.seconds));
    if (!options.pids.empty()) {
      line("  server CPU", fmt::format("{:.2f} µs a message, {:.0f} % busy", cpu_us(of.server_cpu_ns, messages),
                                       100 * ratio(static_cast<double>(of.server_cpu_ns) / 1e9, of.seconds)));
    }
    line("  generator",
         fmt::format("{:.0f} % busy", 100 * ratio(static_cast<double>(of.generator_cpu_ns) / 1e9, of.seconds)));
  };
  const auto times = [&](std::string_view name, const Histogram& of) {
    line(name, fmt::format("p50 {:.0f} µs, p99 {:.0f} µs, max {:.0f} µs", us(of.quantile(0.5)), us(of.quantile(0.99)),
                           us(of.max())));
  };
  if (report.publishing.seconds > 0) {
    stretch(report.publishing, "publishing", "acknowledged", report.publishing.acknowledged);
  }
  stretch(report.delivering, "delivering", "delivered", report.delivering.delivered);
  if (options.delivery == Delivery::live) {
    times("latency", report.latency_ns);
    if (options.rate > 0) times("generator's lateness", report.lateness_ns);
    line("first delivery", fmt::format("{:.1f} ms", report.first_delivery_ms));
  }
  line("whole run",
       fmt::format("{} published, {} of {} deliveries, {} lost, {} duplicates, {} out of order", report.published,
                   report.expected - report.lost, report.expected, report.lost, report.duplicates, report.reordered));
  if (report.storm.seconds > 0)
    line("storm", fmt::format("{} connections back after {:.3f} s, {:.1f} µs of server CPU each", options.idle,
                              report.storm.seconds, cpu_us(report.storm.server_cpu_ns, options.idle)));
  if (report.stalls > 0) line("stalls", fmt::format("{} (nothing came for a second)", report.stalls));
  if (!options.pids.empty()) {
    const auto kib = [](std::uint64_t bytes) { return bytes >> 10; };
    line("server memory", fmt::format("{} KiB before, {} KiB connected, {} KiB after", kib(report.rss_before),
                                      kib(report.rss_connected), kib(report.rss_after)));
  }
  for (const auto& failure : report.failures(options)) line("FAILED", failure);
  return out;
}

}  // namespace diot::bench
