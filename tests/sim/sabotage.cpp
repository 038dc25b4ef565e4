// Broken rules, one for each invariant: a checker that does not see them checks nothing.

#include <fmt/format.h>

#include "core/limits.hpp"
#include "core/topic.hpp"
#include "tests/sim/world.hpp"

namespace diot::sim {

std::string_view name_of(Sabotage sabotage) {
  switch (sabotage) {
    case Sabotage::none: return "none";
    case Sabotage::lose_queued_row: return "lose_queued_row";
    case Sabotage::deliver_twice: return "deliver_twice";
    case Sabotage::swap_records: return "swap_records";
    case Sabotage::leak_topic: return "leak_topic";
    case Sabotage::stale_retained: return "stale_retained";
    case Sabotage::fork_ledger: return "fork_ledger";
    case Sabotage::ignore_bounds: return "ignore_bounds";
    case Sabotage::change_payload: return "change_payload";
    case Sabotage::forget_session: return "forget_session";
    case Sabotage::swallow_pubacks: return "swallow_pubacks";
    case Sabotage::corrupt_start: return "corrupt_start";
    case Sabotage::forget_wills: return "forget_wills";
    case Sabotage::deaf_forwarder: return "deaf_forwarder";
  }
  return "?";
}

namespace {

MessagePtr message_of(const std::string& owner, const Record& record) {
  auto message = std::make_shared<Message>();
  message->topic = owned_topic(owner, record.topic);
  message->payload = record.payload;
  message->qos = record.qos;
  message->retain = record.retain;
  return message;
}

}  // namespace

bool World::arrive(HomeIndex from, HomeIndex to, FrameType type, ByteView body) {
  if (type == FrameType::batch && options.sabotage == Sabotage::deaf_forwarder) {
    const auto held = wire::decode_batch(body);
    const auto batch = BatchView::parse(held->batch);
    const bool of_sender = batch->header.writer == homes[from]->key.node_id();
    return of_sender || schedule.now() < climate_.trouble / 4 || batch->header.stream == Stream::live;
  }
  const bool swaps = options.sabotage == Sabotage::swap_records;
  if (type != FrameType::batch || (!swaps && options.sabotage != Sabotage::deliver_twice)) return true;
  const auto held = wire::decode_batch(body);
  const auto batch = BatchView::parse(held->batch);
  if (batch->body.empty()) return true;  // a header alone: nobody there reads what was in it
  const auto records = batch->records();
  std::vector<MessagePtr> messages;
  for (const ByteView bytes : *records) messages.push_back(message_of(homes[from]->handle, *decode_record(bytes)));
  if (swaps) std::ranges::reverse(messages);
  const auto deliver = [this, to, messages] {
    Home& home = *homes[to];
    if (!home.running()) return;
    for (const auto& message : messages) home.core().broker().deliver(message, Origin::log);
    home.touch();
  };
  if (swaps)
    deliver();
  else
    schedule.after(500ms, deliver);
  return true;
}

void World::sabotage_one() {
  Home& home = *homes.back();
  const auto while_down = [&](auto change) {
    home.crash(false);
    change(home.image);
    start_again(home, Time(100ms));
  };
  switch (options.sabotage) {
    case Sabotage::lose_queued_row:
      for (const auto& client : clients)
        if (&client->home() == &home) client->leave(5s);
      schedule.after(3s, [while_down] {
        while_down([](Disk::Image& image) { image[static_cast<std::size_t>(Table::queue)].clear(); });
      });
      return;
    case Sabotage::forget_session:
      return while_down([](Disk::Image& image) { image[static_cast<std::size_t>(Table::session)].clear(); });
    case Sabotage::forget_wills:
      return while_down([](Disk::Image& image) {
        std::erase_if(image[static_cast<std::size_t>(Table::retained)],
                      [](const auto& row) { return row.first.at(0) == 1; });
      });
    case Sabotage::corrupt_start:
      return while_down([](Disk::Image& image) {
        auto& blocks = image[static_cast<std::size_t>(Table::block)];
        Disk::put_row(image, Table::block, blocks.begin()->first, to_bytes("no block"));
      });
    case Sabotage::leak_topic: {
      const auto added = home.core().overlay().own().add("home/#", Preset::public_);
      expect(added.has_value(), "the share was added");
      return home.touch();
    }
    case Sabotage::stale_retained:
      for (const auto& topic : topics_) {
        Home& owner = topic.publisher->home();
        if (&owner == &home || !covered_by_share(topic.name)) continue;
        auto message = std::make_shared<Message>();
        message->topic = owned_topic(owner.handle, topic.name);
        message->payload = to_bytes("stale");
        const Stamp stamp{UINT64_MAX, owner.key.node_id(), {}, 1};
        home.core().retained().set(message->topic, {message, stamp, {}, {}, 0});
      }
      return;
    case Sabotage::fork_ledger: {
      const Home& founder = *homes.front();
      HandleRecord changed = *home.core().ledger().handle(home.handle);
      for (Home* at : {homes.front().get(), &home}) {
        at->chance.fill(changed.profile.bytes);
        Ledger& ledger = at->core().ledger();
        const Bytes entry = make_update(changed, ledger.network(), ledger.head(), home.owner, {});
        const auto block = ledger.make_block({entry}, at->clock.wall_ms(), *founder.witness);
        expect(block && ledger.append(*block), "the block is good");
        at->disk().put(Table::block, block_key(ledger.head().height), *block);
        at->touch();
      }
      return;
    }
    case Sabotage::ignore_bounds: {
      const Bytes much(limits::link_output_bytes_max / 4);
      network.obey_output_bound = false;
      for (std::uint64_t id = 0; id < 1000; ++id)
        for (int times = 0; times < 5; ++times) home.port().send(LinkId{id}, FrameType::ledger_blocks, {much});
      return;
    }
    case Sabotage::change_payload: {
      auto message = std::make_shared<Message>();
      message->topic = "pub/x";
      message->payload = to_bytes("m0;?");
      for (const auto& client : clients)
        for (const auto& filter : client->filters())
          if (filter.granted) {
            message->topic = std::string(local_name(filter.filter, {client->home().handle, {}}));
            std::ranges::replace(message->topic, '#', 'x');
            std::ranges::replace(message->topic, '+', 'x');
            client->home().core().broker().deliver(std::make_shared<Message>(*message), Origin::log);
            client->home().touch();
          }
      return;
    }
    default: return;
  }
}

}  // namespace diot::sim
