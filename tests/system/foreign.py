"""Foreign clients that outlive the home which they are clients of, with the interface of mqtt311's: paho-mqtt, in MQTT 3.1.1 and 5, and
mosquitto's programs. What they do themselves when a connection breaks, read in their sources (paho-mqtt 1.6.1, mosquitto 2.0.11), is why
what a run shows is the broker's doing:
- paho tells of a message by on_publish at PUBACK and PUBCOMP, once. In a session that is kept it sends again what was not answered, with
  DUP, and PUBREL for what had PUBREC; a QoS 2 message that it received it hands over at PUBREL, and what it has handed over never again.
- paho publishes a QoS 2 message anew for which it has had PUBREC, when an attempt to reconnect fails (_messages_reconnect_reset_out knows
  "PUBREL is due", which the first attempt sets, for no state of its own): against [MQTT-4.3.3-1], and without DUP. If the broker has had the
  PUBREL, too, that is a new message, and comes twice. Seen in every third short run. ReleasingPaho keeps that state, and no more.
- paho counts a PUBREL that it receives as one of its own messages in flight less. So nobody here both publishes and subscribes.
- mosquitto_pub keeps no session: after a break a QoS 2 message of it is a new one to the broker. So it publishes at QoS 1 alone, and
  what it was told of is that it ends with 0.
- mosquitto_sub -c keeps its QoS 2 state across a break, and subscribes again with each connection. But a QoS 2 PUBLISH that comes again behind a break
  it keeps a second time (handle__publish queues it without a look at what is there), and hands that one over at the PUBREL of the next message with
  the same packet id, which is then the one that is left: of each such pair one comes twice and one never (13 of each in ten minutes of kills). In MQTT 5 it ends
  there ("protocol error", 2). So it subscribes at QoS 1 here, in 3.1.1."""

import collections
import subprocess
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import harness

EXPIRY_S = 3600


class ReleasingPaho(paho.Client):
    def _messages_reconnect_reset_out(self):
        released = [m for m in self._out_messages.values() if m.state in (paho.mqtt_ms_wait_for_pubcomp, paho.mqtt_ms_resend_pubrel)]
        super()._messages_reconnect_reset_out()
        for message in released:
            message.state = paho.mqtt_ms_resend_pubrel


class PahoClient:
    """A persistent session that comes back by itself. `error` says what was wrong with a connection."""

    def __init__(self, port, client_id, version5=False):
        self.port, self.client_id, self.version5 = port, client_id, version5
        self.error, self.had_session = None, False
        # None: sessions are a matter of connect() in MQTT 5.
        self.client = ReleasingPaho(client_id, protocol=paho.MQTTv5 if version5 else paho.MQTTv311,
                                    clean_session=None if version5 else False)
        self.client.reconnect_delay_set(0.02, 0.2)
        self.client.on_connect = self.on_connect

    def start(self):
        options = {}
        if self.version5:
            options = {"clean_start": False, "properties": Properties(PacketTypes.CONNECT)}
            options["properties"].SessionExpiryInterval = EXPIRY_S
        self.client.connect("127.0.0.1", self.port, **options)
        self.client.loop_start()

    def on_connect(self, client, _, flags, code, *properties):
        if int(getattr(code, "value", code)) != 0:
            self.error = f"CONNECT was answered with {code}"
        elif self.had_session and not flags["session present"]:
            self.error = "the session was lost"
        self.had_session = True
        self.connected()

    def connected(self):
        pass

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


class PahoReader(PahoClient):
    def __init__(self, port, client_id, topic_filter, version5=False):
        super().__init__(port, client_id, version5)
        self.topic_filter, self.counts, self.asked = topic_filter, collections.Counter(), False
        self.client.on_message = self.on_message

    def connected(self):
        if not self.asked:
            self.client.subscribe(self.topic_filter, 2)
        self.asked = True

    def on_message(self, client, _, message):
        self.counts[message.topic, int(message.payload)] += 1


class PahoPublisher(PahoClient):
    """Publishes the numbers below count, `window` of them under way. All of it in paho's own thread."""

    def __init__(self, port, client_id, topic, qos, count, version5=False, window=20):
        super().__init__(port, client_id, version5)
        self.topic, self.qos, self.count, self.window = topic, qos, count, window
        self.next, self.told, self.open = 0, set(), {}
        self.client.on_publish = self.on_publish

    @property
    def acknowledged(self):
        return len(self.told)

    def connected(self):
        while self.next < min(self.count, self.window):
            self.publish()

    def publish(self):
        self.open[self.client.publish(self.topic, b"%d" % self.next, self.qos).mid] = self.next
        self.next += 1

    def on_publish(self, client, _, mid):
        self.told.add(self.open.pop(mid))
        if self.next < self.count:
            self.publish()


class MosquittoPublisher(threading.Thread):
    """mosquitto_pub, once a number, until it is ended. `told`: the numbers with which it ended well."""

    def __init__(self, port, client_id, topic):
        super().__init__(daemon=True)
        self.port, self.client_id, self.topic = port, client_id, topic
        self.next, self.told, self.ended, self.error = 0, set(), False, None

    def run(self):
        while not self.ended:
            number, self.next = self.next, self.next + 1
            try:
                done = subprocess.run(["mosquitto_pub", "-p", str(self.port), "-i", f"{self.client_id}-{number}", "-t", self.topic,
                                       "-q", "1", "-m", str(number)], capture_output=True, timeout=harness.TIMEOUT_S)
                if done.returncode == 0:
                    self.told.add(number)
            except subprocess.TimeoutExpired:
                pass
            time.sleep(0.1)

    def end(self):
        self.ended = True
        self.join()


class MosquittoReader:
    """mosquitto_sub in a persistent session, at QoS 1."""

    exactly_once = False

    def __init__(self, world, node, client_id, topic_filter):
        self.client_id = client_id
        self.subscriber = world.subscribe(node, topic_filter, "-i", client_id, "-c", "-q", "1")

    def start(self):
        pass

    @property
    def error(self):
        ended = self.subscriber.process.poll()
        return None if ended is None else f"mosquitto_sub ended with {ended}"

    @property
    def counts(self):
        lines = (line.split(" ", 1) for line in list(self.subscriber.lines))
        return collections.Counter((topic, int(payload)) for topic, payload in lines)

    def end(self):
        self.subscriber.close()
