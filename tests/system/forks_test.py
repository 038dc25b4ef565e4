"""A registrar whose old backup runs signs two histories: every place where somebody looks says so."""

import json
import os
import shutil
import unittest
import urllib.request

import harness


def http_status(home):
    with open(os.path.join(home.home, "api.token"), encoding="ascii") as file:
        token = file.read().strip()
    request = urllib.request.Request(f"http://127.0.0.1:{home.api_port}/api/v1/status",
                                     headers={"Authorization": "Bearer " + token})
    with urllib.request.urlopen(request, timeout=harness.TIMEOUT_S) as answer:
        return json.load(answer)["result"]


class ForksTest(unittest.TestCase):
    def test_two_histories_are_seen_everywhere_and_kept(self):
        with harness.World() as world:
            alice = world.found("alice")
            bob = world.join(alice, "bob")
            watcher = world.subscribe(bob, "$SYS/broker/ledger/#")
            watcher.wait_for("$SYS/broker/ledger/forks 0")

            alice.stop()
            bob.stop()
            backup = alice.home + ".backup"
            shutil.copytree(alice.home, backup)
            # One history: carol joins, and bob sees it.
            alice.start()
            bob.start()
            world.join(alice, "carol", start=False)
            height = alice.json("status")["height"]
            harness.wait_until(lambda: bob.json("status")["height"] == height, what="bob's block")
            alice.kill()
            bob.stop()
            # Another one: the backup runs, and dave joins.
            shutil.rmtree(alice.home)
            os.rename(backup, alice.home)
            alice.start()
            world.join(alice, "dave", start=False)
            self.assertEqual(alice.json("status")["height"], height)
            self.assertEqual(alice.json("ledger", "verify").get("forks"), None)

            bob.start()
            for home, other in ((bob, alice), (alice, bob)):
                harness.wait_until(lambda: home.json("status")["ledger_forks"], what=f"the alarm at {home.name}")
                fork = home.json("status")["ledger_forks"][0]
                self.assertEqual((fork["height"], fork["shown_by"]), (height, other.name))
                self.assertNotEqual(fork["here"], fork["there"])
                for answer in (home.json("status"), http_status(home), home.json("ledger", "stats"),
                               home.json("ledger", "verify")):
                    self.assertTrue([text for text in answer["warnings"] if "TWO HISTORIES" in text], answer)
                self.assertIn("TWO HISTORIES", home.diot("status"))
                self.assertIn("not the only history", home.diot("ledger", "verify"))
                self.assertIn("TWO HISTORIES", home.log())
            late = world.subscribe(bob, "$SYS/broker/ledger/#")
            late.wait_for("$SYS/broker/ledger/forks 1")

            # It is evidence: kept on disk, also without a node, with the certificates of both.
            bob.stop()
            kept = bob.json("ledger", "verify")
            self.assertGreater(len(kept["forks"][0]["evidence"]), 500)
            self.assertEqual(kept["forks"][0]["height"], height)


if __name__ == "__main__":
    unittest.main()
