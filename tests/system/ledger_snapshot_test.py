"""A network with a past: who joins takes its ledger over by a snapshot, fetches the rest when asked to, and lets others in."""

import os
import subprocess
import unittest

import harness

OLD_HOME = os.path.join(os.path.abspath(harness.BUILD), "old_home")
OLD_BLOCKS = 2100


class LedgerSnapshotTest(unittest.TestCase):
    def test_who_joins_takes_the_ledger_over_and_can_have_the_rest(self):
        with harness.World() as world:
            alice = world.found("alice", start=False)
            subprocess.run([OLD_HOME, alice.home, str(OLD_BLOCKS)], check=True, timeout=4 * harness.TIMEOUT_S)
            alice.start()
            bob = world.join(alice, "bob")
            head = alice.json("ledger", "stats")["height"]
            self.assertGreater(head, OLD_BLOCKS)

            def looked():
                out = bob.json("ledger", "storage")
                return out if out["old_units"] > 10 else None

            here = harness.wait_until(looked, what="the node's look at what is its own")
            self.assertGreater(here["snapshot"], OLD_BLOCKS)
            missing = here["missing"]
            self.assertEqual(here["blocks_here"], head - sum(each["to"] - each["from"] + 1 for each in missing))
            self.assertGreaterEqual(missing[-1]["to"], OLD_BLOCKS)
            [holder] = here["holders"]
            self.assertEqual((holder["handle"], holder["blocks"]), ("alice", head))
            self.assertEqual(here["in_fewer_copies"], [{"from": 1, "to": head}], "there are two of three")
            if here["old_units_placed_here"] == 0:  # one key in twenty is near to one of them, and fetches that at once
                self.assertEqual(missing, [{"from": 1, "to": head - here["blocks_here"]}])
                self.assertEqual(bob.json("ledger", "history", "home-1")["missing"], missing)
            report = bob.json("ledger", "verify")
            self.assertEqual(report["snapshot"], here["snapshot"])
            self.assertIn("rests on 1 of its 1 witnesses", bob.diot("ledger", "verify"))
            for node in (alice, bob):
                self.assertEqual(len(node.json("ledger", "list", "--limit", "10000")["handles"]), 902)
            self.assertEqual(bob.json("ledger", "show", "home-7"), alice.json("ledger", "show", "home-7"))

            # Messages do not mind.
            alice.diot("share", "add", "door", "--preset", "public")
            heard = world.subscribe(bob, "@alice/door")
            bob.wait_topic("@alice/door")
            alice.publish("door", "open", "-q", "1")
            heard.wait_for("@alice/door open")

            # Who began so lets others in, also where the oldest node is gone, and starts again from what is on its disk.
            bob.stop()
            bob.start()
            carol = world.join(bob, "carol")
            self.assertGreater(carol.json("ledger", "storage")["snapshot"], OLD_BLOCKS)

            whole = bob.json("ledger", "verify", "--full")
            self.assertNotIn("snapshot", whole)
            self.assertEqual(whole["blocks"], whole["height"])
            self.assertEqual(bob.json("ledger", "storage")["missing"], [])
            self.assertIn("Recomputed from the genesis", bob.diot("ledger", "verify"))
            self.assertEqual(bob.json("ledger", "history", "home-1")["entries"],
                             alice.json("ledger", "history", "home-1")["entries"])

            # With alice gone, carol finds it at bob.
            alice.stop()
            self.assertEqual(carol.json("ledger", "verify", "--full")["blocks"], whole["height"])


if __name__ == "__main__":
    unittest.main()
