// The packets of MQTT 3.1.1 and 5.0, byte by byte: what is built is read back, and what breaks a rule is named by the
// reason code that the standard gives it.

#include "bridge/packet.hpp"

#include <gtest/gtest.h>

#include <random>

namespace diot {
namespace {

constexpr auto v3 = Protocol::mqtt_3_1_1;
constexpr auto v5 = Protocol::mqtt_5;
constexpr std::size_t packet_max = 1 << 20;

Bytes hex(std::string_view text) {
  std::string digits;
  for (char c : text)
    if (c != ' ') digits += c;
  return from_hex(digits).value();
}

RawPacket whole(const Bytes& bytes) {
  const auto packet = next_packet(bytes, packet_max);
  EXPECT_TRUE(packet && *packet) << to_hex(bytes);
  if (!packet || !*packet) return {};
  EXPECT_EQ((*packet)->bytes, bytes.size());
  return **packet;
}

template <class T>
Reason reason_of(const Parsed<T>& parsed) {
  return parsed ? Reason::success : parsed.error().reason;
}

Properties rich_properties() {
  Properties properties;
  properties.payload_format = 1;
  properties.expiry_seconds = 77;
  properties.content_type = "text/plain";
  properties.response_topic = "answers/here";
  properties.correlation_data = Bytes{0, 1, 255};
  properties.user = {{"b", "2"}, {"a", "1"}, {"b", "2"}};
  return properties;
}

// Framing -----------------------------------------------------------------------------------------------------

TEST(Framing, NeedsEveryByteOfThePacket) {
  Bytes bytes;
  PublishOut out;
  out.topic = "a/b";
  const Bytes payload(300, 'x');
  out.payload = payload;
  encode_publish(bytes, v3, out);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto packet = next_packet(ByteView(bytes).first(size), packet_max);
    ASSERT_TRUE(packet) << size;
    EXPECT_FALSE(*packet) << size;
  }
  whole(bytes);
}

TEST(Framing, RefusesWhatNoPacketBeginsWith) {
  const auto reason = [](std::string_view bytes, std::size_t max = packet_max) {
    return reason_of(next_packet(hex(bytes), max));
  };
  EXPECT_EQ(reason("00 00"), Reason::protocol_error);                // type 0
  EXPECT_EQ(reason("c1 00"), Reason::malformed_packet);              // flags in PINGREQ
  EXPECT_EQ(reason("60 02 00 01"), Reason::malformed_packet);        // PUBREL without its flag
  EXPECT_EQ(reason("80 05"), Reason::malformed_packet);              // SUBSCRIBE without its flag
  EXPECT_EQ(reason("a0 05"), Reason::malformed_packet);              // UNSUBSCRIBE without its flag
  EXPECT_EQ(reason("30 ff ff ff ff 01"), Reason::malformed_packet);  // a length of five bytes
  EXPECT_EQ(reason("30 80 00"), Reason::malformed_packet);           // a length longer than it needs to be
  EXPECT_EQ(reason("30 ff ff ff 7f"), Reason::packet_too_large);
  EXPECT_EQ(reason("30 7f", 128), Reason::packet_too_large);
  EXPECT_EQ(reason("30 7e", 128), Reason::success);
  // MQTT 3.1 does not use those flags, and DUP may be set where it uses QoS 1.
  const auto old = [](std::string_view bytes) { return reason_of(next_packet(hex(bytes), 128, Protocol::mqtt_3_1)); };
  for (const auto good : {"c1 00", "6a 02 00 01", "8a 05", "aa 05"}) EXPECT_EQ(old(good), Reason::success) << good;
  for (const auto bad : {"60 02 00 01", "64 02 00 01", "80 05", "a0 05"})
    EXPECT_EQ(old(bad), Reason::malformed_packet) << bad;
}

// CONNECT -----------------------------------------------------------------------------------------------------

TEST(ConnectPacket, ComesBackAsBuilt) {
  Connect plain;
  plain.protocol = v3;
  plain.client_id = "sensor-1";
  plain.keep_alive_seconds = 60;

  Connect full;
  full.protocol = v5;
  full.clean_start = false;
  full.client_id = "ÿ✓";
  full.user_name = "me";
  full.password = Bytes{0, 255};
  full.session_expiry_seconds = 3600;
  full.receive_maximum = 7;
  full.maximum_packet_bytes = 9000;
  full.topic_alias_maximum = 3;
  full.request_response_information = true;
  full.request_problem_information = false;
  full.authentication_method = "X";
  full.authentication_data = Bytes{1, 2};
  full.will = Will{"last/words", to_bytes("bye"), Qos::exactly_once, true, rich_properties(), 30};

  Connect no_name = full;  // 5.0 allows a password alone
  no_name.user_name.reset();

  for (const Connect& connect : {plain, full, no_name}) {
    Bytes bytes;
    encode_connect(bytes, connect);
    const auto parsed = decode_connect(whole(bytes));
    ASSERT_TRUE(parsed) << parsed.error().what;
    EXPECT_EQ(*parsed, connect);
  }
}

TEST(ConnectPacket, BrokenRulesHaveTheirReason) {
  const auto reason = [](std::string_view body) {
    Bytes bytes = hex(body);
    bytes.insert(bytes.begin(), {0x10, static_cast<std::uint8_t>(bytes.size())});
    return reason_of(decode_connect(whole(bytes)));
  };
  const auto mqtt = [](std::string_view rest) { return "00044d515454" + std::string(rest); };
  EXPECT_EQ(reason(mqtt("04 02 003c 0001 61")), Reason::success);
  EXPECT_EQ(reason(mqtt("05 02 003c 00 0001 61")), Reason::success);
  EXPECT_EQ(reason(mqtt("06 02 003c 00 0001 61")), Reason::unsupported_protocol_version);
  EXPECT_EQ(reason("00064d5149736470 03 02 003c 0001 61"), Reason::success);
  EXPECT_EQ(reason("00064d5149736470 83 02 003c 0001 61"), Reason::success);  // a bridge
  EXPECT_EQ(reason("00064d5149736470 03 03 003c 0001 61"), Reason::success);  // a bit that 3.1 does not use
  EXPECT_EQ(reason("00064d5149736470 04 02 003c 0001 61"), Reason::unsupported_protocol_version);
  EXPECT_EQ(reason(mqtt("85 02 003c 00 0001 61")), Reason::unsupported_protocol_version);  // no bridge bit in 5.0
  EXPECT_EQ(reason(mqtt("04 03 003c 0001 61")), Reason::malformed_packet);                 // reserved flag
  EXPECT_EQ(reason(mqtt("04 0a 003c 0001 61")), Reason::malformed_packet);                 // will QoS without will
  EXPECT_EQ(reason(mqtt("04 22 003c 0001 61")), Reason::malformed_packet);                 // will retain without will
  EXPECT_EQ(reason(mqtt("04 1e 003c 0001 61 0001 62 0000")), Reason::malformed_packet);    // will QoS 3
  EXPECT_EQ(reason(mqtt("04 42 003c 0001 61 0001 62")), Reason::malformed_packet);  // password, no user name, 3.1.1
  EXPECT_EQ(reason(mqtt("04 02 003c 0001 61 00")), Reason::malformed_packet);       // left over
  EXPECT_EQ(reason(mqtt("04 02 003c 0002 61")), Reason::malformed_packet);          // cut off
  EXPECT_EQ(reason(mqtt("04 82 003c 0001 61")), Reason::malformed_packet);          // no user name there
  EXPECT_EQ(reason(mqtt("04 02 003c 0002 c080")), Reason::malformed_packet);        // not UTF-8
  EXPECT_EQ(reason(mqtt("04 02 003c 0001 00")), Reason::malformed_packet);          // U+0000
  EXPECT_EQ(reason(mqtt("04 02 003c 0003 eda080")), Reason::malformed_packet);      // a surrogate
  EXPECT_EQ(reason(mqtt("04 02 003c 0001 7f")), Reason::malformed_packet);          // a control character
  EXPECT_EQ(reason(mqtt("04 82 003c 0001 61 0001 0a")), Reason::malformed_packet);  // in the user name
  EXPECT_EQ(reason(mqtt("04 06 003c 0001 61 0001 1f 0000")), Reason::malformed_packet);   // in the will topic
  EXPECT_EQ(reason(mqtt("04 06 003c 0001 61 0001 2b 0000")), Reason::malformed_packet);   // wildcard in the will topic
  EXPECT_EQ(reason(mqtt("04 06 003c 0001 61 0000 0000")), Reason::protocol_error);        // empty will topic
  EXPECT_EQ(reason(mqtt("05 02 003c 00 0002 c080")), Reason::malformed_packet);           // not UTF-8
  EXPECT_EQ(reason(mqtt("05 02 003c 00 0001 7f")), Reason::client_identifier_not_valid);  // UTF-8, and not allowed
  // Properties
  EXPECT_EQ(reason(mqtt("05 02 003c 05 1100000001 0001 61")), Reason::success);
  EXPECT_EQ(reason(mqtt("05 02 003c 0a 1100000001 1100000001 0001 61")), Reason::protocol_error);  // twice
  EXPECT_EQ(reason(mqtt("05 02 003c 03 210000 0001 61")), Reason::protocol_error);                 // receive maximum 0
  EXPECT_EQ(reason(mqtt("05 02 003c 05 2700000000 0001 61")), Reason::protocol_error);  // maximum packet size 0
  EXPECT_EQ(reason(mqtt("05 02 003c 02 1702 0001 61")), Reason::protocol_error);        // neither 0 nor 1
  EXPECT_EQ(reason(mqtt("05 02 003c 02 1902 0001 61")), Reason::protocol_error);
  EXPECT_EQ(reason(mqtt("05 02 003c 04 16000100 0001 61")), Reason::protocol_error);      // data without method
  EXPECT_EQ(reason(mqtt("05 02 003c 02 0101 0001 61")), Reason::malformed_packet);        // a PUBLISH's property
  EXPECT_EQ(reason(mqtt("05 02 003c 02 7f01 0001 61")), Reason::malformed_packet);        // an unknown one
  EXPECT_EQ(reason(mqtt("05 02 003c 04 1100000001 0001 61")), Reason::malformed_packet);  // the list cuts it off
  EXPECT_EQ(reason(mqtt("05 02 003c ff 0001 61")), Reason::malformed_packet);             // the list is longer than all
  EXPECT_EQ(reason(mqtt("05 02 003c 8000 0001 61")), Reason::malformed_packet);  // a length with needless bytes
}

TEST(ConnectPacket, ReservedFlagsOfTheFirstByteAreZeroSinceMqtt311) {
  const auto reason = [](std::string_view bytes) {
    const Bytes packet = hex(bytes);
    return reason_of(decode_connect(whole(packet)));
  };
  for (const auto first : {"11", "12", "14", "18"}) {
    EXPECT_EQ(reason(std::string(first) + "0d 00044d515454 04 02 003c 0001 61"), Reason::malformed_packet) << first;
    EXPECT_EQ(reason(std::string(first) + "0e 00044d515454 05 02 003c 00 0001 61"), Reason::malformed_packet) << first;
    EXPECT_EQ(reason(std::string(first) + "0f 00064d5149736470 03 02 003c 0001 61"), Reason::success) << first;
  }
}

TEST(ConnectPacket, SaysItsProtocolWhateverFollows) {
  const Bytes bytes = hex("10 07 0004 4d515454 09");
  const auto claim = protocol_claim(whole(bytes));
  EXPECT_EQ(claim.name, "MQTT");
  EXPECT_EQ(claim.level, 9);
  const Bytes garbage = hex("10 02 00ff");
  EXPECT_EQ(protocol_claim(whole(garbage)).name, "");
}

TEST(ConnackPacket, ComesBackAsBuilt) {
  Connack full;
  full.session_present = true;
  full.session_expiry_seconds = 5;
  full.receive_maximum = 3;
  full.maximum_qos = Qos::at_least_once;
  full.retain_available = false;
  full.maximum_packet_bytes = 1000;
  full.assigned_client_id = "you";
  full.topic_alias_maximum = 4;
  full.reason_string = "because";
  full.user = {{"diot-lost", "3"}};
  full.wildcard_subscriptions = full.subscription_identifiers = full.shared_subscriptions = false;
  full.server_keep_alive_seconds = 30;
  full.response_information = "r";
  full.server_reference = "s";
  Bytes bytes;
  encode_connack(bytes, v5, full);
  EXPECT_EQ(decode_connack(whole(bytes), v5).value(), full);

  bytes.clear();
  Connack present;
  present.session_present = true;
  Connack refused = present;
  refused.reason = Reason::client_identifier_not_valid;
  encode_connack(bytes, v3, refused);
  EXPECT_EQ(to_hex(bytes), "20020002");  // a refusal has no session
  bytes.clear();
  encode_connack(bytes, v3, present);
  EXPECT_EQ(to_hex(bytes), "20020100");
  bytes.clear();
  encode_connack(bytes, v5, Connack{});
  EXPECT_EQ(to_hex(bytes), "2003000000");
}

// PUBLISH -----------------------------------------------------------------------------------------------------

TEST(PublishPacket, ComesBackAsBuilt) {
  const Properties properties = rich_properties();
  const std::uint32_t ids[] = {1, 200, 268'435'455};
  for (const Protocol protocol : {v3, v5})
    for (const Qos qos : {Qos::at_most_once, Qos::at_least_once, Qos::exactly_once})
      for (const std::size_t size : {0, 1, 120, 130, 20'000}) {
        const Bytes payload(size, 'p');
        PublishOut out;
        out.qos = qos;
        out.dup = qos != Qos::at_most_once;
        out.retain = size == 1;
        out.packet_id = 0xABCD;
        out.topic = "room/temp";
        out.payload = payload;
        if (size != 120) {
          out.properties = &properties;
          out.seconds_left = 5;
          out.subscription_ids = ids;
        }
        Bytes bytes{0xEE};  // appends
        const std::size_t id_offset = encode_publish(bytes, protocol, out);
        EXPECT_EQ(bytes.size() - 1, publish_bytes(protocol, out));
        if (qos != Qos::at_most_once) {
          EXPECT_EQ(bytes[1 + id_offset], 0xAB);
        }
        bytes.erase(bytes.begin());
        const auto in = decode_publish(whole(bytes), protocol);
        ASSERT_TRUE(in) << in.error().what;
        EXPECT_EQ(in->qos, qos);
        EXPECT_EQ(in->dup, out.dup);
        EXPECT_EQ(in->retain, out.retain);
        EXPECT_EQ(in->topic, out.topic);
        EXPECT_EQ(in->packet_id, qos == Qos::at_most_once ? 0 : 0xABCD);
        EXPECT_TRUE(equal(in->payload, payload));
        Properties expected;
        if (protocol == v5 && size != 120) {
          expected = properties;
          expected.expiry_seconds = 5;
          EXPECT_EQ(in->subscription_ids, std::vector<std::uint32_t>(std::begin(ids), std::end(ids)));
        }
        EXPECT_EQ(in->properties, expected);
      }
}

TEST(PublishPacket, BrokenRulesHaveTheirReason) {
  const auto reason = [](Protocol protocol, std::string_view bytes) {
    const Bytes packet = hex(bytes);
    return reason_of(decode_publish(whole(packet), protocol));
  };
  EXPECT_EQ(reason(v3, "30 03 0001 61"), Reason::success);
  EXPECT_EQ(reason(v3, "36 05 0001 61 0001"), Reason::malformed_packet);  // QoS 3
  EXPECT_EQ(reason(v3, "38 03 0001 61"), Reason::malformed_packet);       // DUP with QoS 0
  EXPECT_EQ(reason(v3, "32 05 0001 61 0000"), Reason::protocol_error);    // packet identifier 0
  EXPECT_EQ(reason(v3, "32 04 0001 61 00"), Reason::malformed_packet);    // cut off
  EXPECT_EQ(reason(v3, "30 02 0000"), Reason::malformed_packet);          // empty topic
  EXPECT_EQ(reason(v3, "30 03 0001 23"), Reason::malformed_packet);       // #
  EXPECT_EQ(reason(v3, "30 05 0003 612f2b"), Reason::malformed_packet);   // a/+
  EXPECT_EQ(reason(v3, "30 03 0001 ff"), Reason::malformed_packet);       // not UTF-8
  EXPECT_EQ(reason(v3, "30 03 0001 00"), Reason::malformed_packet);       // U+0000
  for (const auto text : {"01", "0a", "1f", "7f", "c280", "c29f", "efb790", "efb7af", "efbfbe", "efbfbf", "f09fbfbf"}) {
    const std::size_t size = std::string_view(text).size() / 2;
    const auto of = [&](std::size_t front) {  // wherever it stands
      const std::string all = to_hex(Bytes(front, 'a')) + text + to_hex(Bytes(11 - front, 'b'));
      return reason(v3, "30" + to_hex(Bytes{static_cast<std::uint8_t>(size + 13), 0}) +
                            to_hex(Bytes{static_cast<std::uint8_t>(size + 11)}) + all);
    };
    for (std::size_t front = 0; front <= 11; ++front) EXPECT_EQ(of(front), Reason::malformed_packet) << text << front;
  }
  for (const auto good : {"20", "7e", "c2a0", "efbbbf", "efb7b0", "efbfbd", "f09fbfbd", "f0aa9b94"}) {
    const std::size_t size = std::string_view(good).size() / 2;
    EXPECT_EQ(reason(v3, "30" + to_hex(Bytes{static_cast<std::uint8_t>(size + 3), 0}) +
                             to_hex(Bytes{static_cast<std::uint8_t>(size + 1)}) + "61" + good),
              Reason::success)
        << good;
  }
  EXPECT_EQ(reason(v5, "30 04 0001 61 00"), Reason::success);
  EXPECT_EQ(reason(v5, "30 0b 0001 61 07 26 0001 0a 0001 09"), Reason::success);  // line breaks in a user property
  EXPECT_EQ(reason(v5, "30 06 0001 61 02 0101"), Reason::success);
  EXPECT_EQ(reason(v5, "30 06 0001 61 02 0102"), Reason::protocol_error);  // payload format 2
  EXPECT_EQ(reason(v5, "30 03 0000 00"), Reason::protocol_error);          // neither topic nor alias
  EXPECT_EQ(reason(v5, "30 06 0000 03 230001"), Reason::success);          // the alias is the session's to know
  EXPECT_EQ(reason(v5, "30 09 0000 06 230001230001"), Reason::protocol_error);
  EXPECT_EQ(reason(v5, "30 06 0001 61 02 0b00"), Reason::protocol_error);          // subscription identifier 0
  EXPECT_EQ(reason(v5, "30 08 0001 61 04 0b010b02"), Reason::success);             // may stand more than once
  EXPECT_EQ(reason(v5, "30 08 0001 61 04 08000123"), Reason::protocol_error);      // response topic "#"
  EXPECT_EQ(reason(v5, "30 07 0001 61 03 080000"), Reason::protocol_error);        // response topic ""
  EXPECT_EQ(reason(v5, "30 09 0001 61 05 1100000001"), Reason::malformed_packet);  // a CONNECT's property
}

TEST(PublishPacket, KeepsUserPropertiesInOrder) {
  Properties properties;
  for (int at = 0; at < 50; ++at) properties.user.emplace_back(std::to_string(at % 7), std::to_string(at));
  PublishOut out;
  out.topic = "t";
  out.properties = &properties;
  Bytes bytes;
  encode_publish(bytes, v5, out);
  EXPECT_EQ(decode_publish(whole(bytes), v5)->properties.user, properties.user);
}

// Acknowledgements --------------------------------------------------------------------------------------------

TEST(AcknowledgementPacket, ComesBackAsBuilt) {
  for (const auto type : {PacketType::puback, PacketType::pubrec, PacketType::pubrel, PacketType::pubcomp})
    for (const auto reason : {Reason::success, Reason::packet_identifier_not_found, Reason::not_authorized})
      for (const std::string_view text : {"", "why"}) {
        const bool release = type == PacketType::pubrel || type == PacketType::pubcomp;
        if (release == (reason == Reason::not_authorized) && reason != Reason::success) continue;
        Bytes bytes;
        encode_acknowledgement(bytes, v5, type, 513, reason, text);
        const auto parsed = decode_acknowledgement(whole(bytes), v5);
        ASSERT_TRUE(parsed) << parsed.error().what;
        EXPECT_EQ(parsed->packet_id, 513);
        EXPECT_EQ(parsed->reason, reason);
      }
  Bytes bytes;
  encode_acknowledgement(bytes, v3, PacketType::pubrel, 513, Reason::packet_identifier_not_found, "why");
  EXPECT_EQ(to_hex(bytes), "62020201");
}

TEST(AcknowledgementPacket, BrokenRulesHaveTheirReason) {
  const auto reason = [](Protocol protocol, std::string_view bytes) {
    const Bytes packet = hex(bytes);
    return reason_of(decode_acknowledgement(whole(packet), protocol));
  };
  EXPECT_EQ(reason(v3, "40 02 0001"), Reason::success);
  EXPECT_EQ(reason(v3, "40 02 0000"), Reason::protocol_error);
  EXPECT_EQ(reason(v3, "40 03 000100"), Reason::malformed_packet);  // 3.1.1 has no reason
  EXPECT_EQ(reason(v3, "40 01 00"), Reason::malformed_packet);
  EXPECT_EQ(reason(v5, "40 03 000110"), Reason::success);
  EXPECT_EQ(reason(v5, "40 03 000101"), Reason::protocol_error);  // no such reason
  EXPECT_EQ(reason(v5, "62 03 000110"), Reason::protocol_error);  // not in a PUBREL
  EXPECT_EQ(reason(v5, "40 04 00010000"), Reason::success);       // an empty property list
  EXPECT_EQ(reason(v5, "40 05 0001000000"), Reason::malformed_packet);
  EXPECT_EQ(reason(v5, "40 07 000100 03 1f0000"), Reason::success);
  EXPECT_EQ(reason(v5, "40 0a 000100 06 1f00001f0000"), Reason::protocol_error);
}

// SUBSCRIBE and the like --------------------------------------------------------------------------------------

TEST(SubscribePacket, ComesBackAsBuilt) {
  Subscribe subscribe{77, 268'435'455, {}};
  for (const Qos qos : {Qos::at_most_once, Qos::at_least_once, Qos::exactly_once})
    for (const auto handling : {RetainHandling::send, RetainHandling::send_if_new, RetainHandling::never})
      for (const bool flag : {false, true}) subscribe.requests.push_back({"a/+/#", {qos, flag, !flag, handling}});
  Bytes bytes;
  encode_subscribe(bytes, v5, subscribe);
  const auto parsed = decode_subscribe(whole(bytes), v5);
  ASSERT_TRUE(parsed) << parsed.error().what;
  EXPECT_EQ(parsed->packet_id, 77);
  EXPECT_EQ(parsed->subscription_id, 268'435'455u);
  ASSERT_EQ(parsed->requests.size(), subscribe.requests.size());
  for (std::size_t at = 0; at < subscribe.requests.size(); ++at)
    EXPECT_EQ(parsed->requests[at].options, subscribe.requests[at].options);

  bytes.clear();
  encode_subscribe(bytes, v3, {5, 0, {{"x", {Qos::exactly_once, {}, {}, {}}}}});
  EXPECT_EQ(to_hex(bytes),
            "82060005000178"
            "02");
}

TEST(SubscribePacket, BrokenRulesHaveTheirReason) {
  const auto reason = [](Protocol protocol, std::string_view bytes) {
    const Bytes packet = hex(bytes);
    return reason_of(decode_subscribe(whole(packet), protocol));
  };
  EXPECT_EQ(reason(v3, "82 06 0001 000161 02"), Reason::success);
  EXPECT_EQ(reason(v3, "82 06 0001 000161 03"), Reason::malformed_packet);      // QoS 3
  EXPECT_EQ(reason(v3, "82 06 0001 000161 04"), Reason::malformed_packet);      // reserved in 3.1.1
  EXPECT_EQ(reason(v3, "82 02 0001"), Reason::protocol_error);                  // no filter
  EXPECT_EQ(reason(v3, "82 06 0000 000161 00"), Reason::malformed_packet);      // packet identifier 0
  EXPECT_EQ(reason(v3, "82 05 0001 0000 00"), Reason::malformed_packet);        // empty filter
  EXPECT_EQ(reason(v3, "82 07 0001 0003612f62"), Reason::malformed_packet);     // no options
  EXPECT_EQ(reason(v3, "82 07 0001 00026123 00"), Reason::malformed_packet);    // a#
  EXPECT_EQ(reason(v3, "82 08 0001 0003232f61 00"), Reason::malformed_packet);  // #/a
  EXPECT_EQ(reason(v3, "82 07 0001 0002612b 00"), Reason::malformed_packet);    // a+
  EXPECT_EQ(reason(v3, "82 08 0001 00032b2f2b 00"), Reason::success);           // +/+
  EXPECT_EQ(reason(v5, "82 07 0001 00 000161 02"), Reason::success);
  EXPECT_EQ(reason(v5, "82 07 0001 00 000161 03"), Reason::protocol_error);    // QoS 3
  EXPECT_EQ(reason(v5, "82 07 0001 00 000161 30"), Reason::protocol_error);    // retain handling 3
  EXPECT_EQ(reason(v5, "82 07 0001 00 000161 40"), Reason::malformed_packet);  // reserved
  EXPECT_EQ(reason(v5, "82 09 0001 02 0b00 000161 00"), Reason::protocol_error);
  EXPECT_EQ(reason(v5, "82 0b 0001 04 0b010b02 000161 00"), Reason::protocol_error);                // twice
  EXPECT_EQ(reason(v5, "82 12 0001 00 000c 2473686172652f672f746f70 05"), Reason::protocol_error);  // No Local, shared
  const auto shared = [&](Protocol protocol, const std::string& filter) {
    const bool list = protocol == v5;
    Bytes bytes{0x82, static_cast<std::uint8_t>(5 + list + filter.size()), 0, 1};
    if (list) bytes.push_back(0);
    ByteWriter(bytes).u16(static_cast<std::uint16_t>(filter.size()));
    append(bytes, as_bytes(filter));
    bytes.push_back(0);
    return reason_of(decode_subscribe(whole(bytes), protocol));
  };
  for (const auto bad : {"$share/", "$share/g", "$share/g/", "$share//t", "$share/+/t"}) {
    EXPECT_EQ(shared(v5, bad), Reason::protocol_error) << bad;
    EXPECT_EQ(shared(v3, bad), Reason::success) << bad;  // a filter as any other there
  }
  EXPECT_EQ(shared(v5, "$share/#/t"), Reason::malformed_packet);
  EXPECT_EQ(shared(v5, "$share/g//"), Reason::success);
}

TEST(UnsubscribePacket, IsReadAndChecked) {
  for (const Protocol protocol : {v3, v5}) {
    Bytes bytes;
    encode_unsubscribe(bytes, protocol, {9, {"a", "b/#"}});
    const auto parsed = decode_unsubscribe(whole(bytes), protocol);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->packet_id, 9);
    EXPECT_EQ(parsed->filters, (std::vector<std::string_view>{"a", "b/#"}));
  }
  const Bytes none = hex("a2 02 0001"), bad = hex("a2 06 0001 00026123");
  EXPECT_EQ(reason_of(decode_unsubscribe(whole(none), v3)), Reason::protocol_error);
  EXPECT_EQ(reason_of(decode_unsubscribe(whole(bad), v3)), Reason::malformed_packet);
  const Bytes zero = hex("a2 05 0000 000161");
  EXPECT_EQ(reason_of(decode_unsubscribe(whole(zero), v3)), Reason::malformed_packet);
}

TEST(SubackPacket, FoldsFailuresInto80For311) {
  const SubscribeAnswer answer{4, {Reason::granted_qos_2, Reason::topic_filter_invalid}};
  Bytes bytes;
  encode_subscribe_answer(bytes, v3, PacketType::suback, answer);
  EXPECT_EQ(to_hex(bytes), "900400040280");
  bytes.clear();
  encode_subscribe_answer(bytes, v5, PacketType::suback, answer);
  EXPECT_EQ(to_hex(bytes), "9005000400028f");
  EXPECT_EQ(decode_subscribe_answer(whole(bytes), v5)->reasons, answer.reasons);
  bytes.clear();
  encode_subscribe_answer(bytes, v3, PacketType::unsuback, answer);
  EXPECT_EQ(to_hex(bytes), "b0020004");
}

// DISCONNECT and AUTH -----------------------------------------------------------------------------------------

TEST(DisconnectPacket, ComesBackAsBuiltAndIsChecked) {
  Bytes bytes;
  encode_disconnect(bytes, v5, {});
  EXPECT_EQ(to_hex(bytes), "e000");
  bytes.clear();
  encode_disconnect(bytes, v5, {Reason::session_taken_over, 9, "gone"});
  const auto parsed = decode_disconnect(whole(bytes), v5);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->reason, Reason::session_taken_over);
  EXPECT_EQ(parsed->session_expiry_seconds, 9u);
  EXPECT_EQ(parsed->reason_string, "gone");
  EXPECT_EQ(reason_of(decode_disconnect(whole(hex("e0 01 00")), v3)), Reason::malformed_packet);
  const Bytes reason_only = hex("e0 01 04"), left_over = hex("e0 03 00 00 00");
  EXPECT_EQ(decode_disconnect(whole(reason_only), v5)->reason, Reason::disconnect_with_will);
  EXPECT_EQ(reason_of(decode_disconnect(whole(left_over), v5)), Reason::malformed_packet);
}

TEST(AuthPacket, ComesBackAsBuilt) {
  Bytes bytes;
  encode_auth(bytes, {Reason::continue_authentication, "SCRAM", Bytes{1}});
  const auto parsed = decode_auth(whole(bytes));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->method, "SCRAM");
  EXPECT_EQ(parsed->data, Bytes{1});
  const Bytes bad = hex("f0 02 01 00");
  EXPECT_EQ(reason_of(decode_auth(whole(bad))), Reason::malformed_packet);
}

// Anything ----------------------------------------------------------------------------------------------------

/// What a decoder accepts does not depend on what follows, and no bytes make it read outside (ASan watches).
TEST(AnyBytes, NeverDoMoreThanBreakARule) {
  std::mt19937 random(20261122);
  std::vector<Bytes> seeds(8);
  Connect connect;
  connect.client_id = "abc";
  connect.will = Will{"w", to_bytes("x"), Qos::at_least_once, false, rich_properties(), 4};
  encode_connect(seeds[0], connect);
  const Properties properties = rich_properties();
  PublishOut out;
  out.qos = Qos::at_least_once;
  out.packet_id = 3;
  out.topic = "a/b/c";
  out.properties = &properties;
  out.seconds_left = 9;
  encode_publish(seeds[1], v5, out);
  encode_subscribe(seeds[2], v5, {5, 7, {{"a/#", {}}, {"+/b", {Qos::exactly_once, true, true, {}}}}});
  encode_unsubscribe(seeds[3], v5, {5, {"a/#", "b"}});
  encode_acknowledgement(seeds[4], v5, PacketType::pubrec, 5, Reason::quota_exceeded, "full");
  encode_disconnect(seeds[5], v5, {Reason::success, 5, "bye"});
  encode_auth(seeds[6], {Reason::reauthenticate, "m", Bytes{1, 2, 3}});
  Connack connack;
  connack.assigned_client_id = "z";
  connack.user = {{"a", "b"}};
  encode_connack(seeds[7], v5, connack);
  std::size_t accepted = 0;
  for (int round = 0; round < 100'000; ++round) {
    Bytes bytes = seeds[random() % seeds.size()];
    for (auto changes = random() % 4; changes > 0; --changes) {
      const std::size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0: bytes[at] = static_cast<std::uint8_t>(random()); break;
        case 1: bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(at)); break;
        default: bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::uint8_t>(random()));
      }
      if (bytes.empty()) bytes.push_back(0x30);
    }
    const auto packet = next_packet(bytes, packet_max);
    if (!packet || !*packet) continue;
    const Protocol protocol = random() % 2 ? v3 : v5;
    const auto note = [&](const auto& parsed) {
      accepted += parsed.has_value();
      EXPECT_TRUE(parsed || is_failure(parsed.error().reason)) << to_hex(bytes);
    };
    switch ((*packet)->type) {
      case PacketType::connect: note(decode_connect(**packet)); break;
      case PacketType::connack: note(decode_connack(**packet, protocol)); break;
      case PacketType::publish: note(decode_publish(**packet, protocol)); break;
      case PacketType::subscribe: note(decode_subscribe(**packet, protocol)); break;
      case PacketType::unsubscribe: note(decode_unsubscribe(**packet, protocol)); break;
      case PacketType::disconnect: note(decode_disconnect(**packet, protocol)); break;
      case PacketType::auth: note(decode_auth(**packet)); break;
      case PacketType::suback:
      case PacketType::unsuback: note(decode_subscribe_answer(**packet, protocol)); break;
      case PacketType::pingreq:
      case PacketType::pingresp: break;
      default: note(decode_acknowledgement(**packet, protocol));
    }
  }
  EXPECT_GT(accepted, 1000u);
}

TEST(TopicFilter, IsWellFormedAsSection471Says) {
  for (const auto good : {"#", "+", "/", "a//b", "+/+/#", "a/+/b", "/+", "a b"})
    EXPECT_TRUE(is_topic_filter(good)) << good;
  for (const auto bad : {"", "##", "a#", "#/a", "a/#/b", "++", "a+", "+a", "a/+b/c"})
    EXPECT_FALSE(is_topic_filter(bad)) << bad;
}

}  // namespace
}  // namespace diot
