#include "bridge/users.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "bridge/upstream_config.hpp"
#include "core/address.hpp"
#include "core/limits.hpp"

namespace diot {

namespace {

/// By what failed logins are counted: the host, of IPv6 the network of it (whoever has one address there has 2^64).
std::string host_key(const std::string& address) {
  const auto parsed = parse_address(address);
  if (!parsed) return address;
  std::size_t colons = 0;
  for (std::size_t at = 0; at < parsed->host.size(); ++at) {
    if (parsed->host[at] != ':' || ++colons < 4) continue;
    return parsed->host.substr(0, at);
  }
  return parsed->host;
}

/// One of our own: it takes and gives what its patterns say.
bool is_upstream(std::string_view user) { return user.starts_with(upstream_user_prefix); }

}  // namespace

// LoginLimiter -----------------------------------------------------------------------------------------------

bool LoginLimiter::take(const std::string& key, Monotonic now) {
  auto found = used_.find(key);
  if (found == used_.end()) {
    if (used_.size() >= limits::login_keys_max)
      std::erase_if(used_, [&](const auto& item) { return item.second <= now; });
    if (used_.size() < limits::login_keys_max) found = used_.emplace(key, now).first;
  }
  FullAt& full_at = found == used_.end() ? shared_ : found->second;
  const FullAt after = std::max(full_at, now) + limits::login_refill;
  if (after - now > burst_ * limits::login_refill) return false;
  full_at = after;
  return true;
}

void LoginLimiter::give_back(const std::string& key, Monotonic now) {
  const auto found = used_.find(key);
  FullAt& full_at = found == used_.end() ? shared_ : found->second;
  full_at -= limits::login_refill;
  if (found != used_.end() && full_at <= now) used_.erase(found);
}

// Users ------------------------------------------------------------------------------------------------------

Users::Users(Offload offload, const Clock& clock, Random& random)
    : offload_(std::move(offload)),
      clock_(clock),
      random_(random),
      secret_(random.id<Seed>()),
      by_address_(limits::login_burst_per_address),
      by_user_(limits::login_burst_per_user) {}

void Users::set_passwords(PasswordFile file) {
  passwords_ = std::move(file);
  // The digests of changed records do not match any more. Those of one file are few: each of its users has one right
  // password (and one more by HMAC's rule for long keys).
  verified_.clear();
  // As slow as the slowest of the real ones.
  nobody_ = {};
  nobody_.salt = Bytes(12, 0);
  nobody_.iterations = 1;
  for (const auto& [name, record] : passwords_.users()) {
    nobody_.kind = record.kind == 7 ? 7 : nobody_.kind;
    nobody_.iterations = std::max(nobody_.iterations, record.iterations);
  }
}

Users::Digest Users::digest_of(std::string_view user, const PasswordRecord& record, ByteView password) const {
  Digest out;
  const Hash name = sha256(as_bytes(user));  // so that the parts cannot run into each other
  blake2b_keyed(out.bytes, secret_, {name, record.hash, password});
  return out;
}

bool Users::take_attempt(const std::string& address, const std::string& user) {
  const Monotonic now = clock_.monotonic();
  if (!by_address_.take(address, now)) return false;
  if (by_user_.take(user, now)) return true;
  by_address_.give_back(address, now);
  return false;
}

void Users::give_attempt_back(const std::string& address, const std::string& user) {
  by_address_.give_back(address, clock_.monotonic());
  by_user_.give_back(user, clock_.monotonic());
}

void Users::check(const Login& login, std::function<void(Verdict)> done) {
  const Peer& peer = login.peer;
  if (login.client_id.starts_with(upstream_user_prefix) && !is_upstream(peer.user))
    return done({Reason::not_authorized, {}});
  if (!peer.user.empty()) return done({Reason::success, peer.user});
  // A name that nobody could check gives no rights.
  if (!login.user_name || !any()) return done({peer.anonymous_allowed ? Reason::success : Reason::not_authorized, {}});

  const std::string user(*login.user_name);
  const std::string address = host_key(peer.address);
  const auto found = passwords_.users().find(user);
  const PasswordRecord& record = found == passwords_.users().end() ? nobody_ : found->second;
  const ByteView password = login.password.value_or(ByteView{});
  const Digest digest = digest_of(user, record, password);
  if (verified_.contains(digest)) return done({Reason::success, user});

  if (checking_ >= limits::password_checks_max) return done({Reason::server_busy, {}});
  if (!take_attempt(address, user)) {
    spdlog::debug("mqtt: too many failed logins of '{}' or from {}", user, address);
    return done({Reason::connection_rate_exceeded, {}});
  }
  ++checking_;
  auto right = std::make_shared<bool>(false);
  offload_([record, password = to_bytes(password), right,
            exists = found != passwords_.users().end()] { *right = is_password_of(record, password) && exists; },
           [this, alive = std::weak_ptr(alive_), user, address, digest, right, done = std::move(done)] {
             if (alive.lock()) finished(user, address, digest, *right, done);
           });
}

void Users::finished(const std::string& user, const std::string& address, const Digest& digest, bool right,
                     const std::function<void(Verdict)>& done) {
  --checking_;
  if (!right) {
    ++failed_logins_;
    spdlog::debug("mqtt: a failed login of '{}' from {}", user, address);
    return done({Reason::bad_user_name_or_password, {}});
  }
  give_attempt_back(address, user);
  // The file may have changed meanwhile; then what was right is not remembered, and the next time decides.
  if (!exists(user)) return done({Reason::bad_user_name_or_password, {}});
  verified_.insert(digest);
  done({Reason::success, user});
}

bool Users::offers_scram() const {
  return std::ranges::any_of(passwords_.users(), [](const auto& user) { return user.second.scram.has_value(); });
}

tl::expected<ScramCredentials, Reason> Users::scram_credentials(const Peer& peer, std::string_view user) {
  const std::string address = host_key(peer.address), name(user);
  if (!take_attempt(address, name)) return tl::unexpected(Reason::connection_rate_exceeded);
  give_attempt_back(address, name);
  const auto found = passwords_.users().find(user);
  if (found == passwords_.users().end() || !found->second.scram)
    return tl::unexpected(Reason::bad_user_name_or_password);
  return *found->second.scram;
}

void Users::scram_failed(const Peer& peer, std::string_view user) {
  ++failed_logins_;
  take_attempt(host_key(peer.address), std::string(user));
}

std::uint64_t Users::version_of(std::string_view user) const {
  const auto found = passwords_.users().find(user);
  if (found == passwords_.users().end()) return 0;
  const Digest digest = digest_of(user, found->second, found->second.salt);
  return ByteReader(digest.bytes).u64() | 1;
}

bool Users::unrestricted(const Principal& who) { return !acl_ || is_upstream(who.user); }

bool Users::may(const Principal& who, Access access, std::string_view topic) {
  if (is_upstream(who.user)) return true;
  // Another home is commanded only by a user who was given that.
  if (access == Access::publish && topic.starts_with('@') && (who.user.empty() || !acl_)) return false;
  return !acl_ || acl_->may(who, access, topic);
}

}  // namespace diot
