#include "dht/dht_directory.hpp"

#include <fmt/format.h>

#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "core/msgpack.hpp"
#include "dht/udp_sockets.hpp"

namespace diot {

using Endpoint = UdpSockets::Endpoint;

namespace {

constexpr std::size_t addresses_per_contact_max = 4;

std::string to_address(const Endpoint& endpoint) {
  const auto host = endpoint.address().to_string();
  return endpoint.address().is_v6() ? fmt::format("[{}]:{}", host, endpoint.port())
                                    : fmt::format("{}:{}", host, endpoint.port());
}

}  // namespace

struct DhtDirectory::Shell final : DirectoryMachine::Outside, std::enable_shared_from_this<Shell> {
  Shell(asio::io_context& io_context, const NodeId& node, const NetworkId& network, const DhtKey& key,
        DirectoryMachine::MaySign may_sign, const Clock& clock, Random& random, const DhtTiming& timing)
      : io(io_context),
        sockets(std::make_shared<UdpSockets>(io)),
        timer(io),
        resolver(io),
        machine(*this, node, network, key, std::move(may_sign), clock, random, timing) {}

  Result<void> listen(const std::string& address) {
    const bool first = sockets->local_v4().port() == 0 && sockets->local_v6().port() == 0;
    if (auto bound = sockets->listen(address); !bound) return bound;
    machine.open(sockets->local_v4(), sockets->local_v6());
    if (first) sockets->start([this](ByteView datagram, const Endpoint& from) { machine.receive(datagram, from); });
    return {};
  }

  int send(const Endpoint& to, ByteView datagram) override { return sockets->send_to(to, datagram); }

  void wake_at(Monotonic when) override {
    timer.expires_at(when);
    timer.async_wait([weak = weak_from_this()](const std::error_code& error) {
      if (const auto self = weak.lock(); self && !error && !self->stopped) self->machine.wake();
    });
  }

  void look_up(const std::string& address) override {
    const auto parts = split_address(address);
    if (!parts) return;
    std::error_code error;
    if (const auto numeric = asio::ip::make_address(parts->first, error); !error) {
      const Endpoint to(numeric, static_cast<std::uint16_t>(std::stoul(parts->second)));
      return post([this, to] { machine.ask(to); });
    }
    resolver.async_resolve(
        parts->first, parts->second,
        [weak = weak_from_this()](const std::error_code& failed, const asio::ip::udp::resolver::results_type& found) {
          const auto self = weak.lock();
          if (!self || self->stopped || failed) return;
          std::size_t left = addresses_per_contact_max;
          for (auto entry = found.begin(); entry != found.end() && left > 0; ++entry, --left)
            self->machine.ask(entry->endpoint());
        });
  }

  void post(std::function<void()> callback) override {
    asio::post(io, [weak = weak_from_this(), callback = std::move(callback)] {
      if (const auto self = weak.lock(); self && !self->stopped) callback();
    });
  }

  void shut_down() {
    stopped = true;
    machine.shut_down();
    timer.cancel();
    resolver.cancel();
    sockets->close();
  }

  asio::io_context& io;
  std::shared_ptr<UdpSockets> sockets;
  asio::steady_timer timer;
  asio::ip::udp::resolver resolver;
  DirectoryMachine machine;
  bool stopped = false;
};

DhtDirectory::DhtDirectory(asio::io_context& io, const NodeId& node, const NetworkId& network, const DhtKey& key,
                           DirectoryMachine::MaySign may_sign, const Clock& clock, Random& random,
                           const DhtTiming& timing)
    : shell_(std::make_shared<Shell>(io, node, network, key, std::move(may_sign), clock, random, timing)) {}
DhtDirectory::~DhtDirectory() { shell_->shut_down(); }

Result<void> DhtDirectory::listen(const std::string& address) { return shell_->listen(address); }
std::uint16_t DhtDirectory::port() const {
  const auto v4 = shell_->sockets->local_v4().port();
  return v4 != 0 ? v4 : shell_->sockets->local_v6().port();
}
void DhtDirectory::publish(DirectoryKind kind, ByteView subject, Bytes record) {
  shell_->machine.publish(kind, subject, std::move(record));
}
void DhtDirectory::find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
                        std::function<void()> done) {
  shell_->machine.find(kind, subject, std::move(found), std::move(done));
}
void DhtDirectory::add_contact(const std::string& address) {
  if (split_address(address)) shell_->machine.add_contact(address);
}
Directory::Status DhtDirectory::status() const { return shell_->machine.status(); }
void DhtDirectory::shut_down() { shell_->shut_down(); }

Bytes DhtDirectory::export_contacts() const {
  Bytes out;
  PackWriter pack(out);
  const auto known = shell_->machine.known_nodes();
  pack.array(known.size());
  for (const auto& node : known) pack.str(to_address(node));
  return out;
}

Result<void> DhtDirectory::import_contacts(ByteView contacts) {
  PackReader in(contacts, DirectoryMachine::known_nodes_max + 1);
  std::vector<std::string> addresses;
  for (auto left = in.array(DirectoryMachine::known_nodes_max); left > 0; --left) addresses.emplace_back(in.str(64));
  if (!in.done()) return fail(Errc::invalid, "stored DHT contacts: malformed");
  for (const auto& address : addresses) add_contact(address);
  return {};
}

}  // namespace diot
