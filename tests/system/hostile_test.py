"""A node under garbage keeps serving, and bad input is answered with a clear error and the right exit code."""

import contextlib
import os
import random
import socket
import unittest

import harness
import mqtt311

SEED = int(os.environ.get("DIOT_HOSTILE_SEED", str(random.randrange(1 << 32))))
ROUNDS = int(os.environ.get("DIOT_HOSTILE_ROUNDS", "60"))


def throw(connected, data):
    """Sends data, and reads what comes until the node closes or has nothing more to say."""
    with connected as peer, contextlib.suppress(OSError):
        peer.settimeout(5)
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(1 << 16):
            pass


def connect_to(node, kind):
    if kind == "api":
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(f"{node.home}/api.sock")
        return peer
    port = {"mqtt": node.mqtt_port, "overlay": node.overlay_port, "http": node.api_port}[kind]
    return socket.create_connection(("127.0.0.1", port))


class Garbage(unittest.TestCase):
    def test_a_node_under_garbage_keeps_serving(self):
        chance = random.Random(SEED)
        print(f"\nseed {SEED}", flush=True)
        connect = mqtt311.packet(mqtt311.CONNECT, 0, mqtt311.text("MQTT") + bytes([4, 2, 0, 60]) + mqtt311.text("evil"))
        starts = {
            "mqtt": [b"", connect, connect + b"\x30", connect + b"\x82\xff\xff\xff\x7f",
                     b"\x10\xff\xff\xff\xff\xff", connect + mqtt311.publish("#", b"wildcard", 1, 1),
                     connect + mqtt311.publish("", b"empty", 0, 0)],
            "overlay": [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff"],
            "http": [b"", b"GET /api/v1/status HTTP/1.1\r\nAuthorization: Bearer ",
                     b"POST /api/v1/share/add HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", b"GET /" + b"a" * 70_000],
            "api": [b"", b"{", b"{}\n", b"[[[[" * 5000, b'{"verb":1}\n', b'{"verb":"share add","args":{"filter":7}}\n',
                    b'{"verb":"\xff"}\n', b"\n" * 1000],
        }
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "open/#", "--preset", "public")
            bob = world.join(alice, "bob")
            at_bob = world.subscribe(bob, "@alice/open/#")
            bob.wait_topic("@alice/open/#")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                for number in range(ROUNDS):
                    for kind, known in starts.items():
                        data = known[number % len(known)] + chance.randbytes(chance.randrange(3000))
                        throw(connect_to(alice, kind), data)
                    datagrams.sendto(chance.randbytes(chance.randrange(1, 1400)), ("127.0.0.1", alice.overlay_port))
            self.assertIsNone(alice.process.poll(), "alice ended by itself")
            alice.publish("open/still", "here")
            at_bob.wait_for("@alice/open/still here")
            self.assertEqual(alice.json("ledger", "verify")["handles"], 2)
            self.assertEqual(alice.stop(), 0)


class BadInput(unittest.TestCase):
    def refuse(self, node, code, text, *arguments, **options):
        with self.assertRaises(harness.Failed) as refused:
            node.diot(*arguments, **options)
        self.assertEqual(refused.exception.code, code, refused.exception)
        self.assertRegex(refused.exception.err, text)
        self.assertEqual(refused.exception.out, "", "errors belong on standard error")

    def test_arguments(self):
        with harness.World() as world:
            alice = world.found("alice", start=False)
            self.refuse(alice, 2, "'frobnicate'", "frobnicate")
            self.refuse(alice, 2, "did you mean 'share add'", "share", "ad", "x")
            self.refuse(alice, 2, "--bogus", "run", "--bogus")
            self.refuse(alice, 2, "--timeout must be a number", "wait", "--ready", "--timeout", "x")
            self.refuse(alice, 2, "HANDLE is required", "ledger", "show")
            self.refuse(alice, 1, "not available yet", "setup")
            self.refuse(alice, 1, "no handle 'nobody'", "ledger", "show", "nobody")
            self.refuse(alice, 1, "in a network already", "init", "--handle", "other")
            self.refuse(alice, 3, "diot run", "status")
            self.refuse(alice, 5, "diot run", "wait", "--ready", "--timeout", "0")
            alice.start()
            self.refuse(alice, 5, "@bob/#", "wait", "--topic", "@bob/#", "--timeout", "0")
            self.refuse(alice, 1, "topic filter|filter", "share", "add", "a/#/b", "--preset", "public")
            self.refuse(alice, 1, "not available yet", "share", "add", "a/#", "--preset", "secure")
            alice.diot("share", "add", "a/#", "--preset", "local")
            self.refuse(alice, 4, "--yes", "share", "change", "a/#", "--preset", "public")
            alice.diot("share", "change", "a/#", "--preset", "public", "--yes")
            self.refuse(world.node("carol"), 1, "a-z", "init", "--handle", "A_b")

    def test_config_errors_have_line_and_column(self):
        with harness.World() as world:
            alice = world.found("alice", start=False)
            path = f"{alice.home}/diot.toml"
            with open(path, encoding="utf-8") as file:
                good = file.read()
            alice.diot("run", "--check")
            for bad, where in (("version = 1\nhandle = alice\n", r"diot\.toml:2:1?[0-9]"),
                               (good.replace('level = "info"', 'level = "loud"'),
                                r"diot\.toml:[0-9]+:[0-9]+: .*level"),
                               (good.replace("[mqtt]", "[mqqt]"), r"diot\.toml:[0-9]+:[0-9]+: .*mqqt"),
                               (good.replace("version = 1", "version = 9"), r"diot\.toml:[0-9]+:[0-9]+: .*version"),
                               (good.replace("listen =", "listen = 7 #"), r"diot\.toml:[0-9]+:[0-9]+: .*listen"),
                               (good + "\0", r"diot\.toml:[0-9]+:[0-9]+")):
                with open(path, "w", encoding="utf-8") as file:
                    file.write(bad)
                self.refuse(alice, 1, where, "run", "--check")
                self.refuse(alice, 1, where, "run", timeout_s=20)

    def test_invites(self):
        with harness.World() as world:
            alice, other = world.found("alice"), world.found("other")
            invite = alice.diot("invite").strip()
            bob = world.node("bob")

            def join(text, code=1, what="invite"):
                self.refuse(bob, code, what, "join", text, "--handle", "bob", *bob.addresses())

            for end in (0, 4, 5, 6, 20, len(invite) // 2, len(invite) - 1):
                join(invite[:end] or "x")
            at = len(invite) // 3
            join(invite[:at] + ("A" if invite[at] != "A" else "B") + invite[at + 1:])
            join("diot:" + "A" * 10_000)
            join(other.diot("invite").strip()[:-6] + invite[-6:])
            self.refuse(bob, 1, "invite", "join", "-", "--handle", "bob", *bob.addresses(), input="\n\n")
            bob.diot("join", "-", "--handle", "bob", *bob.addresses(), input=invite + "\n")
            self.refuse(world.node("carol"), 4, "used already", "join", invite, "--handle", "carol")
            self.assertEqual([entry["handle"] for entry in alice.json("ledger", "list")["handles"]], ["alice", "bob"])
            bob.start()


if __name__ == "__main__":
    unittest.main()
