"""paho-mqtt as a client of a node under test."""

import socket

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import harness


class Paho:
    """paho-mqtt with its network thread: connected when made. `messages` and `acknowledged` grow as things arrive."""

    def __init__(self, node, client_id="", protocol=paho.MQTTv311, clean=True, will=None, expiry_s=3600):
        version5 = protocol == paho.MQTTv5
        self.client = paho.Client(client_id, protocol=protocol, **({} if version5 else {"clean_session": clean}))
        self.messages, self.acknowledged, self.granted, self.flags = [], {}, {}, None
        self.client.on_message = lambda client, _, message: self.messages.append(message)
        self.client.on_subscribe = lambda client, _, mid, codes, *more: self.granted.update({mid: codes})
        self.client.on_connect = self._connected
        self.client.on_publish = lambda client, _, mid: self.acknowledged.update({mid: None})
        if will:
            self.client.will_set(*will)
        options = {}
        if version5:
            options["clean_start"] = clean
            if not clean:
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = expiry_s
        self.client.connect("127.0.0.1", node.mqtt_port, **options)
        self.client.loop_start()
        harness.wait_until(lambda: self.flags is not None, what=f"the connection of {client_id!r}")

    def _connected(self, client, _, flags, code, *properties):
        if int(getattr(code, "value", code)) == 0:
            self.flags = flags

    @property
    def session_present(self):
        return bool(self.flags["session present"])

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        """Returns when it is acknowledged as its QoS demands."""
        info = self.client.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(harness.TIMEOUT_S)
        assert info.is_published(), f"no acknowledgement of {topic} came within {harness.TIMEOUT_S} s"

    def subscribe(self, topic_filter, qos=2):
        """Returns when it is granted: the codes."""
        _, mid = self.client.subscribe(topic_filter, qos)
        return harness.wait_until(lambda: self.granted.get(mid), what=f"SUBACK for {topic_filter}")

    def wait_for(self, topic, payload):
        """The first message of this topic and payload."""
        data = payload.encode() if isinstance(payload, str) else payload
        return harness.wait_until(lambda: next((m for m in list(self.messages) if m.topic == topic and m.payload == data), None),
                          what=f"the arrival of {topic} {payload!r} (there: {[(m.topic, m.payload) for m in self.messages][-5:]})")

    def cut(self):
        """Ends the connection without DISCONNECT, so that the will is due."""
        self.client.on_disconnect = None
        self.client._thread_terminate = True  # else it comes back
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
