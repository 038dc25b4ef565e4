#pragma once
// What may lie between a socket and the MQTT codec: PROXY protocol, TLS, WebSocket. Each is a state machine that takes
// bytes from one side and gives bytes to both; a stack of them is one too. No socket, no thread, no clock.

#include <memory>
#include <string>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

class Layer {
 public:
  virtual ~Layer() = default;

  /// The side that speaks first says so here, once, before anything else.
  virtual Result<void> start(Bytes& /*down*/) { return {}; }
  /// Takes bytes from below; appends what they carry to `up`, and what the peer has to be told to `down`. An error ends
  /// the connection once `up` was used and `down` was sent: after a violation, and after the peer's goodbye.
  virtual Result<void> receive(ByteView in, Bytes& up, Bytes& down) = 0;
  /// Wraps bytes from above. Once established.
  virtual Result<void> send(ByteView in, Bytes& down) = 0;
  /// Says goodbye.
  virtual void close(Bytes& /*down*/) {}
  /// What comes from above can be sent.
  virtual bool established() const = 0;

  /// Whom the layer has proven the peer to be; empty: nobody.
  virtual std::string user() const { return {}; }
  /// Whose shared key the peer has shown; empty: none.
  virtual std::string key_identity() const { return {}; }
  /// Where the peer really is, as "host:port"; empty: where the socket says.
  virtual std::string address() const { return {}; }
};

/// Layers on top of each other; the first one is next to the socket. Without any, bytes pass as they are.
class LayerStack final : public Layer {
 public:
  void push(std::unique_ptr<Layer> layer) { layers_.push_back(std::move(layer)); }
  bool empty() const { return layers_.empty(); }

  Result<void> start(Bytes& down) override;
  Result<void> receive(ByteView in, Bytes& up, Bytes& down) override { return receive_at(0, in, up, down); }
  Result<void> send(ByteView in, Bytes& down) override { return send_from(layers_.size(), in, down); }
  void close(Bytes& down) override;
  bool established() const override;
  std::string user() const override;
  std::string key_identity() const override;
  std::string address() const override;

 private:
  Result<void> receive_at(std::size_t at, ByteView in, Bytes& up, Bytes& down);
  /// Wraps with the layers below `above`, from its neighbour down.
  Result<void> send_from(std::size_t above, ByteView in, Bytes& down);

  std::vector<std::unique_ptr<Layer>> layers_;
  std::size_t started_ = 0;
};

}  // namespace diot
