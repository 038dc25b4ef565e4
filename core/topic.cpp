#include "core/topic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/limits.hpp"

namespace diot {

namespace {

constexpr std::size_t topic_bytes_max = 65'535;  // MQTT's string length is 16 bits

bool is_wildcard(std::string_view level) { return level == "+" || level == "#"; }

// Eight bytes at a time: topics are looked at more often than anything else.
constexpr std::uint64_t each_byte = 0x0101'0101'0101'0101, high_bits = each_byte << 7;
std::uint64_t load_eight(std::string_view text, std::size_t at) {
  std::uint64_t out;
  std::memcpy(&out, text.data() + at, sizeof out);
  return out;
}
/// Not 0 if and only if one of the bytes is 0.
constexpr std::uint64_t zero_bytes(std::uint64_t bytes) { return (bytes - each_byte) & ~bytes & high_bits; }

/// DIoT's own rules for topics and filters.
Result<void> check_levels(std::string_view text, std::string_view what) {
  if (text.size() > limits::topic_levels_max) {  // fewer bytes cannot have more levels
    const auto levels = static_cast<std::size_t>(std::count(text.begin(), text.end(), '/'));
    if (levels > limits::topic_levels_max)
      return fail(Errc::limit, fmt::format("a {} has at most {} levels below its first, this one {}", what,
                                           limits::topic_levels_max, levels));
  }
  if (text.front() != '@') return {};
  const auto owner = Levels(text).next().substr(1);
  if (owner.empty()) return {};
  if (auto ok = check_owner(owner); !ok)
    return fail(Errc::invalid, fmt::format("{} '{}': {}", what, text, ok.error().message));
  return {};
}

/// What topics and filters have in common. Wildcards are the caller's to check.
Result<void> check_name(std::string_view text, std::string_view what) {
  if (text.empty()) return fail(Errc::invalid, fmt::format("a {} must not be empty", what));
  if (text.size() > topic_bytes_max)
    return fail(Errc::invalid,
                fmt::format("a {} has at most {} bytes, this one {}", what, topic_bytes_max, text.size()));
  if (!is_mqtt_utf8(text))
    return fail(Errc::invalid, fmt::format("a {} must be well-formed UTF-8 without U+0000", what));
  return check_levels(text, what);
}

}  // namespace

Result<void> check_handle(std::string_view handle) {
  const auto refuse = [&](std::string_view rule) { return fail(Errc::invalid, fmt::format("a handle {}", rule)); };
  if (handle.size() < 3 || handle.size() > 32) return refuse("has 3 to 32 characters");
  for (char c : handle)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
      return refuse("has only the characters a-z, 0-9 and '-'");
  if (handle.front() == '-' || handle.back() == '-') return refuse("neither begins nor ends with '-'");
  if (handle.find("--") != handle.npos) return refuse("has no two '-' in a row");
  return {};
}

Result<void> check_owner(std::string_view owner) {
  const auto tilde = owner.find('~');
  if (tilde != owner.npos) {
    const auto fingerprint = owner.substr(tilde + 1);
    if (fingerprint.size() != fingerprint_digits ||
        fingerprint.find_first_not_of(fingerprint_alphabet) != fingerprint.npos)
      return fail(Errc::invalid, fmt::format("behind the '~' of a provisional name are {} characters of a-z and 2-7",
                                             fingerprint_digits));
  }
  return check_handle(owner.substr(0, tilde));
}

bool is_mqtt_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (text.size() - at >= 8) {
      const std::uint64_t eight = load_eight(text, at);
      if (((eight & high_bits) | zero_bytes(eight)) == 0) {
        at += 8;
        continue;
      }
    }
    const auto byte = [&](std::size_t ahead) { return static_cast<std::uint8_t>(text[at + ahead]); };
    const std::uint8_t lead = byte(0);
    if (lead < 0x80) {
      if (lead == 0) return false;
      ++at;
      continue;
    }
    const std::size_t more = lead < 0xc2 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : lead < 0xf5 ? 3 : 0;
    if (more == 0 || text.size() - at <= more) return false;
    for (std::size_t ahead = 1; ahead <= more; ++ahead)
      if ((byte(ahead) & 0xc0) != 0x80) return false;
    // Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte.
    if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) > 0x9f) || (lead == 0xf0 && byte(1) < 0x90) ||
        (lead == 0xf4 && byte(1) > 0x8f))
      return false;
    at += more + 1;
  }
  return true;
}

bool holds_wildcard(std::string_view text) {
  std::size_t at = 0;
  for (; text.size() - at >= 8; at += 8) {
    const std::uint64_t eight = load_eight(text, at);
    if ((zero_bytes(eight ^ each_byte * '+') | zero_bytes(eight ^ each_byte * '#')) != 0) return true;
  }
  return std::any_of(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(),
                     [](char c) { return c == '+' || c == '#'; });
}

Result<void> check_mqtt_topic(std::string_view topic) { return check_levels(topic, "topic"); }

Result<void> check_topic(std::string_view topic) {
  if (auto ok = check_name(topic, "topic"); !ok) return ok;
  if (holds_wildcard(topic))
    return fail(Errc::invalid, fmt::format("topic '{}': a topic to publish to has no wildcard", topic));
  return {};
}

Result<void> check_filter(std::string_view filter) {
  if (auto ok = check_name(filter, "filter"); !ok) return ok;
  for (Levels levels(filter); !levels.done();) {
    const auto level = levels.next();
    if (!holds_wildcard(level)) continue;
    if (!is_wildcard(level))
      return fail(Errc::invalid, fmt::format("filter '{}': '+' and '#' must stand alone between slashes", filter));
    if (level == "#" && !levels.done())
      return fail(Errc::invalid, fmt::format("filter '{}': '#' can only come last", filter));
  }
  return {};
}

bool matches(std::string_view filter, std::string_view topic) {
  if (topic.starts_with('$') && is_wildcard(Levels(filter).next())) return false;
  Levels want(filter), have(topic);
  while (!want.done()) {
    const auto level = want.next();
    if (level == "#") return true;  // also the parent level itself
    if (have.done()) return false;
    const auto actual = have.next();
    if (level != "+" && level != actual) return false;
  }
  return have.done();
}

bool overlaps(std::string_view a, std::string_view b) {
  const auto first_a = Levels(a).next(), first_b = Levels(b).next();
  if ((is_wildcard(first_a) && first_b.starts_with('$')) || (is_wildcard(first_b) && first_a.starts_with('$')))
    return false;
  Levels left(a), right(b);
  while (!left.done() && !right.done()) {
    const auto level_a = left.next(), level_b = right.next();
    if (level_a == "#" || level_b == "#") return true;
    if (level_a != "+" && level_b != "+" && level_a != level_b) return false;
  }
  // The longer one can only match the shorter one's topics with a '#' right behind them.
  return (left.done() || left.rest() == "#") && (right.done() || right.rest() == "#");
}

bool covers(std::string_view outer, std::string_view inner) {
  if (is_wildcard(Levels(outer).next()) && Levels(inner).next().starts_with('$')) return false;
  if (inner == "#" && outer == "+/#") return true;  // no topic has no level at all
  Levels wide(outer), narrow(inner);
  while (!wide.done()) {
    const auto level = wide.next();
    if (level == "#") return true;
    if (narrow.done()) return false;
    const auto inside = narrow.next();
    if (inside == "#" || (level != "+" && level != inside)) return false;
  }
  return narrow.done();
}

std::size_t literal_levels(std::string_view filter) {
  std::size_t count = 0;
  for (Levels levels(filter); !levels.done() && !is_wildcard(levels.next());) ++count;
  return count;
}

TopicParts parts_of(std::string_view topic) {
  if (topic.starts_with('$')) return {TopicKind::system, {}, topic};
  if (!topic.starts_with('@')) return {TopicKind::local, {}, topic};
  Levels levels(topic);
  const auto owner = levels.next().substr(1);
  if (owner.empty()) return {TopicKind::commons, {}, topic};
  return {TopicKind::owned, owner, levels.done() ? std::string_view{} : levels.rest()};
}

std::string owned_topic(std::string_view handle, std::string_view rest) { return fmt::format("@{}/{}", handle, rest); }

std::string_view local_name(std::string_view topic, const OwnNames& own) {
  const auto parts = parts_of(topic);
  return parts.kind == TopicKind::owned && own.contains(parts.handle) && !parts.rest.empty() ? parts.rest : topic;
}

}  // namespace diot
