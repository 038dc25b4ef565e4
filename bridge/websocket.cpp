#include "bridge/websocket.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <optional>

#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

enum Opcode : std::uint8_t { continuation = 0, text = 1, binary = 2, close_frame = 8, ping = 9, pong = 10 };
constexpr std::size_t control_payload_max = 125;  // section 5.5
constexpr std::string_view accept_guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

// The request (section 4.2.1) -----------------------------------------------------------------------------------

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view value) {
  const auto from = value.find_first_not_of(" \t");
  if (from == value.npos) return {};
  return value.substr(from, value.find_last_not_of(" \t") - from + 1);
}

/// Calls visit(word) for each member of a comma-separated list.
void each_word(std::string_view list, auto&& visit) {
  for (;;) {
    const auto comma = list.find(',');
    if (const auto word = trim(list.substr(0, comma)); !word.empty()) visit(word);
    if (comma == list.npos) return;
    list.remove_prefix(comma + 1);
  }
}

bool is_token(std::string_view name) {  // RFC 9110 section 5.6.2
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

/// What of the request matters. Lists are joined over repeated headers.
struct Request {
  std::string_view method;
  std::optional<std::string_view> host, origin, key, version;
  std::string upgrade, connection, protocols;
};

/// nullopt: not well-formed HTTP/1.1, or a header twice that may be there once.
std::optional<Request> parse_request(std::string_view head) {
  Request out;
  const auto next_line = [&]() {
    const auto end = head.find("\r\n");
    const auto line = head.substr(0, end);
    head.remove_prefix(end + 2);
    return line;
  };
  const auto first = next_line();
  const auto blank = first.find(' '), second = first.rfind(' ');
  if (blank == first.npos || blank == second || !is_token(first.substr(0, blank))) return std::nullopt;
  const auto version = first.substr(second + 1);
  if (!version.starts_with("HTTP/1.") || version == "HTTP/1.0") return std::nullopt;
  out.method = first.substr(0, blank);
  for (auto line = next_line(); !line.empty(); line = next_line()) {
    const auto colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) return std::nullopt;
    const auto name = line.substr(0, colon), value = trim(line.substr(colon + 1));
    if (value.find_first_of(std::string_view("\0\r\n", 3)) != value.npos) return std::nullopt;
    for (auto [known, place] : {std::pair{"host", &out.host},
                                {"origin", &out.origin},
                                {"sec-websocket-key", &out.key},
                                {"sec-websocket-version", &out.version}})
      if (same_word(name, known)) {
        if (*place) return std::nullopt;
        *place = value;
      }
    for (auto [known, place] : {std::pair{"upgrade", &out.upgrade},
                                {"connection", &out.connection},
                                {"sec-websocket-protocol", &out.protocols}})
      if (same_word(name, known)) *place += fmt::format("{},", value);
  }
  return out;
}

bool has_word(std::string_view list, std::string_view wanted) {
  bool found = false;
  each_word(list, [&](std::string_view word) { found |= same_word(word, wanted); });
  return found;
}

/// The base64 of 16 bytes.
bool is_key(std::string_view key) {
  if (key.size() != 24 || !key.ends_with("==")) return false;
  return std::ranges::all_of(key.substr(0, 22), [](char c) {
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '+' || c == '/';
  });
}

std::string accept_of(std::string_view key) {
  const std::string text = fmt::format("{}{}", key, accept_guid);
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
  return to_base64(ByteView(digest).first(size));
}

/// Without scheme and port.
std::string_view host_of(std::string_view authority) {
  if (const auto scheme = authority.find("://"); scheme != authority.npos) authority.remove_prefix(scheme + 3);
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  return authority.substr(0, authority.find(':'));
}

bool may_connect(const Request& request, const WebSocketRules& rules) {
  if (!request.origin) return true;  // no browser
  if (request.host && same_word(host_of(*request.origin), host_of(*request.host))) return true;
  return std::ranges::any_of(rules.origins,
                             [&](const auto& origin) { return origin == "*" || same_word(origin, *request.origin); });
}

tl::unexpected<Error> refuse(std::string_view status, std::string_view why, Bytes& down, std::string_view header = "") {
  append(down, as_bytes(fmt::format("HTTP/1.1 {}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
                                    "{}Content-Length: {}\r\n\r\n{}\n",
                                    status, header, why.size() + 1, why)));
  return fail(Errc::invalid, fmt::format("WebSocket request refused ({}): {}", status, why));
}

// Frames (section 5) --------------------------------------------------------------------------------------------

void write_header(Opcode opcode, std::size_t size, Bytes& out) {
  ByteWriter writer(out);
  writer.u8(0x80 | opcode);
  if (size <= control_payload_max) {
    writer.u8(static_cast<std::uint8_t>(size));
  } else if (size <= 0xFFFF) {
    writer.u8(126);
    writer.u16(static_cast<std::uint16_t>(size));
  } else {
    writer.u8(127);
    writer.u64(size);
  }
}

/// Codes that may stand in a close frame (section 7.4).
bool is_close_code(unsigned code) {
  return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
         (code >= 3000 && code < 5000);
}

}  // namespace

Result<void> WebSocket::receive(ByteView in, Bytes& up, Bytes& down) {
  if (phase_ == Phase::handshake)
    if (auto done = handshake(in, down); !done) return done;
  while (phase_ == Phase::header || phase_ == Phase::payload) {
    if (phase_ == Phase::header) {
      for (; header_size_ < header_bytes(); in = in.subspan(1)) {
        if (in.empty()) return {};
        header_[header_size_++] = in.front();
        if (header_size_ != 2) continue;
        if (auto begun = begin_frame(down); !begun) return begun;
      }
      std::uint64_t size = header_[1] & 0x7F;
      std::size_t at = 2;
      if (size >= 126) {
        const std::size_t bytes = size == 126 ? 2 : 8;
        size = 0;
        for (std::size_t end = at + bytes; at < end; ++at) size = size << 8 | header_[at];
        // The fewest bytes that hold it, and never its highest bit.
        if (size < (bytes == 2 ? 126u : 65'536u) || size >> 63 != 0)
          return violation(WebSocketClose::protocol_error, "a frame's length is not in its shortest form", down);
      }
      std::copy_n(header_.begin() + static_cast<std::ptrdiff_t>(at), 4, mask_.begin());
      left_ = size;
      mask_at_ = 0;
      header_size_ = 0;
      text_.clear();
      phase_ = Phase::payload;
    }
    const ByteView now = in.first(static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size())));
    unmask(now, opcode_ >= close_frame ? text_ : up);
    in = in.subspan(now.size());
    left_ -= now.size();
    if (left_ > 0) return {};
    phase_ = Phase::header;
    if (opcode_ >= close_frame)
      if (auto ended = end_frame(down); !ended) return ended;
  }
  return {};  // what follows a close frame means nothing
}

Result<void> WebSocket::handshake(ByteView& in, Bytes& down) {
  // The head ends with an empty line, which may be cut anywhere by the reads.
  const std::size_t had = text_.size();
  const std::size_t size =
      std::min(in.size(), limits::http_head_bytes_max + 1 - std::min(had, limits::http_head_bytes_max));
  append(text_, in.first(size));
  const std::string_view all = as_text(text_);
  const auto end = all.find("\r\n\r\n", had < 3 ? 0 : had - 3);
  if (end == all.npos) {
    in = {};
    if (text_.size() <= limits::http_head_bytes_max) return {};
    return refuse("431 Request Header Fields Too Large", "the request is too long", down);
  }
  in = in.subspan(end + 4 - had);
  const auto request = parse_request(all.substr(0, end + 4));
  if (!request) return refuse("400 Bad Request", "this is not a well-formed HTTP/1.1 request", down);
  if (request->method != "GET") return refuse("405 Method Not Allowed", "connect with GET", down, "Allow: GET\r\n");
  if (!has_word(request->upgrade, "websocket") || !has_word(request->connection, "upgrade"))
    return refuse("426 Upgrade Required", "this is an MQTT broker that speaks WebSocket", down,
                  "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
  if (request->version != "13")
    return refuse("426 Upgrade Required", "only version 13 of WebSocket is spoken", down,
                  "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
  if (!request->host || !request->key || !is_key(*request->key))
    return refuse("400 Bad Request", "Host or Sec-WebSocket-Key is missing or malformed", down);
  if (!may_connect(*request, rules_))
    return refuse("403 Forbidden", "pages of this origin may not connect: name it in the listener's `origins`", down);
  std::string_view protocol;
  each_word(request->protocols, [&](std::string_view word) {
    if (word == "mqtt" || (word == "mqttv3.1" && protocol.empty())) protocol = word;
  });
  if (protocol.empty()) return refuse("400 Bad Request", "the subprotocol mqtt is not offered", down);
  append(down, as_bytes(fmt::format("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                    "Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
                                    accept_of(*request->key), protocol)));
  Bytes().swap(text_);
  phase_ = Phase::header;
  return {};
}

/// Bytes of the header that has begun, as far as that is known.
std::size_t WebSocket::header_bytes() const {
  if (header_size_ < 2) return 2;
  const int size = header_[1] & 0x7F;
  return 2u + 4u + (size == 126 ? 2u : size == 127 ? 8u : 0u);
}

/// Judges the first two bytes.
Result<void> WebSocket::begin_frame(Bytes& down) {
  const auto wrong = [&](const char* what) { return violation(WebSocketClose::protocol_error, what, down); };
  if ((header_[0] & 0x70) != 0) return wrong("a reserved bit is set");
  if ((header_[1] & 0x80) == 0) return wrong("a frame of a client is not masked");
  opcode_ = header_[0] & 0x0F;
  final_ = (header_[0] & 0x80) != 0;
  switch (opcode_) {
    case continuation:
      if (!fragmented_) return wrong("a continuation of nothing");
      break;
    case text: return violation(WebSocketClose::unsupported_data, "MQTT takes binary frames only", down);
    case binary:
      if (fragmented_) return wrong("a new message before the end of the one before");
      break;
    case close_frame:
    case ping:
    case pong:
      if (!final_) return wrong("a fragmented control frame");
      if ((header_[1] & 0x7F) > control_payload_max) return wrong("a control frame that is too long");
      return {};
    default: return wrong("an unknown opcode");
  }
  fragmented_ = !final_;
  return {};
}

/// A control frame is complete.
Result<void> WebSocket::end_frame(Bytes& down) {
  if (opcode_ == pong) return {};
  if (opcode_ == ping) {
    write_header(pong, text_.size(), down);
    append(down, text_);
    return {};
  }
  if (text_.size() == 1) return violation(WebSocketClose::protocol_error, "half a close code", down);
  if (text_.size() >= 2) {
    if (!is_close_code(static_cast<unsigned>(text_[0] << 8 | text_[1])))
      return violation(WebSocketClose::protocol_error, "a close code that may not be sent", down);
    std::string reason(as_text(ByteView(text_).subspan(2)));
    std::ranges::replace(reason, '\0', ' ');  // MQTT forbids it, UTF-8 does not
    if (!is_mqtt_utf8(reason))
      return violation(WebSocketClose::invalid_payload, "a close reason that is not UTF-8", down);
  }
  // The answer carries the same code (section 5.5.1).
  write_header(close_frame, std::min<std::size_t>(text_.size(), 2), down);
  append(down, ByteView(text_).first(std::min<std::size_t>(text_.size(), 2)));
  phase_ = Phase::closed;
  return fail(Errc::io, "the client has closed");
}

void WebSocket::unmask(ByteView in, Bytes& out) {
  const std::size_t from = out.size();
  out.resize(from + in.size());
  std::uint8_t* to = out.data() + from;
  std::array<std::uint8_t, 8> wide;
  for (std::size_t at = 0; at < wide.size(); ++at) wide[at] = mask_[(mask_at_ + at) & 3];
  std::uint64_t mask;
  std::memcpy(&mask, wide.data(), sizeof mask);
  std::size_t at = 0;
  for (; at + sizeof mask <= in.size(); at += sizeof mask) {
    std::uint64_t word;
    std::memcpy(&word, in.data() + at, sizeof word);
    word ^= mask;
    std::memcpy(to + at, &word, sizeof word);
  }
  for (; at < in.size(); ++at) to[at] = in[at] ^ wide[at & 7];
  mask_at_ = static_cast<std::uint8_t>((mask_at_ + in.size()) & 3);
}

Result<void> WebSocket::send(ByteView in, Bytes& down) {
  if (phase_ == Phase::closed) return {};
  write_header(binary, in.size(), down);
  append(down, in);
  return {};
}

void WebSocket::close(Bytes& down) {
  if (established()) send_close(WebSocketClose::normal, down);
}

void WebSocket::send_close(WebSocketClose code, Bytes& down) {
  if (std::exchange(phase_, Phase::closed) == Phase::closed) return;
  write_header(close_frame, 2, down);
  ByteWriter(down).u16(static_cast<std::uint16_t>(code));
}

tl::unexpected<Error> WebSocket::violation(WebSocketClose code, const char* what, Bytes& down) {
  send_close(code, down);
  return fail(Errc::invalid, fmt::format("WebSocket: {}", what));
}

}  // namespace diot
