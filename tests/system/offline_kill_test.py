"""What was acknowledged while a persistent session was away survives kill -9 at any moment: 1000 messages of QoS 1 and
1000 of QoS 2 a kill. One kill comes while they are published (or right behind the last answer), every other time a second
one while the session takes them. Variables, for longer runs: DIOT_OFFLINE_KILLS, DIOT_OFFLINE_COUNT, DIOT_OFFLINE_SEED."""

import collections
import os
import random
import time
import unittest

import harness
import mqtt311

KILLS = int(os.environ.get("DIOT_OFFLINE_KILLS", "5"))
COUNT = int(os.environ.get("DIOT_OFFLINE_COUNT", "1000"))
SEED = int(os.environ.get("DIOT_OFFLINE_SEED", str(random.randrange(1 << 32))))


class OfflineKill(unittest.TestCase):
    def test_what_was_acknowledged_is_there_after_the_kill(self):
        chance = random.Random(SEED)
        print(f"\nseed {SEED}", flush=True)
        totals, started = collections.Counter(), time.monotonic()
        with harness.World() as world:
            home = world.found("alice")
            self.reader = mqtt311.Reader(home.mqtt_port, "reader", "t/#")
            self.reader.start()
            self.assertTrue(self.reader.subscribed.wait(harness.TIMEOUT_S))
            for number in range(KILLS):
                self.reader.end()
                self.one(world, home, chance, number, totals)
            self.reader.end()
        print(f"{dict(totals)}; {time.monotonic() - started:.1f} s", flush=True)
        self.assertGreater(totals["acknowledged"], KILLS * COUNT // 4, "the kills came too early to say anything")

    def one(self, world, home, chance, number, totals):
        publishers = [mqtt311.Publisher(home.mqtt_port, f"p{number}-{qos}", f"t/{number}/{qos}", qos, COUNT)
                      for qos in (1, 2)]
        for publisher in publishers:
            publisher.start()
        # By progress and not by the clock, so that it hits the work on a machine of any speed.
        moment = chance.randrange(1, 2 * COUNT + COUNT // 4)
        harness.wait_until(lambda: sum(one.acknowledged for one in publishers) >= min(moment, 2 * COUNT),
                           what="the moment of the kill")
        time.sleep(chance.random() * 0.005)
        home.kill()
        for publisher in publishers:
            publisher.end()
            self.assertIsNone(publisher.error)
        # PUBREC is the broker's word too (4.3.3): such a message counts, though its publisher never comes back.
        promised = {f"t/{number}/{one.qos}": set(range(one.next)) - {n for n, received in one.open.values() if not received}
                    for one in publishers}
        totals["acknowledged"] += sum(map(len, promised.values()))
        home.start()
        self.reader = mqtt311.Reader(home.mqtt_port, "reader", "t/#")
        self.reader.subscribed.set()  # the session is there
        self.reader.had_session = True
        self.reader.start()
        if number % 2:
            goal = chance.randrange(1 + sum(map(len, promised.values())) // 2)
            harness.wait_until(lambda: len(self.reader.order) >= goal, what="the moment of the second kill")
            home.kill()
            home.start()
            totals["second kills"] += 1
        # What is queued comes before what is published now, each QoS for itself.
        for qos in (1, 2):
            last = mqtt311.Publisher(home.mqtt_port, f"last{number}-{qos}", f"t/{number}/last{qos}", qos, 1)
            last.start()
            harness.wait_until(lambda: self.reader.counts[f"t/{number}/last{qos}", 0] or self.reader.error,
                               what=f"the last message of QoS {qos}")
            last.end()
        self.assertIsNone(self.reader.error)
        for topic, numbers in promised.items():
            there = {n: count for (at, n), count in self.reader.counts.items() if at == topic}
            self.assertEqual(sorted(numbers - there.keys()), [], f"{topic}: acknowledged and lost")
            if topic.endswith("/2"):
                self.assertEqual([n for n, count in there.items() if count > 1], [], f"{topic}: more than once")
            totals["arrived again"] += sum(there.values()) - len(there)
        totals["kills"] += 1


if __name__ == "__main__":
    unittest.main()
