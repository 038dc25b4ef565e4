#include "dht/remote_channels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

constexpr std::string_view catalogue_prefix = "catalogue/";
constexpr auto helper_patience = std::chrono::seconds(2);  // an owner's node that restarts is back by then
constexpr std::size_t helpers_max = 3;                     // a handle
constexpr int helper_asked_again_s = 5;
constexpr auto helper_idle_max =
    std::chrono::seconds(40);  // a writer with members is heard every 10 s, if it left wills
constexpr auto snapshot_patience = std::chrono::seconds(10);
constexpr auto snapshot_patience_beside_owner = std::chrono::seconds(1);
constexpr auto join_retry = std::chrono::seconds(2);
constexpr auto mending_patience = std::chrono::seconds(5);
constexpr auto mending_pause = std::chrono::seconds(15);  // who counts on what nobody has asks about every 20 s

Bytes catalogue_key(std::string_view handle) { return to_bytes(fmt::format("{}{}", catalogue_prefix, handle)); }

}  // namespace

RemoteChannels::RemoteChannels(OverlayContext& context, ChannelLogs& logs) : context_(context), logs_(logs) {
  context_.wills.on_over = [this](const WillKey& key, const HeldWill& will) {
    if (const auto channel = channels_.find(key.channel); will.record.retain && channel != channels_.end())
      for (const auto& handle : channel->second.handles) veils_over_.push_back(owned_topic(handle, will.record.topic));
  };
}

Result<void> RemoteChannels::load() {
  if (auto read = load_forks(); !read) return read;
  const Bytes prefix = to_bytes(catalogue_prefix);
  return context_.store.scan(Table::meta, prefix, after_prefix(prefix), [&](ByteView key, ByteView value) {
    const auto record = decode_directory_record(value, context_.network());
    const std::string handle(as_text(key).substr(catalogue_prefix.size()));
    if (!record || !context_.handles.is_same(as_text(record->subject), handle)) return true;
    take_catalogue(handle, owners_[handle], *record, Signer::judged_before);
    return true;
  });
}

void RemoteChannels::settle(const std::function<bool(const ChannelId&)>& own) {
  for (auto& [handle, owner] : owners_) {
    recompute(handle, owner);
    if (!owner.known && std::ranges::any_of(owner.filters, [](const auto& each) { return each.second.durable > 0; }))
      resuming_.insert(handle);
  }
  for (auto& [id, channel] : channels_) resume(id, channel);
  for (const ChannelId& id : logs_.held()) {
    const auto channel = channels_.find(id);
    if (own(id)) continue;
    // Any of the values that were damaged on disk may have been of this one.
    if (context_.retained.damaged_rows() > 0) logs_.set_copies_incomplete(id);
    if (channel != channels_.end() && wants_durably(channel->second)) continue;
    // A later reader begins at the log's end then, so that copies miss what changed meanwhile.
    logs_.set_copies_incomplete(id);
    if (channel == channels_.end()) lingering_[id] = context_.clock.monotonic() + limits::carry_time;
  }
  std::set<ChannelId> stale;
  context_.retained.match("#", [&](const std::string& topic, const RetainedValue& value) {
    if (parts_of(topic).kind == TopicKind::owned && !logs_.holds(value.channel)) stale.insert(value.channel);
  });
  for (const auto& id : stale) context_.retained.erase_channel(id);
}

void RemoteChannels::resume(const ChannelId& id, Channel& channel) {
  if (wants_durably(channel))
    for (const auto& writer : logs_.writers(id)) channel.followed.insert(writer);
}

// Demand -----------------------------------------------------------------------------------------------------

void RemoteChannels::add_demand(std::string_view filter, bool durable) {
  const auto parts = parts_of(filter);
  if (parts.kind != TopicKind::owned || context_.own.contains(parts.handle) || parts.rest.empty()) return;
  const std::string handle(parts.handle);
  Owner& owner = owners_[handle];
  Demand& demand = owner.filters[std::string(parts.rest)];
  const bool first = demand.clean + demand.durable == 0;
  ++(durable ? demand.durable : demand.clean);
  if (!first) return;
  ask_owners(owner, handle);
  for (const auto& [link, answered] : owner.helpers) ask(owner, handle, links_.at(link), link);
  recompute(handle, owner, false);
}

void RemoteChannels::remove_demand(std::string_view filter, bool durable) {
  const auto parts = parts_of(filter);
  const auto owner = owners_.find(parts.handle);
  if (parts.kind != TopicKind::owned || owner == owners_.end()) return;
  const auto demand = owner->second.filters.find(parts.rest);
  if (demand == owner->second.filters.end()) return;
  auto& count = durable ? demand->second.durable : demand->second.clean;
  expect(count > 0, "demand removed that was never added");
  --count;
  if (demand->second.clean + demand->second.durable > 0) return;
  owner->second.filters.erase(demand);
  if (owner->second.filters.empty()) dismiss_helpers(owner->second, owner->first);
  recompute(owner->first, owner->second);
}

bool RemoteChannels::wants(const Owner& owner, std::string_view filter) {
  return std::ranges::any_of(owner.filters, [&](const auto& demand) { return overlaps(filter, demand.first); }) ||
         std::ranges::any_of(owner.for_members, [&](const auto& asked) {
           return std::ranges::any_of(asked.second, [&](const auto& each) { return overlaps(filter, each); });
         });
}

bool RemoteChannels::wants_durably(const Channel& channel) const {
  return std::ranges::any_of(readers(channel), [&](const Owner* owner) {
    return std::ranges::any_of(owner->filters, [&](const auto& demand) {
      return demand.second.durable > 0 && overlaps(channel.share.policy.filter, demand.first);
    });
  });
}

std::vector<const RemoteChannels::Owner*> RemoteChannels::readers(const Channel& channel) const {
  std::vector<const Owner*> out;
  for (const auto& handle : channel.handles)
    if (const auto owner = owners_.find(handle); owner != owners_.end()) out.push_back(&owner->second);
  return out;
}

std::set<NodeId> RemoteChannels::wanted() const {
  std::set<NodeId> out;
  for (const auto& [handle, owner] : owners_) {
    const HandleRecord* record = owner.wanted() ? context_.handles.find(handle) : nullptr;
    if (!record) continue;
    for (const auto& [node, role] : record->nodes) out.insert(node);
  }
  return out;
}

std::string RemoteChannels::waiting_for(std::string_view filter) const {
  const auto parts = parts_of(filter);
  if (parts.kind != TopicKind::owned || context_.own.contains(parts.handle)) return {};
  const HandleRecord* record = context_.handles.find(parts.handle);
  if (!record) return fmt::format("@{} is not in the ledger (as far as this node has it)", parts.handle);
  const auto owner = owners_.find(parts.handle);
  if (owner == owners_.end()) return fmt::format("nobody here has subscribed to '{}'", filter);
  const bool helped =
      std::ranges::any_of(owner->second.helpers, [](const auto& helper) { return helper.second.answered; });
  for (const auto& [node, role] : record->nodes) {
    const auto link = owner->second.links.find(node);
    if (link == owner->second.links.end() && !helped)
      return fmt::format("no link to @{}'s node {}", parts.handle, to_display(node));
    if (link != owner->second.links.end() && !owner->second.answered.contains(node))
      return fmt::format("the catalogue of @{}", parts.handle);
    for (const auto& [id, share] : owner->second.shares) {
      if (!overlaps(share.policy.filter, parts.rest)) continue;
      const auto channel = channels_.find(id);
      // At the node itself, or through a member that knows its log's end.
      const bool through =
          channel != channels_.end() && std::ranges::any_of(channel->second.joins, [&](auto& join) {
            return join.second.joined && (link != owner->second.links.end() ? join.first == link->second
                                                                            : channel->second.followed.contains(node));
          });
      if (!through) return fmt::format("joining the share '{}' of @{}", share.policy.filter, parts.handle);
    }
  }
  return {};
}

bool RemoteChannels::acknowledged(std::string_view filter) const { return waiting_for(filter).empty(); }

const std::map<ChannelId, ShareRecord>* RemoteChannels::catalogue_of(std::string_view handle) const {
  const auto owner = owners_.find(handle);
  return owner == owners_.end() || !owner->second.known ? nullptr : &owner->second.shares;
}

// Links ------------------------------------------------------------------------------------------------------

void RemoteChannels::ask(Owner& owner, const std::string& handle, const NodeId& peer, LinkId link) {
  wire::CatalogueGet get{handle, {}};
  if (context_.handles.speaks_for(peer, handle)) {
    owner.links[peer] = link;
    owner.answered.erase(peer);
    owner.helpers.erase(link);
  } else {
    owner.helpers.try_emplace(link, Helper{false, context_.clock.monotonic(), {}});
    for (const auto& [filter, demand] : owner.filters)
      if (get.filters.size() < limits::filters_for_others_max) get.filters.push_back(filter);
    if (owner.filters.size() > get.filters.size()) get.filters = {"#"};
  }
  context_.links->send(link, FrameType::catalogue_get, {wire::encode_catalogue_get(get)});
}

/// Links to its nodes may be up for another reason.
void RemoteChannels::ask_owners(Owner& owner, const std::string& handle) {
  for (const auto& [link, peer] : links_)
    if (!owner.links.contains(peer) && context_.handles.speaks_for(peer, handle)) ask(owner, handle, peer, link);
}

bool RemoteChannels::out_of_reach(const Owner& owner, const std::string& handle) const {
  const HandleRecord* record = context_.handles.find(handle);
  if (!record) return false;
  if (record->nodes.empty()) return true;  // they were revoked, and what others hold is all there is
  return std::ranges::any_of(record->nodes, [&](const auto& node) {
    return node.first != context_.self() && !owner.answered.contains(node.first);
  });
}

/// Only for demand of our own clients: what we carry for a member we get from the owner. So no two nodes carry a channel
/// for each other only.
void RemoteChannels::seek_helpers(Owner& owner, const std::string& handle) {
  const Monotonic now = context_.clock.monotonic();
  if (owner.filters.empty() || !out_of_reach(owner, handle)) {
    owner.out_of_reach_since = {};
    return dismiss_helpers(owner, handle);
  }
  if (owner.out_of_reach_since == Monotonic{}) owner.out_of_reach_since = now;
  if (now - owner.out_of_reach_since < helper_patience) return;
  for (const auto& [link, peer] : links_) {
    if (owner.helpers.size() >= helpers_max) break;
    if (!owner.helpers.contains(link) && !context_.handles.speaks_for(peer, handle)) ask(owner, handle, peer, link);
  }
  // Who has not heard of the handle yet, as its ledger is behind ours, forgets that we asked. Every few ticks, of a second each.
  for (const auto& [link, helper] : owner.helpers) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - helper.asked).count();
    if (!helper.answered && seconds % helper_asked_again_s == helper_asked_again_s - 1)
      ask(owner, handle, links_.at(link), link);
  }
  if (owner.helpers.size() >= helpers_max) change_helper(owner, handle);
}

void RemoteChannels::change_helper(Owner& owner, const std::string& handle) {
  const auto good = std::ranges::max_element(owner.helpers, {}, [](const auto& each) { return each.second.brought; });
  const auto idle = std::ranges::min_element(owner.helpers, {}, [&](const auto& each) {
    const bool stays = each.first == good->first && good->second.brought != Monotonic{};
    return stays ? Monotonic::max() : std::max(each.second.asked, each.second.brought);
  });
  if (context_.clock.monotonic() - std::max(idle->second.asked, idle->second.brought) < helper_idle_max) return;
  const LinkId old = idle->first;
  // All have their turn.
  auto at = links_.upper_bound(old);
  for (auto left = links_.size(); left > 0; --left, ++at) {
    if (at == links_.end()) at = links_.begin();
    if (owner.helpers.contains(at->first) || context_.handles.speaks_for(at->second, handle)) continue;
    owner.helpers.erase(idle);
    dismiss(old, handle);
    ask(owner, handle, at->second, at->first);
    return recompute(handle, owner);
  }
}

void RemoteChannels::dismiss_helpers(Owner& owner, const std::string& handle) {
  for (const auto& [link, helper] : std::exchange(owner.helpers, {})) dismiss(link, handle);
}

void RemoteChannels::dismiss(LinkId helper, const std::string& handle) {
  context_.links->send(helper, FrameType::catalogue_get, {wire::encode_catalogue_get({handle, {}})});
  for (auto& [id, channel] : channels_) {
    if (!channel.handles.contains(handle) || channel.joins.erase(helper) == 0) continue;
    expect_nothing(channel, helper);
    context_.links->send(helper, FrameType::channel_leave, {wire::encode_channel_leave(id)});
  }
}

void RemoteChannels::brought_something(const Channel& channel, LinkId link) {
  for (const auto& handle : channel.handles) {
    const auto owner = owners_.find(handle);
    if (owner == owners_.end()) continue;
    if (const auto helper = owner->second.helpers.find(link); helper != owner->second.helpers.end())
      helper->second.brought = context_.clock.monotonic();
  }
}

void RemoteChannels::link_up(LinkId link, const NodeId& peer) {
  links_[link] = peer;
  for (auto& [handle, owner] : owners_)
    if (owner.wanted() && context_.handles.speaks_for(peer, handle)) ask(owner, handle, peer, link);
}

void RemoteChannels::link_down(LinkId link, const NodeId& peer) {
  links_.erase(link);
  for (auto& [handle, owner] : owners_) {
    owner.helpers.erase(link);
    if (owner.for_members.erase(link) > 0) recompute(handle, owner);
    const auto found = owner.links.find(peer);
    if (found == owner.links.end() || found->second != link) continue;
    owner.links.erase(found);
    owner.answered.erase(peer);
  }
  for (auto& [id, channel] : channels_) {
    channel.joins.erase(link);
    expect_nothing(channel, link);
  }
}

void RemoteChannels::expect_nothing(Channel& channel, LinkId link) {
  channel.let_go.erase(link);
  if (channel.snapshot_from == link) channel.snapshot_from.reset();
  for (auto& [writer, missing] : channel.missing) {
    missing.lacking.erase(link);
    if (missing.asked == link) missing.asked.reset();
  }
}

void RemoteChannels::ledger_changed() {
  for (auto& [handle, owner] : owners_)
    if (owner.wanted()) ask_owners(owner, handle);
}

// Catalogues -------------------------------------------------------------------------------------------------

Result<std::map<ChannelId, ShareRecord>> RemoteChannels::shares_in(const std::string& handle,
                                                                   const DirectoryRecord& record, Signer signer) const {
  const HandleRecord* owner = context_.handles.find(handle);
  std::map<ChannelId, ShareRecord> out;
  PackReader in(record.body);
  for (auto left = in.array(limits::shares_per_handle_max); left > 0; --left) {
    auto share = decode_share(in.bin(limits::packet_bytes_max), context_.network());
    if (!share) return tl::unexpected(share.error());
    if (!share->is_public() || share->channel != channel_id(context_.network(), owner->register_entry, share->id) ||
        (signer == Signer::of_now && owner->role_of(share->signer) != Role::admin))
      return fail(Errc::invalid, "a share that is not the handle's own");
    out.emplace(share->channel, std::move(*share));
  }
  if (!in.done()) return fail(Errc::invalid, "a malformed catalogue");
  return out;
}

void RemoteChannels::take_catalogue(const std::string& handle, Owner& owner, const DirectoryRecord& record,
                                    Signer signer) {
  const bool may_sign = signer == Signer::judged_before ? context_.handles.find(handle) != nullptr
                                                        : context_.handles.speaks_for(record.signer, handle);
  if (record.kind != DirectoryKind::catalogue || !may_sign) {
    context_.count("catalogues refused");
    return;
  }
  if (record.seq < owner.catalogue_seq) return;
  auto shares = shares_in(handle, record, signer);
  if (!shares) {
    context_.count("catalogues refused");
    return;
  }
  const bool newer = !owner.known || record.seq > owner.catalogue_seq;
  owner.catalogue_seq = record.seq;
  owner.catalogue = record.wire;
  owner.shares = std::move(*shares);
  owner.known = true;
  if (!newer || signer == Signer::judged_before) return;
  context_.store.put(Table::meta, catalogue_key(handle), owner.catalogue);
  for (const auto& [link, filters] : owner.for_members)
    context_.links->send(link, FrameType::catalogue, {owner.catalogue});
}

void RemoteChannels::on_directory_record(const DirectoryRecord& record) {
  for (auto& [handle, owner] : owners_) {
    if (record.seq <= owner.catalogue_seq || !context_.handles.is_same(handle, as_text(record.subject))) continue;
    take_catalogue(handle, owner, record, Signer::of_now);
    context_.turn.touch();
    if (owner.catalogue_seq == record.seq) recompute(handle, owner);
  }
}

void RemoteChannels::on_catalogue_get(LinkId link, const wire::CatalogueGet& get) {
  if (!context_.handles.find(get.handle)) return context_.count("catalogues asked for that nobody has");
  Owner& owner = owners_[get.handle];  // bounded by the ledger's handles
  if (get.filters.empty()) {
    if (owner.for_members.erase(link) > 0) recompute(get.handle, owner);
    return;
  }
  owner.for_members[link] = get.filters;
  ask_owners(owner, get.handle);
  if (owner.known) context_.links->send(link, FrameType::catalogue, {owner.catalogue});
  recompute(get.handle, owner);
}

void RemoteChannels::on_catalogue(LinkId link, const NodeId& peer, const DirectoryRecord& record) {
  for (auto& [handle, owner] : owners_)
    if (context_.handles.is_same(handle, as_text(record.subject))) on_catalogue(link, peer, record, handle, owner);
}

void RemoteChannels::on_catalogue(LinkId link, const NodeId& peer, const DirectoryRecord& record,
                                  const std::string& handle, Owner& owner) {
  const auto helper = owner.helpers.find(link);
  // An owner's node speaks for itself; anybody else passes on what one of them signed.
  if (helper == owner.helpers.end() && record.signer != peer) return context_.count("catalogues refused");
  take_catalogue(handle, owner, record, Signer::of_now);
  // It was restored from a backup, and its clock is behind: with its own signature it learns how far it had come.
  if (record.seq < owner.catalogue_seq && helper == owner.helpers.end())
    context_.links->send(link, FrameType::catalogue, {owner.catalogue});
  if (helper == owner.helpers.end())
    owner.answered.insert(peer);
  else
    helper->second.answered = owner.known;
  context_.turn.touch();
  recompute(handle, owner);
}

void RemoteChannels::recompute(const std::string& handle, Owner& owner, bool tells) {
  for (const auto& [id, share] : owner.shares) {
    if (!wants(owner, share.policy.filter)) continue;
    const auto [at, fresh] = channels_.try_emplace(id);
    Channel& channel = at->second;
    if (fresh) context_.wills.listen(id, context_.clock.monotonic());
    channel.share = share;
    if (channel.handles.insert(handle).second) copy_retained(id, handle, tells);
    logs_.open(id, *channel.handles.begin());
    if (fresh && resuming_.contains(handle)) resume(id, channel);
    lingering_.erase(id);
    for (const auto& peer : owner.answered)
      if (const auto link = owner.links.find(peer); link != owner.links.end()) {
        const auto joined = channel.joins.find(link->second);
        if (joined == channel.joins.end() || joined->second.filters != filters_for(channel, link->second))
          join(id, channel, link->second);
      }
    for (const auto& [link, answered] : owner.helpers)
      if (!channel.joins.contains(link)) join(id, channel, link);
  }
  if (owner.known) resuming_.erase(handle);
  std::vector<std::pair<ChannelId, bool>> unneeded;
  for (auto& [id, channel] : channels_)
    if (channel.handles.contains(handle)) {
      const bool ended = !owner.shares.contains(id);
      if (!ended && wants(owner, channel.share.policy.filter)) continue;
      if (channel.handles.size() == 1) {
        unneeded.emplace_back(id, ended);
        continue;
      }
      channel.handles.erase(handle);
      context_.retained.erase_channel(id, [&](const std::string& topic) { return parts_of(topic).handle != handle; });
    }
  for (const auto& [id, ended] : unneeded) leave(id, ended);
}

// Channels ---------------------------------------------------------------------------------------------------

void RemoteChannels::copy_retained(const ChannelId& id, const std::string& handle, bool tells) {
  std::vector<std::pair<std::string, RetainedValue>> copies;
  context_.retained.of_channel(id, [&](const std::string& topic, const RetainedValue& value) {
    const auto parts = parts_of(topic);
    if (parts.kind != TopicKind::owned || parts.handle == handle) return;
    auto& [name, copy] = copies.emplace_back(owned_topic(handle, parts.rest), value);
    if (!value.message) return;
    auto message = std::make_shared<Message>(*value.message);
    message->topic = name;
    copy.message = std::move(message);
  });
  for (auto& [topic, copy] : copies) {
    const MessagePtr message = copy.message;
    if (set_retained(topic, std::move(copy)) && message && tells) context_.broker->deliver_retained(message);
  }
}

void RemoteChannels::join(const ChannelId& id, Channel& channel, LinkId link) {
  Join& asked = channel.joins[link];
  auto filters = filters_for(channel, link);
  if (!filters.empty()) {
    // Copies of what nobody wants any more would grow old unseen.
    const auto wanted = [&](std::string_view name) {
      return std::ranges::any_of(filters, [&](const std::string& filter) { return matches(filter, name); });
    };
    context_.retained.erase_channel(id, [&](const std::string& topic) { return wanted(parts_of(topic).rest); });
    context_.wills.erase_channel(id, wanted);
    std::vector<std::string> complete;
    std::ranges::copy_if(filters, std::back_inserter(complete),
                         [&](const std::string& filter) { return logs_.copies_complete(id, {filter}); });
    if (complete.empty())
      logs_.set_copies_incomplete(id);
    else
      logs_.set_copies_complete(id, complete);
  }
  // Who comes back finds changed values in the logs; who is new, or has lost a part of a log, gets them all.
  const bool snapshot_elsewhere = channel.snapshot_from && *channel.snapshot_from != link;
  wire::ChannelJoin join{id, !logs_.copies_complete(id, filters) && !snapshot_elsewhere, {}, filters};
  // The same once more, as no answer came: any of the answers will do, and on a slow link the first must.
  const bool again = asked.waits && asked.filters == filters && asked.snapshot == join.snapshot &&
                     (!join.snapshot || channel.snapshot_from == link);
  const Monotonic now = context_.clock.monotonic();
  if (again) {
    asked.asked = now;
  } else {
    const bool before = asked.joined || asked.before, skips = (before && asked.skips) || !filters.empty();
    asked = {false, before, skips, now, filters, {}, {}, ++joins_asked_, join.snapshot, true};
    // It replaces an earlier one, of whose values no more come.
    if (channel.snapshot_from == link) {
      channel.snapshot_from.reset();
      context_.wills.drop_snapshot(id);
    }
    if (join.snapshot) {
      channel.snapshot_from = link;
      channel.snapshot_since = now;
      channel.snapshot_filters = std::move(filters);
      channel.fresh.clear();
      channel.since.clear();
      context_.wills.begin_snapshot(id);
    }
  }
  join.number = asked.number;
  for (const auto& writer : channel.followed)
    if (const LogEnd* end = logs_.end(id, writer)) {
      join.positions.push_back({writer, end->cursor, end->header});
      asked.told.insert(writer);
      if (join.snapshot && !again) channel.since[writer] = end->cursor;
    }
  context_.links->send(link, FrameType::channel_join, {wire::encode_channel_join(join)});
}

bool RemoteChannels::is_owners(const Channel& channel, LinkId link) const {
  const auto peer = links_.find(link);
  return peer != links_.end() && context_.handles.speaks_for(peer->second, *channel.handles.begin());
}

void RemoteChannels::ask_another_for_values(const ChannelId& id, Channel& channel) {
  const LinkId asked = *channel.snapshot_from;
  std::optional<LinkId> next;
  auto at = channel.joins.upper_bound(asked);
  for (auto left = channel.joins.size(); left > 0; --left, ++at) {
    if (at == channel.joins.end()) at = channel.joins.begin();
    if (!at->second.joined || at->first == asked) continue;
    if (!next || (is_owners(channel, at->first) && !is_owners(channel, *next))) next = at->first;
  }
  if (!next) return;
  const bool better = is_owners(channel, *next) && !is_owners(channel, asked);
  const auto patience = better ? snapshot_patience_beside_owner : snapshot_patience;
  if (context_.clock.monotonic() - channel.snapshot_since <= patience) return;
  channel.snapshot_from.reset();
  context_.wills.drop_snapshot(id);
  join(id, channel, *next);
}

std::vector<std::string> RemoteChannels::filters_for(const Channel& channel, LinkId link) const {
  const std::string& shared = channel.share.policy.filter;
  if (!is_owners(channel, link) || logs_.has_members(channel.share.channel)) return {};
  std::vector<std::string> out;
  for (const Owner* owner : readers(channel)) {
    for (const auto& [member, filters] : owner->for_members)
      for (const auto& filter : filters)
        if (overlaps(shared, filter)) return {};
    for (const auto& [filter, demand] : owner->filters) {
      if (covers(filter, shared)) return {};
      if (overlaps(shared, filter) && std::ranges::find(out, filter) == out.end()) out.push_back(filter);
    }
  }
  if (out.size() > limits::filters_for_others_max) out.clear();
  return out;
}

bool RemoteChannels::knows_enough(const Channel& channel, LinkId link) const {
  const auto join = channel.joins.find(link);
  if (join == channel.joins.end()) return false;
  // A place that we could not believe is none: nobody can say what came behind these values.
  for (const auto& [writer, end] : join->second.ends)
    if (!channel.followed.contains(writer)) return false;
  for (const auto& [writer, begun] : channel.since) {
    const auto held = join->second.ends.find(writer);
    if (held == join->second.ends.end() || is_behind(held->second, begun)) return false;
  }
  return true;
}

void RemoteChannels::leave(const ChannelId& id, bool share_ended) {
  const auto found = channels_.find(id);
  for (const auto& [link, join] : found->second.joins)
    context_.links->send(link, FrameType::channel_leave, {wire::encode_channel_leave(id)});
  channels_.erase(found);
  context_.wills.stop_listening(id);
  context_.wills.drop_snapshot(id);
  // A later reader here starts anew. Until then what is held may be all that other members can reach.
  logs_.set_copies_incomplete(id);
  lingering_[id] = context_.clock.monotonic() + limits::carry_time;
  if (share_ended) forget(id);
}

void RemoteChannels::forget(const ChannelId& id) {
  lingering_.erase(id);
  logs_.close(id);
  context_.retained.erase_channel(id);
  context_.wills.erase_channel(id);
  context_.turn.touch();
}

void RemoteChannels::tick() {
  const Monotonic now = context_.clock.monotonic();
  for (auto& [handle, owner] : owners_) seek_helpers(owner, handle);
  std::vector<ChannelId> over;
  for (const auto& [id, until] : lingering_)
    if (until <= now) over.push_back(id);
  for (const auto& id : over) forget(id);
  const bool disk_keeps_up = context_.store.pending_bytes() <= limits::store_pending_bytes_max / 2;
  for (auto& [id, channel] : channels_) {
    if (channel.snapshot_from) ask_another_for_values(id, channel);
    // The values from who has joined us, before somebody who has refused is asked once more, and for them.
    std::optional<LinkId> other_snapshot;
    for (const auto& [link, at] : channel.joins)
      if (at.joined && now - at.asked > join_retry && !channel.snapshot_from &&
          !logs_.copies_complete(id, at.filters) && (!other_snapshot || knows_enough(channel, link)))
        other_snapshot = link;
    if (other_snapshot) join(id, channel, *other_snapshot);
    for (const auto& [link, at] : channel.joins)
      if (!at.joined && now - at.asked > join_retry) join(id, channel, link);
    std::erase_if(channel.mending, [&](const auto& each) {
      return now - each.second.since > (each.second.over ? mending_pause : mending_patience);
    });
    for (auto& [writer, mending] : channel.mending)
      if (!mending.asked) mend(channel, writer, mending);
    if (disk_keeps_up)
      for (const LinkId link : std::exchange(channel.let_go, {}))
        for (const auto& writer : channel.followed)
          if (links_.contains(link)) ask_range(link, channel, writer);
    std::vector<NodeId> stuck;
    for (const auto& [writer, missing] : channel.missing)
      if (!missing.asked) stuck.push_back(writer);
    for (const auto& writer : stuck) give_up(channel, writer);
  }
  derive_wills();
  lift_veils();
}

// Status -----------------------------------------------------------------------------------------------------

std::vector<RemoteChannels::ChannelStatus> RemoteChannels::status() const {
  std::vector<ChannelStatus> out;
  for (const auto& [id, channel] : channels_) {
    ChannelStatus each;
    each.handle = *channel.handles.begin();
    each.filter = channel.share.policy.filter;
    each.id = id;
    each.durable_records = channel.durable_records;
    each.live_records = channel.live_records;
    each.live_lost = channel.live_lost;
    each.durable_lost = channel.durable_lost;
    each.joined = static_cast<std::size_t>(
        std::ranges::count_if(channel.joins, [](const auto& join) { return join.second.joined; }));
    each.members = logs_.members(id);
    each.log_bytes = logs_.log_bytes(id);
    for (const auto& [writer, missing] : channel.missing)
      if (!missing.lacking.empty()) each.withheld.push_back(writer);
    out.push_back(std::move(each));
  }
  return out;
}

std::vector<std::string> RemoteChannels::handles() const {
  std::vector<std::string> out;
  for (const auto& [handle, owner] : owners_)
    if (!owner.filters.empty()) out.push_back(handle);
  return out;
}

}  // namespace diot
