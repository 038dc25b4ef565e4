#include "dht/frame.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/limits.hpp"
#include "core/msgpack.hpp"

namespace diot {
namespace {

constexpr std::size_t length_bytes = 4;
constexpr std::size_t idle_buffer_bytes = 2 * FrameParser::read_bytes;
constexpr std::size_t address_bytes_max = 262;  // a host name of 253, brackets, port

std::uint32_t read_u32(const std::uint8_t* at) {
  return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace

std::size_t FrameParser::pending_frame_bytes() const {
  if (end_ - begin_ < length_bytes) return 0;
  return length_bytes + read_u32(buffer_.get() + begin_);
}

std::span<std::uint8_t> FrameParser::room() {
  const std::size_t held = end_ - begin_;
  // Room for the whole frame at once, so that its bytes are not moved with every read. A length above the bound is
  // refused by next(); it never makes the buffer grow.
  const std::size_t frame = pending_frame_bytes();
  const std::size_t wanted = std::max(held, frame <= length_bytes + frame_bytes_max_ ? frame : 0) + read_bytes;
  const bool shrinks = held == 0 && capacity_ > idle_buffer_bytes && last_frame_bytes_ <= idle_buffer_bytes;
  if (wanted > capacity_ || shrinks) {
    // Untouched pages of a large buffer cost nothing, so a peer that only declares a large frame gains nothing.
    const std::size_t capacity = std::max(wanted, idle_buffer_bytes);
    std::unique_ptr<std::uint8_t[]> buffer(new std::uint8_t[capacity]);
    std::copy_n(buffer_.get() + begin_, held, buffer.get());
    buffer_ = std::move(buffer);
    capacity_ = capacity;
    begin_ = 0;
    end_ = held;
  } else if (begin_ + wanted > capacity_ || held == 0) {
    std::copy_n(buffer_.get() + begin_, held, buffer_.get());
    begin_ = 0;
    end_ = held;
  }
  return {buffer_.get() + end_, capacity_ - end_};
}

void FrameParser::filled(std::size_t bytes) {
  expect(bytes <= capacity_ - end_, "more bytes than the room had");
  end_ += bytes;
}

Result<std::optional<Frame>> FrameParser::next() {
  if (end_ - begin_ < length_bytes) return std::nullopt;
  const std::size_t length = read_u32(buffer_.get() + begin_);
  if (length == 0) return fail(Errc::limit, "a frame without a type");
  if (length > frame_bytes_max_)
    return fail(Errc::limit, fmt::format("a frame of {} bytes; {} are allowed", length, frame_bytes_max_));
  if (end_ - begin_ < length_bytes + length) return std::nullopt;
  const std::uint8_t* at = buffer_.get() + begin_ + length_bytes;
  begin_ += length_bytes + length;
  last_frame_bytes_ = length;
  return Frame{static_cast<FrameType>(at[0]), {at + 1, length - 1}};
}

void FrameQueue::push(FrameType type, std::initializer_list<ByteView> parts) {
  std::size_t length = 1;
  for (const auto& part : parts) length += part.size();
  expect(length <= limits::frame_bytes_max, "a frame above limits::frame_bytes_max");
  const std::size_t size = length_bytes + length;
  // Nothing that is in a chunk ever moves: it may be in the middle of being written.
  if (chunks_.empty() || chunks_.back().capacity() - chunks_.back().size() < size) {
    chunks_.emplace_back();
    chunks_.back().reserve(std::max(size, chunk_bytes));
  }
  Bytes& chunk = chunks_.back();
  ByteWriter out(chunk);
  out.u32(static_cast<std::uint32_t>(length));
  out.u8(static_cast<std::uint8_t>(type));
  for (const auto& part : parts) out.raw(part);
  bytes_ += size;
}

ByteView FrameQueue::front() const {
  if (chunks_.empty()) return {};
  return ByteView(chunks_.front()).subspan(popped_);
}

void FrameQueue::pop(std::size_t bytes) {
  expect(!chunks_.empty() && bytes <= chunks_.front().size() - popped_, "popped more than the front holds");
  popped_ += bytes;
  bytes_ -= bytes;
  if (popped_ < chunks_.front().size()) return;
  chunks_.pop_front();
  popped_ = 0;
}

Bytes encode_hello(const Hello& hello) {
  Bytes out;
  PackWriter pack(out);
  pack.array(hello.registration.empty() ? 9 : 10);
  pack.uint(hello.version_min);
  pack.uint(hello.version_max);
  pack.uint(hello.features);
  pack.bin(hello.network);
  pack.bin(hello.instance);
  pack.uint(hello.checkpoint.height);
  pack.bin(hello.checkpoint.block);
  const auto count = std::min(hello.addresses.size(), limits::addresses_per_node_max);
  pack.array(count);
  for (std::size_t i = 0; i < count; ++i) pack.str(hello.addresses[i]);
  pack.str(std::string_view(hello.agent).substr(0, limits::agent_bytes_max));
  if (!hello.registration.empty()) pack.bin(hello.registration);
  return out;
}

Result<Hello> decode_hello(ByteView body, const Hello& own) {
  constexpr std::size_t elements = 9, elements_max = 64, values_max = 256;
  const auto malformed = [] { return fail(Errc::invalid, "a malformed hello"); };
  PackReader in(body, values_max);
  Hello out;
  const auto count = in.array(elements_max);
  if (count < elements) return malformed();
  out.version_min = static_cast<std::uint8_t>(in.uint(255));
  out.version_max = static_cast<std::uint8_t>(in.uint(255));
  if (!in.ok() || out.version_min > out.version_max) return malformed();
  if (out.version_min > own.version_max || out.version_max < own.version_min)
    return fail(Errc::not_available,
                fmt::format("link versions {} to {} and {} to {} do not meet; update the older node", out.version_min,
                            out.version_max, own.version_min, own.version_max));
  out.features = in.uint();
  out.network = in.id<NetworkId>();
  out.instance = in.id<InstanceId>();
  out.checkpoint.height = in.uint();
  out.checkpoint.block = in.id<Hash>();
  for (auto left = in.array(limits::addresses_per_node_max); left > 0; --left)
    out.addresses.emplace_back(in.str(address_bytes_max));
  out.agent = in.str(limits::agent_bytes_max);
  if (count > elements) out.registration = to_bytes(in.bin(limits::hello_registration_bytes_max));
  for (auto left = count; left > elements + 1; --left) in.skip();
  if (!in.done() || !is_printable(out.agent) || !std::ranges::all_of(out.addresses, is_printable)) return malformed();
  if (out.network != own.network) return fail(Errc::not_permitted, "the nodes are in different networks");
  return out;
}

std::string clean_reason(std::string_view text) {
  std::string out(text.substr(0, limits::close_reason_bytes_max));
  for (char& c : out)
    if (c < ' ' || c > '~') c = '?';
  return out;
}

}  // namespace diot
