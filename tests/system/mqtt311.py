"""MQTT 3.1.1 clients that keep their side of every handshake, so that what is lost or doubled was lost or doubled by
the broker. Section numbers are those of the OASIS standard, version 3.1.1."""

import collections
import socket
import struct
import threading
import time

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 12, 13, 14
RETRY_S = 0.02
SILENCE_S = 30  # a broker that owes an answer for so long has lost it


class Closed(Exception):
    """The connection is gone, however it went."""


def text(value):
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind, flags, body):
    head, length = bytearray([kind << 4 | flags]), len(body)
    while True:
        length, digit = length >> 7, length & 0x7F
        head.append(digit | 0x80 if length else digit)
        if not length:
            return bytes(head) + body


def with_id(kind, packet_id):
    return packet(kind, 2 if kind == PUBREL else 0, struct.pack(">H", packet_id))


def publish(topic, payload, qos, packet_id, dup=False):
    return packet(PUBLISH, dup << 3 | qos << 1, text(topic) + (struct.pack(">H", packet_id) if qos else b"") + payload)


class Connection:
    """One TCP connection from CONNECT to its end; raises Closed."""

    def __init__(self, port, client_id, clean=False):
        self.input = bytearray()
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), SILENCE_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Closed(error) from error
        try:
            self.send(packet(CONNECT, 0, text("MQTT") + bytes([4, 2 if clean else 0]) + struct.pack(">H", 60) +
                             text(client_id)))
            kind, _, body = self.receive()
        except BaseException:
            self.close()
            raise
        assert kind == CONNACK and body[1] == 0, f"CONNECT was answered with {kind} {bytes(body)!r}"
        self.session_present = body[0] == 1

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(error) from error

    def receive(self):
        """The next packet: kind, flags, body."""
        while True:
            length, end = 0, 1
            while end < len(self.input):
                length |= (self.input[end] & 0x7F) << 7 * (end - 1)
                end += 1
                if not self.input[end - 1] & 0x80:
                    if len(self.input) >= end + length:
                        first, body = self.input[0], bytes(self.input[end:end + length])
                        del self.input[:end + length]
                        return first >> 4, first & 15, body
                    break
            try:
                data = self.socket.recv(1 << 16)
            except OSError as error:
                if isinstance(error, TimeoutError):
                    raise AssertionError(f"the broker owed an answer for {SILENCE_S} s") from error
                raise Closed(error) from error
            if not data:
                raise Closed("closed by the broker")
            self.input += data

    def close(self):
        self.socket.close()


class Client(threading.Thread):
    """A persistent session in a thread of its own, which comes back whenever it is cut. `error` says why it ended."""

    def __init__(self, port, client_id):
        super().__init__(daemon=True)
        self.port, self.client_id = port, client_id
        self.error, self.ended, self.had_session, self.connection = None, False, False, None

    def run(self):
        try:
            while not self.ended:
                try:
                    self.connection = Connection(self.port, self.client_id)
                    # A CONNACK promised the session: it must outlive the broker's death (3.1.2.4).
                    assert self.connection.session_present or not self.had_session, f"{self.client_id}: session lost"
                    self.had_session = True
                    self.serve(self.connection)
                except Closed:
                    if not self.ended:
                        time.sleep(RETRY_S)
                finally:
                    if self.connection:
                        self.connection.close()
        except Exception as error:  # read by the test
            self.error = error

    def cut(self):
        """Ends the connection without DISCONNECT, as a lost network does."""
        connection = self.connection
        if connection:
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def end(self):
        self.ended = True
        self.cut()
        self.join()


class Publisher(Client):
    """Publishes the numbers below count, each in `size` bytes at least; ends when the last is acknowledged (QoS 1: PUBACK; QoS 2: PUBCOMP)."""

    def __init__(self, port, client_id, topic, qos, count, window=100, size=1):
        super().__init__(port, client_id)
        self.topic, self.qos, self.count, self.window, self.size = topic, qos, count, window, size
        self.next, self.acknowledged = 0, 0
        self.free_ids = collections.deque(range(1, 1001))
        self.open = collections.OrderedDict()  # packet id -> [number, whether PUBREC came]; in the order of publishing

    def payload(self, number):
        return b"%*d" % (self.size, number)  # with blanks in front, which int() skips

    def serve(self, connection):
        for packet_id, (number, received) in self.open.items():  # again, in the old order (4.4, 4.6)
            connection.send(with_id(PUBREL, packet_id) if received else
                            publish(self.topic, self.payload(number), self.qos, packet_id, dup=True))
        while self.acknowledged < self.count:
            out = bytearray()
            while self.next < self.count and len(self.open) < self.window:
                packet_id = self.free_ids.popleft()
                self.open[packet_id] = [self.next, False]
                out += publish(self.topic, self.payload(self.next), self.qos, packet_id)
                self.next += 1
            connection.send(out)
            kind, _, body = connection.receive()
            packet_id, = struct.unpack(">H", body[:2])
            if kind == PUBREC and self.qos == 2:
                if packet_id in self.open:
                    self.open[packet_id][1] = True
                connection.send(with_id(PUBREL, packet_id))
            elif kind == (PUBACK if self.qos == 1 else PUBCOMP):
                if self.open.pop(packet_id, None):
                    self.free_ids.append(packet_id)
                    self.acknowledged += 1
            else:
                raise AssertionError(f"{self.client_id}: unexpected packet {kind}")
        self.ended = True


class Reader(Client):
    """A subscriber that counts how often it was given each (topic, payload) as a message of its own."""

    def __init__(self, port, client_id, topic_filter, qos=2):
        super().__init__(port, client_id)
        self.topic_filter, self.qos = topic_filter, qos
        self.subscribed, self.away = threading.Event(), threading.Event()
        self.counts, self.order = collections.Counter(), []
        self.half_received = set()  # packet ids of QoS 2 messages between PUBLISH and PUBREL (4.3.3, method A)

    def serve(self, connection):
        if not self.subscribed.is_set():
            connection.send(packet(SUBSCRIBE, 2, struct.pack(">H", 1) + text(self.topic_filter) + bytes([self.qos])))
        while True:
            kind, flags, body = self.receive_or_ping(connection)
            if kind == SUBACK:
                assert body[2] == self.qos, f"SUBSCRIBE was granted {body[2]}"
                self.subscribed.set()
            elif kind == PUBLISH:
                self.take(connection, flags >> 1 & 3, body)
            elif kind == PUBREL:
                packet_id, = struct.unpack(">H", body)
                self.half_received.discard(packet_id)
                connection.send(with_id(PUBCOMP, packet_id))

    def receive_or_ping(self, connection):
        connection.socket.settimeout(SILENCE_S)
        try:
            return connection.receive()
        except AssertionError:  # nothing to read is no fault here: ask
            connection.send(packet(PINGREQ, 0, b""))
            return connection.receive()

    def take(self, connection, qos, body):
        end = 2 + struct.unpack(">H", body[:2])[0]
        topic, packet_id, payload = body[2:end].decode(), 0, body[end:]
        if qos:
            packet_id, payload = struct.unpack(">H", payload[:2])[0], payload[2:]
        if qos != 2 or packet_id not in self.half_received:
            self.counts[topic, int(payload)] += 1
            self.order.append((topic, int(payload)))
        if qos == 2:
            self.half_received.add(packet_id)
        if qos:
            connection.send(with_id(PUBACK if qos == 1 else PUBREC, packet_id))
