"""The main job of README.md, line by line: two homes, unmodified clients, one distributed broker."""

import contextlib
import json
import re
import sqlite3
import unittest
import urllib.error
import urllib.request

import harness


def addresses_known(node):
    """The overlay addresses in a home's store, which nobody must have open for writing meanwhile."""
    with contextlib.closing(sqlite3.connect(f"file:{node.home}/diot.db?mode=ro", uri=True)) as store:
        rows = store.execute("SELECT value FROM peer").fetchall()
    return {address.decode() for value, in rows for address in re.findall(rb"127\.0\.0\.1:[0-9]+", value)}


class MainJob(unittest.TestCase):
    def test_the_transcript_of_the_readme(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            invite = alice.diot("invite")
            self.assertRegex(invite, r"\Adiot:[A-Za-z0-9_-]+\n\Z")
            bob = world.join(alice, "bob")
            at_bob = world.subscribe(bob, "@alice/sensors/#")
            bob.wait_topic("@alice/sensors/#", 30)
            alice.publish("sensors/kitchen/temp", "21.5")
            at_bob.wait_for("@alice/sensors/kitchen/temp 21.5")

            for node in (alice, bob):
                handles = [entry["handle"] for entry in node.json("ledger", "list")["handles"]]
                self.assertEqual(handles, ["alice", "bob"])
                self.assertEqual(node.json("ledger", "show", "alice")["handle"], "alice")
                self.assertEqual(node.json("ledger", "verify")["handles"], 2)
                self.assertEqual(node.json("status")["handle"], node.name)
                self.assertEqual(len(node.json("peers")["peers"]), 1)
                for verb in (["ledger", "list"], ["ledger", "show", "alice"], ["ledger", "verify"], ["status"], ["peers"]):
                    self.assertTrue(node.diot(*verb).strip())

    def test_what_no_share_covers_stays_at_home(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "open/#", "--preset", "public")
            bob = world.join(alice, "bob")
            everything = world.subscribe(bob, "@alice/#")
            bob.wait_topic("@alice/#", 30)
            alice.publish("closed/door", "secret")
            alice.publish("open/door", "told")
            everything.wait_for("@alice/open/door told")
            self.assertEqual([line for line in everything.lines if "secret" in line], [])

    def test_bob_starts_before_alice(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            bob = world.join(alice, "bob", start=False)
            self.assertEqual(alice.stop(), 0)
            bob.start()
            at_bob = world.subscribe(bob, "@alice/sensors/#")
            alice.start()
            bob.wait_topic("@alice/sensors/#", 30)
            alice.publish("sensors/a", "1")
            at_bob.wait_for("@alice/sensors/a 1")

    def test_either_restarts_in_between(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            bob = world.join(alice, "bob")
            at_bob = world.subscribe(bob, "@alice/sensors/#")
            bob.wait_topic("@alice/sensors/#", 30)
            self.assertEqual(alice.stop(), 0)
            alice.start()
            bob.wait_topic("@alice/sensors/#", 30)
            alice.publish("sensors/a", "after alice's restart")
            at_bob.wait_for("@alice/sensors/a after alice's restart")
            self.assertEqual(bob.stop(), 0)
            bob.start()
            again = world.subscribe(bob, "@alice/sensors/#")
            bob.wait_topic("@alice/sensors/#", 30)
            alice.publish("sensors/a", "after bob's restart")
            again.wait_for("@alice/sensors/a after bob's restart")

    def test_a_third_home_that_knows_bob_alone_finds_alice_through_the_dht(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            alice.publish("sensors/kept", "retained", "-r")
            bob = world.join(alice, "bob")
            carol = world.join(bob, "carol", start=False)
            self.assertEqual(addresses_known(carol), {f"127.0.0.1:{bob.overlay_port}"})
            carol.start()
            at_carol = world.subscribe(carol, "@alice/sensors/#", "-q", "1")
            carol.wait_topic("@alice/sensors/#")
            at_carol.wait_for("@alice/sensors/kept retained")
            alice.publish("sensors/now", "live", "-q", "1")
            at_carol.wait_for("@alice/sensors/now live")
            to_alice, = [peer for peer in carol.json("peers")["peers"] if peer["handle"] == "alice"]
            self.assertEqual(to_alice["state"], "up")
            self.assertIn(f"127.0.0.1:{alice.overlay_port}", [to_alice["address"], *addresses_known(carol)])
            self.assertGreater(carol.json("status")["dht_nodes"], 0)

    def test_both_restart_and_a_persistent_session_misses_nothing(self):
        with harness.World() as world:
            alice = world.found("alice")
            alice.diot("share", "add", "sensors/#", "--preset", "public")
            bob = world.join(alice, "bob")
            with world.paho(bob, "reader", clean=False) as reader:
                self.assertEqual(reader.subscribe("@alice/sensors/#", 1), (1,))
                bob.wait_topic("@alice/sensors/#")
            bob.stop()
            alice.publish("sensors/a", "while bob is off", "-q", "1")
            alice.stop()
            bob.start()
            alice.start()
            alice.publish("sensors/a", "while alice was off too", "-q", "1")
            with world.paho(bob, "reader", clean=False) as reader:
                self.assertTrue(reader.session_present)
                reader.wait_for("@alice/sensors/a", "while alice was off too")
                self.assertEqual([message.payload for message in reader.messages],
                                 [b"while bob is off", b"while alice was off too"])

    def test_an_invite_is_good_once(self):
        with harness.World() as world:
            alice = world.found("alice")
            invite = alice.diot("invite").strip()
            bob, carol = world.node("bob"), world.node("carol")
            bob.diot("join", "-", "--handle", "bob", *bob.addresses(), input=invite + "\n")
            with self.assertRaises(harness.Failed) as refused:
                carol.diot("join", invite, "--handle", "carol", *carol.addresses())
            self.assertIn(refused.exception.code, (1, 4))
            self.assertIn("invite", refused.exception.err)

    def test_a_handle_is_had_once(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.node("bob")
            with self.assertRaises(harness.Failed) as refused:
                bob.diot("join", alice.diot("invite").strip(), "--handle", "alice", *bob.addresses())
            self.assertEqual(refused.exception.code, 1)
            self.assertIn("alice", refused.exception.err)

    def test_an_inviter_out_of_reach_is_named(self):
        with harness.World() as world:
            alice = world.found("alice")
            invite = alice.diot("invite").strip()
            alice.stop()
            bob = world.node("bob")
            with self.assertRaises(harness.Failed) as refused:
                bob.diot("join", invite, "--handle", "bob", *bob.addresses())
            self.assertEqual(refused.exception.code, 1)
            self.assertIn(f"127.0.0.1:{alice.overlay_port}", refused.exception.err)


class Control(unittest.TestCase):
    def test_the_ledger_can_be_read_while_no_node_runs(self):
        with harness.World() as world:
            alice = world.found("alice", start=False)
            self.assertEqual(alice.json("ledger", "verify")["handles"], 1)
            with self.assertRaises(harness.Failed) as not_running:
                alice.diot("status")
            self.assertEqual(not_running.exception.code, 3)

    def test_http_needs_the_token(self):
        with harness.World() as world:
            alice = world.found("alice")
            with open(alice.home + "/api.token", encoding="ascii") as file:
                token = file.read().strip()

            def get(path, headers):
                request = urllib.request.Request(f"http://127.0.0.1:{alice.api_port}/api/v1/{path}", headers=headers)
                with urllib.request.urlopen(request, timeout=harness.TIMEOUT_S) as answer:
                    return json.load(answer)

            answer = get("status", {"Authorization": "Bearer " + token})
            self.assertEqual(answer["result"]["handle"], "alice")
            with self.assertRaises(urllib.error.HTTPError) as refused:
                get("status", {})
            self.assertEqual(refused.exception.code, 401)
            refused.exception.close()

    def test_a_second_node_in_one_home_is_refused(self):
        with harness.World() as world:
            alice = world.found("alice")
            with self.assertRaises(harness.Failed) as refused:
                alice.diot("run")
            self.assertEqual(refused.exception.code, 1)
            self.assertEqual(alice.json("status")["handle"], "alice")


if __name__ == "__main__":
    unittest.main()
