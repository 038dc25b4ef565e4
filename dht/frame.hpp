#pragma once
// Frames of a link: u32 length of what follows ‖ u8 type ‖ body (docs/protocol.md, "Links"). Bytes in, frames out, and
// back; no sockets here.

#include <deque>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "dht/transport.hpp"

namespace diot {

inline constexpr std::size_t frame_head_bytes = 5;

/// Type and body of a frame; the type may be a number that this program does not know.
struct Frame {
  FrameType type{};
  ByteView body;
};

/// Cuts a stream of bytes into frames. The caller reads into `room()`, so that nothing is copied on its way from the
/// socket to the frame's reader, however large the frame is.
class FrameParser {
 public:
  /// `frame_bytes_max` bounds a frame's length field: type and body.
  explicit FrameParser(std::size_t frame_bytes_max) : frame_bytes_max_(frame_bytes_max) {}

  /// Where the next bytes belong: at least `read_bytes`. Ends the life of every frame that `next` gave.
  std::span<std::uint8_t> room();
  /// `bytes` of the room are there now.
  void filled(std::size_t bytes);
  /// The next whole frame, nullopt if more bytes are needed. Errc::limit on a hostile length, now and ever after.
  Result<std::optional<Frame>> next();
  void set_frame_bytes_max(std::size_t bytes) { frame_bytes_max_ = bytes; }
  /// Bytes that are held in memory.
  std::size_t capacity() const { return capacity_; }

  static constexpr std::size_t read_bytes = 16 << 10;  ///< one TLS record

 private:
  /// Bytes of the frame that begins the held bytes, head included; 0 if its length is not known yet.
  std::size_t pending_frame_bytes() const;

  std::size_t frame_bytes_max_;
  std::unique_ptr<std::uint8_t[]> buffer_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
  std::size_t last_frame_bytes_ = 0;
};

/// Frames that wait to be written, side by side, so that one write carries as many as there are.
class FrameQueue {
 public:
  /// Copies the parts, once.
  void push(FrameType type, std::initializer_list<ByteView> parts);
  /// The first bytes, contiguous; empty if there are none. Their place does not change until they are popped.
  ByteView front() const;
  void pop(std::size_t bytes);
  std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::size_t chunk_bytes = 16 << 10;  ///< one TLS record
  std::deque<Bytes> chunks_;
  std::size_t popped_ = 0;  ///< of the first chunk
  std::size_t bytes_ = 0;
};

Bytes encode_hello(const Hello& hello);
/// Errc::not_available if `own` and the sender have no link version in common, Errc::not_permitted if it is in another
/// network, Errc::invalid if it is malformed.
Result<Hello> decode_hello(ByteView body, const Hello& own);

/// What a peer gives as a reason, made fit for a log: bounded, printable ASCII.
std::string clean_reason(std::string_view text);

}  // namespace diot
