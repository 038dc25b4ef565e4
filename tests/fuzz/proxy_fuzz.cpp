// The PROXY protocol's header.

#include "bridge/proxy_protocol.hpp"
#include "tests/fuzz/layer_twin.hpp"

namespace diot::fuzz {

void proxy(ByteView input) {
  ProxyHeader whole, pieces;
  feed_twins(whole, pieces, input, 0);
}

Seeds proxy_seeds() {
  const std::string start = "0d0a0d0a000d0a515549540a";
  Seeds out;
  for (const auto& header :
       {start + "2111000cc0000201c00002021234075b" + "6d717474",
        start + "2121002720010db800000000000000000000000120010db80000000000000000000000020050075b040000" + "6d71",
        start + "20000000" + "6d717474", start + "2111000fc0000201c00002021234075b030001" + "00"})
    for (std::uint8_t piece : {0, 4, 255}) out.push_back(chosen(piece, from_hex(header).value()));
  return out;
}

}  // namespace diot::fuzz
