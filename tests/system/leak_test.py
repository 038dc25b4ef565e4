"""What no share covers is seen nowhere outside: not by clients, in files, API answers, logs or the memory of other
homes' nodes (which holds what came over links and what the DHT stores there)."""

import contextlib
import itertools
import json
import os
import unittest
import uuid

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import harness


RUN = uuid.uuid4().hex  # in every marker, so that one fast search finds them all
NUMBERS = itertools.count(100_000)


def marker(what):
    return f"{what}-{RUN}{next(NUMBERS)}"


def files_of(node):
    """The bytes of everything in a home, and of its log."""
    for folder, _, names in os.walk(node.home):
        for name in names:
            with contextlib.suppress(OSError):  # sockets
                with open(os.path.join(folder, name), "rb") as file:
                    yield f"{node.name}'s file {name}", file.read()
    yield f"{node.name}'s log", node.log().encode()


def memory_of(node):
    """All writable memory of a running node. Freed blocks count too: they show what was there."""
    with open(f"/proc/{node.process.pid}/maps", encoding="ascii") as maps, \
            open(f"/proc/{node.process.pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            where, rights = line.split()[:2]
            first, end = (int(part, 16) for part in where.split("-"))
            # Not a sanitizer's reserved shadow, which is no memory of ours.
            if not rights.startswith("rw") or end - first > 1 << 30:
                continue
            memory.seek(first)
            with contextlib.suppress(OSError, ValueError):
                yield f"{node.name}'s memory", memory.read(end - first) or b""


def answers_of(node):
    for verb in (["status"], ["peers"], ["share", "list"], ["share", "list", "alice"], ["ledger", "list"],
                 ["ledger", "show", "alice"], ["ledger", "history", "alice"], ["ledger", "tail"], ["ledger", "verify"]):
        yield f"{node.name}'s `diot {' '.join(verb)}`", json.dumps(node.json(*verb)).encode()


def seen(sources):
    """{marker's end: [where, …]} of the markers that appear in any of (where, bytes)."""
    found = {}
    for where, data in sources:
        at = data.find(RUN.encode())
        while at >= 0:
            end = at + len(RUN) + 6
            found.setdefault(data[at:end].decode(errors="replace"), set()).add(where)
            at = data.find(RUN.encode(), end)
    return found


class Leak(unittest.TestCase):
    def test_what_no_share_covers_is_seen_nowhere_outside(self):
        with harness.World() as world:
            alice = world.found("alice")
            secrets = []

            def secret(what):
                secrets.append(marker(what))
                return secrets[-1]

            hidden = secret("local-filter")
            alice.diot("share", "add", "open/#", "--preset", "public")
            alice.diot("share", "add", "open/hidden/#", "--preset", "local")
            alice.diot("share", "add", f"open/{hidden}/#", "--preset", "local")
            alice.diot("share", "add", "was/#", "--preset", "public")
            bob = world.join(alice, "bob")
            carol = world.join(alice, "carol")
            homes = (bob, carol)
            told = [world.subscribe(home, "@alice/open/told", "-q", "2") for home in homes]
            curious = [world.subscribe(home, topic_filter, "-q", "2") for home in homes for topic_filter in
                       ("#", "@alice/#", "@alice/closed/#", "@alice/open/hidden/#", "@alice/+/+/#", "@alice/was/#")]
            for home in homes:
                home.wait_topic("@alice/#")
                home.wait_topic("@alice/open/told")
            alice.diot("share", "remove", "was/#")

            # At alice: one who keeps everything on disk, one who sees everything at once.
            alice_port = ["-p", str(alice.mqtt_port)]
            harness.run("mosquitto_sub", *alice_port, "-i", "keeper", "-c", "-q", "2", "-t", "#", "-E")
            watcher = world.paho(alice, protocol=paho.MQTTv5)
            watcher.subscribe("#")
            device, count = world.paho(alice, secret("client-id"), protocol=paho.MQTTv5), 0
            for place in ("closed", "open/hidden", f"open/{hidden}", "was", "closed/open", "@alice/closed"):
                for qos in (0, 1, 2):
                    for retain in (False, True):
                        properties = Properties(PacketTypes.PUBLISH)
                        properties.UserProperty = (secret("property-name"), secret("property-value"))
                        properties.ContentType = secret("content-type")
                        device.publish(f"{place}/{secret('topic')}", secret("payload"), qos, retain, properties)
                        count += 1
            for place in ("closed", "open/hidden", "was"):
                will = (f"{place}/{secret('will-topic')}", secret("will"), 1, True)
                dying = world.paho(alice, marker("client-id"), will=will)  # home forgets it soon
                dying.cut()
                count += 1
            listener = world.paho(alice, "listener")
            listener.subscribe(f"closed/{secret('local-subscription')}/#", 1)
            harness.wait_until(lambda: len(watcher.messages) >= count, what="the arrival of everything at home")

            # Later than all of it, on the same way out.
            opened = marker("opened")
            alice.publish("open/told", opened, "-q", "2", "-r")
            for subscriber in told:
                subscriber.wait_for(f"@alice/open/told {opened}")

            messages = "\n".join(f"{one.topic} {one.payload} {one.properties}" for one in watcher.messages)
            at_home = [("alice's clients", messages.encode()), *files_of(alice), *memory_of(alice)]
            found_at_home = seen(at_home)
            unknown = [one for one in secrets if one.split("-")[-1] not in found_at_home]
            self.assertEqual(unknown, [], "the search itself must find what is there")
            public = opened.split("-")[-1]
            for home in homes:
                lines = "\n".join(line for subscriber in curious for line in subscriber.lines).encode()
                outside = seen([("a client", lines), *answers_of(home), *files_of(home), *memory_of(home)])
                where = outside.pop(public, set())
                self.assertIn("a client", where)
                self.assertIn(f"{home.name}'s file diot.db", {name.removesuffix("-wal") for name in where})
                self.assertIn(f"{home.name}'s memory", where)
                self.assertEqual(outside, {}, f"seen at {home.name}, of {secrets}")
            print(f"\n{len(secrets)} markers, none outside", flush=True)


if __name__ == "__main__":
    unittest.main()
