// The server's side of SCRAM-SHA-256: two messages of a client that has not proven anything yet.

#include "bridge/scram.hpp"
#include "core/topic.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

namespace {

/// The example of RFC 7677 section 3.
constexpr std::string_view rfc_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view rfc_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view rfc_final =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

const ScramCredentials& credentials() {
  static const ScramCredentials out =
      make_scram_credentials("pencil", from_hex("5b6d99689d12358eeca04b141236fa81").value(), 4096);
  return out;
}

Bytes both(std::string_view first, std::string_view last) {
  Bytes out;
  ByteWriter(out).u16(static_cast<std::uint16_t>(first.size()));
  append(out, as_bytes(first));
  append(out, as_bytes(last));
  return out;
}

}  // namespace

void scram(ByteView input) {
  Input in(input);
  const auto size = in.u16();
  const ByteView first = in.take(size), last = in.rest();
  ScramServer server{std::string(rfc_nonce)};
  const auto user = server.begin(first);
  if (!user) {
    require(!user.error().message.empty(), "an error says what is wrong");
    return;
  }
  require(!user->empty() && is_mqtt_utf8(*user), "a user's name is text");
  const auto challenge = server.challenge(credentials());
  require(as_text(challenge).find(rfc_nonce) != std::string_view::npos, "the server's nonce is in its challenge");
  const auto proven = server.finish(last);
  if (!proven) return;
  // Without the password a proof can only be one that was seen, for the very same messages.
  require(as_text(last) == rfc_final && *user == "user", "a proof that nobody made was taken");
  require(as_text(*proven).starts_with("v="), "the server proves itself too");
}

Seeds scram_seeds() {
  return {both(rfc_first, rfc_final),
          both("y,a=user,n=user,r=x", "c=eSxhPXVzZXIs,r=x,p=AAAA"),
          both("n,,n=a=2Cb=3Dc,r=x", rfc_final),
          both("n,,n=\u2168\u00AA\uFDFA,r=x", "c=biws,r=x,p="),
          both("p=tls-exporter,,n=u,r=x", ""),
          both("n,,m=x,n=u,r=x", "")};
}

}  // namespace diot::fuzz
