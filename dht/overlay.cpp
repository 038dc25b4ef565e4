#include "dht/overlay.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "core/ledger/provisional.hpp"
#include "core/limits.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr auto second = std::chrono::seconds(1);
constexpr auto unregistered_grace = std::chrono::seconds(10);
constexpr auto catalogue_lookup_interval = std::chrono::seconds(10);

Bytes meta_copied() { return to_bytes("copied"); }

Result<std::uint64_t> stored_number(Store& store, ByteView key) {
  auto value = store.get(Table::meta, key);
  if (!value) return tl::unexpected(value.error());
  return *value ? ByteReader(**value).u64() : 0;
}

void store_number(Store& store, ByteView key, std::uint64_t number) {
  Bytes value;
  ByteWriter(value).u64(number);
  store.put(Table::meta, key, std::move(value));
}

}  // namespace

Bytes encode_dht_key(const DhtKey& key) {
  Bytes out;
  ByteWriter write(out);
  write.u32(key.epoch);
  write.raw(key.key);
  return out;
}

std::optional<DhtKey> decode_dht_key(ByteView bytes) {
  ByteReader in(bytes);
  DhtKey key;
  key.epoch = in.u32();
  key.key = in.id<Seed>();
  if (!in.done()) return std::nullopt;
  return key;
}

Overlay::Overlay(OverlayConfig config, const KeyPair& node, Ledger& ledger, Store& store, Retained& retained,
                 Turn& turn, const Clock& clock, Random& random)
    : config_(std::move(config)),
      wills_(store, node.node_id()),
      context_{node, ledger, store, retained, wills_, turn, clock, random, HybridClock(clock)},
      logs_(context_),
      own_(context_, logs_),
      remote_(context_, logs_),
      ledger_sync_(
          context_, config_.witness ? &*config_.witness : nullptr, [this] { ledger_changed(); }, config_.catch_up,
          config_.archive, config_.history),
      registration_(context_, ledger_sync_),
      peers_(context_) {
  context_.own.shown = config_.handle;
  context_.instance = random.id<InstanceId>();
  logs_.on_lack = [this](const ChannelId& id, const NodeId& writer, const Cursor& before) {
    remote_.on_lack(id, writer, before);
  };
}

void Overlay::connect(BrokerPort& broker, LinkTransport& links, Directory* directory) {
  context_.broker = &broker;
  context_.links = &links;
  context_.directory = directory;
}

Result<void> Overlay::load() {
  const auto last = stored_number(context_.store, meta_incarnation());
  if (!last) return tl::unexpected(last.error());
  context_.incarnation.number = *last;
  begin_incarnation();
  const auto seq = stored_number(context_.store, meta_node_record_seq());
  if (!seq) return tl::unexpected(seq.error());
  node_record_seq_ = *seq;
  if (!context_.ledger.genesis().founding.empty())
    if (const auto entry = describe_entry(context_.ledger.genesis().founding.front())) context_.founder = entry->handle;
  ledger_sync_.load();
  if (auto loaded = registration_.load(); !loaded) return loaded;
  name_myself();
  if (auto loaded = logs_.load(); !loaded) return loaded;
  if (auto loaded = wills_.load(); !loaded) return loaded;
  if (auto loaded = own_.load(); !loaded) return loaded;
  if (auto loaded = remote_.load(); !loaded) return loaded;
  return peers_.load();
}

/// A new life of this node: nothing that an earlier one signed can be signed again, and readers take it for the later one.
void Overlay::begin_incarnation(std::uint64_t above) {
  context_.incarnation = {std::max({context_.incarnation.number, above, context_.clock.wall_ms() - 1}) + 1,
                          context_.random.u64()};
  store_number(context_.store, meta_incarnation(), context_.incarnation.number);
  own_.begin_incarnation();
}

void Overlay::settle() {
  own_.settle();
  remote_.settle([this](const ChannelId& id) { return own_.has(id); });
  context_.turn.touch();
}

void Overlay::set_addresses(std::vector<std::string> addresses) {
  if (addresses.size() > limits::addresses_per_node_max) addresses.resize(limits::addresses_per_node_max);
  config_.addresses = std::move(addresses);
  publish_node_record();
}

void Overlay::publish_node_record() {
  if (!context_.directory) return;
  DirectoryRecord record;
  record.kind = DirectoryKind::node;
  record.subject = to_bytes(context_.self().view());
  record.signer = context_.self();
  record.seq = node_record_seq_ = std::max(context_.clock.wall_ms(), node_record_seq_ + 1);
  store_number(context_.store, meta_node_record_seq(), node_record_seq_);
  record.body = encode_addresses(config_.addresses);
  context_.directory->publish(DirectoryKind::node, record.subject,
                              encode_directory_record(record, context_.node, context_.network()));
  context_.turn.touch();
}

void Overlay::end_turn() {
  ledger_sync_.end_turn();
  own_.end_turn();
}

void Overlay::tick() {
  auto wanted = remote_.wanted();
  wanted.merge(ledger_sync_.wanted());
  peers_.tick(wanted);
  ledger_sync_.tick();
  const Monotonic now = context_.clock.monotonic();
  if (now < next_second_) return;
  next_second_ = now + second;
  logs_.tick();
  own_.tick();
  // Whatever comes over the link says that its node lives, also what is not for us to see. A revoked node's life is over.
  for (const auto& [id, link] : links_)
    if (const auto silence = context_.links->silent_for(id);
        link.kind == LinkClass::member && silence < limits::presence_lease)
      wills_.heard(link.peer, now - silence);
  context_.handles.tick(now, [this](const NodeId& peer) { return peers_.link_to(peer).has_value(); });
  part_from_unregistered();
  registration_.tick();
  remote_.tick();
  renew_lease();
  find_catalogues();
}

void Overlay::add_demand(std::string_view filter, bool durable) {
  remote_.add_demand(filter, durable);
  context_.turn.touch();
}

/// The catalogues of owners who are not in reach, from the DHT.
void Overlay::find_catalogues() {
  const Monotonic now = context_.clock.monotonic();
  if (!context_.directory || now < next_catalogue_lookup_) return;
  next_catalogue_lookup_ = now + catalogue_lookup_interval;
  for (const auto& handle : remote_.handles()) {
    if (remote_.catalogue_of(handle)) continue;
    const HandleRecord* record = context_.handles.find(handle);
    context_.directory->find(
        DirectoryKind::catalogue, as_bytes(record ? record->handle : handle),
        [this](const DirectoryRecord& found) { remote_.on_directory_record(found); }, [] {});
  }
}

// The ledger -------------------------------------------------------------------------------------------------

void Overlay::name_myself() {
  OwnNames names{config_.handle, registration_.provisional_name()};
  if (!names.provisional.empty())
    names.shown = names.provisional;
  else if (const HandleRecord* own = context_.ledger.handle(config_.handle); own && own->role_of(context_.self()))
    names.provisional = provisional_name(context_.network(), own->handle, own->register_entry);
  if (names.shown == context_.own.shown && names.provisional == context_.own.provisional) return;
  if (names.shown != context_.own.shown) spdlog::info("this home is @{}", names.shown);
  context_.own = std::move(names);
  if (on_named) on_named(context_.own);
}

void Overlay::ledger_changed() {
  registration_.ledger_changed();
  context_.handles.ledger_changed(context_.clock.wall_ms());
  const bool was_provisional = context_.own.is_provisional();
  name_myself();
  if (was_provisional != context_.own.is_provisional()) {
    own_.announce_catalogue();
    publish_node_record();
  }
  remote_.ledger_changed();
  // Who was a stranger when it came may be known now: its next link is a member's. Whom a block revoked is cut off by it.
  for (auto& [id, link] : links_) {
    if (context_.ledger.handle_of(link.peer)) link.unregistered = false;
    const bool known = context_.handles.of(link.peer);
    if (link.kind == LinkClass::enrolling && !link.enrolled && known)
      context_.links->close(id, "this node's ledger knows you now: link again");
    if (link.kind == LinkClass::member && !known && !link.unregistered) {
      context_.count("links closed to nodes that speak for no handle any more");
      context_.links->close(id, "the ledger lets this node speak for no handle any more");
    }
  }
}

/// Whose registration has come to nothing gets the blocks that say so, and then has no place here.
void Overlay::part_from_unregistered() {
  const Monotonic now = context_.clock.monotonic();
  for (auto& [id, link] : links_) {
    if (link.kind != LinkClass::member || !link.unregistered || context_.handles.of(link.peer)) continue;
    if (link.until == Monotonic{}) link.until = now + unregistered_grace;
    if (now < link.until) continue;
    context_.count("links closed to nodes that speak for no handle any more");
    context_.links->close(id, "this home's registration was refused, as the ledger here says");
  }
}

/// In the last third of the lease, so that a gateway may be off for weeks. Nodes of one handle do not ask for the same
/// at the same time, and of two that do the ledger takes one.
void Overlay::renew_lease() {
  const auto days = context_.ledger.genesis().lease_days;
  const auto now = context_.clock.monotonic();
  if (days == 0 || now < next_renewal_) return;
  const HandleRecord* own = context_.ledger.handle(context_.own.shown);
  if (!own || !own->role_of(context_.self())) return;
  const WallMs third = WallMs{days} * 24 * 60 * 60 * 1000 / 3;
  if (own->lease_until > std::max(context_.clock.wall_ms(), context_.ledger.head_time()) + third) return;
  next_renewal_ = now + std::chrono::hours(1) + std::chrono::seconds(context_.random.u64() % 3600);
  ledger_sync_.submit(make_renew(*own, context_.network(), context_.ledger.head(), context_.node),
                      [this](const Result<std::uint64_t>& height) {
                        context_.count(height ? "leases renewed" : "renewals of the lease that failed");
                      });
}

// Links ------------------------------------------------------------------------------------------------------

Hello Overlay::own_hello() {
  Hello hello;
  hello.network = context_.network();
  hello.instance = context_.instance;
  hello.checkpoint = ledger_sync_.durable_head();
  hello.addresses = config_.addresses;
  hello.agent = "diot/" DIOT_VERSION;
  hello.registration = registration_.told();
  if (hello.registration.size() > limits::hello_registration_bytes_max) hello.registration.clear();
  if (ledger_sync_.is_witness()) hello.features |= feature_witness;
  return hello;
}

LinkClass Overlay::admit(const NodeId& peer, const Hello& hello, bool dialled_by_us) {
  if (context_.handles.of(peer)) return LinkClass::member;
  if (!hello.registration.empty()) {
    const WallMs now = std::max(context_.clock.wall_ms(), context_.ledger.head_time());
    if (context_.handles.take(hello.registration, peer, now, context_.clock.monotonic())) return LinkClass::member;
    context_.count("homes refused that are not registered yet");
    // It learns from the ledger why.
    if (context_.handles.holds_invite(hello.registration, peer, now)) return LinkClass::member;
  }
  // A node that our ledger does not know yet: whom we dial must be known, who dials us may hold an invite, or come from
  // a later block than ours.
  return dialled_by_us ? LinkClass::refused : LinkClass::enrolling;
}

void Overlay::link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass kind, bool dialled_by_us) {
  links_[link] = {peer, hello.instance, kind, false, context_.ledger.handle_of(peer) == nullptr, {}};
  if (kind != LinkClass::member) return;
  wills_.heard(peer, context_.clock.monotonic());  // also if it ends before the next second asks
  peers_.link_up(link, peer, hello, dialled_by_us);
  ledger_sync_.link_up(link, peer, hello, kind);
  remote_.link_up(link, peer);
  registration_.link_up();
}

void Overlay::link_down(LinkId link, const NodeId& peer, const std::string&) {
  links_.erase(link);
  peers_.link_down(link, peer);
  ledger_sync_.link_down(link);
  logs_.link_down(link);
  own_.link_down(link);
  remote_.link_down(link, peer);
}

void Overlay::link_frame(LinkId id, const NodeId& peer, FrameType type, ByteView body) {
  const auto found = links_.find(id);
  if (found == links_.end()) return;
  Link& link = found->second;
  auto malformed = [&] {
    context_.count("malformed frames");
    context_.links->close(id, fmt::format("malformed frame of type {}", static_cast<int>(type)));
  };
  // Runs `use` on a body that decodes, closes the link on one that does not.
  auto with = [&](auto decoded, auto use) {
    if (decoded)
      use(*decoded);
    else
      malformed();
  };

  if (link.kind == LinkClass::enrolling) {
    // A stranger may spend an invite, read the ledger once it has proved that it holds one, and submit.
    if (type == FrameType::enrol) return enrol(id, link, body);
    if (!link.enrolled ||
        (type != FrameType::ledger_get && type != FrameType::ledger_ask && type != FrameType::submit)) {
      context_.count("frames of strangers");
      return context_.links->close(id, "not permitted: this node's key is not in the ledger here");
    }
  }
  switch (type) {
    case FrameType::ledger_head:
    case FrameType::ledger_get:
    case FrameType::ledger_blocks:
    case FrameType::submit:
    case FrameType::submitted:
    case FrameType::entries:
    case FrameType::proposal:
    case FrameType::vote:
    case FrameType::agreement_state:
    case FrameType::succession:
    case FrameType::cosignature:
    case FrameType::ledger_ask:
    case FrameType::ledger_part:
      if (!ledger_sync_.on_frame(id, type, body)) malformed();
      return;
    case FrameType::catalogue_get:
      return with(wire::decode_catalogue_get(body), [&](const auto& get) {
        // By its handle a home is asked for, too, that does not know its block yet.
        if (context_.own.contains(get.handle) || get.handle == config_.handle)
          own_.follow_catalogue(id);
        else
          remote_.on_catalogue_get(id, get);
      });
    case FrameType::catalogue: {
      const auto record = decode_directory_record(body, context_.network());
      if (!record) return context_.count("catalogues refused");
      if (context_.own.contains(as_text(record->subject))) return own_.on_own_catalogue(*record);
      return remote_.on_catalogue(id, peer, *record);
    }
    case FrameType::channel_join:
      return with(wire::decode_channel_join(body), [&](const auto& join) {
        on_positions(id, join.channel, join.positions);
        logs_.join(id, peer, join);
      });
    case FrameType::channel_heads:
      return with(wire::decode_channel_heads(body), [&](const auto& heads) {
        on_positions(id, heads.channel, heads.positions);
        remote_.on_heads(id, peer, heads);
      });
    case FrameType::channel_leave:
      return with(wire::decode_channel_leave(body), [&](const auto& channel) { logs_.leave(id, channel); });
    case FrameType::batch: return with(wire::decode_batch(body), [&](const auto& held) { on_batch(id, held); });
    case FrameType::range_get:
      return with(wire::decode_channel_position(body), [&](const auto& from) { logs_.resend(id, from); });
    case FrameType::range_gap:
      return with(wire::decode_channel_gap(body), [&](const auto& gap) { remote_.on_gap(id, peer, gap); });
    case FrameType::retained:
      return with(wire::decode_retained_values(body), [&](const auto& values) { remote_.on_retained(id, values); });
    case FrameType::enrol: return enrol(id, link, body);  // a member again, whose first `diot join` lost its answer
    default: return malformed();
  }
}

/// What a peer has of our own logs.
void Overlay::on_positions(LinkId link, const ChannelId& channel, const std::vector<wire::Position>& positions) {
  for (const auto& position : positions) {
    if (position.writer != context_.self() || !own_.on_own_position(link, channel, position)) continue;
    begin_incarnation(position.cursor.incarnation.number);
    own_.on_own_position(link, channel, position);
  }
}

void Overlay::runs_twice(const RunsTwice& what) {
  if (what.node != context_.self()) {
    context_.count("nodes seen to run twice");
    copied_peers_[what.node] = context_.clock.wall_ms();  // bounded by the ledger's nodes
    const HandleRecord* handle = context_.handles.of(what.node);
    spdlog::warn("a node of @{} ({}) runs twice, once at {}: both stop publishing to other homes until one is stopped",
                 handle ? handle->handle : "?", to_display(what.node), what.address);
    return;
  }
  if (copied_) return;
  copied_ = {what.other, context_.clock.wall_ms(), what.told_by, what.address};
  Bytes row;
  ByteWriter out(row);
  out.u64(copied_->since);
  out.raw(what.told_by);
  out.raw(what.proof);
  context_.store.put(Table::meta, meta_copied(), std::move(row));
  context_.count("copies of this node found");
  // What is still written goes into a life of its own, which nobody gets before a restart.
  own_.hold_back();
  begin_incarnation();
  context_.turn.touch();
  const HandleRecord* teller = context_.handles.of(what.told_by);
  spdlog::error(
      "another process with this node's key runs (seen by @{} at {}): nothing is published to other homes any "
      "more; see `diot status`",
      teller ? teller->handle : "?", what.address);
}

void Overlay::on_batch(LinkId link, const wire::HeldBatch& held) {
  const auto batch = BatchView::parse(held.batch);
  if (!batch) return context_.count("malformed batches");
  if (batch->header.writer == context_.self())
    own_.on_own_batch(link, *batch, held);
  else
    remote_.on_batch(link, *batch, held);
}

// Invites ----------------------------------------------------------------------------------------------------

Result<Invite> Overlay::make_invite(std::uint32_t uses, WallMs valid_ms) {
  const HandleRecord* own = context_.ledger.handle(context_.own.shown);
  if (context_.own.is_provisional())
    return fail(Errc::not_permitted, fmt::format("@{} is not registered yet, and only a registered handle may invite; "
                                                 "see `diot status`",
                                                 context_.own.shown));
  if (!own || own->role_of(context_.self()) != Role::admin)
    return fail(Errc::not_permitted, fmt::format("only a node with the role admin may invite for @{}; see `diot handle "
                                                 "show`",
                                                 context_.own.shown));
  if (uses == 0 && context_.ledger.genesis().admission != Admission::open)
    return fail(Errc::not_permitted, "this network is by invitation: nobody gets in for work");
  if (config_.addresses.empty())
    return fail(Errc::io,
                "this node has no overlay address to put into the invite; set overlay.listen or "
                "overlay.addresses in diot.toml");
  Invite invite;
  invite.token_seed = context_.random.id<Seed>();
  invite.inviter = context_.self();
  invite.addresses = config_.addresses;
  Grant grant;
  grant.network = context_.network();
  grant.inviter = context_.own.shown;
  grant.token = KeyPair::from_seed(invite.token_seed).public_key();
  grant.uses = uses;
  grant.expiry =
      uses == 0 ? limits::wall_ms_max : std::max(context_.clock.wall_ms(), context_.ledger.head_time()) + valid_ms;
  grant.pinned = context_.ledger.head();
  grant.signer = context_.self();
  invite.grant = encode_grant(grant, context_.node);
  return invite;
}

Result<void> Overlay::check_enrolment(const Link& link, ByteView body) const {
  const auto enrol = wire::decode_enrol(body);
  if (!enrol) return fail(Errc::invalid, "a malformed request to join");
  const auto grant = decode_grant(enrol->grant);
  if (!grant) return tl::unexpected(grant.error());
  if (grant->network != context_.network()) return fail(Errc::invalid, "the invite is for another network");
  const HandleRecord* inviter = context_.ledger.handle(grant->inviter);
  if (!inviter || inviter->role_of(grant->signer) != Role::admin)
    return fail(Errc::not_permitted,
                fmt::format("the invite was not made by a node that may invite for @{}", grant->inviter));
  if (!verify(grant->token, enrol->token_signature, "enrol", context_.network(),
              wire::enrol_statement(context_.self(), context_.instance, link.peer, link.instance)))
    return fail(Errc::not_permitted, "the invite's token does not fit its grant");
  // Who is registered already only comes back for its answer.
  if (context_.ledger.handle_of(link.peer)) return {};
  if (grant->expiry < std::max(context_.clock.wall_ms(), context_.ledger.head_time()))
    return fail(Errc::not_permitted, "the invite has expired; ask for a new one (`diot invite`)");
  if (grant->uses == 0) {
    if (context_.ledger.genesis().admission == Admission::open) return {};
    return fail(Errc::not_permitted, "this network is by invitation: nobody gets in for work");
  }
  if (context_.ledger.uses_of(grant->id) >= grant->uses)
    return fail(Errc::exists, "the invite has been used already; ask for a new one (`diot invite`)");
  return {};
}

void Overlay::enrol(LinkId id, Link& link, ByteView body) {
  wire::Welcome welcome;
  if (auto good = check_enrolment(link, body); !good) {
    context_.count("enrolments refused");
    welcome.error = good.error().message;
    context_.links->send(id, FrameType::welcome, {wire::encode_welcome(welcome)});
    return context_.links->close(id, welcome.error);
  }
  link.enrolled = true;
  welcome.genesis = config_.genesis;
  welcome.dht_epoch = config_.dht_key.epoch;
  welcome.dht_key = config_.dht_key.key;
  welcome.height = context_.ledger.head().height;
  context_.links->send(id, FrameType::welcome, {wire::encode_welcome(welcome)});
}

}  // namespace diot
