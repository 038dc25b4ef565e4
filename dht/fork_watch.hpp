#pragma once
// A peer whose ledger contradicts ours: the first block in which the two differ is found and judged. If it was decided
// by votes that count, the network has two histories: that is kept, and said loudly. Else it is a bad peer.

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "core/ledger/fork.hpp"
#include "dht/context.hpp"

namespace diot {

/// Table::meta's key: the forks that were seen (encode_forks).
inline Bytes meta_forks() { return to_bytes("forks"); }

class ForkWatch {
 public:
  /// `found`: a fork that was not known.
  ForkWatch(OverlayContext& context, std::function<void(const Fork&)> found)
      : context_(context), found_(std::move(found)) {}
  void load();

  /// The peer has another block than we at that height, which is not above our head's.
  void suspect(LinkId link, const NodeId& peer, std::uint64_t height);
  /// Whether the blocks were asked for here.
  bool on_blocks(LinkId link, const std::vector<ByteView>& blocks);
  void link_down(LinkId link) { searches_.erase(link); }
  void tick();

  /// Oldest first.
  const std::vector<Fork>& forks() const { return forks_; }

 private:
  /// Between the highest block that we have in common and the lowest one that differs.
  struct Search {
    NodeId peer;
    std::uint64_t same = 0, other = 0, asked = 0;
    Monotonic deadline{};
  };

  void ask(LinkId link, Search& search, std::uint64_t height);
  void judge(LinkId link, const Search& search, const BlockView& theirs);
  void bad_peer(LinkId link, const std::string& why);

  OverlayContext& context_;
  std::function<void(const Fork&)> found_;
  std::vector<Fork> forks_;
  std::map<LinkId, Search> searches_;
  std::map<NodeId, Monotonic> judged_;  ///< who is not looked into again before
};

}  // namespace diot
