"""A home that is in a network joins another one: it takes along what is its own, and enters a handle that was given to it."""
import os
import subprocess
import unittest

import harness
from harness import Failed, World, wait_until


class Moves(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(World())
        self.alice, self.words = self.world.found_with_words("alice")
        self.alice.start()
        self.bob = self.world.join(self.alice, "bob")

    def refused(self, node, *arguments):
        with self.assertRaises(Failed) as caught:
            node.diot(*arguments)
        return caught.exception

    def old_folder(self, node):
        [name] = [name for name in os.listdir(node.home) if name.startswith("old-")]
        return os.path.join(node.home, name)

    def test_a_home_takes_along_what_is_its_own(self):
        carol, words = self.world.found_with_words("carol")
        carol.start()
        before = carol.json("status")
        carol.diot("share", "add", "garden/#", "--preset", "public")
        carol.publish("garden/door", "shut", "-q", "1", "-r")
        carol.publish("cellar", "dry", "-q", "1", "-r")
        phone = self.world.subscribe(carol, "note", "-c", "-q", "1", "-i", "phone")
        carol.wait_topic("note")
        phone.close()
        wait_until(lambda: carol.json("status")["clients"] == 0, what="the session that waits")
        carol.publish("note", "for later", "-q", "1")

        invite = self.alice.diot("invite", "--uses", "2").strip()
        join = ("join", invite, "--handle")
        self.assertIn("stopped", str(self.refused(carol, *join, "carol", "--yes")))
        carol.stop()
        asked = self.refused(carol, *join, "carol")
        self.assertEqual(asked.code, 4)
        self.assertIn("only registrar", str(asked))
        taken = self.refused(carol, *join, "bob", "--yes")
        self.assertIn("bob", str(taken))
        carol.start()
        self.assertEqual(carol.json("status")["network"], before["network"], "nothing has changed")
        carol.stop()

        moved = carol.json(*join, "carol", "--yes")
        self.assertEqual((moved["old_network"], moved["shares"], moved["damaged_rows"]), (before["network"], 1, 0))
        carol.start()
        after = carol.json("status")
        self.assertEqual(after["node"], before["node"])
        self.assertEqual(after["network"], self.alice.json("status")["network"])
        self.assertEqual(after["handle_state"], "active")
        # What was there before the move, to others and at home.
        heard = self.world.subscribe(self.bob, "@carol/garden/#", "-q", "1")
        heard.wait_for("@carol/garden/door shut")
        carol.publish("garden/door", "open", "-q", "1")
        heard.wait_for("@carol/garden/door open")
        self.world.subscribe(carol, "cellar").wait_for("cellar dry")
        self.world.subscribe(carol, "note", "-c", "-q", "1", "-i", "phone").wait_for("note for later")
        # The words are those of before, and the owner decides here now.
        carol.diot("handle", "rotate", input=words)
        carol.stop()
        self.assertIn("already", str(self.refused(carol, *join, "carla", "--yes")))

        # The old ledger can be looked into.
        old = self.old_folder(carol)
        looked = subprocess.run([harness.DIOT, "ledger", "stats", "--json"], env={**os.environ, "DIOT_HOME": old},
                                capture_output=True, text=True, check=True)
        self.assertIn(before["network"], looked.stdout)
        self.assertFalse(os.path.exists(os.path.join(carol.home, "moving")))

    def test_a_home_enters_a_handle_that_was_handed_over(self):
        self.alice.diot("share", "add", "hall", "--preset", "public")
        heard = self.world.subscribe(self.bob, "@alice/hall", "-q", "1")
        self.bob.wait_topic("@alice/hall")
        self.alice.publish("hall", "old", "-q", "1")
        heard.wait_for("@alice/hall old")

        fresh, _ = self.world.found_with_words("fresh")
        fresh.start()
        fresh.diot("share", "add", "hall", "--preset", "public")
        fresh.stop()
        keys = fresh.json("handle", "keys")
        entry = self.alice.diot("handle", "transfer", "--owner", keys["owner"], "--next-key-hash", keys["next-key-hash"],
                                "--node", keys["node"], "--yes", input=self.words).strip()
        entry = fresh.diot("handle", "sign", entry, "--yes").strip()
        invite = self.bob.diot("invite").strip()
        self.assertIn("taken", str(self.refused(fresh, "join", invite, "--handle", "alice", "--yes")))
        self.alice.diot("handle", "submit", entry)
        wait_until(lambda: self.bob.json("ledger", "show", "alice")["owner"] == keys["owner"], what="the new owner")

        # What the machine is let in as stands in the ledger already: the invite opens the door, and is not spent.
        self.assertIn("@alice", str(self.refused(fresh, "join", invite, "--handle", "other", "--yes")))
        self.assertEqual(fresh.json("join", invite, "--handle", "alice", "--yes")["shares"], 1)
        fresh.start()
        self.assertEqual(fresh.json("status")["handle_state"], "active")
        fresh.publish("hall", "new", "-q", "1")
        heard.wait_for("@alice/hall new")


if __name__ == "__main__":
    unittest.main()
