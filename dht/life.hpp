#pragma once
// Whether two processes run with one node key (docs/protocol.md, "One life"). Whoever has connections to both lets each
// sign what the other has just made up, and shows the answers to both. So nobody is made to believe it of itself by what an
// earlier process signed, by what it signed itself, or by anybody without its key. No sockets here.

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.hpp"
#include "core/crypto.hpp"
#include "dht/transport.hpp"

namespace diot {

using LifeNonce = FixedBytes<struct LifeNonceTag, 32>;

/// What one process says of itself when it is asked with a challenge: frame `life`.
struct LifeStatement {
  InstanceId instance;
  LifeNonce nonce;      ///< made up for this answer
  Signature signature;  ///< of the node key (kind `life`) over challenge ‖ instance ‖ nonce

  bool answers(const LifeNonce& challenge, const NodeId& node, const NetworkId& network) const;
};
Bytes encode_life(const LifeStatement& statement);
std::optional<LifeStatement> decode_life(ByteView bytes);

/// Frame `life_twin`: what another process with the receiver's key has signed, and where the sender sees that one.
Bytes encode_life_twin(const LifeStatement& other, std::string_view address);

/// The side that is asked.
class OwnLife {
 public:
  OwnLife(const KeyPair& key, Random& random) : key_(key), random_(random) {}
  /// nullopt: a challenge that only another process may answer, because we made it up, or one too many (a signature costs
  /// something).
  std::optional<LifeStatement> answer(const LifeNonce& challenge, const InstanceId& instance, const NetworkId& network,
                                      Monotonic now);
  /// The proof in a life_twin frame, if it is one: node is ours, told_by is left to the caller.
  std::optional<RunsTwice> proof_in(ByteView life_twin, const NetworkId& network) const;

 private:
  const KeyPair& key_;
  Random& random_;
  std::deque<LifeNonce> nonces_;  ///< of the newest answers
  std::deque<Monotonic> answered_;
};

/// The side that sees two connections of one node, of which the newer replaces the older.
class LifeJudge {
 public:
  enum class Which { older, newer };
  struct Send {
    Which to;
    FrameType type;
    Bytes body;
  };
  LifeJudge(const NodeId& node, const NetworkId& network) : node_(node), network_(network) {}
  /// The first question.
  Send begin(Random& random);
  /// Takes an answer. `address`: where its sender is. What goes out now: nothing if it proves nothing.
  std::vector<Send> answered(Which from, const LifeStatement& statement, const std::string& address);
  /// Both have signed what the other made up, and both have been told.
  bool proved() const { return proved_; }

 private:
  NodeId node_;
  NetworkId network_;
  std::optional<LifeNonce> asked_older_, asked_newer_;
  bool older_told_ = false, proved_ = false;
};

}  // namespace diot
