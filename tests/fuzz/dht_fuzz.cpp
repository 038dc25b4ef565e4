// The DHT library itself, fed with whatever passes our check of its messages. The library is Debian's and not instrumented:
// the sanitizers see its headers' code, its calls of the C library and what it does with freed or foreign blocks there.
//
// Input: steps: u8 what and its arguments. So that replies are taken for answers, `t` of 0x10000 and more names one of the
// requests that the library has sent, and a token is the last one that it gave out.

#include <opendht/dht.h>

#include <algorithm>

#include "core/limits.hpp"
#include "dht/message_check.hpp"
#include "tests/fuzz/dht_messages.hpp"

namespace diot::fuzz {
namespace {

constexpr std::size_t token_bytes = 32;
constexpr std::size_t steps_max = 100;
constexpr dht::ValueType::Id own_type = 0x1001;

dht::SockAddr address(std::uint8_t number) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(4222);
  out.sin_addr.s_addr = htonl(0xc6336401u + number % 4);  // 198.51.100.1 …
  return {reinterpret_cast<const sockaddr*>(&out), sizeof out};
}

/// What the library has said that its peers would repeat.
struct Said {
  std::vector<Bytes> requests;  ///< each one's `t`, as msgpack
  Bytes token;

  void read(ByteView sent) {
    constexpr std::string_view t = "\xa1t", token_key = "\xa5token\xc4\x20";
    const auto text = as_text(sent);
    if (const auto at = text.find(token_key); at != text.npos)
      token = to_bytes(sent.subspan(std::min(sent.size(), at + token_key.size())));
    token.resize(std::min(token.size(), token_bytes));
    if (const auto at = text.rfind(t); at != text.npos && at + 2 < sent.size()) {
      const auto first = sent[at + 2];
      const std::size_t size = first == 0xce ? 5 : first == 0xcd ? 3 : first == 0xcc ? 2 : 1;
      if (requests.size() < 256 && at + 2 + size <= sent.size())
        requests.push_back(to_bytes(sent.subspan(at + 2, size)));
    }
  }
  Bytes put_into(ByteView message) const {
    Bytes out = to_bytes(message);
    constexpr std::string_view t = "\xa1t\xce", token_key = "\xa5token\xc4\x20";
    if (const auto at = as_text(out).rfind(t);
        at != std::string_view::npos && at + 7 <= out.size() && !requests.empty()) {
      const auto begin = out.begin() + static_cast<std::ptrdiff_t>(at) + 2;
      const auto& request = requests[requests.size() - 1 - out[at + 6] % requests.size()];
      const auto place = out.erase(begin, begin + 5);
      out.insert(place, request.begin(), request.end());
    }
    if (const auto at = as_text(out).find(token_key); at != std::string_view::npos && token.size() == token_bytes &&
                                                      at + token_key.size() + token_bytes <= out.size())
      std::ranges::copy(token, out.begin() + static_cast<std::ptrdiff_t>(at + token_key.size()));
    return out;
  }
};

class Socket final : public dht::net::DatagramSocket {
 public:
  explicit Socket(Said& said) : said_(said) {}
  int sendTo(const dht::SockAddr&, const std::uint8_t* data, std::size_t size, bool) override {
    require(is_dht_message({data, size}), "the check lets pass what the library says");
    said_.read({data, size});
    return 0;
  }
  bool hasIPv4() const override { return true; }
  bool hasIPv6() const override { return true; }
  const dht::SockAddr& getBoundRef(sa_family_t) const override { return none_; }
  void stop() override {}

 private:
  Said& said_;
  dht::SockAddr none_;
};

enum Step : std::uint8_t { datagram, time, ping, get, put, step_count };

}  // namespace

void dht(ByteView input) {
  Input in(input);
  Said said;
  ::dht::Config config;
  config.node_id = ::dht::InfoHash::get("fuzzed");
  config.max_store_size = limits::dht_store_bytes_max;
  ::dht::Dht dht(std::make_unique<Socket>(said), config, ::dht::Sp<::dht::Logger>());
  dht.setStorageLimit(limits::dht_store_bytes_max);
  dht.registerType(::dht::ValueType(
      own_type, "diot", std::chrono::hours(1), [](const auto&...) { return true; },
      [](const auto&...) { return true; }));
  auto now = std::chrono::steady_clock::now();
  const auto key = [](std::uint8_t fill) { return ::dht::InfoHash(Bytes(HASH_LEN, fill).data(), HASH_LEN); };
  const auto step = [&](ByteView packet, const ::dht::SockAddr& from) {
    try {  // as dht/directory_machine.cpp does
      packet.empty() ? dht.periodic(nullptr, 0, from, now) : dht.periodic(packet.data(), packet.size(), from, now);
    } catch (const std::exception&) {
    }
  };
  for (std::size_t steps = 0; !in.empty() && steps < steps_max; ++steps) {
    switch (static_cast<Step>(in.u8() % step_count)) {
      case datagram: {
        const auto from = address(in.u8());
        const auto message = said.put_into(in.take(in.u16()));
        if (is_dht_message(message)) step(message, from);
        break;
      }
      case time: now += std::chrono::milliseconds(10) * (1u << in.u8() % 20); break;
      case ping: dht.pingNode(address(in.u8())); break;
      case get:
        dht.get(key(in.u8()), ::dht::GetCallback([](const auto&) { return true; }), ::dht::DoneCallbackSimple());
        break;
      case put:
        dht.put(key(in.u8()), std::make_shared<::dht::Value>(own_type, Bytes(in.u16() % 60'000, 5), 1),
                ::dht::DoneCallbackSimple());
        break;
      case step_count: break;
    }
    step({}, {});
    require(dht.getStoreSize().first <= limits::dht_store_bytes_max + 128 * 1024, "what is stored is bounded");
  }
}

Seeds dht_seeds() {
  Seeds out;
  Bytes all{ping, 0, ping, 1};
  const auto say = [](Bytes& script, ByteView message) {
    script.push_back(datagram);
    script.push_back(0);
    ByteWriter(script).u16(static_cast<std::uint16_t>(message.size()));
    append(script, message);
  };
  for (const auto& message : dht_messages()) {
    Bytes script{ping, 0};
    say(script, message);
    append(script, Bytes{time, 4});
    out.push_back(script);
    say(all, message);
  }
  out.push_back(all);
  const Field id{"id", blob(20, 1)}, h{"h", blob(20, 2)};
  Bytes exchange{ping, 0};
  say(exchange, reply({id, {"sa", blob(4)}}, 0x10000));
  append(exchange, Bytes{time, 3, get, 2, time, 3});
  say(exchange, reply({id, {"n4", blob(52)}, {"token", blob(32)}}, 0x10000));
  append(exchange, Bytes{time, 8, put, 2, 0x40, 0, time, 8});
  say(exchange, reply({id, {"token", blob(32)}}, 0x10000));
  say(exchange, question("get", {id, h}));
  const auto value = map_of(
      {{"id", number(1)}, {"dat", map_of({{"body", map_of({{"type", number(own_type)}, {"data", blob(40)}})}})}});
  say(exchange, question("put", {id, h, {"values", array_of({value})}, {"token", blob(32)}}));
  say(exchange, question("get", {id, h}));
  out.push_back(exchange);
  return out;
}

}  // namespace diot::fuzz
