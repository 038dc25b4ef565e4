// Makes a home that is founded just now (`diot init`) the registrar of a network that is as old and large as a home never
// gets within a test: so many blocks, from four months ago to two months ago, and ten of the last month.

#include <fmt/format.h>

#include <cstdlib>
#include <vector>

#include "core/clock.hpp"
#include "core/ledger/storage.hpp"
#include "tests/core/keys.hpp"
#include "tools/app/config.hpp"
#include "tools/app/home.hpp"
#include "tools/app/setup.hpp"

namespace {

using namespace diot;

template <class T>
T must(Result<T> result) {
  if (result) return std::move(*result);
  fmt::print(stderr, "old_home: {}\n", result.error().message);
  std::exit(1);
}
void must(const Result<void>& result) {
  must(result.map([] { return 0; }));
}

constexpr std::uint64_t others = 900, updates_per_block = 2;
constexpr WallMs day_ms = 86'400'000;

KeyPair owner_of(std::uint64_t home) { return testing::test_key(10'000 + 3 * home); }
std::string name_of(std::uint64_t home) { return fmt::format("home-{}", home); }

Bytes found(const Registration& registration, const KeyPair& owner, const KeyPair& node) {
  return make_register(registration, {}, {}, owner, {node}, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return fmt::print(stderr, "usage: old_home HOME BLOCKS\n"), 2;
  crypto_init();
  const auto home = must(Home::open(argv[1]));
  const auto config = must(load_config(home.config_path()));
  const auto old_blocks = std::strtoull(argv[2], nullptr, 10);
  const auto node = must(home.node_key()), owner = must(home.owner_key()), witness = must(home.witness_key());

  SystemRandom random;
  const auto now = SystemClock().wall_ms();
  Genesis genesis;
  random.fill(genesis.nonce);
  genesis.time = now - 120 * day_ms;
  genesis.witnesses = {witness.public_key()};
  genesis.succession = sha256(owner.public_key());
  genesis.founding = {found(
      {config.handle, owner.public_key(), must(home.next_key_hash()), {{node.node_id(), Role::admin}}}, owner, node)};
  for (std::uint64_t i = 0; i < others; ++i) {
    const auto key = testing::test_key(10'001 + 3 * i);
    const auto next = testing::test_key(10'002 + 3 * i);
    genesis.founding.push_back(
        found({name_of(i), owner_of(i).public_key(), sha256(next.public_key()), {{key.node_id(), Role::admin}}},
              owner_of(i), key));
  }
  const auto bytes = encode_genesis(genesis, {witness});
  auto ledger = must(Ledger::from_genesis(bytes));

  auto offline = must(OfflineStore::open(home));
  auto& store = offline->store();
  erase_everything(store);
  const auto keep = [&](const Bytes& block) {
    must(ledger.append(block));
    store.put(Table::block, block_key(ledger.head().height), block);
  };
  keep(must(ledger.make_first_block(genesis.time, witness)));
  std::uint64_t next = 0;
  const auto make = [&](WallMs time) {
    std::vector<Bytes> entries;
    for (std::uint64_t i = 0; i < updates_per_block; ++i, ++next)
      entries.push_back(make_update(*ledger.handle(name_of(next % others)), ledger.network(), ledger.head(),
                                    owner_of(next % others), {}));
    keep(must(ledger.make_block(entries, time, witness)));
  };
  for (std::uint64_t at = 0; at < old_blocks; ++at) make(genesis.time + (at + 1) * 60 * day_ms / old_blocks);
  for (std::uint64_t day = 10; day > 0; --day) make(now - day * day_ms);
  must(offline->commit());
  must(home.write_genesis(bytes));
}
