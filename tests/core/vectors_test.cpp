// The worked examples of batch, retained record and share in docs/protocol.md, made and read.

#include <gtest/gtest.h>

#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "core/batch.hpp"
#include "core/share.hpp"
#include "tests/core/keys.hpp"
#include "tests/core/vectors.hpp"

namespace diot {
namespace {

using diot::testing::ConstantRandom;
using diot::testing::Vector;

std::vector<Record> example_records() {
  Record temperature;
  temperature.topic = "sensors/kitchen/temp";
  temperature.qos = Qos::at_least_once;
  temperature.retain = true;
  temperature.payload = to_bytes("21.5");
  temperature.properties = {1, 3600, "text/plain", "answers/here", Bytes{0, 1}, {{"unit", "C"}, {"site", "home"}}};
  Record door;
  door.topic = "sensors/kitchen/door";
  door.qos = Qos::exactly_once;
  door.payload = to_bytes("open");
  Record ended;
  ended.kind = RecordKind::tombstone;
  ended.topic = "sensors/hall/temp";
  ended.qos = Qos::at_least_once;
  ended.retain = true;
  return {temperature, door, ended};
}
std::vector<Record> one_record(std::string topic, Qos qos, Bytes payload) {
  Record out;
  out.topic = std::move(topic);
  out.qos = qos;
  out.payload = std::move(payload);
  return {out};
}

class BatchVectors : public ::testing::Test {
 protected:
  static KeyPair writer(const Vector& vector) { return KeyPair::from_seed(vector.id<Seed>("writer seed")); }
  static Incarnation incarnation(const Vector& vector) {
    return {vector.number("incarnation number"), ByteReader(vector.bytes("incarnation random")).u64()};
  }
  static Bytes seal(BatchWriter& log, const Vector& vector, const std::vector<Record>& records, bool has_root) {
    std::vector<Bytes> encoded;
    for (const auto& record : records) encoded.push_back(encode_record(record));
    ConstantRandom seed(vector.bytes("body seed")[0]);
    return log.seal(encoded, has_root, vector.number("time"), vector.number("policy version"), writer(vector),
                    vector.id<NetworkId>("network"), seed);
  }
  static void check(const Vector& vector, const Bytes& made, const std::vector<Record>& records) {
    EXPECT_EQ(to_hex(made), vector.text("batch"));
    const auto wire = vector.bytes("batch");
    const auto read = BatchView::parse(wire).value();
    EXPECT_TRUE(read.verify(vector.id<NetworkId>("network")));
    EXPECT_EQ(to_hex(read.header_bytes), vector.text("header") + vector.text("signature"));
    EXPECT_EQ(static_cast<std::uint64_t>(read.header.stream), vector.number("stream"));
    EXPECT_EQ(read.header.channel, vector.id<ChannelId>("channel"));
    EXPECT_EQ(read.header.writer, writer(vector).node_id());
    EXPECT_EQ(read.header.incarnation, incarnation(vector));
    EXPECT_EQ(read.header.first_seq, vector.number("first seq"));
    EXPECT_EQ(read.header.count, records.size());
    EXPECT_EQ(read.header.time, vector.number("time"));
    EXPECT_EQ(read.header.policy_version, vector.number("policy version"));
    EXPECT_EQ(read.header.previous, vector.id<Hash>("previous"));
    EXPECT_EQ(read.header.body_hash, vector.id<Hash>("body hash"));
    EXPECT_EQ(read.header_hash, vector.id<Hash>("header hash"));
    const auto views = read.records().value();
    ASSERT_EQ(views.size(), records.size());
    for (std::size_t at = 0; at < records.size(); ++at) {
      EXPECT_EQ(to_hex(views[at]), vector.text("record " + std::to_string(at)));
      EXPECT_EQ(decode_record(views[at]).value(), records[at]);
    }
  }
};

TEST_F(BatchVectors, the_durable_log) {
  const Vector first("batch-durable-1"), second("batch-durable-2");
  BatchWriter log(Stream::durable, first.id<ChannelId>("channel"), incarnation(first), first.id<Hash>("previous"));
  const auto records = example_records();
  check(first, seal(log, first, records, true), records);
  EXPECT_EQ(BatchView::parse(first.bytes("batch"))->header.root, first.id<Hash>("root"));
  EXPECT_EQ(second.id<Hash>("previous"), first.id<Hash>("header hash"));
  const auto next = one_record("sensors/kitchen/temp", Qos::at_least_once, to_bytes("21.6"));
  check(second, seal(log, second, next, false), next);
}

TEST_F(BatchVectors, the_live_stream) {
  const Vector vector("batch-live-1");
  BatchWriter stream(Stream::live, vector.id<ChannelId>("channel"), incarnation(vector), {});
  const auto records = one_record("sensors/kitchen/power", Qos::at_most_once, {0, 255, 128});
  check(vector, seal(stream, vector, records, false), records);
}

TEST_F(BatchVectors, a_retained_record_alone) {
  const Vector batch("batch-durable-1"), vector("retained-1");
  const auto wire = batch.bytes("batch");
  const auto index = static_cast<std::uint32_t>(vector.number("index"));
  EXPECT_EQ(to_hex(BatchView::parse(wire)->proof_of(index).value()), vector.text("proof"));
  const auto proven = verify_proof(vector.bytes("proof"), batch.id<NetworkId>("network")).value();
  EXPECT_EQ(proven.index, index);
  EXPECT_EQ(proven.header_hash, batch.id<Hash>("header hash"));
  EXPECT_EQ(proven.record, example_records()[index]);
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), {}};
}

class ShareVectors : public ::testing::Test {
 protected:
  static void check(const std::string& name, ShareRecord record) {
    const Vector vector(name);
    const auto network = vector.id<NetworkId>("network");
    const auto signer = KeyPair::from_seed(vector.id<Seed>("signer seed"));
    record.id = vector.id<ShareId>("share id");
    record.seq = vector.number("seq");
    record.channel = vector.id<ChannelId>("channel");
    record.signer = signer.node_id();
    record.checkpoint = {vector.number("checkpoint height"), vector.id<Hash>("checkpoint block")};
    record.policy.filter = vector.text("filter");
    EXPECT_EQ(channel_id(network, vector.id<Hash>("register entry"), record.id), record.channel);
    EXPECT_EQ(to_hex(encode_share(record, signer, network)), vector.text("record"));
    const auto read = decode_share(vector.bytes("record"), network).value();
    EXPECT_EQ(read.removed, record.removed);
    EXPECT_EQ(read.read, record.read);
    EXPECT_EQ(read.id, record.id);
    EXPECT_EQ(read.seq, record.seq);
    EXPECT_EQ(read.channel, record.channel);
    EXPECT_EQ(read.signer, record.signer);
    EXPECT_EQ(read.checkpoint, record.checkpoint);
    EXPECT_EQ(read.policy, record.policy);
    EXPECT_TRUE(vector.text("record").ends_with(vector.text("policy")));
  }
};

TEST_F(ShareVectors, a_public_one) {
  ShareRecord record;
  record.read = ReadClass::everyone;
  check("share-public-1", record);
}

TEST_F(ShareVectors, one_with_every_list) {
  const Vector vector("share-secure-1");
  ShareRecord record;
  record.read = ReadClass::list;
  record.policy.readers = words(vector.text("readers"));
  record.policy.write = WriteClass::list;
  record.policy.writers = words(vector.text("writers"));
  record.policy.approve = static_cast<std::uint32_t>(vector.number("approvals"));
  record.policy.approvers = words(vector.text("approvers"));
  check("share-secure-1", record);
}

TEST_F(ShareVectors, a_removed_one) {
  ShareRecord record;
  record.removed = true;
  check("share-removed-1", record);
}

}  // namespace
}  // namespace diot
