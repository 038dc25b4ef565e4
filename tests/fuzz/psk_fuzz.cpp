// The file of TLS identities and their keys: what is read is written to the same meaning.

#include "bridge/tls.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

void psk(ByteView input) {
  const auto keys = parse_psk_file(as_text(input));
  if (!keys) {
    require(keys.error().message.starts_with("line "), "an error names its line");
    return;
  }
  std::string text;
  for (const auto& [identity, key] : *keys) {
    require(!identity.empty() && !key.empty(), "an identity has a name and a key");
    require(identity.find_first_of(std::string_view("\n:\0", 3)) == identity.npos, "an identity stands in one field");
    text += identity + ":" + to_hex(key) + "\n";
  }
  const auto again = parse_psk_file(text);
  require(again.has_value() && *again == *keys, "what is written is read alike");
}

Seeds psk_seeds() {
  return {to_bytes("lamp:00112233445566778899aabbccddeeff\n"),
          to_bytes("# devices\n\nlamp:0011223344556677889900AABBCCDDEEFF\r\nplug:ffeeddccbbaa99887766554433221100\n"),
          to_bytes("a:00\na:11\n"),
          to_bytes(":00\n"),
          to_bytes("x:0\n"),
          to_bytes("lamp 00\n")};
}

}  // namespace diot::fuzz
