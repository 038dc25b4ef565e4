#pragma once
// The PROXY protocol, version 2 (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt, section 2.2): a proxy in
// front of a listener says with its first bytes where the client really is. Whoever reaches such a listener can claim
// any address, so only the proxy may.

#include "bridge/layer.hpp"

namespace diot {

/// Takes the header off and passes everything behind it. A first byte that begins no header is an error: a client that
/// comes past the proxy is not served.
class ProxyHeader final : public Layer {
 public:
  Result<void> receive(ByteView in, Bytes& up, Bytes& down) override;
  Result<void> send(ByteView in, Bytes& down) override;
  bool established() const override { return done_; }
  /// Empty if the proxy speaks for itself (its health checks) or the client came from no IP address.
  std::string address() const override { return address_; }

 private:
  Result<void> parse();

  Bytes head_;
  bool done_ = false;
  std::string address_;
};

}  // namespace diot
