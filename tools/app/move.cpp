#include "tools/app/move.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/ledger/genesis.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/provisional.hpp"
#include "core/ledger/storage.hpp"
#include "core/share.hpp"
#include "core/topic.hpp"
#include "dht/overlay.hpp"
#include "dht/own_registration.hpp"
#include "tools/app/node_core.hpp"

namespace diot {

namespace {

constexpr std::size_t uncommitted_bytes_max = 8 << 20;

/// Whether a row of Table::retained is the value of a topic of this home.
bool is_local_value(ByteView key) {
  return !key.empty() && key.front() >= ' ' && parts_of(as_text(key)).kind == TopicKind::local;
}

/// Rows from one database to another. `damaged` counts those that could not be read.
class CarryOver {
 public:
  CarryOver(Store& from, OfflineStore& to) : from_(from), to_(to) {}
  std::uint64_t damaged = 0;

  Result<void> row(Table table, ByteView key) {
    auto value = from_.get(table, key);
    if (!value) return ++damaged, Result<void>();
    if (*value) to_.store().put(table, key, std::move(**value));
    return {};
  }

  Result<void> all(Table table, const std::function<bool(ByteView key)>& wanted) {
    Result<void> committed;
    auto scanned = from_.scan(
        table, {}, {},
        [&](ByteView key, ByteView value) {
          if (!wanted(key)) return true;
          to_.store().put(table, key, to_bytes(value));
          if (to_.store().pending_bytes() > uncommitted_bytes_max) committed = to_.commit();
          return committed.has_value();
        },
        [this](ByteView) { ++damaged; });
    return scanned ? committed : scanned;
  }

 private:
  Store& from_;
  OfflineStore& to_;
};

/// Its shares, signed for the new network. A node that may not change shares there brings none.
Result<std::size_t> carry_shares(Store& from, const NetworkId& old_network, const Ledger& ledger,
                                 const HandleRecord& own, const KeyPair& node, CarryOver& carried, Store& to) {
  std::size_t count = 0;
  if (own.role_of(node.node_id()) != Role::admin) return count;
  auto scanned = from.scan(
      Table::share, {}, {},
      [&](ByteView, ByteView value) {
        const auto share = decode_share(value, old_network);
        if (!share) return ++carried.damaged, true;
        const auto moved = rehomed(*share, ledger.network(), own.register_entry, node.node_id(), ledger.head());
        to.put(Table::share, moved.id, encode_share(moved, node, ledger.network()));
        ++count;
        return true;
      },
      [&](ByteView) { ++carried.damaged; });
  if (!scanned) return tl::unexpected(scanned.error());
  return count;
}

std::string what_happens(const Home& home, const Ledger& old, const KeyPair& node, bool decides) {
  const HandleRecord* own = old.handle_of(node.node_id());
  return fmt::format(
      "this home is {} in network {}…, and would leave it: its topics are registered anew in the other network, and "
      "homes of "
      "the old one reach them no more{}. Keys, 24 words, users, sessions, retained values and shares stay; the old "
      "ledger and what is read from other "
      "homes stay behind in {}/old-…; say --yes to move, or choose another home with DIOT_HOME",
      own ? "@" + own->handle : "without a handle", old.network().hex().substr(0, 16),
      decides ? (old.witnesses().size() == 1 ? ", which loses its only registrar" : ", which loses a witness") : "",
      home.path());
}

}  // namespace

Result<Json> move_home(const Home& home, const Config& config, const Invite& invite, std::chrono::seconds timeout,
                       bool yes, const ShowWork& show_work, const JoinNetwork& join_network) {
  const auto grant = decode_grant(invite.grant);
  if (!grant) return tl::unexpected(grant.error());
  const auto node = home.node_key();
  if (!node) return tl::unexpected(node.error());
  const auto owner = home.owner_key();
  if (!owner) return tl::unexpected(owner.error());
  const auto next_key = home.next_key_hash();
  if (!next_key) return tl::unexpected(next_key.error());
  const auto genesis = home.genesis();
  if (!genesis) return tl::unexpected(genesis.error());
  auto old_store = OfflineStore::open(home);
  if (!old_store && old_store.error().code == Errc::exists)
    return fail(Errc::exists, old_store.error().message + "; a home moves while its node is stopped");
  if (!old_store) return tl::unexpected(old_store.error());
  Store& from = (*old_store)->store();
  const auto old = load_ledger(*genesis, from);
  if (!old) return tl::unexpected(old.error());
  if (const HandleRecord* own = old->handle_of(node->node_id()); own && grant->network == old->network())
    return fail(Errc::exists,
                fmt::format("this home is @{} in that network already: `diot run` starts it; another handle "
                            "needs a home of its own (DIOT_HOME)",
                            own->handle));
  const auto witness = home.witness_key().value_or(*node).public_key();
  const bool decides = std::ranges::find(old->witnesses(), witness) != old->witnesses().end();
  if (!yes) return fail(Errc::not_permitted, what_happens(home, *old, *node, decides));

  const auto move = home.begin_move(old->network().hex());
  if (!move) return tl::unexpected(move.error());
  const Home& moving = move->home;
  auto new_store = OfflineStore::open(moving);
  if (!new_store) return tl::unexpected(new_store.error());
  Store& to = (*new_store)->store();
  const auto joined = join_network({.invite = invite,
                                    .handle = config.handle,
                                    .node = *node,
                                    .owner = *owner,
                                    .next_key = *next_key,
                                    .addresses = told_addresses(config),
                                    .timeout = timeout,
                                    .working = show_work,
                                    .before_submit = {}},
                                   to);
  if (!joined) return tl::unexpected(joined.error());
  if (auto committed = (*new_store)->commit(); !committed) return tl::unexpected(committed.error());
  const auto ledger = load_ledger(joined->genesis, to);
  if (!ledger) return tl::unexpected(ledger.error());
  std::optional<HandleRecord> waiting;
  if (const auto entry = to.get(Table::meta, meta_registration()); entry && *entry)
    if (auto record = provisional_record(**entry, ledger->network())) waiting = std::move(*record);
  const HandleRecord* own = waiting ? &*waiting : ledger->handle_of(node->node_id());
  if (!own) return fail(Errc::corrupt, "the new ledger does not let this node speak for any handle");

  CarryOver carry(from, **new_store);
  const auto everything = [](ByteView) { return true; };
  std::size_t shares = 0;
  const auto carried = first_error({
      [&] { return carry.row(Table::meta, meta_incarnation()); },
      [&] { return carry.row(Table::meta, meta_node_record_seq()); },
      [&] { return carry.row(Table::meta, meta_time()); },
      [&] { return carry.all(Table::session, everything); },
      [&] { return carry.all(Table::queue, everything); },
      [&] { return carry.all(Table::spool, everything); },
      [&] { return carry.all(Table::inflight, everything); },
      [&] { return carry.all(Table::retained, is_local_value); },
      [&] {
        return carry_shares(from, old->network(), *ledger, *own, *node, carry, to).map([&](std::size_t count) {
          shares = count;
        });
      },
      [&] { return moving.write_config(to_toml(config)); },
      [&] { return (*new_store)->commit(); },
  });
  if (!carried) return tl::unexpected(carried.error());
  Json out{{"handle", config.handle}, {"node", to_display(node->node_id())}, {"network", ledger->network().hex()},
           {"home", home.path()},     {"old_network", old->network().hex()}, {"old_folder", move->old_folder},
           {"shares", shares},        {"damaged_rows", carry.damaged}};
  tell_height(*joined, out);
  // Both databases are closed before their files change names.
  new_store->reset();
  old_store->reset();
  std::error_code error;
  if (const auto wal = moving.database_path() + "-wal"; std::filesystem::exists(wal, error))
    return fail(Errc::io, fmt::format("{} could not be written back into its database; try again", wal));
  if (auto complete = moving.write_genesis(joined->genesis); !complete) return tl::unexpected(complete.error());
  if (const auto moved = Home::open(home.path()); !moved) return tl::unexpected(moved.error());
  return out;
}

}  // namespace diot
