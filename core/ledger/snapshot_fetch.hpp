#pragma once
// Brings a ledger to the newest block of its network without replaying what lies between: headers first, then the records
// that the newest one certifies, then the entries that the rules still look at. Sans-I/O: the caller carries questions to
// nodes of its choice, one at a time, and their answers back.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/parts.hpp"
#include "core/ledger/snapshot.hpp"
#include "core/store.hpp"

namespace diot {

class SnapshotFetch {
 public:
  enum class Stage : std::uint8_t {
    headers,
    state,
    log,
    window,
    ready,   ///< call finish
    replay,  ///< little is missing, or all of it is in the window: replaying does it
  };

  /// `from`: what is stored here. A ledger that is fewer than `entries_min` entries before the window, or in it, is left
  /// to be replayed. Puts certified headers into `store` as they come. With `pinned` the chain must have that block.
  SnapshotFetch(const Ledger& from, Store& store, std::uint64_t entries_min,
                std::optional<Checkpoint> pinned = std::nullopt);

  Stage stage() const { return stage_; }
  /// The newest block whose header is here.
  std::uint64_t height() const { return chain_.height(); }
  /// What to ask a node that has that block.
  Bytes ask();
  /// The answer to the last question, by whoever has that number. An error is the fault of who answered: what others sent
  /// before stays, and the question can be asked of somebody else. Errc::not_found: that node has not got what was asked
  /// for.
  Result<void> take(ByteView answer, std::uint64_t from);
  /// Makes the ledger, and puts what was fetched into the store's open transaction as what it begins with. Call it once.
  /// `from`: what is stored here by now. Errc::exists if that is not on the way to the snapshot (any more).
  Result<Ledger> finish(const Ledger& from);

  /// For people: "fetching the headers" …
  std::string step() const;

 private:
  Result<void> take(const HeadersPart& part);
  Result<void> take(const StatePart& part);
  Result<void> take(const LogPart& part, std::uint64_t from);
  Result<void> take(const BlocksPart& part, std::uint64_t from);
  Result<void> take_below(const StateAsk::At& at, const StatePart::Below& below);
  Result<void> take_records(const StateAsk::At& at, const StatePart::Records& records);
  void decide();
  void forget(const SparsePlace& place);
  void begin_log();
  std::uint64_t log_size() const;

  Store& store_;
  const std::uint64_t from_height_, from_entries_, entries_min_;
  Stage stage_ = Stage::headers;
  HeaderChain chain_;
  int stale_ = 0;  ///< answers without anything new in a row
  // Records by name, and the map over them. After each new target what is the same in it stays.
  std::map<std::string, NamedRecord> records_;
  SparseMap have_;
  std::vector<StateAsk::At> wants_, asked_;  ///< subtrees that are missing; the last ones come first
  std::vector<Hash> log_;
  std::set<std::uint64_t> log_from_;  ///< who sent these
  MerkleFrontier frontier_;
  std::vector<Bytes> window_;
};

}  // namespace diot
