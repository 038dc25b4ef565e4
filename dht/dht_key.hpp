#pragma once
// What seals the network's DHT datagrams (docs/protocol.md, "DHT datagrams"); told to nodes that join.

#include <cstdint>

#include "core/crypto.hpp"

namespace diot {

struct DhtKey {
  std::uint32_t epoch = 1;
  Seed key;
};

}  // namespace diot
