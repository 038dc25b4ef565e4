#include "bridge/acl_file.hpp"

#include <fmt/format.h>

#include <optional>

#include "bridge/packet.hpp"
#include "core/limits.hpp"
#include "core/text.hpp"
#include "core/topic.hpp"

namespace diot {

namespace {

/// Takes the first word off.
std::string_view next_word(std::string_view& rest) {
  const auto end = rest.find_first_of(" \t");
  const auto word = rest.substr(0, end);
  rest = end == rest.npos ? std::string_view{} : trimmed(rest.substr(end));
  return word;
}

/// The pattern for this client. nullopt: it uses a name that would be more than a level of its own (mosquitto refuses
/// those too), or a user that there is not.
struct Filled {
  std::optional<std::string> filter;
  bool dangerous = false;
};
Filled fill(std::string_view pattern, const Principal& who) {
  std::string out;
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    const bool is_user = pattern.substr(at).starts_with("%u");
    if (!is_user && !pattern.substr(at).starts_with("%c")) {
      out += pattern[at];
      continue;
    }
    const std::string_view name = is_user ? who.user : who.client_id;
    if (name.empty()) return {};
    if (name.find_first_of("+#/") != name.npos) return {std::nullopt, true};
    out += name;
    ++at;
  }
  return {std::move(out), false};
}

}  // namespace

Result<AclFile> AclFile::parse(std::string_view text) {
  AclFile out;
  Rules* of_user = &out.anonymous_;
  for (int number = 1; !text.empty(); ++number) {
    auto line = trimmed(take_until(text, '\n'));
    if (line.empty() || line.front() == '#') continue;
    const auto wrong = [&](std::string_view what) {
      return fail(Errc::invalid, fmt::format("line {}: {}", number, what));
    };
    const auto keyword = next_word(line);
    if (keyword == "user") {
      if (line.empty()) return wrong("`user` needs a name");
      of_user = &out.users_[std::string(line)];
      continue;
    }
    if (keyword != "topic" && keyword != "pattern")
      return wrong(fmt::format("'{}' is none of user, topic and pattern", keyword));
    Rule rule;
    auto rest = line;
    const auto access = next_word(rest);
    rule.read = access == "read" || access == "readwrite";
    rule.write = access == "write" || access == "readwrite";
    rule.deny = access == "deny";
    if (rest.empty()) {  // no access is said: both
      rest = line;
      rule = {true, true, false, {}};
    } else if (!rule.read && !rule.write && !rule.deny) {
      return wrong(fmt::format("'{}' is none of read, write, readwrite and deny", access));
    }
    if (rest.empty()) return wrong(fmt::format("`{}` needs a topic", keyword));
    rule.filter = rest;
    if (!is_topic_filter(rest) || !is_mqtt_utf8(rest) || rest.size() > 65'535)
      return wrong(
          fmt::format("'{}' is no topic filter: '#' stands alone at the end, '+' alone between slashes", rest));
    Rules& rules = keyword == "pattern" ? out.patterns_ : *of_user;
    if (rules.size() >= limits::acl_rules_max || ++out.rules_ > 2 * limits::acl_rules_max)
      return wrong(fmt::format("there are more than {} rules", limits::acl_rules_max));
    rules.push_back(std::move(rule));
  }
  for (auto& [name, rules] : out.users_) std::ranges::stable_partition(rules, &Rule::deny);
  std::ranges::stable_partition(out.anonymous_, &Rule::deny);
  std::ranges::stable_partition(out.patterns_, &Rule::deny);
  return out;
}

AclFile::Judgement AclFile::judge(const Rule& rule, std::string_view filter, Access access, std::string_view topic) {
  if (access == Access::subscribe) {
    if (rule.deny) return covers(filter, topic) ? Judgement::denied : Judgement::silent;
    return rule.read && overlaps(filter, topic) ? Judgement::allowed : Judgement::silent;
  }
  const bool overlay_write = access == Access::publish && topic.starts_with('@');
  if ((overlay_write && !rule.deny && !filter.starts_with('@')) || !matches(filter, topic)) return Judgement::silent;
  if (rule.deny) return Judgement::denied;
  return (access == Access::publish ? rule.write : rule.read) ? Judgement::allowed : Judgement::silent;
}

bool AclFile::may(const Principal& who, Access access, std::string_view topic) const {
  const Rules* rules = &anonymous_;
  if (!who.user.empty()) {
    const auto found = users_.find(who.user);
    rules = found == users_.end() ? nullptr : &found->second;
  }
  if (rules)
    for (const Rule& rule : *rules)
      if (const auto judged = judge(rule, rule.filter, access, topic); judged != Judgement::silent)
        return judged == Judgement::allowed;
  for (const Rule& rule : patterns_) {
    const Filled filled = fill(rule.filter, who);
    if (filled.dangerous) return false;
    if (!filled.filter) continue;
    if (const auto judged = judge(rule, *filled.filter, access, topic); judged != Judgement::silent)
      return judged == Judgement::allowed;
  }
  return false;
}

}  // namespace diot
