#pragma once
// The users of this home: who they are (bridge/password_file.hpp), what they may do (bridge/acl_file.hpp), and how often
// they may be wrong about it. On the I/O thread, but for the hashing, which is slow by purpose.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "bridge/acl_file.hpp"
#include "bridge/authenticator.hpp"
#include "bridge/password_file.hpp"
#include "core/clock.hpp"
#include "core/crypto.hpp"

namespace diot {

/// Slows down who guesses: `burst` failures at once, then one in limits::login_refill. Keys that have not failed lately
/// cost nothing; when there are too many the rest share one allowance.
class LoginLimiter {
 public:
  explicit LoginLimiter(int burst) : burst_(burst) {}
  /// Takes an attempt from the allowance of `key`; false: there is none.
  bool take(const std::string& key, Monotonic now);
  /// The attempt was a success.
  void give_back(const std::string& key, Monotonic now);
  std::size_t size() const { return used_.size(); }

 private:
  /// An allowance as the moment at which it will be full again.
  using FullAt = Monotonic;

  const int burst_;
  std::unordered_map<std::string, FullAt> used_;
  FullAt shared_{};
};

class Users final : public Authenticator {
 public:
  /// Runs `work` on another thread, then `then` on the I/O thread.
  using Offload = std::function<void(std::function<void()> work, std::function<void()> then)>;
  Users(Offload offload, const Clock& clock, Random& random);

  /// New passwords. Broker::permissions_changed() tells those who are logged in.
  void set_passwords(PasswordFile file);
  /// nullopt: no rules, everybody may do everything (but write to other homes).
  void set_acl(std::optional<AclFile> acl) { acl_ = std::move(acl); }

  bool any() const { return !passwords_.users().empty(); }
  std::size_t count() const { return passwords_.users().size(); }
  std::size_t rules() const { return acl_ ? acl_->rules() : 0; }
  std::uint64_t failed_logins() const { return failed_logins_; }
  bool exists(std::string_view user) const { return passwords_.users().contains(user); }

  // Authenticator
  void check(const Login& login, std::function<void(Verdict)> done) override;
  tl::expected<ScramCredentials, Reason> scram_credentials(const Peer& peer, std::string_view user) override;
  bool offers_scram() const override;
  void scram_failed(const Peer& peer, std::string_view user) override;
  bool may(const Principal& who, Access access, std::string_view topic) override;
  std::uint64_t version_of(std::string_view user) const override;
  bool unrestricted(const Principal& who) override;

 private:
  using Digest = FixedBytes<struct VerifiedTag, 32>;
  /// What is remembered of a password that was right: useless without the key, which is this process's own.
  Digest digest_of(std::string_view user, const PasswordRecord& record, ByteView password) const;
  bool take_attempt(const std::string& address, const std::string& user);
  void give_attempt_back(const std::string& address, const std::string& user);
  void finished(const std::string& user, const std::string& address, const Digest& digest, bool right,
                const std::function<void(Verdict)>& done);

  Offload offload_;
  const Clock& clock_;
  Random& random_;
  PasswordFile passwords_;
  std::optional<AclFile> acl_;
  Seed secret_;            ///< of this process
  PasswordRecord nobody_;  ///< checked for users that do not exist, so that it takes as long
  std::unordered_set<Digest> verified_;
  LoginLimiter by_address_, by_user_;
  std::size_t checking_ = 0;
  std::uint64_t failed_logins_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace diot
