#pragma once
// Entries on their way into a block: at a witness until they are in one or cannot be, elsewhere until they were answered.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "core/ledger/agreement.hpp"
#include "dht/transport.hpp"

namespace diot {

class EntryPool final : public EntrySource {
 public:
  using Committed = std::function<void(Result<std::uint64_t> height)>;
  struct Item {
    Bytes entry;
    std::vector<Committed> done;  ///< who waits for it here
    Monotonic since{}, deadline{};
    bool stamped = false;  ///< by work, not by an invite

    // Elsewhere than at a witness: whom it was given to.
    std::uint8_t hops = 0;
    std::optional<LinkId> from;
    std::set<LinkId> told;
    std::set<std::uint64_t> asked;  ///< numbers of our submit frames that have no answer yet
    std::size_t refusals = 0;       ///< by witnesses
    std::optional<Error> refusal;   ///< the last one of anybody
  };

  /// nullptr if there is no room: what only costs work gets half of it, and gives way to the rest. The same entry again
  /// only adds who waits.
  Item* add(ByteView entry, const Committed& done, Monotonic now);
  Item* find(const Hash& hash);
  const std::map<std::uint64_t, Item>& items() const { return items_; }
  std::map<std::uint64_t, Item>& items() { return items_; }

  // EntrySource, in the order in which they came
  std::vector<Bytes> waiting() override;
  bool empty() const override { return items_.empty(); }
  void refused(const Bytes& entry, const Error& why) override;

  /// The entry is out, whatever for; who waits for it gets the answer from take_answers.
  void finish(const Hash& hash, const Result<std::uint64_t>& result);
  /// Takes who waits for it, for an answer that comes later.
  std::vector<Committed> take(const Hash& hash);
  /// At a witness: who waited for too long is told, the entry stays. Elsewhere: it goes too.
  void time_out(Monotonic now, bool keep, const Error& why);
  struct Answer {
    Committed done;
    Result<std::uint64_t> result;
  };
  std::vector<Answer> take_answers() { return std::exchange(answers_, {}); }

 private:
  bool make_room(bool for_stamped);

  std::map<std::uint64_t, Item> items_;  ///< by number, as they came
  std::map<Hash, std::uint64_t> numbers_;
  std::uint64_t next_number_ = 1;
  std::size_t stamped_ = 0;
  std::vector<Answer> answers_;
};

}  // namespace diot
