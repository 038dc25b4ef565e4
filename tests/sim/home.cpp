#include "tests/sim/home.hpp"

#include <fmt/format.h>

#include "tests/sim/world.hpp"

namespace diot::sim {

namespace {
constexpr Time tick_interval = 100ms;
}

Home::Home(World& world, HomeIndex at, std::string name, std::uint64_t seed)
    : index(at),
      handle(std::move(name)),
      address(handle + ":42220"),
      clock(world.schedule),
      chance(seed),
      key(KeyPair::generate(chance)),
      owner(KeyPair::generate(chance)),
      world_(world) {}

void Home::Process::HomeTurn::touch() {
  if (std::exchange(pending, true)) return;
  // What else has come in by then is part of the same turn.
  home.in_this_life(Time(home.chance.between(0, 300)), &Home::end_turn);
}

Home::Process::Process(Home& home, NodeCoreConfig config)
    : turn(home),
      disk(std::exchange(home.image, {}), home.world_.schedule, home.chance, home.disk_speed, [this] { turn.touch(); }),
      core(std::move(config), home.key, disk, turn, home.clock, home.chance) {}

void Home::in_this_life(Time delay, void (Home::*what)()) {
  world_.schedule.after(delay, [this, life = life_, what] {
    if (running() && life_ == life) (this->*what)();
  });
}

void Home::start() {
  expect(!running(), "a home starts twice");
  life_ = world_.next_life();
  wants_to_run = true;
  world_.trace.add(life_);
  NodeCoreConfig config;
  config.handle = handle;
  config.genesis = world_.genesis;
  config.witness = witness;
  config.broker.sys_interval = std::chrono::seconds(0);
  process_ = std::make_unique<Process>(*this, std::move(config));
  const auto give_up = [&](const Error& error) {
    refusal = error.message;
    refused = true;
    crash(false);
    if (!damaged) world_.checker.fail(Invariant::start, fmt::format("@{} did not start: {}", handle, refusal));
  };
  if (auto opened = core().open(); !opened) return give_up(opened.error());
  process_->directory = std::make_unique<BookDirectory>(world_.book, core().ledger().network());
  process_->port =
      std::make_unique<Port>(world_.network, index, life_, key.node_id(), address, core().overlay(), process_->turn);
  world_.network.attach(*process_->port);
  if (auto started = core().start(*process_->port, process_->directory.get()); !started)
    return give_up(started.error());
  core().overlay().set_addresses({address});
  in_this_life(chance.between(Time(0), tick_interval), &Home::tick);
  touch();
}

void Home::crash(bool power_cut) {
  if (!running()) return;
  world_.trace.add(~life_);
  if (process_->port) world_.network.detach(*process_->port, power_cut);
  image = disk().crash();
  process_.reset();
  world_.home_died(*this);
}

void Home::stop() {
  if (!running()) return;
  core().broker().stop();
  touch();
  world_.schedule.after(300ms, [this, life = life_] {
    if (running() && life_ == life) crash(false);
  });
}

void Home::tick() {
  core().tick();
  world_.after_tick(*this);
  in_this_life(tick_interval, &Home::tick);
}

void Home::end_turn() {
  process_->turn.pending = false;
  core().end_turn();
  // The last moment at which a process can die with a transaction handed over and nothing sent.
  if (world_.dies_before_flush(*this)) return crash(false);
  process_->port->flush();
  world_.after_turn(*this);
}

}  // namespace diot::sim
