#pragma once
// Brings older blocks that are not on this disk, as a snapshot stands for them, so that this node can replay them and give
// them to others. Sans-I/O: the caller carries questions to nodes of its choice, one at a time, and their answers back.

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "core/bytes.hpp"
#include "core/error.hpp"
#include "core/ledger/ledger.hpp"
#include "core/ledger/parts.hpp"
#include "core/merkle.hpp"
#include "core/store.hpp"

namespace diot {

class HistoryFetch {
 public:
  /// `missing`: the blocks that are not on this disk. `ledger` may grow, but if it begins anew with another snapshot, this
  /// is over. Nothing is fetched before `aim` says so.
  HistoryFetch(const Ledger& ledger, Store& store, std::vector<BlockRange> missing)
      : ledger_(&ledger), store_(&store), missing_(std::move(missing)) {}

  const std::vector<BlockRange>& missing() const { return missing_; }
  /// Of what is missing, these are to be fetched.
  void aim(std::vector<BlockRange> goal);
  /// Nobody has the next one just now: another part of the goal comes first.
  void postpone();
  bool done() const { return goal_.empty(); }
  /// The next block to be fetched.
  std::uint64_t next() const { return goal_.front().from; }
  Bytes ask() const;
  /// The answer to it, by whoever has that number. Errc::not_found: that node has not got it. Errc::invalid: it is no
  /// answer.
  Result<void> take(LedgerPart part, std::uint64_t from);
  /// Blocks that came and are not judged yet.
  bool has_waiting() const { return !waiting_.empty(); }
  /// Judges the next one of them by the chain of headers, and puts it, and what is missing then, into the store's open
  /// transaction. Errc::invalid: it, or its votes, are not those of the chain; what else waits goes as well.
  Result<void> judge_next();

 private:
  std::uint64_t entries_before() const { return ledger_->blocks()[next() - 1].entries; }
  void begin_range();
  bool begin_log(std::vector<Hash> rest);
  Result<void> judge(ByteView bytes);

  const Ledger* ledger_;
  Store* store_;
  std::vector<BlockRange> missing_, goal_;
  std::deque<Bytes> waiting_;
  std::uint64_t waiting_from_ = 0;
  // The log before the next block: its full tiles are known, the rest stands in blocks that are here, or comes first.
  std::optional<MerkleFrontier> log_;
  std::vector<Hash> rest_;                  ///< that came, until a block shows that it is right
  std::optional<std::uint64_t> rest_from_;  ///< who sent it
};

}  // namespace diot
