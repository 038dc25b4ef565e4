#include "core/share.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/limits.hpp"
#include "core/msgpack.hpp"
#include "tests/core/keys.hpp"

namespace diot {
namespace {

using diot::testing::SeededRandom;
using diot::testing::test_key;
using ::testing::HasSubstr;

class Share : public ::testing::Test {
 protected:
  SeededRandom random{1};
  const KeyPair signer = test_key(1);
  const NetworkId network = random.id<NetworkId>();

  ShareRecord record(std::string filter, ReadClass read = ReadClass::everyone) {
    ShareRecord out;
    out.read = read;
    out.id = random.id<ShareId>();
    out.channel = random.id<ChannelId>();
    out.signer = signer.node_id();
    out.checkpoint = {9, random.id<Hash>()};
    out.policy.filter = std::move(filter);
    return out;
  }
  ShareRecord secure(std::string filter) {
    auto out = record(std::move(filter), ReadClass::list);
    out.policy.readers = {"bob", "carol"};
    out.policy.write = WriteClass::list;
    out.policy.writers = {"bob"};
    out.policy.approve = 2;
    out.policy.approvers = {"alice/m", "alice/mum", "carol"};
    return out;
  }
  /// A record with this policy, correctly signed.
  Bytes signed_policy(Bytes policy, ReadClass read, bool removed = false) {
    auto bytes = encode_share(record("x"), signer, network);
    bytes.resize(168);
    bytes[2] = removed;
    bytes[3] = static_cast<std::uint8_t>(read);
    std::ranges::copy(blake2b(policy).bytes, bytes.begin() + 132);
    Bytes size;
    ByteWriter(size).u32(static_cast<std::uint32_t>(policy.size()));
    std::ranges::copy(size, bytes.begin() + 164);
    append(bytes, signer.sign("share", network, bytes));
    append(bytes, policy);
    return bytes;
  }
  Errc refusal(const std::function<void(PackWriter&)>& write, ReadClass read = ReadClass::everyone,
               bool removed = false) {
    Bytes policy{0};
    PackWriter to(policy);
    write(to);
    const auto decoded = decode_share(signed_policy(policy, read, removed), network);
    return decoded ? Errc::not_found : decoded.error().code;
  }
};

TEST_F(Share, record_comes_back_as_it_was) {
  for (const auto& original : {record("sensors/#"), secure("door/+"), record("private/#", ReadClass::nobody)}) {
    const auto bytes = encode_share(original, signer, network);
    const auto back = decode_share(bytes, network).value();
    EXPECT_FALSE(back.removed);
    EXPECT_EQ(back.read, original.read);
    EXPECT_EQ(back.id, original.id);
    EXPECT_EQ(back.seq, original.seq);
    EXPECT_EQ(back.channel, original.channel);
    EXPECT_EQ(back.signer, signer.node_id());
    EXPECT_EQ(back.checkpoint, original.checkpoint);
    EXPECT_EQ(back.policy, original.policy);
    EXPECT_EQ(encode_share(back, signer, network), bytes);
  }
}

TEST_F(Share, encoding_sorts_lists_and_leaves_out_what_does_not_count) {
  auto original = record("a/#");
  original.policy.readers = {"bob"};  // of an earlier policy
  EXPECT_TRUE(decode_share(encode_share(original, signer, network), network)->policy.readers.empty());
  original.read = ReadClass::list;
  original.policy.readers = {"dora", "bob", "dora"};
  EXPECT_EQ(decode_share(encode_share(original, signer, network), network)->policy.readers,
            (std::vector<std::string>{"bob", "dora"}));
}

TEST_F(Share, a_removed_one_keeps_its_filter_alone) {
  auto original = secure("door/+");
  original.removed = true;
  original.seq = 7;
  const auto back = decode_share(encode_share(original, signer, network), network).value();
  EXPECT_TRUE(back.removed);
  EXPECT_FALSE(back.is_public());
  EXPECT_EQ(back.seq, 7u);
  EXPECT_EQ(back.read, ReadClass::nobody);
  SharePolicy filter_alone;
  filter_alone.filter = "door/+";
  EXPECT_EQ(back.policy, filter_alone);
}

TEST_F(Share, every_flipped_bit_and_every_cut_is_found) {
  const auto bytes = encode_share(secure("door/+"), signer, network);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    ASSERT_FALSE(decode_share(damaged, network)) << bit;
  }
  for (std::size_t size = 0; size < bytes.size(); ++size)
    ASSERT_FALSE(decode_share(ByteView(bytes).first(size), network)) << size;
  EXPECT_EQ(decode_share(bytes, {}).error().code, Errc::not_permitted);  // another network
}

TEST_F(Share, a_signed_policy_must_obey_the_rules_too) {
  const auto filter = [](PackWriter& to, std::string_view text = "a/#") { to.uint(1), to.str(text); };
  const auto list = [](PackWriter& to, std::initializer_list<std::string_view> names) {
    to.array(names.size());
    for (auto name : names) to.str(name);
  };
  EXPECT_EQ(refusal([&](PackWriter& to) { to.map(1), filter(to); }), Errc::not_found);
  EXPECT_EQ(refusal([&](PackWriter& to) { to.map(0); }), Errc::invalid);
  for (const auto* text : {"", "a/#/b", "@bob/#", "@/x", "$SYS/#"})
    EXPECT_EQ(refusal([&](PackWriter& to) { to.map(1), filter(to, text); }), Errc::invalid) << text;
  EXPECT_EQ(refusal([&](PackWriter& to) { to.map(1), filter(to); }, ReadClass::list), Errc::invalid);  // no readers
  const auto readers = [&](std::initializer_list<std::string_view> names, ReadClass read) {
    return refusal([&](PackWriter& to) { to.map(2), filter(to), to.uint(2), list(to, names); }, read);
  };
  EXPECT_EQ(readers({"bob", "carol"}, ReadClass::list), Errc::not_found);
  EXPECT_EQ(readers({}, ReadClass::list), Errc::not_found);
  EXPECT_EQ(readers({"bob"}, ReadClass::everyone), Errc::invalid);
  EXPECT_EQ(readers({"carol", "bob"}, ReadClass::list), Errc::invalid);
  EXPECT_EQ(readers({"bob", "bob"}, ReadClass::list), Errc::invalid);
  EXPECT_EQ(readers({"Bob"}, ReadClass::list), Errc::invalid);
  EXPECT_EQ(readers({"bob/mum"}, ReadClass::list), Errc::invalid);
  EXPECT_EQ(refusal([&](PackWriter& to) { to.map(2), filter(to), to.uint(3), to.uint(1); }), Errc::invalid);
  const auto approved = [&](std::uint64_t count, std::initializer_list<std::string_view> names) {
    return refusal(
        [&](PackWriter& to) { to.map(3), filter(to), to.uint(5), to.uint(count), to.uint(6), list(to, names); });
  };
  EXPECT_EQ(approved(1, {"alice/mum"}), Errc::not_found);
  EXPECT_EQ(approved(0, {"alice/mum"}), Errc::invalid);
  EXPECT_EQ(approved(2, {"alice/mum"}), Errc::invalid);
  EXPECT_EQ(approved(1, {"alice/Mum"}), Errc::invalid);
  EXPECT_EQ(refusal([&](PackWriter& to) { to.map(2), filter(to), to.uint(2), to.array(0); }, ReadClass::nobody, true),
            Errc::invalid);  // more than the filter in a removed one
  EXPECT_EQ(refusal([&](PackWriter& to) { to.map(1), filter(to); }, ReadClass::everyone, true), Errc::invalid);
}

TEST_F(Share, keys_of_later_versions) {
  const auto with_key = [&](std::uint64_t key) {
    return refusal([&](PackWriter& to) { to.map(2), to.uint(1), to.str("a"), to.uint(key), to.uint(1); });
  };
  EXPECT_EQ(with_key(7), Errc::not_available);  // it may forbid something
  EXPECT_EQ(with_key(63), Errc::not_available);
  EXPECT_EQ(with_key(64), Errc::not_found);  // good
  EXPECT_EQ(with_key(1000), Errc::not_found);
}

TEST_F(Share, a_sealed_policy_is_not_available_yet) {
  EXPECT_EQ(decode_share(signed_policy({1, 2, 3}, ReadClass::list), network).error().code, Errc::not_available);
  EXPECT_EQ(decode_share(signed_policy({1, 2, 3}, ReadClass::everyone), network).error().code, Errc::invalid);
  EXPECT_EQ(decode_share(signed_policy({2, 2, 3}, ReadClass::list), network).error().code, Errc::invalid);
  EXPECT_EQ(decode_share(signed_policy(Bytes(8193), ReadClass::list), network).error().code, Errc::invalid);
}

TEST_F(Share, the_higher_seq_holds_then_the_lower_hash) {
  auto old = record("a"), renewed = record("a");
  renewed.seq = 2;
  const auto old_bytes = encode_share(old, signer, network), new_bytes = encode_share(renewed, signer, network);
  EXPECT_TRUE(supersedes(new_bytes, renewed, old_bytes, old));
  EXPECT_FALSE(supersedes(old_bytes, old, new_bytes, renewed));
  auto other = record("b");
  const auto other_bytes = encode_share(other, signer, network);
  EXPECT_EQ(supersedes(old_bytes, old, other_bytes, other), blake2b(old_bytes) < blake2b(other_bytes));
  EXPECT_NE(supersedes(old_bytes, old, other_bytes, other), supersedes(other_bytes, other, old_bytes, old));
  EXPECT_FALSE(supersedes(old_bytes, old, old_bytes, old));
}

TEST_F(Share, presets) {
  EXPECT_EQ(preset_of(record("a")), Preset::public_);
  EXPECT_EQ(preset_of(record("a", ReadClass::nobody)), Preset::local);
  EXPECT_EQ(preset_of(secure("a")), Preset::secure);
  auto listed = record("a", ReadClass::list);
  EXPECT_EQ(preset_of(listed), Preset::trusted);
  listed.policy.write = WriteClass::list;
  EXPECT_EQ(preset_of(listed), Preset::protected_);
  for (auto preset : {Preset::public_, Preset::trusted, Preset::protected_, Preset::secure, Preset::local})
    EXPECT_EQ(preset_from(name_of(preset)), preset);
  EXPECT_EQ(preset_from("Public"), std::nullopt);
}

TEST_F(Share, a_handle_registered_anew_has_other_channels) {
  const auto share = random.id<ShareId>();
  const auto entry = random.id<Hash>(), other = random.id<Hash>();
  EXPECT_EQ(channel_id(network, entry, share), channel_id(network, entry, share));
  EXPECT_NE(channel_id(network, entry, share), channel_id(network, other, share));
  EXPECT_NE(channel_id(network, entry, share), channel_id({}, entry, share));
}

TEST_F(Share, a_topic_belongs_to_the_share_with_the_most_literal_levels) {
  Shares shares;
  for (const auto* filter : {"#", "sensors/#", "sensors/kitchen/#", "+/kitchen/door"}) shares.set(record(filter));
  const auto filter_of = [&](std::string_view topic) {
    const auto* share = shares.of_topic(topic);
    return share ? share->policy.filter : "none";
  };
  EXPECT_EQ(filter_of("sensors/kitchen/temp"), "sensors/kitchen/#");
  EXPECT_EQ(filter_of("sensors/hall/temp"), "sensors/#");
  EXPECT_EQ(filter_of("sensors"), "sensors/#");
  EXPECT_EQ(filter_of("lights/hall"), "#");
  EXPECT_EQ(filter_of("$SYS/uptime"), "none");
  EXPECT_EQ(filter_of("@bob/lights"), "none");  // not this handle's, although '#' would match
  EXPECT_EQ(filter_of("@/lyon"), "none");
  EXPECT_EQ(Shares().of_topic("a"), nullptr);
}

TEST_F(Share, equal_claims_are_refused_by_name) {
  Shares shares;
  const auto kitchen = record("sensors/+/temp");
  shares.set(kitchen);
  const auto refused = shares.check_addition("sensors/#");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::exists);
  EXPECT_THAT(refused.error().message, HasSubstr("'sensors/+/temp'"));
  EXPECT_FALSE(shares.check_addition("sensors/+/temp"));
  EXPECT_TRUE(shares.check_addition("sensors/kitchen/#"));  // more literal levels
  EXPECT_TRUE(shares.check_addition("#"));                  // fewer
  EXPECT_TRUE(shares.check_addition("lights/+/temp"));      // no topic in common
  EXPECT_TRUE(shares.check_addition("sensors/#", &kitchen.id));
  EXPECT_EQ(shares.check_addition("a/#/b").error().code, Errc::invalid);
  EXPECT_EQ(shares.check_addition("@bob/#").error().code, Errc::invalid);
}

TEST_F(Share, a_later_record_replaces_and_a_removed_one_erases) {
  Shares shares;
  auto share = record("a/#");
  shares.set(share);
  share.read = ReadClass::nobody;
  shares.set(share);
  EXPECT_EQ(shares.all().size(), 1u);
  EXPECT_EQ(shares.by_filter("a/#")->read, ReadClass::nobody);
  EXPECT_EQ(shares.by_filter("a/+"), nullptr);
  share.removed = true;
  shares.set(share);
  EXPECT_TRUE(shares.all().empty());
}

TEST_F(Share, their_number_is_bounded) {
  Shares shares;
  for (std::size_t at = 0; at < limits::shares_per_handle_max; ++at) shares.set(record("t" + std::to_string(at)));
  EXPECT_EQ(shares.check_addition("one/more").error().code, Errc::limit);
  EXPECT_TRUE(shares.check_addition("changed", &shares.all().begin()->first));
}

}  // namespace
}  // namespace diot
