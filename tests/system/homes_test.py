"""Four homes under kill -9 at random, real clients at all QoS: what was acknowledged reaches every persistent session of the
two homes that read it, QoS 2 and QoS 0 at most once. With our own clients, which keep to the standard to the letter, and with foreign
ones. Variables, for longer runs: DIOT_HOMES_COUNT (messages of QoS 1 and of QoS 2, of each home), DIOT_HOMES_KILLS,
DIOT_HOMES_AWAY_S (the longest that a killed home stays away), DIOT_HOMES_SEED. docs/simulation.md says what ten minutes of it found."""

import collections
import os
import random
import time
import unittest

import foreign
import harness
import mqtt311

COUNT = int(os.environ.get("DIOT_HOMES_COUNT", "400"))
KILLS = int(os.environ.get("DIOT_HOMES_KILLS", "6"))
AWAY_S = float(os.environ.get("DIOT_HOMES_AWAY_S", "0.5"))
SEED = int(os.environ.get("DIOT_HOMES_SEED", str(random.randrange(1 << 32))))
STALL_S = 90  # without any progress: lost or stuck
LIVE_PAUSE_S = 0.02


class LivePublisher(mqtt311.Client):
    """QoS 0, a number at a time, until it is ended; nothing of it is promised but that nothing comes twice."""

    def __init__(self, port, client_id, topic):
        super().__init__(port, client_id)
        self.topic, self.next = topic, 0

    def serve(self, connection):
        while not self.ended:
            connection.send(mqtt311.publish(self.topic, b"%d" % self.next, 0, 0))
            self.next += 1
            time.sleep(LIVE_PAUSE_S)


class Own:
    """Our own clients."""

    @staticmethod
    def reader(world, home, other, number):
        return mqtt311.Reader(home.mqtt_port, f"{home.name}-reads-{other.name}", f"@{other.name}/bench/#")

    @staticmethod
    def publishers(home):
        return [mqtt311.Publisher(home.mqtt_port, f"{home.name}-{qos}", f"bench/{qos}", qos, COUNT, window=20) for qos in (1, 2)]

    @staticmethod
    def unbounded(home):
        return [LivePublisher(home.mqtt_port, f"{home.name}-0", "bench/0")]


class Foreign:
    """paho in MQTT 3.1.1 and 5, mosquitto_pub and mosquitto_sub; of our own only who publishes at QoS 0."""

    @staticmethod
    def reader(world, home, other, number):
        topic_filter, client_id = f"@{other.name}/bench/#", f"{home.name}-reads-{other.name}"
        if number % 4 == 3:
            return foreign.MosquittoReader(world, home, client_id, topic_filter)
        return foreign.PahoReader(home.mqtt_port, client_id, topic_filter, version5=number % 2 == 0)

    @staticmethod
    def publishers(home):
        swap = home.name in ("alice", "carol")
        return [foreign.PahoPublisher(home.mqtt_port, f"{home.name}-{qos}", f"bench/{qos}", qos, COUNT, version5=(qos == 1) == swap)
                for qos in (1, 2)]

    @staticmethod
    def unbounded(home):
        return [LivePublisher(home.mqtt_port, f"{home.name}-0", "bench/0"),
                foreign.MosquittoPublisher(home.mqtt_port, f"{home.name}-m", "bench/1/m")]


class Homes(unittest.TestCase):
    def test_four_homes_under_kills_lose_nothing_and_repeat_nothing(self):
        self.run_with(Own)

    def test_nor_do_they_with_foreign_clients(self):
        self.run_with(Foreign)

    def run_with(self, clients):
        chance = random.Random(SEED)
        print(f"\nseed {SEED}", flush=True)
        with harness.World() as world:
            homes = [world.found("alice")]
            homes += [world.join(homes[0], name) for name in ("bob", "carol", "dave")]
            readers, publishers, live = [], [], []
            for home in homes:
                home.diot("share", "add", "bench/#", "--preset", "public")
            for at, home in enumerate(homes):
                for other in (homes[(at + 1) % 4], homes[(at + 2) % 4]):
                    reader = clients.reader(world, home, other, len(readers))
                    reader.owner = other.name
                    readers.append(reader)
                    reader.start()
                    home.wait_topic(f"@{other.name}/bench/#")
            for home in homes:
                publishers += clients.publishers(home)
                live += clients.unbounded(home)
                for client in (*publishers, *live):
                    client.owner = getattr(client, "owner", home.name)
            for client in (*readers, *publishers, *live):
                world.cleanup.callback(client.end)
            started = time.monotonic()
            for client in (*live, *publishers):
                client.start()
            # A session with nothing in it is on disk with what comes next, and not before its CONNACK.
            harness.wait_until(lambda: all(client.had_session for client in live if isinstance(client, mqtt311.Client)), what="sessions")
            first = {publisher: publisher.acknowledged for publisher in publishers}
            harness.wait_until(lambda: all(publisher.acknowledged > first[publisher] or publisher.acknowledged == COUNT
                                           for publisher in publishers), what="the first acknowledgements")

            def progress():
                for client in (*readers, *publishers, *live):
                    if client.error:
                        raise AssertionError(f"{client.client_id}: {client.error!r}")
                return sum(publisher.acknowledged for publisher in publishers)

            killed = collections.Counter()
            for moment in sorted(chance.randrange(len(publishers) * COUNT * 95 // 100) for _ in range(KILLS)):
                self.reach(moment, progress)
                node = chance.choice(homes)
                time.sleep(chance.random() * 0.05)  # a moment within the work, not only at its borders
                self.assertIsNone(node.process.poll(), f"{node.name} ended by itself")
                node.kill()
                time.sleep(chance.random() * AWAY_S)
                node.start(ready=False)
                killed[node.name] += 1
            self.reach(len(publishers) * COUNT, progress)
            for client in live:
                client.end()
                if client.error:
                    raise AssertionError(f"{client.client_id}: {client.error!r}")
            # What is sent twice comes before what is sent now.
            for home in homes:
                last = mqtt311.Publisher(home.mqtt_port, f"{home.name}-last", "bench/last", 2, 1)
                last.start()
                world.cleanup.callback(last.end)
            for reader in readers:
                harness.wait_until(lambda: reader.error or reader.counts[f"@{reader.owner}/bench/last", 0], timeout_s=STALL_S,
                                   what=f"the last message at {reader.client_id} (there: {len(reader.counts)})")

            progress()  # no error to the end

            lost, again = collections.Counter(), collections.Counter()
            arrived = collections.Counter()
            others = [client for client in live if hasattr(client, "told")]
            for reader in readers:
                counts = reader.counts.copy()
                for client in (*publishers, *others):
                    if client.owner == reader.owner:
                        topic = f"@{reader.owner}/{client.topic}"
                        promised = range(COUNT) if client in publishers else client.told
                        gone = [number for number in promised if not counts[topic, number]]
                        lost[client.topic[6:]] += len(gone)
                        if gone:
                            print(f"lost at {reader.client_id} ({type(reader).__name__}): {topic} {gone[:50]}", flush=True)
                exactly_once = getattr(reader, "exactly_once", True)
                for (topic, _), count in counts.items():
                    kind = topic.split("/", 2)[2]
                    if kind == "2" and not exactly_once:
                        kind = "2 read at QoS 1"
                    arrived[kind] += count > 0
                    again[kind] += max(0, count - 1)
                twice = sorted(key for key, count in counts.items() if count > 1 and key[0].endswith("/2"))
                if twice and exactly_once:
                    print(f"QoS 2 twice at {reader.client_id}: {twice}", flush=True)
            acknowledged = len(publishers) * COUNT + sum(len(client.told) for client in others)
            print(f"{acknowledged} acknowledged, {sum(client.next for client in live if client not in others)} of QoS 0; arrived at two "
                  f"homes each {dict(arrived)}; lost {dict(lost)}; again {dict(again)}; kills {dict(killed)}; "
                  f"{time.monotonic() - started:.0f} s", flush=True)
            self.assertEqual(sum(lost.values()), 0, "acknowledged and lost")
            self.assertEqual(again["2"], 0, "QoS 2: more than once")
            self.assertEqual(again["0"], 0, "QoS 0: more than once")

    def reach(self, goal, progress):
        best, since = -1, time.monotonic()
        while (now := progress()) < goal:
            if now > best:
                best, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_S:
                raise AssertionError(f"no progress for {STALL_S} s: {now} of {goal}")
            time.sleep(0.005)


if __name__ == "__main__":
    unittest.main()
