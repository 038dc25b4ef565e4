#pragma once
// The directory on OpenDHT over UDP: sockets, timer and name look-ups around the DirectoryMachine. One object, one
// thread: everything here is called, and calls back, on the I/O thread.

#include <asio/io_context.hpp>

#include "dht/directory_machine.hpp"

namespace diot {

class DhtDirectory final : public Directory {
 public:
  /// As DirectoryMachine's. All references outlive this.
  DhtDirectory(asio::io_context& io, const NodeId& node, const NetworkId& network, const DhtKey& key,
               DirectoryMachine::MaySign may_sign, const Clock& clock, Random& random, const DhtTiming& timing = {});
  ~DhtDirectory() override;
  DhtDirectory(const DhtDirectory&) = delete;
  DhtDirectory& operator=(const DhtDirectory&) = delete;

  /// "host:port" or "[ipv6]:port", UDP; at most once per address family, "[::]" takes both. Use the port number of the
  /// overlay's TCP: contacts are overlay addresses. Errc::invalid, Errc::exists or Errc::io.
  Result<void> listen(const std::string& address);
  /// 0 before listen().
  std::uint16_t port() const;

  void publish(DirectoryKind kind, ByteView subject, Bytes record) override;
  void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
            std::function<void()> done) override;
  /// Ignored if it is no address.
  void add_contact(const std::string& address) override;
  Status status() const override;

  /// Addresses of nodes that answered lately, for import_contacts() after a restart. At most 4 KiB.
  Bytes export_contacts() const;
  Result<void> import_contacts(ByteView contacts);

  /// Closes the sockets; no callback runs any more. Nothing else may be called then but status().
  void shut_down();

 private:
  struct Shell;
  std::shared_ptr<Shell> shell_;
};

}  // namespace diot
