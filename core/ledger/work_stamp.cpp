#include "core/ledger/work_stamp.hpp"

#include <sodium.h>

#include "core/ledger/codec.hpp"

namespace diot {

WorkRules work_rules(std::uint32_t rules_version) {
  if (rules_version & test_rules) return {8 << 10, 1, 16};
  return {32 << 20, 1, 8192};
}

namespace {

/// What the work is for: one registration, in one network, not much before it is handed in.
Hash work_of(const Registration& what, const NetworkId& network, const Checkpoint& recent) {
  Bytes bytes = to_bytes(std::string_view("diot/stamp/v1"));
  append(bytes, network);
  ByteWriter(bytes).u64(recent.height);
  append(bytes, recent.block);
  append(bytes, token_bytes(what));
  return sha256(bytes);
}

Result<bool> try_stamp(std::uint64_t stamp, const Hash& work, const NetworkId& network, const WorkRules& rules) {
  Bytes password = to_bytes(work.view());
  ByteWriter(password).u64(stamp);
  static_assert(crypto_pwhash_argon2id_SALTBYTES <= NetworkId::size);
  std::array<std::uint8_t, 32> out{};
  if (crypto_pwhash_argon2id(out.data(), out.size(), reinterpret_cast<const char*>(password.data()), password.size(),
                             network.bytes.data(), rules.passes, rules.memory_bytes,
                             crypto_pwhash_argon2id_ALG_ARGON2ID13) != 0)
    return fail(Errc::limit, "the work of a registration cannot be computed: there is not enough memory");
  return ByteReader(out).u64() <= UINT64_MAX / rules.difficulty;
}

}  // namespace

Result<bool> check_stamp(std::uint64_t stamp, const Registration& what, const NetworkId& network,
                         const Checkpoint& recent, const WorkRules& rules) {
  return try_stamp(stamp, work_of(what, network, recent), network, rules);
}

Result<std::uint64_t> make_stamp(const Registration& what, const NetworkId& network, const Checkpoint& recent,
                                 const WorkRules& rules, std::uint64_t start, const std::function<bool()>& go_on) {
  const auto work = work_of(what, network, recent);
  for (auto stamp = start; go_on(); ++stamp) {
    const auto good = try_stamp(stamp, work, network, rules);
    if (!good) return tl::unexpected(good.error());
    if (*good) return stamp;
  }
  return fail(Errc::timed_out, "the work for the registration was not done in time: give it longer");
}

}  // namespace diot
