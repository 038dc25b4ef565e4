"""Wills across homes: a device's last words reach the other home whether the device dies or its whole gateway."""

import time
import unittest

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import harness

LEASE_S = 30


def derived(message):
    properties = getattr(message, "properties", None)
    return ("diot-derived", "will") in getattr(properties, "UserProperty", [])


def wills_known(node):
    return sum(channel["wills"] for channel in node.json("status")["subscribed"])


class Wills(unittest.TestCase):
    def test_a_device_dies_and_then_its_gateway(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            bob = world.join(alice, "bob")
            listener = world.paho(bob, "listener", protocol=paho.MQTTv5)
            listener.subscribe("@alice/sensors/#", 1)
            bob.wait_topic("@alice/sensors/#", 30)

            def got():
                return [(message.topic, message.payload.decode(), derived(message)) for message in listener.messages]

            # The device dies, its gateway lives: an ordinary message.
            device = world.paho(alice, "device", will=("sensors/lamp", "the lamp died", 1, False))
            device.cut()
            harness.wait_until(lambda: got() == [("@alice/sensors/lamp", "the lamp died", False)],
                               what=f"the will of a device that died ({got()})")

            # One says goodbye, one is there when the power goes, one is on a topic that is not shared.
            polite = world.paho(alice, "polite", will=("sensors/polite", "never seen", 1, False))
            properties = Properties(PacketTypes.WILLMESSAGE)
            properties.UserProperty = ("room", "kitchen")
            world.paho(alice, "heater", will=("sensors/heater", "offline", 2, True, properties), protocol=paho.MQTTv5)
            world.paho(alice, "hidden", will=("home/door", "hidden", 1, False))
            alice.publish("sensors/heater", "online", "-r", "-q", "1")
            harness.wait_until(lambda: wills_known(bob) == 2, what="that bob knows two wills")
            polite.close()
            harness.wait_until(lambda: wills_known(bob) == 1, what="that bob knows one will")
            harness.wait_until(lambda: len(got()) == 2, what="the heater's state")
            alice.kill()
            killed = time.monotonic()
            harness.wait_until(lambda: len(got()) > 2, 2 * LEASE_S, "the will of the heater")
            self.assertGreater(time.monotonic() - killed, LEASE_S - 5)
            self.assertEqual(got()[2:], [("@alice/sensors/heater", "offline", True)])
            self.assertIn(("room", "kitchen"), listener.messages[2].properties.UserProperty)

            # Who comes later sees the same; when alice is back, what she says counts again.
            later = world.paho(bob, "later", protocol=paho.MQTTv5)
            later.subscribe("@alice/sensors/heater", 1)
            harness.wait_until(lambda: [m.payload for m in later.messages] == [b"offline"], what="the veil")
            alice.start()
            harness.wait_until(lambda: len(later.messages) == 2, what="alice's own value")
            self.assertEqual(later.messages[1].payload, b"online")
            self.assertFalse(derived(later.messages[1]))


if __name__ == "__main__":
    unittest.main()
