#pragma once
// MQTT over WebSocket, the server's side: RFC 6455, and MQTT 5.0 section 6 (binary frames, subprotocol `mqtt`, packets
// not aligned to frames).

#include <array>
#include <string>
#include <vector>

#include "bridge/layer.hpp"

namespace diot {

/// Close codes that we send (RFC 6455 section 7.4.1).
enum class WebSocketClose : std::uint16_t {
  normal = 1000,
  protocol_error = 1002,
  unsupported_data = 1003,
  invalid_payload = 1007,
};

/// Which web pages may connect. Browsers name the page's origin, and connect on behalf of any page in the world to any
/// address that they reach, this machine's loopback ones included; so what is allowed has to be said.
struct WebSocketRules {
  /// Beside pages from the host that is connected to: "https://panel.example", or "*" for all.
  std::vector<std::string> origins;
};

/// Data is passed on as it comes: a frame of any size needs no memory here.
class WebSocket final : public Layer {
 public:
  explicit WebSocket(WebSocketRules rules) : rules_(std::move(rules)) {}

  Result<void> receive(ByteView in, Bytes& up, Bytes& down) override;
  /// One binary frame.
  Result<void> send(ByteView in, Bytes& down) override;
  void close(Bytes& down) override;
  bool established() const override { return phase_ != Phase::handshake; }

 private:
  enum class Phase : std::uint8_t { handshake, header, payload, closed };

  Result<void> handshake(ByteView& in, Bytes& down);
  Result<void> begin_frame(Bytes& down);
  Result<void> end_frame(Bytes& down);
  std::size_t header_bytes() const;
  void unmask(ByteView in, Bytes& out);
  void send_close(WebSocketClose code, Bytes& down);
  tl::unexpected<Error> violation(WebSocketClose code, const char* what, Bytes& down);

  WebSocketRules rules_;
  Phase phase_ = Phase::handshake;
  Bytes text_;  ///< the request's head; later a control frame's payload
  std::array<std::uint8_t, 14> header_{};
  std::uint8_t header_size_ = 0;
  std::uint8_t opcode_ = 0;
  std::uint8_t mask_at_ = 0;  ///< next byte of the mask
  bool final_ = false;        ///< the frame is its message's last
  bool fragmented_ = false;   ///< the message goes on in another frame
  std::array<std::uint8_t, 4> mask_{};
  std::uint64_t left_ = 0;  ///< of the frame's payload
};

}  // namespace diot
