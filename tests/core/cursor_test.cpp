#include "core/cursor.hpp"

#include <gtest/gtest.h>

namespace diot {
namespace {

Hash hash(std::uint8_t fill) {
  Hash out;
  out.bytes.fill(fill);
  return out;
}

BatchHeader header(std::uint64_t incarnation, std::uint64_t first, std::uint32_t count, Hash previous) {
  BatchHeader out;
  out.incarnation = {incarnation, 7};
  out.first_seq = first;
  out.count = count;
  out.previous = previous;
  return out;
}

const Cursor at_ten{{5, 7}, 10, hash(1)};

TEST(Cursor, TakesTheBatchThatFollows) {
  EXPECT_EQ(judge(at_ten, header(5, 11, 3, hash(1))), Step::next);
  EXPECT_EQ(advanced(header(5, 11, 3, hash(1)), hash(2)), (Cursor{{5, 7}, 13, hash(2)}));
}

TEST(Cursor, KnowsWhatItHasSeen) {
  EXPECT_EQ(judge(at_ten, header(5, 8, 3, hash(9))), Step::seen);
  EXPECT_EQ(judge(at_ten, header(4, 100, 3, hash(9))), Step::seen) << "of an earlier life";
}

TEST(Cursor, SeesAGap) { EXPECT_EQ(judge(at_ten, header(5, 12, 1, hash(9))), Step::gap); }

TEST(Cursor, RefusesAForkOfTheChain) {
  EXPECT_EQ(judge(at_ten, header(5, 11, 1, hash(9))), Step::fork) << "another predecessor";
  EXPECT_EQ(judge(at_ten, header(5, 10, 2, hash(1))), Step::fork) << "straddles the cursor";
}

TEST(Cursor, FollowsTheWriterIntoItsNextLife) {
  EXPECT_EQ(judge(at_ten, header(6, 1, 1, hash(1))), Step::next);
  EXPECT_EQ(judge(at_ten, header(6, 1, 1, hash(9))), Step::gap) << "the end of the life before is missing";
  EXPECT_EQ(judge(at_ten, header(6, 2, 1, hash(1))), Step::gap);
}

TEST(Cursor, StartsBeforeAnythingWasRead) {
  EXPECT_EQ(judge({}, header(6, 1, 1, Hash{})), Step::next);
  EXPECT_EQ(judge({}, header(6, 1, 1, hash(3))), Step::gap);
}

TEST(Cursor, SkipsToWhereAHolderCanStart) {
  const auto held = header(6, 4, 2, hash(3));
  EXPECT_EQ(judge(before(held), held), Step::next);
  const auto next_life = header(7, 1, 2, hash(3));
  EXPECT_EQ(judge(before(next_life), next_life), Step::next);
}

TEST(Cursor, SurvivesItsEncoding) {
  EXPECT_EQ(decode_cursor(encode_cursor(at_ten)), at_ten);
  Bytes bytes = encode_cursor(at_ten);
  bytes.pop_back();
  EXPECT_EQ(decode_cursor(bytes), std::nullopt);
}

}  // namespace
}  // namespace diot
