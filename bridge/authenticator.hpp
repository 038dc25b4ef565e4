#pragma once
// Who may connect, and who may do what. The broker asks through this port; whoever keeps users, passwords and rules
// answers. All calls on the I/O thread.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "bridge/reason.hpp"
#include "core/bytes.hpp"
#include "core/error.hpp"

namespace diot {

/// What a listener knows of a client before its first byte.
struct Peer {
  std::string address;            ///< for people, and to count failed logins by
  std::string user{};             ///< proven by TLS (certificate, PSK identity); empty: nobody yet
  bool anonymous_allowed = true;  ///< the listener's rule
};

/// Who a connection acts as, or a session that waits for one.
struct Principal {
  std::string_view user;  ///< empty: anonymous
  std::string_view client_id;
};

/// What a topic is used for. `subscribe` is asked once, with the filter; `read` for each message that would be
/// delivered, with its topic; `publish` for PUBLISH and for wills.
enum class Access : std::uint8_t { publish, subscribe, read };

/// What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 section 3, RFC 7677).
struct ScramCredentials {
  Bytes salt;
  std::uint32_t iterations = 4096;
  std::array<std::uint8_t, 32> stored_key{}, server_key{};
};

class Authenticator {
 public:
  virtual ~Authenticator() = default;

  /// The views and references live until `check` returns.
  struct Login {
    const Peer& peer;
    std::string_view client_id;
    std::optional<std::string_view> user_name;
    std::optional<ByteView> password;
  };
  struct Verdict {
    /// success, or what CONNACK says: bad_user_name_or_password, not_authorized, banned, connection_rate_exceeded,
    /// server_busy … (MQTT 5.0 table 3-1; MQTT 3.1.1 hears the nearest of its five).
    Reason reason = Reason::success;
    std::string user;  ///< whom the connection acts as; empty: anonymous
  };
  /// Checks user name and password. Calls `done` exactly once, before it returns or later (a slow hash); the broker
  /// reads nothing of that client until then, and ignores a verdict on one that has gone.
  virtual void check(const Login& login, std::function<void(Verdict)> done) = 0;

  /// For enhanced authentication. The error is the reason to refuse: an unknown user is bad_user_name_or_password (the
  /// exchange still goes through its steps, so that nobody learns which names exist).
  virtual tl::expected<ScramCredentials, Reason> scram_credentials(const Peer&, std::string_view /*user*/) {
    return tl::unexpected<Reason>(Reason::bad_user_name_or_password);
  }
  /// SCRAM is offered at all.
  virtual bool offers_scram() const { return false; }
  /// An exchange ended with a wrong proof: it counts as a failed login.
  virtual void scram_failed(const Peer&, std::string_view /*user*/) {}

  /// Topics and filters are in local names (`@alice/x` is `x` at alice's), a shared subscription's without "$share/…/".
  virtual bool may(const Principal& who, Access access, std::string_view topic) = 0;
  /// Changes when the user's password does, and when the user comes or goes. What stands here at a login is compared at
  /// Broker::permissions_changed(): whoever could not log in like that any more is disconnected.
  virtual std::uint64_t version_of(std::string_view /*user*/) const { return 0; }
  /// Everything is permitted to this one, so that no message has to be asked about. Asked when a session begins and at
  /// Broker::permissions_changed().
  virtual bool unrestricted(const Principal& who) = 0;
};

/// For a home without users: everybody may do everything. User names and passwords are taken and not looked at.
class AllowEverybody final : public Authenticator {
 public:
  void check(const Login& login, std::function<void(Verdict)> done) override {
    done({Reason::success, login.peer.user});
  }
  bool may(const Principal&, Access, std::string_view) override { return true; }
  bool unrestricted(const Principal&) override { return true; }
};

}  // namespace diot
