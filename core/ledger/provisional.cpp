#include "core/ledger/provisional.hpp"

#include <fmt/format.h>

#include "core/crypto.hpp"
#include "core/topic.hpp"

namespace diot {

std::string provisional_name(const NetworkId& network, std::string_view handle, const Hash& register_entry) {
  const Hash hash(blake2b({as_bytes("diot/provisional/v1"), network, register_entry}).bytes);
  const auto bits = ByteReader(hash).u64();
  std::string fingerprint;
  for (unsigned digit = 1; digit <= fingerprint_digits; ++digit)
    fingerprint += fingerprint_alphabet[bits >> (64 - 5 * digit) & 31];
  return fmt::format("{}~{}", handle, fingerprint);
}

Result<HandleRecord> provisional_record(const Entry& entry, const NetworkId& network) {
  const auto* body = std::get_if<RegisterBody>(&entry.body);
  if (!body) return fail(Errc::invalid, "the entry registers no handle");
  HandleRecord out;
  out.handle = provisional_name(network, body->what.handle, entry.hash);
  out.register_entry = entry.hash;
  out.owner = body->what.owner;
  out.next_key = body->what.next_key;
  out.nodes = body->what.nodes;
  return out;
}

Result<HandleRecord> provisional_record(ByteView entry, const NetworkId& network) {
  return decode_entry(entry).and_then([&](const Entry& decoded) { return provisional_record(decoded, network); });
}

}  // namespace diot
