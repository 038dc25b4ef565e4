// What may go into the DHT library's parser: everything that passes is one whole msgpack map.

#include <msgpack.hpp>

#include "dht/message_check.hpp"
#include "tests/fuzz/dht_messages.hpp"

namespace diot::fuzz {

void dht_message(ByteView input) {
  const bool passed = is_dht_message(input);
  if (!passed) return;
  std::size_t end = 0;
  try {
    const auto whole = msgpack::unpack(reinterpret_cast<const char*>(input.data()), input.size(), end);
    require(whole->type == msgpack::type::MAP, "a message is a map");
  } catch (const std::exception&) {
    require(false, "the library's msgpack reads what passes");
  }
  require(end == input.size(), "a message is all of the datagram");
}

Seeds dht_message_seeds() { return dht_messages(); }

}  // namespace diot::fuzz
