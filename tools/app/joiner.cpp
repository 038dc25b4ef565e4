#include "tools/app/joiner.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <variant>

#include "core/ledger/provisional.hpp"
#include "core/ledger/snapshot_fetch.hpp"
#include "core/ledger/storage.hpp"
#include "core/ledger/work_stamp.hpp"
#include "core/limits.hpp"
#include "core/ports.hpp"
#include "dht/frame.hpp"
#include "dht/ledger_catch_up.hpp"
#include "dht/links.hpp"
#include "dht/overlay.hpp"
#include "dht/own_registration.hpp"
#include "dht/peers.hpp"
#include "dht/wire.hpp"

namespace diot {

namespace {

Registration registration_of(const JoinRequest& request) {
  return {request.handle, request.owner.public_key(), request.next_key, {{request.node.node_id(), Role::admin}}};
}

/// The work that a registration in a network of open admission takes.
struct Work {
  Checkpoint recent;
  WorkRules rules;
  std::uint64_t stamp = 0;  ///< once it is done
};

/// One attempt: dial → enrol → blocks → submit → the block with our entry. Where it takes work that is not done yet, it
/// ends before `submit`: a node keeps no stranger's link for as long.
class Joining final : public LinkEvents, public Turn {
 public:
  Joining(const JoinRequest& request, const Grant& grant, Store& store, const std::optional<Work>& done)
      : request_(request),
        grant_(grant),
        store_(store),
        done_(done),
        links_(io_, request.node, *this, *this, clock_, random_) {
    instance_ = random_.id<InstanceId>();
  }

  using Outcome = std::variant<JoinResult, Work>;
  Result<Outcome> run() {
    for (const auto& address : request_.invite.addresses) links_.dial(address, request_.invite.inviter);
    open_dials_ = request_.invite.addresses.size();
    set_deadline();
    while (!outcome_ && io_.run_one() > 0) links_.flush();
    deadline_.cancel();
    pause_.cancel();
    links_.shut_down();
    do links_.flush();
    while (io_.run_one() > 0);
    if (!outcome_) return fail(Errc::io, "joining ended early");
    if (*outcome_)
      if (const auto* joined = std::get_if<JoinResult>(&**outcome_)) keep(*joined);
    return std::move(*outcome_);
  }

  // Turn: run() flushes after every handler.
  void touch() override {}

  // LinkEvents
  Hello own_hello() override {
    Hello hello;
    hello.network = grant_.network;
    hello.instance = instance_;
    hello.addresses = request_.addresses;
    hello.agent = "diot/" DIOT_VERSION;
    return hello;
  }
  LinkClass admit(const NodeId&, const Hello&, bool) override { return LinkClass::member; }

  void link_up(LinkId link, const NodeId& peer, const Hello& hello, LinkClass, bool) override {
    if (link_) return links_.close(link, "one is enough");
    link_ = link;
    inviter_addresses_ = hello.addresses;
    step_ = "proving the invite";
    const auto token = KeyPair::from_seed(request_.invite.token_seed);
    const Bytes statement = wire::enrol_statement(peer, hello.instance, request_.node.node_id(), instance_);
    const wire::Enrol enrol{request_.invite.grant, token.sign("enrol", grant_.network, statement)};
    links_.send(link, FrameType::enrol, {wire::encode_enrol(enrol)});
  }

  void link_down(LinkId link, const NodeId&, const std::string& reason) override {
    if (link_ == link)
      end(fail(Errc::io, fmt::format("the inviting node closed the connection ({}) at: {}", reason, step_)));
  }

  void dial_failed(const std::string& address, const std::optional<NodeId>&, const std::string& reason) override {
    failures_.push_back(fmt::format("{} ({})", address, reason));
    if (--open_dials_ == 0 && !link_)
      end(fail(Errc::io,
               fmt::format("the inviting node is not in reach at {}; it has to be running, and these addresses "
                           "open to this machine",
                           fmt::join(failures_, ", "))));
  }

  void link_writable(LinkId) override {}
  void runs_twice(const RunsTwice&) override {}  // nobody else can have a key that was made for this

  void link_frame(LinkId, const NodeId&, FrameType type, ByteView body) override {
    if (outcome_) return;
    Result<void> good;
    if (type == FrameType::welcome)
      good = on_welcome(body);
    else if (type == FrameType::ledger_blocks)
      good = on_blocks(body);
    else if (type == FrameType::ledger_part)
      good = on_part(body);
    else if (type == FrameType::submitted)
      good = on_submitted(body);
    if (!good) end(tl::unexpected(good.error()));
  }

 private:
  void end(Result<Outcome> outcome) {
    if (!outcome_) outcome_ = std::move(outcome);
  }

  static tl::unexpected<Error> nonsense(std::string_view what) {
    return fail(Errc::invalid, fmt::format("the inviting node sent {} that cannot be right: do not join this network "
                                           "before the inviter's node is checked",
                                           what));
  }

  Result<void> on_welcome(ByteView body) {
    const auto welcome = wire::decode_welcome(body);
    if (!welcome || ledger_) return nonsense("an answer");
    if (!welcome->error.empty()) return fail(Errc::not_permitted, "the inviting node refused: " + welcome->error);
    const auto network = network_id_of(welcome->genesis);
    if (!network || *network != grant_.network) return nonsense("a genesis");
    auto ledger = Ledger::from_genesis(welcome->genesis);
    if (!ledger) return nonsense("a genesis");
    ledger_.emplace(std::move(*ledger));
    genesis_ = to_bytes(welcome->genesis);
    dht_key_ = {welcome->dht_epoch, welcome->dht_key};
    wanted_height_ = std::max(welcome->height, grant_.pinned.height);
    step_ = "fetching the ledger";
    if (wanted_height_ > CatchUpBounds{}.blocks) return begin_fetch(CatchUpBounds{}.entries);
    return fetch_or_go_on();
  }

  /// Takes the ledger over at its newest block, if the way there is longer than that.
  Result<void> begin_fetch(std::uint64_t entries_min) {
    fetch_.emplace(*ledger_, store_, entries_min,
                   grant_.pinned.height > 0 ? std::optional(grant_.pinned) : std::nullopt);
    return ask();
  }

  Result<void> ask() {
    set_deadline();  // it is only the silence of the other side that ends a long way
    ask_again();
    return {};
  }
  void ask_again() {
    step_ = fetch_->step();
    links_.send(*link_, FrameType::ledger_ask, {fetch_->ask()});
  }

  Result<void> on_part(ByteView body) {
    if (!fetch_) return nonsense("a part of the ledger");
    if (auto taken = fetch_->take(body, 0); !taken) {
      if (taken.error().code != Errc::not_found) return nonsense("a part of the ledger: " + taken.error().message);
      // It is about to write a block, or is catching up itself.
      pause_.expires_after(std::chrono::seconds(1));
      pause_.async_wait([this](std::error_code error) {
        if (!error && !outcome_ && fetch_) ask_again();
      });
      return {};
    }
    using Stage = SnapshotFetch::Stage;
    if (fetch_->stage() != Stage::ready && fetch_->stage() != Stage::replay) return ask();
    if (fetch_->stage() == Stage::ready) {
      auto ledger = fetch_->finish(*ledger_);
      if (!ledger) return nonsense("a ledger: " + ledger.error().message);
      *ledger_ = std::move(*ledger);
    }
    fetch_.reset();
    return fetch_or_go_on();
  }

  Result<void> on_blocks(ByteView body) {
    const auto blocks = wire::decode_ledger_blocks(body);
    if (!blocks || !ledger_) return nonsense("blocks");
    if (blocks->empty()) return nonsense("an empty ledger");
    const auto before = ledger_->head().height;
    for (ByteView block : *blocks) {
      const auto view = decode_block(block);
      if (view && view->header.height <= ledger_->head().height) continue;
      // It began with a snapshot itself.
      if (view && view->header.height > before + 1 && ledger_->head().height == before && !std::exchange(gap_, true))
        return begin_fetch(0);
      if (auto appended = ledger_->append(block); !appended) return tl::unexpected(appended.error());
      store_.put(Table::block, block_key(ledger_->head().height), to_bytes(block));
    }
    if (ledger_->head().height > before) set_deadline();
    return fetch_or_go_on();
  }

  Result<void> fetch_or_go_on() {
    if (ledger_->head().height < wanted_height_) {
      links_.send(*link_, FrameType::ledger_get, {wire::encode_ledger_get(ledger_->head().height + 1)});
      return {};
    }
    if (grant_.pinned.height > 0 && ledger_->block_at(grant_.pinned.height) != grant_.pinned.block)
      return nonsense("a ledger that is not the one that the invite names");
    if (const HandleRecord* own = ledger_->handle_of(request_.node.node_id())) {
      if (own->handle != request_.handle)
        return fail(Errc::exists, fmt::format("this node's key speaks for @{} already", own->handle));
      end(JoinResult{genesis_, own->height, {}, {}});
      return {};
    }
    if (submitted_) return nonsense("a block without the entry that it confirmed");
    return submit();
  }

  Result<void> submit() {
    step_ = "registering the handle";
    const auto what = registration_of(request_);
    const bool by_work = grant_.uses == 0;
    const Work work = done_.value_or(Work{ledger_->head(), work_rules(ledger_->network_record().rules_version)});
    entry_ = by_work
                 ? make_register(what, grant_.network, work.recent, request_.owner, {request_.node}, work.stamp)
                 : make_register(what, grant_.network, work.recent, request_.owner, {request_.node}, &request_.invite);
    const WallMs now = std::max(clock_.wall_ms(), ledger_->head_time());
    const bool to_be_done = by_work && !done_;
    if (auto good = ledger_->check_entry(entry_, now, to_be_done ? StampCheck::none : StampCheck::all); !good)
      return good;
    if (to_be_done) return end(work), Result<void>();
    submitted_ = true;
    if (request_.before_submit)
      if (auto ready = request_.before_submit(); !ready) return ready;
    links_.send(*link_, FrameType::submit, {wire::encode_submit({1, 0, entry_})});
    return {};
  }

  Result<void> on_submitted(ByteView body) {
    const auto answer = wire::decode_submitted(body);
    if (!answer || !submitted_) return nonsense("an answer");
    if (answer->height == 0 && answer->code == Errc::timed_out) return end_provisionally(answer->message);
    if (answer->height == 0) return fail(answer->code, answer->message);
    answered_ = true;
    wanted_height_ = answer->height;
    step_ = "fetching the block with the new handle";
    // Over a node that is not the registrar the answer may come before the block is there.
    if (answer->height > ledger_->head().height)
      links_.send(*link_, FrameType::ledger_get, {wire::encode_ledger_get(ledger_->head().height + 1)});
    return {};
  }

  /// Everything is here but the block. Whether it will come is the ledger's to say; it is judged again then.
  Result<void> end_provisionally(const std::string& why) {
    const auto record = provisional_record(entry_, grant_.network);
    expect(record.has_value(), "an entry that was made here");
    end(JoinResult{genesis_, 0, record->handle, clean_reason(why)});
    return {};
  }

  void set_deadline() {
    deadline_.expires_after(request_.timeout);
    deadline_.async_wait([this](std::error_code error) {
      if (!error && submitted_ && !answered_)
        (void)end_provisionally("the inviting node did not answer in time");
      else if (!error)
        end(fail(Errc::timed_out,
                 fmt::format("nothing came for {} s (it stopped at: {}); try again", request_.timeout.count(), step_)));
    });
  }

  void keep(const JoinResult& joined) {
    if (joined.height == 0)
      store_.put(Table::meta, meta_registration(), entry_);
    else
      store_.erase(Table::meta, meta_registration());
    store_.put(Table::meta, meta_dht_key(), encode_dht_key(dht_key_));
    std::vector<std::string> addresses = request_.invite.addresses;
    for (const auto& address : inviter_addresses_)
      if (std::ranges::find(addresses, address) == addresses.end()) addresses.push_back(address);
    if (addresses.size() > limits::addresses_per_node_max) addresses.resize(limits::addresses_per_node_max);
    store_.put(Table::peer, request_.invite.inviter, encode_addresses(addresses));
  }

  const JoinRequest& request_;
  const Grant& grant_;
  Store& store_;
  const std::optional<Work>& done_;
  asio::io_context io_{1};
  asio::steady_timer deadline_{io_}, pause_{io_};
  SystemClock clock_;
  SystemRandom random_;
  Links links_;
  InstanceId instance_;
  std::optional<LinkId> link_;
  std::size_t open_dials_ = 0;
  std::vector<std::string> failures_;
  std::vector<std::string> inviter_addresses_;
  std::string step_ = "dialling the inviting node";
  std::optional<Ledger> ledger_;
  std::optional<SnapshotFetch> fetch_;
  Bytes genesis_, entry_;
  DhtKey dht_key_;
  std::uint64_t wanted_height_ = 0;
  bool submitted_ = false, answered_ = false, gap_ = false;
  std::optional<Result<Outcome>> outcome_;
};

Result<void> do_work(const JoinRequest& request, const NetworkId& network, Work& work) {
  std::uint64_t trials = 0;
  const auto go_on = [&] {
    if (request.working) request.working(trials, work.rules.difficulty);
    return ++trials, true;
  };
  const auto stamp =
      make_stamp(registration_of(request), network, work.recent, work.rules, SystemRandom().u64(), go_on);
  if (!stamp) return tl::unexpected(stamp.error());
  work.stamp = *stamp;
  return {};
}

}  // namespace

Result<JoinResult> join_network(const JoinRequest& request, Store& store) {
  const auto grant = decode_grant(request.invite.grant);
  if (!grant) return tl::unexpected(grant.error());
  if (request.invite.addresses.empty()) return fail(Errc::invalid, "the invite names no address of the inviting node");
  std::optional<Work> work;
  for (;;) {
    auto outcome = Joining(request, *grant, store, work).run();
    if (!outcome) return tl::unexpected(outcome.error());
    if (auto* joined = std::get_if<JoinResult>(&*outcome)) return std::move(*joined);
    work = std::get<Work>(*outcome);
    if (auto done = do_work(request, grant->network, *work); !done) return tl::unexpected(done.error());
  }
}

}  // namespace diot
