// The password file: what is read is written to the same meaning.

#include "bridge/password_file.hpp"
#include "core/limits.hpp"
#include "tests/fuzz/targets.hpp"

namespace diot::fuzz {

void passwords(ByteView input) {
  const auto file = PasswordFile::parse(as_text(input));
  if (!file) {
    require(!file.error().message.empty(), "an error says what is wrong");
    return;
  }
  require(file->users().size() <= limits::users_max, "users are bounded");
  const auto text = file->text();
  const auto again = PasswordFile::parse(text);
  require(again.has_value(), "what is written can be read");
  require(again->users() == file->users(), "what is read is what was written");
  require(again->text() == text, "it is written the same");
  for (const auto& [name, record] : file->users()) {
    require(check_user_name(name).has_value(), "a user has a name that may be one");
    require(record.iterations <= limits::password_iterations_max, "hashing is bounded");
  }
}

Seeds passwords_seeds() {
  struct Zero final : Random {
    void fill(std::span<std::uint8_t> out) override { std::ranges::fill(out, std::uint8_t{7}); }
  } random;
  auto file = PasswordFile::parse("# comment\n").value();
  auto record = make_password_record(as_bytes("secret"), random);
  file.set("alice", record);
  record.kind = 6;
  record.scram.reset();
  file.set("bob", record);
  return {to_bytes(file.text()), to_bytes("a:$7$101$c2FsdA==$aGFzaA==\n"),
          to_bytes("\n# x\nb:$6$c2FsdA==$aGFzaA==\r\n")};
}

}  // namespace diot::fuzz
