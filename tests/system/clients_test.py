"""Unmodified clients (mosquitto_pub/sub, paho, npm mqtt; 3.1.1 and 5): each publishes at alice, each reads there and at
bob."""

import itertools
import json
import os
import subprocess
import threading
import unittest

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import harness

NPM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "npm", "node_modules", "mqtt")


class NpmClient:
    """npm_client.js as a process; `events` grows."""

    def __init__(self, node, version):
        self.process = subprocess.Popen(
            ["node", os.path.join(os.path.dirname(os.path.abspath(__file__)), "npm_client.js"), os.path.abspath(NPM),
             str(node.mqtt_port), str(version)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, preexec_fn=harness.die_with_the_test)
        self.events = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def wait_for(self, timeout_s=harness.TIMEOUT_S, **members):
        def found():
            return next((e for e in list(self.events) if all(e.get(k) == v for k, v in members.items())), None)

        return harness.wait_until(found, timeout_s, what=f"{members} (there: {self.events[-5:]})")

    def order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")

    def publish(self, topic, payload, qos, retain=False):
        self.order(do="publish", topic=topic, payload=payload, options={"qos": qos, "retain": retain})
        return self.wait_for(event="published", payload=payload)["code"]

    def subscribe(self, topic_filter, qos=2):
        self.order(do="subscribe", filter=topic_filter, qos=qos)
        return self.wait_for(event="granted", filter=topic_filter)["codes"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(harness.TIMEOUT_S)
        self.thread.join()
        self.process.stdout.close()


class Clients(unittest.TestCase):
    def npm(self, world, node, version):
        client = NpmClient(node, version)
        world.cleanup.callback(client.close)
        return client

    def shared(self, world):
        alice = world.found("alice")
        alice.diot("share", "add", "open/#", "--preset", "public")
        return alice, world.join(alice, "bob")

    def every_client_to_every_client(self, with_npm):
        with harness.World() as world:
            alice, bob = self.shared(world)
            npm = {(node.name, version): self.npm(world, node, version)
                   for node in (alice, bob) for version in ((4, 5) if with_npm else ())}
            for client in npm.values():  # together: loading them takes long on a busy machine
                client.wait_for(event="connected", timeout_s=4 * harness.TIMEOUT_S)
            waits = []  # (topic, payload, qos) -> waits until that subscriber has it
            for node, prefix in ((alice, ""), (bob, "@alice/")):
                topic_filter = prefix + "open/+/#"
                for version in ("mqttv311", "mqttv5"):
                    lines = world.subscribe(node, topic_filter, "-q", "2", "-V", version, "-F", "%t %q %p")
                    waits.append(lambda topic, payload, qos, lines=lines, prefix=prefix:
                                 lines.wait_for(f"{prefix}{topic} {qos} {payload}"))
                for version in (paho.MQTTv311, paho.MQTTv5):
                    client = world.paho(node, protocol=version)
                    client.subscribe(topic_filter)
                    waits.append(lambda topic, payload, qos, client=client, prefix=prefix:
                                 self.assertEqual(client.wait_for(prefix + topic, payload).qos, qos))
                for version in (4, 5) if with_npm else ():
                    client = npm[node.name, version]
                    self.assertEqual(client.subscribe(topic_filter), [2])
                    waits.append(lambda topic, payload, qos, client=client, prefix=prefix: client.wait_for(
                        event="message", topic=prefix + topic, payload=payload, qos=qos))
            bob.wait_topic("@alice/open/+/#")
            # mosquitto_sub does not say when it is subscribed: until each of them has a message of this kind.
            number = itertools.count()

            def ready():
                alice.publish("open/probe/x", f"probe {next(number)}")
                return all(any("probe" in line for line in s.lines) for s in world.subscribers)

            harness.wait_until(ready, what="every mosquitto_sub's subscription")
            publishers = {"mosquitto": lambda *message: alice.publish(*message[:2], "-q", str(message[2]))}
            for name, version in (("paho 3.1.1", paho.MQTTv311), ("paho 5", paho.MQTTv5)):
                publishers[name] = world.paho(alice, protocol=version).publish
            for name, version in (("npm 3.1.1", 4), ("npm 5", 5)) if with_npm else ():
                publishers[name] = npm["alice", version].publish
            for (name, publish), qos in itertools.product(publishers.items(), (0, 1, 2)):
                publish("open/from/" + name.replace(" ", "/"), f"{name} {qos}", qos)
                for wait in waits:
                    wait("open/from/" + name.replace(" ", "/"), f"{name} {qos}", qos)

    def test_mosquitto_and_paho(self):
        self.every_client_to_every_client(with_npm=False)

    def test_npm_too(self):
        if not os.path.isdir(NPM):
            self.skipTest("npm's mqtt is not installed; tools/test installs it")
        self.every_client_to_every_client(with_npm=True)

    def test_retained_reaches_who_comes_later_and_goes_when_deleted(self):
        with harness.World() as world:
            alice, bob = self.shared(world)
            alice.publish("open/a", "kept", "-r", "-q", "1")
            alice.publish("open/b", "kept too", "-r")
            for at_bob_already in (False, True):
                late = world.paho(bob)
                late.subscribe("@alice/open/#")
                self.assertTrue(late.wait_for("@alice/open/a", "kept").retain)
                # Nobody acknowledged this one: it may reach bob after the subscription, as a new message.
                kept_too = late.wait_for("@alice/open/b", "kept too")
                self.assertTrue(kept_too.retain or not at_bob_already)
            live = world.paho(bob)
            live.subscribe("@alice/open/a")
            live.wait_for("@alice/open/a", "kept")
            alice.publish("open/a", "", "-r", "-q", "1")
            live.wait_for("@alice/open/a", "")
            later = world.paho(bob)
            later.subscribe("@alice/open/+")
            later.wait_for("@alice/open/b", "kept too")
            self.assertEqual([message.topic for message in later.messages], ["@alice/open/b"])

    def test_a_will_is_seen_at_home_and_at_bob(self):
        with harness.World() as world:
            alice, bob = self.shared(world)
            readers = [(world.paho(alice), "open/will"), (world.paho(bob), "@alice/open/will")]
            for reader, topic in readers:
                reader.subscribe(topic)
            bob.wait_topic("@alice/open/will")
            with world.paho(alice, "polite", will=("open/will", "polite", 1, False)):
                pass
            world.paho(alice, "dying", will=("open/will", "died", 1, False)).cut()
            for reader, topic in readers:
                reader.wait_for(topic, "died")
                self.assertEqual([message.payload for message in reader.messages], [b"died"])

    def test_mqtt_5_properties_cross_homes(self):
        with harness.World() as world:
            alice, bob = self.shared(world)
            reader = world.paho(bob, protocol=paho.MQTTv5)
            reader.subscribe("@alice/open/#")
            bob.wait_topic("@alice/open/#")
            for qos in (0, 1, 2):
                properties = Properties(PacketTypes.PUBLISH)
                properties.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
                properties.ContentType = "text/plain"
                properties.PayloadFormatIndicator = 1
                properties.ResponseTopic = "open/answer"
                properties.CorrelationData = b"\x00\x01"
                properties.MessageExpiryInterval = 1000
                world.paho(alice, protocol=paho.MQTTv5).publish("open/p", f"{qos}", qos, False, properties)
                got = reader.wait_for("@alice/open/p", f"{qos}").properties
                self.assertEqual(got.UserProperty, [("b", "1"), ("a", "2"), ("b", "3")])
                self.assertEqual((got.ContentType, got.PayloadFormatIndicator), ("text/plain", 1))
                self.assertEqual(got.CorrelationData, b"\x00\x01")
                self.assertTrue(900 < got.MessageExpiryInterval <= 1000)

    def test_persistent_sessions_outlive_the_node(self):
        with harness.World() as world:
            alice, bob = self.shared(world)
            kinds = [("3.1.1", paho.MQTTv311), ("5", paho.MQTTv5)]
            for name, version in kinds:
                for node, topic_filter in ((alice, "open/#"), (bob, "@alice/open/#")):
                    with world.paho(node, name, protocol=version, clean=False) as reader:
                        self.assertFalse(reader.session_present)
                        reader.subscribe(topic_filter)
                        if node is bob:
                            bob.wait_topic(topic_filter)
            for qos in (1, 2):
                alice.publish("open/q", f"{qos}", "-q", str(qos))
            for node in (alice, bob):
                node.stop()
                node.start()
            for name, version in kinds:
                for node, topic in ((alice, "open/q"), (bob, "@alice/open/q")):
                    reader = world.paho(node, name, protocol=version, clean=False)
                    self.assertTrue(reader.session_present)
                    reader.wait_for(topic, "2")
                    self.assertEqual([message.payload for message in reader.messages], [b"1", b"2"])

    def test_writing_to_another_home_is_refused(self):
        with harness.World() as world:
            alice, bob = self.shared(world)
            here = world.paho(alice)
            here.subscribe("#")
            reader = world.paho(bob)  # so that bob knows alice's catalogue
            reader.subscribe("@alice/open/#")
            bob.wait_topic("@alice/open/#")
            world.paho(bob).publish("@alice/open/x", "3.1.1: acknowledged and dropped", 1)
            answer = subprocess.run(["mosquitto_pub", "-p", str(bob.mqtt_port), "-t", "@alice/open/x", "-m", "5", "-q",
                                     "1", "-V", "mqttv5", "-d"], capture_output=True, text=True,
                                    timeout=harness.TIMEOUT_S)
            self.assertIn("RC:135", (answer.stdout + answer.stderr).replace(" ", ""))  # 0x87
            alice.publish("open/x", "alice's own", "-q", "1")
            here.wait_for("open/x", "alice's own")
            reader.wait_for("@alice/open/x", "alice's own")
            for client in (here, reader):
                self.assertEqual([m.payload for m in client.messages if not m.topic.startswith("$")], [b"alice's own"])


if __name__ == "__main__":
    unittest.main()
