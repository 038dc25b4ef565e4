#pragma once
// Who is who: the ledger's handles, and beside them homes that it does not know yet, under provisional names. What the
// ledger allows is asked of it alone; what travels between homes is asked here.

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/clock.hpp"
#include "core/ledger/ledger.hpp"

namespace diot {

namespace limits {
inline constexpr std::size_t provisional_homes_max = 64;             ///< in memory
inline constexpr std::size_t provisional_homes_per_inviter_max = 5;  ///< as many as a handle may let in within a month
inline constexpr std::size_t provisional_homes_by_work_max = 16;
inline constexpr std::size_t provisional_stamps_per_minute_max = 6;  ///< checking one takes about 35 ms
inline constexpr auto provisional_homes_unlinked_max = std::chrono::minutes(1);
}  // namespace limits

/// Of an entry that check_entry refuses: whether it will be refused for ever.
inline bool is_final(const Error& refusal) {
  return refusal.code != Errc::limit && refusal.code != Errc::not_available;
}

class KnownHandles {
 public:
  explicit KnownHandles(const Ledger& ledger) : ledger_(ledger) {}

  /// By handle, or by provisional name: that also finds the ledger's record once the entry is in a block. nullptr: nobody.
  const HandleRecord* find(std::string_view name) const;
  /// Whom a node speaks for, or nullptr.
  const HandleRecord* of(const NodeId& node) const;
  bool speaks_for(const NodeId& node, std::string_view name) const;
  /// As Ledger::right_to_write.
  WriterRight right_to_write(std::string_view name, const NodeId& writer, const ChannelId& channel) const;
  /// Both name one home.
  bool is_same(std::string_view a, std::string_view b) const;

  /// This home's own registration, which is on its way. It stands until `forget_own`.
  void set_own(HandleRecord record);
  void forget_own();
  /// The register entry that `node` brings. Every rule of the ledger is asked, at the newest block here; a known one costs
  /// nothing; another one of that node takes the place of the first. Errc::limit: no room, or too many work stamps to check.
  Result<void> take(ByteView entry, const NodeId& node, WallMs wall, Monotonic now);
  /// Whether the entry shows, though it may be refused, that `node` holds an invite which would let somebody in.
  bool holds_invite(ByteView entry, const NodeId& node, WallMs wall) const;
  /// Drops what is in the ledger now, or cannot come there any more.
  void ledger_changed(WallMs wall);
  /// `is_linked`: who is not for a minute is forgotten, and brings its entry again. About once a second.
  template <class Linked>
  void tick(Monotonic now, const Linked& is_linked) {
    for (auto& [name, home] : homes_)
      if (is_linked(home.node)) home.linked = now;
    std::erase_if(homes_, [&](const auto& each) {
      return !each.second.entry.empty() && each.second.linked + limits::provisional_homes_unlinked_max < now;
    });
  }
  std::size_t provisional() const { return homes_.size(); }

 private:
  struct Home {
    HandleRecord record;
    Bytes entry;  ///< empty: our own
    NodeId node;
    std::string inviter;  ///< empty: by work
    Hash grant;
    Monotonic linked{};  ///< when it was last seen to be
  };
  Result<void> has_room(const Home& home, std::uint32_t uses) const;

  const Ledger& ledger_;
  std::map<std::string, Home, std::less<>> homes_;  ///< by provisional name
  Monotonic stamps_since_{};
  std::size_t stamps_ = 0;  ///< checked within that minute
};

}  // namespace diot
