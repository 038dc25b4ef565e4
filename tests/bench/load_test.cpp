// What the load generator reports about servers that lose, repeat, reorder and damage messages.

#include "tools/bench/load.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include "tests/bench/fake_server.hpp"
#include "tools/bench/report.hpp"

namespace diot::bench {
namespace {

using test::FakeServer;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<Bytes> deliver(std::uint64_t, Bytes payload) { return {std::move(payload)}; }

/// Whether message n is the probe that opens a run; seq counts from the message after it.
std::uint32_t stream_of(const Bytes& payload) {
  std::uint32_t stream = 0;
  std::memcpy(&stream, payload.data() + 4, sizeof stream);
  return stream;
}

/// Applies `fate` to the counted messages only, numbered from 0.
FakeServer::Fate after_probes(FakeServer::Fate fate) {
  return [fate = std::move(fate), counted = std::uint64_t{0}](std::uint64_t n, Bytes payload) mutable {
    if (stream_of(payload) == UINT32_MAX) return deliver(n, std::move(payload));
    return fate(counted++, std::move(payload));
  };
}

Options options_for(const FakeServer& server, int qos, Version version = Version::v311) {
  Options options;
  options.publish_port = options.subscribe_port = server.port();
  options.qos = static_cast<std::uint8_t>(qos);
  options.version = version;
  options.count = 100;
  options.window = 16;
  options.settle_s = 1;
  return options;
}

class Load : public ::testing::TestWithParam<std::tuple<Version, int>> {};
INSTANTIATE_TEST_SUITE_P(AnyVersionAndQos, Load,
                         ::testing::Combine(::testing::Values(Version::v311, Version::v5), ::testing::Values(0, 1, 2)));

TEST_P(Load, FindsNothingWrongWithAServerThatDeliversAll) {
  FakeServer server(deliver);
  auto options = options_for(server, std::get<1>(GetParam()), std::get<0>(GetParam()));
  options.publishers = 3;
  options.subscribers = 2;
  options.topics = 4;
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->failures(options), IsEmpty());
  EXPECT_EQ(report->published, 300u);
  EXPECT_EQ(report->expected, 600u);
  EXPECT_EQ(report->delivering.delivered, 600u);
  EXPECT_EQ(report->delivering.acknowledged, options.qos > 0 ? 300u : 0u);
  EXPECT_EQ(report->latency_ns.count(), 600u);
  EXPECT_EQ(report->lost + report->duplicates + report->reordered, 0u);
}

TEST_P(Load, CountsWhatIsLostInTheMiddleAndAtTheEnd) {
  FakeServer server(after_probes([](std::uint64_t n, Bytes payload) {
    return n == 10 || n >= 98 ? std::vector<Bytes>{} : std::vector<Bytes>{std::move(payload)};
  }));
  const auto options = options_for(server, std::get<1>(GetParam()), std::get<0>(GetParam()));
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->lost, 3u);
  EXPECT_EQ(report->delivering.delivered, 97u);
  if (options.qos == 0) {
    EXPECT_THAT(report->failures(options), IsEmpty());  // QoS 0 promises nothing
  } else {
    EXPECT_THAT(report->failures(options), ElementsAre("3 messages lost"));
  }
}

TEST_P(Load, CountsDuplicates) {
  FakeServer server(after_probes([](std::uint64_t n, Bytes payload) {
    return n == 50 ? std::vector<Bytes>{payload, payload} : std::vector<Bytes>{payload};
  }));
  const auto options = options_for(server, std::get<1>(GetParam()), std::get<0>(GetParam()));
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->duplicates, 1u);
  EXPECT_EQ(report->delivering.delivered, 100u);  // each once
  if (options.qos == 1) {
    EXPECT_THAT(report->failures(options), IsEmpty());  // "at least once"
  } else {
    EXPECT_THAT(report->failures(options), ElementsAre("1 messages delivered twice"));
  }
}

TEST_P(Load, SeesMessagesThatChangePlaces) {
  FakeServer server(after_probes([held = Bytes{}](std::uint64_t n, Bytes payload) mutable {
    if (n == 98) return held = std::move(payload), std::vector<Bytes>{};
    if (n == 99) return std::vector<Bytes>{payload, held};
    return std::vector<Bytes>{payload};
  }));
  const auto options = options_for(server, std::get<1>(GetParam()), std::get<0>(GetParam()));
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->failures(options), ElementsAre("1 messages out of order"));
  EXPECT_EQ(report->lost, 0u);
}

TEST(LoadFaults, SeesDamage) {
  FakeServer server(after_probes([](std::uint64_t n, Bytes payload) {
    if (n == 20) payload.back() ^= 1;
    return std::vector<Bytes>{payload};
  }));
  const auto options = options_for(server, 1);
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->foreign, 1u);
  EXPECT_THAT(report->failures(options),
              ElementsAre("1 messages lost", "1 messages damaged, or delivered to the wrong subscriber"));
}

TEST(LoadFaults, SeesWhatGoesToTheWrongSubscriber) {
  FakeServer server(deliver);  // to everybody, but with pairs each subscriber wants its publisher's only
  auto options = options_for(server, 0);
  options.publishers = options.subscribers = 2;
  options.pairs = true;
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  // The run is over when all that is wanted has come; the last that nobody wants may still be on their way.
  EXPECT_GT(report->foreign, 0u);
  EXPECT_LE(report->foreign, 200u);
  EXPECT_EQ(report->lost, 0u);
}

TEST(LoadFaults, CountsWhatIsNotAcknowledgedAndGivesUp) {
  FakeServer server(deliver, false);
  auto options = options_for(server, 1);
  options.subscribers = 0;  // else the probe would wait for its acknowledgement
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->published, 16u);  // one window
  EXPECT_EQ(report->unacknowledged, 16u);
  EXPECT_THAT(report->failures(options), ElementsAre("16 publishes not acknowledged"));
}

TEST(LoadFaults, OpensTheWindowByForceWhenQos0LosesAllOfIt) {
  FakeServer server(after_probes([](std::uint64_t n, Bytes payload) {
    return n < 16 ? std::vector<Bytes>{} : std::vector<Bytes>{std::move(payload)};
  }));
  auto options = options_for(server, 0);
  options.settle_s = 2;
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->stalls, 1u);
  EXPECT_EQ(report->lost, 16u);
}

TEST(LoadRate, SendsWhenItIsTime) {
  FakeServer server(deliver);
  auto options = options_for(server, 0);
  options.rate = 1000;
  options.count = 200;
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->failures(options), IsEmpty());
  EXPECT_GE(report->delivering.seconds, 0.199);  // the last is due after 199 ms
  EXPECT_EQ(report->lateness_ns.count(), 200u);
}

TEST(LoadOptions, RefusesWhatMakesNoSense) {
  const auto message = [](auto change) {
    Options options;
    change(options);
    const auto report = run_load(options);
    EXPECT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::invalid);
    return report.error().message;
  };
  EXPECT_THAT(message([](auto& options) { options.payload_bytes = 23; }), HasSubstr("at least 24 bytes"));
  EXPECT_THAT(message([](auto& options) { options.publishers = 0; }), HasSubstr("at least 1"));
  EXPECT_THAT(message([](auto& options) { options.delivery = Delivery::offline; }), HasSubstr("QoS 1 or 2"));
  EXPECT_THAT(message([](auto& options) { options.publishers = 2, options.pairs = true; }), HasSubstr("multiple"));
}

TEST(LoadOptions, NamesTheServerThatIsNotThere) {
  Options options;
  options.publish_port = options.subscribe_port = 1;
  const auto report = run_load(options);
  ASSERT_FALSE(report);
  EXPECT_THAT(report.error().message, HasSubstr("refused"));
}

TEST(LoadOptions, NamesTheProcessThatIsNotThere) {
  Options options;
  options.pids = {999'999'999};
  const auto report = run_load(options);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::not_running);
}

TEST(LoadReport, HoldsTheServersUsage) {
  FakeServer server(deliver);
  auto options = options_for(server, 1);
  options.pids = {::getpid()};
  const auto report = run_load(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->delivering.server_cpu_ns, 0u);
  EXPECT_GT(report->rss_connected, 1u << 20);
  const auto json = to_json(options, *report);
  EXPECT_EQ(json["run"]["lost"], 0);
  EXPECT_GT(json["delivering"]["cpu_us_per_delivered"].get<double>(), 0);
  EXPECT_THAT(to_text(options, *report), HasSubstr("0 lost, 0 duplicates, 0 out of order"));
}

}  // namespace
}  // namespace diot::bench
