// The tables of the standards, every cell: what may begin a packet (table 2-2), which property stands where (table 2-4),
// and which reason codes an acknowledgement has (tables 3-4 to 3-7).

#include <gtest/gtest.h>

#include "bridge/packet.hpp"

namespace diot {
namespace {

Reason reason_of(const auto& parsed) { return parsed ? Reason::success : parsed.error().reason; }

TEST(FirstByte, HasItsReservedFlags) {
  for (int byte = 0; byte < 256; ++byte) {
    const int type = byte >> 4, flags = byte & 0x0F;
    const bool answered_step = type == 6 || type == 8 || type == 10;  // PUBREL, SUBSCRIBE, UNSUBSCRIBE
    // The flags of a PUBLISH are its own, and CONNECT's are judged when its version is known.
    const bool good = type == 1 || type == 3 || (answered_step ? flags == 2 : flags == 0);
    const Reason expected = type == 0 ? Reason::protocol_error : good ? Reason::success : Reason::malformed_packet;
    const Bytes bytes{static_cast<std::uint8_t>(byte), 2, 0, 1};
    for (const Protocol protocol : {Protocol::mqtt_3_1_1, Protocol::mqtt_5})
      EXPECT_EQ(reason_of(next_packet(bytes, 100, protocol)), expected) << byte;
    EXPECT_EQ(reason_of(next_packet(ByteView(bytes).first(1), 100)), expected)
        << byte << ", before its length is there";
  }
}

struct Row {
  int id;
  const char* sample;  ///< a good value, in hex
  const char* places;  ///< a letter for each packet that may have it, in the order of `packets`
};
/// C CONNECT, W the will, K CONNACK, P PUBLISH, a PUBACK, r PUBREC, l PUBREL, c PUBCOMP, S SUBSCRIBE, s SUBACK,
/// U UNSUBSCRIBE, u UNSUBACK, D DISCONNECT, A AUTH.
constexpr std::string_view packets = "CWKParlcSsUuDA";
const PropertyPlace places[] = {PropertyPlace::connect,
                                PropertyPlace::will,
                                place_of(PacketType::connack),
                                place_of(PacketType::publish),
                                place_of(PacketType::puback),
                                place_of(PacketType::pubrec),
                                place_of(PacketType::pubrel),
                                place_of(PacketType::pubcomp),
                                place_of(PacketType::subscribe),
                                place_of(PacketType::suback),
                                place_of(PacketType::unsubscribe),
                                place_of(PacketType::unsuback),
                                place_of(PacketType::disconnect),
                                PropertyPlace::auth};
constexpr Row rows[] = {{1, "01", "WP"},
                        {2, "00000001", "WP"},
                        {3, "000178", "WP"},
                        {8, "000178", "WP"},
                        {9, "0001ff", "WP"},
                        {11, "8001", "PS"},
                        {17, "00000001", "CKD"},
                        {18, "000178", "K"},
                        {19, "0001", "K"},
                        {21, "000178", "CKA"},
                        {22, "0001ff", "CKA"},
                        {23, "01", "C"},
                        {24, "00000001", "W"},
                        {25, "01", "C"},
                        {26, "000178", "K"},
                        {28, "000178", "KD"},
                        {31, "000178", "KarlcsuDA"},
                        {33, "0001", "CK"},
                        {34, "0001", "CK"},
                        {35, "0001", "P"},
                        {36, "01", "K"},
                        {37, "01", "K"},
                        {38, "00016e000176", "CWKParlcSsUuDA"},
                        {39, "00000001", "CK"},
                        {40, "01", "K"},
                        {41, "01", "K"},
                        {42, "01", "K"}};

Reason read(PropertyPlace place, const Bytes& list) {
  Bytes bytes;
  PacketWriter(bytes).properties(list);
  PacketReader in(bytes);
  in.properties(place, [](const PropertyValue&) {});
  in.finish();
  return in.ok() ? Reason::success : in.violation().reason;
}

TEST(Properties, StandWhereTable24Says) {
  for (const Row& row : rows)
    for (std::size_t at = 0; at < packets.size(); ++at) {
      SCOPED_TRACE(std::to_string(row.id) + " in " + packets[at]);
      const bool allowed = std::string_view(row.places).find(packets[at]) != std::string_view::npos;
      Bytes one{static_cast<std::uint8_t>(row.id)};
      append(one, from_hex(row.sample).value());
      EXPECT_EQ(read(places[at], one), allowed ? Reason::success : Reason::malformed_packet);
      for (std::size_t size = 1; size < one.size(); ++size)
        EXPECT_EQ(read(places[at], {one.begin(), one.begin() + static_cast<std::ptrdiff_t>(size)}),
                  Reason::malformed_packet);
      if (!allowed) continue;
      Bytes two = one;
      append(two, one);
      const bool repeatable = row.id == 38 || (row.id == 11 && packets[at] == 'P');
      EXPECT_EQ(read(places[at], two), repeatable ? Reason::success : Reason::protocol_error);
    }
}

TEST(Properties, OfOtherNumbersAreMalformed) {
  for (std::uint32_t id = 0; id <= 0x4000; ++id) {
    if (std::ranges::any_of(rows, [&](const Row& row) { return row.id == static_cast<int>(id); })) continue;
    Bytes list;
    PacketWriter(list).varint(id);
    list.insert(list.end(), 4, 1);
    for (const PropertyPlace place : places) EXPECT_EQ(read(place, list), Reason::malformed_packet) << id;
  }
  for (const auto* number : {"ffff7f", "ffffff7f", "8080808001", "8100", "a600"})  // too large, too long, padded
    for (const PropertyPlace place : places)
      EXPECT_EQ(read(place, from_hex(std::string(number) + "01").value()), Reason::malformed_packet) << number;
}

TEST(AcknowledgementPacket, HasOnlyTheReasonCodesOfItsTable) {
  const std::string_view taken("\x00\x10\x80\x83\x87\x90\x91\x97\x99", 9), released("\x00\x92", 2);
  for (int type = 4; type <= 7; ++type)
    for (int code = 0; code < 256; ++code) {
      const Bytes bytes{static_cast<std::uint8_t>(type << 4 | (type == 6 ? 2 : 0)), 3, 0, 1,
                        static_cast<std::uint8_t>(code)};
      const auto known = type < 6 ? taken : released;
      EXPECT_EQ(
          reason_of(decode_acknowledgement(**next_packet(bytes, 100), Protocol::mqtt_5)),
          known.find(static_cast<char>(code)) != std::string_view::npos ? Reason::success : Reason::protocol_error)
          << type << ", " << code;
    }
}

}  // namespace
}  // namespace diot
