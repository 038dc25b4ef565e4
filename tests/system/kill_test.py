"""What is acknowledged is never lost: 20 kill -9 of either node while 10,000 QoS 1 and 10,000 QoS 2 messages go from
persistent sessions at alice to one at bob, which itself is cut and away at times. Variables, for longer runs:
DIOT_KILL_COUNT (messages of each QoS), DIOT_KILL_KILLS, DIOT_KILL_SEED."""

import collections
import os
import random
import time
import unittest

import harness
import mqtt311

COUNT = int(os.environ.get("DIOT_KILL_COUNT", "10000"))
KILLS = int(os.environ.get("DIOT_KILL_KILLS", "20"))
SEED = int(os.environ.get("DIOT_KILL_SEED", str(random.randrange(1 << 32))))
STALL_S = 60  # without any progress: lost or stuck


class Kill(unittest.TestCase):
    def test_nothing_acknowledged_is_lost_and_qos_2_comes_once(self):
        chance = random.Random(SEED)
        print(f"\nseed {SEED}", flush=True)
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "bench/#", "--preset", "public")
            bob = world.join(alice, "bob")
            reader = mqtt311.Reader(bob.mqtt_port, "reader", "@alice/bench/#")
            reader.start()
            world.cleanup.callback(reader.end)
            bob.wait_topic("@alice/bench/#")
            started = time.monotonic()
            publishers = [mqtt311.Publisher(alice.mqtt_port, f"publisher-{qos}", f"bench/{qos}", qos, COUNT)
                          for qos in (1, 2)]
            for publisher in publishers:
                publisher.start()
                world.cleanup.callback(publisher.end)

            def progress():
                for client in (reader, *publishers):
                    if client.error:
                        raise AssertionError(f"{client.client_id}: {client.error!r}; {self.state(publishers, reader)}")
                for node in (alice, bob):
                    self.assertIsNone(node.process.poll(), f"{node.name} ended by itself")
                return sum(publisher.acknowledged for publisher in publishers) + len(reader.counts)

            # Moments by progress, not by the clock: so that all kills hit the run on a machine of any speed.
            moments = sorted([(chance.randrange(COUNT * 4 * 95 // 100), "kill") for _ in range(KILLS)] +
                             [(chance.randrange(COUNT * 4 * 95 // 100), "cut") for _ in range(KILLS)])
            killed = collections.Counter()
            for moment, what in moments:
                self.reach(moment, progress, publishers, reader)
                if what == "cut":
                    reader.cut()
                    continue
                node = chance.choice((alice, bob))
                time.sleep(chance.random() * 0.05)  # a moment within the work, not only at its borders
                node.kill()
                node.start(ready=False)
                killed[node.name] += 1
            self.reach(4 * COUNT, progress, publishers, reader)
            # What is sent twice comes before what is sent now: a last message of each kind is the end of the run.
            self.settle(world, alice, reader)

            state = self.state(publishers, reader)
            print(f"{state}; kills {dict(killed)}; {time.monotonic() - started:.1f} s", flush=True)
            self.assertEqual(sum(killed.values()), KILLS)
            for qos in (1, 2):
                missing = [number for number in range(COUNT) if not reader.counts[f"@alice/bench/{qos}", number]]
                self.assertEqual(missing, [], f"QoS {qos}: acknowledged and lost")
            twice = [key for key, count in reader.counts.items() if count > 1 and key[0] == "@alice/bench/2"]
            self.assertEqual(twice, [], "QoS 2: more than once")

    def reach(self, goal, progress, publishers, reader):
        best, since = -1, time.monotonic()
        while (now := progress()) < goal:
            if now > best:
                best, since = now, time.monotonic()
            elif time.monotonic() - since > STALL_S:
                raise AssertionError(f"no progress for {STALL_S} s: {self.state(publishers, reader)}")
            time.sleep(0.002)

    def settle(self, world, alice, reader):
        for qos in (1, 2):
            last = mqtt311.Publisher(alice.mqtt_port, f"last-{qos}", f"bench/last/{qos}", qos, 1)
            last.start()
            world.cleanup.callback(last.end)
        for qos in (1, 2):
            harness.wait_until(lambda: reader.counts[f"@alice/bench/last/{qos}", 0], what=f"the last of QoS {qos}")

    @staticmethod
    def state(publishers, reader):
        parts = []
        for publisher in publishers:
            topic = "@alice/" + publisher.topic
            counts = [count for (there, _), count in list(reader.counts.items()) if there == topic]
            numbers = [number for there, number in list(reader.order) if there == topic]
            back = sum(1 for before, after in zip(numbers, numbers[1:]) if after < before)
            parts.append(f"QoS {publisher.qos}: acknowledged {publisher.acknowledged}, arrived {len(counts)}, "
                         f"again {sum(counts) - len(counts)}, steps back {back}")
        return "; ".join(parts)


if __name__ == "__main__":
    unittest.main()
