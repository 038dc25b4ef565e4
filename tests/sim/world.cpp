#include "tests/sim/world.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot::sim {

namespace {

constexpr Time first_joins = 2s, calm_after_max = 180s, calm_again = 3s,
               calm_again_apart = 60s;  // who asked members that bring nothing asks others, one in 40 s

Network::Rules draw_rules(Chance& chance) {
  Network::Rules rules;
  if (chance.percent(30)) rules.delay_max = 400ms;
  if (chance.percent(20)) rules.bytes_per_second = 100'000;
  if (chance.percent(30)) rules.dials_failing_percent = 20;
  return rules;
}

std::string handle_of(HomeIndex index) {
  static constexpr const char* names[] = {"alice", "bob",   "carol", "dave", "erin",  "frank",
                                          "grace", "heidi", "ivan",  "judy", "mallo", "niaj"};
  return index < std::size(names) ? names[index] : fmt::format("home{}", index);
}

}  // namespace

World::World(const Options& given)
    : options(given),
      chance(given.seed),
      checker(schedule),
      network(schedule, Chance(chance.next()), trace, draw_rules(chance)),
      book(schedule, Chance(chance.next())) {
  crypto_init();
  checker.handle = [this](HomeIndex home) -> const std::string& { return homes[home]->handle; };
  checker.retain_may_go = [this](HomeIndex home) { return homes[home]->disk_was_full; };
  checker.damaged = [this](HomeIndex home) { return homes[home]->damaged; };
  checker.in_force = [this](const Checker::Published& message) { return subscribers_in_force(message); };
  network.on_leave = [this](HomeIndex from, HomeIndex, FrameType, ByteView body) { checker.frame(from, body); };
  network.on_arrive = [this](HomeIndex from, HomeIndex to, FrameType type, ByteView body) {
    return arrive(from, to, type, body);
  };
  if (options.verbose)
    network.on_leave = [this](HomeIndex from, HomeIndex to, FrameType type, ByteView body) {
      checker.frame(from, body);
      tell_frame(from, to, type, body);
    };
  network.can_dial = [this](HomeIndex from, HomeIndex to) {
    return !undiallable_.contains({from, to}) && !apart(from, to);
  };
  book.on_publish = [this](ByteView record) { checker.frame(0, record); };
  draw_climate();
}

World::~World() = default;

bool covered_by_share(std::string_view topic) {
  return topic.starts_with("pub/") && !topic.starts_with("pub/private/");
}

void World::tell_frame(HomeIndex from, HomeIndex to, FrameType type, ByteView body) {
  const std::string who = fmt::format("@{} to @{}:", homes[from]->handle, homes[to]->handle);
  const auto place = [](const wire::Position& position) {
    return fmt::format("{}…:{}/{}", position.writer.hex().substr(0, 4), position.cursor.incarnation.number % 1'000'000,
                       position.cursor.seq);
  };
  const auto all = [&](const std::vector<wire::Position>& positions) {
    std::string out;
    for (const auto& position : positions) out += " " + place(position);
    return out;
  };
  if (type == FrameType::batch) {
    const auto held = wire::decode_batch(body);
    const auto batch = BatchView::parse(held->batch);
    const BatchHeader& header = batch->header;
    tell("{} {} batch of {}, {}…:{}/{} to {}, previous {}, is {}", who,
         header.stream == Stream::live ? "live" : "durable", header.channel.hex().substr(0, 4),
         header.writer.hex().substr(0, 4), header.incarnation.number % 1'000'000, header.first_seq, header.last_seq(),
         header.previous.hex().substr(0, 4), batch->header_hash.hex().substr(0, 4));
  } else if (type == FrameType::channel_join) {
    if (const auto join = wire::decode_channel_join(body))
      tell("{} join {}{}{}", who, join->channel.hex().substr(0, 4), join->snapshot ? " with values" : "",
           all(join->positions));
  } else if (type == FrameType::channel_heads) {
    if (const auto heads = wire::decode_channel_heads(body))
      tell("{} heads {} {}{}", who, heads->channel.hex().substr(0, 4), heads->error, all(heads->positions));
  } else if (type == FrameType::range_get) {
    if (const auto get = wire::decode_channel_position(body))
      tell("{} range_get {} {}", who, get->channel.hex().substr(0, 4), place(get->position));
  } else if (type == FrameType::range_gap) {
    if (const auto gap = wire::decode_channel_gap(body))
      tell("{} range_gap {} {}", who, gap->channel.hex().substr(0, 4), place(gap->position));
  } else if (type >= FrameType::catalogue_get) {
    tell("{} frame {} of {} bytes", who, static_cast<int>(type), body.size());
  }
}

// The story --------------------------------------------------------------------------------------------------

void World::draw_climate() {
  const bool gentle = options.sabotage != Sabotage::none;
  climate_.trouble = gentle ? Time(20s) : Time(chance.between(10, 60) * 1'000'000);
  climate_.every = Time(chance.between(100, 2000) * 1000);
  climate_.publishes = static_cast<std::size_t>(chance.between(50, 400));
  climate_.crashes = !gentle && chance.percent(75);
  climate_.power_cuts = !gentle && chance.percent(50);
  climate_.partitions = !gentle && chance.percent(50);
  climate_.link_breaks = !gentle && chance.percent(60);
  climate_.full_disks = !gentle && chance.percent(20);
  climate_.slow_disks = !gentle && chance.percent(30);
  climate_.bit_flips = !gentle && chance.percent(15);
  climate_.backups = !gentle && chance.percent(15);
  climate_.skewed_clocks = !gentle && chance.percent(40);
  climate_.nats = !gentle && chance.percent(30);
  climate_.large_percent = !gentle && chance.percent(10) ? 10 : 0;
  // Of some worlds, so that the others stay what they were before there were wills.
  climate_.wills = options.sabotage == Sabotage::forget_wills || (!gentle && options.seed % 5 == 0);
  if (options.hours > 0) {
    // As many faults as in some minutes, so that between them time runs out for what has an end: leases, retention, pauses.
    const Time trouble = std::chrono::hours(options.hours);
    climate_.every *= std::max<std::int64_t>(1, trouble / climate_.trouble / 10);
    climate_.trouble = trouble;
    climate_.publishes *= 10;
  }
  std::size_t count = options.homes;
  if (count == 0) {
    const auto kind = chance.below(100);
    count = static_cast<std::size_t>(kind < 60   ? chance.between(2, 4)
                                     : kind < 90 ? chance.between(5, 7)
                                                 : chance.between(8, 12));
  }
  for (HomeIndex index = 0; index < count; ++index) {
    homes.push_back(std::make_unique<Home>(*this, index, handle_of(index), chance.next()));
    if (climate_.skewed_clocks)
      homes.back()->clock.wrong_by = std::chrono::milliseconds(chance.between(-120'000, 120'000));
    if (!climate_.nats || index == 0 || !chance.percent(40)) continue;
    for (HomeIndex other = 0; other < count; ++other) undiallable_.insert({other, index});
  }
  climate_.apart = options.sabotage == Sabotage::deaf_forwarder ||
                   (!gentle && options.seed >= first_seed_apart && options.seed % 2 == 1);
  if (climate_.apart && count > 2) keep_apart();
}

void World::keep_apart() {
  Chance own(options.seed * 0x9e3779b97f4a7c15 + 1);  // so that the rest of the world does not depend on it
  const std::size_t count = homes.size();
  if (options.sabotage != Sabotage::deaf_forwarder && own.percent(40)) {
    for (HomeIndex a = 1; a < count; ++a)
      for (HomeIndex b = a + 1; b < count; ++b)
        if (own.percent(40)) apart_.insert({a, b});
    // The founder may let five in within a month: where there are more, each can be let in by somebody else, too.
    for (HomeIndex a = 1; count > 6 && a < count; ++a) {
      bool alone = true;
      for (HomeIndex b = 1; b < count; ++b) alone = alone && (b == a || apart(a, b));
      if (alone) apart_.erase(std::minmax(a, a % (count - 1) + 1));
    }
    return;
  }
  hub_ = own.below(count - 1) + 1;
  // Only the hub can invite them, and the ledger lets it invite five in a month.
  for (HomeIndex home = 1; home < count && behind_.size() < 4; ++home)
    if (home != hub_ && own.percent(60)) behind_.insert(home);
  if (behind_.empty()) behind_.insert(hub_ == 1 ? 2 : 1);
  for (const HomeIndex home : behind_)
    for (HomeIndex other = 0; other < count; ++other)
      if (other != home && other != hub_) apart_.insert(std::minmax(home, other));
  for (HomeIndex other = 0; other < count; ++other) undiallable_.erase({other, hub_});
}

bool World::may_invite(HomeIndex inviter, HomeIndex home) const {
  return behind_.empty() || (inviter == hub_) == behind_.contains(home);
}

std::optional<HomeIndex> World::forwarder_of(HomeIndex reader, HomeIndex owner) const {
  // Everybody dials the founder, and who is behind the hub the hub; a forwarder dials who is asked of it.
  const auto joins = [&](HomeIndex end, HomeIndex middle) {
    return end != middle && !apart(end, middle) &&
           (middle == 0 || end == 0 || (middle == hub_ && behind_.contains(end)));
  };
  for (const HomeIndex middle : {HomeIndex{0}, hub_})
    if (joins(reader, middle) && owner != middle && !apart(middle, owner) &&
        (joins(owner, middle) || !undiallable_.contains({middle, owner})) && !homes[middle]->refused)
      return middle;
  return std::nullopt;
}

void World::found_network() {
  Home& founder = *homes.front();
  founder.witness = KeyPair::generate(founder.chance);
  Genesis made;
  made.time = founder.clock.wall_ms();
  made.witnesses = {founder.witness->public_key()};
  const Registration what{founder.handle,
                          founder.owner.public_key(),
                          sha256(founder.key.public_key()),
                          {{founder.key.node_id(), Role::admin}}};
  made.founding = {make_register(what, {}, {}, founder.owner, {founder.key}, nullptr)};
  genesis = encode_genesis(made, {*founder.witness});
  const auto ledger = Ledger::from_genesis(genesis);
  expect(ledger.has_value(), "the simulated genesis is good");
  Disk::put_row(founder.image, Table::block, block_key(1),
                ledger->make_first_block(founder.clock.wall_ms(), *founder.witness).value());
  settle_in(founder);
}

void World::join(Home& home, Home& inviter) {
  const auto again = [this, &home] {
    if (home.registered) return;
    std::vector<Home*> able;
    for (const auto& other : homes)
      if (other->registered && other->running() && may_invite(other->index, home.index) &&
          !apart(other->index, home.index))
        able.push_back(other.get());
    if (!able.empty()) return join(home, *chance.one_of(able));
    schedule.after(1s, [this, &home] { join(home, *homes.front()); });
  };
  if (!inviter.running() || !may_invite(inviter.index, home.index) || apart(inviter.index, home.index))
    return schedule.after(1s, again);
  NodeCore& core = inviter.core();
  // Told, as the real joiner is, when the block is on disk.
  if (core.ledger().handle(home.handle) && inviter.disk().holds(Table::block, block_key(core.ledger().head().height))) {
    const auto scanned = inviter.disk().scan(Table::block, {}, {},
                                             [&](ByteView key, ByteView block) {
                                               Disk::put_row(home.image, Table::block, key, block);
                                               return true;
                                             },
                                             {});
    expect(scanned.has_value(), "the simulated disk can be read");
    Disk::put_row(home.image, Table::meta, meta_dht_key(), encode_dht_key(core.dht_key()));
    Disk::put_row(home.image, Table::peer, inviter.key.node_id(), encode_addresses({inviter.address}));
    return settle_in(home);
  }
  const auto invite = core.overlay().make_invite(1, 3'600'000);
  if (!invite) return schedule.after(1s, again);
  const Registration what{
      home.handle, home.owner.public_key(), sha256(home.key.public_key()), {{home.key.node_id(), Role::admin}}};
  core.overlay().ledger_sync().submit(
      make_register(what, core.ledger().network(), core.ledger().head(), home.owner, {home.key}, &*invite),
      [](const Result<std::uint64_t>&) {});
  // Another one asks next time: the ledger lets nobody invite too many in a month.
  schedule.after(chance.between(Time(300ms), Time(3s)), again);
}

void World::settle_in(Home& home) {
  tell("@{} joins", home.handle);
  home.registered = true;
  home.start();
  add_clients(home);
}

void World::add_clients(Home& home) {
  const auto make = [&](const std::string& id) -> Client& {
    Client::Profile profile;
    profile.id = fmt::format("{}-{}", home.handle, id);
    profile.protocol = chance.percent(50) ? Protocol::mqtt_5 : Protocol::mqtt_3_1_1;
    profile.persistent = chance.percent(75);
    profile.window = static_cast<std::size_t>(chance.between(1, 20));
    profile.lan_delay = chance.between(Time(50us), Time(3ms));
    profile.thinking_max = chance.percent(20) ? Time(200ms) : Time(5ms);
    auto& client = clients.emplace_back(std::make_unique<Client>(*this, home, profile, chance.next()));
    client->subscriber = checker.add_subscriber(home.index, profile.id);
    return *client;
  };
  const auto begin = [&](Client& client) {
    schedule.after(chance.between(Time(1ms), Time(1s)), [&client] { client.begin(); });
  };
  for (std::int64_t left = chance.between(1, 2); left > 0; --left) {
    Client& publisher = make(fmt::format("p{}", left));
    for (const char* topic : {"pub/{}/a", "pub/{}/b", "pub/private/{}/SECRET", "home/{}/SECRET"})
      topics_.push_back({fmt::format(fmt::runtime(topic), publisher.profile.id), &publisher});
    if (climate_.wills) publisher.leave_wills_on(fmt::format("pub/{}/will", publisher.profile.id));
    begin(publisher);
  }
  for (std::int64_t left = chance.between(1, 3); left > 0; --left) {
    Client& reader = make(fmt::format("s{}", left));
    for (std::int64_t filters = chance.between(1, 3); filters > 0; --filters) {
      const std::string& other = chance.one_of(homes)->handle;
      static constexpr const char* kinds[] = {"@{}/pub/#", "@{}/#", "@{}/pub/+/a", "@{}/pub/#"};
      std::string filter = fmt::format(fmt::runtime(kinds[chance.below(4)]), other);
      if (chance.percent(15)) filter = chance.percent(50) ? "pub/#" : "#";
      const bool taken =
          std::ranges::any_of(reader.filters(), [&](const Client::Filter& one) { return one.filter == filter; });
      if (!taken)
        reader.add_filter(std::move(filter), static_cast<Qos>(chance.below(10) < 1 ? 0 : chance.between(1, 2)));
    }
    begin(reader);
  }
}

Report World::run() {
  found_network();
  for (std::size_t at = 1; at < homes.size(); ++at)
    schedule.after(
        chance.percent(80) ? chance.between(Time(0), first_joins) : chance.between(Time(0), climate_.trouble),
        [this, &home = *homes[at]] { join(home, *homes.front()); });
  for (std::size_t left = climate_.publishes; left > 0; --left)
    schedule.at(chance.between(Time(1s), climate_.trouble), [this] {
      for (auto burst = chance.percent(20) ? chance.between(2, 12) : 1; burst > 0; --burst) publish_one();
    });
  for (Time at = first_joins; at < climate_.trouble; at += chance.between(Time(0), 2 * climate_.every))
    if (options.sabotage == Sabotage::none) schedule.at(at, [this] { fault_one(); });
  if (options.sabotage != Sabotage::none) schedule.at(climate_.trouble / 2, [this] { sabotage_one(); });
  run_until(climate_.trouble);
  heal();
  const Time limit = schedule.now() + calm_after_max;
  do {
    while (!calm() && schedule.now() < limit) run_until(schedule.now() + 500ms);
    run_until(schedule.now() +
              (apart_.empty()
                   ? calm_again
                   : calm_again_apart));  // for what may come twice, and links whose end nobody has noticed yet
  } while (!calm() && schedule.now() < limit);
  if (options.sabotage == Sabotage::stale_retained) sabotage_one();
  if (!calm()) {
    if (checker.missing() == 0 || options.sabotage != Sabotage::none)
      checker.fail(Invariant::liveness, "the world does not come to rest");
  }
  checker.check_missing();
  check_retained();
  if (climate_.wills) {
    check_wills();
    if (options.sabotage == Sabotage::none && calm()) end_a_gateway();
  }
  return report();
}

void World::run_until(Time end) {
  while (schedule.step(end)) {
  }
}

Report World::report() {
  Report out;
  out.seed = options.seed;
  out.steps = schedule.steps();
  out.homes = homes.size();
  out.apart = !apart_.empty();
  out.lasted = schedule.now();
  out.messages = checker.count();
  out.deliveries = checker.deliveries();
  out.crashes = crashes_;
  out.network = network.stats();
  out.violations = checker.violations();
  for (MessageIndex at = 0; at < checker.count(); ++at) out.acknowledged += checker.message(at).acknowledged;
  trace.add(out.steps);
  trace.add(out.deliveries);
  out.hash = trace.hash();
  if (out.violations.empty()) return out;
  for (const auto& home : homes)
    out.state.push_back(fmt::format("@{}: {}{}{}", home->handle, home->running() ? "up" : "down",
                                    home->damaged ? ", damaged disk" : "",
                                    home->refusal.empty() ? "" : ", refused to start: " + home->refusal));
  for (const auto& home : homes) {
    if (!home->running()) continue;
    std::string counters = fmt::format("@{}:", home->handle);
    for (const auto& [event, count] : home->core().overlay().counters())
      counters += fmt::format(" {} {},", count, event);
    out.state.push_back(std::move(counters));
    for (const auto& channel : home->core().overlay().remote().status())
      out.state.push_back(
          fmt::format("@{} reads '{}' of @{} at {} nodes: {} records, {} lost, {} of {} logs waited for", home->handle,
                      channel.filter, channel.handle, channel.joined, channel.durable_records, channel.durable_lost,
                      channel.withheld.size(), 1));
    for (const auto& peer : home->core().overlay().peers().status())
      if (peer.state != Peers::Status::State::up)
        out.state.push_back(fmt::format("@{} has no link to '{}': {}{}", home->handle, peer.address, peer.last_failure,
                                        peer.state == Peers::Status::State::dialling ? ", dialling" : ""));
  }
  for (const auto& client : clients) out.state.push_back(client->describe());
  for (const auto& client : clients)
    for (const auto& filter : client->filters())
      if (client->home().running() && filter.granted)
        if (const auto why = client->home().core().overlay().remote().waiting_for(filter.filter); !why.empty())
          out.state.push_back(fmt::format("@{} waits for '{}': {}", client->home().handle, filter.filter, why));
  return out;
}

// Traffic ----------------------------------------------------------------------------------------------------

void World::publish_one() {
  Topic& topic = chance.one_of(topics_);
  const Home& home = topic.publisher->home();
  const auto kind = chance.below(100);
  const Qos qos = kind < 20 ? Qos::at_most_once : kind < 60 ? Qos::at_least_once : Qos::exactly_once;
  const bool retain = chance.percent(25), removes = retain && chance.percent(10);
  const MessageIndex message =
      checker.publish(home.index, topic.publisher->profile.id, topic.name, qos, retain, removes);
  const std::size_t bytes = chance.percent(climate_.large_percent) ? chance.below(60'000) : chance.below(200);
  topic.publisher->publish(message, chance.percent(15) ? owned_topic(home.handle, topic.name) : topic.name, qos, retain,
                           checker.payload_of(message, bytes));
}

std::set<SubscriberIndex> World::subscribers_in_force(const Checker::Published& message) const {
  std::set<SubscriberIndex> out;
  const std::string& owner = homes[message.home]->handle;
  for (const auto& client : clients) {
    if (!client->profile.persistent) continue;
    const Home& home = client->home();
    const bool own = home.index == message.home;
    if (!own && !covered_by_share(message.topic)) continue;
    const std::string seen = own ? message.topic : owned_topic(owner, message.topic);
    for (const auto& filter : client->filters()) {
      if (!filter.granted || filter.qos == Qos::at_most_once ||
          !matches(local_name(filter.filter, {home.handle, {}}), seen))
        continue;
      const auto force = forces_.find({home.index, filter.filter});
      const bool remote = force != forces_.end() && force->second.in_force && reachable(home.index, message.home) &&
                          force->second.channel == homes[message.home]->channel;
      if (own || remote) out.insert(client->subscriber);
    }
  }
  return out;
}

void World::withdrawn(Home& home, const std::string& filter) {
  for (const auto& client : clients)
    if (&client->home() == &home && client->profile.persistent)
      for (const auto& other : client->filters())
        if (other.granted && other.filter == filter) return;
  forces_.erase({home.index, filter});
}

void World::after_tick(Home& home) {
  NodeCore& core = home.core();
  OwnChannels& own = core.overlay().own();
  if (!own.shares().by_filter("pub/#")) {
    // The exception first: nothing of it may leave in between.
    const bool added = own.add("pub/private/#", Preset::local) && own.add("pub/#", Preset::public_);
    if (added) home.touch();
  }
  if (const ShareRecord* share = own.shares().by_filter("pub/#")) home.channel = share->channel;
  for (const auto& client : clients) {
    if (&client->home() != &home || !client->profile.persistent) continue;
    for (const auto& filter : client->filters()) {
      const auto parts = parts_of(filter.filter);
      if (!filter.granted || parts.kind != TopicKind::owned || parts.handle == home.handle) continue;
      Force& force = forces_[{home.index, filter.filter}];
      if (force.in_force) continue;
      if (force.life == home.life() && home.disk().durable_ticket() >= force.ticket)
        force.in_force = true;
      else if (force.life != home.life() && core.overlay().remote().acknowledged(filter.filter))
        if (const auto* shares = core.overlay().remote().catalogue_of(parts.handle); shares && !shares->empty())
          force = {false, home.life(), home.disk().open_ticket(), shares->begin()->first};
    }
  }
  for (const auto& fork : core.overlay().ledger_sync().forks())
    checker.fail(Invariant::ledger, fmt::format("@{} was shown another block {}", home.handle, fork.height()));
  check_bounds(home);
  if (climate_.wills) watch_wills(home);
}

void World::after_turn(Home& home) {
  const std::uint64_t height = home.core().ledger().head().height;
  // What is not on disk yet may be made once more, differently, after a crash.
  for (std::uint64_t& seen = heights_seen_[home.index];
       seen < height && home.disk().holds(Table::block, block_key(seen + 1)); ++seen)
    checker.block(home.index, seen + 1, *home.core().ledger().block_at(seen + 1));
}

void World::home_died(Home& home) {
  heights_seen_.erase(home.index);
  for (const auto& client : clients)
    if (&client->home() == &home)
      schedule.after(chance.between(Time(0), Time(100ms)), [&home, client = client.get(), life = home.life()] {
        if (!home.running() || home.life() != life) client->home_died();
      });
}

// Faults -----------------------------------------------------------------------------------------------------

Home* World::running_home() {
  std::vector<Home*> able;
  for (const auto& home : homes)
    if (home->running()) able.push_back(home.get());
  return able.empty() ? nullptr : chance.one_of(able);
}

bool World::dies_before_flush(Home& home) {
  if (!trouble_ || !climate_.crashes || chance.below(20'000) != 0) return false;
  tell("@{} dies before its links are flushed", home.handle);
  ++crashes_;
  start_again(home, Time(chance.between(10, 5000) * 1000));
  return true;
}

void World::start_again(Home& home, Time after) {
  schedule.after(after, [this, &home] {
    if (home.running() || home.refused) return;
    tell("@{} starts again", home.handle);
    home.start();
  });
}

void World::fault_one() {
  Home* const home = running_home();
  if (!home || !trouble_) return;
  const Time left = climate_.trouble - schedule.now();
  const Time while_ = std::min(left, Time(chance.between(1, 40) * 1'000'000));
  switch (chance.below(14)) {
    case 0:
    case 1:
      if (!climate_.crashes) return;
      {
        const bool power_cut = climate_.power_cuts && chance.percent(40);
        tell("@{} {}", home->handle, power_cut ? "loses power" : "is killed");
        ++crashes_;
        home->crash(power_cut);
        return start_again(*home, Time(chance.between(10, 10'000) * 1000));
      }
    case 2:
      if (!climate_.crashes || !chance.percent(40)) return;
      tell("@{} is stopped", home->handle);
      home->stop();
      return start_again(*home, Time(chance.between(400, 10'000) * 1000));
    case 3:
    case 4:
      if (!climate_.link_breaks) return;
      tell("a link breaks");
      return network.break_one();
    case 5: {
      if (!climate_.partitions) return;
      std::set<HomeIndex> side;
      for (const auto& one : homes)
        if (chance.percent(50)) side.insert(one->index);
      tell("{} homes are cut off for {} ms", side.size(), while_.count() / 1000);
      return network.partition(std::move(side), schedule.now() + while_);
    }
    case 6:
      if (!climate_.full_disks || home->disk().trouble()) return;
      tell("@{}'s disk is full for {} ms", home->handle, while_.count() / 1000);
      home->disk().set_full(true);
      home->disk_was_full = true;
      return schedule.after(while_, [home, life = home->life()] {
        if (home->running() && home->life() == life) home->disk().set_full(false);
      });
    case 7:
      if (!climate_.slow_disks) return;
      tell("@{}'s disk is slow", home->handle);
      home->disk().set_speed({10ms, 300ms});
      return;
    case 8:
      if (!climate_.bit_flips) return;
      tell("a bit of @{}'s disk flips", home->handle);
      home->damaged |= home->disk().flip_bit({Table::peer, Table::log, Table::cursor, Table::retained, Table::session,
                                              Table::queue, Table::spool, Table::inflight});
      return;
    case 9:
      if (!climate_.backups) return;
      if (!home->backup) {
        tell("@{} is backed up", home->handle);
        home->backup = home->disk().image();
        return;
      }
      // A registrar that comes back from a backup alone would make its last blocks once more, differently.
      if (home->witness) return;
      tell("@{} comes back from its backup", home->handle);
      ++crashes_;
      home->crash(false);
      home->damaged = true;
      home->image = *home->backup;
      return start_again(*home, Time(chance.between(100, 10'000) * 1000));
    case 10:
      if (!climate_.skewed_clocks) return;
      home->clock.wrong_by = std::chrono::milliseconds(chance.between(-120'000, 120'000));
      tell("@{}'s clock is off by {} ms", home->handle, home->clock.wrong_by.count());
      return;
    case 11:
    case 12: {
      Client& client = *chance.one_of(clients);
      const Time away(chance.between(0, 8000) * 1000);
      if (chance.percent(60)) return client.lose(away);
      return client.leave(away);
    }
    default: {
      Client& client = *chance.one_of(clients);
      if (!client.filters().empty() && chance.percent(50))
        return client.toggle_filter(chance.below(client.filters().size()));
      // Something for the ledger.
      const HandleRecord* record = home->core().ledger().handle(home->handle);
      if (!record) return;
      HandleRecord changed = *record;
      home->chance.fill(changed.profile.bytes);
      home->core().overlay().ledger_sync().submit(
          make_update(changed, home->core().ledger().network(), home->core().ledger().head(), home->owner, {}),
          [](const Result<std::uint64_t>&) {});
    }
  }
}

// Peace ------------------------------------------------------------------------------------------------------

void World::heal() {
  tell("all faults end");
  trouble_ = false;
  network.heal();
  for (const auto& home : homes) {
    home->disk_speed = {};
    if (!home->running()) {
      if (home->registered) start_again(*home, Time(10ms));
      continue;
    }
    home->disk().set_speed({});
    if (home->disk().trouble()) home->disk().set_full(false);
  }
}

/// The reader dials the owner, and everybody the founder: until there are relays, nobody else can count on a home behind
/// NAT (others may get lucky, over a third).
bool World::reachable(HomeIndex reader, HomeIndex owner) const {
  if (apart(reader, owner)) return forwarder_of(reader, owner).has_value();
  return !undiallable_.contains({reader, owner}) || reader == 0;
}

bool World::joined_by_forwarder(HomeIndex reader, HomeIndex owner) const {
  const auto middle = forwarder_of(reader, owner);
  return middle && network.linked(reader, *middle) && network.linked(*middle, owner);
}

bool World::calm() {
  for (const auto& home : homes) {
    if (home->refused && home->damaged) continue;
    if (!home->running() || home->disk().busy()) return false;
  }
  for (const auto& client : clients) {
    Home& home = client->home();
    if (!home.running()) continue;
    if (!client->idle()) return false;
    for (const auto& filter : client->filters()) {
      const auto parts = parts_of(filter.filter);
      // A damaged disk may have lost a subscription: then its client is deaf until it subscribes anew.
      if (!filter.granted || home.damaged || parts.kind != TopicKind::owned) continue;
      const auto owner = std::ranges::find(homes, parts.handle, [](const auto& one) { return one->handle; });
      if (!(*owner)->running() || !reachable(home.index, (*owner)->index)) continue;
      // While it waits for the owner other members may acknowledge, who know no more than it does itself.
      if (!home.core().overlay().remote().acknowledged(filter.filter)) return false;
      if (home.index == (*owner)->index) continue;
      const bool linked = apart(home.index, (*owner)->index) ? joined_by_forwarder(home.index, (*owner)->index)
                                                             : network.linked(home.index, (*owner)->index);
      if (!linked) return false;
    }
  }
  return network.settled() && checker.missing() == 0;
}

void World::check_retained() {
  // Whoever publishes on a topic sends in order, so that its latest value is at least the last acknowledged one.
  std::map<std::pair<HomeIndex, std::string>, MessageIndex> acknowledged;
  for (MessageIndex at = 0; at < checker.count(); ++at)
    if (const auto& message = checker.message(at); message.retain && message.acknowledged)
      acknowledged[{message.home, message.topic}] = at;
  const auto value_at = [](Home& home, const std::string& topic) -> MessagePtr {
    const RetainedValue* value = home.core().retained().find(topic);
    return value ? value->message : nullptr;
  };
  for (const auto& topic : topics_) {
    Home& owner = topic.publisher->home();
    if (!owner.running() || owner.damaged) continue;
    const MessagePtr value = value_at(owner, topic.name);
    if (const auto last = acknowledged.find({owner.index, topic.name}); last != acknowledged.end()) {
      bool good = false;
      const auto& newest = checker.message(last->second);
      for (MessageIndex at = 0; at < checker.count(); ++at) {
        const auto& message = checker.message(at);
        // An earlier one of QoS 1 that was sent again is taken again, also behind one of QoS 2 that was known already.
        const bool again =
            message.sent_again && message.qos == Qos::at_least_once && message.sent_last >= newest.sent_at;
        if (message.home == owner.index && message.topic == topic.name && message.retain &&
            (at >= last->second || again))
          good =
              good || (value ? !message.removes && equal(value->payload, checker.payload_of(at, value->payload.size()))
                             : message.removes);
      }
      if (!good)
        checker.fail(Invariant::retained,
                     fmt::format("@{} keeps {} for '{}', but m{} was acknowledged", owner.handle,
                                 value ? as_text(value->payload).substr(0, 8) : "nothing", topic.name, last->second));
    }
    if (!covered_by_share(topic.name)) continue;
    const std::string seen = owned_topic(owner.handle, topic.name);
    for (const auto& client : clients) {
      Home& reader = client->home();
      if (&reader == &owner || !reader.running() || reader.damaged || !reachable(reader.index, owner.index)) continue;
      const bool wants = std::ranges::any_of(client->filters(), [&](const Client::Filter& filter) {
        return filter.granted && parts_of(filter.filter).kind == TopicKind::owned && matches(filter.filter, seen) &&
               reader.core().overlay().remote().acknowledged(filter.filter);
      });
      if (!wants) continue;
      const MessagePtr copy = value_at(reader, seen);
      if ((copy == nullptr) != (value == nullptr) || (copy && copy->payload != value->payload))
        checker.fail(Invariant::retained, fmt::format("@{} keeps {} for '{}' and its owner {}", reader.handle,
                                                      copy ? as_text(copy->payload).substr(0, 8) : "nothing", seen,
                                                      value ? as_text(value->payload).substr(0, 8) : "nothing"));
    }
  }
}

void World::check_bounds(Home& home) {
  const auto bound = [&](const char* what, std::size_t is, std::size_t most) {
    if (is > most) checker.fail(Invariant::bounds, fmt::format("@{}: {} {}, at most {}", home.handle, is, what, most));
  };
  bound("unsent bytes of a link", network.unsent_max_seen(), limits::link_output_bytes_max);
  bound("links", network.links_of(home.index), limits::links_max);
  // What a turn brings may lie on top.
  bound("bytes that wait for the disk", home.disk().pending_bytes(),
        limits::store_pending_bytes_max + limits::batch_body_bytes_max);
  const BrokerCounts counts = home.core().broker().counts();
  bound("sessions", counts.sessions, limits::sessions_max);
  bound("retained values", counts.retained, limits::retained_count_max);
}

}  // namespace diot::sim
