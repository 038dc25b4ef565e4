#pragma once
// Keeps the ledger equal to the peers' and brings entries to the witness.

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dht/context.hpp"
#include "dht/wire.hpp"

namespace diot {

class LedgerSync {
 public:
  /// `witness`: the key with which this node decides blocks, if it is the network's witness.
  LedgerSync(OverlayContext& context, const KeyPair* witness, std::function<void()> changed)
      : context_(context), witness_(witness), changed_(std::move(changed)) {}

  void link_up(LinkId link, const Hello& hello, LinkClass kind);
  void link_down(LinkId link);
  void on_head(LinkId link, const Checkpoint& head);
  void on_get(LinkId link, std::uint64_t from_height);
  void on_blocks(LinkId link, const std::vector<ByteView>& blocks);

  using Committed = std::function<void(Result<std::uint64_t> height)>;
  /// Brings an entry of ours into the ledger: `done` once it is committed and on disk here, or refused, or not answered
  /// within 30 s (Errc::timed_out).
  void submit(Bytes entry, Committed done);
  void on_submit(LinkId link, const wire::Submit& submit);
  void on_submitted(const wire::Submitted& submitted);

  /// Makes a block of what was submitted in this turn.
  void end_turn();
  void tick();

  bool is_witness() const { return witness_ != nullptr; }
  /// A head at our height with another hash was seen: two histories of one network.
  const std::optional<Checkpoint>& conflict() const { return conflict_; }

 private:
  /// An entry on its way to the witness, ours or one that we pass on.
  struct Waiting {
    std::optional<LinkId> from;  ///< whose it is, if not ours
    Committed done;
    Monotonic deadline;
    std::uint64_t height = 0;  ///< the witness said: in this block; waiting for it to arrive here
  };
  struct Candidate {
    Bytes entry;
    Committed done;
  };

  void forward(std::uint8_t hops, ByteView entry, std::optional<LinkId> from, Committed done);
  void propose(Bytes entry, Committed done);
  void adopted(const Bytes& block);
  void ask(LinkId link, std::uint64_t height);

  OverlayContext& context_;
  const KeyPair* witness_;
  std::function<void()> changed_;
  std::map<LinkId, Checkpoint> peers_;
  std::set<LinkId> witnesses_;         ///< links to nodes that say they are one
  std::map<LinkId, Monotonic> asked_;  ///< blocks that are under way
  std::vector<Candidate> candidates_;  ///< at the witness: for the next block
  std::map<std::uint64_t, Waiting> waiting_;
  std::uint64_t next_id_ = 1;
  std::optional<Checkpoint> conflict_;
};

/// Bit in Hello::features: this node is a witness.
inline constexpr std::uint64_t feature_witness = 1;

/// Table::block's key.
inline Bytes block_key(std::uint64_t height) {
  Bytes key;
  ByteWriter(key).u64(height);
  return key;
}

}  // namespace diot
