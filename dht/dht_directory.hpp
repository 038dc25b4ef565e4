#pragma once
// The directory on OpenDHT. One object, one thread: everything here is called, and calls back, on the I/O thread.
// docs/protocol.md, "Directory record" and "DHT datagrams"; docs/security.md, "The DHT".

#include <asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "core/clock.hpp"
#include "dht/directory.hpp"
#include "dht/sealed_socket.hpp"

namespace diot {

/// How patient the directory is.
struct DhtTiming {
  using Duration = std::chrono::milliseconds;
  Duration find_connect_max{3'000};    ///< a look-up waits so long for the first node that answers …
  Duration find_max{10'000};           ///< … and is done after this, whatever is still under way
  Duration contact_retry_min{1'000};   ///< while no node answers: doubled with each round …
  Duration contact_retry_max{30'000};  ///< … up to this
  Duration contact_refresh{300'000};   ///< while nodes answer, so that the halves of a split network meet again
  Duration silence_max{60'000};        ///< without a datagram: nodes are asked …
  Duration silence_grace{10'000};      ///< … and given so long to answer before it counts as an outage
  Duration outage_after{10'000};       ///< without a good node, having had one
  Duration warm_up_after{5'000};       ///< plus up to as much again, so that nodes that start together spread
  Duration value_life{60 * 60'000};    ///< how long other nodes keep a value; put again at half of it
  Duration second_put{60'000};         ///< after the first put of a record; then at half of its life
  Duration put_retry{5'000};           ///< after a put that no node took; doubled up to a minute
  Duration put_again_min{15'000};      ///< between puts because of new nodes, in a network of few
};

class DhtDirectory final : public Directory {
 public:
  /// Whether the ledger knows `signer` and lets it speak for `subject` (a node, for itself). Asked for every record that
  /// is to be stored here for another node, or was found.
  using MaySign = std::function<bool(DirectoryKind kind, ByteView subject, const NodeId& signer)>;

  /// `clock` must run with std::chrono::steady_clock, which the library reads by itself. All references outlive this.
  DhtDirectory(asio::io_context& io, const NodeId& node, const NetworkId& network, const DhtKey& key, MaySign may_sign,
               const Clock& clock, Random& random, const DhtTiming& timing = {});
  ~DhtDirectory() override;
  DhtDirectory(const DhtDirectory&) = delete;
  DhtDirectory& operator=(const DhtDirectory&) = delete;

  /// "host:port" or "[ipv6]:port", UDP; at most once per address family, "[::]" takes both. Use the port number of the
  /// overlay's TCP: contacts are overlay addresses. Errc::invalid, Errc::exists or Errc::io.
  Result<void> listen(const std::string& address);
  /// 0 before listen().
  std::uint16_t port() const;

  /// A record that does not verify, or is too large, is not published: that is an error in the log.
  void publish(DirectoryKind kind, ByteView subject, Bytes record) override;
  /// `found` gets each signer's record, and again if a newer one of the same signer comes in. `done` always runs,
  /// unless shut_down() comes first.
  void find(DirectoryKind kind, ByteView subject, std::function<void(const DirectoryRecord&)> found,
            std::function<void()> done) override;
  /// Tried at once, and again while no node answers. Ignored if it is no address; the oldest of too many is forgotten.
  void add_contact(const std::string& address) override;
  Status status() const override;

  /// Addresses of nodes that answered lately, for import_contacts() after a restart. At most 4 KiB.
  Bytes export_contacts() const;
  Result<void> import_contacts(ByteView contacts);

  /// Closes the sockets; no callback runs any more. Nothing else may be called then but status().
  void shut_down();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace diot
