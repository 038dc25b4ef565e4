#include "tests/sim/datagrams.hpp"

#include "tests/sim/library_world.hpp"

namespace diot::sim {

namespace {

constexpr std::size_t packet_bytes = 1400;

std::uint64_t word_of(const Datagrams::Endpoint& endpoint) {
  return std::uint64_t{endpoint.address().to_v4().to_uint()} << 16 | endpoint.port();
}

}  // namespace

void Datagrams::send(const Endpoint& from, const Endpoint& to, ByteView datagram) {
  ++stats_.sent;
  stats_.bytes += datagram.size();
  trace_.add(static_cast<std::uint64_t>(schedule_.now().count()));
  trace_.add(word_of(from) ^ word_of(to) << 1);
  trace_.add(datagram);
  if (on_leave) on_leave(from, to, datagram);
  bool lost = !passes(from, to);
  for (std::size_t sent = 0; sent < datagram.size(); sent += packet_bytes)
    lost = chance_.below(1000) < rules.lost_permille || lost;
  if (lost) {
    ++stats_.lost;
    return;
  }
  auto [delay, fresh] = delays_.try_emplace(std::minmax(from, to));
  if (fresh) delay->second = chance_.between(rules.delay_min, rules.delay_max);
  for (auto copies = chance_.below(1000) < rules.doubled_permille ? 2 : 1; copies > 0; --copies)
    schedule_.after(delay->second + chance_.between(Time(0), rules.jitter),
                    [this, from, to, bytes = to_bytes(datagram)] {
                      if (const auto socket = sockets_.find(to); socket != sockets_.end()) socket->second(bytes, from);
                    });
}

DatagramDirectory::DatagramDirectory(Datagrams& datagrams, Schedule& schedule, const Endpoint& at, const NodeId& node,
                                     const NetworkId& network, const DhtKey& key, DirectoryMachine::MaySign may_sign,
                                     const Clock& clock, Random& random)
    : datagrams_(datagrams), schedule_(schedule), at_(at), clock_(clock), random_(random) {
  as_home([&] {
    machine_ = std::make_unique<DirectoryMachine>(*this, node, network, key, std::move(may_sign), clock_, random_);
    machine_->open(at_, {});
  });
  datagrams_.attach(at_, [this](ByteView datagram, const Endpoint& from) {
    if (schedule_.now() >= frozen_until_) return as_home([&] { machine_->receive(datagram, from); });
    later({}, [this, from, bytes = to_bytes(datagram)] { machine_->receive(bytes, from); });
  });
}

DatagramDirectory::~DatagramDirectory() {
  *alive_ = false;
  datagrams_.detach(at_);
  as_home([&] { machine_.reset(); });
}

template <class What>
void DatagramDirectory::as_home(What&& what) {
  const LibraryWorld library(clock_, random_);
  what();
}

void DatagramDirectory::later(Time delay, std::function<void()> what) {
  schedule_.at(std::max(schedule_.now() + delay, frozen_until_), [this, alive = alive_, what = std::move(what)] {
    if (!*alive) return;
    if (schedule_.now() < frozen_until_) return later({}, what);
    as_home(what);
  });
}

void DatagramDirectory::publish(DirectoryKind kind, ByteView subject, Bytes record) {
  as_home([&] { machine_->publish(kind, subject, std::move(record)); });
}

void DatagramDirectory::find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
                             std::function<void()> done) {
  as_home([&] { machine_->find(kind, subject, std::move(found), std::move(done)); });
}

void DatagramDirectory::add_contact(const std::string& address) {
  as_home([&] { machine_->add_contact(address); });
}

int DatagramDirectory::send(const Endpoint& to, ByteView datagram) {
  datagrams_.send(at_, to, datagram);
  return 0;
}

void DatagramDirectory::wake_at(Monotonic when) {
  // Up to the next microsecond, and never at this very instant: time passes while a process runs.
  const auto delay = std::chrono::ceil<Time>(when - clock_.monotonic());
  later(std::max(delay, Time(1us)), [this, number = ++wake_number_] {
    if (number == wake_number_) machine_->wake();
  });
}

void DatagramDirectory::look_up(const std::string& address) {
  later(1ms, [this, address] {
    if (const auto found = datagrams_.names.find(address); found != datagrams_.names.end())
      machine_->ask(found->second);
  });
}

void DatagramDirectory::post(std::function<void()> callback) { later({}, std::move(callback)); }

}  // namespace diot::sim
