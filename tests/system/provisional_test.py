"""Homes that join while the registrar is out of reach: known by provisional names until the ledger has their entry."""

import json
import subprocess
import unittest

import harness


class ProvisionalTest(unittest.TestCase):
    def join_without(self, world, registrar, inviter, name):
        """A home that `inviter` let in while the registrar is stopped, not running yet, and its name."""
        registrar.stop()
        harness.wait_until(lambda: "is not in reach" in inviter.json("status")["witnesses"], what="no registrar")
        node = world.node(name)
        invite = inviter.diot("invite").strip()
        done = subprocess.run([harness.DIOT, "join", invite, "--handle", name, "--json", *node.addresses()],
                              env=node.environment(), capture_output=True, text=True, timeout=harness.TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)
        self.assertEqual(answer["handle"], name)
        self.assertIsNone(answer["height"])
        self.assertRegex(answer["provisional"], f"^{name}~[a-z2-7]{{12}}$")
        self.assertIn("out of reach", done.stderr)
        self.assertIn(f"@{answer['provisional']} until it is registered as @{name}", done.stderr)
        return node, answer["provisional"]

    def test_it_is_read_under_its_provisional_name_and_then_under_both(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob")
            carol, name = self.join_without(world, alice, bob, "carol")
            carol.start()  # which waits until it is ready
            status = carol.json("status")
            self.assertEqual((status["handle"], status["handle_state"]), (name, "provisional"))
            self.assertTrue(any("@carol is not registered yet" in warning for warning in status["warnings"]), status)
            with self.assertRaises(harness.Failed) as refused:
                carol.diot("invite")
            self.assertIn("not registered yet", refused.exception.err)

            carol.diot("share", "add", "sensors/#", "--preset", "public")
            at_home = world.subscribe(carol, f"@{name}/#")
            reader = world.subscribe(bob, f"@{name}/sensors/#", "-q", "1", "-i", "reader", "-c")
            bob.wait_topic(f"@{name}/sensors/#")
            carol.wait_topic(f"@{name}/#")
            self.assertIn(name, [peer["handle"] for peer in bob.json("peers")["peers"]])
            carol.publish("sensors/temp", "21.5", "-q", "1", "-r")
            carol.publish(f"@{name}/sensors/door", "open", "-q", "1")
            reader.wait_for(f"@{name}/sensors/temp 21.5")
            reader.wait_for(f"@{name}/sensors/door open")
            at_home.wait_for("sensors/door open")
            # Names without a fingerprint are somebody else's.
            self.assertNotIn("carol", [peer["handle"] for peer in bob.json("peers")["peers"]])

            alice.start()
            harness.wait_until(lambda: carol.json("status")["handle_state"] == "active", 2 * harness.TIMEOUT_S,
                               "the registration")
            status = carol.json("status")
            self.assertEqual(status["handle"], "carol")
            self.assertFalse(any("registered" in warning for warning in status["warnings"]), status)
            later = world.subscribe(bob, "@carol/sensors/#")
            bob.wait_topic("@carol/sensors/#")
            later.wait_for("@carol/sensors/temp 21.5")
            carol.publish("sensors/temp", "22", "-q", "1")
            later.wait_for("@carol/sensors/temp 22")
            reader.wait_for(f"@{name}/sensors/temp 22")
            carol.publish("@carol/sensors/door", "shut", "-q", "1")
            at_home.wait_for("sensors/door shut")
            reader.wait_for(f"@{name}/sensors/door shut")
            carol.stop()
            carol.start()
            self.assertEqual(carol.json("status")["handle"], "carol")

    def test_it_says_so_when_somebody_else_got_the_name(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob")
            carol, name = self.join_without(world, alice, bob, "carol")
            alice.start()
            other = world.node("other")
            other.diot("join", alice.diot("invite").strip(), "--handle", "carol", *other.addresses())

            carol.start(ready=False)
            harness.wait_until(lambda: self.state(carol) == "refused", what="the refusal")
            status = carol.json("status")
            self.assertEqual(status["handle"], name)
            warning = next(text for text in status["warnings"] if "cannot be registered" in text)
            self.assertIn("'carol' is taken", warning)
            self.assertIn("diot join INVITE --handle OTHER --yes", warning)
            at_home = world.subscribe(carol, "room/#")
            carol.wait_topic("room/#")
            carol.publish("room/temp", "21")
            at_home.wait_for("room/temp 21")

            # The way out that the warning names.
            carol.stop()
            carol.diot("join", bob.diot("invite").strip(), "--handle", "caroline", "--yes")
            carol.start()
            status = carol.json("status")
            self.assertEqual((status["handle"], status["handle_state"]), ("caroline", "active"))

    def state(self, node):
        try:
            return node.json("status")["handle_state"]
        except harness.Failed:
            return None


if __name__ == "__main__":
    unittest.main()
