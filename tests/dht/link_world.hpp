#pragma once
// Nodes with real links on loopback, all in one io_context, and what the tests ask of them.

#include <gtest/gtest.h>

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dht/links.hpp"

namespace diot {

/// Pseudo-random bytes from a seed: each run of a test is the same.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed * 2 + 1) {}
  void fill(std::span<std::uint8_t> out) override {
    for (auto& byte : out) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::uint8_t>(state_ >> 56);
    }
  }

 private:
  std::uint64_t state_;
};

/// Runs the loop until `condition` holds; false if it does not within ten seconds.
inline bool run_until(asio::io_context& io, const std::function<bool()>& condition,
                      std::chrono::seconds patience = std::chrono::seconds(10)) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    if (io.stopped()) io.restart();
    io.run_one_for(std::chrono::milliseconds(20));
  }
  return true;
}

/// A node as far as links go: records every event and lets a test react to them.
class TestNode : public LinkEvents, public Turn {
 public:
  struct Up {
    LinkId link{};
    NodeId peer;
    Hello hello;
    LinkClass kind{};
    bool dialled = false;
  };
  struct Received {
    LinkId link{};
    FrameType type{};
    Bytes body;
  };

  TestNode(asio::io_context& the_io, std::uint64_t seed, const LinkTimes& times = {})
      : io(the_io), random(seed), key(KeyPair::generate(random)) {
    hello.network.bytes.fill(7);
    hello.instance = random.id<InstanceId>();
    hello.agent = "diot/0.1.0";
    links = std::make_unique<Links>(io, key, *this, *this, clock, random, times);
  }

  std::string listen(const std::string& at = "127.0.0.1:0") {
    const auto bound = links->listen(at);
    EXPECT_TRUE(bound) << bound.error().message;
    return bound.value_or("");
  }
  /// The links that are up, in the order they came up.
  const std::vector<Up>& up() const { return up_; }
  std::uint64_t ended(LinkEnd end) const { return links->stats().count(end); }

  Hello own_hello() override { return hello; }
  LinkClass admit(const NodeId&, const Hello&, bool) override { return admits; }
  void link_up(LinkId link, const NodeId& peer, const Hello& peer_hello, LinkClass kind, bool dialled) override {
    EXPECT_TRUE(std::ranges::none_of(up_, [&](const Up& other) { return other.peer == peer; }))
        << "a second link to one node";
    up_.push_back({link, peer, peer_hello, kind, dialled});
    ++ups;
    if (on_up) on_up(up_.back());
  }
  void link_down(LinkId link, const NodeId& peer, const std::string& reason) override {
    const auto found = std::ranges::find_if(up_, [&](const Up& up) { return up.link == link && up.peer == peer; });
    ASSERT_NE(found, up_.end()) << "a link that was not up went down";
    up_.erase(found);
    downs.push_back(reason);
  }
  void link_frame(LinkId link, const NodeId&, FrameType type, ByteView body) override {
    EXPECT_TRUE(std::ranges::any_of(up_, [&](const Up& up) { return up.link == link; })) << "a frame of no link";
    if (on_frame) return on_frame(link, type, body);
    frames.push_back({link, type, to_bytes(body)});
  }
  void link_writable(LinkId link) override {
    ++writables;
    if (on_writable) on_writable(link);
  }
  void runs_twice(const RunsTwice& what) override { twice.push_back(what); }
  void dial_failed(const std::string&, const std::optional<NodeId>&, const std::string& reason) override {
    dial_failures.push_back(reason);
  }
  void touch() override {
    if (std::exchange(touched_, true)) return;
    asio::post(io, [this] {
      touched_ = false;
      if (links) links->flush();
    });
  }

  asio::io_context& io;
  SystemClock clock;
  SeededRandom random;
  KeyPair key;
  Hello hello;
  LinkClass admits = LinkClass::member;
  std::unique_ptr<Links> links;
  std::vector<Received> frames;
  std::vector<std::string> downs, dial_failures;
  std::vector<RunsTwice> twice;
  std::size_t ups = 0, writables = 0;
  std::function<void(const Up&)> on_up;
  std::function<void(LinkId, FrameType, ByteView)> on_frame;
  std::function<void(LinkId)> on_writable;

 private:
  std::vector<Up> up_;
  bool touched_ = false;
};

/// Deadlines that tests can wait for.
inline LinkTimes short_times() {
  using std::chrono::milliseconds;
  LinkTimes times;
  times.dial = times.handshake = times.silence_max = times.challenge = milliseconds(400);
  times.ping_interval = milliseconds(100);
  times.closing = milliseconds(200);
  times.enrolling_age_max = milliseconds(400);
  return times;
}

}  // namespace diot
