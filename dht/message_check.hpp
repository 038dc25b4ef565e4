#pragma once
// What may go into the DHT library's parser. OpenDHT 2.4.12 reads maps without checking that they are maps, so that one
// bent datagram of anybody who has the network's key reads foreign memory and ends the process. Here every datagram is
// held against the messages that the library itself sends when it is used as dht/dht_directory.cpp does; all others
// are dropped. `listen`, `refresh` and updates are not among them: nothing here uses them.

#include "core/bytes.hpp"

namespace diot {

/// Whether these bytes are one ping, find, get or put, one reply or error, or one part of a large value, in the exact
/// shape of docs/protocol.md, "DHT datagrams". Never throws; allocates nothing.
bool is_dht_message(ByteView bytes);

}  // namespace diot
