// The verbs of a running node. Arguments and results: tools/app/api.hpp.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/ledger/anchor.hpp"
#include "core/ledger/limits.hpp"
#include "core/ledger/storage.hpp"
#include "core/ledger/work_stamp.hpp"
#include "core/topic.hpp"
#include "tools/app/handle_update.hpp"
#include "tools/app/handle_verbs.hpp"
#include "tools/app/ledger_alarms.hpp"
#include "tools/app/ledger_answers.hpp"
#include "tools/app/ledger_storage.hpp"
#include "tools/app/node.hpp"
#include "tools/app/witness_names.hpp"

namespace diot {

namespace {

constexpr std::uint64_t day_ms = 24ull * 60 * 60 * 1000;
constexpr std::uint64_t invite_days = 7;
constexpr WallMs copied_peer_shown_ms = 10 * 60 * 1000;  // they are seen again each minute while they both try to link

Json share_json(const ShareRecord& share) {
  return {{"filter", share.policy.filter},
          {"preset", name_of(preset_of(share))},
          {"share", share.id.hex()},
          {"channel", share.channel.hex()},
          {"seq", share.seq}};
}

std::uint64_t sum_of(const std::vector<OwnChannels::ChannelStatus>& channels, auto member) {
  std::uint64_t sum = 0;
  for (const auto& channel : channels) sum += channel.*member;
  return sum;
}

}  // namespace

void Node::call(const std::string& verb, const Json& args, std::function<void(Result<Json>)> done) {
  if (verb == "status") return done(status());
  if (verb == "peers") return done(peers());
  if (verb == "wait") return done(wait(args));
  if (verb == "invite") return done(invite(args));
  if (verb == "reload") return done(reload());
  if (verb == "share list") return done(share_list(args));
  if (verb == "share test") return done(share_test(args));
  if (verb.starts_with("share ")) return share_change(verb, args, std::move(done));
  if (verb == "handle show") return done(handle_show(args));
  if (verb == "handle renew") return handle_renew(std::move(done));
  if (verb == "handle update") return handle_update(args, std::move(done));
  if (verb == "handle revoke-node") return handle_revoke_node(args, std::move(done));
  if (verb == "handle cancel-recovery") return handle_cancel_recovery(std::move(done));
  if (verb == "handle submit") return handle_submit(args, std::move(done));
  if (verb == "handle register")
    return done(fail(Errc::exists, fmt::format("this home is @{} already: `diot init` and `diot join` register the "
                                               "handle; another one needs a home of its own",
                                               own_name())));
  if (verb == "witness list") return done(witness_list());
  if (verb == "witness status") return done(witness_status());
  if (verb == "witness invite") return done(witness_invite(args));
  if (verb == "witness accept") return witness_accept(args, std::move(done));
  if (verb == "witness change") return witness_change(args, std::move(done));
  if (verb == "witness upgrade") return witness_upgrade(args, std::move(done));
  if (verb == "witness justify") return done(witness_justify(args));
  if (verb == "witness resume") return witness_resume(args, std::move(done));
  if (verb == "ledger anchor") return ledger_anchor(args, std::move(done));
  if (verb == "ledger storage") return ledger_storage(std::move(done));
  if (verb == "ledger verify" && args.value("full", false) && fetches_history()) return done(history_progress());
  if (verb.starts_with("ledger ")) return done(ledger_answer(verb, args, ledger_source()));
  done(fail(Errc::not_available, fmt::format("`diot {}` is not available yet", verb)));
}

// What is going on --------------------------------------------------------------------------------------------

LedgerSource Node::ledger_source() const {
  const bool witness = core_->overlay().ledger_sync().is_witness();
  return {core_->ledger(),
          genesis_,
          *store_,
          own_name(),
          witness ? &witness_key() : nullptr,
          clock_.wall_ms(),
          &core_->overlay().ledger_sync().cosignatures()};
}

void Node::ledger_storage(std::function<void(Result<Json>)> done) {
  auto here = storage_here(ledger_source());
  if (!here) return done(tl::unexpected(here.error()));
  auto& history = core_->overlay().ledger_sync().history();
  tell_keeping(history.status(), *here);
  history.survey(
      [this, out = std::move(*here), done = std::move(done)](const auto& holders, std::size_t asked) mutable {
        tell_holders(holders, asked, core_->ledger(), out);
        done(std::move(out));
      });
  touch();
}

bool Node::fetches_history() {
  // By what is on disk, which is what is verified then.
  const auto missing = stored_missing(*store_);
  if (!missing || missing->empty()) return false;
  auto& history = core_->overlay().ledger_sync().history();
  history.fetch();
  return true;
}

Json Node::history_progress() const {
  const auto status = core_->overlay().ledger_sync().history().status();
  return {{"fetching", {{"blocks", count_of(status.missing)}, {"trouble", status.trouble}}}};
}

const std::string& Node::own_name() const { return core_->overlay().names().shown; }

std::string Node::handle_state() const {
  using State = OwnRegistration::State;
  const auto state = core_->overlay().registration().state();
  if (state != State::none) return state == State::refused ? "refused" : "provisional";
  const HandleRecord* own = core_->ledger().handle(own_name());
  return own && own->role_of(node_key_->node_id()) ? "active" : "none";
}

std::vector<std::string> Node::warnings() const {
  std::vector<std::string> out;
  const auto& registration = core_->overlay().registration();
  if (handle_state() == "provisional")
    out.push_back(
        fmt::format("@{} is not registered yet ({}): until it is, this home is @{} to the homes that it is "
                    "linked to; it hands its entry in by itself",
                    config_.handle, registration.reason(), own_name()));
  if (handle_state() == "refused")
    out.push_back(
        fmt::format("@{} cannot be registered: {}. MQTT at home goes on; to join under another name, stop "
                    "this node and run `diot join INVITE --handle OTHER --yes`",
                    config_.handle, registration.reason()));
  if (handle_state() == "none")
    out.push_back(fmt::format("the ledger does not let this node speak for @{}", own_name()));
  if (const auto& copied = core_->overlay().copied()) {
    const HandleRecord* teller = core_->overlay().handles().of(copied->told_by);
    out.push_back(fmt::format(
        "this node's key runs twice: @{} sees another process of it at {}. Both have stopped publishing to other "
        "homes; "
        "MQTT at home goes on, and what is for others is kept. Stop the copy on that machine and remove its folder "
        "there "
        "(for a home of its own: `diot join INVITE`), then restart this one (`systemctl restart diot`, or "
        "`DIOT_HOME={} "
        "diot run` again). To keep the copy instead, stop this one and remove {}",
        teller ? teller->handle : "?", copied->address.empty() ? "an unknown address" : copied->address, home_.path(),
        home_.path()));
  }
  for (const auto& [node, since] : core_->overlay().copied_peers()) {
    const HandleRecord* handle = core_->overlay().handles().of(node);
    if (clock_.wall_ms() < since + copied_peer_shown_ms)
      out.push_back(
          fmt::format("a node of @{} ({}) runs twice: it was copied, and publishes nothing to other homes until "
                      "its owner stops one of the two",
                      handle ? handle->handle : "?", to_display(node)));
  }
  if (const auto trouble = store_->trouble())
    out.push_back(fmt::format("the disk refuses to write, nothing durable is acknowledged: {}", trouble->message));
  if (store_->lost_transactions() > 0)
    out.push_back(
        fmt::format("{} transactions were missing from the database when this node started: its disk, or "
                    "somebody, damaged it",
                    store_->lost_transactions()));
  const auto& sync = core_->overlay().ledger_sync();
  if (const auto step = sync.status().step; !step.empty())
    out.push_back(fmt::format("the ledger here is far behind the others': {}", step));
  for (const auto& fork : sync.forks()) out.push_back(fork_text(fork, core_->ledger()));
  for (const auto& [hash, pending] : sync.successions()) out.push_back(succession_text(pending, core_->ledger()));
  if (auto going_on = core_->ledger().can_go_on(); !going_on) out.push_back(going_on.error().message);
  if (const auto& next = core_->ledger().network_record().next_rules; next && !knows_rules(next->version))
    out.push_back(upgrade_text({0, next->version, next->height}));
  for (const auto& [witness, evidence] : core_->ledger().network_record().liars)
    out.push_back(
        fmt::format("witness {}… signed two different votes, entry {}… proves it: its operator was broken "
                    "into, or lies; the others can change the witnesses",
                    witness.hex().substr(0, 16), evidence.hex().substr(0, 16)));
  if (const HandleRecord* own = core_->ledger().handle(own_name()); own && own->recovery)
    out.push_back(fmt::format(
        "the guardians of @{} are giving it to another owner key, in {} hours: {}", own_name(),
        own->recovery->due > core_->ledger().head_time()
            ? (own->recovery->due - core_->ledger().head_time()) / 3'600'000
            : 0,
        own->recovery->cancellable ? "`diot handle cancel-recovery` ends that" : "nothing can stop it any more"));
  if (!core_->clock_sure())
    out.push_back(
        "the system's clock is behind a time that is known to be past: this node runs on from there; set the clock "
        "(`timedatectl status`)");
  for (const auto& fork : core_->overlay().remote().forks())
    out.push_back(
        fmt::format("a node of @{} ({}) has signed two different things as one: it was copied and runs twice, "
                    "or went back to a snapshot; nothing more of that run is taken. Its owner stops one of the "
                    "two and restarts the other",
                    fork.handle.empty() ? "?" : fork.handle, to_display(fork.writer)));
  for (const auto& channel : core_->overlay().remote().status())
    for (const auto& writer : channel.withheld)
      out.push_back(
          fmt::format("records of @{} wait for others before them that only a node out of reach may still "
                      "have ({}); `diot peers` shows who is in reach",
                      channel.handle, to_display(writer)));
  out.push_back(
      "the owner key lies on this gateway (owner.key); sealing it off is not available yet: keep the 24 words");
  return out;
}

Result<Json> Node::status() const {
  const auto own = core_->overlay().own().status();
  const auto remote = core_->overlay().remote().status();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(clock_.monotonic() - started_).count();
  const auto dht = directory_ ? directory_->status() : Directory::Status{};
  Json subscribed = Json::array(), shared = Json::array(), events = Json::object(), http = Json::array();
  for (const auto& channel : own)
    shared.push_back({{"filter", channel.filter},
                      {"members", channel.members},
                      {"durable_records", channel.durable_records},
                      {"durable_batches", channel.durable_batches},
                      {"live_records", channel.live_records},
                      {"wills", core_->overlay().wills().use(channel.id).count},
                      {"log_bytes", channel.log_bytes}});
  for (const auto& channel : remote)
    subscribed.push_back({{"handle", channel.handle},
                          {"filter", channel.filter},
                          {"joined", channel.joined},
                          {"members", channel.members},
                          {"log_bytes", channel.log_bytes},
                          {"durable_records", channel.durable_records},
                          {"durable_lost", channel.durable_lost},
                          {"live_records", channel.live_records},
                          {"wills", core_->overlay().wills().use(channel.id).count},
                          {"live_lost", channel.live_lost}});
  for (const auto& [event, count] : core_->overlay().counters()) events[event] = count;
  for (const auto& server : http_) http.push_back(server->address());
  Json upstreams = Json::array();
  for (const auto& link : upstreams_)
    upstreams.push_back({{"name", link->config().name},
                         {"address", link->config().address},
                         {"connected", link->status().connected},
                         {"protocol", link->status().protocol},
                         {"sent", link->status().sent},
                         {"received", link->status().received},
                         {"error", link->status().error}});
  const auto clients = core_->broker().counts();
  const auto& copied = core_->overlay().copied();
  const auto registrar = registrar_text(core_->ledger());
  return Json{
      {"version", DIOT_VERSION},
      {"uptime_s", seconds},
      {"handle", own_name()},
      {"handle_state", handle_state()},
      {"node", to_display(node_key_->node_id())},
      {"network", core_->ledger().network().hex()},
      {"registrar", registrar.empty() ? Json(nullptr) : Json(registrar)},
      {"witnesses", core_->overlay().ledger_sync().status().text()},
      {"height", core_->ledger().head().height},
      {"head", core_->ledger().head().block.hex()},
      {"head_time_ms", core_->ledger().head_time()},
      {"mqtt", mqtt_addresses_},
      {"api", std::move(http)},
      {"overlay", overlay_addresses_},
      {"copied",
       copied ? Json{{"since_ms", copied->since}, {"address", copied->address}, {"instance", copied->other.hex()}}
              : Json(nullptr)},
      {"ledger_forks", fork_rows(core_->overlay().ledger_sync().forks(), core_->ledger())},
      {"shares", core_->overlay().own().shares().all().size()},
      {"clients", clients.clients_connected},
      {"sessions", clients.sessions},
      {"subscriptions", clients.subscriptions},
      {"retained", core_->retained().size()},
      {"messages_in", clients.publish_received},
      {"messages_out", clients.publish_sent},
      {"users", users_->count()},
      {"failed_logins", users_->failed_logins()},
      {"links", links_->stats().links},
      {"dht_nodes", dht.good_nodes},
      {"store_pending_bytes", store_->pending_bytes()},
      {"log_bytes", sum_of(own, &OwnChannels::ChannelStatus::log_bytes)},
      {"shared", std::move(shared)},
      {"subscribed", std::move(subscribed)},
      {"upstreams", std::move(upstreams)},
      {"events", std::move(events)},
      {"warnings", warnings()}};
}

Result<Json> Node::peers() const {
  Json out = Json::array();
  const auto now = clock_.monotonic();
  for (const auto& peer : core_->overlay().peers().status()) {
    const HandleRecord* handle = core_->overlay().handles().of(peer.node);
    const bool up = peer.state == Peers::Status::State::up;
    const auto ago = std::chrono::duration_cast<std::chrono::milliseconds>(now - peer.since).count();
    const auto rtt = peer.link ? links_->round_trip(*peer.link) : std::nullopt;
    out.push_back(
        {{"handle", handle ? Json(handle->handle) : Json(nullptr)},
         {"node", to_display(peer.node)},
         {"address", peer.address},
         {"state", up                                             ? "up"
                   : peer.state == Peers::Status::State::dialling ? "dialling"
                                                                  : "down"},
         {"since_ms", peer.since == Monotonic{} ? Json(nullptr) : Json(clock_.wall_ms() - static_cast<WallMs>(ago))},
         {"dialled_by_us", up && peer.dialled_by_us},
         {"rtt_ms", rtt ? Json(static_cast<double>(rtt->count()) / 1000) : Json(nullptr)},
         {"unsent_bytes", peer.link ? links_->unsent_bytes(*peer.link) : 0},
         {"last_failure", peer.last_failure}});
  }
  return Json{{"peers", std::move(out)}};
}

Result<Json> Node::wait(const Json& args) const {
  Json waiting = Json::array();
  if (args.value("ready", false) && handle_state() != "active" && handle_state() != "provisional")
    waiting.push_back(fmt::format("@{} is not active in the ledger", own_name()));
  if (args.contains("topic")) {
    const auto given = args.at("topic").get<std::string>();
    const std::string filter(local_name(given, core_->overlay().names()));
    if (auto valid = check_filter(filter); !valid) return tl::unexpected(valid.error());
    bool held = false;
    core_->broker().subscriptions([&](const std::string& subscribed, bool) {
      held |= covers(local_name(subscribed, core_->overlay().names()), filter);
    });
    if (!held) waiting.push_back(fmt::format("no client of this node has subscribed to '{}'", given));
    if (auto why = core_->overlay().remote().waiting_for(filter); !why.empty()) waiting.push_back(std::move(why));
  }
  return Json{{"done", waiting.empty()}, {"waiting_for", std::move(waiting)}};
}

Result<Json> Node::invite(const Json& args) {
  const bool open = args.contains("open");
  if (open && (args.contains("uses") || args.contains("expiry-days")))
    return fail(Errc::invalid, "with --open there is nothing to count, and it does not expire");
  const auto uses = open ? 0 : static_cast<std::uint32_t>(args.value("uses", std::uint64_t{1}));
  const WallMs valid = args.value("expiry-days", invite_days) * day_ms;
  auto made = core_->overlay().make_invite(uses, valid);
  if (!made) return tl::unexpected(made.error());
  return Json{{"invite", encode_invite(*made)},
              {"uses", open ? Json(nullptr) : Json(uses)},
              {"expires_ms", open ? Json(nullptr) : Json(decode_grant(made->grant)->expiry)}};
}

// Handles ----------------------------------------------------------------------------------------------------

Result<Json> Node::handle_show(const Json& args) const {
  const auto handle = args.value("handle", own_name());
  return ledger_answer("ledger show", Json{{"handle", handle}}, ledger_source());
}

void Node::submit_entry(Bytes entry, std::function<void(Result<Json>)> done) {
  core_->overlay().ledger_sync().submit(std::move(entry), [this, done = std::move(done)](Result<std::uint64_t> height) {
    if (!height) return done(tl::unexpected(height.error()));
    done(handle_show(Json::object()));
  });
}

Result<const HandleRecord*> Node::own_record() const {
  if (const HandleRecord* own = core_->ledger().handle(own_name())) return own;
  return fail(Errc::not_found, fmt::format("@{} is not registered", own_name()));
}

void Node::handle_renew(std::function<void(Result<Json>)> done) {
  const auto own = own_record();
  if (!own) return done(tl::unexpected(own.error()));
  submit_entry(make_renew(**own, core_->ledger().network(), core_->ledger().head(), *node_key_), std::move(done));
}

void Node::handle_update(const Json& args, std::function<void(Result<Json>)> done) {
  if (args.contains("add-node"))
    return done(fail(Errc::not_available,
                     "adding a node is not available yet: it takes the new node's signature, and the "
                     "joining of a second gateway is not built"));
  const auto own = own_record();
  if (!own) return done(tl::unexpected(own.error()));
  const auto changed = update_record(**own, args);
  if (!changed) return done(tl::unexpected(changed.error()));
  const auto owner = home_.owner_key();
  if (!owner) return done(tl::unexpected(owner.error()));
  submit_entry(make_update(*changed, core_->ledger().network(), core_->ledger().head(), *owner, {}), std::move(done));
}

void Node::ledger_anchor(const Json& args, std::function<void(Result<Json>)> done) {
  const auto& ledger = core_->ledger();
  if (!args.contains("anchor")) {
    // What others write down must never be taken back, so it has to be on disk.
    return store_->when_durable([anchor = Anchor{ledger.network(), ledger.head(), ledger.head_time()}, done] {
      done(Json{{"anchor", encode_anchor(anchor)},
                {"network", anchor.network.hex()},
                {"height", anchor.block.height},
                {"block", anchor.block.block.hex()},
                {"next", "at a home in another network: `diot ledger anchor LINE`"}});
    });
  }
  const auto anchor = decode_anchor(args["anchor"].get<std::string>());
  if (!anchor) return done(tl::unexpected(anchor.error()));
  if (anchor->network == ledger.network())
    return done(fail(Errc::invalid, "that is a block of this very network: anchor it in another one"));
  const auto own = own_record();
  if (!own) return done(tl::unexpected(own.error()));
  const auto owner = home_.owner_key();
  if (!owner) return done(tl::unexpected(owner.error()));
  HandleRecord changed = **own;
  changed.profile = anchor_hash(*anchor);
  core_->overlay().ledger_sync().submit(
      make_update(changed, ledger.network(), ledger.head(), *owner, {}),
      [handle = own_name(), network = ledger.network(), done = std::move(done)](Result<std::uint64_t> height) {
        if (!height) return done(tl::unexpected(height.error()));
        done(Json{
            {"handle", handle},
            {"height", *height},
            {"next", fmt::format("`diot ledger prove {} > FILE` proves it; whoever has FILE and the line checks it "
                                 "with `diot ledger check-proof FILE --genesis {} --anchor LINE`",
                                 handle, network.hex())}});
      });
}

void Node::handle_revoke_node(const Json& args, std::function<void(Result<Json>)> done) {
  const auto node = node_id_from_display(args.at("node").get<std::string>());
  if (!node) return done(tl::unexpected(node.error()));
  const auto own = own_record();
  if (!own) return done(tl::unexpected(own.error()));
  auto cut_offs = core_->overlay().ends_of(*node);
  if (cut_offs.size() > limits::cut_offs_per_entry_max) cut_offs.resize(limits::cut_offs_per_entry_max);
  if (!args.contains("yes"))
    return done(fail(Errc::not_permitted,
                     fmt::format("this locks {} out for ever: its key never speaks for @{} again, its links are "
                                 "closed, and its logs ({} known here) end where this node has them; say --yes if "
                                 "that is what you want",
                                 to_display(*node), own_name(), cut_offs.size())));
  const auto owner = home_.owner_key();
  if (!owner) return done(tl::unexpected(owner.error()));
  const RevokeNodeBody body{{(*own)->handle, (*own)->version + 1}, *node, std::move(cut_offs)};
  submit_entry(make_entry(body, core_->ledger().network(), core_->ledger().head(), {*owner}), std::move(done));
}

void Node::handle_cancel_recovery(std::function<void(Result<Json>)> done) {
  const auto own = own_record();
  if (!own) return done(tl::unexpected(own.error()));
  const auto owner = home_.owner_key();
  if (!owner) return done(tl::unexpected(owner.error()));
  const CancelRecoveryBody body{{(*own)->handle, (*own)->version + 1}};
  submit_entry(make_entry(body, core_->ledger().network(), core_->ledger().head(), {*owner}), std::move(done));
}

void Node::handle_submit(const Json& args, std::function<void(Result<Json>)> done) {
  auto text = entry_text_for(core_->ledger().network(), args);
  if (!text) return done(tl::unexpected(text.error()));
  const auto view = describe_entry(text->entry);
  if (!view) return done(tl::unexpected(view.error()));
  core_->overlay().ledger_sync().submit(std::move(text->entry),
                                        [view = *view, done = std::move(done)](Result<std::uint64_t> height) {
                                          if (!height) return done(tl::unexpected(height.error()));
                                          done(Json{{"kind", view.kind},
                                                    {"handle", view.handle.empty() ? Json(nullptr) : Json(view.handle)},
                                                    {"version", view.version},
                                                    {"height", *height}});
                                        });
}

// Shares -----------------------------------------------------------------------------------------------------

Result<Json> Node::share_list(const Json& args) const {
  const auto handle = args.value("handle", own_name());
  Json shares = Json::array();
  if (core_->overlay().names().contains(handle)) {
    for (const auto& [id, share] : core_->overlay().own().shares().all()) shares.push_back(share_json(share));
  } else {
    const auto* known = core_->overlay().remote().catalogue_of(handle);
    if (!known)
      return fail(Errc::not_found, fmt::format("the shares of @{} are not known here: they are fetched when a client "
                                               "subscribes to '@{}/…'",
                                               handle, handle));
    for (const auto& [id, share] : *known) shares.push_back(share_json(share));
  }
  return Json{{"handle", handle}, {"shares", std::move(shares)}};
}

Result<Json> Node::share_test(const Json& args) const {
  const auto topic = args.at("topic").get<std::string>();
  const std::string name(local_name(topic, core_->overlay().names()));
  if (auto valid = check_topic(name); !valid) return tl::unexpected(valid.error());
  if (parts_of(name).kind != TopicKind::local)
    return fail(Errc::invalid, fmt::format("'{}' is not a topic of this home", topic));
  const auto as = args.value("as", std::string());
  if (!as.empty() && !core_->overlay().handles().find(as))
    return fail(Errc::not_found, fmt::format("no handle '{}' is registered; see `diot ledger list`", as));
  const ShareRecord* share = core_->overlay().own().shares().of_topic(name);
  const bool ours = core_->overlay().names().contains(as);
  const bool readable = ours || (share && share->is_public());
  const std::string who = as.empty() ? "another home" : "@" + as;
  std::string why;
  if (ours)
    why = "it is a topic of this handle's own home";
  else if (!share)
    why = fmt::format("no share covers it, so it never leaves this home: {} sees nothing", who);
  else if (!share->is_public())
    why = fmt::format("the share '{}' keeps it at home: {} sees nothing", share->policy.filter, who);
  else
    why = fmt::format("the share '{}' is public: {} may read it as '{}', and nobody else may write it",
                      share->policy.filter, who, owned_topic(own_name(), name));
  return Json{{"topic", name},
              {"as", as.empty() ? Json(nullptr) : Json(as)},
              {"filter", share ? Json(share->policy.filter) : Json(nullptr)},
              {"read", readable},
              {"write", ours},
              {"why", why}};
}

void Node::share_change(const std::string& verb, const Json& args, std::function<void(Result<Json>)> done) {
  OwnChannels& own = core_->overlay().own();
  const auto filter = args.at("filter").get<std::string>();
  const bool yes = args.value("yes", false);
  const auto preset = preset_from(args.value("preset", std::string("public")));
  if (!preset) return done(fail(Errc::invalid, "no such preset: public, trusted, protected, secure or local"));
  const ShareRecord* old = own.shares().by_filter(local_name(filter, core_->overlay().names()));

  // Widening needs --yes, except where `share add` says it by itself.
  const bool opens = verb == "share change" && old && !old->is_public() && *preset == Preset::public_;
  bool uncovers = false;
  if (verb == "share remove" && old && !old->is_public())
    for (const auto& [id, other] : own.shares().all())
      uncovers |= other.is_public() && overlaps(other.policy.filter, old->policy.filter);
  if ((opens || uncovers) && !yes)
    return done(fail(Errc::not_permitted,
                     fmt::format("this would let everybody in the network read what '{}' keeps at home now; say --yes "
                                 "to do it",
                                 old->policy.filter)));

  auto result = verb == "share add"      ? own.add(filter, *preset)
                : verb == "share change" ? own.change(filter, *preset)
                : verb == "share remove" ? own.remove(filter)
                                         : Result<ShareRecord>(fail(Errc::not_available, "not available yet"));
  if (!result) return done(tl::unexpected(result.error()));
  std::size_t values = 0;
  core_->retained().match(result->policy.filter, [&](const std::string& topic, const RetainedValue&) {
    const ShareRecord* share = own.shares().of_topic(topic);
    values += share && share->id == result->id;
  });
  Json answer = share_json(*result);
  if (verb == "share remove")
    answer["effect"] = uncovers
                           ? "other shares cover its topics now, see `diot share list`"
                           : "what it covered stays at home from now on; what others have read already they may keep";
  else if (result->is_public())
    answer["effect"] = fmt::format("everybody in the network can read '{}' from now on, {} retained value{} included",
                                   owned_topic(own_name(), result->policy.filter), values, values == 1 ? "" : "s");
  else
    answer["effect"] = fmt::format("'{}' stays at home, whatever other shares say", result->policy.filter);
  store_->when_durable([answer = std::move(answer), done = std::move(done)] { done(answer); });
  touch();
}

}  // namespace diot
