// What survived the last run comes back.

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "bridge/broker.hpp"
#include "core/topic.hpp"

namespace diot {

Result<void> Broker::load() {
  const Monotonic now = clock_.monotonic();
  std::unordered_map<std::uint64_t, Session*> by_number;
  std::unordered_map<std::uint64_t, QueueSeq> in_doubt_through;
  std::unordered_map<const Session*, std::uint32_t> subscriptions_expected;
  std::vector<std::pair<Table, Bytes>> useless;
  const auto corrupt_row = [&](Table table) {
    return [this, table, &useless](ByteView key) {
      ++counts_.corrupt_rows;
      useless.emplace_back(table, to_bytes(key));
    };
  };
  const auto refuse_row = [&](Table table, ByteView key) {
    corrupt_row(table)(key);
    return true;
  };

  // A session's own row comes before those of its subscriptions: its key is their prefix.
  auto scanned = store_.scan(
      Table::session, {}, {},
      [&](ByteView key, ByteView value) {
        const std::string_view text = as_text(key);
        const auto split = text.find('\0');
        if (split == text.npos) return refuse_row(Table::session, key);
        const std::string client_id(text.substr(0, split));
        const std::string_view filter = text.substr(split + 1);
        if (filter.empty()) {
          const auto row = decode_session_row(value, now);
          if (!row || by_number.contains(row->number)) return refuse_row(Table::session, key);
          Session& restored = restore_session(client_id, *row);
          by_number[row->number] = &restored;
          subscriptions_expected[&restored] = row->subscriptions;
          in_doubt_through[row->number] = row->connected ? UINT64_MAX : row->last_sent;
          return true;
        }
        const auto session = sessions_.find(client_id);
        Subscription read;
        if (session == sessions_.end() || !decode_subscription_row(value, read) || !is_usable_filter(filter))
          return refuse_row(Table::session, key);
        add_subscription(*session->second, filter, read.options, read.id);
        return true;
      },
      corrupt_row(Table::session));
  if (!scanned) return scanned;
  for (const auto& [session, count] : subscriptions_expected) {
    if (session->subscriptions.size() == count) continue;
    find_session(session->client_id)->incomplete = true;
    spdlog::error("mqtt: {} of {} subscriptions of {} were unreadable: it is told to subscribe anew when it returns",
                  count - std::min<std::size_t>(count, session->subscriptions.size()), count, session->client_id);
  }

  scanned = store_.scan(
      Table::queue, {}, {},
      [&](ByteView key, ByteView value) {
        ByteReader in(key);
        const std::uint64_t number = in.u64(), batch = in.u64();
        const auto session = by_number.find(number);
        if (!in.done() || session == by_number.end() ||
            !session->second->outbox.restore_row(batch, value, in_doubt_through[number]))
          return refuse_row(Table::queue, key);
        return true;
      },
      corrupt_row(Table::queue));
  if (!scanned) return scanned;

  scanned = store_.scan(
      Table::inflight, {}, {},
      [&](ByteView key, ByteView value) {
        ByteReader in(key);
        const auto session = by_number.find(in.u64());
        const std::uint8_t kind = in.u8();
        if (session == by_number.end()) return refuse_row(Table::inflight, key);
        if (kind == 'i' && in.rest().size() == 2)
          session->second->keep_received(in.u16());
        else if (kind == 'o' && in.rest().size() == 8 && value.size() == 1)
          session->second->outbox.restore_mark(in.rest(), value[0]);
        else
          return refuse_row(Table::inflight, key);
        return true;
      },
      corrupt_row(Table::inflight));
  if (!scanned) return scanned;

  if (!useless.empty()) {
    spdlog::error("mqtt: {} rows of sessions were unreadable and are dropped: messages may be lost", useless.size());
    // A lost queue row may have been the last to name its batch, and a batch's number may come again.
    std::vector<Bytes> orphans;
    scanned = store_.scan(Table::spool, {}, {}, [&](ByteView key, ByteView) {
      if (key.size() != 8 || !spool_.holds(ByteReader(key).u64())) orphans.push_back(to_bytes(key));
      return true;
    });
    if (!scanned) return scanned;
    for (const auto& key : orphans) store_.erase(Table::spool, key);
    for (const auto& [table, key] : useless) store_.erase(table, key);
  }
  for (const auto& [client_id, session] : sessions_) save_state(*session);
  spdlog::debug("mqtt: {} sessions, {} subscriptions restored", sessions_.size(), counts_.subscriptions);
  return {};
}

Session& Broker::restore_session(const std::string& client_id, const SessionRow& row) {
  const Monotonic now = clock_.monotonic();
  const HeldMs held = clock_.held_ms();
  auto made =
      std::make_unique<Session>(store_, spool_, client_id, row.number, std::max<std::uint32_t>(row.expiry_seconds, 1));
  Session& session = *made;
  sessions_.emplace(session.client_id, std::move(made));
  session.expiry_seconds = row.expiry_seconds;
  session.lost = row.lost;
  session.incomplete = row.incomplete;
  session.user = row.user;
  session.unrestricted = authenticator_.unrestricted({session.user, session.client_id});
  session.outbox.resume_seq(row.next_seq);
  // The end of the process was the end of its connections.
  session.disconnected_at = row.connected || row.disconnected_at > held ? held : row.disconnected_at;
  const auto away = std::chrono::milliseconds(held - session.disconnected_at);
  if (row.expiry_seconds != Session::never) session.expires_at = now + std::chrono::seconds(row.expiry_seconds) - away;
  if (row.will) {
    session.will = std::make_unique<Will>(*row.will);
    session.will_due = now + std::chrono::seconds(row.will->delay_seconds) - away;
    session.will_number = row.will_number != 0 ? row.will_number : random_.u64() | 1;
    announce_will(session);
  }
  return session;
}

}  // namespace diot
