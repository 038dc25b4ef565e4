#pragma once
// Who may read and write which topics, in mosquitto's format:
//
//   topic read sensors/#          before the first `user` line: for anonymous clients
//   user alice
//   topic house/#                 read and write
//   topic deny house/safe
//   pattern write devices/%u/#    for everybody: %u is the user's name, %c the client identifier
//
// Nothing that is not allowed here is allowed. A client's own lines come before patterns; among each `deny` lines come
// before all others, wherever they stand. As with `$…`, a topic `@handle/…` of another home can be written only through
// a line that begins with "@": whoever may write `#` here may not command others.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bridge/authenticator.hpp"
#include "core/error.hpp"

namespace diot {

class AclFile {
 public:
  /// Errc::invalid names the line.
  static Result<AclFile> parse(std::string_view text);

  /// `subscribe`: some topic that matches the filter may be read.
  bool may(const Principal& who, Access access, std::string_view topic) const;
  std::size_t rules() const { return rules_; }

 private:
  struct Rule {
    bool read = false, write = false, deny = false;
    std::string filter;  ///< of a pattern: with %u and %c
  };
  using Rules = std::vector<Rule>;
  enum class Judgement { denied, allowed, silent };

  static Judgement judge(const Rule& rule, std::string_view filter, Access access, std::string_view topic);

  Rules anonymous_, patterns_;
  std::map<std::string, Rules, std::less<>> users_;
  std::size_t rules_ = 0;
};

}  // namespace diot
