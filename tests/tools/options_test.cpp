#include "tools/app/options.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <rapidcheck.h>

namespace diot {
namespace {

using testing::HasSubstr;

std::variant<Invocation, Answer> parse(std::vector<const char*> words) {
  words.insert(words.begin(), "diot");
  return parse_command_line(static_cast<int>(words.size()), words.data());
}
Json args_of(std::vector<const char*> words) {
  const auto parsed = parse(std::move(words));
  if (const auto* answer = std::get_if<Answer>(&parsed)) return answer->text;
  return std::get<Invocation>(parsed).args;
}
std::string usage_error(std::vector<const char*> words) {
  const auto parsed = parse(std::move(words));
  const auto* answer = std::get_if<Answer>(&parsed);
  return answer != nullptr && answer->usage_error ? answer->text : "";
}

TEST(Options, TheFormsOfTheManualAreUnderstood) {
  EXPECT_EQ(args_of({"init", "--handle", "alice", "--mqtt", "127.0.0.1:18831", "--api", "127.0.0.1:18481", "--overlay",
                     "127.0.0.1:42201"}),
            (Json{{"handle", "alice"},
                  {"mqtt", {"127.0.0.1:18831"}},
                  {"api", {"127.0.0.1:18481"}},
                  {"overlay", {"127.0.0.1:42201"}}}));
  EXPECT_EQ(args_of({"wait", "--ready", "--timeout", "30"}), (Json{{"ready", true}, {"timeout", 30u}}));
  EXPECT_EQ(args_of({"wait", "--topic", "@alice/sensors/#", "--timeout", "10"}),
            (Json{{"topic", "@alice/sensors/#"}, {"timeout", 10u}}));
  EXPECT_EQ(args_of({"share", "add", "sensors/#", "--preset", "public"}),
            (Json{{"filter", "sensors/#"}, {"preset", "public"}}));
  EXPECT_EQ(args_of({"join", "diot:abc", "--handle", "bob"}), (Json{{"invite", "diot:abc"}, {"handle", "bob"}}));
  EXPECT_EQ(args_of({"join", "-", "--handle", "bob"}), (Json{{"invite", "-"}, {"handle", "bob"}}));
}

TEST(Options, EveryVerbTakesJson) {
  for (const auto& verb : all_verbs()) {
    std::string first(verb.name), second;
    if (const auto blank = first.find(' '); blank != first.npos) second = first.substr(blank + 1), first.resize(blank);
    std::vector<const char*> words{first.c_str()};
    if (!second.empty()) words.push_back(second.c_str());
    for (const auto& option : verb.options)
      if (option.required && option.kind == OptionKind::positional) words.push_back("some");
    std::vector<std::string> required;
    for (const auto& option : verb.options)
      if (option.required && option.kind == OptionKind::number)
        required.push_back(fmt::format("--{}={}", option.name, option.min));
      else if (option.required && (option.kind == OptionKind::text || option.kind == OptionKind::list))
        required.push_back(fmt::format("--{}={}", option.name, option.choices.empty() ? "some" : option.choices[0]));
    for (const auto& word : required) words.push_back(word.c_str());
    words.push_back("--json");
    const auto parsed = parse(words);
    ASSERT_TRUE(std::holds_alternative<Invocation>(parsed)) << verb.name << ": " << std::get<Answer>(parsed).text;
    EXPECT_EQ(std::get<Invocation>(parsed).verb, &verb);
  }
}

TEST(Options, ListsRepeatOrHaveCommas) {
  EXPECT_EQ(args_of({"init", "--handle", "abc", "--mqtt", "a:1,b:2", "--mqtt", "c:3"})["mqtt"],
            (Json{"a:1", "b:2", "c:3"}));
}

TEST(Options, HelpIsNoError) {
  const auto parsed = parse({"share", "add", "--help"});
  ASSERT_TRUE(std::holds_alternative<Answer>(parsed));
  EXPECT_FALSE(std::get<Answer>(parsed).usage_error);
  EXPECT_THAT(std::get<Answer>(parsed).text, HasSubstr("diot share add"));
  EXPECT_THAT(std::get<Answer>(parsed).text, HasSubstr("--preset"));
}

TEST(Options, MistakesNameTheNextStep) {
  EXPECT_THAT(usage_error({"shar"}), HasSubstr("did you mean 'share'?"));
  EXPECT_THAT(usage_error({"share", "ad"}), HasSubstr("did you mean 'share add'?"));
  EXPECT_THAT(usage_error({"share", "add", "x", "--prset", "public"}), HasSubstr("did you mean 'preset'?"));
  EXPECT_THAT(usage_error({"share", "add", "x", "--preset", "publik"}), HasSubstr("did you mean 'public'?"));
  EXPECT_THAT(usage_error({"share", "add"}), HasSubstr("FILTER is required"));
  EXPECT_THAT(usage_error({"init"}), HasSubstr("--handle is required"));
  EXPECT_THAT(usage_error({"wait", "--timeout", "soon"}), HasSubstr("number from 0 to 86400"));
  EXPECT_THAT(usage_error({"invite", "--uses", "0"}), HasSubstr("number from 1"));
  EXPECT_THAT(usage_error({"invite", "--uses", "-1"}), HasSubstr("--uses"));
  EXPECT_THAT(usage_error({"status", "extra"}), HasSubstr("extra"));
  EXPECT_THAT(usage_error({}), HasSubstr("diot --help"));
  EXPECT_THAT(usage_error({"init", "--handle", ""}), HasSubstr("--handle"));
}

TEST(Options, VerbsToComeAreKnown) {
  const auto parsed = parse({"device", "add", "lamp", "--whatever"});
  ASSERT_TRUE(std::holds_alternative<Invocation>(parsed));
  EXPECT_EQ(std::get<Invocation>(parsed).verb->place, VerbPlace::later);
}

TEST(Options, AnyWordsAreUnderstoodOrExplained) {
  std::vector<std::string> known{"--json", "--help", "--",   "-",   "-x",     "--x=1", "",
                                 "--=",    "=",      "\xff", "a b", "--uses", "1"};
  for (const auto& verb : all_verbs()) known.emplace_back(verb.name.substr(0, verb.name.find(' ')));
  for (const char* more :
       {"add", "list", "show", "--filter", "--preset", "public", "--handle", "--yes", "--mqtt", "a:1,"})
    known.emplace_back(more);
  EXPECT_TRUE(rc::check([&] {
    const auto words = *rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(known));
    std::vector<const char*> pointers;
    for (const auto& word : words) pointers.push_back(word.c_str());
    const auto parsed = parse(pointers);
    if (const auto* answer = std::get_if<Answer>(&parsed))
      RC_ASSERT(!answer->text.empty());
    else
      RC_ASSERT(std::get<Invocation>(parsed).verb != nullptr);
  }));
}

TEST(CheckArgs, TakesWhatHttpAndSocketsSend) {
  const Verb& invite = *find_verb("invite");
  EXPECT_EQ(check_args(invite, {{"uses", 3}}).value(), (Json{{"uses", 3u}}));
  EXPECT_EQ(check_args(invite, {{"uses", "3"}}).value(), (Json{{"uses", 3u}}));
  const Verb& change = *find_verb("share change");
  EXPECT_EQ(check_args(change, {{"filter", "a"}, {"preset", "local"}, {"yes", false}}).value(),
            (Json{{"filter", "a"}, {"preset", "local"}}));
  EXPECT_EQ(check_args(*find_verb("handle update"), {{"add-node", "X"}}).value(), (Json{{"add-node", {"X"}}}));
}

TEST(CheckArgs, RefusesTheRest) {
  const auto refused = [](const char* verb, const Json& args) {
    const auto checked = check_args(*find_verb(verb), args);
    return checked ? "" : checked.error().message;
  };
  EXPECT_THAT(refused("invite", Json::array()), HasSubstr("JSON object"));
  EXPECT_THAT(refused("invite", {{"use", 1}}), HasSubstr("did you mean 'uses'?"));
  EXPECT_THAT(refused("invite", {{"uses", -1}}), HasSubstr("number"));
  EXPECT_THAT(refused("invite", {{"uses", 1.5}}), HasSubstr("number"));
  EXPECT_THAT(refused("invite", {{"uses", "18446744073709551616"}}), HasSubstr("number"));
  EXPECT_THAT(refused("share add", Json::object()), HasSubstr("FILTER"));
  EXPECT_THAT(refused("share add", {{"filter", 1}}), HasSubstr("string"));
  EXPECT_THAT(refused("share remove", {{"filter", "a"}, {"yes", "perhaps"}}), HasSubstr("true or false"));
  EXPECT_THAT(refused("handle update", {{"add-node", {1}}}), HasSubstr("string"));
}

}  // namespace
}  // namespace diot
