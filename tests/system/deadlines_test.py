"""Who says nothing is let go: each deadline of a connection, at a real node, all at once. (core/limits.hpp)"""

import os
import selectors
import socket
import subprocess
import time
import unittest

import harness
from listeners_test import make_certificates

HANDSHAKE_S = 10  # limits::client_handshake_deadline
CONNECT_S = 10    # limits::connect_deadline
UPSTREAM_S = 15   # limits::upstream_connect_deadline
CLIENT_HELLO = bytes.fromhex("160301")  # and no more


class Deadlines(unittest.TestCase):
    def test_silence_ends_each_kind_of_connection_in_its_time(self):
        silent_hub = socket.create_server(("127.0.0.1", 0))  # takes connections, and never says a word
        with harness.World() as world, silent_hub:
            node = world.found("alice", start=False)
            make_certificates(node.home)
            tls, web, web_tls = harness.free_ports(3)
            with open(os.path.join(node.home, "diot.toml"), "a") as config:
                keys = 'certificate = "server.crt"\nkey = "server.key"\n'
                config.write(f"""
[[listener]]
listen = "127.0.0.1:{tls}"
{keys}
[[listener]]
listen = "127.0.0.1:{web}"
protocol = "websocket"
[[listener]]
listen = "127.0.0.1:{web_tls}"
protocol = "websocket"
{keys}
[[upstream]]
name = "hub"
address = "127.0.0.1:{silent_hub.getsockname()[1]}"
topics = ["# both"]
tls = true
ca = "ca.crt"
""")
            started = time.monotonic()
            node.start()
            kinds = {
                "no TLS": (tls, b"", HANDSHAKE_S),
                "half a TLS hello": (tls, CLIENT_HELLO, HANDSHAKE_S),
                "no HTTP": (web, b"", HANDSHAKE_S),
                "half a WebSocket request": (web, b"GET / HTTP/1.1\r\nHost: a\r\n", HANDSHAKE_S),
                "neither TLS nor HTTP": (web_tls, b"", HANDSHAKE_S),
                "no CONNECT": (node.mqtt_port, b"", CONNECT_S),
                "half a CONNECT": (node.mqtt_port, b"\x10\x20\x00\x04MQ", CONNECT_S),
            }
            lasted = {}
            with selectors.DefaultSelector() as waiting:
                for name, (port, words, _) in kinds.items():
                    opened = time.monotonic()
                    client = socket.create_connection(("127.0.0.1", port))
                    client.sendall(words)
                    waiting.register(client, selectors.EVENT_READ, (name, opened))
                # Who goes on talking in its handshake is no better.
                dripping = socket.create_connection(("127.0.0.1", web))
                dripping.sendall(b"GET / HTTP/1.1\r\n")
                opened = time.monotonic()
                waiting.register(dripping, selectors.EVENT_READ, ("drips", opened))
                while waiting.get_map() and time.monotonic() < opened + harness.TIMEOUT_S:
                    for key, _ in waiting.select(0.5):
                        self.assertEqual(self.rest(key.fileobj), b"", key.data[0])
                        lasted[key.data[0]] = time.monotonic() - key.data[1]
                        waiting.unregister(key.fileobj)
                        key.fileobj.close()
                    if "drips" not in lasted:
                        dripping.sendall(b"a: b\r\n")
            for name, (_, _, seconds) in {**kinds, "drips": (0, b"", HANDSHAKE_S)}.items():
                self.assertIn(name, lasted, "it was never ended")
                self.assertGreater(lasted[name], seconds - 0.5, name)

            upstream = harness.wait_until(lambda: next((u for u in node.json("status")["upstreams"] if u.get("error")), None),
                                          what="the end of the attempt to reach the hub")
            self.assertIn("no connection within the time allowed", upstream["error"])
            self.assertGreater(time.monotonic() - started, UPSTREAM_S)
            # Meanwhile everybody else is served.
            self.assertEqual(node.publish("t", "x"), None)

    def rest(self, peer):
        """What was sent before the end; a connection that is cut counts as ended."""
        out = b""
        try:
            while part := peer.recv(4096):
                out += part
        except OSError:
            pass
        return out


if __name__ == "__main__":
    unittest.main()
