"""Many, slow, silent and half-finished clients, at a size for every run; tools/bench/run.py heavy measures the full one.
DIOT_HEAVY_CONNECTIONS for more connections."""

import os
import resource
import selectors
import socket
import struct
import time
import unittest

import harness
import mqtt311

CONNECTIONS = int(os.environ.get("DIOT_HEAVY_CONNECTIONS", "1000"))
MESSAGES = 20_000
SLOW_BYTES_MAX = 64 << 20  # what one client that does not read may cost


def connect_packet(client_id, clean, keep_alive=60):
    return mqtt311.packet(mqtt311.CONNECT, 0, mqtt311.text("MQTT") + bytes([4, 2 if clean else 0]) +
                          struct.pack(">H", keep_alive) + mqtt311.text(client_id))


def subscribe_packet(topic_filter, qos=0):
    return mqtt311.packet(mqtt311.SUBSCRIBE, 2, struct.pack(">H", 1) + mqtt311.text(topic_filter) + bytes([qos]))


def rss_bytes(node):
    with open(f"/proc/{node.process.pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


class Crowd:
    """Connections that are opened all at once."""

    def __init__(self, node, count):
        self.node, self.count, self.sockets = node, count, []

    def open(self, first_bytes, answer_bytes):
        """Returns what each of them was answered first."""
        waiting, answers, done = selectors.DefaultSelector(), [b""] * self.count, 0
        for number in range(self.count):
            peer = socket.socket()
            peer.setblocking(False)
            peer.connect_ex(("127.0.0.1", self.node.mqtt_port))
            waiting.register(peer, selectors.EVENT_WRITE, number)
            self.sockets.append(peer)
        deadline = time.monotonic() + harness.TIMEOUT_S
        while done < self.count:
            assert time.monotonic() < deadline, f"only {done} of {self.count} were answered"
            for key, events in waiting.select(1):
                if events & selectors.EVENT_WRITE:
                    key.fileobj.sendall(first_bytes(key.data))
                    waiting.modify(key.fileobj, selectors.EVENT_READ, key.data)
                    continue
                data = key.fileobj.recv(4096)
                assert data, "closed by the broker"
                answers[key.data] += data
                if len(answers[key.data]) >= answer_bytes:
                    done += 1
                    waiting.unregister(key.fileobj)
        waiting.close()
        return answers

    def cut(self):
        for peer in self.sockets:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, and no port waits
            peer.close()
        self.sockets.clear()


class Heavy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))

    def test_many_at_once_and_a_storm_of_reconnects(self):
        with harness.World() as world:
            home = world.found("alice")
            crowd, before = Crowd(home, CONNECTIONS), rss_bytes(home)
            world.cleanup.callback(crowd.cut)
            answers = crowd.open(lambda n: connect_packet(f"c{n}", False) + subscribe_packet(f"to/{n}", 1), 9)
            self.assertEqual({data[:4] for data in answers}, {b"\x20\x02\x00\x00"})
            each = (rss_bytes(home) - before) / CONNECTIONS
            started = time.monotonic()
            crowd.cut()
            for number in range(0, CONNECTIONS, 97):  # some messages come while they are away
                home.publish(f"to/{number}", "x", "-q", "1")
            answers = crowd.open(lambda n: connect_packet(f"c{n}", False), 4)
            print(f"\n{CONNECTIONS} connections, {each:.0f} bytes each; all back after {time.monotonic() - started:.2f} s")
            self.assertEqual({data[:4] for data in answers}, {b"\x20\x02\x01\x00"}, "not every session was there")
            self.assertLess(each, 32 << 10)
            for number in range(0, CONNECTIONS, 97):
                data = answers[number][4:] or crowd.sockets[number].recv(4096)
                self.assertIn(f"to/{number}".encode(), data)

    def test_one_that_never_reads_harms_nobody(self):
        with harness.World() as world:
            home = world.found("alice")
            deaf = mqtt311.Connection(home.mqtt_port, "deaf", clean=True)
            world.cleanup.callback(deaf.close)
            deaf.send(subscribe_packet("t/#"))
            fast = mqtt311.Reader(home.mqtt_port, "fast", "t/#", qos=1)
            fast.start()
            world.cleanup.callback(fast.end)
            self.assertTrue(fast.subscribed.wait(harness.TIMEOUT_S))
            before = rss_bytes(home)
            # 20 MB, far beyond what sockets hold.
            publisher = mqtt311.Publisher(home.mqtt_port, "pub", "t", 1, MESSAGES, size=1000)
            publisher.start()
            world.cleanup.callback(publisher.end)
            harness.wait_until(lambda: len(fast.counts) == MESSAGES or fast.error or publisher.error,
                               what="all messages at the one that reads")
            publisher.join()
            self.assertIsNone(fast.error)
            self.assertIsNone(publisher.error)
            self.assertEqual(publisher.acknowledged, MESSAGES)
            if not harness.holds_freed_memory():
                self.assertLess(rss_bytes(home) - before, SLOW_BYTES_MAX)

    def test_half_a_packet_waits_and_others_do_not(self):
        with harness.World() as world:
            home = world.found("alice")
            wholes = [connect_packet("half", True), connect_packet("more", True) + mqtt311.publish("t", b"x" * 5000, 1, 7)]
            halves = []
            for whole in wholes:
                for size in (1, 2, len(whole) // 2, len(whole) - 1):
                    peer = socket.create_connection(("127.0.0.1", home.mqtt_port), harness.TIMEOUT_S)
                    world.cleanup.callback(peer.close)
                    peer.sendall(whole[:size])
                    halves.append((peer, whole[size:]))
            listener = world.subscribe(home, "alive")
            harness.wait_until(lambda: home.publish("alive", "yes") or "alive yes" in listener.lines)
            for peer, rest in halves:
                peer.sendall(rest)
                self.assertEqual(peer.recv(4), b"\x20\x02\x00\x00")

    def test_payloads_of_a_mebibyte(self):
        with harness.World() as world:
            home = world.found("alice")
            size = 1 << 20
            for qos in (0, 1, 2):
                readers = [mqtt311.Connection(home.mqtt_port, f"large{qos}-{n}", clean=True) for n in range(5)]
                for reader in readers:
                    world.cleanup.callback(reader.close)
                    reader.send(subscribe_packet("large", qos))
                    self.assertEqual(reader.receive()[2][2], qos)
                publisher = mqtt311.Connection(home.mqtt_port, f"publisher{qos}", clean=True)
                world.cleanup.callback(publisher.close)
                payload = os.urandom(size)
                publisher.send(mqtt311.publish("large", payload, qos, 1))
                if qos:
                    self.assertEqual(publisher.receive()[0], mqtt311.PUBACK if qos == 1 else mqtt311.PUBREC)
                for reader in readers:
                    kind, _, body = reader.receive()
                    self.assertEqual((kind, body[-size:] == payload), (mqtt311.PUBLISH, True))

    def test_who_says_nothing_is_let_go(self):
        with harness.World() as world:
            home = world.found("alice")
            silent = [socket.create_connection(("127.0.0.1", home.mqtt_port), 20) for _ in range(20)]
            for number, peer in enumerate(silent):
                world.cleanup.callback(peer.close)
                if number % 2:
                    peer.sendall(b"\x10")
            started = time.monotonic()
            for peer in silent:
                self.assertEqual(peer.recv(1), b"")
            self.assertGreater(time.monotonic() - started, 8)


if __name__ == "__main__":
    unittest.main()
