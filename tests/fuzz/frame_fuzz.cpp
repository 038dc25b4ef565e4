// Frames of links, and the hello in them. Input: u8 bytes that come at once, u8 what bounds a frame, then the stream.

#include "core/limits.hpp"
#include "dht/frame.hpp"
#include "tests/core/keys.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {
namespace {

Hello own_hello() {
  Hello out;
  out.network.bytes.fill(1);
  out.instance.bytes.fill(2);
  out.checkpoint = {7, {}};
  out.addresses = {"192.0.2.1:42220", "[2001:db8::1]:42220"};
  out.agent = "diot/0.1.0";
  return out;
}

void read_hello(ByteView body) {
  const auto own = own_hello();
  const auto hello = decode_hello(body, own);
  if (!hello) return;
  require(hello->network == own.network && hello->addresses.size() <= limits::addresses_per_node_max &&
              hello->registration.size() <= limits::hello_registration_bytes_max,
          "a fitting hello");
  const auto bytes = encode_hello(*hello);
  const auto again = decode_hello(bytes, own);
  require(again.has_value() && encode_hello(*again) == bytes, "a hello is read as it is written");
}

}  // namespace

void frame(ByteView input) {
  Input in(input);
  const std::size_t at_once = in.u8() + std::size_t{1};
  const std::size_t frame_bytes_max = in.u8() & 1 ? limits::frame_bytes_max : limits::hello_bytes_max;
  FrameParser parser(frame_bytes_max);
  FrameQueue queue;
  ByteView stream = in.rest();
  const ByteView whole = stream;
  Bytes written;
  bool broken = false;
  while (!stream.empty() && !broken) {
    const auto room = parser.room();
    require(room.size() >= FrameParser::read_bytes, "there is room to read into");
    const auto size = std::min({at_once, room.size(), stream.size()});
    std::ranges::copy(stream.first(size), room.begin());
    parser.filled(size);
    stream = stream.subspan(size);
    for (;;) {
      const auto next = parser.next();
      if (!next) {
        require(!parser.next().has_value(), "a stream that is broken stays so");
        broken = true;
        break;
      }
      if (!*next) break;
      queue.push((*next)->type, {(*next)->body});
      if ((*next)->type == FrameType::hello) read_hello((*next)->body);
      if ((*next)->type == FrameType::close)
        require(clean_reason(as_text((*next)->body)).size() <= limits::close_reason_bytes_max, "a reason is bounded");
    }
    require(parser.capacity() <= 2 * (frame_bytes_max + frame_head_bytes + FrameParser::read_bytes),
            "memory is bounded by the frame");
  }
  while (queue.bytes() > 0) {
    const auto front = queue.front();
    append(written, front);
    queue.pop(front.size());
  }
  require(written.size() <= whole.size() && equal(written, whole.first(written.size())), "frames are what came");
}

Seeds frame_seeds() {
  FrameQueue queue;
  queue.push(FrameType::hello, {encode_hello(own_hello())});
  queue.push(FrameType::ping, {});
  queue.push(FrameType::batch, {Bytes(70, 1), Bytes(5000, 2)});
  queue.push(FrameType::close, {as_bytes("bye\n")});
  Bytes stream;
  while (queue.bytes() > 0) {
    append(stream, queue.front());
    queue.pop(queue.front().size());
  }
  Seeds out;
  for (std::uint8_t at_once : {0, 6, 255}) out.push_back(chosen(at_once, chosen(at_once & 1, stream)));
  return out;
}

}  // namespace diot::fuzz
