// The file of rules: first line the question ("user client topic"), then the file.

#include <algorithm>

#include "bridge/acl_file.hpp"
#include "core/topic.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

void acl(ByteView input) {
  auto text = as_text(input);
  const auto word = [&](char end) {
    const auto at = std::min(text.find(end), text.size());
    const auto out = text.substr(0, at);
    text.remove_prefix(std::min(at + 1, text.size()));
    return out;
  };
  const auto user = word(' '), client = word(' '), topic = word('\n');
  const auto file = AclFile::parse(text);
  if (!file) {
    require(file.error().message.find("line") != std::string::npos, "an error names the line");
    return;
  }
  require(file->rules() <= static_cast<std::size_t>(std::ranges::count(text, '\n')) + 1, "a rule is a line");
  const Principal who{user, client};
  if (check_filter(topic)) file->may(who, Access::subscribe, topic);
  if (!check_topic(topic)) return;
  const bool readable = file->may(who, Access::read, topic), writable = file->may(who, Access::publish, topic);
  if (file->rules() == 0) require(!readable && !writable, "nothing that is not allowed is allowed");
  if (readable) require(file->may(who, Access::subscribe, topic), "what may be read may be subscribed to");
  // Of the client's own lines one that denies wins wherever it stands.
  if (topic.starts_with('$') || std::ranges::any_of(user, [](char c) { return c <= ' '; })) return;
  const auto whole = std::string(text);
  const auto closed = AclFile::parse(user.empty() ? "topic deny #\n" + whole
                                                  : whole + "\nuser " + std::string(user) + "\ntopic deny #\n");
  require(!closed || (!closed->may(who, Access::read, topic) && !closed->may(who, Access::publish, topic)),
          "deny wins");
}

Seeds acl_seeds() {
  const std::string_view rules =
      "# rules\ntopic read sensors/#\nuser alice\ntopic house/#\ntopic deny house/safe\ntopic write @bob/door\n"
      "pattern write devices/%u/#\npattern readwrite clients/%c/+\n";
  Seeds out;
  for (std::string question : {"alice c house/safe\n", "alice c house/x\n", " c sensors/a\n", "bob c devices/bob/x\n",
                               "bob c1 clients/c1/x\n", "alice c @bob/door\n", "alice c house/+\n"})
    out.push_back(to_bytes(question + std::string(rules)));
  return out;
}

}  // namespace diot::fuzz
