#include "tools/app/setup.hpp"

#include <fmt/format.h>

#include <asio/post.hpp>
#include <nlohmann/json.hpp>

#include "core/address.hpp"
#include "core/ledger/ledger.hpp"
#include "core/words.hpp"
#include "dht/ledger_sync.hpp"

namespace diot {
Hash next_key_hash_of(std::string_view words) { return sha256(owner_key(words, 1).public_key()); }

Result<void> first_error(std::initializer_list<std::function<Result<void>()>> steps) {
  for (const auto& step : steps)
    if (auto done = step(); !done) return done;
  return {};
}

std::vector<std::string> told_addresses(const Config& config) {
  if (!config.overlay_addresses.empty()) return config.overlay_addresses;
  auto out = config.overlay_listen;
  std::erase_if(out, [](const std::string& address) {
    const auto parsed = parse_address(address);
    return !parsed || parsed->port == 0 || parsed->host == "0.0.0.0" || parsed->host == "::";
  });
  return out;
}

void erase_everything(Store& store) {
  const Bytes beyond_every_key(256, 0xff);
  for (int table = 0; table < static_cast<int>(Table::count_); ++table)
    store.erase_range(static_cast<Table>(table), {}, beyond_every_key);
}

Result<std::unique_ptr<OfflineStore>> OfflineStore::open(const Home& home) {
  std::unique_ptr<OfflineStore> out(new OfflineStore);
  auto store = SqliteStore::open(home.database_path(),
                                 [&io = out->io_](std::function<void()> task) { asio::post(io, std::move(task)); });
  if (!store) return tl::unexpected(store.error());
  out->store_ = std::move(*store);
  return out;
}

Result<void> OfflineStore::commit() {
  bool done = false;
  store_->when_durable([&] { done = true; });
  store_->seal();
  while (!done) {
    io_.run_one_for(std::chrono::milliseconds(50));
    if (auto trouble = store_->trouble(); trouble && !done) return tl::unexpected(*trouble);
    store_->seal();
  }
  return {};
}

Result<Json> init_home(const std::string& path, const Config& config, Random& random, const Clock& clock,
                       const ShowWords& show_words) {
  const auto home = Home::create(path);
  if (!home) return tl::unexpected(home.error());

  // Everything is made and judged before the first byte is written.
  const std::string words = make_words(random);
  const KeyPair owner = owner_key(words, 0);
  const KeyPair node = KeyPair::generate(random);
  const KeyPair witness = KeyPair::generate(random);
  const Registration registration{
      config.handle, owner.public_key(), next_key_hash_of(words), {{node.node_id(), Role::admin}}};
  Genesis genesis;
  random.fill(genesis.nonce);
  genesis.time = clock.wall_ms();
  genesis.witnesses = {witness.public_key()};
  genesis.succession = sha256(succession_key(words).public_key());
  genesis.founding = {make_register(registration, NetworkId{}, Checkpoint{}, owner, {node}, nullptr)};
  const Bytes genesis_bytes = encode_genesis(genesis, {witness});
  auto ledger = Ledger::from_genesis(genesis_bytes);
  if (!ledger) return tl::unexpected(ledger.error());
  auto block = ledger->make_first_block(genesis.time, witness);
  if (!block) return tl::unexpected(block.error());
  if (auto appended = ledger->append(*block); !appended) return tl::unexpected(appended.error());

  const auto written = first_error({
      [&] { return home->remove_next_key_hash(); },
      [&] { return home->write_key("node", node); },
      [&] { return home->write_key("owner", owner); },
      [&] { return home->write_key("witness", witness); },
      [&] { return home->write_config(to_toml(config)); },
      [&] { return home->api_token(random).map([](const auto&) {}); },
      [&]() -> Result<void> {
        auto offline = OfflineStore::open(*home);
        if (!offline) return tl::unexpected(offline.error());
        erase_everything((*offline)->store());
        (*offline)->store().put(Table::block, block_key(1), std::move(*block));
        return (*offline)->commit();
      },
      [&]() -> Result<void> { return show_words(words), Result<void>{}; },
      [&] { return home->write_next_key_hash(registration.next_key); },
      [&] { return home->write_genesis(genesis_bytes); },
  });
  if (!written) return tl::unexpected(written.error());
  return Json{{"handle", config.handle},
              {"node", to_display(node.node_id())},
              {"network", ledger->network().hex()},
              {"home", path}};
}

void tell_height(const JoinResult& joined, Json& out) {
  out["height"] = joined.height == 0 ? Json(nullptr) : Json(joined.height);
  if (joined.height != 0) return;
  out["provisional"] = joined.provisional;
  out["waiting_for"] = joined.why;
}

Result<Json> join_home(const std::string& path, const Config& config, const Invite& invite,
                       std::chrono::seconds timeout, Random& random, const ShowWords& show_words,
                       const ShowWork& show_work, const JoinNetwork& join_network) {
  const auto home = Home::create(path);
  if (!home) return tl::unexpected(home.error());
  auto offline = OfflineStore::open(*home);
  if (!offline) return tl::unexpected(offline.error());

  erase_everything((*offline)->store());

  const auto kept_node = home->node_key();
  const auto kept_owner = home->owner_key();
  const auto kept_next = home->next_key_hash();
  // The hash is only there once the words of these keys were shown.
  const bool resuming = kept_node && kept_owner && kept_next;
  const std::string words = make_words(random);
  JoinRequest request{.invite = invite,
                      .handle = config.handle,
                      .node = resuming ? *kept_node : KeyPair::generate(random),
                      .owner = resuming ? *kept_owner : owner_key(words, 0),
                      .next_key = resuming ? *kept_next : next_key_hash_of(words),
                      .addresses = told_addresses(config),
                      .timeout = timeout,
                      .working = show_work,
                      .before_submit = {}};
  // The words come first: once the entry has left, they must have been seen.
  request.before_submit = [&]() -> Result<void> {
    if (resuming) return {};
    show_words(words);
    return first_error({
        [&] { return home->write_key("node", request.node); },
        [&] { return home->write_key("owner", request.owner); },
        [&] { return home->write_next_key_hash(request.next_key); },
    });
  };
  const auto joined = join_network(request, (*offline)->store());
  if (!joined) return tl::unexpected(joined.error());
  const auto network = network_id_of(joined->genesis);
  if (!network) return tl::unexpected(network.error());
  const auto written = first_error({
      [&] { return home->write_config(to_toml(config)); },
      [&] { return home->api_token(random).map([](const auto&) {}); },
      [&] { return (*offline)->commit(); },
      [&] { return home->write_genesis(joined->genesis); },
  });
  if (!written) return tl::unexpected(written.error());
  Json out{{"handle", config.handle},
           {"node", to_display(request.node.node_id())},
           {"network", network->hex()},
           {"home", path}};
  tell_height(*joined, out);
  return out;
}

}  // namespace diot
