#include "dht/life.hpp"

#include <algorithm>

#include "dht/frame.hpp"

namespace diot {

namespace {

constexpr std::size_t nonces_max = 64;
constexpr std::size_t answers_max = 8;  // within …
constexpr auto answers_window = std::chrono::seconds(10);
constexpr std::size_t statement_bytes = InstanceId::size + LifeNonce::size + Signature::size;
constexpr std::size_t address_bytes_max = 64;

Bytes signed_bytes(const LifeNonce& challenge, const InstanceId& instance, const LifeNonce& nonce) {
  Bytes out = to_bytes(challenge.view());
  append(out, instance);
  append(out, nonce);
  return out;
}

}  // namespace

bool LifeStatement::answers(const LifeNonce& challenge, const NodeId& node, const NetworkId& network) const {
  return verify(key_of(node), signature, "life", network, signed_bytes(challenge, instance, nonce));
}

Bytes encode_life(const LifeStatement& statement) {
  Bytes out = to_bytes(statement.instance.view());
  append(out, statement.nonce);
  append(out, statement.signature);
  return out;
}

std::optional<LifeStatement> decode_life(ByteView bytes) {
  ByteReader in(bytes);
  LifeStatement out;
  out.instance = in.id<InstanceId>();
  out.nonce = in.id<LifeNonce>();
  out.signature = in.id<Signature>();
  if (!in.done()) return std::nullopt;
  return out;
}

Bytes encode_life_twin(const LifeStatement& other, std::string_view address) {
  Bytes out = encode_life(other);
  append(out, as_bytes(address.substr(0, address_bytes_max)));
  return out;
}

std::optional<LifeStatement> OwnLife::answer(const LifeNonce& challenge, const InstanceId& instance,
                                             const NetworkId& network, Monotonic now) {
  if (std::ranges::find(nonces_, challenge) != nonces_.end()) return std::nullopt;
  while (!answered_.empty() && now - answered_.front() > answers_window) answered_.pop_front();
  if (answered_.size() >= answers_max) return std::nullopt;
  answered_.push_back(now);
  LifeStatement out;
  out.instance = instance;
  out.nonce = random_.id<LifeNonce>();
  out.signature = key_.sign("life", network, signed_bytes(challenge, out.instance, out.nonce));
  nonces_.push_back(out.nonce);
  if (nonces_.size() > nonces_max) nonces_.pop_front();
  return out;
}

std::optional<RunsTwice> OwnLife::proof_in(ByteView life_twin, const NetworkId& network) const {
  const auto other = decode_life(life_twin.first(std::min(life_twin.size(), statement_bytes)));
  if (!other || life_twin.size() > statement_bytes + address_bytes_max) return std::nullopt;
  for (const auto& nonce : nonces_) {
    if (!other->answers(nonce, key_.node_id(), network)) continue;
    RunsTwice out;
    out.node = key_.node_id();
    out.other = other->instance;
    out.proof = to_bytes(nonce.view());
    append(out.proof, encode_life(*other));
    out.address = clean_reason(as_text(life_twin.subspan(statement_bytes)));
    return out;
  }
  return std::nullopt;
}

LifeJudge::Send LifeJudge::begin(Random& random) {
  asked_older_ = random.id<LifeNonce>();
  return {Which::older, FrameType::life_ask, to_bytes(asked_older_->view())};
}

std::vector<LifeJudge::Send> LifeJudge::answered(Which from, const LifeStatement& statement,
                                                 const std::string& address) {
  auto& asked = from == Which::older ? asked_older_ : asked_newer_;
  if (!asked || !statement.answers(*asked, node_, network_)) return {};
  asked.reset();
  const Bytes next = to_bytes(statement.nonce.view());
  const Bytes shown = encode_life_twin(statement, address);
  if (from == Which::newer) {
    asked_older_ = statement.nonce;
    older_told_ = true;
    return {{Which::older, FrameType::life_twin, shown}, {Which::older, FrameType::life_ask, next}};
  }
  if (older_told_) {
    proved_ = true;
    return {{Which::newer, FrameType::life_twin, shown}};
  }
  asked_newer_ = statement.nonce;
  return {{Which::newer, FrameType::life_ask, next}};
}

}  // namespace diot
