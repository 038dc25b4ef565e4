"""Four homes in a line of sight: carol and dave find a way to bob alone, and never to alice (or to each other). What they get
of alice, her network included, comes through bob, also after she is gone. Real processes, mosquitto's clients; the missing
routes are made by no_route.cpp."""

import collections
import subprocess
import unittest

import harness

EACH = 100  # messages of QoS 1 and of QoS 2 that go while processes die


class Session:
    """A persistent session of mosquitto_sub, which may be away; `lines`: all that came in it, "QOS RETAIN TOPIC PAYLOAD"."""

    def __init__(self, world, node, name, topic_filter="@alice/sensors/#"):
        self.world, self.node, self.name, self.topic_filter = world, node, name, topic_filter
        self.past, self.subscriber = [], None
        self.come()

    def come(self):
        self.subscriber = self.world.subscribe(self.node, self.topic_filter, "-i", self.name, "-c", "-q", "2", "-F", "%q %r %t %p")

    def go(self):
        self.subscriber.close()
        self.past += self.subscriber.lines
        self.subscriber.lines = []

    @property
    def lines(self):
        return self.past + self.subscriber.lines

    def wait_for(self, *lines):
        for line in lines:
            harness.wait_until(lambda: line in self.lines, what=f"{line!r} at {self.name} (there: {self.lines[-5:]})")


def publish_many(node, topic, qos, count, first=0):
    """Returns at once; the process ends with 0 when all are acknowledged."""
    process = subprocess.Popen(["mosquitto_pub", "-p", str(node.mqtt_port), "-t", topic, "-q", str(qos), "-l"],
                               stdin=subprocess.PIPE, text=True, preexec_fn=harness.die_with_the_test)
    process.stdin.write("".join(f"{number}\n" for number in range(first, first + count)))
    process.stdin.close()
    return process


class Reach(unittest.TestCase):
    def four(self, world):
        alice = world.found("alice", start=False)
        bob, carol, dave = (world.node(name) for name in ("bob", "carol", "dave"))
        alice.keep_apart(carol, dave)
        carol.keep_apart(dave)
        alice.start()
        alice.diot("share", "add", "sensors/#", "--preset", "public")
        world.join(alice, bob)
        # alice is the registrar: bob hands their entries on to her, and her blocks to them.
        for home in (carol, dave):
            world.join(bob, home)
        return alice, bob, carol, dave

    def assert_apart(self, *homes):
        """Each has a link to bob, and no other."""
        for home in homes:
            up = [peer["handle"] for peer in home.json("peers")["peers"] if peer["state"] == "up"]
            self.assertEqual(up, ["bob"], home.name)

    def assert_each_once(self, session, topic, qos, numbers):
        there = collections.Counter(line for line in session.lines if line.startswith(f"{qos} 0 {topic} "))
        wanted = [f"{qos} 0 {topic} {number}" for number in numbers]
        self.assertEqual([line for line in wanted if line not in there], [], f"lost at {session.name}")
        self.assertEqual(sorted(there.keys() - set(wanted)), [], f"nobody published that: {session.name}")
        if qos != 1:
            self.assertEqual([line for line, count in there.items() if count > 1], [], f"twice at {session.name}")

    def test_who_reaches_bob_only_gets_all_of_alice_through_him(self):
        with harness.World() as world:
            alice, bob, carol, dave = self.four(world)
            for home in (bob, carol, dave):
                harness.wait_until(lambda: home.json("status")["head"] == alice.json("status")["head"], what="one head")
                self.assertEqual(home.json("ledger", "verify")["handles"], 4)
            alice.publish("sensors/kept", "21.5", "-r", "-q", "1")
            alice.publish("sensors/over", "1", "-r", "-q", "1")

            # Nobody reads it at bob: he carries it for carol.
            at_carol = Session(world, carol, "at-carol")
            carol.wait_topic("@alice/sensors/#")
            at_carol.wait_for("1 1 @alice/sensors/kept 21.5", "1 1 @alice/sensors/over 1")
            for qos in (0, 1, 2):
                alice.publish(f"sensors/{qos}", "now", "-q", str(qos))
                at_carol.wait_for(f"{qos} 0 @alice/sensors/{qos} now")
            self.assert_apart(alice, carol, dave)

            # The other way, and from one end to the other.
            to_alice = world.subscribe(alice, "@dave/room/#")
            to_carol = world.subscribe(carol, "@dave/room/#", "-q", "2")
            dave.diot("share", "add", "room/#", "--preset", "public")
            for home in (alice, carol):
                home.wait_topic("@dave/room/#")
            dave.publish("room/door", "open", "-q", "2")
            for reader in (to_alice, to_carol):
                reader.wait_for("@dave/room/door open")

            # While carol's home is away bob goes on for dave.
            at_dave = Session(world, dave, "at-dave")
            dave.wait_topic("@alice/sensors/#")
            at_carol.go()
            carol.stop()
            publishing = [publish_many(alice, f"sensors/{qos}", qos, EACH) for qos in (1, 2)]
            self.assertEqual([process.wait(harness.TIMEOUT_S) for process in publishing], [0, 0])
            alice.publish("sensors/kept", "22", "-r", "-q", "1")
            alice.publish("sensors/over", "", "-r", "-q", "1")
            at_dave.wait_for("1 0 @alice/sensors/kept 22", *(f"{qos} 0 @alice/sensors/{qos} {EACH - 1}" for qos in (1, 2)))
            # What carol still misses is bob's alone from now on.
            alice.kill()
            dave.stop()
            dave.start()
            newcomer = world.subscribe(dave, "@alice/sensors/#", "-F", "%q %r %t %p")
            newcomer.wait_for("0 1 @alice/sensors/kept 22")
            carol.start()
            at_carol.come()
            at_carol.wait_for("1 0 @alice/sensors/kept 22")

            alice.start()
            for home in (carol, dave):
                home.wait_topic("@alice/sensors/#")
            publishing = [publish_many(alice, f"sensors/{qos}", qos, EACH, EACH) for qos in (1, 2)]
            self.assertEqual([process.wait(harness.TIMEOUT_S) for process in publishing], [0, 0])
            for session in (at_carol, at_dave):
                session.wait_for(*(f"{qos} 0 @alice/sensors/{qos} {2 * EACH - 1}" for qos in (1, 2)))
                for qos in (1, 2):
                    before = ["now"] if session is at_carol else []
                    self.assert_each_once(session, f"@alice/sensors/{qos}", qos, [*before, *range(2 * EACH)])
            self.assertEqual([line for line in newcomer.lines if "sensors/over" in line], [])
            self.assert_apart(alice, carol, dave)

    def test_a_first_reader_gets_what_bob_holds_of_a_home_that_is_gone(self):
        with harness.World() as world:
            alice, bob, carol, dave = self.four(world)
            at_bob = Session(world, bob, "at-bob")
            bob.wait_topic("@alice/sensors/#")
            for number in range(5):
                alice.publish(f"sensors/kept/{number}", str(number), "-r", "-q", "2")
            alice.publish("sensors/kept/4", "four", "-r", "-q", "0")
            at_bob.wait_for("0 0 @alice/sensors/kept/4 four")
            alice.kill()
            bob.kill()
            bob.start()
            wanted = [*(f"2 1 @alice/sensors/kept/{number} {number}" for number in range(4)), "0 1 @alice/sensors/kept/4 four"]
            for home in (carol, dave):
                session = Session(world, home, f"at-{home.name}")
                home.wait_topic("@alice/sensors/#")
                session.wait_for(*wanted)
                self.assertEqual(sorted(session.lines), sorted(wanted))

    def test_a_forwarder_that_dies_again_and_again_loses_and_repeats_nothing(self):
        with harness.World() as world:
            alice, bob, carol, dave = self.four(world)
            sessions = [Session(world, home, f"at-{home.name}") for home in (carol, dave)]
            for home in (carol, dave):
                home.wait_topic("@alice/sensors/#")
            publishing = []
            for round in range(4):
                publishing += [publish_many(alice, f"sensors/{qos}", qos, EACH, round * EACH) for qos in (1, 2)]
                sessions[round % 2].wait_for(f"{1 + round // 2} 0 @alice/sensors/{1 + round // 2} {round * EACH + EACH // 2}")
                (bob, bob, carol, dave)[round].kill()
                (bob, bob, carol, dave)[round].start(ready=False)
            self.assertEqual([process.wait(harness.TIMEOUT_S) for process in publishing], [0] * len(publishing))
            # What is sent twice comes before what is sent now.
            for qos in (1, 2):
                alice.publish(f"sensors/last{qos}", "last", "-q", str(qos))
            for session in sessions:
                session.wait_for(*(f"{qos} 0 @alice/sensors/last{qos} last" for qos in (1, 2)))
                for qos in (1, 2):
                    self.assert_each_once(session, f"@alice/sensors/{qos}", qos, range(4 * EACH))
            self.assert_apart(alice, carol, dave)


if __name__ == "__main__":
    unittest.main()
