"""The same raw packets to diot and to mosquitto 2.0.11, which must get the same answers. Where they differ, the statement of
the standard that decides stands beside the case, and what diot answers instead."""

import contextlib
import os
import socket
import struct
import subprocess
import tempfile
import time
import unittest

import harness
from mqtt311 import packet, text

CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE = 1, 3, 4, 5, 6, 7, 8, 10
NAMES = {2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL", 7: "PUBCOMP", 9: "SUBACK", 11: "UNSUBACK",
         13: "PINGRESP", 14: "DISCONNECT", 15: "AUTH"}
PING = b"\xc0\x00"
SILENCE_S = 10


def u16(value):
    return struct.pack(">H", value)


def varint(value):
    out = bytearray()
    while True:
        value, digit = value >> 7, value & 0x7F
        out.append(digit | 0x80 if value else digit)
        if not value:
            return bytes(out)


def props(data=b""):
    return varint(len(data)) + data


class V:
    """Packets of one version: in 5.0 with a property list, which is empty unless given."""

    def __init__(self, level):
        self.level = level
        self.five = level == 5

    def p(self, data=b""):
        return props(data) if self.five else b""

    def connect(self, flags=2, client_id="oracle", payload=b"", properties=b"", name="MQTT", level=None, keep_alive=60):
        return packet(CONNECT, 0, text(name) + bytes([self.level if level is None else level, flags]) + u16(keep_alive) +
                      self.p(properties) + text(client_id) + payload)

    def publish(self, topic, payload=b"x", qos=0, packet_id=1, flags=0, properties=b""):
        topic = topic if isinstance(topic, bytes) else topic.encode()
        return packet(PUBLISH, flags | qos << 1, u16(len(topic)) + topic + (u16(packet_id) if qos else b"") +
                      self.p(properties) + payload)

    def subscribe(self, *filters, packet_id=1, properties=b"", flags=2):
        body = b"".join(u16(len(f.encode())) + f.encode() + bytes([options]) for f, options in filters)
        return packet(SUBSCRIBE, flags, u16(packet_id) + self.p(properties) + body)

    def unsubscribe(self, *filters, packet_id=1, flags=2):
        return packet(UNSUBSCRIBE, flags, u16(packet_id) + self.p() + b"".join(text(f) for f in filters))

    def ack(self, kind, packet_id, rest=b""):
        return packet(kind, 2 if kind == PUBREL else 0, u16(packet_id) + rest)


def cases(v):
    """name → the packets of one connection. Those that need a session begin with `on`."""
    on = v.connect()
    bad_utf8 = {"null": b"a\0b", "surrogate": b"\xed\xa0\x80", "overlong": b"\xc0\x80", "cut": b"\xe2\x82",
                "too high": b"\xf4\x90\x80\x80", "continuation": b"\x80"}
    out = {
        "connect": [on],
        "connect, no client id": [v.connect(client_id="")],
        "connect, no client id, session kept": [v.connect(flags=0, client_id="")],
        "connect, reserved flag": [v.connect(flags=3)],
        "connect, will QoS without will": [v.connect(flags=0x0A)],
        "connect, will retain without will": [v.connect(flags=0x22)],
        "connect, will QoS 3": [v.connect(flags=0x1E, payload=v.p() + text("w") + text("x"))],
        "connect, will": [v.connect(flags=0x06, payload=v.p() + text("w") + text("x")), PING],
        "connect, will topic with wildcard": [v.connect(flags=0x06, payload=v.p() + text("w/#") + text("x"))],
        "connect, will topic empty": [v.connect(flags=0x06, payload=v.p() + text("") + text("x"))],
        "connect, user name": [v.connect(flags=0x82, payload=text("u"))],
        "connect, user name and password": [v.connect(flags=0xC2, payload=text("u") + text("p"))],
        "connect, password alone": [v.connect(flags=0x42, payload=text("p"))],
        "connect, user name missing": [v.connect(flags=0x82)],
        "connect, bytes left over": [v.connect(payload=b"\0")],
        "connect, another protocol name": [v.connect(name="MQTX")],
        "connect, level 6": [v.connect(level=6)],
        "connect, level 0": [v.connect(level=0)],
        "connect, flags in the first byte": [packet(CONNECT, 1, on[2:])],
        "connect twice": [on, on],
        "connect cut off": [packet(CONNECT, 0, on[2:8])],
        "connect, empty": [packet(CONNECT, 0, b"")],
        "publish first": [v.publish("a")],
        "ping first": [PING],
        "subscribe first": [v.subscribe(("a", 0))],
        "disconnect first": [packet(14, 0, b"")],
        "ping": [on, PING],
        "ping with flags": [on, b"\xc1\x00"],
        "ping with a body": [on, b"\xc0\x01\x00"],
        "type 0": [on, b"\x00\x00"],
        "type 15": [on, b"\xf0\x00"],
        "server's packet CONNACK": [on, b"\x20\x02\x00\x00" if not v.five else b"\x20\x03\x00\x00\x00"],
        "server's packet SUBACK": [on, packet(9, 0, u16(1) + v.p() + b"\0")],
        "server's packet UNSUBACK": [on, packet(11, 0, u16(1) + v.p() + (b"\0" if v.five else b""))],
        "server's packet PINGRESP": [on, b"\xd0\x00"],
        "length of five bytes": [on, b"\x30\xff\xff\xff\xff\x01"],
        "subscribe": [on, v.subscribe(("a", 0)), v.subscribe(("b/+", 1), ("c/#", 2), packet_id=7)],
        "subscribe twice": [on, v.subscribe(("a", 0)), v.subscribe(("a", 1)), v.publish("a", qos=1)],
        "subscribe, no filter": [on, v.subscribe()],
        "subscribe, packet id 0": [on, v.subscribe(("a", 0), packet_id=0)],
        "subscribe, QoS 3": [on, v.subscribe(("a", 3))],
        "subscribe, reserved bits": [on, v.subscribe(("a", 0xC0))],
        "subscribe, flags 0": [on, v.subscribe(("a", 0), flags=0)],
        "subscribe, flags 3": [on, v.subscribe(("a", 0), flags=3)],
        "subscribe, empty filter": [on, v.subscribe(("", 0))],
        "subscribe, no options": [on, packet(SUBSCRIBE, 2, u16(1) + v.p() + text("a"))],
        "subscribe, $share": [on, v.subscribe(("$share/g/a", 1)), v.publish("a", qos=1)],
        "unsubscribe": [on, v.subscribe(("a", 0)), v.unsubscribe("a"), v.publish("a"), v.unsubscribe("a")],
        "unsubscribe, no filter": [on, v.unsubscribe()],
        "unsubscribe, packet id 0": [on, v.unsubscribe("a", packet_id=0)],
        "unsubscribe, flags 0": [on, v.unsubscribe("a", flags=0)],
        "unsubscribe, empty filter": [on, v.unsubscribe("")],
        "publish QoS 0": [on, v.subscribe(("a", 2)), v.publish("a")],
        "publish QoS 1": [on, v.subscribe(("a", 2)), v.publish("a", qos=1, packet_id=9)],
        "publish QoS 2": [on, v.subscribe(("a", 2)), v.publish("a", qos=2, packet_id=9), v.ack(PUBREL, 9)],
        "publish QoS 2 twice": [on, v.subscribe(("a", 0)), v.publish("a", qos=2, packet_id=9),
                                v.publish("a", qos=2, packet_id=9, flags=8), v.ack(PUBREL, 9)],
        "publish QoS 3": [on, v.publish("a", qos=3)],
        "publish, DUP with QoS 0": [on, v.publish("a", flags=8)],
        "publish, packet id 0": [on, v.publish("a", qos=1, packet_id=0)],
        "publish, empty topic": [on, v.publish("")],
        "publish, no payload": [on, v.subscribe(("a", 0)), v.publish("a", b"")],
        "publish, topic with +": [on, v.publish("a/+")],
        "publish, topic with #": [on, v.publish("#")],
        "publish, nobody listens": [on, v.publish("nobody", qos=1), v.publish("nobody", qos=2, packet_id=2)],
        "publish, cut off": [on, packet(PUBLISH, 2, u16(1) + b"a" + b"\0")],
        "publish, topic longer than the packet": [on, packet(PUBLISH, 0, u16(9) + b"a")],
        "publish to $SYS": [on, v.publish("$SYS/x", qos=1)],
        "publish to $share": [on, v.publish("$share/g/a", qos=1)],
        "publish, retained for nobody": [on, v.publish("alone", qos=1, flags=1), v.publish("alone", b"", qos=1, flags=1)],
        "publish, 200 slashes": [on, v.subscribe(("/" * 200, 0)), v.publish("/" * 200)],
        "publish, 201 slashes": [on, v.publish("/" * 201, qos=1)],
        "subscribe, 201 slashes": [on, v.subscribe(("/" * 201, 0))],
        "publish, leading slash": [on, v.subscribe(("/+", 0)), v.publish("/a"), v.publish("a")],
        "publish, wildcards and $": [on, v.subscribe(("#", 0)), v.publish("$x/a"), v.publish("x/a")],
        "publish, # matches the parent": [on, v.subscribe(("a/#", 0)), v.publish("a"), v.publish("a/b/c")],
        "publish, retained to its subscriber": [on, v.subscribe(("r", 1)), v.publish("r", qos=1, flags=1),
                                                v.subscribe(("r", 1)), v.publish("r", b"", flags=1)],
        "publish, alone in overlapping filters": [on, v.subscribe(("o/#", 0)), v.publish("o/1", qos=1)],
        "puback unknown": [on, v.ack(PUBACK, 77)],
        "pubrec unknown": [on, v.ack(PUBREC, 77)],
        "pubrel unknown": [on, v.ack(PUBREL, 77)],
        "pubcomp unknown": [on, v.ack(PUBCOMP, 77)],
        "puback, packet id 0": [on, v.ack(PUBACK, 0)],
        "puback cut off": [on, packet(PUBACK, 0, b"\0")],
        "pubrel with flags 0": [on, packet(PUBREL, 0, u16(1))],
        "disconnect": [on, packet(14, 0, b"")],
        "disconnect with flags": [on, packet(14, 1, b"")],
        "after disconnect": [on, packet(14, 0, b""), PING],
    }
    for bad in ("a#", "a/#/b", "#/a", "a+", "+a", "a/b+/c", "##", "++"):
        out[f"subscribe {bad}"] = [on, v.subscribe((bad, 0))]
        out[f"unsubscribe {bad}"] = [on, v.unsubscribe(bad)]
    for name, data in bad_utf8.items():
        out[f"publish, topic with UTF-8 {name}"] = [on, v.publish(data)]
        out[f"connect, client id with UTF-8 {name}"] = [
            packet(CONNECT, 0, text("MQTT") + bytes([v.level, 2]) + u16(60) + v.p() + u16(len(data)) + data)]
    if not v.five:
        out["disconnect with a body"] = [on, packet(14, 0, b"\0")]
        out["puback with a reason"] = [on, packet(PUBACK, 0, u16(1) + b"\0")]
        out["level 3 as MQIsdp"] = [v.connect(name="MQIsdp", level=3), PING]
        return out

    def property_cases(where, build, allowed):
        values = {1: b"\1\0", 2: b"\2" + b"\0\0\0\5", 3: b"\3" + text("c"), 8: b"\x08" + text("r"), 9: b"\x09" + text("d"),
                  11: b"\x0b\1", 17: b"\x11\0\0\0\0", 18: b"\x12" + text("i"), 19: b"\x13\0\1", 22: b"\x16" + text("d"),
                  23: b"\x17\1", 24: b"\x18\0\0\0\1", 25: b"\x19\0", 26: b"\x1a" + text("r"), 28: b"\x1c" + text("s"),
                  31: b"\x1f" + text("why"), 33: b"\x21\0\5", 34: b"\x22\0\5", 35: b"\x23\0\1", 36: b"\x24\1",
                  37: b"\x25\1", 38: b"\x26" + text("n") + text("v"), 39: b"\x27\0\1\0\0", 40: b"\x28\1", 41: b"\x29\1",
                  42: b"\x2a\1", 5: b"\5\0", 43: b"\x2b\0", 127: b"\x7f\0"}
        for number, value in values.items():
            out[f"{where}, property {number}"] = build(value)
            if number in allowed and number != 38:
                out[f"{where}, property {number} twice"] = build(value + value)
            if number in allowed:
                out[f"{where}, property {number} cut off"] = build(value[:-1])

    property_cases("connect", lambda data: [v.connect(properties=data)], {17, 23, 25, 33, 34, 38, 39})
    property_cases("will", lambda data: [v.connect(flags=6, payload=props(data) + text("w") + text("x")), PING],
                   {1, 2, 3, 8, 9, 24, 38})
    property_cases("publish", lambda data: [on, v.publish("p", properties=data)], {1, 2, 3, 8, 9, 35, 38})
    property_cases("subscribe", lambda data: [on, v.subscribe(("a", 0), properties=data)], {11, 38})
    property_cases("disconnect", lambda data: [on, packet(14, 0, b"\0" + props(data))], {17, 31, 38})
    property_cases("unsubscribe", lambda data: [on, packet(UNSUBSCRIBE, 2, u16(1) + props(data) + text("a"))], {38})
    for name, kind in (("puback", PUBACK), ("pubrec", PUBREC), ("pubrel", PUBREL), ("pubcomp", PUBCOMP)):
        property_cases(name, lambda data, kind=kind: [on, v.ack(kind, 5, b"\0" + props(data))], {31, 38})
    for code in range(256):
        out[f"disconnect, reason {code:02x}"] = [on, bytes([0xE0, 1, code])]
    out.update({
        "connect, receive maximum 0": [v.connect(properties=b"\x21\0\0")],
        "connect, maximum packet size 0": [v.connect(properties=b"\x27\0\0\0\0")],
        "connect, request problem 2": [v.connect(properties=b"\x17\2")],
        "connect, request response 2": [v.connect(properties=b"\x19\2")],
        "connect, authentication method": [v.connect(properties=b"\x15" + text("NONE"))],
        "connect, property length too long": [packet(CONNECT, 0, text("MQTT") + b"\5\2\0\x3c" + b"\x7f" + text("a"))],
        "auth without method": [on, b"\xf0\x02\x18\x00"],
        "publish, payload format 2": [on, v.publish("p", properties=b"\1\2")],
        "publish, topic alias": [on, v.subscribe(("p", 0)), v.publish("p", properties=b"\x23\0\1"),
                                 v.publish("", properties=b"\x23\0\1")],
        "publish, topic alias 0": [on, v.publish("p", properties=b"\x23\0\0")],
        "publish, topic alias unknown": [on, v.publish("", properties=b"\x23\0\1")],
        "publish, topic alias too high": [on, v.publish("p", properties=b"\x23\xff\xff")],
        "publish, response topic with wildcard": [on, v.publish("p", properties=b"\x08" + text("a/#"))],
        "publish, response topic empty": [on, v.publish("p", properties=b"\x08" + text(""))],
        "publish, user property with null": [on, v.publish("p", properties=b"\x26" + text("n") + u16(1) + b"\0")],
        "publish, subscription identifier": [on, v.publish("p", properties=b"\x0b\1")],
        "subscribe, identifier 0": [on, v.subscribe(("a", 0), properties=b"\x0b\0")],
        "subscribe, identifier": [on, v.subscribe(("a", 0), properties=b"\x0b\x80\1"), v.publish("a")],
        "subscribe, retain handling 3": [on, v.subscribe(("a", 0x30))],
        "subscribe, no local": [on, v.subscribe(("a", 4)), v.publish("a"), v.publish("b")],
        "subscribe, no local, shared": [on, v.subscribe(("$share/g/a", 4))],
        "subscribe, retain as published": [on, v.subscribe(("q", 8)), v.publish("q", flags=1), v.publish("q", b"", flags=1)],
        "disconnect, expiry after none": [on, packet(14, 0, b"\0" + props(b"\x11\0\0\0\5"))],
        "puback, unknown reason": [on, v.ack(PUBACK, 1, b"\x01")],
        "pubrel, reason of another": [on, v.ack(PUBREL, 1, b"\x10")],
        "pubrec with failure": [on, v.ack(PUBREC, 77, b"\x80")],
        "ping, padded length": [on, b"\xc0\x80\x00"],
    })
    return out


def describe(kind, flags, body, five):
    """What counts of an answer, as text."""
    name = NAMES.get(kind, f"type {kind}")
    if kind == 2:
        return f"CONNACK {body[1]:02x}" + (" present" if body[0] & 1 else "")
    if kind == 3:
        size = struct.unpack(">H", body[:2])[0]
        topic, rest = body[2:2 + size].decode(), body[2 + size:]
        qos = flags >> 1 & 3
        rest = rest[2:] if qos else rest
        rest = rest[1 + rest[0]:] if five else rest
        return f"PUBLISH {topic}={rest.decode()} q{qos}" + (" retain" if flags & 1 else "") + (" dup" if flags & 8 else "")
    if kind in (4, 5, 6, 7):
        reason = body[2] if len(body) > 2 else 0
        return f"{name} #{struct.unpack('>H', body[:2])[0]} {reason:02x}"
    if kind in (9, 11):
        codes = body[2:] if not five else body[3 + body[2]:]
        return f"{name} #{struct.unpack('>H', body[:2])[0]} {codes.hex()}"
    if kind == 14:
        return f"DISCONNECT {body[0] if body else 0:02x}"
    return name


def converse(port, packets, five, expected=None):
    """The answers to the packets and to a PINGREQ behind them, which ends the conversation, without the PINGRESPs; "closed"
    if the broker ended it. Acknowledgements may come after the PINGRESP: as many answers as `expected` has are waited for."""
    out, data, pings = [], bytearray(), 0
    wanted_pings = sum(p == PING for p in packets) + 1
    deadline = time.monotonic() + SILENCE_S
    with contextlib.closing(socket.create_connection(("127.0.0.1", port))) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for one in packets:
                peer.sendall(one)
            peer.sendall(PING)
        except OSError:
            pass
        while True:
            while len(data) >= 2:
                length, at = 0, 1
                while at < len(data):
                    length |= (data[at] & 0x7F) << 7 * (at - 1)
                    at += 1
                    if not data[at - 1] & 0x80:
                        break
                if len(data) < at + length:
                    break
                kind, flags, body = data[0] >> 4, data[0] & 15, bytes(data[at:at + length])
                del data[:at + length]
                if kind == 13:
                    pings += 1
                else:
                    out.append(describe(kind, flags, body, five))
            if pings >= wanted_pings and (expected is None or len(out) >= len(expected)):
                # What mosquitto still has to say of this connection comes with its next turn.
                peer.settimeout(0.05 if expected is None else 0.02)
            else:
                peer.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                more = peer.recv(1 << 16)
            except TimeoutError:
                return out
            except OSError:
                more = b""
            if not more:
                return out + ["closed"]
            data += more


def told(ours, theirs):
    """Where mosquitto just closes, diot says why: that is what section 4.13 of 5.0 wants."""
    silent = [line for line in ours if not line.startswith(("DISCONNECT ", "CONNACK 8", "CONNACK 9"))]
    return ours[-1:] == ["closed"] and silent == theirs


def streams(lines):
    """Messages, and answers: each has its order, and between them there is none."""
    return [line for line in lines if line.startswith("PUBLISH")], [line for line in lines if not line.startswith("PUBLISH")]


CLOSED, MALFORMED, BROKEN, ALIAS = (["CONNACK 00"] + more + ["closed"] for more in (
    [], ["DISCONNECT 81"], ["DISCONNECT 82"], ["DISCONNECT 94"]))
# case → what diot answers in each, where mosquitto 2.0.11 answers something else; and why.
DIFFERENCES = {
    "connect, level 6": ({4: ["CONNACK 84", "closed"], 5: ["CONNACK 84", "closed"]},
                           "5.0 [MQTT-3.1.2-2]: 0x84; a speaker of a later version reads 5.0 sooner than 3.1.1"),
    "ping with flags": ({4: CLOSED, 5: MALFORMED}, "[MQTT-2.1.3-1], 3.1.1 [MQTT-2.2.2-2]"),
    "ping with a body": ({4: CLOSED, 5: MALFORMED}, "3.12.1: the remaining length is 0"),
    "ping, padded length": ({5: MALFORMED}, "[MQTT-1.5.5-1]"),
    "server's packet SUBACK": ({4: CLOSED, 5: BROKEN}, "2.1.2: from server to client only"),
    "server's packet UNSUBACK": ({4: CLOSED, 5: BROKEN}, "2.1.2: from server to client only"),
    "server's packet PINGRESP": ({4: CLOSED, 5: BROKEN}, "2.1.2: from server to client only"),
    "subscribe, no filter": ({5: BROKEN}, "3.8.3: a protocol error"),
    "unsubscribe, no filter": ({5: BROKEN}, "3.10.3: a protocol error"),
    "subscribe, QoS 3": ({5: BROKEN}, "3.8.3.1: a protocol error"),
    "subscribe, retain handling 3": ({5: BROKEN}, "3.8.3.1: a protocol error"),
    "subscribe, identifier 0": ({5: BROKEN}, "3.8.2.1.2: a protocol error"),
    "subscribe, no local, shared": ({5: BROKEN}, "[MQTT-3.8.3-4]"),
    "publish, DUP with QoS 0": ({4: CLOSED, 5: MALFORMED}, "[MQTT-3.3.1-2]"),
    "publish, topic with +": ({5: MALFORMED}, "[MQTT-3.3.2-2]; 4.13 lets both codes be"),
    "publish, topic with #": ({5: MALFORMED}, "[MQTT-3.3.2-2]; 4.13 lets both codes be"),
    "publish, property 11": ({5: BROKEN}, "[MQTT-3.3.4-6]"),
    "publish, subscription identifier": ({5: BROKEN}, "[MQTT-3.3.4-6]"),
    "publish, payload format 2": ({5: BROKEN}, "3.3.2.3.2: 0 or 1"),
    "publish, topic alias 0": ({5: ALIAS}, "[MQTT-3.3.2-8]; the code that names it"),
    "publish, response topic with wildcard": ({5: BROKEN}, "[MQTT-3.3.2-14]"),
    "publish, response topic empty": ({5: BROKEN}, "[MQTT-4.7.3-1]"),
    "puback with a reason": ({4: CLOSED}, "3.1.1, 3.4: the remaining length is 2"),
    "puback, unknown reason": ({5: BROKEN}, "[MQTT-3.4.2-1]"),
    "pubrel, reason of another": ({5: BROKEN}, "[MQTT-3.6.2-1]"),
    "publish, 201 slashes": ({4: ["CONNACK 00", "PUBACK #1 00"], 5: ["CONNACK 00", "PUBACK #1 90"]},
                             "3.4.2.1: it is well-formed, and not accepted here"),
    "subscribe, 201 slashes": ({4: ["CONNACK 00", "SUBACK #1 80"], 5: ["CONNACK 00", "SUBACK #1 8f"]},
                               "3.9.3: it is well-formed, and not accepted here"),
    "connect, property 22": ({5: ["CONNACK 82", "closed"]}, "3.1.2.11.10: data without a method is a protocol error"),
}


class Oracle(unittest.TestCase):
    maxDiff = None

    def test_the_same_answers_as_mosquitto(self):
        with tempfile.TemporaryDirectory() as folder, harness.World() as world:
            port = harness.free_ports(1)[0]
            with open(os.path.join(folder, "mosquitto.conf"), "w") as config:
                config.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\n")
            mosquitto = subprocess.Popen(["mosquitto", "-c", config.name], stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, preexec_fn=harness.die_with_the_test)
            world.cleanup.callback(lambda: (mosquitto.kill(), mosquitto.wait()))
            alice = world.found("alice")

            def up():
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    return True
                except OSError:
                    return False

            harness.wait_until(up, what="mosquitto's port")
            wrong, count = {}, 0
            for level in (4, 5):
                for name, packets in cases(V(level)).items():
                    count += 1
                    theirs = converse(port, packets, level == 5)
                    ours = converse(alice.mqtt_port, packets, level == 5, theirs)
                    known = DIFFERENCES.get(name, ({}, ""))[0].get(level)
                    if level == 5 and told(ours, theirs):
                        theirs = ours
                    if known is None and streams(ours) != streams(theirs):
                        wrong[level, name] = f"diot {ours}, mosquitto {theirs}"
                    if known is not None and (ours != known or ours == theirs):
                        wrong[level, name] = f"diot {ours}, listed {known}, mosquitto {theirs}"
            print(f"\n{count} conversations, {len(DIFFERENCES)} differences with their reasons", flush=True)
            self.assertEqual(wrong, {}, "\n" + "\n".join(f"{k}: {v}" for k, v in wrong.items()))


if __name__ == "__main__":
    unittest.main()
