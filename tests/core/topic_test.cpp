#include "core/topic.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <string>
#include <vector>

#include "core/limits.hpp"

namespace diot {
namespace {

TEST(Levels, walks_empty_levels_too) {
  const auto levels_of = [](std::string_view text) {
    std::vector<std::string> out;
    for (Levels levels(text); !levels.done();) out.emplace_back(levels.next());
    return out;
  };
  EXPECT_EQ(levels_of("a/b/c"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(levels_of("/a//"), (std::vector<std::string>{"", "a", "", ""}));
  EXPECT_EQ(levels_of(""), (std::vector<std::string>{""}));
}

TEST(Handle, three_to_32_of_a_to_z_digits_and_single_inner_hyphens) {
  for (const auto* good : {"bob", "alice-2", "123", "a-b", "abcdefghijklmnopqrstuvwxyz012345"})
    EXPECT_TRUE(check_handle(good)) << good;
  for (const auto* bad : {"", "ab", "abcdefghijklmnopqrstuvwxyz0123456", "Bob", "b_b", "-bob", "bob-", "b--b", "bo b",
                          "b\xc3\xb6", "bob/x"})
    EXPECT_FALSE(check_handle(bad)) << bad;
}

TEST(Topic, accepts_what_mqtt_accepts) {
  for (const auto* good : {"a", "/", "//", "a/b", " ", "a b/\xc3\xa4", "$SYS/x", "@/lyon/noise", "@", "@alice",
                           "@alice/x", "x/@", "a/@Not-A-Handle"})
    EXPECT_TRUE(check_topic(good)) << good;
  EXPECT_TRUE(check_topic(std::string(65535, 'x')));
}

TEST(Topic, every_byte_of_it_is_looked_at) {
  for (std::size_t size = 1; size <= 24; ++size)
    for (std::size_t at = 0; at < size; ++at) {
      std::string text(size, 'x');
      EXPECT_TRUE(is_mqtt_utf8(text));
      EXPECT_FALSE(holds_wildcard(text));
      for (const char wildcard : {'+', '#'}) {
        text[at] = wildcard;
        EXPECT_TRUE(is_mqtt_utf8(text));
        EXPECT_TRUE(holds_wildcard(text)) << text;
      }
      for (const char bad : {'\0', '\x80', '\xff'}) {
        text[at] = bad;
        EXPECT_FALSE(is_mqtt_utf8(text)) << size << ' ' << at;
        EXPECT_FALSE(holds_wildcard(text)) << size << ' ' << at;
      }
      // Neighbours of what is looked for: a borrow between bytes would take them for it.
      for (const char neighbour : {'\1', '\x7f', '*', ',', '"', '$'}) {
        text[at] = neighbour;
        EXPECT_TRUE(is_mqtt_utf8(text)) << size << ' ' << at;
        EXPECT_FALSE(holds_wildcard(text)) << size << ' ' << at;
      }
    }
}

TEST(Topic, refuses_the_rest_and_says_why) {
  for (const auto* bad : {"", "a/+", "#", "a+b", "a#", "@Alice/x", "@al", "@+/x", "\xff", "a\xed\xa0\x80"})
    EXPECT_EQ(check_topic(bad).error().code, Errc::invalid) << bad;
  EXPECT_FALSE(check_topic(std::string("a\0b", 3)));
  EXPECT_FALSE(check_topic(std::string(65536, 'x')));
  EXPECT_NE(check_topic("@al/x").error().message.find("3 to 32"), std::string::npos);
}

TEST(Topic, levels_are_bounded) {
  const std::string deepest(limits::topic_levels_max, '/');
  EXPECT_TRUE(check_topic(deepest));
  EXPECT_EQ(check_topic(deepest + "/").error().code, Errc::limit);
  EXPECT_EQ(check_filter(deepest + "/").error().code, Errc::limit);
}

TEST(Filter, wildcards_stand_alone_and_hash_comes_last) {
  for (const auto* good : {"#", "+", "+/+", "a/#", "a/+/b", "/#", "+/", "@alice/#", "@/lyon/+", "$SYS/#", "a//#"})
    EXPECT_TRUE(check_filter(good)) << good;
  for (const auto* bad : {"", "a#", "a/#/b", "#/", "a+", "+a", "a/b+/c", "@+/x", "@#", "@al+ce/x", "##"})
    EXPECT_EQ(check_filter(bad).error().code, Errc::invalid) << bad;
}

TEST(Utf8, is_well_formed_without_surrogates_and_zero) {
  for (const auto* good : {"", "abc", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    EXPECT_TRUE(is_mqtt_utf8(good)) << good;
  for (const auto* bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf",
        "\xe1\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf1\x80\x80", "\xff", "\xfe"})
    EXPECT_FALSE(is_mqtt_utf8(bad)) << bad;
  EXPECT_FALSE(is_mqtt_utf8(std::string_view("\0", 1)));
}

TEST(Matches, follows_mqtt_5_section_4_7) {
  struct Case {
    const char *filter, *topic;
    bool expected;
  };
  for (const auto& [filter, topic, expected] : std::vector<Case>{
           {"sport/tennis/player1/#", "sport/tennis/player1", true},
           {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
           {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
           {"sport/tennis/player1/#", "sport/tennis/player10", false},
           {"sport/#", "sport", true},
           {"#", "a/b/c", true},
           {"#", "/", true},
           {"sport/tennis/+", "sport/tennis/player1", true},
           {"sport/tennis/+", "sport/tennis/player1/ranking", false},
           {"sport/+", "sport", false},
           {"sport/+", "sport/", true},
           {"+/+", "/finance", true},
           {"/+", "/finance", true},
           {"+", "/finance", false},
           {"+/monitor/Clients", "$SYS/monitor/Clients", false},
           {"#", "$SYS/monitor/Clients", false},
           {"$SYS/#", "$SYS/monitor/Clients", true},
           {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
           {"a/+", "a/$b", true},
           {"a/#", "a/$b", true},
           {"ACCOUNTS", "Accounts", false},
           {"a//b", "a/b", false},
           {"+/tennis/#", "sport/tennis", true},
       })
    EXPECT_EQ(matches(filter, topic), expected) << filter << " " << topic;
}

TEST(LiteralLevels, count_up_to_the_first_wildcard) {
  EXPECT_EQ(literal_levels("#"), 0u);
  EXPECT_EQ(literal_levels("a/b/+/c"), 2u);
  EXPECT_EQ(literal_levels("a/b"), 2u);
  EXPECT_EQ(literal_levels("/a/#"), 2u);
}

TEST(Parts, tell_whose_topic_it_is) {
  EXPECT_EQ(parts_of("room/temp").kind, TopicKind::local);
  EXPECT_EQ(parts_of("room/temp").rest, "room/temp");
  EXPECT_EQ(parts_of("$SYS/x").kind, TopicKind::system);
  EXPECT_EQ(parts_of("@/lyon").kind, TopicKind::commons);
  EXPECT_EQ(parts_of("@").kind, TopicKind::commons);
  const auto owned = parts_of("@alice/room/temp");
  EXPECT_EQ(owned.kind, TopicKind::owned);
  EXPECT_EQ(owned.handle, "alice");
  EXPECT_EQ(owned.rest, "room/temp");
  EXPECT_EQ(parts_of("@alice").rest, "");
}

TEST(Names, own_topics_are_seen_under_their_local_name) {
  EXPECT_EQ(owned_topic("alice", "a/b"), "@alice/a/b");
  EXPECT_EQ(local_name("@alice/a/b", {"alice", {}}), "a/b");
  EXPECT_EQ(local_name("@bob/a/b", {"alice", {}}), "@bob/a/b");
  EXPECT_EQ(local_name("a/b", {"alice", {}}), "a/b");
  EXPECT_EQ(local_name("@alice", {"alice", {}}), "@alice");
}

TEST(Names, own_topics_are_known_by_the_provisional_name_too) {
  const OwnNames waits{"alice~234567abcdef", "alice~234567abcdef"}, registered{"alice", "alice~234567abcdef"};
  EXPECT_EQ(local_name("@alice~234567abcdef/a", waits), "a");
  EXPECT_EQ(local_name("@alice/a", waits), "@alice/a") << "somebody else may get the name";
  EXPECT_EQ(local_name("@alice~234567abcdef/a", registered), "a");
  EXPECT_EQ(local_name("@alice/a", registered), "a");
  EXPECT_EQ(local_name("@alice~234567abcdee/a", registered), "@alice~234567abcdee/a");
  EXPECT_EQ(local_name("@/a", OwnNames{"alice", ""}), "@/a");
}

TEST(Topic, of_a_home_that_is_not_registered_yet_is_owned) {
  EXPECT_TRUE(check_topic("@alice~234567abcdef/a"));
  EXPECT_TRUE(check_filter("@alice~234567abcdef/#"));
  EXPECT_EQ(parts_of("@alice~234567abcdef/a").kind, TopicKind::owned);
  EXPECT_EQ(parts_of("@alice~234567abcdef/a").handle, "alice~234567abcdef");
  for (const auto* owner : {"alice~", "~234567abcdef", "alice~234567abcde", "alice~234567abcdefg", "alice~134567abcdef",
                            "alice~234567ABCDEF", "alice~2345~7abcdef", "al~234567abcdef", "alice~234567abcde+"})
    EXPECT_FALSE(check_owner(owner)) << owner;
  EXPECT_FALSE(check_handle("alice~234567abcdef")) << "nobody can register it";
}

// Few short levels, so that all topics up to one level more than any filter has decide what overlaps and covers mean.
const std::vector<std::string>& small_topics() {
  static const auto topics = [] {
    std::vector<std::string> out, deeper{""};
    for (int depth = 0; depth < 4; ++depth) {
      std::vector<std::string> next;
      for (const auto& prefix : deeper)
        for (const auto* level : {"a", "b", "$c", ""}) next.push_back(prefix + (depth ? "/" : "") + level);
      out.insert(out.end(), next.begin(), next.end());
      deeper = std::move(next);
    }
    return out;
  }();
  return topics;
}
rc::Gen<std::string> small_filter() {
  return rc::gen::map(rc::gen::pair(rc::gen::resize(3, rc::gen::container<std::vector<std::string>>(
                                                           rc::gen::element<std::string>("a", "b", "$c", "+", ""))),
                                    rc::gen::arbitrary<bool>()),
                      [](const auto& parts) {
                        std::string out;
                        for (std::size_t at = 0; at < std::min<std::size_t>(parts.first.size(), 3); ++at)
                          out += (at ? "/" : "") + parts.first[at];
                        if (parts.first.empty()) return std::string("#");
                        return parts.second ? out + "/#" : out;
                      });
}

RC_GTEST_PROP(Overlaps, means_that_some_topic_matches_both, ()) {
  const auto a = *small_filter(), b = *small_filter();
  bool both = false;
  for (const auto& topic : small_topics()) both = both || (matches(a, topic) && matches(b, topic));
  RC_ASSERT(overlaps(a, b) == both);
  RC_ASSERT(overlaps(b, a) == both);
}

RC_GTEST_PROP(Covers, means_that_no_topic_escapes, ()) {
  const auto outer = *small_filter(), inner = *small_filter();
  bool all = true;
  for (const auto& topic : small_topics()) all = all && (matches(outer, topic) || !matches(inner, topic));
  RC_ASSERT(covers(outer, inner) == all);
}

}  // namespace
}  // namespace diot
