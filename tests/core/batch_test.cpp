#include "core/batch.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <chrono>

#include "core/limits.hpp"
#include "core/merkle.hpp"
#include "core/msgpack.hpp"
#include "tests/core/keys.hpp"

namespace diot {
namespace {

using diot::testing::SeededRandom;
using diot::testing::test_key;

Record message(std::string topic, std::string_view payload = "x", bool retain = false) {
  Record out;
  out.topic = std::move(topic);
  out.payload = to_bytes(payload);
  out.qos = Qos::at_least_once;
  out.retain = retain;
  return out;
}

class Batch : public ::testing::Test {
 protected:
  SeededRandom random{1};
  const KeyPair writer = test_key(1);
  const NetworkId network = random.id<NetworkId>();
  const ChannelId channel = random.id<ChannelId>();
  const Hash before = random.id<Hash>();
  BatchWriter durable{Stream::durable, channel, {7, 8}, before};
  BatchWriter live{Stream::live, channel, {7, 8}, {}};

  Bytes seal(std::vector<Bytes> records, bool has_root = false) {
    return durable.seal(records, has_root, 1000, 3, writer, network, random);
  }
  Bytes sealed_messages(std::size_t count, bool has_root) {
    std::vector<Bytes> records;
    for (std::size_t at = 0; at < count; ++at)
      records.push_back(encode_record(message("topic/" + std::to_string(at), "payload", has_root)));
    return seal(records, has_root);
  }
  Errc refusal(const Bytes& wire) {
    const auto batch = BatchView::parse(wire);
    if (!batch) return batch.error().code;
    const auto verified = batch->verify(network);
    EXPECT_FALSE(verified);
    return verified ? Errc::not_found : verified.error().code;
  }
  /// Signs anew what a test changed in the header.
  Bytes signed_again(Bytes wire) {
    const auto signature = writer.sign("batch", network, ByteView(wire).first(BatchHeader::signed_bytes));
    std::ranges::copy(signature.bytes, wire.begin() + BatchHeader::signed_bytes);
    return wire;
  }
};

TEST_F(Batch, travels_with_all_its_records) {
  const std::vector<Bytes> records{encode_record(message("a")), encode_record(message("b", "y", true))};
  const auto wire = seal(records, true);
  const auto batch = BatchView::parse(wire).value();
  EXPECT_TRUE(batch.verify(network));
  EXPECT_EQ(batch.header.stream, Stream::durable);
  EXPECT_TRUE(batch.header.has_root);
  EXPECT_EQ(batch.header.channel, channel);
  EXPECT_EQ(batch.header.writer, writer.node_id());
  EXPECT_EQ(batch.header.incarnation, (Incarnation{7, 8}));
  EXPECT_EQ(batch.header.first_seq, 1u);
  EXPECT_EQ(batch.header.count, 2u);
  EXPECT_EQ(batch.header.last_seq(), 2u);
  EXPECT_EQ(batch.header.time, 1000u);
  EXPECT_EQ(batch.header.policy_version, 3u);
  EXPECT_EQ(batch.header.previous, before);
  const auto views = batch.records().value();
  ASSERT_EQ(views.size(), 2u);
  EXPECT_EQ(to_bytes(views[0]), records[0]);
  EXPECT_EQ(decode_record(views[1]).value(), message("b", "y", true));
}

TEST_F(Batch, the_durable_log_counts_on_and_chains) {
  const auto first = sealed_messages(3, false), second = sealed_messages(2, true);
  const auto a = BatchView::parse(first).value(), b = BatchView::parse(second).value();
  EXPECT_EQ(b.header.first_seq, 4u);
  EXPECT_EQ(b.header.previous, a.header_hash);
  EXPECT_EQ(durable.next_seq(), 6u);
}

TEST_F(Batch, the_live_stream_counts_on_without_a_chain) {
  const std::vector<Bytes> records{encode_record(message("a"))};
  live.seal(records, false, 1000, 3, writer, network, random);
  const auto wire = live.seal(records, false, 1000, 3, writer, network, random);
  const auto batch = BatchView::parse(wire).value();
  EXPECT_TRUE(batch.verify(network));
  EXPECT_EQ(batch.header.stream, Stream::live);
  EXPECT_EQ(batch.header.first_seq, 2u);
  EXPECT_TRUE(batch.header.previous.is_zero());
}

TEST_F(Batch, a_header_can_travel_alone) {
  const auto wire = sealed_messages(3, true);
  const auto batch = BatchView::parse(ByteView(wire).first(BatchHeader::wire_bytes)).value();
  EXPECT_TRUE(batch.body.empty());
  EXPECT_TRUE(batch.verify(network));
  EXPECT_EQ(batch.header_hash, BatchView::parse(wire)->header_hash);
  EXPECT_FALSE(batch.records());
  EXPECT_FALSE(batch.proof_of(0));
}

TEST_F(Batch, counts_in_its_network_alone) {
  const auto wire = sealed_messages(1, false);
  EXPECT_EQ(BatchView::parse(wire)->verify({}).error().code, Errc::not_permitted);
}

TEST_F(Batch, every_flipped_bit_is_found) {
  const auto wire = sealed_messages(3, true);
  for (std::size_t bit = 0; bit < wire.size() * 8; ++bit) {
    auto damaged = wire;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    const auto batch = BatchView::parse(damaged);
    ASSERT_FALSE(batch && batch->verify(network)) << bit;
  }
  for (std::size_t size = 0; size < wire.size(); ++size) {
    if (size == BatchHeader::wire_bytes) continue;
    ASSERT_FALSE(BatchView::parse(ByteView(wire).first(size))) << size;
  }
}

TEST_F(Batch, a_header_that_breaks_a_rule_is_refused_although_its_writer_signed_it) {
  const auto wire = sealed_messages(3, false);
  const auto changed = [&](std::size_t offset, std::initializer_list<std::uint8_t> bytes) {
    auto out = wire;
    std::ranges::copy(bytes, out.begin() + static_cast<std::ptrdiff_t>(offset));
    return refusal(signed_again(out));
  };
  EXPECT_EQ(changed(0, {2}), Errc::invalid);                                        // version
  EXPECT_EQ(changed(1, {0}), Errc::invalid);                                        // suite
  EXPECT_EQ(changed(2, {2}), Errc::invalid);                                        // stream
  EXPECT_EQ(changed(2, {1}), Errc::invalid);                                        // live, with a chain
  EXPECT_EQ(changed(3, {2}), Errc::invalid);                                        // flags
  EXPECT_EQ(changed(3, {1}), Errc::invalid);                                        // root flag, other root
  EXPECT_EQ(changed(84, {0, 0, 0, 0, 0, 0, 0, 0}), Errc::invalid);                  // seq 0
  EXPECT_EQ(changed(84, {255, 255, 255, 255, 255, 255, 255, 254}), Errc::invalid);  // seq runs over
  EXPECT_EQ(changed(92, {0, 0, 0, 0}), Errc::invalid);                              // no record
  EXPECT_EQ(changed(92, {0, 0, 16, 1}), Errc::invalid);                             // 4097 records
  EXPECT_EQ(changed(144, {1}), Errc::invalid);                                      // root without flag
  EXPECT_EQ(changed(208, {0, 32, 0, 1}), Errc::invalid);                            // body above 2 MiB
  EXPECT_EQ(changed(208, {0, 0, 0, 0}), Errc::invalid);                             // no body
}

TEST_F(Batch, a_signed_root_that_is_not_that_of_the_records_is_refused) {
  auto wire = sealed_messages(3, true);
  wire[150] ^= 1;
  EXPECT_EQ(refusal(signed_again(wire)), Errc::invalid);
}

TEST_F(Batch, a_body_must_hold_exactly_its_records) {
  const auto with_body = [&](const Bytes& body, std::uint32_t count) {
    auto wire = sealed_messages(1, false);
    wire.resize(BatchHeader::wire_bytes);
    Bytes number;
    ByteWriter(number).u32(count);
    std::ranges::copy(number, wire.begin() + 92);
    const auto hash = blake2b(body);
    std::ranges::copy(hash.bytes, wire.begin() + 176);
    number.clear();
    ByteWriter(number).u32(static_cast<std::uint32_t>(body.size()));
    std::ranges::copy(number, wire.begin() + 208);
    append(wire, body);
    wire = signed_again(wire);
    const auto batch = BatchView::parse(wire).value();
    EXPECT_TRUE(batch.verify(network));
    const auto records = batch.records();
    return records ? "" : std::string(name_of(records.error().code));
  };
  Bytes plain(17);
  plain.insert(plain.end(), {0, 0, 0, 1, 9});
  EXPECT_EQ(with_body(plain, 1), "");
  EXPECT_EQ(with_body(plain, 2), "invalid");
  plain.push_back(0);
  EXPECT_EQ(with_body(plain, 1), "invalid");
  EXPECT_EQ(with_body(Bytes(10), 1), "invalid");
  Bytes longer(17);
  longer.insert(longer.end(), {255, 255, 255, 255, 9});
  EXPECT_EQ(with_body(longer, 1), "invalid");
  EXPECT_EQ(with_body(Bytes(100, 1), 1), "not available yet");  // sealed
  EXPECT_EQ(with_body(Bytes(100, 2), 1), "invalid");
}

TEST_F(Batch, each_record_can_be_proved_alone) {
  for (const std::size_t count : {1, 2, 3, 7, 8, 100}) {
    const auto wire = sealed_messages(count, true);
    const auto batch = BatchView::parse(wire).value();
    for (std::uint32_t index = 0; index < count; ++index) {
      const auto proven = verify_proof(batch.proof_of(index).value(), network).value();
      EXPECT_EQ(proven.index, index);
      EXPECT_EQ(proven.record, message("topic/" + std::to_string(index), "payload", true));
      EXPECT_EQ(proven.header_hash, batch.header_hash);
      const auto stamp = proven.stamp();
      EXPECT_EQ(stamp.seq, batch.header.first_seq + index);
      EXPECT_EQ(stamp.time, batch.header.time);
      EXPECT_EQ(stamp.writer, writer.node_id());
    }
  }
}

TEST_F(Batch, every_flipped_bit_of_a_proof_is_found) {
  const auto wire = sealed_messages(5, true);
  const auto proof = BatchView::parse(wire)->proof_of(4).value();
  for (std::size_t bit = 0; bit < proof.size() * 8; ++bit) {
    auto damaged = proof;
    damaged[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    ASSERT_FALSE(verify_proof(damaged, network)) << bit;
  }
  for (std::size_t size = 0; size < proof.size(); ++size)
    ASSERT_FALSE(verify_proof(ByteView(proof).first(size), network)) << size;
}

TEST_F(Batch, a_header_checked_before_spares_the_signature) {
  const auto wire = sealed_messages(2, true);
  const auto batch = BatchView::parse(wire).value();
  auto proof = batch.proof_of(1).value();
  proof[BatchHeader::signed_bytes] ^= 1;  // in the signature
  EXPECT_FALSE(verify_proof(proof, network));
  EXPECT_TRUE(verify_proof(proof, network, &batch.header_hash));
  const Hash other = random.id<Hash>();
  EXPECT_FALSE(verify_proof(proof, network, &other));
}

TEST_F(Batch, what_is_not_retained_is_no_retained_record) {
  const auto wire = seal({encode_record(message("a", "x", true)), encode_record(message("b"))}, true);
  const auto batch = BatchView::parse(wire).value();
  EXPECT_TRUE(verify_proof(batch.proof_of(0).value(), network));
  EXPECT_FALSE(verify_proof(batch.proof_of(1).value(), network));
}

TEST_F(Batch, the_largest_packet_and_the_most_records_fit) {
  auto largest = message("t", std::string(limits::packet_bytes_max, 'x'), true);
  largest.properties.user = {{std::string(65'535, 'k'), std::string(65'535, 'v')}};
  const auto big = seal({encode_record(largest)}, true);
  EXPECT_EQ(decode_record(BatchView::parse(big)->records().value()[0]).value(), largest);
  const auto many = sealed_messages(limits::batch_count_max, true);
  const auto batch = BatchView::parse(many).value();
  EXPECT_TRUE(batch.verify(network));
  EXPECT_TRUE(verify_proof(batch.proof_of(4095).value(), network));
}

TEST(RecordCodec, kinds_flags_and_payload_fit_each_other) {
  const auto decodes = [](RecordKind kind, bool retain, std::string_view payload, std::string topic = "t") {
    auto record = message(std::move(topic), payload, retain);
    record.kind = kind;
    return decode_record(encode_record(record)).has_value();
  };
  EXPECT_TRUE(decodes(RecordKind::message, true, "x"));
  EXPECT_TRUE(decodes(RecordKind::message, false, ""));
  EXPECT_FALSE(decodes(RecordKind::message, true, ""));
  EXPECT_TRUE(decodes(RecordKind::tombstone, true, ""));
  EXPECT_FALSE(decodes(RecordKind::tombstone, false, ""));
  EXPECT_FALSE(decodes(RecordKind::tombstone, true, "x"));
  EXPECT_TRUE(decodes(RecordKind::will_set, false, "x"));
  EXPECT_TRUE(decodes(RecordKind::will_clear, false, ""));
  EXPECT_FALSE(decodes(RecordKind::will_clear, false, "x"));
  for (const auto* topic : {"", "a/+", "@bob/x", "@/x", "$SYS/x"})
    EXPECT_FALSE(decodes(RecordKind::message, false, "x", topic)) << topic;
}

TEST(RecordCodec, unknown_kinds_are_skipped_whatever_they_hold) {
  Bytes bytes;
  PackWriter to(bytes);
  to.array(3);
  to.uint(4);
  to.map(0);
  to.nil();
  EXPECT_EQ(decode_record(bytes).error().code, Errc::not_available);
}

TEST(RecordCodec, a_will_has_a_number_and_perhaps_a_delay) {
  auto will = message("status", "gone", true);
  will.kind = RecordKind::will_set;
  will.properties.user = {{"a", "b"}};
  will.will_number = 0xfedcba9876543210;
  will.will_delay_seconds = 30;
  EXPECT_EQ(decode_record(encode_record(will)), will);
  will.will_delay_seconds = 0;
  EXPECT_EQ(decode_record(encode_record(will)), will);
  Record clear{RecordKind::will_clear, "status", Qos::at_least_once, false, {}, {}, 7};
  EXPECT_EQ(decode_record(encode_record(clear)), clear);
  // Elsewhere these keys are unknown, and skipped.
  will.kind = RecordKind::message;
  EXPECT_EQ(decode_record(encode_record(will))->will_number, std::nullopt);
}

TEST(RecordCodec, signals_are_unknown_kinds_to_who_reads_messages) {
  for (const Signal signal : {Signal::presence, Signal::wills_end}) {
    const Bytes bytes = encode_signal(signal);
    EXPECT_EQ(signal_of(bytes), signal);
    EXPECT_EQ(decode_record(bytes).error().code, Errc::not_available);
  }
  EXPECT_EQ(signal_of(encode_record(message("t"))), std::nullopt);
  EXPECT_EQ(signal_of(from_hex("9106").value()), std::nullopt);
  EXPECT_EQ(signal_of({}), std::nullopt);
}

TEST_F(Batch, a_will_that_is_set_travels_alone_though_it_is_not_retained) {
  auto will = message("status", "gone");
  will.kind = RecordKind::will_set;
  will.will_number = 1;
  const Bytes wire = seal({encode_record(will), encode_record(message("t"))}, true);
  const auto batch = BatchView::parse(wire).value();
  EXPECT_EQ(verify_proof(batch.proof_of(0).value(), network)->record, will);
  EXPECT_FALSE(verify_proof(batch.proof_of(1).value(), network)) << "neither retained nor a will";
}

TEST(RecordCodec, refuses_the_wrong_shape) {
  const auto good = encode_record(message("t"));
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_EQ(decode_record(ByteView(good).first(size)).error().code, Errc::invalid);
  Bytes bytes;
  PackWriter to(bytes);
  to.array(5);
  to.uint(0);
  to.str("t");
  to.uint(3);  // QoS 3
  to.bin({});
  to.map(0);
  EXPECT_FALSE(decode_record(bytes));
  bytes[3 + 1] = 8;  // a flag bit too many
  EXPECT_FALSE(decode_record(bytes));
  bytes[3 + 1] = 2;
  EXPECT_TRUE(decode_record(bytes));
}

RC_GTEST_PROP(RecordCodec, comes_back_as_it_was, ()) {
  Record record;
  record.kind = *rc::gen::element(RecordKind::message, RecordKind::will_set);
  record.topic = "t" + std::to_string(*rc::gen::arbitrary<unsigned>());
  record.qos = *rc::gen::element(Qos::at_most_once, Qos::at_least_once, Qos::exactly_once);
  record.payload = *rc::gen::nonEmpty(rc::gen::arbitrary<Bytes>());
  record.retain = *rc::gen::arbitrary<bool>();
  const auto maybe = [](auto gen) {
    using Value = decltype(*gen);
    return *rc::gen::arbitrary<bool>() ? std::optional<Value>(*gen) : std::nullopt;
  };
  const auto text = rc::gen::container<std::string>(rc::gen::inRange('a', 'z'));
  record.properties.payload_format = maybe(rc::gen::element<std::uint8_t>(0, 1));
  record.properties.expiry_seconds = maybe(rc::gen::arbitrary<std::uint32_t>());
  record.properties.content_type = maybe(text);
  record.properties.response_topic = maybe(rc::gen::nonEmpty(text));
  record.properties.correlation_data = maybe(rc::gen::arbitrary<Bytes>());
  record.properties.user =
      *rc::gen::container<std::vector<std::pair<std::string, std::string>>>(rc::gen::pair(text, text));
  RC_ASSERT(decode_record(encode_record(record)).value() == record);
}

RC_GTEST_PROP(RecordCodec, survives_damage, (std::uint64_t seed)) {
  auto record = message("a/b", "payload", true);
  record.properties.user = {{"a", "b"}};
  record.properties.content_type = "c";
  auto bytes = encode_record(record);
  SeededRandom random(seed);
  for (int changes = 0; changes < 3; ++changes)
    bytes[random.u64() % bytes.size()] = static_cast<std::uint8_t>(random.u64());
  // What is read is what would have been written: no two encodings of one record, unknown keys aside.
  if (const auto read = decode_record(bytes)) {
    const auto again = encode_record(*read);
    RC_ASSERT(again.size() <= bytes.size());
    if (again.size() == bytes.size()) RC_ASSERT(again == bytes);
  }
}

}  // namespace
}  // namespace diot
