"""A disk that is full: what was acknowledged stays, what cannot be kept is refused, and it goes on when there is room."""

import os
import socket
import struct
import subprocess
import unittest

import harness

DISK_MIB = 40


def string(text):
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind, body):
    length, size = bytearray(), len(body)
    while True:
        size, low = size >> 7, size & 127
        length.append(low | (128 if size else 0))
        if not size:
            return bytes([kind]) + bytes(length) + body


class Publisher:
    """MQTT 5.0, QoS 1, one after another; says what the broker answers."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=harness.TIMEOUT_S)
        self.input = self.socket.makefile("rb")
        self.socket.sendall(packet(0x10, string("MQTT") + b"\x05\x02\x00\x3c\x00" + string("publisher")))
        assert self.read()[0] == 0x20

    def read(self):
        kind, shift, size = self.input.read(1)[0], 0, 0
        while True:
            low = self.input.read(1)[0]
            size |= (low & 127) << shift
            shift += 7
            if low < 128:
                return kind, self.input.read(size)

    def publish(self, topic, payload):
        """The reason code of PUBACK; 0 = kept."""
        self.socket.sendall(packet(0x32, string(topic) + b"\x00\x01\x00" + payload))
        kind, body = self.read()
        assert kind == 0x40, hex(kind)
        return body[2] if len(body) > 2 else 0

    def close(self):
        self.socket.close()


@unittest.skipUnless(os.geteuid() == 0, "mounting a small disk takes root")
class FullDisk(unittest.TestCase):
    def test_acknowledged_messages_survive_a_full_disk(self):
        with harness.World() as world:
            alice = world.node("alice")
            os.makedirs(alice.home, exist_ok=True)
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "none", alice.home],
                                     capture_output=True, text=True)
            if mounted.returncode != 0:
                self.skipTest(f"no mounting here: {mounted.stderr.strip()}")
            try:
                self.fill_and_recover(alice)
            finally:
                alice.kill()
                subprocess.run(["umount", "-l", alice.home], check=True)

    def fill_and_recover(self, alice):
        alice.diot("init", "--handle", "alice", *alice.addresses())
        filler = f"{alice.home}/filler"
        with open(filler, "wb") as out:
            out.write(b"x" * (8 << 20))
        alice.start()
        keeper = ["mosquitto_sub", "-p", str(alice.mqtt_port), "-i", "keeper", "-c", "-q", "1", "-t", "work/#"]
        harness.run(*keeper, "-E")
        harness.run("mosquitto_sub", "-p", str(alice.mqtt_port), "-i", "goer", "-c", "-q", "1", "-t", "work/#", "-E")
        reserve = f"{alice.home}/diot.db.reserve"
        self.assertTrue(os.path.exists(reserve))
        publisher = Publisher(alice.mqtt_port)
        payload, kept, answer = b"y" * 10_000, 0, 0
        while answer == 0:
            answer = publisher.publish("work/n", b"%06d" % kept + payload)
            kept += answer == 0
            self.assertLess(kept, DISK_MIB * 200, "the disk is never full")
        self.assertEqual(answer, 0x97)
        self.assertGreater(kept, 500)
        self.assertFalse(os.path.exists(reserve), "given up, so that what is under way finishes")
        # The ledger goes on, and so does the end of a session, which makes room.
        alice.diot("handle", "update", "--person", "mum=" + 31 * "00" + "01")
        self.assertEqual(alice.json("ledger", "verify")["height"], 2)
        sessions = lambda: alice.json("status")["sessions"]
        before = sessions()
        harness.run("mosquitto_sub", "-p", str(alice.mqtt_port), "-i", "goer", "-q", "1", "-t", "other", "-E")
        harness.wait_until(lambda: sessions() == before - 1, what="the end of a session")
        # What needs no disk goes on.
        listener = subprocess.Popen(["mosquitto_sub", "-p", str(alice.mqtt_port), "-t", "plain", "-C", "1"],
                                    stdout=subprocess.PIPE, text=True)
        harness.wait_until(lambda: alice.json("status")["subscriptions"] >= 2, what="the subscription")
        alice.publish("plain", "still here")
        self.assertEqual(listener.communicate(timeout=harness.TIMEOUT_S)[0].strip(), "still here")
        self.assertTrue([each for each in alice.json("status")["warnings"] if "disk" in each])
        # Somebody frees some space.
        os.unlink(filler)
        harness.wait_until(lambda: publisher.publish("work/n", b"%06d" % kept + payload) == 0, what="room on the disk")
        kept += 1
        harness.wait_until(lambda: os.path.exists(reserve), what="the reserve to be taken again")
        publisher.close()
        alice.kill()
        alice.start()
        got = harness.run(*keeper, "-C", str(kept), "-F", "%p", timeout_s=60)
        self.assertEqual([line[:6] for line in got.split("\n")[:kept]], ["%06d" % n for n in range(kept)])


if __name__ == "__main__":
    unittest.main()
