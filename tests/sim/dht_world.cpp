#include "tests/sim/dht_world.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "dht/peers.hpp"
#include "dht/sealed_datagram.hpp"

namespace diot::sim {

namespace {

constexpr Time look_every = 3s;  // as Peers does
constexpr Time find_max = 11s;   // DhtTiming's, and a turn
constexpr Time nat_keeps = 60s;
constexpr std::size_t overheard_max = 200;
constexpr std::size_t stranger_index = 1000;

std::string text_of(const Datagrams::Endpoint& endpoint) {
  return fmt::format("{}:{}", endpoint.address().to_string(), endpoint.port());
}

}  // namespace

std::string_view name_of(DhtInvariant invariant) {
  static constexpr std::string_view names[] = {"found", "renewed", "joined", "true", "done", "sealed", "stranger"};
  return names[static_cast<std::size_t>(invariant)];
}

std::string_view name_of(DhtSabotage sabotage) {
  static constexpr std::string_view names[] = {"none",        "other_key", "leak_key",    "deafen",
                                               "trust_clock", "misquote",  "forget_find", "ask_nobody"};
  return names[static_cast<std::size_t>(sabotage)];
}

struct DhtWorld::Home {
  Home(const Schedule& schedule, std::size_t at, std::uint64_t seed)
      : index(at), chance(seed), key(KeyPair::generate(chance)), system(schedule), clock(system) {}

  const std::size_t index;
  Chance chance;
  KeyPair key;
  HomeClock system;         ///< the machine's, right or wrong
  ::diot::HomeClock clock;  ///< what the node makes of it
  Datagrams::Endpoint address;
  std::optional<std::size_t> contact;  ///< the home that let this one in
  std::set<std::string> contacts;      ///< addresses on disk
  bool behind_nat = false;
  bool trusts_clock = false;                  ///< sabotage
  Time known_at{};                            ///< when the others' ledgers know it
  std::uint64_t seq = 0;                      ///< of what it published last; 0 = nothing yet
  std::map<std::uint64_t, std::string> told;  ///< all that it ever published: seq → address
  std::map<std::size_t, std::uint64_t> found;
  std::set<std::size_t> looking;
  std::unique_ptr<DatagramDirectory> directory;
  std::uint64_t life = 0;
};

DhtWorld::DhtWorld(const DhtOptions& with)
    : options_(with),
      chance_(with.seed),
      datagrams_(schedule_, Chance(chance_.next()), trace_),
      network_(chance_.id<NetworkId>()),
      key_{1, chance_.id<decltype(DhtKey::key)>()} {
  crypto_init();
  report_.seed = options_.seed;
  datagrams_.passes = [this](const auto& from, const auto& to) { return passes(from, to); };
  datagrams_.on_leave = [this](const auto& from, const auto& to, ByteView datagram) {
    check_leaving(from, to, datagram);
  };
  draw_climate();
}

DhtWorld::~DhtWorld() = default;

template <class... Args>
void DhtWorld::tell(const char* format, const Args&... args) {
  if (!options_.verbose) return;
  fmt::print(stderr, "{:>9.3f} s  {}\n", static_cast<double>(schedule_.now().count()) / 1e6,
             fmt::vformat(format, fmt::make_format_args(args...)));
}

void DhtWorld::fail(DhtInvariant invariant, const std::string& what) {
  if (report_.violations.size() < 20) report_.violations.push_back({invariant, schedule_.now(), what});
}

// The world ----------------------------------------------------------------------------------------------------

void DhtWorld::draw_climate() {
  const bool faults = options_.faults && options_.sabotage == DhtSabotage::none;
  climate_.trouble = !faults               ? Time(30s)
                     : chance_.percent(10) ? chance_.between(Time(1h), Time(3h))
                                           : chance_.between(Time(30s), Time(600s));
  climate_.every = std::max(climate_.trouble / 60, Time(chance_.between(1, 10) * 1'000'000));
  for (bool* kind : {&climate_.crashes, &climate_.partitions, &climate_.losses, &climate_.moves, &climate_.freezes,
                     &climate_.old_clocks, &climate_.one_way, &climate_.replays})
    *kind = faults && chance_.percent(60);
  climate_.nat = faults && chance_.percent(30);
  if (chance_.percent(30)) datagrams_.rules.delay_max = 300ms;
  if (chance_.percent(50)) datagrams_.rules.jitter = 50ms;
  datagrams_.rules.lost_permille = faults ? chance_.below(30) : 0;
  datagrams_.rules.doubled_permille = faults ? chance_.below(20) : 0;
  const auto count = options_.homes != 0 ? options_.homes : static_cast<std::size_t>(chance_.between(2, 12));
  for (std::size_t index = 0; index < count; ++index) homes_.push_back(make_home(index));
}

std::unique_ptr<DhtWorld::Home> DhtWorld::make_home(std::size_t index) {
  auto home = std::make_unique<Home>(schedule_, index, chance_.next());
  move(*home);
  home->clock.not_before(HomeClock::wall_begin_ms);  // the newest block says
  if (index != 0 && index != stranger_index) {
    // One home lets another in, and is its only contact: one that can be dialled, as the join itself was.
    do home->contact = chance_.below(std::min(index, homes_.size()));
    while (homes_[*home->contact]->behind_nat);
    home->contacts.insert(text_of(homes_[*home->contact]->address));
    home->behind_nat = climate_.nat && chance_.percent(40);
  }
  return home;
}

/// What only the homes that it told have heard of.
void DhtWorld::move(Home& home) {
  home.address = {asio::ip::address_v4(next_address_++), 42220};
  at_[home.address] = home.index;
  datagrams_.names[text_of(home.address)] = home.address;
}

void DhtWorld::start(Home& home) {
  ++home.life;
  if (home.seq == 0) home.known_at = schedule_.now() + home.chance.between(Time(0), Time(10s));
  DhtKey key = key_;
  if (options_.sabotage == DhtSabotage::other_key && home.index == 1) key.key.bytes[0] ^= 1;
  home.directory = std::make_unique<DatagramDirectory>(
      datagrams_, schedule_, home.address, home.key.node_id(), network_, key,
      [this, &home](DirectoryKind kind, ByteView subject, const NodeId& signer) {
        return may_sign(&home, kind, subject, signer);
      },
      home.clock, home.chance);
  for (const auto& contact : home.contacts) home.directory->add_contact(contact);
  announce(home);
  go_on_looking(home);
}

void DhtWorld::crash(Home& home, Time away) {
  tell("home {} dies for {} ms", home.index, away.count() / 1000);
  ++report_.crashes;
  // The program keeps who answered lately.
  for (const auto& node : home.directory->known_nodes()) home.contacts.insert(text_of(node));
  report_.rebuilds += home.directory->status().rebuilds;
  home.clock.not_before(home.clock.wall_ms());
  home.directory.reset();
  home.looking.clear();
  schedule_.after(away, [this, &home] {
    if (home.directory) return;
    if (climate_.moves && trouble_ && chance_.percent(30) &&
        std::ranges::none_of(homes_, [&](const auto& other) { return other->contact == home.index; })) {
      move(home);
      tell("home {} has moved to {}", home.index, text_of(home.address));
    }
    if (climate_.old_clocks && chance_.percent(50))
      home.system.wrong_by = -std::chrono::milliseconds(HomeClock::wall_begin_ms - 5'000);
    tell("home {} starts again", home.index);
    start(home);
  });
}

/// What Overlay::publish_node_record does.
void DhtWorld::announce(Home& home) {
  home.seq = home.trusts_clock ? home.system.wall_ms() : std::max<std::uint64_t>(home.clock.wall_ms(), home.seq + 1);
  DirectoryRecord record;
  record.subject = to_bytes(home.key.node_id());
  record.signer = home.key.node_id();
  record.seq = home.seq;
  record.body = encode_addresses({options_.sabotage == DhtSabotage::misquote ? "elsewhere:1" : text_of(home.address)});
  home.told[home.seq] = text_of(home.address);
  home.directory->publish(DirectoryKind::node, record.subject, encode_directory_record(record, home.key, network_));
}

bool DhtWorld::may_sign(const Home* asked, DirectoryKind kind, ByteView subject, const NodeId& signer) const {
  if (kind != DirectoryKind::node || !equal(subject, signer)) return false;
  return std::ranges::any_of(homes_, [&](const auto& home) {
    return home->key.node_id() == signer && (home.get() == asked || home->known_at <= schedule_.now());
  });
}

// Looking ------------------------------------------------------------------------------------------------------

void DhtWorld::go_on_looking(Home& home) {
  for (const auto& owner : homes_)
    if (owner.get() != &home && home.found[owner->index] != owner->seq) look(home, *owner);
  schedule_.after(look_every, [this, &home, life = home.life] {
    if (home.directory && home.life == life) go_on_looking(home);
  });
}

void DhtWorld::look(Home& home, Home& owner) {
  if (!home.looking.insert(owner.index).second) return;
  ++report_.finds;
  const auto done = std::make_shared<bool>(false);
  home.directory->find(
      DirectoryKind::node, owner.key.node_id(),
      [this, &home, &owner](const DirectoryRecord& record) {
        const auto told = owner.told.find(record.seq);
        const auto addresses = decode_addresses(record.body);
        if (told == owner.told.end() || !addresses || *addresses != std::vector{told->second})
          return fail(DhtInvariant::true_,
                      fmt::format("home {} found what home {} never said", home.index, owner.index));
        // As Peers does with what it learned.
        home.contacts.insert(told->second);
        home.directory->add_contact(told->second);
        auto& newest = home.found[owner.index];
        newest = std::max(newest, record.seq);
      },
      [this, &home, &owner, done] {
        if (options_.sabotage == DhtSabotage::forget_find && home.index == 1) return;
        *done = true;
        home.looking.erase(owner.index);
      });
  schedule_.after(find_max, [this, &home, &owner, done, life = home.life, peace = !trouble_] {
    if (peace && !*done && home.directory && home.life == life)
      fail(DhtInvariant::done, fmt::format("home {} looks for home {} and is never done", home.index, owner.index));
  });
}

bool DhtWorld::all_found() const {
  return std::ranges::all_of(homes_, [&](const auto& home) {
    return home->directory && std::ranges::all_of(homes_, [&](const auto& owner) {
             const auto found = home->found.find(owner->index);
             return owner == home || (found != home->found.end() && found->second == owner->seq);
           });
  });
}

Time DhtWorld::until_found(DhtInvariant invariant, Time most, const char* what) {
  const Time began = schedule_.now();
  while (!all_found() && schedule_.now() < began + most) run_until(schedule_.now() + 100ms);
  const Time took = schedule_.now() - began;
  tell("{}: all found after {} ms", what, took.count() / 1000);
  if (all_found()) return took;
  for (const auto& home : homes_) {
    std::string known;
    for (const auto& node : home->directory->known_nodes()) known += fmt::format(" {}", at_[node]);
    const auto status = home->directory->status();
    tell("home {} at {}, let in by {}{}, {} good and {} dubious nodes, {} values, {} new starts, knows{}", home->index,
         text_of(home->address), home->contact.value_or(home->index), home->behind_nat ? ", behind NAT" : "",
         status.good_nodes, status.dubious_nodes, status.stored_values, status.rebuilds, known);
  }
  for (const auto& home : homes_)
    for (const auto& owner : homes_)
      if (home != owner && home->found[owner->index] != owner->seq)
        fail(invariant, fmt::format("{}: home {} has not found home {} for {} s", what, home->index, owner->index,
                                    most.count() / 1'000'000));
  return took;
}

// Strangers ----------------------------------------------------------------------------------------------------

void DhtWorld::start_stranger() {
  stranger_ = make_home(stranger_index);
  DhtKey key = key_;
  if (options_.sabotage != DhtSabotage::leak_key) key.key = stranger_->chance.id<decltype(DhtKey::key)>();
  stranger_->directory = std::make_unique<DatagramDirectory>(
      datagrams_, schedule_, stranger_->address, stranger_->key.node_id(), network_, key,
      [](DirectoryKind, ByteView, const NodeId&) { return true; }, stranger_->clock, stranger_->chance);
  for (const auto& home : homes_) stranger_->directory->add_contact(text_of(home->address));
  stranger_looks();
}

void DhtWorld::stranger_looks() {
  for (const auto& home : homes_)
    stranger_->directory->find(
        DirectoryKind::node, home->key.node_id(),
        [this](const DirectoryRecord&) { fail(DhtInvariant::stranger, "the stranger found a record"); }, [] {});
  if (!stranger_->directory->known_nodes().empty()) fail(DhtInvariant::stranger, "the stranger is taken for a node");
  schedule_.after(10s, [this] { stranger_looks(); });
}

bool DhtWorld::passes(const Datagrams::Endpoint& from, const Datagrams::Endpoint& to) {
  const auto sender = at_.find(from), receiver = at_.find(to);
  if (sender == at_.end() || receiver == at_.end()) return false;
  for (const auto& cut : cuts_) {
    if (schedule_.now() >= cut.until) continue;
    const bool inside = cut.side.contains(sender->second);
    if (inside != cut.side.contains(receiver->second) && (inside || !cut.one_way)) return false;
  }
  spoken_[{from, to}] = schedule_.now();
  if (receiver->second < homes_.size() && homes_[receiver->second]->behind_nat) {
    const auto spoken = spoken_.find({to, from});
    if (spoken == spoken_.end() || spoken->second + nat_keeps < schedule_.now()) return false;
  }
  return options_.sabotage != DhtSabotage::deafen || receiver->second != 1;
}

void DhtWorld::check_leaving(const Datagrams::Endpoint& from, const Datagrams::Endpoint& to, ByteView datagram) {
  if (stranger_ && from == stranger_->address) return;
  Bytes plain;
  if (!open_datagram(key_, datagram, plain))
    fail(DhtInvariant::sealed, fmt::format("{} bytes left home {} unsealed", datagram.size(), at_[from]));
  if (!climate_.replays || chance_.below(50) != 0) return;
  overheard_.emplace_back(to, to_bytes(datagram));
  if (overheard_.size() > overheard_max) overheard_.erase(overheard_.begin());
}

// Faults -------------------------------------------------------------------------------------------------------

void DhtWorld::fault() {
  if (!trouble_) return;
  schedule_.after(chance_.between(Time(0), 2 * climate_.every), [this] { fault(); });
  Home& home = *chance_.one_of(homes_);
  const Time lasts = chance_.between(Time(1s), chance_.percent(20) ? Time(300s) : Time(60s));
  const auto half = [this] {
    std::set<std::size_t> out;
    for (const auto& one : homes_)
      if (chance_.percent(50)) out.insert(one->index);
    return out;
  };
  switch (chance_.below(9)) {
    case 0:
    case 1:
      if (climate_.crashes && home.directory) crash(home, chance_.percent(70) ? Time(lasts / 10) : lasts);
      return;
    case 2:
    case 3:
      if (!climate_.partitions) return;
      tell("a partition for {} s", lasts.count() / 1'000'000);
      cuts_.push_back({half(), schedule_.now() + lasts, false});
      return;
    case 4:
      if (!climate_.one_way) return;
      tell("one way is cut for {} s", lasts.count() / 1'000'000);
      cuts_.push_back({half(), schedule_.now() + lasts, true});
      return;
    case 5: {
      if (!climate_.losses) return;
      const auto before = datagrams_.rules.lost_permille;
      if (before >= 100) return;
      datagrams_.rules.lost_permille = 100 + chance_.below(400);
      tell("{} of 1000 packets are lost for {} s", datagrams_.rules.lost_permille, lasts.count() / 1'000'000);
      schedule_.after(lasts, [this, before] { datagrams_.rules.lost_permille = before; });
      return;
    }
    case 6:
      if (!climate_.freezes || !home.directory) return;
      tell("home {} sleeps for {} s", home.index, lasts.count() / 1'000'000);
      home.directory->freeze(schedule_.now() + lasts);
      return;
    case 7:
      if (!climate_.replays) return;
      tell("the stranger repeats {} datagrams", overheard_.size());
      for (const auto& [to, datagram] : overheard_) datagrams_.send(stranger_->address, to, datagram);
      return;
    default:
      if (!home.directory) return;
      if (climate_.old_clocks) home.system.wrong_by = std::chrono::milliseconds(chance_.between(-3'600'000, 3'600'000));
      tell("home {} announces itself, its clock off by {} ms", home.index, home.system.wrong_by.count());
      announce(home);
  }
}

void DhtWorld::sabotage_one() {
  if (options_.sabotage != DhtSabotage::trust_clock) return;
  Home& home = *homes_[1];
  home.system.wrong_by = -std::chrono::milliseconds(HomeClock::wall_begin_ms - 5'000);
  home.trusts_clock = true;
  announce(home);
}

void DhtWorld::heal() {
  tell("all faults end");
  trouble_ = false;
  cuts_.clear();
  datagrams_.rules.lost_permille = std::min<std::uint64_t>(datagrams_.rules.lost_permille, 10);
  for (const auto& home : homes_) {
    if (!home->directory) start(*home);
    home->directory->freeze({});
  }
}

// The story ----------------------------------------------------------------------------------------------------

void DhtWorld::run_until(Time end) {
  while (schedule_.step(end)) {
  }
}

DhtReport DhtWorld::run() {
  const auto level = spdlog::get_level();
  spdlog::set_level(spdlog::level::warn);
  start_stranger();
  start(*homes_[0]);
  for (std::size_t index = 1; index < homes_.size(); ++index)
    schedule_.after(
        chance_.percent(70) ? chance_.between(Time(0), Time(10s)) : chance_.between(Time(0), climate_.trouble),
        [this, &home = *homes_[index]] {
          if (!home.directory) start(home);
        });
  if (options_.faults && options_.sabotage == DhtSabotage::none) schedule_.after(5s, [this] { fault(); });
  schedule_.after(climate_.trouble / 2, [this] { sabotage_one(); });
  run_until(climate_.trouble);
  heal();
  report_.healed = until_found(DhtInvariant::found, healed_max, "after the heal");
  run_until(schedule_.now() + (chance_.percent(20) ? chance_.between(Time(30min), Time(120min)) : Time(60s)));
  for (const auto& home : homes_) announce(*home);
  report_.renewed = until_found(DhtInvariant::renewed, renewed_max, "new addresses");
  homes_.push_back(make_home(homes_.size()));
  if (options_.sabotage == DhtSabotage::ask_nobody) homes_.back()->contacts.clear();
  start(*homes_.back());
  report_.joined = until_found(DhtInvariant::joined, joined_max, "a newcomer");
  run_until(schedule_.now() + find_max);
  for (const auto& home : homes_) report_.rebuilds += home->directory->status().rebuilds;
  spdlog::set_level(level);
  report_.homes = homes_.size();
  report_.datagrams = datagrams_.stats().sent;
  report_.hash = trace_.hash();
  report_.steps = schedule_.steps();
  report_.lasted = schedule_.now();
  return report_;
}

}  // namespace diot::sim
