#include "tools/app/node_core.hpp"

#include <cstdlib>
#include <utility>

#include "core/ledger/storage.hpp"

namespace diot {

namespace {

constexpr auto time_row_interval = std::chrono::minutes(5);  // a row a write: flash wears
constexpr std::int64_t step_ms_min = 1000;                   // less is drift

}  // namespace

NodeCore::NodeCore(NodeCoreConfig config, const KeyPair& node, Store& store, Turn& turn, const Clock& clock,
                   Random& random)
    : config_(std::move(config)), node_(node), store_(store), turn_(turn), clock_(clock), random_(random) {
  config_.broker.own_handle = config_.handle;
}

Result<void> NodeCore::open() {
  auto ledger = load_ledger(config_.genesis, store_);
  if (!ledger) return tl::unexpected(ledger.error());
  ledger_.emplace(std::move(*ledger));
  // Block 1 was there before the first start. A registrar that began again would write another history.
  if (ledger_->head().height == 0) return fail(Errc::corrupt, "diot.db holds no ledger: the database was lost");
  if (auto set = set_clock(); !set) return set;
  retained_ = std::make_unique<Retained>(store_, clock_);
  if (auto loaded = retained_->load(); !loaded) return loaded;
  auto key = stored_dht_key();
  if (!key) return tl::unexpected(key.error());
  dht_key_ = *key;

  OverlayConfig overlay;
  overlay.handle = config_.handle;
  overlay.genesis = config_.genesis;
  overlay.dht_key = dht_key_;
  overlay.witness = config_.witness;
  overlay.archive = config_.archive;
  overlay_ = std::make_unique<Overlay>(std::move(overlay), node_, *ledger_, store_, *retained_, turn_, clock_, random_);
  Authenticator& authenticator = config_.authenticator ? *config_.authenticator : everybody_;
  broker_ =
      std::make_unique<Broker>(config_.broker, store_, *retained_, *overlay_, authenticator, turn_, clock_, random_);
  return {};
}

Result<void> NodeCore::set_clock() {
  auto stored = store_.get(Table::meta, meta_time());
  if (!stored) return tl::unexpected(stored.error());
  ByteReader in(*stored ? ByteView(**stored) : ByteView());
  const WallMs wall = in.u64();
  const HeldMs held = in.u64();
  if (*stored) clock_.not_before(wall);
  clock_.not_before(ledger_->head_time());
  clock_.not_before(config_.built);
  if (*stored) clock_.resume_held(in.ok() ? held : wall, wall);
  return {};
}

/// Soon where the wall clock was set, or the next life would take the step for a time of rest.
void NodeCore::keep_time() {
  if (!clock_.sure()) clock_.not_before(ledger_->head_time());
  const std::uint64_t offset = clock_.wall_ms() - clock_.held_ms();
  const bool stepped = std::abs(static_cast<std::int64_t>(offset - kept_offset_)) >= step_ms_min;
  if (!stepped && clock_.monotonic() < next_time_row_) return;
  next_time_row_ = clock_.monotonic() + time_row_interval;
  kept_offset_ = offset;
  Bytes row;
  ByteWriter out(row);
  out.u64(clock_.wall_ms());
  out.u64(clock_.held_ms());
  store_.put(Table::meta, meta_time(), std::move(row));
}

/// The network's; its founder makes it at the first start.
Result<DhtKey> NodeCore::stored_dht_key() {
  auto stored = store_.get(Table::meta, meta_dht_key());
  if (!stored) return tl::unexpected(stored.error());
  if (*stored) {
    if (const auto key = decode_dht_key(**stored)) return *key;
    return fail(Errc::corrupt, "the network's DHT key in diot.db is malformed");
  }
  const auto& founders = ledger_->genesis().witnesses;
  if (!config_.witness || std::ranges::find(founders, config_.witness->public_key()) == founders.end())
    return fail(Errc::corrupt, "diot.db holds no DHT key of the network");
  const DhtKey made{1, random_.id<Seed>()};
  store_.put(Table::meta, meta_dht_key(), encode_dht_key(made));
  return made;
}

bool NodeCore::may_sign(DirectoryKind kind, ByteView subject, const NodeId& signer) const {
  if (kind == DirectoryKind::node) return ledger_->handle_of(signer) != nullptr;
  const HandleRecord* handle = ledger_->handle(as_text(subject));
  return handle && handle->role_of(signer).has_value();
}

Result<void> NodeCore::start(LinkTransport& links, Directory* directory) {
  overlay_->connect(*broker_, links, directory);
  overlay_->on_named = [this](const OwnNames& names) { broker_->set_own_names(names); };
  if (auto loaded = overlay_->load(); !loaded) return loaded;
  if (auto loaded = broker_->load(); !loaded) return loaded;
  overlay_->settle();
  return {};
}

void NodeCore::end_turn() {
  overlay_->end_turn();
  broker_->end_turn();
  store_.seal();
}

void NodeCore::tick() {
  broker_->tick();
  overlay_->tick();
  broker_->publish_notification("$SYS/broker/ledger/forks", std::to_string(overlay_->ledger_sync().forks().size()));
  retained_->tick();
  keep_time();
  turn_.touch();
}

}  // namespace diot
