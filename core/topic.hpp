#pragma once
// Topic names and filters (MQTT 5.0 section 4.7) and handles in them.
// `room/temp` is local, `@alice/room/temp` owned by alice, `@alice~2345672abcde/x` by an alice that is not registered yet,
// `@/lyon/noise` commons. `$…` is the broker's own.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace diot {

/// Walks the levels of a topic or filter: views, no allocation. "a//b" has three levels, "" has one.
class Levels {
 public:
  explicit Levels(std::string_view text) : rest_(text) {}
  bool done() const { return done_; }
  std::string_view next() {
    const auto slash = rest_.find('/');
    const auto level = rest_.substr(0, slash);
    done_ = slash == rest_.npos;
    if (!done_) rest_.remove_prefix(slash + 1);
    return level;
  }
  /// What `next` has not given yet; meaningless when done.
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
  bool done_ = false;
};

/// `[a-z0-9-]{3,32}`, no hyphen first, last or doubled. Errc::invalid says which rule is broken.
Result<void> check_handle(std::string_view handle);

/// The part of a provisional name behind its handle and '~' (core/ledger/provisional.hpp).
inline constexpr std::size_t fingerprint_digits = 12;
inline constexpr std::string_view fingerprint_alphabet = "abcdefghijklmnopqrstuvwxyz234567";
inline constexpr std::size_t owner_bytes_max = 32 + 1 + fingerprint_digits;
/// A handle, or one with '~' and a fingerprint behind it: what may follow the "@" of a topic. Errc::invalid says why not.
Result<void> check_owner(std::string_view owner);

/// A topic name to publish to: 1 to 65,535 bytes of well-formed UTF-8 without U+0000, no wildcard; a first level that
/// starts with "@" must be "@" or "@" ‖ an owner as above. Errc::limit beyond limits::topic_levels_max levels below the
/// first (as many slashes), which is mosquitto's limit too.
Result<void> check_topic(std::string_view topic);
/// What check_topic adds to MQTT's own rules, for a topic that the codec took: the levels' number and the "@" level.
Result<void> check_mqtt_topic(std::string_view topic);
/// The same as check_topic for a filter: `#` only as the whole last level, `+` only as a whole level, neither within the "@…" level.
/// `$share/…` is not looked into: split it first.
Result<void> check_filter(std::string_view filter);
/// MQTT's UTF-8 string rule: well-formed, no surrogates, no U+0000.
bool is_mqtt_utf8(std::string_view text);

/// A '+' or a '#' is anywhere in it.
bool holds_wildcard(std::string_view text);

/// MQTT 5.0 section 4.7.3. A leading wildcard does not match a first level that starts with "$". Both are valid.
bool matches(std::string_view filter, std::string_view topic);
/// Some topic could match both filters.
bool overlaps(std::string_view a, std::string_view b);
/// Every topic that matches `inner` matches `outer`.
bool covers(std::string_view outer, std::string_view inner);
/// Leading levels without a wildcard: of several shares that match a topic the one with the most holds (section 8 of
/// the design).
std::size_t literal_levels(std::string_view filter);

enum class TopicKind { local, owned, commons, system };
struct TopicParts {
  TopicKind kind = TopicKind::local;
  std::string_view handle;  ///< owned only; may be a provisional name
  std::string_view rest;    ///< owned: what follows "@handle/", may be empty; else the whole topic
};
/// Splits a valid topic or filter. A view into `topic`.
TopicParts parts_of(std::string_view topic);

/// "@handle/rest".
std::string owned_topic(std::string_view handle, std::string_view rest);
/// What a home's own topics are known by. The provisional name stays good once the handle is registered, so that nothing
/// breaks in that moment.
struct OwnNames {
  std::string shown;        ///< the handle; until it is registered the provisional name
  std::string provisional;  ///< empty: unknown
  bool is_provisional() const { return shown == provisional; }
  bool contains(std::string_view name) const { return name == shown || (!name.empty() && name == provisional); }
};
/// At alice's gateways `@alice/x` and `x` are one topic, seen under the local name.
std::string_view local_name(std::string_view topic, const OwnNames& own);

}  // namespace diot
