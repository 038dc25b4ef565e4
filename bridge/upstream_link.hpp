#pragma once
// The socket of an upstream: dials, again and again, with TLS or without.

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <memory>

#include "bridge/tls.hpp"
#include "bridge/upstream.hpp"
#include "core/crypto.hpp"

namespace diot {

class UpstreamLink final : private UpstreamWire {
 public:
  /// Files are read now; Errc::invalid names what cannot be used. Then it dials until it goes. The broker must outlive
  /// it.
  static Result<std::unique_ptr<UpstreamLink>> open(asio::io_context& io, Broker& broker, UpstreamConfig config,
                                                    std::string origin, const Clock& clock, Random& random);
  ~UpstreamLink() override;

  const UpstreamConfig& config() const { return upstream_->config(); }
  const UpstreamStatus& status() const { return upstream_->status(); }

 private:
  struct Connection;
  UpstreamLink(asio::io_context& io, Random& random);

  void dial();
  void redial();
  void tick();
  void ended(std::string_view why);

  // UpstreamWire
  void send(Bytes& output) override;
  std::size_t unsent_bytes() const override;
  void set_reading(bool on) override;
  void close() override;

  asio::io_context& io_;
  Random& random_;
  std::string host_, port_;
  std::shared_ptr<const TlsContext> tls_;  ///< null: none
  std::unique_ptr<Upstream> upstream_;
  std::shared_ptr<Connection> connection_;  ///< null between two attempts
  asio::steady_timer redial_timer_, tick_timer_;
  std::chrono::milliseconds wait_{};
};

}  // namespace diot
