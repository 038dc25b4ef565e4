"""The life of a handle on the command line: new keys, guardians, recovery, a revoked gateway, the end."""
import os
import subprocess
import unittest

from harness import DIOT, Failed, World, wait_until


class Handles(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(World())
        self.alice, self.words = self.world.found_with_words("alice")
        self.alice.start()
        self.bob = self.world.join(self.alice, "bob")

    def shown(self, handle="alice"):
        return self.alice.json("handle", "show", handle)

    def refused(self, *arguments, input=None):
        with self.assertRaises(Failed) as caught:
            self.alice.diot(*arguments, input=input)
        return caught.exception

    def test_keys_guardians_and_recovery(self):
        before = self.shown()
        self.assertIn("not the words", str(self.refused("handle", "rotate", input=self.world.found_with_words("eve")[1])))
        self.alice.diot("handle", "rotate", input=self.words)
        after = self.shown()
        self.assertNotEqual(before["owner"], after["owner"])
        # The gateway goes on with the new key, also after a restart.
        self.alice.stop()
        self.alice.start()
        self.alice.diot("handle", "guardians", "--guardian", "bob", "--threshold", "1", input=self.words)
        self.assertEqual(self.shown()["guardians"], ["bob"])

        # A guardian gives the handle to a new home; all guardians have signed, so nothing cancels it.
        fresh, _ = self.world.found_with_words("fresh")
        keys = fresh.json("handle", "keys")
        entry = self.bob.diot("handle", "recover", "alice", "--owner", keys["owner"], "--next-key-hash",
                              keys["next-key-hash"], "--node", keys["node"]).strip()
        self.assertTrue(entry.startswith("diot-entry:"))
        entry = fresh.diot("handle", "sign", entry, "--yes").strip()
        self.bob.diot("handle", "submit", entry)
        wait_until(lambda: self.shown()["recovery"], what="the recovery")
        self.assertFalse(self.shown()["recovery"]["cancellable"])
        self.assertIn("cannot be cancelled", str(self.refused("handle", "cancel-recovery")))
        self.assertTrue(any("guardians" in warning for warning in self.alice.json("status")["warnings"]))
        kinds = [row["kind"] for row in self.alice.json("ledger", "history", "alice")["entries"]]
        self.assertEqual(kinds, ["register", "rotate", "set-guardians", "recover"])
        self.alice.diot("ledger", "verify")

    def test_persons_and_roles_are_shown_and_proven(self):
        mum, dad = "11" * 32, "22" * 32
        shown = self.alice.json("handle", "update", "--person", f"mum={mum},dad={dad}")
        persons = [{"person": "dad", "key": dad}, {"person": "mum", "key": mum}]
        self.assertEqual(shown["persons"], persons)
        wait_until(lambda: self.bob.json("ledger", "show", "alice")["persons"] == persons, what="bob's copy of it")
        self.assertIn(mum, self.bob.diot("ledger", "show", "alice"))

        proof = os.path.join(self.world.folder, "alice.proof")
        with open(proof, "wb") as file:
            file.write(subprocess.run([DIOT, "ledger", "prove", "alice"], env=self.bob.environment(),
                                      capture_output=True, check=True).stdout)
        check = ["ledger", "check-proof", proof, "--genesis", self.alice.json("status")["network"]]
        proven = self.world.node("nobody").json(*check)
        self.assertEqual((proven["persons"], proven["nodes"]), (persons, shown["nodes"]))
        for part in (dad, "admin"):
            self.assertIn(part, self.world.node("nobody").diot(*check))

        self.assertEqual(self.alice.json("handle", "update", "--remove-person", "dad")["persons"], persons[1:])
        node = shown["nodes"][0]["node"]
        self.assertIn("role admin", str(self.refused("handle", "update", "--role", f"{node}=member")))
        self.assertIn("not available", str(self.refused("handle", "update", "--add-node", node)))
        self.assertIn("not available", self.alice.diot("handle", "update", "--help"))

    def test_revoked_and_released(self):
        node = self.shown("bob")["nodes"][0]["node"]
        # Asked first, and by the owner alone.
        with self.assertRaises(Failed) as caught:
            self.bob.diot("handle", "revoke-node", node)
        self.assertEqual(caught.exception.code, 4)
        self.assertIn("for ever", str(caught.exception))
        self.assertIn("speak", str(self.refused("handle", "revoke-node", node, "--yes")))
        wait_until(lambda: any(peer["state"] == "up" for peer in self.alice.json("peers")["peers"]), what="the link")
        # The node revokes itself, so nobody is left to tell it that it is done.
        asking = subprocess.Popen([DIOT, "handle", "revoke-node", node, "--yes"], env=self.bob.environment(),
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(asking.wait)
        self.addCleanup(asking.kill)
        wait_until(lambda: self.shown("bob")["nodes"] == [], what="the block")
        wait_until(lambda: all(peer["state"] != "up" for peer in self.alice.json("peers")["peers"]), 5,
                   "the end of the revoked node's link")

        self.assertEqual(self.refused("handle", "release", input=self.words).code, 4)
        self.alice.diot("handle", "release", "--yes", input=self.words)
        self.assertIsNotNone(self.shown()["released_ms"])


if __name__ == "__main__":
    unittest.main()
