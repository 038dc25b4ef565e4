#include "core/msgpack.hpp"

#include <gtest/gtest.h>

#include <rapidcheck/gtest.h>

#include <string>

namespace diot {
namespace {

Bytes hex(std::string_view text) { return from_hex(text).value(); }
bool readable(const Bytes& bytes) { return PackReader(bytes).ok(); }

TEST(PackWriter, writes_the_shortest_forms) {
  Bytes out;
  PackWriter to(out);
  to.array(3);
  to.uint(127);
  to.uint(128);
  to.map(1);
  to.uint(65536);
  to.nil();
  to.str("ab");
  to.bin(hex("0102"));
  EXPECT_EQ(to_hex(out), "937fcc8081ce00010000c0a26162c4020102");
}

TEST(PackReader, reads_in_order_what_was_written) {
  Bytes out;
  PackWriter to(out);
  to.array(6);
  to.uint(7);
  to.str("topic");
  to.bin(Bytes(300, 9));
  to.nil();
  to.map(2);
  to.uint(1);
  to.str("one");
  to.uint(300);
  to.array(1);
  to.nil();
  to.bin({});
  PackReader in(out);
  in.array_of(6);
  EXPECT_EQ(in.uint(10), 7u);
  EXPECT_EQ(in.str(5), "topic");
  EXPECT_EQ(in.bin(300).size(), 300u);
  EXPECT_FALSE(in.done());
  EXPECT_TRUE(in.nil());
  EXPECT_EQ(in.map(2), 2u);
  EXPECT_EQ(in.uint(), 1u);
  in.skip();
  EXPECT_EQ(in.uint(), 300u);
  in.skip();
  EXPECT_FALSE(in.nil());
  EXPECT_TRUE(in.bin(0).empty());
  EXPECT_TRUE(in.done());
}

TEST(PackReader, a_failure_sticks_and_yields_zeros) {
  const Bytes good = hex("9205a161");
  PackReader in(good);
  in.array_of(2);
  EXPECT_EQ(in.uint(4), 0u);  // above the maximum
  EXPECT_EQ(in.str(10), "");
  EXPECT_FALSE(in.ok());
  EXPECT_FALSE(in.done());
  PackReader wrong_type(good);
  EXPECT_EQ(wrong_type.map(2), 0u);
  EXPECT_FALSE(wrong_type.ok());
  PackReader too_long(good);
  EXPECT_EQ(too_long.array(1), 0u);
  EXPECT_FALSE(too_long.ok());
  PackReader past_the_end(good);
  past_the_end.skip();
  EXPECT_TRUE(past_the_end.done());
  past_the_end.skip();
  EXPECT_FALSE(past_the_end.ok());
}

TEST(PackReader, an_id_has_exactly_its_size) {
  const Bytes shorter = hex("c40f000102030405060708090a0b0c0d0e");
  PackReader in(shorter);
  EXPECT_TRUE(in.id<ShareId>().is_zero());
  EXPECT_FALSE(in.ok());
  const Bytes right = hex("c410000102030405060708090a0b0c0d0e0f");
  PackReader again(right);
  EXPECT_EQ(again.id<ShareId>().bytes[15], 15);
  EXPECT_TRUE(again.done());
}

TEST(PackReader, refuses_what_is_not_canonical) {
  for (const auto* text : {"cc05",                                                // uint 8 for 5
                           "cd0080",                                              // uint 16 for 128
                           "ce0000ffff",                                          // uint 32 for 65535
                           "cf00000000ffffffff",                                  // uint 64 for 2^32 - 1
                           "d005", "d10100", "d200010000", "d30000000100000000",  // non-negative in a signed format
                           "d90161", "da000161", "db0000000161",                  // long forms of a short str
                           "c5000101", "c60000000101",                            // … of a short bin
                           "dc000105", "dd0000000105", "de00010505",              // … of a short array and map
                           "8202050105",                                          // keys descend
                           "8201050105",                                          // a key twice
                           "81a16105"})                                           // a key that is no number
    EXPECT_FALSE(readable(hex(text))) << text;
  EXPECT_TRUE(readable(hex("8201050205")));
}

TEST(PackReader, refuses_what_the_formats_do_not_use) {
  for (const auto* text :
       {"ff", "d0ff", "c2", "c3", "ca00000000", "cb0000000000000000", "d40100", "c7000100", "c1", "c9ffffffff01", ""})
    EXPECT_FALSE(readable(hex(text))) << text;
}

TEST(PackReader, refuses_leftovers_and_cut_off_values) {
  EXPECT_FALSE(readable(hex("0505")));
  EXPECT_FALSE(readable(hex("92")));
  EXPECT_FALSE(readable(hex("dd")));
  EXPECT_FALSE(readable(hex("ddffffffff")));  // announces 2^32 - 1 elements
  EXPECT_FALSE(readable(hex("c6ffffffff00")));
}

TEST(PackReader, bounds_depth_and_number_of_values) {
  Bytes deep(PackReader::depth_max, 0x91);
  deep.push_back(0x05);
  EXPECT_TRUE(readable(deep));
  deep.insert(deep.begin(), 0x91);
  EXPECT_FALSE(readable(deep));
  EXPECT_FALSE(readable(Bytes(100'000, 0x91)));
  const Bytes four = hex("93050505");
  EXPECT_TRUE(PackReader(four, 4).ok());
  EXPECT_FALSE(PackReader(four, 3).ok());
}

TEST(PackReader, the_largest_key_ends_a_map) {
  EXPECT_TRUE(readable(hex("81cfffffffffffffffff05")));
  EXPECT_FALSE(readable(hex("82cfffffffffffffffff050005")));
}

RC_GTEST_PROP(PackReader, what_it_accepts_is_what_the_writer_writes, (std::uint64_t number, const std::string& text)) {
  Bytes out;
  PackWriter to(out);
  to.array(2);
  to.uint(number);
  to.str(text);
  PackReader in(out);
  in.array_of(2);
  RC_ASSERT(in.uint() == number);
  RC_ASSERT(in.str(text.size()) == text);
  RC_ASSERT(in.done());
}

RC_GTEST_PROP(PackReader, survives_any_bytes, (const Bytes& bytes)) {
  PackReader in(bytes);
  const bool ok = in.ok();
  in.skip();
  RC_ASSERT(in.done() == ok);
}

}  // namespace
}  // namespace diot
